/* SPDX-License-Identifier: MIT */
/* The 8254 against an oracle that steps every CLK pulse, over random writes, reads, gates and waits. */
/* SOURCES: kernel/vic/vpit.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/vpit_out.h"

struct counter {
	unsigned mode, access;
	uint32_t cr, ce, cycle;
	uint8_t control, first, ol[2], status;
	bool bcd, gate, out, load, enabled, waiting, null, written, second, read_second, latched,
		status_latched;
	uint64_t rises;
};

static uint64_t seed;

static uint32_t roll(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % below;
}

static void set_out(struct counter *c, bool out)
{
	if (out && !c->out)
		c->rises++;
	c->out = out;
}

static void transfer(struct counter *c)
{
	c->cycle = c->cr;
	c->ce = c->mode == 3 ? c->cr - c->cr % 2 : c->cr;
	c->null = false;
	c->enabled = true;
	c->waiting = true;
}

/* Steps of two; the high half of an odd count has a pulse more, at 0. With a count of 1 OUT rests high. */
static void pulse_square(struct counter *c)
{
	bool expired = c->ce == 0;

	if (c->cycle == 1)
		return;
	if (!expired) {
		c->ce -= 2;
		expired = c->ce == 0 && !(c->cycle % 2 && c->out);
	}
	if (!expired)
		return;
	set_out(c, !c->out);
	transfer(c);
	if (c->cycle == 1)
		set_out(c, true);
}

static void pulse_counting(struct counter *c)
{
	switch (c->mode) {
	case 2:
		if (c->cycle == 1)
			break;
		if (c->ce == 1) {
			transfer(c);
			set_out(c, true);
		} else {
			c->ce--;
		}
		if (c->ce == 1 && c->cycle != 1)
			set_out(c, false);
		break;
	case 3:
		pulse_square(c);
		break;
	default:
		c->ce = c->ce ? c->ce - 1 : (c->bcd ? 9999 : 65535);
		if (c->ce == 0 && c->waiting) {
			c->waiting = false;
			set_out(c, c->mode < 2);
		}
	}
}

static void pulse(struct counter *c)
{
	bool runs = c->enabled && (c->gate || c->mode == 1 || c->mode == 5);

	if (c->load) {
		c->load = false;
		transfer(c);
		set_out(c, c->mode > 1);
		return;
	}
	if (c->mode >= 4)
		set_out(c, true);
	if (runs)
		pulse_counting(c);
}

static uint16_t digits(const struct counter *c, uint32_t n)
{
	uint16_t raw = 0;

	if (!c->bcd)
		return (uint16_t)n;
	for (unsigned shift = 0; shift < 16; shift += 4, n /= 10)
		raw = (uint16_t)(raw | n % 10 << shift);
	return raw;
}

static void oracle_control(struct counter *c, uint8_t value)
{
	*c = (struct counter){ .ce = c->ce, .cr = c->cr, .gate = c->gate, .out = c->out, .rises = c->rises };
	c->control = value & 0x3f;
	c->mode = value >> 1 & 7;
	c->mode = c->mode > 5 ? c->mode - 4 : c->mode;
	c->access = value >> 4 & 3;
	c->bcd = value & 1;
	c->null = true;
	set_out(c, c->mode != 0);
}

static void oracle_write(struct counter *c, uint8_t value)
{
	uint32_t raw = c->access == 1 ? value : (uint32_t)value << 8;
	uint32_t n = 0;

	if (c->access == 3 && !c->second) {
		c->second = true;
		c->first = value;
		if (c->mode == 0) {
			c->enabled = false;
			c->load = false;
			set_out(c, false);
		}
		return;
	}
	if (c->access == 3)
		raw |= c->first;
	c->second = false;
	for (int shift = 12; shift >= 0; shift -= 4)
		n = n * (c->bcd ? 10 : 16) + (raw >> shift & 15);
	n %= c->bcd ? 10000 : 65536;
	c->cr = n ? n : (c->bcd ? 10000 : 65536);
	c->null = true;
	if (c->mode == 0)
		set_out(c, false);
	if (c->mode == 0 || c->mode == 4 ||
	    ((c->mode == 2 || c->mode == 3) && (!c->written || c->cycle == 1)))
		c->load = true;
	c->written = true;
}

