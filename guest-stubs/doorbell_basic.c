/* SPDX-License-Identifier: MIT */
/*
 * Doorbells of one VM on the native route, two VCPUs: open, ring and its four answers, mask, unmask, kick, rebind, close,
 * status, priority between groups, timers; a VCPU that has not been started yet, and one whose LAPIC is switched off; and what
 * each refuses.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

#ifdef __x86_64__
const char guest_name[] = "doorbell_basic";
#else
const char guest_name[] = "doorbell_basic32";
#endif

#define LOW_GROUP   4
#define HIGH_GROUP  9
#define LOW_VECTOR  0x52
#define HIGH_VECTOR 0x93
#define FULL_GROUP  15
#define TIMERS      20u
#define AHEAD       100000u /* from arming to the deadline */
#define LATE        20000u

static volatile unsigned handled[2][BH_PORTS];
static volatile unsigned upcalls[256], first_vector;
static volatile uint64_t handled_at;

static void on_ring(uint32_t port)
{
	handled_at = cpu_tsc();
	handled[cpu_self()->index][port]++;
}

static void on_upcall(struct trap_frame *frame)
{
	if (!first_vector)
		first_vector = (unsigned)frame->vector;
	cpu_fetch_add(&upcalls[frame->vector], 1);
	db_consume_group(cpu_self()->index, frame->vector == LOW_VECTOR ? LOW_GROUP : HIGH_GROUP);
	apic_eoi();
}

static long stat(uint32_t port, enum bh_port_stat which)
{
	return bellhop_call2(BH_PORT_STAT, port, which);
}

static uint32_t open(unsigned vcpu, unsigned group)
{
	return (uint32_t)db_open(BH_LOCAL, vcpu, group);
}

static void shut(uint32_t port)
{
	bellhop_call1(BH_CLOSE, port);
}

static void allocation(void)
{
	uint32_t a = open(0, LOW_GROUP), b = open(0, LOW_GROUP), c = open(1, LOW_GROUP);
	unsigned opened = 0;

	CHECK(a == BH_PORT(LOW_GROUP, 0) && b == a + 1 && c == a + 2, "slots are given out lowest first");
	shut(b);
	CHECK(db_ring(b) == BH_ECLOSED, "a closed port cannot be rung");
	CHECK(bellhop_call1(BH_CLOSE, b) == BH_ECLOSED, "nor closed again");
	CHECK(open(1, LOW_GROUP) == b && stat(b, BH_STAT_VCPU) == 1, "its slot is the next to be given out");
	shut(a);
	shut(b);
	shut(c);
	while (opened <= BH_SLOTS && db_open(BH_LOCAL, 0, FULL_GROUP) >= 0)
		opened++;
	CHECK(opened == BH_SLOTS, "a group has as many ports as slots");
	CHECK(db_open(BH_LOCAL, 0, FULL_GROUP) == BH_EFULL, "and then it is full");
	for (uint32_t slot = 0; slot < BH_SLOTS; slot++)
		shut(BH_PORT(FULL_GROUP, slot));
	CHECK(db_open(BH_LOCAL, 0, FULL_GROUP) == BH_PORT(FULL_GROUP, 0), "closing makes room");
	shut(BH_PORT(FULL_GROUP, 0));
}

static void answers(void)
{
	uint32_t first = open(0, LOW_GROUP), second = open(0, LOW_GROUP), far = second;
	uint64_t before = db_control(0)->upcalls;

	while (BH_PORT_SLOT(far) < 64)
		far = open(0, LOW_GROUP);
	CHECK(db_ring(first) == BH_RUNG_UPCALL, "the first ring raises an upcall");
	CHECK(apic_bit(APIC_IRR, LOW_VECTOR), "on the group's vector of the VCPU that it is bound to");
	CHECK(db_is_pending(0, first) && !db_is_pending(1, first), "the bit is on that VCPU's page alone");
	CHECK(db_ring(first) == BH_RUNG_COALESCED, "the second ring of the same port is coalesced");
	CHECK(db_ring(second) == BH_RUNG_QUIET, "a ring in the same word is quiet");
	CHECK(db_ring(far) == BH_RUNG_UPCALL, "a ring in another word raises its own");
	CHECK(db_control(0)->summary[LOW_GROUP] == 3, "the summary word shows both words");
	cpu_irq_window();
	CHECK(handled[0][first] == 1 && handled[0][second] == 1 && handled[0][far] == 1,
	      "one upcall serves them all, once each");
	CHECK(upcalls[LOW_VECTOR] == 1 && !apic_bit(APIC_IRR, LOW_VECTOR), "it was one interrupt");
	CHECK(db_ring(first) == BH_RUNG_UPCALL, "after that a ring raises one again");
	cpu_irq_window();
	CHECK(stat(first, BH_STAT_RUNG) == 3 && stat(first, BH_STAT_COALESCED) == 1 &&
	              stat(first, BH_STAT_UPCALLS) == 2 && stat(first, BH_STAT_MISDIRECTED) == 0,
	      "the port's counters agree");
	CHECK(db_control(0)->upcalls == before + 3 && db_control(0)->misdirected == 0,
	      "the control page's counters agree");
	for (uint32_t port = first; port <= far; port++)
		shut(port);
	CHECK(open(0, LOW_GROUP) == first && stat(first, BH_STAT_RUNG) == 0,
	      "a port opened anew counts from 0");
	shut(first);
}

