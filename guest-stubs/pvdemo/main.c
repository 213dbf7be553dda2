/* SPDX-License-Identifier: MIT */
/*
 * The demonstration. Two paravirtual drivers get doorbells, net on VCPU 1 and block on VCPU 2, while an "irqbalance"
 * keeps rewriting the IOAPIC entries of the callback lines in use. Under each route, and with drivers that look at their
 * own VCPU's page only or at everybody's, it counts what was rung, what was consumed and where, what was left behind,
 * and what it cost. Every figure is a counter's; the checks at the end of a row say what a route promises. In the end
 * the saturation curve: how much work gets done as more drivers become active.
 */
#include "guest-stubs/pvdemo/pvdemo.h"

#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"

const char guest_name[] = "pvdemo";

#define ROWS       (2 * BH_ROUTES)
#define TICKS_REST 2000000ull /* nothing consumed for so long: at rest */
#define TICKS_DONE 50000ull   /* nothing consumed for so long: the window of the costs ends */

static const char *const route_name[BH_ROUTES] = {
	[BH_ROUTE_IOAPIC] = "ioapic", [BH_ROUTE_VCPU0] = "vcpu0",   [BH_ROUTE_MULTI] = "multi",
	[BH_ROUTE_FOLLOW] = "follow", [BH_ROUTE_NATIVE] = "native",
};

static const char *const manner_name[2] = { "own", "all" };

/* The counters that a row is the difference of. */
struct stamp {
	uint64_t rung, coalesced, port_misdirected, page_misdirected, misdirected;
	uint64_t exits, hv_ticks;
};

static uint64_t vm_stat(enum bh_vm_stat stat)
{
	return (uint64_t)bellhop_call1(BH_VM_STAT, stat);
}

static struct stamp stamp_counts(void)
{
	struct stamp now = {
		.rung = drivers_port_sum(BH_STAT_RUNG),
		.coalesced = drivers_port_sum(BH_STAT_COALESCED),
		.port_misdirected = drivers_port_sum(BH_STAT_MISDIRECTED),
		.misdirected = vm_stat(BH_VM_MISDIRECTED),
	};

	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		now.page_misdirected += db_control(vcpu)->misdirected;
	return now;
}

static void stamp_costs(struct stamp *at)
{
	at->exits = vm_stat(BH_VM_EXITS);
	at->hv_ticks = vm_stat(BH_VM_HV_TICKS);
}

/*
 * Waits for rest. The costs are stamped as soon as everything is consumed, or nothing has been for a short while: what the
 * waiting itself costs is none of the route's business.
 */
static void settle(uint64_t expected, struct stamp *end)
{
	uint64_t seen = drivers_consumed(), moved = cpu_tsc(), quiet;
	bool stamped = false;

	do {
		uint64_t now = drivers_consumed();

		quiet = cpu_tsc() - moved;
		if (now != seen) {
			seen = now;
			moved = cpu_tsc();
			stamped = false;
		}
		if (!stamped && (seen == expected || quiet > TICKS_DONE)) {
			stamp_costs(end);
			stamped = true;
		}
		cpu_pause();
	} while (quiet < TICKS_REST);
}

static void check_counters(const struct row *row, const struct stamp *from, const struct stamp *to,
                           const struct options *options)
{
	const char *route = route_name[row->route], *manner = manner_name[row->all];
	uint64_t answered = 0;

	CHECK(row->rung == (uint64_t)options->events * DRIVERS, "%s, %s: the ports count every ring", route,
	      manner);
	for (unsigned i = 0; i <= BH_RUNG_THROTTLED; i++)
		answered += producers_result(i);
	/* Where an entry is a binding, a move may make two rung bits one: coalesced, and no ring could answer that. */
	CHECK(options->from_vm || (answered == row->rung &&
	                           (row->route == BH_ROUTE_FOLLOW
	                                    ? producers_result(BH_RUNG_COALESCED) <= row->coalesced
	                                    : producers_result(BH_RUNG_COALESCED) == row->coalesced)),
	      "%s, %s: the rings' answers agree with the ports' counts", route, manner);
	CHECK(producers_errors() == 0, "%s, %s: no ring was refused", route, manner);
	CHECK(to->port_misdirected - from->port_misdirected == row->misdirected &&
	              to->page_misdirected - from->page_misdirected == row->misdirected,
	      "%s, %s: VM, ports and pages count the same misdirected upcalls", route, manner);
}

static bool may_misdirect(enum bh_route route)
{
	return route == BH_ROUTE_IOAPIC || route == BH_ROUTE_MULTI;
}

static void check_promises(const struct row *row)
{
	const char *route = route_name[row->route], *manner = manner_name[row->all];
	uint64_t elsewhere = row->share[0] + row->share[3];

	CHECK(row->lost == 0 && row->doubled == 0, "%s, %s: nothing lost, nothing doubled", route, manner);
	if (row->all)
		CHECK(row->stranded == 0, "%s, %s: nothing stranded", route, manner);
	if (may_misdirect(row->route)) {
		CHECK(row->misdirected > 0, "%s, %s: upcalls went to the wrong VCPU", route, manner);
		if (!row->all)
			CHECK(row->stranded > 0, "%s, %s: events were left behind", route, manner);
		return;
	}
	CHECK(row->stranded == 0 && row->misdirected == 0, "%s, %s: none stranded, none misdirected", route,
	      manner);
	if (row->route == BH_ROUTE_VCPU0)
		CHECK(row->share[0] == row->consumed, "%s, %s: VCPU 0 does everything", route, manner);
	if (row->route == BH_ROUTE_NATIVE)
		CHECK(elsewhere == 0 && row->share[1] && row->share[2], "%s, %s: each driver on its own VCPU",
		      route, manner);
	if (row->route == BH_ROUTE_FOLLOW)
		/* Two at least: with few events on one CPU an entry may leave a VCPU again before its turn to run comes. */
		CHECK(!!row->share[0] + !!row->share[1] + !!row->share[2] + !!row->share[3] >= 2,
		      "%s, %s: the drivers go where the entries go", route, manner);
}

