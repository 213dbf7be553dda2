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
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rbp
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	/* The CPU aligns the stack before it pushes; 5 + 2 + 15 words later it is 16-byte aligned again. */
	movq	%rsp, %rdi
	call	trap_handle
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbp
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
