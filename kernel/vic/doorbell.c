/* SPDX-License-Identifier: MIT */
/* Doorbells: ring, kick, rebind, and the moves of pending bits between VCPUs. docs/abi.md is the contract. */
#include "doorbell_priv.h"
#include "route.h"

#include <stddef.h>

static struct db_effect done(int result)
{
	return (struct db_effect){ .result = result, .what = DB_NOTHING, .port = DB_NO_PORT };
}

void db_init(struct db_vm *db, struct db_port *ports, struct apic_bus *bus, unsigned vcpus,
             enum bh_route route)
{
	db->port = ports;
	db->bus = bus;
	for (unsigned group = 0; group < BH_GROUPS; group++)
		atomic_init(&db->follow[group], 1);
	db->vcpus = vcpus;
	atomic_init(&db->mask, NULL);
	atomic_init(&db->refill, DB_NEVER);
	for (unsigned i = 0; i < DB_TIMERS; i++)
		atomic_init(&db->timer[i].deadline, DB_NEVER);
	atomic_init(&db->route, route_find(route));
}

static uint32_t places_of(const struct db_vm *db, const struct db_route *route, uint32_t word, uint32_t port)
{
	return route->places ? route->places(db, BH_PORT_GROUP(port)) : 1u << WORD_VCPU(word);
}

/* One VCPU of a route's places: the only one, or whom the LAPICs' arbitration picks now. */
static unsigned pick(const struct db_vm *db, uint32_t places)
{
	if (places & (places - 1))
		places = apic_bus_arbitrate(db->bus, places);
	return (unsigned)__builtin_ctz(places);
}

static _Atomic uint64_t *pending_of(const struct db_vm *db, unsigned vcpu)
{
	return atomic_load_explicit(&db->page[vcpu].pending, memory_order_acquire);
}

static bool is_masked(const struct db_vm *db, uint32_t port)
{
	_Atomic uint64_t *mask = atomic_load_explicit(&db->mask, memory_order_acquire);

	return mask && (atomic_load(&mask[port / 64]) & bit_of(port));
}

/*
 * The short way of a ring, `plain`, is compiled without what the other one looks at: other routes than `native`, budgets.
 */
#define INLINE static inline __attribute__((always_inline))

INLINE void raise(const struct db_vm *db, const struct db_route *route, bool plain, unsigned vcpu,
                  unsigned group, struct db_effect *effect)
{
	uint8_t vector = atomic_load_explicit(&db->vector[vcpu][group], memory_order_relaxed);

	if (!plain && route->raise) {
		route->raise(vcpu, group, effect);
		return;
	}
	/* No vector yet: the bit waits, and whoever registers one raises what has gathered. */
	effect->what = vector ? DB_VECTOR : DB_NOTHING;
	effect->vcpu = (uint8_t)vcpu;
	effect->vector = vector;
}

/*
 * The bit is set and not masked: tell the consumer. It clears the summary bit before it reads the word, so a summary
 * bit that is still set belongs to a scan that will see our bit.
 */
INLINE struct db_effect announce_by(struct db_vm *db, const struct db_route *route, bool plain, unsigned vcpu,
                                    uint32_t port)
{
	struct bh_control *control = atomic_load_explicit(&db->page[vcpu].control, memory_order_acquire);
	unsigned group = BH_PORT_GROUP(port);
	struct db_effect effect = done(BH_RUNG_UPCALL);

	if (atomic_fetch_or(shared(&control->summary[group]), summary_bit(port)) & summary_bit(port))
		return done(BH_RUNG_QUIET);
	count(&db->port[port].upcalls);
	count(shared(&control->upcalls));
	effect.port = port;
	raise(db, route, plain, vcpu, group, &effect);
	return effect;
}

static struct db_effect announce(struct db_vm *db, const struct db_route *route, unsigned vcpu, uint32_t port)
{
	return announce_by(db, route, false, vcpu, port);
}

