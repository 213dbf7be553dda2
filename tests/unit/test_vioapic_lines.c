/* SPDX-License-Identifier: MIT */
/* IOAPIC lines: edge, level, polarity, mask, remote IRR, delivery status, held-up pins, EOI, on every pin. */
/* SOURCES: kernel/vic/vioapic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/vic/vioapic.h"

#define VECTOR(pin) (0x40 + (pin))

static uint32_t low(struct vioapic *io, unsigned pin)
{
	vioapic_write(io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + 2 * pin);
	return vioapic_read(io, VIOAPIC_IOWIN);
}

static void set_low(struct vioapic *io, unsigned pin, uint32_t value)
{
	vioapic_write(io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + 2 * pin);
	vioapic_write(io, VIOAPIC_IOWIN, value);
}

static void set_high(struct vioapic *io, unsigned pin, uint32_t dest)
{
	vioapic_write(io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + 2 * pin + 1);
	vioapic_write(io, VIOAPIC_IOWIN, dest << 24);
}

/* Drains; every message must be of this pin. How many there were. */
static unsigned drain(struct vioapic *io, unsigned pin, bool accepted)
{
	struct apic_msg msg;
	unsigned got, n = 0;

	while (vioapic_next(io, &got, &msg)) {
		assert_int_equal(got, pin);
		assert_int_equal(msg.vector, io->entry[pin] & 0xff);
		assert_int_equal(msg.level, io->level >> pin & 1);
		vioapic_sent(io, got, accepted);
		assert_true(++n < 4);
	}
	return n;
}

static void edge(void **state)
{
	(void)state;
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		for (unsigned inverted = 0; inverted < 2; inverted++) {
			struct vioapic io;

			vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
			vioapic_set_line(&io, pin, inverted);
			set_low(&io, pin, VECTOR(pin) | (inverted ? VIOAPIC_ACTIVE_LOW : 0));
			assert_int_equal(drain(&io, pin, true), 0);
			for (int i = 0; i < 3; i++) {
				vioapic_set_line(&io, pin, !inverted);
				assert_true(low(&io, pin) & VIOAPIC_STATUS);
				assert_int_equal(drain(&io, pin, true), 1);
				assert_false(low(&io, pin) & (VIOAPIC_STATUS | VIOAPIC_REMOTE_IRR));
				vioapic_set_line(&io, pin, !inverted);
				assert_int_equal(drain(&io, pin, true), 0);
				vioapic_set_line(&io, pin, inverted);
				assert_int_equal(drain(&io, pin, true), 0);
			}
		}
	}
}

static void edge_on_masked_pin_is_lost(void **state)
{
	struct vioapic io;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
	set_low(&io, 4, VIOAPIC_MASKED | 0x51);
	vioapic_set_line(&io, 4, true);
	set_low(&io, 4, 0x51);
	assert_int_equal(drain(&io, 4, true), 0);
	vioapic_set_line(&io, 4, false);
	vioapic_set_line(&io, 4, true);
	/* This one was signalled before the mask: it waits behind it, and the pin reads idle. */
	set_low(&io, 4, VIOAPIC_MASKED | 0x51);
	assert_false(low(&io, 4) & VIOAPIC_STATUS);
	assert_int_equal(drain(&io, 4, true), 0);
	set_low(&io, 4, 0x52);
	assert_int_equal(drain(&io, 4, true), 1);
	/* Turned level and back, an edge that still waits is gone: it became a level, and that dropped. */
	vioapic_set_line(&io, 4, false);
	vioapic_set_line(&io, 4, true);
	vioapic_set_line(&io, 4, false);
	set_low(&io, 4, VIOAPIC_LEVEL | 0x52);
	set_low(&io, 4, 0x52);
	assert_int_equal(drain(&io, 4, true), 0);
}

static void polarity_write_makes_no_edge(void **state)
{
	struct vioapic io;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
	set_low(&io, 4, 0x51);
	set_low(&io, 4, VIOAPIC_ACTIVE_LOW | 0x51);
	assert_int_equal(drain(&io, 4, true), 0);
	/* But a level that is asserted by it is one. */
	set_low(&io, 4, VIOAPIC_LEVEL | 0x51);
	assert_int_equal(drain(&io, 4, true), 0);
	set_low(&io, 4, VIOAPIC_LEVEL | VIOAPIC_ACTIVE_LOW | 0x51);
	assert_int_equal(drain(&io, 4, true), 1);
}

