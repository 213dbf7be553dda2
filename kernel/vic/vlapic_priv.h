/* SPDX-License-Identifier: MIT */
/* What the files of the virtual LAPIC share with each other and with nobody else. Owner CPU, all of it. */
#ifndef VIC_VLAPIC_PRIV_H
#define VIC_VLAPIC_PRIV_H

#include "vlapic.h"

static inline uint32_t *vlapic_reg(struct vlapic *v, unsigned int slot)
{
	return &v->page->slot[slot].low;
}

/* Shows the others what ID, LDR, DFR, SVR and IA32_APIC_BASE now say. True: it differs from before. */
bool vlapic_publish(struct vlapic *v);

/* Notes errors (APIC_ESR_*) for the next write of ESR, and raises the error interrupt for those not yet
 * noted. */
void vlapic_error(struct vlapic *v, uint32_t errors);

/* The guest wrote EOI. */
void vlapic_end(struct vlapic *v, struct vlapic_effect *e);

/* The LVT entry of LINT0 or LINT1 was rewritten: a level that is asserted makes itself heard, others do not.
 */
void vlapic_lint_rewritten(struct vlapic *v, unsigned int pin, struct vlapic_effect *e);

/*
 * Writes to the timer's registers, values already stripped of reserved bits. Whatever was due before `now`
 * fires first, by the old rules.
 */
void vlapic_timer_set_lvt(struct vlapic *v, uint32_t lvt, uint64_t now);
void vlapic_timer_set_initial(struct vlapic *v, uint32_t count, uint64_t now);
void vlapic_timer_set_divide(struct vlapic *v, uint32_t divide, uint64_t now);

/* The current-count register. */
uint32_t vlapic_timer_count(struct vlapic *v, uint64_t now);

#endif
