/* SPDX-License-Identifier: MIT */
/* The physical local APIC: one set of registers with two faces, a page of memory or MSRs. */
#include "arch/x86/boot.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

/* SDM vol. 3, "Local APIC Register Address Map": offset / 16, which is also MSR - 0x800. */
enum lapic_register {
	LAPIC_ID = 0x02,
	LAPIC_TPR = 0x08,
	LAPIC_EOI = 0x0b,
	LAPIC_SVR = 0x0f,
	LAPIC_IRR = 0x20,
	LAPIC_ICR_LOW = 0x30,
	LAPIC_ICR_HIGH = 0x31,
	LAPIC_LVT_TIMER = 0x32,
	LAPIC_LVT_LINT0 = 0x35,
	LAPIC_LVT_LINT1 = 0x36,
	LAPIC_LVT_ERROR = 0x37,
	LAPIC_TIMER_INITIAL = 0x38,
	LAPIC_TIMER_CURRENT = 0x39,
	LAPIC_TIMER_DIVIDE = 0x3e,
};

#define SVR_ENABLE        (1u << 8)
#define LVT_MASKED        (1u << 16)
#define LVT_NMI           (4u << 8)
#define LVT_TSC_DEADLINE  (2u << 17)
#define LVT_EXTINT        (7u << 8)
#define TIMER_DIVIDE_BY_1 0xbu
#define ICR_PENDING       (1u << 12)
#define ICR_ASSERT        (1u << 14)

/* The dispatch of an IPI takes microseconds; this many reads take milliseconds. */
#define PENDING_POLLS_MAX 100000

/* Set by the boot CPU before any other runs, constant afterwards. */
volatile uint32_t *lapic_page;
static uint64_t timer_ratio; /* timer counts a TSC tick, times 2^32 */

static uint32_t lapic_read(enum lapic_register reg)
{
	return lapic_page ? lapic_page[reg * 4] : (uint32_t)rdmsr(MSR_X2APIC + reg);
}

static void lapic_write(enum lapic_register reg, uint32_t value)
{
	if (lapic_page)
		lapic_page[reg * 4] = value;
	else
		wrmsr(MSR_X2APIC + reg, value);
}

void lapic_init(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_EN;

	/* SDM vol. 3, "x2APIC State Transitions": EXTD is valid only where EN is already set. */
	wrmsr(MSR_APIC_BASE, base);
	if (!lapic_page)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_EXTD);
	lapic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT1, LVT_NMI);
	lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
	lapic_write(LAPIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
	cpu_self()->apic_id = lapic_page ? lapic_read(LAPIC_ID) >> 24 : lapic_read(LAPIC_ID);
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
	lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
	tsc_wait(10000);
	counted = UINT32_MAX - lapic_read(LAPIC_TIMER_CURRENT);
	passed = tsc_now() - start;
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	timer_ratio = ((uint64_t)counted << 32) / passed;
}

void lapic_open_pic(void)
{
	lapic_write(LAPIC_LVT_LINT0, LVT_EXTINT);
}

bool lapic_is_x2apic(void)
{
	return !lapic_page;
}

void lapic_eoi(void)
{
	lapic_write(LAPIC_EOI, 0);
}

void lapic_send(uint32_t apic_id, uint32_t command)
{
	if (!lapic_page) {
		/* SDM vol. 3, "MSR Access in x2APIC Mode": without fences, what we wrote may be seen late. */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC + LAPIC_ICR_LOW, (uint64_t)apic_id << 32 | ICR_ASSERT | command);
		return;
	}
	for (unsigned i = 0; i < PENDING_POLLS_MAX && (lapic_read(LAPIC_ICR_LOW) & ICR_PENDING); i++)
		cpu_relax();
	lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
	lapic_write(LAPIC_ICR_LOW, ICR_ASSERT | command);
}

void lapic_set_timer(uint64_t deadline)
{
	uint64_t now = tsc_now();
	unsigned __int128 counts = deadline > now ? (unsigned __int128)(deadline - now) * timer_ratio >> 32
	                                          : 0;

	/* A count of 0 stops the timer; a long wait is cut, and cpu_idle()'s caller looks again. */
	if (deadline == UINT64_MAX)
		lapic_write(LAPIC_TIMER_INITIAL, 0);
	else
		lapic_write(LAPIC_TIMER_INITIAL, counts >= UINT32_MAX ? UINT32_MAX : (uint32_t)counts + 1);
}

bool lapic_has_deadline(void)
{
	return cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE;
}

void lapic_notify_at(uint64_t deadline)
{
	lapic_write(LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_NOTIFY);
	/* SDM vol. 3, "TSC-Deadline Mode": a write of the LVT in memory may come after that of the MSR. */
	__asm__ volatile("mfence; lfence" : : : "memory");
	wrmsr(MSR_TSC_DEADLINE, deadline);
}

bool lapic_notify_stop(void)
{
	wrmsr(MSR_TSC_DEADLINE, 0);
	lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
	return lapic_read((enum lapic_register)(LAPIC_IRR + VECTOR_NOTIFY / 32)) >> VECTOR_NOTIFY % 32 & 1;
}
