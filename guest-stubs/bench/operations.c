/* SPDX-License-Identifier: MIT */
/* The operations of one VCPU, and what one VCPU sends to another. */
#include "guest-stubs/bench/bench.h"

#define MSR_EOI      0x80bu
#define MSR_ICR      0x830u
#define MSR_LVTT     0x832u
#define MSR_INITIAL  0x838u
#define MSR_DIVIDE   0x83eu
#define MSR_SELF     0x83fu
#define MSR_DEADLINE 0x6e0u

#define VECTOR_OWN   0x40
#define VECTOR_OTHER 0x41
#define VECTOR_TIMER 0x42
#define VECTOR_BELL  0x50 /* VCPU 0's; VCPU 1's is the next */
#define GROUP        1
#define IOAPIC_PIN   5
#define BATCH        8

static volatile unsigned taken;       /* interrupts of VCPU 0 */
static volatile unsigned arrived;     /* interrupts of VCPU 1 */
static volatile uint64_t arrival;     /* TSC at the handler's first line; written before `arrived` */
static uint32_t own_port, other_port; /* bound to VCPU 0 and VCPU 1 */
static struct bh_ring batch[BATCH];   /* ports bound to VCPU 1 */
static uint32_t other_id;             /* VCPU 1's APIC ID */

HANDLER on_own(struct trap_frame *frame)
{
	(void)frame;
	taken++;
	cpu_wrmsr(MSR_EOI, 0);
}

HANDLER on_timer(struct trap_frame *frame)
{
	(void)frame;
	arrival = cpu_tsc();
	taken++;
	cpu_wrmsr(MSR_EOI, 0);
}

HANDLER on_other(struct trap_frame *frame)
{
	(void)frame;
	arrival = cpu_tsc();
	arrived++;
	cpu_wrmsr(MSR_EOI, 0);
}

HANDLER on_own_bell(struct trap_frame *frame)
{
	(void)frame;
	taken += consume(0, GROUP);
	cpu_wrmsr(MSR_EOI, 0);
}

HANDLER on_other_bell(struct trap_frame *frame)
{
	(void)frame;
	arrival = cpu_tsc();
	arrived += consume(1, GROUP);
	cpu_wrmsr(MSR_EOI, 0);
}

/* --- one VCPU ------------------------------------------------------------------------------------------------ */

TIMED void nothing(void)
{
}

TIMED void do_cpuid(void)
{
	cpu_id(1, 0);
}

TIMED void do_hypercall(void)
{
	bellhop_call0(BH_VERSION);
}

TIMED void do_port(void)
{
	cpu_outl(0xcf8, 0x80000000);
}

TIMED void do_xapic_eoi(void)
{
	mmio_write(APIC_BASE + APIC_EOI, 0);
}

TIMED void do_ioapic_read(void)
{
	(void)mmio_read(IOAPIC_BASE + 0x10);
}

/* The low half of an entry that is masked and stays so. */
TIMED void do_ioapic_write(void)
{
	mmio_write(IOAPIC_BASE + 0x10, IOAPIC_MASKED | VECTOR_OWN);
}

TIMED void do_x2_eoi(void)
{
	cpu_wrmsr(MSR_EOI, 0);
}

TIMED void do_self_ipi(void)
{
	unsigned before = taken;

	cpu_wrmsr(MSR_SELF, VECTOR_OWN);
	wait_count(&taken, before + 1);
}

TIMED void do_arm(void)
{
	cpu_wrmsr(MSR_INITIAL, 0x7fffffff);
}

/* Late by: from the deadline to the handler. */
TIMED uint32_t do_deadline(void)
{
	unsigned before = taken;
	uint64_t deadline = cpu_tsc() + 6000;

	cpu_wrmsr(MSR_DEADLINE, deadline);
	wait_count(&taken, before + 1);
	return (uint32_t)(arrival - deadline);
}

TIMED void do_ring(void)
{
	db_ring(own_port);
}

TIMED void do_ring_upcall(void)
{
	unsigned before = taken;

	db_ring(own_port);
	wait_count(&taken, before + 1);
}

/* With xAPIC, before anything else. */
static void alone_xapic(void)
{
	cost_row("nothing", cost_around(nothing));
	cost_row("cpuid", cost_around(do_cpuid));
	cost_row("hypercall", cost_around(do_hypercall));
	cost_row("port", cost_around(do_port));
	cost_row("xapic_eoi", cost_around(do_xapic_eoi));
	mmio_write(IOAPIC_BASE, IOAPIC_VERSION);
	cost_row("ioapic_read", cost_around(do_ioapic_read));
	mmio_write(IOAPIC_BASE, IOAPIC_ENTRY + 2 * IOAPIC_PIN);
	cost_row("ioapic_write", cost_around(do_ioapic_write));
}

