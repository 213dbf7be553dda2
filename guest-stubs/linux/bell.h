/* SPDX-License-Identifier: MIT */
/* The program `bell`, in parts: its words, ports as open files, its verdicts, and what it does. */
#ifndef BELL_H
#define BELL_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-stubs/linux/doorbell_dev.h"
#include "kernel/vic/abi.h"

/* bell.c. What stands on the command line as name=value, or `otherwise`. A number that is none ends the program. */
const char *word_text(const char *name, const char *otherwise);
uint64_t word_number(const char *name, uint64_t otherwise);
/* The same for a list with commas: whether `item` is in it. Without the word everything is. */
bool word_has(const char *name, const char *item);
/* Says what is wrong, with the system's word for errno, and ends the program with status 2. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* One PASS or FAIL line of the test guests' protocol. Returns `good`. */
bool check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 1 if a check has failed, else 0: the status to end with. */
int check_status(void);

/* bell_port.c. Ports are open files of /dev/doorbell. What is said to be a result is 0, or an errno; the others die(). */
int port_file(void); /* one without a port; what answers DOORBELL_VM_STAT */
int port_open(int fd, enum bh_kind kind, unsigned group, const char *name, unsigned *port); /* a result */
int port_new(enum bh_kind kind, unsigned group, const char *name);                          /* the file */
int port_offer(int fd, unsigned peer);                                                      /* a result */
int port_connect(int fd, unsigned peer, unsigned port);                                     /* a result */
int port_connect_soon(int fd, unsigned peer, unsigned port,
                      unsigned seconds);      /* waits for the offer; a result */
int port_ring(int fd, uint64_t times);        /* a result */
int port_bind(int fd, unsigned cpu);          /* a result */
int port_timer(int fd, uint64_t nanoseconds); /* a result */
int port_close(int fd);                       /* a result; the file stays */
/* Waits that long for a ring. How often the bit was consumed since the last time; 0: not at all, or the end of file. */
uint64_t port_wait(int fd, double seconds);
int port_events(int fd); /* what poll() says now */
struct doorbell_stat port_stat(int fd);
struct doorbell_vm_stat vm_stat(int fd);
/* Rings by this file that were accepted and found the bit clear: each of them is consumed once, unless a move joins two. */
uint64_t port_fresh(const struct doorbell_stat *stat);

/* bell_table.c, bell_peer.c, bell_self.c: the commands of more than a few lines. Each returns the program's status. */
int table_main(void);
int peer_answer(void);
int peer_ask(void);
int peer_pour(void);
int peer_drink(void);
int self_main(void);

#endif
