/* SPDX-License-Identifier: MIT */
/* The 8254's registers: access modes, BCD, counter latch, read-back, status, and port 0x61. */
/* SOURCES: kernel/vic/vpit.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/vpit_out.h"

#define ACCESS_LSB  1u
#define ACCESS_MSB  2u
#define ACCESS_BOTH 3u

static uint8_t control(unsigned ch, unsigned access, unsigned mode, unsigned bcd)
{
	return (uint8_t)(ch << 6 | access << 4 | mode << 1 | bcd);
}

static uint16_t port_of(unsigned ch)
{
	return (uint16_t)(0x40 + ch);
}

static uint16_t read_both(struct vpit *pit, unsigned ch, uint64_t now)
{
	uint8_t low = vpit_read(pit, port_of(ch), now);

	return (uint16_t)(vpit_read(pit, port_of(ch), now) << 8 | low);
}

static void load(struct vpit *pit, unsigned ch, unsigned mode, uint16_t count, uint64_t now)
{
	vpit_write(pit, 0x43, control(ch, ACCESS_BOTH, mode, 0), now);
	vpit_write(pit, port_of(ch), (uint8_t)count, now);
	vpit_write(pit, port_of(ch), (uint8_t)(count >> 8), now);
}

static void other_ports(void **state)
{
	static const uint16_t ports[] = { 0, 0x3f, 0x44, 0x61, 0xffff };
	struct vpit pit, before;

	(void)state;
	vpit_init(&pit, 5);
	for (unsigned ch = 0; ch < VPIT_CHANNELS; ch++)
		assert_true(vpit_out(&pit, ch, 5));
	assert_int_equal(vpit_deadline(&pit, 5), VPIT_NEVER);
	assert_int_equal(vpit_read(&pit, 0x43, 5), 0xff);
	for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		before = pit;
		assert_int_equal(vpit_read(&pit, ports[i], 5), 0xff);
		vpit_write(&pit, ports[i], 0x30, 5);
		assert_memory_equal(&pit, &before, sizeof(pit));
	}
}

/* What one access mode writes and reads: the other byte of a count written by halves is 0. */
static void access_modes(void **state)
{
	struct vpit pit;

	(void)state;
	for (unsigned ch = 0; ch < VPIT_CHANNELS; ch++) {
		vpit_init(&pit, 0);
		vpit_port61_write(&pit, 1, 0);
		vpit_write(&pit, 0x43, control(ch, ACCESS_LSB, 2, 0), 0);
		vpit_write(&pit, port_of(ch), 0x34, 0);
		assert_int_equal(vpit_read(&pit, port_of(ch), 1), 0x34);
		assert_int_equal(vpit_read(&pit, port_of(ch), 2), 0x33);
		vpit_write(&pit, 0x43, control(ch, ACCESS_MSB, 2, 0), 10);
		vpit_write(&pit, port_of(ch), 0x12, 10);
		assert_int_equal(vpit_read(&pit, port_of(ch), 11), 0x12);
		assert_int_equal(vpit_read(&pit, port_of(ch), 12), 0x11);
		load(&pit, ch, 2, 0x1234, 20);
		assert_int_equal(read_both(&pit, ch, 21), 0x1234);
		assert_int_equal(read_both(&pit, ch, 22), 0x1233);
		/* A control word forgets that one byte was read. */
		vpit_read(&pit, port_of(ch), 22);
		load(&pit, ch, 2, 0x5678, 30);
		assert_int_equal(read_both(&pit, ch, 31), 0x5678);
	}
}

