/* SPDX-License-Identifier: MIT */
/* The MSR policy: sorted, complete for the MSRs that CPUID announces, and nothing else exists. */
/* SOURCES: arch/x86/msr.c */
#include "arch/x86/msr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void sorted(void **state)
{
	(void)state;
	for (unsigned i = 0; i < msr_rule_count; i++) {
		assert_true(msr_rules[i].first <= msr_rules[i].last);
		if (i)
			assert_true(msr_rules[i - 1].last < msr_rules[i].first);
	}
}

/* Binary search against linear search, over all indices that can matter. */
static void found(void **state)
{
	static const uint32_t starts[] = { 0, 0x40000000, 0x4b564d00, 0xc0000000, 0xc0010000, 0xffff0000 };

	(void)state;
	for (unsigned s = 0; s < sizeof(starts) / sizeof(starts[0]); s++)
		for (uint32_t index = starts[s]; index - starts[s] < 0x10000; index++) {
			const struct msr_rule *wanted = NULL;

			for (unsigned i = 0; i < msr_rule_count; i++)
				if (index >= msr_rules[i].first && index <= msr_rules[i].last)
					wanted = &msr_rules[i];
			assert_ptr_equal(msr_find(index), wanted);
		}
}

static void absent(void **state)
{
	/* FEATURE_CONTROL, SMI_COUNT, SPEC_CTRL, PMC0, MTRRCAP, PERF_STATUS, PERFEVTSEL0, MTRR_DEF_TYPE, VMX_BASIC, XSS, none */
	static const uint32_t none[] = { 0x3a,       0x34,       0x48,       0xc1,      0xfe,  0x198,
		                         0x186,      0x2ff,      0x480,      0xda0,     0x900, 0x7ff,
		                         0xc0000085, 0xc0000104, 0x40000000, 0xffffffff };

	(void)state;
	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_null(msr_find(none[i]));
}

static void kinds(void **state)
{
	static const uint32_t backend[] = { 0x10,       0x3b,       0x174,      0x175,      0x176,
		                            0x277,      0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083,
		                            0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103 };
	static const uint32_t apic[] = { 0x1b, 0x6e0, 0x800, 0x830, 0x8ff };

	(void)state;
	for (unsigned i = 0; i < sizeof(backend) / sizeof(backend[0]); i++)
		assert_int_equal(msr_find(backend[i])->kind, MSR_BACKEND);
	for (unsigned i = 0; i < sizeof(apic) / sizeof(apic[0]); i++)
		assert_int_equal(msr_find(apic[i])->kind, MSR_APIC);
}

static void constants(void **state)
{
	const struct msr_rule *sign = msr_find(0x8b), *misc = msr_find(0x1a0), *debugctl = msr_find(0x1d9);

	(void)state;
	assert_false(msr_const_write(msr_find(0x17), 0));
	assert_false(msr_const_write(msr_find(0x179), 0));
	assert_int_equal(msr_find(0x179)->value, 0);
	assert_true(msr_const_write(msr_find(0x17a), 0));
	assert_false(msr_const_write(msr_find(0x17a), 4));
	assert_true(msr_const_write(sign, 0));
	assert_true(msr_const_write(sign, UINT64_MAX));
	assert_int_equal(sign->value, 0);
	assert_int_equal(misc->value, 0x1801);
	assert_true(msr_const_write(misc, 0));
	assert_true(msr_const_write(misc, 0x1801));
	/* What a guest read it may write back, with any bit toggled that is not reserved; XD disable is bit 34. */
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(msr_const_write(misc, misc->value ^ 1ull << bit), 0x4400c51889 >> bit & 1);
	/* Bits 7, 11 and 12 are read-only. */
	assert_int_equal(misc->kept, 0x4400c50009);
	for (unsigned i = 0; i < msr_rule_count; i++)
		assert_true(&msr_rules[i] == misc || !msr_rules[i].kept);
	assert_true(msr_const_write(debugctl, 0));
	for (unsigned bit = 0; bit < 64; bit++)
		assert_false(msr_const_write(debugctl, 1ull << bit));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sorted), cmocka_unit_test(found),     cmocka_unit_test(absent),
		cmocka_unit_test(kinds),  cmocka_unit_test(constants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
