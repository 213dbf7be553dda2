/* SPDX-License-Identifier: MIT */
/* The walk: one loop over a table of paging modes, then the access rights, then the flags. */
#include "arch/x86/gwalk.h"

#define BITS(high, low) ((UINT64_MAX >> (63 - (high))) & (UINT64_MAX << (low)))
#define BIT(n)          (UINT64_C(1) << (n))

#define CR0_WP    BIT(16)
#define CR0_PG    BIT(31)
#define CR4_PSE   BIT(4)
#define CR4_PAE   BIT(5)
#define CR4_SMEP  BIT(20)
#define CR4_SMAP  BIT(21)
#define EFER_LMA  BIT(10)
#define EFER_NXE  BIT(11)
#define RFLAGS_AC BIT(18)

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
#define FAULT_PRESENT  BIT(0)
#define FAULT_RESERVED BIT(3)

#define MAX_LEVELS 4

enum paging { PAGING_32, PAGING_PAE, PAGING_4_LEVEL };

/* SDM vol. 3, "Paging Modes and Control Bits". The first level of PAE is registers: two are left to walk. */
static const struct mode {
	uint8_t levels;
	uint8_t entry_size;
	uint8_t index_bits;
} modes[] = {
	[PAGING_32] = { .levels = 2, .entry_size = 4, .index_bits = 10 },
	[PAGING_PAE] = { .levels = 2, .entry_size = 8, .index_bits = 9 },
	[PAGING_4_LEVEL] = { .levels = 4, .entry_size = 8, .index_bits = 9 },
};

/* How far a walk has come, and which entries it has used. */
struct walk {
	enum paging paging;
	uint64_t linear;
	uint64_t table; /* guest-physical address of the next paging structure */
	unsigned shift; /* the lowest bit of the linear address that the present level translates */
	unsigned depth; /* entries used */
	uint64_t where[MAX_LEVELS], entry[MAX_LEVELS];
	uint64_t
		rights; /* ENTRY_WRITE and ENTRY_USER where every level has them, ENTRY_XD where one has it */
};

static enum paging paging_mode(const struct gwalk_cpu *cpu)
{
	if (!(cpu->cr4 & CR4_PAE))
		return PAGING_32;
	return cpu->efer & EFER_LMA ? PAGING_4_LEVEL : PAGING_PAE;
}

/* Whether an entry with its PS bit set maps a page here. Where it does not, the bit is ignored or reserved.
 */
static bool may_be_large(const struct gwalk_cpu *cpu, const struct walk *walk)
{
	if (walk->paging == PAGING_32)
		return walk->shift == 22 && (cpu->cr4 & CR4_PSE);
	return walk->shift == 21 || (walk->shift == 30 && cpu->gigabyte_pages);
}

/*
 * SDM vol. 3, "32-Bit Paging": the tables of a PDE that maps a 4-MByte page. PSE-36 puts address bits from 32
 * to 39 at bit 13; those that the processor does not have are reserved, and bit 21 always.
 */
static uint64_t reserved_32(const struct gwalk_cpu *cpu, bool large)
{
	unsigned width = cpu->physical_bits < 40 ? cpu->physical_bits : 40;

	return large ? BITS(21, width - 19) : 0;
}

/* SDM vol. 3, "PAE Paging" and "4-Level Paging and 5-Level Paging": reserved bits, entry by entry. */
static uint64_t reserved_bits(const struct gwalk_cpu *cpu, const struct walk *walk, bool large)
{
	uint64_t reserved = 0;

	if (walk->paging == PAGING_32)
		return reserved_32(cpu, large);
	/* Bits 62 to 52 are for software with 4 levels, and reserved with PAE. */
	if (walk->paging == PAGING_PAE)
		reserved |= BITS(62, 52);
	if (cpu->physical_bits < 52)
		reserved |= BITS(51, cpu->physical_bits);
	if (!(cpu->efer & EFER_NXE))
		reserved |= ENTRY_XD;
	/* Bit 12 of a large page is PAT, the rest below the page's address is reserved. */
	if (large)
		reserved |= BITS(walk->shift - 1, 13);
	else if (walk->shift > 21) /* PS in a PML4E, or in a PDPTE without 1-GByte pages */
		reserved |= ENTRY_LARGE;
	return reserved;
}

static uint64_t page_address(const struct walk *walk, uint64_t entry, bool large)
{
	uint64_t offset = walk->linear & BITS(walk->shift - 1, 0);

	if (walk->paging == PAGING_32 && large)
		return (entry & BITS(31, 22)) | (entry & BITS(20, 13)) << 19 | offset;
	return (entry & ENTRY_ADDRESS & BITS(63, walk->shift)) | offset;
}

/*
 * Uses one entry. Returns GWALK_OK when *gpa is the translation, GWALK_RETRY when there is another level
 * below, GWALK_FAULT with the P and RSVD bits of the error code in *cause.
 */
