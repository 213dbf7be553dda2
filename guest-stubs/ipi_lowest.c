/* SPDX-License-Identifier: MIT */
/*
 * Lowest-priority delivery among four CPUs, in each logical mode and from the IOAPIC: the lowest PPR wins, by TPR and by what is
 * in service; ties are shared out fairly; who is switched off is not asked. SDM vol. 3, "Lowest Priority Delivery Mode".
 *
 * Bochs takes the first of equals, always. In the manual's arbitration, "if more than one processor shares the lowest priority", the one
 * with the highest arbitration priority wins, and that rotates (SDM vol. 3, "APIC Bus Arbitration Mechanism and Protocol").
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "ipi_lowest";

#define CPUS      4
#define VECTOR    0x52
#define HIGH      0x92
#define ROUNDS    48u
#define SLACK     (ROUNDS / 8)
#define FIRST     "Bochs takes the first of equals"
#define LOGICAL   0x800u
#define EVERYBODY 0xfu

static volatile unsigned got[CPUS], in_service[CPUS];
static volatile uint32_t tpr[CPUS];

static void on_ipi(struct trap_frame *frame)
{
	(void)frame;
	cpu_fetch_add(&got[cpu_self()->index], 1);
	apic_eoi();
}

static void on_high(struct trap_frame *frame)
{
	(void)frame;
	in_service[cpu_self()->index] = 1;
}

static unsigned total(void)
{
	return got[0] + got[1] + got[2] + got[3];
}

static void clear(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		got[i] = 0;
}

static bool on_each(void (*fn)(void))
{
	bool good = true;

	for (unsigned i = 1; i < CPUS; i++) {
		smp_run(i, fn);
		good &= smp_wait(i);
	}
	fn();
	/* Until all sleep again. */
	WAIT_FOR(false, LIMIT_QUIET / 4);
	return good;
}

static void set_tpr(void)
{
	apic_write(APIC_TPR, tpr[cpu_self()->index]);
}

static void priorities(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	tpr[0] = a;
	tpr[1] = b;
	tpr[2] = c;
	tpr[3] = d;
	on_each(set_tpr);
}

/* ROUNDS messages, one at a time; true if each arrived, at one CPU. */
static bool deliver(uint32_t dest)
{
	bool good = true;

	clear();
	cpu_irq_on();
	for (unsigned i = 1; i <= ROUNDS; i++) {
		apic_ipi(dest, LOGICAL | ICR_LOWEST | ICR_ASSERT | VECTOR);
		good &= WAIT_FOR(total() == i, LIMIT_LONG / 100);
	}
	good &= !WAIT_FOR(total() != ROUNDS, LIMIT_QUIET / 4);
	cpu_irq_off();
	return good;
}

/* Each of the set has got its share, and nobody else anything. */
static bool fair(unsigned set)
{
	unsigned members = 0, share;
	bool good = true;

	for (unsigned i = 0; i < CPUS; i++)
		members += set >> i & 1;
	share = ROUNDS / members;
	for (unsigned i = 0; i < CPUS; i++) {
		unsigned least = set >> i & 1 ? share - SLACK : 0, most = set >> i & 1 ? share + SLACK : 0;

		good &= got[i] >= least && got[i] <= most;
	}
	return good;
}

static void counts(const char *what)
{
	printf("# %s: %u %u %u %u of %u\n", what, got[0], got[1], got[2], got[3], ROUNDS);
}

static void ties(const char *face, uint32_t all, uint32_t two)
{
	CHECK(deliver(all), "%s: each message arrives at one CPU", face);
	counts(face);
	CHECK_DEPARTS(fair(EVERYBODY), FIRST, "%s: of four equals each gets its share", face);
	CHECK(deliver(two), "%s: to a set of two, likewise", face);
	CHECK_DEPARTS(fair(0x6), FIRST, "%s: of two equals each gets its share", face);
}