static void masks(void)
{
	uint32_t here = open(0, LOW_GROUP), there = open(1, LOW_GROUP);

	handled[0][here] = handled[1][there] = 0;
	db_mask(here);
	db_mask(there);
	CHECK(db_ring(here) == BH_RUNG_MASKED && !apic_bit(APIC_IRR, LOW_VECTOR),
	      "masked, a ring raises nothing");
	CHECK(db_is_pending(0, here), "but the bit is set");
	CHECK(db_ring(here) == BH_RUNG_COALESCED, "and the next one finds it set");
	db_unmask(here);
	CHECK(handled[0][here] == 1, "whoever unmasks looks, and handles it on its own page");
	CHECK(db_ring(there) == BH_RUNG_MASKED && !WAIT_FOR(handled[1][there], LIMIT_QUIET),
	      "masked on another VCPU");
	db_unmask(there);
	CHECK(WAIT_FOR(handled[1][there] == 1, LIMIT_LONG), "a kick makes that VCPU look");
	CHECK(db_ring(there) == BH_RUNG_UPCALL && WAIT_FOR(handled[1][there] == 2, LIMIT_LONG),
	      "unmasked, rings arrive by themselves");
	CHECK(bellhop_call1(BH_KICK, BH_PORT(LOW_GROUP, 2000)) == BH_ECLOSED,
	      "a closed port cannot be kicked");
	shut(here);
	shut(there);
}

static void rebind(void)
{
	uint32_t port = open(0, LOW_GROUP);

	handled[0][port] = handled[1][port] = 0;
	CHECK(bellhop_call2(BH_REBIND, port, 1) == 0 && stat(port, BH_STAT_VCPU) == 1,
	      "a port moves to another VCPU");
	CHECK(db_ring(port) == BH_RUNG_UPCALL && WAIT_FOR(handled[1][port] == 1, LIMIT_LONG),
	      "rings arrive there");
	bellhop_call2(BH_REBIND, port, 0);
	CHECK(db_ring(port) == BH_RUNG_UPCALL && db_is_pending(0, port), "back again, pending here");
	CHECK(bellhop_call2(BH_REBIND, port, 1) == 0 && !db_is_pending(0, port), "a pending bit moves along");
	CHECK(WAIT_FOR(handled[1][port] == 2, LIMIT_LONG), "with an upcall on its way");
	cpu_irq_window();
	CHECK(handled[0][port] == 0, "the old VCPU has nothing to do with it");
	db_mask(port);
	db_ring(port);
	bellhop_call2(BH_REBIND, port, 0);
	CHECK(db_is_pending(0, port) && !apic_bit(APIC_IRR, LOW_VECTOR), "a masked one moves in silence");
	db_unmask(port);
	CHECK(handled[0][port] == 1, "and is there for whoever unmasks");
	shut(port);
}

static void groups(void)
{
	uint32_t low = open(0, LOW_GROUP), high = open(0, HIGH_GROUP);

	handled[0][low] = handled[0][high] = 0;
	first_vector = 0;
	db_ring(low);
	db_ring(high);
	cpu_irq_window();
	cpu_irq_window();
	CHECK(first_vector == HIGH_VECTOR, "the group with the higher vector comes first");
	CHECK(handled[0][low] == 1 && handled[0][high] == 1, "then the other");
	CHECK(bellhop_call3(BH_GROUP_VECTOR, 0, LOW_GROUP, 0) == 0 && db_ring(low) >= 0 &&
	              !apic_bit(APIC_IRR, LOW_VECTOR) && db_take(0, low),
	      "without a vector the bit is set in silence");
	db_drop_group(0, LOW_GROUP);
	bellhop_call3(BH_GROUP_VECTOR, 0, LOW_GROUP, LOW_VECTOR);
	shut(low);
	shut(high);
}

/* No LAPIC accepts the vector: the bit waits on its page, and whoever switches the LAPIC on gets the upcall. */
static uint32_t rung_before_start(void)
{
	uint32_t port = open(1, LOW_GROUP);

	CHECK(db_ring(port) == BH_RUNG_UPCALL && db_is_pending(1, port),
	      "a VCPU that has not been started can be rung");
	return port;
}

static void not_there_yet(uint32_t port)
{
	CHECK(WAIT_FOR(handled[1][port] == 1, LIMIT_LONG), "and has its upcall once it has started");
	apic_write(APIC_SVR, APIC_SPURIOUS);
	CHECK(bellhop_call2(BH_REBIND, port, 0) == 0 && db_ring(port) == BH_RUNG_UPCALL &&
	              !apic_bit(APIC_IRR, LOW_VECTOR),
	      "a LAPIC that is switched off accepts no upcall");
	apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
	cpu_irq_window();
	CHECK(handled[0][port] == 1, "and has it once it is switched on");
	upcalls[LOW_VECTOR] = handled[0][port] = 0;
	shut(port);
	db_drop_group(0, LOW_GROUP);
}

