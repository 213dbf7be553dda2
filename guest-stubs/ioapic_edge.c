/* SPDX-License-Identifier: MIT */
/*
 * Edge-triggered pins of the IOAPIC, by the timer on pin 2: what an entry keeps of what is written, one interrupt for each
 * edge, mask, and destinations physical and logical over four CPUs.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "ioapic_edge";

#define CPUS   4
#define VECTOR 0x71
#define COUNT  200 /* periods until an edge */
#define PERIOD \
	20000 /* periods between two: some 67,000 ticks of a slow emulator, room for a handler's exits */

#define ENTRY_LOGICAL  0x800u
#define ENTRY_PENDING  0x1000u
#define ENTRY_WRITABLE 0x1afffu /* what of the low half is neither reserved nor read-only */

static volatile unsigned got[CPUS];

static void on_edge(struct trap_frame *frame)
{
	(void)frame;
	cpu_fetch_add(&got[cpu_self()->index], 1);
	apic_eoi();
}

static void clear(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		got[i] = 0;
}

static unsigned total(void)
{
	return got[0] + got[1] + got[2] + got[3];
}

/* One edge; then exactly one interrupt, on that CPU. */
static bool one_edge_to(unsigned cpu)
{
	bool good;

	clear();
	pit_raise_after(COUNT);
	cpu_irq_on();
	good = WAIT_FOR(got[cpu] == 1, LIMIT_LONG) && !WAIT_FOR(total() != 1, LIMIT_QUIET);
	cpu_irq_off();
	return good;
}

static void entries(void)
{
	unsigned pins = ioapic_pins(), wrong_low = 0, wrong_high = 0, not_masked = 0;

	CHECK(pins >= 24, "24 pins or more");
	for (unsigned pin = 0; pin < pins; pin++) {
		unsigned reg = IOAPIC_ENTRY + 2 * pin;

		not_masked += !(ioapic_read(reg) & IOAPIC_MASKED);
		/* Never unmasked here: lowest-priority, logical, active-low, edge. */
		ioapic_write(reg, IOAPIC_MASKED | 0x2900 | (0x30 + pin));
		ioapic_write(reg + 1, pin << 24);
		wrong_low += (ioapic_read(reg) & ENTRY_WRITABLE) != (IOAPIC_MASKED | 0x2900 | (0x30 + pin));
		wrong_high += ioapic_read(reg + 1) != pin << 24;
		ioapic_write(reg, IOAPIC_MASKED | ENTRY_PENDING | IOAPIC_IRR);
		wrong_low += (ioapic_read(reg) & (ENTRY_PENDING | IOAPIC_IRR)) != 0;
		ioapic_write(reg + 1, 0);
	}
	CHECK(not_masked == 0, "every entry starts masked");
	CHECK(wrong_low == 0, "the low half keeps what may be written, and no more");
	CHECK(wrong_high == 0, "the destination half reads back");
}

static void edges(void)
{
	unsigned before;

	pit_low();
	ioapic_set(PIT_PIN, cpu_get(0)->apic_id, VECTOR);
	CHECK(one_edge_to(0), "one edge is one interrupt, though the line stays high");
	CHECK(one_edge_to(0), "and again after it was low");

	clear();
	cpu_irq_on();
	pit_periodic(PERIOD);
	CHECK(WAIT_FOR(got[0] >= 10, LIMIT_LONG), "periodic edges go on");
	ioapic_set(PIT_PIN, cpu_get(0)->apic_id, IOAPIC_MASKED | VECTOR);
	before = total();
	CHECK(!WAIT_FOR(total() > before + 1, 3 * LIMIT_QUIET), "masked, they do nothing");
	ioapic_set(PIT_PIN, cpu_get(0)->apic_id, VECTOR);
	CHECK(WAIT_FOR(total() > before + 5, LIMIT_LONG), "unmasked, they are back");
	pit_low();
	cpu_irq_window();
	CHECK(!(ioapic_read(IOAPIC_ENTRY + 2 * PIT_PIN) & IOAPIC_IRR), "no remote IRR for an edge");
	clear();
	ioapic_write(IOAPIC_ENTRY + 2 * PIT_PIN + 1, 0);
	cpu_irq_window();
	CHECK(total() == 0, "writing the destination half sends nothing");
}

static void to_flat(void)
{
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1u << (24 + cpu_self()->index));
}

static void destinations(void)
{
	bool physical = true, logical = true;

	to_flat();
	for (unsigned i = 1; i < CPUS; i++) {
		smp_run(i, to_flat);
		logical &= smp_wait(i);
	}
	for (unsigned i = 0; i < CPUS; i++) {
		ioapic_set(PIT_PIN, cpu_get(i)->apic_id, VECTOR);
		physical &= one_edge_to(i);
		ioapic_set(PIT_PIN, 1u << i, ENTRY_LOGICAL | VECTOR);
		logical &= one_edge_to(i);
	}
	CHECK(physical, "physical destination, each CPU");
	CHECK(logical, "logical destination, each CPU");

	ioapic_set(PIT_PIN, 0xf, ENTRY_LOGICAL | VECTOR);
	clear();
	pit_raise_after(COUNT);
	cpu_irq_on();
	CHECK(WAIT_FOR(got[0] == 1 && got[1] == 1 && got[2] == 1 && got[3] == 1, LIMIT_LONG),
	      "logical destination of all: each gets it");
	cpu_irq_off();
	ioapic_set(PIT_PIN, 0x6, ENTRY_LOGICAL | ICR_LOWEST | VECTOR);
	clear();
	pit_raise_after(COUNT);
	cpu_irq_on();
	CHECK(WAIT_FOR(got[1] + got[2] == 1, LIMIT_LONG) && !WAIT_FOR(total() != 1, LIMIT_QUIET),
	      "lowest priority: one of the set");
	cpu_irq_off();
	ioapic_set(PIT_PIN, 0, IOAPIC_MASKED);
}

void guest_main(void)
{
	trap_set(VECTOR, on_edge);
	entries();
	if (CHECK(smp_start(CPUS) == CPUS, "four CPUs run")) {
		edges();
		destinations();
	}
	report_end();
}
