/* SPDX-License-Identifier: MIT */
/* The guest's own page tables, walked in software: guest-linear to guest-physical. */
#ifndef ARCH_X86_GWALK_H
#define ARCH_X86_GWALK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What the access is, in the bits of a page-fault error code. GWALK_USER is an access at CPL 3; without it
 * the access is explicit and supervisor-mode, so that RFLAGS.AC lifts SMAP.
 */
enum gwalk_access { GWALK_READ = 0, GWALK_WRITE = 1 << 1, GWALK_USER = 1 << 2, GWALK_FETCH = 1 << 4 };

enum gwalk_result {
	GWALK_OK,
	GWALK_FAULT,         /* #PF with *error_code and the linear address as CR2 */
	GWALK_NON_CANONICAL, /* #GP(0), or #SS(0) for a stack access */
	GWALK_NO_TABLE,      /* a paging structure lies where read() found no memory */
	GWALK_RETRY, /* an entry changed under the walk: enter the guest again, it repeats the access */
};

/* The registers that decide a walk; CR0 and CR4 as the guest reads them. */
struct gwalk_cpu {
	uint64_t cr0, cr3, cr4, efer, rflags;
	uint64_t pdpte[4];     /* PAE only: the loaded registers, which need not be what memory says by now */
	uint8_t physical_bits; /* MAXPHYADDR that the guest's CPUID shows: 32 to 52 */
	bool gigabyte_pages;   /* the guest's CPUID shows 1-GByte pages */
};

/* Guest-physical memory. `size` is 4 or 8 bytes, the address is aligned to it. */
struct gwalk_memory {
	/* Reads an entry, in one access. False: there is no memory there. */
	bool (*read)(void *context, uint64_t gpa, unsigned size, uint64_t *value);
	/*
	 * Replaces an entry that still is `expected`, atomically against the guest's other VCPUs. False: it
	 * is not. Memory that the guest cannot write (ROM) drops the write and answers true.
	 */
	bool (*update)(void *context, uint64_t gpa, unsigned size, uint64_t expected, uint64_t desired);
	void *context;
};

/*
 * Translates one linear address for `access` (an OR of enum gwalk_access) in the paging mode that the
 * registers select: none, 32-bit, PAE or 4-level. On GWALK_OK sets *gpa, and the accessed and dirty flags in
 * the tables; on GWALK_FAULT sets *error_code and leaves the tables alone. An access that crosses a page
 * needs a call for each page. The caller shows the guest no 5-level paging, protection keys or shadow stacks.
 * Owner CPU of the VCPU, no lock needed.
 */
enum gwalk_result gwalk(const struct gwalk_cpu *cpu, uint64_t linear, unsigned access,
                        const struct gwalk_memory *memory, uint64_t *gpa, uint32_t *error_code);

#endif
