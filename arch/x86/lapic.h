/* SPDX-License-Identifier: MIT */
/* The physical local APIC, as xAPIC or x2APIC. */
#ifndef ARCH_X86_LAPIC_H
#define ARCH_X86_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

/* Chooses xAPIC or x2APIC for all CPUs; refuses where there is no local APIC. Boot CPU, once, after
 * paging_init(). */
void lapic_find(void);

/* Turns it on with every local source masked but NMI. Each CPU. */
void lapic_init(void);

/* How fast its timer counts. The boot CPU, once, after tsc_init() and lapic_init(). */
void lapic_calibrate(void);

bool lapic_is_x2apic(void);
uint32_t lapic_id(void); /* of this CPU */

/* Ends the interrupt in service. The CPU it came to. */
void lapic_eoi(void);

/* One interrupt each to the CPU of that APIC ID; nothing is awaited but the previous one's dispatch. Any CPU.
 */
void lapic_send_fixed(uint32_t apic_id, uint8_t vector);
void lapic_send_init(uint32_t apic_id);
void lapic_send_startup(uint32_t apic_id, uint8_t page);

/* An NMI to every CPU but this one. Any CPU. */
void lapic_nmi_others(void);

/* VECTOR_TIMER comes at `deadline` (TSC ticks) or somewhat before; only cpu_idle() uses it. This CPU's. */
void lapic_timer_start(uint64_t deadline);
void lapic_timer_stop(void);

#endif
