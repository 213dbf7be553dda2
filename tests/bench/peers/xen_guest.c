/* SPDX-License-Identifier: MIT */
/* Xen's part: a PVH dom0 without a system behind it, whose event channels come by one vector. */
#include "tests/bench/peers/guest.h"

#define SELF_DOMAIN 0x7ff0

/* Hypercalls of Xen's public headers, and operations of those. */
enum {
	MEMORY_OP = 12,
	XEN_VERSION = 17,
	CONSOLE_IO = 18,
	VCPU_OP = 24,
	SCHED_OP = 29,
	EVTCHN_OP = 32,
	HVM_OP = 34
};

enum { BIND_INTERDOMAIN = 0, SEND = 4, ALLOC_UNBOUND = 6, BIND_IPI = 7 };

/* Xen gives VCPU n the APIC ID 2n. */
const uint32_t peer_other_id = 2;

extern char xen_pml4[], xen_stack_second[], xen_second[];

/* The page that Xen shares with the domain: 32 VCPUs, then pending and mask bits of 4096 ports. */
struct vcpu_info {
	volatile uint8_t pending, mask;
	uint8_t filler[6];
	volatile unsigned long selector;
	uint8_t others[48];
};

extern struct {
	struct vcpu_info vcpu[32];
	volatile unsigned long pending[64], mask[64];
} xen_shared;

static uint32_t own_port, other_port, loop_port;

TIMED long call(unsigned long number, unsigned long a, unsigned long b, unsigned long c)
{
	__asm__ volatile("vmcall"
	                 : "+a"(number), "+D"(a), "+S"(b), "+d"(c)::"rcx", "r8", "r9", "r10", "r11",
	                   "memory");
	return (long)number;
}

/* --- events --------------------------------------------------------------------------------------------------- */

TIMED unsigned consume(unsigned vcpu)
{
	unsigned long words;
	unsigned count = 0;

	xen_shared.vcpu[vcpu].pending = 0;
	words = cpu_xchg(&xen_shared.vcpu[vcpu].selector, 0);
	for (; words; words &= words - 1) {
		unsigned at = (unsigned)__builtin_ctzl(words);
		unsigned long bits = xen_shared.pending[at] & ~xen_shared.mask[at];

		cpu_fetch_and(&xen_shared.pending[at], ~bits);
		for (; bits; bits &= bits - 1)
			count++;
	}
	return count;
}

HANDLER on_event(struct frame *frame)
{
	uint64_t now = cpu_tsc();
	unsigned long sp;

	(void)frame;
	/* One gate for both VCPUs: the stack tells which one this is. */
	__asm__ volatile("mov %%rsp, %0" : "=r"(sp));
	if (sp > (unsigned long)xen_stack_second - 16384) {
		arrival = now;
		arrived += consume(1);
	} else {
		taken += consume(0);
	}
}

TIMED void send(uint32_t port)
{
	uint32_t argument = port;

	call(EVTCHN_OP, SEND, (unsigned long)&argument, 0);
}

TIMED void do_hypercall(void)
{
	call(XEN_VERSION, 0, 0, 0);
}

TIMED void do_port(void)
{
	cpu_outl(0xcf8, 0x80000000);
}

TIMED void do_ring(void)
{
	send(own_port);
}

TIMED void do_ring_upcall(void)
{
	unsigned before = taken;

	send(own_port);
	wait_beyond(&taken, before);
}

TIMED void do_loop_upcall(void)
{
	unsigned before = taken;

	send(loop_port);
	wait_beyond(&taken, before);
}

TIMED void send_bell(void)
{
	send(other_port);
}

/* --- the domain ----------------------------------------------------------------------------------------------- */

static void mask_set(uint32_t port, bool masked)
{
	unsigned long bit = 1ul << port % 64;

	cpu_fetch_and(&xen_shared.pending[port / 64], ~bit);
	if (masked)
		cpu_fetch_or(&xen_shared.mask[port / 64], bit);
	else
		cpu_fetch_and(&xen_shared.mask[port / 64], ~bit);
}

static uint32_t bind_ipi(uint32_t vcpu)
{
	struct {
		uint32_t vcpu, port;
	} bind = { .vcpu = vcpu };

	call(EVTCHN_OP, BIND_IPI, (unsigned long)&bind, 0);
	mask_set(bind.port, false);
	return bind.port;
}

/* A channel from the domain to itself, as if there were two. */
static uint32_t bind_loop(void)
{
	struct {
		uint16_t domain, remote;
		uint32_t port;
	} unbound = { .domain = SELF_DOMAIN, .remote = SELF_DOMAIN };
	struct {
		uint16_t remote, filler;
		uint32_t remote_port, port;
	} bind = { .remote = SELF_DOMAIN };

	call(EVTCHN_OP, ALLOC_UNBOUND, (unsigned long)&unbound, 0);
	bind.remote_port = unbound.port;
	call(EVTCHN_OP, BIND_INTERDOMAIN, (unsigned long)&bind, 0);
	mask_set(unbound.port, false);
	mask_set(bind.port, true);
	return bind.port;
}

static void start_second(void)
{
	struct {
		uint32_t mode, filler; /* 1: 64-bit */
		uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags, cr0, cr3, cr4, efer;
	} state = { .mode = 1,
		    .rsp = (uint64_t)xen_stack_second,
		    .rip = (uint64_t)xen_second,
		    .rflags = 2,
		    .cr0 = 0x80000011,
		    .cr3 = (uint64_t)xen_pml4,
		    .cr4 = 0x620,
		    .efer = 0x500 };

	call(VCPU_OP, 0, 1, (unsigned long)&state);
	call(VCPU_OP, 1, 1, 0);
}

void peer_start(void)
{
	/* XENMAPSPACE_shared_info; then HVM_PARAM_CALLBACK_IRQ by vector. */
	struct {
		uint16_t domain, size;
		uint32_t space;
		uint64_t index, frame;
	} page = { .domain = SELF_DOMAIN, .frame = (uint64_t)&xen_shared >> 12 };
	struct {
		uint16_t domain, filler;
		uint32_t index;
		uint64_t value;
	} callback = { .domain = SELF_DOMAIN, .value = 2ul << 56 | VECTOR_EVENT };

	call(MEMORY_OP, 7, (unsigned long)&page, 0);
	call(HVM_OP, 0, (unsigned long)&callback, 0);
	guest_gate(VECTOR_EVENT, on_event);
	start_second();
	own_port = bind_ipi(0);
	other_port = bind_ipi(1);
	loop_port = bind_loop();
	xen_shared.vcpu[0].mask = 0;
	xen_shared.vcpu[1].mask = 0;
}

/* A line at a time: each call is a line of Xen's own log. */
void peer_put(char c)
{
	static char line[80];
	static unsigned long length;

	line[length++] = c;
	if (c != '\n' && length < sizeof(line))
		return;
	call(CONSOLE_IO, 0, length, (unsigned long)line);
	length = 0;
}

void peer_end(void)
{
}

void peer_rows_xapic(void)
{
	row_around("hypercall", do_hypercall);
	row_around("port", do_port);
	mask_set(own_port, true);
	row_around("doorbell_masked", do_ring);
	mask_set(own_port, false);
	row_around("doorbell_self", do_ring_upcall);
	rows_of_way("doorbell_spin", "doorbell_halt", send_bell);
	row_around("doorbell_across", do_loop_upcall);
}

void peer_rows_x2apic(void)
{
}
