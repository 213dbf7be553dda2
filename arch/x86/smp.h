/* SPDX-License-Identifier: MIT */
/* The other CPUs. smp_start() is in arch.h. */
#ifndef ARCH_X86_SMP_H
#define ARCH_X86_SMP_H

#include <stdint.h>

struct boot_info;

/* Copies the first instructions of other CPUs to `page`, below 1 MiB. Boot CPU, before paging_init() makes it
 * code. */
void smp_place_trampoline(uint64_t page);

/* Reads the list of CPUs; the boot CPU gets its APIC ID. Boot CPU, after lapic_init(). */
void smp_find(const struct boot_info *boot);

#endif
