/* SPDX-License-Identifier: MIT */
/* An MC146818 clock with 128 bytes of CMOS, behind ports 0x70 and 0x71. Pure: time is an argument. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A moment as people write it; weekday 1 is Sunday. */
struct rtc_time {
	uint16_t year; /* 1970 to 9999 */
	uint8_t month, day, weekday, hour, minute, second;
};

struct vrtc {
	uint8_t index;
	uint8_t cmos[128]; /* clock registers in the guest's own format */
	uint64_t origin;   /* TSC when the divider chain stood at 0 */
	uint64_t hz;
	uint64_t seen; /* counts of 32,768 Hz since then that cmos[] and the flags know of */
};

/* `ram_low` (1 MiB or more), `ram_high`: bytes of RAM below 3 and above 4 GiB, for the CMOS memory. */
void vrtc_init(struct vrtc *r, const struct rtc_time *wall, uint64_t now, uint64_t hz, uint64_t ram_low,
               uint64_t ram_high);
/* Port 0x70 (the index, write only) and 0x71 (data). */
void vrtc_select(struct vrtc *r, uint8_t index);
uint8_t vrtc_read(struct vrtc *r, uint64_t now);
void vrtc_write(struct vrtc *r, uint8_t value, uint64_t now);
/* Brings clock and flags to `now`; vrtc_line() is right after it. */
void vrtc_tick(struct vrtc *r, uint64_t now);
/* The level of ISA line 8. */
bool vrtc_line(const struct vrtc *r);
/* When vrtc_line() will rise by itself, in TSC ticks; UINT64_MAX: never. Call after vrtc_tick(). */
uint64_t vrtc_deadline(const struct vrtc *r);
