/* SPDX-License-Identifier: MIT */
/* 256 entries of 16 bytes that bring every trap to the same frame: struct trap_frame of trap.c. */

#define HAS_ERROR_CODE(v) (((v) == 8) || (((v) >= 10) && ((v) <= 14)) || ((v) == 17) || ((v) == 21))

	.section .text
	.balign 16
	.globl trap_entries
trap_entries:
	.set vector, 0
	.rept 256
	.balign 16
	.if !HAS_ERROR_CODE(vector)
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	.set vector, vector + 1
	.endr
	/* Fails to assemble if an entry is longer than trap.c's array of them expects. */
	.org	trap_entries + 256 * 16
trap_common:
	.irp	reg, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	pushq	%\reg
	.endr
	cld
	/* The CPU aligns the stack before it pushes; 5 + 2 + 15 words later it is 16-byte aligned again. */
	movq	%rsp, %rdi
	call	trap_handle
	.irp	reg, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
	popq	%\reg
	.endr
	addq	$16, %rsp
	iretq

/*
 * The two interrupts that end an idle CPU's HLT all the time, without a frame: a notification is noted, both are ended.
 * CPU_NOTIFIED is in struct cpu, which GS points to.
 */
#define CPU_NOTIFIED 32
#define LAPIC_EOI    0x0b

	.globl	trap_notify, trap_kick
trap_notify:
	movb	$1, %gs:CPU_NOTIFIED
trap_kick:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	xorl	%eax, %eax
	xorl	%edx, %edx
	movq	lapic_page, %rcx
	testq	%rcx, %rcx
	jz	1f
	movl	%eax, LAPIC_EOI * 16(%rcx)
	jmp	2f
1:	movl	$0x800 + LAPIC_EOI, %ecx
	wrmsr
2:	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

	.section .note.GNU-stack, "", @progbits
