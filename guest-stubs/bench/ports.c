/* SPDX-License-Identifier: MIT */
/*
 * Ring and upcall with 1 to 32,768 open ports a VCPU: whatever is searched for a port or for a bit shows here. A VM has
 * 32,768 ports, so that several VCPUs share them out.
 */
#include "guest-stubs/bench/bench.h"

#define VECTOR 0x50 /* of group 0; the other groups' follow */

static unsigned vcpus;
static uint32_t ports[BH_PORTS]; /* in the order of opening; VCPU v's are v, v + vcpus, … */
static unsigned per_vcpu;
static volatile unsigned handled;
static volatile uint64_t arrival; /* TSC at the handler's first line; written before `handled` */
static uint32_t state;
static long ring_exits;

static void on_upcall(struct trap_frame *frame)
{
	uint64_t now = cpu_tsc();
	unsigned count = consume(cpu_self()->index, (unsigned)frame->vector - VECTOR);

	if (count) {
		arrival = now;
		cpu_fetch_add(&handled, count);
	}
	apic_eoi();
}

/* One of a VCPU's ports, the same ones in each run. */
static uint32_t any_port(unsigned vcpu)
{
	/* Numerical Recipes' constants; the high bits are the random ones. */
	state = state * 1664525 + 1013904223;
	return ports[(state >> 8) % per_vcpu * vcpus + vcpu];
}

/* The sender's part alone: the interrupt waits until IF=1. */
TIMED uint32_t do_ring(void)
{
	uint32_t port = any_port(0);
	long exits = exits_now();
	uint64_t start = cpu_tsc();
	uint32_t ticks;

	db_ring(port);
	ticks = (uint32_t)(cpu_tsc() - start);
	ring_exits += exits_now() - exits - 1;
	cpu_irq_window();
	return ticks;
}

/* From the ring until the handler is done, on one VCPU. */
TIMED uint32_t do_upcall(void)
{
	uint32_t port = any_port(0);
	unsigned before = handled;
	uint64_t start = cpu_tsc();

	db_ring(port);
	wait_count(&handled, before + 1);
	return (uint32_t)(cpu_tsc() - start);
}

/* From the ring to the handler on another VCPU, which spins. */
TIMED uint32_t do_remote(void)
{
	static unsigned vcpu;
	unsigned before = handled;
	uint32_t port;
	uint64_t start;

	vcpu = vcpu % (vcpus - 1) + 1;
	port = any_port(vcpu);
	pauses(200);
	start = cpu_tsc();
	db_ring(port);
	wait_count(&handled, before + 1);
	return (uint32_t)(arrival - start);
}

/* Opens ports until every VCPU has `count`; they lie in all groups in turn. */
static bool open_up_to(unsigned count)
{
	for (unsigned i = per_vcpu * vcpus; i < count * vcpus; i++) {
		long port = db_open(BH_LOCAL, i % vcpus, i / vcpus % BH_GROUPS);

		if (port < 0)
			return false;
		ports[i] = (uint32_t)port;
	}
	per_vcpu = count;
	return true;
}

static void print_cost(struct cost cost)
{
	printf(",%u,%u.%02u", cost.ticks, cost.exits_x100 / 100, cost.exits_x100 % 100);
}

static void measure(unsigned vms)
{
	struct cost ring, upcall, remote = { 0 };

	/* Whoever spins is preempted now and then, which is not what is counted here. */
	targets_wait(WAIT_HALT);
	state = 1;
	ring_exits = 0;
	ring = cost_told(do_ring);
	ring.exits_x100 = (uint32_t)(ring_exits * 100 / RUNS);
	cpu_irq_on();
	upcall = cost_told(do_upcall);
	targets_wait(WAIT_SPIN);
	if (vcpus > 1)
		remote = cost_told(do_remote);
	cpu_irq_off();
	printf("CSV ports %u,%u,%u", vms, vcpus, per_vcpu);
	print_cost(ring);
	print_cost(upcall);
	print_cost(remote);
	printf("\n");
}

static bool set_up(void)
{
	if (!targets_start(vcpus) || db_init(vcpus, NULL))
		return false;
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	for (unsigned group = 0; group < BH_GROUPS; group++) {
		trap_set(VECTOR + group, on_upcall);
		for (unsigned vcpu = 0; vcpu < vcpus; vcpu++)
			if (bellhop_call3(BH_GROUP_VECTOR, vcpu, group, VECTOR + group))
				return false;
	}
	return true;
}

void part_ports(void)
{
	static const unsigned counts[] = { 1, 16, 256, 4096, BH_PORTS };

	vcpus = cpu_id(BH_CPUID_ABI, 0).d & 0xffff;
	if (!CHECK(set_up(), "%u VCPUs run, with pages and vectors", vcpus))
		return;
	printf("CSV ports "
	       "vms,vcpus,ports,ring_ticks,ring_exits,upcall_ticks,upcall_exits,remote_ticks,remote_exits\n");
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		unsigned count = counts[i] * vcpus <= BH_PORTS ? counts[i] : BH_PORTS / vcpus;

		if (count == per_vcpu)
			break;
		if (!CHECK(open_up_to(count), "%u ports a VCPU are open", count))
			break;
		measure((unsigned)boot_number("vms", 1));
	}
}
