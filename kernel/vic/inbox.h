/* SPDX-License-Identifier: MIT */
/* A VCPU's inbox: where everybody but its own CPU leaves interrupts for it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "apic_regs.h"

/*
 * A posted-interrupt descriptor (SDM vol. 3, "Posted-Interrupt Processing"), whether the CPU has posted interrupts or
 * not. Its control word: bit 0 is ON (outstanding notification), bits 23:16 NV, the vector of the notification. Bit 8 is
 * ours, and means something while ON is set: a notification that the processor can process is on its way.
 *
 * Any CPU posts; the CPU that runs the VCPU drains, and with posted interrupts so does its processor while the guest
 * runs. Order: a poster sets the request bit, then looks at ON and sets it, all sequentially consistent; the drainer
 * clears ON, then takes the requests. So a request that the drainer did not see has found ON clear, or set it again, and
 * the poster that set it is the one that notifies: with the NV that it found in the same step, so that a VCPU which is
 * being scheduled out, and has its NV changed, either gets the notification or has ON set when it looks.
 */
struct inbox_pid {
	_Atomic uint64_t pir[4];
	_Atomic uint64_t control;
	uint64_t reserved[3];
};

_Static_assert(sizeof(struct inbox_pid) == 64, "SDM table: Format of Posted-Interrupt Descriptor");

#define INBOX_ON       1ull
#define INBOX_SENT     (1ull << 8)
#define INBOX_NV_SHIFT 16
#define INBOX_NV       (0xffull << INBOX_NV_SHIFT)
#define INBOX_NDST     32 /* from here on: the APIC ID that a processor sends notifications to */

/* Signals, which are no vectors: bits of inbox.signals. */
#define INBOX_NMI    (1u << 0) /* one NMI, by inbox_nmi() */
#define INBOX_INIT   (1u << 1)
#define INBOX_SIPI   (1u << 2) /* with the start page in inbox.sipi_vector, the first one wins */
#define INBOX_EXTINT (1u << 3) /* the 8259's INTR wire changed: look at it */
#define INBOX_RESCAN (1u << 4) /* something that the VCPU must look at itself: timers, state, a stop */
#define INBOX_STOP   (1u << 5) /* the VM ends: leave the guest for good */
#define INBOX_HANDED (1u << 6) /* of this file: requests that the processor must not take by itself */
#define INBOX_NMI2   (1u << 7) /* another NMI */
#define INBOX_INTA   (1u << 8) /* an ExtINT message: the vector is the 8259's */

/* The descriptor has a page of its own: some emulators' posted interrupts want that. */
struct inbox {
	struct inbox_pid pid __attribute__((aligned(4096)));
	_Atomic uint64_t
		handed[2][4]; /* requests that set or clear TMR: [0] edge-triggered, [1] level-triggered */
	_Atomic uint32_t signals;
	_Atomic uint32_t sipi_vector; /* 0x100 | page, 0 when there is none */
	const struct apic_page *page; /* of the VCPU's LAPIC; constant, likewise below */
	uint8_t kick;                 /* the vector that makes the VCPU leave its guest */
	uint8_t timer;                /* the owner CPU's: the vector of inbox_post_timer() */
	_Atomic uint64_t timers[4];   /* what that ever was; bits are set by the owner CPU, and stay */
};

/* Once, before anybody posts. `in` is zeroed. */
static inline void inbox_init(struct inbox *in, const struct apic_page *page, uint8_t kick)
{
	in->page = page;
	in->kick = kick;
	atomic_init(&in->pid.control, (uint64_t)kick << INBOX_NV_SHIFT);
}

/* Sets ON. With `tell`, returns the vector to notify with, if it was clear: 0 otherwise. */
static inline uint8_t inbox_set_on(struct inbox *in, bool tell)
{
	uint64_t found = atomic_load(&in->pid.control), wanted;
	uint8_t vector;

	do {
		if (found & INBOX_ON)
			return 0;
		vector = tell ? (uint8_t)(found >> INBOX_NV_SHIFT) : 0;
		wanted = (found & ~INBOX_SENT) | INBOX_ON | (vector && vector != in->kick ? INBOX_SENT : 0);
	} while (!atomic_compare_exchange_weak(&in->pid.control, &found, wanted));
	return vector;
}

/* Behind inbox_signal(): what there was before the signal decides. */
static inline uint8_t inbox_tell(struct inbox *in, uint32_t found)
{
	if (found)
		return 0;
	inbox_set_on(in, false);
	return in->kick;
}

/*
 * Raises signals (INBOX_INIT ...). Any CPU. Returns the vector of the interrupt that the caller must send to the VCPU's
 * CPU, 0 if there is nothing to send. The processor knows no signals and clears ON without them: so the one that found
 * none tells, whatever ON says. ON is for the looks that are too quick for `signals`, and set by nobody who does not
 * tell: the next one to post relies on it.
 */
static inline uint8_t inbox_signal(struct inbox *in, uint32_t signals)
{
	return inbox_tell(in, atomic_fetch_or(&in->signals, signals));
}

/*
 * Raises an NMI, and returns as inbox_signal() does. Any CPU. SDM vol. 3, "Handling Multiple NMIs": one is handled and one
 * latched; two may meet here because the VCPU is outside of its guest, where it would have begun with the first.
 */
static inline uint8_t inbox_nmi(struct inbox *in)
{
	uint32_t found = atomic_fetch_or(&in->signals, INBOX_NMI);

	return found & INBOX_NMI ? inbox_signal(in, INBOX_NMI2) : inbox_tell(in, found);
}

