/* SPDX-License-Identifier: MIT */
/* Doorbells: the ports of one VM, their pending bits in guest memory, and what a ring sets off. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "abi.h"
#include "apic_msg.h"
#include "icr.h"

/*
 * One port. `word` is the whole binding, so that a ring that races a rebind sees the old binding or the
 * new one but never a mixture; `peer` likewise is the whole connection.
 *
 * Written under the doorbell lock (open, close, rebind, offer, connect); read by anybody who rings, without it. The
 * counters are added to by whoever rings; they are exact at rest.
 */
struct db_port {
	_Atomic uint32_t word; /* DB_OPEN | kind << 8 | VCPU; 0 is a closed port */
	_Atomic uint32_t peer; /* DB_CONNECTED | VM << 16 | port */
	uint32_t offered;      /* the VM that may connect, plus one; 0 is nobody */
	uint32_t reserved;
	_Atomic uint64_t rung;
	_Atomic uint64_t coalesced;
	_Atomic uint64_t upcalls;
	_Atomic uint64_t misdirected;
	_Atomic uint64_t throttled;
	_Atomic uint64_t budget; /* period << 16 | upcalls in it */
};

_Static_assert(sizeof(struct db_port) == 64, "a cache line a port");

#define DB_OPEN      (1u << 31)
#define DB_CONNECTED (1u << 31)

/* One-shot timers of a VM, for as many ports of kind BH_TIMED. */
#define DB_TIMERS 32
#define DB_NEVER  UINT64_MAX

struct db_timer {
	_Atomic uint32_t port;     /* DB_OPEN | port; 0: free. Under the doorbell lock */
	_Atomic uint64_t deadline; /* host TSC; DB_NEVER: not armed. Whoever takes it away rings */
};

/* The guest pages of one VCPU, as the hypervisor sees them; NULL unless registered. */
struct db_pages {
	_Atomic(_Atomic uint64_t *) pending; /* struct bh_bits */
	_Atomic(struct bh_control *) control;
};

struct db_route;

struct db_vm {
	struct db_port *port; /* BH_PORTS of them, zeroed, the caller's memory */
	unsigned vcpus;
	_Atomic(_Atomic uint64_t *) mask; /* struct bh_bits of the VM; NULL: nothing is masked */
	_Atomic(const struct db_route *) route;
	struct db_pages page[VIC_MAX_VCPUS];
	_Atomic uint8_t vector[VIC_MAX_VCPUS][BH_GROUPS];
	/* `follow`: the VCPUs that the entry of a group's line selects. Written under the IOAPIC's lock; never empty. */
	_Atomic uint32_t follow[BH_GROUPS];
	struct apic_bus *bus; /* of the VM; constant */
	/* A port's upcalls in each period of TSC ticks, at most 65,535; 0: as many as it likes. Constant. */
	uint32_t budget;
	uint64_t period;
	_Atomic uint64_t held[BH_GROUPS * BH_GROUP_WORDS]; /* ports whose upcall waits for the next period */
	_Atomic uint64_t refill;                           /* when that begins; DB_NEVER: nothing is held */
	struct db_timer timer[DB_TIMERS];
	uint64_t used[BH_GROUPS][BH_GROUP_WORDS]; /* allocated slots; under the doorbell lock */
};

/* What the caller still has to do after a step, with no lock held. */
enum db_what {
	DB_NOTHING,
	DB_VECTOR, /* post `vector` to `vcpu` */
	DB_LINE,   /* raise callback line `pin` for the bits of `vcpu` */
	DB_LATER,  /* db_deadline() may have become earlier */
};

struct db_effect {
	int32_t result; /* the hypercall's: enum bh_rung, or enum bh_error */
	enum db_what what : 8;
	uint8_t vcpu;
	uint8_t vector;
	uint8_t pin;
	uint32_t also; /* DB_LINE: more VCPUs than `vcpu`, a bit mask */
	uint32_t port; /* whose upcall it is; DB_NO_PORT: a whole group's */
};

_Static_assert(sizeof(struct db_effect) == 16, "returned in two registers");

#define DB_NO_PORT UINT32_MAX

/* Where a route puts a bit and what it raises. A const table in route.c. */
struct db_route {
	const char *name;
	enum bh_route number;
	bool can_misdirect; /* the interrupt may go to a VCPU without the bit */
	/*
	 * The VCPUs on one of whose pages the bit of such a port belongs. Of several, arbitration picks at each ring. NULL:
	 * the bound one.
	 */
	uint32_t (*places)(const struct db_vm *db, unsigned group);
	/*
	 * The interrupt for new summary bits of `group` on `vcpu`: fills what, vcpu, pin. NULL: the vector that the VCPU
	 * has registered.
	 */
	void (*raise)(unsigned vcpu, unsigned group, struct db_effect *effect);
};

