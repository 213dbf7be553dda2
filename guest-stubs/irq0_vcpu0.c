/* SPDX-License-Identifier: MIT */
/*
 * The option irq0=vcpu0: a lowest-priority interrupt of the PIT's pin goes to VCPU 0 where the entry's set has it, whatever its
 * priority; where it has not, in another mode and on other pins the entry is honoured as ever.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "irq0_vcpu0";

#define CPUS      4
#define VECTOR    0x52
#define ROUNDS    12u
#define OTHER_PIN 14 /* the test device's */
#define LINES     0x2000
#define LOGICAL   0x800u

static volatile unsigned got[CPUS];

static void on_interrupt(struct trap_frame *frame)
{
	(void)frame;
	cpu_fetch_add(&got[cpu_self()->index], 1);
	apic_eoi();
}

static unsigned total(void)
{
	return got[0] + got[1] + got[2] + got[3];
}

static void join(void)
{
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1u << (24 + cpu_self()->index));
}

static void pull(unsigned pin)
{
	if (pin == PIT_PIN) {
		pit_raise_after(20);
	} else {
		cpu_outb(LINES + OTHER_PIN, 0);
		cpu_outb(LINES + OTHER_PIN, 1);
	}
}

/* ROUNDS edges by this entry: true if each is one interrupt, and the entry reads back as written. */
static bool edges(unsigned pin, uint32_t dest, uint32_t low)
{
	bool good;

	for (unsigned i = 0; i < CPUS; i++)
		got[i] = 0;
	ioapic_set(pin, dest, low | VECTOR);
	good = ioapic_read(IOAPIC_ENTRY + 2 * pin) == (low | VECTOR) &&
	       ioapic_read(IOAPIC_ENTRY + 2 * pin + 1) == dest << 24;
	cpu_irq_on();
	for (unsigned i = 1; i <= ROUNDS && good; i++) {
		pull(pin);
		good = WAIT_FOR(total() == i, LIMIT_LONG);
	}
	good &= !WAIT_FOR(total() != ROUNDS, LIMIT_QUIET);
	cpu_irq_off();
	ioapic_set(pin, 0, IOAPIC_MASKED);
	return good;
}

void guest_main(void)
{
	if (!bellhop_present()) {
		SKIP("an option of Bellhop's");
		report_end();
	}
	trap_set(VECTOR, on_interrupt);
	if (!CHECK(smp_start(CPUS) == CPUS, "four CPUs run"))
		report_end();
	join();
	for (unsigned i = 1; i < CPUS; i++) {
		smp_run(i, join);
		(void)smp_wait(i);
	}
	/* The highest priority of the four, and so the last that arbitration would choose. */
	apic_write(APIC_TPR, 0x40);
	CHECK(edges(PIT_PIN, 0xf, LOGICAL | ICR_LOWEST) && got[0] == ROUNDS,
	      "lowest priority, a set with VCPU 0: VCPU 0, though its priority is the highest");
	CHECK(edges(PIT_PIN, 0x6, LOGICAL | ICR_LOWEST) && got[1] + got[2] == ROUNDS,
	      "lowest priority, a set without VCPU 0: one of the set");
	CHECK(edges(PIT_PIN, cpu_get(2)->apic_id, 0) && got[2] == ROUNDS,
	      "fixed: whom the entry says, and nobody is forced");
	CHECK(edges(OTHER_PIN, 0xf, LOGICAL | ICR_LOWEST) && got[0] == 0,
	      "another pin, lowest priority: arbitration decides");
	report_end();
}
