/* SPDX-License-Identifier: MIT */
/*
 * `bell table`: the demonstration of guest-stubs/pvdemo on Linux. Two drivers, net and block, are rung from two CPUs while
 * a shell script rewrites their interrupts' affinity. For each route and look the module is loaded anew. Every figure is a
 * counter's: of the hypervisor (rung, coalesced, misdirected), of the module's handlers (consumed, and where), and what lies
 * on the pages in the end and nobody has looked at (stranded).
 */
#include "guest-stubs/linux/bell.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRIVERS    2
#define QUEUES     64 /* at most, of a driver */
#define SHARES     4  /* columns */
#define ROWS       (2 * BH_ROUTES)
#define REST       50000 /* microseconds in which nothing is consumed: at rest */
#define TEXT_SIZE  24
#define GROUP(drv) ((drv) + 1u)

/* One line of the table, all of it counted. */
struct row {
	enum bh_route route;
	const char *look;
	uint64_t rung, consumed, coalesced, stranded, misdirected, lost, doubled;
	uint64_t share[DOORBELL_CPUS]; /* by the Linux CPU that ran the handler */
	uint64_t exits, hv_ticks;
	uint64_t accepted, refused, answered_coalesced, port_misdirected; /* for the checks */
	uint64_t at_close; /* consumed once the ports are closed, what they took along included */
	unsigned cpus;
};

static const char *const driver_name[DRIVERS] = { "net", "block" };

static const char *const route_name[BH_ROUTES] = {
	[BH_ROUTE_IOAPIC] = "ioapic", [BH_ROUTE_VCPU0] = "vcpu0",   [BH_ROUTE_MULTI] = "multi",
	[BH_ROUTE_FOLLOW] = "follow", [BH_ROUTE_NATIVE] = "native",
};

static int files[DRIVERS][QUEUES];
static unsigned queues, pace;
static uint64_t events;

/* The device side of a driver. */
static void *produce(void *argument)
{
	const int *fds = argument;

	for (uint64_t i = 0; i < events; i++) {
		/* What a ring was answered is the module's to count. */
		port_ring(fds[i % queues], 1);
		for (unsigned loops = pace; loops; loops--)
			__asm__ volatile("" ::: "memory");
	}
	return NULL;
}

static void load(enum bh_route route, const char *look)
{
	char command[160];

	snprintf(command, sizeof(command),
	         "if grep -q '^doorbell ' /proc/modules; then rmmod doorbell; fi && "
	         "insmod /lib/doorbell.ko route=%s look=%s",
	         route_name[route], look);
	errno = ECHILD;
	if (system(command) != 0)
		die("loading the driver with route=%s look=%s", route_name[route], look);
}

static void open_ports(enum bh_route route, unsigned cpus)
{
	char name[16];

	for (unsigned driver = 0; driver < DRIVERS; driver++)
		for (unsigned queue = 0; queue < queues; queue++) {
			snprintf(name, sizeof(name), "%s%u", driver_name[driver], queue);
			files[driver][queue] = port_new(BH_LOCAL, GROUP(driver), name);
			/* Where the entry says nothing about the binding: the CPUs of the demonstration. */
			if (route == BH_ROUTE_IOAPIC || route == BH_ROUTE_MULTI)
				check(port_bind(files[driver][queue], (driver + 1) % cpus) == 0,
				      "%s is bound to a CPU", name);
		}
}

/* Adds up what the ports count; what one port has lost another one's surplus does not make good. */
static void add_up(struct row *row)
{
	row->rung = row->coalesced = row->consumed = row->stranded = row->port_misdirected = 0;
	row->accepted = row->refused = row->answered_coalesced = row->lost = row->doubled = 0;
	memset(row->share, 0, sizeof(row->share));
	for (unsigned i = 0; i < DRIVERS * queues; i++) {
		struct doorbell_stat stat = port_stat(files[i % DRIVERS][i / DRIVERS]);

		uint64_t due = stat.rung - stat.coalesced, found = stat.consumed + stat.pending;

		row->lost += due > found ? due - found : 0;
		row->doubled += found > due ? found - due : 0;
		row->rung += stat.rung;
		row->coalesced += stat.coalesced;
		row->consumed += stat.consumed;
		row->stranded += stat.pending;
		row->port_misdirected += stat.misdirected;
		row->accepted += port_fresh(&stat) + stat.answers[BH_RUNG_COALESCED];
		row->answered_coalesced += stat.answers[BH_RUNG_COALESCED];
		row->refused += stat.refused;
		for (unsigned cpu = 0; cpu < DOORBELL_CPUS; cpu++)
			row->share[cpu] += stat.on_cpu[cpu];
	}
}

