/* SPDX-License-Identifier: MIT */
/* What doorbell.c and doorbell_ports.c share; nobody else includes it. */
#pragma once

#include "doorbell.h"

#define WORDS (BH_GROUPS * BH_GROUP_WORDS)

static inline uint64_t bit_of(uint32_t port)
{
	return 1ull << (port % 64);
}

static inline uint64_t summary_bit(uint32_t port)
{
	return 1ull << (port / 64 % BH_GROUP_WORDS);
}

static inline void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* The counters of a control page are the guest's memory: added to, never trusted. */
static inline _Atomic uint64_t *shared(uint64_t *word)
{
	return (_Atomic uint64_t *)word;
}