static void run_row(struct row *row, const struct options *options)
{
	struct stamp from, to, costs = { .exits = 0 };
	uint64_t due;
	bool ended;

	printf("pvdemo: route %s, manner %s ...\n", route_name[row->route], manner_name[row->all]);
	bellhop_call1(BH_ROUTE, row->route);
	drivers_reset(row->all);
	from = stamp_counts();
	stamp_costs(&from);
	ended = producers_run(options, row->route);
	due = producers_result(BH_RUNG_UPCALL) + producers_result(BH_RUNG_QUIET) +
	      producers_result(BH_RUNG_MASKED) + producers_result(BH_RUNG_THROTTLED);
	settle(options->from_vm ? UINT64_MAX : due, &costs);
	cpu_irq_off();
	to = stamp_counts();

	row->rung = to.rung - from.rung;
	row->coalesced = to.coalesced - from.coalesced;
	row->misdirected = to.misdirected - from.misdirected;
	row->exits = costs.exits - from.exits;
	row->hv_ticks = costs.hv_ticks - from.hv_ticks;
	row->consumed = drivers_consumed();
	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		row->share[vcpu] = drivers_share(vcpu);
	row->stranded = drivers_drop();
	due = row->rung - row->coalesced;
	if (due > row->stranded + row->consumed)
		row->lost = due - row->stranded - row->consumed;
	if (row->consumed > due)
		row->doubled = row->consumed - due;

	CHECK(ended, "%s, %s: the producers came to their end", route_name[row->route],
	      manner_name[row->all]);
	check_counters(row, &from, &to, options);
	check_promises(row);
}

#define TEXT_SIZE 24

/* n / d with two decimals; "-" where nothing was consumed. */
static const char *ratio(char text[TEXT_SIZE], uint64_t n, uint64_t d)
{
	if (d)
		print_text(text, TEXT_SIZE, "%lu.%02lu", n / d, n % d * 100 / d);
	else
		print_text(text, TEXT_SIZE, "-");
	return text;
}

static void print_csv(const struct row *row, unsigned count)
{
	char text[TEXT_SIZE];

	printf("CSV routes route,manner,vcpus,rung,consumed,coalesced,stranded,misdirected,lost,doubled,"
	       "share0,share1,share2,share3,exits_per_event,hv_ticks_per_event\n");
	for (; count--; row++) {
		printf("CSV routes %s,%s,%u,%lu,%lu,%lu,%lu,%lu,%lu,%lu", route_name[row->route],
		       manner_name[row->all], VCPUS, row->rung, row->consumed, row->coalesced, row->stranded,
		       row->misdirected, row->lost, row->doubled);
		for (unsigned v = 0; v < VCPUS; v++)
			printf(",%s", ratio(text, row->share[v] * 100, row->consumed));
		printf(",%s", ratio(text, row->exits, row->consumed));
		printf(",%s\n", ratio(text, row->hv_ticks, row->consumed));
	}
}

static void print_table(const struct row *row, unsigned count)
{
	char text[TEXT_SIZE];

	printf("\nHandlers run on each VCPU in percent, exits and hypervisor ticks per event consumed:\n");
	printf("route  manner    rung consumed coalesced stranded misdirected lost doubled"
	       "  VCPU0  VCPU1  VCPU2  VCPU3     exits     ticks\n");
	for (; count--; row++) {
		printf("%-6s %-6s %7lu %8lu %9lu %8lu %11lu %4lu %7lu", route_name[row->route],
		       manner_name[row->all], row->rung, row->consumed, row->coalesced, row->stranded,
		       row->misdirected, row->lost, row->doubled);
		for (unsigned v = 0; v < VCPUS; v++)
			printf(" %6s", ratio(text, row->share[v] * 100, row->consumed));
		printf(" %9s", ratio(text, row->exits, row->consumed));
		printf(" %9s\n", ratio(text, row->hv_ticks, row->consumed));
	}
	printf("\n");
}

void guest_main(void)
{
	static const enum bh_route routes[BH_ROUTES] = { BH_ROUTE_IOAPIC, BH_ROUTE_VCPU0, BH_ROUTE_MULTI,
		                                         BH_ROUTE_FOLLOW, BH_ROUTE_NATIVE };
	static struct row rows[ROWS];
	struct options options = {
		.events = (unsigned)boot_number("events", 10000),
		.pace = (unsigned)boot_number("pace", 300),
		.rows = (unsigned)boot_number("rows", ROWS),
		.from_vm = boot_is("producer", "vm"),
		.window = (unsigned)boot_number("window", 2000000),
	};

	if (!bellhop_present()) {
		SKIP("the demonstration needs doorbells: this is no VM of Bellhop");
		report_end();
	}
	if (options.rows > ROWS)
		options.rows = ROWS;
	if (!CHECK(smp_start(VCPUS) == VCPUS, "four VCPUs run") ||
	    !CHECK(drivers_open(&options), "both drivers are set up"))
		report_end();
	for (unsigned i = 0; i < options.rows; i++) {
		rows[i].route = routes[i / 2];
		rows[i].all = i % 2;
		run_row(&rows[i], &options);
	}
	print_csv(rows, options.rows);
	print_table(rows, options.rows);
	if (options.window)
		saturation_run(&options, route_name);
	report_end();
}
