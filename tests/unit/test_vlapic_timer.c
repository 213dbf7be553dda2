/* SPDX-License-Identifier: MIT */
/* The LAPIC timer: modes, divisors, the counter at any time, changes on the way, masks, and the TSC deadline. */
/* SOURCES: kernel/vic/vlapic.c kernel/vic/vlapic_regs.c kernel/vic/vlapic_timer.c kernel/vic/icr.c */
#include "lapic_fixture.h"

#define LVT      0x320
#define INITIAL  0x380
#define CURRENT  0x390
#define DIVIDE   0x3e0
#define PERIODIC 0x20000
#define DEADLINE 0x40000
#define MASKED   0x10000
#define START    1000000ull

/* SDM vol. 3, "APIC Timer", the figure of the divide configuration register. */
static const struct {
	uint32_t value;
	unsigned int by;
} divisors[] = { { 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 } };

#define DIVISORS (sizeof(divisors) / sizeof(divisors[0]))

static struct vlapic *timer(struct lapic *l, uint32_t lvt, uint32_t divide, uint32_t count)
{
	struct vlapic *v = lapic_on(l);

	vlapic_mmio_write(v, DIVIDE, divide, START);
	vlapic_mmio_write(v, LVT, lvt, START);
	assert_int_equal(vlapic_mmio_write(v, INITIAL, count, START).does, VLAPIC_TIMER);
	return v;
}

static void one_shot(void **state)
{
	static const uint32_t counts[] = { 1, 2, 7, 1000, 0xffffffff };
	struct lapic l;

	(void)state;
	for (size_t d = 0; d < DIVISORS; d++) {
		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
			struct vlapic *v = timer(&l, 0xee, divisors[d].value, counts[c]);
			uint64_t end = START + (uint64_t)counts[c] * divisors[d].by;

			assert_true(vlapic_deadline(v) == end);
			assert_int_equal(vlapic_mmio_read(v, CURRENT, START), counts[c]);
			assert_int_equal(vlapic_mmio_read(v, CURRENT, START + divisors[d].by), counts[c] - 1);
			assert_false(vlapic_tick(v, end - 1));
			if (counts[c] > 1)
				assert_int_equal(vlapic_mmio_read(v, CURRENT, end - 1), 1);
			v = timer(&l, 0xee, divisors[d].value, counts[c]);
			assert_true(vlapic_tick(v, end));
			assert_int_equal(vlapic_pending(v), 0xee);
			assert_int_equal(vlapic_mmio_read(v, CURRENT, end), 0);
			assert_int_equal(vlapic_mmio_read(v, INITIAL, end), counts[c]);
			assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
			vlapic_take(v);
			assert_false(vlapic_tick(v, end + 1000000));
			assert_int_equal(vlapic_highest_irr(v), -1);
		}
	}
}

/* The counter, at every tick of four periods, against its definition; late ticks and missed ones do not shift it. */
static void periodic(void **state)
{
	struct lapic l;

	(void)state;
	for (size_t d = 0; d < DIVISORS; d++) {
		struct vlapic *v = timer(&l, 0xee | PERIODIC, divisors[d].value, 9);
		uint64_t by = divisors[d].by, period = 9 * by;
		unsigned int fired = 0;

		for (uint64_t t = 0; t < 4 * period; t++) {
			uint64_t in = t % period;

			fired += vlapic_tick(v, START + t);
			assert_int_equal(vlapic_mmio_read(v, CURRENT, START + t), 9 - in / by);
			assert_true(vlapic_deadline(v) == START + (t / period + 1) * period);
		}
		assert_int_equal(fired, 3);
		assert_true(vlapic_tick(v, START + 100 * period + 3));
		assert_false(vlapic_tick(v, START + 100 * period + 4));
		assert_true(vlapic_deadline(v) == START + 101 * period);
	}
}

/* Reading the counter of a timer that is due and was not ticked yet: it fires then, and is in its next period. */
static void read_past_the_end(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee | PERIODIC, 11, 100);

	(void)state;
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 130), 70);
	assert_int_equal(vlapic_pending(v), 0xee);
	v = timer(&l, 0xee, 11, 100);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 130), 0);
	assert_int_equal(vlapic_pending(v), 0xee);
	/* A TSC that went backwards unannounced shows no more than the initial count. */
	v = timer(&l, 0xee, 11, 100);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START - 500), 100);
}

static void restart_and_stop(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee, 11, 100);

	(void)state;
	vlapic_mmio_write(v, INITIAL, 200, START + 50);
	assert_true(vlapic_deadline(v) == START + 250);
	vlapic_mmio_write(v, INITIAL, 0, START + 60);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 61), 0);
	assert_false(vlapic_tick(v, START + 1000));
}

