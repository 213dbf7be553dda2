/* SPDX-License-Identifier: MIT */
/*
 * The CPUID policy. A feature is shown only if its bit is in a mask below, so that what future processors add stays
 * hidden until somebody has thought about it. Bits as in SDM vol. 2, "CPUID-CPU Identification".
 *
 * Hidden on purpose: VMX and SMX (no nesting), MONITOR (a guest would sleep on a CPU that others share), XSAVE and all that
 * needs it (FXSAVE is what is switched), PCID and INVPCID, performance monitoring with PDCM and leaf 0xA, debug store, and the
 * MTRRs with their MSRs: guest RAM is write-back by EPT, and PAT is there for what a guest wants otherwise.
 */
#include "arch/x86/cpuid.h"

#include <stddef.h>

#include "arch/x86/insn.h"
#include "kernel/vic/abi.h"

#define BIT(n) (1u << (n))
#define ALL    UINT32_MAX

enum { EAX, EBX, ECX, EDX };

#define BASIC_MIN      0xbu /* topology is always there */
#define BASIC_MAX      0x16u
#define EXTENDED       0x80000000u
#define EXTENDED_MAX   0x80000008u
#define HYPERVISOR     0x40000000u
#define HYPERVISOR_END 0x4fffffffu

#define LEVEL_THREAD 1u
#define LEVEL_CORE   2u

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

static void fix_basic_max(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4])
{
	(void)view, (void)subleaf;
	out[EAX] = at_most(out[EAX] < BASIC_MIN ? BASIC_MIN : out[EAX], BASIC_MAX);
}

static void fix_features(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4])
{
	(void)subleaf;
	out[EBX] |= view->apic_id << 24 | 1u << core_bits(view) << 16;
	out[ECX] |= view->x2apic ? BIT(21) : 0;
	/* "Local APIC Status and Location": the flag follows IA32_APIC_BASE.EN. */
	out[EDX] |= view->apic_enabled ? BIT(9) : 0;
	out[EDX] |= view->vcpus > 1 ? BIT(28) : 0;
}

/* One thread a core, one package: only the last-level cache is shared. */
static void fix_caches(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4])
{
	unsigned level = out[EAX] >> 5 & 7, ids = (1u << core_bits(view)) - 1;

	(void)subleaf;
	if ((out[EAX] & 0x1f) == 0)
		return;
	out[EAX] |= ids << 26 | (level > 2 ? ids << 14 : 0);
}

static void fix_subleaf0(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4])
{
	(void)view;
	/* Of leaf 7 there is no further subleaf. */
	out[EAX] = 0;
	for (unsigned i = 0; i < 4 && subleaf; i++)
		out[i] = 0;
}

static void fix_topology(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4])
{
	out[ECX] = subleaf & 0xff;
	out[EDX] = view->apic_id;
	if (subleaf == 0) {
		out[EBX] = 1;
		out[ECX] |= LEVEL_THREAD << 8;
	} else if (subleaf == 1) {
		out[EAX] = core_bits(view);
		out[EBX] = view->vcpus;
		out[ECX] |= LEVEL_CORE << 8;
	}
}

static void fix_extended_max(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4])
{
	(void)view, (void)subleaf;
	out[EAX] = at_most(out[EAX], EXTENDED_MAX);
}

static void fix_abi(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4])
{
	(void)subleaf;
	out[EDX] = view->apic_id << 16 | view->vcpus;
}

