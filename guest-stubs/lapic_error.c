/* SPDX-License-Identifier: MIT */
/*
 * What the local APIC refuses: illegal vectors sent and received, registers that are not there, and everything while SVR has
 * it switched off. SDM vol. 3, "Error Handling" and "Local APIC State After It Has Been Software Disabled".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "lapic_error";

#define VECTOR       0x45
#define ERROR_VECTOR 0x46
#define ESR_REGISTER 0x80u
#define LVT_NMI      0x400u
#define SVR_SUPPRESS 0x1000u
#define SUPPRESSES   (1u << 24) /* in the version register */

/* "Send illegal vector" and "received illegal vector" are set "when the local APIC detects an illegal vector (one in the range 0 to 15)". */
#define NO_ERRORS "Bochs has no error interrupt and sets other bits"

static volatile unsigned seen, errors, nmis;

static void on_vector(struct trap_frame *frame)
{
	(void)frame;
	seen++;
	apic_eoi();
}

static void on_error(struct trap_frame *frame)
{
	(void)frame;
	errors++;
	apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
	(void)frame;
	nmis++;
}

static uint32_t latch(void)
{
	apic_write(APIC_ESR, 0);
	return apic_read(APIC_ESR);
}

static void start(void)
{
	latch();
	latch();
	errors = 0;
}

static void sending(const char *face)
{
	unsigned wrong = 0, silent = 0;

	for (unsigned v = 0; v < 16; v++) {
		start();
		apic_ipi(apic_id(), ICR_ASSERT | v);
		cpu_irq_window();
		silent += errors != 1;
		wrong += !(latch() & ESR_SEND_ILLEGAL);
		wrong += apic_bit(APIC_IRR, v);
	}
	CHECK_DEPARTS(silent == 0, NO_ERRORS, "%s: each illegal vector sent is an error interrupt", face);
	CHECK_DEPARTS(wrong == 0, NO_ERRORS, "%s: ESR says so, and IRR has nothing", face);
	start();
	apic_ipi(apic_id(), ICR_ASSERT | 3);
	cpu_irq_window();
	CHECK(apic_read(APIC_ESR) == 0, "%s: ESR shows nothing before it is written", face);
	CHECK_DEPARTS(latch() == ESR_SEND_ILLEGAL, NO_ERRORS, "%s: then exactly that", face);
	CHECK(latch() == 0, "%s: the next write clears it", face);
	apic_write(APIC_LVT_ERROR, LVT_MASKED | ERROR_VECTOR);
	start();
	apic_ipi(apic_id(), ICR_ASSERT | 3);
	cpu_irq_window();
	CHECK(errors == 0, "%s: masked, there is no error interrupt", face);
	CHECK_DEPARTS(latch() & ESR_SEND_ILLEGAL, NO_ERRORS, "%s: but ESR has it", face);
	apic_write(APIC_LVT_ERROR, ERROR_VECTOR);
}

static void receiving(const char *face)
{
	unsigned wrong = 0;

	apic_write(APIC_TIMER_DIV, 0xb);
	for (unsigned v = 0; v < 16; v++) {
		start();
		apic_write(APIC_LVT_TIMER, v);
		apic_write(APIC_TIMER_INIT, 100);
		cpu_irq_on();
		wrong += !WAIT_FOR(errors, LIMIT_QUIET);
		cpu_irq_off();
		wrong += !(latch() & ESR_RECV_ILLEGAL);
	}
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_TIMER_INIT, 0);
	CHECK_DEPARTS(wrong == 0, NO_ERRORS, "%s: a timer with an illegal vector is one received", face);
	latch();
}

/* The page alone: in x2APIC mode these are #GP, which lapic_mode tries. */
static void no_register(void)
{
	static const uint16_t absent[] = { 0x000, 0x010, 0x040, 0x070, 0x290, 0x2e0, 0x3a0, 0x3f0 };
	unsigned wrong = 0, silent = 0;

	for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		start();
		wrong += apic_read(absent[i]) != 0;
		apic_write(absent[i], 0x1234);
		cpu_irq_window();
		silent += !errors;
		wrong += !(latch() & ESR_REGISTER);
		wrong += apic_read(absent[i]) != 0;
	}
	latch();
	CHECK_DEPARTS(silent == 0, NO_ERRORS, "page: a register that is not there is an error interrupt");
	CHECK_DEPARTS(wrong == 0, NO_ERRORS, "page: ESR says so, and it reads as 0");
}

static unsigned masks(void)
{
	static const uint16_t entry[] = { 0x320, 0x340, 0x350, 0x360, 0x370 };
	unsigned masked = 0;

	for (unsigned i = 0; i < sizeof(entry) / sizeof(entry[0]); i++)
		masked += (apic_read(entry[i]) & LVT_MASKED) != 0;
	return masked;
}

