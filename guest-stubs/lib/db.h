/* SPDX-License-Identifier: MIT */
/* The guest's side of doorbells: pages, masks and the consumer's loop, all by the ABI. */
#ifndef GUEST_DB_H
#define GUEST_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-stubs/lib/bellhop.h"

/* What handles a port, on the CPU that has cleared its bit. */
typedef void (*db_handler)(uint32_t port);

/* Boot CPU: registers the mask page and the pages of VCPUs 0 to vcpus - 1. 0 or the first error. */
long db_init(unsigned vcpus, db_handler handler);

/* BH_OPEN: a port number or an error. */
static inline long db_open(enum bh_kind kind, unsigned vcpu, unsigned group)
{
	return bellhop_call3(BH_OPEN, kind, vcpu, group);
}

/* BH_RING: enum bh_rung or an error. */
static inline long db_ring(uint32_t port)
{
	return bellhop_call1(BH_RING, port);
}

/* BH_RING_MANY: how many of the rings, at most BH_RINGS, were accepted; or an error. Memory is mapped one to one. */
static inline long db_ring_many(struct bh_ring *rings, unsigned count)
{
	return bellhop_call2(BH_RING_MANY, (unsigned long)rings, count);
}

/*
 * db_ring() for a port of this VM, bound to `vcpu` as far as the caller knows, without the hypercall if the bit is pending
 * there: then it is BH_RUNG_COALESCED. Who consumes it sees what the caller wrote before. Any CPU.
 */
long db_notify(unsigned vcpu, uint32_t port);

/* BH_TIMER: `deadline` is of the calling CPU's TSC, 0 for none. 0 or an error. */
static inline long db_arm(uint32_t port, uint64_t deadline)
{
	return bellhop_call3(BH_TIMER, port, (unsigned long)deadline, (unsigned long)(deadline >> 32));
}

/* From the return on, rings of the port raise nothing. Any CPU. */
void db_mask(uint32_t port);

/*
 * Whoever unmasks looks: a bit found on this CPU's page is handled here and now, one on another VCPU's page is kicked.
 * Any CPU, IF=0.
 */
void db_unmask(uint32_t port);

/*
 * Handles what is pending and not masked on the pages of `vcpu`: of one group, or of all. Any CPU: a bit is handled by the
 * one who clears it. Returns how many were handled.
 */
unsigned db_consume_group(unsigned vcpu, unsigned group);
unsigned db_consume(unsigned vcpu);

/* Looking only, and clearing without handling (which also leaves the summary word clear). */
bool db_is_pending(unsigned vcpu, uint32_t port);
bool db_take(unsigned vcpu, uint32_t port);
unsigned db_drop_group(unsigned vcpu, unsigned group);

/* The VCPU's control page, for its counters. */
const volatile struct bh_control *db_control(unsigned vcpu);

/* Physical addresses of the pages, for tests that register them by hand. */
unsigned long db_mask_page(void);
unsigned long db_pending_page(unsigned vcpu);
unsigned long db_control_page(unsigned vcpu);

#endif
