/* SPDX-License-Identifier: MIT */
/* Doorbells: ring, kick, rebind, and the moves of pending bits between VCPUs. docs/abi.md is the contract. */
#include "doorbell.h"

#include "route.h"

#include <stddef.h>

#define WORD_VCPU(word) ((word)&0xffu)
#define WORD_KIND(word) ((word) >> 8 & 0xffu)

#define WORDS (BH_GROUPS * BH_GROUP_WORDS)

static inline uint64_t bit_of(uint32_t port)
{
	return 1ull << (port % 64);
}

static inline void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* The counters of a control page are the guest's memory: added to, never trusted. */
static inline _Atomic uint64_t *shared(uint64_t *word)
{
	return (_Atomic uint64_t *)word;
}

static struct db_effect done(int result)
{
	return (struct db_effect){ .result = result, .what = DB_NOTHING, .port = DB_NO_PORT };
}

void db_init(struct db_vm *db, struct db_port *ports, unsigned vcpus, enum bh_route route)
{
	db->port = ports;
	db->vcpus = vcpus;
	atomic_init(&db->mask, NULL);
	atomic_init(&db->route, route_find(route));
}

static uint32_t open_word(const struct db_vm *db, uint64_t port)
{
	return port < BH_PORTS ? atomic_load(&db->port[port].word) : 0;
}

static unsigned place_of(const struct db_vm *db, uint32_t word)
{
	const struct db_route *route = atomic_load(&db->route);

	return route->place(db, WORD_VCPU(word));
}

static bool is_masked(const struct db_vm *db, uint32_t port)
{
	_Atomic uint64_t *mask = atomic_load_explicit(&db->mask, memory_order_acquire);

	return mask && (atomic_load(&mask[port / 64]) & bit_of(port));
}

/*
 * The bit is set and not masked: tell the consumer. It clears the summary bit before it reads the word, so a summary
 * bit that is still set belongs to a scan that will see our bit.
 */
static struct db_effect announce(struct db_vm *db, unsigned vcpu, uint32_t port)
{
	struct bh_control *control = atomic_load_explicit(&db->page[vcpu].control, memory_order_acquire);
	const struct db_route *route = atomic_load(&db->route);
	unsigned group = BH_PORT_GROUP(port);
	uint64_t word = 1ull << (port / 64 % BH_GROUP_WORDS);
	struct db_effect effect = done(BH_RUNG_UPCALL);

	if (atomic_fetch_or(shared(&control->summary[group]), word) & word)
		return done(BH_RUNG_QUIET);
	count(&db->port[port].upcalls);
	count(shared(&control->upcalls));
	effect.port = port;
	route->raise(db, vcpu, group, &effect);
	return effect;
}

int db_resolve(const struct db_vm *db, uint64_t port, unsigned *vm, uint32_t *to)
{
	uint32_t word = open_word(db, port);
	uint32_t peer;

	if (port >= BH_PORTS)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	if (WORD_KIND(word) == BH_LOCAL) {
		*to = (uint32_t)port;
		return 0;
	}
	peer = atomic_load(&db->port[port].peer);
	if (!(peer & DB_CONNECTED))
		return BH_ECLOSED;
	*vm = peer >> 16 & 0xff;
	*to = peer & 0xffff;
	return 1;
}

struct db_effect db_ring(struct db_vm *db, uint32_t port)
{
	struct db_port *p = &db->port[port];
	uint32_t word = atomic_load(&p->word);
	_Atomic uint64_t *pending;
	unsigned vcpu;

	if (!(word & DB_OPEN))
		return done(BH_ECLOSED);
	vcpu = place_of(db, word);
	pending = atomic_load_explicit(&db->page[vcpu].pending, memory_order_acquire);
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
	return announce(db, vcpu, port);
}

struct db_effect db_kick(struct db_vm *db, uint64_t port)
{
	uint32_t word = open_word(db, port);
	_Atomic uint64_t *pending;
	unsigned vcpu;

	if (port >= BH_PORTS)
		return done(BH_EINVAL);
	if (!(word & DB_OPEN))
		return done(BH_ECLOSED);
	vcpu = place_of(db, word);
	pending = atomic_load_explicit(&db->page[vcpu].pending, memory_order_acquire);
	if (!pending)
		return done(BH_ENOPAGE);
	if (!(atomic_load(&pending[port / 64]) & bit_of((uint32_t)port)) || is_masked(db, (uint32_t)port))
		return done(BH_RUNG_QUIET);
	return announce(db, vcpu, (uint32_t)port);
}

