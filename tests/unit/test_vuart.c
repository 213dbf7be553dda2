/* SPDX-License-Identifier: MIT */
/* The virtual UART: every register, every interrupt and its priority, FIFO, loop-back, modem lines. */
/* SOURCES: kernel/dev/vuart.c */
#include "kernel/dev/vuart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static struct vuart u;
static struct vuart_effect effect;

static int fresh(void **state)
{
	(void)state;
	vuart_init(&u);
	return 0;
}

static uint8_t get(unsigned reg)
{
	return vuart_read(&u, reg, &effect);
}

static void set(unsigned reg, unsigned value)
{
	vuart_write(&u, reg, (uint8_t)value, &effect);
}

static void reset_values(void **state)
{
	(void)state;
	assert_int_equal(get(IER), 0);
	assert_int_equal(get(IIR), 0x01);
	assert_int_equal(get(LCR), 0);
	assert_int_equal(get(MCR), 0);
	assert_int_equal(get(LSR), 0x60);
	assert_int_equal(get(MSR), 0xb0);
	assert_int_equal(get(8), 0xff);
	assert_false(vuart_line(&u));
}

static void writable_bits(void **state)
{
	static const struct {
		unsigned reg;
		uint8_t mask;
	} rows[] = { { IER, 0x0f }, { LCR, 0xff }, { MCR, 0x1f }, { SCR, 0xff } };

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		for (unsigned value = 0; value < 256; value++) {
			set(rows[i].reg, value);
			assert_int_equal(get(rows[i].reg), value & rows[i].mask);
			if (rows[i].reg != LCR)
				continue;
			/* The divisor is where data and IER were, and keeps both bytes. */
			set(LCR, 0x80);
			set(DATA, value);
			set(IER, 255 - value);
			assert_int_equal(get(DATA), value);
			assert_int_equal(get(IER), 255 - value);
			set(LCR, 0);
			assert_int_equal(get(IER), 0x0f);
			set(LCR, value);
		}
	set(LSR, 0xff);
	set(MSR, 0xff);
	assert_int_equal(get(LSR), 0x60);
}

static void transmits_at_once(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		set(DATA, c);
		assert_true(effect.sent);
		assert_int_equal(effect.byte, c);
		assert_int_equal(get(LSR), 0x60);
		assert_false(effect.sent);
	}
	set(LCR, 0x80);
	set(DATA, 'x');
	assert_false(effect.sent);
}

static void transmitter_interrupt(void **state)
{
	(void)state;
	set(IER, 0x02);
	/* Without OUT2 the line stays low, but the request is there. */
	assert_false(vuart_line(&u));
	set(MCR, 0x08);
	assert_true(vuart_line(&u));
	assert_int_equal(get(IIR), 0x02);
	assert_false(vuart_line(&u));
	assert_int_equal(get(IIR), 0x01);
	set(DATA, 'a');
	assert_true(vuart_line(&u));
	assert_false(effect.dropped);
	/* No look at IIR: the next write lets the line fall and rise. */
	set(DATA, 'b');
	assert_true(effect.dropped);
	assert_true(vuart_line(&u));
	/* Another source holds the line meanwhile. */
	set(IER, 0x03);
	vuart_receive(&u, 'r');
	set(DATA, 'c');
	assert_false(effect.dropped);
	get(DATA);
	set(IER, 0);
	assert_false(vuart_line(&u));
	/* Enabling it again requests it again; leaving it enabled does not. */
	set(IER, 2);
	assert_int_equal(get(IIR), 0x02);
	set(IER, 2);
	assert_int_equal(get(IIR), 0x01);
}

static void receiver_without_fifo(void **state)
{
	(void)state;
	set(MCR, 0x08);
	set(IER, 0x05);
	vuart_receive(&u, 'a');
	assert_true(vuart_line(&u));
	assert_int_equal(get(IIR), 0x04);
	vuart_receive(&u, 'b');
	assert_int_equal(get(IIR), 0x06);
	assert_int_equal(get(LSR), 0x63);
	assert_int_equal(get(LSR), 0x61);
	assert_int_equal(get(IIR), 0x04);
	assert_int_equal(get(DATA), 'b');
	assert_int_equal(get(LSR), 0x60);
	assert_false(vuart_line(&u));
}

