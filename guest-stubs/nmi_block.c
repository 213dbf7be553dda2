/* SPDX-License-Identifier: MIT */
/*
 * NMIs: blocked from their delivery to the next IRET, of those that come meanwhile one is kept, and none slips in between
 * MOV SS and the instruction after it. SDM vol. 3, "Handling Multiple NMIs" and "Masking Exceptions and Interrupts When
 * Switching Stacks".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "nmi_block";

#define VECTOR  0x51
#define NMIS    300
#define LVT_NMI 0x400u

/* What the handler does at its first entry. */
enum plan { COUNT, SEND_TWO, SEND_AND_IRET, SEND_AND_FAULT, SEND_AND_OPEN };

static volatile enum plan plan;
static volatile unsigned nmis, depth, deepest, interrupts, in_shadow;
static volatile unsigned asked, answered;
static volatile bool stop;
static uint32_t boot_id;

extern const char after_mov_ss[], after_sti[];

static void nmi_self(void)
{
	apic_ipi(apic_id(), ICR_ASSERT | ICR_NMI);
}

/* An IRET to the next line, with everything else as it is. */
static void iret_here(void)
{
	__asm__ volatile("mov %%ss, %%eax\n\t"
	                 "mov %%rsp, %%rcx\n\t"
	                 "push %%rax\n\t"
	                 "push %%rcx\n\t"
	                 "pushfq\n\t"
	                 "mov %%cs, %%eax\n\t"
	                 "push %%rax\n\t"
	                 "lea 1f(%%rip), %%rax\n\t"
	                 "push %%rax\n\t"
	                 "iretq\n"
	                 "1:" ::
	                         : "rax", "rcx", "memory", "cc");
}

static void skip_ud2(struct trap_frame *frame)
{
	frame->ip += 2;
}

static void act(void)
{
	switch (plan) {
	case COUNT:
		break;
	case SEND_TWO:
		nmi_self();
		nmi_self();
		break;
	case SEND_AND_IRET:
		nmi_self();
		iret_here();
		break;
	case SEND_AND_FAULT:
		nmi_self();
		__asm__ volatile("ud2" ::: "memory");
		break;
	case SEND_AND_OPEN:
		apic_ipi(apic_id(), ICR_ASSERT | VECTOR);
		nmi_self();
		cpu_irq_on();
		WAIT_FOR(interrupts, LIMIT_QUIET);
		cpu_irq_off();
		break;
	}
}

static void on_nmi(struct trap_frame *frame)
{
	unsigned first = nmis++;

	if (frame->ip == (unsigned long)after_mov_ss)
		in_shadow++;
	depth++;
	deepest = depth > deepest ? depth : deepest;
	if (!first) {
		act();
		WAIT_FOR(false, 20000);
	}
	depth--;
}

static void on_interrupt(struct trap_frame *frame)
{
	if (frame->ip == (unsigned long)after_mov_ss || frame->ip == (unsigned long)after_sti)
		in_shadow++;
	interrupts++;
	apic_eoi();
}

static void provoke(enum plan what)
{
	plan = what;
	nmis = depth = deepest = interrupts = 0;
	nmi_self();
	WAIT_FOR(false, LIMIT_QUIET);
	plan = COUNT;
}

static void blocking(const char *face)
{
	provoke(COUNT);
	CHECK(nmis == 1, "%s: an NMI comes with IF=0", face);
	provoke(SEND_TWO);
	CHECK(deepest == 1, "%s: none while the handler of one runs", face);
	CHECK(nmis == 2, "%s: of those sent meanwhile one is kept, and comes after the IRET", face);
	provoke(SEND_AND_IRET);
	CHECK(nmis == 2 && deepest == 2, "%s: an IRET inside the handler ends the blocking", face);
	trap_set(TRAP_UD, skip_ud2);
	provoke(SEND_AND_FAULT);
	trap_set(TRAP_UD, NULL);
	CHECK(nmis == 2 && deepest == 2, "%s: so does the IRET of an exception's handler", face);
	provoke(SEND_AND_OPEN);
	/* The interrupt's own IRET ends the blocking as well. */
	CHECK(interrupts == 1, "%s: a maskable interrupt is not blocked", face);
	CHECK(nmis == 2 && deepest == 2, "%s: and its IRET, too, ends the blocking", face);
}

