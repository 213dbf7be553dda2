/* SPDX-License-Identifier: MIT */
/* The virtual clock: calendar, formats, update cycle, and its three interrupts with their deadlines. */
/* SOURCES: kernel/dev/vrtc.c */
#include "kernel/dev/vrtc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>

#define HZ 1000000000ull

static struct vrtc r;
static const struct rtc_time start = { 2024, 2, 28, 4, 23, 59, 58 };
static uint64_t now;

static int fresh(void **state)
{
	(void)state;
	now = 5 * HZ;
	vrtc_init(&r, &start, now, HZ, 3ull << 30, 1ull << 30);
	return 0;
}

static unsigned get(unsigned reg)
{
	vrtc_select(&r, (uint8_t)(reg | 0x80));
	return vrtc_read(&r, now);
}

static void set(unsigned reg, unsigned value)
{
	vrtc_select(&r, (uint8_t)reg);
	vrtc_write(&r, (uint8_t)value, now);
}

static void shows(const char *wanted)
{
	char text[64];

	snprintf(text, sizeof(text), "%02x%02x-%02x-%02x %x %02x:%02x:%02x", get(0x32), get(9), get(8),
	         get(7), get(6), get(4), get(2), get(0));
	assert_string_equal(text, wanted);
}

static void calendar(void **state)
{
	(void)state;
	shows("2024-02-28 4 23:59:58");
	now += HZ - 1;
	shows("2024-02-28 4 23:59:58");
	now += 1;
	shows("2024-02-28 4 23:59:59");
	now += HZ;
	shows("2024-02-29 5 00:00:00");
	now += 24 * 3600 * HZ;
	shows("2024-03-01 6 00:00:00");
	now += 306 * 24 * 3600 * HZ;
	shows("2025-01-01 4 00:00:00");
	/* Time that runs backwards between CPUs changes nothing. */
	now -= HZ;
	shows("2025-01-01 4 00:00:00");
}

