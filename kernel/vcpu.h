/* SPDX-License-Identifier: MIT */
/* Running VCPUs: the loop of a physical CPU, and what happens between an exit and the next entry. */
#ifndef KERNEL_VCPU_H
#define KERNEL_VCPU_H

#include <stdint.h>

#include "arch/x86/arch.h"
#include "kernel/vm.h"

/*
 * The longest a VCPU runs without an exit. It is the time slice where VCPUs share a CPU, and the bound on a kick
 * that arrives late: by the manual a kick ends guest execution at once, whatever the guest's RFLAGS.IF says.
 */
#define VCPU_SLICE_HZ 100

/*
 * The shortest that a VCPU is entered for. A guest may program timers that are due again at once: it is late by this
 * much, 10 us, and gets somewhere in between.
 */
#define VCPU_ENTRY_HZ 100000

/* Gives a VCPU to the physical CPU v->cpu. Boot CPU, before any CPU runs VCPUs. */
void vcpu_assign(struct vcpu *v);

/* Runs the VCPUs assigned to this CPU, for good. Every CPU, once, with virtualisation on. */
_Noreturn void vcpu_run_all(void);

/* The guest's TSC now. The VCPU's CPU. */
static inline uint64_t vcpu_tsc(const struct vcpu *v)
{
	return tsc_now() + v->tsc_offset;
}

/* Stops the VM of `v` with a dump of its state: it did something impossible, or that we do not know. Owner CPU. */
void vcpu_park(struct vcpu *v, const struct vm_exit *e, const char *reason);

/* Injects an exception at the next entry (error -1: it has no error code). Owner CPU. */
void vcpu_fault(struct vcpu *v, uint8_t vector, int32_t error);

#define FAULT_UD 6
#define FAULT_GP 13
#define FAULT_PF 14

#endif
