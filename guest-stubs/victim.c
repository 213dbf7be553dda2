/* SPDX-License-Identifier: MIT */
/*
 * A well-behaved guest for the company of a hostile one: doorbell rounds between two VCPUs, timer ticks and a memory
 * pattern. `rounds=N`. Whatever the neighbour does, every ring arrives and no byte changes.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "victim";

#define GROUP        4
#define UPCALL       0x71
#define TIMER        0x61
#define PERIOD       20000
#define PATTERN_SIZE (1u << 18) /* words: 2 MiB */

static volatile unsigned handled, ticks;
static uint64_t pattern[PATTERN_SIZE];

static void on_ring(uint32_t port)
{
	(void)port;
	handled++;
}

static void on_upcall(struct trap_frame *frame)
{
	(void)frame;
	db_consume_group(cpu_self()->index, GROUP);
	apic_eoi();
}

static void on_tick(struct trap_frame *frame)
{
	(void)frame;
	ticks++;
	apic_eoi();
}

static uint64_t word(unsigned i)
{
	return (i + 1) * 0x9e3779b97f4a7c15ull;
}

static unsigned damaged(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < PATTERN_SIZE; i++)
		count += pattern[i] != word(i);
	return count;
}

static void rounds(unsigned count)
{
	long port = db_open(BH_LOCAL, 1, GROUP);
	unsigned late = 0, wrong = 0;

	CHECK(port >= 0, "a port is bound to VCPU 1");
	for (unsigned i = 1; i <= count; i++) {
		wrong += db_ring((uint32_t)port) != BH_RUNG_UPCALL;
		if (!WAIT_FOR(handled == i, LIMIT_LONG)) {
			late++;
			break;
		}
	}
	CHECK(wrong == 0, "each ring raised an upcall");
	CHECK(late == 0 && handled == count, "each ring arrived, once");
}

void guest_main(void)
{
	if (!bellhop_present()) {
		SKIP("needs doorbells: this is no VM of Bellhop");
		report_end();
	}
	for (unsigned i = 0; i < PATTERN_SIZE; i++)
		pattern[i] = word(i);
	trap_set(UPCALL, on_upcall);
	trap_set(TIMER, on_tick);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (!CHECK(smp_start(2) == 2, "two VCPUs run") ||
	    !CHECK(db_init(2, on_ring) == 0 && bellhop_call3(BH_GROUP_VECTOR, 1, GROUP, UPCALL) == 0,
	           "pages and vector are registered"))
		report_end();
	apic_write(APIC_TIMER_DIV, 0x3);
	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | TIMER);
	apic_write(APIC_TIMER_INIT, PERIOD);
	cpu_irq_on();
	rounds((unsigned)boot_number("rounds", 2000));
	CHECK(ticks > 0 && WAIT_FOR(ticks > 20, LIMIT_LONG), "the timer ticks on");
	CHECK(damaged() == 0, "no byte of the pattern has changed");
	report_end();
}
