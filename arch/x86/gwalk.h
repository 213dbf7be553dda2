/* SPDX-License-Identifier: MIT */
/* The guest's own page tables, walked in software: guest-linear to guest-physical. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vm;

/* What the access is, in the bits of a page-fault error code. */
enum gwalk_access { GWALK_READ = 0, GWALK_WRITE = 1 << 1, GWALK_FETCH = 1 << 4 };

enum gwalk_result {
	GWALK_OK,
	GWALK_FAULT,         /* #PF with *error_code and the linear address as CR2 */
	GWALK_NON_CANONICAL, /* #GP(0), or #SS(0) for a stack access */
	GWALK_NO_TABLE,      /* a paging structure lies outside of the guest's RAM */
	GWALK_RETRY, /* an entry changed under the walk: enter the guest again, it repeats the access */
};

/* A paging-structure entry as the walk read it, and where. */
#define GWALK_LEVELS 4
struct gwalk_entry {
	void *at;
	uint64_t value;
};

/* What decides a walk; CR0 and CR4 as the guest reads them. */
struct gwalk_cpu {
	uint64_t cr0, cr3, cr4, efer, rflags;
	uint64_t pdpte[4];     /* PAE only: the loaded registers, which need not be what memory says by now */
	bool user;             /* CPL is 3; otherwise RFLAGS.AC lifts SMAP, as for every explicit access */
	uint8_t physical_bits; /* MAXPHYADDR that the guest's CPUID shows: 32 to 52 */
	bool gigabyte_pages;   /* the guest's CPUID shows 1-GByte pages */
	struct gwalk_entry
		*trail; /* with paging, GWALK_OK fills GWALK_LEVELS, the last one again; NULL: not wanted */
};

/*
 * Translates one linear address for `access` (of enum gwalk_access) in the paging mode that the registers
 * select: none, 32-bit, PAE or 4-level; the guest is shown no 5-level paging, keys or shadow stacks.
 * GWALK_OK sets *gpa, and the accessed and dirty flags in the tables; GWALK_FAULT sets *error_code and leaves
 * the tables alone. An access that crosses a page needs a call for each. Owner CPU of the VCPU, no lock.
 */
enum gwalk_result gwalk(const struct gwalk_cpu *cpu, const struct vm *vm, uint64_t linear, unsigned access,
                        uint64_t *gpa, uint32_t *error_code);
