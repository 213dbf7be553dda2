/* SPDX-License-Identifier: MIT */
/* Which CPUs the machine has, by ACPI. Pure C: memory is reached through a function; the host's tests give theirs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ACPI_CPUS_MAX 256

/* APIC IDs of the CPUs that are enabled, in the MADT's order. */
struct acpi_cpus {
	unsigned count;
	uint32_t apic_id[ACPI_CPUS_MAX];
};

/* The bytes at a physical address, any alignment, or NULL where not all of them can be read. */
typedef const void *acpi_map(uint64_t address, size_t size);

/*
 * Follows the RSDP at `start` (`size` bytes, 20 or 36) to the MADT. Returns NULL with `cpus` filled (at least one),
 * or what is wrong, in words that fit behind "ACPI: ".
 */
const char *acpi_find_cpus(const void *start, size_t size, acpi_map *map, struct acpi_cpus *cpus);
