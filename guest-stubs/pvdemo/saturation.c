/* SPDX-License-Identifier: MIT */
/*
 * The saturation curve: events handled per million TSC ticks against the number of active drivers. A driver's handler
 * works for a while and then rings its own port, as a device does that completes the next request as soon as one is
 * answered: each active driver always has something to do, and only VCPU time limits it.
 */
#include "guest-stubs/pvdemo/pvdemo.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

#define VECTOR(driver)      (0x91u + (driver))
#define GROUP(driver)       (SATURATION_GROUP + (driver))
#define HOME(driver)        ((driver) % VCPUS)
#define TICKS_TO_START      50000ull
#define TICKS_TO_REST       500000ull
#define EVENTS_PER_MTICK(n) ((n)*1000000ul / window)

static uint32_t ports[SATURATION_DRIVERS];
static uint64_t window;
static volatile uint64_t from, until; /* of the point being measured; written at rest only */

/* Each VCPU has a line of its own and is the only one to write it. */
static struct {
	volatile uint64_t handled; /* within the window */
	volatile uint64_t all;
	volatile unsigned refused;
} __attribute__((aligned(64))) counts[VCPUS];

void saturation_handle(uint32_t port)
{
	unsigned self = cpu_self()->index;
	uint64_t now = cpu_tsc();

	counts[self].all++;
	if (now >= until)
		return;
	counts[self].handled += now >= from;
	for (unsigned loops = SATURATION_WORK; loops; loops--)
		__asm__ volatile("" ::: "memory");
	counts[self].refused += db_ring(port) < 0;
}

static void on_driver(struct trap_frame *frame)
{
	db_consume_group(cpu_self()->index, GROUP((unsigned)frame->vector - VECTOR(0)));
	apic_eoi();
}

static bool open_drivers(void)
{
	for (unsigned driver = 0; driver < SATURATION_DRIVERS; driver++) {
		long port = db_open(BH_LOCAL, HOME(driver), GROUP(driver));

		if (port < 0 || bellhop_call3(BH_GROUP_VECTOR, HOME(driver), GROUP(driver), VECTOR(driver)))
			return false;
		ports[driver] = (uint32_t)port;
		trap_set(VECTOR(driver), on_driver);
	}
	return true;
}

/* An irqbalance that has come to rest: each driver's line to its VCPU; the one line for everything to VCPU 1. */
static void aim(void)
{
	producers_aim(0, 1, CALLBACK_VECTOR);
	for (unsigned driver = 0; driver < SATURATION_DRIVERS; driver++)
		producers_aim(GROUP(driver), HOME(driver), VECTOR(driver));
}

static uint64_t sum_all(void)
{
	uint64_t sum = 0;

	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		sum += counts[vcpu].all;
	return sum;
}

/* One point: returns the events handled within the window. */
static uint64_t measure(unsigned drivers)
{
	uint64_t handled = 0;

	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		counts[vcpu].handled = 0;
	from = cpu_tsc() + TICKS_TO_START;
	until = from + window;
	for (unsigned driver = 0; driver < drivers; driver++)
		db_ring(ports[driver]);
	/* This CPU takes part: under load its interrupts leave it no instruction of its own until the window is over. */
	cpu_irq_on();
	WAIT_FOR(false, TICKS_TO_START + window + TICKS_TO_REST);
	cpu_irq_off();
	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		handled += counts[vcpu].handled;
	return handled;
}

static void check_rest(void)
{
	uint64_t rung = 0, coalesced = 0;
	unsigned refused = 0;

	for (unsigned driver = 0; driver < SATURATION_DRIVERS; driver++) {
		rung += (uint64_t)bellhop_call2(BH_PORT_STAT, ports[driver], BH_STAT_RUNG);
		coalesced += (uint64_t)bellhop_call2(BH_PORT_STAT, ports[driver], BH_STAT_COALESCED);
	}
	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		refused += counts[vcpu].refused;
	CHECK(refused == 0 && rung == sum_all() + coalesced,
	      "saturated: every ring was consumed or coalesced, none refused");
}

static void check_curve(enum bh_route route, const char *name, const uint64_t points[SATURATION_DRIVERS + 1])
{
	if (route == BH_ROUTE_VCPU0 || route == BH_ROUTE_IOAPIC)
		CHECK(points[SATURATION_DRIVERS] * 2 * SATURATION_WORK < window,
		      "%s: one VCPU's worth of work, whoever is active", name);
	else
		CHECK(points[VCPUS] >= 3 * points[1],
		      "%s: four drivers do at least three times the work of one", name);
}

void saturation_run(const struct options *options, const char *const route_name[BH_ROUTES])
{
	static const enum bh_route routes[BH_ROUTES] = { BH_ROUTE_IOAPIC, BH_ROUTE_VCPU0, BH_ROUTE_MULTI,
		                                         BH_ROUTE_FOLLOW, BH_ROUTE_NATIVE };

	window = options->window;
	if (!CHECK(open_drivers(), "the saturating drivers are set up"))
		return;
	printf("CSV saturation route,drivers,events_per_mtick\n");
	for (unsigned i = 0; i < BH_ROUTES; i++) {
		uint64_t points[SATURATION_DRIVERS + 1] = { 0 };

		printf("pvdemo: saturation, route %s ...\n", route_name[routes[i]]);
		bellhop_call1(BH_ROUTE, routes[i]);
		aim();
		/* Where the one line goes to one VCPU and the bits are on others, its handler looks at everybody's page. */
		drivers_reset(routes[i] == BH_ROUTE_IOAPIC);
		for (unsigned drivers = 1; drivers <= SATURATION_DRIVERS; drivers++) {
			points[drivers] = measure(drivers);
			printf("CSV saturation %s,%u,%lu\n", route_name[routes[i]], drivers,
			       EVENTS_PER_MTICK(points[drivers]));
		}
		check_curve(routes[i], route_name[routes[i]], points);
	}
	check_rest();
}
