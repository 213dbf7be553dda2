/* SPDX-License-Identifier: MIT */
/*
 * The MSR policy, the counterpart of the CPUID policy: an MSR that CPUID announces as absent is #GP here. So
 * there is no IA32_FEATURE_CONTROL (neither VMX nor SMX), no MTRR, no performance monitoring.
 * Registers as in SDM vol. 4, "Architectural MSRs".
 */
#include "arch/x86/msr.h"

#include <stddef.h>

/*
 * IA32_MISC_ENABLE: fast strings on; neither branch trace storage nor PEBS (bits that say "unavailable").
 * Every bit that the manual defines may be written and has no effect: thermal control, SpeedStep, MONITOR, the
 * CPUID limit, xTPR messages, XD disable (CPUID and IA32_EFER go on offering XD) and turbo read as written, those
 * that are read-only as ever: performance monitoring (none) and the two that say "unavailable".
 */
#define MISC_ENABLE           (1u << 0 | 1u << 11 | 1u << 12)
#define MISC_ENABLE_READ_ONLY 0x1880
#define MISC_ENABLE_DEFINED   (MISC_ENABLE | 0x4400c50088)

const struct msr_rule msr_rules[] = {
	{ 0x10, 0x10, .kind = MSR_BACKEND },                  /* IA32_TIME_STAMP_COUNTER */
	{ 0x17, 0x17, .kind = MSR_CONST, .read_only = true }, /* IA32_PLATFORM_ID */
	{ 0x1b, 0x1b, .kind = MSR_APIC },                     /* IA32_APIC_BASE */
	{ 0x3b, 0x3b, .kind = MSR_BACKEND },                  /* IA32_TSC_ADJUST */
	/* IA32_BIOS_SIGN_ID: software writes 0, executes CPUID and reads the revision: none is loaded. */
	{ 0x8b, 0x8b, .kind = MSR_CONST, .ignored = UINT64_MAX },
	{ 0x174, 0x176, .kind = MSR_BACKEND },                  /* IA32_SYSENTER_CS, ESP, EIP */
	{ 0x179, 0x179, .kind = MSR_CONST, .read_only = true }, /* IA32_MCG_CAP: no bank */
	{ 0x17a, 0x17a, .kind = MSR_CONST }, /* IA32_MCG_STATUS: clear, and may be cleared */
	{ 0x1a0, 0x1a0, .kind = MSR_CONST, .value = MISC_ENABLE, .ignored = MISC_ENABLE_DEFINED,
	  .kept = MISC_ENABLE_DEFINED & ~MISC_ENABLE_READ_ONLY },
	{ 0x1d9, 0x1d9, .kind = MSR_CONST },   /* IA32_DEBUGCTL: nothing to switch on */
	{ 0x277, 0x277, .kind = MSR_BACKEND }, /* IA32_PAT */
	{ 0x6e0, 0x6e0, .kind = MSR_APIC },    /* IA32_TSC_DEADLINE */
	{ 0x800, 0x8ff, .kind = MSR_APIC },
	{ 0xc0000080, 0xc0000084, .kind = MSR_BACKEND }, /* IA32_EFER, STAR, LSTAR, CSTAR, FMASK */
	{ 0xc0000100, 0xc0000103, .kind = MSR_BACKEND }, /* FS, GS, KERNEL_GS base; IA32_TSC_AUX */
};

const unsigned msr_rule_count = sizeof(msr_rules) / sizeof(msr_rules[0]);

const struct msr_rule *msr_find(uint32_t index)
{
	unsigned low = 0, high = msr_rule_count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (index > msr_rules[middle].last)
			low = middle + 1;
		else if (index < msr_rules[middle].first)
			high = middle;
		else
			return &msr_rules[middle];
	}
	return NULL;
}

bool msr_const_write(const struct msr_rule *rule, uint64_t value)
{
	return !rule->read_only && ((value ^ rule->value) & ~rule->ignored) == 0;
}