/*
 * One upcall of this period, if the port has one left. Ringers race for it by compare-and-exchange; one whose clock is
 * in an older period than the newest seen counts in that one.
 */
static bool take_budget(struct db_vm *db, struct db_port *p, uint64_t now)
{
	uint64_t seen = atomic_load_explicit(&p->budget, memory_order_relaxed), next;

	do {
		uint64_t period = now / db->period, used = seen & 0xffff;

		if (period > seen >> 16)
			used = 0;
		else
			period = seen >> 16;
		if (used >= db->budget)
			return false;
		next = period << 16 | (used + 1);
	} while (!atomic_compare_exchange_weak(&p->budget, &seen, next));
	return true;
}

/* A storm hurts its sender: the bit stays, without the summary bit, so that no other port's upcall is swallowed. */
static struct db_effect hold(struct db_vm *db, uint32_t port, uint64_t now)
{
	uint64_t refill = (now / db->period + 1) * db->period, seen = atomic_load(&db->refill);
	struct db_effect effect = done(BH_RUNG_THROTTLED);

	count(&db->port[port].throttled);
	/* The bit before the time: whoever takes the time away looks at the bits after it. */
	atomic_fetch_or(&db->held[port / 64], bit_of(port));
	while (refill < seen && !atomic_compare_exchange_weak(&db->refill, &seen, refill))
		;
	effect.what = DB_LATER;
	return effect;
}

/* announce(), within the port's budget. */
static struct db_effect announce_within(struct db_vm *db, const struct db_route *route, unsigned vcpu,
                                        uint32_t port, uint64_t now)
{
	struct bh_control *control = atomic_load_explicit(&db->page[vcpu].control, memory_order_acquire);

	/* A summary bit that is set needs no upcall, and costs none. */
	if (db->budget &&
	    !(atomic_load(shared(&control->summary[BH_PORT_GROUP(port)])) & summary_bit(port)) &&
	    !take_budget(db, &db->port[port], now))
		return hold(db, port, now);
	return announce(db, route, vcpu, port);
}

INLINE struct db_effect ring(struct db_vm *db, const struct db_route *route, bool plain, uint32_t port,
                             uint64_t now)
{
	struct db_port *p = &db->port[port];
	uint32_t word = atomic_load(&p->word);
	_Atomic uint64_t *pending;
	unsigned vcpu = WORD_VCPU(word);

	if (!(word & DB_OPEN))
		return done(BH_ECLOSED);
	if (!plain && route->places)
		vcpu = pick(db, places_of(db, route, word, port));
	pending = pending_of(db, vcpu);
	if (!pending)
		return done(BH_ENOPAGE);
	count(&p->rung);
	if (atomic_fetch_or(&pending[port / 64], bit_of(port)) & bit_of(port)) {
		count(&p->coalesced);
		return done(BH_RUNG_COALESCED);
	}
	/*
	 * Bit first, mask second; the guest that unmasks clears its mask first and looks at the bit second.
	 * Both sequentially consistent, so at least one of the two sees the other.
	 */
	if (is_masked(db, port))
		return done(BH_RUNG_MASKED);
	return plain ? announce_by(db, route, true, vcpu, port) : announce_within(db, route, vcpu, port, now);
}

static __attribute__((noinline)) struct db_effect ring_in_full(struct db_vm *db, const struct db_route *route,
                                                               uint32_t port, uint64_t now)
{
	return ring(db, route, false, port, now);
}

struct db_effect db_ring(struct db_vm *db, uint32_t port, uint64_t now)
{
	/* Read once: place and interrupt are of one route, even while another one comes into force. */
	const struct db_route *route = atomic_load(&db->route);

	return route->number != BH_ROUTE_NATIVE || db->budget ? ring_in_full(db, route, port, now)
	                                                      : ring(db, route, true, port, now);
}