int db_open(struct db_vm *db, uint64_t kind, uint64_t vcpu, uint64_t group)
{
	if (kind >= BH_KINDS || vcpu >= db->vcpus || group >= BH_GROUPS)
		return BH_EINVAL;
	for (unsigned w = 0; w < BH_GROUP_WORDS; w++) {
		uint64_t *used = &db->used[group][w];
		uint32_t port;

		if (*used == UINT64_MAX)
			continue;
		port = BH_PORT(group, w * 64 + (unsigned)__builtin_ctzll(~*used));
		*used |= bit_of(port);
		struct db_port *p = &db->port[port];
		atomic_store(&p->rung, 0);
		atomic_store(&p->coalesced, 0);
		atomic_store(&p->upcalls, 0);
		atomic_store(&p->misdirected, 0);
		atomic_store(&p->word, DB_OPEN | (uint32_t)kind << 8 | (uint32_t)vcpu);
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

void db_release(struct db_vm *db, uint32_t port)
{
	/* A bit nobody consumed goes with the port: it would read as a ring of the next one in this slot. */
	for (unsigned v = 0; v < db->vcpus; v++) {
		_Atomic uint64_t *pending = atomic_load(&db->page[v].pending);

		if (pending)
			atomic_fetch_and(&pending[port / 64], ~bit_of(port));
	}
	atomic_store(&db->port[port].peer, 0);
	db->used[BH_PORT_GROUP(port)][BH_PORT_SLOT(port) / 64] &= ~bit_of(port);
}

int db_rebind(struct db_vm *db, uint64_t port, uint64_t vcpu, unsigned *old)
{
	uint32_t word = open_word(db, port);

	if (port >= BH_PORTS || vcpu >= db->vcpus)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	if (!atomic_load(&db->page[vcpu].pending))
		return BH_ENOPAGE;
	*old = place_of(db, word);
	atomic_store(&db->port[port].word, (word & ~0xffu) | (uint32_t)vcpu);
	return 0;
}

/* Takes the bit of `port` from one VCPU's page and sets it on another's. */
static struct db_effect carry(struct db_vm *db, uint32_t port, unsigned from, unsigned to)
{
	_Atomic uint64_t *old = atomic_load(&db->page[from].pending);
	_Atomic uint64_t *new = atomic_load(&db->page[to].pending);

	if (from == to || !old || !new || !(atomic_fetch_and(&old[port / 64], ~bit_of(port)) & bit_of(port)))
		return done(0);
	if (atomic_fetch_or(&new[port / 64], bit_of(port)) & bit_of(port)) {
		count(&db->port[port].coalesced); /* two accepted rings have become one bit */
		return done(0);
	}
	if (is_masked(db, port))
		return done(0);
	return announce(db, to, port);
}

struct db_effect db_move(struct db_vm *db, uint32_t port, unsigned old)
{
	struct db_effect effect = carry(db, port, old, place_of(db, atomic_load(&db->port[port].word)));

	effect.result = 0;
	return effect;
}

enum bh_route db_set_route(struct db_vm *db, enum bh_route route)
{
	return atomic_exchange(&db->route, route_find(route))->number;
}

void db_settle(struct db_vm *db)
{
	for (unsigned v = 0; v < db->vcpus; v++) {
		_Atomic uint64_t *pending = atomic_load(&db->page[v].pending);

		for (uint32_t w = 0; pending && w < WORDS; w++) {
			uint64_t bits = atomic_load(&pending[w]) &
			                db->used[w / BH_GROUP_WORDS][w % BH_GROUP_WORDS];

			for (; bits; bits &= bits - 1) {
				uint32_t port = w * 64 + (uint32_t)__builtin_ctzll(bits);

				carry(db, port, v, place_of(db, atomic_load(&db->port[port].word)));
			}
		}
	}
}

struct db_effect db_raise(struct db_vm *db, unsigned vcpu, unsigned group)
{
	struct bh_control *control = atomic_load(&db->page[vcpu].control);
	const struct db_route *route = atomic_load(&db->route);
	struct db_effect effect = done(0);

	if (control && atomic_load(shared(&control->summary[group])))
		route->raise(db, vcpu, group, &effect);
	return effect;
}

int db_offer(struct db_vm *db, uint64_t port, unsigned to_vm)
{
	uint32_t word = open_word(db, port);

	if (port >= BH_PORTS)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	if (WORD_KIND(word) != BH_INTERVM)
		return BH_EINVAL;
	if (atomic_load(&db->port[port].peer))
		return BH_EBUSY;
	db->port[port].offered = to_vm + 1;
	return 0;
}

int db_connect(struct db_vm *db, unsigned self, uint64_t port, struct db_vm *far, unsigned far_self,
               uint64_t far_port)
{
	uint32_t word = open_word(db, port), far_word = open_word(far, far_port);

	if (port >= BH_PORTS || far_port >= BH_PORTS)
		return BH_EINVAL;
	if (!(word & DB_OPEN) || !(far_word & DB_OPEN))
		return BH_ECLOSED;
	if (WORD_KIND(word) != BH_INTERVM || WORD_KIND(far_word) != BH_INTERVM)
		return BH_EINVAL;
	if (far->port[far_port].offered != self + 1)
		return BH_EPERM;
	if (atomic_load(&db->port[port].peer) || atomic_load(&far->port[far_port].peer))
		return BH_EBUSY;
	far->port[far_port].offered = 0;
	db->port[port].offered = 0;
	atomic_store(&far->port[far_port].peer, DB_CONNECTED | self << 16 | (uint32_t)port);
	atomic_store(&db->port[port].peer, DB_CONNECTED | far_self << 16 | (uint32_t)far_port);
	return 0;
}

void db_disconnect(struct db_vm *db, unsigned gone)
{
	for (uint32_t port = 0; port < BH_PORTS; port++) {
		uint32_t peer = atomic_load_explicit(&db->port[port].peer, memory_order_relaxed);

		if (db->port[port].offered == gone + 1)
			db->port[port].offered = 0;
		if ((peer & DB_CONNECTED) && (peer >> 16 & 0xff) == gone)
			atomic_store(&db->port[port].peer, 0);
	}
}

int db_set_pages(struct db_vm *db, uint64_t vcpu, void *pending, void *control)
{
	if (vcpu >= db->vcpus || !pending || !control)
		return BH_EINVAL;
	if (atomic_load(&db->page[vcpu].pending))
		return BH_EBUSY;
	/* The control page first: whoever finds the pending page finds it too. */
	atomic_store(&db->page[vcpu].control, control);
	atomic_store(&db->page[vcpu].pending, pending);
	return 0;
}

void db_set_mask(struct db_vm *db, void *mask)
{
	atomic_store(&db->mask, mask);
}

int db_set_vector(struct db_vm *db, uint64_t vcpu, uint64_t group, uint64_t vector)
{
	if (vcpu >= db->vcpus || group >= BH_GROUPS || vector > 255 || (vector && vector < 16))
		return BH_EINVAL;
	atomic_store(&db->vector[vcpu][group], (uint8_t)vector);
	return 0;
}

int64_t db_stat(const struct db_vm *db, uint64_t port, uint64_t which)
{
	uint32_t word = open_word(db, port);
	const struct db_port *p = &db->port[port % BH_PORTS];

	if (port >= BH_PORTS || which >= BH_PORT_STATS)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	switch ((enum bh_port_stat)which) {
	case BH_STAT_RUNG:
		return (int64_t)atomic_load(&p->rung);
	case BH_STAT_COALESCED:
		return (int64_t)atomic_load(&p->coalesced);
	case BH_STAT_UPCALLS:
		return (int64_t)atomic_load(&p->upcalls);
	case BH_STAT_MISDIRECTED:
		return (int64_t)atomic_load(&p->misdirected);
	case BH_STAT_VCPU:
		return WORD_VCPU(word);
	case BH_PORT_STATS:
		break;
	}
	return BH_EINVAL;
}

void db_count_misdirected(struct db_vm *db, uint32_t port, unsigned vcpu)
{
	struct bh_control *control = atomic_load(&db->page[vcpu].control);

	if (port != DB_NO_PORT)
		count(&db->port[port].misdirected);
	if (control)
		count(shared(&control->misdirected));
}
