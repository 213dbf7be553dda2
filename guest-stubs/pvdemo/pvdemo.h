/* SPDX-License-Identifier: MIT */
/* The demonstration's parts: two drivers, their producers, and what is counted of a row. */
#ifndef PVDEMO_H
#define PVDEMO_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-stubs/lib/db.h"

#define VCPUS         4
#define DRIVERS       2 /* net and block */
#define QUEUES        8 /* ports of a driver */
#define CONTROL_GROUP 3 /* one port that paces a ringing VM; takes no part in the count */

/* Numbers of a driver that do not change: its index + 1 is its group and the VCPU it is bound to. */
#define DRIVER_GROUP(driver) ((driver) + 1)
#define DRIVER_VCPU(driver)  ((driver) + 1)

/* The vector of a driver's group on `native`, and of its callback line on `multi` and `follow`: a class of its own. */
#define DRIVER_VECTOR(driver) (0x61u + 0x10 * (driver))
#define CALLBACK_VECTOR       0x81

#define SATURATION_GROUP   4    /* the first of as many groups as there are drivers in the saturation curve */
#define SATURATION_DRIVERS 8    /* driver i is bound to VCPU i mod VCPUS */
#define SATURATION_WORK    1500 /* loops of two instructions for each event */

struct options {
	unsigned events; /* rings of each driver in a row */
	unsigned pace;   /* empty loops between two rings */
	unsigned rows;
	bool from_vm;    /* a second VM rings */
	unsigned window; /* TSC ticks of each point of the saturation curve; 0: no curve */
};

/* One line of the table, all of it counted. */
struct row {
	enum bh_route route;
	bool all; /* the handlers look at every VCPU's page, not only at their own */
	uint64_t rung, consumed, coalesced, stranded, misdirected, lost, doubled;
	uint64_t share[VCPUS]; /* handlers run on that VCPU */
	uint64_t exits, hv_ticks;
};

/* drivers.c. Boot CPU, at rest, unless said otherwise. */
bool drivers_open(const struct options *options);
void drivers_reset(bool all);    /* zeroes the counts and chooses the manner */
uint64_t drivers_consumed(void); /* so far, on all VCPUs; any time */
uint64_t drivers_share(unsigned vcpu);
uint64_t drivers_port_sum(enum bh_port_stat stat);
unsigned drivers_drop(void); /* clears what is pending; how many bits that were */
uint32_t drivers_port(unsigned driver, unsigned queue);
uint32_t drivers_control(void);

/* producers.c: rings everything of a row while irqbalance rewrites the entries. False if it never ended. */
bool producers_run(const struct options *options, enum bh_route route);
uint64_t producers_result(enum bh_rung result); /* how often a ring answered this; 0 with a ringing VM */
uint64_t producers_errors(void);
/* The whole IOAPIC entry of the callback line of `group`: level-triggered, to that VCPU. Boot CPU. */
void producers_aim(unsigned group, unsigned vcpu, unsigned vector);

/* saturation.c: what db_consume() calls for the ports of its groups. Any CPU, IF=0. */
void saturation_handle(uint32_t port);

/* Measures and prints the whole curve, a table named `saturation`. Boot CPU, at rest. */
void saturation_run(const struct options *options, const char *const route_name[BH_ROUTES]);

#endif