static void software_disabled(const char *face)
{
	uint32_t svr = SVR_ENABLE | APIC_SPURIOUS;

	apic_write(APIC_LVT_TIMER, VECTOR);
	apic_write(APIC_LVT_LINT1, LVT_NMI);
	apic_ipi(apic_id(), ICR_ASSERT | VECTOR);
	apic_write(APIC_SVR, APIC_SPURIOUS);
	CHECK(masks() == 5, "%s: switched off by SVR, every LVT entry is masked", face);
	CHECK(apic_bit(APIC_IRR, VECTOR), "%s: what is in the IRR stays", face);
	seen = nmis = 0;
	cpu_irq_window();
	CHECK(seen == 1, "%s: and is delivered", face);
	apic_write(APIC_LVT_TIMER, VECTOR);
	CHECK(apic_read(APIC_LVT_TIMER) & LVT_MASKED, "%s: an LVT entry cannot be unmasked", face);
	apic_ipi(apic_id(), ICR_ASSERT | VECTOR);
	cpu_irq_window();
	CHECK_DEPARTS(seen == 1, "Bochs takes it", "%s: a fixed interrupt is not accepted", face);
	apic_ipi(apic_id(), ICR_ASSERT | ICR_NMI);
	CHECK(WAIT_FOR(nmis == 1, LIMIT_QUIET), "%s: an NMI is", face);
	apic_write(APIC_TPR, 0x30);
	CHECK(apic_read(APIC_TPR) == 0x30, "%s: registers can be written", face);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_SVR, svr);
	CHECK(masks() == 5, "%s: switched on again, the entries stay masked", face);
	apic_write(APIC_LVT_TIMER, VECTOR);
	CHECK(!(apic_read(APIC_LVT_TIMER) & LVT_MASKED), "%s: and can be unmasked", face);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_LVT_LINT1, LVT_MASKED | LVT_NMI);
	apic_write(APIC_LVT_ERROR, ERROR_VECTOR);
	seen = 0;
	apic_ipi(apic_id(), ICR_ASSERT | VECTOR);
	cpu_irq_window();
	CHECK(seen == 1, "%s: interrupts are accepted again", face);
}

/* SDM vol. 3, "Spurious Interrupt": the whole vector is software's; bit 12 is there if the version register says so. */
static void spurious_register(const char *face)
{
	bool offered = apic_read(APIC_VERSION) & SUPPRESSES;
	unsigned wrong = 0;

	for (unsigned v = 16; v < 256; v++) {
		apic_write(APIC_SVR, SVR_ENABLE | v);
		wrong += apic_read(APIC_SVR) != (SVR_ENABLE | v);
	}
	CHECK(wrong == 0, "%s: the spurious vector reads back", face);
	if (offered) {
		apic_write(APIC_SVR, SVR_SUPPRESS | SVR_ENABLE | APIC_SPURIOUS);
		wrong += !(apic_read(APIC_SVR) & SVR_SUPPRESS);
	}
	CHECK(wrong == 0, "%s: EOI-broadcast suppression can be switched on where it is offered", face);
	apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
}

/* A register of the x2APIC alone, and one of which the processor may do the legal half by itself. */
static void self_ipi(void)
{
	unsigned wrong = 0;

	for (unsigned v = 0; v < 16; v++) {
		start();
		apic_write(APIC_SELF_IPI, v);
		cpu_irq_window();
		wrong += errors != 1 || !(latch() & ESR_SEND_ILLEGAL) || apic_bit(APIC_IRR, v);
	}
	CHECK_DEPARTS(wrong == 0, NO_ERRORS,
	              "msr: an illegal vector in the self-IPI register is an error too");
	seen = 0;
	apic_write(APIC_SELF_IPI, VECTOR);
	cpu_irq_window();
	CHECK(seen == 1, "msr: a legal one is an interrupt");
}

static void all(const char *face)
{
	apic_write(APIC_LVT_ERROR, ERROR_VECTOR);
	sending(face);
	receiving(face);
	software_disabled(face);
	spurious_register(face);
}

void guest_main(void)
{
	trap_set(VECTOR, on_vector);
	trap_set(ERROR_VECTOR, on_error);
	trap_set(TRAP_NMI, on_nmi);
	apic_write(APIC_LVT_ERROR, ERROR_VECTOR);
	no_register();
	all("page");
	if (apic_to_x2()) {
		all("msr");
		self_ipi();
	} else {
		SKIP("msr: this CPU has no x2APIC");
	}
	report_end();
}
