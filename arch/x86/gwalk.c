/* SPDX-License-Identifier: MIT */
/* The walk: one loop over the levels, then the access rights, then the flags. */
#include "arch/x86/gwalk.h"

#include "arch/x86/cpureg.h"
#include "kernel/vm.h"

#define BITS(high, low) ((UINT64_MAX >> (63 - (high))) & (UINT64_MAX << (low)))
#define BIT(n)          (UINT64_C(1) << (n))

#define CR4_PSE   (1u << 4)
#define RFLAGS_AC (1u << 18)

/* SDM vol. 3, "Paging-Structure Entries": the same in all modes. */
#define ENTRY_PRESENT  BIT(0)
#define ENTRY_WRITE    BIT(1)
#define ENTRY_USER     BIT(2)
#define ENTRY_ACCESSED BIT(5)
#define ENTRY_DIRTY    BIT(6)
#define ENTRY_LARGE    BIT(7)
#define ENTRY_XD       BIT(63)
#define ENTRY_ADDRESS  BITS(51, 12)

/* SDM vol. 3, "Page-Fault Exceptions". The bits of the access are in enum gwalk_access. */
#define FAULT_PRESENT  1u
#define FAULT_USER     4u
#define FAULT_RESERVED 8u

/* 32-bit paging has entries of 4 bytes, the other modes of 8. */
static bool is_wide(const struct gwalk_cpu *cpu)
{
	return cpu->cr4 & CR4_PAE;
}

/* SDM vol. 3, "PAE Paging", "4-Level Paging and 5-Level Paging": what is reserved in every entry. */
static uint64_t always_reserved(const struct gwalk_cpu *cpu)
{
	uint64_t reserved = cpu->efer & EFER_NXE ? 0 : ENTRY_XD;

	if (!is_wide(cpu))
		return 0;
	/* Bits 62 to 52 are for software with 4 levels, and reserved with PAE. */
	if (!(cpu->efer & EFER_LMA))
		reserved |= BITS(62, 52);
	return cpu->physical_bits < 52 ? reserved | BITS(51, cpu->physical_bits) : reserved;
}

/*
 * Same sections and "32-Bit Paging": whether an entry with its PS bit set, above the last level, maps a page,
 * and what is reserved in it besides. With 32-bit paging and CR4.PSE = 0 the bit is ignored.
 */
static bool is_large(const struct gwalk_cpu *cpu, unsigned shift, uint64_t *reserved)
{
	bool large = is_wide(cpu) ? shift == 21 || (shift == 30 && cpu->gigabyte_pages) : cpu->cr4 & CR4_PSE;

	if (is_wide(cpu)) /* bit 12 is PAT, the rest below the page's address is reserved */
		*reserved |= large ? BITS(shift - 1, 13) : ENTRY_LARGE;
	else if (large) /* PSE-36: address bits 32 to 39 from bit 13 on, as far as the processor has them */
		*reserved |= BITS(21, (cpu->physical_bits < 40 ? cpu->physical_bits : 40) - 19);
	return large;
}

static uint64_t page_address(uint64_t entry, unsigned shift)
{
	if (shift == 22) /* 32-bit paging only */
		return (entry & BITS(31, 22)) | (entry & BITS(20, 13)) << 19;
	return entry & ENTRY_ADDRESS & BITS(63, shift);
}

/* SDM vol. 3, "Determination of Access Rights". */
static bool is_permitted(const struct gwalk_cpu *cpu, uint64_t rights, unsigned access)
{
	bool user_page = rights & ENTRY_USER;

	if ((access & GWALK_FETCH) && !(rights & ENTRY_XD))
		return false;
	if (cpu->user)
		return user_page && (!(access & GWALK_WRITE) || (rights & ENTRY_WRITE));
	if (access & GWALK_FETCH)
		return !(user_page && (cpu->cr4 & CR4_SMEP));
	if (user_page && (cpu->cr4 & CR4_SMAP) && !(cpu->rflags & RFLAGS_AC))
		return false;
	return !(access & GWALK_WRITE) || (rights & ENTRY_WRITE) || !(cpu->cr0 & CR0_WP);
}

