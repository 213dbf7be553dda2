/* SPDX-License-Identifier: MIT */
/*
 * The CPUID policy. A feature is shown only if its bit is in a mask below, so that what future processors add
 * stays hidden until somebody has thought about it. Bits as in SDM vol. 2, "CPUID-CPU Identification".
 *
 * Hidden on purpose: VMX and SMX (no nesting), MONITOR (a guest would sleep on a CPU that others share),
 * XSAVE and all that needs it (FXSAVE is what is switched), PCID and INVPCID, performance monitoring with
 * PDCM and leaf 0xA, debug store, and the MTRRs with their MSRs: guest RAM is write-back by EPT, and PAT is
 * there for what a guest wants otherwise.
 */
#include "arch/x86/cpuid.h"

#include "arch/x86/insn.h"
#include "kernel/string.h"
#include "kernel/vic/abi.h"

#define BIT(n) (1u << (n))
#define ALL    UINT32_MAX

enum { EAX, EBX, ECX, EDX };

/* SSE3, PCLMULQDQ, SSSE3, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND */
#define FEATURES_ECX \
	(BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) | BIT(30))
/* FPU VME DE PSE TSC MSR PAE MCE CX8, SEP, PGE MCA CMOV PAT PSE36, CLFSH, MMX FXSR SSE SSE2 SS */
#define FEATURES_EDX (0x1ffu | BIT(11) | 0x3e000u | BIT(19) | 0x0f800000u)
/* FSGSBASE, TSC_ADJUST (software), BMI1, FDP_EXCPTN_ONLY, SMEP BMI2 ERMS, no FCS/FDS, RDSEED ADX SMAP, CLFLUSHOPT CLWB, SHA */
#define LEAF7_EBX    (BIT(0) | BIT(3) | BIT(6) | 0x380u | BIT(13) | 0x1c0000u | 0x1800000u | BIT(29))
#define EXTENDED_ECX (BIT(0) | BIT(5) | BIT(8)) /* LAHF, LZCNT, PREFETCHW */
#define EXTENDED_EDX \
	(BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29)) /* SYSCALL, NX, 1 GiB, RDTSCP, 64 bit */

#define BASIC_MAX      0x16u /* topology and frequencies are always there */
#define EXTENDED       0x80000000u
#define EXTENDED_MAX   0x80000008u
#define HYPERVISOR     0x40000000u
#define HYPERVISOR_END 0x4fffffffu
#define KVM            0x40000100u

static uint32_t at_most(uint32_t value, uint32_t limit)
{
	return value < limit ? value : limit;
}

/* Bits of an APIC ID that number the cores. */
static unsigned core_bits(const struct cpuid_view *view)
{
	unsigned bits = 0;

	while (1u << bits < view->vcpus)
		bits++;
	return bits;
}

/* SDM vol. 2, "CPUID": one thread a core, one package. Only the last-level cache is shared. */
static void fix(const struct cpuid_view *view, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	unsigned ids = (1u << core_bits(view)) - 1;

	switch (leaf) {
	case 0:
		out[EAX] = BASIC_MAX;
		break;
	case 1:
		out[EBX] |= view->apic_id << 24 | (ids + 1) << 16;
		out[ECX] |= view->x2apic ? BIT(21) : 0;
		/* "Local APIC Status and Location": the flag follows IA32_APIC_BASE.EN. */
		out[EDX] |= (view->apic_enabled ? BIT(9) : 0) | (view->vcpus > 1 ? BIT(28) : 0);
		break;
	case 4:
		if (out[EAX] & 0x1f)
			out[EAX] |= ids << 26 | ((out[EAX] >> 5 & 7) > 2 ? ids << 14 : 0);
		break;
	case 7: /* subleaf 0 is all there is */
		if (subleaf)
			out[EBX] = out[EDX] = 0;
		break;
	case 0xb: /* level type 1 is the thread, 2 the core */
		out[EAX] = subleaf == 1 ? core_bits(view) : 0;
		out[EBX] = subleaf == 0 ? 1 : subleaf == 1 ? view->vcpus : 0;
		out[ECX] = (subleaf & 0xff) | (subleaf < 2 ? (subleaf + 1) << 8 : 0);
		out[EDX] = view->apic_id;
		break;
	case 0x15:
		/*
		 * The crystal, which clocks the LAPIC's timer, is as fast as the TSC. One rate, ours: an
		 * emulator's leaf may tell that of the processor it imitates. EAX 0 says "not enumerated".
		 */
		out[EAX] = out[EBX] = view->tsc_hz <= UINT32_MAX;
		out[ECX] = out[EAX] ? (uint32_t)view->tsc_hz : 0;
		break;
	case 0x16: /* base, maximum and bus frequency in MHz */
		out[EAX] = out[EBX] = out[ECX] = (uint32_t)(view->tsc_hz / 1000000);
		break;
	case BH_CPUID_ABI:
		out[EDX] = view->apic_id << 16 | view->vcpus;
		break;
	case EXTENDED:
		out[EAX] = at_most(out[EAX], EXTENDED_MAX);
		break;
	}
}

