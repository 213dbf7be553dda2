/* SPDX-License-Identifier: MIT */
/* The 8254's waveforms: all six modes, the gate, new counts, edges and deadlines. */
/* SOURCES: kernel/vic/vpit.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/vpit_out.h"

#define LSB(ch, mode)  (uint8_t)((ch) << 6 | 0x10 | (mode) << 1)
#define BOTH(ch, mode) (uint8_t)((ch) << 6 | 0x30 | (mode) << 1)
#define PORT(ch)       (uint16_t)(0x40 + (ch))

/* OUT of a channel at tick `from` and at each tick after it: H or L. */
static void assert_wave(struct vpit *pit, unsigned ch, uint64_t from, const char *wave)
{
	for (uint64_t t = from; *wave; wave++, t++)
		if (vpit_out(pit, ch, t) != (*wave == 'H'))
			fail_msg("OUT of channel %u at tick %d, before \"%s\"", ch, (int)(t - from), wave);
}

/* Channel 2 with its gate high, or channel 0: a mode and a count of one byte, both written at tick 1000. */
static void start(struct vpit *pit, unsigned ch, unsigned mode, uint8_t count)
{
	vpit_init(pit, 1000);
	if (ch == 2)
		vpit_port61_write(pit, 1, 1000);
	vpit_write(pit, 0x43, LSB(ch, mode), 1000);
	vpit_write(pit, PORT(ch), count, 1000);
}

/* As the data sheet draws them: the count is written at the first letter. 6 and 7 are 2 and 3. */
static void software_modes(void **state)
{
	static const struct {
		unsigned mode;
		uint8_t count;
		const char *wave;
	} drawn[] = {
		{ 0, 4, "LLLLLHHHHHHHHH" },      { 0, 1, "LLHHHHHHH" },       { 2, 3, "HHHLHHLHHLHHLHHL" },
		{ 2, 2, "HHLHLHLHLHL" },         { 3, 4, "HHHLLHHLLHHLLHH" }, { 3, 5, "HHHHLLHHHLLHHHLLH" },
		{ 3, 2, "HHLHLHLHLHL" },         { 3, 3, "HHHLHHLHHLHHL" },   { 4, 3, "HHHHLHHHHHHHH" },
		{ 4, 1, "HHLHHHHHH" },           { 6, 3, "HHHLHHLHHLHHL" },   { 7, 4, "HHHLLHHLLHHLL" },
		{ 1, 3, "HHHHHHHHHHHHHHHHHHH" }, { 5, 3, "HHHHHHHHHHHHHHH" }, { 2, 1, "HHHHHHHHHHHHHHHHH" },
		{ 3, 1, "HHHHHHHHHHHHHHHHHHH" },
	};
	struct vpit pit;

	(void)state;
	for (unsigned i = 0; i < sizeof(drawn) / sizeof(drawn[0]); i++) {
		for (unsigned ch = 0; ch < VPIT_CHANNELS; ch++) {
			start(&pit, ch, drawn[i].mode, drawn[i].count);
			assert_wave(&pit, ch, 1000, drawn[i].wave);
		}
	}
}

/* Modes 1 and 5 start with a rising gate, and again with each. */
static void triggered_modes(void **state)
{
	struct vpit pit;

	(void)state;
	for (unsigned mode = 1; mode <= 5; mode += 4) {
		start(&pit, 2, mode, 3);
		assert_wave(&pit, 2, 1000, "HHHH");
		vpit_port61_write(&pit, 0, 1010);
		vpit_port61_write(&pit, 1, 1020);
		vpit_port61_write(&pit, 1, 1020);
		assert_wave(&pit, 2, 1020, mode == 1 ? "HLLLHHHH" : "HHHHLHHH");
		/* The gate's level is nothing to them, its edge in the middle is a new start. */
		vpit_port61_write(&pit, 0, 1030);
		vpit_port61_write(&pit, 1, 1030);
		assert_wave(&pit, 2, 1030, mode == 1 ? "HL" : "HH");
		vpit_port61_write(&pit, 0, 1032);
		vpit_port61_write(&pit, 1, 1032);
		assert_wave(&pit, 2, 1032, mode == 1 ? "LLLLHH" : "HHHHLH");
		/* A new count waits for the next trigger. */
		vpit_port61_write(&pit, 0, 1040);
		vpit_port61_write(&pit, 1, 1040);
		vpit_write(&pit, 0x42, 1, 1041);
		assert_wave(&pit, 2, 1041, mode == 1 ? "LLLHHH" : "HHHLHH");
		vpit_port61_write(&pit, 0, 1050);
		vpit_port61_write(&pit, 1, 1050);
		assert_wave(&pit, 2, 1050, mode == 1 ? "HLHHH" : "HHLHH");
	}
	/* No count, no start. */
	vpit_write(&pit, 0x43, LSB(2, 1), 1060);
	vpit_port61_write(&pit, 0, 1060);
	vpit_port61_write(&pit, 1, 1060);
	assert_wave(&pit, 2, 1060, "HHHHHH");
}

