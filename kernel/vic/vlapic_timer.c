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

static uint64_t timer_period(const struct vlapic *v)
{
	return (uint64_t)v->page->slot[APIC_TIMER_INITIAL].low << timer_shift(v);
}

/* Stays at the end of time rather than wrap: a guest may have set its TSC that high. */
static uint64_t later(uint64_t now, uint64_t ticks)
{
	return now + ticks < now ? UINT64_MAX : now + ticks;
}

uint64_t vlapic_deadline(const struct vlapic *v)
{
	/* Masked, it interrupts nobody: the count is worked out when somebody reads it. */
	if (!v->timer_armed || (timer_lvt(v) & APIC_LVT_MASKED))
		return VLAPIC_NEVER;
	return v->timer_end;
}

bool vlapic_tick(struct vlapic *v, uint64_t now)
{
	uint32_t lvt = timer_lvt(v);

	if (!v->timer_armed || now < v->timer_end)
		return false;
	/*
	 * The next end is a whole number of periods after the last, so that late calls do not add up. Periods
	 * that passed unseen are one interrupt, as they are in a real IRR.
	 */
	if ((lvt & APIC_TIMER_MODE) == APIC_TIMER_PERIODIC) {
		uint64_t period = timer_period(v);

		v->timer_end = later(now, period - (now - v->timer_end) % period);
	} else {
		v->timer_armed = false;
	}
	if (lvt & APIC_LVT_MASKED)
		return false;
	return vlapic_accept(v, (uint8_t)(lvt & APIC_LVT_VECTOR), false);
}

uint32_t vlapic_timer_count(struct vlapic *v, uint64_t now)
{
	uint64_t left = 0;
	uint32_t initial = *vlapic_reg(v, APIC_TIMER_INITIAL);

	/* Due and not yet ticked: an expired one-shot stands at 0, a periodic timer is in a later period. */
	vlapic_tick(v, now);
	if (!v->timer_armed || !timer_counts(v))
		return 0;
	left = (v->timer_end - now + (1ull << timer_shift(v)) - 1) >> timer_shift(v);
	return left < initial ? (uint32_t)left : initial;
}

/*
 * SDM vol. 3, "TSC-Deadline Mode": going to or from that mode disarms the timer. Between one-shot and
 * periodic the count goes on; a one-shot that has expired stays at 0.
 */
void vlapic_timer_set_lvt(struct vlapic *v, uint32_t lvt, uint64_t now)
{
	uint32_t old;

	vlapic_tick(v, now);
	old = timer_lvt(v);
	*vlapic_reg(v, APIC_LVT_TIMER) = lvt;
	if (((old ^ lvt) & APIC_TIMER_MODE) && ((old | lvt) & APIC_TIMER_DEADLINE)) {
		v->timer_armed = false;
		*vlapic_reg(v, APIC_TIMER_INITIAL) = 0;
	}
}

/* SDM vol. 3, "TSC-Deadline Mode": there, writes to the initial-count register are ignored. */
void vlapic_timer_set_initial(struct vlapic *v, uint32_t count, uint64_t now)
{
	vlapic_tick(v, now);
	if (!timer_counts(v))
		return;
	*vlapic_reg(v, APIC_TIMER_INITIAL) = count;
	v->timer_armed = count != 0;
	v->timer_end = later(now, timer_period(v));
}

/* The count keeps its value and goes on at the new rate; the prescaler starts afresh. */
void vlapic_timer_set_divide(struct vlapic *v, uint32_t divide, uint64_t now)
{
	uint64_t count = vlapic_timer_count(v, now);

	*vlapic_reg(v, APIC_TIMER_DIVIDE) = divide;
	if (timer_counts(v) && v->timer_armed)
		v->timer_end = later(now, count << timer_shift(v));
}

uint64_t vlapic_tsc_deadline_read(struct vlapic *v, uint64_t now)
{
	vlapic_tick(v, now);
	return v->timer_armed && timer_has_deadline(v) ? v->timer_end : 0;
}

struct vlapic_effect vlapic_tsc_deadline_write(struct vlapic *v, uint64_t value, uint64_t now)
{
	struct vlapic_effect e = { .does = 0 };

	if (!timer_has_deadline(v))
		return e;
	vlapic_tick(v, now);
	v->timer_end = value;
	v->timer_armed = value != 0;
	vlapic_tick(v, now);
	e.does = VLAPIC_TIMER | VLAPIC_PRIORITY;
	return e;
}

void vlapic_tsc_moved(struct vlapic *v, uint64_t delta)
{
	if (v->timer_armed && timer_counts(v))
		v->timer_end += delta;
}
