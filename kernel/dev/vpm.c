/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware, by the ACPI specification's chapter "ACPI Hardware Specification". */
#include "kernel/dev/vpm.h"

#include "kernel/dev/clock.h"

#define STATUS_TIMER  0x0001u
#define CONTROL_SCI   0x0001u /* no SMI_CMD in the FADT: the machine is always in ACPI mode */
#define CONTROL_SLEEP 0x2000u
#define CONTROL_TYPE  0x1c00u

#define HALF (1ull << 31)

/*
 * Timer, global lock, power button, sleep button, RTC and wake: each is cleared by writing a 1; enables of
 * all but the wake bit; SLP_TYP and BM_RLD. GBL_RLS and SLP_EN read as 0.
 */
static const uint16_t writable[] = { [PM_STATUS] = 0x8721, [PM_ENABLE] = 0x0721, [PM_CONTROL_A] = 0x1c02 };

void vpm_init(struct vpm *p, uint64_t now, uint64_t hz)
{
	*p = (struct vpm){ .origin = now, .hz = hz, .reg[PM_CONTROL_A] = CONTROL_SCI };
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
		p->reg[PM_STATUS] |= STATUS_TIMER;
		p->halves = halves;
	}
}

bool vpm_line(const struct vpm *p)
{
	return p->reg[PM_STATUS] & p->reg[PM_ENABLE];
}

uint64_t vpm_deadline(const struct vpm *p)
{
	if (!(p->reg[PM_ENABLE] & STATUS_TIMER) || vpm_line(p))
		return UINT64_MAX;
	return p->origin + clock_ticks((p->halves + 1) * HALF, p->hz, PM_TIMER_HZ);
}

uint32_t vpm_read(struct vpm *p, unsigned offset, unsigned size, uint64_t now)
{
	uint32_t value = 0, count = (uint32_t)timer(p, now);
	uint32_t image[PM_SIZE / 4];

	vpm_tick(p, now);
	image[0] = p->reg[PM_STATUS] | (uint32_t)p->reg[PM_ENABLE] << 16;
	image[1] = p->reg[PM_CONTROL_A];
	image[2] = count;
	for (unsigned i = 0, at = offset; i < size; i++, at++)
		value |= (at < PM_SIZE ? image[at / 4] >> at % 4 * 8 & 0xff : 0xff) << i * 8;
	return value;
}

bool vpm_write(struct vpm *p, unsigned offset, unsigned size, uint32_t value, uint64_t now)
{
	bool sleep = false;

	vpm_tick(p, now);
	for (unsigned at = offset; at < offset + size && at < sizeof(p->reg); at++, value >>= 8) {
		unsigned index = at / 2, shift = at % 2 * 8, byte = (value & 0xff) << shift;
		unsigned old = p->reg[index], mask = writable[index] & 0xffu << shift;

		p->reg[index] = (uint16_t)(index == PM_STATUS ? old & ~(byte & mask)
		                                              : (old & ~mask) | (byte & mask));
		sleep |= index == PM_CONTROL_A && byte & CONTROL_SLEEP;
	}
	return sleep && (p->reg[PM_CONTROL_A] & CONTROL_TYPE) == PM_SLEEP_OFF << 10;
}
