/* SPDX-License-Identifier: MIT */
/* The loader of Linux kernels over a bzImage built here: what the kernel finds, and every refusal. */
/* SOURCES: kernel/load.c kernel/load_linux.c */
#include "kernel/load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define RAM_SIZE  (8u << 20)
#define SETUP     (3 * 512u)
#define FILE_SIZE (SETUP + 0x2345u)
#define PREFERRED 0x200000u
#define NEED      0x300000u
#define PARAMS    0x90000u

static uint8_t *ram;
static uint8_t *image; /* of exactly FILE_SIZE bytes, so that ASan sees a read beyond */
static struct load_module modules[2];
static struct load_request request;
static struct virt_start start;

static void put(size_t at, unsigned bytes, uint64_t value)
{
	memcpy(image + at, &value, bytes);
}

static uint64_t param(uint32_t at, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, ram + PARAMS + at, bytes);
	return value;
}

/* "The Real-Mode Kernel Header": the fields that count here. */
static void put_header(void)
{
	put(0x1f1, 1, 2); /* sectors of setup behind the first */
	put(0x1fe, 2, 0xaa55);
	put(0x200, 2, 0x62eb);
	memcpy(image + 0x202, "HdrS", 4);
	put(0x206, 2, 0x20f);
	put(0x211, 1, 0x81);
	put(0x218, 8, 0);
	put(0x22c, 4, 0x7fffffff);
	put(0x238, 4, 100);
	put(0x258, 8, PREFERRED);
	put(0x260, 4, NEED);
}

static int prepare(void **state)
{
	(void)state;
	ram = malloc(RAM_SIZE);
	image = malloc(FILE_SIZE);
	memset(ram, 0xee, RAM_SIZE);
	for (size_t i = 0; i < FILE_SIZE; i++)
		image[i] = (uint8_t)(i * 7 >> 3);
	put_header();
	modules[0] = (struct load_module){ "an initrd", 9, "" };
	request = (struct load_request){
		.ram = ram,
		.size = RAM_SIZE,
		.image = image,
		.image_size = FILE_SIZE,
		.name = "demo",
		.arguments = "console=ttyS0 quiet",
		.module = modules,
		.module_count = 1,
	};
	return 0;
}

static int finish(void **state)
{
	(void)state;
	free(ram);
	free(image);
	return 0;
}

static void refused(const char *words)
{
	const char *error = load_linux(&request, &start);

	assert_non_null(error);
	if (!strstr(error, words))
		fail_msg("says \"%s\", not \"%s\"", error, words);
}

static void loads(void)
{
	const char *error = load_linux(&request, &start);

	if (error)
		fail_msg("refused: %s", error);
}

static void recognised(void **state)
{
	(void)state;
	assert_true(load_is_linux(image, FILE_SIZE));
	assert_true(load_is_linux(image, 0x264));
	assert_false(load_is_linux(image, 0x263));
	put(0x1fe, 1, 0);
	assert_false(load_is_linux(image, FILE_SIZE));
	put_header();
	put(0x205, 1, 's');
	assert_false(load_is_linux(image, FILE_SIZE));
}

/* "32-bit Boot Protocol": the registers, selectors 0x10 and 0x18 in a loaded GDT. */
static void registers(void **state)
{
	static const uint64_t flat[] = { 0x00cf9b000000ffff, 0x00cf93000000ffff };

	(void)state;
	loads();
	assert_int_equal(start.entry, PREFERRED);
	assert_int_equal(start.esi, PARAMS);
	assert_int_equal(start.eax | start.ebx, 0);
	assert_memory_equal(ram + start.gdt + 0x10, flat, sizeof(flat));
	assert_memory_equal(ram + PREFERRED, image + SETUP, FILE_SIZE - SETUP);
	assert_int_equal(ram[PREFERRED - 1], 0xee);
	assert_int_equal(ram[PREFERRED + FILE_SIZE - SETUP], 0xee);
	/* No number of sectors stands for four. */
	put(0x1f1, 1, 0);
	loads();
	assert_memory_equal(ram + PREFERRED, image + 5 * 512, FILE_SIZE - 5 * 512);
}

