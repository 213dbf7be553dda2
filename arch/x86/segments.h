/* SPDX-License-Identifier: MIT */
/* Every CPU's own GDT, TSS and stacks. */
#ifndef ARCH_X86_SEGMENTS_H
#define ARCH_X86_SEGMENTS_H

#include "arch/x86/arch.h"

#define STACK_SIZE     0x4000
#define IST_STACK_SIZE 0x2000

/* Which stack of the TSS's interrupt stack table an exception runs on. 0: the stack in use. */
enum ist { IST_NONE, IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK };

/* One CPU's stacks; they grow down, each towards a page that paging.c unmaps. */
struct cpu_stacks {
	uint8_t guard[PAGE_SIZE];
	uint8_t normal[STACK_SIZE];
	struct {
		uint8_t guard[PAGE_SIZE];
		uint8_t stack[IST_STACK_SIZE];
	} ist[3];
} __attribute__((aligned(PAGE_SIZE)));

extern struct cpu_stacks boot_stacks; /* the boot CPU's */

/*
 * Prepares a CPU's GDT and TSS, and its stack_top. The boot CPU, for any CPU that does not run yet; for
 * itself first of all, with boot_stacks.
 */
void segments_init(struct cpu *cpu, struct cpu_stacks *stacks);

/* Loads them and makes cpu_self() work. That CPU. */
void segments_load(struct cpu *cpu);

/* Unmaps the guard pages. The boot CPU, after paging_init() and before that CPU runs (but for the boot CPU
 * itself). */
void segments_guard(struct cpu_stacks *stacks);

#endif
