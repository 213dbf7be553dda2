/* SPDX-License-Identifier: MIT */
/* What rings: the device sides of net (VCPU 3) and block (VCPU 0); and irqbalance, on VCPU 0. */
#include "guest-stubs/pvdemo/pvdemo.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/smp.h"

#define NET      0
#define BLOCK    1
#define NET_VCPU 3
#define BALANCE  4 /* rings of block between two rewrites of the entry */

/* Far beyond any row: the emulator takes some 10,000 ticks for a ring on every route. */
#define LIMIT_ROW (100 * LIMIT_LONG)

/* A producer's own count of what its rings answered. */
struct answers {
	uint64_t rung[BH_RUNG_COALESCED + 1];
	uint64_t errors;
};

static struct answers answers[DRIVERS];
static unsigned events, pace;

static void wait_a_little(unsigned loops)
{
	/* Neither PAUSE nor RDTSC: some CPUs let those exit, and a pace is not to be counted. */
	for (; loops; loops--)
		__asm__ volatile("" ::: "memory");
}

static void ring(unsigned driver, unsigned i)
{
	long result = db_ring(drivers_port(driver, i % QUEUES));

	if (result >= 0 && result <= BH_RUNG_COALESCED)
		answers[driver].rung[result]++;
	else
		answers[driver].errors++;
	wait_a_little(pace);
}

static void produce_net(void)
{
	for (unsigned i = 0; i < events; i++)
		ring(NET, i);
}

void producers_aim(unsigned vcpu)
{
	ioapic_set(BH_CALLBACK_PIN, cpu_get(vcpu)->apic_id, IOAPIC_LEVEL | CALLBACK_VECTOR);
}

static bool run_here(void)
{
	smp_run(NET_VCPU, produce_net);
	cpu_irq_on();
	for (unsigned i = 0; i < events; i++) {
		if (i % BALANCE == 0)
			producers_aim((i / BALANCE + 1) % VCPUS);
		ring(BLOCK, i);
	}
	return WAIT_FOR(!cpu_get(NET_VCPU)->work, LIMIT_ROW);
}

static bool run_from_vm(void)
{
	uint32_t control = drivers_control();
	uint64_t start = cpu_tsc();

	/* The first ring waits for the other VM to connect; closed until then. */
	if (!WAIT_FOR(db_ring(control) >= 0, LIMIT_ROW))
		return false;
	/* The other VM's pace leaves a VCPU that gets every upcall the time to come here at all. */
	cpu_irq_on();
	for (unsigned i = 0; !db_take(0, control); i++) {
		producers_aim((i + 1) % VCPUS);
		wait_a_little(BALANCE * pace);
		if (cpu_tsc() - start > LIMIT_ROW)
			return false;
	}
	return true;
}

bool producers_run(const struct options *options)
{
	for (unsigned driver = 0; driver < DRIVERS; driver++)
		answers[driver] = (struct answers){.errors = 0};
	events = options->events;
	pace = options->pace;
	return options->from_vm ? run_from_vm() : run_here();
}

uint64_t producers_result(enum bh_rung result)
{
	return answers[NET].rung[result] + answers[BLOCK].rung[result];
}

uint64_t producers_errors(void)
{
	return answers[NET].errors + answers[BLOCK].errors;
}
