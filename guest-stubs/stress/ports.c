/* SPDX-License-Identifier: MIT */
/* The ports under stress: who may touch one when, what is counted of it, and what must add up. */
#include "guest-stubs/stress/stress.h"

#include "guest-stubs/lib/print.h"

#define CLOSING     0x80000000u
#define TICKS_CLOSE 20000ull /* how long a clean close waits for rest before it gives up */

struct port {
	uint32_t number; /* constant: the lowest free slot is the one that was closed just now */
	enum port_class class;
	volatile unsigned users;    /* PORT_CLEAN: operations under way, or CLOSING */
	volatile unsigned accepted; /* PORT_CLEAN: what the ringers were answered, since it was opened */
	volatile unsigned consumed; /* since it was opened */
} __attribute__((aligned(64)));

/* Few ports, so that VCPUs meet at them; one group with more than a word, so that summaries have two bits. */
static const struct {
	enum port_class class;
	uint8_t group, count;
} layout[] = {
	{ PORT_CLEAN, 0, 4 },  { PORT_CLEAN, 1, 68 }, { PORT_CLEAN, 6, 4 }, { PORT_DIRTY, 3, 4 },
	{ PORT_DIRTY, 11, 2 }, { PORT_TIMED, 8, 3 },  { PORT_FAR, 9, 6 },   { PORT_DONE, 15, 1 },
};

#define MAX_PORTS 96
#define NO_PORT   0xff

static struct port ports[MAX_PORTS];
static unsigned count;
static uint8_t index_of[BH_PORTS];
static volatile unsigned group_lock[BH_GROUPS]; /* closing and opening again: one of a group at a time */
static volatile bool stopped;

static struct port *random_port(void)
{
	unsigned i;

	/* The DONE port is the last. Every other choice falls on the first ports of a group. */
	do {
		i = stress_random(count - 1);
	} while (BH_PORT_SLOT(ports[i].number) > 3 && stress_random(8));
	return &ports[i];
}

static long stat(const struct port *p, enum bh_port_stat which)
{
	return bellhop_call2(BH_PORT_STAT, p->number, which);
}

static unsigned home_of(const struct port *p)
{
	return p->number % options.vcpus;
}

static long open_port(const struct port *p, unsigned group, unsigned vcpu)
{
	static const enum bh_kind kind[] = {
		[PORT_CLEAN] = BH_LOCAL, [PORT_DIRTY] = BH_LOCAL,  [PORT_TIMED] = BH_TIMED,
		[PORT_FAR] = BH_INTERVM, [PORT_DONE] = BH_INTERVM,
	};

	return db_open(kind[p->class], vcpu, group);
}

/* An operation on a clean port excludes its closing; others take their chance. Never waits. */
static bool enter(struct port *p)
{
	if (p->class != PORT_CLEAN)
		return true;
	if (!(cpu_fetch_add(&p->users, 1) & CLOSING))
		return true;
	cpu_fetch_add(&p->users, -1u);
	return false;
}

static void leave(struct port *p)
{
	if (p->class == PORT_CLEAN)
		cpu_fetch_add(&p->users, -1u);
}

static void refused(const struct port *p, long result, const char *what)
{
	/* What the developer needs to begin with. */
	if (!cpu_fetch_add(&faults.refused, 1))
		printf("# %s port 0x%x: %ld\n", what, p->number, result);
}

/* What a hypercall on the port may answer: a port that can be closed at any time may be closed now. */
static void judge(const struct port *p, long result, const char *what)
{
	if (result < 0 && !(result == BH_ECLOSED && p->class != PORT_CLEAN))
		refused(p, result, what);
}

static bool try_lock(const struct port *p)
{
	return !__atomic_exchange_n(&group_lock[BH_PORT_GROUP(p->number)], 1, __ATOMIC_SEQ_CST);
}

static void unlock(const struct port *p)
{
	__atomic_store_n(&group_lock[BH_PORT_GROUP(p->number)], 0, __ATOMIC_SEQ_CST);
}

/* One end or both had been closed: this VM's half of connecting them again. The other end's is still to come, or was. */
static void connect(struct port *p)
{
	long result;

	if (!try_lock(p))
		return;
	result = options.offers ? bellhop_call2(BH_OFFER, p->number, 0)
	                        : bellhop_call3(BH_CONNECT, p->number, 0, p->number);
	if (result < 0 && result != BH_EBUSY && result != BH_ECLOSED && result != BH_EPERM)
		refused(p, result, "connect");
	unlock(p);
}

