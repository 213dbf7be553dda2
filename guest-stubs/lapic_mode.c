/* SPDX-License-Identifier: MIT */
/*
 * The modes of the local APIC: what IA32_APIC_BASE allows from where, what switching off forgets, and which MSRs of the
 * x2APIC fault. SDM vol. 3, "x2APIC State Transitions" and "Reserved Bit Checking".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "lapic_mode";

#define BASE_BSP   0x100ull
#define MODE_BITS  (APIC_BASE_X2 | APIC_BASE_ON)
#define X2(reg)    (0x800u + (reg) / 16)
#define CPUID_APIC (1u << 9) /* leaf 1, EDX */

static volatile uint64_t other_base;

static void read_base(void)
{
	other_base = cpu_rdmsr(MSR_APIC_BASE);
}

/* The fault of going to a mode, or TRAP_NONE. */
static int go(uint64_t mode)
{
	int vector = trap_wrmsr(MSR_APIC_BASE, (cpu_rdmsr(MSR_APIC_BASE) & ~MODE_BITS) | mode);

	cpu_self()->x2apic = (cpu_rdmsr(MSR_APIC_BASE) & APIC_BASE_X2) != 0;
	return vector;
}

static int reads(unsigned msr)
{
	uint64_t value;

	return trap_rdmsr(msr, &value);
}

static void at_reset(void)
{
	uint64_t base = cpu_rdmsr(MSR_APIC_BASE);

	CHECK((base & ~0xfffull) == APIC_BASE, "the page is at its usual place");
	CHECK((base & MODE_BITS) == APIC_BASE_ON && base & BASE_BSP,
	      "the boot CPU starts in xAPIC mode, and knows it is the one");
	if (CHECK(smp_start(2) == 2, "two CPUs run")) {
		smp_run(1, read_base);
		CHECK(smp_wait(1) && (other_base & MODE_BITS) == APIC_BASE_ON && !(other_base & BASE_BSP),
		      "the other is in xAPIC mode, and not the boot CPU");
	}
}

static void transitions(void)
{
	CHECK(reads(X2(APIC_ID)) == TRAP_GP && reads(X2(APIC_TPR)) == TRAP_GP,
	      "xAPIC: the x2APIC's MSRs are #GP");
	CHECK(go(APIC_BASE_X2) == TRAP_GP, "xAPIC: EXTD without EN is #GP");
	apic_write(APIC_TPR, 0x20);
	CHECK(go(MODE_BITS) == TRAP_NONE, "xAPIC to x2APIC");
	CHECK(apic_read(APIC_TPR) == 0x20 && apic_read(APIC_SVR) == (SVR_ENABLE | APIC_SPURIOUS),
	      "the registers stay");
	apic_write(APIC_TPR, 0);
	CHECK(go(MODE_BITS) == TRAP_NONE, "x2APIC to itself");
	CHECK(go(APIC_BASE_ON) == TRAP_GP, "x2APIC to xAPIC is #GP");
	CHECK(go(APIC_BASE_X2) == TRAP_GP, "x2APIC without EN is #GP");
	CHECK((cpu_rdmsr(MSR_APIC_BASE) & MODE_BITS) == MODE_BITS, "the refused changed nothing");
}

/* SDM vol. 3, "Reserved Bit Checking": a WRMSR that sets a reserved bit of an x2APIC register is #GP, whichever it is. */
#define UNCHECKED "Bochs does not check all of them"

