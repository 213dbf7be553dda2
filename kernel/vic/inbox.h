/* SPDX-License-Identifier: MIT */
/* A VCPU's inbox: where everybody but its own CPU leaves interrupts for it. */
#ifndef VIC_INBOX_H
#define VIC_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The shape of a posted-interrupt descriptor (SDM vol. 3, "Posted-Interrupt Processing"): 256 requests and one
 * outstanding-notification bit, so that with posted interrupts the inbox *is* the descriptor.
 *
 * Any CPU posts; only the CPU that runs the VCPU drains. Order: a poster sets the request bit, then ON, both
 * sequentially consistent; the drainer clears ON, then takes the requests. So a request that the drainer
 * did not see has set ON again after the clear, and the poster that found ON clear is the one that kicks.
 */
struct inbox_pid {
	_Atomic uint64_t pir[4];
	_Atomic uint64_t control; /* bit 0: ON; the rest belongs to the posted-interrupt hardware */
	uint64_t reserved[3];
};

_Static_assert(sizeof(struct inbox_pid) == 64, "SDM table: Format of Posted-Interrupt Descriptor");

#define INBOX_ON 1ull

/* Signals that are no vectors: bits of inbox.signals. */
#define INBOX_NMI    (1u << 0) /* one NMI; a second one merges, as in the processor's single latch */
#define INBOX_INIT   (1u << 1)
#define INBOX_SIPI   (1u << 2) /* with the start page in inbox.sipi_vector, the first one wins */
#define INBOX_EXTINT (1u << 3) /* the 8259's INTR wire changed: look at it */
#define INBOX_RESCAN (1u << 4) /* something that the VCPU must look at itself: timers, state, a stop */
#define INBOX_STOP   (1u << 5) /* the VM ends: leave the guest for good */

struct inbox {
	struct inbox_pid pid __attribute__((aligned(64)));
	_Atomic uint64_t level[4]; /* trigger mode of the newest post of each vector: becomes TMR */
	_Atomic uint32_t signals;
	_Atomic uint32_t sipi_vector; /* 0x100 | page, 0 when there is none */
};

/* Posts a fixed interrupt. Any CPU. True: the caller must kick the VCPU (it found ON clear). */
static inline bool inbox_post(struct inbox *in, uint8_t vector, bool level)
{
	unsigned word = vector / 64;
	uint64_t bit = 1ull << (vector % 64);

	if (level)
		atomic_fetch_or(&in->level[word], bit);
	else if (atomic_load_explicit(&in->level[word], memory_order_relaxed) & bit)
		atomic_fetch_and(&in->level[word], ~bit);
	atomic_fetch_or(&in->pid.pir[word], bit);
	return !(atomic_fetch_or(&in->pid.control, INBOX_ON) & INBOX_ON);
}

/* Raises signals (INBOX_NMI ...). Any CPU. True: the caller must kick the VCPU. */
static inline bool inbox_signal(struct inbox *in, uint32_t signals)
{
	atomic_fetch_or(&in->signals, signals);
	return !(atomic_fetch_or(&in->pid.control, INBOX_ON) & INBOX_ON);
}

/* Anything to drain? Owner CPU; a plain load, cheap enough for every entry. */
static inline bool inbox_full(const struct inbox *in)
{
	return atomic_load_explicit(&in->pid.control, memory_order_acquire) & INBOX_ON;
}

/* Begins a drain: clears ON. Owner CPU. Then inbox_take() each word and inbox_take_signals(). */
static inline void inbox_open(struct inbox *in)
{
	atomic_fetch_and(&in->pid.control, ~INBOX_ON);
}

/* Takes the requests of one word of 64 vectors, and which of them are level-triggered. Owner CPU. */
static inline uint64_t inbox_take(struct inbox *in, unsigned word, uint64_t *level)
{
	uint64_t requests = 0;

	if (atomic_load_explicit(&in->pid.pir[word], memory_order_relaxed))
		requests = atomic_exchange(&in->pid.pir[word], 0);
	*level = atomic_load_explicit(&in->level[word], memory_order_relaxed) & requests;
	return requests;
}

static inline uint32_t inbox_take_signals(struct inbox *in)
{
	if (!atomic_load_explicit(&in->signals, memory_order_relaxed))
		return 0;
	return atomic_exchange(&in->signals, 0);
}

#endif