static void ring(struct port *p)
{
	long result;

	if (!enter(p))
		return;
	result = db_ring(p->number);
	judge(p, result, "ring");
	if (result >= 0) {
		worker_self()->rings++;
		if (p->class == PORT_CLEAN)
			cpu_fetch_add(&p->accepted, 1);
	}
	leave(p);
	if (result == BH_ECLOSED && p->class == PORT_FAR && options.has_peer)
		connect(p);
}

static void handle(uint32_t number)
{
	struct worker *self = worker_self();

	if (index_of[number] == NO_PORT) {
		cpu_fetch_add(&faults.stray, 1);
		return;
	}
	cpu_fetch_add(&ports[index_of[number]].consumed, 1);
	self->consumed++;
	/* A handler that rings: another driver's doorbell, as a rule. Too seldom to go on for ever. */
	if (!stopped && !stress_random(4))
		ring(random_port());
}

bool ports_open(void)
{
	bool good = db_init(options.vcpus, handle) == 0;

	memset(index_of, NO_PORT, sizeof(index_of));
	for (unsigned i = 0; i < sizeof(layout) / sizeof(layout[0]); i++) {
		for (unsigned slot = 0; good && slot < layout[i].count; slot++, count++) {
			struct port *p = &ports[count];

			p->class = layout[i].class;
			p->number = BH_PORT(layout[i].group, slot);
			good = open_port(p, layout[i].group, home_of(p)) == (long)p->number;
			index_of[p->number] = (uint8_t)count;
		}
	}
	if (!good)
		return false;
	db_mask(ports[count - 1].number);
	/* Whether there is a peer is the configuration's affair: without one nothing can be offered. */
	options.has_peer = bellhop_call2(BH_OFFER, ports[count - 1].number, 0) == 0;
	return true;
}

void ports_consume(unsigned group)
{
	unsigned self = cpu_self()->index;

	cpu_fetch_add(&workers[self].section, 1);
	for (unsigned vcpu = 0; vcpu < options.vcpus; vcpu++) {
		if (options.exact && vcpu != self)
			continue;
		if (group == BH_GROUPS)
			db_consume(vcpu);
		else
			db_consume_group(vcpu, group);
	}
	cpu_fetch_add(&workers[self].section, 1);
}

void ports_ring(void)
{
	ring(random_port());
}

void ports_mask(void)
{
	struct port *p = random_port();

	if (!enter(p))
		return;
	db_mask(p->number);
	leave(p);
}

static void unmask(uint32_t number)
{
	cpu_fetch_add(&worker_self()->section, 1);
	db_unmask(number);
	cpu_fetch_add(&worker_self()->section, 1);
}

void ports_unmask(void)
{
	struct port *p = random_port();

	if (!enter(p))
		return;
	unmask(p->number);
	leave(p);
}

void ports_rebind(void)
{
	struct port *p = random_port();

	if (!enter(p))
		return;
	judge(p, bellhop_call2(BH_REBIND, p->number, stress_random(options.vcpus)), "rebind");
	worker_self()->rebinds++;
	leave(p);
}

void ports_kick(void)
{
	struct port *p = random_port();

	if (!enter(p))
		return;
	judge(p, bellhop_call1(BH_KICK, p->number), "kick");
	leave(p);
}

void ports_arm(void)
{
	struct port *p = random_port();
	uint64_t deadline;
	long result;

	while (p->class != PORT_TIMED)
		p = &ports[stress_random(count)];
	deadline = stress_random(8) ? cpu_tsc() + stress_random(20000) : 0;
	result = db_arm(p->number, deadline);
	/* A port that is closed now is no port with a timer either. */
	if (result != BH_EINVAL)
		judge(p, result, "arm");
}

/*
 * What is counted last can only be too high: read in this order, consumed and coalesced never exceed rung, whatever goes on
 * meanwhile. Zero or more: the rings that are not accounted for yet.
 */
static long outstanding(const struct port *p)
{
	long consumed = (long)p->consumed, coalesced, rung;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	coalesced = stat(p, BH_STAT_COALESCED);
	rung = stat(p, BH_STAT_RUNG);
	return rung - coalesced - consumed;
}

/* The port is this VCPU's: nobody else closes it. */
static void audit(const struct port *p)
{
	if (outstanding(p) < 0)
		cpu_fetch_add(&faults.doubled, 1);
}

