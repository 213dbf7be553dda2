/* SPDX-License-Identifier: MIT */
/* `bell self`: what the device promises, call by call: rings, reads, polling, timers, several processes, and what it refuses. */
#include "guest-stubs/linux/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GROUP       3
#define SOON        5 /* seconds in which what must come comes */
#define MILLISECOND 1000000ull
#define CHILD_RINGS 500

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Reads until as many have come as were rung and not coalesced. */
static uint64_t drain(int fd)
{
	uint64_t sum = 0, more;

	while ((more = port_wait(fd, 0.2)) != 0)
		sum += more;
	return sum;
}

static void check_loopback(void)
{
	int fd = port_new(BH_LOCAL, GROUP, "self"), copy;
	struct doorbell_stat stat;
	uint64_t sum = 0;

	check(port_events(fd) == POLLOUT, "a new port has nothing to read");
	check(port_ring(fd, 1) == 0 && port_wait(fd, SOON) == 1, "a ring is one event");
	check(port_events(fd) == POLLOUT, "which is read once");
	for (unsigned i = 0; i < 100; i++) {
		port_ring(fd, 1);
		sum += port_wait(fd, SOON);
	}
	check(sum == 100, "a hundred rings, each read before the next, are a hundred events");
	check(port_ring(fd, 64) == 0, "64 rings by one write");
	sum += 1 + drain(fd);
	stat = port_stat(fd);
	check(stat.rung == 165 && stat.consumed + stat.coalesced == 165 && stat.consumed == sum &&
	              !stat.pending,
	      "165 rings: consumed or coalesced, and read as often as consumed");
	check(port_fresh(&stat) + stat.answers[BH_RUNG_COALESCED] == 165 && stat.refused == 0,
	      "the answers are counted, too");
	copy = dup(fd);
	close(fd);
	check(port_ring(copy, 1) == 0 && port_wait(copy, SOON) == 1,
	      "a copy of the file keeps the port open");
	close(copy);
}

static void check_nonblocking(void)
{
	int fd = port_new(BH_LOCAL, GROUP, "nonblock");
	uint64_t count = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	errno = 0;
	check(read(fd, &count, sizeof(count)) < 0 && errno == EAGAIN,
	      "nothing to read: EAGAIN without blocking");
	port_ring(fd, 1);
	check(port_wait(fd, SOON) == 1, "poll() says when there is");
	errno = 0;
	check(read(fd, &count, sizeof(count)) < 0 && errno == EAGAIN, "and it is gone after that");
	close(fd);
}

static void check_timer(void)
{
	int fd = port_new(BH_TIMED, GROUP, "timed"), local = port_new(BH_LOCAL, GROUP, "local");
	uint64_t start = now(), took;

	check(port_timer(fd, 20 * MILLISECOND) == 0 && port_wait(fd, SOON) == 1, "a timed port rings itself");
	took = now() - start;
	check(took >= 20 * MILLISECOND && took < 200 * MILLISECOND, "not early, and not late");
	check(port_timer(fd, 50 * MILLISECOND) == 0 && port_timer(fd, 0) == 0 && port_wait(fd, 0.2) == 0,
	      "a disarmed one does not");
	check(port_ring(fd, 1) == 0 && port_wait(fd, SOON) == 1, "it can be rung by hand");
	check(port_timer(local, MILLISECOND) != 0, "a local port has no timer");
	close(fd);
	close(local);
}

/* A reader in the one process, a writer in the other. */
static void check_processes(void)
{
	int fd = port_new(BH_LOCAL, GROUP, "shared"), ended = 1;
	struct doorbell_stat stat;
	uint64_t sum = 0, more;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		unsigned refused = 0;

		for (unsigned i = 0; i < CHILD_RINGS; i++)
			refused += port_ring(fd, 1) != 0;
		_exit(refused != 0);
	}
	while ((more = port_wait(fd, 1)) != 0)
		sum += more;
	waitpid(child, &ended, 0);
	stat = port_stat(fd);
	check(ended == 0 && stat.rung == CHILD_RINGS, "another process rings the same port");
	check(sum == stat.consumed && stat.consumed + stat.coalesced == stat.rung,
	      "and each of its rings is read, or coalesced into one that is");
	close(fd);
}