static void lowest_wins(const char *face, uint32_t all)
{
	bool good = true;

	for (unsigned winner = 0; winner < CPUS; winner++) {
		uint32_t p[CPUS] = { 0x40, 0x30, 0x20, 0x30 };

		p[winner] = 0x10;
		priorities(p[0], p[1], p[2], p[3]);
		good &= deliver(all) && got[winner] == ROUNDS;
	}
	CHECK(good, "%s: the CPU with the lowest priority gets them all", face);
	priorities(0x40, 0x10, 0x40, 0x10);
	CHECK(deliver(all) && got[1] + got[3] == ROUNDS, "%s: of two lowest, they get them all", face);
	CHECK_DEPARTS(fair(0xa), FIRST, "%s: a share each", face);
	priorities(0, 0, 0, 0);
}

static void start_service(void)
{
	unsigned index = cpu_self()->index;

	if (index == 1 || index == 2) {
		apic_ipi(0, ICR_SELF | ICR_ASSERT | HIGH);
		cpu_irq_on();
		WAIT_FOR(in_service[index], LIMIT_LONG / 100);
	}
	cpu_irq_off();
}

static void end_service(void)
{
	if (in_service[cpu_self()->index])
		apic_eoi();
	in_service[cpu_self()->index] = 0;
}

static void by_service(const char *face, uint32_t all)
{
	on_each(start_service);
	CHECK(deliver(all), "%s: with an interrupt in service on two CPUs, each message arrives", face);
	CHECK(got[1] == 0 && got[2] == 0, "%s: at the others", face);
	CHECK_DEPARTS(fair(0x9), FIRST, "%s: a share each of theirs", face);
	on_each(end_service);
}

static void switch_off(void)
{
	if (cpu_self()->index == 0 || cpu_self()->index == 3)
		apic_write(APIC_SVR, APIC_SPURIOUS);
}

static void switch_on(void)
{
	apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
}

static void switched_off(const char *face, uint32_t all)
{
	bool good;

	/* CPU 3 cannot be woken by an IPI while it is off: it runs the second part by its own. */
	on_each(switch_off);
	good = deliver(all);
	switch_on();
	CHECK_DEPARTS(good && got[0] == 0 && got[3] == 0, "Bochs asks them",
	              "%s: an APIC switched off by SVR is not asked", face);
}

static void to_flat(void)
{
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1u << (24 + cpu_self()->index));
}

static void to_cluster(void)
{
	apic_write(APIC_DFR, 0x0fffffff);
	apic_write(APIC_LDR, (0x20u | 1u << cpu_self()->index) << 24);
}

static void to_x2(void)
{
	apic_to_x2();
}

static void from_ioapic(void)
{
	bool good = true;

	clear();
	ioapic_set(PIT_PIN, EVERYBODY, LOGICAL | ICR_LOWEST | VECTOR);
	cpu_irq_on();
	for (unsigned i = 1; i <= ROUNDS; i++) {
		pit_raise_after(20);
		good &= WAIT_FOR(total() == i, LIMIT_LONG / 100);
	}
	cpu_irq_off();
	ioapic_set(PIT_PIN, 0, IOAPIC_MASKED);
	counts("IOAPIC");
	CHECK(good, "IOAPIC: each edge arrives at one CPU");
	CHECK_DEPARTS(fair(EVERYBODY), FIRST, "IOAPIC: of four equals each gets its share");
}

void guest_main(void)
{
	trap_set(VECTOR, on_ipi);
	trap_set(HIGH, on_high);
	if (!CHECK(smp_start(CPUS) == CPUS, "four CPUs run"))
		report_end();
	CHECK(on_each(to_cluster), "cluster: two clusters have nobody, one has all");
	ties("cluster", 0x2f, 0x26);
	lowest_wins("cluster", 0x2f);
	CHECK(on_each(to_flat), "flat: a bit each");
	ties("flat", 0xf, 0x6);
	lowest_wins("flat", 0xf);
	by_service("flat", 0xf);
	from_ioapic();
	if (cpu_id(1, 0).c & 1u << 21) {
		CHECK(on_each(to_x2), "msr: every CPU is in x2APIC mode");
		ties("msr", 0xf, 0x6);
		lowest_wins("msr", 0xf);
		by_service("msr", 0xf);
		switched_off("msr", 0xf);
	} else {
		SKIP("msr: this CPU has no x2APIC");
		switched_off("flat", 0xf);
	}
	report_end();
}
