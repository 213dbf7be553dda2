/* SPDX-License-Identifier: MIT */
/* `bell`: doorbells from a Linux shell, and the scenarios that test the driver. `bell` alone explains itself. */
#include "guest-stubs/linux/bell.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_AT_ONCE 64 /* rings of one write() */

static char **words; /* the command line behind the command, up to a NULL */
static bool failed;

static const char help[] =
	"bell COMMAND [NAME=VALUE ...]: doorbells by /dev/doorbell, which needs `insmod /lib/doorbell.ko "
	"[route=R] [look=L]`\n"
	"\n"
	"A port is an open file; the shell keeps one open: exec 3<>/dev/doorbell. These act on it, or on "
	"another with fd=N:\n"
	"  bell open [kind=local|intervm|timed] [group=0] [name=bell]   takes a port, prints its number\n"
	"  bell ring [times=1]                                          rings it, or the other end\n"
	"  bell wait [seconds=10] [count=1]                             until it was rung so often; prints "
	"how often\n"
	"  bell poll                                                    in: a read would not wait; err: the "
	"peer is gone\n"
	"  bell timer ns=N                                              rings a timed port so many "
	"nanoseconds from now\n"
	"  bell bind cpu=N                                              binds it to a CPU\n"
	"  bell offer [peer=0]                                          lets a peer connect to it\n"
	"  bell connect port=N [peer=0] [seconds=10]                    connects it to the port that a peer "
	"offers\n"
	"  bell stat, bell vm                                           the port's counters, the VM's\n"
	"  bell close                                                   closes the port; so does exec 3>&-\n"
	"The affinity of a group is its interrupt's: grep doorbell /proc/interrupts; echo 4 "
	">/proc/irq/N/smp_affinity\n"
	"\n"
	"Scenarios; each loads or needs the driver as it says, and prints PASS and FAIL lines:\n"
	"  bell table [events=10000] [routes=R,R] [looks=own,all] [queues=8] [pace=N] "
	"[beside=/lib/irqbalance]\n"
	"        loads it anew for each route and look, and counts what becomes of the doorbells of two "
	"drivers, \"net\" and\n"
	"        \"block\", while the program `beside` rewrites their interrupts' affinity\n"
	"  bell self                          what the device promises, call by call\n"
	"  bell answer [rounds=1000] [burst=5000] [peer=0], bell ask [the same]     ping-pong between two "
	"VMs, and a burst\n"
	"  bell pour [events=2000] [peer=0]   rings a peer that comes and goes, until so many rings have set "
	"the bit\n"
	"  bell drink [seconds=5] [count=100] [peer=0]   is that peer once: prints how many it has consumed "
	"when it closes\n"
	"Status: 0 good, 1 a check has failed or nothing came in time, 2 it could not be done.\n";

const char *word_text(const char *name, const char *otherwise)
{
	size_t length = strlen(name);

	for (char **word = words; *word; word++)
		if (!strncmp(*word, name, length) && (*word)[length] == '=')
			return *word + length + 1;
	return otherwise;
}

uint64_t word_number(const char *name, uint64_t otherwise)
{
	const char *text = word_text(name, NULL);
	uint64_t number;
	char *end;

	if (!text)
		return otherwise;
	errno = 0;
	number = strtoull(text, &end, 0);
	if (!errno && (end == text || *end || *text == '-'))
		errno = EINVAL;
	if (errno)
		die("%s=%s", name, text);
	return number;
}

bool word_has(const char *name, const char *item)
{
	const char *text = word_text(name, item);
	size_t length = strlen(item);

	for (const char *at = text; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, item, length) && (at[length] == ',' || !at[length]))
			return true;
	}
	return false;
}

