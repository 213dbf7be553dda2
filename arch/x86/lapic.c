/* SPDX-License-Identifier: MIT */
/* The physical local APIC: one set of registers with two faces, a page of memory or MSRs. */
#include "arch/x86/boot.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"
#include "kernel/vic/apic_msg.h"
#include "kernel/vic/apic_regs.h"

#define LVT_NMI           (APIC_MODE_NMI << APIC_LVT_MODE_SHIFT)
#define LVT_EXTINT        (APIC_MODE_EXTINT << APIC_LVT_MODE_SHIFT)
#define TIMER_DIVIDE_BY_1 0xbu

/* The dispatch of an IPI takes microseconds; this many reads take milliseconds. */
#define PENDING_POLLS_MAX 100000

/* Set by the boot CPU before any other runs, constant afterwards. */
volatile uint32_t *lapic_page;
static uint64_t timer_ratio; /* timer counts a TSC tick, times 2^32 */

static uint32_t lapic_read(unsigned slot)
{
	return lapic_page ? lapic_page[slot * 4] : (uint32_t)rdmsr(MSR_X2APIC + slot);
}

static void lapic_write(unsigned slot, uint32_t value)
{
	if (lapic_page)
		lapic_page[slot * 4] = value;
	else
		wrmsr(MSR_X2APIC + slot, value);
}

void lapic_init(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_EN;

	/* SDM vol. 3, "x2APIC State Transitions": EXTD is valid only where EN is already set. */
	wrmsr(MSR_APIC_BASE, base);
	if (!lapic_page)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_EXTD);
	lapic_write(APIC_SVR, APIC_SVR_ENABLED | VECTOR_SPURIOUS);
	lapic_write(APIC_TPR, 0);
	lapic_write(APIC_LVT_LINT0, APIC_LVT_MASKED);
	lapic_write(APIC_LVT_LINT1, LVT_NMI);
	lapic_write(APIC_LVT_ERROR, APIC_LVT_MASKED);
	lapic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
	lapic_write(APIC_LVT_TIMER, VECTOR_TIMER);
	cpu_self()->apic_id = lapic_page ? lapic_read(APIC_ID) >> 24 : lapic_read(APIC_ID);
}

void lapic_find(void)
{
	struct cpuid_regs leaf1 = cpuid(1, 0);
	uint64_t start, passed;
	uint32_t counted;

	if (!(leaf1.edx & CPUID_1_EDX_APIC))
		refuse(LOG_HV, "this CPU's local APIC is missing or off: turn it on in firmware setup");
	if (!(leaf1.ecx & CPUID_1_ECX_X2APIC))
		lapic_page = (volatile uint32_t *)(rdmsr(MSR_APIC_BASE) & APIC_BASE_PAGE);
	lapic_init();

	/* How fast its timer counts, rather too slow than too fast: early is right for a deadline, late is not. */
	start = tsc_now();
	lapic_write(APIC_TIMER_INITIAL, UINT32_MAX);
	tsc_wait(10000);
	counted = UINT32_MAX - lapic_read(APIC_TIMER_CURRENT);
	passed = tsc_now() - start;
	lapic_write(APIC_TIMER_INITIAL, 0);
	timer_ratio = ((uint64_t)counted << 32) / passed;
}

void lapic_open_pic(void)
{
	lapic_write(APIC_LVT_LINT0, LVT_EXTINT);
}

void lapic_eoi(void)
{
	lapic_write(APIC_EOI, 0);
}

void lapic_send(uint32_t apic_id, uint32_t command)
{
	if (!lapic_page) {
		/* SDM vol. 3, "MSR Access in x2APIC Mode": without fences, what we wrote may be seen late. */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC + APIC_ICR_LO, (uint64_t)apic_id << 32 | APIC_ICR_ASSERT | command);
		return;
	}
	for (unsigned i = 0; i < PENDING_POLLS_MAX && (lapic_read(APIC_ICR_LO) & APIC_ICR_STATUS); i++)
		cpu_relax();
	lapic_write(APIC_ICR_HI, apic_id << 24);
	lapic_write(APIC_ICR_LO, APIC_ICR_ASSERT | command);
}

void lapic_set_timer(uint64_t deadline)
{
	uint64_t now = tsc_now();
	unsigned __int128 counts = deadline > now ? (unsigned __int128)(deadline - now) * timer_ratio >> 32
	                                          : 0;

	/* A count of 0 stops the timer; a long wait is cut, and cpu_idle()'s caller looks again. */
	if (deadline == UINT64_MAX)
		lapic_write(APIC_TIMER_INITIAL, 0);
	else
		lapic_write(APIC_TIMER_INITIAL, counts >= UINT32_MAX ? UINT32_MAX : (uint32_t)counts + 1);
}

void lapic_notify_at(uint64_t deadline)
{
	lapic_write(APIC_LVT_TIMER, APIC_TIMER_DEADLINE | VECTOR_NOTIFY);
	/* SDM vol. 3, "TSC-Deadline Mode": a write of the LVT in memory may come after that of the MSR. */
	__asm__ volatile("mfence; lfence" : : : "memory");
	wrmsr(MSR_TSC_DEADLINE, deadline);
}

bool lapic_notify_stop(void)
{
	wrmsr(MSR_TSC_DEADLINE, 0);
	lapic_write(APIC_LVT_TIMER, VECTOR_TIMER);
	return lapic_read(APIC_IRR + VECTOR_NOTIFY / 32) >> VECTOR_NOTIFY % 32 & 1;
}