/* Two announcements of one port: only a route with lines has several places, and its effects differ in the VCPU. */
static struct db_effect join(struct db_effect a, struct db_effect b)
{
	if (b.result != BH_RUNG_UPCALL)
		return a;
	if (a.what != DB_NOTHING)
		b.also = a.also | 1u << a.vcpu;
	return b;
}

/*
 * Announces a pending, unmasked bit wherever it is. With a time, DB_NEVER being none, it spends of that period; it is not
 * held again if nothing is left, for who is late with the refill would meet it here for good.
 */
static struct db_effect kick(struct db_vm *db, uint64_t port, uint64_t now)
{
	const struct db_route *route = atomic_load(&db->route);
	uint32_t word = open_word(db, port), places;
	struct db_effect effect = done(BH_RUNG_QUIET);

	if (port >= BH_PORTS)
		return done(BH_EINVAL);
	if (!(word & DB_OPEN))
		return done(BH_ECLOSED);
	/* Arbitration may have put a bit on several of the places, and each of them is owed its upcall. */
	for (places = places_of(db, route, word, (uint32_t)port); places; places &= places - 1) {
		unsigned vcpu = (unsigned)__builtin_ctz(places);
		_Atomic uint64_t *pending = pending_of(db, vcpu);

		if (!pending && effect.result == BH_RUNG_QUIET)
			effect.result = BH_ENOPAGE;
		if (!pending)
			continue;
		if (!(atomic_load(&pending[port / 64]) & bit_of((uint32_t)port)) ||
		    is_masked(db, (uint32_t)port))
			continue;
		if (now != DB_NEVER)
			take_budget(db, &db->port[port], now);
		effect = join(effect, announce(db, route, vcpu, (uint32_t)port));
	}
	return effect;
}

struct db_effect db_kick(struct db_vm *db, uint64_t port)
{
	return kick(db, port, DB_NEVER);
}

uint64_t db_deadline(const struct db_vm *db)
{
	uint64_t nearest = atomic_load_explicit(&db->refill, memory_order_relaxed);

	for (unsigned i = 0; i < DB_TIMERS; i++) {
		uint64_t deadline = atomic_load_explicit(&db->timer[i].deadline, memory_order_relaxed);

		nearest = deadline < nearest ? deadline : nearest;
	}
	return nearest;
}

static bool fire(struct db_vm *db, struct db_timer *timer, uint64_t now, struct db_effect *effect)
{
	uint64_t deadline = atomic_load(&timer->deadline);
	uint32_t port = atomic_load(&timer->port);

	if (deadline > now || !atomic_compare_exchange_strong(&timer->deadline, &deadline, DB_NEVER))
		return false;
	*effect = port & DB_OPEN ? db_ring(db, port & ~DB_OPEN, now) : done(0);
	return true;
}

/* The cursor only goes up: timers, then the refill, then each port. Whoever arms or rings meanwhile cannot keep it. */
bool db_due(struct db_vm *db, uint64_t now, uint32_t *cursor, struct db_effect *effect)
{
	while (*cursor < DB_TIMERS) {
		if (fire(db, &db->timer[(*cursor)++], now, effect))
			return true;
	}
	if (*cursor == DB_TIMERS) {
		if (atomic_load(&db->refill) > now)
			return false;
		atomic_store(&db->refill, DB_NEVER);
		(*cursor)++;
	}
	for (uint32_t port = *cursor - DB_TIMERS - 1; port < BH_PORTS; port = (port / 64 + 1) * 64) {
		uint64_t bits = atomic_load(&db->held[port / 64]) & UINT64_MAX << port % 64;

		if (bits) {
			port = port / 64 * 64 + (uint32_t)__builtin_ctzll(bits);
			*cursor = DB_TIMERS + 1 + port + 1;
			atomic_fetch_and(&db->held[port / 64], ~bit_of(port));
			*effect = kick(db, port, now); /* spends of the new period */
			return true;
		}
	}
	return false;
}

