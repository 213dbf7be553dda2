/* SPDX-License-Identifier: MIT */
/* A virtual 8254, and the bits of port 0x61 that belong to its channel 2. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define VPIT_HZ       1193182u
#define VPIT_CHANNELS 3

#define VPIT_CHANNEL0 0x40 /* and 0x41, 0x42 */
#define VPIT_CONTROL  0x43
#define VPIT_NEVER    UINT64_MAX

struct vpit_channel {
	uint64_t at;      /* tick at which the counting element held `count` */
	uint64_t load_at; /* tick of the next CLK pulse that loads the count register, or VPIT_NEVER */
	uint64_t rises;   /* rising edges of OUT */
	uint32_t count;   /* counting element, 0 to 65536 */
	uint32_t reload;  /* count register, 1 to 65536 */
	uint32_t cycle;   /* the count with which the current cycle or half-cycle began */
	uint16_t latch;   /* latched count */
	uint8_t status;   /* latched status */
	uint8_t control;  /* access, mode and BCD bits exactly as written */
	uint8_t mode;     /* 0 to 5: the modes "X10" and "X11" are 2 and 3 */
	uint8_t low;      /* first byte of a two-byte count */
	bool latch_full;
	bool status_full;
	bool read_high;  /* two-byte access: the next read is the MSB */
	bool write_high; /* two-byte access: the next write is the MSB */
	bool written;    /* a count was written since the control word */
	bool null;       /* the count register is not in the counting element yet */
	bool counting;   /* the counting element runs, if the gate lets it */
	bool armed;      /* terminal count will change OUT */
	bool gate;
	bool out;
};

/*
 * One per VM. The caller holds the VM's PIT lock for every call. `now` is absolute time in input-clock ticks
 * (VPIT_HZ); one older than the newest seen counts as that one. A write at tick t falls between the CLK
 * pulses t and t + 1, so what the manual lets happen "on the next CLK pulse" happens at t + 1.
 */
struct vpit {
	struct vpit_channel channel[VPIT_CHANNELS];
	uint64_t now;
	uint64_t told;  /* channel 0: rises already reported by vpit_tick() */
	uint8_t port61; /* bits 3:0 as written */
};

/* What OUT of channel 0 did since the last vpit_tick(). */
struct vpit_edges {
	uint64_t rises; /* number of rising edges */
	bool out;       /* level now */
};

/* Nothing programmed, nothing counts, every OUT is high; gates 0 and 1 are high for good, gate 2 is low. */
void vpit_init(struct vpit *pit, uint64_t now);

/*
 * 8-bit accesses to port 0x40 to 0x43; the control port reads 0xff. After a write OUT may have changed: ask vpit_tick()
 * and vpit_deadline() again.
 */
uint8_t vpit_read(struct vpit *pit, uint16_t port, uint64_t now);
void vpit_write(struct vpit *pit, uint16_t port, uint8_t value, uint64_t now);

/* Port 0x61: bits 3:0 as written (bit 0 is gate 2), bit 4 toggles with each refresh, bit 5 is OUT 2. */
uint8_t vpit_port61_read(struct vpit *pit, uint64_t now);
void vpit_port61_write(struct vpit *pit, uint8_t value, uint64_t now);

/*
 * Brings channel 0 up to date, and says what its OUT did. The caller drives IRQ 0: if rises is not 0, low and then
 * high; then the level `out`. Periods that went by unseen are one edge, as they are in a controller that has one
 * request bit for the line; `rises` tells how many there were.
 */
struct vpit_edges vpit_tick(struct vpit *pit, uint64_t now);

/*
 * The next tick, later than now, at which OUT of channel 0 changes if nobody writes; VPIT_NEVER: it does not. A low
 * pulse of one CLK (modes 2, 4, 5) is one change, at its end: vpit_tick() tells of both edges there. A guest can make
 * these two ticks apart; the caller bounds how often it lets itself be woken.
 */
uint64_t vpit_deadline(struct vpit *pit, uint64_t now);
