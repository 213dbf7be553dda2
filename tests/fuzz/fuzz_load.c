/* SPDX-License-Identifier: MIT */
/* Fuzzes the guest loader: the input is the image. What it accepts must lie where the guest's memory is. */
/* SOURCES: kernel/load.c kernel/load_linux.c */
#include "kernel/load.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

#define RAM_SIZE (2u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t word(const uint8_t *ram, uint32_t gpa)
{
	uint32_t value;

	REQUIRE(gpa <= RAM_SIZE - 4);
	memcpy(&value, ram + gpa, 4);
	return value;
}

/* What a kernel finds: its own header, a map within the memory, the command line, its initrd. */
static void check_linux(const struct load_request *r, const struct virt_start *start)
{
	const uint8_t *ram = r->ram;
	uint32_t initrd = word(ram, start->esi + 0x218);

	REQUIRE(start->entry >= 0x100000 && start->entry < RAM_SIZE);
	REQUIRE(start->esi == 0x90000 && start->ebx == 0);
	REQUIRE(memcmp(ram + start->esi + 0x202, "HdrS", 4) == 0);
	REQUIRE(word(ram, start->esi + 0x21c) == r->image_size && initrd > start->entry);
	REQUIRE(initrd % 4096 == 0 && initrd <= RAM_SIZE - r->image_size);
	REQUIRE(memcmp(ram + initrd, r->image, r->image_size) == 0);
	REQUIRE(strcmp((const char *)ram + word(ram, start->esi + 0x228), r->arguments) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* From the heap, so that the sanitizer sees each byte beyond. */
	static uint8_t *ram;
	const struct load_module module = { data, size, "a module" };
	struct load_request request = {
		.size = RAM_SIZE,
		.image = data,
		.image_size = size,
		.name = "vm",
		.arguments = "arguments",
		.module = &module,
		.module_count = 1,
	};
	struct virt_start start;

	if (!ram)
		ram = malloc(RAM_SIZE);
	request.ram = ram;
	if (load_is_linux(data, size)) {
		if (!load_linux(&request, &start))
			check_linux(&request, &start);
		return 0;
	}
	if (load_multiboot(&request, &start))
		return 0;
	REQUIRE(start.entry < RAM_SIZE);
	REQUIRE(start.ebx >= 0x1000 && start.ebx < 0xa0000);
	REQUIRE(word(ram, start.ebx + 20) == 1);
	REQUIRE(strcmp((char *)ram + word(ram, start.ebx + 16), "vm arguments") == 0);
	REQUIRE(word(ram, word(ram, start.ebx + 24)) >= 0x100000);
	REQUIRE(memcmp(ram + word(ram, word(ram, start.ebx + 24)), data, size) == 0);
	return 0;
}
