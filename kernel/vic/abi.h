/* SPDX-License-Identifier: MIT */
/* The doorbell ABI: what a guest and the hypervisor agree on. Guests include this file and nothing else of ours. */
#ifndef BELLHOP_ABI_H
#define BELLHOP_ABI_H

#include <stdint.h>

#define BH_ABI_VERSION 1

/*
 * Discovery. CPUID leaf BH_CPUID_BASE: EAX the highest leaf, EBX/ECX/EDX the signature "BellhopRings".
 * Leaf +1: EAX the ABI version, EBX feature bits, ECX groups << 16 | slots, EDX the VCPU's index
 * << 16 | the VM's number of VCPUs.
 */
#define BH_CPUID_BASE    0x40000000u
#define BH_CPUID_ABI     0x40000001u
#define BH_SIGNATURE_EBX 0x6c6c6542u /* "Bell" */
#define BH_SIGNATURE_ECX 0x52706f68u /* "hopR" */
#define BH_SIGNATURE_EDX 0x73676e69u /* "ings" */

#define BH_GROUPS      16
#define BH_SLOTS       2048
#define BH_PORTS       (BH_GROUPS * BH_SLOTS)
#define BH_GROUP_WORDS (BH_SLOTS / 64)

/* The first callback line: the IOAPIC pin of group 0; group g's is g further on. Routes with one line use the first. */
#define BH_CALLBACK_PIN 24

/*
 * A port's number is its place: group << 11 | slot. It is the same place on whatever VCPU the port is bound to,
 * so a rebind changes the page and nothing else, and a consumer reads the port's number off the bit.
 */
#define BH_PORT(group, slot) ((uint32_t)(group) << 11 | (uint32_t)(slot))
#define BH_PORT_GROUP(port)  ((uint32_t)(port) >> 11)
#define BH_PORT_SLOT(port)   ((uint32_t)(port) & (BH_SLOTS - 1))

/* A page of one bit per port: a VCPU's pending page and the VM's mask page. Little-endian 64-bit words. */
struct bh_bits {
	uint64_t word[BH_GROUPS][BH_GROUP_WORDS];
};

/* A VCPU's control page. The hypervisor sets summary bits and adds to the counters; it never reads them back. */
struct bh_control {
	uint64_t summary[BH_GROUPS]; /* bit w: word w of that group has gained a pending bit */
	uint64_t upcalls;            /* upcalls raised for this VCPU's bits */
	uint64_t misdirected;        /* of those, sent to another VCPU by the IOAPIC entry */
	uint64_t reserved[494];
};

_Static_assert(sizeof(struct bh_bits) == 4096, "a page");
_Static_assert(sizeof(struct bh_control) == 4096, "a page");

/*
 * Hypercalls: VMCALL at CPL 0, number in RAX, arguments in RDI, RSI, RDX, R10; 32-bit code uses EAX and EBX, ECX,
 * EDX, ESI. The result is in RAX (EAX), negative is an error; every other register is preserved.
 */
enum bh_call {
	BH_VERSION = 0,   /* () -> BH_ABI_VERSION */
	BH_MASK_PAGE = 1, /* (gpa): the VM's mask page; 0: none */
	BH_VCPU_PAGES =
		2, /* (vcpu, gpa of the pending page, gpa of the control page); 0 and 0 gives them back */
	BH_GROUP_VECTOR =
		3,   /* (vcpu, group, vector 16..255): where `native` delivers that VCPU's group; 0 is none */
	BH_OPEN = 4, /* (kind, vcpu, group) -> port */
	BH_CLOSE =
		5, /* (port) -> how many accepted rings were pending and are the caller's now, 0 or 1 mostly */
	BH_REBIND = 6,    /* (port, vcpu): atomic; a pending bit moves along */
	BH_RING = 7,      /* (port) -> BH_RUNG_... */
	BH_KICK = 8,      /* (port): after an unmask that found the bit pending on another VCPU's page */
	BH_PORT_STAT = 9, /* (port, enum bh_port_stat) -> value */
	BH_VM_STAT = 10,  /* (enum bh_vm_stat) -> value */
	BH_ROUTE = 11,    /* (enum bh_route, or BH_ROUTE_ASK) -> the route in force before */
	BH_OFFER = 12, /* (port, peer): that peer of the boot configuration's list may connect to the port */
	BH_CONNECT = 13, /* (port, peer, the peer's port): both ends ring each other from now on */
	BH_EXIT = 14,    /* (status 0..255): ends the VM */
	BH_TIMER = 15, /* (port, absolute deadline in TSC ticks of this VCPU; 0 disarms): rings the port once;
		       32-bit code: (port, the deadline's lower half, its upper half) */
	BH_RING_MANY = 16, /* (gpa of struct bh_ring, how many) -> how many of them were accepted */
	BH_CALLS
};