void die(const char *format, ...)
{
	int why = errno;
	va_list list;

	fflush(stdout);
	fputs("bell: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, ": %s\n", strerror(why));
	exit(2);
}

bool check(bool good, const char *format, ...)
{
	va_list list;

	printf("%s linux: ", good ? "PASS" : "FAIL");
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
	fflush(stdout);
	failed |= !good;
	return good;
}

int check_status(void)
{
	return failed;
}

/* The file that the shell has open. */
static int file(void)
{
	return (int)word_number("fd", 3);
}

/* The status for a call that says what is wrong by an errno. */
static int done(const char *what, int wrong)
{
	errno = wrong;
	if (wrong)
		die("%s", what);
	return 0;
}

static enum bh_kind kind_of(const char *name)
{
	static const char *const names[BH_KINDS] = {
		[BH_LOCAL] = "local", [BH_INTERVM] = "intervm", [BH_TIMED] = "timed"
	};

	for (enum bh_kind kind = BH_LOCAL; kind < BH_KINDS; kind++)
		if (!strcmp(name, names[kind]))
			return kind;
	errno = EINVAL;
	die("kind=%s", name);
}

static int command_open(void)
{
	unsigned port;
	int wrong = port_open(file(), kind_of(word_text("kind", "local")), (unsigned)word_number("group", 0),
	                      word_text("name", "bell"), &port);

	if (!wrong)
		printf("%u\n", port);
	return done("open", wrong);
}

static int command_ring(void)
{
	uint64_t times = word_number("times", 1), some;
	int wrong = 0;

	for (; times && !wrong; times -= some) {
		some = times < MOST_AT_ONCE ? times : MOST_AT_ONCE;
		wrong = port_ring(file(), some);
	}
	return done("ring", wrong);
}

static int command_wait(void)
{
	uint64_t count = word_number("count", 1), sum = 0, more;
	double seconds = (double)word_number("seconds", 10);

	while (sum < count && (more = port_wait(file(), seconds)) != 0)
		sum += more;
	printf("%lu\n", sum);
	return sum < count;
}

static int command_poll(void)
{
	int events = port_events(file());

	printf("%s%s%s\n", events & POLLIN ? "in " : "", events & POLLOUT ? "out " : "",
	       events & POLLERR ? "err" : "");
	return events < 0;
}

static int command_timer(void)
{
	return done("timer", port_timer(file(), word_number("ns", 0)));
}

static int command_bind(void)
{
	return done("bind", port_bind(file(), (unsigned)word_number("cpu", 0)));
}

static int command_offer(void)
{
	return done("offer", port_offer(file(), (unsigned)word_number("peer", 0)));
}

static int command_connect(void)
{
	return done("connect", port_connect_soon(file(), (unsigned)word_number("peer", 0),
	                                         (unsigned)word_number("port", 0),
	                                         (unsigned)word_number("seconds", 10)));
}

static int command_close(void)
{
	return done("close", port_close(file()));
}

static int command_stat(void)
{
	struct doorbell_stat stat = port_stat(file());

	printf("rung %llu\ncoalesced %llu\nupcalls %llu\nmisdirected %llu\nthrottled %llu\nconsumed %llu\n"
	       "pending %llu\nrefused %llu\nfresh %lu\ncpu %u\nirq %u\n",
	       stat.rung, stat.coalesced, stat.upcalls, stat.misdirected, stat.throttled, stat.consumed,
	       stat.pending, stat.refused, port_fresh(&stat), stat.cpu, stat.irq);
	for (unsigned cpu = 0; cpu < DOORBELL_CPUS; cpu++)
		if (stat.on_cpu[cpu])
			printf("cpu%u %llu\n", cpu, stat.on_cpu[cpu]);
	return 0;
}

static int command_vm(void)
{
	struct doorbell_vm_stat stat = vm_stat(port_file());

	printf("exits %llu\nhv_ticks %llu\nmisdirected %llu\ntsc_hz %llu\nroute %u\ncpus %u\n", stat.exits,
	       stat.hv_ticks, stat.misdirected, stat.tsc_hz, stat.route, stat.cpus);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} commands[] = {
	{ "open", command_open },   { "ring", command_ring },   { "wait", command_wait },
	{ "poll", command_poll },   { "timer", command_timer }, { "bind", command_bind },
	{ "offer", command_offer }, { "stat", command_stat },   { "connect", command_connect },
	{ "vm", command_vm },       { "close", command_close }, { "table", table_main },
	{ "self", self_main },      { "answer", peer_answer },  { "ask", peer_ask },
	{ "pour", peer_pour },      { "drink", peer_drink },
};

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "help";

	words = argv + (argc > 1 ? 2 : 1);
	for (unsigned i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run();
	fputs(help, stdout);
	return strcmp(name, "help") ? 2 : 0;
}
