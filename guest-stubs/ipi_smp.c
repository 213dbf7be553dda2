/* SPDX-License-Identifier: MIT */
/*
 * Interprocessor interrupts between four CPUs, through the APIC page and then through MSRs: physical, logical flat and
 * cluster destinations, the shorthands, lowest priority, NMI. Whoever is meant gets it once, nobody else gets it.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "ipi_smp";

#define CPUS   4
#define VECTOR 0x52
#define EVERY  0xf /* a set of CPUs: bit i is CPU i */

static volatile unsigned got[CPUS], nmis[CPUS], vectors[CPUS][256];

static void on_ipi(struct trap_frame *frame)
{
	unsigned cpu = cpu_self()->index;

	vectors[cpu][frame->vector]++;
	cpu_fetch_add(&got[cpu], 1);
	apic_eoi();
}

static void on_nmi(struct trap_frame *frame)
{
	(void)frame;
	cpu_fetch_add(&nmis[cpu_self()->index], 1);
}

static bool arrived(volatile unsigned *counts, unsigned set)
{
	for (unsigned i = 0; i < CPUS; i++)
		if (counts[i] != (set >> i & 1))
			return false;
	return true;
}

/* Sends, lets it arrive, and then some: exactly the CPUs of the set have got exactly one. */
static bool sent_to(uint32_t dest, uint32_t low, unsigned set)
{
	volatile unsigned *counts = (low & 0x700) == ICR_NMI ? nmis : got;
	bool good;

	for (unsigned i = 0; i < CPUS; i++)
		counts[i] = 0;
	apic_ipi(dest, low | ICR_ASSERT | ((low & 0x700) == ICR_NMI ? 0 : VECTOR));
	cpu_irq_on();
	good = WAIT_FOR(arrived(counts, set), LIMIT_LONG) && !WAIT_FOR(!arrived(counts, set), LIMIT_QUIET);
	cpu_irq_off();
	return good;
}

static void physical(const char *face)
{
	bool good = true;

	for (unsigned i = 0; i < CPUS; i++)
		good &= sent_to(cpu_get(i)->apic_id, 0, 1u << i);
	CHECK(good, "%s: physical destination, each CPU", face);
	CHECK(sent_to(cpu_self()->x2apic ? 0xffffffff : 0xff, 0, EVERY), "%s: physical broadcast", face);
	CHECK(sent_to(0, ICR_SELF, 0x1), "%s: shorthand self", face);
	CHECK(sent_to(0, ICR_ALL, EVERY), "%s: shorthand all", face);
	CHECK(sent_to(0, ICR_OTHERS, EVERY & ~1u), "%s: shorthand all but self", face);
}

static void nmi(const char *face)
{
	bool good = true;

	for (unsigned i = 1; i < CPUS; i++)
		good &= sent_to(cpu_get(i)->apic_id, ICR_NMI, 1u << i);
	CHECK(good, "%s: NMI to each other CPU", face);
	CHECK(sent_to(0, ICR_OTHERS | ICR_NMI, EVERY & ~1u), "%s: NMI to all but self", face);
	CHECK(sent_to(cpu_self()->apic_id, ICR_NMI, 0x1), "%s: NMI to oneself, with IF=0", face);
}

static void every_vector(const char *face)
{
	bool good = true;

	for (unsigned i = 0; i < CPUS; i++)
		for (unsigned v = 0; v < 256; v++)
			vectors[i][v] = 0;
	cpu_irq_on();
	for (unsigned v = 32; v < SMP_WAKE_VECTOR; v++) {
		apic_ipi(0, ICR_ALL | ICR_ASSERT | v);
		for (unsigned i = 0; i < CPUS; i++)
			good &= WAIT_FOR(vectors[i][v] == 1, LIMIT_LONG);
	}
	cpu_irq_off();
	CHECK(good, "%s: every vector to all, once each", face);
}

/* Run on each CPU. Flat: a bit each. */
static void to_flat(void)
{
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 1u << (24 + cpu_self()->index));
}

/* Two clusters of two: CPUs 0 and 1 in cluster 1, CPUs 2 and 3 in cluster 2. */
static void to_cluster(void)
{
	unsigned index = cpu_self()->index;

	apic_write(APIC_DFR, 0x0fffffff);
	apic_write(APIC_LDR, ((index / 2 + 1) << 4 | 1u << index % 2) << 24);
}