/* The answer is (physical & keep) | set, then fix(). A leaf without a row is all zeros. */
static const struct rule {
	uint32_t leaf, keep[4], set[4];
} rules[] = {
	{ .leaf = 0, .keep = { ALL, ALL, ALL, ALL } },
	/* Brand index, CLFLUSH line; the TSC-deadline timer is software; bit 31: there is a hypervisor. */
	{ .leaf = 1,
	  .keep = { ALL, 0xffff, FEATURES_ECX, FEATURES_EDX },
	  .set = { [ECX] = BIT(24) | BIT(31) } },
	{ .leaf = 2, .keep = { ALL, ALL, ALL, ALL } },
	{ .leaf = 4, .keep = { 0x00003fff, ALL, ALL, ALL } },
	/* The virtual APIC timer never stops (ARAT). */
	{ .leaf = 6, .set = { [EAX] = BIT(2) } },
	{ .leaf = 7,
	  .keep = { [EBX] = LEAF7_EBX, [EDX] = BIT(4) },
	  .set = { [EBX] = BIT(1) } }, /* with fast short REP MOV */
	{ .leaf = 0xb },
	{ .leaf = 0x15 },
	{ .leaf = 0x16 },
	{ .leaf = BH_CPUID_BASE,
	  .set = { BH_CPUID_ABI, BH_SIGNATURE_EBX, BH_SIGNATURE_ECX, BH_SIGNATURE_EDX } },
	{ .leaf = BH_CPUID_ABI, .set = { [EAX] = BH_ABI_VERSION, [ECX] = BH_GROUPS << 16 | BH_SLOTS } },
	/*
	 * Who else may be here is told at steps of 0x100. Linux turns x2APIC mode on without interrupt
	 * remapping only where it finds a hypervisor that it knows: KVM's range, with no feature in it.
	 */
	{ .leaf = KVM, .set = { KVM + 1, 0x4b4d564b, 0x564b4d56, 0x4d } }, /* "KVMKVMKVM" */
	{ .leaf = EXTENDED, .keep = { ALL, 0, 0, 0 } },
	{ .leaf = EXTENDED + 1, .keep = { [ECX] = EXTENDED_ECX, [EDX] = EXTENDED_EDX } },
	{ .leaf = EXTENDED + 2, .keep = { ALL, ALL, ALL, ALL } }, /* the name, to EXTENDED + 4 */
	{ .leaf = EXTENDED + 3, .keep = { ALL, ALL, ALL, ALL } },
	{ .leaf = EXTENDED + 4, .keep = { ALL, ALL, ALL, ALL } },
	{ .leaf = EXTENDED + 6, .keep = { 0, 0, ALL, 0 } },
	{ .leaf = EXTENDED + 7, .keep = { [EDX] = BIT(8) } }, /* invariant TSC */
	{ .leaf = EXTENDED + 8, .keep = { [EAX] = 0xffff } }, /* address widths */
};

/*
 * "INPUT EAX = ...": a value above the highest basic or extended leaf gets the highest basic leaf's data. The
 * range that the manual leaves to software is ours and is all zeros where we say nothing. *physical becomes
 * the processor's own highest leaf of that range: CPUID is slow where another hypervisor is below, so nothing
 * is asked twice.
 */
static uint32_t effective_leaf(cpuid_source source, uint32_t leaf, uint32_t *physical)
{
	uint32_t highest[4];

	*physical = 0;
	if (leaf >= HYPERVISOR && leaf <= HYPERVISOR_END)
		return leaf;
	if (leaf >= EXTENDED) {
		source(EXTENDED, 0, highest);
		*physical = highest[EAX];
		if (leaf <= at_most(*physical, EXTENDED_MAX))
			return leaf;
	}
	source(0, 0, highest);
	*physical = highest[EAX];
	return at_most(leaf, BASIC_MAX);
}

void cpuid_filter(const struct cpuid_view *view, cpuid_source source, uint32_t leaf, uint32_t subleaf,
                  uint32_t out[4])
{
	uint32_t data[4] = { 0 }, physical;
	const struct rule *rule = rules, *end = rules + sizeof(rules) / sizeof(rules[0]);

	leaf = effective_leaf(source, leaf, &physical);
	while (rule < end && rule->leaf != leaf)
		rule++;
	/* Beyond its own highest leaf the processor would answer with another leaf's data. */
	if (rule < end && leaf <= physical)
		source(leaf, subleaf, data);
	for (unsigned i = 0; i < 4; i++)
		out[i] = rule < end ? (data[i] & rule->keep[i]) | rule->set[i] : 0;
	fix(view, leaf, subleaf, out);
}

static void physical_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	struct cpuid_regs r = cpuid(leaf, subleaf);

	memcpy(out, &r, sizeof(r));
}

void cpuid_guest(const struct cpuid_view *view, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	cpuid_filter(view, physical_cpuid, leaf, subleaf, out);
}