/* In a loop of which a good part is shadow. The other CPU disturbs it. */
static void shadows(void)
{
	while (!stop)
		__asm__ volatile("mov %%ss, %%eax\n\t"
		                 "mov %%eax, %%ss\n"
		                 ".globl after_mov_ss\n"
		                 "after_mov_ss:\n\t"
		                 "nop\n\t"
		                 "cli\n\t"
		                 "sti\n"
		                 ".globl after_sti\n"
		                 "after_sti:\n\t"
		                 "nop\n\t"
		                 "nop\n\t"
		                 "mov %%eax, %%ss\n\t"
		                 "sti\n\t"
		                 "cli\n\t"
		                 "sti" ::
		                         : "eax", "memory");
}

static void in_shadows(void)
{
	uint32_t id = cpu_get(1)->apic_id;
	unsigned lost = 0;

	plan = COUNT;
	nmis = 1; /* no first one with a plan */
	interrupts = 0;
	smp_run(1, shadows);
	WAIT_FOR(false, LIMIT_QUIET);
	for (unsigned i = 0; i < NMIS; i++) {
		unsigned before = nmis;

		apic_ipi(id, ICR_ASSERT | ICR_NMI);
		lost += !WAIT_FOR(nmis == before + 1, LIMIT_LONG / 100);
		WAIT_FOR(false, i * 7 % 97);
	}
	CHECK(lost == 0 && nmis == NMIS + 1, "%u NMIs into the shadows of STI and MOV SS: each comes once",
	      NMIS);
	CHECK(in_shadow == 0, "none of them right behind MOV SS");
	lost = 0;
	for (unsigned i = 0; i < NMIS; i++) {
		unsigned before = interrupts;

		apic_ipi(id, ICR_ASSERT | VECTOR);
		lost += !WAIT_FOR(interrupts == before + 1, LIMIT_LONG / 100);
		WAIT_FOR(false, i * 5 % 97);
	}
	CHECK(lost == 0, "%u interrupts likewise", NMIS);
	CHECK(in_shadow == 0, "none of them right behind MOV SS or STI");
	stop = true;
	CHECK(smp_wait(1), "the other CPU comes home");
}

/* Whoever hears the flush has had the NMI before it: both came the same way. */
static void send_both(void)
{
	while (!stop) {
		unsigned round = asked;

		if (round == answered) {
			cpu_pause();
			continue;
		}
		answered = round;
		apic_ipi(boot_id, ICR_ASSERT | ICR_NMI);
		apic_ipi(boot_id, ICR_ASSERT | VECTOR);
	}
}

/*
 * Two CPUs send an NMI to one that handles none, at the same time: it begins with the one and keeps the other, however
 * close they come.
 */
static void at_once(void)
{
	unsigned lost = 0;

	plan = COUNT;
	stop = false;
	boot_id = apic_id();
	smp_run(1, send_both);
	for (unsigned i = 0; i < NMIS * 10; i++) {
		nmis = 1; /* no first one with a plan */
		interrupts = 0;
		cpu_irq_on();
		asked++;
		while (answered != asked)
			cpu_pause();
		for (volatile unsigned wait = i % 61; wait; wait--) {
		}
		nmi_self();
		lost += !WAIT_FOR(interrupts && nmis == 3, LIMIT_QUIET) || nmis != 3;
		cpu_irq_off();
	}
	stop = true;
	CHECK(smp_wait(1) && lost == 0, "two NMIs at once are two, %u times", NMIS * 10);
}

/* SDM vol. 3, "Local Vector Table": an NMI's vector field does not count, and neither does the TPR. */
static void by_pin(void)
{
	ioapic_set(2, apic_id(), LVT_NMI | 0x31);
	apic_write(APIC_TPR, 0xff);
	nmis = 1;
	cpu_outb(0x43, 0x30);
	cpu_outb(0x40, 100);
	cpu_outb(0x40, 0);
	CHECK(WAIT_FOR(nmis == 2, LIMIT_LONG), "an IOAPIC entry in NMI mode, with TPR and IF against it");
	CHECK(!WAIT_FOR(nmis != 2, LIMIT_QUIET) && !apic_bit(APIC_IRR, 0x31),
	      "once, and its vector is nowhere");
	ioapic_set(2, 0, IOAPIC_MASKED);
	apic_write(APIC_TPR, 0);
}

void guest_main(void)
{
	trap_set(TRAP_NMI, on_nmi);
	trap_set(VECTOR, on_interrupt);
	blocking("page");
	by_pin();
	if (CHECK(smp_start(2) == 2, "two CPUs run")) {
		in_shadows();
		at_once();
	}
	if (apic_to_x2())
		blocking("msr");
	else
		SKIP("msr: this CPU has no x2APIC");
	report_end();
}
