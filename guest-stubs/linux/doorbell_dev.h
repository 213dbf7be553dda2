/* SPDX-License-Identifier: MIT */
/* What the Linux driver offers to user space: /dev/doorbell. Each open file is one port of this VM, once it has one. */
#ifndef DOORBELL_DEV_H
#define DOORBELL_DEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * A file without a port takes DOORBELL_OPEN and the calls about the VM only. With a port:
 * - write() of a __u64 n rings n times (1 to 64), one hypercall for all; it returns 8 if all were accepted, else fails with the first error;
 * - read() of a __u64 gives how often the port's bit was consumed since the last read, and waits for one if there was none
 *   (O_NONBLOCK: EAGAIN);
 * - poll(): POLLIN if a read would not wait, POLLOUT always, POLLERR once a ring has found the peer gone;
 * - close(), of the last copy of the file, closes the port. DOORBELL_CLOSE closes it before: a bit that went with the port counts as
 *   consumed, reads give what is left and then 0 bytes (end of file), and of the other calls only DOORBELL_STAT goes on, with the
 *   driver's own counts; the hypervisor's are then 0.
 */
struct doorbell_open {
	__u32 kind;     /* enum bh_kind */
	__u32 group;    /* 0 to 15: the port's upcalls are this group's interrupt */
	__u32 port;     /* out: its number */
	__u32 reserved; /* 0 */
	char name
		[16]; /* what /proc/interrupts calls it; ends with a zero; printable, without spaces and commas */
};

/* The other end: a peer by its number in the boot configuration, and its port. For DOORBELL_OFFER `port` is 0. */
struct doorbell_peer {
	__u32 peer;
	__u32 port;
};

#define DOORBELL_CPUS    16
#define DOORBELL_ANSWERS 5

struct doorbell_stat {
	__u64 rung, coalesced, upcalls, misdirected, throttled; /* the hypervisor's, of this port */
	__u64 consumed;              /* the driver's: bits that it found and cleared */
	__u64 on_cpu[DOORBELL_CPUS]; /* of those, by the Linux CPU that ran the handler */
	__u64 pending;               /* pages, of all VCPUs, that have its bit set now: nobody has looked */
	__u64 answers[DOORBELL_ANSWERS]; /* what rings by this file were answered, by enum bh_rung */
	__u64 refused;                   /* those that were answered with an error */
	__u32 cpu;                       /* where the port is bound to, as a Linux CPU */
	__u32 irq;                       /* the Linux interrupt of its group */
};

struct doorbell_vm_stat {
	__u64 exits, hv_ticks, misdirected, tsc_hz; /* the hypervisor's, of this VM */
	__u64 interrupts, empty; /* the driver's, since it was loaded; `empty` ones found nothing */
	__u64 closed_consumed,
		closed_pending; /* of the ports that are closed: all events, and those that closing found */
	__u32 route;            /* enum bh_route */
	__u32 cpus;
};

#define DOORBELL_OPEN    _IOWR('b', 1, struct doorbell_open)
#define DOORBELL_OFFER   _IOW('b', 2, struct doorbell_peer)
#define DOORBELL_CONNECT _IOW('b', 3, struct doorbell_peer)
#define DOORBELL_STAT    _IOR('b', 4, struct doorbell_stat)
#define DOORBELL_VM_STAT _IOR('b', 5, struct doorbell_vm_stat)
#define DOORBELL_TIMER \
	_IOW('b', 6, __u64) /* rings the port (kind BH_TIMED) so many nanoseconds from now; 0: not at all */
#define DOORBELL_BIND \
	_IOW('b', 7,  \
	     __u32) /* binds the port to a Linux CPU by hand; on `native` only to its group's own (EBUSY) */
#define DOORBELL_CLOSE _IO('b', 8)

#endif
