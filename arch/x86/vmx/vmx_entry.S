/* SPDX-License-Identifier: MIT */
/* VM entry and VM exit: swaps the general registers of a VCPU and of the hypervisor. */

#define GPR(n)  (8 * (n))
#define BACKEND 128 /* of struct virt_vcpu, whose first member is gpr[16] */

	.section .text

/* bool vmx_enter(struct virt_vcpu *v, bool launch) */
	.balign 16
	.globl	vmx_enter
vmx_enter:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	BACKEND(%rdi), %rax
	movq	%rsp, (%rax)
	/* No instruction from here to the entry changes ZF. */
	testl	%esi, %esi
	movq	GPR(0)(%rdi), %rax
	movq	GPR(1)(%rdi), %rcx
	movq	GPR(2)(%rdi), %rdx
	movq	GPR(3)(%rdi), %rbx
	movq	GPR(5)(%rdi), %rbp
	movq	GPR(6)(%rdi), %rsi
	movq	GPR(8)(%rdi), %r8
	movq	GPR(9)(%rdi), %r9
	movq	GPR(10)(%rdi), %r10
	movq	GPR(11)(%rdi), %r11
	movq	GPR(12)(%rdi), %r12
	movq	GPR(13)(%rdi), %r13
	movq	GPR(14)(%rdi), %r14
	movq	GPR(15)(%rdi), %r15
	movq	GPR(7)(%rdi), %rdi
	jnz	1f
	vmresume
	jmp	2f
1:	vmlaunch
	/* VMfail: the stack never changed, and the guest's registers are still where they were. */
2:	movl	$1, %eax
	jmp	3f

/*
 * HOST_RSP is the VCPU's own gpr[]: the exit finds its place without a free register, and the field never changes.
 * Interrupts are off here, and NMI and machine check have a stack of their own (their gates name one).
 */
	.balign 16
	.globl	vmx_exit_entry
vmx_exit_entry:
	movq	%rax, GPR(0)(%rsp)
	movq	%rcx, GPR(1)(%rsp)
	movq	%rdx, GPR(2)(%rsp)
	movq	%rbx, GPR(3)(%rsp)
	movq	%rbp, GPR(5)(%rsp)
	movq	%rsi, GPR(6)(%rsp)
	movq	%rdi, GPR(7)(%rsp)
	movq	%r8, GPR(8)(%rsp)
	movq	%r9, GPR(9)(%rsp)
	movq	%r10, GPR(10)(%rsp)
	movq	%r11, GPR(11)(%rsp)
	movq	%r12, GPR(12)(%rsp)
	movq	%r13, GPR(13)(%rsp)
	movq	%r14, GPR(14)(%rsp)
	movq	%r15, GPR(15)(%rsp)
	movq	BACKEND(%rsp), %rax
	movq	(%rax), %rsp
	xorl	%eax, %eax
3:	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

	.section .note.GNU-stack, "", @progbits