void ports_audit(void)
{
	struct port *p = random_port();

	if (p->class != PORT_CLEAN || !enter(p))
		return;
	audit(p);
	leave(p);
}

/* Waits until nobody is consuming who was when it began: what they took is counted then. */
static void wait_for_consumers(void)
{
	for (unsigned v = 0; v < options.vcpus; v++) {
		unsigned section = workers[v].section;

		while (v != cpu_self()->index && section % 2 && workers[v].section == section)
			cpu_pause();
	}
}

static void reopen(struct port *p)
{
	long result;

	p->consumed = 0;
	p->accepted = 0;
	result = open_port(p, BH_PORT_GROUP(p->number), stress_random(options.vcpus));
	if (result != (long)p->number)
		refused(p, result, "open");
	worker_self()->closes++;
}

static void close_dirty(struct port *p)
{
	long result;

	audit(p);
	result = bellhop_call1(BH_CLOSE, p->number);
	if (result < 0)
		refused(p, result, "close");
	wait_for_consumers();
	reopen(p);
}

static bool rests(const struct port *p)
{
	return outstanding(p) == 0;
}

static void close_clean(struct port *p)
{
	unsigned nobody = 0;
	uint64_t start = cpu_tsc();

	if (!__atomic_compare_exchange_n(&p->users, &nobody, CLOSING, false, __ATOMIC_SEQ_CST,
	                                 __ATOMIC_SEQ_CST))
		return;
	unmask(p->number);
	while (!rests(p) && cpu_tsc() - start < TICKS_CLOSE)
		cpu_irq_window();
	if (rests(p)) {
		if (stat(p, BH_STAT_RUNG) != (long)p->accepted)
			cpu_fetch_add(&faults.answers, 1);
		if (bellhop_call1(BH_CLOSE, p->number) != 0 || db_ring(p->number) != BH_ECLOSED)
			refused(p, 0, "close of");
		reopen(p);
	}
	cpu_fetch_add(&p->users, -CLOSING);
}

void ports_close(void)
{
	struct port *p = random_port();

	if (!try_lock(p))
		return;
	if (p->class == PORT_CLEAN)
		close_clean(p);
	else
		close_dirty(p);
	unlock(p);
}

void ports_stop(void)
{
	stopped = true;
	for (unsigned i = 0; i < count; i++)
		if (ports[i].class == PORT_TIMED)
			judge(&ports[i], db_arm(ports[i].number, 0), "disarm");
}

bool ports_say_done(void)
{
	struct port *p = &ports[count - 1];

	if (!options.has_peer || db_ring(p->number) >= 0)
		return true;
	connect(p);
	return false;
}

bool ports_heard_done(void)
{
	if (!options.has_peer)
		return true;
	for (unsigned v = 0; v < options.vcpus; v++)
		if (db_is_pending(v, ports[count - 1].number))
			return true;
	return false;
}

void ports_unmask_all(void)
{
	for (unsigned i = 0; i < count - 1; i++)
		unmask(ports[i].number);
}

bool ports_at_rest(void)
{
	for (unsigned i = 0; i < count - 1; i++)
		if (!rests(&ports[i]))
			return false;
	return true;
}

void ports_balance(uint64_t *lost, uint64_t *doubled, uint64_t *stuck)
{
	*lost = *doubled = *stuck = 0;
	for (unsigned i = 0; i < count - 1; i++) {
		long due = outstanding(&ports[i]);

		for (unsigned v = 0; v < options.vcpus; v++) {
			if (db_is_pending(v, ports[i].number)) {
				(*stuck)++;
				due--;
				/* What the developer needs to begin with. */
				printf("# port 0x%x, bound to %ld, is pending on %u, summary 0x%lx, route "
				       "%ld\n",
				       ports[i].number, stat(&ports[i], BH_STAT_VCPU), v,
				       (unsigned long)db_control(v)->summary[BH_PORT_GROUP(ports[i].number)],
				       bellhop_call1(BH_ROUTE, BH_ROUTE_ASK));
			}
		}
		if (due > 0)
			*lost += (uint64_t)due;
		else
			*doubled += (uint64_t)-due;
		if (ports[i].class == PORT_CLEAN && stat(&ports[i], BH_STAT_RUNG) != (long)ports[i].accepted)
			faults.answers++;
	}
}
