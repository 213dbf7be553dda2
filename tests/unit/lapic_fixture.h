/* SPDX-License-Identifier: MIT */
/* What the tests of the virtual LAPIC share: one LAPIC with its page, and both faces of its registers. */
#ifndef TESTS_UNIT_LAPIC_FIXTURE_H
#define TESTS_UNIT_LAPIC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "kernel/vic/vlapic.h"

struct lapic {
	struct apic_page page;
	struct vlapic v;
};

/* IA32_APIC_BASE in the three modes, at the default address, not the BSP */
#define BASE_OFF    0xfee00000ull
#define BASE_XAPIC  0xfee00800ull
#define BASE_X2APIC 0xfee00c00ull

/* Everything is offered; the tests of what is not take a copy. */
static const struct vlapic_config lapic_all = {
	.id = 5,
	.x2apic = true,
	.phys_bits = 40,
};

/* A LAPIC after power-up. */
static inline struct vlapic *lapic_new(struct lapic *l, const struct vlapic_config *config)
{
	memset(l, 0, sizeof(*l));
	vlapic_init(&l->v, &l->page, config);
	return &l->v;
}

static inline uint32_t rd(struct vlapic *v, unsigned int slot)
{
	return vlapic_mmio_read(v, slot * 16, 0);
}

static inline struct vlapic_effect wr(struct vlapic *v, unsigned int slot, uint32_t value)
{
	return vlapic_mmio_write(v, slot * 16, value, 0);
}

/* An MSR that must be readable. */
static inline uint64_t rdx(struct vlapic *v, unsigned int slot)
{
	uint64_t value = 0;

	assert_true(vlapic_msr_read(v, 0x800 + slot, &value, 0));
	return value;
}

static inline struct vlapic_effect wrx(struct vlapic *v, unsigned int slot, uint64_t value)
{
	return vlapic_msr_write(v, 0x800 + slot, value, 0);
}

/* xAPIC mode, software-enabled, spurious vector 0xff. */
static inline struct vlapic *lapic_on(struct lapic *l)
{
	struct vlapic *v = lapic_new(l, &lapic_all);

	wr(v, 0x0f, 0x1ff);
	return v;
}

static inline struct vlapic *lapic_x2(struct lapic *l)
{
	struct vlapic *v = lapic_on(l);

	assert_int_equal(vlapic_base_write(v, BASE_X2APIC).does & VLAPIC_FAULT, 0);
	return v;
}

/* Bit `vector` of IRR, ISR or TMR (the slot of its first word). */
static inline bool has(struct vlapic *v, unsigned int slot, unsigned int vector)
{
	return v->page->slot[slot + vector / 32].low >> (vector % 32) & 1;
}

/* Writes ESR and reads what it latched. */
static inline uint32_t errors(struct vlapic *v)
{
	wr(v, 0x28, 0);
	return rd(v, 0x28);
}

#endif
