/* SPDX-License-Identifier: MIT */
/* What rings: the device sides of net (VCPU 3) and block (VCPU 0); and irqbalance, on VCPU 0. */
#include "guest-stubs/pvdemo/pvdemo.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/smp.h"

#define NET      0
#define BLOCK    1
#define NET_VCPU 3
#define BALANCE  4 /* rings of block between two steps of irqbalance */

/* Far beyond any row: the emulator takes some 10,000 ticks for a ring on every route. */
#define LIMIT_ROW (100 * LIMIT_LONG)

/* A producer's own count of what its rings answered. */
struct answers {
	uint64_t rung[BH_RUNG_THROTTLED + 1];
	uint64_t errors;
};

static struct answers answers[DRIVERS];
static unsigned events, pace;
static enum bh_route route; /* of the row; written at rest only */

static void wait_a_little(unsigned loops)
{
	/* Neither PAUSE nor RDTSC: some CPUs let those exit, and a pace is not to be counted. */
	for (; loops; loops--)
		__asm__ volatile("" ::: "memory");
}

static void ring(unsigned driver, unsigned i)
{
	long result = db_ring(drivers_port(driver, i % QUEUES));

	if (result >= 0 && result <= BH_RUNG_THROTTLED)
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

void producers_aim(unsigned group, unsigned vcpu, unsigned vector)
{
	ioapic_set(BH_CALLBACK_PIN + group, cpu_get(vcpu)->apic_id, IOAPIC_LEVEL | vector);
}

/*
 * One step of irqbalance: a line goes to the next VCPU. With one line for everything each step rewrites that one; with a
 * line for each group net's and block's have every other step, and go round in opposite directions.
 */
static void balance(unsigned step)
{
	if (route != BH_ROUTE_MULTI && route != BH_ROUTE_FOLLOW)
		producers_aim(0, step % VCPUS, CALLBACK_VECTOR);
	else if (step % 2)
		producers_aim(DRIVER_GROUP(BLOCK), VCPUS - 1 - step / 2 % VCPUS, DRIVER_VECTOR(BLOCK));
	else
		producers_aim(DRIVER_GROUP(NET), step / 2 % VCPUS, DRIVER_VECTOR(NET));
}

static bool run_here(void)
{
	smp_run(NET_VCPU, produce_net);
	cpu_irq_on();
	for (unsigned i = 0; i < events; i++) {
		if (i % BALANCE == 0)
			balance(i / BALANCE + 1);
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
		balance(i + 1);
		wait_a_little(BALANCE * pace);
		if (cpu_tsc() - start > LIMIT_ROW)
			return false;
	}
	return true;
}

bool producers_run(const struct options *options, enum bh_route of_row)
{
	route = of_row;
	/* Before the first ring every line in use has an entry. */
	balance(0);
	balance(1);
	for (unsigned driver = 0; driver < DRIVERS; driver++)
		answers[driver] = (struct answers){ .errors = 0 };
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
