/* SPDX-License-Identifier: MIT */
/*
 * The routing contract, line by line, by its numbers in docs/routing.md: nothing lost, nothing doubled, never the wrong
 * VCPU, atomic rebind, an IOAPIC that stays one, who may ring, storms, and waking. Each check prints what it counted. With
 * `role=peer` this is the other VM of line 6 (`die=park`: which ends by a triple fault); with `line=6` that line alone, with
 * `budget=N` line 7, in a VM that has this budget. `share=N`: all is on one CPU, for which N VCPUs of any VM want to compute.
 */
#include "guest-stubs/contract/contract.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "contract";

#define PORTS      4
#define PIT_VECTOR 0x39
#define RINGS      400u
#define MOVES      100u
#define HLTS       20u
#define STORM      2000u
#define CALM_GROUP 3 /* a port beside the storm's, with VECTOR + 1 */

static const char *const route_name[BH_ROUTES] = {
	[BH_ROUTE_IOAPIC] = "ioapic", [BH_ROUTE_VCPU0] = "vcpu0",   [BH_ROUTE_MULTI] = "multi",
	[BH_ROUTE_FOLLOW] = "follow", [BH_ROUTE_NATIVE] = "native",
};

volatile unsigned handled[VCPUS];
static volatile bool look_at_all, hold, stop;
static volatile unsigned pit[VCPUS];
static uint32_t ports[PORTS];

static volatile unsigned calm; /* handlers run of the calm port */

static void on_ring(uint32_t port)
{
	if (BH_PORT_GROUP(port) == CALM_GROUP)
		calm++;
	else
		handled[cpu_self()->index]++;
}

static void on_upcall(struct trap_frame *frame)
{
	(void)frame;
	for (unsigned v = 0; v < VCPUS; v++)
		if (look_at_all || v == cpu_self()->index)
			db_consume_group(v, GROUP);
	apic_eoi();
}

static void on_calm(struct trap_frame *frame)
{
	(void)frame;
	db_consume_group(cpu_self()->index, CALM_GROUP);
	apic_eoi();
}

static void on_pit(struct trap_frame *frame)
{
	(void)frame;
	pit[cpu_self()->index]++;
	apic_eoi();
}

unsigned handled_sum(void)
{
	unsigned sum = 0;

	for (unsigned v = 0; v < VCPUS; v++)
		sum += handled[v];
	return sum;
}

static bool may_misdirect(enum bh_route route)
{
	return route == BH_ROUTE_IOAPIC || route == BH_ROUTE_MULTI;
}

static unsigned pin_of(enum bh_route route)
{
	return BH_CALLBACK_PIN + (route == BH_ROUTE_MULTI || route == BH_ROUTE_FOLLOW ? GROUP : 0);
}

static void aim(enum bh_route route, unsigned vcpu)
{
	ioapic_set(pin_of(route), cpu_get(vcpu)->apic_id, IOAPIC_LEVEL | VECTOR);
}

static uint64_t misdirected(void)
{
	return (uint64_t)bellhop_call1(BH_VM_STAT, BH_VM_MISDIRECTED);
}

/* Since the ports were opened: accepted rings less the coalesced ones. */
static unsigned due(void)
{
	long sum = 0;

	for (unsigned i = 0; i < PORTS; i++)
		sum += bellhop_call2(BH_PORT_STAT, ports[i], BH_STAT_RUNG) -
		       bellhop_call2(BH_PORT_STAT, ports[i], BH_STAT_COALESCED);
	return (unsigned)sum;
}

/* A new start: the route in force, its line aimed at `entry`, ports with counts of 0 bound to `bound`. */
static void begin(enum bh_route route, unsigned entry, unsigned bound)
{
	bellhop_call1(BH_ROUTE, route);
	aim(route, entry);
	look_at_all = may_misdirect(route);
	for (unsigned i = 0; i < PORTS; i++) {
		bellhop_call1(BH_CLOSE, ports[i]);
		ports[i] = (uint32_t)db_open(BH_LOCAL, bound, GROUP);
	}
	for (unsigned v = 0; v < VCPUS; v++)
		handled[v] = 0;
}

