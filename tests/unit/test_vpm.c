/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware: timer rate and width, status and enable, sleep. And the clock arithmetic under it. */
/* SOURCES: kernel/dev/vpm.c */
#include "kernel/dev/vpm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kernel/dev/clock.h"

#define HZ 2500000000ull

static struct vpm p;

static int fresh(void **state)
{
	(void)state;
	vpm_init(&p, 1000, HZ);
	return 0;
}

static void clock_is_exact(void **state)
{
	(void)state;
	for (uint64_t count = 0; count < 4000000000; count += 99999989) {
		uint64_t at = clock_ticks(count, HZ, PM_TIMER_HZ);

		assert_int_equal(clock_count(at, HZ, PM_TIMER_HZ), count);
		if (at)
			assert_int_equal(clock_count(at - 1, HZ, PM_TIMER_HZ), count - 1);
	}
	/* 584 years at 1 GHz: no overflow on the way. */
	assert_true(clock_count(UINT64_MAX, 1000000000, PM_TIMER_HZ) == 66030950515326656ull);
}

static void timer_counts(void **state)
{
	(void)state;
	assert_int_equal(vpm_read(&p, 8, 4, 1000), 0);
	assert_int_equal(vpm_read(&p, 8, 4, 0), 0);
	assert_int_equal(vpm_read(&p, 8, 4, 1000 + HZ), 3579545);
	assert_int_equal(vpm_read(&p, 8, 4, 1000 + 1200 * HZ), (uint32_t)(1200ull * 3579545));
	assert_int_equal(vpm_read(&p, 9, 1, 1000 + HZ), 3579545 >> 8 & 0xff);
	assert_int_equal(vpm_read(&p, 10, 4, 1000 + HZ), 0xffff0000 | 3579545 >> 16);
	vpm_write(&p, 8, 4, 12345, 1000 + HZ);
	assert_int_equal(vpm_read(&p, 8, 4, 1000 + HZ), 3579545);
}

static void timer_interrupt(void **state)
{
	uint64_t due;

	(void)state;
	assert_true(vpm_deadline(&p) == UINT64_MAX);
	vpm_write(&p, 2, 2, 0x0001, 1000);
	due = vpm_deadline(&p);
	assert_int_equal(due, 1000 + clock_ticks(1ull << 31, HZ, PM_TIMER_HZ));
	vpm_tick(&p, due - 1);
	assert_false(vpm_line(&p));
	vpm_tick(&p, due);
	assert_true(vpm_line(&p));
	assert_true(vpm_deadline(&p) == UINT64_MAX);
	assert_int_equal(vpm_read(&p, 0, 4, due), 0x00010001);
	/* A write of 0 leaves the status, a 1 clears it. */
	vpm_write(&p, 0, 2, 0, due);
	assert_true(vpm_line(&p));
	vpm_write(&p, 0, 2, 1, due);
	assert_false(vpm_line(&p));
	assert_int_equal(vpm_deadline(&p), 1000 + clock_ticks(2ull << 31, HZ, PM_TIMER_HZ));
	vpm_tick(&p, vpm_deadline(&p));
	vpm_write(&p, 2, 1, 0, due * 3);
	assert_false(vpm_line(&p));
}

static void registers(void **state)
{
	(void)state;
	assert_false(vpm_write(&p, 2, 2, 0xffff, 1000));
	assert_int_equal(vpm_read(&p, 2, 2, 1000), 0x0721);
	assert_false(vpm_write(&p, 3, 1, 0, 1000));
	assert_int_equal(vpm_read(&p, 2, 2, 1000), 0x0021);
	/* SCI_EN is always 1, SLP_EN and GBL_RLS are never seen. */
	assert_int_equal(vpm_read(&p, 4, 2, 1000), 0x0001);
	assert_false(vpm_write(&p, 4, 2, 0xdfff, 1000));
	assert_int_equal(vpm_read(&p, 4, 2, 1000), 0x1c03);
	assert_int_equal(vpm_read(&p, 11, 2, 1000) & 0xff00, 0xff00);
	assert_false(vpm_write(&p, 11, 4, 0xffffffff, 1000));
}

static void only_s5_sleeps(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 8; type++) {
		assert_int_equal(vpm_write(&p, 4, 2, type << 10 | 0x2000, 1000), type == PM_SLEEP_OFF);
		assert_int_equal(vpm_write(&p, 5, 1, type << 2 | 0x20, 1000), type == PM_SLEEP_OFF);
		assert_false(vpm_write(&p, 4, 2, type << 10, 1000));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(clock_is_exact, fresh),  cmocka_unit_test_setup(timer_counts, fresh),
		cmocka_unit_test_setup(timer_interrupt, fresh), cmocka_unit_test_setup(registers, fresh),
		cmocka_unit_test_setup(only_s5_sleeps, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
