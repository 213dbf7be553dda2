/* SPDX-License-Identifier: MIT */
/* What the EOI of an interrupt in service costs, edge and level, by x2APIC; and doorbells by the IOAPIC's callback line. */
#include "guest-stubs/bench/bench.h"

#define MSR_EOI      0x80bu
#define MSR_SELF     0x83fu
#define VECTOR_EDGE  0x43
#define VECTOR_LEVEL 0x44 /* VCPU 0's; VCPU 1's is the next */
#define GROUP        2

static volatile unsigned taken;   /* interrupts of VCPU 0 */
static volatile unsigned arrived; /* bits that VCPU 1 has consumed */
static volatile uint64_t arrival; /* TSC at the handler's first line; written before `arrived` */
static uint32_t eoi_ticks;
static long eoi_exits;
static uint32_t own_port, other_port;

TIMED void eoi_timed(void)
{
	long exits = exits_now();
	uint64_t start = cpu_tsc();

	cpu_wrmsr(MSR_EOI, 0);
	eoi_ticks = (uint32_t)(cpu_tsc() - start);
	/* The second look at the count is an exit, too. */
	eoi_exits += exits_now() - exits - 1;
}

HANDLER on_edge(struct trap_frame *frame)
{
	(void)frame;
	eoi_timed();
	taken++;
}

HANDLER on_level(struct trap_frame *frame)
{
	unsigned count = consume(0, GROUP);

	(void)frame;
	eoi_timed();
	taken += count;
}

HANDLER on_own(struct trap_frame *frame)
{
	(void)frame;
	taken += consume(0, GROUP);
	cpu_wrmsr(MSR_EOI, 0);
}

HANDLER on_other(struct trap_frame *frame)
{
	(void)frame;
	arrival = cpu_tsc();
	arrived += consume(1, GROUP);
	cpu_wrmsr(MSR_EOI, 0);
}

TIMED uint32_t edge(void)
{
	unsigned before = taken;

	cpu_wrmsr(MSR_SELF, VECTOR_EDGE);
	wait_count(&taken, before + 1);
	return eoi_ticks;
}

TIMED void callback_to_self(void)
{
	unsigned before = taken;

	db_ring(own_port);
	wait_count(&taken, before + 1);
}

TIMED uint32_t level(void)
{
	callback_to_self();
	return eoi_ticks;
}

TIMED uint32_t callback_to_other(void)
{
	unsigned before;
	uint64_t start;

	/* The receiver is back in its loop when the next one is sent, and the line is low. */
	pauses(1000);
	before = arrived;
	start = cpu_tsc();
	db_ring(other_port);
	wait_count(&arrived, before + 1);
	return (uint32_t)(arrival - start);
}

static void row_of_eoi(const char *operation, struct cost cost)
{
	cost.exits_x100 = (uint32_t)(eoi_exits * 100 / RUNS);
	cost_row(operation, cost);
	eoi_exits = 0;
}

static void aim(unsigned vcpu, unsigned vector)
{
	ioapic_set(BH_CALLBACK_PIN, cpu_get(vcpu)->apic_id, IOAPIC_LEVEL | vector);
}

void eoi_alone(void)
{
	gate_set(VECTOR_EDGE, on_edge);
	row_of_eoi("edge_eoi", cost_told(edge));
}

bool callbacks(void)
{
	long own = db_open(BH_LOCAL, 0, GROUP), other = db_open(BH_LOCAL, 1, GROUP);

	if (own < 0 || other < 0 || bellhop_call1(BH_ROUTE, BH_ROUTE_IOAPIC) < 0)
		return false;
	own_port = (uint32_t)own;
	other_port = (uint32_t)other;
	gate_set(VECTOR_LEVEL, on_level);
	aim(0, VECTOR_LEVEL);
	row_of_eoi("level_eoi", cost_told(level));
	gate_set(VECTOR_LEVEL, on_own);
	cost_row("callback_self", cost_around(callback_to_self));
	gate_set(VECTOR_LEVEL + 1, on_other);
	aim(1, VECTOR_LEVEL + 1);
	cost_row("callback_spin", cost_told(callback_to_other));
	targets_wait(WAIT_HALT);
	cost_row("callback_halt", cost_told(callback_to_other));
	targets_wait(WAIT_SPIN);
	return true;
}
