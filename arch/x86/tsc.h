/* SPDX-License-Identifier: MIT */
/* The rate of the time-stamp counter. tsc_hz is in arch.h. */
#ifndef ARCH_X86_TSC_H
#define ARCH_X86_TSC_H

#include <stdint.h>

/* Finds tsc_hz: against the PIT, else from CPUID; refuses where neither works. Boot CPU, once; takes 20 ms.
 */
void tsc_init(void);

/* Waits. Any CPU. */
void tsc_wait(uint64_t microseconds);

#endif