/*
 * Posts a fixed interrupt. Any CPU; `here`: that of the VCPU, which needs no telling. Returns as inbox_signal() does. The
 * processor moves requests to IRR and nothing else: where TMR changes, or the vector is illegal, the drainer has to be
 * there.
 */
static inline uint8_t inbox_post(struct inbox *in, uint8_t vector, bool level, bool here)
{
	uint32_t tmr = __atomic_load_n(&in->page->slot[APIC_TMR + vector / 32].low, __ATOMIC_RELAXED);
	uint64_t bit = 1ull << (vector % 64);

	if (__builtin_expect(level || vector < 16 || (tmr >> (vector % 32) & 1), 0)) {
		atomic_fetch_or(&in->handed[level][vector / 64], bit);
		return inbox_signal(in, INBOX_HANDED);
	}
	if (__builtin_expect(!(atomic_fetch_or(&in->pid.pir[vector / 64], bit) & bit) ||
	                             !(atomic_load(&in->timers[vector / 64]) & bit),
	                     1))
		return inbox_set_on(in, !here);
	/* It may be there for the timer, which may go, or have gone, and take it along. */
	atomic_fetch_or(&in->handed[0][vector / 64], bit);
	return inbox_signal(in, INBOX_HANDED);
}

/*
 * Anything to drain? Owner CPU; a plain load, cheap enough for every entry. Not for the look after a kick: with posted
 * interrupts ON may be clear though there are signals.
 */
static inline bool inbox_is_on(const struct inbox *in)
{
	return atomic_load_explicit(&in->pid.control, memory_order_acquire) & INBOX_ON;
}

/* Anything to drain, signals without ON included? Owner CPU. */
static inline bool inbox_full(const struct inbox *in)
{
	return inbox_is_on(in) || atomic_load_explicit(&in->signals, memory_order_acquire);
}

/*
 * A notification is on its way, or has come: true until inbox_open(). Its receiver waits for it before it drains, for
 * as long as ON is set there is no second one. A guest must not get one whose requests have been taken: that would be
 * nothing to a processor by the manual, but some emulators' deliver vector 255 then. Owner CPU.
 */
static inline bool inbox_is_notified(const struct inbox *in)
{
	return !(~atomic_load_explicit(&in->pid.control, memory_order_acquire) & (INBOX_ON | INBOX_SENT));
}

/*
 * Begins a drain: clears ON. Owner CPU. `awaited`: the notification that inbox_is_notified() told of has come. Then
 * inbox_take_signals(), then `handed`, and pid.pir if this is true. False: ON was clear, or has been set meanwhile and a
 * notification sent, so that the VCPU looks again.
 */
static inline bool inbox_open(struct inbox *in, bool awaited)
{
	uint64_t found = atomic_load(&in->pid.control);

	do {
		if (!(found & INBOX_ON) || (found & INBOX_SENT && !awaited))
			return false;
	} while (!atomic_compare_exchange_weak(&in->pid.control, &found, found & ~INBOX_ON));
	return true;
}

static inline uint32_t inbox_take_signals(struct inbox *in)
{
	if (!atomic_load_explicit(&in->signals, memory_order_relaxed))
		return 0;
	return atomic_exchange(&in->signals, 0);
}

/* Takes a word of 64 requests: of pid.pir or, if INBOX_HANDED was among the signals, of `handed`. Owner CPU. */
static inline uint64_t inbox_take(_Atomic uint64_t *word)
{
	if (!atomic_load_explicit(word, memory_order_relaxed))
		return 0;
	return atomic_exchange(word, 0);
}

/* The field NDST, for processors that send by themselves. Owner CPU, always the same. */
static inline void inbox_set_destination(struct inbox_pid *pid, uint32_t destination)
{
	atomic_fetch_or(&pid->control, (uint64_t)destination << INBOX_NDST);
}

/*
 * From now on, notifications come with this vector. Owner CPU. True: one with the vector from before is on its way, and
 * must not reach another VCPU's guest.
 */
static inline bool inbox_set_notification(struct inbox_pid *pid, uint8_t vector)
{
	uint64_t found = atomic_load_explicit(&pid->control, memory_order_relaxed);

	while (!atomic_compare_exchange_weak(&pid->control, &found,
	                                     (found & ~(INBOX_SENT | INBOX_NV)) | (uint64_t)vector
	                                                                                  << INBOX_NV_SHIFT))
		;
	return !(~found & (INBOX_ON | INBOX_SENT));
}

/*
 * A timer's vector, for the processor to take when the timer itself notifies. Meanwhile posts must kick: their notification
 * would bring the vector early. Owner CPU, with ON clear and NV the kick. False: that vector has just been posted.
 */
static inline bool inbox_post_timer(struct inbox *in, uint8_t vector)
{
	uint64_t bit = 1ull << (vector % 64);

	/* Before pid.pir: who finds it there must know. */
	if (!(atomic_load_explicit(&in->timers[vector / 64], memory_order_relaxed) & bit))
		atomic_fetch_or(&in->timers[vector / 64], bit);
	in->timer = vector;
	return !(atomic_fetch_or(&in->pid.pir[vector / 64], bit) & bit);
}

/* Takes it back. Owner CPU. False: the processor has taken it. */
static inline bool inbox_unpost_timer(struct inbox *in)
{
	uint64_t bit = 1ull << (in->timer % 64);

	return atomic_fetch_and(&in->pid.pir[in->timer / 64], ~bit) & bit;
}
