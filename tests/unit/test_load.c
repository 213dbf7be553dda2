/* SPDX-License-Identifier: MIT */
/* The guest loader over images built here: both ELF classes, address fields, modules, and every refusal. */
/* SOURCES: kernel/load.c */
#include "kernel/load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define RAM_SIZE  (8u << 20)
#define HEADER    0x100u /* offset of the multiboot header in every image here */
#define FILE_SIZE 0x3000u

static uint8_t *ram;
static uint8_t *image; /* of exactly FILE_SIZE bytes, so that ASan sees a read beyond */
static struct load_module modules[LOAD_MAX_MODULES];
static struct load_request request;
static struct virt_start start;

static void put(size_t at, unsigned bytes, uint64_t value)
{
	memcpy(image + at, &value, bytes);
}

static uint32_t word(uint32_t gpa)
{
	uint32_t value;

	assert_true(gpa <= RAM_SIZE - 4);
	memcpy(&value, ram + gpa, 4);
	return value;
}

static void put_header(uint32_t flags)
{
	put(HEADER, 4, 0x1badb002);
	put(HEADER + 4, 4, flags);
	put(HEADER + 8, 4, (uint32_t) - (0x1badb002 + flags));
}

/* A program header of class 1 (32 bits) or 2 (64 bits). */
static void put_segment(int class, unsigned i, uint64_t offset, uint64_t vaddr, uint64_t paddr,
                        uint64_t filesz, uint64_t memsz)
{
	size_t at = class == 1 ? 52 + i * 32 : 64 + i * 56;
	const uint64_t value[] = { offset, vaddr, paddr, filesz, memsz };

	put(at, 4, 1);
	for (size_t f = 0; f < 5; f++)
		put(class == 1 ? at + 4 + 4 * f : at + 8 + 8 * f, class == 1 ? 4 : 8, value[f]);
}

static void put_elf(int class, uint64_t entry, unsigned segments)
{
	memcpy(image,
	       "\x7f"
	       "ELF",
	       4);
	put(4, 1, (unsigned)class);
	put(5, 1, 1);
	put(16, 2, 2);
	put(18, 2, class == 1 ? 3 : 62);
	put(24, class == 1 ? 4 : 8, entry);
	put(class == 1 ? 28 : 32, class == 1 ? 4 : 8, class == 1 ? 52 : 64);
	put(class == 1 ? 42 : 54, 2, class == 1 ? 32 : 56);
	put(class == 1 ? 44 : 56, 2, segments);
	put_header(3);
	for (size_t i = 0x1000; i < FILE_SIZE; i++)
		image[i] = (uint8_t)(i * 7 >> 3);
}

/* An image that loads: code at 4 MiB with BSS, data at 0x8000. */
static void put_good(int class)
{
	put_elf(class, 0xc0400010, 2);
	put_segment(class, 0, 0x1000, 0xc0400000, 0x400000, 0x1800, 0x5000);
	put_segment(class, 1, 0x2800, 0x8000, 0x8000, 0x100, 0x100);
}

static int prepare(void **state)
{
	(void)state;
	ram = malloc(RAM_SIZE);
	image = calloc(1, FILE_SIZE);
	memset(ram, 0xee, RAM_SIZE);
	request = (struct load_request){
		.ram = ram,
		.size = RAM_SIZE,
		.image = image,
		.image_size = FILE_SIZE,
		.name = "demo",
		.arguments = "a b",
		.module = modules,
	};
	put_good(1);
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
	const char *error = load_multiboot(&request, &start);

	assert_non_null(error);
	if (!strstr(error, words))
		fail_msg("says \"%s\", not \"%s\"", error, words);
}

static void loads(void)
{
	const char *error = load_multiboot(&request, &start);

	if (error)
		fail_msg("refused: %s", error);
}

static void elf(void **state)
{
	(void)state;
	for (int class = 1; class <= 2; class ++) {
		memset(ram, 0xee, RAM_SIZE);
		memset(image, 0, FILE_SIZE);
		put_good(class);
		loads();
		assert_int_equal(start.entry, 0x400010);
		assert_memory_equal(ram + 0x400000, image + 0x1000, 0x1800);
		for (unsigned i = 0x1800; i < 0x5000; i++)
			assert_int_equal(ram[0x400000 + i], 0);
		assert_int_equal(ram[0x405000], 0xee);
		assert_int_equal(ram[0x3fffff], 0xee);
		assert_memory_equal(ram + 0x8000, image + 0x2800, 0x100);
		assert_int_equal(ram[0x8100], 0xee);
	}
}

