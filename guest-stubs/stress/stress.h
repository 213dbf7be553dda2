/* SPDX-License-Identifier: MIT */
/* The stress guest's parts: ports with their counts, the callback lines, and the random operations on both. */
#ifndef STRESS_H
#define STRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-stubs/lib/db.h"

#define MAX_VCPUS 8 /* what a logical destination in flat mode can name */

/* How a port is closed while others ring, and so how much of it can be counted. */
enum port_class {
	PORT_CLEAN, /* at rest only: each of its lives is accounted for to the last ring */
	PORT_DIRTY, /* at any time: a bit that was pending goes with it */
	PORT_TIMED, /* likewise, and rings itself as well */
	PORT_FAR,   /* likewise, and rung by the other VM */
	PORT_DONE   /* the other VM says by it that it rings no more; never closed, always masked */
};

#define LINE_VECTOR   0x40 /* + group: the group's callback line; group 0's serves every group */
#define NATIVE_VECTOR 0x50 /* + group */
#define OTHER_VECTOR  0x38 /* every line that is no callback's */
#define NAP_VECTOR    0x39

struct options {
	uint64_t seed;
	uint64_t events; /* random operations of all VCPUs together */
	unsigned vcpus;
	bool exact;  /* only routes that never misdirect, and handlers that look at their own page alone */
	bool offers; /* of two VMs, the one that offers; the other connects */
	bool has_peer;
};

/* Constant once the VCPUs work. */
extern struct options options;

/* What went wrong; any of them not 0 fails the run. Counted atomically, by any VCPU. */
struct faults {
	volatile unsigned refused;  /* a hypercall gave an error that the situation does not allow */
	volatile unsigned stray;    /* a bit of a port that nobody opened */
	volatile unsigned doubled;  /* more consumed and coalesced than rung */
	volatile unsigned answers;  /* the ringers' count of accepted rings is not the port's */
	volatile unsigned readback; /* the IOAPIC read back something else than was written */
};

extern struct faults faults;

/* A VCPU's own counts and random numbers: written by it alone. */
struct worker {
	uint64_t random;
	uint64_t events, rings, consumed, closes, rebinds, routes, rewrites, sleeps;
	volatile unsigned section; /* odd while it is consuming */
	volatile bool done;
} __attribute__((aligned(64)));

extern struct worker workers[MAX_VCPUS];

struct worker *worker_self(void);

/* A number below n, of the calling VCPU's own sequence. IF=0. */
unsigned stress_random(unsigned n);

/* ports.c */

/* Opens every port. Boot CPU. */
bool ports_open(void);

/* Handles what is pending: one group, or all of them (BH_GROUPS). IF=0. */
void ports_consume(unsigned group);

/* The operations, each on a port of its own choice. IF=0; ports_close() lets interrupts in. */
void ports_ring(void);
void ports_mask(void);
void ports_unmask(void);
void ports_rebind(void);
void ports_kick(void);
void ports_arm(void);
void ports_audit(void);
void ports_close(void);

/* No more rings from handlers and timers, from here on. Boot CPU. */
void ports_stop(void);

/* Tells the peer that this VM rings no more; false until the peer is there to hear it. */
bool ports_say_done(void);
bool ports_heard_done(void);

/* Boot CPU: unmasks all of them. IF=0. */
void ports_unmask_all(void);

/* True if every ring of every open port is consumed or coalesced. Any time. */
bool ports_at_rest(void);

/* Over all open ports: rings that are unaccounted for, consumed too often, and bits that are still pending. At rest. */
void ports_balance(uint64_t *lost, uint64_t *doubled, uint64_t *stuck);

/* lines.c */

/* Vectors, destinations, a periodic PIT; each VCPU for itself: lines_join(). */
bool lines_init(void);
void lines_join(void);

/* Rewrites one entry, a callback line's or another's, and reads it back. IF=0. */
void lines_rewrite_callback(void);
void lines_rewrite_other(void);

/* Boot CPU: every callback line open and aimed at somebody, so that whatever was held up comes now. IF=0. */
void lines_restore(void);

#endif