static void level(void **state)
{
	(void)state;
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		for (unsigned inverted = 0; inverted < 2; inverted++) {
			struct vioapic io;
			uint32_t entry = VIOAPIC_LEVEL | VECTOR(pin) | (inverted ? VIOAPIC_ACTIVE_LOW : 0);

			vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
			vioapic_set_line(&io, pin, !inverted);
			set_low(&io, pin, entry | VIOAPIC_MASKED);
			assert_int_equal(drain(&io, pin, true), 0);
			set_low(&io, pin, entry);
			assert_int_equal(low(&io, pin), entry | VIOAPIC_STATUS);
			assert_int_equal(drain(&io, pin, true), 1);
			assert_int_equal(low(&io, pin), entry | VIOAPIC_REMOTE_IRR);
			/* Neither the line nor the destination makes another before the EOI. */
			vioapic_set_line(&io, pin, inverted);
			vioapic_set_line(&io, pin, !inverted);
			set_high(&io, pin, 3);
			assert_int_equal(drain(&io, pin, true), 0);
			vioapic_eoi(&io, (uint8_t)(VECTOR(pin) + 1));
			assert_int_equal(drain(&io, pin, true), 0);
			vioapic_eoi(&io, (uint8_t)VECTOR(pin));
			assert_int_equal(drain(&io, pin, true), 1);
			vioapic_set_line(&io, pin, inverted);
			assert_int_equal(low(&io, pin), entry | VIOAPIC_REMOTE_IRR);
			vioapic_eoi(&io, (uint8_t)VECTOR(pin));
			assert_int_equal(low(&io, pin), entry);
			assert_int_equal(drain(&io, pin, true), 0);
		}
	}
}

static void level_to_edge_clears_remote_irr(void **state)
{
	struct vioapic io;

	(void)state;
	for (uint32_t mode = 0; mode < 8; mode++) {
		vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
		set_low(&io, 5, VIOAPIC_LEVEL | 0x51);
		vioapic_set_line(&io, 5, true);
		assert_int_equal(drain(&io, 5, true), 1);
		/* Masking keeps it; so does any rewrite that stays level. */
		set_low(&io, 5, VIOAPIC_LEVEL | VIOAPIC_MASKED | 0x61);
		assert_true(low(&io, 5) & VIOAPIC_REMOTE_IRR);
		set_low(&io, 5, (mode < 2 ? 0 : VIOAPIC_LEVEL) | mode << 8 | VIOAPIC_MASKED | 0x61);
		assert_false(low(&io, 5) & VIOAPIC_REMOTE_IRR);
		assert_int_equal(drain(&io, 5, true), 0);
		set_low(&io, 5, VIOAPIC_LEVEL | 0x61);
		assert_int_equal(drain(&io, 5, true), 1);
	}
}

/* NMI, SMI, INIT and ExtINT: an edge each, programmed as level or not, and never a remote IRR. */
static void signals_are_edges(void **state)
{
	static const enum apic_mode signals[] = { APIC_MODE_SMI, APIC_MODE_NMI, APIC_MODE_INIT,
		                                  APIC_MODE_EXTINT };

	(void)state;
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		for (uint32_t trigger = 0; trigger < 2; trigger++) {
			struct vioapic io;
			uint32_t entry = (uint32_t)signals[i] << 8 | trigger * VIOAPIC_LEVEL;

			vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
			vioapic_set_line(&io, 0, true);
			set_low(&io, 0, entry);
			assert_int_equal(drain(&io, 0, true), 0);
			vioapic_set_line(&io, 0, false);
			vioapic_set_line(&io, 0, true);
			assert_int_equal(drain(&io, 0, true), 1);
			assert_int_equal(low(&io, 0), entry);
			vioapic_eoi(&io, 0);
			assert_int_equal(drain(&io, 0, true), 0);
		}
	}
}

/* A reserved mode sends nothing: an edge is lost on it, a level is seen when the mode becomes valid. */
static void reserved_modes_are_silent(void **state)
{
	(void)state;
	for (uint32_t mode = 3; mode <= 6; mode += 3) {
		struct vioapic io;

		vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
		set_low(&io, 8, mode << 8 | 0x51);
		set_low(&io, 9, mode << 8 | VIOAPIC_LEVEL | 0x51);
		vioapic_set_line(&io, 8, true);
		vioapic_set_line(&io, 9, true);
		assert_int_equal(drain(&io, 9, true), 0);
		assert_false(low(&io, 9) & VIOAPIC_STATUS);
		set_low(&io, 8, 0x51);
		assert_int_equal(drain(&io, 8, true), 0);
		set_low(&io, 9, VIOAPIC_LEVEL | 0x51);
		assert_int_equal(drain(&io, 9, true), 1);
	}
}