/* Boot CPU. `ports` is BH_PORTS zeroed ports, `bus` the VM's; vcpus 1 to VIC_MAX_VCPUS. */
void db_init(struct db_vm *db, struct db_port *ports, struct apic_bus *bus, unsigned vcpus,
             enum bh_route route);

/* Boot CPU, after db_init(): at most `upcalls` (0: no limit, to 65,535) of each port in each `period` TSC ticks. */
void db_set_budget(struct db_vm *db, uint32_t upcalls, uint64_t period);

#define WORD_VCPU(word) ((word)&0xffu)
#define WORD_KIND(word) ((word) >> 8 & 0xffu)

static inline uint32_t open_word(const struct db_vm *db, uint64_t port)
{
	return port < BH_PORTS ? atomic_load(&db->port[port].word) : 0;
}

/* Who a ring of `port` is for. 0: this VM, *to is the port. 1: VM *vm's port *to. Else enum bh_error. Any CPU. */
static inline int db_resolve(const struct db_vm *db, uint64_t port, unsigned *vm, uint32_t *to)
{
	uint32_t word = open_word(db, port);
	uint32_t peer;

	if (port >= BH_PORTS)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	if (WORD_KIND(word) != BH_INTERVM) {
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

/*
 * Rings a port of this VM: sets its bit where the route says. Any CPU, no lock; between db_resolve() and the end of
 * this call the caller is "ringing", which a rebind waits for (kernel/hypercall.c).
 */
struct db_effect db_ring(struct db_vm *db, uint32_t port, uint64_t now);

/* Raises the upcall for a pending, unmasked bit, wherever it is. Any CPU, "ringing" as above. */
struct db_effect db_kick(struct db_vm *db, uint64_t port);

/*
 * Time. `now` is the host's TSC. When it reaches db_deadline() (DB_NEVER: not at all), somebody calls db_due() until it is
 * false, "ringing", and does each effect: timers that are due ring, and ports that were held are announced. *cursor is 0
 * at first and belongs to db_due(). Any CPU, one at a time.
 */
uint64_t db_deadline(const struct db_vm *db);
bool db_due(struct db_vm *db, uint64_t now, uint32_t *cursor, struct db_effect *effect);

/* Arms the timer of a port of kind BH_TIMED, or disarms it (DB_NEVER). Any CPU. 0 or enum bh_error. */
int db_arm(struct db_vm *db, uint64_t port, uint64_t deadline);

/* The rest under the doorbell lock, from any CPU. Results are enum bh_error where negative. */

int db_open(struct db_vm *db, uint64_t kind, uint64_t vcpu, uint64_t group); /* the port */

/*
 * Close, in two steps around the wait for rings in flight: the port is closed at once, its slot is free after. The second
 * gives the number of accepted rings that were pending and went with it.
 */
int db_close(struct db_vm *db, uint64_t port);
int db_release(struct db_vm *db, uint32_t port);

/* Rebind, likewise: rings use the new VCPU at once; after the wait db_move() brings a bit that was left behind. */
int db_rebind(struct db_vm *db, uint64_t port, uint64_t vcpu);
struct db_effect db_move(struct db_vm *db, uint32_t port);

/*
 * A new route, or an entry that `follow` follows, likewise: after the wait db_settle() moves every bit of these groups
 * (a bit mask) that is on a page where it does not belong, and db_raise() is due for each of them on every VCPU: it
 * raises the upcall if that group's summary is not clear.
 */
enum bh_route db_set_route(struct db_vm *db, enum bh_route route);
void db_settle(struct db_vm *db, uint32_t groups);
struct db_effect db_raise(struct db_vm *db, unsigned vcpu, unsigned group);

int db_offer(struct db_vm *db, uint64_t port, unsigned to_vm);
/* Connects `port` of `db` (VM number `self`) and `far_port` of `far` (VM number `far_self`). */
int db_connect(struct db_vm *db, unsigned self, uint64_t port, struct db_vm *far, unsigned far_self,
               uint64_t far_port);
/* Forgets every connection of `db` to VM number `gone`: their rings fail from now on. */
void db_disconnect(struct db_vm *db, unsigned gone);

/* Registers pages: the caller has checked that they are the guest's own RAM. */
int db_set_pages(struct db_vm *db, uint64_t vcpu, void *pending, void *control);
/* Forgets them, if no port is open. The caller waits for rings in flight before the guest may have them back. */
int db_drop_pages(struct db_vm *db, uint64_t vcpu);
void db_set_mask(struct db_vm *db, void *mask);
int db_set_vector(struct db_vm *db, uint64_t vcpu, uint64_t group, uint64_t vector);

/* A port's counter, or enum bh_error. Any CPU, no lock. */
int64_t db_stat(const struct db_vm *db, uint64_t port, uint64_t which);

/* Adds one misdirected upcall to the port (DB_NO_PORT: to none) and to the VCPU that holds the bit. Any CPU. */
void db_count_misdirected(struct db_vm *db, uint32_t port, unsigned vcpu);