/* Multiboot Specification, "Boot information format". */
static void information(void **state)
{
	uint32_t info, map;

	(void)state;
	request.high = 1ull << 30;
	modules[0] = (struct load_module){ "environment", 11, "env string" };
	modules[1] = (struct load_module){ "", 0, "" };
	modules[2] = (struct load_module){ "xyz", 3, "third" };
	request.module_count = 3;
	loads();
	info = start.ebx;
	assert_int_equal(info % 4096, 0);
	assert_int_equal(info, 0x9f000);
	assert_int_equal(word(info), 1 | 4 | 8 | 0x40 | 0x200);
	assert_int_equal(word(info + 4), 640);
	assert_int_equal(word(info + 8), 7 * 1024);
	assert_string_equal((char *)ram + word(info + 16), "demo a b");
	assert_string_equal((char *)ram + word(info + 64), "Bellhop");
	assert_int_equal(word(info + 20), 3);
	for (uint32_t i = 0; i < 3; i++) {
		uint32_t entry = word(info + 24) + 16 * i;

		assert_int_equal(word(entry) % 4096, 0);
		assert_in_range(word(entry), 0x405000, RAM_SIZE);
		assert_int_equal(word(entry + 4) - word(entry), modules[i].size);
		assert_memory_equal(ram + word(entry), modules[i].image, modules[i].size);
		assert_string_equal((char *)ram + word(entry + 8), modules[i].string);
		assert_int_equal(word(entry + 12), 0);
	}
	map = word(info + 48);
	assert_int_equal(word(info + 44), 4 * 24);
	for (uint32_t i = 0; i < 4; i++) {
		static const uint64_t wanted[4][3] = { { 0, 0xa0000, 1 },
			                               { 0xa0000, 0x60000, 2 },
			                               { 0x100000, RAM_SIZE - 0x100000, 1 },
			                               { 4ull << 30, 1ull << 30, 1 } };

		assert_int_equal(word(map + 24 * i), 20);
		assert_memory_equal(ram + map + 24 * i + 4, &wanted[i][0], 8);
		assert_memory_equal(ram + map + 24 * i + 12, &wanted[i][1], 8);
		assert_int_equal(word(map + 24 * i + 20), wanted[i][2]);
	}
	request.high = 0;
	request.arguments = "";
	loads();
	assert_int_equal(word(start.ebx + 44), 3 * 24);
	assert_string_equal((char *)ram + word(start.ebx + 16), "demo");
}

static void information_avoids_the_image(void **state)
{
	(void)state;
	put_segment(1, 1, 0x2800, 0x8000, 0x8000, 0x100, 0xa0000 - 0x8000);
	loads();
	assert_int_equal(start.ebx, 0x7000);
	put_segment(1, 1, 0x2800, 0x2001, 0x2001, 0x100, 0xa0000 - 0x2001);
	loads();
	assert_int_equal(start.ebx, 0x1000);
	put_segment(1, 1, 0x2800, 0x1fff, 0x1fff, 0x100, 0xa0000 - 0x1fff);
	refused("no room");
}

static void address_fields(void **state)
{
	(void)state;
	memset(image, 0, 52);
	put_header(1 << 16);
	put(HEADER + 12, 4, 0x200100); /* header_addr: load_addr is file offset 0 */
	put(HEADER + 16, 4, 0x200000);
	put(HEADER + 20, 4, 0x202000);
	put(HEADER + 24, 4, 0x204000);
	put(HEADER + 28, 4, 0x200020);
	loads();
	assert_int_equal(start.entry, 0x200020);
	assert_memory_equal(ram + 0x200000, image, 0x2000);
	for (unsigned i = 0x202000; i < 0x204000; i++)
		assert_int_equal(ram[i], 0);
	assert_int_equal(ram[0x204000], 0xee);
	/* No ends: the whole file, no BSS. */
	put(HEADER + 20, 4, 0);
	put(HEADER + 24, 4, 0);
	loads();
	assert_memory_equal(ram + 0x200000, image, FILE_SIZE);
	put(HEADER + 24, 4, 0x202fff);
	refused("contradict");
	put(HEADER + 24, 4, 0);
	put(HEADER + 20, 4, 0x1fffff);
	refused("contradict");
	put(HEADER + 20, 4, 0x203001);
	refused("outside of the file");
	put(HEADER + 20, 4, 0);
	put(HEADER + 12, 4, 0x200104);
	refused("outside of the file");
	put(HEADER + 12, 4, 0x1fffff);
	refused("outside of the file");
}

