/* SPDX-License-Identifier: MIT */
/* Fuzzes the doorbells of a VM: operations from the input; after each, every ring is accounted for. */
/* SOURCES: kernel/vic/doorbell.c kernel/vic/doorbell_ports.c kernel/vic/route.c kernel/vic/vioapic.c
   kernel/vic/icr.c */
#include <string.h>

#include "kernel/vic/route.h"
#include "tests/fuzz/input.h"

#define VCPUS  3u
#define SLOTS  128u /* of each group; the words 0 and 1 of it */
#define OPENED 60u
#define COUNT  (sizeof(group_number) / sizeof(group_number[0]))

/* Groups that are used: resetting them all would take most of the time. */
static const uint8_t group_number[] = { 0, 1, 15 };
#define GROUPS (1u << 0 | 1u << 1 | 1u << 15)

static struct {
	struct db_vm db;
	struct apic_bus bus;
	struct lapic_face face[VCPUS];
	struct bh_bits pending[VCPUS], mask;
	struct bh_control control[VCPUS];
	uint64_t now;
	uint64_t taken; /* slots of each group's first word that are in use for good, and closed */
	/* The guest: what it has consumed, and which words it is about to look at. */
	uint64_t consumed[COUNT][SLOTS];
	uint64_t scanning[VCPUS][BH_GROUPS];
	unsigned opened[COUNT];
	/* An upcall for this VCPU's group has been raised since it last began to scan it. */
	bool owed[VCPUS][BH_GROUPS];
} f;

static struct db_port ports[BH_PORTS];
static const struct apic_page page; /* all LAPICs have the same priority */

/* The port an operation is about: any group, and a slot near the start of a word. */
static uint32_t any_port(struct input *in)
{
	uint8_t byte = input_8(in);

	return BH_PORT(group_number[byte % COUNT], byte / COUNT % 16 + (byte & 0x80 ? 56 : 0));
}

static unsigned index_of(uint32_t port)
{
	unsigned i = 0;

	while (group_number[i] != BH_PORT_GROUP(port))
		i++;
	return i;
}

UNTRACED static uint64_t *word_of(struct bh_bits *bits, uint32_t port)
{
	return &bits->word[BH_PORT_GROUP(port)][BH_PORT_SLOT(port) / 64];
}

UNTRACED static bool has(struct bh_bits *bits, uint32_t port)
{
	return *word_of(bits, port) >> (port % 64) & 1;
}

UNTRACED static bool is_open(uint32_t port)
{
	return ports[port].word & DB_OPEN;
}

/* The table of docs/routing.md. */
UNTRACED static uint32_t places(uint32_t port)
{
	switch (f.db.route->number) {
	case BH_ROUTE_VCPU0:
		return 1;
	case BH_ROUTE_FOLLOW:
		return f.db.follow[BH_PORT_GROUP(port)];
	case BH_ROUTE_IOAPIC:
	case BH_ROUTE_NATIVE:
	case BH_ROUTE_MULTI:
	case BH_ROUTES:
		break;
	}
	return 1u << (ports[port].word & 0xff);
}

/* Is there a page on each of its places? Where there is not, a bit stays where it was. */
UNTRACED static bool has_pages(uint32_t port)
{
	for (unsigned v = 0; v < VCPUS; v++)
		if ((places(port) >> v & 1) && !f.db.page[v].pending)
			return false;
	return true;
}

/* A bit that is pending and not masked is known to its VCPU, or to the next period. */
UNTRACED static void check_bit(uint32_t port, unsigned v)
{
	unsigned group = BH_PORT_GROUP(port), word = BH_PORT_SLOT(port) / 64;
	bool raised = f.control[v].summary[group] >> word & 1;

	REQUIRE((places(port) >> v & 1) || !has_pages(port));
	if (has(&f.mask, port) || !(places(port) >> v & 1))
		return;
	if (f.db.held[port / 64] >> (port % 64) & 1) {
		REQUIRE(db_deadline(&f.db) != DB_NEVER);
		return;
	}
	REQUIRE(raised || (f.scanning[v][group] >> word & 1));
	/* On `native`, an upcall without a vector waits for one. */
	if (raised && !(f.db.route->number == BH_ROUTE_NATIVE && !f.db.vector[v][group]))
		REQUIRE(f.owed[v][group]);
}