/* SDM vol. 3, "Page-Fault Exceptions": I/D is reported only where fetches are told from reads at all. */
static enum gwalk_result fault(const struct gwalk_cpu *cpu, unsigned access, uint32_t cause,
                               uint32_t *error_code)
{
	bool tells_fetch = (cpu->cr4 & CR4_SMEP) || (is_wide(cpu) && (cpu->efer & EFER_NXE));

	if (!tells_fetch)
		access &= ~(unsigned)GWALK_FETCH;
	*error_code = cause | access | (cpu->user ? FAULT_USER : 0);
	return GWALK_FAULT;
}

/* The processor's locked update of an entry, of which only flags in the low 32 bits change. */
static bool update(const struct gwalk_entry *used, uint64_t marked, bool wide)
{
	uint64_t expected = used->value;
	uint32_t expected_low = (uint32_t)expected;

	if (wide)
		return __atomic_compare_exchange_n((uint64_t *)used->at, &expected, marked, false,
		                                   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)used->at, &expected_low, (uint32_t)marked, false,
	                                   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/*
 * SDM vol. 3, "Accessed and Dirty Flags": the guest's memory manager relies on them for what it does not see
 * done, and this access the processor will not repeat. An entry that another VCPU has changed meanwhile is
 * not overwritten: false.
 */
static bool mark_used(const struct gwalk_entry *used, unsigned depth, bool wide, unsigned access)
{
	for (unsigned i = 0; i < depth; i++) {
		bool dirty = i == depth - 1 && (access & GWALK_WRITE);
		uint64_t marked = used[i].value | ENTRY_ACCESSED | (dirty ? ENTRY_DIRTY : 0);

		if (marked != used[i].value && !update(&used[i], marked, wide))
			return false;
	}
	return true;
}

enum gwalk_result gwalk(const struct gwalk_cpu *cpu, const struct vm *vm, uint64_t linear, unsigned access,
                        uint64_t *gpa, uint32_t *error_code)
{
	bool wide = is_wide(cpu), large;
	unsigned index_bits = wide ? 9 : 10, size = wide ? 8 : 4, shift = wide ? 21 : 22, depth = 0;
	/* ENTRY_WRITE, _USER, _ACCESSED where every level has them, ENTRY_XD where none has it. */
	uint64_t rights = UINT64_MAX, entry = cpu->cr3 | ENTRY_PRESENT, reserved = always_reserved(cpu);
	struct gwalk_entry used[GWALK_LEVELS];

	if (!(cpu->efer & EFER_LMA))
		linear = (uint32_t)linear;
	else if ((int64_t)linear >> 47 != (int64_t)linear >> 63) /* SDM vol. 1, "Canonical Addressing" */
		return GWALK_NON_CANONICAL;
	*gpa = linear;
	if (!(cpu->cr0 & CR0_PG))
		return GWALK_OK;
	if (cpu->efer & EFER_LMA)
		shift = 39;
	else if (!wide)
		entry = (uint32_t)entry;
	else /* reserved bits were looked at on loading; there are no rights and no flags */
		entry = cpu->pdpte[linear >> 30];
	if (!(entry & ENTRY_PRESENT))
		return fault(cpu, access, 0, error_code);
	for (;; shift -= index_bits) {
		uint64_t index = linear >> shift & BITS(index_bits - 1, 0);
		void *at = vm_ram(vm, (entry & ENTRY_ADDRESS) + index * size, size);

		if (!at)
			return GWALK_NO_TABLE;
		entry = wide ? *(volatile uint64_t *)at : *(volatile uint32_t *)at; /* in one access */
		if (!(entry & ENTRY_PRESENT))
			return fault(cpu, access, 0, error_code);
		large = (entry & ENTRY_LARGE) && shift > 12 && is_large(cpu, shift, &reserved);
		if (entry & reserved)
			return fault(cpu, access, FAULT_PRESENT | FAULT_RESERVED, error_code);
		used[depth++] = (struct gwalk_entry){ at, entry };
		rights &= entry ^ ENTRY_XD;
		if (large || shift == 12)
			break;
	}
	if (!is_permitted(cpu, rights, access))
		return fault(cpu, access, FAULT_PRESENT, error_code);
	for (unsigned i = 0; cpu->trail && i < GWALK_LEVELS; i++)
		cpu->trail[i] = used[i < depth ? i : depth - 1];
	*gpa = page_address(entry, shift) | (linear & BITS(shift - 1, 0));
	/* Nearly always there is nothing to mark for a read. */
	if ((!(rights & ENTRY_ACCESSED) || (access & GWALK_WRITE)) && !mark_used(used, depth, wide, access))
		return GWALK_RETRY;
	return GWALK_OK;
}
