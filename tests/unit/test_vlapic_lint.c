/* SPDX-License-Identifier: MIT */
/* LINT0 and LINT1 in every mode, the 8259's way to the CPU, and errors with their interrupt. */
/* SOURCES: kernel/vic/vlapic.c kernel/vic/vlapic_regs.c kernel/vic/vlapic_timer.c kernel/vic/icr.c */
#include "lapic_fixture.h"

#define LINT0  0x35
#define ERROR  0x37
#define LOW    0x2000
#define REMOTE 0x4000
#define LEVEL  0x8000
#define MASKED 0x10000
#define EXTINT 0x700

/* Every combination of mode, trigger, polarity and mask: one rising and one falling assertion. */
static void every_entry(void **state)
{
	static const uint32_t effect[8] = { [4] = VLAPIC_NMI, [5] = VLAPIC_INIT };
	struct lapic l;

	(void)state;
	for (unsigned int n = 0; n < 2 * 8 * 8; n++) {
		unsigned int pin = n & 1, mode = n >> 1 & 7;
		uint32_t lvt = 0x61 | mode << 8 | (n & 16 ? LEVEL : 0) | (n & 32 ? LOW : 0) |
		               (n & 64 ? MASKED : 0);
		struct vlapic *v = lapic_on(&l);
		bool idle = lvt & LOW, level = pin == 0 && mode == 0 && (lvt & LEVEL);
		bool open = !(lvt & MASKED);
		uint32_t want = open ? effect[mode] : 0;

		vlapic_lint(v, pin, idle);
		wr(v, LINT0 + pin, lvt);
		assert_int_equal(v->irr_words, 0);
		assert_int_equal(vlapic_lint(v, pin, idle).does, 0);
		assert_int_equal(vlapic_lint(v, pin, !idle).does, want);
		assert_int_equal(vlapic_lint(v, pin, !idle).does, 0);
		assert_int_equal(vlapic_highest_irr(v), open && !mode ? 0x61 : -1);
		assert_int_equal(has(v, 0x18, 0x61), open && level);
		assert_int_equal(rd(v, LINT0 + pin) & REMOTE, open && level ? REMOTE : 0);
		assert_int_equal(vlapic_lint(v, pin, idle).does, 0);
		/* An edge comes again; a level waits for the EOI. */
		assert_int_equal(vlapic_lint(v, pin, !idle).does, level ? 0 : want);
	}
}

/* As long as the wire is asserted, each EOI brings one more; then no more. */
static void level_until_released(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, LINT0, 0x61 | LEVEL);
	vlapic_lint(v, 0, true);
	for (unsigned int n = 0; n < 3; n++) {
		struct vlapic_effect e;

		assert_int_equal(vlapic_take(v), 0x61);
		if (n == 2)
			vlapic_lint(v, 0, false);
		e = wr(v, 0x0b, 0);
		assert_true(e.does & VLAPIC_EOI);
		assert_int_equal(vlapic_pending(v), n < 2 ? 0x61 : -1);
		assert_int_equal(rd(v, LINT0) & REMOTE, n < 2 ? REMOTE : 0);
	}
	/* The EOI of another vector is none for this pin. */
	vlapic_lint(v, 0, true);
	assert_int_equal(vlapic_take(v), 0x61);
	vlapic_accept(v, 0x81, false);
	assert_int_equal(vlapic_take(v), 0x81);
	wr(v, 0x0b, 0);
	assert_int_equal(rd(v, LINT0) & REMOTE, REMOTE);
	assert_int_equal(vlapic_highest_irr(v), -1);
}

/* A level shows when the mask goes; an edge under the mask is gone. Level to edge forgets remote IRR. */
static void unmasking(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, LINT0, 0x61 | MASKED);
	vlapic_lint(v, 0, true);
	wr(v, LINT0, 0x61);
	assert_int_equal(vlapic_pending(v), -1);
	wr(v, LINT0, 0x61 | LEVEL | MASKED);
	assert_int_equal(vlapic_pending(v), -1);
	assert_int_equal(wr(v, LINT0, 0x61 | LEVEL).does, 0);
	assert_int_equal(vlapic_pending(v), 0x61);
	assert_int_equal(rd(v, LINT0), 0x61 | LEVEL | REMOTE);
	assert_int_equal(wr(v, LINT0, 0x62 | LEVEL).does, 0);
	wr(v, LINT0, 0x62);
	assert_int_equal(rd(v, LINT0), 0x62);
}