enum bh_kind {
	BH_LOCAL = 0,   /* ringing it sets its own bit: an IPI that is not an interrupt vector */
	BH_INTERVM = 1, /* ringing it sets the bit of the port that it is connected to */
	BH_TIMED = 2,   /* rings itself at the time that BH_TIMER sets; at most 32 of them a VM */
	BH_KINDS
};

/* What a ring did; all of them are accepted rings. */
enum bh_rung {
	BH_RUNG_UPCALL = 0,    /* the bit is set and an upcall is on its way */
	BH_RUNG_QUIET = 1,     /* the bit is set; an upcall for its word was on its way already */
	BH_RUNG_MASKED = 2,    /* the bit is set and masked: whoever unmasks looks */
	BH_RUNG_COALESCED = 3, /* the bit was set already */
	BH_RUNG_THROTTLED =
		4, /* the bit is set; the port's upcalls of this period are used up, the next one brings it */
};

/* BH_RING_MANY: up to so many, anywhere in the guest's RAM at a multiple of 8. */
#define BH_RINGS 64u

struct bh_ring {
	uint32_t port;
	int32_t result; /* written by the hypervisor: what BH_RING would have returned */
};

enum bh_error {
	BH_ENOCALL = -1, /* no such hypercall */
	BH_EINVAL = -2,  /* an argument is out of range */
	BH_EPERM = -3,   /* not yours: CPL above 0, a port of no peer, an offer to somebody else */
	BH_EBUSY = -4,   /* connected or registered already, or in use */
	BH_EFULL = -5,   /* the group has no free slot */
	BH_ECLOSED = -6, /* the port is closed, or its peer's port or VM is gone */
	BH_ENOPAGE = -7, /* the bound VCPU has no pages registered */
};

enum bh_port_stat {
	BH_STAT_RUNG = 0,      /* rings of this port's bit accepted */
	BH_STAT_COALESCED = 1, /* of those, found the bit set */
	BH_STAT_UPCALLS = 2,   /* of those, raised an upcall */
	BH_STAT_MISDIRECTED =
		3, /* of those, went to another VCPU; one interrupt for several ports counts for the first */
	BH_STAT_VCPU = 4,      /* the VCPU it is bound to */
	BH_STAT_THROTTLED = 5, /* rings whose upcall was put off to the next period */
	BH_PORT_STATS
};

enum bh_vm_stat {
	BH_VM_EXITS = 0,       /* VM exits of all VCPUs */
	BH_VM_HV_TICKS = 1,    /* TSC ticks that all VCPUs spent outside the guest while runnable */
	BH_VM_MISDIRECTED = 2, /* upcalls that went to a VCPU without the bit */
	BH_VM_TSC_HZ = 3,
	BH_VM_STATS
};

/* How a doorbell becomes an interrupt; docs/routing.md says which promise each route keeps. */
enum bh_route {
	BH_ROUTE_IOAPIC = 0,
	BH_ROUTE_VCPU0 = 1,
	BH_ROUTE_NATIVE = 2,
	BH_ROUTE_MULTI = 3,
	BH_ROUTE_FOLLOW = 4,
	BH_ROUTES
};
#define BH_ROUTE_ASK 0xffffffffu

#endif
