/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware, by the ACPI specification's chapter "ACPI Hardware Specification". */
#include "kernel/dev/vpm.h"

#include "kernel/dev/clock.h"

#define STATUS_TIMER 0x0001u
/* Timer, global lock, power button, sleep button, RTC and wake: each is cleared by writing a 1. */
#define STATUS_BITS           0x8721u
#define ENABLE_BITS           0x0721u
#define CONTROL_SCI           0x0001u /* no SMI_CMD in the FADT: the machine is always in ACPI mode */
#define CONTROL_BITS          0x1c02u /* SLP_TYP and BM_RLD; GBL_RLS and SLP_EN read as 0 */
#define CONTROL_SLEEP         0x2000u
#define CONTROL_TYPE(control) ((control) >> 10 & 7u)

#define HALF (1ull << 31)

void vpm_init(struct vpm *p, uint64_t now, uint64_t hz)
{
	*p = (struct vpm){ .origin = now, .hz = hz, .control = CONTROL_SCI };
}

static uint64_t timer(const struct vpm *p, uint64_t now)
{
	/* The TSCs of two CPUs may differ by a little. */
	return now < p->origin ? 0 : clock_count(now - p->origin, p->hz, PM_TIMER_HZ);
}

/* "Power Management Timer": the status bit is set whenever the top bit of the value changes. */
void vpm_tick(struct vpm *p, uint64_t now)
{
	uint64_t halves = timer(p, now) / HALF;

	if (halves > p->halves) {
		p->status |= STATUS_TIMER;
		p->halves = halves;
	}
}

bool vpm_line(const struct vpm *p)
{
	return p->status & p->enable;
}

uint64_t vpm_deadline(const struct vpm *p)
{
	if (!(p->enable & STATUS_TIMER) || vpm_line(p))
		return UINT64_MAX;
	return p->origin + clock_ticks((p->halves + 1) * HALF, p->hz, PM_TIMER_HZ);
}

static unsigned register_byte(const struct vpm *p, unsigned offset, uint32_t count)
{
	const uint32_t image[PM_SIZE / 4] = { p->status | (uint32_t)p->enable << 16, p->control, count };

	return offset < PM_SIZE ? image[offset / 4] >> offset % 4 * 8 & 0xff : 0xff;
}

uint32_t vpm_read(struct vpm *p, unsigned offset, unsigned size, uint64_t now)
{
	uint32_t value = 0, count = (uint32_t)timer(p, now);

	vpm_tick(p, now);
	for (unsigned i = 0; i < size; i++)
		value |= (uint32_t)register_byte(p, offset + i, count) << i * 8;
	return value;
}

bool vpm_write(struct vpm *p, unsigned offset, unsigned size, uint32_t value, uint64_t now)
{
	bool sleep = false;

	vpm_tick(p, now);
	for (unsigned i = 0; i < size; i++, value >>= 8) {
		unsigned at = offset + i, shift = at % 2 * 8;
		uint16_t byte = (uint16_t)((value & 0xff) << shift), kept = (uint16_t)(0xff00u >> shift);

		switch (at & ~1u) {
		case PM_EVENT - PM_BASE:
			p->status &= (uint16_t) ~(byte & STATUS_BITS);
			break;
		case PM_EVENT - PM_BASE + 2:
			p->enable = (uint16_t)((p->enable & kept) | (byte & ENABLE_BITS));
			break;
		case PM_CONTROL - PM_BASE:
			p->control = (uint16_t)((p->control & kept) | (byte & CONTROL_BITS) | CONTROL_SCI);
			sleep |= byte & CONTROL_SLEEP;
			break;
		}
	}
	return sleep && CONTROL_TYPE(p->control) == PM_SLEEP_OFF;
}
