/* SPDX-License-Identifier: MIT */
/* VM entry and VM exit: swaps the general registers, tells guest and hypervisor ticks apart. */

/* Of struct virt_vcpu, whose first member is gpr[16]. */
#define GPR(n)      8 * (n)
#define HOST_RSP    136
#define EXIT_TSC    144
#define TIMER_LIMIT 160
#define EXITS       168
#define HV_TICKS    176

	.macro	enter_by insn /* the VCPU is in RBX */
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	subq	EXIT_TSC(%rbx), %rax
	addq	HV_TICKS(%rbx), %rax
	movq	%rax, HV_TICKS(%rbx)
	cmpq	TIMER_LIMIT(%rbx), %rax
	jb	.Lenter\@
	movq	%rbx, %rdi
	call	vmx_set_timer
.Lenter\@:
	movq	GPR(0)(%rbx), %rax
	movq	GPR(1)(%rbx), %rcx
	movq	GPR(2)(%rbx), %rdx
	movq	GPR(6)(%rbx), %rsi
	movq	GPR(7)(%rbx), %rdi
	.irp	n, 8, 9, 10, 11
	movq	GPR(\n)(%rbx), %r\n
	.endr
	movq	GPR(3)(%rbx), %rbx
	\insn
	.endm

	.text

/* bool vmx_enter(struct virt_vcpu *v, bool launch) */
	.globl	vmx_enter
vmx_enter:
	.irp	reg, rbx, rbp, r12, r13, r14, r15, rdi
	pushq	%\reg
	.endr
	movq	%rsp, HOST_RSP(%rdi)
	movq	%rdi, %rbx
	movq	GPR(5)(%rdi), %rbp
	.irp	n, 12, 13, 14, 15
	movq	GPR(\n)(%rdi), %r\n
	.endr
	testl	%esi, %esi
	jz	again
	enter_by vmlaunch
	jmp	failed
again:	enter_by vmresume
	/* VMfail: the stack never changed, and the guest's registers are still where they were. */
failed:	popq	%rdi
	movl	$1, %eax
	jmp	return

/*
 * HOST_RSP in the VMCS is the VCPU's own gpr[]: the exit finds its place without a free register, and the
 * field never changes. Interrupts are off here, and NMI and machine check have a stack of their own (their
 * gates name one).
 *
 * vmx_exit() runs with the guest's RBP and R12 to R15 in place: a C function gives them back. They are stored
 * only when vmx_enter() returns.
 */
	.globl	vmx_exit_entry
vmx_exit_entry:
	movq	%rax, GPR(0)(%rsp)
	movq	%rcx, GPR(1)(%rsp)
	movq	%rdx, GPR(2)(%rsp)
	movq	%rbx, GPR(3)(%rsp)
	movq	%rsi, GPR(6)(%rsp)
	movq	%rdi, GPR(7)(%rsp)
	.irp	n, 8, 9, 10, 11
	movq	%r\n, GPR(\n)(%rsp)
	.endr
	movq	%rsp, %rbx
	movq	HOST_RSP(%rsp), %rsp
	rdtsc
	movl	%eax, EXIT_TSC(%rbx)
	movl	%edx, EXIT_TSC + 4(%rbx)
	incq	EXITS(%rbx)
	movq	%rbx, %rdi
	call	vmx_exit
	testb	%al, %al
	jz	again
	popq	%rdi
	movq	%rbp, GPR(5)(%rdi)
	.irp	n, 12, 13, 14, 15
	movq	%r\n, GPR(\n)(%rdi)
	.endr
	xorl	%eax, %eax
return:	.irp	reg, r15, r14, r13, r12, rbp, rbx
	popq	%\reg
	.endr
	ret

	.section .note.GNU-stack, "", @progbits
