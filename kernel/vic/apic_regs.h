/* SPDX-License-Identifier: MIT */
/* The local APIC's registers: slots, fields beneath them, and the page they live in. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define APIC_BIT(n)       (1u << (n))
#define APIC_BITS(hi, lo) ((0xffffffffu >> (31 - (hi))) & (0xffffffffu << (lo)))

/*
 * SDM vol. 3, "Local APIC Register Address Map" and "x2APIC Register Address Space": both faces have the same
 * numbers, slot = MMIO offset / 16 = MSR - 0x800.
 */
enum apic_slot {
	APIC_ID = 0x02,
	APIC_VERSION = 0x03,
	APIC_TPR = 0x08,
	APIC_APR = 0x09, /* in the map, but in no processor since the Pentium 4 */
	APIC_PPR = 0x0a,
	APIC_EOI = 0x0b,
	APIC_RRD = 0x0c, /* likewise */
	APIC_LDR = 0x0d,
	APIC_DFR = 0x0e,
	APIC_SVR = 0x0f,
	APIC_ISR = 0x10, /* 8 slots of 32 vectors each, as TMR and IRR */
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
	APIC_ESR = 0x28,
	APIC_ICR_LO = 0x30, /* in x2APIC mode the MSR is 64 bits wide and ICR_HI does not exist */
	APIC_ICR_HI = 0x31,
	APIC_LVT_TIMER = 0x32,
	APIC_LVT_THERMAL = 0x33,
	APIC_LVT_PERF = 0x34,
	APIC_LVT_LINT0 = 0x35,
	APIC_LVT_LINT1 = 0x36,
	APIC_LVT_ERROR = 0x37,
	APIC_TIMER_INITIAL = 0x38,
	APIC_TIMER_CURRENT = 0x39,
	APIC_TIMER_DIVIDE = 0x3e,
	APIC_SELF_IPI = 0x3f, /* x2APIC mode only */
};

#define APIC_SLOTS    256
#define APIC_MSR_BASE 0x800u

#define APIC_XID_SHIFT 24 /* APIC_ID, APIC_LDR, APIC_ICR_HI in xAPIC mode: 8 bits at the top */

#define APIC_VERSION_XAPIC    0x14u
#define APIC_VERSION_SUPPRESS APIC_BIT(24) /* EOI-broadcast suppression is offered */

#define APIC_DFR_MODEL APIC_BITS(31, 28) /* all ones: flat; all zeros: cluster */
#define APIC_DFR_ONES  APIC_BITS(27, 0)  /* reserved, read as ones */

#define APIC_SVR_VECTOR   APIC_BITS(7, 0)
#define APIC_SVR_ENABLED  APIC_BIT(8)
#define APIC_SVR_SUPPRESS APIC_BIT(12)

#define APIC_ESR_SEND_VECTOR    APIC_BIT(5)
#define APIC_ESR_RECEIVE_VECTOR APIC_BIT(6)
#define APIC_ESR_REGISTER       APIC_BIT(7)

/* APIC_LVT_*; not every entry has every field */
#define APIC_LVT_VECTOR     APIC_BITS(7, 0)
#define APIC_LVT_MODE       APIC_BITS(10, 8)
#define APIC_LVT_MODE_SHIFT 8
#define APIC_LVT_STATUS     APIC_BIT(12) /* delivery status: read only, always idle here */
#define APIC_LVT_LOW        APIC_BIT(13) /* polarity: active low */
#define APIC_LVT_REMOTE_IRR APIC_BIT(14) /* read only */
#define APIC_LVT_LEVEL      APIC_BIT(15)
#define APIC_LVT_MASKED     APIC_BIT(16)
#define APIC_TIMER_MODE     APIC_BITS(18, 17) /* APIC_LVT_TIMER: both clear is one-shot */
#define APIC_TIMER_PERIODIC APIC_BIT(17)
#define APIC_TIMER_DEADLINE APIC_BIT(18)

#define APIC_DIVIDE_VALUE (APIC_BIT(3) | APIC_BITS(1, 0)) /* bit 2 is reserved, which splits the value */

#define APIC_ICR_VECTOR          APIC_BITS(7, 0)
#define APIC_ICR_MODE            APIC_BITS(10, 8)
#define APIC_ICR_MODE_SHIFT      8
#define APIC_ICR_LOGICAL         APIC_BIT(11)
#define APIC_ICR_STATUS          APIC_BIT(12) /* delivery status: read only, always idle here */
#define APIC_ICR_ASSERT          APIC_BIT(14)
#define APIC_ICR_LEVEL           APIC_BIT(15)
#define APIC_ICR_SHORTHAND       APIC_BITS(19, 18)
#define APIC_ICR_SHORTHAND_SHIFT 18

/* IA32_APIC_BASE (MSR 0x1b) */
#define APIC_BASE_MSR     0x1bu
#define APIC_DEADLINE_MSR 0x6e0u /* IA32_TSC_DEADLINE */
#define APIC_BASE_BSP     (1ull << 8)
#define APIC_BASE_EXTD    (1ull << 10)
#define APIC_BASE_EN      (1ull << 11)
#define APIC_BASE_DEFAULT 0xfee00000ull

/*
 * The page, in the very shape of a virtual-APIC page (SDM vol. 3, "Virtual APIC State"), so that the processor can
 * be handed it. One register uses `high`: in x2APIC mode the processor keeps the ICR as 64 bits at 0x300.
 */
struct apic_reg {
	uint32_t low;
	uint32_t high;
	uint32_t reserved[2];
};

struct apic_page {
	struct apic_reg slot[APIC_SLOTS];
} __attribute__((aligned(4096)));

_Static_assert(sizeof(struct apic_page) == 4096, "SDM: Local APIC Register Address Map");
_Static_assert(offsetof(struct apic_page, slot[APIC_ICR_LO]) == 0x300,
               "SDM: Local APIC Register Address Map");

/*
 * PPR, of a TPR and the highest vector in service (-1: none). SDM vol. 3, "Task and Processor Priorities": with equal
 * classes the sub-class is model-specific; taken from TPR, as PPR virtualisation does.
 */
static inline uint8_t apic_ppr(uint32_t tpr, int isrv)
{
	return (uint8_t)(isrv >> 4 <= (int)(tpr >> 4 & 0xf) ? tpr & 0xff : (uint32_t)isrv & 0xf0);
}

/* The PPR of a page that its owner, or the processor, may be changing. Any CPU. */
static inline uint8_t apic_page_ppr(const struct apic_page *page)
{
	uint32_t tpr = __atomic_load_n(&page->slot[APIC_TPR].low, __ATOMIC_RELAXED), isr = 0;
	int word = 8;

	while (!isr && word-- > 0)
		isr = __atomic_load_n(&page->slot[APIC_ISR + word].low, __ATOMIC_RELAXED);
	return apic_ppr(tpr, isr ? word * 32 + 31 - __builtin_clz(isr) : -1);
}