/* Until nothing has been consumed for a while. */
static void settle(struct row *row)
{
	uint64_t before;

	add_up(row);
	do {
		before = row->consumed;
		usleep(REST);
		add_up(row);
	} while (row->consumed != before);
}

static void close_ports(struct row *row)
{
	row->at_close = 0;
	for (unsigned i = 0; i < DRIVERS * queues; i++) {
		int fd = files[i % DRIVERS][i / DRIVERS];

		errno = port_close(fd);
		if (errno)
			die("closing a port");
		row->at_close += port_stat(fd).consumed;
		close(fd);
	}
}

/* Starts the program that is to run beside the rings, with the drivers' interrupts; its first line says that it runs. */
static pid_t start_beside(const char *program, FILE **said)
{
	char irq[DRIVERS][TEXT_SIZE], line[80];
	int ends[2];
	pid_t child;

	for (unsigned driver = 0; driver < DRIVERS; driver++)
		snprintf(irq[driver], TEXT_SIZE, "%u", port_stat(files[driver][0]).irq);
	fflush(stdout);
	if (pipe(ends) || (child = fork()) < 0)
		die("%s", program);
	if (!child) {
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		execl("/bin/sh", "sh", program, irq[0], strcmp(irq[0], irq[1]) ? irq[1] : NULL, NULL);
		die("%s", program);
	}
	close(ends[1]);
	*said = fdopen(ends[0], "r");
	if (!*said || !fgets(line, sizeof(line), *said))
		die("%s has not begun", program);
	return child;
}

/* Ends it. How often it did what it does: the number in its last line. */
static unsigned long end_beside(pid_t child, FILE *said)
{
	unsigned long steps = 0;
	char line[80];

	kill(child, SIGTERM);
	while (fgets(line, sizeof(line), said))
		steps = strtoul(line, NULL, 10);
	fclose(said);
	waitpid(child, NULL, 0);
	return steps;
}

static void ring_all(unsigned cpus)
{
	const unsigned from[DRIVERS] = { cpus - 1, 0 };
	pthread_t threads[DRIVERS];

	for (unsigned driver = 0; driver < DRIVERS; driver++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(from[driver], &set);
		errno = pthread_create(&threads[driver], NULL, produce, files[driver]);
		if (errno || (errno = pthread_setaffinity_np(threads[driver], sizeof(set), &set)) != 0)
			die("a thread for %s", driver_name[driver]);
	}
	for (unsigned driver = 0; driver < DRIVERS; driver++)
		pthread_join(threads[driver], NULL);
}

static void check_counters(const struct row *row)
{
	const char *route = route_name[row->route], *look = row->look;

	check(row->refused == 0, "%s, %s: no ring was refused", route, look);
	check(row->rung == events * DRIVERS, "%s, %s: the ports count every ring", route, look);
	/* A move may make two rung bits one: coalesced, and no ring could answer that. */
	check(row->accepted == row->rung && (row->route == BH_ROUTE_FOLLOW || row->route == BH_ROUTE_NATIVE
	                                             ? row->answered_coalesced <= row->coalesced
	                                             : row->answered_coalesced == row->coalesced),
	      "%s, %s: the rings' answers agree with the ports' counts", route, look);
	check(row->port_misdirected == row->misdirected,
	      "%s, %s: VM and ports count the same misdirected upcalls", route, look);
	check(row->at_close == row->rung - row->coalesced,
	      "%s, %s: closing the ports finds what nobody had looked at", route, look);
}

static void check_promises(const struct row *row)
{
	const char *route = route_name[row->route], *look = row->look;
	bool may_misdirect = row->route == BH_ROUTE_IOAPIC || row->route == BH_ROUTE_MULTI;
	unsigned used = 0;

	for (unsigned cpu = 0; cpu < DOORBELL_CPUS; cpu++)
		used += row->share[cpu] != 0;
	check(row->lost == 0 && row->doubled == 0, "%s, %s: nothing lost, nothing doubled", route, look);
	if (may_misdirect) {
		check(row->misdirected > 0, "%s, %s: upcalls went to the wrong CPU", route, look);
		check(!row->stranded == !strcmp(look, "all"),
		      "%s, %s: events were left behind only by those who do not look", route, look);
		return;
	}
	check(row->stranded == 0 && row->misdirected == 0, "%s, %s: none stranded, none misdirected", route,
	      look);
	if (row->route == BH_ROUTE_VCPU0)
		check(row->share[0] == row->consumed, "%s, %s: CPU 0 does everything", route, look);
	else
		check(used >= 2, "%s, %s: the drivers go where the affinity goes", route, look);
}

