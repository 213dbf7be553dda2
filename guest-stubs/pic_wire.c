/* SPDX-License-Identifier: MIT */
/*
 * The 8259 pair and the virtual wire: the timer's line through the master, LINT0 as ExtINT, to the boot CPU. Vectors, the
 * mask, priorities and EOI as the 8259A's data sheet has them.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "pic_wire";

#define MASTER     0x20
#define FIRST      0x20 /* vector of line 0, by pic_off() */
#define READ_IRR   0x0a
#define READ_ISR   0x0b
#define POLL       0x0c
#define EOI        0x20
#define SPURIOUS   (FIRST + 7) /* 8259A: who acknowledges without a request gets input 7 */
#define LVT_EXTINT 0x700u
#define COUNT      200

/* SDM vol. 3, "Local Vector Table": LINT0's entry "specifies interrupt delivery when an interrupt is signaled at the LINT0 pin". */
#define PAST_APIC "Bochs wires the 8259 past LINT0"

/* 8259A data sheet, "Poll Command": bit 7 says that there is a request, and the read "acknowledges". */
#define POLLS "Bochs leaves bit 7 clear and INTR high"

static volatile unsigned seen, spurious;
static volatile bool hold_eoi, hands_off, isr_in_service;

static uint8_t pic_state(uint8_t which)
{
	cpu_outb(MASTER, which);
	return cpu_inb(MASTER);
}

static void on_line(struct trap_frame *frame)
{
	(void)frame;
	seen++;
	if (hands_off)
		return;
	isr_in_service = pic_state(READ_ISR) & 1;
	/* SDM vol. 3, "External Interrupts": the APIC has no part in an ExtINT but to pass it on. */
	if (!hold_eoi)
		cpu_outb(MASTER, EOI);
}

static void on_spurious(struct trap_frame *frame)
{
	(void)frame;
	spurious++;
}

static void edge(void)
{
	pit_low();
	pit_raise_after(COUNT);
}

static bool comes(void)
{
	bool good;

	seen = 0;
	edge();
	cpu_irq_on();
	good = WAIT_FOR(seen == 1, LIMIT_LONG) && !WAIT_FOR(seen != 1, LIMIT_QUIET);
	cpu_irq_off();
	return good;
}

static bool stays_away(void)
{
	bool good;

	seen = 0;
	edge();
	cpu_irq_on();
	good = !WAIT_FOR(seen, LIMIT_QUIET);
	cpu_irq_off();
	return good;
}

void guest_main(void)
{
	trap_set(FIRST, on_line);
	trap_set(SPURIOUS, on_spurious);
	CHECK(cpu_inb(MASTER + 1) == 0xff, "the mask reads back");
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	CHECK(stays_away(), "masked at the 8259, the timer is silent");
	CHECK(pic_state(READ_IRR) & 1, "but the request is noted");
	seen = 0;
	cpu_outb(MASTER + 1, 0xfe);
	cpu_irq_window();
	CHECK(seen == 1, "unmasked, it comes at once");
	CHECK(isr_in_service && !(pic_state(READ_ISR) & 1), "in service until its EOI");
	CHECK(comes(), "each edge is one interrupt");
	CHECK(!apic_bit(APIC_ISR, FIRST), "the local APIC has nothing in service");

	hold_eoi = true;
	CHECK(comes(), "without EOI once");
	CHECK(stays_away(), "and not again before the EOI");
	hold_eoi = false;
	seen = 0;
	cpu_outb(MASTER, EOI);
	cpu_irq_window();
	CHECK(seen == 1, "then the one that waited");

	/* INTR falls with the acknowledge, be it the processor's or a poll: nobody has to touch the 8259 for that. */
	hands_off = true;
	CHECK(comes() && spurious == 0, "acknowledged, INTR is low before any access of the handler");
	hands_off = false;
	cpu_outb(MASTER, EOI);
	seen = 0;
	edge();
	WAIT_FOR(pic_state(READ_IRR) & 1, LIMIT_LONG / 10);
	cpu_outb(MASTER, POLL);
	CHECK_DEPARTS(cpu_inb(MASTER) == 0x80, POLLS, "a poll tells of input 0");
	cpu_irq_on();
	WAIT_FOR(seen || spurious, LIMIT_QUIET);
	cpu_irq_off();
	CHECK_DEPARTS(seen == 0 && spurious == 0, POLLS, "and acknowledges it: there is no interrupt");
	cpu_outb(MASTER, EOI);

	apic_write(APIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
	CHECK_DEPARTS(stays_away(), PAST_APIC, "LINT0 masked: the wire is cut");
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	seen = 0;
	cpu_irq_window();
	CHECK_DEPARTS(seen == 1, PAST_APIC, "and joined again: the level of INTR is still there");
	apic_write(APIC_TPR, 0xf0);
	CHECK(comes(), "the TPR does not hold an ExtINT back");
	apic_write(APIC_TPR, 0);
	pit_low();
	pic_off();
	report_end();
}
