/* SPDX-License-Identifier: MIT */
/* The ICR: every value of its fields, in both faces, and what leaves the LAPIC for each. */
/* SOURCES: kernel/vic/vlapic.c kernel/vic/vlapic_regs.c kernel/vic/vlapic_timer.c kernel/vic/icr.c */
#include "lapic_fixture.h"

enum { FIXED, LOWEST, SMI, RESERVED, NMI, INIT, SIPI, EXTINT };
enum { FIELD, SELF, ALL, OTHERS };

/* By mode: the shorthands with which it is sent, as "field self all others". */
static const char *const sent[8] = {
	[FIXED] = "1111", [LOWEST] = "1001", [SMI] = "1001",  [RESERVED] = "0000",
	[NMI] = "1111",   [INIT] = "1001",   [SIPI] = "1001", [EXTINT] = "0000",
};

static bool leaves(unsigned int mode, unsigned int shorthand, bool level, bool assert)
{
	return sent[mode][shorthand] == '1' && !(mode == INIT && level && !assert);
}

static void decode_every_value(void **state)
{
	(void)state;
	for (uint32_t low = 0; low < 1u << 20; low++) {
		unsigned int mode = low >> 8 & 7, shorthand = low >> 18;
		bool wide = low & 0x2000; /* a reserved bit that is free to vary something else */
		bool valid = leaves(mode, shorthand, low & 0x8000, low & 0x4000);
		struct apic_msg msg;

		assert_int_equal(icr_decode(0xab12cd3400000000 | low, wide, &msg), valid);
		assert_int_equal(msg.dest, wide ? 0xab12cd34 : 0xab);
		assert_int_equal(msg.vector, low & 0xff);
		assert_int_equal(msg.mode, mode);
		assert_int_equal(msg.shorthand, shorthand);
		assert_int_equal(msg.logical, low >> 11 & 1);
		assert_int_equal(msg.wide, wide);
		assert_false(msg.level);
		assert_int_equal(msg.deassert, mode == INIT && (low & 0xc000) == 0x8000);
	}
}

/* One write of the ICR in either face; checks the effect and what reads back. */
static void check_write(uint32_t low, bool x2)
{
	unsigned int mode = low >> 8 & 7, shorthand = low >> 18 & 3, vector = low & 0xff;
	bool go = leaves(mode, shorthand, low & 0x8000, low & 0x4000);
	bool fixed = mode == FIXED || mode == LOWEST;
	bool illegal = go && fixed && vector < 16;
	uint32_t want = VLAPIC_SEND, errors_want = 0;
	struct vlapic_effect e;
	struct vlapic *v;
	struct lapic l;

	if (x2) {
		v = lapic_x2(&l);
		e = wrx(v, 0x30, 0x123456ff00000000 | low);
		assert_true(rdx(v, 0x30) == (0x123456ff00000000 | (low & ~0x1000u)));
	} else {
		v = lapic_on(&l);
		assert_int_equal(wr(v, 0x31, 0x9a000000).does, 0);
		e = wr(v, 0x30, low);
		assert_int_equal(rd(v, 0x30), low & ~0x1000u);
		assert_int_equal(rd(v, 0x31), 0x9a000000);
	}
	if (!go || illegal || (shorthand == SELF && fixed))
		want = 0;
	else if (shorthand == SELF)
		want = VLAPIC_NMI;
	if (illegal)
		errors_want = shorthand == SELF ? 0x60 : 0x20;
	assert_int_equal(e.does, want);
	assert_int_equal(v->errors, errors_want);
	assert_int_equal(vlapic_highest_irr(v),
	                 go && fixed && shorthand == SELF && !illegal ? (int)vector : -1);
	assert_false(has(v, 0x18, vector));
	if (want != VLAPIC_SEND)
		return;
	assert_int_equal(e.msg.dest, x2 ? 0x123456ff : 0x9a);
	assert_int_equal(e.msg.vector, vector);
	assert_int_equal(e.msg.mode, mode);
	assert_int_equal(e.msg.shorthand, shorthand);
	assert_int_equal(e.msg.logical, low >> 11 & 1);
	assert_int_equal(e.msg.wide, x2);
}

/* Every mode, shorthand, level, trigger, destination mode and status bit, with vectors around the legal limit. */
static void write_every_combination(void **state)
{
	static const uint8_t vectors[] = { 0, 1, 15, 16, 31, 32, 0x80, 0xff };

	(void)state;
	for (uint32_t n = 0; n < 1024; n++) {
		uint32_t low = (n & 0x1f) << 8 | (n >> 5 & 3) << 14 | (n >> 7 & 3) << 18;

		for (size_t i = 0; i < sizeof(vectors); i++)
			check_write(low | vectors[i], n & 512);
	}
}

static void every_vector_to_self(void **state)
{
	(void)state;
	for (uint32_t vector = 0; vector < 256; vector++) {
		struct lapic l;
		struct vlapic *v;

		check_write(0x40000 | vector, false);
		check_write(0x44000 | vector, true);
		v = lapic_x2(&l);
		assert_int_equal(wrx(v, 0x3f, vector).does, 0);
		assert_int_equal(vlapic_highest_irr(v), vector < 16 ? -1 : (int)vector);
		assert_int_equal(v->errors, vector < 16 ? 0x60 : 0);
		assert_int_equal(v->page->slot[0x3f].low, 0);
	}
}

/* A software-disabled LAPIC still sends, but does not accept what it sends to itself. */
static void sending_while_disabled(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_new(&l, &lapic_all);

	(void)state;
	assert_int_equal(wr(v, 0x30, 0x41).does, VLAPIC_SEND);
	wr(v, 0x30, 0x40041);
	assert_int_equal(vlapic_highest_irr(v), -1);
	assert_int_equal(wr(v, 0x30, 0xc4541).does, VLAPIC_SEND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decode_every_value),
		cmocka_unit_test(write_every_combination),
		cmocka_unit_test(every_vector_to_self),
		cmocka_unit_test(sending_while_disabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