UNTRACED static void check_port(uint32_t port)
{
	struct db_port *p = &ports[port];
	uint64_t pending = 0;

	for (unsigned v = 0; v < VCPUS; v++) {
		if (!has(&f.pending[v], port))
			continue;
		REQUIRE(is_open(port));
		check_bit(port, v);
		pending++;
	}
	if (!is_open(port))
		return;
	REQUIRE(p->rung == f.consumed[index_of(port)][BH_PORT_SLOT(port)] + p->coalesced + pending);
	REQUIRE(p->coalesced <= p->rung);
	if (p->peer & DB_CONNECTED)
		REQUIRE(ports[p->peer & 0xffff].peer == (DB_CONNECTED | port) && is_open(p->peer & 0xffff));
}

UNTRACED static void check(void)
{
	for (unsigned i = 0; i < COUNT * SLOTS / 64; i++) {
		unsigned group = group_number[i % COUNT], word = i / COUNT;
		uint64_t bits = f.db.used[group][word] & ~(word ? 0 : f.taken);

		for (unsigned v = 0; v < VCPUS; v++)
			REQUIRE(!(f.pending[v].word[group][word] & ~bits));
		for (; bits; bits &= bits - 1)
			check_port(BH_PORT(group, word * 64 + (unsigned)__builtin_ctzll(bits)));
	}
	for (unsigned i = 0; i < DB_TIMERS; i++)
		REQUIRE(f.db.timer[i].port || f.db.timer[i].deadline == DB_NEVER);
}

/* An upcall goes out, for a bit that is on the page of the VCPU that it names. */
UNTRACED static void act(const struct db_effect *effect, unsigned group)
{
	if (effect->what != DB_VECTOR && effect->what != DB_LINE)
		return;
	if (effect->port != DB_NO_PORT)
		group = BH_PORT_GROUP(effect->port);
	REQUIRE(effect->vcpu < VCPUS && f.control[effect->vcpu].summary[group]);
	if (effect->what == DB_VECTOR)
		REQUIRE(effect->vector >= 16 && effect->vector == f.db.vector[effect->vcpu][group]);
	else
		REQUIRE(effect->pin >= BH_CALLBACK_PIN && effect->pin < BH_CALLBACK_PIN + BH_GROUPS);
	REQUIRE(!effect->also || effect->what == DB_LINE);
	for (unsigned v = 0; v < VCPUS; v++)
		if ((effect->also | 1u << effect->vcpu) >> v & 1)
			f.owed[v][group] = true;
}

static void ring(uint32_t port)
{
	uint64_t rung = ports[port].rung, upcalls = ports[port].upcalls;
	bool known = has_pages(port);
	struct db_effect effect = db_ring(&f.db, port, f.now);

	if (!is_open(port))
		REQUIRE(effect.result == BH_ECLOSED);
	else
		REQUIRE(effect.result >= 0 || (effect.result == BH_ENOPAGE && !known));
	REQUIRE(ports[port].rung == rung + (effect.result >= 0));
	REQUIRE((effect.result == BH_RUNG_UPCALL) == (ports[port].upcalls != upcalls) || effect.result < 0);
	REQUIRE(effect.result != BH_RUNG_MASKED || has(&f.mask, port));
	REQUIRE((effect.what == DB_LATER) == (effect.result == BH_RUNG_THROTTLED));
	act(&effect, 0);
}

static void kick(uint32_t port)
{
	struct db_effect effect = db_kick(&f.db, port);

	act(&effect, 0);
}

/* The guest's side of the contract: whoever unmasks looks. */
static void unmask(uint32_t port)
{
	*word_of(&f.mask, port) &= ~(1ull << port % 64);
	kick(port);
}

static void begin_scan(unsigned v, unsigned group)
{
	f.owed[v][group] = false;
	f.scanning[v][group] |= f.control[v].summary[group];
	f.control[v].summary[group] = 0;
}

static void end_scan(unsigned v, unsigned i)
{
	unsigned group = group_number[i];

	for (unsigned w = 0; w < SLOTS / 64; w++) {
		uint64_t bits = f.pending[v].word[group][w] & ~f.mask.word[group][w];

		if (!(f.scanning[v][group] >> w & 1))
			continue;
		f.pending[v].word[group][w] &= ~bits;
		for (; bits; bits &= bits - 1)
			f.consumed[i][w * 64 + (unsigned)__builtin_ctzll(bits)]++;
	}
	f.scanning[v][group] = 0;
}

/* Every upcall that these groups owe, as kernel/doorbells.c raises them. */
UNTRACED static void raise_groups(uint32_t vcpus, uint32_t groups)
{
	for (unsigned v = 0; v < VCPUS; v++) {
		for (unsigned i = 0; i < COUNT; i++) {
			struct db_effect effect;

			if (!(vcpus >> v & 1) || !(groups >> group_number[i] & 1))
				continue;
			effect = db_raise(&f.db, v, group_number[i]);
			act(&effect, group_number[i]);
		}
	}
}