/* SDM vol. 3, "APIC Timer"; between one-shot and periodic the count goes on, and an expired one-shot stays at 0. */
static void mode_change(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee, 11, 100);

	(void)state;
	vlapic_mmio_write(v, LVT, 0xee | PERIODIC, START + 70);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 70), 30);
	assert_true(vlapic_tick(v, START + 100));
	assert_true(vlapic_deadline(v) == START + 200);
	vlapic_mmio_write(v, LVT, 0xee, START + 150);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 150), 50);
	assert_true(vlapic_tick(v, START + 200));
	vlapic_mmio_write(v, LVT, 0xee | PERIODIC, START + 210);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 210), 0);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	assert_int_equal(vlapic_mmio_read(v, INITIAL, START + 210), 100);
}

static void divide_change(void **state)
{
	struct lapic l;

	(void)state;
	for (size_t a = 0; a < DIVISORS; a++) {
		for (size_t b = 0; b < DIVISORS; b++) {
			struct vlapic *v = timer(&l, 0xee, divisors[a].value, 100);
			uint64_t now = START + 40 * divisors[a].by;

			assert_int_equal(vlapic_mmio_write(v, DIVIDE, divisors[b].value, now).does,
			                 VLAPIC_TIMER);
			assert_int_equal(vlapic_mmio_read(v, CURRENT, now), 60);
			assert_true(vlapic_deadline(v) == now + 60 * divisors[b].by);
		}
	}
	struct vlapic *v = timer(&l, 0xee, 0, 0);

	vlapic_mmio_write(v, DIVIDE, 1, START);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
}

/* Masked, the timer counts and interrupts nobody; what came due under the mask is not made up for. */
static void masked(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee | MASKED, 11, 100);

	(void)state;
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 40), 60);
	assert_false(vlapic_tick(v, START + 100));
	vlapic_mmio_write(v, LVT, 0xee, START + 150);
	assert_int_equal(vlapic_highest_irr(v), -1);
	v = timer(&l, 0xee | MASKED | PERIODIC, 11, 100);
	vlapic_mmio_write(v, LVT, 0xee | PERIODIC, START + 250);
	assert_int_equal(vlapic_highest_irr(v), -1);
	assert_true(vlapic_deadline(v) == START + 300);
	/* And the other way round: due before the mask came, it still fires. */
	vlapic_mmio_write(v, LVT, 0xee | PERIODIC | MASKED, START + 310);
	assert_int_equal(vlapic_pending(v), 0xee);
	/* Software-disabling is a mask too. */
	v = timer(&l, 0xee | PERIODIC, 11, 100);
	assert_true(vlapic_mmio_write(v, 0xf0, 0xff, START + 10).does & VLAPIC_TIMER);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	/* And comes too late for what was due. */
	v = timer(&l, 0xee, 11, 100);
	vlapic_mmio_write(v, 0xf0, 0xff, START + 150);
	assert_int_equal(vlapic_highest_irr(v), 0xee);
}

static void illegal_vector(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0x0e, 11, 100);

	(void)state;
	assert_false(vlapic_tick(v, START + 100));
	assert_int_equal(errors(v), 0x40);
}

static void tsc_deadline(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee | DEADLINE, 11, 100);

	(void)state;
	/* The counting registers are dead in this mode. */
	assert_int_equal(vlapic_mmio_read(v, INITIAL, START), 0);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	assert_true(vlapic_tsc_deadline_read(v, START) == 0);

	assert_int_equal(vlapic_tsc_deadline_write(v, START + 500, START).does, VLAPIC_TIMER);
	assert_true(vlapic_tsc_deadline_read(v, START + 499) == START + 500);
	assert_true(vlapic_deadline(v) == START + 500);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 100), 0);
	vlapic_mmio_write(v, DIVIDE, 3, START + 100);
	assert_true(vlapic_deadline(v) == START + 500);
	assert_true(vlapic_tick(v, START + 500));
	assert_int_equal(vlapic_take(v), 0xee);
	assert_true(vlapic_tsc_deadline_read(v, START + 500) == 0);

	vlapic_tsc_deadline_write(v, START + 900, START + 600);
	vlapic_tsc_deadline_write(v, 0, START + 700);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	/* In the past: at once. The last value that there is: armed all the same. */
	vlapic_tsc_deadline_write(v, 1, START + 800);
	assert_int_equal(vlapic_highest_irr(v), 0xee);
	assert_true(vlapic_tsc_deadline_read(v, START + 800) == 0);
	vlapic_tsc_deadline_write(v, UINT64_MAX, START + 900);
	assert_true(vlapic_tsc_deadline_read(v, START + 900) == UINT64_MAX);
}

