/* SPDX-License-Identifier: MIT */
/* The boot-time allocator: a list of free ranges, cut from the top, never given back. */
#include "arch/x86/boot.h"
#include "kernel/string.h"

#define RANGES_MAX 256
#define LOW_MEMORY 0x100000ull
#define LOW_SAFE   0x80000ull /* above, some firmware keeps data of its own that its map does not show */

/* All of the boot CPU's. Free ranges do not overlap; their order means nothing. */
static struct range {
	uint64_t start;
	uint64_t end;
} ranges[RANGES_MAX];
static unsigned range_count;
static uint64_t limit; /* memory_alloc() stays below */
uint64_t memory_low_page;

static uint64_t page_up(uint64_t address)
{
	return (address + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
}

/* A list that is full loses memory, nothing else. */
static void add(uint64_t start, uint64_t end)
{
	if (start < end && range_count < RANGES_MAX)
		ranges[range_count++] = (struct range){ start, end };
}

/* Takes [start, end), widened to whole pages, out of whatever is free. */
static void reserve(uint64_t start, uint64_t end)
{
	start &= ~(PAGE_SIZE - 1);
	end = page_up(end);
	for (unsigned i = 0; i < range_count; i++) {
		struct range old = ranges[i];

		if (end <= old.start || start >= old.end)
			continue;
		/* What is left before stays in this place; what is left behind goes to the end of the list. */
		ranges[i].end = start > old.start ? start : old.start;
		add(end, old.end);
	}
}

void *memory_alloc(uint64_t size, uint64_t align)
{
	uint64_t best = 0;

	size = page_up(size);
	for (unsigned i = 0; i < range_count; i++) {
		uint64_t end = ranges[i].end < limit ? ranges[i].end : limit;
		uint64_t at = (end - size) & ~(align - 1);

		if (end >= size && at >= ranges[i].start && at > best)
			best = at;
	}
	if (!best || !size)
		return NULL;
	reserve(best, best + size);
	return memset((void *)best, 0, size);
}

uint64_t memory_free_bytes(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < range_count; i++)
		sum += ranges[i].end - ranges[i].start;
	return sum;
}

void memory_init(const struct boot_info *boot)
{
	for (unsigned i = 0; i < boot->memory_count; i++)
		if (boot->memory[i].type == BOOT_MEMORY_FREE)
			add(page_up(boot->memory[i].start), boot->memory[i].end & ~(PAGE_SIZE - 1));
	/* Firmware's maps may overlap themselves: "in use" wins. */
	for (unsigned i = 0; i < boot->memory_count; i++)
		if (boot->memory[i].type != BOOT_MEMORY_FREE)
			reserve(boot->memory[i].start, boot->memory[i].end);
	reserve((uintptr_t)image_start, (uintptr_t)image_end);
	reserve(boot->info_start, boot->info_end);
	for (unsigned i = 0; i < boot->module_count; i++)
		reserve(boot->modules[i].start, boot->modules[i].end);
	limit = LOW_SAFE;
	memory_low_page = (uintptr_t)memory_alloc(PAGE_SIZE, PAGE_SIZE);
	limit = LOW_4G;
	reserve(0, LOW_MEMORY);
}

void memory_open_high(void)
{
	limit = UINT64_MAX;
}
