/* SPDX-License-Identifier: MIT */
/* Per-CPU segments: flat code and data, a TSS for the stacks of NMI, double fault and machine check. */
#include "arch/x86/segments.h"

#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "arch/x86/paging.h"

/* SDM vol. 3, "64-Bit TSS Format". */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map_base;
} __attribute__((packed));

_Static_assert(sizeof(struct tss) == 104, "SDM figure: 64-Bit TSS Format");
_Static_assert(offsetof(struct cpu_stacks, normal) + STACK_SIZE == 0x5000,
               "BOOT_STACK_OFFSET in boot/header.S");

/* Each line belongs to its CPU after start. */
static struct cpu_segments {
	uint64_t gdt[5];
	struct tss tss;
} segments[MAX_CPUS] __attribute__((aligned(64)));

struct cpu_stacks boot_stacks;

void segments_init(struct cpu *cpu, struct cpu_stacks *stacks)
{
	struct cpu_segments *s = &segments[cpu->index];
	uint64_t base = (uintptr_t)&s->tss;

	for (unsigned i = 0; i < 3; i++)
		s->tss.ist[i] = (uintptr_t)(stacks->ist[i].stack + IST_STACK_SIZE);
	/* Past the limit: no I/O bitmap. */
	s->tss.io_map_base = sizeof(s->tss);

	/* SDM vol. 3, "Segment Descriptors": present, accessed; 64-bit code, data, and an available 64-bit
	 * TSS. */
	s->gdt[SELECTOR_CODE / 8] = 0x00af9b000000ffff;
	s->gdt[SELECTOR_DATA / 8] = 0x00cf93000000ffff;
	s->gdt[SELECTOR_TSS / 8] = (sizeof(s->tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
	                           (base >> 24 & 0xff) << 56;
	s->gdt[SELECTOR_TSS / 8 + 1] = base >> 32;

	cpu->self = cpu;
	cpu->stack_top = stacks->normal + STACK_SIZE;
}

void segments_load(struct cpu *cpu)
{
	const struct descriptor_table table = {
		.limit = sizeof(segments[0].gdt) - 1,
		.base = (uintptr_t)segments[cpu->index].gdt,
	};

	lgdt(&table);
	/* CS changes by a far return only; the null selectors keep FS and GS from holding anybody's base. */
	__asm__ volatile("pushq %0\n\t"
	                 "leaq 1f(%%rip), %%rax\n\t"
	                 "pushq %%rax\n\t"
	                 "lretq\n"
	                 "1:\n\t"
	                 "movl %1, %%ds\n\t"
	                 "movl %1, %%es\n\t"
	                 "movl %1, %%ss\n\t"
	                 "movl %2, %%fs\n\t"
	                 "movl %2, %%gs\n\t"
	                 "ltr %w3"
	                 :
	                 : "i"(SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(0), "r"(SELECTOR_TSS)
	                 : "rax", "memory");
	wrmsr(MSR_GS_BASE, (uintptr_t)cpu);
}

void segments_guard(struct cpu_stacks *stacks)
{
	paging_protect((uintptr_t)stacks->guard, PAGE_SIZE, PAGING_NONE);
	for (unsigned i = 0; i < 3; i++)
		paging_protect((uintptr_t)stacks->ist[i].guard, PAGE_SIZE, PAGING_NONE);
}
