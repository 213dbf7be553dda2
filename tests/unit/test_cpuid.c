/* SPDX-License-Identifier: MIT */
/* The CPUID policy over a processor that has every bit set: what is shown must be in the masks. */
/* SOURCES: arch/x86/cpuid.c */
#include "arch/x86/cpuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kernel/vic/abi.h"

enum { EAX, EBX, ECX, EDX };

static uint32_t basic_max = 0x20, extended_max = 0x80000021;
static struct cpuid_view view;
static uint32_t out[4];

/* Every bit of every leaf, but for the two highest leaves; beyond them, the highest basic one as the manual says. */
static void everything(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	for (int i = 0; i < 4; i++)
		regs[i] = UINT32_MAX;
	if (leaf == 0)
		regs[EAX] = basic_max;
	if (leaf == 0x80000000)
		regs[EAX] = extended_max;
	if (leaf == 4)
		regs[EAX] = subleaf < 3 ? 0xffffc000 | (subleaf + 1) << 5 | 1 : 0;
	if (leaf == 0x16 || leaf > extended_max || (leaf > basic_max && leaf < 0x80000000))
		for (int i = 0; i < 4; i++)
			regs[i] = 0xabcd0000 | basic_max;
}

static void ask(uint32_t leaf, uint32_t subleaf)
{
	cpuid_filter(&view, everything, leaf, subleaf, out);
}

static void is(uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	assert_int_equal(out[EAX], eax);
	assert_int_equal(out[EBX], ebx);
	assert_int_equal(out[ECX], ecx);
	assert_int_equal(out[EDX], edx);
}

static int fresh(void **state)
{
	(void)state;
	view = (struct cpuid_view){
		.apic_id = 2, .vcpus = 3, .x2apic = true, .apic_enabled = true, .tsc_hz = 2000000001
	};
	basic_max = 0x20;
	extended_max = 0x80000021;
	return 0;
}

static void highest_leaves(void **state)
{
	(void)state;
	ask(0, 0);
	is(0x16, UINT32_MAX, UINT32_MAX, UINT32_MAX);
	basic_max = 0x7;
	ask(0, 0);
	assert_int_equal(out[EAX], 0x16);
	ask(0x80000000, 0);
	is(0x80000008, 0, 0, 0);
	extended_max = 0x80000004;
	ask(0x80000000, 0);
	assert_int_equal(out[EAX], 0x80000004);
}

/* SDM vol. 2, "CPUID": the answer beyond the highest leaf is that of the highest basic leaf. */
static void beyond_the_highest(void **state)
{
	(void)state;
	ask(0x17, 5);
	is(2000, 2000, 2000, 0);
}

static void features(void **state)
{
	(void)state;
	ask(1, 0);
	assert_int_equal(out[EBX], 2u << 24 | 4 << 16 | 0xffff);
	/* No DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, CNXT, SDBG, FMA, xTPR, PDCM, PCID, DCA, XSAVE, OSXSAVE, AVX, F16C. */
	assert_int_equal(out[ECX], 0xc3f82203);
	/* No MTRR, PSN, DS, ACPI, TM, PBE. */
	assert_int_equal(out[EDX], 0x1f8bebff);
	view.x2apic = false;
	view.apic_enabled = false;
	view.vcpus = 1;
	view.apic_id = 0;
	ask(1, 0);
	assert_int_equal(out[EBX], 1 << 16 | 0xffff);
	assert_int_equal(out[ECX] >> 21 & 1, 0);
	assert_int_equal(out[EDX] & (1u << 9 | 1u << 28), 0);
}

static void hidden_leaves(void **state)
{
	static const uint32_t hidden[] = { 3,          5,          8,          9,          0xa,       0xc,
		                           0xd,        0xe,        0xf,        0x10,       0x12,      0x14,
		                           0x80000005, 0x40000002, 0x40000101, 0x40000200, 0x4fffffff };

	(void)state;
	for (unsigned i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
		ask(hidden[i], 0);
		is(0, 0, 0, 0);
		ask(hidden[i], 1);
		is(0, 0, 0, 0);
	}
	ask(6, 0);
	is(4, 0, 0, 0);
	ask(7, 0);
	is(0, 0x219c23cb, 0, 0x10);
	ask(7, 1);
	is(0, 0, 0, 0);
}

