/* SPDX-License-Identifier: MIT */
/* The LAPIC timer: one-shot, periodic, TSC-deadline. No ticking: an end, and arithmetic. */
#include "vlapic_priv.h"

static uint32_t timer_lvt(const struct vlapic *v)
{
	return v->page->slot[APIC_LVT_TIMER].low;
}

/* One-shot or periodic. The encoding 11b is reserved: such a timer neither counts nor has a deadline. */
static bool timer_counts(const struct vlapic *v)
{
	return !(timer_lvt(v) & APIC_TIMER_DEADLINE);
}

static bool timer_has_deadline(const struct vlapic *v)
{
	return (timer_lvt(v) & APIC_TIMER_MODE) == APIC_TIMER_DEADLINE;
}

/* SDM vol. 3, "APIC Timer": bits 3, 1 and 0 together are 0 for a division by 2, ... 6 by 128, and 7 by 1. */
static unsigned int timer_shift(const struct vlapic *v)
{
	uint32_t divide = v->page->slot[APIC_TIMER_DIVIDE].low;

	return ((divide >> 1 & 4) + (divide & 3) + 1) & 7;
}

/* The end `left` from now; at the end of time rather than wrap: a guest may have set its TSC that high. */
static void timer_ends(struct vlapic *v, uint64_t left, uint64_t now)
{
	v->timer_end = left <= UINT64_MAX - now ? now + left : UINT64_MAX;
}

static void timer_start(struct vlapic *v, uint32_t count, uint64_t now)
{
	timer_ends(v, (uint64_t)count << timer_shift(v), now);
}

uint64_t vlapic_deadline(const struct vlapic *v)
{
	/* Masked, it interrupts nobody: the count is worked out when somebody reads it. */
	return v->timer_armed && !(timer_lvt(v) & APIC_LVT_MASKED) ? v->timer_end : VLAPIC_NEVER;
}

int vlapic_timer_vector(const struct vlapic *v)
{
	uint32_t lvt = timer_lvt(v), vector = lvt & APIC_LVT_VECTOR;

	if (vlapic_deadline(v) == VLAPIC_NEVER || (lvt & APIC_TIMER_MODE) == APIC_TIMER_PERIODIC ||
	    vector < 16 || (v->page->slot[APIC_TMR + vector / 32].low >> vector % 32 & 1))
		return -1;
	return (int)vector;
}

void vlapic_fired(struct vlapic *v)
{
	v->timer_armed = false;
}

bool vlapic_tick(struct vlapic *v, uint64_t now)
{
	uint32_t lvt = timer_lvt(v), initial = *vlapic_reg(v, APIC_TIMER_INITIAL);

	if (!v->timer_armed || now < v->timer_end)
		return false;
	/* From a whole number of periods after the last end: late calls do not add up, unseen ones are one in IRR. */
	if ((lvt & APIC_TIMER_MODE) == APIC_TIMER_PERIODIC)
		timer_start(v, initial, now - (now - v->timer_end) % ((uint64_t)initial << timer_shift(v)));
	else
		v->timer_armed = false;
	return !(lvt & APIC_LVT_MASKED) && vlapic_accept(v, (uint8_t)(lvt & APIC_LVT_VECTOR), false);
}

uint32_t vlapic_timer_count(struct vlapic *v, uint64_t now)
{
	uint32_t initial = *vlapic_reg(v, APIC_TIMER_INITIAL);
	uint64_t left;

	/* Due and not yet ticked: an expired one-shot stands at 0, a periodic timer is in a later period. */
	vlapic_tick(v, now);
	if (!v->timer_armed || !timer_counts(v))
		return 0;
	left = (v->timer_end - now + (1ull << timer_shift(v)) - 1) >> timer_shift(v);
	return left < initial ? (uint32_t)left : initial;
}

void vlapic_timer_write(struct vlapic *v, unsigned int slot, uint32_t value, uint64_t now)
{
	uint32_t *reg = vlapic_reg(v, slot);

	vlapic_tick(v, now);
	if (slot == APIC_TIMER_INITIAL) {
		/* SDM vol. 3, "TSC-Deadline Mode": there, writes to the initial-count register are ignored. */
		if (!timer_counts(v))
			return;
		*reg = value;
		v->timer_armed = value != 0;
		timer_start(v, value, now);
	} else if (slot == APIC_TIMER_DIVIDE) {
		uint32_t count = vlapic_timer_count(v, now);

		/* The count keeps its value and goes on at the new rate; the prescaler starts afresh. */
		*reg = value;
		if (v->timer_armed && timer_counts(v))
			timer_start(v, count, now);
	} else {
		uint32_t old = *reg;

		/* Same section: going to or from that mode disarms. Between the others the count goes on. */
		*reg = value;
		if (((old ^ value) & APIC_TIMER_MODE) && ((old | value) & APIC_TIMER_DEADLINE)) {
			v->timer_armed = false;
			*vlapic_reg(v, APIC_TIMER_INITIAL) = 0;
		}
	}
}

uint64_t vlapic_tsc_deadline_read(struct vlapic *v, uint64_t now)
{
	vlapic_tick(v, now);
	return v->timer_armed && timer_has_deadline(v) ? v->timer_end : 0;
}

struct vlapic_effect vlapic_tsc_deadline_write(struct vlapic *v, uint64_t value, uint64_t now)
{
	if (!timer_has_deadline(v))
		return (struct vlapic_effect){ .does = 0 };
	vlapic_tick(v, now);
	v->timer_end = value;
	v->timer_armed = value != 0;
	vlapic_tick(v, now);
	return (struct vlapic_effect){ .does = VLAPIC_TIMER };
}

uint64_t vlapic_arm(struct vlapic *v, uint32_t msr, uint64_t value, uint64_t now)
{
	if (value == 0 || (v->timer_armed && now >= v->timer_end))
		return 0;
	if (msr == APIC_MSR_BASE + APIC_TIMER_INITIAL) {
		if (!timer_counts(v) || value > UINT32_MAX || !vlapic_is_x2apic(v))
			return 0;
		*vlapic_reg(v, APIC_TIMER_INITIAL) = (uint32_t)value;
		timer_start(v, (uint32_t)value, now);
	} else {
		if (!timer_has_deadline(v) || value <= now)
			return 0;
		v->timer_end = value;
	}
	v->timer_armed = true;
	return vlapic_deadline(v);
}

void vlapic_tsc_moved(struct vlapic *v, uint64_t from, uint64_t to)
{
	if (v->timer_armed && timer_counts(v))
		timer_ends(v, v->timer_end > from ? v->timer_end - from : 0, to);
}
