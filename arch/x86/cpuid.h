/* SPDX-License-Identifier: MIT */
/* CPUID as guests see it: the physical processor's leaves behind masks of what this platform has. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What the answer depends on besides the leaf. */
struct cpuid_view {
	uint32_t apic_id;  /* initial APIC ID, also the VCPU's index: 0 to vcpus - 1 */
	unsigned vcpus;    /* of the VM */
	bool x2apic;       /* x2APIC mode is offered */
	bool apic_enabled; /* IA32_APIC_BASE.EN now: leaf 1 shows it */
	uint64_t tsc_hz;   /* of the TSC and of the LAPIC timer */
};

/* One leaf of a processor: EAX, EBX, ECX, EDX. */
typedef void (*cpuid_source)(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* The guest's answer to (EAX, ECX) = (leaf, subleaf), from the CPU that it runs on. Any CPU. */
void cpuid_guest(const struct cpuid_view *view, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* The same from any source: pure, for tests. */
void cpuid_filter(const struct cpuid_view *view, cpuid_source source, uint32_t leaf, uint32_t subleaf,
                  uint32_t out[4]);
