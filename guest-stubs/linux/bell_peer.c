/* SPDX-License-Identifier: MIT */
/*
 * Doorbells between VMs. `answer` and `ask` are what the stubs doorbell_rx and doorbell_tx are, from user space: either end
 * may be a stub or Linux. `pour` rings a peer that comes and goes, `drink` is such a peer for once.
 */
#include "guest-stubs/linux/bell.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define GROUP    1 /* of both ends; the first slot in it, as the module's ports come and go in order */
#define PORT     BH_PORT(GROUP, 0)
#define PATIENCE 60    /* seconds for the peer to start */
#define ROUND    5     /* seconds for one answer */
#define REST     50000 /* microseconds without a ring: at rest */

static unsigned peer(void)
{
	return (unsigned)word_number("peer", 0);
}

/* Answers each ring of the rounds with one. Returns how many rings of the burst came along already. */
static uint64_t answer_rounds(int fd, uint64_t rounds)
{
	uint64_t seen = 0, more, refused = 0;

	/* The first comes when the peer has started. */
	while (seen < rounds && (more = port_wait(fd, seen ? ROUND : PATIENCE)) != 0) {
		for (uint64_t i = 0; i < more && seen + i < rounds; i++)
			refused += port_ring(fd, 1) != 0;
		seen += more;
	}
	check(seen >= rounds && refused == 0, "every ring of the rounds was answered");
	return seen > rounds ? seen - rounds : 0;
}

int peer_answer(void)
{
	uint64_t rounds = word_number("rounds", 1000), burst = word_number("burst", 5000), read, more;
	struct doorbell_stat stat, before;
	int fd = port_file();
	unsigned port = 0;

	check(port_open(fd, BH_INTERVM, GROUP, "answer", &port) == 0 && port == PORT, "a port is open");
	check(port_offer(fd, 200) != 0, "it cannot be offered to nobody");
	if (!check(port_offer(fd, peer()) == 0, "it is offered"))
		return check_status();
	read = rounds + answer_rounds(fd, rounds);
	for (unsigned i = 0; i < ROUND * 1000 && port_stat(fd).rung < rounds + burst; i++)
		usleep(1000);
	for (unsigned i = 0; i < ROUND * 1000 && port_ring(fd, 1) == 0; i++)
		usleep(1000);
	check(port_ring(fd, 1) == EPIPE && port_events(fd) & POLLERR, "the peer's closing is seen here");
	do {
		before = port_stat(fd);
		usleep(REST);
		stat = port_stat(fd);
	} while (stat.consumed != before.consumed);
	while ((more = port_wait(fd, 0)) != 0)
		read += more;
	printf("# %llu rings, %llu consumed, %llu coalesced\n", stat.rung, stat.consumed, stat.coalesced);
	check(stat.rung == rounds + burst, "the port counts every ring");
	check(stat.consumed + stat.coalesced == stat.rung && stat.pending == 0,
	      "each was consumed once, or coalesced into one that was");
	check(read == stat.consumed, "and each that was consumed has been read");
	check(port_close(fd) == 0 && port_wait(fd, 0) == 0, "closing finds nothing more");
	fd = port_new(BH_INTERVM, GROUP, "alone");
	check(port_ring(fd, 1) == EPIPE, "a port without a peer rings nobody");
	return check_status();
}

int peer_ask(void)
{
	uint64_t rounds = word_number("rounds", 1000), burst = word_number("burst", 5000), answers = 0,
		 more = 1;
	int fd = port_new(BH_INTERVM, GROUP, "ask");
	uint64_t refused = 0, left;

	check(port_ring(fd, 1) == EPIPE, "a port without a peer rings nobody");
	check(port_connect(fd, peer(), BH_PORT(GROUP, 77)) != 0,
	      "a port that is not offered cannot be connected");
	check(port_connect(fd, 9, PORT) != 0, "nor one of a VM that is no peer");
	if (!check(port_connect_soon(fd, peer(), PORT, PATIENCE) == 0, "the offered port is connected"))
		return check_status();
	check(port_connect(fd, peer(), PORT) != 0, "and not connected twice");
	for (uint64_t i = 0; i < rounds && more; i++) {
		refused += port_ring(fd, 1) != 0;
		more = port_wait(fd, ROUND);
		answers += more;
	}
	check(answers == rounds, "each ring was answered by one");
	for (uint64_t i = 0; i < burst; i += left) {
		left = burst - i < 64 ? burst - i : 64;
		refused += port_ring(fd, left) != 0;
	}
	check(refused == 0, "no ring was refused");
	/* The other end rings until it finds this one closed; what came meanwhile is none of the rounds. */
	check(port_close(fd) == 0 && port_ring(fd, 1) != 0, "the port closes");
	return check_status();
}

int peer_pour(void)
{
	uint64_t events = word_number("events", 2000), poured = 0, accepted = 0;
	unsigned connections = 0, pace = (unsigned)word_number("pace", 2000);

	while (poured < events) {
		int fd = port_new(BH_INTERVM, GROUP, "pour");
		struct doorbell_stat stat;

		if (port_connect_soon(fd, peer(), PORT, PATIENCE)) {
			close(fd);
			break;
		}
		connections++;
		/* What the rings were answered so far is the driver's to say; a ring alone never goes too far. */
		do {
			stat = port_stat(fd);
		} while (poured + port_fresh(&stat) < events && port_ring(fd, 1) == 0 &&
		         (usleep(pace / 40), true));
		stat = port_stat(fd);
		poured += port_fresh(&stat);
		accepted += port_fresh(&stat) + stat.answers[BH_RUNG_COALESCED];
		close(fd);
	}
	printf("# %u connections, %lu rings, %lu of them have set the bit\n", connections, accepted, poured);
	check(poured == events, "every ring that was wanted was poured");
	return check_status();
}

int peer_drink(void)
{
	uint64_t count = word_number("count", 100), seen = 0, more;
	unsigned seconds = (unsigned)word_number("seconds", 5);
	int fd = port_new(BH_INTERVM, GROUP, "drink");

	errno = port_offer(fd, peer());
	if (errno)
		die("offer");
	while (seen < count && (more = port_wait(fd, seconds)) != 0)
		seen += more;
	errno = port_close(fd);
	if (errno)
		die("close");
	/* What has come since, and what went with the port. */
	while ((more = port_wait(fd, 0)) != 0)
		seen += more;
	printf("%lu\n", seen);
	return seen == 0;
}