static void alone_x2apic(void)
{
	gate_set(VECTOR_OWN, on_own);
	gate_set(VECTOR_TIMER, on_timer);
	cpu_irq_on();
	cost_row("x2apic_eoi", cost_around(do_x2_eoi));
	cost_row("self_ipi", cost_around(do_self_ipi));
	cpu_wrmsr(MSR_LVTT, VECTOR_TIMER);
	cpu_wrmsr(MSR_DIVIDE, 0xb);
	cost_row("timer_arm", cost_around(do_arm));
	cpu_wrmsr(MSR_INITIAL, 0);
	if (cpu_id(1, 0).c & 1u << 24) {
		cpu_wrmsr(MSR_LVTT, 0x40000 | VECTOR_TIMER);
		cost_row("timer_late", cost_told(do_deadline));
	}
	cpu_wrmsr(MSR_LVTT, LVT_MASKED | VECTOR_TIMER);
}

/* Rings of a masked port: the first sets the bit, so that the median is of rings that find it set. */
static void alone_doorbell(void)
{
	cost_row("doorbell_self", cost_around(do_ring_upcall));
	db_mask(own_port);
	cost_row("doorbell_masked", cost_around(do_ring));
	db_take(0, own_port);
	db_unmask(own_port);
}

/* --- to another VCPU ----------------------------------------------------------------------------------------- */

TIMED uint32_t one_way(void (*send)(void), unsigned rest)
{
	unsigned before;
	uint64_t start;

	/* The receiver is back in its loop, or in HLT, when the next one is sent. */
	pauses(rest);
	before = arrived;
	start = cpu_tsc();
	send();
	wait_count(&arrived, before + 1);
	return (uint32_t)(arrival - start);
}

TIMED void send_ipi(void)
{
	cpu_wrmsr(MSR_ICR, (uint64_t)other_id << 32 | ICR_ASSERT | VECTOR_OTHER);
}

TIMED void send_bell(void)
{
	db_ring(other_port);
}

TIMED uint32_t ipi_to_spinning(void)
{
	return one_way(send_ipi, 200);
}

TIMED uint32_t ipi_to_halted(void)
{
	return one_way(send_ipi, 1000);
}

TIMED uint32_t bell_to_spinning(void)
{
	return one_way(send_bell, 200);
}

TIMED uint32_t bell_to_halted(void)
{
	return one_way(send_bell, 1000);
}

/* All of the batch are consumed: the handler may have run more than once for that. */
TIMED uint32_t batch_to_spinning(void)
{
	unsigned before;
	uint64_t start;

	pauses(200);
	before = arrived;
	start = cpu_tsc();
	db_ring_many(batch, BATCH);
	wait_count(&arrived, before + BATCH);
	return (uint32_t)(arrival - start);
}

static void pair(void)
{
	other_id = cpu_get(1)->apic_id;
	gate_set(VECTOR_OTHER, on_other);
	cost_row("ipi_spin", cost_told(ipi_to_spinning));
	cost_row("doorbell_spin", cost_told(bell_to_spinning));
	cost_row("doorbell_batch", cost_told(batch_to_spinning));
	targets_wait(WAIT_HALT);
	cost_row("ipi_halt", cost_told(ipi_to_halted));
	cost_row("doorbell_halt", cost_told(bell_to_halted));
	targets_wait(WAIT_SPIN);
}

static bool doorbells(void)
{
	long own, other;

	gate_set(VECTOR_BELL, on_own_bell);
	gate_set(VECTOR_BELL + 1, on_other_bell);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (db_init(2, NULL) || bellhop_call3(BH_GROUP_VECTOR, 0, GROUP, VECTOR_BELL) ||
	    bellhop_call3(BH_GROUP_VECTOR, 1, GROUP, VECTOR_BELL + 1))
		return false;
	own = db_open(BH_LOCAL, 0, GROUP);
	other = db_open(BH_LOCAL, 1, GROUP);
	own_port = (uint32_t)own;
	other_port = (uint32_t)other;
	for (unsigned i = 0; i < BATCH; i++) {
		long port = db_open(BH_LOCAL, 1, GROUP);

		if (port < 0)
			return false;
		batch[i].port = (uint32_t)port;
	}
	return own >= 0 && other >= 0;
}

void part_operations(void)
{
	printf("CSV operations operation,ticks,exits\n");
	alone_xapic();
	if (!CHECK(targets_start(2), "two VCPUs run in x2APIC mode") || !CHECK(doorbells(), "ports are open"))
		return;
	targets_wait(WAIT_HALT);
	alone_x2apic();
	eoi_alone();
	alone_doorbell();
	targets_wait(WAIT_SPIN);
	pair();
	CHECK(callbacks(), "two more are open, for the callback line");
}
