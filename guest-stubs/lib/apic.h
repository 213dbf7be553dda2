/* SPDX-License-Identifier: MIT */
/* The local APIC of the CPU that calls, through whichever face it has switched on, and the IOAPIC. */
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include <stdbool.h>
#include <stdint.h>

#define APIC_BASE 0xfee00000ul

/* SDM vol. 3, "Local APIC Register Address Map": offsets in the page; MSR 0x800 + offset / 16 in x2APIC mode. */
#define APIC_ID         0x020
#define APIC_VERSION    0x030
#define APIC_TPR        0x080
#define APIC_PPR        0x0a0
#define APIC_EOI        0x0b0
#define APIC_LDR        0x0d0
#define APIC_DFR        0x0e0
#define APIC_SVR        0x0f0
#define APIC_ISR        0x100
#define APIC_TMR        0x180
#define APIC_IRR        0x200
#define APIC_ESR        0x280
#define APIC_ICR_LOW    0x300
#define APIC_ICR_HIGH   0x310
#define APIC_LVT_TIMER  0x320
#define APIC_LVT_LINT0  0x350
#define APIC_LVT_LINT1  0x360
#define APIC_LVT_ERROR  0x370
#define APIC_TIMER_INIT 0x380
#define APIC_TIMER_NOW  0x390
#define APIC_TIMER_DIV  0x3e0
#define APIC_SELF_IPI   0x3f0 /* x2APIC only */

#define SVR_ENABLE       0x100u
#define LVT_MASKED       0x10000u
#define LVT_PERIODIC     0x20000u
#define ICR_LOWEST       0x100u
#define ICR_NMI          0x400u
#define ICR_INIT         0x500u
#define ICR_SIPI         0x600u
#define ICR_LOGICAL      0x800u
#define ICR_PENDING      0x1000u
#define ICR_ASSERT       0x4000u
#define ICR_SELF         0x40000u
#define ICR_ALL          0x80000u
#define ICR_OTHERS       0xc0000u
#define ESR_SEND_ILLEGAL 0x20u
#define ESR_RECV_ILLEGAL 0x40u

#define APIC_SPURIOUS 0xff

#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_X2  0x400ull
#define APIC_BASE_ON  0x800ull

uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t value);

/* IA32_APIC_BASE enabled, software-enabled, TPR 0, spurious vector with a handler; called for each CPU by the library. */
void apic_init(void);

/* Switches this CPU's APIC to x2APIC mode. False where CPUID has none. */
bool apic_to_x2(void);

/* This CPU's APIC ID by its current face. */
uint32_t apic_id(void);

void apic_eoi(void);

/* Sends one IPI and waits for its delivery status; `dest` counts only without a shorthand in `low`. */
void apic_ipi(uint32_t dest, uint32_t low);

/* One bit of the 256 of APIC_ISR, APIC_TMR or APIC_IRR. */
bool apic_bit(unsigned reg, unsigned vector);

#define IOAPIC_BASE    0xfec00000ul
#define IOAPIC_VERSION 0x01
#define IOAPIC_ENTRY   0x10

#define IOAPIC_LEVEL  0x8000u
#define IOAPIC_MASKED 0x10000u
#define IOAPIC_IRR    0x4000u
#define IOAPIC_LOW    0x2000u /* active-low */

/* Boot CPU, or whoever has made sure to be alone: index and window are two accesses. */
uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t value);

/* The whole entry of a pin: destination half first, as Linux does. `dest` is an APIC ID, or a logical set. */
void ioapic_set(unsigned pin, uint32_t dest, uint32_t low);

/* How many pins there are. */
unsigned ioapic_pins(void);

/* The pair of 8259s: every line masked, vectors out of the exceptions' way. */
void pic_off(void);

#endif