static void run_row(struct row *row)
{
	const char *program = word_text("beside", "/lib/irqbalance");
	struct doorbell_vm_stat from, to;
	unsigned long steps;
	FILE *said;
	int vm;
	pid_t child;

	load(row->route, row->look);
	vm = port_file();
	row->cpus = vm_stat(vm).cpus;
	open_ports(row->route, row->cpus);
	child = start_beside(program, &said);
	from = vm_stat(vm);
	ring_all(row->cpus);
	/* All but a few have been consumed by now, and the waiting that follows is none of the route's business. */
	to = vm_stat(vm);
	steps = end_beside(child, said);
	row->exits = to.exits - from.exits;
	row->hv_ticks = to.hv_ticks - from.hv_ticks;
	settle(row);
	row->misdirected = vm_stat(vm).misdirected - from.misdirected;
	close_ports(row);
	close(vm);

	printf("# %s, %s: %lu steps of %s\n", route_name[row->route], row->look, steps, program);
	/* The line of vcpu0 goes to CPU 0 whatever its entry says, so the driver lets nobody move it. */
	check(!steps == (row->route == BH_ROUTE_VCPU0),
	      "%s, %s: the affinity was rewritten meanwhile, where it can be", route_name[row->route],
	      row->look);
	check_counters(row);
	check_promises(row);
}

/* n / d with two decimals; "-" where nothing was consumed. */
static const char *ratio(char text[TEXT_SIZE], uint64_t n, uint64_t d)
{
	if (d)
		snprintf(text, TEXT_SIZE, "%lu.%02lu", n / d, n % d * 100 / d);
	else
		snprintf(text, TEXT_SIZE, "-");
	return text;
}

static void print_csv(const struct row *row, unsigned count)
{
	char text[TEXT_SIZE];

	printf("CSV linux route,manner,vcpus,rung,consumed,coalesced,stranded,misdirected,lost,doubled,"
	       "share0,share1,share2,share3,exits_per_event,hv_ticks_per_event\n");
	for (; count--; row++) {
		printf("CSV linux %s,%s,%u,%lu,%lu,%lu,%lu,%lu,%lu,%lu", route_name[row->route], row->look,
		       row->cpus, row->rung, row->consumed, row->coalesced, row->stranded, row->misdirected,
		       row->lost, row->doubled);
		for (unsigned cpu = 0; cpu < SHARES; cpu++)
			printf(",%s", ratio(text, row->share[cpu] * 100, row->consumed));
		printf(",%s", ratio(text, row->exits, row->consumed));
		printf(",%s\n", ratio(text, row->hv_ticks, row->consumed));
	}
}

static void print_table(const struct row *row, unsigned count)
{
	char text[TEXT_SIZE];

	printf("\nHandlers run on each CPU in percent, exits and hypervisor ticks per event consumed:\n");
	printf("route  look    rung consumed coalesced stranded misdirected lost doubled"
	       "   CPU0   CPU1   CPU2   CPU3     exits     ticks\n");
	for (; count--; row++) {
		printf("%-6s %-4s %7lu %8lu %9lu %8lu %11lu %4lu %7lu", route_name[row->route], row->look,
		       row->rung, row->consumed, row->coalesced, row->stranded, row->misdirected, row->lost,
		       row->doubled);
		for (unsigned cpu = 0; cpu < SHARES; cpu++)
			printf(" %6s", ratio(text, row->share[cpu] * 100, row->consumed));
		printf(" %9s", ratio(text, row->exits, row->consumed));
		printf(" %9s\n", ratio(text, row->hv_ticks, row->consumed));
	}
	printf("\n");
	fflush(stdout);
}

int table_main(void)
{
	static const enum bh_route routes[BH_ROUTES] = { BH_ROUTE_IOAPIC, BH_ROUTE_VCPU0, BH_ROUTE_MULTI,
		                                         BH_ROUTE_FOLLOW, BH_ROUTE_NATIVE };
	static const char *const looks[] = { "own", "all" };
	static struct row rows[ROWS];
	unsigned count = 0;

	events = word_number("events", 10000);
	pace = (unsigned)word_number("pace", 2000);
	queues = (unsigned)word_number("queues", 8);
	errno = EINVAL;
	if (!queues || queues > QUEUES)
		die("queues=%u", queues);
	for (unsigned i = 0; i < ROWS; i++) {
		struct row *row = &rows[count];

		*row = (struct row){ .route = routes[i / 2], .look = looks[i % 2] };
		if (!word_has("routes", route_name[row->route]) || !word_has("looks", row->look))
			continue;
		run_row(row);
		count++;
	}
	print_csv(rows, count);
	print_table(rows, count);
	return check_status();
}