/* out = (physical & keep) | set, then fix(). A leaf without a row is all zeros. */
static const struct rule {
	uint32_t leaf;
	uint32_t keep[4], set[4];
	void (*fix)(const struct cpuid_view *view, uint32_t subleaf, uint32_t out[4]);
} rules[] = {
	{ .leaf = 0, .keep = { ALL, ALL, ALL, ALL }, .fix = fix_basic_max },
	{
		.leaf = 1,
		.keep = {
			[EAX] = ALL,
			[EBX] = 0x0000ffff, /* brand index, CLFLUSH line */
			/* SSE3, PCLMULQDQ, SSSE3, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND */
			[ECX] = BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) |
				BIT(25) | BIT(30),
			/* FPU VME DE PSE TSC MSR PAE MCE CX8, SEP, PGE MCA CMOV PAT PSE36, CLFSH, MMX FXSR SSE SSE2 SS */
			[EDX] = 0x1ffu | BIT(11) | 0x3e000u | BIT(19) | 0x0f800000u,
		},
		/* The TSC-deadline timer is software; the last bit says that there is a hypervisor. */
		.set = { [ECX] = BIT(24) | BIT(31) },
		.fix = fix_features,
	},
	{ .leaf = 2, .keep = { ALL, ALL, ALL, ALL } },
	{ .leaf = 4, .keep = { 0x00003fff, ALL, ALL, ALL }, .fix = fix_caches },
	/* The virtual APIC timer never stops (ARAT). */
	{ .leaf = 6, .set = { [EAX] = BIT(2) } },
	{
		.leaf = 7,
		.keep = {
			/* FSGSBASE, BMI1, FDP_EXCPTN_ONLY, SMEP, BMI2, ERMS, no FCS/FDS, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA */
			[EBX] = BIT(0) | BIT(3) | BIT(6) | BIT(7) | BIT(8) | BIT(9) | BIT(13) | BIT(18) |
				BIT(19) | BIT(20) | BIT(23) | BIT(24) | BIT(29),
			[EDX] = BIT(4), /* fast short REP MOV */
		},
		.fix = fix_subleaf0,
	},
	{ .leaf = 0xb, .fix = fix_topology },
	/* The TSC is neither scaled nor slowed, so its ratio and the frequencies are true. */
	{ .leaf = 0x15, .keep = { ALL, ALL, ALL, 0 } },
	{ .leaf = 0x16, .keep = { 0xffff, 0xffff, 0xffff, 0 } },
	{ .leaf = BH_CPUID_BASE, .set = { BH_CPUID_ABI, BH_SIGNATURE_EBX, BH_SIGNATURE_ECX, BH_SIGNATURE_EDX } },
	{ .leaf = BH_CPUID_ABI,
	  .set = { [EAX] = BH_ABI_VERSION, [ECX] = BH_GROUPS << 16 | BH_SLOTS },
	  .fix = fix_abi },
	{ .leaf = EXTENDED, .keep = { ALL, 0, 0, 0 }, .fix = fix_extended_max },
	{
		.leaf = EXTENDED + 1,
		.keep = {
			[ECX] = BIT(0) | BIT(5) | BIT(8), /* LAHF, LZCNT, PREFETCHW */
			[EDX] = BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29), /* SYSCALL, NX, 1 GiB, RDTSCP, 64 bit */
		},
	},
	{ .leaf = EXTENDED + 2, .keep = { ALL, ALL, ALL, ALL } },
	{ .leaf = EXTENDED + 3, .keep = { ALL, ALL, ALL, ALL } },
	{ .leaf = EXTENDED + 4, .keep = { ALL, ALL, ALL, ALL } },
	{ .leaf = EXTENDED + 6, .keep = { 0, 0, ALL, 0 } },
	{ .leaf = EXTENDED + 7, .keep = { [EDX] = BIT(8) } }, /* invariant TSC */
	{ .leaf = EXTENDED + 8, .keep = { [EAX] = 0xffff } }, /* address widths */
};

static const struct rule *find(uint32_t leaf)
{
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].leaf == leaf)
			return &rules[i];
	return NULL;
}

/*
 * "INPUT EAX = ...": a value above the highest basic or extended leaf gets the highest basic leaf's data. The range that
 * the manual leaves to software is ours and is all zeros where we say nothing. *physical becomes the processor's own highest
 * leaf of that range: CPUID is slow where another hypervisor is below, so nothing is asked twice.
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
	fix_basic_max(NULL, 0, highest);
	return at_most(leaf, highest[EAX]);
}

void cpuid_filter(const struct cpuid_view *view, cpuid_source source, uint32_t leaf, uint32_t subleaf,
                  uint32_t out[4])
{
	uint32_t data[4] = { 0 }, physical;
	const struct rule *rule;

	leaf = effective_leaf(source, leaf, &physical);
	rule = find(leaf);
	/* Beyond its own highest leaf the processor would answer with another leaf's data. */
	if (rule && leaf <= physical)
		source(leaf, subleaf, data);
	for (unsigned i = 0; i < 4; i++)
		out[i] = rule ? (data[i] & rule->keep[i]) | rule->set[i] : 0;
	if (rule && rule->fix)
		rule->fix(view, subleaf, out);
}

static void physical_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	struct cpuid_regs r = cpuid(leaf, subleaf);

	out[EAX] = r.eax;
	out[EBX] = r.ebx;
	out[ECX] = r.ecx;
	out[EDX] = r.edx;
}

void cpuid_guest(const struct cpuid_view *view, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	cpuid_filter(view, physical_cpuid, leaf, subleaf, out);
}
