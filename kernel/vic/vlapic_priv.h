/* SPDX-License-Identifier: MIT */
/* What the files of the virtual LAPIC share with each other and with nobody else. Owner CPU, all of it. */
#pragma once

#include "vlapic.h"

static inline uint32_t *vlapic_reg(struct vlapic *v, unsigned int slot)
{
	return &v->page->slot[slot].low;
}

/* Notes the registers whose old value a write needs. */
void vlapic_remember(struct vlapic *v);

/* Shows the others what ID, LDR, DFR, SVR and IA32_APIC_BASE now say. VLAPIC_FACE if it differs from before, or 0. */
uint32_t vlapic_publish(struct vlapic *v);

/* Notes errors (APIC_ESR_*) for the next write of ESR; those not yet noted raise the error interrupt. */
void vlapic_error(struct vlapic *v, uint32_t errors);

/* The guest wrote EOI. */
void vlapic_end(struct vlapic *v, struct vlapic_effect *e);

/* Writes the LVT entry of LINT0 or LINT1: a level that is asserted makes itself heard, an edge does not. */
void vlapic_lint_write(struct vlapic *v, unsigned int pin, uint32_t value, struct vlapic_effect *e);

/*
 * Writes APIC_LVT_TIMER, APIC_TIMER_INITIAL or APIC_TIMER_DIVIDE, a value without reserved bits. What was due before
 * `now` fires first, by the old rules.
 */
void vlapic_timer_write(struct vlapic *v, unsigned int slot, uint32_t value, uint64_t now);

/* The current-count register. */
uint32_t vlapic_timer_count(struct vlapic *v, uint64_t now);
