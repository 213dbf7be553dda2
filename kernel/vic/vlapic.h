/* SPDX-License-Identifier: MIT */
/* The virtual local APIC of one VCPU. */
#pragma once

#include "apic_msg.h"
#include "apic_regs.h"
#include "icr.h"
#include "inbox.h"

/*
 * Owner: everything here belongs to the CPU that runs the VCPU, and every function is for that CPU alone. The
 * others read `face` and write the VCPU's inbox. `now` is the guest's TSC; the timer counts at its rate.
 */

struct vlapic_config {
	uint32_t id;       /* initial APIC ID in both modes, at most 254 */
	bool bsp;          /* IA32_APIC_BASE.BSP after reset */
	bool x2apic;       /* x2APIC mode is offered */
	uint8_t phys_bits; /* MAXPHYADDR, 32 to 52 */
};

#define VLAPIC_BEFORE 6

struct vlapic {
	struct apic_page *page; /* the registers; while the VCPU runs the processor may change some: below */
	uint64_t base;          /* IA32_APIC_BASE */
	uint64_t timer_end;     /* while armed: when the count reaches 0, or the TSC deadline */
	uint32_t errors;        /* detected since ESR was last written */
	uint8_t irr_words;      /* bit w clear: word w of IRR is 0; likewise below */
	uint8_t isr_words;
	uint8_t lint; /* bit n: the wire at LINTn is high */
	bool timer_armed;
	bool changed; /* by these functions: TMR, ISR, or IRR in more than `raised` says; the caller clears it */
	int raised;                     /* the highest vector that they set in IRR, -1: none; likewise */
	uint32_t before[VLAPIC_BEFORE]; /* registers as they were, for vlapic_written() */
	struct vlapic_config config;
	struct lapic_face face __attribute__((aligned(64))); /* a line of its own: all CPUs read it */
};

#define VLAPIC_NEVER UINT64_MAX

/*
 * What the caller has to do next: bits of vlapic_effect.does, several may be set. Not among them: before each entry it looks
 * at vlapic_pending(), and at vlapic_extint_open() while the 8259's INTR is high.
 */
enum vlapic_does {
	VLAPIC_FAULT = 1 << 0, /* inject #GP(0); nothing was changed */
	VLAPIC_EOI = 1 << 1,   /* tell the IOAPICs that `vector` ended */
	VLAPIC_SEND = 1 << 2,  /* deliver `msg` through the bus */
	VLAPIC_FACE = 1 << 3,  /* destinations changed: the IOAPICs retry what they hold back */
	VLAPIC_TIMER = 1 << 4, /* vlapic_deadline() may have changed */
	VLAPIC_MODE = 1 << 5,  /* IA32_APIC_BASE changed: where and how the registers are reached */
	VLAPIC_NMI = 1 << 6,   /* the VCPU gets an NMI */
	VLAPIC_INIT = 1 << 7,  /* the VCPU gets an INIT */
};

struct vlapic_effect {
	uint32_t does;
	uint8_t vector;      /* with VLAPIC_EOI */
	struct apic_msg msg; /* with VLAPIC_SEND; never APIC_DEST_SELF: the model does that by itself */
};

/* Makes a LAPIC in the state after power-up. The page must be zeroed and page-aligned and outlive the vlapic. */
void vlapic_init(struct vlapic *v, struct apic_page *page, const struct vlapic_config *config);

/* INIT: as after power-up, but APIC ID and IA32_APIC_BASE stay, and the wires' levels. The deadline is gone. */
void vlapic_init_signal(struct vlapic *v);

static inline uint64_t vlapic_base_read(const struct vlapic *v)
{
	return v->base;
}

/* Writes IA32_APIC_BASE. VLAPIC_FAULT: reserved bits, or a mode transition that is forbidden. */
struct vlapic_effect vlapic_base_write(struct vlapic *v, uint64_t value);

static inline bool vlapic_is_enabled(const struct vlapic *v)
{
	return v->base & APIC_BASE_EN;
}

static inline bool vlapic_is_x2apic(const struct vlapic *v)
{
	return v->base & APIC_BASE_EXTD;
}

/*
 * The MMIO face, 32 bits at `offset` (0 to 0xfff) of the page. Not in xAPIC mode: reads all ones, ignores writes. No
 * register: reads 0 and sets ESR. No multiple of 16 (undefined by the manual): reads 0, ignores writes. A read too can
 * raise the error interrupt or fire a timer that is due: look at vlapic_pending() before the next entry.
 */
uint32_t vlapic_mmio_read(struct vlapic *v, uint32_t offset, uint64_t now);
struct vlapic_effect vlapic_mmio_write(struct vlapic *v, uint32_t offset, uint32_t value, uint64_t now);

/*
 * The processor has let the guest write a register of the page (SDM vol. 3, "APIC-Write Emulation", "Virtualizing
 * MSR-Based APIC Accesses"): does what vlapic_mmio_write() or vlapic_msr_write() would have done.
 */
struct vlapic_effect vlapic_written(struct vlapic *v, uint32_t offset, uint64_t now);

/* The MSR face, 0x800 to 0x8ff. False or VLAPIC_FAULT: #GP. *value is written only when true. */
bool vlapic_msr_read(struct vlapic *v, uint32_t msr, uint64_t *value, uint64_t now);
struct vlapic_effect vlapic_msr_write(struct vlapic *v, uint32_t msr, uint64_t value, uint64_t now);