/* Consumes whatever is there, wherever it is, with the others at the same time. */
static void rob(void)
{
	while (!stop)
		for (unsigned v = 0; v < VCPUS; v++)
			db_consume_group(v, GROUP);
}

static void keep_ringing(void)
{
	for (unsigned i = 0; i < RINGS; i++)
		db_ring(ports[i % PORTS]);
}

static void line_1_lost(enum bh_route route)
{
	unsigned entry = 0, refused = 0;

	begin(route, 0, 1);
	smp_run(3, keep_ringing);
	cpu_irq_on();
	for (unsigned i = 0; i < RINGS; i++) {
		uint32_t port = ports[i % PORTS];

		refused += db_ring(port) < 0;
		if (i % 8 == 3)
			refused += bellhop_call2(BH_REBIND, port, i / 8 % VCPUS) != 0;
		if (i % 16 == 5)
			aim(route, ++entry % VCPUS);
		if (i % 4 == 1) {
			cpu_irq_off();
			db_mask(port);
			refused += db_ring(port) < 0;
			db_unmask(port);
			cpu_irq_on();
		}
	}
	refused += !smp_wait(3);
	(void)WAIT_FOR(handled_sum() == due(), LIMIT_LONG);
	cpu_irq_off();
	CHECK(refused == 0 && handled_sum() == due(), "1, %s: nothing lost", route_name[route]);
	printf("# 1, %s: %u rings due, %u handled\n", route_name[route], due(), handled_sum());
}

static void line_2_doubled(enum bh_route route)
{
	unsigned rings = 0;

	begin(route, 0, 1);
	stop = false;
	for (unsigned v = 1; v < VCPUS; v++)
		smp_run(v, rob);
	cpu_irq_on();
	for (unsigned i = 0; i < RINGS; i++)
		rings += db_ring(ports[i % PORTS]) >= 0;
	(void)WAIT_FOR(handled_sum() >= due(), LIMIT_LONG);
	(void)WAIT_FOR(false, LIMIT_QUIET);
	stop = true;
	for (unsigned v = 1; v < VCPUS; v++)
		(void)smp_wait(v);
	cpu_irq_off();
	CHECK(rings == RINGS && handled_sum() == due(),
	      "2, %s: nothing doubled: %u bits, four VCPUs after each, %u handled", route_name[route], due(),
	      handled_sum());
}

/* Bound to VCPU 1, and the entry says VCPU 2. */
static void line_3_wrong(enum bh_route route)
{
	static const uint8_t where[BH_ROUTES] = {
		[BH_ROUTE_IOAPIC] = 2, [BH_ROUTE_VCPU0] = 0,  [BH_ROUTE_MULTI] = 2,
		[BH_ROUTE_FOLLOW] = 2, [BH_ROUTE_NATIVE] = 1,
	};
	uint64_t before = misdirected(), counted;
	unsigned there, late = 0;

	begin(route, 2, 1);
	cpu_irq_on();
	for (unsigned i = 1; i <= MOVES && !late; i++) {
		db_ring(ports[0]);
		late += !WAIT_FOR(handled_sum() == i, LIMIT_LONG);
	}
	cpu_irq_off();
	counted = misdirected() - before;
	there = handled[where[route]];
	CHECK(late == 0 && there == MOVES && counted == (may_misdirect(route) ? MOVES : 0),
	      "3, %s: of %u upcalls %u are handled on VCPU %u, %lu are counted as misdirected",
	      route_name[route], MOVES, there, where[route], counted);
}

/*
 * From VCPU 0, whose IF is 0, to VCPU 1: by BH_REBIND, or on `follow` by the entry. Where the line's entry has nothing to do
 * with the binding it is masked until then, or VCPU 1 would have been called before.
 */
