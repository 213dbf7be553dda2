/* SPDX-License-Identifier: MIT */
/* A plain model of the virtual LAPIC: what each operation of fuzz_vlapic.c must change. */
#ifndef TESTS_FUZZ_VLAPIC_MODEL_H
#define TESTS_FUZZ_VLAPIC_MODEL_H

#include <string.h>

#include "kernel/vic/vlapic.h"
#include "tests/fuzz/input.h"

/* As much of the page as has registers. */
#define REGISTERS (64 * sizeof(struct apic_reg))

/* The model's state: what the LAPIC must hold, apart from the registers that merely keep what is written. */
static struct {
	struct vlapic v;
	struct apic_page page;
	struct inbox inbox;
	uint64_t now;
	bool armed;   /* the timer */
	uint64_t end; /* of its count, or its deadline */
	uint32_t posted[8], posted_level[8];
	/* Before the operation at hand. */
	struct apic_page old;
	uint32_t old_errors;
	uint64_t old_base, old_face;
	uint64_t old_deadline, old_end;
	bool old_armed;
	/* What the operation does: vectors it requests (and which of them as levels), takes and ends. */
	uint32_t requests[8], levels[8];
	int taken, ended;
	bool reset;
} f;

static inline uint32_t reg(unsigned slot)
{
	return f.page.slot[slot].low;
}

static inline uint32_t old_reg(unsigned slot)
{
	return f.old.slot[slot].low;
}

UNTRACED static inline bool in_set(const struct apic_page *page, unsigned slot, int vector)
{
	return page->slot[slot + (unsigned)vector / 32].low >> (vector % 32) & 1;
}

UNTRACED static inline int highest(const struct apic_page *page, unsigned slot)
{
	int vector = 255;

	while (vector >= 0 && !page->slot[slot + (unsigned)vector / 32].low)
		vector -= 32;
	while (vector >= 0 && !in_set(page, slot, vector))
		vector--;
	return vector;
}

UNTRACED static inline uint32_t priority(const struct apic_page *page)
{
	uint32_t tpr = page->slot[APIC_TPR].low & 0xff;
	int service = highest(page, APIC_ISR);

	return service >= 0 && (uint32_t)service >> 4 > tpr >> 4 ? (uint32_t)service & 0xf0 : tpr;
}

UNTRACED static inline int deliverable(const struct apic_page *page)
{
	int vector = highest(page, APIC_IRR);

	return vector >= 0 && (uint32_t)vector >> 4 > priority(page) >> 4 ? vector : -1;
}

static inline bool enabled(void)
{
	return (f.old_base & APIC_BASE_EN) && (old_reg(APIC_SVR) & APIC_SVR_ENABLED);
}

/* The operation delivers this vector to the LAPIC. */
static inline void requests(uint32_t vector, bool level)
{
	if (!enabled() || vector < 16)
		return;
	f.requests[vector / 32] |= 1u << vector % 32;
	if (level)
		f.levels[vector / 32] |= 1u << vector % 32;
}

/* Takes back what was expected: the operation was refused. */
UNTRACED static inline void expect_nothing(void)
{
	memset(f.requests, 0, sizeof(f.requests));
	memset(f.levels, 0, sizeof(f.levels));
	f.taken = -1;
	f.ended = -1;
	f.armed = f.old_armed;
	f.end = f.old_end;
}

/* Before every operation. */
UNTRACED static inline void begin(void)
{
	memcpy(&f.old, &f.page, REGISTERS);
	f.old_errors = f.v.errors;
	f.old_base = f.v.base;
	f.old_face = f.v.face.word;
	f.old_deadline = vlapic_deadline(&f.v);
	f.old_armed = f.armed;
	f.old_end = f.end;
	f.reset = false;
	expect_nothing();
}

/* SDM vol. 3, "Error Handling": an error that was not noted yet is an interrupt. */
UNTRACED static inline void expect_error(void)
{
	uint32_t lvt = old_reg(APIC_LVT_ERROR);

	if ((f.v.errors & ~f.old_errors) && !(lvt & APIC_LVT_MASKED))
		requests(lvt & APIC_LVT_VECTOR, false);
}

static inline unsigned timer_shift(void)
{
	static const uint8_t shift[16] = { [0] = 1, [1] = 2, [2] = 3, [3] = 4, [8] = 5, [9] = 6, [10] = 7 };

	return shift[reg(APIC_TIMER_DIVIDE)];
}

static inline bool timer_counts(uint32_t lvt)
{
	return !(lvt & APIC_TIMER_DEADLINE);
}

