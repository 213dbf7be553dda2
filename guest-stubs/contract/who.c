/* SPDX-License-Identifier: MIT */
/* Line 6 of the contract: forged, closed, unconnected and foreign ports, and a peer that dies with a ring in flight. */
#include "guest-stubs/contract/contract.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

#define FAR_GROUP  5
#define ENOUGH     200u /* rings that the peer waits for before it ends in the middle of the next ones */
#define FAR_LIMIT  (10 * LIMIT_LONG)
#define OPEN_FAR   BH_PORT(FAR_GROUP, 0) /* the peer offers this one */
#define KEPT_FAR   BH_PORT(FAR_GROUP, 1) /* open over there, and offered to nobody */
#define CLOSED_FAR BH_PORT(FAR_GROUP, 7)

static volatile unsigned heard;

static void on_peer_ring(uint32_t port)
{
	(void)port;
	heard++;
}

static void on_peer_upcall(struct trap_frame *frame)
{
	(void)frame;
	db_consume_group(0, FAR_GROUP);
	apic_eoi();
}

void who_peer(void)
{
	long rung, coalesced;

	trap_set(VECTOR, on_peer_upcall);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (!CHECK(db_init(1, on_peer_ring) == 0 &&
	                   bellhop_call3(BH_GROUP_VECTOR, 0, FAR_GROUP, VECTOR) == 0 &&
	                   db_open(BH_INTERVM, 0, FAR_GROUP) == OPEN_FAR &&
	                   db_open(BH_INTERVM, 0, FAR_GROUP) == KEPT_FAR &&
	                   bellhop_call2(BH_OFFER, OPEN_FAR, 0) == 0,
	           "6: the peer has one port to offer and one to keep"))
		report_end();
	cpu_irq_on();
	/* The other VM connects twice: an offer goes with its connection. */
	while (heard < ENOUGH)
		if (!WAIT_FOR(heard >= ENOUGH, LIMIT_QUIET))
			(void)bellhop_call2(BH_OFFER, OPEN_FAR, 0);
	cpu_irq_off();
	/* The other VM rings on: what is counted here is what this page has seen until now. */
	coalesced = bellhop_call2(BH_PORT_STAT, OPEN_FAR, BH_STAT_COALESCED);
	rung = bellhop_call2(BH_PORT_STAT, OPEN_FAR, BH_STAT_RUNG);
	CHECK((long)heard + coalesced <= rung,
	      "6: %u handled and %ld coalesced of %ld rings from the other VM", heard, coalesced, rung);
	CHECK(bellhop_call2(BH_PORT_STAT, KEPT_FAR, BH_STAT_RUNG) == 0,
	      "6: the port that was kept rang never");
	if (!boot_is("die", "park"))
		report_end();
	report_summary();
	cpu_triple_fault();
}

static void forged(uint32_t mine)
{
	static const unsigned long numbers[] = { BH_PORTS,     BH_PORTS + 1, 0xffff,
		                                 0x80000000ul, 0xfffffffful, ~0ul };
	unsigned before = handled_sum(), accepted = 0, tried = 0;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++, tried++)
		accepted += bellhop_call1(BH_RING, numbers[i]) >= 0;
	for (uint32_t slot = 1; slot < BH_SLOTS; slot++, tried++)
		accepted += db_ring(BH_PORT(FAR_GROUP, slot)) >= 0;
	CHECK(accepted == 0 && handled_sum() == before, "6: of %u forged or closed ports none can be rung",
	      tried);
	CHECK(db_ring(mine) == BH_ECLOSED, "6: a port that is connected to nothing rings nobody");
}

static void foreign(uint32_t mine)
{
	unsigned accepted = 0;

	for (unsigned long peer = 1; peer < 8; peer++)
		accepted += bellhop_call3(BH_CONNECT, mine, peer, OPEN_FAR) != BH_EPERM;
	CHECK(accepted == 0, "6: a VM that is no peer cannot be connected to");
	CHECK(bellhop_call3(BH_CONNECT, mine, 0, KEPT_FAR) == BH_EPERM,
	      "6: nor a peer's port that is not offered");
	CHECK(bellhop_call3(BH_CONNECT, mine, 0, CLOSED_FAR) < 0, "6: nor one that is closed");
	CHECK(bellhop_call3(BH_CONNECT, mine, 0, BH_PORTS) < 0, "6: nor one that there is not");
}

/* Rings until the peer ends: it does so in the middle of this. */
static void death(uint32_t mine)
{
	unsigned rings = 0, after = 0;
	uint64_t start = cpu_tsc();
	long answer = 0;

	while (answer != BH_ECLOSED && cpu_tsc() - start < FAR_LIMIT) {
		answer = db_ring(mine);
		rings += answer >= 0;
		/* Not every ring is to be coalesced. */
		for (unsigned loops = 2000; loops; loops--)
			__asm__ volatile("" ::: "memory");
	}
	for (unsigned i = 0; i < ENOUGH; i++)
		after += db_ring(mine) != BH_ECLOSED;
	CHECK(answer == BH_ECLOSED && rings >= ENOUGH && after == 0,
	      "6: the peer ends in the middle: it has been rung, and every ring since is BH_ECLOSED");
	CHECK(bellhop_call3(BH_CONNECT, mine, 0, OPEN_FAR) == BH_ECLOSED,
	      "6: a VM that has ended cannot be connected to");
}

static bool connect(uint32_t mine)
{
	return WAIT_FOR(bellhop_call3(BH_CONNECT, mine, 0, OPEN_FAR) == 0, FAR_LIMIT);
}

void who_may_ring(void)
{
	long port = db_open(BH_INTERVM, 0, FAR_GROUP);
	uint32_t mine = (uint32_t)port;

	if (!CHECK(port >= 0, "6: an inter-VM port can be opened"))
		return;
	forged(mine);
	if (bellhop_call2(BH_OFFER, mine, 0) == BH_EPERM) {
		SKIP("6: this VM has no peer: what concerns one is not tested");
		return;
	}
	if (!CHECK(connect(mine), "6: the port that the peer offers can be connected"))
		return;
	bellhop_call1(BH_CLOSE, mine);
	CHECK(db_ring(mine) == BH_ECLOSED, "6: closed again, it rings nobody");
	CHECK(db_open(BH_INTERVM, 0, FAR_GROUP) == (long)mine && db_ring(mine) == BH_ECLOSED,
	      "6: opened again, it has no peer");
	foreign(mine);
	if (CHECK(connect(mine), "6: offered again, it can be connected again"))
		death(mine);
}