static void open_port(struct input *in)
{
	uint8_t byte = input_8(in);
	unsigned i = byte % COUNT, kind = byte / COUNT % BH_KINDS, v = byte / 16 % VCPUS;
	int port;

	if (f.opened[i] == OPENED)
		return;
	port = db_open(&f.db, kind, v, group_number[i]);
	if (port < 0) {
		REQUIRE(port == BH_EFULL && kind == BH_TIMED);
		return;
	}
	f.opened[i]++;
	REQUIRE(BH_PORT_GROUP(port) == group_number[i] && BH_PORT_SLOT(port) < SLOTS &&
	        is_open((uint32_t)port));
	f.consumed[i][BH_PORT_SLOT(port)] = 0;
	REQUIRE(db_stat(&f.db, (uint64_t)port, BH_STAT_VCPU) == v && ports[port].rung == 0);
	for (unsigned other = 0; other < VCPUS; other++)
		REQUIRE(!has(&f.pending[other], (uint32_t)port));
}

static void close_port(uint32_t port, bool ring_late)
{
	bool was = is_open(port);
	uint32_t peer = ports[port].peer;
	int rung = 0;

	REQUIRE(db_close(&f.db, port) == (was ? 0 : BH_ECLOSED));
	if (!was)
		return;
	if (peer & DB_CONNECTED)
		ports[peer & 0xffff].peer = 0;
	if (ring_late)
		ring(port);
	for (unsigned v = 0; v < VCPUS; v++)
		rung += has(&f.pending[v], port);
	REQUIRE(db_release(&f.db, port) == rung);
	f.opened[index_of(port)]--;
	REQUIRE(!(f.db.held[port / 64] >> (port % 64) & 1) && !ports[port].peer && !ports[port].offered);
	for (unsigned v = 0; v < VCPUS; v++)
		REQUIRE(!has(&f.pending[v], port));
}

static void rebind(uint32_t port, unsigned v, bool ring_between)
{
	int result = db_rebind(&f.db, port, v);
	struct db_effect effect;

	if (!is_open(port))
		REQUIRE(result == BH_ECLOSED);
	else
		REQUIRE(result == (f.db.page[v].pending ? 0 : BH_ENOPAGE));
	if (result < 0)
		return;
	if (ring_between)
		ring(port);
	effect = db_move(&f.db, port);
	act(&effect, 0);
	REQUIRE(db_stat(&f.db, port, BH_STAT_VCPU) == v);
}

/* These VCPUs have lost the upcalls that were on their way, as by an INIT: they are raised again. */
UNTRACED static void remind(uint32_t vcpus)
{
	for (unsigned v = 0; v < VCPUS; v++)
		if (vcpus >> v & 1)
			memset(f.owed[v], 0, sizeof(f.owed[v]));
	raise_groups(vcpus, GROUPS);
}

/* Nobody need ever unmask the line, or take the vector, that the old route raised. */
static void change_route(enum bh_route route, uint32_t late)
{
	enum bh_route before = f.db.route->number;

	REQUIRE(db_set_route(&f.db, route) == before);
	if (is_open(late))
		ring(late);
	db_settle(&f.db, GROUPS);
	remind(UINT32_MAX);
}

static void change_follow(unsigned group, uint32_t vcpus)
{
	f.db.follow[group] = vcpus % (1u << VCPUS) ? vcpus % (1u << VCPUS) : 1;
	if (f.db.route->number != BH_ROUTE_FOLLOW)
		return;
	db_settle(&f.db, 1u << group);
	raise_groups(UINT32_MAX, 1u << group);
}

static void pass_time(uint64_t ticks)
{
	struct db_effect effect;
	uint32_t cursor = 0;

	f.now += ticks;
	while (db_due(&f.db, f.now, &cursor, &effect))
		act(&effect, 0);
	REQUIRE(db_deadline(&f.db) > f.now);
}

static void connect(uint32_t port, uint32_t to)
{
	int offered = db_offer(&f.db, to, 0);
	uint32_t target = UINT32_MAX;
	unsigned vm = 1;

	if (db_connect(&f.db, 0, port, &f.db, 0, to) == 0) {
		REQUIRE(offered == 0 && is_open(port) && is_open(to));
		REQUIRE(db_resolve(&f.db, port, &vm, &target) == 1 && vm == 0 && target == to);
	}
}

