/* SPDX-License-Identifier: MIT */
/*
 * The IOAPIC by the test device's lines, under Bellhop alone: each pin by edge and by level, both polarities, shared vectors, each
 * delivery mode, what is held back until a target appears, EOI-broadcast suppression and the EOI register. 82093AA data sheet; SDM vol. 3,
 * "End-Of-Interrupt Register (EOI)" and "Spurious Interrupt".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "ioapic_lines";

#define LINES        0x2000
#define PINS         24u
#define TIMER_PIN    2u
#define VECTOR       0x71
#define OTHER        0x81
#define PIN          14u
#define PIN2         15u
#define EOI_AT       0x40    /* the EOI register's offset in the page */
#define HELD         0x1000u /* delivery status */
#define MODE_NMI     0x400u
#define MODE_INIT    0x500u
#define MODE_LOWEST  0x100u
#define MODE_SMI     0x200u
#define MODE_EXTINT  0x700u
#define LOGICAL      0x800u
#define PIC_VECTOR   (0x28 + PIN - 8) /* by pic_off() */
#define SVR_SUPPRESS 0x1000u

static volatile unsigned seen[256], seen_on[2];
static volatile unsigned drop; /* line to set low in the handler, plus one */
static volatile bool hold;

static void line(unsigned n, bool high)
{
	cpu_outb((uint16_t)(LINES + n), high);
}

static void on_vector(struct trap_frame *frame)
{
	seen[frame->vector]++;
	cpu_fetch_add(&seen_on[cpu_self()->index & 1], 1);
	if (drop)
		line(drop - 1, false);
	if (!hold)
		apic_eoi();
}

/* An ExtINT is none of the APIC's: the 8259 pair has it in service. */
static void on_pic(struct trap_frame *frame)
{
	seen[frame->vector]++;
	cpu_fetch_add(&seen_on[cpu_self()->index & 1], 1);
	seen[APIC_SPURIOUS] += apic_bit(APIC_ISR, PIC_VECTOR);
	cpu_outb(0xa0, 0x20);
	cpu_outb(0x20, 0x20);
}

static void on_nmi(struct trap_frame *frame)
{
	seen[frame->vector]++;
}

static uint32_t entry(unsigned pin)
{
	return ioapic_read(IOAPIC_ENTRY + 2 * pin);
}

static void clear(void)
{
	for (unsigned i = 0; i < 256; i++)
		seen[i] = 0;
	seen_on[0] = seen_on[1] = 0;
	drop = 0;
	hold = false;
}

static unsigned line_of(unsigned pin)
{
	return pin == TIMER_PIN ? 0 : pin;
}

static bool is_ours(unsigned pin)
{
	/* The 8259's INTR is on pin 0; the UART, the clock and the power management have 4, 8 and 9. */
	return pin != 0 && pin != 4 && pin != 8 && pin != 9;
}

static void window(void)
{
	for (unsigned i = 0; i < 4; i++)
		cpu_irq_window();
}

static void every_pin(void)
{
	unsigned wrong = 0, wrong_level = 0, wrong_low = 0;

	for (unsigned pin = 0; pin < PINS; pin++) {
		unsigned n = line_of(pin);

		if (!is_ours(pin))
			continue;
		clear();
		ioapic_set(pin, 0, VECTOR);
		line(n, true);
		window();
		line(n, false);
		line(n, true);
		window();
		line(n, false);
		window();
		wrong += seen[VECTOR] != 2;
		clear();
		drop = n + 1;
		ioapic_set(pin, 0, IOAPIC_LEVEL | VECTOR);
		line(n, true);
		window();
		wrong_level += seen[VECTOR] != 1;
		clear();
		ioapic_set(pin, 0, IOAPIC_MASKED);
		line(n, true);
		ioapic_set(pin, 0, IOAPIC_LOW | VECTOR);
		line(n, false);
		window();
		line(n, true);
		window();
		wrong_low += seen[VECTOR] != 1;
		ioapic_set(pin, 0, IOAPIC_MASKED);
		line(n, false);
	}
	CHECK(wrong == 0, "each pin: an edge is an interrupt");
	CHECK(wrong_level == 0, "each pin: so is a level");
	CHECK(wrong_low == 0, "each pin: active-low, the falling edge is");
}

