/* SPDX-License-Identifier: MIT */
/*
 * What an operation costs: TSC ticks around it (on Bochs instructions, VM entry and exit counting as one each) and exits
 * of the whole VM. Medians of many runs; `CSV bench operation,ticks,exits_x100`.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "bench";

#define RUNS        101
#define VECTOR      0x51
#define MSR_EOI     0x80bu
#define MSR_SELF    0x83fu
#define MSR_INITIAL 0x838u
#define MSR_DIVIDE  0x83eu
#define MSR_LVTT    0x832u

static uint64_t sample[RUNS];

static void sort(void)
{
	for (unsigned i = 1; i < RUNS; i++) {
		uint64_t value = sample[i];
		unsigned at = i;

		for (; at && sample[at - 1] > value; at--)
			sample[at] = sample[at - 1];
		sample[at] = value;
	}
}

/* The cost of the two RDTSCs themselves is taken off. */
static uint64_t empty_cost;

static void measure(const char *name, void (*operation)(void))
{
	long exits = bellhop_call1(BH_VM_STAT, BH_VM_EXITS);
	uint64_t cost;

	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t start = cpu_tsc();

		operation();
		sample[i] = cpu_tsc() - start;
	}
	/* The statistics call of the end is one exit more. */
	exits = bellhop_call1(BH_VM_STAT, BH_VM_EXITS) - exits - 1;
	sort();
	cost = sample[RUNS / 2] - empty_cost;
	printf("CSV bench %s,%u,%u\n", name, (unsigned)cost, (unsigned)(exits * 100 / RUNS));
}

static void nothing(void)
{
}

static void do_cpuid(void)
{
	cpu_id(0, 0);
}

static void do_hypercall(void)
{
	bellhop_call0(BH_VERSION);
}

static void do_port(void)
{
	cpu_inb(0x71);
}

static void do_apic_read(void)
{
	apic_read(APIC_TPR);
}

static void do_apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

static void do_ioapic_read(void)
{
	ioapic_read(IOAPIC_VERSION);
}

static void do_ioapic_entry(void)
{
	ioapic_write(IOAPIC_ENTRY + 40, 0x10000);
	ioapic_write(IOAPIC_ENTRY + 41, 0);
}

static void do_x2_eoi(void)
{
	cpu_wrmsr(MSR_EOI, 0);
}

static void do_timer(void)
{
	cpu_wrmsr(MSR_INITIAL, 1u << 30);
}

static void on_interrupt(struct trap_frame *frame)
{
	(void)frame;
	cpu_wrmsr(MSR_EOI, 0);
}

static void do_self_ipi(void)
{
	cpu_wrmsr(MSR_SELF, VECTOR);
	cpu_irq_window();
}

void guest_main(void)
{
	measure("nothing", nothing);
	empty_cost = sample[RUNS / 2];
	measure("CPUID", do_cpuid);
	measure("null hypercall", do_hypercall);
	measure("port in the hypervisor", do_port);
	measure("xAPIC register read", do_apic_read);
	measure("xAPIC EOI", do_apic_eoi);
	measure("IOAPIC register read", do_ioapic_read);
	measure("IOAPIC entry written", do_ioapic_entry);
	if (!apic_to_x2()) {
		SKIP("x2APIC: this CPU has none");
		report_end();
	}
	trap_set(VECTOR, on_interrupt);
	measure("x2APIC EOI", do_x2_eoi);
	cpu_wrmsr(MSR_DIVIDE, 0xb);
	cpu_wrmsr(MSR_LVTT, LVT_MASKED | VECTOR);
	measure("LAPIC timer armed", do_timer);
	measure("x2APIC self-IPI; deliver; EOI", do_self_ipi);
	CHECK(true, "every operation came to its end");
	report_end();
}