/* Every other time the VCPU sleeps meanwhile: nothing but the timer wakes it. */
static void timers(void)
{
	uint32_t port = (uint32_t)db_open(BH_TIMED, 0, LOW_GROUP), local = open(0, LOW_GROUP);
	uint64_t latest = 0;
	unsigned early = 0, wrong = 0;

	CHECK(db_arm(local, 1) == BH_EINVAL && db_arm(local + 1, 1) == BH_ECLOSED,
	      "only a timer's port has a timer");
	handled[0][port] = 0;
	for (unsigned i = 1; i <= TIMERS; i++) {
		uint64_t deadline = cpu_tsc() + AHEAD;

		wrong += db_arm(port, deadline) != 0;
		for (cpu_irq_off(); i % 2 && handled[0][port] < i; cpu_irq_off())
			cpu_idle();
		cpu_irq_on();
		wrong += !WAIT_FOR(handled[0][port] == i, LIMIT_LONG);
		cpu_irq_off();
		early += handled_at < deadline;
		if (handled_at > deadline + latest)
			latest = handled_at - deadline;
	}
	CHECK(wrong == 0 && early == 0, "%u timers ring, awake and asleep, none early", TIMERS);
	CHECK(latest < LATE, "and none by %u ticks late", LATE);
	printf("# a timer's handler runs %lu ticks after its deadline at most\n", (unsigned long)latest);
	db_arm(port, cpu_tsc() + AHEAD);
	db_arm(port, 0);
	db_arm(port, cpu_tsc() + (1ull << 32));
	cpu_irq_on();
	CHECK(!WAIT_FOR(handled[0][port] != TIMERS, 2 * AHEAD),
	      "0 disarms, and a deadline beyond 32 bits is one");
	CHECK(db_arm(port, 1) == 0 && WAIT_FOR(handled[0][port] == TIMERS + 1, LIMIT_LONG),
	      "one that has passed rings at once");
	cpu_irq_off();
	shut(port);
	shut(local);
}

/* A driver goes and another one comes: nothing is lost that was accepted, and the pages are the guest's own again. */
static void leaving(void)
{
	uint32_t port = open(0, LOW_GROUP);
	unsigned left = 0;
	bool touched;

	CHECK(db_ring(port) >= 0 && db_ring(port) == BH_RUNG_COALESCED && bellhop_call1(BH_CLOSE, port) == 1,
	      "a close tells of the ring that it takes along");
	port = open(1, LOW_GROUP);
	CHECK(bellhop_call3(BH_VCPU_PAGES, 0, 0, 0) == BH_EBUSY, "pages stay while a port is open");
	CHECK(bellhop_call1(BH_CLOSE, port) == 0, "a port without a ring closes");
	for (unsigned vcpu = 0; vcpu < 2; vcpu++)
		left += bellhop_call3(BH_VCPU_PAGES, vcpu, 0, 0) == 0;
	CHECK(left == 2 && bellhop_call3(BH_VCPU_PAGES, 2, 0, 0) == BH_EINVAL,
	      "they are given back with none");
	port = open(0, LOW_GROUP);
	touched = db_ring(port) != BH_ENOPAGE || db_is_pending(0, port);
	CHECK(!touched && bellhop_call1(BH_CLOSE, port) == 0, "and are not written any more");
	CHECK(bellhop_call1(BH_MASK_PAGE, 0) == 0 && db_init(2, on_ring) == 0,
	      "the next driver registers its own");
	port = open(1, LOW_GROUP);
	handled[1][port] = 0;
	CHECK(db_ring(port) == BH_RUNG_UPCALL && WAIT_FOR(handled[1][port] == 1, LIMIT_LONG),
	      "and its doorbells arrive");
	shut(port);
}

void guest_main(void)
{
	uint32_t early;
	bool good;

	if (!bellhop_present()) {
		SKIP("needs doorbells: this is no VM of Bellhop");
		report_end();
	}
	trap_set(LOW_VECTOR, on_upcall);
	trap_set(HIGH_VECTOR, on_upcall);
	CHECK(bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE) >= 0 &&
	              bellhop_call1(BH_ROUTE, BH_ROUTE_ASK) == BH_ROUTE_NATIVE,
	      "the route can be set and asked for");
	good = db_init(2, on_ring) == 0;
	for (unsigned vcpu = 0; good && vcpu < 2; vcpu++)
		good = bellhop_call3(BH_GROUP_VECTOR, vcpu, LOW_GROUP, LOW_VECTOR) == 0 &&
		       bellhop_call3(BH_GROUP_VECTOR, vcpu, HIGH_GROUP, HIGH_VECTOR) == 0;
	early = rung_before_start();
	if (!CHECK(good && smp_start(2) == 2, "two VCPUs with pages and vectors"))
		report_end();
	not_there_yet(early);
	allocation();
	answers();
	masks();
	rebind();
	groups();
	timers();
	leaving();
	report_end();
}
