/* SPDX-License-Identifier: MIT */
/* KVM's part: ports that the kernel turns into interrupts (ioeventfd to irqfd), and the monitor's own. */
#include "tests/bench/peers/guest.h"
#include "tests/bench/peers/kvm_vmm.h"

const uint32_t peer_other_id = 1;

/* The monitor starts both VCPUs here, in 64-bit mode and with a stack; RDI is the VCPU. */
__asm__(".section .start, \"ax\"\n"
        ".globl _start\n"
        "_start: test %edi, %edi\n"
        "jz guest_first\n"
        "jmp guest_second\n"
        ".text");

TIMED void do_hypercall(void)
{
	uint64_t rax = 1;

	__asm__ volatile("vmcall" : "+a"(rax)::"memory");
}

TIMED void do_port(void)
{
	cpu_outl(PORT_UNBOUND, 1);
}

TIMED void do_ring_own(void)
{
	unsigned before = taken;

	cpu_outl(PORT_BELL_OWN, 1);
	wait_beyond(&taken, before);
}

TIMED void send_bell(void)
{
	cpu_outl(PORT_BELL_OTHER, 1);
}

void peer_start(void)
{
}

void peer_put(char c)
{
	cpu_outb(PORT_LOG, (uint8_t)c);
}

void peer_end(void)
{
	cpu_outb(PORT_END, 0);
}

void peer_rows_xapic(void)
{
	row_around("hypercall", do_hypercall);
	row_around("port", do_port);
	row_around("doorbell_self", do_ring_own);
}

void peer_rows_x2apic(void)
{
	rows_of_way("doorbell_spin", "doorbell_halt", send_bell);
}
