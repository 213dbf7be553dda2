/* SPDX-License-Identifier: MIT */
/* Routes: where a doorbell's bit goes, which interrupt it raises, and the callback lines that some of them use. */
#pragma once

#include "abi.h"
#include "apic_msg.h"
#include "doorbell.h"
#include "vioapic.h"

/* The route of that number; NULL if there is none. Const data: any CPU. */
const struct db_route *route_find(uint64_t number);

#define ROUTE_LINES (VIOAPIC_PINS - VIOAPIC_CALLBACK_PIN)

/*
 * The callback lines of a VM. A line is raised with an upcall and lowered by the EOI of its interrupt, unless another
 * upcall came in between. Nobody has to acknowledge it at a device; the acknowledgement is the guest's clearing
 * of the summary bit, and the line only says "look".
 *
 * The caller holds the VM's IOAPIC lock for every call below, and drains the IOAPIC before it drops it.
 */
struct route_lines {
	uint64_t raised;               /* pins, as in the IOAPIC's sets: an upcall is owed or in service */
	uint64_t sent;                 /* of those: the interrupt has been accepted by a LAPIC */
	uint64_t again;                /* of those: another upcall has come since */
	uint32_t waiting[ROUTE_LINES]; /* VCPUs whose bits the next interrupt of the line is for */
	uint32_t port[ROUTE_LINES][VIC_MAX_VCPUS]; /* of each that waits: the port that was first */
};

/* An upcall for the bit of `port` (or DB_NO_PORT) on the page of `vcpu`, by line `pin`. */
void route_raise(struct route_lines *lines, struct vioapic *io, unsigned pin, unsigned vcpu, uint32_t port);

/*
 * The IOAPIC sent a callback line's interrupt to these VCPUs (not empty). Returns the VCPUs that had been waiting
 * for it and are not among them: each is one misdirected upcall, and lines->port says whose.
 */
uint32_t route_sent(struct route_lines *lines, struct vioapic *io, unsigned pin, uint32_t targets);

/* An EOI message for `vector`, before the IOAPIC sees it: lowers the lines whose interrupt it ends. */
void route_eoi(struct route_lines *lines, struct vioapic *io, uint8_t vector);

/*
 * Entries were rewritten: an upcall whose edge fell on a masked entry is given its edge again, so that rewriting an
 * edge-triggered callback entry loses nothing. `changed` is vioapic_changed().
 */
void route_rewritten(struct route_lines *lines, struct vioapic *io, uint64_t changed);

/*
 * Entries or LAPICs changed: has each group of `pins` (IOAPIC pins) follow its entry. Returns the groups whose places
 * are others now, as a bit mask: if the route in force is `follow`, their bits are to be moved (db_settle()). An
 * entry that selects nobody leaves its group where it was.
 */
uint32_t route_follow(struct route_lines *lines, struct db_vm *db, const struct vioapic *io, uint64_t pins);

/*
 * Who gets a message from callback line `pin` whose targets by the manual are `targets`: VCPU 0 on `vcpu0`, whoever they are;
 * on `follow`, of several, those whose bits it is for. Any other pin's targets are the manual's.
 */
uint32_t route_targets(const struct route_lines *lines, const struct db_vm *db, unsigned pin,
                       uint32_t targets);