/* Two ports of one group, and one of another: a ring is heard at its own port only. */
static void check_apart(void)
{
	int one = port_new(BH_LOCAL, GROUP, "one"), two = port_new(BH_LOCAL, GROUP, "two"),
	    other = port_new(BH_LOCAL, GROUP + 1, "other");

	port_ring(two, 1);
	check(port_wait(two, SOON) == 1 && port_events(one) == POLLOUT && port_events(other) == POLLOUT,
	      "a ring is heard at its own port");
	port_ring(other, 1);
	check(port_wait(other, SOON) == 1 && port_events(one) == POLLOUT && port_events(two) == POLLOUT,
	      "in another group, too");
	close(one);
	close(two);
	close(other);
}

static void check_refusals(void)
{
	struct doorbell_open bad = { .name = "no spaces" }, unended = { .name = "0123456789abcdef" };
	int fd = port_file();
	uint32_t short_of = 1;
	uint64_t eight = 0;

	check(port_ring(fd, 1) != 0, "a file without a port does not ring");
	check(read(fd, &eight, sizeof(eight)) < 0, "nor can it be read");
	check(port_timer(fd, 1) != 0 && port_offer(fd, 0) != 0 && port_bind(fd, 0) != 0 &&
	              port_close(fd) != 0,
	      "nor anything else");
	check(vm_stat(fd).cpus > 0, "but it tells about the VM");
	check(port_open(fd, BH_KINDS, GROUP, "x", NULL) == EINVAL, "no such kind");
	check(port_open(fd, BH_LOCAL, BH_GROUPS, "x", NULL) == EINVAL, "no such group");
	check(ioctl(fd, DOORBELL_OPEN, &bad) < 0 && ioctl(fd, DOORBELL_OPEN, &unended) < 0,
	      "no name with a space in it, nor one without an end");
	check(ioctl(fd, DOORBELL_OPEN, NULL) < 0 && errno == EFAULT, "no address");
	check(port_open(fd, BH_LOCAL, GROUP, "x", NULL) == 0, "after all that the file takes a port");
	check(ioctl(fd, _IO('b', 99)) < 0 && errno == ENOTTY, "no such call");
	check(port_open(fd, BH_LOCAL, GROUP, "y", NULL) != 0, "but not a second one");
	check(port_ring(fd, 0) == EINVAL && port_ring(fd, 65) == EINVAL, "0 and 65 rings are refused");
	check(write(fd, &short_of, sizeof(short_of)) < 0 && read(fd, &short_of, sizeof(short_of)) < 0,
	      "so are four bytes");
	check(port_bind(fd, 999) != 0, "and a CPU that is not there");
	check(port_connect(fd, 0, 0) != 0, "a local port is not connected");
	check(port_stat(fd).rung == 0, "none of this has rung");
	check(port_close(fd) == 0 && port_close(fd) != 0, "a port closes once");
	check(port_ring(fd, 1) != 0 && read(fd, &eight, sizeof(eight)) == 0,
	      "then it does not ring, and reads end");
	close(fd);
}

/* More files than one group has slots would take long; more than one word has is enough to see the second one work. */
static void check_many(void)
{
	enum { MANY = 70 };
	int fds[MANY];
	unsigned good = 0;

	for (unsigned i = 0; i < MANY; i++)
		fds[i] = port_new(BH_LOCAL, GROUP + 2, "many");
	for (unsigned i = 0; i < MANY; i++)
		port_ring(fds[i], 1);
	for (unsigned i = 0; i < MANY; i++) {
		good += port_wait(fds[i], SOON) == 1;
		close(fds[i]);
	}
	check(good == MANY, "seventy ports of a group each hear their ring");
}

int self_main(void)
{
	check_loopback();
	check_nonblocking();
	check_timer();
	check_processes();
	check_apart();
	check_refusals();
	check_many();
	return check_status();
}
