/* SPDX-License-Identifier: MIT */
/*
 * TPR, CR8 and PPR: two views of one register, the PPR that follows, and for each vector class and each priority whether the
 * interrupt comes. SDM vol. 3, "Task and Processor Priorities" and "Interaction of Task Priorities between CR8 and APIC".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "tpr_cr8";

#define FIRST_CLASS 2u /* classes 0 and 1 are the exceptions' */
#define LAST_CLASS  0xeu
#define IN_CLASS(c) ((c) << 4 | 0x7)

static volatile unsigned seen[256];
static volatile bool keep; /* in service: no EOI */

static void on_vector(struct trap_frame *frame)
{
	seen[frame->vector]++;
	if (!keep)
		apic_eoi();
}

static unsigned long cr8(void)
{
	unsigned long value;

	__asm__ volatile("mov %%cr8, %0" : "=r"(value));
	return value;
}

static void set_cr8(unsigned long value)
{
	__asm__ volatile("mov %0, %%cr8" ::"r"(value) : "memory");
}

static void try_cr8(void *value)
{
	set_cr8((unsigned long)value);
}

static void two_views(const char *face)
{
	unsigned wrong = 0;

	for (unsigned tpr = 0; tpr < 256; tpr++) {
		apic_write(APIC_TPR, tpr);
		wrong += cr8() != tpr >> 4 || apic_read(APIC_TPR) != tpr;
	}
	CHECK(wrong == 0, "%s: CR8 is bits 7 to 4 of the TPR", face);
	for (unsigned long c = 0; c < 16; c++) {
		apic_write(APIC_TPR, 0xff);
		set_cr8(c);
		wrong += apic_read(APIC_TPR) != c << 4 || cr8() != c;
	}
	CHECK(wrong == 0, "%s: writing CR8 clears bits 3 to 0 of the TPR", face);
	set_cr8(5);
	for (unsigned bit = 4; bit < 64; bit++)
		wrong += trap_catch(try_cr8, (void *)(1ul << bit)) != TRAP_GP;
	CHECK(wrong == 0 && cr8() == 5, "%s: a reserved bit of CR8 is #GP and changes nothing", face);
	set_cr8(0);
}

/* Each class against each priority: held back while its class is not above the PPR's, and not lost. */
static void every_pair(const char *face)
{
	unsigned early = 0, lost = 0;

	for (unsigned c = FIRST_CLASS; c <= LAST_CLASS; c++)
		for (unsigned p = 0; p < 16; p++) {
			unsigned v = IN_CLASS(c);

			set_cr8(p);
			seen[v] = 0;
			apic_ipi(apic_id(), ICR_ASSERT | v);
			cpu_irq_window();
			early += (seen[v] == 1) != (c > p);
			set_cr8(0);
			cpu_irq_window();
			lost += seen[v] != 1;
		}
	CHECK(early == 0, "%s: an interrupt comes exactly if its class is above CR8", face);
	CHECK(lost == 0, "%s: the others come when CR8 falls", face);
}

/* The next instruction's end is soon enough: MOV CR8 is serializing as to interrupts. */
static void at_once(const char *face)
{
	unsigned late = 0, early = 0;

	for (unsigned p = 15; p >= FIRST_CLASS; p--) {
		unsigned v = IN_CLASS(p);

		if (p > LAST_CLASS)
			continue;
		set_cr8(15);
		seen[v] = 0;
		apic_ipi(apic_id(), ICR_ASSERT | v);
		cpu_irq_on();
		set_cr8(p);
		__asm__ volatile("nop; nop" ::: "memory");
		early += seen[v];
		set_cr8(p - 1);
		__asm__ volatile("nop; nop" ::: "memory");
		late += seen[v] != 1;
		cpu_irq_off();
		set_cr8(15);
		seen[v] = 0;
		apic_ipi(apic_id(), ICR_ASSERT | v);
		cpu_irq_on();
		apic_write(APIC_TPR, (p - 1) << 4 | 0xf);
		__asm__ volatile("nop; nop" ::: "memory");
		late += seen[v] != 1;
		cpu_irq_off();
	}
	set_cr8(0);
	CHECK(early == 0, "%s: with IF=1, CR8 at its class holds it back", face);
	CHECK(late == 0, "%s: with IF=1, lowering CR8 or the TPR lets it in at once", face);
}

static void processor_priority(const char *face)
{
	unsigned wrong = 0;

	keep = true;
	for (unsigned c = FIRST_CLASS; c <= LAST_CLASS; c++) {
		apic_write(APIC_TPR, 0);
		apic_ipi(apic_id(), ICR_ASSERT | IN_CLASS(c));
		cpu_irq_window();
		for (unsigned tpr = 0; tpr < 256; tpr += 5) {
			uint32_t ppr;

			apic_write(APIC_TPR, tpr);
			ppr = apic_read(APIC_PPR);
			if (tpr >> 4 > c)
				wrong += ppr != tpr;
			else if (tpr >> 4 < c)
				wrong += ppr != c << 4;
			else /* the low half is model-specific */
				wrong += ppr >> 4 != c;
		}
		apic_write(APIC_TPR, 0);
		apic_eoi();
		wrong += apic_read(APIC_PPR) != 0;
	}
	keep = false;
	CHECK(wrong == 0, "%s: PPR is the higher of TPR and the vector in service", face);
}

/* A stack of interrupts in service, one per class, then EOI by EOI: PPR climbs down it. */
static void nesting(const char *face)
{
	unsigned wrong = 0;

	keep = true;
	for (unsigned c = FIRST_CLASS; c <= LAST_CLASS; c++) {
		seen[IN_CLASS(c)] = 0;
		apic_ipi(apic_id(), ICR_ASSERT | IN_CLASS(c));
		cpu_irq_window();
		wrong += seen[IN_CLASS(c)] != 1 || apic_read(APIC_PPR) != c << 4;
	}
	for (unsigned c = LAST_CLASS; c >= FIRST_CLASS; c--) {
		wrong += apic_read(APIC_PPR) != c << 4 || !apic_bit(APIC_ISR, IN_CLASS(c));
		apic_eoi();
		wrong += apic_bit(APIC_ISR, IN_CLASS(c));
	}
	keep = false;
	CHECK(wrong == 0 && apic_read(APIC_PPR) == 0, "%s: thirteen nested, ended in turn", face);
}

static void all(const char *face)
{
	two_views(face);
	every_pair(face);
	at_once(face);
	processor_priority(face);
	nesting(face);
}

void guest_main(void)
{
	for (unsigned c = FIRST_CLASS; c <= LAST_CLASS; c++)
		trap_set(IN_CLASS(c), on_vector);
	all("page");
	if (apic_to_x2())
		all("msr");
	else
		SKIP("msr: this CPU has no x2APIC");
	report_end();
}