/* Every pair of modes, the reserved one included: to and from TSC-deadline disarms. */
static void deadline_mode_changes(void **state)
{
	struct lapic l;

	(void)state;
	for (uint32_t from = 0; from < 4; from++) {
		for (uint32_t to = 0; to < 4; to++) {
			struct vlapic *v = timer(&l, 0xee | from << 17, 11, 100);
			bool armed = from == to ? from != 3 : from < 2 && to < 2;

			assert_int_equal(vlapic_mmio_read(v, INITIAL, START), from < 2 ? 100 : 0);
			vlapic_tsc_deadline_write(v, START + 100, START);
			vlapic_mmio_write(v, LVT, 0xee | to << 17, START + 10);
			assert_int_equal(vlapic_deadline(v) == START + 100, armed);
			assert_int_equal(vlapic_deadline(v) == VLAPIC_NEVER, !armed);
			assert_true(vlapic_tsc_deadline_read(v, START) ==
			            (armed && to == 2 ? START + 100 : 0));
			assert_int_equal(vlapic_mmio_read(v, INITIAL, START), armed && to < 2 ? 100 : 0);
		}
	}
}

static void deadline_ignored_elsewhere(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee, 11, 100);

	(void)state;
	assert_int_equal(vlapic_tsc_deadline_write(v, START + 5, START).does, 0);
	assert_true(vlapic_tsc_deadline_read(v, START) == 0);
	assert_true(vlapic_deadline(v) == START + 100);
}

static void masked_deadline_expires(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee | DEADLINE | MASKED, 11, 0);

	(void)state;
	vlapic_tsc_deadline_write(v, START + 5, START);
	assert_true(vlapic_tsc_deadline_read(v, START + 4) == START + 5);
	assert_true(vlapic_tsc_deadline_read(v, START + 5) == 0);
	assert_int_equal(vlapic_highest_irr(v), -1);
}

/* A TSC that jumps takes the end of a count along, and not a deadline. */
static void tsc_moves(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee, 11, 100);

	(void)state;
	vlapic_tsc_moved(v, START, START / 2);
	assert_true(vlapic_deadline(v) == START / 2 + 100);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START / 2 + 30), 70);
	vlapic_mmio_write(v, LVT, 0xee | DEADLINE, START);
	vlapic_tsc_deadline_write(v, START + 5, START);
	vlapic_tsc_moved(v, START, START + 1000);
	assert_true(vlapic_deadline(v) == START + 5);
	vlapic_tsc_deadline_write(v, 0, START);
	vlapic_tsc_moved(v, START, START + 1000);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
}

/* At the end of time the timer saturates, and does not fire at the beginning. */
static void end_of_time(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee, 11, 0);

	(void)state;
	vlapic_mmio_write(v, INITIAL, 1000, UINT64_MAX - 500);
	assert_false(vlapic_tick(v, UINT64_MAX - 1));
	assert_true(vlapic_tick(v, UINT64_MAX));
	/* Nor when the TSC is set there under a timer that runs. */
	vlapic_mmio_write(v, INITIAL, 1000, START);
	vlapic_tsc_moved(v, START + 10, UINT64_MAX - 500);
	assert_true(vlapic_deadline(v) == UINT64_MAX);
	assert_false(vlapic_tick(v, UINT64_MAX - 500));
	/* Due at the jump, it is due after it. */
	vlapic_mmio_write(v, INITIAL, 1000, START);
	vlapic_tsc_moved(v, START + 2000, 5);
	assert_true(vlapic_tick(v, 5));
}

