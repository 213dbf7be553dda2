/* SPDX-License-Identifier: MIT */
/* Which MSRs a guest has, and who answers for each. An MSR without a rule does not exist: #GP. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum msr_kind {
	MSR_CONST,   /* reads as `value`; writes by msr_const_write() */
	MSR_BACKEND, /* the CPU itself; writes that exit: virt->vcpu_msr_write() */
	MSR_APIC,    /* the virtual LAPIC: IA32_APIC_BASE, IA32_TSC_DEADLINE, the x2APIC's range */
};

struct msr_rule {
	uint32_t first, last; /* inclusive */
	enum msr_kind kind;
	bool read_only;   /* MSR_CONST: every write is #GP */
	uint64_t value;   /* MSR_CONST */
	uint64_t ignored; /* MSR_CONST: bits that a write may hold either way, without effect */
	uint64_t kept;    /* MSR_CONST: of those, the ones that read as last written; one register has such */
};

/* Ascending by index, without overlap. */
extern const struct msr_rule msr_rules[];
extern const unsigned msr_rule_count;

/* The rule for an MSR, NULL: there is no such MSR. Any CPU. */
const struct msr_rule *msr_find(uint32_t index);

/* A write to an MSR_CONST register. False: #GP. */
bool msr_const_write(const struct msr_rule *rule, uint64_t value);
