/* SPDX-License-Identifier: MIT */
/* The log's formatting, held against the C library's for every conversion that both have. */
/* SOURCES: kernel/format.c */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/log.h"

/* Both texts and both lengths must agree. */
#define SAME(...)                                                                       \
	do {                                                                            \
		char ours[200], theirs[200];                                            \
		int length = snprintf(theirs, sizeof(theirs), __VA_ARGS__);             \
		assert_int_equal(format_text(ours, sizeof(ours), __VA_ARGS__), length); \
		assert_string_equal(ours, theirs);                                      \
	} while (0)

static void plain_conversions(void **state)
{
	(void)state;
	SAME("nothing");
	SAME("%s and 100 %%", "text");
	SAME("%u %u %x %x", 0u, 4000000000u, 0u, 0xdeadbeefu);
	SAME("%lu %lx", UINT64_MAX, UINT64_MAX);
	SAME("%llu %llx", 0ull, 1ull << 63);
	SAME("%zu %zx", SIZE_MAX, (size_t)0);
}

static void widths(void **state)
{
	(void)state;
	SAME("[%5u] [%-5u] [%05u]", 123456, 7, 7);
	SAME("[%8x] [%-8x] [%08x] [%016lx]", 0xabc, 0xabc, 0xabc, 1ul);
	SAME("[%6s] [%-6s] [%2s]", "abc", "abc", "abc");
	SAME("[%020lu] [%3lu] [%-24lx]", UINT64_MAX, UINT64_MAX, UINT64_MAX);
}

static void every_size_is_respected(void **state)
{
	char out[16];

	(void)state;
	for (size_t size = 0; size < sizeof(out); size++) {
		memset(out, '#', sizeof(out));
		assert_int_equal(format_text(out, size, "%s%u", "abcdef", 12u), 8);
		if (size)
			assert_int_equal(strlen(out), size - 1 < 8 ? size - 1 : 8);
		assert_memory_equal(out, "abcdef12", size ? strlen(out) : 0);
		for (size_t i = size; i < sizeof(out); i++)
			assert_int_equal(out[i], '#');
	}
}

static void odd_formats_are_shown_as_they_stand(void **state)
{
	const char *volatile unknown = "a %u %q %u";
	const char *volatile cut = "50%";
	const char *volatile null = NULL;
	char out[32];

	(void)state;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	format_text(out, sizeof(out), unknown, 1, 2);
	assert_string_equal(out, "a 1 %q %u");
	format_text(out, sizeof(out), cut);
	assert_string_equal(out, "50%");
#pragma GCC diagnostic pop
	format_text(out, sizeof(out), "%s", null);
	assert_string_equal(out, "(null)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_conversions),
		cmocka_unit_test(widths),
		cmocka_unit_test(every_size_is_respected),
		cmocka_unit_test(odd_formats_are_shown_as_they_stand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
