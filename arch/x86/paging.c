/* SPDX-License-Identifier: MIT */
/* The hypervisor's page tables: identity, large pages that are split where rights differ, nothing both W and X. */
#include "arch/x86/boot.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

#define PTE_PRESENT (1ull << 0)
#define PTE_WRITE   (1ull << 1)
#define PTE_PWT     (1ull << 3)
#define PTE_PCD     (1ull << 4)
#define PTE_LARGE   (1ull << 7)
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define RIGHTS_NONE   0ull
#define RIGHTS_CODE   PTE_PRESENT
#define RIGHTS_CONST  (PTE_PRESENT | PTE_NX)
#define RIGHTS_DATA   (PTE_PRESENT | PTE_NX | PTE_WRITE)
#define RIGHTS_DEVICE (PTE_PRESENT | PTE_NX | PTE_WRITE | PTE_PCD | PTE_PWT)

#define SPAN_512G (1ull << 39)

/* Written by the boot CPU only, before any other runs; so are the tables below it. */
static uint64_t root[512] __attribute__((aligned(4096)));

/* The table below `entry`. Made if there is none, of 512 pieces if there is a large page. */
static uint64_t *table_below(uint64_t *entry)
{
	uint64_t *table;

	if ((*entry & PTE_PRESENT) && !(*entry & PTE_LARGE))
		return (uint64_t *)(uintptr_t)(*entry & PTE_ADDRESS);
	table = memory_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!table)
		refuse(LOG_HV, "too little memory for page tables: give the machine more");
	for (unsigned i = 0; i < 512 && (*entry & PTE_LARGE); i++)
		table[i] = (*entry & ~PTE_LARGE) + i * PAGE_SIZE;
	/* Rights are decided in the last level alone. */
	*entry = (uintptr_t)table | PTE_PRESENT | PTE_WRITE;
	return table;
}

/* The entry that maps `address` with a page of `span` bytes; tables on the way are made. */
static uint64_t *entry_at(uint64_t address, uint64_t span)
{
	uint64_t *table = root;

	for (uint64_t at = SPAN_512G; at > span; at /= 512)
		table = table_below(&table[address / at % 512]);
	return &table[address / span % 512];
}

/* Before anything is protected: what is there already are the same large pages. */
static void map_data(uint64_t start, uint64_t end)
{
	for (uint64_t at = start & ~(LARGE_PAGE_SIZE - 1); at < end; at += LARGE_PAGE_SIZE)
		*entry_at(at, LARGE_PAGE_SIZE) = at | RIGHTS_DATA | PTE_LARGE;
}

static void protect(uint64_t start, uint64_t end, uint64_t rights)
{
	for (uint64_t at = start; at < end; at += PAGE_SIZE) {
		*entry_at(at, PAGE_SIZE) = rights ? at | rights : 0;
		invlpg(at);
	}
}

void paging_guard(const struct stack *stacks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		protect((uintptr_t)stacks[i].guard, (uintptr_t)stacks[i].bytes, RIGHTS_NONE);
}

void paging_init(const struct boot_info *boot)
{
	uint64_t apic = rdmsr(MSR_APIC_BASE) & APIC_BASE_PAGE;

	if (!(cpuid(0x80000001, 0).edx & CPUID_EXT_EDX_NX))
		refuse(LOG_HV, "this CPU has no execute-disable bit, or firmware hides it: turn it on in "
		               "firmware setup");
	map_data(0, LOW_4G);
	/* Only RAM: firmware may list address ranges of terabytes that no table of ours could cover. */
	for (unsigned i = 0; i < boot->memory_count; i++)
		if (boot->memory[i].type == BOOT_MEMORY_FREE)
			map_data(boot->memory[i].start, boot->memory[i].end);

	/* A null pointer of ours must fault, and be told from a pointer that is merely wrong. */
	protect(0, PAGE_SIZE, RIGHTS_NONE);
	protect((uintptr_t)image_start, (uintptr_t)image_text_end, RIGHTS_CODE);
	protect((uintptr_t)image_text_end, (uintptr_t)image_rodata_end, RIGHTS_CONST);
	protect(apic, apic + PAGE_SIZE, RIGHTS_DEVICE);
	paging_load();
}

void paging_load(void)
{
	uint64_t cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	uint32_t ebx = cpuid(0, 0).eax >= 7 ? cpuid(7, 0).ebx : 0;

	/* No page of ours is a user page: with these two, one that became so by mistake would not go unnoticed. */
	cr4 |= (ebx & CPUID_7_EBX_SMEP ? CR4_SMEP : 0) | (ebx & CPUID_7_EBX_SMAP ? CR4_SMAP : 0);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	write_cr3((uintptr_t)root);
	write_cr4(cr4);
	write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
}
