/* SPDX-License-Identifier: MIT */
/* Extended page tables: a VM's guest-physical memory. Built before its VCPUs run, so never invalidated. */
#include "arch/x86/vmx/vmx.h"

#include "kernel/log.h"

/* SDM vol. 3, "EPT Translation Mechanism". */
#define EPT_RWX        7ull
#define EPT_WB         (6ull << 3)
#define EPT_IGNORE_PAT (1ull << 6)
#define EPT_LARGE      (1ull << 7)
#define EPT_ADDRESS    0x000ffffffffff000ull

/* SDM vol. 3, "Extended-Page-Table Pointer (EPTP)": write-back, a page walk of four levels. */
#define EPTP_WB     6ull
#define EPTP_WALK_4 (3ull << 3)

/*
 * RAM is write-back whatever the guest's PAT says: no device of the machine is handed to a guest, so a guest
 * has no reason for another type, and its memory has no alias of another type here.
 */
#define EPT_LEAF (EPT_RWX | EPT_WB | EPT_IGNORE_PAT)

void *ept_create(void)
{
	void *table = memory_alloc(PAGE_SIZE, PAGE_SIZE);

	if (!table)
		refuse(LOG_CONFIG,
		       "no memory is left for a VM's page tables: give the VMs less or the machine more");
	return table;
}

uint64_t ept_pointer(void *space)
{
	return (uintptr_t)space | EPTP_WB | EPTP_WALK_4;
}

/* The entry for `gpa` at `level` (1: 4 KiB pages, 2: 2 MiB pages); makes the tables above it. */
static uint64_t *entry_for(uint64_t *table, uint64_t gpa, unsigned level)
{
	for (unsigned l = 4;; l--) {
		uint64_t *entry = &table[gpa >> (12 + 9 * (l - 1)) & 511];

		if (l == level)
			return entry;
		if (*entry == 0)
			*entry = (uintptr_t)ept_create() | EPT_RWX;
		if (*entry & EPT_LARGE)
			panic("guest-physical 0x%lx is mapped twice", gpa);
		table = (uint64_t *)(uintptr_t)(*entry & EPT_ADDRESS);
	}
}

void ept_map(void *space, uint64_t gpa, uint64_t hpa, uint64_t size)
{
	if ((gpa | hpa | size) % PAGE_SIZE)
		panic("guest-physical 0x%lx: not whole pages", gpa);
	while (size > 0) {
		bool large = vmx_caps.large_pages && size >= LARGE_PAGE_SIZE &&
		             (gpa | hpa) % LARGE_PAGE_SIZE == 0;
		uint64_t step = large ? LARGE_PAGE_SIZE : PAGE_SIZE;

		*entry_for(space, gpa, large ? 2 : 1) = hpa | EPT_LEAF | (large ? EPT_LARGE : 0);
		gpa += step;
		hpa += step;
		size -= step;
	}
}
