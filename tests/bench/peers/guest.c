/* SPDX-License-Identifier: MIT */
/* The operations that every peer has: CPUID, the LAPIC by both faces, the IOAPIC, an IPI. */
#include "tests/bench/peers/guest.h"

#define IOAPIC_PIN 5
#define AHEAD      60000 /* ticks from arming to the deadline */

uint32_t sample[RUNS];
volatile unsigned taken, arrived;
volatile uint64_t arrival;
volatile bool second_is_up;

enum waiting { WAIT_SPIN = 1, WAIT_HALT, WAIT_X2 };

static bool x2; /* written by VCPU 1 on its way to WAIT_X2, while VCPU 0 waits with IF=0 */
static volatile enum waiting wanted, is;

static struct {
	uint32_t word[4];
} gates[256];

static void eoi(void)
{
	if (x2)
		cpu_wrmsr(MSR_EOI, 0);
	else
		mmio_write(APIC_BASE + APIC_EOI, 0);
}

HANDLER on_own(struct frame *frame)
{
	(void)frame;
	taken++;
	eoi();
}

HANDLER on_timer(struct frame *frame)
{
	(void)frame;
	arrival = cpu_tsc();
	taken++;
	eoi();
}

HANDLER on_other(struct frame *frame)
{
	(void)frame;
	arrival = cpu_tsc();
	arrived++;
	eoi();
}

void guest_gate(unsigned vector, void (*handler)(struct frame *frame))
{
	uintptr_t entry = (uintptr_t)handler;

	gates[vector].word[0] = (uint32_t)8 << 16 | (entry & 0xffff);
	gates[vector].word[1] = ((uint32_t)entry & 0xffff0000) | 0x8e00;
	gates[vector].word[2] = (uint32_t)(entry >> 32);
}

static void load_gates(void)
{
	struct {
		uint16_t limit;
		void *gates;
	} __attribute__((packed)) idt = { sizeof(gates) - 1, gates };

	__asm__ volatile("lidt %0" ::"m"(idt));
}

/* --- rows ---------------------------------------------------------------------------------------------------- */

static void put(const char *text)
{
	while (*text)
		peer_put(*text++);
}

static void put_number(uint32_t value)
{
	if (value >= 10)
		put_number(value / 10);
	peer_put((char)('0' + value % 10));
}

void guest_row(const char *operation)
{
	for (unsigned i = 1; i < RUNS; i++) {
		uint32_t value = sample[i];
		unsigned at = i;

		for (; at && sample[at - 1] > value; at--)
			sample[at] = sample[at - 1];
		sample[at] = value;
	}
	put("ROW ");
	put(operation);
	put(" ");
	put_number(sample[RUNS / 2]);
	put("\n");
}

/* --- VCPU 1 -------------------------------------------------------------------------------------------------- */

static void apic_on(void)
{
	if (x2) {
		cpu_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | APIC_BASE_ON | APIC_BASE_X2);
		cpu_wrmsr(MSR_SVR, SVR_ENABLE | APIC_SPURIOUS);
	} else {
		mmio_write(APIC_BASE + APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
	}
}

void guest_second(void)
{
	load_gates();
	second_is_up = true;
	apic_on();
	cpu_irq_on();
	for (;;) {
		enum waiting how = wanted;

		if (how == WAIT_X2 && is != WAIT_X2) {
			x2 = true;
			apic_on();
		}
		/* IF=0 from the look to the HLT, so that a wake-up in between ends it. */
		if (how == WAIT_HALT)
			cpu_irq_off();
		is = how;
		if (how == WAIT_HALT && wanted == WAIT_HALT)
			cpu_idle();
		else
			cpu_pause();
		cpu_irq_on();
	}
}

TIMED void send_ipi(void)
{
	if (x2) {
		cpu_wrmsr(MSR_ICR, (uint64_t)peer_other_id << 32 | ICR_ASSERT | VECTOR_OTHER);
	} else {
		mmio_write(APIC_BASE + APIC_ICR_HIGH, peer_other_id << 24);
		mmio_write(APIC_BASE + APIC_ICR_LOW, ICR_ASSERT | VECTOR_OTHER);
	}
}

static void wait_for(enum waiting how)
{
	wanted = how;
	if (is == WAIT_HALT)
		send_ipi();
	while (is != how)
		cpu_pause();
}

void guest_wait_spin(void)
{
	wait_for(WAIT_SPIN);
}

void guest_wait_halt(void)
{
	wait_for(WAIT_HALT);
}

/* --- operations ---------------------------------------------------------------------------------------------- */

TIMED void do_cpuid(void)
{
	cpu_id(1, 0);
}

TIMED void do_ioapic_read(void)
{
	(void)mmio_read(IOAPIC_BASE + 0x10);
}

TIMED void do_ioapic_write(void)
{
	mmio_write(IOAPIC_BASE + 0x10, IOAPIC_MASKED | VECTOR_OWN);
}

TIMED void do_xapic_eoi(void)
{
	mmio_write(APIC_BASE + APIC_EOI, 0);
}

TIMED void do_x2apic_eoi(void)
{
	cpu_wrmsr(MSR_EOI, 0);
}

TIMED void do_self_ipi(void)
{
	unsigned before = taken;

	cpu_wrmsr(MSR_SELF, VECTOR_OWN);
	wait_beyond(&taken, before);
}

TIMED void do_arm(void)
{
	cpu_wrmsr(MSR_INITIAL, 0x7fffffff);
}

/* From the deadline to the handler. */
static void row_of_deadline(void)
{
	cpu_wrmsr(MSR_LVTT, 0x40000 | VECTOR_TIMER);
	for (unsigned i = 0; i < RUNS; i++) {
		unsigned before = taken;
		uint64_t deadline = cpu_tsc() + AHEAD;

		cpu_wrmsr(MSR_DEADLINE, deadline);
		wait_beyond(&taken, before);
		sample[i] = (uint32_t)(arrival - deadline);
	}
	guest_row("timer_late");
}

static void rows_xapic(void)
{
	row_around("cpuid", do_cpuid);
	peer_rows_xapic();
	row_around("ioapic_read", do_ioapic_read);
	mmio_write(IOAPIC_BASE, IOAPIC_ENTRY + 2 * IOAPIC_PIN);
	row_around("ioapic_write", do_ioapic_write);
	row_around("xapic_eoi", do_xapic_eoi);
}

static void rows_x2apic(void)
{
	row_around("x2apic_eoi", do_x2apic_eoi);
	row_around("self_ipi", do_self_ipi);
	cpu_wrmsr(MSR_LVTT, VECTOR_TIMER);
	cpu_wrmsr(MSR_DIVIDE, 0xb);
	row_around("timer_arm", do_arm);
	cpu_wrmsr(MSR_INITIAL, 0);
	if (cpu_id(1, 0).c & 1u << 24)
		row_of_deadline();
	cpu_wrmsr(MSR_LVTT, LVT_MASKED | VECTOR_TIMER);
	rows_of_way("ipi_spin", "ipi_halt", send_ipi);
	peer_rows_x2apic();
}

void guest_first(void)
{
	guest_gate(VECTOR_OWN, on_own);
	guest_gate(VECTOR_OTHER, on_other);
	guest_gate(VECTOR_TIMER, on_timer);
	load_gates();
	peer_start();
	while (!second_is_up)
		cpu_pause();
	apic_on();
	cpu_irq_on();
	rows_xapic();
	cpu_irq_off();
	wait_for(WAIT_X2);
	apic_on();
	cpu_irq_on();
	rows_x2apic();
	put("PEER-END\n");
	peer_end();
	for (;;)
		cpu_idle();
}
