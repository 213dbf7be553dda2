/* SPDX-License-Identifier: MIT */
/* One CPU: its GDT, TSS and stacks; what it does to itself or to another. */
#include <stdatomic.h>

#include "arch/x86/boot.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

#define AWAIT_SECONDS 2 /* the other CPU's hypervisor may have descheduled it */

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
_Static_assert(sizeof(struct stack) == 0x5000, "BOOT_STACK_OFFSET in boot/header.S");

struct cpu cpus[MAX_CPUS];
unsigned cpu_count = 1;
struct stack boot_stacks[STACKS];

/* Each CPU's own, as its index says. */
static uint64_t gdts[MAX_CPUS][5];
static struct tss tsss[MAX_CPUS];

void cpu_set_stacks(struct cpu *cpu, const struct stack stacks[STACKS])
{
	for (unsigned i = IST_NMI; i < STACKS; i++)
		tsss[cpu - cpus].ist[i - 1] = (uintptr_t)(&stacks[i] + 1);
	cpu->stack_top = (uintptr_t)(&stacks[IST_NONE] + 1);
}

void cpu_load_segments(struct cpu *cpu)
{
	struct tss *tss = &tsss[cpu->index];
	uint64_t *gdt = gdts[cpu->index], base = (uintptr_t)tss;
	const struct descriptor_table table = { .limit = sizeof(gdts[0]) - 1, .base = (uintptr_t)gdt };

	/* Past the limit: no I/O bitmap. */
	tss->io_map_base = sizeof(*tss);
	/* SDM vol. 3, "Segment Descriptors": present, accessed; 64-bit code, data, and an available 64-bit TSS. */
	gdt[SELECTOR_CODE / 8] = 0x00af9b000000ffff;
	gdt[SELECTOR_DATA / 8] = 0x00cf93000000ffff;
	gdt[SELECTOR_TSS / 8] = (sizeof(*tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
	                        (base >> 24 & 0xff) << 56;
	gdt[SELECTOR_TSS / 8 + 1] = base >> 32;

	/* CS changes by a far return only; the null selectors keep FS and GS from holding anybody's base. */
	__asm__ volatile("lgdt %0\n\t"
	                 "pushq %1\n\t"
	                 "leaq 1f(%%rip), %%rax\n\t"
	                 "pushq %%rax\n\t"
	                 "lretq\n"
	                 "1:\n\t"
	                 "movl %2, %%ds\n\t"
	                 "movl %2, %%es\n\t"
	                 "movl %2, %%ss\n\t"
	                 "movl %3, %%fs\n\t"
	                 "movl %3, %%gs\n\t"
	                 "ltr %w4"
	                 :
	                 : "m"(table), "i"(SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(0), "r"(SELECTOR_TSS)
	                 : "rax", "memory");
	cpu->self = cpu;
	wrmsr(MSR_GS_BASE, (uintptr_t)cpu);
}

void cpu_interrupt(unsigned cpu, uint8_t vector)
{
	lapic_send(cpus[cpu].apic_id, vector);
}

void cpu_await_slowly(struct cpu *cpu)
{
	uint64_t end = tsc_now() + AWAIT_SECONDS * tsc_hz;

	while (!cpu->notified && tsc_now() < end)
		__asm__ volatile("sti; pause; cli" : : : "memory");
	if (!cpu->notified)
		panic("CPU %u: a notification was sent and does not come", cpu->index);
}

void cpu_idle(uint64_t deadline)
{
	/* Relaxed: a flag that carries no data. Not where the NMI is handled: the log's lock may be held there. */
	if (atomic_load_explicit(&trap_nmi_seen, memory_order_relaxed) &&
	    atomic_exchange(&trap_nmi_seen, false))
		log_line(LOG_HV, "an NMI came that nobody sent: the machine may have a fault");
	if (deadline <= tsc_now())
		return;
	if (deadline != UINT64_MAX)
		lapic_set_timer(deadline);
	/* SDM vol. 2, "STI": nothing is delivered before the next instruction's end, so HLT is never missed. */
	__asm__ volatile("sti; hlt; cli" : : : "memory");
	if (deadline != UINT64_MAX)
		lapic_set_timer(UINT64_MAX);
}

void cpu_stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}
