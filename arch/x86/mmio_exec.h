/* SPDX-License-Identifier: MIT */
/* What a decoded instruction does, with the memory access itself left to the caller. */
#ifndef ARCH_X86_MMIO_EXEC_H
#define ARCH_X86_MMIO_EXEC_H

#include "arch/x86/decode.h"

/*
 * One iteration of an instruction, by the caller:
 *
 *	if (insn_is_over(insn, cpu))      a repeated string operation with a count of zero: RIP only
 *		insn_skip(insn, cpu);
 *	if (insn_reads(insn))             fetch insn->size bytes at insn_linear(insn, cpu, INSN_READ)
 *	if (insn_writes(insn))            compute insn_linear(insn, cpu, INSN_WRITE) and check it, before:
 *	value = insn_finish(insn, cpu, fetched)
 *	if (insn_writes(insn))            store insn->size bytes of value there
 *
 * insn_finish() changes registers, so whatever may fault (the guest's page tables, for the half of a MOVS
 *that lies in RAM) has to be asked first. Both addresses are the same but for MOVS. All of this is for the
 *CPU that runs the VCPU; nothing here takes a lock or keeps state.
 */

/* The part of a VCPU that such an instruction uses. The caller copies rflags and rip back after
 * insn_finish(). */
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
 * The linear address of the bytes that this iteration reads or writes: with segment base, cut to the address
 * size before and to 32 bits after adding it (outside of 64-bit mode), and moved by the bit offset of BT and
 * its kin. In 64-bit mode it can be non-canonical. Segment limits are not looked at: the CPU did before it
 * exited.
 */
uint64_t insn_linear(const struct insn *insn, const struct insn_cpu *cpu, enum insn_access access);

/* True for a repeated string operation whose count is used up: it touches no memory, call insn_skip(). */
bool insn_is_over(const struct insn *insn, const struct insn_cpu *cpu);

/* Moves RIP past the instruction, and nothing else. */
void insn_skip(const struct insn *insn, struct insn_cpu *cpu);

/*
 * Does one iteration on the registers, RFLAGS and RIP. `value` is what was read, zero-extended or not (only
 * insn->size bytes count), anything where insn_reads() is false. Returns what to write, zero-extended from
 * insn->size, zero where insn_writes() is false. RIP stays while a repeated string operation has more to do:
 * enter the guest again or call again with fresh addresses, as suits.
 */
uint64_t insn_finish(const struct insn *insn, struct insn_cpu *cpu, uint64_t value);

#endif
