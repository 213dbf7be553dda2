/* SPDX-License-Identifier: MIT */
/*
 * IA32_TSC_ADJUST: what is written to it moves the TSC, and what is written to the TSC moves it. SDM vol. 3, "Time-Stamp Counter
 * Adjustment".
 */
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"

const char guest_name[] = "tsc_adjust";

#define MSR_TSC        0x10
#define MSR_TSC_ADJUST 0x3b
#define JUMP           (1ull << 40)
#define SLACK          (1ull << 24) /* ticks that a few instructions take at most */

/* Whether the TSC has moved from `before` by `jump`, and not much more. */
static bool moved(uint64_t before, uint64_t jump)
{
	return cpu_tsc() - before - jump < SLACK;
}

void guest_main(void)
{
	uint64_t before, adjust;

	CHECK(cpu_id(7, 0).b >> 1 & 1, "CPUID announces it");
	adjust = cpu_rdmsr(MSR_TSC_ADJUST);
	CHECK(adjust == 0, "0 at the start");

	before = cpu_tsc();
	cpu_wrmsr(MSR_TSC_ADJUST, JUMP);
	CHECK(moved(before, JUMP), "the TSC jumps with it");
	CHECK(cpu_rdmsr(MSR_TSC_ADJUST) == JUMP, "it reads as written");
	CHECK(moved(before, JUMP), "reading it moves nothing");

	before = cpu_tsc();
	cpu_wrmsr(MSR_TSC, before + 2 * JUMP);
	adjust = cpu_rdmsr(MSR_TSC_ADJUST);
	CHECK(moved(before, 2 * JUMP), "a write of the TSC moves the TSC");
	CHECK(3 * JUMP - adjust < SLACK, "and it, by as much");

	before = cpu_tsc();
	cpu_wrmsr(MSR_TSC_ADJUST, 0);
	CHECK(moved(before, 0 - adjust), "0 takes all of it back");
	report_end();
}