/* The short way does what the long one does, or nothing. */
static void armed_alike(void **state)
{
	static const uint32_t modes[] = { 0, PERIODIC, DEADLINE, PERIODIC | DEADLINE };
	static const uint64_t values[] = {
		0, 1, 1000, START, START + 1, START + 500, UINT32_MAX, UINT64_MAX
	};
	unsigned int short_ways = 0;

	(void)state;
	for (unsigned int i = 0; i < 4 * 8 * 2 * 2 * 2 * 3; i++) {
		uint64_t value = values[i / 4 % 8], now = START + (i / 128 % 3) * 400, end;
		uint32_t msr = i / 32 % 2 ? APIC_MSR_BASE + APIC_TIMER_INITIAL : APIC_DEADLINE_MSR;
		struct lapic one, other;
		struct vlapic *v = lapic_on(&one);
		struct vlapic_effect effect;

		if (i / 64 % 2)
			vlapic_base_write(v, BASE_X2APIC);
		wr(v, DIVIDE / 16, 11);
		wr(v, LVT / 16, modes[i % 4] | (i / 384 ? MASKED : 0) | 0xee);
		vlapic_msr_write(v, APIC_MSR_BASE + APIC_TIMER_DIVIDE, 11, START);
		vlapic_msr_write(v, APIC_MSR_BASE + APIC_LVT_TIMER,
		                 modes[i % 4] % (PERIODIC | DEADLINE) | (i / 384 ? MASKED : 0) | 0xee, START);
		vlapic_msr_write(v, APIC_MSR_BASE + APIC_TIMER_INITIAL, 600, START);
		other = one;
		other.v.page = &other.page;
		other.v.face.page = &other.page;
		end = vlapic_arm(v, msr, value, now);
		if (end) {
			short_ways++;
			effect = msr == APIC_DEADLINE_MSR ? vlapic_tsc_deadline_write(&other.v, value, now)
			                                  : vlapic_msr_write(&other.v, msr, value, now);
			assert_int_equal(effect.does, VLAPIC_TIMER);
			assert_int_equal(end, vlapic_deadline(&other.v));
			assert_true(end > now);
		}
		assert_memory_equal(&one.page, &other.page, sizeof(one.page));
		assert_int_equal(one.v.timer_end, other.v.timer_end);
		assert_int_equal(one.v.timer_armed, other.v.timer_armed);
		assert_int_equal(one.v.irr_words, other.v.irr_words);
	}
	assert_in_range(short_ways, 50, 300);
}

/* Who delivers it for us can set one bit in IRR, once: not periodically, no error, no change of the trigger mode. */
static void vector_for_somebody_else(void **state)
{
	static const uint32_t modes[] = { 0, PERIODIC, DEADLINE, PERIODIC | DEADLINE };
	struct lapic l;

	(void)state;
	for (unsigned int i = 0; i < 4 * 2 * 2; i++) {
		uint32_t mode = modes[i % 4], mask = i / 4 % 2 ? MASKED : 0;
		bool level = i / 8, simple = (mode == 0 || mode == DEADLINE) && !mask;

		for (int vector = 0; vector < 256; vector++) {
			struct vlapic *v = timer(&l, (uint32_t)vector | mode | mask, 11, 100);

			vlapic_tsc_deadline_write(v, START + 100, START);
			if (level)
				v->page->slot[APIC_TMR + vector / 32].low |= 1u << vector % 32;
			assert_int_equal(vlapic_timer_vector(v),
			                 simple && vector >= 16 && !level ? vector : -1);
		}
	}
}

/* It has been delivered at its deadline: the timer stands, and does not deliver it again. */
static void fired_by_somebody_else(void **state)
{
	struct lapic l;
	struct vlapic *v = timer(&l, 0xee, 11, 100);

	(void)state;
	assert_int_equal(vlapic_timer_vector(v), 0xee);
	vlapic_fired(v);
	assert_int_equal(vlapic_timer_vector(v), -1);
	assert_true(vlapic_deadline(v) == VLAPIC_NEVER);
	assert_false(vlapic_tick(v, START + 100));
	assert_int_equal(vlapic_highest_irr(v), -1);
	assert_int_equal(vlapic_mmio_read(v, CURRENT, START + 100), 0);
	assert_int_equal(vlapic_mmio_read(v, INITIAL, START + 100), 100);
	vlapic_mmio_write(v, INITIAL, 200, START + 150);
	assert_int_equal(vlapic_timer_vector(v), 0xee);
	v = timer(&l, 0xee | DEADLINE, 11, 0);
	vlapic_tsc_deadline_write(v, START + 100, START);
	vlapic_fired(v);
	assert_true(vlapic_tsc_deadline_read(v, START + 50) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_shot),
		cmocka_unit_test(periodic),
		cmocka_unit_test(read_past_the_end),
		cmocka_unit_test(restart_and_stop),
		cmocka_unit_test(mode_change),
		cmocka_unit_test(divide_change),
		cmocka_unit_test(masked),
		cmocka_unit_test(illegal_vector),
		cmocka_unit_test(tsc_deadline),
		cmocka_unit_test(deadline_mode_changes),
		cmocka_unit_test(deadline_ignored_elsewhere),
		cmocka_unit_test(masked_deadline_expires),
		cmocka_unit_test(tsc_moves),
		cmocka_unit_test(end_of_time),
		cmocka_unit_test(armed_alike),
		cmocka_unit_test(vector_for_somebody_else),
		cmocka_unit_test(fired_by_somebody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