static void levels(void)
{
	clear();
	hold = true;
	ioapic_set(PIN, 0, IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	window();
	CHECK(seen[VECTOR] == 1 && entry(PIN) & IOAPIC_IRR, "level: remote IRR is set while in service");
	line(PIN, false);
	line(PIN, true);
	window();
	apic_eoi();
	window();
	CHECK(seen[VECTOR] == 2, "level: one more after the EOI");
	line(PIN, false);
	CHECK(entry(PIN) & IOAPIC_IRR, "level: a line that falls leaves remote IRR");
	apic_eoi();
	window();
	CHECK(seen[VECTOR] == 2 && !(entry(PIN) & IOAPIC_IRR), "level: and the EOI clears it");
	line(PIN, true);
	window();
	ioapic_write(IOAPIC_ENTRY + 2 * PIN, IOAPIC_MASKED | IOAPIC_LEVEL | VECTOR);
	CHECK(entry(PIN) & IOAPIC_IRR, "level: masking leaves remote IRR");
	apic_eoi();
	window();
	CHECK(seen[VECTOR] == 3 && !(entry(PIN) & IOAPIC_IRR),
	      "level: masked, an EOI clears it, and that is all");
	ioapic_write(IOAPIC_ENTRY + 2 * PIN, IOAPIC_LEVEL | VECTOR);
	window();
	CHECK(seen[VECTOR] == 4, "level: unmasked with the line high, it comes again");
	line(PIN, false);
	apic_eoi();
	ioapic_set(PIN, 0, IOAPIC_MASKED);
}

static void shared(void)
{
	clear();
	hold = true;
	ioapic_set(PIN, 0, IOAPIC_LEVEL | VECTOR);
	ioapic_set(PIN2, 0, IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	line(PIN2, true);
	window();
	CHECK(seen[VECTOR] == 1 && entry(PIN) & entry(PIN2) & IOAPIC_IRR,
	      "two pins of one vector: one interrupt");
	line(PIN, false);
	apic_eoi();
	window();
	CHECK(seen[VECTOR] == 2 && !(entry(PIN) & IOAPIC_IRR) && entry(PIN2) & IOAPIC_IRR,
	      "two pins of one vector: the EOI is both's, and the one still high comes again");
	line(PIN2, false);
	apic_eoi();
	window();
	CHECK(seen[VECTOR] == 2, "two pins of one vector: then silence");
	ioapic_set(PIN, 0, IOAPIC_MASKED);
	ioapic_set(PIN2, 0, IOAPIC_MASKED);
}

static void rewritten(void)
{
	clear();
	hold = true;
	ioapic_set(PIN, 0, IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	window();
	ioapic_write(IOAPIC_ENTRY + 2 * PIN + 1, 0);
	window();
	CHECK(seen[VECTOR] == 1, "the destination half, written in service, sends nothing");
	ioapic_write(IOAPIC_ENTRY + 2 * PIN, IOAPIC_LEVEL | OTHER);
	window();
	CHECK(seen[OTHER] == 0 && entry(PIN) & IOAPIC_IRR,
	      "a new vector, written in service, waits for the EOI");
	line(PIN, false);
	ioapic_write(IOAPIC_ENTRY + 2 * PIN, VECTOR);
	CHECK(!(entry(PIN) & IOAPIC_IRR), "made edge-triggered, it forgets remote IRR");
	apic_eoi();
	line(PIN, true);
	ioapic_write(IOAPIC_ENTRY + 2 * PIN + 1, 0);
	window();
	CHECK(seen[VECTOR] == 2, "edge: the destination half sends nothing either");
	apic_eoi();
	ioapic_set(PIN, 0, IOAPIC_MASKED);
	line(PIN, false);
}

/* What was delivered belongs to the CPU that has it, in service or only requested: its EOI counts, wherever the entry points now. */
static void in_flight(void)
{
	clear();
	hold = true;
	ioapic_set(PIN2, 0, IOAPIC_LEVEL | VECTOR);
	ioapic_set(PIN, 0, IOAPIC_LEVEL | OTHER);
	line(PIN2, true);
	window();
	line(PIN, true);
	line(PIN, false);
	line(PIN2, false);
	ioapic_write(IOAPIC_ENTRY + 2 * PIN + 1, 1u << 24);
	ioapic_write(IOAPIC_ENTRY + 2 * PIN2 + 1, 1u << 24);
	CHECK(entry(PIN) & entry(PIN2) & IOAPIC_IRR, "in flight: remote IRR outlives a new destination");
	apic_eoi();
	CHECK(!(entry(PIN2) & IOAPIC_IRR) && entry(PIN) & IOAPIC_IRR,
	      "in flight: the EOI of the one in service ends that one");
	window();
	CHECK(seen[VECTOR] == 1 && seen[OTHER] == 1 && seen_on[0] == 2,
	      "in flight: the one that was requested comes where it was sent");
	apic_eoi();
	CHECK(!(entry(PIN) & IOAPIC_IRR), "in flight: and its EOI ends it");
	ioapic_set(PIN2, 0, IOAPIC_MASKED);
	ioapic_set(PIN, 0, IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	window();
	line(PIN, false);
	CHECK(apic_bit(APIC_TMR, VECTOR), "TMR: set by a level");
	apic_eoi();
	ioapic_set(PIN, 0, VECTOR);
	CHECK(apic_bit(APIC_TMR, VECTOR), "TMR: not changed by the entry");
	line(PIN, true);
	window();
	CHECK(seen[VECTOR] == 3 && !apic_bit(APIC_TMR, VECTOR), "TMR: cleared by the next edge");
	apic_eoi();
	line(PIN, false);
	ioapic_set(PIN, 0, IOAPIC_MASKED);
}

/* 82093AA, "Delivery Status": send pending, while "its delivery is temporarily held up". */
static void held(void)
{
	clear();
	drop = PIN + 1;
	apic_write(APIC_LDR, 1u << 24);
	ioapic_set(PIN, 0x80, LOGICAL | IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	window();
	CHECK(seen[VECTOR] == 0 && (entry(PIN) & (HELD | IOAPIC_IRR)) == HELD,
	      "nobody to take it: delivery status says pending, no remote IRR");
	apic_write(APIC_LDR, 0x80u << 24);
	window();
	CHECK(seen[VECTOR] == 1 && !(entry(PIN) & (HELD | IOAPIC_IRR)),
	      "it comes as soon as somebody is that one");
	clear();
	ioapic_set(PIN, 0x40, LOGICAL | IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	line(PIN, false);
	apic_write(APIC_LDR, 0x40u << 24);
	window();
	CHECK(seen[VECTOR] == 0 && !(entry(PIN) & HELD), "a level that fell meanwhile does not");
	clear();
	drop = PIN + 1;
	ioapic_set(PIN, 1, IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	window();
	CHECK(entry(PIN) & HELD, "for a CPU that is not there yet, it waits, too");
	CHECK(smp_start(2) == 2 && WAIT_FOR(seen_on[1] == 1, LIMIT_LONG / 10), "until that one is");
	CHECK(!(entry(PIN) & (HELD | IOAPIC_IRR)), "and leaves nothing behind");
	ioapic_set(PIN, 0, IOAPIC_MASKED);
}

/*
 * 82093AA: an entry in ExtINT mode makes its destination fetch the vector from the 8259 pair, as LINT0 does. SDM vol. 3,
 * "Local Vector Table": each source on its own.
 */
static void ext_int(void)
{
	uint32_t lint0 = apic_read(APIC_LVT_LINT0);

	trap_set(PIC_VECTOR, on_pic);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	cpu_outb(0x21, 0xfb);
	cpu_outb(0xa1, 0xbf);
	for (unsigned cpu = 0; cpu < 2; cpu++) {
		clear();
		ioapic_set(PIN, cpu_get(cpu)->apic_id, MODE_EXTINT);
		line(PIN, true);
		cpu_irq_on();
		CHECK(WAIT_FOR(seen[PIC_VECTOR] == 1 && seen_on[cpu] == 1, LIMIT_LONG / 10),
		      "mode ExtINT: CPU %u takes the vector of the 8259", cpu);
		line(PIN, false);
		line(PIN, true);
		CHECK(WAIT_FOR(seen_on[cpu] == 2, LIMIT_LONG / 10) && seen_on[!cpu] == 0 &&
		              seen[APIC_SPURIOUS] == 0,
		      "mode ExtINT: CPU %u, with the next edge once more", cpu);
		line(PIN, false);
		cpu_irq_off();
	}
	ioapic_set(PIN, 0, IOAPIC_MASKED);
	clear();
	line(PIN, true);
	window();
	CHECK(seen[PIC_VECTOR] == 0, "mode ExtINT: without the entry, and LINT0 masked, nobody does");
	apic_write(APIC_LVT_LINT0, MODE_EXTINT);
	window();
	CHECK(seen[PIC_VECTOR] == 1 && seen_on[0] == 1, "mode ExtINT: by LINT0 the boot CPU does");
	line(PIN, false);
	pic_off();
	apic_write(APIC_LVT_LINT0, lint0);
}

static void modes(void)
{
	clear();
	ioapic_set(PIN, 0, MODE_NMI | OTHER);
	line(PIN, true);
	CHECK(WAIT_FOR(seen[TRAP_NMI] == 1, LIMIT_QUIET) && !apic_bit(APIC_IRR, OTHER), "mode NMI");
	line(PIN, false);
	/* The data sheet asks for edge with NMI; a level one behaves as an edge: no remote IRR, nothing to repeat. */
	ioapic_set(PIN, 0, MODE_NMI | IOAPIC_LEVEL | OTHER);
	line(PIN, true);
	window();
	CHECK(seen[TRAP_NMI] == 2, "mode NMI, level: once");
	line(PIN, false);
	ioapic_set(PIN, 3, LOGICAL | MODE_LOWEST | VECTOR);
	apic_write(APIC_LDR, 1u << 24);
	line(PIN, true);
	window();
	CHECK(seen[VECTOR] == 1, "mode lowest priority");
	line(PIN, false);
	ioapic_set(PIN, 0, MODE_SMI);
	line(PIN, true);
	window();
	CHECK(seen[VECTOR] == 1 && seen[TRAP_NMI] == 2, "mode SMI: nobody here takes it, nothing breaks");
	line(PIN, false);
	ioapic_set(PIN, 1, MODE_INIT);
	line(PIN, true);
	window();
	line(PIN, false);
	ioapic_set(PIN, 0, IOAPIC_MASKED);
	clear();
	apic_ipi(1, ICR_ASSERT | VECTOR);
	CHECK(!WAIT_FOR(seen_on[1], LIMIT_QUIET), "mode INIT: the CPU has stopped");
	cpu_get(1)->online = false;
	CHECK(smp_start(2) == 2, "and can be started again");
}

static void directed(void)
{
	clear();
	hold = true;
	ioapic_set(PIN, 0, IOAPIC_LEVEL | VECTOR);
	line(PIN, true);
	window();
	mmio_write(IOAPIC_BASE + EOI_AT, OTHER);
	CHECK(entry(PIN) & IOAPIC_IRR, "EOI register: another vector clears nothing");
	mmio_write(IOAPIC_BASE + EOI_AT, VECTOR);
	CHECK(entry(PIN) & IOAPIC_IRR && apic_bit(APIC_IRR, VECTOR),
	      "EOI register: the level, still there, is sent again at once");
	line(PIN, false);
	apic_eoi();
	window();
	apic_eoi();
	window();
	apic_write(APIC_SVR, SVR_SUPPRESS | SVR_ENABLE | APIC_SPURIOUS);
	clear();
	hold = true;
	line(PIN, true);
	window();
	CHECK(seen[VECTOR] == 1, "suppression: a level comes as ever");
	apic_eoi();
	window();
	CHECK(seen[VECTOR] == 1 && entry(PIN) & IOAPIC_IRR && !apic_bit(APIC_ISR, VECTOR),
	      "suppression: the APIC's EOI ends the service and tells the IOAPIC nothing");
	mmio_write(IOAPIC_BASE + EOI_AT, VECTOR);
	window();
	CHECK(seen[VECTOR] == 2, "suppression: the EOI register does, and it comes again");
	line(PIN, false);
	apic_eoi();
	mmio_write(IOAPIC_BASE + EOI_AT, VECTOR);
	window();
	CHECK(seen[VECTOR] == 2 && !(entry(PIN) & IOAPIC_IRR), "suppression: then silence");
	apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
	line(PIN, true);
	window();
	line(PIN, false);
	apic_eoi();
	CHECK(seen[VECTOR] == 3 && !(entry(PIN) & IOAPIC_IRR), "suppression off: the EOI is broadcast again");
	ioapic_set(PIN, 0, IOAPIC_MASKED);
}

/* The lines of masked pins, and those of edges, leave no trace of a level. */
static void masked(void)
{
	clear();
	ioapic_set(PIN, 0, IOAPIC_MASKED | VECTOR);
	line(PIN, true);
	line(PIN, false);
	ioapic_set(PIN, 0, VECTOR);
	window();
	CHECK(seen[VECTOR] == 0, "an edge on a masked pin is forgotten");
	ioapic_set(PIN, 0, IOAPIC_MASKED);
}

void guest_main(void)
{
	trap_set(VECTOR, on_vector);
	trap_set(OTHER, on_vector);
	trap_set(TRAP_NMI, on_nmi);
	if (!bellhop_present()) {
		SKIP("the bare machine has no such lines");
		report_end();
	}
	every_pin();
	levels();
	shared();
	rewritten();
	in_flight();
	masked();
	held();
	ext_int();
	modes();
	if ((ioapic_read(IOAPIC_VERSION) & 0xff) >= 0x20 && apic_read(APIC_VERSION) & 1u << 24)
		directed();
	else
		SKIP("the EOI register and suppression are not offered");
	report_end();
}