static bool on_each(void (*fn)(void))
{
	bool good = true;

	fn();
	for (unsigned i = 1; i < CPUS; i++) {
		smp_run(i, fn);
		good &= smp_wait(i);
	}
	return good;
}

static void logical_page(void)
{
	bool good = on_each(to_flat);

	for (unsigned set = 1; set <= EVERY; set++)
		good &= sent_to(set, ICR_LOGICAL, set);
	CHECK(good, "page: logical flat, each set of CPUs");
	CHECK(sent_to(0xff, ICR_LOGICAL, EVERY), "page: logical flat broadcast");
	good = on_each(to_cluster);
	for (unsigned set = 1; set <= 3; set++) {
		good &= sent_to(0x10 | set, ICR_LOGICAL, set);
		good &= sent_to(0x20 | set, ICR_LOGICAL, set << 2);
	}
	CHECK(good, "page: logical cluster, each set of each cluster");
	/* SDM vol. 3, "Logical Destination Mode": both the cluster and the members all ones is everybody. */
	CHECK(sent_to(0xff, ICR_LOGICAL, EVERY), "page: logical cluster broadcast");
	on_each(to_flat);
}

static unsigned total(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < CPUS; i++)
		sum += got[i];
	return sum;
}

static void lowest_priority(void)
{
	bool good = true;

	for (unsigned round = 0; round < 16; round++) {
		for (unsigned i = 0; i < CPUS; i++)
			got[i] = 0;
		apic_ipi(EVERY, ICR_LOGICAL | ICR_LOWEST | ICR_ASSERT | VECTOR);
		cpu_irq_on();
		good &= WAIT_FOR(total() == 1, LIMIT_LONG) && !WAIT_FOR(total() != 1, LIMIT_QUIET / 4);
		cpu_irq_off();
	}
	CHECK(good, "page: lowest priority picks one CPU of the set");
	for (unsigned i = 0; i < CPUS; i++)
		got[i] = 0;
	/* Above any vector: the other one may have an interrupt in service when the next is sent. */
	apic_write(APIC_TPR, 0xf0);
	for (unsigned round = 0; round < 16; round++)
		apic_ipi(0x3, ICR_LOGICAL | ICR_LOWEST | ICR_ASSERT | VECTOR);
	cpu_irq_on();
	WAIT_FOR(false, LIMIT_QUIET);
	cpu_irq_off();
	apic_write(APIC_TPR, 0);
	CHECK(got[0] == 0 && got[1] > 0, "page: lowest priority passes the CPU with the higher TPR by");
}

static void to_x2(void)
{
	apic_to_x2();
}

static void logical_msr(void)
{
	bool good = true;

	/* SDM vol. 3, "Deriving Logical x2APIC ID": cluster ID >> 4 in the upper half, a bit for ID & 15 in the lower. */
	for (unsigned set = 1; set <= EVERY; set++)
		good &= sent_to(set, ICR_LOGICAL, set);
	CHECK(good, "msr: logical x2APIC cluster, each set of CPUs");
	CHECK(sent_to(0x00010001, ICR_LOGICAL, 0), "msr: a cluster that is not there gets nothing");
	got[0] = 0;
	apic_write(APIC_SELF_IPI, VECTOR);
	cpu_irq_window();
	CHECK(got[0] == 1, "msr: the self-IPI register");
}

void guest_main(void)
{
	for (unsigned v = 32; v < SMP_WAKE_VECTOR; v++)
		trap_set(v, on_ipi);
	trap_set(TRAP_NMI, on_nmi);
	if (!CHECK(smp_start(CPUS) == CPUS, "four CPUs run"))
		report_end();
	physical("page");
	nmi("page");
	logical_page();
	lowest_priority();
	every_vector("page");
	if (cpu_id(1, 0).c & 1u << 21) {
		CHECK(on_each(to_x2), "msr: every CPU is in x2APIC mode");
		physical("msr");
		nmi("msr");
		logical_msr();
		every_vector("msr");
	} else {
		SKIP("msr: this CPU has no x2APIC");
	}
	report_end();
}
