/* SPDX-License-Identifier: MIT */
/* What GRUB tells us, checked and in one structure. Pure C: the host's tests use it as it is. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BOOT_MODULES_MAX 32
#define BOOT_MEMORY_MAX  256
#define BOOT_RSDP_SIZE   36

/* The type of memory that may be used; every other number means "leave it alone". */
#define BOOT_MEMORY_FREE 1

/*
 * Constant once multiboot2_parse() has filled it. Addresses are physical, `end` is the first byte after. Strings lie
 * in GRUB's information, which memory.c keeps.
 */
struct boot_info {
	uint64_t info_start, info_end;
	const char *cmdline; /* "" when there is none */
	unsigned module_count;
	struct boot_module {
		uint64_t start, end;
		const char *string; /* the rest of the module line */
	} modules[BOOT_MODULES_MAX];
	unsigned memory_count;
	struct boot_memory {
		uint64_t start, end;
		uint32_t type;
	} memory[BOOT_MEMORY_MAX];
	size_t rsdp_size; /* 0: firmware has no ACPI; 20: version 1; 36: version 2 or later */
	uint8_t rsdp[BOOT_RSDP_SIZE];
};

/*
 * Reads the information at `info`, never further than `limit` bytes. Returns NULL, or what is wrong with it in words
 * that fit behind "multiboot2 information: "; `boot` is then undefined.
 */
const char *multiboot2_parse(const void *info, size_t limit, struct boot_info *boot);

/* kernel/main.c: the boot CPU, on its own stack, once it can log and measure time. It calls machine_init(). */
void kernel_main(const struct boot_info *boot);
