/* SPDX-License-Identifier: MIT */
/*
 * The answering VM of two: offers a port to its peer 0, answers the first `rounds` rings with one each, counts the `burst`
 * that follows until the peer closes, and makes sure that every ring was consumed or coalesced.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "doorbell_rx";

#define GROUP  1
#define VECTOR 0x61

static unsigned rounds;
static volatile unsigned consumed, refused;

static void on_ring(uint32_t port)
{
	if (consumed++ < rounds)
		refused += db_ring(port) < 0;
}

static void on_upcall(struct trap_frame *frame)
{
	(void)frame;
	db_consume_group(0, GROUP);
	apic_eoi();
}

static void count(uint32_t port, unsigned burst)
{
	uint64_t limit = 100 * LIMIT_LONG;
	long rung, coalesced;

	cpu_irq_on();
	CHECK(WAIT_FOR(consumed >= rounds, limit) && refused == 0, "every ring of the rounds was answered");
	/* Every accepted ring counts at once, so that this is the end of the burst. */
	CHECK(WAIT_FOR(bellhop_call2(BH_PORT_STAT, port, BH_STAT_RUNG) >= (long)(rounds + burst), limit),
	      "the burst came to its end");
	CHECK(WAIT_FOR(db_ring(port) == BH_ECLOSED, limit), "the peer's closing is seen here");
	WAIT_FOR(false, LIMIT_QUIET);
	cpu_irq_off();
	rung = bellhop_call2(BH_PORT_STAT, port, BH_STAT_RUNG);
	coalesced = bellhop_call2(BH_PORT_STAT, port, BH_STAT_COALESCED);
	CHECK(rung == (long)(rounds + burst), "the port counts every ring");
	CHECK((long)consumed + coalesced == rung, "each was consumed once, or coalesced into one that was");
	CHECK(!db_is_pending(0, port), "nothing is left pending");
}

void guest_main(void)
{
	long port;

	if (!bellhop_present()) {
		SKIP("needs doorbells: this is no VM of Bellhop");
		report_end();
	}
	rounds = (unsigned)boot_number("rounds", 1000);
	trap_set(VECTOR, on_upcall);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (!CHECK(db_init(1, on_ring) == 0 && bellhop_call3(BH_GROUP_VECTOR, 0, GROUP, VECTOR) == 0,
	           "pages and vector are registered"))
		report_end();
	port = db_open(BH_INTERVM, 0, GROUP);
	CHECK(bellhop_call2(BH_OFFER, BH_PORT(GROUP, 9), 0) == BH_ECLOSED, "a closed port cannot be offered");
	CHECK(bellhop_call2(BH_OFFER, (unsigned long)port, 200) < 0, "nor an open one to nobody");
	if (CHECK(port == BH_PORT(GROUP, 0) && bellhop_call2(BH_OFFER, (unsigned long)port, 0) == 0,
	          "a port is open and offered"))
		count((uint32_t)port, (unsigned)boot_number("burst", 5000));
	report_end();
}