/* "Gate Pin Operations Summary": modes 0 and 4 pause, 2 and 3 go high and start over. */
static void gate(void **state)
{
	static const char *const resumed[] = { "LLLHH", NULL, "HHHHHLHHHHLH", "HHHHLLLHHHLLL", "HHHLH" };
	struct vpit pit;

	(void)state;
	for (unsigned mode = 0; mode <= 4; mode++) {
		uint8_t count = mode == 3 ? 6 : 5;

		if (mode == 1)
			continue;
		start(&pit, 2, mode, count);
		vpit_out(&pit, 2, 1003); /* 3 left */
		vpit_port61_write(&pit, 0, 1003);
		assert_wave(&pit, 2, 1003, mode ? "HHHHHHHHHHH" : "LLLLLLLLLLL");
		vpit_port61_write(&pit, 1, 1050);
		assert_wave(&pit, 2, 1050, resumed[mode]);
	}
	/* A gate that drops while a periodic OUT is low sets it high at once. */
	start(&pit, 2, 2, 3);
	assert_wave(&pit, 2, 1000, "HHHL");
	vpit_port61_write(&pit, 0, 1003);
	assert_wave(&pit, 2, 1003, "HHHH");
	start(&pit, 2, 3, 6);
	assert_wave(&pit, 2, 1000, "HHHHL");
	vpit_port61_write(&pit, 0, 1004);
	assert_wave(&pit, 2, 1004, "HHHH");
	/* A count written while the gate is low is loaded then, and runs when the gate rises. */
	vpit_write(&pit, 0x43, LSB(2, 0), 1100);
	vpit_write(&pit, 0x42, 2, 1100);
	assert_wave(&pit, 2, 1100, "LLLLLL");
	vpit_port61_write(&pit, 1, 1110);
	assert_wave(&pit, 2, 1110, "LLHH");
	/* A strobe is one pulse long, whatever the gate does. */
	start(&pit, 2, 4, 2);
	assert_wave(&pit, 2, 1000, "HHHL");
	vpit_port61_write(&pit, 0, 1003);
	assert_wave(&pit, 2, 1003, "LHHH");
}

/* A count of 0 is the largest: 65,536, or 10,000 in BCD. The gate loses none of it. */
static void largest_count(void **state)
{
	struct vpit pit;

	(void)state;
	for (unsigned bcd = 0; bcd < 2; bcd++) {
		uint64_t n = bcd ? 10000 : 65536;

		vpit_init(&pit, 0);
		vpit_port61_write(&pit, 1, 0);
		vpit_write(&pit, 0x43, (uint8_t)(LSB(2, 0) | bcd), 0);
		vpit_write(&pit, 0x42, 0, 0);
		vpit_port61_write(&pit, 0, 1);
		vpit_port61_write(&pit, 1, 100);
		assert_false(vpit_out(&pit, 2, 100 + n - 1));
		assert_true(vpit_out(&pit, 2, 100 + n));
		vpit_write(&pit, 0x43, (uint8_t)(LSB(0, 2) | bcd), 1u << 20);
		vpit_write(&pit, 0x40, 0, 1u << 20);
		assert_int_equal(vpit_deadline(&pit, 1u << 20), (1u << 20) + n + 1);
	}
}

/* A new count: at once in modes 0 and 4, at the end of the cycle in mode 2, of the half-cycle in mode 3. */
static void new_count(void **state)
{
	struct vpit pit;

	(void)state;
	start(&pit, 0, 0, 9);
	vpit_write(&pit, 0x40, 2, 1004);
	assert_wave(&pit, 0, 1004, "LLLHHH");
	vpit_write(&pit, 0x40, 2, 1020); /* and OUT falls at the write */
	assert_wave(&pit, 0, 1020, "LLLHHH");
	start(&pit, 0, 4, 9);
	vpit_write(&pit, 0x40, 2, 1004);
	assert_wave(&pit, 0, 1004, "HHHLHHHHHHHHHHHH");
	start(&pit, 0, 4, 2);
	assert_wave(&pit, 0, 1000, "HHHL");
	vpit_write(&pit, 0x40, 2, 1003);
	assert_wave(&pit, 0, 1003, "LHHLHH");
	start(&pit, 0, 2, 5);
	vpit_write(&pit, 0x40, 2, 1002);
	assert_wave(&pit, 0, 1002, "HHHLHLHLH");
	start(&pit, 0, 3, 6);
	vpit_write(&pit, 0x40, 2, 1002);
	assert_wave(&pit, 0, 1002, "HHLHLHLH");
	start(&pit, 0, 3, 6);
	vpit_write(&pit, 0x40, 1, 1002); /* illegal: it must come to rest */
	assert_wave(&pit, 0, 1002, "HHHHHHHHH");
	/* With a trigger in between, with the next pulse. */
	start(&pit, 2, 2, 9);
	vpit_write(&pit, 0x42, 2, 1002);
	vpit_port61_write(&pit, 0, 1003);
	vpit_port61_write(&pit, 1, 1003);
	assert_wave(&pit, 2, 1003, "HHLHLHL");
}