static void line_4_rebind(enum bh_route route)
{
	unsigned left = 0, late = 0;

	begin(route, 0, 0);
	for (unsigned i = 1; i <= MOVES && !late; i++) {
		if (route == BH_ROUTE_FOLLOW)
			aim(route, 0);
		else
			bellhop_call2(BH_REBIND, ports[0], 0);
		if (may_misdirect(route))
			ioapic_set(pin_of(route), 0, IOAPIC_MASKED | IOAPIC_LEVEL | VECTOR);
		db_ring(ports[0]);
		late += !db_is_pending(0, ports[0]);
		if (route == BH_ROUTE_FOLLOW)
			aim(route, 1);
		else
			bellhop_call2(BH_REBIND, ports[0], 1);
		left += db_is_pending(0, ports[0]);
		if (may_misdirect(route))
			aim(route, 1);
		/* What this VCPU's LAPIC has accepted before comes now, finds nothing, and its EOI frees the line. */
		cpu_irq_window();
		late += !WAIT_FOR(handled[1] == i, LIMIT_LONG / 10);
	}
	CHECK(left == 0 && late == 0 && handled[0] == 0,
	      "4, %s: of %u pending bits none stays behind, %u are handled on the new VCPU, %u on the old "
	      "one",
	      route_name[route], MOVES, handled[1], handled[0]);
}

static void fire(void)
{
	while (!stop)
		db_ring(ports[0]);
}

/*
 * The same while VCPU 3 rings the port without end. It is masked, so that its bit stays where it was set: a ring that had
 * looked at the old binding must have come to its end before the rebind does.
 */
static void line_4_under_fire(enum bh_route route)
{
	unsigned left = 0, to = 1;

	begin(route, to, to);
	db_mask(ports[0]);
	stop = false;
	smp_run(3, fire);
	for (unsigned i = 0; i < 4 * MOVES; i++) {
		unsigned from = to;
		bool behind = false;

		to = 3 - from;
		(void)db_take(from, ports[0]);
		if (route == BH_ROUTE_FOLLOW)
			aim(route, to);
		else
			bellhop_call2(BH_REBIND, ports[0], to);
		for (unsigned polls = 0; polls < 200; polls++)
			behind |= db_is_pending(from, ports[0]);
		left += behind;
		(void)db_take(from, ports[0]);
		(void)db_take(to, ports[0]);
	}
	stop = true;
	(void)smp_wait(3);
	(void)db_take(to, ports[0]);
	db_unmask(ports[0]);
	CHECK(left == 0, "4, %s: of %u rebinds under fire %u leave a ring on the old VCPU's page",
	      route_name[route], 4 * MOVES, left);
}

static bool reads_back(unsigned pin, uint32_t high, uint32_t low)
{
	ioapic_write(IOAPIC_ENTRY + 2 * pin + 1, high);
	ioapic_write(IOAPIC_ENTRY + 2 * pin, low);
	return ioapic_read(IOAPIC_ENTRY + 2 * pin + 1) == high && ioapic_read(IOAPIC_ENTRY + 2 * pin) == low;
}

static void line_5_ioapic(enum bh_route route)
{
	unsigned wrong = 0, pins = ioapic_pins(), elsewhere;

	begin(route, 1, 1);
	for (unsigned v = 0; v < VCPUS; v++)
		pit[v] = 0;
	wrong += !reads_back(PIT_PIN, cpu_get(2)->apic_id << 24, PIT_VECTOR);
	pit_periodic(20000);
	for (unsigned i = 0; i < 4 * pins; i++) {
		unsigned pin = i % pins;
		uint32_t low = IOAPIC_MASKED | (i * 7 % 200 + 20) | (i & 1 ? IOAPIC_LEVEL : 0) |
		               (i & 2 ? 0x800 : 0);

		if (pin != PIT_PIN && pin != pin_of(route))
			wrong += !reads_back(pin, (i * 29u & 0xff) << 24, low);
		db_ring(ports[i % PORTS]);
	}
	(void)WAIT_FOR(pit[2] >= 3, LIMIT_LONG);
	pit_low();
	ioapic_set(PIT_PIN, 0, IOAPIC_MASKED);
	elsewhere = pit[0] + pit[1] + pit[3];
	CHECK(wrong == 0, "5, %s: all %u entries read back as written", route_name[route], pins);
	CHECK(pit[2] >= 3 && elsewhere == 0,
	      "5, %s: the timer's line goes where its entry says, nowhere else", route_name[route]);
	cpu_irq_on();
	CHECK(WAIT_FOR(handled_sum() == due(), LIMIT_LONG), "5, %s: and the doorbells go on",
	      route_name[route]);
	cpu_irq_off();
}

