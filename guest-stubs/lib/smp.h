/* SPDX-License-Identifier: MIT */
/* Starting the other CPUs and giving them work. */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include <stdbool.h>

#include "guest-stubs/lib/cpu.h"

/*
 * Boot CPU: starts CPUs until `wanted` run, its own included; returns how many do. They idle in HLT with IF=1. `cpus=N`
 * in the command line caps the number.
 */
unsigned smp_start(unsigned wanted);

/* Boot CPU: lets CPU `index` call fn() once, with IF=1; woken by an IPI. The CPU must be idle. */
void smp_run(unsigned index, void (*fn)(void));

/* True once the work given is done, false after LIMIT_LONG ticks. */
bool smp_wait(unsigned index);

/* The vector of the wake-up IPI. */
#define SMP_WAKE_VECTOR 0xfd

#endif
