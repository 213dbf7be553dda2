/* SPDX-License-Identifier: MIT */
/* What tests look at and no caller of the 8254 does. */
#ifndef TESTS_UNIT_VPIT_OUT_H
#define TESTS_UNIT_VPIT_OUT_H

#include "kernel/vic/vpit.h"

/* Level of OUT of a channel, 0 to 2. Any look brings all of them up to date. */
static inline bool vpit_out(struct vpit *pit, unsigned channel, uint64_t now)
{
	vpit_port61_read(pit, now);
	return pit->channel[channel].out;
}

#endif