/* Two bytes: mode 0 stops at the first, and loads with the second; the others count on. */
static void two_byte_count(void **state)
{
	struct vpit pit;

	(void)state;
	for (unsigned mode = 0; mode <= 4; mode += 2) {
		vpit_init(&pit, 0);
		vpit_write(&pit, 0x43, BOTH(0, mode), 0);
		vpit_write(&pit, 0x40, 4, 0);
		assert_wave(&pit, 0, 0, mode ? "HHHHHHHHH" : "LLLLLLLLL");
		vpit_write(&pit, 0x40, 0, 10);
		assert_wave(&pit, 0, 10, mode == 0 ? "LLLLLH" : mode == 2 ? "HHHHLHHHL" : "HHHHHLH");
		vpit_write(&pit, 0x40, 9, 20);
		assert_wave(&pit, 0, 20, mode == 0 ? "LLLLLL" : mode == 2 ? "HHLHHHLHH" : "HHHHHH");
		vpit_write(&pit, 0x40, 1, 30);
		assert_int_equal(vpit_deadline(&pit, 30), mode == 2 ? 31 : 30 + 0x10a + (mode == 4));
	}
	/* The first byte also takes back a count that was not loaded yet. */
	vpit_write(&pit, 0x43, BOTH(0, 0), 5000);
	vpit_write(&pit, 0x40, 2, 5000);
	vpit_write(&pit, 0x40, 0, 5000);
	vpit_write(&pit, 0x40, 3, 5000);
	assert_int_equal(vpit_deadline(&pit, 5000), VPIT_NEVER);
	/* A control word begins the pair anew. */
	vpit_write(&pit, 0x43, BOTH(0, 0), 5001);
	vpit_write(&pit, 0x40, 7, 5001);
	vpit_write(&pit, 0x40, 0, 5001);
	assert_int_equal(vpit_deadline(&pit, 5001), 5001 + 8);
}

/* Edges of channel 0, and deadlines that meet each change; pulses of one CLK count as one. */
static void edges_and_deadlines(void **state)
{
	struct vpit pit;
	struct vpit_edges e;
	uint64_t t = 1000;

	(void)state;
	start(&pit, 0, 3, 7);
	for (int i = 0; i < 10; i++) {
		t = vpit_deadline(&pit, t);
		assert_int_equal(t, 1001 + 7 * (i / 2) + (i & 1 ? 7 : 4));
		e = vpit_tick(&pit, t);
		assert_int_equal(e.rises, i & 1);
		assert_int_equal(e.out, i & 1);
	}
	start(&pit, 0, 2, 7);
	for (int i = 1; i < 10; i++) {
		t = vpit_deadline(&pit, i == 1 ? 1000 : t);
		assert_int_equal(t, 1001 + 7 * i);
		/* Asked within the pulse, it is the same end. */
		assert_int_equal(vpit_deadline(&pit, t - 1), t);
		e = vpit_tick(&pit, t);
		assert_int_equal(e.rises, 1);
		assert_true(e.out);
	}
	/* A thousand million periods cost nothing, and each is told of, once. */
	e = vpit_tick(&pit, t + 7000000000ull);
	assert_int_equal(e.rises, 1000000000);
	assert_int_equal(vpit_tick(&pit, t).rises, 0); /* time does not run backwards */
	start(&pit, 0, 0, 3);
	assert_false(vpit_tick(&pit, 1000).out);
	assert_int_equal(vpit_deadline(&pit, 1000), 1004);
	assert_int_equal(vpit_tick(&pit, 1000000).rises, 1);
	assert_int_equal(vpit_deadline(&pit, 1000000), VPIT_NEVER);
	start(&pit, 0, 4, 3);
	assert_int_equal(vpit_deadline(&pit, 1000), 1005);
	assert_int_equal(vpit_deadline(&pit, 1005), VPIT_NEVER);
	start(&pit, 0, 1, 3);
	assert_int_equal(vpit_deadline(&pit, 1000), VPIT_NEVER);
	start(&pit, 0, 2, 1);
	assert_int_equal(vpit_deadline(&pit, 1000), VPIT_NEVER);
	/* A mode whose OUT starts high, written over one that holds it low, is an edge. */
	start(&pit, 0, 0, 3);
	vpit_write(&pit, 0x43, LSB(0, 2), 1001);
	assert_int_equal(vpit_tick(&pit, 1001).rises, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(software_modes),
		cmocka_unit_test(triggered_modes),
		cmocka_unit_test(gate),
		cmocka_unit_test(largest_count),
		cmocka_unit_test(new_count),
		cmocka_unit_test(two_byte_count),
		cmocka_unit_test(edges_and_deadlines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
