/* SPDX-License-Identifier: MIT */
/* What the parts of the driver know of each other, and how they call Bellhop. */
#ifndef DOORBELL_H
#define DOORBELL_H

#include <linux/irqreturn.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "guest-stubs/linux/doorbell_dev.h"
#include "kernel/vic/abi.h"

#ifdef CONFIG_PREEMPT_RT
#error "waiters are woken from the interrupt, under a raw lock: not on PREEMPT_RT"
#endif

#undef pr_fmt
#define pr_fmt(fmt) "doorbell: " fmt

/*
 * A group of ports. The lock guards everything in it, from any context with interrupts off: a bit is cleared and counted
 * under it, so that the port which it stands for cannot be closed and opened anew in between. It nests in the lock of an
 * interrupt's descriptor and in nothing else.
 */
struct doorbell_group {
	raw_spinlock_t lock;
	unsigned int number;
	struct doorbell_port **slot; /* BH_SLOTS of them; NULL: no interrupt of this group yet */
	struct list_head ports;
	/* On route native, where the interrupt goes: */
	unsigned int vcpu;
	u8 vector; /* 0: nowhere */
	bool masked;
};

/* A port, and what there is to an open file before it has one. */
struct doorbell_port {
	struct doorbell_group *group; /* NULL: no port. Written once, released when all the rest is */
	u32 number;
	char name[16];
	struct list_head node; /* this and the next three: under the group's lock */
	unsigned int vcpu;
	u64 consumed;
	u64 on_cpu[DOORBELL_CPUS];
	atomic64_t unread;
	wait_queue_head_t wait;
	bool gone;   /* the last ring found nobody at the other end */
	bool closed; /* written under both mutexes; read anywhere: what is unread is all that will be */
	atomic64_t answers[DOORBELL_ANSWERS];
	atomic64_t refused;
	struct mutex using; /* guards `rings`; and whoever uses the port's number, from its being closed meanwhile */
	struct bh_ring rings[BH_RINGS];
};

extern struct doorbell_group doorbell_groups[BH_GROUPS];

/* driver.c: what was chosen at load, and which CPU is which VCPU. */

#define DOORBELL_NO_VCPU UINT_MAX

extern enum bh_route doorbell_route;
extern bool doorbell_look_all; /* a handler looks at every VCPU's pages, not at those of its own only */
extern unsigned int doorbell_vcpus;

/* The VCPU of a CPU that has been online; DOORBELL_NO_VCPU: it has not. Any context. */
unsigned int doorbell_vcpu_of(unsigned int cpu);
/* The VCPU of the caller, which stays where it is. */
unsigned int doorbell_vcpu_self(void);
/* The CPU of a VCPU, or nr_cpu_ids. Any context. */
unsigned int doorbell_cpu_of(unsigned int vcpu);
/* The errno of a negative result of a hypercall; 0 for every other result. */
int doorbell_error(long result);

/* pages.c */

/* Registers the pages of every VCPU and the mask page; 0 or an errno. At load. */
int doorbell_pages_register(void);
/* Takes them back, all ports closed. At unload. */
void doorbell_pages_release(void);
/* Hands every bit of the group on this VCPU's page to doorbell_ports_found(). Returns how many. Under the group's lock. */
unsigned int doorbell_pages_consume(unsigned int vcpu, struct doorbell_group *group);
/* How many pages have the port's bit set. Any context. */
unsigned int doorbell_pages_pending(u32 port);

/* ports.c */

void doorbell_ports_init(void);
struct doorbell_port *doorbell_ports_new(void);
/* Gives the file its port and fills in its number; 0 or an errno. May sleep, as all of these up to _stat. */
int doorbell_ports_open(struct doorbell_port *port, struct doorbell_open *open);
/* Closes the port, if it is one and is open: 0, or -ENOTCONN. Rings that go with it count as consumed. */
int doorbell_ports_shut(struct doorbell_port *port);
/* The same, and frees it. */
void doorbell_ports_close(struct doorbell_port *port);
/* Binds it to a CPU by hand. On `native` it can be bound to the CPU of its group's interrupt only. */
int doorbell_ports_bind(struct doorbell_port *port, unsigned int cpu);
/* Rings it 1 to 64 times. */
int doorbell_ports_ring(struct doorbell_port *port, u64 times);
void doorbell_ports_stat(struct doorbell_port *port, struct doorbell_stat *stat);
/* What the ports that were closed have consumed, for the balance of those who rang them. */
void doorbell_ports_closed(u64 *consumed, u64 *pending);
/* Binds every port of the group to a VCPU. Under its lock. */
void doorbell_ports_rebind(struct doorbell_group *group, unsigned int vcpu);
/* Binds every port that is bound to one VCPU to another. Any context. */
void doorbell_ports_leave(unsigned int from, unsigned int to);
/* Somebody's own clear has found the bit of this slot. Under the group's lock. */
void doorbell_ports_found(struct doorbell_group *group, unsigned int slot);

/* lines.c: the groups' interrupts */

int doorbell_lines_init(void);
void doorbell_lines_exit(void);
/* Makes the interrupt of a group, if there is none; 0 or an errno. May sleep; one caller at a time. */
int doorbell_lines_want(struct doorbell_group *group);
/* The group's ports have changed: so does the name of its interrupt. One caller at a time. */
void doorbell_lines_rename(struct doorbell_group *group);
unsigned int doorbell_lines_irq(struct doorbell_group *group);
/* The VCPU where the group's interrupt goes at this moment. */
unsigned int doorbell_lines_vcpu(struct doorbell_group *group);
/* Of all lines since load: interrupts, and those that found nothing. */
void doorbell_lines_count(u64 *interrupts, u64 *empty);

/* native.c: interrupts that are vectors of Linux's own choice */

int doorbell_native_init(void);
void doorbell_native_exit(void);
/* A new interrupt of the group, or a negative errno. */
int doorbell_native_alloc(struct doorbell_group *group);
void doorbell_native_free(unsigned int irq);

/* device.c: /dev/doorbell */

int doorbell_device_register(void);
void doorbell_device_unregister(void);

static inline long doorbell_call(enum bh_call call, unsigned long a, unsigned long b, unsigned long c)
{
	long result;

	/* No call takes the fourth argument, which is R10. */
	asm volatile("vmcall" : "=a"(result) : "0"((unsigned long)call), "D"(a), "S"(b), "d"(c) : "memory");
	return result;
}

#endif
