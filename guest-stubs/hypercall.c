/* SPDX-License-Identifier: MIT */
/*
 * The hypercall interface itself, by the convention of the mode this is compiled for: discovery, errors, registers.
 */
#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

#ifdef __x86_64__
const char guest_name[] = "hypercall";
#define REGS 15 /* ax bx cx dx si di bp r8 to r15 */
#else
const char guest_name[] = "hypercall32";
#define REGS 7
#endif

/* Executes VMCALL with every register but the stack pointer, and CF, given; stores what they are afterwards. */
void vmcall_with(unsigned long *regs);

#ifdef __x86_64__
__asm__("	.text\n"
        "vmcall_with:\n"
        "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
        "	mov (%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rcx; mov 24(%rdi), %rdx\n"
        "	mov 32(%rdi), %rsi; mov 48(%rdi), %rbp; mov 56(%rdi), %r8; mov 64(%rdi), %r9\n"
        "	mov 72(%rdi), %r10; mov 80(%rdi), %r11; mov 88(%rdi), %r12; mov 96(%rdi), %r13\n"
        "	mov 104(%rdi), %r14; mov 112(%rdi), %r15; mov 40(%rdi), %rdi\n"
        "	stc; vmcall; jnc 1f\n"
        "	push %rdi; mov 8(%rsp), %rdi\n"
        "	mov %rax, (%rdi); mov %rbx, 8(%rdi); mov %rcx, 16(%rdi); mov %rdx, 24(%rdi)\n"
        "	mov %rsi, 32(%rdi); pop 40(%rdi); mov %rbp, 48(%rdi); mov %r8, 56(%rdi); mov %r9, 64(%rdi)\n"
        "	mov %r10, 72(%rdi); mov %r11, 80(%rdi); mov %r12, 88(%rdi); mov %r13, 96(%rdi)\n"
        "	mov %r14, 104(%rdi); mov %r15, 112(%rdi)\n"
        "1:	pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");
#else
__asm__("	.text\n"
        "vmcall_with:\n"
        "	push %ebx; push %ebp; push %esi; push %edi; mov 20(%esp), %edi; push %edi\n"
        "	mov (%edi), %eax; mov 4(%edi), %ebx; mov 8(%edi), %ecx; mov 12(%edi), %edx\n"
        "	mov 16(%edi), %esi; mov 24(%edi), %ebp; mov 20(%edi), %edi\n"
        "	stc; vmcall; jnc 1f\n"
        "	push %edi; mov 4(%esp), %edi\n"
        "	mov %eax, (%edi); mov %ebx, 4(%edi); mov %ecx, 8(%edi); mov %edx, 12(%edi)\n"
        "	mov %esi, 16(%edi); pop 20(%edi); mov %ebp, 24(%edi)\n"
        "1:	pop %edi; pop %edi; pop %esi; pop %ebp; pop %ebx; ret\n");
#endif

static void discovery(void)
{
	struct cpuid base = cpu_id(BH_CPUID_BASE, 0), abi = cpu_id(BH_CPUID_ABI, 0);

	CHECK(base.a >= BH_CPUID_ABI, "the highest leaf covers the ABI's");
	CHECK(cpu_id(1, 0).c >> 31, "CPUID leaf 1 says that there is a hypervisor");
	CHECK(abi.a == BH_ABI_VERSION, "CPUID tells the ABI version");
	CHECK(abi.c == (BH_GROUPS << 16 | BH_SLOTS), "CPUID tells groups and slots");
	CHECK(abi.d >> 16 == 0 && (abi.d & 0xffff) >= 1,
	      "CPUID tells this VCPU's index and the number of VCPUs");
	CHECK(bellhop_call0(BH_VERSION) == BH_ABI_VERSION, "the first hypercall tells the ABI version too");
}

static void errors(void)
{
	long port;

	CHECK(bellhop_call0(BH_CALLS) == BH_ENOCALL, "the first number that is none");
	CHECK(bellhop_call((unsigned long)-1, 0, 0, 0, 0) == BH_ENOCALL, "the last number that is none");
	CHECK(bellhop_call3(BH_OPEN, BH_KINDS, 0, 0) == BH_EINVAL, "open: no such kind");
	CHECK(bellhop_call3(BH_OPEN, BH_LOCAL, 255, 0) == BH_EINVAL, "open: no such VCPU");
	CHECK(bellhop_call3(BH_OPEN, BH_LOCAL, 0, BH_GROUPS) == BH_EINVAL, "open: no such group");
	CHECK(bellhop_call3(BH_GROUP_VECTOR, 0, 0, 256) == BH_EINVAL, "group vector: none above 255");
	CHECK(bellhop_call3(BH_GROUP_VECTOR, 0, 0, 15) == BH_EINVAL, "group vector: none below 16");
	CHECK(bellhop_call3(BH_GROUP_VECTOR, 255, 0, 32) == BH_EINVAL, "group vector: no such VCPU");
	CHECK(bellhop_call1(BH_MASK_PAGE, 0x400001) == BH_EINVAL, "mask page: not a page's address");
	CHECK(bellhop_call1(BH_ROUTE, BH_ROUTES) == BH_EINVAL, "route: no such route");
	CHECK(bellhop_call1(BH_VM_STAT, BH_VM_STATS) == BH_EINVAL, "VM status: no such counter");
	CHECK(bellhop_call1(BH_EXIT, 256) == BH_EINVAL, "exit: a status is 0 to 255");
	CHECK(bellhop_call1(BH_CLOSE, BH_PORT(3, 7)) == BH_ECLOSED, "close: the port is closed");
	CHECK(bellhop_call2(BH_REBIND, BH_PORT(3, 7), 0) == BH_ECLOSED, "rebind: the port is closed");
	CHECK(bellhop_call1(BH_RING, BH_PORT(3, 7)) == BH_ECLOSED, "ring: the port is closed");
	CHECK(bellhop_call1(BH_RING, BH_PORTS) == BH_EINVAL, "ring: no such port");
	port = db_open(BH_LOCAL, 0, 3);
	CHECK(port == BH_PORT(3, 0), "open: the lowest slot of the group");
	CHECK(bellhop_call1(BH_RING, (unsigned long)port) == BH_ENOPAGE, "ring: the VCPU has no pages yet");
	CHECK(bellhop_call2(BH_PORT_STAT, (unsigned long)port, BH_PORT_STATS) == BH_EINVAL,
	      "port status: no such counter");
	CHECK(bellhop_call2(BH_REBIND, (unsigned long)port, 255) == BH_EINVAL, "rebind: no such VCPU");
	CHECK(bellhop_call3(BH_CONNECT, (unsigned long)port, 0, 0) < 0, "connect: not a local port");
	CHECK(bellhop_call1(BH_CLOSE, (unsigned long)port) == 0, "close");
}