static void storm(void)
{
	for (unsigned i = 0; i < STORM; i++) {
		uint64_t start = cpu_tsc();

		db_ring(ports[0]);
		/* Time for the handler: a ring that is coalesced spends nothing. */
		while (cpu_tsc() - start < 3000)
			cpu_pause();
	}
}

/* VCPU 3 rings one port of VCPU 1 without end, this one another of the same VCPU. `budget` is what the VM has. */
static void line_7_storm(enum bh_route route, unsigned long budget)
{
	uint64_t period = (uint64_t)bellhop_call1(BH_VM_STAT, BH_VM_TSC_HZ) / 100, start, ticks, slowest = 0;
	unsigned long upcalls, throttled;
	unsigned rings = 0, late = 0;
	long quiet;

	begin(route, 1, 1);
	quiet = db_open(BH_LOCAL, 1, CALM_GROUP);
	ioapic_set(BH_CALLBACK_PIN + CALM_GROUP, cpu_get(1)->apic_id, IOAPIC_LEVEL | (VECTOR + 1));
	calm = 0;
	start = cpu_tsc();
	smp_run(3, storm);
	while (cpu_get(3)->work && !late) {
		uint64_t from = cpu_tsc();

		db_ring((uint32_t)quiet);
		late += !WAIT_FOR(calm == rings + 1, LIMIT_LONG);
		rings++;
		slowest = cpu_tsc() - from > slowest ? cpu_tsc() - from : slowest;
		/* Within its own budget. */
		(void)WAIT_FOR(false, 2 * period / budget);
	}
	(void)smp_wait(3);
	ticks = cpu_tsc() - start;
	upcalls = (unsigned long)bellhop_call2(BH_PORT_STAT, ports[0], BH_STAT_UPCALLS);
	throttled = (unsigned long)bellhop_call2(BH_PORT_STAT, ports[0], BH_STAT_THROTTLED);
	/* One more a period: what the one before has put off comes first. */
	CHECK(throttled > 0 && upcalls <= (budget + 1) * (ticks / period + 2),
	      "7, %s: %lu upcalls of %u rings in %lu periods with a budget of %lu", route_name[route],
	      upcalls, STORM, ticks / period, budget);
	CHECK(!late && rings > 4 && slowest < period / 2,
	      "7, %s: the port beside it is handled %u of %u times, after %lu ticks at most",
	      route_name[route], calm, rings, slowest);
	CHECK(WAIT_FOR(handled_sum() == due(), LIMIT_LONG),
	      "7, %s: what was put off comes: %u due, %u handled", route_name[route], due(), handled_sum());
	bellhop_call1(BH_CLOSE, (unsigned long)quiet);
}

static void keep_busy(void)
{
	while (!stop)
		cpu_pause();
}

/*
 * From a ring to the time when who rang sees it handled, at most: the turns of all who compute on that CPU, the one that rings
 * among them; one that sleeps in HLT needs no more than its handler's time. Where none is shared a slice bounds a kick that
 * the CPU takes late. For each turn an eighth on top: a slice ends up to a sixteenth late (docs/architecture.md), and as much
 * is for the exits in it, during which the preemption timer stands still, and for the switch.
 */
