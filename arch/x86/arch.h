/* SPDX-License-Identifier: MIT */
/* What the kernel knows of the physical machine, whoever made its virtualisation extension. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CPUS        64
#define PAGE_SIZE       4096ull
#define LARGE_PAGE_SIZE (2ull << 20)

struct boot_info;
struct rtc_time;
struct vcpu;

/*
 * One physical CPU. Found by GS base; every field belongs to its own CPU, but for those that say otherwise. The first
 * two stay where they are: cpu_self() reads one through GS, boot/header.S the other.
 */
struct cpu {
	struct cpu *self;
	uint64_t stack_top;   /* constant after start */
	unsigned index;       /* 0 is the boot CPU; constant after start */
	uint32_t apic_id;     /* physical APIC ID; constant after start, read by anybody who kicks */
	struct vcpu *current; /* the VCPU whose state (FPU, MSRs, control structure) is loaded here */
	volatile bool
		notified; /* a notification came to the hypervisor; its handler's, and who waits for it */
	_Atomic uint64_t ring_epoch; /* odd while a ring is in flight here; written here, read by a rebind */
	_Atomic bool online;         /* set here once virtualisation is on, read by the boot CPU */
};

extern struct cpu cpus[MAX_CPUS];
extern unsigned cpu_count; /* CPUs that the MADT lists and that answered; constant after smp_start() */

static inline struct cpu *cpu_self(void)
{
	struct cpu *cpu;

	__asm__("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

/* Time: the TSC of this CPU, in ticks. Any CPU; monotonic across CPUs on machines with a synchronised TSC. */
static inline uint64_t tsc_now(void)
{
	return __builtin_ia32_rdtsc();
}

extern uint64_t tsc_hz;   /* TSC ticks a second, calibrated at boot; constant afterwards */
extern uint64_t tsc_boot; /* the TSC when boot_main() began: the log's zero */

/* Memory, page tables, the LAPIC; may refuse. Boot CPU, once, before all below but the console's functions. */
void machine_init(const struct boot_info *boot);

/* Starts every other CPU of the MADT and runs `entry` on it, on a stack of its own. Boot CPU, once. */
void smp_start(void (*entry)(void));

/*
 * Physical memory, at boot only and on the boot CPU only; never freed. `size` and `align` in bytes, align a power of
 * two of at least 4096. Zeroed, identity-mapped. NULL when there is none: the caller says for what.
 */
void *memory_alloc(uint64_t size, uint64_t align);
uint64_t memory_free_bytes(void);

/* The time of day from the machine's CMOS clock, read as UTC. Boot CPU; waits out an update, at most 2 ms. */
void wall_clock_read(struct rtc_time *out);

/*
 * Sends a CPU an interrupt: CPU_KICK, which makes it leave its guest or its HLT soon, or one of the backend's. Any CPU,
 * no lock needed; nothing is awaited.
 */
#define CPU_KICK 0xf2
void cpu_interrupt(unsigned cpu, uint8_t vector);

/*
 * Halts this CPU until an interrupt comes or `deadline` (TSC ticks, UINT64_MAX: none) has passed. Called, and returns,
 * with interrupts off, after the last look for work: STI and HLT are one step, so that a kick in between still wakes.
 */
void cpu_idle(uint64_t deadline);

/* Of cpu_await_notification() alone. */
void cpu_await_slowly(struct cpu *cpu);

/*
 * Waits for a notification (posted interrupts) that another CPU is about to send to this one, or has sent, and takes it.
 * Bounded: its sender has nothing else to do before it sends. Called, and returns, with interrupts off, and with none in
 * service at the LAPIC.
 */
static inline void cpu_await_notification(void)
{
	struct cpu *cpu = cpu_self();

	if (!cpu->notified)
		cpu_await_slowly(cpu);
	cpu->notified = false;
}

/* Ends an interrupt that arrived with a VM exit (acknowledged by the exit). The CPU it arrived on. */
void irq_finish(uint8_t vector);

/* Puts a byte on the console: COM1, polled. kernel/log.c has the lock and the lines. */
void console_put(char c);

/*
 * From now on console_received(), the kernel's, is called for each byte that comes in on COM1: on the boot CPU, interrupts
 * off, no lock held. Boot CPU, once.
 */
void console_listen(void);
void console_received(char c);

/* How machine_end() tells an emulator that the run is over; the option `end=` of the hypervisor's line. */
enum machine_end_way { MACHINE_END_HALT, MACHINE_END_BOCHS, MACHINE_END_QEMU, MACHINE_END_RESET };
extern enum machine_end_way machine_end_way;

/* Ends the machine's run after draining the console; halts all CPUs where nothing else is possible. */
_Noreturn void machine_end(void);

/* Halts this CPU for good, interrupts off. */
_Noreturn void cpu_stop(void);

/* Makes every other CPU halt for good, by NMI, whatever it does. Any CPU; returns before they have. */
void cpu_stop_others(void);
