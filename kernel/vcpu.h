/* SPDX-License-Identifier: MIT */
/* Running VCPUs: the loop of a physical CPU, and what happens between an exit and the next entry. */
#pragma once

#include "kernel/vm.h"

/*
 * The longest a VCPU runs without an exit. It is the time slice where VCPUs share a CPU, and the bound on a
 * kick that arrives late: by the manual a kick ends guest execution at once, whatever the guest's RFLAGS.IF
 * says.
 */
#define VCPU_SLICE_HZ 100

/*
 * From one deadline that was met to the next: 10 us, and enough instructions on a machine with a slow TSC. A guest may
 * program timers that are due faster than they can be dealt with; it still gets somewhere in between.
 */
#define VCPU_STEP_HZ    100000
#define VCPU_STEP_TICKS 2000

/* Gives a VCPU to the physical CPU v->cpu. Boot CPU, before any CPU runs VCPUs. */
void vcpu_assign(struct vcpu *v);

/* Runs the VCPUs assigned to this CPU, for good. Every CPU, once, with virtualisation on. */
_Noreturn void vcpu_run_all(void);

/*
 * Before an entry: decides what to inject and when to be back, as of v->virt.exit_tsc. False: the run loop
 * has something else to do first, and nothing was injected. Owner CPU.
 */
bool vcpu_ready(struct vcpu *v);

/*
 * After vlapic_arm() (`end` is what it said), going straight back: v->deadline with the timer's new time in it. Owner
 * CPU.
 */
void vcpu_armed(struct vcpu *v, uint64_t end);

/* The same, after it has taken what vectors the inbox has: a short way back into the guest. Owner CPU. */
bool vcpu_continue(struct vcpu *v);

/*
 * Takes back the timer interrupt that the processor was to deliver, and finds out whether it has. Owner CPU, before the
 * inbox is drained and before any function of the LAPIC that knows of the timer.
 */
void vcpu_take_timer(struct vcpu *v);

static inline void vcpu_settle(struct vcpu *v)
{
	if (__builtin_expect(v->timer_posted, 0))
		vcpu_take_timer(v);
}

/* v->deadline when it has to be worked out again: a timer may have changed. */
#define VCPU_LOOK 0

static inline struct vcpu *vcpu_of(struct virt_vcpu *v)
{
	_Static_assert(offsetof(struct vcpu, virt) == 0, "the backend's half comes first");
	return (struct vcpu *)v;
}

/* The guest's TSC now. The VCPU's CPU. */
static inline uint64_t vcpu_tsc(const struct vcpu *v)
{
	return tsc_now() + v->tsc_offset;
}

/* A time of the guest's TSC as host TSC, seen from `now`: what has passed is `now`, what is too far UINT64_MAX. Owner CPU. */
static inline uint64_t vcpu_host_time(const struct vcpu *v, uint64_t now, uint64_t guest)
{
	uint64_t left = guest - (now + v->tsc_offset);

	if (guest <= now + v->tsc_offset)
		return now;
	return left < UINT64_MAX - now ? now + left : UINT64_MAX;
}

/*
 * Stops the VM of `v` with a dump of its state: it did something impossible, or that we do not know. Owner
 * CPU.
 */
void vcpu_park(struct vcpu *v, const char *reason);

/* Injects an exception at the next entry (error -1: it has no error code). Owner CPU. */
void vcpu_fault(struct vcpu *v, uint8_t vector, int32_t error);

#define FAULT_GP 13
#define FAULT_PF 14
