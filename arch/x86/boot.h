/* SPDX-License-Identifier: MIT */
/* What the files that set the machine up offer each other; the kernel knows arch.h and virt.h only. */
#pragma once

#include "arch/x86/arch.h"
#include "boot/multiboot2.h"

#define LOW_4G (1ull << 32)

/* Which of a CPU's stacks an exception runs on: SDM vol. 3, "Interrupt Stack Table". IST_NONE: the one in use. */
enum ist { IST_NONE, IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK, STACKS };

/* A stack grows down towards a page that paging_guard() unmaps. The first of a CPU's STACKS is its normal one. */
struct stack {
	uint8_t guard[PAGE_SIZE];
	uint8_t bytes[0x4000];
} __attribute__((aligned(PAGE_SIZE)));

extern struct stack boot_stacks[STACKS]; /* the boot CPU's */

/* Gives a CPU that does not run yet, or the boot CPU itself, its stacks. Boot CPU. */
void cpu_set_stacks(struct cpu *cpu, const struct stack stacks[STACKS]);
/* Makes and loads this CPU's GDT and TSS, and makes cpu_self() work. Each CPU, after cpu_set_stacks(). */
void cpu_load_segments(struct cpu *cpu);

/* Fills the IDT (boot CPU, once) and loads it (each CPU, after cpu_load_segments()). */
void trap_init(void);
void trap_load(void);
/* An NMI came to a CPU that was not told to stop; cleared by cpu_idle(), which logs it. */
extern _Atomic bool trap_nmi_seen;

/*
 * Takes what the memory map calls free, less the image, the modules, GRUB's information and the first MiB. Until
 * memory_open_high(), memory_alloc() gives memory below 4 GiB only, as no more is mapped. Boot CPU, once each.
 */
void memory_init(const struct boot_info *boot);
void memory_open_high(void);
/* A page below 1 MiB for the other CPUs' first instructions; 0: there is none. Constant after memory_init(). */
extern uint64_t memory_low_page;

/* The image, by linker.ld. */
extern uint8_t image_start[], image_text_end[], image_rodata_end[], image_end[];

/* Builds the hypervisor's page tables and loads them. The boot CPU, once, after memory_init(). */
void paging_init(const struct boot_info *boot);
/* Sets EFER, CR0, CR4 and CR3 as the tables need them. Each CPU. */
void paging_load(void);
/* Unmaps the guard pages. The boot CPU, while no other runs: other CPUs' TLBs are not told. */
void paging_guard(const struct stack *stacks, size_t count);

/* Chooses xAPIC or x2APIC for all CPUs, or refuses; lapic_init() for this one. Boot CPU, once, after tsc_init(). */
void lapic_find(void);
/* Turns the LAPIC on with every local source masked but NMI; fills cpu_self()->apic_id. Each CPU. */
void lapic_init(void);
/* The page of its registers; NULL: they are MSRs. Set by lapic_find(), constant afterwards. */
extern volatile uint32_t *lapic_page;
/* Ends the interrupt in service. The CPU it came to. */
void lapic_eoi(void);
/* VECTOR_TIMER comes at `deadline` (TSC ticks) or somewhat before; UINT64_MAX: never. This CPU's. */
void lapic_set_timer(uint64_t deadline);
/*
 * VECTOR_NOTIFY comes exactly at `deadline`, where the CPU has TSC-deadline mode; until lapic_notify_stop() the timer is for that
 * alone. Stopping it, true: it has come, and waits for interrupts to be on. This CPU's.
 */
void lapic_notify_at(uint64_t deadline);
bool lapic_notify_stop(void);
/* One interrupt to that APIC ID; nothing is awaited but the dispatch of the one before. Any CPU. */
void lapic_send(uint32_t apic_id, uint32_t command);
/* SDM vol. 3, "Interrupt Command Register (ICR)". A fixed interrupt's command is its vector. */
#define IPI_NMI          (4u << 8)
#define IPI_INIT         (5u << 8)
#define IPI_STARTUP      (6u << 8) /* plus the page */
#define IPI_ALL_BUT_SELF (3u << 18)

/* Reads the list of CPUs. Boot CPU, before paging_init(): ACPI's tables may lie anywhere below 4 GiB. */
void smp_find(const struct boot_info *boot);

/* Finds tsc_hz: against the PIT, else from CPUID; refuses where neither works. Boot CPU, once; takes 20 ms. */
void tsc_init(void);
/* Waits. Any CPU. */
void tsc_wait(uint64_t microseconds);

/* Opens LINT0 to the 8259 pair's interrupts. The boot CPU. */
void lapic_open_pic(void);
/* An interrupt with a vector from VECTOR_PIC on. The boot CPU. */
void console_interrupt(uint8_t vector);

/* COM1 at 115,200 baud, 8n1, polled; without a UART the console is silent. Boot CPU, before the log's first line. */
void console_init(void);
