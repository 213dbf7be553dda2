/* SPDX-License-Identifier: MIT */
/*
 * Stress: every VCPU rings, masks, unmasks, rebinds, closes and opens ports, changes the route, rewrites IOAPIC entries,
 * sleeps and raises its TPR, all at random; with a peer VM of the same kind, doorbells go to and fro as well. At rest
 * every ring must have been consumed once or coalesced. `seed=` repeats a run, to the instruction on an emulator that
 * does so; `events=` operations in all; `routes=exact` leaves out the routes that may misdirect, and then handlers
 * look at their own VCPU's page only.
 */
#include "guest-stubs/stress/stress.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"

const char guest_name[] = "stress";

#define TICKS_PING  20000ull      /* between two wake-ups of VCPUs that may sleep with nothing to come */
#define TICKS_STALL 2000000000ull /* nobody has done anything for so long: hung */
#define TICKS_REST  40000000ull

struct options options;
struct faults faults;
struct worker workers[MAX_VCPUS];

struct worker *worker_self(void)
{
	return &workers[cpu_self()->index];
}

unsigned stress_random(unsigned n)
{
	struct worker *self = worker_self();

	self->random ^= self->random << 13;
	self->random ^= self->random >> 7;
	self->random ^= self->random << 17;
	return (unsigned)((self->random >> 32) * n >> 32);
}

static void seed_worker(unsigned vcpu)
{
	/* Odd multipliers with mixed bits: neighbouring seeds and VCPUs begin far apart. */
	workers[vcpu].random = options.seed * 0x9e3779b97f4a7c15ull +
	                       (2 * vcpu + 1u + options.offers) * 0xd1342543de82ef95ull;
	workers[vcpu].random |= 1;
	for (unsigned i = 0; i < 16; i++) {
		uint64_t *r = &workers[vcpu].random;

		*r ^= *r << 13;
		*r ^= *r >> 7;
		*r ^= *r << 17;
	}
}

static void change_route(void)
{
	static const enum bh_route exact[] = { BH_ROUTE_VCPU0, BH_ROUTE_NATIVE, BH_ROUTE_FOLLOW };
	enum bh_route route = options.exact ? exact[stress_random(3)] : stress_random(BH_ROUTES);

	if (bellhop_call1(BH_ROUTE, route) < 0)
		cpu_fetch_add(&faults.refused, 1);
	worker_self()->routes++;
}

/* VCPU 0 has an alarm clock; the others sleep until somebody wants them, and VCPU 0 sees to it that somebody does. */
static void sleep(void)
{
	apic_write(APIC_TPR, 0);
	if (cpu_self()->index == 0 || stress_random(2))
		apic_write(APIC_TIMER_INIT, 500 + stress_random(20000));
	cpu_idle();
	cpu_irq_off();
	worker_self()->sleeps++;
}

static void wake_somebody(void)
{
	unsigned vcpu = stress_random(options.vcpus);

	if (vcpu)
		apic_ipi(cpu_get(vcpu)->apic_id, ICR_ASSERT | SMP_WAKE_VECTOR);
}

/* Weights of 1024. */
static void step(void)
{
	unsigned dice = stress_random(1024);

	if (dice < 640)
		ports_ring();
	else if (dice < 710)
		ports_mask();
	else if (dice < 820)
		ports_unmask();
	else if (dice < 890)
		ports_rebind();
	else if (dice < 896)
		ports_kick();
	else if (dice < 910)
		ports_arm();
	else if (dice < 920)
		ports_audit();
	else if (dice < 945)
		ports_close();
	else if (dice < 975)
		lines_rewrite_callback();
	else if (dice < 983)
		lines_rewrite_other();
	else if (dice < 987)
		change_route();
	else if (dice < 1000)
		apic_write(APIC_TPR, stress_random(2) ? 0 : stress_random(8) << 4);
	else if (dice < 1012)
		sleep();
	else if (cpu_self()->index == 0)
		wake_somebody();
}

static void work(void)
{
	struct worker *self = worker_self();
	uint64_t quota = (options.events + options.vcpus - 1) / options.vcpus;

	cpu_irq_off();
	lines_join();
	while (self->events < quota) {
		step();
		if (stress_random(4))
			cpu_irq_window();
		self->events++;
		if (cpu_self()->index == 0 && self->events % (quota / 4) == 0)
			printf("# %lu of %lu events on VCPU 0\n", self->events, quota);
	}
	apic_write(APIC_TPR, 0);
	self->done = true;
	cpu_irq_on();
}

