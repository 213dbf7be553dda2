/* SPDX-License-Identifier: MIT */
/* What goes to more than one receiver, or to another VM. */
#include "guest-stubs/bench/bench.h"

#define OTHERS  7
#define VECTOR  0x41
#define GROUP   1
#define MSR_ICR 0x830u
#define MSR_EOI 0x80bu

/* --- one IPI to all the others -------------------------------------------------------------------------------- */

static volatile unsigned arrived;
static volatile uint64_t arrival[MAX_CPUS]; /* TSC at the handler's first line; each by its own VCPU */

HANDLER on_broadcast(struct trap_frame *frame)
{
	(void)frame;
	arrival[cpu_self()->index] = cpu_tsc();
	cpu_fetch_add(&arrived, 1);
	cpu_wrmsr(MSR_EOI, 0);
}

/* To the handler of the VCPU that is the last, of `first` and up. */
TIMED uint32_t broadcast(uint32_t shorthand, unsigned first)
{
	unsigned before = arrived;
	uint64_t start, last = 0;

	pauses(1000);
	start = cpu_tsc();
	cpu_wrmsr(MSR_ICR, shorthand | ICR_ASSERT | VECTOR);
	wait_count(&arrived, before + OTHERS + 1 - first);
	for (unsigned i = first; i <= OTHERS; i++)
		last = arrival[i] > last ? arrival[i] : last;
	return (uint32_t)(last - start);
}

TIMED uint32_t to_others(void)
{
	return broadcast(ICR_OTHERS, 1);
}

TIMED uint32_t to_all(void)
{
	return broadcast(ICR_ALL, 0);
}

void part_broadcast(void)
{
	printf("CSV operations operation,ticks,exits\n");
	if (!CHECK(targets_start(OTHERS + 1), "eight VCPUs run in x2APIC mode"))
		return;
	gate_set(VECTOR, on_broadcast);
	cpu_irq_on();
	cost_row("ipi_all_self", cost_told(to_all));
	cost_row("ipi_all_spin", cost_told(to_others));
	targets_wait(WAIT_HALT);
	cost_row("ipi_all_halt", cost_told(to_others));
}

/* --- to another VM -------------------------------------------------------------------------------------------- */

static uint32_t port;
static volatile unsigned answers;

HANDLER on_answer(struct trap_frame *frame)
{
	(void)frame;
	answers += consume(0, GROUP);
	cpu_wrmsr(MSR_EOI, 0);
}

HANDLER on_question(struct trap_frame *frame)
{
	(void)frame;
	if (consume(0, GROUP))
		db_ring(port);
	cpu_wrmsr(MSR_EOI, 0);
}

static bool open(void (*handler)(struct trap_frame *frame))
{
	long opened;

	if (!apic_to_x2())
		return false;
	gate_set(VECTOR, handler);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (db_init(1, NULL) || bellhop_call3(BH_GROUP_VECTOR, 0, GROUP, VECTOR))
		return false;
	opened = db_open(BH_INTERVM, 0, GROUP);
	port = (uint32_t)opened;
	return opened >= 0;
}

/*
 * There and back is two doorbells, and this VM has the exits of one sender and of one receiver: those of one doorbell over
 * both VMs.
 */
TIMED uint32_t do_across(void)
{
	unsigned before = answers;
	uint64_t start;

	/* The other VM's handler is over. */
	pauses(200);
	start = cpu_tsc();
	db_ring(port);
	wait_count(&answers, before + 1);
	return (uint32_t)((cpu_tsc() - start) / 2);
}

void part_across(void)
{
	printf("CSV operations operation,ticks,exits\n");
	if (!CHECK(open(on_answer), "a port to another VM is open"))
		return;
	/* The other VM may not have offered yet. */
	if (!CHECK(WAIT_FOR(bellhop_call3(BH_CONNECT, port, 0, BH_PORT(GROUP, 0)) == 0, LIMIT_LONG),
	           "it is connected"))
		return;
	cpu_irq_on();
	WAIT_FOR(false, LIMIT_QUIET);
	cost_row("doorbell_across", cost_told(do_across));
}

/* Never ends: the run does when the other VM has. */
void part_echo(void)
{
	if (!CHECK(open(on_question) && bellhop_call2(BH_OFFER, port, 0) == 0, "a port is offered"))
		return;
	cpu_irq_on();
	for (;;)
		cpu_pause();
}

void part_idle(void)
{
	for (;;)
		cpu_idle();
}