/* Against the host's own calendar, in steps of a day and a bit, over 200 years. */
static void long_run(void **state)
{
	struct tm tm = {
		.tm_year = 124, .tm_mon = 1, .tm_mday = 28, .tm_hour = 23, .tm_min = 59, .tm_sec = 58
	};
	time_t t = timegm(&tm);
	char text[64], ours[64];

	(void)state;
	for (int i = 0; i < 73000; i++) {
		now += 86407 * HZ;
		t += 86407;
		gmtime_r(&t, &tm);
		snprintf(text, sizeof(text), "%d-%d-%d %d %d:%d:%d", tm.tm_year + 1900, tm.tm_mon + 1,
		         tm.tm_mday, tm.tm_wday + 1, tm.tm_hour, tm.tm_min, tm.tm_sec);
		set(11, 2);
		snprintf(ours, sizeof(ours), "%02x%02x-%x-%x %x %x:%x:%x", get(0x32), get(9), get(8), get(7),
		         get(6), get(4), get(2), get(0));
		/* BCD printed in hexadecimal is decimal. */
		if (i % 100 == 0)
			assert_string_equal(ours, text);
	}
	gmtime_r(&t, &tm);
	snprintf(text, sizeof(text), "%d-%d-%d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
	snprintf(ours, sizeof(ours), "%02x%02x-%x-%x", get(0x32), get(9), get(8), get(7));
	assert_string_equal(ours, text);
}

static void formats(void **state)
{
	(void)state;
	for (unsigned hour = 0; hour < 24; hour++)
		for (unsigned mode = 0; mode < 4; mode++) {
			bool binary = mode & 2, wide = mode & 1;
			unsigned shown = wide ? hour : (hour % 12 ? hour % 12 : 12);
			unsigned raw = (binary ? shown : shown / 10 * 16 + shown % 10) |
			               (!wide && hour >= 12 ? 0x80 : 0);
			unsigned next = (hour + 1) % 24;
			unsigned later = wide ? next : (next % 12 ? next % 12 : 12);
			unsigned wanted = (binary ? later : later / 10 * 16 + later % 10) |
			                  (!wide && next >= 12 ? 0x80 : 0);

			set(11, 0x80 | mode << 1);
			set(4, raw);
			set(2, binary ? 59 : 0x59);
			set(0, binary ? 59 : 0x59);
			set(11, mode << 1);
			now += HZ;
			assert_int_equal(get(4), wanted);
			assert_int_equal(get(2), 0);
		}
}

static void set_stops_updates(void **state)
{
	(void)state;
	set(11, 0x92);
	assert_int_equal(get(11), 0x82); /* SET clears UIE */
	now += 10 * HZ;
	shows("2024-02-28 4 23:59:58");
	assert_int_equal(get(12), 0x00 | 0x40);
	set(11, 0x02);
	now += HZ;
	shows("2024-02-28 4 23:59:59");
}

static void update_in_progress(void **state)
{
	(void)state;
	now += HZ - 2300000;
	assert_int_equal(get(10), 0x26);
	now += 100000;
	assert_int_equal(get(10), 0xa6);
	now += 2199999;
	assert_int_equal(get(10), 0xa6);
	now += 1;
	assert_int_equal(get(10), 0x26);
	set(11, 0x82);
	now += HZ - 1;
	assert_int_equal(get(10), 0x26);
}

/* The line rises at the deadline, not a tick earlier, `wanted` ticks from now. */
static void rises(uint64_t wanted, unsigned flag)
{
	uint64_t from = now;

	vrtc_tick(&r, now);
	assert_false(vrtc_line(&r));
	now = vrtc_deadline(&r);
	assert_int_equal(now - from, wanted);
	vrtc_tick(&r, now - 1);
	assert_false(vrtc_line(&r));
	vrtc_tick(&r, now);
	assert_true(vrtc_line(&r));
	assert_true(vrtc_deadline(&r) == UINT64_MAX);
	assert_int_equal(get(12) & (0x80 | flag), 0x80 | flag);
	assert_false(vrtc_line(&r));
	assert_int_equal(get(12), 0);
}

static void update_interrupt(void **state)
{
	(void)state;
	assert_true(vrtc_deadline(&r) == UINT64_MAX);
	set(11, 0x12);
	rises(HZ, 0x10);
	rises(HZ, 0x10);
}

static void periodic_interrupt(void **state)
{
	static const unsigned rate_hz[16] = { 0,   256, 128, 8192, 4096, 2048, 1024, 512,
		                              256, 128, 64,  32,   16,   8,    4,    2 };

	(void)state;
	for (unsigned rate = 1; rate < 16; rate++) {
		fresh(NULL);
		set(10, 0x20 | rate);
		set(11, 0x42);
		rises((HZ + rate_hz[rate] - 1) / rate_hz[rate], 0x40);
	}
	set(10, 0x20);
	assert_true(vrtc_deadline(&r) == UINT64_MAX);
	now += HZ;
	assert_int_equal(get(12), 0x10);
}

static void alarm_interrupt(void **state)
{
	(void)state;
	set(1, 0x58);
	set(3, 0x59);
	set(5, 0x23);
	set(11, 0x22);
	rises(86400 * HZ, 0x20);
	set(5, 0xff);
	rises(3600 * HZ, 0x20);
	set(3, 0xc0);
	rises(60 * HZ, 0x20);
	set(1, 0xff);
	rises(HZ, 0x20);
	set(1, 0x77);
	vrtc_tick(&r, now);
	assert_true(vrtc_deadline(&r) == UINT64_MAX);
	/* Nobody looked for a while: the flag is there all the same. */
	set(11, 0x02);
	set(1, 0x30);
	now += 59 * HZ;
	assert_int_equal(get(12) & 0x20, 0x20);
	assert_false(vrtc_line(&r));
}

static void divider(void **state)
{
	(void)state;
	set(10, 0x66);
	now += 10 * HZ;
	shows("2024-02-28 4 23:59:58");
	set(11, 0x12);
	assert_true(vrtc_deadline(&r) == UINT64_MAX);
	set(10, 0x26);
	rises(HZ / 2, 0x10);
	shows("2024-02-28 4 23:59:59");
}

static void memory_and_fixed_registers(void **state)
{
	unsigned sum = 0;

	(void)state;
	assert_int_equal(get(13), 0x80);
	set(13, 0);
	set(12, 0xff);
	assert_int_equal(get(13), 0x80);
	assert_int_equal(get(12), 0);
	assert_int_equal(get(0x15) | get(0x16) << 8, 640);
	assert_int_equal(get(0x17) | get(0x18) << 8, 0xffff);
	assert_int_equal(get(0x34) | get(0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 1024 * 16);
	for (unsigned i = 0x10; i < 0x2e; i++)
		sum += get(i);
	assert_int_equal(get(0x2e) << 8 | get(0x2f), sum);
	for (unsigned i = 0x40; i < 0x80; i++) {
		set(i, 255 - i);
		assert_int_equal(get(i), 255 - i);
	}
	vrtc_init(&r, &start, now, HZ, 1 << 20, 0);
	assert_int_equal(get(0x30) | get(0x31) << 8, 0);
	assert_int_equal(get(0x34), 0);
}

/* Whatever a guest writes, reading and ticking stay defined. */
static void garbage(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		seed = seed * 1664525 + 1013904223;
		set(seed >> 8 & 0x7f, seed >> 16);
		now += seed >> 4 & 0x3fffffff;
		vrtc_tick(&r, now);
		assert_true(vrtc_deadline(&r) > now);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(calendar, fresh),
		cmocka_unit_test_setup(long_run, fresh),
		cmocka_unit_test_setup(formats, fresh),
		cmocka_unit_test_setup(set_stops_updates, fresh),
		cmocka_unit_test_setup(update_in_progress, fresh),
		cmocka_unit_test_setup(update_interrupt, fresh),
		cmocka_unit_test_setup(periodic_interrupt, fresh),
		cmocka_unit_test_setup(alarm_interrupt, fresh),
		cmocka_unit_test_setup(divider, fresh),
		cmocka_unit_test_setup(memory_and_fixed_registers, fresh),
		cmocka_unit_test_setup(garbage, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