/* The counting element at each tick: down to 0 and around, by twos in mode 3, decimal in BCD. */
static void counting(void **state)
{
	struct vpit pit;

	(void)state;
	vpit_init(&pit, 0);
	load(&pit, 0, 0, 3, 0);
	for (unsigned t = 1; t < 70000; t += 13)
		assert_int_equal(read_both(&pit, 0, t), (4 - t) & 0xffff);
	load(&pit, 1, 3, 10, 100000);
	for (unsigned t = 0; t < 50; t++)
		assert_int_equal(read_both(&pit, 1, 100001 + t), 10 - t % 5 * 2);
	vpit_write(&pit, 0x43, control(0, ACCESS_BOTH, 4, 1), 200000);
	vpit_write(&pit, 0x40, 0x01, 200000);
	vpit_write(&pit, 0x40, 0x10, 200000);
	assert_int_equal(read_both(&pit, 0, 200001), 0x1001);
	assert_int_equal(read_both(&pit, 0, 200003), 0x0999);
	assert_int_equal(read_both(&pit, 0, 201002), 0x0000);
	assert_int_equal(read_both(&pit, 0, 201003), 0x9999);
	/* Digits that are none: the count is one of four digits all the same. */
	vpit_write(&pit, 0x43, control(0, ACCESS_MSB, 4, 1), 300000);
	vpit_write(&pit, 0x40, 0xff, 300000);
	assert_int_equal(vpit_read(&pit, 0x40, 300001), 0x65);
}

/* A latched count stays until it is read whole; a second latch before that says nothing. */
static void counter_latch(void **state)
{
	struct vpit pit;

	(void)state;
	for (unsigned ch = 0; ch < VPIT_CHANNELS; ch++) {
		uint8_t latch = control(ch, 0, 0, 0);

		vpit_init(&pit, 0);
		vpit_port61_write(&pit, 1, 0);
		load(&pit, ch, 2, 0x1000, 0);
		vpit_write(&pit, 0x43, latch, 2);
		vpit_write(&pit, 0x43, latch, 100);
		assert_int_equal(read_both(&pit, ch, 200), 0x0fff);
		assert_int_equal(read_both(&pit, ch, 0x101), 0x0f00);
		vpit_write(&pit, 0x43, latch, 0x201);
		assert_int_equal(vpit_read(&pit, port_of(ch), 0x300), 0x00);
		vpit_write(&pit, 0x43, latch, 0x302);
		assert_int_equal(vpit_read(&pit, port_of(ch), 0x400), 0x0e);
		assert_int_equal(read_both(&pit, ch, 0x401), 0x0c00);
		/* Reprogramming lets go of it. */
		vpit_write(&pit, 0x43, latch, 0x402);
		load(&pit, ch, 2, 0x4321, 0x500);
		assert_int_equal(read_both(&pit, ch, 0x501), 0x4321);
		/* One byte is all of it where one byte is accessed. */
		vpit_write(&pit, 0x43, control(ch, ACCESS_MSB, 2, 0), 0x600);
		vpit_write(&pit, port_of(ch), 0x80, 0x600);
		vpit_write(&pit, 0x43, latch, 0x601);
		assert_int_equal(vpit_read(&pit, port_of(ch), 0x701), 0x80);
		assert_int_equal(vpit_read(&pit, port_of(ch), 0x702), 0x7e);
	}
}