static void oracle_gate(struct counter *c, bool gate)
{
	if (gate && !c->gate && c->mode % 4 && c->written)
		c->load = true;
	if (!gate && (c->mode == 2 || c->mode == 3))
		set_out(c, true);
	c->gate = gate;
}

static void oracle_latch(struct counter *c, bool count, bool status)
{
	uint16_t raw = digits(c, c->ce);

	if (count && !c->latched) {
		c->latched = true;
		c->ol[0] = (uint8_t)raw;
		c->ol[1] = (uint8_t)(raw >> 8);
	}
	if (status && !c->status_latched) {
		c->status_latched = true;
		c->status = (uint8_t)(c->out << 7 | c->null << 6 | c->control);
	}
}

static uint8_t oracle_read(struct counter *c)
{
	uint32_t raw = digits(c, c->ce);
	bool high = c->access == 2 || (c->access == 3 && c->read_second);

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->latched)
		raw = (uint32_t)(c->ol[1] << 8 | c->ol[0]);
	c->read_second = c->access == 3 && !high;
	if (!c->read_second)
		c->latched = false;
	return (uint8_t)(high ? raw >> 8 : raw);
}

static void operate(struct vpit *pit, struct counter *c, uint64_t now)
{
	unsigned ch = roll(3);
	uint8_t value = (uint8_t)roll(256);

	switch (roll(8)) {
	case 0:
		value = (uint8_t)((value & 0x0f) | (roll(3) + 1) << 4 | ch << 6);
		vpit_write(pit, 0x43, value, now);
		oracle_control(&c[ch], value);
		break;
	case 1:
		value = (uint8_t)(0xc0 | (value & 0x3f));
		vpit_write(pit, 0x43, value, now);
		for (unsigned i = 0; i < 3; i++)
			if (value >> (i + 1) & 1)
				oracle_latch(&c[i], !(value & 0x20), !(value & 0x10));
		break;
	case 2:
		vpit_write(pit, 0x43, (uint8_t)(ch << 6), now);
		oracle_latch(&c[ch], true, false);
		break;
	case 3:
		vpit_port61_write(pit, value, now);
		oracle_gate(&c[2], value & 1);
		break;
	case 4:
	case 5: /* mostly short counts, so that there is something to see */
		value = roll(4) ? value & 7 : value;
		vpit_write(pit, (uint16_t)(0x40 + ch), value, now);
		oracle_write(&c[ch], value);
		break;
	default:
		assert_int_equal(vpit_read(pit, (uint16_t)(0x40 + ch), now), oracle_read(&c[ch]));
		break;
	}
}

/* The deadline, by playing the oracle on: where OUT has risen, or fallen for longer than a strobe. */
static uint64_t oracle_deadline(struct counter c, uint64_t now, uint64_t limit)
{
	bool before = c.out, brief = c.mode == 2 || c.mode >= 4;
	uint64_t rises = c.rises;

	for (uint64_t t = now + 1; t <= limit; t++) {
		pulse(&c);
		if (c.rises != rises || (before && !c.out && !brief))
			return t;
	}
	return VPIT_NEVER;
}

static void random_sequences(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 300; run++) {
		struct vpit pit;
		struct counter c[3];
		uint64_t now = roll(1000), rises = 0, due;

		seed = run;
		vpit_init(&pit, now);
		memset(c, 0, sizeof(c));
		for (unsigned i = 0; i < 3; i++) {
			c[i].gate = i != 2;
			vpit_write(&pit, 0x43, (uint8_t)(0x36 | i << 6), now);
			c[i].out = true;
			c[i].ce = 0;
			oracle_control(&c[i], 0x36);
		}
		for (unsigned n = 0; n < 400; n++) {
			uint32_t wait = roll(3) ? roll(4) : roll(60) ? roll(40) : roll(100000);

			for (uint32_t i = 0; i < 3 * wait; i++)
				pulse(&c[i % 3]);
			now += wait;
			operate(&pit, c, now);
			for (unsigned i = 0; i < 3; i++)
				assert_int_equal(vpit_out(&pit, i, now), c[i].out);
			rises += vpit_tick(&pit, now).rises;
			assert_int_equal(rises, c[0].rises);
			due = vpit_deadline(&pit, now);
			assert_int_equal(due <= now + 100 ? due : VPIT_NEVER,
			                 oracle_deadline(c[0], now, now + 100));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sequences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
