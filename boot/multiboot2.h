/* SPDX-License-Identifier: MIT */
/* What GRUB tells us, checked and in one structure. Pure C: the host's tests use it as it is. */
#ifndef BOOT_MULTIBOOT2_H
#define BOOT_MULTIBOOT2_H

#include <stddef.h>
#include <stdint.h>

#define BOOT_MODULES_MAX 32
#define BOOT_MEMORY_MAX  256
#define BOOT_RSDP_SIZE   36

/* The types that the memory map may have; every other number means "leave it alone". */
enum boot_memory_type { BOOT_MEMORY_FREE = 1, BOOT_MEMORY_ACPI = 3, BOOT_MEMORY_NVS = 4 };

/* Physical addresses; `end` is the first byte after. `string` is the rest of the module line, within the
 * information. */
struct boot_module {
	uint64_t start;
	uint64_t end;
	const char *string;
};

struct boot_memory {
	uint64_t start;
	uint64_t end;
	uint32_t type;
};

/* Constant once multiboot2_parse() has filled it; its strings lie in GRUB's information, which memory.c
 * keeps. */
struct boot_info {
	uint64_t info_start;
	uint64_t info_end;
	const char *cmdline; /* "" when there is none */
	unsigned module_count;
	struct boot_module modules[BOOT_MODULES_MAX];
	unsigned memory_count;
	struct boot_memory memory[BOOT_MEMORY_MAX];
	size_t rsdp_size; /* 0: firmware has no ACPI; 20: version 1; 36: version 2 or later */
	uint8_t rsdp[BOOT_RSDP_SIZE];
};

/*
 * Reads the information structure at `info` into `boot`. Never looks further than `limit` bytes. Returns
 * NULL, or what is wrong with it in words that fit behind "multiboot2 information: "; `boot` is then
 * undefined.
 */
const char *multiboot2_parse(const void *info, size_t limit, struct boot_info *boot);

/* The operator's part of the hypervisor, kernel/main.c. The boot CPU, on its own stack, everything but the
 * other CPUs set up. */
void kernel_main(const struct boot_info *boot);

#endif
