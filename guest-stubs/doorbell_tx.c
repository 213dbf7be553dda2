/* SPDX-License-Identifier: MIT */
/*
 * The ringing VM of two: connects to the port that its peer 0 offers, plays `rounds` rounds of ping-pong, then rings `burst`
 * times without waiting, and closes.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "doorbell_tx";

#define GROUP  1
#define VECTOR 0x61

static volatile unsigned answers;

static void on_ring(uint32_t port)
{
	(void)port;
	answers++;
}

static void on_upcall(struct trap_frame *frame)
{
	(void)frame;
	db_consume_group(0, GROUP);
	apic_eoi();
}

static bool connect(uint32_t port)
{
	long answer;

	/* The peer may not have started, or not have offered yet. */
	return WAIT_FOR((answer = bellhop_call3(BH_CONNECT, port, 0, BH_PORT(GROUP, 0))) == 0 ||
	                        (answer != BH_EPERM && answer != BH_ECLOSED),
	                10 * LIMIT_LONG) &&
	       answer == 0;
}

static void play(uint32_t port, unsigned rounds, unsigned burst)
{
	unsigned lost = 0, refused = 0;

	for (unsigned i = 1; i <= rounds && !lost; i++) {
		refused += db_ring(port) < 0;
		cpu_irq_on();
		lost += !WAIT_FOR(answers == i, LIMIT_LONG);
		cpu_irq_off();
	}
	CHECK(lost == 0 && answers == rounds, "each ring was answered by one");
	for (unsigned i = 0; i < burst; i++)
		refused += db_ring(port) < 0;
	CHECK(refused == 0, "no ring was refused");
	/* The peer rings until it finds the port closed: a ring of its may go with it. */
	CHECK(bellhop_call1(BH_CLOSE, port) >= 0 && db_ring(port) == BH_ECLOSED, "the port closes");
}

void guest_main(void)
{
	long port;

	if (!bellhop_present()) {
		SKIP("needs doorbells: this is no VM of Bellhop");
		report_end();
	}
	trap_set(VECTOR, on_upcall);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (!CHECK(db_init(1, on_ring) == 0 && bellhop_call3(BH_GROUP_VECTOR, 0, GROUP, VECTOR) == 0,
	           "pages and vector are registered"))
		report_end();
	port = db_open(BH_INTERVM, 0, GROUP);
	CHECK(port >= 0 && db_ring((uint32_t)port) == BH_ECLOSED, "a port without a peer rings nobody");
	CHECK(bellhop_call3(BH_CONNECT, (unsigned long)port, 0, BH_PORT(GROUP, 77)) < 0,
	      "a port that is not offered cannot be connected");
	CHECK(bellhop_call3(BH_CONNECT, (unsigned long)port, 9, BH_PORT(GROUP, 0)) < 0,
	      "nor one of a VM that is no peer");
	if (CHECK(connect((uint32_t)port), "the offered port is connected")) {
		CHECK(bellhop_call3(BH_CONNECT, (unsigned long)port, 0, BH_PORT(GROUP, 0)) < 0,
		      "and not connected twice");
		play((uint32_t)port, (unsigned)boot_number("rounds", 1000),
		     (unsigned)boot_number("burst", 5000));
	}
	report_end();
}