static void receiver_triggers(void **state)
{
	static const unsigned levels[4] = { 1, 4, 8, 14 };

	(void)state;
	set(MCR, 0x08);
	set(IER, 0x01);
	for (unsigned t = 0; t < 4; t++) {
		set(FCR, 0x07 | t << 6);
		assert_int_equal(get(IIR), 0xc1);
		for (unsigned i = 1; i <= 16; i++) {
			vuart_receive(&u, (uint8_t)i);
			assert_int_equal(get(IIR), i >= levels[t] ? 0xc4 : 0xcc);
		}
		vuart_receive(&u, 99);
		assert_int_equal(get(LSR), 0x63);
		for (unsigned i = 1; i <= 16; i++) {
			assert_true(vuart_line(&u));
			assert_int_equal(get(DATA), i);
			/* Below the trigger level each read restarts the timeout. */
			assert_int_equal(effect.dropped, 17 - i <= levels[t]);
		}
		assert_false(vuart_line(&u));
	}
}

static void fifo_control(void **state)
{
	(void)state;
	set(FCR, 0x01);
	for (int i = 0; i < 5; i++)
		vuart_receive(&u, 'x');
	set(FCR, 0x01);
	assert_int_equal(get(LSR) & 1, 1);
	set(FCR, 0x03);
	assert_int_equal(get(LSR) & 1, 0);
	vuart_receive(&u, 'x');
	set(FCR, 0xc2); /* bit 0 is 0: the change of it clears, the others do not count */
	assert_int_equal(get(LSR) & 1, 0);
	assert_int_equal(get(IIR), 0x01);
	vuart_receive(&u, 'y');
	set(FCR, 0x02);
	assert_int_equal(get(LSR) & 1, 1);
}

static void loop_back(void **state)
{
	(void)state;
	set(MCR, 0x18);
	set(IER, 0x01);
	set(DATA, 'l');
	assert_false(effect.sent);
	assert_true(vuart_line(&u));
	vuart_receive(&u, 'z');
	assert_int_equal(get(LSR), 0x61);
	assert_int_equal(get(DATA), 'l');
	/* DTR, RTS, OUT1, OUT2 to DSR, CTS, RI, DCD. */
	for (unsigned out = 0; out < 16; out++) {
		set(MCR, 0x10 | out);
		assert_int_equal(get(MSR) >> 4, (out & 1) << 1 | (out & 2) >> 1 | (out & 12));
	}
}

static void modem_interrupt(void **state)
{
	(void)state;
	set(MCR, 0x1b); /* as the cable is: RTS, DTR, OUT2 */
	get(MSR);
	set(IER, 0x08);
	assert_false(vuart_line(&u));
	set(MCR, 0x1f);
	assert_int_equal(get(MSR), 0xf0); /* a ring begins: not reported */
	set(MCR, 0x1b);
	assert_true(vuart_line(&u));
	assert_int_equal(get(IIR), 0x00);
	assert_int_equal(get(MSR), 0xb4); /* and ends: TERI */
	assert_int_equal(get(MSR), 0xb0);
	assert_false(vuart_line(&u));
	set(MCR, 0x18);
	assert_int_equal(get(MSR), 0x83); /* DCTS and DDSR */
}

static void priorities(void **state)
{
	(void)state;
	set(MCR, 0x1b);
	get(MSR);
	set(MCR, 0x18);
	set(DATA, 'a');
	set(DATA, 'b');
	set(IER, 0x0f);
	assert_int_equal(get(IIR), 0x06);
	get(LSR);
	assert_int_equal(get(IIR), 0x04);
	get(DATA);
	assert_int_equal(get(IIR), 0x02);
	assert_int_equal(get(IIR), 0x00);
	get(MSR);
	assert_int_equal(get(IIR), 0x01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reset_values, fresh),
		cmocka_unit_test_setup(writable_bits, fresh),
		cmocka_unit_test_setup(transmits_at_once, fresh),
		cmocka_unit_test_setup(transmitter_interrupt, fresh),
		cmocka_unit_test_setup(receiver_without_fifo, fresh),
		cmocka_unit_test_setup(receiver_triggers, fresh),
		cmocka_unit_test_setup(fifo_control, fresh),
		cmocka_unit_test_setup(loop_back, fresh),
		cmocka_unit_test_setup(modem_interrupt, fresh),
		cmocka_unit_test_setup(priorities, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