static void ring_resolved(uint32_t port)
{
	uint32_t target = UINT32_MAX;
	unsigned vm = 0;
	int result = db_resolve(&f.db, port, &vm, &target);

	if (result < 0) {
		REQUIRE(result == BH_ECLOSED && (!is_open(port) || !(ports[port].peer & DB_CONNECTED)));
		return;
	}
	REQUIRE(is_open(target) && (result == 1 || target == port));
	ring(target);
}

static void register_pages(unsigned v)
{
	if (db_set_pages(&f.db, v, &f.pending[v], &f.control[v]) < 0)
		return;
	db_settle(&f.db, GROUPS);
	raise_groups(UINT32_MAX, GROUPS);
}

static void step_setup(struct input *in, uint8_t operation)
{
	uint8_t byte = input_8(in);
	uint32_t port;

	switch (operation) {
	case 11:
		change_route((enum bh_route)(byte % BH_ROUTES), any_port(in));
		break;
	case 12:
		change_follow(group_number[byte % COUNT], byte >> 4);
		break;
	case 13:
		port = any_port(in);
		connect(port, byte & 0x80 ? port : BH_PORT(group_number[byte % COUNT], byte / COUNT % 16));
		break;
	case 14:
		register_pages(byte % VCPUS);
		break;
	case 15:
		db_set_vector(&f.db, byte % VCPUS, group_number[byte / 4 % COUNT],
		              byte & 0x80 ? 0 : byte | 16);
		raise_groups(1u << byte % VCPUS, 1u << group_number[byte / 4 % COUNT]);
		break;
	case 16:
		remind(1u << byte % VCPUS);
		break;
	}
}

static void step(struct input *in)
{
	uint8_t operation = input_8(in) % 17, byte;
	uint32_t port;

	switch (operation) {
	case 0:
		open_port(in);
		break;
	case 1:
		port = any_port(in);
		close_port(port, input_8(in) & 1);
		break;
	case 2:
	case 3:
		ring_resolved(any_port(in));
		break;
	case 4:
		port = any_port(in);
		*word_of(&f.mask, port) |= 1ull << port % 64;
		break;
	case 5:
		unmask(any_port(in));
		break;
	case 6:
		kick(any_port(in));
		break;
	case 7:
		port = any_port(in);
		byte = input_8(in);
		rebind(port, byte % VCPUS, byte & 0x80);
		break;
	case 8:
	case 9:
		byte = input_8(in);
		begin_scan(byte / 16 % VCPUS, group_number[byte % COUNT]);
		if (operation == 9)
			end_scan(byte / 16 % VCPUS, byte % COUNT);
		break;
	case 10:
		port = any_port(in);
		byte = input_8(in);
		db_arm(&f.db, port, byte & 0x80 ? DB_NEVER : f.now + byte);
		pass_time(byte & 0x40 ? byte : 0);
		break;
	default:
		step_setup(in, operation);
	}
}

/* Every route and budget; with pages and vectors or without; at the start of a word or at its end. */
UNTRACED static void set_up(struct input *in)
{
	uint8_t options = input_8(in);

	for (unsigned i = 0; i < COUNT; i++)
		memset(&ports[BH_PORT(group_number[i], 0)], 0, SLOTS * sizeof(ports[0]));
	memset(&f, 0, sizeof(f));
	f.bus.count = VCPUS;
	for (unsigned v = 0; v < VCPUS; v++) {
		f.face[v].page = &page;
		f.bus.face[v] = &f.face[v];
	}
	db_init(&f.db, ports, &f.bus, VCPUS, (enum bh_route)((options & 7) % BH_ROUTES));
	db_set_budget(&f.db, options >> 3 & 3, 100);
	db_set_mask(&f.db, &f.mask);
	for (unsigned v = 0; v < VCPUS && !(options & 0x20); v++)
		db_set_pages(&f.db, v, &f.pending[v], &f.control[v]);
	for (unsigned v = 0; v < VCPUS && !(options & 0x40); v++)
		for (unsigned i = 0; i < COUNT; i++)
			db_set_vector(&f.db, v, group_number[i], 0x40 + v * 16 + i);
	f.taken = options & 0x80 ? (1ull << 62) - 1 : 0;
	for (unsigned i = 0; i < COUNT; i++)
		f.db.used[group_number[i]][0] = f.taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_sequence(data, size);

	set_up(&in);
	while (in.left) {
		step(&in);
		check();
	}
	return 0;
}
