/* SPDX-License-Identifier: MIT */
/* The hypervisor's page tables: identity, nothing both writable and executable. */
#ifndef ARCH_X86_PAGING_H
#define ARCH_X86_PAGING_H

#include <stdbool.h>
#include <stdint.h>

struct boot_info;

/* The image, by linker.ld. */
extern uint8_t image_start[], image_text_end[], image_rodata_end[], image_end[];

/* An instruction that may raise #GP, and where to go on then. */
struct fixup {
	uint64_t fault;
	uint64_t resume;
};
extern const struct fixup image_fixups[], image_fixups_end[];

/* PAGING_DEVICE: readable, writable, uncached. */
enum paging_rights { PAGING_NONE, PAGING_CODE, PAGING_CONST, PAGING_DATA, PAGING_DEVICE };

/* Builds the tables and loads them. The boot CPU, once, after memory_init(); `trampoline` is the page of
 * smp.c. */
void paging_init(const struct boot_info *boot, uint64_t trampoline);

/* Sets EFER, CR0, CR4 and CR3 as the tables need them. Each CPU. */
void paging_load(void);

/*
 * Changes the rights of the pages from `start`, both in bytes and multiples of a page. The boot CPU, at boot:
 * other CPUs' TLBs are not told.
 */
void paging_protect(uint64_t start, uint64_t size, enum paging_rights rights);

/* True if all of these bytes are mapped. The boot CPU, at boot. */
bool paging_maps(uint64_t start, uint64_t size);

#endif
