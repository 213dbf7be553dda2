/* SPDX-License-Identifier: MIT */
/*
 * What ends a HLT: an IPI, the timer, the 8259, an NMI with and without IF, an interrupt that was pending before; and what does not: an
 * interrupt held back by the TPR.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "hlt_wake";

#define VECTOR 0x51
#define TIMER  0x61
#define WIRE   0x20 /* line 0, by pic_off() */
#define ROUNDS 200

#define TIMER_LATE  0x62
#define LATE_ROUNDS 100u
#define LATE_TICKS  41000u

#define LVT_EXTINT 0x700u

static volatile unsigned seen[256];
static volatile unsigned woken; /* how often the other CPU came out of a HLT */
static volatile bool stop;

static void on_interrupt(struct trap_frame *frame)
{
	seen[frame->vector]++;
	if (frame->vector != TRAP_NMI)
		apic_eoi();
}

static volatile uint64_t fired;
static volatile bool asleep;
static uint64_t latest; /* how late it was, at worst */

static void on_timer(struct trap_frame *frame)
{
	(void)frame;
	fired = cpu_tsc();
	apic_eoi();
}

/* Asleep until an IPI, then busy until the timer: at many places of what a hypervisor may call a time slice. */
static void timed_sleeper(void)
{
	cpu_irq_off();
	apic_write(APIC_TIMER_DIV, 0xb);
	apic_write(APIC_LVT_TIMER, TIMER_LATE);
	for (uint64_t i = 0; i < LATE_ROUNDS; i++) {
		uint64_t begin = cpu_tsc() + i * 977 % LATE_TICKS, end = begin + LATE_TICKS;

		while (cpu_tsc() < begin)
			cpu_pause();
		fired = 0;
		seen[VECTOR] = 0;
		apic_write(APIC_TIMER_INIT, (uint32_t)(end - cpu_tsc()));
		asleep = true;
		while (!seen[VECTOR] && !fired) {
			cpu_irq_off();
			cpu_idle();
		}
		asleep = false;
		while (!fired)
			cpu_pause();
		if (fired - end > latest)
			latest = fired - end;
	}
}

static void on_wire(struct trap_frame *frame)
{
	seen[frame->vector]++;
	cpu_outb(0x20, 0x20);
}

static void sleeper(void)
{
	while (!stop) {
		cpu_irq_off();
		cpu_idle();
		woken++;
	}
}

static void sleeper_without_if(void)
{
	cpu_irq_off();
	__asm__ volatile("hlt" ::: "memory");
	woken++;
	cpu_irq_on();
}

static void alone(void)
{
	apic_write(APIC_TIMER_DIV, 0x3);
	apic_write(APIC_LVT_TIMER, TIMER);
	for (unsigned i = 0; i < 10; i++) {
		apic_write(APIC_TIMER_INIT, 1000);
		cpu_idle();
		cpu_irq_off();
	}
	CHECK(seen[TIMER] == 10, "the timer ends a HLT");
	seen[VECTOR] = 0;
	apic_ipi(0, ICR_SELF | ICR_ASSERT | VECTOR);
	cpu_idle();
	cpu_irq_off();
	CHECK(seen[VECTOR] == 1, "an interrupt that was pending before STI ends the HLT after it");

	apic_write(APIC_TPR, 0x50);
	apic_ipi(0, ICR_SELF | ICR_ASSERT | VECTOR);
	apic_write(APIC_TIMER_INIT, 2000);
	cpu_idle();
	cpu_irq_off();
	CHECK(seen[TIMER] == 11 && seen[VECTOR] == 1, "an interrupt below the TPR leaves the CPU asleep");
	apic_write(APIC_TPR, 0);
	cpu_irq_window();
	CHECK(seen[VECTOR] == 2, "and comes when the TPR allows");
}

/* The 8259's INTR, through LINT0: it is in no register of the local APIC. */
static void by_wire(void)
{
	/* The start of its initialisation clears what edges it has noted. */
	pit_low();
	pic_off();
	cpu_outb(0x21, 0xfe);
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	pit_raise_after(3000);
	cpu_idle();
	cpu_irq_off();
	CHECK(seen[WIRE] == 1, "the 8259 ends a HLT");
	pit_low();
	pic_off();
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
}

static void other(void)
{
	uint32_t id = cpu_get(1)->apic_id;
	unsigned lost = 0;

	smp_run(1, sleeper);
	seen[VECTOR] = 0;
	for (unsigned i = 1; i <= ROUNDS; i++) {
		apic_ipi(id, ICR_ASSERT | VECTOR);
		lost += !WAIT_FOR(seen[VECTOR] == i, LIMIT_LONG / 10);
	}
	CHECK(lost == 0, "an IPI wakes another CPU, %u times", ROUNDS);
	WAIT_FOR(false, LIMIT_QUIET);
	woken = 0;
	seen[TRAP_NMI] = 0;
	apic_ipi(id, ICR_NMI | ICR_ASSERT);
	CHECK(WAIT_FOR(woken == 1, LIMIT_LONG) && seen[TRAP_NMI] == 1, "an NMI wakes it");
	stop = true;
	apic_ipi(id, ICR_ASSERT | VECTOR);
	CHECK(smp_wait(1), "it goes home");

	seen[VECTOR] = 0;
	woken = 0;
	smp_run(1, sleeper_without_if);
	WAIT_FOR(false, LIMIT_QUIET);
	apic_ipi(id, ICR_ASSERT | VECTOR);
	CHECK(!WAIT_FOR(woken, LIMIT_QUIET) && !seen[VECTOR], "an interrupt does not wake it with IF=0");
	apic_ipi(id, ICR_NMI | ICR_ASSERT);
	CHECK(WAIT_FOR(woken == 1, LIMIT_LONG) && seen[TRAP_NMI] == 2, "an NMI does");
	CHECK(smp_wait(1) && seen[VECTOR] == 1, "the interrupt comes with IF=1");
}

static void timer_after_hlt(void)
{
	unsigned n = 0;

	trap_set(TIMER_LATE, on_timer);
	smp_run(1, timed_sleeper);
	while (cpu_get(1)->work) {
		WAIT_FOR(asleep, LIMIT_QUIET);
		WAIT_FOR(!asleep, 20000 + n++ * 1237 % 19000);
		if (asleep)
			apic_ipi(cpu_get(1)->apic_id, ICR_ASSERT | VECTOR);
		WAIT_FOR(!asleep || fired, LIMIT_QUIET);
	}
	CHECK(latest < LATE_TICKS / 8, "a timer that was armed before a HLT that an IPI ended is on time");
}

void guest_main(void)
{
	trap_set(VECTOR, on_interrupt);
	trap_set(TIMER, on_interrupt);
	trap_set(TRAP_NMI, on_interrupt);
	trap_set(WIRE, on_wire);
	alone();
	by_wire();
	if (CHECK(smp_start(2) == 2, "two CPUs run")) {
		other();
		timer_after_hlt();
	}
	report_end();
}