static enum gwalk_result step(const struct gwalk_cpu *cpu, struct walk *walk,
                              const struct gwalk_memory *memory, uint64_t *gpa, uint64_t *cause)
{
	const struct mode *mode = &modes[walk->paging];
	uint64_t index = walk->linear >> walk->shift & BITS(mode->index_bits - 1, 0);
	uint64_t where = walk->table + index * mode->entry_size;
	uint64_t entry;
	bool large;

	if (!memory->read(memory->context, where, mode->entry_size, &entry))
		return GWALK_NO_TABLE;
	*cause = 0;
	if (!(entry & ENTRY_PRESENT))
		return GWALK_FAULT;
	large = (entry & ENTRY_LARGE) && may_be_large(cpu, walk);
	*cause = FAULT_PRESENT | FAULT_RESERVED;
	if (entry & reserved_bits(cpu, walk, large))
		return GWALK_FAULT;
	walk->where[walk->depth] = where;
	walk->entry[walk->depth++] = entry;
	walk->rights &= entry | ENTRY_XD;
	walk->rights |= entry & ENTRY_XD;
	if (large || walk->shift == 12) {
		*gpa = page_address(walk, entry, large);
		return GWALK_OK;
	}
	walk->table = entry & ENTRY_ADDRESS;
	walk->shift -= mode->index_bits;
	return GWALK_RETRY;
}

/* SDM vol. 3, "Determination of Access Rights". */
static bool permitted(const struct gwalk_cpu *cpu, uint64_t rights, unsigned access)
{
	bool user_page = rights & ENTRY_USER;

	if ((access & GWALK_FETCH) && (rights & ENTRY_XD))
		return false;
	if (access & GWALK_USER)
		return user_page && (!(access & GWALK_WRITE) || (rights & ENTRY_WRITE));
	if (access & GWALK_FETCH)
		return !(user_page && (cpu->cr4 & CR4_SMEP));
	if (user_page && (cpu->cr4 & CR4_SMAP) && !(cpu->rflags & RFLAGS_AC))
		return false;
	return !(access & GWALK_WRITE) || (rights & ENTRY_WRITE) || !(cpu->cr0 & CR0_WP);
}

/* SDM vol. 3, "Page-Fault Exceptions": I/D is reported only where fetches are told from reads at all. */
static uint32_t fault_code(const struct gwalk_cpu *cpu, unsigned access, uint64_t cause)
{
	bool tells_fetch = (cpu->cr4 & CR4_SMEP) || ((cpu->cr4 & CR4_PAE) && (cpu->efer & EFER_NXE));

	if (!tells_fetch)
		access &= ~(unsigned)GWALK_FETCH;
	return (uint32_t)cause | access;
}

/*
 * SDM vol. 3, "Accessed and Dirty Flags": the guest's memory manager relies on them for what it does not see
 * done, and this access the processor will not repeat. One locked compare-and-exchange per entry, as the
 * processor does it, so that an entry that another VCPU changes meanwhile is never overwritten.
 */
static bool mark_used(const struct walk *walk, const struct gwalk_memory *memory, unsigned access)
{
	unsigned size = modes[walk->paging].entry_size;

	for (unsigned i = 0; i < walk->depth; i++) {
		uint64_t marked = walk->entry[i] | ENTRY_ACCESSED;

		if (i == walk->depth - 1 && (access & GWALK_WRITE))
			marked |= ENTRY_DIRTY;
		if (marked != walk->entry[i] &&
		    !memory->update(memory->context, walk->where[i], size, walk->entry[i], marked))
			return false;
	}
	return true;
}

/* SDM vol. 1, "Canonical Addressing": bits 63 to 47 are equal. */
static bool canonical(uint64_t linear)
{
	return linear >> 47 == 0 || linear >> 47 == BITS(16, 0);
}

/* Sets out a walk. False: a PDPTE register is not present. */
static bool start(const struct gwalk_cpu *cpu, uint64_t linear, struct walk *walk)
{
	const struct mode *mode;

	*walk = (struct walk){ .paging = paging_mode(cpu),
		               .linear = linear,
		               .rights = ENTRY_WRITE | ENTRY_USER };
	mode = &modes[walk->paging];
	walk->shift = 12 + (mode->levels - 1u) * mode->index_bits;
	if (walk->paging != PAGING_4_LEVEL)
		walk->linear = linear & BITS(31, 0);
	if (walk->paging == PAGING_PAE) {
		/* Looked at for reserved bits when they were loaded; they carry no rights and no flags. */
		uint64_t pdpte = cpu->pdpte[walk->linear >> 30];

		walk->table = pdpte & ENTRY_ADDRESS;
		return pdpte & ENTRY_PRESENT;
	}
	walk->table = cpu->cr3 & (walk->paging == PAGING_32 ? BITS(31, 12) : ENTRY_ADDRESS);
	return true;
}

enum gwalk_result gwalk(const struct gwalk_cpu *cpu, uint64_t linear, unsigned access,
                        const struct gwalk_memory *memory, uint64_t *gpa, uint32_t *error_code)
{
	enum gwalk_result result = GWALK_RETRY;
	uint64_t cause = 0;
	struct walk walk;

	if ((cpu->efer & EFER_LMA) && !canonical(linear))
		return GWALK_NON_CANONICAL;
	if (!(cpu->cr0 & CR0_PG)) {
		*gpa = linear & BITS(31, 0);
		return GWALK_OK;
	}
	if (!start(cpu, linear, &walk))
		result = GWALK_FAULT;
	while (result == GWALK_RETRY)
		result = step(cpu, &walk, memory, gpa, &cause);
	if (result == GWALK_OK && !permitted(cpu, walk.rights, access)) {
		result = GWALK_FAULT;
		cause = FAULT_PRESENT;
	}
	if (result == GWALK_FAULT)
		*error_code = fault_code(cpu, access, cause);
	if (result == GWALK_OK && !mark_used(&walk, memory, access))
		result = GWALK_RETRY;
	return result;
}
