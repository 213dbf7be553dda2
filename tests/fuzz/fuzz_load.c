/* SPDX-License-Identifier: MIT */
/* Fuzzes the guest loader: the input is the image. What it accepts must lie where the guest's memory is. */
/* SOURCES: kernel/load.c */
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
	struct load_start start;

	if (!ram)
		ram = malloc(RAM_SIZE);
	request.ram = ram;
	if (load_multiboot(&request, &start))
		return 0;
	REQUIRE(start.entry < RAM_SIZE);
	REQUIRE(start.info >= 0x1000 && start.info < 0xa0000);
	REQUIRE(word(ram, start.info + 20) == 1);
	REQUIRE(strcmp((char *)ram + word(ram, start.info + 16), "vm arguments") == 0);
	REQUIRE(word(ram, word(ram, start.info + 24)) >= 0x100000);
	REQUIRE(memcmp(ram + word(ram, word(ram, start.info + 24)), data, size) == 0);
	return 0;
}
