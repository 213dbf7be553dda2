/* SPDX-License-Identifier: MIT */
/* The 256 entries of the IDT, and the two halves of catching an exception. */
#include "guest-stubs/lib/layout.h"

	.text
	.balign 16
	.globl trap_entries
trap_entries:
	.set vector, 0
	.rept 256
	.balign 16
	/* SDM vol. 3, "Exception and Interrupt Reference": these push an error code, the others do not. */
	.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
	.else
	push $0
	.endif
	push $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

#ifdef __x86_64__
trap_common:
	push %r15
	push %r14
	push %r13
	push %r12
	push %r11
	push %r10
	push %r9
	push %r8
	push %rdi
	push %rsi
	push %rbp
	push %rbx
	push %rdx
	push %rcx
	push %rax
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap_dispatch
	mov %rbp, %rsp
	pop %rax
	pop %rcx
	pop %rdx
	pop %rbx
	pop %rbp
	pop %rsi
	pop %rdi
	pop %r8
	pop %r9
	pop %r10
	pop %r11
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	add $16, %rsp
	iretq

	/* int trap_try(unsigned long *sp, void (*fn)(void *), void *arg): -1, or what trap_resume() was given. */
	.globl trap_try
trap_try:
	pushfq
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, (%rdi)
	mov %rdx, %rdi
	call *%rsi
	mov $-1, %eax
try_done:
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	popfq
	ret

	/* void trap_resume(unsigned long sp, int value): goes back into the trap_try() that noted sp. */
	.globl trap_resume
trap_resume:
	mov %rdi, %rsp
	mov %esi, %eax
	jmp try_done
#else
trap_common:
	pusha
	cld
	push %esp
	call trap_dispatch
	add $4, %esp
	popa
	add $8, %esp
	iret

	.globl trap_try
trap_try:
	pushf
	push %ebx
	push %ebp
	push %esi
	push %edi
	mov 24(%esp), %eax
	mov %esp, (%eax)
	push 32(%esp)
	call *32(%esp)
	add $4, %esp
	mov $-1, %eax
try_done:
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	popf
	ret

	.globl trap_resume
trap_resume:
	mov 8(%esp), %eax
	mov 4(%esp), %esp
	jmp try_done
#endif

	.section .note.GNU-stack, "", @progbits