static void topology(void **state)
{
	static const unsigned bits[17] = { 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4 };

	(void)state;
	for (view.vcpus = 1; view.vcpus <= 16; view.vcpus++)
		for (view.apic_id = 0; view.apic_id < view.vcpus; view.apic_id++) {
			unsigned ids = (1u << bits[view.vcpus]) - 1;

			ask(0xb, 0);
			is(0, 1, 0x100, view.apic_id);
			ask(0xb, 1);
			is(bits[view.vcpus], view.vcpus, 0x201, view.apic_id);
			ask(0xb, 2);
			is(0, 0, 2, view.apic_id);
			ask(4, 0);
			assert_int_equal(out[EAX], ids << 26 | 0x21);
			ask(4, 2);
			assert_int_equal(out[EAX], ids << 26 | ids << 14 | 0x61);
			ask(4, 3);
			assert_int_equal(out[EAX], 0);
		}
}

static void hypervisor_leaves(void **state)
{
	(void)state;
	ask(0x40000000, 9);
	is(0x40000001, BH_SIGNATURE_EBX, BH_SIGNATURE_ECX, BH_SIGNATURE_EDX);
	assert_memory_equal(&out[EBX], "BellhopRings", 12);
	ask(0x40000100, 0);
	assert_int_equal(out[EAX], 0x40000101);
	assert_memory_equal(&out[EBX], "KVMKVMKVM\0\0\0", 12);
	ask(0x40000001, 0);
	is(BH_ABI_VERSION, 0, 16 << 16 | 2048, 2 << 16 | 3);
}

/* SDM vol. 3, "Determining the Processor Base Frequency"; vol. 3, "APIC Timer": it counts at the crystal's rate. */
static void frequencies(void **state)
{
	(void)state;
	ask(0x15, 0);
	is(1, 1, 2000000001, 0);
	ask(0x16, 0);
	is(2000, 2000, 2000, 0);
	view.tsc_hz = 5000000000;
	ask(0x15, 0);
	is(0, 0, 0, 0);
	ask(0x16, 0);
	is(5000, 5000, 5000, 0);
}

static void extended(void **state)
{
	(void)state;
	ask(0x80000001, 0);
	is(0, 0, 0x121, 0x2c100800);
	ask(0x80000003, 0);
	is(UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
	ask(0x80000007, 0);
	is(0, 0, 0, 0x100);
	ask(0x80000008, 0);
	is(0xffff, 0, 0, 0);
}

/* Leaves that the processor does not have do not show another leaf's data. */
static void old_processor(void **state)
{
	(void)state;
	basic_max = 5;
	ask(7, 0);
	is(0, 2, 0, 0);
	ask(2, 0);
	is(UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
}

/* The real one, whatever it is, goes through the same filter. */
static void this_processor(void **state)
{
	uint32_t leaf0[4];

	(void)state;
	cpuid_guest(&view, 0, 0, leaf0);
	assert_int_equal(leaf0[EAX], 0x16);
	cpuid_guest(&view, 1, 0, out);
	assert_int_equal(out[ECX] & (1u << 5 | 1u << 3 | 1u << 26), 0);
	assert_int_equal(out[ECX] >> 31, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(highest_leaves, fresh),
		cmocka_unit_test_setup(beyond_the_highest, fresh),
		cmocka_unit_test_setup(features, fresh),
		cmocka_unit_test_setup(hidden_leaves, fresh),
		cmocka_unit_test_setup(topology, fresh),
		cmocka_unit_test_setup(hypervisor_leaves, fresh),
		cmocka_unit_test_setup(frequencies, fresh),
		cmocka_unit_test_setup(extended, fresh),
		cmocka_unit_test_setup(old_processor, fresh),
		cmocka_unit_test_setup(this_processor, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
