/* SPDX-License-Identifier: MIT */
/* Exceptions and interrupts: one C handler per vector for all CPUs, and a way to survive a fault. */
#ifndef GUEST_TRAP_H
#define GUEST_TRAP_H

#include <stdint.h>

#define TRAP_DB   1
#define TRAP_NMI  2
#define TRAP_UD   6
#define TRAP_GP   13
#define TRAP_PF   14
#define TRAP_NONE (-1)

/* What the entry pushed, from the lowest address up. */
struct trap_frame {
#ifdef __x86_64__
	unsigned long ax, cx, dx, bx, bp, si, di, r8, r9, r10, r11, r12, r13, r14, r15;
#else
	unsigned long di, si, bp, sp_pusha, bx, dx, cx, ax;
#endif
	unsigned long vector, error, ip, cs, flags;
};

typedef void (*trap_handler)(struct trap_frame *frame);

/* Boot CPU: fills the IDT. Every CPU: loads it. Called by the library before guest_main() and a CPU's work. */
void trap_init(void);
void trap_load(void);

/* From now on `handler` takes this vector on every CPU, with IF=0; it does its own EOI. NULL: unexpected again. */
void trap_set(unsigned vector, trap_handler handler);

/*
 * Calls fn(arg). Returns TRAP_NONE, or the vector of the exception without a handler of its own that ended it half-way.
 * Not to be nested. Flags, with IF, are as before the call.
 */
int trap_catch(void (*fn)(void *arg), void *arg);

/* trap_catch()ed RDMSR and WRMSR: the vector of the fault or TRAP_NONE. A read that faults leaves *value. */
int trap_rdmsr(uint32_t msr, uint64_t *value);
int trap_wrmsr(uint32_t msr, uint64_t value);

/* What only trap.S calls and has. */
void trap_dispatch(struct trap_frame *frame);
int trap_try(unsigned long *sp, void (*fn)(void *arg), void *arg);
void trap_resume(unsigned long sp, int value) __attribute__((noreturn));
extern const char trap_entries[];

#endif
