/* SPDX-License-Identifier: MIT */
/* The hypervisor's page tables: everything mapped large first, then split where rights differ. */
#include "arch/x86/paging.h"

#include "arch/x86/arch.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "boot/multiboot2.h"
#include "kernel/log.h"

#define PTE_PRESENT (1ull << 0)
#define PTE_WRITE   (1ull << 1)
#define PTE_PWT     (1ull << 3)
#define PTE_PCD     (1ull << 4)
#define PTE_LARGE   (1ull << 7)
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define SPAN_4K   PAGE_SIZE
#define SPAN_2M   LARGE_PAGE_SIZE
#define SPAN_1G   (1ull << 30)
#define SPAN_512G (1ull << 39)
#define LOW_4G    (1ull << 32)
#define TOP       (1ull << 47)

static const uint64_t rights_bits[] = {
	[PAGING_NONE] = 0,
	[PAGING_CODE] = PTE_PRESENT,
	[PAGING_CONST] = PTE_PRESENT | PTE_NX,
	[PAGING_DATA] = PTE_PRESENT | PTE_WRITE | PTE_NX,
	[PAGING_DEVICE] = PTE_PRESENT | PTE_WRITE | PTE_NX | PTE_PCD | PTE_PWT,
};

/* In the image, below 4 GiB: the other CPUs load it in 16-bit mode. Written by the boot CPU only. */
uint64_t paging_root[512] __attribute__((aligned(4096)));

/* The table below `entry`, whose entries span `span` each. Made if there is none; a large page is split. */
static uint64_t *table_below(uint64_t *entry, uint64_t span)
{
	uint64_t *table;

	if ((*entry & PTE_PRESENT) && !(*entry & PTE_LARGE))
		return (uint64_t *)(uintptr_t)(*entry & PTE_ADDRESS);
	table = memory_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!table)
		refuse(LOG_HV, "too little memory for page tables: give the machine more");
	if (*entry & PTE_PRESENT) {
		uint64_t bits = *entry & ~(span == SPAN_4K ? PTE_LARGE : 0);

		for (unsigned i = 0; i < 512; i++)
			table[i] = bits + i * span;
	}
	/* Rights are decided in the last level alone. */
	*entry = (uintptr_t)table | PTE_PRESENT | PTE_WRITE;
	return table;
}

/* The entry that maps `address` with a page of `span` bytes; tables on the way are made. */
static uint64_t *entry_at(uint64_t address, uint64_t span)
{
	uint64_t *table = paging_root;

	for (uint64_t at = SPAN_512G; at > span; at /= 512)
		table = table_below(&table[address / at % 512], at / 512);
	return &table[address / span % 512];
}

/* Maps as data whatever of it is not mapped yet. */
static void map_data(uint64_t start, uint64_t end, bool huge)
{
	uint64_t span;

	for (uint64_t at = start & ~(SPAN_2M - 1); at < end; at += span) {
		uint64_t *entry = NULL;

		span = SPAN_2M;
		if (huge && at % SPAN_1G == 0 && end - at >= SPAN_1G) {
			entry = entry_at(at, SPAN_1G);
			if (*entry == 0)
				span = SPAN_1G;
		}
		if (span == SPAN_2M)
			entry = entry_at(at, SPAN_2M);
		if (*entry == 0)
			*entry = at | rights_bits[PAGING_DATA] | PTE_LARGE;
	}
}

/* Only RAM: firmware may list address ranges of terabytes that no table of ours could cover. */
static bool wants_map(const struct boot_memory *m)
{
	return m->start < TOP && m->end <= TOP &&
	       (m->type == BOOT_MEMORY_FREE || m->type == BOOT_MEMORY_ACPI || m->type == BOOT_MEMORY_NVS);
}

void paging_protect(uint64_t start, uint64_t size, enum paging_rights rights)
{
	for (uint64_t at = start; at < start + size; at += PAGE_SIZE) {
		uint64_t *entry = entry_at(at, SPAN_4K);

		*entry = rights_bits[rights] ? at | rights_bits[rights] : 0;
		invlpg(at);
	}
}

static void protect_image(void)
{
	uint64_t text = (uintptr_t)image_start, text_end = (uintptr_t)image_text_end;
	uint64_t rodata_end = (uintptr_t)image_rodata_end, end = (uintptr_t)image_end;

	paging_protect(text, text_end - text, PAGING_CODE);
	paging_protect(text_end, rodata_end - text_end, PAGING_CONST);
	paging_protect(rodata_end, end - rodata_end, PAGING_DATA);
}

void paging_init(const struct boot_info *boot, uint64_t trampoline)
{
	uint32_t edx = cpuid(0x80000001, 0).edx;
	bool huge = edx & CPUID_EXT_EDX_1G;

	if (!(edx & CPUID_EXT_EDX_NX))
		refuse(LOG_HV, "this CPU has no execute-disable bit, or firmware hides it: turn it on in "
		               "firmware setup");
	map_data(0, LOW_4G, huge);
	for (unsigned i = 0; i < boot->memory_count; i++)
		if (wants_map(&boot->memory[i]) && boot->memory[i].end > LOW_4G)
			map_data(boot->memory[i].start > LOW_4G ? boot->memory[i].start : LOW_4G,
			         boot->memory[i].end, huge);

	/* A null pointer of ours must fault, and be told from a pointer that is merely wrong. */
	paging_protect(0, PAGE_SIZE, PAGING_NONE);
	if (trampoline)
		paging_protect(trampoline, PAGE_SIZE, PAGING_CODE);
	protect_image();
	paging_protect(rdmsr(MSR_APIC_BASE) & APIC_BASE_PAGE, PAGE_SIZE, PAGING_DEVICE);
	paging_load();
}

void paging_load(void)
{
	uint64_t cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	/* No page of ours is a user page: with these two, one that became so by mistake would not go
	 * unnoticed. */
	if (cpuid(0, 0).eax >= 7) {
		uint32_t ebx = cpuid(7, 0).ebx;

		cr4 |= (ebx & CPUID_7_EBX_SMEP ? CR4_SMEP : 0) | (ebx & CPUID_7_EBX_SMAP ? CR4_SMAP : 0);
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	write_cr3((uintptr_t)paging_root);
	write_cr4(cr4);
	write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
}

bool paging_maps(uint64_t start, uint64_t size)
{
	uint64_t span;

	if (start >= TOP || size > TOP - start)
		return false;
	for (uint64_t at = start; at < start + size; at += span - at % span) {
		const uint64_t *table = paging_root;
		uint64_t entry;

		for (span = SPAN_512G;; span /= 512) {
			entry = table[at / span % 512];
			if (!(entry & PTE_PRESENT))
				return false;
			if (span == SPAN_4K || (entry & PTE_LARGE))
				break;
			table = (const uint64_t *)(uintptr_t)(entry & PTE_ADDRESS);
		}
	}
	return true;
}