/* The boot CPU has done its part: wakes the others now and then until they have done theirs. False: they never do. */
static bool wait_for_workers(void)
{
	uint64_t moved = cpu_tsc(), seen = 0;

	for (;;) {
		uint64_t events = 0;
		bool done = true;

		for (unsigned v = 1; v < options.vcpus; v++) {
			done &= workers[v].done;
			events += workers[v].events;
			if (!workers[v].done)
				apic_ipi(cpu_get(v)->apic_id, ICR_ASSERT | SMP_WAKE_VECTOR);
		}
		if (done)
			return true;
		if (events != seen)
			moved = cpu_tsc();
		seen = events;
		if (cpu_tsc() - moved > TICKS_STALL)
			return false;
		(void)WAIT_FOR(false, TICKS_PING);
	}
}

static void report(void)
{
	uint64_t lost, doubled, stuck, misdirected = (uint64_t)bellhop_call1(BH_VM_STAT, BH_VM_MISDIRECTED);
	struct worker sum = { .events = 0 };

	ports_balance(&lost, &doubled, &stuck);
	for (unsigned v = 0; v < options.vcpus; v++) {
		sum.events += workers[v].events;
		sum.rings += workers[v].rings;
		sum.consumed += workers[v].consumed;
		sum.closes += workers[v].closes;
		sum.rebinds += workers[v].rebinds;
		sum.routes += workers[v].routes;
		sum.rewrites += workers[v].rewrites;
		sum.sleeps += workers[v].sleeps;
	}
	CHECK(lost == 0, "nothing lost");
	CHECK(doubled == 0 && faults.doubled == 0, "nothing doubled");
	CHECK(stuck == 0, "nothing left pending that is not masked");
	CHECK(faults.refused == 0, "no hypercall was refused without a reason");
	CHECK(faults.stray == 0, "no bit of a port that is not open");
	CHECK(faults.answers == 0, "the rings' answers add up to the ports' counts");
	CHECK(faults.readback == 0, "the IOAPIC reads back what was written");
	if (options.exact)
		CHECK(misdirected == 0, "no upcall went to the wrong VCPU");
	printf("CSV stress "
	       "seed,routes,vcpus,events,rings,consumed,closes,rebinds,routechanges,rewrites,sleeps,"
	       "misdirected,lost,doubled,stuck\n");
	printf("CSV stress %lu,%s,%u,%lu,%lu,%lu,%lu,%lu,%lu,", options.seed, options.exact ? "exact" : "all",
	       options.vcpus, sum.events, sum.rings, sum.consumed, sum.closes, sum.rebinds, sum.routes);
	printf("%lu,%lu,%lu,%lu,%lu,%lu\n", sum.rewrites, sum.sleeps, misdirected, lost,
	       doubled + faults.doubled, stuck);
}

void guest_main(void)
{
	bool ended;

	if (!bellhop_present()) {
		SKIP("needs doorbells: this is no VM of Bellhop");
		report_end();
	}
	options.seed = boot_number("seed", 1);
	options.events = boot_number("events", 20000);
	options.exact = boot_is("routes", "exact");
	options.offers = !boot_is("role", "connects");
	printf("# seed=%lu events=%lu routes=%s\n", options.seed, options.events,
	       options.exact ? "exact" : "all");
	options.vcpus = smp_start(MAX_VCPUS);
	for (unsigned v = 0; v < options.vcpus; v++)
		seed_worker(v);
	bellhop_call1(BH_ROUTE, BH_ROUTE_NATIVE);
	if (!CHECK(ports_open() && lines_init(), "every port is open"))
		report_end();
	for (unsigned v = 1; v < options.vcpus; v++)
		smp_run(v, work);
	work();
	ended = CHECK(wait_for_workers(), "every VCPU came to its end");
	ports_stop();
	/* Handlers may have rung till now; what they were at is over by the time the peer hears of it. */
	(void)WAIT_FOR(false, TICKS_PING);
	if (ended &&
	    CHECK(WAIT_FOR(ports_say_done(), TICKS_STALL) && WAIT_FOR(ports_heard_done(), TICKS_STALL),
	          "both VMs ring no more")) {
		cpu_irq_off();
		lines_restore();
		ports_unmask_all();
		cpu_irq_on();
		(void)WAIT_FOR(ports_at_rest(), TICKS_REST);
		cpu_irq_off();
		report();
	}
	report_end();
}
