/* SPDX-License-Identifier: MIT */
/* Fuzzes the parser of GRUB's information. An input is a list of tags: type, lies about it, contents. */
/* SOURCES: boot/multiboot2.c */
#include <string.h>

#include "boot/multiboot2.h"
#include "tests/fuzz/input.h"

#define LARGEST 65536u

static uint8_t *information; /* aligned to 8, and not a byte longer than it claims */
static size_t filled;

static void put(const void *data, size_t size)
{
	if (size > LARGEST - filled)
		size = LARGEST - filled;
	memcpy(information + filled, data, size);
	filled += size;
}

static void put_run(uint8_t byte, size_t count)
{
	if (count > LARGEST - filled)
		count = LARGEST - filled;
	memset(information + filled, byte, count);
	filled += count;
}

static void put_32(uint32_t value)
{
	put(&value, 4);
}

/* A memory map's entry of round numbers, or of any. */
static void put_entry(struct input *in)
{
	uint64_t number[3] = { input_scaled(in, 64), input_scaled(in, 64), input_8(in) };

	put(number, sizeof(number));
}

static void put_tag(struct input *in)
{
	uint8_t type = input_8(in), repeat = 1;
	int8_t lie = 0;
	size_t start = filled;
	uint32_t size;

	/* The second half of the types lies about its size. */
	if (type & 0x80)
		lie = (int8_t)input_8(in);
	if (type & 0x40)
		repeat = input_8(in);
	put_32(type & 0x1f);
	put_32(0);
	if ((type & 0x1f) == 6) {
		put_32(type & 0x20 ? input_8(in) : 24);
		put_32(0);
	}
	for (unsigned count = input_8(in) & 0x3fu; count; count--) {
		if ((type & 0x1f) == 6)
			put_entry(in);
		else
			put_run(input_8(in), repeat);
	}
	size = (uint32_t)((int64_t)(filled - start) + lie);
	memcpy(information + start + 4, &size, filled - start >= 8 ? 4 : 0);
	put_run(0, -filled & 7);
}

/* What the rest of the hypervisor relies on without asking again. */
static void check(const struct boot_info *boot, const char *start, size_t size)
{
	REQUIRE(boot->info_start == (uintptr_t)start);
	REQUIRE(boot->info_end > boot->info_start && boot->info_end - boot->info_start <= size);
	REQUIRE(boot->memory_count >= 1 && boot->memory_count <= BOOT_MEMORY_MAX);
	REQUIRE(boot->module_count <= BOOT_MODULES_MAX);
	REQUIRE(boot->rsdp_size == 0 || boot->rsdp_size == 20 || boot->rsdp_size == BOOT_RSDP_SIZE);
	for (unsigned i = 0; i < boot->memory_count; i++)
		REQUIRE(boot->memory[i].start < boot->memory[i].end);
	for (unsigned i = 0; i < boot->module_count; i++) {
		const char *text = boot->modules[i].string;

		REQUIRE(boot->modules[i].start <= boot->modules[i].end);
		REQUIRE(text > start && text < start + size &&
		        memchr(text, 0, (size_t)(start + size - text)));
	}
	REQUIRE(!boot->cmdline[0] || (boot->cmdline > start && boot->cmdline < start + size));
	REQUIRE(memchr(boot->cmdline, 0, LARGEST));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct boot_info boot;
	struct input in = { data, size };
	uint8_t form = input_8(&in);
	uint32_t total;
	const char *wrong;
	char *exact;

	if (!information)
		information = malloc(LARGEST);
	REQUIRE(information);
	filled = 8;
	while (in.left && filled < LARGEST - 16)
		put_tag(&in);
	if (!(form & 1)) {
		put_32(0);
		put_32(8);
	}
	/* The size may be off, with the rest of it beyond what can be read. */
	total = (uint32_t)filled - (form & 2 ? form >> 2 : 0);
	memcpy(information, &total, 4);
	/* A block of exactly this size: the sanitizer sees a read beyond it. */
	exact = malloc(filled);
	REQUIRE(exact);
	memcpy(exact, information, filled);
	wrong = multiboot2_parse(exact, filled, &boot);
	if (wrong)
		REQUIRE(wrong[0]);
	else
		check(&boot, exact, filled);
	REQUIRE(multiboot2_parse(exact, total - 1u, &boot));
	free(exact);
	return 0;
}
