/* SPDX-License-Identifier: MIT */
/* The multiboot2 parser: what GRUB gives, and every way in which it could be wrong. */
/* SOURCES: boot/multiboot2.c */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "boot/multiboot2.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The information under construction; `at` is where the next tag goes. */
static _Alignas(8) uint8_t bytes[16384];
static size_t at;
static struct boot_info boot;

static void put(const void *data, size_t size)
{
	assert_true(at + size <= sizeof(bytes));
	memcpy(bytes + at, data, size);
	at += size;
}

static void put32(uint32_t value)
{
	put(&value, 4);
}

static void put64(uint64_t value)
{
	put(&value, 8);
}

static void tag(uint32_t type, uint32_t size)
{
	at = (at + 7) & ~(size_t)7;
	put32(type);
	put32(size);
}

static void begin(void)
{
	memset(bytes, 0xa5, sizeof(bytes));
	at = 8;
}

static void cmdline(const char *text)
{
	tag(1, (uint32_t)(8 + strlen(text) + 1));
	put(text, strlen(text) + 1);
}

static void module(uint32_t start, uint32_t end, const char *text)
{
	tag(3, (uint32_t)(16 + strlen(text) + 1));
	put32(start);
	put32(end);
	put(text, strlen(text) + 1);
}

static void memory(unsigned entries)
{
	tag(6, 16 + 24 * entries);
	put32(24);
	put32(0);
	for (unsigned i = 0; i < entries; i++) {
		put64(i * 0x100000ull);
		put64(0x80000);
		put32(i % 5 + 1);
		put32(0);
	}
}

/* Closes with an end tag and parses a copy of just that size, so that ASan sees one byte too many. */
static const char *parse_all(void)
{
	const char *wrong;
	uint32_t total;
	uint8_t *copy;

	tag(0, 8);
	total = (uint32_t)at;
	memcpy(bytes, &total, 4);
	copy = aligned_alloc(8, (at + 7) & ~(size_t)7);
	memcpy(copy, bytes, at);
	wrong = multiboot2_parse(copy, at, &boot);
	if (!wrong) {
		/* Strings point into the information, which has to outlive the parse: move them to what
		 * stays. */
		boot.cmdline = boot.cmdline[0] ? (const char *)bytes + (boot.cmdline - (const char *)copy)
		                               : "";
		for (unsigned i = 0; i < boot.module_count; i++)
			boot.modules[i].string = (const char *)bytes +
			                         (boot.modules[i].string - (const char *)copy);
	}
	free(copy);
	return wrong;
}

static void everything_is_read(void **state)
{
	(void)state;
	begin();
	cmdline("end=bochs");
	module(0x200000, 0x200123, "vm name=a -- x");
	tag(99, 11); /* unknown, and of odd size */
	put("abc", 3);
	module(0x300000, 0x300000, "");
	memory(3);
	assert_null(parse_all());
	assert_string_equal(boot.cmdline, "end=bochs");
	assert_int_equal(boot.module_count, 2);
	assert_int_equal(boot.modules[0].start, 0x200000);
	assert_int_equal(boot.modules[0].end, 0x200123);
	assert_string_equal(boot.modules[0].string, "vm name=a -- x");
	assert_string_equal(boot.modules[1].string, "");
	assert_int_equal(boot.memory_count, 3);
	assert_int_equal(boot.memory[2].start, 0x200000);
	assert_int_equal(boot.memory[2].end, 0x280000);
	assert_int_equal(boot.memory[2].type, 3);
	assert_int_equal(boot.rsdp_size, 0);
	assert_int_equal(boot.info_end - boot.info_start, at);
}

static void nothing_but_a_memory_map_is_enough(void **state)
{
	(void)state;
	begin();
	memory(1);
	assert_null(parse_all());
	assert_string_equal(boot.cmdline, "");
	assert_int_equal(boot.module_count, 0);
}

static void longer_memory_entries_are_stepped_over(void **state)
{
	(void)state;
	begin();
	tag(6, 16 + 2 * 32);
	put32(32);
	put32(1);
	for (unsigned i = 0; i < 2; i++) {
		put64(0x1000 * (i + 1));
		put64(0x1000);
		put64(1);
		put64(UINT64_MAX);
	}
	assert_null(parse_all());
	assert_int_equal(boot.memory_count, 2);
	assert_int_equal(boot.memory[1].start, 0x2000);
}