static void parameters(void **state)
{
	static const uint64_t ranges[4][3] = { { 0, 0xa0000, 1 },
		                               { 0xa0000, 0x60000, 2 },
		                               { 0x100000, RAM_SIZE - 0x100000, 1 },
		                               { 4ull << 30, 1ull << 30, 1 } };

	(void)state;
	request.high = 1ull << 30;
	loads();
	assert_int_equal(param(0x1e8, 1), 4);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(param(0x2d0 + 20 * i, 8), ranges[i][0]);
		assert_int_equal(param(0x2d8 + 20 * i, 8), ranges[i][1]);
		assert_int_equal(param(0x2e0 + 20 * i, 4), ranges[i][2]);
	}
	assert_int_equal(param(0x070, 8), 0xf0000);
	assert_int_equal(param(0x1fa, 2), 0xffff);
	assert_int_equal(param(0x210, 2), 0x81ff); /* an unknown loader; the kernel's own flags */
	assert_memory_equal(ram + PARAMS + 0x230, image + 0x230, 0x34);
	assert_string_equal((char *)ram + param(0x228, 4), "console=ttyS0 quiet");
	/* Screen, EFI, disks: nothing. */
	for (uint32_t i = 0; i < 0x70; i++)
		assert_int_equal(param(i, 1), 0);
	request.high = 0;
	put(0x206, 2, 0x20d);
	loads();
	assert_int_equal(param(0x1e8, 1), 3);
	assert_int_equal(param(0x070, 8), 0);
}

static void initrd(void **state)
{
	(void)state;
	loads();
	assert_int_equal(param(0x218, 4), RAM_SIZE - 4096);
	assert_int_equal(param(0x21c, 4), 9);
	assert_memory_equal(ram + RAM_SIZE - 4096, "an initrd", 9);
	put(0x22c, 4, 0x5fffff); /* the highest address it may have */
	loads();
	assert_int_equal(param(0x218, 4), 0x5ff000);
	put(0x22c, 4, PREFERRED + NEED + 7); /* one byte too few */
	refused("initrd does not fit");
	put(0x22c, 4, PREFERRED + NEED + 8);
	loads();
	modules[0].size = SIZE_MAX;
	refused("initrd does not fit");
	request.module_count = 0;
	loads();
	assert_int_equal(param(0x21c, 4), 0);
	modules[0].size = 9;
	modules[1] = modules[0];
	request.module_count = 2;
	refused("takes one module");
}

static void refusals(void **state)
{
	static const struct {
		size_t at;
		unsigned bytes;
		uint64_t value;
		const char *words;
	} breaks[] = {
		{ 0x206, 2, 0x209, "older than 2.10" },
		{ 0x211, 1, 0x80, "older than 2.10" },
		{ 0x1f1, 1, 0xff, "ends before" },
		{ 0x258, 8, 0xff000, "mem=" },
		{ 0x258, 8, UINT64_MAX, "mem=" },
		{ 0x258, 8, RAM_SIZE - NEED + 1, "mem=" },
		{ 0x260, 4, RAM_SIZE - PREFERRED + 1, "mem=" },
		{ 0x260, 4, UINT32_MAX, "mem=" },
		{ 0x238, 4, 18, "command line" },
	};
	char line[0x2001];

	(void)state;
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
		put_header();
		put(breaks[i].at, breaks[i].bytes, breaks[i].value);
		refused(breaks[i].words);
	}
	put_header();
	/* What it says it needs may be less than what there is of it. */
	put(0x260, 4, 0);
	put(0x258, 8, RAM_SIZE - 0x2000);
	refused("mem=");
	put_header();
	put(0x238, 4, 19);
	loads();
	put(0x238, 4, UINT32_MAX);
	memset(line, 'x', 0x2000);
	line[0x2000] = '\0';
	request.arguments = line;
	refused("command line");
	request.arguments = line + 1;
	loads();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(recognised, prepare, finish),
		cmocka_unit_test_setup_teardown(registers, prepare, finish),
		cmocka_unit_test_setup_teardown(parameters, prepare, finish),
		cmocka_unit_test_setup_teardown(initrd, prepare, finish),
		cmocka_unit_test_setup_teardown(refusals, prepare, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
