/* SPDX-License-Identifier: MIT */
/* What travels between interrupt controllers: one interrupt message, from an ICR, an IOAPIC entry or a doorbell. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The most VCPUs a VM can have; a set of VCPUs is a bit mask in a uint32_t. */
#define VIC_MAX_VCPUS 16

/* Delivery modes: the encoding that ICR, LVT and IOAPIC entries share. */
enum apic_mode {
	APIC_MODE_FIXED = 0,
	APIC_MODE_LOWEST = 1,
	APIC_MODE_SMI = 2,
	APIC_MODE_RESERVED = 3,
	APIC_MODE_NMI = 4,
	APIC_MODE_INIT = 5,
	APIC_MODE_SIPI = 6,
	APIC_MODE_EXTINT = 7,
};

/* Destination shorthands of the ICR; an IOAPIC message always has APIC_DEST_FIELD. */
enum apic_shorthand {
	APIC_DEST_FIELD = 0,
	APIC_DEST_SELF = 1,
	APIC_DEST_ALL = 2,
	APIC_DEST_OTHERS = 3,
};

struct apic_msg {
	uint32_t dest; /* 8 bits from an xAPIC or IOAPIC, 32 bits from an x2APIC */
	uint8_t vector;
	enum apic_mode mode;
	enum apic_shorthand shorthand;
	bool logical;  /* destination mode: false is physical */
	bool level;    /* trigger mode; sets TMR at the receiver */
	bool deassert; /* INIT level de-assert, the only message that has it */
	bool wide;     /* dest is 32 bits: the sender is in x2APIC mode */
};
