/* SPDX-License-Identifier: MIT */
/* What the parts of the foreign guest share. */
#ifndef FOREIGN_H
#define FOREIGN_H

#include <stdbool.h>
#include <stdint.h>

#define FOREIGN_CPUS 8

/* The local APIC: off, on, x2APIC, moved; then the other CPUs, by one INIT and one start-up IPI to all. */
void foreign_apic(void);
void foreign_cpus(unsigned cpus);

/* The test device's lines, loop-back ports and memory. */
void foreign_devices(void);

/* Where an application processor arrives in C. */
void foreign_ap_main(void) __attribute__((noreturn));

/* Real mode and back, on the boot CPU. */
void foreign_real(void);

extern uint32_t entry_magic, entry_info, entry_flags, entry_cr0;
extern uint64_t foreign_gdt[];
extern const char ap_code[], ap_code_end[], real_code[], real_code_end[], real_handler[], real_soft[];

/* Hidden from the optimiser, which takes addresses near 0 for offsets from a null pointer. */
static inline void *foreign_at(unsigned long address)
{
	__asm__("" : "+r"(address));
	return (void *)address;
}

#endif
