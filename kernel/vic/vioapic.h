/* SPDX-License-Identifier: MIT */
/* A virtual 82093AA: 40 pins that turn the level of a wire into interrupt messages. */
#pragma once

#include "apic_msg.h"

/* 24 pins for the platform's devices, 16 for the doorbells' callback lines. */
#define VIOAPIC_PINS         40
#define VIOAPIC_CALLBACK_PIN 24

#define VIOAPIC_VERSION_82093AA 0x11
#define VIOAPIC_VERSION_EOI     0x20 /* has the EOI register at offset 0x40 */

/* Offsets in the page; 32-bit accesses only, the caller composes narrower ones as its bus would. */
#define VIOAPIC_IOREGSEL 0x00
#define VIOAPIC_IOWIN    0x10
#define VIOAPIC_EOI      0x40

/* What IOREGSEL selects. An entry has two registers, the low half first. */
#define VIOAPIC_REG_ID    0x00
#define VIOAPIC_REG_VER   0x01
#define VIOAPIC_REG_ARB   0x02
#define VIOAPIC_REG_ENTRY 0x10

/* Bits of the low half of an entry. The high half holds the destination in bits 31:24. */
#define VIOAPIC_VECTOR     0x000000ffu
#define VIOAPIC_MODE       0x00000700u
#define VIOAPIC_LOGICAL    0x00000800u
#define VIOAPIC_STATUS     0x00001000u /* delivery status: read-only */
#define VIOAPIC_ACTIVE_LOW 0x00002000u
#define VIOAPIC_REMOTE_IRR 0x00004000u /* read-only */
#define VIOAPIC_LEVEL      0x00008000u
#define VIOAPIC_MASKED     0x00010000u

/*
 * One per VM. The caller holds the VM's IOAPIC lock for every call below, so that nothing here is atomic. Whoever
 * changed anything (a register write, a line, an EOI, a retry) drains the pins before it drops the lock:
 *
 *	while (vioapic_next(io, &pin, &msg))
 *		vioapic_sent(io, pin, post_to_all_targets_of(&msg));
 *
 * A set of pins is a bit mask, bit n for pin n. The first four sets follow from `entry` and `high` alone.
 */
struct vioapic {
	uint64_t entry[VIOAPIC_PINS]; /* what the guest wrote; the two read-only bits are kept in the sets */
	uint64_t high;                /* electrical level of each pin */
	uint64_t asserted;            /* `high` seen through the polarity */
	uint64_t level;               /* level-triggered, in a mode that can be */
	uint64_t open;                /* unmasked, in a mode that is not reserved */
	uint64_t latched;             /* an edge that no LAPIC has accepted yet */
	uint64_t remote_irr;
	uint64_t held; /* nobody accepted it; not tried again until a retry */
	uint64_t changed;
	uint8_t version;
	uint8_t id;
	uint8_t select;
};

/*
 * Power-on state: every entry masked and edge-triggered, every pin electrically low (whoever owns a line that idles
 * high drives it high before the guest runs). version is one of the two above, id is 0 to 15.
 */
void vioapic_init(struct vioapic *io, uint8_t version, uint8_t id);

/* 32-bit accesses at an offset in the page. What does not exist reads 0 and ignores writes. Drain after a write. */
uint32_t vioapic_read(const struct vioapic *io, uint32_t offset);
void vioapic_write(struct vioapic *io, uint32_t offset, uint32_t value);

/* The wire of a pin (0 to 39, others are ignored) goes electrically high or low. Then drain. */
void vioapic_set_line(struct vioapic *io, unsigned pin, bool high);

/*
 * The next pin with a message that is not held up, lowest first: true, *pin and *msg. The caller posts to the message's
 * targets and answers with vioapic_sent() for that pin, in the same hold of the lock.
 */
bool vioapic_next(const struct vioapic *io, unsigned *pin, struct apic_msg *msg);

/*
 * The answer to vioapic_next(). Accepted by at least one LAPIC: an edge is done, a level sets remote IRR. By none: the
 * pin is held up (delivery status 1, remote IRR clear) and waits for a retry.
 */
void vioapic_sent(struct vioapic *io, unsigned pin, bool accepted);

/*
 * Lets every held-up pin try again: after a LAPIC of the VM was enabled, or changed its mode, ID, LDR or DFR. A write
 * to either half of an entry does so for that entry by itself. Then drain.
 */
void vioapic_retry(struct vioapic *io);

/* An EOI message, broadcast or directed: clears remote IRR of every level entry with that vector. Then drain. */
void vioapic_eoi(struct vioapic *io, uint8_t vector);

/* Where the entry of a pin (0 to 39) points now: fills *msg, masked or not. True: it is in `open`, and delivers. */
bool vioapic_entry(const struct vioapic *io, unsigned pin, struct apic_msg *msg);

/* The set of entries in which a write changed a bit since this was last asked. Asking clears it. */
uint64_t vioapic_changed(struct vioapic *io);
