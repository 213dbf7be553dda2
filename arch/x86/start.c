/* SPDX-License-Identifier: MIT */
/* The boot CPU's first C: what the kernel needs to speak and to stop; then the machine, step by step. */
#include "arch/x86/boot.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

#define PIC_MASTER_MASK 0x21
#define PIC_SLAVE_MASK  0xa1

/* The hypervisor's own needs; the guests' are refused by name where they are made. */
#define MEMORY_MIN (4ull << 20)

/* Constant after boot. In the image, so that it does not weigh on the stack. */
static struct boot_info boot;

_Noreturn void boot_main(const void *info);

void boot_main(const void *info)
{
	const char *wrong;

	tsc_boot = tsc_now();
	console_init();
	cpu_set_stacks(&cpus[0], boot_stacks);
	cpu_load_segments(&cpus[0]);
	trap_init();
	trap_load();
	/* No device interrupts the hypervisor: it polls the console, and its timers are the CPU's. */
	outb(PIC_MASTER_MASK, 0xff);
	outb(PIC_SLAVE_MASK, 0xff);
	tsc_init();
	wrong = multiboot2_parse(info, SIZE_MAX, &boot);
	if (wrong)
		refuse(LOG_HV, "multiboot2 information: %s: start with GRUB 2", wrong);
	kernel_main(&boot);
	cpu_stop();
}

void machine_init(const struct boot_info *info)
{
	memory_init(info);
	if (memory_free_bytes() < MEMORY_MIN)
		refuse(LOG_HV,
		       "too little memory: %lu KiB free, the hypervisor needs %llu KiB: give the machine "
		       "more",
		       memory_free_bytes() / 1024, MEMORY_MIN / 1024);
	smp_find(info);
	paging_init(info);
	paging_guard(boot_stacks, STACKS);
	memory_open_high();
	lapic_find();
}
