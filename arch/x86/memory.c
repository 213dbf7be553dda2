/* SPDX-License-Identifier: MIT */
/* The boot-time allocator: a list of free ranges, cut from the top, never given back. */
#include "arch/x86/memory.h"

#include "arch/x86/arch.h"
#include "arch/x86/paging.h"
#include "boot/multiboot2.h"
#include "kernel/string.h"

#define RANGES_MAX 256
#define LOW_MEMORY 0x100000ull
#define LOW_4G     (1ull << 32)

/* The first pages hold the BIOS's data, the last ones of the first 640 KiB its extended data. */
#define LOW_PAGE_FIRST 0x2000ull
#define LOW_PAGE_END   0x80000ull

struct range {
	uint64_t start;
	uint64_t end;
};

/* All of the boot CPU's. Free ranges do not overlap; their order means nothing. */
static struct range ranges[RANGES_MAX];
static unsigned range_count;
static uint64_t limit = LOW_4G;
static uint64_t low_page;

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
		/* What is left before stays in this place; what is left behind goes to the end of the list.
		 */
		ranges[i].end = start > old.start ? start : old.start;
		add(end, old.end);
	}
}

/* The highest place in this range that fits, or 0. */
static uint64_t fit(const struct range *r, uint64_t size, uint64_t align)
{
	uint64_t end = r->end < limit ? r->end : limit;
	uint64_t at;

	if (end <= r->start || end - r->start < size)
		return 0;
	at = (end - size) & ~(align - 1);
	return at >= r->start ? at : 0;
}

void *memory_alloc(uint64_t size, uint64_t align)
{
	uint64_t best = 0;

	size = page_up(size);
	for (unsigned i = 0; i < range_count; i++) {
		uint64_t at = fit(&ranges[i], size, align);

		best = at > best ? at : best;
	}
	if (!best || !size)
		return NULL;
	reserve(best, best + size);
	return memset((void *)(uintptr_t)best, 0, size);
}

uint64_t memory_free_bytes(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < range_count; i++)
		sum += ranges[i].end - ranges[i].start;
	return sum;
}

static void find_low_page(void)
{
	for (unsigned i = 0; i < range_count && !low_page; i++) {
		uint64_t at = ranges[i].start > LOW_PAGE_FIRST ? ranges[i].start : LOW_PAGE_FIRST;
		uint64_t end = ranges[i].end < LOW_PAGE_END ? ranges[i].end : LOW_PAGE_END;

		if (at + PAGE_SIZE <= end)
			low_page = at;
	}
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
	find_low_page();
	reserve(0, LOW_MEMORY);
}

uint64_t memory_low_page(void)
{
	return low_page;
}

void memory_open_high(void)
{
	limit = UINT64_MAX;
}
