/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware: PM1a event and control registers, 32-bit PM timer. Pure: time is an argument. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Ports, as the FADT says them. */
#define PM_BASE      0x600u
#define PM_EVENT     (PM_BASE + 0) /* status, then enable: 16 bits each */
#define PM_CONTROL   (PM_BASE + 4)
#define PM_TIMER     (PM_BASE + 8)
#define PM_SIZE      12u
#define PM_TIMER_HZ  3579545u
#define PM_SLEEP_OFF 5u /* SLP_TYP of S5, as \_S5 says */
#define PM_SCI       9u /* the SCI's line */

enum vpm_reg { PM_STATUS, PM_ENABLE, PM_CONTROL_A };

struct vpm {
	uint16_t reg[3]; /* by enum vpm_reg; a reserved byte pair follows in the port space, then the timer */
	uint64_t origin; /* TSC when the timer was 0 */
	uint64_t hz;
	uint64_t halves; /* of 2^31 counts: the timer's top bit has toggled so often */
};

void vpm_init(struct vpm *p, uint64_t now, uint64_t hz);
/* `offset` from PM_BASE, size 1, 2 or 4; what lies beyond PM_SIZE reads as ones. */
uint32_t vpm_read(struct vpm *p, unsigned offset, unsigned size, uint64_t now);
/* True: the guest has put the machine into S5. */
bool vpm_write(struct vpm *p, unsigned offset, unsigned size, uint32_t value, uint64_t now);
/* Sets the timer's status bit when it is due; vpm_line() is right after it. */
void vpm_tick(struct vpm *p, uint64_t now);
/* The level of the SCI. */
bool vpm_line(const struct vpm *p);
/* When vpm_line() will rise by itself, in TSC ticks; UINT64_MAX: never. */
uint64_t vpm_deadline(const struct vpm *p);
