/* SPDX-License-Identifier: MIT */
/* A ticket lock: CPUs get it in the order in which they asked. */
#pragma once

#include <stdatomic.h>

#include "arch/x86/arch.h"

/*
 * `next` is written by everybody who asks, `serving` only by the holder. Zero-initialised is free. The hypervisor
 * runs with interrupts off: no holder is interrupted by one who wants the same lock. An NMI handler takes none.
 */
struct spinlock {
	_Atomic uint32_t next;
	_Atomic uint32_t serving;
};

/* Any CPU, not one that already holds it. Waits without bound, with PAUSE: hardware threads and emulators need it. */
static inline void spinlock_lock(struct spinlock *lock)
{
	/* The ticket carries no data: only the acquire below pairs with the release of the holder before us. */
	uint32_t ticket = atomic_fetch_add_explicit(&lock->next, 1, memory_order_relaxed);

	while (atomic_load_explicit(&lock->serving, memory_order_acquire) != ticket)
		cpu_relax();
}

/* The holder. */
static inline void spinlock_unlock(struct spinlock *lock)
{
	uint32_t ticket = atomic_load_explicit(&lock->serving, memory_order_relaxed);

	atomic_store_explicit(&lock->serving, ticket + 1, memory_order_release);
}
