/* SPDX-License-Identifier: MIT */
/*
 * Time as four CPUs see it: the TSC never goes back from one to the next, deadlines come on time to all of them at once, and a VM of which
 * every CPU sleeps costs next to nothing. SDM vol. 3, "Time-Stamp Counter". What was measured is printed behind a #.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "tsc_smp";

#define CPUS     4
#define ROUNDS   3000u
#define TIMER    0x61
#define DIVIDE_1 0xb
#define NAP      4000000u /* ticks, or near it: the timer runs at the TSC's rate or somewhat below */
#define SHOTS    20u

static volatile unsigned turn, backwards, arrived;
static volatile uint64_t stamp;
static volatile unsigned fired[CPUS];
static volatile uint64_t fired_at[CPUS], worst[CPUS];
static volatile uint64_t late_limit;

static void on_timer(struct trap_frame *frame)
{
	unsigned i = cpu_self()->index;

	(void)frame;
	fired_at[i] = cpu_tsc();
	fired[i]++;
	apic_eoi();
}

/* The CPUs take turns to read; each must find more than the one before. */
static void relay(void)
{
	unsigned me = cpu_self()->index;

	for (unsigned n = 0; n < ROUNDS / CPUS; n++) {
		uint64_t now;

		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) % CPUS != me)
			cpu_pause();
		now = cpu_tsc();
		if (now < stamp)
			backwards++;
		stamp = now;
		__atomic_store_n(&turn, turn + 1, __ATOMIC_RELEASE);
	}
}

static void on_all(void (*fn)(void))
{
	for (unsigned i = 1; i < CPUS; i++)
		smp_run(i, fn);
	cpu_irq_on();
	fn();
	for (unsigned i = 1; i < CPUS; i++)
		smp_wait(i);
	cpu_irq_off();
}

/* One-shot after one-shot, by the APIC timer, asleep in between; the timer's own rate is taken from the first. */
static void shots(void)
{
	unsigned me = cpu_self()->index;
	uint64_t count = 40000 + me * 777, ticks, start;

	apic_write(APIC_TIMER_DIV, DIVIDE_1);
	apic_write(APIC_LVT_TIMER, TIMER);
	for (unsigned n = 0; n <= SHOTS; n++) {
		fired[me] = 0;
		start = cpu_tsc();
		apic_write(APIC_TIMER_INIT, (uint32_t)count);
		while (!fired[me]) {
			cpu_irq_off();
			if (!fired[me])
				cpu_idle();
		}
		ticks = fired_at[me] - start;
		if (n && ticks > worst[me])
			worst[me] = ticks;
	}
	worst[me] -= count;
}

/* Asleep in HLT for about a second of the emulator: what the whole VM costs meanwhile. */
static void idle_cost(void)
{
	long exits, ticks;

	if (!bellhop_present())
		return;
	apic_write(APIC_LVT_TIMER, TIMER);
	fired[0] = 0;
	exits = bellhop_call1(BH_VM_STAT, BH_VM_EXITS);
	ticks = bellhop_call1(BH_VM_STAT, BH_VM_HV_TICKS);
	apic_write(APIC_TIMER_INIT, NAP);
	while (!fired[0]) {
		cpu_idle();
		cpu_irq_off();
	}
	exits = bellhop_call1(BH_VM_STAT, BH_VM_EXITS) - exits;
	ticks = bellhop_call1(BH_VM_STAT, BH_VM_HV_TICKS) - ticks;
	printf("# asleep for %u ticks: %ld exits, %ld ticks of work\n", NAP, exits, ticks);
	arrived = exits < 40 && ticks < NAP / 100;
}

void guest_main(void)
{
	uint64_t late = 0;

	trap_set(TIMER, on_timer);
	if (!CHECK(smp_start(CPUS) == CPUS, "four CPUs run"))
		report_end();
	on_all(relay);
	CHECK(turn == ROUNDS && backwards == 0, "the TSC never goes back from one CPU to the next, %u times",
	      ROUNDS);
	late_limit = boot_number("late", 40000);
	on_all(shots);
	for (unsigned i = 0; i < CPUS; i++)
		late = worst[i] > late ? worst[i] : late;
	printf("# four timers at once: late by %llu ticks at most\n", (unsigned long long)late);
	CHECK(late < late_limit, "four timers at once: each in time, each asleep until then");
	arrived = true;
	WAIT_FOR(false, LIMIT_QUIET);
	idle_cost();
	CHECK(arrived, "while all sleep, nothing runs");
	report_end();
}