static struct db_timer *timer_of(struct db_vm *db, uint32_t port)
{
	for (unsigned i = 0; i < DB_TIMERS; i++) {
		if (atomic_load(&db->timer[i].port) == port)
			return &db->timer[i];
	}
	return NULL;
}

int db_arm(struct db_vm *db, uint64_t port, uint64_t deadline)
{
	struct db_timer *timer = port < BH_PORTS ? timer_of(db, DB_OPEN | (uint32_t)port) : NULL;

	if (port < BH_PORTS && !(open_word(db, port) & DB_OPEN))
		return BH_ECLOSED;
	if (!timer)
		return BH_EINVAL;
	atomic_store(&timer->deadline, deadline);
	return 0;
}

void db_set_budget(struct db_vm *db, uint32_t upcalls, uint64_t period)
{
	db->budget = upcalls;
	db->period = period;
}

static void reset_counters(struct db_port *p)
{
	atomic_store(&p->rung, 0);
	atomic_store(&p->coalesced, 0);
	atomic_store(&p->upcalls, 0);
	atomic_store(&p->misdirected, 0);
	atomic_store(&p->throttled, 0);
}

int db_open(struct db_vm *db, uint64_t kind, uint64_t vcpu, uint64_t group)
{
	struct db_timer *timer = kind == BH_TIMED ? timer_of(db, 0) : NULL;

	if (kind >= BH_KINDS || vcpu >= db->vcpus || group >= BH_GROUPS)
		return BH_EINVAL;
	if (kind == BH_TIMED && !timer)
		return BH_EFULL;
	for (unsigned w = 0; w < BH_GROUP_WORDS; w++) {
		uint64_t *used = &db->used[group][w];
		uint32_t port;

		if (*used == UINT64_MAX)
			continue;
		port = BH_PORT(group, w * 64 + (unsigned)__builtin_ctzll(~*used));
		*used |= bit_of(port);
		if (timer)
			atomic_store(&timer->port, DB_OPEN | port);
		reset_counters(&db->port[port]);
		atomic_store(&db->port[port].word, DB_OPEN | (uint32_t)kind << 8 | (uint32_t)vcpu);
		return (int)port;
	}
	return BH_EFULL;
}

int db_close(struct db_vm *db, uint64_t port)
{
	if (port >= BH_PORTS)
		return BH_EINVAL;
	if (!(atomic_exchange(&db->port[port].word, 0) & DB_OPEN))
		return BH_ECLOSED;
	db->port[port].offered = 0;
	return 0;
}

int db_release(struct db_vm *db, uint32_t port)
{
	struct db_timer *timer = timer_of(db, DB_OPEN | port);
	int rung = 0;

	/* A bit nobody consumed goes with the port: it would read as a ring of the next one in this slot. */
	for (unsigned v = 0; v < db->vcpus; v++) {
		_Atomic uint64_t *pending = pending_of(db, v);

		if (pending && (atomic_fetch_and(&pending[port / 64], ~bit_of(port)) & bit_of(port)))
			rung++;
	}
	if (timer) {
		atomic_store(&timer->deadline, DB_NEVER);
		atomic_store(&timer->port, 0);
	}
	atomic_fetch_and(&db->held[port / 64], ~bit_of(port));
	atomic_store(&db->port[port].peer, 0);
	db->used[BH_PORT_GROUP(port)][BH_PORT_SLOT(port) / 64] &= ~bit_of(port);
	return rung;
}

int db_rebind(struct db_vm *db, uint64_t port, uint64_t vcpu)
{
	uint32_t word = open_word(db, port);

	if (port >= BH_PORTS || vcpu >= db->vcpus)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	if (!atomic_load(&db->page[vcpu].pending))
		return BH_ENOPAGE;
	atomic_store(&db->port[port].word, (word & ~0xffu) | (uint32_t)vcpu);
	return 0;
}