static uint64_t longest_wait(bool halted)
{
	uint64_t slice = (uint64_t)bellhop_call1(BH_VM_STAT, BH_VM_TSC_HZ) / 100;
	unsigned share = (unsigned)boot_number("share", 0);

	return (share ? share - halted : 1) * (slice + slice / 8);
}

/* VCPU 1 sleeps in HLT, or computes; where VCPUs share a CPU it may not even be on one. */
static void line_8_woken(enum bh_route route, bool halted)
{
	unsigned vcpu = route == BH_ROUTE_VCPU0 ? 0 : 1, woken = 0;
	uint64_t slowest = 0, longest = longest_wait(halted);

	begin(route, 1, 1);
	stop = false;
	if (!halted)
		smp_run(1, keep_busy);
	for (unsigned i = 1; i <= HLTS; i++) {
		uint64_t start;

		(void)WAIT_FOR(false, LIMIT_QUIET / 10);
		start = cpu_tsc();
		db_ring(ports[0]);
		/* On `vcpu0` it is this VCPU that is to be woken. */
		if (vcpu == 0)
			cpu_idle(), cpu_irq_off();
		woken += WAIT_FOR(handled[vcpu] == i, LIMIT_LONG);
		if (cpu_tsc() - start > slowest)
			slowest = cpu_tsc() - start;
		if (woken < i)
			break;
	}
	stop = true;
	(void)smp_wait(1);
	CHECK(woken == HLTS, "8, %s: a %s VCPU handles %u of %u upcalls", route_name[route],
	      halted ? "halted" : "busy", woken, HLTS);
	CHECK(slowest <= longest, "8, %s: a %s VCPU handles each in its turn", route_name[route],
	      halted ? "halted" : "busy");
	printf("# 8, %s, %s: at most %lu ticks from the ring to its handling, %lu allowed\n",
	       route_name[route], halted ? "halted" : "busy", slowest, longest);
}

static bool set_up(void)
{
	bool good = smp_start(VCPUS) == VCPUS && db_init(VCPUS, on_ring) == 0;

	trap_set(VECTOR, on_upcall);
	trap_set(VECTOR + 1, on_calm);
	trap_set(PIT_VECTOR, on_pit);
	for (unsigned v = 0; good && v < VCPUS; v++)
		good = bellhop_call3(BH_GROUP_VECTOR, v, GROUP, VECTOR) == 0 &&
		       bellhop_call3(BH_GROUP_VECTOR, v, CALM_GROUP, VECTOR + 1) == 0;
	for (unsigned i = 0; i < PORTS; i++)
		ports[i] = (uint32_t)db_open(BH_LOCAL, 0, GROUP);
	return good;
}

void guest_main(void)
{
	unsigned long budget = (unsigned long)boot_number("budget", 0);

	if (!bellhop_present()) {
		SKIP("the contract is about doorbells: this is no VM of Bellhop");
		report_end();
	}
	if (boot_is("role", "peer"))
		who_peer();
	if (!CHECK(set_up(), "four VCPUs with pages and vectors"))
		report_end();
	/* A budget so small that it matters would make the other lines wait. */
	if (budget) {
		line_7_storm(BH_ROUTE_NATIVE, budget);
		line_7_storm(BH_ROUTE_FOLLOW, budget);
		line_7_storm(BH_ROUTE_MULTI, budget);
		report_end();
	}
	for (unsigned route = 0; route < BH_ROUTES && boot_number("line", 0) != 6; route++) {
		line_1_lost(route);
		line_2_doubled(route);
		line_3_wrong(route);
		if (route != BH_ROUTE_VCPU0)
			line_4_rebind(route);
		if (route == BH_ROUTE_NATIVE || route == BH_ROUTE_FOLLOW)
			line_4_under_fire(route);
		line_5_ioapic(route);
		line_8_woken(route, true);
		line_8_woken(route, false);
	}
	who_may_ring();
	report_end();
}
