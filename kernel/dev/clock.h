/* SPDX-License-Identifier: MIT */
/* From TSC ticks to counts of a slower clock and back, without overflow for any 64-bit elapsed time. */
#pragma once

#include <stdint.h>

/* Whole counts of a clock of `rate` Hz in `ticks` of a TSC of `hz` Hz. rate * hz must fit 64 bits. */
static inline uint64_t clock_count(uint64_t ticks, uint64_t hz, uint64_t rate)
{
	return ticks / hz * rate + ticks % hz * rate / hz;
}

/* The first tick at which clock_count() is `count`. */
static inline uint64_t clock_ticks(uint64_t count, uint64_t hz, uint64_t rate)
{
	return count / rate * hz + (count % rate * hz + rate - 1) / rate;
}