/* Rings in one call end as they do one by one, and each tells how. */
static void many(void)
{
	static struct bh_ring rings[BH_RINGS + 1] __attribute__((aligned(4096)));
	long first = db_open(BH_LOCAL, 0, 4), second = db_open(BH_LOCAL, 0, 4);
	unsigned long at = (unsigned long)rings;

	CHECK(db_ring_many(rings, 0) == BH_EINVAL && db_ring_many(rings, BH_RINGS + 1) == BH_EINVAL &&
	              bellhop_call2(BH_RING_MANY, at + 4, 1) == BH_EINVAL &&
	              bellhop_call2(BH_RING_MANY, 0xffffff00, 1) == BH_EINVAL,
	      "ring many: 1 to 64, at a multiple of 8, in RAM");
	rings[0].port = (uint32_t)first;
	CHECK(db_ring_many(rings, 1) == 0 && rings[0].result == BH_ENOPAGE,
	      "ring many: the VCPU has no pages yet");
	CHECK(db_init(1, NULL) == 0, "pages");
	db_mask((uint32_t)second);
	for (unsigned i = 0; i < BH_RINGS; i++)
		rings[i] = (struct bh_ring){ .port = (uint32_t)(i % 2 ? second : first), .result = 99 };
	rings[2].port = BH_PORTS;
	rings[4].port = (uint32_t)second + 1;
	CHECK(db_ring_many(rings, BH_RINGS) == BH_RINGS - 2, "ring many: 64, two of them no open ports");
	CHECK(rings[0].result == BH_RUNG_UPCALL && rings[1].result == BH_RUNG_MASKED &&
	              rings[2].result == BH_EINVAL && rings[3].result == BH_RUNG_COALESCED &&
	              rings[4].result == BH_ECLOSED && rings[BH_RINGS - 1].result == BH_RUNG_COALESCED,
	      "ring many: each has its result");
	CHECK(bellhop_call2(BH_PORT_STAT, (unsigned long)first, BH_STAT_RUNG) == 30 &&
	              bellhop_call2(BH_PORT_STAT, (unsigned long)second, BH_STAT_RUNG) == 32,
	      "ring many: rings are counted by port");
	CHECK(db_notify(0, (uint32_t)first) == BH_RUNG_COALESCED &&
	              bellhop_call2(BH_PORT_STAT, (unsigned long)first, BH_STAT_RUNG) == 30,
	      "notify: no call where the bit is set");
	CHECK(db_take(0, (uint32_t)first) && db_notify(0, (uint32_t)first) == BH_RUNG_QUIET &&
	              db_is_pending(0, (uint32_t)first),
	      "notify: a ring where it is clear");
	CHECK(bellhop_call1(BH_CLOSE, (unsigned long)first) == 1 &&
	              bellhop_call1(BH_CLOSE, (unsigned long)second) == 1,
	      "close");
}

static void registers(void)
{
	static const unsigned long calls[] = {
		BH_VERSION, BH_RING, BH_PORT_STAT, BH_OPEN, BH_CALLS, 0x12345
	};
	unsigned long regs[REGS];
	unsigned changed = 0;

	for (unsigned c = 0; c < sizeof(calls) / sizeof(calls[0]); c++) {
		for (unsigned i = 0; i < REGS; i++)
			regs[i] = 0x5a5a0000ul + i * 0x111;
		regs[0] = calls[c];
		vmcall_with(regs);
		for (unsigned i = 1; i < REGS; i++)
			changed += regs[i] != 0x5a5a0000ul + i * 0x111;
		changed += calls[c] && regs[0] == calls[c];
	}
	CHECK(changed == 0, "every register but the result's is preserved, and the flags");
}

void guest_main(void)
{
	if (bellhop_present()) {
		discovery();
		errors();
		many();
		registers();
	} else {
		SKIP("needs hypercalls: this is no VM of Bellhop");
	}
	report_end();
}