/* SDM vol. 3, "Enabling or Disabling the Local APIC": without a LAPIC the pins are INTR and NMI. */
static void pins_without_a_lapic(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, LINT0, 0x61 | LOW);
	vlapic_base_write(v, BASE_OFF);
	assert_int_equal(vlapic_lint(v, 0, true).does, 0);
	assert_int_equal(vlapic_lint(v, 1, true).does, VLAPIC_NMI);
	assert_int_equal(vlapic_lint(v, 1, true).does, 0);
	assert_int_equal(vlapic_lint(v, 1, false).does, 0);
}

static void virtual_wire(void **state)
{
	struct lapic l;

	(void)state;
	for (unsigned int mode = 0; mode < 8; mode++) {
		struct vlapic *v = lapic_on(&l);

		assert_false(vlapic_extint_open(v));
		assert_int_equal(wr(v, LINT0, mode << 8 | MASKED).does, 0);
		assert_false(vlapic_extint_open(v));
		assert_int_equal(wr(v, LINT0, mode << 8).does, 0);
		assert_int_equal(vlapic_extint_open(v), mode == 7);
		assert_int_equal(wr(v, LINT0 + 1, EXTINT).does, 0);
		wr(v, 0x0f, 0xff);
		assert_false(vlapic_extint_open(v));
		vlapic_base_write(v, BASE_OFF);
		assert_true(vlapic_extint_open(v));
	}
}

/* Collected always, shown by the write, gone with the next; the interrupt once until then, and not when masked. */
static void error_latch(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, ERROR, 0xfe);
	assert_int_equal(wr(v, 0x05, 0).does, 0);
	assert_int_equal(rd(v, 0x28), 0);
	assert_int_equal(vlapic_take(v), 0xfe);
	wr(v, 0x0b, 0);
	rd(v, 0x05);
	assert_int_equal(vlapic_pending(v), -1);
	wr(v, 0x30, 0x40005); /* another error than the one noted: another interrupt */
	assert_int_equal(vlapic_take(v), 0xfe);
	wr(v, 0x0b, 0);
	assert_int_equal(errors(v), 0xe0);
	assert_int_equal(errors(v), 0);
	rd(v, 0x05);
	assert_int_equal(vlapic_pending(v), 0xfe);
	vlapic_take(v);
	wr(v, 0x0b, 0);
	wr(v, ERROR, 0xfe | MASKED);
	assert_int_equal(errors(v), 0x80);
	rd(v, 0x05);
	assert_int_equal(vlapic_pending(v), -1);
	assert_int_equal(errors(v), 0x80);
}

/* An error interrupt whose own vector is illegal is one more error, and ends there. */
static void error_of_the_error(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, ERROR, 0x03);
	wr(v, 0x05, 0);
	assert_int_equal(errors(v), 0xc0);
	assert_int_equal(v->irr_words, 0);
}

static void illegal_vector_on_a_pin(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	wr(v, LINT0, 0x0f | LEVEL);
	/* Refused; but what is pending may have changed, by the error interrupt. */
	wr(v, ERROR, 0x44);
	assert_int_equal(vlapic_lint(v, 0, true).does, 0);
	assert_int_equal(rd(v, LINT0), 0x0f | LEVEL);
	assert_int_equal(errors(v), 0x40);
	assert_int_equal(vlapic_pending(v), 0x44);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_entry),        cmocka_unit_test(level_until_released),
		cmocka_unit_test(unmasking),          cmocka_unit_test(pins_without_a_lapic),
		cmocka_unit_test(virtual_wire),       cmocka_unit_test(error_latch),
		cmocka_unit_test(error_of_the_error), cmocka_unit_test(illegal_vector_on_a_pin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
