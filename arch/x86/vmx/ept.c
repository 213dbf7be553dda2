/* SPDX-License-Identifier: MIT */
/* Extended page tables: a VM's guest-physical memory, built before its VCPUs run, and each VCPU's view of it. */
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

static void *new_page(void)
{
	void *table = memory_alloc(PAGE_SIZE, PAGE_SIZE);

	if (!table)
		refuse(LOG_CONFIG,
		       "no memory is left for a VM's page tables: give the VMs less or the machine more");
	return table;
}

void *ept_create(void)
{
	struct vmx_space *space = new_page();

	space->root = new_page();
	return space;
}

/* The entry for `gpa` at `level` (1: 4 KiB pages, 2: 2 MiB pages); makes the tables above it. */
static uint64_t *entry_for(uint64_t *table, uint64_t gpa, unsigned level)
{
	for (unsigned l = 4;; l--) {
		uint64_t *entry = &table[gpa >> (12 + 9 * (l - 1)) & 511];

		if (l == level)
			return entry;
		if (*entry == 0)
			*entry = (uintptr_t)new_page() | EPT_RWX;
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

		*entry_for(((struct vmx_space *)space)->root, gpa, large ? 2 : 1) = hpa | EPT_LEAF |
		                                                                    (large ? EPT_LARGE : 0);
		gpa += step;
		hpa += step;
		size -= step;
	}
}

/*
 * A view has the VM's memory, but at one page, where the VCPU has its LAPIC: it shares the VM's tables except for the
 * four on the way to that page, which are copies.
 */
void ept_view_init(struct ept_view *view)
{
	for (unsigned i = 0; i < EPT_LEVELS; i++)
		view->table[i] = new_page();
}

uint64_t ept_view_pointer(const struct ept_view *view)
{
	return (uintptr_t)view->table[0] | EPTP_WB | EPTP_WALK_4;
}

/* Makes the table say what the entry above it says: another table, a large page, or nothing. */
static void copy_table(uint64_t *table, uint64_t entry)
{
	const uint64_t *from = (const uint64_t *)(uintptr_t)(entry & EPT_ADDRESS);

	for (uint64_t i = 0; i < 512; i++) {
		if (!entry)
			table[i] = 0;
		else
			table[i] = entry & EPT_LARGE ? (entry & ~EPT_LARGE) + i * PAGE_SIZE : from[i];
	}
}

void ept_view_set(struct ept_view *view, const struct vmx_space *space, uint64_t gpa, uint64_t hpa)
{
	uint64_t entry = (uintptr_t)space->root, *slot;

	for (unsigned i = 0;; i++) {
		copy_table(view->table[i], entry);
		/* Beyond what four levels reach there is nothing to take out. */
		if (gpa >> 48)
			return;
		slot = &view->table[i][gpa >> (12 + 9 * (EPT_LEVELS - 1 - i)) & 511];
		if (i == EPT_LEVELS - 1)
			break;
		entry = *slot;
		*slot = (uintptr_t)view->table[i + 1] | EPT_RWX;
	}
	*slot = hpa ? hpa | EPT_LEAF : 0;
}
