/* SPDX-License-Identifier: MIT */
/*
 * The APIC timer: each divide value, the count while it runs, one-shot and periodic, TSC-deadline mode, and how late a deadline
 * comes to a CPU that runs and to one that sleeps. `deadline=0` in the arguments leaves the third mode out.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "lapic_timer";

#define VECTOR           0x40
#define LVT_DEADLINE     0x40000u
#define MSR_DEADLINE     0x6e0u
#define CPUID_DEADLINE   (1u << 24) /* leaf 1, ECX */
#define MEASURE          1000000ull /* ticks over which a rate is taken */
#define TOLERANCE        3          /* per cent: room for the exits around two readings */
#define SOON             20000ull
#define ROUNDS           50
#define LATEST           40000ull /* ticks; what was measured is printed */
#define DISARMED_QUIETLY "Bochs keeps the value of a deadline that has passed"

static volatile unsigned fired;
static volatile uint64_t fired_at;

static void on_timer(struct trap_frame *frame)
{
	(void)frame;
	fired_at = cpu_tsc();
	fired++;
	apic_eoi();
}

/* Counts in MEASURE ticks, scaled to exactly that many. */
static uint64_t rate(uint32_t divide)
{
	uint64_t start, ticks;
	uint32_t first, last;

	apic_write(APIC_TIMER_DIV, divide);
	apic_write(APIC_TIMER_INIT, 0xffffffff);
	first = apic_read(APIC_TIMER_NOW);
	start = cpu_tsc();
	WAIT_FOR(false, MEASURE);
	last = apic_read(APIC_TIMER_NOW);
	ticks = cpu_tsc() - start;
	return (uint64_t)(first - last) * MEASURE / ticks;
}

/* SDM vol. 3, "Divide Configuration Register": the value is in bits 3, 1 and 0; 0 is by 2, 7 is by 1. */
static void divides(const char *face)
{
	static const uint8_t value[] = { 0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa };
	uint64_t by_one;
	bool same = true;

	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
	by_one = rate(value[0]);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t r = rate(value[i]) << i;
		uint64_t off = r > by_one ? r - by_one : by_one - r;

		same &= apic_read(APIC_TIMER_DIV) == value[i];
		CHECK(off * 100 <= by_one * TOLERANCE, "%s: divided by %u", face, 1u << i);
	}
	CHECK(same, "%s: the divide value reads back", face);
	apic_write(APIC_TIMER_INIT, 0);
}

static void counting(const char *face)
{
	uint32_t a, b;
	bool inside = true;

	apic_write(APIC_TIMER_DIV, 0xb);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
	apic_write(APIC_TIMER_INIT, 1u << 30);
	a = apic_read(APIC_TIMER_NOW);
	b = apic_read(APIC_TIMER_NOW);
	CHECK(a > b && b > 0, "%s: the count falls while it is read", face);
	CHECK(apic_read(APIC_TIMER_INIT) == 1u << 30, "%s: the initial count reads back", face);
	apic_write(APIC_TIMER_INIT, 1u << 29);
	CHECK(apic_read(APIC_TIMER_NOW) <= 1u << 29, "%s: a new initial count starts it anew", face);
	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
	apic_write(APIC_TIMER_DIV, 0x3);
	apic_write(APIC_TIMER_INIT, 5000);
	fired = 0;
	cpu_irq_on();
	while (fired < 5) {
		a = apic_read(APIC_TIMER_NOW);
		inside &= a <= 5000;
	}
	cpu_irq_off();
	CHECK(inside, "%s: periodic: the count stays within the period", face);
	apic_write(APIC_TIMER_INIT, 0);
	CHECK(apic_read(APIC_TIMER_NOW) == 0, "%s: stopped, the count is 0", face);
	cpu_irq_window();
}

/* Ten periods last ten periods: one that came late does not move the next. */
static void drift(const char *face)
{
	uint64_t start, ticks;
	uint64_t by_one = rate(0xb);
	uint64_t period = SOON * 5 * by_one / MEASURE;

	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
	fired = 0;
	apic_write(APIC_TIMER_INIT, (uint32_t)period);
	cpu_irq_on();
	WAIT_FOR(fired == 1, LIMIT_LONG);
	start = fired_at;
	WAIT_FOR(fired == 11, LIMIT_LONG);
	ticks = fired_at - start;
	cpu_irq_off();
	apic_write(APIC_TIMER_INIT, 0);
	cpu_irq_window();
	CHECK(ticks > SOON * 50 * 97 / 100 && ticks < SOON * 50 * 103 / 100,
	      "%s: ten periods are ten periods", face);
}