/* The model's timer comes to the present. True: due, and not masked. */
static inline bool timer_fires(void)
{
	uint64_t period = (uint64_t)old_reg(APIC_TIMER_INITIAL) << timer_shift();
	uint32_t lvt = old_reg(APIC_LVT_TIMER);

	if (!f.armed || f.now < f.end)
		return false;
	if ((lvt & APIC_TIMER_MODE) == APIC_TIMER_PERIODIC)
		f.end += ((f.now - f.end) / period + 1) * period;
	else
		f.armed = false;
	if (lvt & APIC_LVT_MASKED)
		return false;
	requests(lvt & APIC_LVT_VECTOR, false);
	return true;
}

static inline uint64_t timer_left(unsigned shift)
{
	return f.armed ? (f.end - f.now + (1ull << shift) - 1) >> shift : 0;
}

/* What a read of a register, by either face, must return. */
static inline uint32_t expected_read(unsigned slot)
{
	if (slot == APIC_PPR)
		return priority(&f.old);
	if (slot != APIC_TIMER_CURRENT)
		return slot == APIC_EOI ? 0 : old_reg(slot);
	timer_fires();
	return timer_counts(old_reg(APIC_LVT_TIMER)) ? (uint32_t)timer_left(timer_shift()) : 0;
}

static inline bool lint_open(uint32_t lvt)
{
	return !(lvt & (APIC_LVT_MASKED | APIC_LVT_MODE | APIC_LVT_REMOTE_IRR));
}

static inline bool lint_asserted(unsigned pin, uint32_t lvt)
{
	return (f.v.lint >> pin & 1) != !!(lvt & APIC_LVT_LOW);
}

/* SDM vol. 3, "Signaling Interrupt Servicing Completion"; LINT0 asks again if its level is still there. */
static inline void expect_eoi(void)
{
	uint32_t lint = old_reg(APIC_LVT_LINT0);

	f.ended = highest(&f.old, APIC_ISR);
	if (f.ended < 0 || !(lint & APIC_LVT_REMOTE_IRR) || (lint & APIC_LVT_VECTOR) != (uint32_t)f.ended)
		return;
	if (lint_open(lint & ~APIC_LVT_REMOTE_IRR) && lint_asserted(0, lint))
		requests((uint32_t)f.ended, true);
}

/* An LVT entry of LINT0 made a level: if the wire is asserted, it is heard. */
static inline void expect_lint_write(uint32_t lvt)
{
	lvt = (lvt & ~APIC_LVT_REMOTE_IRR) | (old_reg(APIC_LVT_LINT0) & APIC_LVT_REMOTE_IRR);
	if ((lvt & APIC_LVT_LEVEL) && lint_open(lvt) && lint_asserted(0, lvt))
		requests(lvt & APIC_LVT_VECTOR, true);
}

static inline void expect_timer_mode(uint32_t lvt)
{
	uint32_t old = old_reg(APIC_LVT_TIMER);

	timer_fires();
	if (((old ^ lvt) & APIC_TIMER_MODE) && ((old | lvt) & APIC_TIMER_DEADLINE))
		f.armed = false;
}

static inline void expect_divide(uint32_t value)
{
	static const uint8_t shift[8] = { 1, 2, 3, 4, 5, 6, 7, 0 };
	unsigned to = shift[(value >> 1 & 4) | (value & 3)];

	timer_fires();
	if (f.armed && timer_counts(old_reg(APIC_LVT_TIMER)))
		f.end = f.now + (timer_left(timer_shift()) << to);
}

static inline void expect_initial(uint32_t value)
{
	timer_fires();
	if (!timer_counts(old_reg(APIC_LVT_TIMER)))
		return;
	f.armed = value;
	f.end = f.now + ((uint64_t)value << timer_shift());
}

/* A write that reaches the register: what it does besides being kept. Before the write. */
static inline void expect_write(unsigned slot, uint32_t value)
{
	switch (slot) {
	case APIC_EOI:
		expect_eoi();
		break;
	case APIC_SVR:
		if (!(value & APIC_SVR_ENABLED))
			timer_fires();
		break;
	case APIC_LVT_TIMER:
		expect_timer_mode(value);
		break;
	case APIC_LVT_LINT0:
		expect_lint_write(value);
		break;
	case APIC_TIMER_INITIAL:
		expect_initial(value);
		break;
	case APIC_TIMER_DIVIDE:
		expect_divide(value);
		break;
	case APIC_ICR_LO:
		if ((value & (APIC_ICR_SHORTHAND | APIC_ICR_MODE)) == 1u << APIC_ICR_SHORTHAND_SHIFT)
			requests(value & APIC_ICR_VECTOR, false);
		break;
	case APIC_SELF_IPI:
		requests(value & 0xff, false);
		break;
	}
}

#endif