static void the_newer_rsdp_wins_in_either_order(void **state)
{
	uint8_t rsdp[36];

	(void)state;
	for (unsigned i = 0; i < sizeof(rsdp); i++)
		rsdp[i] = (uint8_t)i;
	for (unsigned order = 0; order < 2; order++) {
		begin();
		memory(1);
		for (unsigned i = 0; i < 2; i++) {
			uint32_t size = i == order ? 20 : 36;

			rsdp[0] = (uint8_t)size;
			tag(size == 20 ? 14 : 15, 8 + size);
			put(rsdp, size);
		}
		assert_null(parse_all());
		assert_int_equal(boot.rsdp_size, 36);
		assert_int_equal(boot.rsdp[0], 36);
		assert_int_equal(boot.rsdp[35], 35);
	}
}

static void a_string_without_end_is_refused(void **state)
{
	(void)state;
	begin();
	memory(1);
	tag(1, 8 + 4);
	put("abcd", 4);
	assert_non_null(strstr(parse_all(), "command line"));

	begin();
	memory(1);
	tag(3, 16 + 4);
	put32(0);
	put32(1);
	put("abcd", 4);
	assert_non_null(strstr(parse_all(), "module line"));

	/* A command-line tag with no byte of text has no end either. */
	begin();
	memory(1);
	tag(1, 8);
	assert_non_null(strstr(parse_all(), "command line"));
}

static void tags_that_are_too_short_are_refused(void **state)
{
	static const struct {
		uint32_t type, size;
	} cases[] = { { 3, 15 }, { 6, 15 }, { 14, 27 }, { 15, 43 } };

	(void)state;
	for (unsigned i = 0; i < COUNT(cases); i++) {
		begin();
		memory(1);
		tag(cases[i].type, cases[i].size);
		memset(bytes + at, 0, 64);
		at += cases[i].size - 8;
		assert_non_null(strstr(parse_all(), "too short"));
	}
}

static void wrong_numbers_are_refused(void **state)
{
	(void)state;
	begin();
	memory(1);
	module(0x2000, 0x1fff, "x");
	assert_non_null(strstr(parse_all(), "ends before"));

	begin();
	tag(6, 16 + 24);
	put32(23);
	put32(0);
	at += 24;
	assert_non_null(strstr(parse_all(), "entries are too short"));

	begin();
	tag(6, 16 + 24);
	put32(24);
	put32(0);
	put64(UINT64_MAX);
	put64(2);
	put64(1);
	assert_non_null(strstr(parse_all(), "address space"));

	begin();
	cmdline("x");
	assert_non_null(strstr(parse_all(), "no memory map"));
}

static void counts_end_at_their_maximum(void **state)
{
	(void)state;
	for (unsigned extra = 0; extra < 2; extra++) {
		begin();
		memory(BOOT_MEMORY_MAX + extra);
		assert_true((parse_all() != NULL) == extra);

		begin();
		memory(1);
		for (unsigned i = 0; i < BOOT_MODULES_MAX + extra; i++)
			module(i, i + 1, "m");
		assert_true((parse_all() != NULL) == extra);
	}
}

static void broken_frames_are_refused(void **state)
{
	uint32_t total;

	(void)state;
	begin();
	memory(1);
	assert_null(parse_all());
	memcpy(&total, bytes, 4);
	/* Cut anywhere: the end tag is no longer whole. */
	for (uint32_t cut = 0; cut < total; cut++) {
		memcpy(bytes, &cut, 4);
		assert_non_null(multiboot2_parse(bytes, sizeof(bytes), &boot));
	}
	memcpy(bytes, &total, 4);
	assert_non_null(multiboot2_parse(bytes, total - 1, &boot));
	assert_non_null(multiboot2_parse(bytes, 7, &boot));
	assert_non_null(multiboot2_parse(bytes + 4, total, &boot));
	/* A tag of no size would be looked at for ever; one of all sizes would pass the end. */
	for (unsigned i = 0; i < 2; i++) {
		uint32_t size = i ? UINT32_MAX : 0;

		memcpy(bytes + 12, &size, 4);
		assert_string_equal(multiboot2_parse(bytes, total, &boot), "a tag's size is wrong");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_read),
		cmocka_unit_test(nothing_but_a_memory_map_is_enough),
		cmocka_unit_test(longer_memory_entries_are_stepped_over),
		cmocka_unit_test(the_newer_rsdp_wins_in_either_order),
		cmocka_unit_test(a_string_without_end_is_refused),
		cmocka_unit_test(tags_that_are_too_short_are_refused),
		cmocka_unit_test(wrong_numbers_are_refused),
		cmocka_unit_test(counts_end_at_their_maximum),
		cmocka_unit_test(broken_frames_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
