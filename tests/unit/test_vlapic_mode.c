/* SPDX-License-Identifier: MIT */
/* IA32_APIC_BASE: every transition, every reserved bit; what RESET, INIT and each transition keep and lose. */
/* SOURCES: kernel/vic/vlapic.c kernel/vic/vlapic_regs.c kernel/vic/vlapic_timer.c kernel/vic/icr.c */
#include "lapic_fixture.h"

static const uint64_t bases[4] = { BASE_OFF, 0xfee00400, BASE_XAPIC, BASE_X2APIC };

/* Brings a LAPIC into mode EN:EXTD. */
static struct vlapic *in_mode(struct lapic *l, unsigned int mode)
{
	struct vlapic *v = lapic_on(l);

	if (mode != 2)
		assert_int_equal(vlapic_base_write(v, bases[mode]).does & VLAPIC_FAULT, 0);
	assert_true(vlapic_base_read(v) == bases[mode]);
	return v;
}

/* SDM vol. 3, "x2APIC State Transitions", the figure. */
static void every_transition(void **state)
{
	static const bool legal[4][4] = {
		[0] = { true, false, true, false },
		[2] = { true, false, true, true },
		[3] = { true, false, false, true },
	};
	struct lapic l;

	(void)state;
	for (unsigned int from = 0; from < 4; from++) {
		for (unsigned int to = 0; to < 4 && from != 1; to++) {
			struct vlapic *v = in_mode(&l, from);
			uint32_t want = VLAPIC_FAULT;

			if (legal[from][to])
				want = from == to ? 0 : VLAPIC_MODE | VLAPIC_FACE;
			assert_int_equal(vlapic_base_write(v, bases[to]).does &
			                         (VLAPIC_FAULT | VLAPIC_MODE | VLAPIC_FACE),
			                 want);
			assert_true(vlapic_base_read(v) == bases[legal[from][to] ? to : from]);
			assert_int_equal(vlapic_is_enabled(v), vlapic_base_read(v) >> 11 & 1);
			assert_int_equal(vlapic_is_x2apic(v), vlapic_base_read(v) >> 10 & 1);
		}
	}
}

static void every_bit_of_the_base(void **state)
{
	struct vlapic_config config = lapic_all;
	struct lapic l;

	(void)state;
	for (unsigned int phys = 32; phys <= 52; phys++) {
		config.phys_bits = (uint8_t)phys;
		for (unsigned int bit = 0; bit < 64; bit++) {
			struct vlapic *v = lapic_new(&l, &config);
			bool legal = bit == 8 || bit == 10 || bit == 11 || (bit >= 12 && bit < phys);
			struct vlapic_effect e = vlapic_base_write(v, 0x800 | 1ull << bit);

			assert_int_equal(!(e.does & VLAPIC_FAULT), legal);
			assert_true(vlapic_base_read(v) == (legal ? 0x800 | 1ull << bit : 0xfee00800));
		}
	}
	config.x2apic = false;
	assert_int_equal(vlapic_base_write(lapic_new(&l, &config), BASE_X2APIC).does, VLAPIC_FAULT);
}

/* Moving the page keeps everything, and is no change of destinations. */
static void relocation(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, 0x0d, 0x04000000);
	assert_int_equal(vlapic_base_write(v, 0xfed40800).does, VLAPIC_MODE);
	assert_int_equal(rd(v, 0x0d), 0x04000000);
	assert_int_equal(rd(v, 0x0f), 0x1ff);
}

/* A LAPIC with something in every register, and interrupts at every stage. */
static struct vlapic *busy(struct lapic *l)
{
	struct vlapic *v = lapic_on(l);

	wr(v, 0x02, 0x2a000000);
	wr(v, 0x0d, 0x81000000);
	wr(v, 0x0e, 0);
	wr(v, 0x0f, 0x1155);
	wr(v, 0x32, 0x200ee);
	wr(v, 0x35, 0x700);
	wr(v, 0x38, 1000);
	wr(v, 0x3e, 0xb);
	wr(v, 0x31, 0x03000000);
	wr(v, 0x30, 0x44041);
	wr(v, 0x30, 0xc4541); /* INIT to all others */
	vlapic_accept(v, 0x91, true);
	vlapic_take(v);
	vlapic_accept(v, 0x92, true);
	wr(v, 0x08, 0x23);
	rd(v, 0x04);
	wr(v, 0x28, 0);
	rd(v, 0x04);
	return v;
}

static void check_reset_values(struct vlapic *v)
{
	for (unsigned int slot = 3; slot < 256; slot++) {
		uint32_t want = slot == 0x03   ? 0x01050014
		                : slot == 0x0e ? 0xffffffff
		                : slot == 0x0f ? 0xff
		                               : 0;

		if (slot >= 0x32 && slot <= 0x37)
			want = 0x10000;
		if (slot != 0x0d)
			assert_int_equal(v->page->slot[slot].low, want);
		assert_int_equal(v->page->slot[slot].high, 0);
	}
	assert_int_equal(v->errors, 0);
	assert_int_equal(vlapic_pending(v), -1);
	assert_int_equal(vlapic_ppr(v), 0);
	assert_int_equal(apic_page_ppr(v->page), 0);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	assert_false(v->timer_armed);
	assert_false(atomic_load(&v->face.word) & (LAPIC_FACE_SW | LAPIC_FACE_CLUSTER));
}