/* Takes the bit of `port` from one VCPU's page and sets it on another's. */
static struct db_effect carry(struct db_vm *db, const struct db_route *route, uint32_t port, unsigned from,
                              unsigned to)
{
	_Atomic uint64_t *old = pending_of(db, from), *new = pending_of(db, to);

	if (!old || !new || !(atomic_fetch_and(&old[port / 64], ~bit_of(port)) & bit_of(port)))
		return done(0);
	if (atomic_fetch_or(&new[port / 64], bit_of(port)) & bit_of(port)) {
		count(&db->port[port].coalesced); /* two accepted rings have become one bit */
		return done(0);
	}
	if (is_masked(db, port))
		return done(0);
	return announce(db, route, to, port);
}

struct db_effect db_move(struct db_vm *db, uint32_t port)
{
	const struct db_route *route = atomic_load(&db->route);
	uint32_t places = places_of(db, route, atomic_load(&db->port[port].word), port);
	struct db_effect effect = done(0);

	/* Every page, not only the old VCPU's: one without a page may have kept a route change from moving the bit. */
	for (unsigned v = 0; v < db->vcpus; v++) {
		struct db_effect moved = done(0);

		if (!(places >> v & 1))
			moved = carry(db, route, port, v, pick(db, places));
		if (moved.what != DB_NOTHING)
			effect = moved;
	}
	effect.result = 0;
	return effect;
}

enum bh_route db_set_route(struct db_vm *db, enum bh_route route)
{
	return atomic_exchange(&db->route, route_find(route))->number;
}

/* The open ports of one word of a page that have a bit there: each to where it belongs. */
static void settle_word(struct db_vm *db, unsigned vcpu, uint32_t w, uint64_t bits)
{
	const struct db_route *route = atomic_load(&db->route);

	for (bits &= db->used[w / BH_GROUP_WORDS][w % BH_GROUP_WORDS]; bits; bits &= bits - 1) {
		uint32_t port = w * 64 + (uint32_t)__builtin_ctzll(bits);
		uint32_t places = places_of(db, route, atomic_load(&db->port[port].word), port);

		/* One that the old route had out of its VCPU's sight is in its place now, and not announced yet. */
		if (!(places & 1u << vcpu))
			carry(db, route, port, vcpu, pick(db, places));
		else if (!is_masked(db, port) && !(atomic_load(&db->held[w]) & bit_of(port)))
			announce(db, route, vcpu, port);
	}
}

void db_settle(struct db_vm *db, uint32_t groups)
{
	for (unsigned v = 0; v < db->vcpus; v++) {
		_Atomic uint64_t *pending = pending_of(db, v);

		for (uint32_t w = 0; pending && w < WORDS; w++) {
			if (groups >> w / BH_GROUP_WORDS & 1)
				settle_word(db, v, w, atomic_load(&pending[w]));
		}
	}
}

struct db_effect db_raise(struct db_vm *db, unsigned vcpu, unsigned group)
{
	struct bh_control *control = atomic_load(&db->page[vcpu].control);
	const struct db_route *route = atomic_load(&db->route);
	_Atomic uint64_t *mask = atomic_load(&db->mask), *pending = pending_of(db, vcpu);
	uint64_t words = control && pending ? atomic_load(shared(&control->summary[group])) : 0;
	struct db_effect effect = done(0);

	/*
	 * A summary bit may be stale, its bits moved on or consumed by an unmask: that is no interrupt, and the bit
	 * must go, or it would keep the next ring quiet. So clear first and look second, as a consumer does.
	 */
	for (words &= UINT32_MAX; words; words &= words - 1) {
		unsigned w = group * BH_GROUP_WORDS + (unsigned)__builtin_ctzll(words);
		uint64_t bit = words & -words;

		atomic_fetch_and(shared(&control->summary[group]), ~bit);
		if (!(atomic_load(&pending[w]) & ~(mask ? atomic_load(&mask[w]) : 0)))
			continue;
		atomic_fetch_or(shared(&control->summary[group]), bit);
		raise(db, route, false, vcpu, group, &effect);
	}
	return effect;
}
