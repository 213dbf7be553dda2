/* SPDX-License-Identifier: MIT */
/* Ports: the calls of /dev/doorbell, one function each. */
#include "guest-stubs/linux/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MICROSECONDS 2000

static int result(int done)
{
	return done < 0 ? errno : 0;
}

int port_file(void)
{
	int fd = open("/dev/doorbell", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/doorbell");
	return fd;
}

int port_open(int fd, enum bh_kind kind, unsigned group, const char *name, unsigned *port)
{
	struct doorbell_open want = { .kind = kind, .group = group };
	int done;

	strncpy(want.name, name, sizeof(want.name) - 1);
	done = ioctl(fd, DOORBELL_OPEN, &want);
	if (port)
		*port = want.port;
	return result(done);
}

int port_new(enum bh_kind kind, unsigned group, const char *name)
{
	int fd = port_file();

	errno = port_open(fd, kind, group, name, NULL);
	if (errno)
		die("port %s in group %u", name, group);
	return fd;
}

int port_offer(int fd, unsigned peer)
{
	struct doorbell_peer to = { .peer = peer };

	return result(ioctl(fd, DOORBELL_OFFER, &to));
}

int port_connect(int fd, unsigned peer, unsigned port)
{
	struct doorbell_peer to = { .peer = peer, .port = port };

	return result(ioctl(fd, DOORBELL_CONNECT, &to));
}

int port_connect_soon(int fd, unsigned peer, unsigned port, unsigned seconds)
{
	time_t until = time(NULL) + (time_t)seconds;
	int wrong;

	/* The peer may not run yet, or not have offered, or have closed what it had offered. */
	while ((wrong = port_connect(fd, peer, port)) != 0 && (wrong == EACCES || wrong == EPIPE) &&
	       time(NULL) < until)
		usleep(RETRY_MICROSECONDS);
	return wrong;
}

int port_ring(int fd, uint64_t times)
{
	return result((int)write(fd, &times, sizeof(times)));
}

int port_bind(int fd, unsigned cpu)
{
	__u32 number = cpu;

	return result(ioctl(fd, DOORBELL_BIND, &number));
}

int port_timer(int fd, uint64_t nanoseconds)
{
	__u64 number = nanoseconds;

	return result(ioctl(fd, DOORBELL_TIMER, &number));
}

int port_close(int fd)
{
	return result(ioctl(fd, DOORBELL_CLOSE));
}

uint64_t port_wait(int fd, double seconds)
{
	struct pollfd wanted = { .fd = fd, .events = POLLIN };
	uint64_t count = 0;

	if (poll(&wanted, 1, (int)(seconds * 1000)) == 1 && wanted.revents & POLLIN &&
	    read(fd, &count, sizeof(count)) < 0)
		die("read");
	return count;
}

int port_events(int fd)
{
	struct pollfd wanted = { .fd = fd, .events = POLLIN | POLLOUT };

	return poll(&wanted, 1, 0) < 0 ? -1 : wanted.revents;
}

struct doorbell_stat port_stat(int fd)
{
	struct doorbell_stat stat;

	if (ioctl(fd, DOORBELL_STAT, &stat) < 0)
		die("a port's counters");
	return stat;
}

struct doorbell_vm_stat vm_stat(int fd)
{
	struct doorbell_vm_stat stat;

	if (ioctl(fd, DOORBELL_VM_STAT, &stat) < 0)
		die("the VM's counters");
	return stat;
}

uint64_t port_fresh(const struct doorbell_stat *stat)
{
	uint64_t sum = 0;

	for (unsigned answer = 0; answer < DOORBELL_ANSWERS; answer++)
		if (answer != BH_RUNG_COALESCED)
			sum += stat->answers[answer];
	return sum;
}