/* The status is the control word as it was written, the null count flag, and OUT. */
static void status(void **state)
{
	struct vpit pit;

	(void)state;
	for (unsigned ch = 0; ch < VPIT_CHANNELS; ch++) {
		uint8_t command = (uint8_t)(0xe0 | 2u << ch);

		for (unsigned bits = 0x10; bits < 0x40; bits++) {
			bool low = (bits >> 1 & 7) == 0;

			vpit_init(&pit, 0);
			vpit_write(&pit, 0x43, (uint8_t)(ch << 6 | bits), 0);
			vpit_write(&pit, 0x43, command, 0);
			assert_int_equal(vpit_read(&pit, port_of(ch), 0), bits | 0x40 | (low ? 0 : 0x80));
		}
		/* Null count: from the write to the pulse that loads it. */
		vpit_port61_write(&pit, 1, 0);
		load(&pit, ch, 2, 5, 10);
		vpit_write(&pit, 0x43, command, 10);
		assert_int_equal(vpit_read(&pit, port_of(ch), 10), 0xf4);
		vpit_write(&pit, 0x43, command, 11);
		assert_int_equal(vpit_read(&pit, port_of(ch), 11), 0xb4);
		/* Mode 2 loads the next one at the end of the cycle (tick 16), after a CLK with OUT low. */
		vpit_write(&pit, port_of(ch), 9, 12);
		vpit_write(&pit, 0x43, command, 12);
		assert_int_equal(vpit_read(&pit, port_of(ch), 12), 0xb4);
		vpit_write(&pit, port_of(ch), 0, 12);
		vpit_write(&pit, 0x43, command, 15);
		vpit_write(&pit, 0x43, command, 16); /* ignored: the first one was not read */
		assert_int_equal(vpit_read(&pit, port_of(ch), 16), 0x74);
		vpit_write(&pit, 0x43, command, 16);
		assert_int_equal(vpit_read(&pit, port_of(ch), 17), 0xb4);
	}
}

/* Read-back: any set of channels, count, status or both; the status is read first. */
static void read_back(void **state)
{
	(void)state;
	for (unsigned command = 0; command < 64; command++) {
		struct vpit pit;

		vpit_init(&pit, 0);
		vpit_port61_write(&pit, 1, 0);
		for (unsigned ch = 0; ch < VPIT_CHANNELS; ch++)
			load(&pit, ch, 2, (uint16_t)(0x1000 * (ch + 1)), 0);
		vpit_write(&pit, 0x43, (uint8_t)(0xc0 | command), 0x101);
		for (unsigned ch = 0; ch < VPIT_CHANNELS; ch++) {
			bool chosen = command >> (ch + 1) & 1;
			uint16_t count = (uint16_t)(0x1000 * (ch + 1));

			if (chosen && !(command & 0x10))
				assert_int_equal(vpit_read(&pit, port_of(ch), 0x200), 0xb4);
			if (chosen && !(command & 0x20))
				assert_int_equal(read_both(&pit, ch, 0x200), count - 0x100);
			assert_int_equal(read_both(&pit, ch, 0x201), count - 0x200);
		}
	}
}

/* Bits 3:0 are as written, 4 toggles every 18 ticks, 5 is OUT of channel 2, 7:6 are 0. */
static void port61(void **state)
{
	struct vpit pit;

	(void)state;
	vpit_init(&pit, 0);
	for (unsigned value = 0; value < 256; value++) {
		vpit_port61_write(&pit, (uint8_t)value, 0);
		assert_int_equal(vpit_port61_read(&pit, 0), (value & 0x0f) | 0x20);
	}
	vpit_port61_write(&pit, 0x03, 0);
	vpit_write(&pit, 0x43, control(2, ACCESS_LSB, 0, 0), 0);
	vpit_write(&pit, 0x42, 99, 0);
	for (unsigned t = 0; t < 200; t++)
		assert_int_equal(vpit_port61_read(&pit, t),
		                 0x03 | (t / 18 % 2 ? 0x10 : 0) | (t >= 100 ? 0x20 : 0));
	/* The gate stops channel 2 and no other. */
	load(&pit, 0, 0, 1000, 300);
	load(&pit, 2, 0, 1000, 300);
	vpit_port61_write(&pit, 0x02, 401);
	assert_int_equal(read_both(&pit, 2, 500), 900);
	assert_int_equal(read_both(&pit, 0, 501), 800);
	vpit_port61_write(&pit, 0x01, 600);
	assert_int_equal(read_both(&pit, 2, 601), 899);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_ports),   cmocka_unit_test(access_modes), cmocka_unit_test(counting),
		cmocka_unit_test(counter_latch), cmocka_unit_test(status),       cmocka_unit_test(read_back),
		cmocka_unit_test(port61),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
