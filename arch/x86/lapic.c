/* SPDX-License-Identifier: MIT */
/* One local APIC, two faces: a page of memory or MSRs. */
#include "arch/x86/lapic.h"

#include "arch/x86/arch.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

/* SDM vol. 3, "Local APIC Register Address Map": offset / 16, which is also MSR - 0x800. */
enum lapic_register {
	LAPIC_ID = 0x02,
	LAPIC_TPR = 0x08,
	LAPIC_EOI = 0x0b,
	LAPIC_SVR = 0x0f,
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
#define TIMER_DIVIDE_BY_1 0xbu
#define ICR_NMI           (4u << 8)
#define ICR_INIT          (5u << 8)
#define ICR_STARTUP       (6u << 8)
#define ICR_PENDING       (1u << 12)
#define ICR_ASSERT        (1u << 14)
#define ICR_ALL_BUT_SELF  (3u << 18)

/* The dispatch of an IPI takes microseconds; this many reads take milliseconds. */
#define PENDING_POLLS_MAX 100000

/* Set by the boot CPU before any other runs, constant afterwards. */
static enum { MODE_XAPIC, MODE_X2APIC } mode;
static volatile uint32_t *page;
static bool tsc_deadline;
static uint64_t timer_ratio; /* timer counts a TSC tick, times 2^32 */

static uint32_t lapic_read(enum lapic_register reg)
{
	return mode == MODE_X2APIC ? (uint32_t)rdmsr(MSR_X2APIC + reg) : page[reg * 4];
}

static void lapic_write(enum lapic_register reg, uint32_t value)
{
	if (mode == MODE_X2APIC)
		wrmsr(MSR_X2APIC + reg, value);
	else
		page[reg * 4] = value;
}

void lapic_find(void)
{
	struct cpuid_regs leaf1 = cpuid(1, 0);

	if (!(leaf1.edx & CPUID_1_EDX_APIC))
		refuse(LOG_HV, "this CPU's local APIC is missing or off: turn it on in firmware setup");
	page = (volatile uint32_t *)(uintptr_t)(rdmsr(MSR_APIC_BASE) & APIC_BASE_PAGE);
	tsc_deadline = leaf1.ecx & CPUID_1_ECX_TSC_DEADLINE;
	mode = leaf1.ecx & CPUID_1_ECX_X2APIC ? MODE_X2APIC : MODE_XAPIC;
}

void lapic_init(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_EN;

	/* SDM vol. 3, "x2APIC State Transitions": EXTD is valid only where EN is already set. */
	wrmsr(MSR_APIC_BASE, base);
	if (mode == MODE_X2APIC)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_EXTD);
	lapic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT1, LVT_NMI);
	lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
	lapic_write(LAPIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER | (tsc_deadline ? LVT_TSC_DEADLINE : 0));
	/* SDM vol. 3, "TSC-Deadline Mode": a memory-mapped LVT write is not ordered before the deadline's
	 * WRMSR. */
	__asm__ volatile("mfence" : : : "memory");
}

void lapic_calibrate(void)
{
	uint64_t window = tsc_hz / 100, start, passed;
	uint32_t counted;

	if (tsc_deadline)
		return;
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
	start = tsc_now();
	do {
		cpu_relax();
		passed = tsc_now() - start;
	} while (passed < window);
	counted = UINT32_MAX - lapic_read(LAPIC_TIMER_CURRENT);
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
	timer_ratio = ((uint64_t)counted << 32) / passed;
}

bool lapic_is_x2apic(void)
{
	return mode == MODE_X2APIC;
}

uint32_t lapic_id(void)
{
	uint32_t id = lapic_read(LAPIC_ID);

	return mode == MODE_X2APIC ? id : id >> 24;
}

void lapic_eoi(void)
{
	lapic_write(LAPIC_EOI, 0);
}

static void send(uint32_t apic_id, uint32_t command)
{
	if (mode == MODE_X2APIC) {
		/* SDM vol. 3, "MSR Access in x2APIC Mode": without the fences, what we wrote before may be
		 * seen late. */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC + LAPIC_ICR_LOW, (uint64_t)apic_id << 32 | command);
		return;
	}
	for (unsigned i = 0; i < PENDING_POLLS_MAX && (lapic_read(LAPIC_ICR_LOW) & ICR_PENDING); i++)
		cpu_relax();
	lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
	lapic_write(LAPIC_ICR_LOW, command);
}

void lapic_send_fixed(uint32_t apic_id, uint8_t vector)
{
	send(apic_id, ICR_ASSERT | vector);
}

void lapic_send_init(uint32_t apic_id)
{
	send(apic_id, ICR_ASSERT | ICR_INIT);
}

void lapic_send_startup(uint32_t apic_id, uint8_t start_page)
{
	send(apic_id, ICR_ASSERT | ICR_STARTUP | start_page);
}

void lapic_nmi_others(void)
{
	send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);
}

void lapic_timer_start(uint64_t deadline)
{
	uint64_t now = tsc_now();
	unsigned __int128 counts;

	if (tsc_deadline) {
		wrmsr(MSR_TSC_DEADLINE, deadline);
		return;
	}
	/* A count of 0 would stop the timer; a long wait is cut, and cpu_idle()'s caller looks again. */
	counts = deadline > now ? (unsigned __int128)(deadline - now) * timer_ratio >> 32 : 0;
	lapic_write(LAPIC_TIMER_INITIAL, counts >= UINT32_MAX ? UINT32_MAX : (uint32_t)counts + 1);
}

void lapic_timer_stop(void)
{
	if (tsc_deadline)
		wrmsr(MSR_TSC_DEADLINE, 0);
	else
		lapic_write(LAPIC_TIMER_INITIAL, 0);
}