/* Nobody accepts: send pending, no remote IRR, no second attempt until a retry or a rewrite. */
static void held_up(void **state)
{
	(void)state;
	for (uint32_t trigger = 0; trigger < 2; trigger++) {
		struct vioapic io;
		uint32_t entry = trigger * VIOAPIC_LEVEL | 0x51;

		vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
		set_low(&io, 7, entry);
		vioapic_set_line(&io, 7, true);
		assert_int_equal(drain(&io, 7, false), 1);
		assert_true(io.held);
		assert_int_equal(low(&io, 7), entry | VIOAPIC_STATUS);
		assert_int_equal(drain(&io, 7, false), 0);
		vioapic_retry(&io);
		assert_int_equal(drain(&io, 7, false), 1);
		set_high(&io, 8, 1); /* another entry's write is no retry of this one */
		assert_int_equal(drain(&io, 7, false), 0);
		set_high(&io, 7, 1);
		assert_int_equal(drain(&io, 7, false), 1);
		set_low(&io, 7, entry);
		assert_int_equal(drain(&io, 7, false), 1);
		vioapic_set_line(&io, 7, false);
		/* An edge was taken and stays; a level that dropped was withdrawn. */
		assert_int_equal(low(&io, 7), entry | (trigger ? 0 : VIOAPIC_STATUS));
		vioapic_set_line(&io, 7, true);
		vioapic_retry(&io);
		assert_false(io.held);
		assert_int_equal(drain(&io, 7, true), 1);
		assert_int_equal(low(&io, 7), entry | (trigger ? VIOAPIC_REMOTE_IRR : 0));
	}
}

/* Lowest pin first, and a pin that is held up keeps none of the others. */
static void order(void **state)
{
	struct vioapic io;
	struct apic_msg msg;
	unsigned pin;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
	for (unsigned i = 0; i < VIOAPIC_PINS; i++) {
		set_low(&io, i, VECTOR(i) | (i & 1 ? VIOAPIC_LEVEL : 0));
		vioapic_set_line(&io, i, true);
	}
	for (unsigned i = 0; i < VIOAPIC_PINS; i++) {
		assert_true(vioapic_next(&io, &pin, &msg));
		assert_int_equal(pin, i);
		assert_int_equal(msg.vector, VECTOR(i));
		vioapic_sent(&io, pin, i % 3);
	}
	assert_false(vioapic_next(&io, &pin, &msg));
	vioapic_retry(&io);
	for (unsigned i = 0; i < VIOAPIC_PINS; i += 3) {
		assert_true(vioapic_next(&io, &pin, &msg));
		assert_int_equal(pin, i);
		vioapic_sent(&io, pin, true);
	}
	assert_false(vioapic_next(&io, &pin, &msg));
	vioapic_set_line(&io, VIOAPIC_PINS, true);
	vioapic_set_line(&io, 64, true);
	assert_false(vioapic_next(&io, &pin, &msg));
}

/* One EOI serves every level entry of that vector, edge entries none; the register only in 0x20. */
static void eoi_by_vector(void **state)
{
	static const uint8_t versions[] = { VIOAPIC_VERSION_82093AA, VIOAPIC_VERSION_EOI };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		bool served = versions[i] == VIOAPIC_VERSION_EOI;
		struct vioapic io;
		struct apic_msg msg;
		unsigned pin;

		vioapic_init(&io, versions[i], 0);
		for (pin = 10; pin < 16; pin++) {
			set_low(&io, pin, VIOAPIC_LEVEL | (pin < 13 ? 0x71 : 0x72));
			vioapic_set_line(&io, pin, true);
		}
		set_low(&io, 16, 0x71);
		while (vioapic_next(&io, &pin, &msg))
			vioapic_sent(&io, pin, true);
		vioapic_write(&io, VIOAPIC_EOI, 0xffffff71);
		for (pin = 10; pin < 16; pin++)
			assert_int_equal(!(low(&io, pin) & VIOAPIC_REMOTE_IRR), served && pin < 13);
		assert_false(low(&io, 16) & VIOAPIC_STATUS);
		vioapic_eoi(&io, 0x72);
		for (pin = 13; pin < 16; pin++)
			assert_true(low(&io, pin) & VIOAPIC_STATUS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edge),
		cmocka_unit_test(edge_on_masked_pin_is_lost),
		cmocka_unit_test(polarity_write_makes_no_edge),
		cmocka_unit_test(level),
		cmocka_unit_test(level_to_edge_clears_remote_irr),
		cmocka_unit_test(signals_are_edges),
		cmocka_unit_test(reserved_modes_are_silent),
		cmocka_unit_test(held_up),
		cmocka_unit_test(order),
		cmocka_unit_test(eoi_by_vector),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
