/* SPDX-License-Identifier: MIT */
/* Physical memory at boot: what is free of it. memory_alloc() is in arch.h. */
#ifndef ARCH_X86_MEMORY_H
#define ARCH_X86_MEMORY_H

#include <stdint.h>

struct boot_info;

/* Takes what the memory map calls free, less the image, the modules, GRUB's information and the first MiB.
 * Boot CPU, once. */
void memory_init(const struct boot_info *boot);

/* A free page in the first MiB for the other CPUs' first instructions, kept free by memory_init(); 0: there
 * is none. */
uint64_t memory_low_page(void);

/* Until this is called, memory_alloc() gives memory below 4 GiB only, as no more is mapped. Boot CPU, once.
 */
void memory_open_high(void);

#endif
