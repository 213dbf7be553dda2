/* SPDX-License-Identifier: MIT */
/* Instructions that C has no word for, and what is known of each CPU. */
#ifndef GUEST_CPU_H
#define GUEST_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest-stubs/lib/layout.h"

/* One CPU; lies at the lower end of its stack. Written by its own CPU unless said otherwise. */
struct cpu {
	unsigned index;              /* constant: 0 is the boot CPU */
	uint32_t apic_id;            /* constant */
	bool x2apic;                 /* which face apic_read() uses here */
	unsigned long catch_sp;      /* where trap_catch() waits; 0: nowhere */
	volatile bool online;        /* read by the starter */
	void (*volatile work)(void); /* written by anybody while NULL; cleared by this CPU when done */
};

/* In every file's reach: the CPU that runs this line. The stack tells, so that it costs no APIC access. */
static inline struct cpu *cpu_self(void)
{
	unsigned long sp;

#ifdef __x86_64__
	__asm__ volatile("mov %%rsp, %0" : "=r"(sp));
#else
	__asm__ volatile("mov %%esp, %0" : "=r"(sp));
#endif
	return (struct cpu *)(sp & ~(unsigned long)(CPU_STACK - 1));
}

/* Any CPU of 0 to MAX_CPUS - 1, started or not. */
struct cpu *cpu_get(unsigned index);

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" ::: "memory");
}

static inline void cpu_irq_on(void)
{
	__asm__ volatile("sti" ::: "memory");
}

static inline void cpu_irq_off(void)
{
	__asm__ volatile("cli" ::: "memory");
}

/* Sleeps until an interrupt, with IF=1 from the HLT on: STI's shadow keeps one from slipping in between. */
static inline void cpu_idle(void)
{
	__asm__ volatile("sti; hlt" ::: "memory");
}

/* Lets pending interrupts in, once: the NOP is beyond STI's shadow. */
static inline void cpu_irq_window(void)
{
	__asm__ volatile("sti; nop; nop; cli" ::: "memory");
}

static inline uint64_t cpu_tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (uint64_t)hi << 32 | lo;
}

static inline uint64_t cpu_rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void cpu_wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

struct cpuid {
	uint32_t a, b, c, d;
};

static inline struct cpuid cpu_id(uint32_t leaf, uint32_t sub)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
	return r;
}

static inline void cpu_outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline uint8_t cpu_inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void cpu_outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline uint32_t cpu_inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* A device register: the access is one MOV of 32 bits and stays where it is written. */
static inline uint32_t mmio_read(unsigned long address)
{
	return *(volatile uint32_t *)address;
}

static inline void mmio_write(unsigned long address, uint32_t value)
{
	*(volatile uint32_t *)address = value;
}

/* Counts and flags that several CPUs share; lock-prefixed, so they order everything around them as well. */
static inline unsigned long cpu_xchg(volatile unsigned long *p, unsigned long value)
{
	return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);
}

static inline unsigned long cpu_fetch_and(volatile unsigned long *p, unsigned long value)
{
	return __atomic_fetch_and(p, value, __ATOMIC_SEQ_CST);
}

static inline unsigned long cpu_fetch_or(volatile unsigned long *p, unsigned long value)
{
	return __atomic_fetch_or(p, value, __ATOMIC_SEQ_CST);
}

static inline unsigned cpu_fetch_add(volatile unsigned *p, unsigned value)
{
	return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);
}

/* Time limits in TSC ticks: the first only costs anything when a test fails, the second is always waited out. */
#define LIMIT_LONG  200000000ull
#define LIMIT_QUIET 200000ull

/* Ends the machine, or parks the VM: no IDT for #UD, none for the #GP that follows, none for #DF. */
static inline __attribute__((noreturn)) void cpu_triple_fault(void)
{
	struct {
		uint16_t limit;
		unsigned long base;
	} __attribute__((packed)) nothing = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" ::"m"(nothing));
	__builtin_unreachable();
}

/* True as soon as the condition is, false after the ticks. */
#define WAIT_FOR(cond, ticks)                                                    \
	({                                                                       \
		uint64_t wait_start = cpu_tsc();                                 \
		bool wait_met;                                                   \
		while (!(wait_met = (cond)) && cpu_tsc() - wait_start < (ticks)) \
			cpu_pause();                                             \
		wait_met;                                                        \
	})

#endif