static void registers(void)
{
	static const uint16_t read_only[] = { APIC_ID,  APIC_VERSION, APIC_PPR, APIC_LDR,
		                              APIC_ISR, APIC_TMR,     APIC_IRR, APIC_TIMER_NOW };
	static const uint16_t write_only[] = { APIC_EOI, APIC_SELF_IPI };
	static const uint16_t absent[] = {
		APIC_DFR, APIC_ICR_HIGH, 0x000, 0x010, 0x040, 0x2e0, 0x3a0, 0x3d0
	};
	unsigned wrong = 0;

	for (unsigned i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		wrong += reads(X2(read_only[i])) != TRAP_NONE || trap_wrmsr(X2(read_only[i]), 0) != TRAP_GP;
	CHECK(wrong == 0, "x2APIC: read-only registers refuse to be written");
	wrong = 0;
	for (unsigned i = 0; i < sizeof(write_only) / sizeof(write_only[0]); i++)
		wrong += reads(X2(write_only[i])) != TRAP_GP;
	CHECK(wrong == 0, "x2APIC: write-only registers refuse to be read");
	wrong = 0;
	for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		wrong += reads(X2(absent[i])) != TRAP_GP || trap_wrmsr(X2(absent[i]), 0) != TRAP_GP;
	CHECK(wrong == 0, "x2APIC: what is not there is #GP");
	CHECK(trap_wrmsr(X2(APIC_EOI), 1) == TRAP_GP && trap_wrmsr(X2(APIC_ESR), 1) == TRAP_GP,
	      "x2APIC: EOI and ESR take 0 only");
	CHECK(trap_wrmsr(X2(APIC_TPR), 0x100) == TRAP_GP && trap_wrmsr(X2(APIC_TPR), 1ull << 32) == TRAP_GP,
	      "x2APIC: reserved bits of the TPR are #GP");
	CHECK_DEPARTS(trap_wrmsr(X2(APIC_LVT_TIMER), 0x100) == TRAP_GP &&
	                      trap_wrmsr(X2(APIC_SVR), 0x10000) == TRAP_GP,
	              UNCHECKED, "x2APIC: and of an LVT entry and the SVR");
	CHECK_DEPARTS(trap_wrmsr(X2(APIC_SELF_IPI), 0x100) == TRAP_GP, UNCHECKED,
	              "x2APIC: and of the self-IPI register");
	CHECK(apic_read(APIC_TPR) == 0, "x2APIC: the refused changed nothing");
}

/*
 * Last: Bochs ignores every write of IA32_APIC_BASE once the APIC is off. SDM vol. 3, "Enabling or Disabling the Local APIC", has
 * it "re-enabled" by the same bit, on every APIC that is not on the old bus.
 */
#define STAYS_OFF "Bochs cannot switch the APIC on again"

static void off(const char *from)
{
	CHECK(go(0) == TRAP_NONE, "%s to off", from);
	CHECK(!(cpu_id(1, 0).d & CPUID_APIC), "off: CPUID says so");
	CHECK_DEPARTS(reads(X2(APIC_ID)) == TRAP_GP, "Bochs lets absent MSRs pass, unless told otherwise",
	              "off: the x2APIC's MSRs are #GP");
	CHECK_DEPARTS(go(APIC_BASE_X2) == TRAP_GP, STAYS_OFF, "off: EXTD without EN is #GP");
	CHECK_DEPARTS(go(MODE_BITS) == TRAP_GP, STAYS_OFF, "off to x2APIC in one step is #GP");
	CHECK_DEPARTS(go(APIC_BASE_ON) == TRAP_NONE && cpu_id(1, 0).d & CPUID_APIC, STAYS_OFF,
	              "off to xAPIC");
	CHECK_DEPARTS(apic_read(APIC_TPR) == 0 && apic_read(APIC_SVR) == 0xff && apic_id() == 0, STAYS_OFF,
	              "it comes back as after reset");
	CHECK_DEPARTS(trap_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | 1) == TRAP_GP, STAYS_OFF,
	              "reserved bits of IA32_APIC_BASE are #GP");
}

void guest_main(void)
{
	at_reset();
	if (cpu_id(1, 0).c & 1u << 21) {
		transitions();
		registers();
		apic_write(APIC_TPR, 0x30);
		off("x2APIC");
	} else {
		SKIP("x2APIC: this CPU has none");
		apic_write(APIC_TPR, 0x30);
		off("xAPIC");
	}
	report_end();
}
