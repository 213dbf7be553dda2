/* SPDX-License-Identifier: MIT */
/* ACPI tables and an MP table for a guest, written into its memory below 1 MiB. Pure: bytes only. */
#pragma once

#include <stdint.h>

#define TABLES_BASE 0xf0000u /* RSDP here, on a 16-byte boundary as those who look for it expect */
#define TABLES_END  0xf2000u

struct tables_setup {
	unsigned vcpus;    /* 1 to VIC_MAX_VCPUS; APIC IDs count from 0 */
	uint8_t ioapic_id; /* as its ID register says */
	uint8_t ioapic_version;
	uint32_t cpu_signature; /* CPUID.1:EAX and EDX of the guest, for the MP table */
	uint32_t cpu_features;
};

/* `ram` is guest-physical 0; TABLES_BASE to TABLES_END is written. */
void tables_write(uint8_t *ram, const struct tables_setup *setup);