static void reset_clears(void **state)
{
	struct vlapic_config config = lapic_all;
	struct lapic l;
	struct vlapic *v = busy(&l);

	(void)state;
	vlapic_base_write(v, 0xfed40c00);
	vlapic_init(v, v->page, &config);
	check_reset_values(v);
	assert_true(vlapic_base_read(v) == BASE_XAPIC);
	assert_int_equal(rd(v, 0x02), 0x05000000);
	assert_int_equal(rd(v, 0x0d), 0);
	assert_true(atomic_load(&v->face.word) == (5 | LAPIC_FACE_HW));
	config.bsp = true;
	assert_true(vlapic_base_read(lapic_new(&l, &config)) == (BASE_XAPIC | 0x100));
}

static void init_keeps_id_and_mode(void **state)
{
	struct lapic l;
	struct vlapic *v = busy(&l);

	(void)state;
	vlapic_init_signal(v);
	check_reset_values(v);
	assert_true(vlapic_base_read(v) == BASE_XAPIC);
	assert_int_equal(rd(v, 0x02), 0x2a000000);
	assert_int_equal(rd(v, 0x0d), 0);

	v = busy(&l);
	vlapic_base_write(v, BASE_X2APIC);
	vlapic_init_signal(v);
	check_reset_values(v);
	assert_true(vlapic_base_read(v) == BASE_X2APIC);
	assert_true(rdx(v, 0x02) == 5 && rdx(v, 0x0d) == 0x20);

	vlapic_base_write(v, BASE_OFF);
	vlapic_init_signal(v);
	check_reset_values(v);
	assert_true(vlapic_base_read(v) == BASE_OFF);
	assert_true(atomic_load(&v->face.word) == 5);
}

/* Off and on again: back to the state after reset, the ID included. */
static void disabling_clears(void **state)
{
	struct lapic l;

	(void)state;
	for (unsigned int mode = 2; mode < 4; mode++) {
		struct vlapic *v = busy(&l);
		uint32_t does = VLAPIC_MODE | VLAPIC_FACE | VLAPIC_TIMER;

		vlapic_base_write(v, bases[mode]);
		assert_int_equal(vlapic_base_write(v, BASE_OFF).does, does);
		check_reset_values(v);
		assert_true(vlapic_extint_open(v));
		v->page->slot[0x08].low = 0x90; /* by CR8 */
		assert_int_equal(vlapic_base_write(v, BASE_XAPIC).does, VLAPIC_MODE | VLAPIC_FACE);
		assert_false(vlapic_extint_open(v));
		assert_int_equal(rd(v, 0x02), 0x05000000);
		assert_int_equal(rd(v, 0x08), 0x90);
	}
}

/* Into x2APIC mode: ID and logical ID anew, everything else as it was. */
static void entering_x2apic_keeps(void **state)
{
	static const unsigned int same[] = { 0x08, 0x0f, 0x30, 0x32, 0x33, 0x34,
		                             0x35, 0x36, 0x37, 0x38, 0x3e, 0x28 };
	struct lapic l;
	struct vlapic *v = busy(&l);
	uint32_t before[256];

	(void)state;
	for (unsigned int slot = 0; slot < 256; slot++)
		before[slot] = v->page->slot[slot].low;
	assert_int_equal(vlapic_base_write(v, BASE_X2APIC).does, VLAPIC_MODE | VLAPIC_FACE);
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		assert_int_equal(rdx(v, same[i]) & 0xffffffff, before[same[i]]);
	for (unsigned int slot = 0x10; slot < 0x28; slot++)
		assert_int_equal(rdx(v, slot), before[slot]);
	assert_int_equal(v->errors, 0x80);
	assert_true(rdx(v, 0x02) == 5 && rdx(v, 0x0d) == 0x20);
	assert_true(atomic_load(&v->face.word) & LAPIC_FACE_X2APIC);
	assert_true(vlapic_deadline(v) != VLAPIC_NEVER);
	assert_int_equal(wrx(v, 0x0b, 0).does, 0);
}

/* SDM vol. 3, "Logical Destination Mode in x2APIC Mode": cluster ID[19:4], one bit for ID[3:0]. */
static void logical_id_for_every_id(void **state)
{
	struct vlapic_config config = lapic_all;
	struct lapic l;

	(void)state;
	for (uint32_t id = 0; id < 255; id++) {
		struct vlapic *v;

		config.id = id;
		v = lapic_new(&l, &config);
		assert_int_equal(rd(v, 0x02), id << 24);
		vlapic_base_write(v, BASE_X2APIC);
		assert_int_equal(rdx(v, 0x02), id);
		assert_int_equal(rdx(v, 0x0d), (id / 16) * 0x10000 + (1u << id % 16));
		assert_true(atomic_load(&v->face.word) == (id | LAPIC_FACE_X2APIC | LAPIC_FACE_HW));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_transition),
		cmocka_unit_test(every_bit_of_the_base),
		cmocka_unit_test(relocation),
		cmocka_unit_test(reset_clears),
		cmocka_unit_test(init_keeps_id_and_mode),
		cmocka_unit_test(disabling_clears),
		cmocka_unit_test(entering_x2apic_keeps),
		cmocka_unit_test(logical_id_for_every_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