static void headers(void **state)
{
	(void)state;
	for (unsigned bit = 2; bit < 16; bit++) {
		put_header(1u << bit);
		refused("demands a feature");
	}
	for (unsigned bit = 17; bit < 32; bit++) {
		put_header(1u << bit);
		loads();
	}
	put(HEADER + 8, 4, 0);
	refused("no multiboot header");
	/* The last place where it may be, and one beyond. */
	memset(image + HEADER, 0, 12);
	memcpy(image + 8180, (uint32_t[]){ 0x1badb002, 0, (uint32_t)-0x1badb002 }, 12);
	loads();
	memset(image + 8180, 0, 12);
	memcpy(image + 8184, (uint32_t[]){ 0x1badb002, 0, (uint32_t)-0x1badb002 }, 12);
	refused("no multiboot header");
	for (request.image_size = 0; request.image_size < 12; request.image_size++)
		refused("no multiboot header");
}

static void broken_elf(void **state)
{
	static const struct {
		size_t at;
		unsigned bytes;
		uint32_t value;
		const char *words;
	} breaks[] = {
		{ 0, 1, 0, "no ELF file" },
		{ 4, 1, 3, "no executable ELF" },
		{ 5, 1, 2, "no executable ELF" },
		{ 16, 2, 3, "no executable ELF" },
		{ 18, 2, 40, "no executable ELF" },
		{ 24, 4, 0x400010, "entry point" },
		{ 24, 4, 0xc0405000, "entry point" },
		{ 28, 4, 0xffffffff, "program headers" },
		{ 28, 4, FILE_SIZE - 63, "program headers" },
		{ 42, 2, 31, "program headers" },
		{ 44, 2, 0, "entry point" },
		{ 44, 2, 0xffff, "" },
		{ 52 + 4, 4, FILE_SIZE - 0x17ff, "outside of the file" },
		{ 52 + 4, 4, 0xffffffff, "outside of the file" },
		{ 52 + 12, 4, 0xfffff000, "mem=" },
		{ 52 + 12, 4, RAM_SIZE - 0x4fff, "mem=" },
		{ 52 + 12, 4, 0xff000, "firmware" },
		{ 52 + 12, 4, 0x9c000, "firmware" },
		{ 52 + 12, 4, 0x4000, "overlap" },
		{ 52 + 16, 4, 0x5001, "larger in the file" },
		{ 52 + 20, 4, 0xffffffff, "mem=" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
		put_good(1);
		put(breaks[i].at, breaks[i].bytes, breaks[i].value);
		refused(breaks[i].words);
	}
	put_good(1);
	for (request.image_size = HEADER + 12; request.image_size < 0x1000; request.image_size += 99)
		refused("outside of the file");
	request.image_size = FILE_SIZE;
	memset(image, 0, FILE_SIZE);
	put_good(2);
	put(32, 8, UINT64_MAX - 10);
	refused("program headers");
	put_good(2);
	put_segment(2, 0, UINT64_MAX, 0xc0400000, 0x400000, 0x1800, 0x5000);
	refused("outside of the file");
	put_segment(2, 0, 0x1000, 0xc0400000, UINT64_MAX, 0x1800, 0x5000);
	refused("mem=");
	put_segment(2, 0, 0x1000, 0xc0400000, 0x400000, 0x1800, UINT64_MAX);
	refused("mem=");
}

static void too_many_segments(void **state)
{
	(void)state;
	memset(image, 0, FILE_SIZE);
	put_elf(1, 0x400000, 0);
	put_header(0); /* again: seventeen program headers end at 0x254 */
	memmove(image + 0x800, image + HEADER, 12);
	memset(image + HEADER, 0, 12);
	for (unsigned i = 0; i < 17; i++)
		put_segment(1, i, 0x1000, 0x400000 + i * 0x1000, 0x400000 + i * 0x1000, 16, 16);
	put(44, 2, 16);
	loads();
	put(44, 2, 17);
	refused("more than 16");
	/* Empty ones do not count. */
	put_segment(1, 3, 0x1000, 0, 0, 0, 0);
	loads();
}

static void modules_that_do_not_fit(void **state)
{
	static uint8_t big[4u << 20];

	(void)state;
	modules[0] = (struct load_module){ big, RAM_SIZE - 0x405000, "" };
	request.module_count = 1;
	loads();
	assert_int_equal(ram[RAM_SIZE - 1], 0);
	modules[0].size++;
	refused("modules do not fit");
	modules[0].size = SIZE_MAX;
	refused("modules do not fit");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(elf, prepare, finish),
		cmocka_unit_test_setup_teardown(information, prepare, finish),
		cmocka_unit_test_setup_teardown(information_avoids_the_image, prepare, finish),
		cmocka_unit_test_setup_teardown(address_fields, prepare, finish),
		cmocka_unit_test_setup_teardown(headers, prepare, finish),
		cmocka_unit_test_setup_teardown(broken_elf, prepare, finish),
		cmocka_unit_test_setup_teardown(too_many_segments, prepare, finish),
		cmocka_unit_test_setup_teardown(modules_that_do_not_fit, prepare, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
