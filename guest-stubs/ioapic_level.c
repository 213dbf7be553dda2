/* SPDX-License-Identifier: MIT */
/*
 * Level-triggered pins of the IOAPIC. A level line stays asserted over an EOI: the interrupt must come again, exactly once
 * per EOI, and stop when the line drops. The timer's OUT in mode 0 is such a line: it stays high until the next count.
 *
 * Bochs sends one message when the line rises and never looks again, and its remote IRR is always 0. Not so the 82093AA's data
 * sheet, "I/O Redirection Table Registers": remote IRR "is set to 1 when local APIC(s) accept the level interrupt sent by
 * the IOAPIC" and "set to 0 when an EOI message with a matching interrupt vector is received from a local APIC".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "ioapic_level";

#define VECTOR 0x71
#define REG    (IOAPIC_ENTRY + 2 * PIT_PIN)
#define COUNT  100
#define AGAIN  5 /* interrupts let through while the line is high */

#define LIMIT_SOME 5000000ull /* ticks for what Bochs does not do */
#define NO_IRR     "Bochs has no remote IRR"

#define IOAPIC_EOI_AT 0x40 /* the EOI register's offset in the page, version 0x20 on */

static volatile unsigned seen, drop_at;
static volatile bool irr_in_service, tmr_in_service, hold_eoi;

static void on_level(struct trap_frame *frame)
{
	(void)frame;
	seen++;
	irr_in_service = ioapic_read(REG) & IOAPIC_IRR;
	tmr_in_service = apic_bit(APIC_TMR, VECTOR);
	if (seen == drop_at)
		pit_low();
	if (!hold_eoi)
		apic_eoi();
}

static void start(unsigned drop)
{
	seen = 0;
	drop_at = drop;
	pit_low();
	ioapic_set(PIT_PIN, cpu_self()->apic_id, IOAPIC_LEVEL | VECTOR);
	pit_raise_after(COUNT);
}

static void repeats(void)
{
	start(1);
	cpu_irq_on();
	CHECK(WAIT_FOR(seen == 1, LIMIT_LONG), "a high line interrupts");
	CHECK_DEPARTS(irr_in_service, NO_IRR, "remote IRR is set while it is in service");
	CHECK(tmr_in_service, "the APIC knows it for level-triggered");
	CHECK(!WAIT_FOR(seen != 1, LIMIT_QUIET), "a line that has dropped before the EOI is over");
	CHECK(!(ioapic_read(REG) & IOAPIC_IRR), "remote IRR is clear after the EOI");
	start(AGAIN);
	CHECK_DEPARTS(WAIT_FOR(seen == AGAIN, LIMIT_SOME), NO_IRR,
	              "it comes again after each EOI while the line is high");
	CHECK_DEPARTS(!WAIT_FOR(seen != AGAIN, LIMIT_QUIET), NO_IRR, "and no more once the line has dropped");
	cpu_irq_off();
}

static void once_per_eoi(void)
{
	hold_eoi = true;
	start(3);
	cpu_irq_on();
	CHECK(WAIT_FOR(seen == 1, LIMIT_LONG) && !WAIT_FOR(seen != 1, LIMIT_QUIET),
	      "without an EOI it comes once");
	apic_eoi();
	CHECK_DEPARTS(WAIT_FOR(seen == 2, LIMIT_SOME) && !WAIT_FOR(seen != 2, LIMIT_QUIET), NO_IRR,
	              "one EOI, one more");
	apic_eoi();
	CHECK_DEPARTS(WAIT_FOR(seen == 3, LIMIT_SOME), NO_IRR, "and one more");
	apic_eoi();
	CHECK_DEPARTS(!WAIT_FOR(seen != 3, LIMIT_QUIET), NO_IRR, "the line is low now");
	cpu_irq_off();
	hold_eoi = false;
}

static void masking(void)
{
	seen = 0;
	drop_at = 1;
	pit_low();
	ioapic_set(PIT_PIN, cpu_self()->apic_id, IOAPIC_MASKED | IOAPIC_LEVEL | VECTOR);
	pit_raise_after(COUNT);
	cpu_irq_on();
	CHECK(!WAIT_FOR(seen, LIMIT_QUIET), "masked, a high line does nothing");
	ioapic_write(REG, IOAPIC_LEVEL | VECTOR);
	CHECK(WAIT_FOR(seen == 1, LIMIT_LONG), "unmasked while high, it interrupts");
	cpu_irq_off();
}

static void remote_irr(void)
{
	unsigned version = ioapic_read(IOAPIC_VERSION) & 0xff;

	hold_eoi = true;
	start(1);
	cpu_irq_on();
	CHECK_DEPARTS(WAIT_FOR(seen == 1, LIMIT_LONG) && ioapic_read(REG) & IOAPIC_IRR, NO_IRR,
	              "remote IRR waits for the EOI");
	cpu_irq_off();
	ioapic_write(REG, IOAPIC_MASKED | VECTOR);
	ioapic_write(REG, IOAPIC_MASKED | IOAPIC_LEVEL | VECTOR);
	CHECK(!(ioapic_read(REG) & IOAPIC_IRR), "an entry made edge-triggered forgets remote IRR");
	apic_eoi();
	if (version < 0x20) {
		SKIP("the EOI register leaves other vectors alone [Bochs has version 0x11]");
		SKIP("the EOI register clears remote IRR [Bochs has version 0x11]");
	} else {
		start(1);
		cpu_irq_on();
		WAIT_FOR(seen == 1, LIMIT_LONG);
		cpu_irq_off();
		mmio_write(IOAPIC_BASE + IOAPIC_EOI_AT, VECTOR + 1);
		CHECK(ioapic_read(REG) & IOAPIC_IRR, "the EOI register leaves other vectors alone");
		mmio_write(IOAPIC_BASE + IOAPIC_EOI_AT, VECTOR);
		CHECK(!(ioapic_read(REG) & IOAPIC_IRR), "the EOI register clears remote IRR");
		apic_eoi();
	}
	hold_eoi = false;
}

static void polarity(void)
{
	seen = 0;
	drop_at = 0;
	hold_eoi = true;
	pit_low();
	ioapic_set(PIT_PIN, cpu_self()->apic_id, IOAPIC_LEVEL | IOAPIC_LOW | VECTOR);
	cpu_irq_on();
	CHECK_DEPARTS(WAIT_FOR(seen == 1, LIMIT_QUIET), "Bochs has no polarity",
	              "active-low: a low line interrupts");
	pit_raise_after(1);
	WAIT_FOR(false, LIMIT_QUIET);
	cpu_irq_off();
	ioapic_set(PIT_PIN, 0, IOAPIC_MASKED);
	apic_eoi();
	hold_eoi = false;
}

void guest_main(void)
{
	trap_set(VECTOR, on_level);
	repeats();
	once_per_eoi();
	masking();
	remote_irr();
	polarity();
	report_end();
}
