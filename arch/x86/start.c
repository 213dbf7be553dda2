/* SPDX-License-Identifier: MIT */
/* The boot CPU's first C: sets the machine up, step by step, then hands over to the kernel. */
#include <stdint.h>

#include "arch/x86/arch.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/machine.h"
#include "arch/x86/memory.h"
#include "arch/x86/paging.h"
#include "arch/x86/segments.h"
#include "arch/x86/smp.h"
#include "arch/x86/trap.h"
#include "arch/x86/tsc.h"
#include "arch/x86/uart.h"
#include "boot/multiboot2.h"
#include "kernel/log.h"

#define PIC_MASTER_MASK 0x21
#define PIC_SLAVE_MASK  0xa1

/* The hypervisor's own needs; the guests' are refused by name where they are made. */
#define MEMORY_MIN (4ull << 20)

/* Constant after boot. In the image, so that it does not weigh on the stack. */
static struct boot_info boot;

_Noreturn void boot_main(const void *info);

static void read_information(const void *info)
{
	const char *wrong = multiboot2_parse(info, SIZE_MAX, &boot);

	if (wrong)
		refuse(LOG_HV, "multiboot2 information: %s: start with GRUB 2", wrong);
	machine_choose_end(boot.cmdline);
}

static void set_up_memory(void)
{
	uint64_t trampoline;

	memory_init(&boot);
	if (memory_free_bytes() < MEMORY_MIN)
		refuse(LOG_HV,
		       "too little memory: %lu KiB free, the hypervisor needs %llu KiB: give the machine "
		       "more",
		       memory_free_bytes() / 1024, MEMORY_MIN / 1024);
	trampoline = memory_low_page();
	smp_place_trampoline(trampoline);
	paging_init(&boot, trampoline);
	memory_open_high();
	segments_guard(&boot_stacks);
}

void boot_main(const void *info)
{
	tsc_boot = tsc_now();
	uart_init();
	segments_init(&cpus[0], &boot_stacks);
	segments_load(&cpus[0]);
	trap_init();
	trap_load();
	/* No device interrupts the hypervisor: it polls the console, and its timers are the CPU's. */
	outb(PIC_MASTER_MASK, 0xff);
	outb(PIC_SLAVE_MASK, 0xff);
	read_information(info);
	tsc_init();
	set_up_memory();
	lapic_find();
	lapic_init();
	lapic_calibrate();
	smp_find(&boot);
	kernel_main(&boot);
	cpu_stop();
}