/* Fires once, not before its time; returns how late. UINT64_MAX: not so. */
static uint64_t lateness(bool asleep, uint64_t ahead)
{
	uint64_t deadline;

	fired = 0;
	deadline = cpu_tsc() + ahead;
	cpu_wrmsr(MSR_DEADLINE, deadline);
	if (asleep) {
		while (!fired) {
			cpu_idle();
			cpu_irq_off();
		}
	} else {
		cpu_irq_on();
		WAIT_FOR(fired, LIMIT_LONG);
		cpu_irq_off();
	}
	return fired == 1 && fired_at >= deadline ? fired_at - deadline : UINT64_MAX;
}

static void measure(const char *face, bool asleep)
{
	uint64_t worst = 0, best = UINT64_MAX;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t late = lateness(asleep, SOON + i * 331);

		worst = late > worst ? late : worst;
		best = late < best ? late : best;
	}
	CHECK(worst <= LATEST, "%s: deadlines come on time, never early, to a CPU that %s", face,
	      asleep ? "sleeps" : "runs");
	printf("# %s: deadlines of a CPU that %s: late by %llu to %llu ticks\n", face,
	       asleep ? "sleeps" : "runs", (unsigned long long)best, (unsigned long long)worst);
}

/* SDM vol. 3, "TSC-Deadline Mode". */
static void deadline(const char *face)
{
	apic_write(APIC_LVT_TIMER, VECTOR);
	cpu_wrmsr(MSR_DEADLINE, cpu_tsc() + SOON);
	CHECK_DEPARTS(cpu_rdmsr(MSR_DEADLINE) == 0, "Bochs keeps it",
	              "%s: outside its mode, the deadline MSR is 0 and ignores writes", face);
	apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
	apic_write(APIC_TIMER_INIT, 1000);
	CHECK(apic_read(APIC_TIMER_NOW) == 0, "%s: in deadline mode the initial count is ignored", face);
	fired = 0;
	cpu_wrmsr(MSR_DEADLINE, cpu_tsc() + 100 * SOON);
	CHECK(cpu_rdmsr(MSR_DEADLINE) != 0, "%s: an armed deadline reads back", face);
	cpu_wrmsr(MSR_DEADLINE, 0);
	cpu_irq_on();
	CHECK(!WAIT_FOR(fired, 150 * SOON), "%s: 0 disarms it", face);
	cpu_irq_off();
	CHECK(lateness(false, SOON) != UINT64_MAX, "%s: it fires once, at its time", face);
	CHECK_DEPARTS(cpu_rdmsr(MSR_DEADLINE) == 0, DISARMED_QUIETLY, "%s: and the MSR is 0 then", face);
	fired = 0;
	cpu_wrmsr(MSR_DEADLINE, 1);
	cpu_irq_on();
	CHECK(WAIT_FOR(fired == 1, LIMIT_LONG) && !WAIT_FOR(fired != 1, LIMIT_QUIET),
	      "%s: a deadline in the past fires at once, and once", face);
	fired = 0;
	cpu_wrmsr(MSR_DEADLINE, cpu_tsc() + 10 * SOON);
	apic_write(APIC_LVT_TIMER, VECTOR);
	apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
	CHECK_DEPARTS(!WAIT_FOR(fired, 20 * SOON), "Bochs fires all the same",
	              "%s: leaving the mode disarms it", face);
	cpu_irq_off();
	measure(face, false);
	measure(face, true);
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
}

static void all(const char *face)
{
	divides(face);
	counting(face);
	drift(face);
	if (boot_number("deadline", 1) && cpu_id(1, 0).c & CPUID_DEADLINE)
		deadline(face);
	else
		SKIP("%s: no deadline mode here", face);
}

void guest_main(void)
{
	trap_set(VECTOR, on_timer);
	all("page");
	if (apic_to_x2())
		all("msr");
	else
		SKIP("msr: this CPU has no x2APIC");
	report_end();
}
