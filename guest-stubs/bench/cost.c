/* SPDX-License-Identifier: MIT */
/* Samples and their medians, rows of the table, gates, and the VCPUs that wait. */
#include "guest-stubs/bench/bench.h"

#define WAKE_VECTOR 0x3f

uint32_t sample[RUNS];

long exits_now(void)
{
	return bellhop_call1(BH_VM_STAT, BH_VM_EXITS);
}

static void sort(void)
{
	for (unsigned i = 1; i < RUNS; i++) {
		uint32_t value = sample[i];
		unsigned at = i;

		for (; at && sample[at - 1] > value; at--)
			sample[at] = sample[at - 1];
		sample[at] = value;
	}
}

struct cost cost_of(long exits)
{
	sort();
	/* The second look at the count is an exit, too. */
	return (struct cost){ .ticks = sample[RUNS / 2],
		              .exits_x100 = (uint32_t)((exits - 1) * 100 / RUNS),
		              .late = sample[RUNS * 99 / 100] };
}

void cost_row(const char *operation, struct cost cost)
{
	printf("CSV operations %s,%u,%u.%02u\n", operation, cost.ticks, cost.exits_x100 / 100,
	       cost.exits_x100 % 100);
	printf("# %s: 99th percentile %u ticks\n", operation, cost.late);
}

void gate_set(unsigned vector, void (*handler)(struct trap_frame *frame))
{
	struct {
		uint16_t limit;
		uint32_t (*gates)[4];
	} __attribute__((packed)) idt;
	uintptr_t entry = (uintptr_t)handler;

	__asm__ volatile("sidt %0" : "=m"(idt));
	idt.gates[vector][0] = (uint32_t)SEL_CODE64 << 16 | (entry & 0xffff);
	idt.gates[vector][1] = ((uint32_t)entry & 0xffff0000) | 0x8e00;
	idt.gates[vector][2] = (uint32_t)(entry >> 32);
	idt.gates[vector][3] = 0;
}

void wait_failed(void)
{
	report_check(false, "an interrupt came that was waited for");
	report_end();
}

/* --- the VCPUs that wait ------------------------------------------------------------------------------------- */

static unsigned target_count;
static volatile enum waiting wanted;       /* written by VCPU 0 */
static volatile enum waiting is[MAX_CPUS]; /* each written by its own VCPU */

static void target(void)
{
	unsigned self = cpu_self()->index;

	while (wanted != WAIT_END) {
		if (wanted == WAIT_SPIN) {
			is[self] = WAIT_SPIN;
			cpu_pause();
			continue;
		}
		/* IF=0 from the look to the HLT, so that a wake-up in between ends it. */
		cpu_irq_off();
		is[self] = WAIT_HALT;
		if (wanted == WAIT_HALT)
			cpu_idle();
		cpu_irq_on();
	}
	is[self] = WAIT_END;
}

static void to_x2(void)
{
	apic_to_x2();
}

HANDLER on_wake(struct trap_frame *frame)
{
	(void)frame;
	apic_eoi();
}

bool targets_start(unsigned vcpus)
{
	if (smp_start(vcpus) != vcpus || !(cpu_id(1, 0).c & 1u << 21))
		return false;
	gate_set(WAKE_VECTOR, on_wake);
	for (unsigned i = 1; i < vcpus; i++) {
		smp_run(i, to_x2);
		if (!smp_wait(i))
			return false;
	}
	apic_to_x2();
	wanted = WAIT_SPIN;
	for (unsigned i = 1; i < vcpus; i++) {
		is[i] = WAIT_END;
		smp_run(i, target);
	}
	target_count = vcpus;
	targets_wait(WAIT_SPIN);
	return true;
}

void targets_wait(enum waiting how)
{
	wanted = how;
	for (unsigned i = 1; i < target_count; i++) {
		apic_ipi(cpu_get(i)->apic_id, ICR_ASSERT | WAKE_VECTOR);
		if (!WAIT_FOR(is[i] == how, LIMIT_LONG))
			wait_failed();
	}
}