/* CR8 is TPR[7:4], 0 to 15, in every mode; the processor itself writes it. */
static inline uint8_t vlapic_cr8_read(const struct vlapic *v)
{
	return (uint8_t)(v->page->slot[APIC_TPR].low >> 4 & 0xf);
}

/* IA32_TSC_DEADLINE: outside that mode reads 0, ignores writes. */
uint64_t vlapic_tsc_deadline_read(struct vlapic *v, uint64_t now);
struct vlapic_effect vlapic_tsc_deadline_write(struct vlapic *v, uint64_t value, uint64_t now);

/*
 * What guests do all the time, and what nothing but the deadline follows from: arms the timer for a time to come, by MSR
 * (the initial count, or IA32_TSC_DEADLINE). What vlapic_deadline() says then; 0: it is not that, nothing was changed, take
 * the functions above.
 */
uint64_t vlapic_arm(struct vlapic *v, uint32_t msr, uint64_t value, uint64_t now);

/*
 * Likewise: writes the x2APIC's ICR for a fixed interrupt to one physical destination or to all others. The VCPUs that get it,
 * a bit mask; 0: it is not that, or not so simple; nothing was changed.
 */
uint32_t vlapic_ipi(struct vlapic *v, const struct apic_bus *bus, uint64_t icr);

/* When vlapic_tick() has something to do, in guest TSC; VLAPIC_NEVER: not at all. Cheap. */
uint64_t vlapic_deadline(const struct vlapic *v);

/*
 * Whether somebody else may deliver the timer's interrupt at the deadline, once: its vector, or -1 (periodic, not armed, or
 * a vector that needs more than a bit in IRR). Then vlapic_fired() says that it has been done.
 */
int vlapic_timer_vector(const struct vlapic *v);
void vlapic_fired(struct vlapic *v);

/* Fires the timer if it is due. True: an interrupt was accepted. Missed periods collapse, without drift. */
bool vlapic_tick(struct vlapic *v, uint64_t now);

/* The guest's TSC jumped (IA32_TSC): a count goes on, a deadline stays. */
void vlapic_tsc_moved(struct vlapic *v, uint64_t from, uint64_t to);

/* A fixed interrupt for this LAPIC. False: disabled by IA32_APIC_BASE or SVR, or an illegal vector (sets ESR). */
bool vlapic_accept(struct vlapic *v, uint8_t vector, bool level);

/*
 * Moves everything out of the inbox: vectors into IRR and TMR; returns the signals (INBOX_NMI ...). Its sender matched
 * it against the face, so SVR is not asked again; disabled in IA32_APIC_BASE, the vectors are dropped.
 * `awaited`: see inbox_open().
 */
uint32_t vlapic_drain(struct vlapic *v, struct inbox *in, bool awaited);

/*
 * The guest has run with virtual-interrupt delivery: the processor moved vectors from IRR to ISR, and ended some. Before
 * any function below and before vlapic_accept(), vlapic_drain() and the registers' functions.
 */
static inline void vlapic_resync(struct vlapic *v)
{
	v->irr_words = 0xff;
	v->isr_words = 0xff;
}

/* After vlapic_resync() and before the guest runs: makes the next looks quick. */
void vlapic_tighten(struct vlapic *v);

/* Virtual-interrupt delivery ended `vector`, which is level-triggered: what else its end means. */
struct vlapic_effect vlapic_ended(struct vlapic *v, uint8_t vector);

/* The highest vector of 8 words, of which those outside `words` are 0; -1 if none. */
static inline int vlapic_highest(const struct vlapic *v, unsigned int slot, uint32_t words)
{
	while (words) {
		unsigned int word = 31u - (unsigned int)__builtin_clz(words);
		uint32_t vectors = v->page->slot[slot + word].low;

		if (vectors)
			return (int)(word * 32 + 31) - __builtin_clz(vectors);
		words &= ~(1u << word);
	}
	return -1;
}

/* The highest vector requested, deliverable or not; -1 if none. */
static inline int vlapic_highest_irr(const struct vlapic *v)
{
	return vlapic_highest(v, APIC_IRR, v->irr_words);
}

/* PPR, computed each time, since the processor may have changed TPR. */
static inline uint8_t vlapic_ppr(const struct vlapic *v)
{
	return apic_ppr(v->page->slot[APIC_TPR].low, vlapic_highest(v, APIC_ISR, v->isr_words));
}

/*
 * The vector to deliver now, -1 if none. For every VM entry: constant time. Does not look at the CPU's own state
 * (RFLAGS.IF, shadows).
 */
static inline int vlapic_pending(const struct vlapic *v)
{
	int irrv = vlapic_highest_irr(v);

	return irrv >> 4 > vlapic_ppr(v) >> 4 ? irrv : -1;
}

/* The processor takes its interrupt: the pending vector, from IRR to ISR; the spurious vector if none is. */
uint8_t vlapic_take(struct vlapic *v);

/*
 * The wire at LINT0 or LINT1 (`pin`) goes to `high`; an unchanged level is harmless. Fixed interrupts are accepted;
 * NMI and INIT come back as effects, once per edge; there is no SMM here, and ExtINT is vlapic_extint_open().
 */
struct vlapic_effect vlapic_lint(struct vlapic *v, unsigned int pin, bool high);

/* Does the 8259's INTR reach the CPU? LAPIC disabled in IA32_APIC_BASE, or LINT0 unmasked in mode ExtINT. */
bool vlapic_extint_open(const struct vlapic *v);
