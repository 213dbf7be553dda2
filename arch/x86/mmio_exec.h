/* SPDX-License-Identifier: MIT */
/* What a decoded instruction does, with the memory access itself left to the caller. */
#pragma once

#include "arch/x86/decode.h"

/*
 * One iteration of an instruction, by the caller: fetch insn->size bytes at insn_linear(INSN_READ) if
 * insn_reads(), check insn_linear(INSN_WRITE) if insn_writes(), call insn_finish(), store what it returned.
 * insn_finish() changes registers, so whatever may fault (the guest's page tables, for the half of a MOVS
 * that lies in RAM) has to be asked first. For the CPU that runs the VCPU; no lock, no state.
 */

/* The low `size` bytes (1 to 8) of a value. */
static inline uint64_t insn_cut(uint64_t value, unsigned size)
{
	unsigned unused_bits = 64 - 8 * size;

	return value << unused_bits >> unused_bits;
}

/*
 * Stores a result of `size` bytes. SDM vol. 1, "General-Purpose Registers in 64-Bit Mode": 32-bit results are
 * zero-extended, 8-bit and 16-bit ones leave the other bits alone.
 */
static inline void insn_store(uint64_t *gpr, uint64_t value, unsigned size)
{
	uint64_t kept = size >= 4 ? 0 : *gpr & ~insn_cut(UINT64_MAX, size);

	*gpr = kept | insn_cut(value, size);
}

/* The part of a VCPU that such an instruction uses. The caller copies rflags and rip back. */
struct insn_cpu {
	uint64_t *gpr;                /* INSN_REGISTERS of them, by number */
	uint64_t rflags;              /* whole; only CF PF AF ZF SF OF change */
	uint64_t rip;                 /* of this instruction; moved past it when it is done */
	uint64_t base[INSN_SEGMENTS]; /* by enum insn_segment; in 64-bit mode only FS and GS are looked at */
};

enum insn_access { INSN_READ, INSN_WRITE };

/* Whether an iteration reads memory, and whether it writes it. XADD, CMPXCHG and XCHG always do both. */
bool insn_reads(const struct insn *insn);
bool insn_writes(const struct insn *insn);

/*
 * The linear address of the bytes that this iteration reads or writes; the same for both but for MOVS. In
 * 64-bit mode it can be non-canonical. Segment limits are not looked at: the CPU did before it exited.
 */
uint64_t insn_linear(const struct insn *insn, const struct insn_cpu *cpu, enum insn_access access);

/* True for a repeated string operation whose count is used up: no memory is touched, nothing to finish. */
bool insn_is_over(const struct insn *insn, const struct insn_cpu *cpu);

/*
 * Does one iteration on the registers, RFLAGS and RIP. Of `value`, what was read, insn->size bytes count.
 * Returns what to write, zero-extended, zero where insn_writes() is false. RIP stays while a repeated string
 * operation has more to do.
 */
uint64_t insn_finish(const struct insn *insn, struct insn_cpu *cpu, uint64_t value);
