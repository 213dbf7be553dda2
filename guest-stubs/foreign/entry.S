/* SPDX-License-Identifier: MIT */
/* The entry of a kernel that asks its loader for nothing; its application processors, at address 0; and a trip to real mode. */
#include "guest-stubs/lib/layout.h"

#define SEL_CODE16 0x30
#define SEL_DATA16 0x38

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.section .text.entry, "ax"
	.code32
	.globl _start
_start:
	movl $cpu_stacks + CPU_STACK, %esp
	movl %eax, entry_magic
	movl %ebx, entry_info
	pushf
	popl entry_flags
	movl %cr0, %eax
	movl %eax, entry_cr0
	xorl %eax, %eax
	movl %eax, %cr4
	lgdt foreign_gdt_pointer
	ljmp $SEL_CODE32, $1f
1:	call set_segments
	call guest_main
	ud2

set_segments:
	movw $SEL_DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw %ax, %fs
	movw %ax, %gs
	ret

foreign_ap:
	movw $SEL_DATA, %ax
	movw %ax, %ss
	movw %ax, %ds
	movl $1, %eax
	lock xaddl %eax, ap_tickets
	shll $14, %eax		/* CPU_STACK */
	leal cpu_stacks + CPU_STACK(%eax), %esp
	call set_segments
	call foreign_ap_main
	ud2

	/* void foreign_real(void): to real mode, does what real_code says, and back. */
	.globl foreign_real
foreign_real:
	pusha
	cli
	sidt saved_idt
	movl %esp, saved_esp
	lidt real_idt
	movw $SEL_DATA, %ax	/* FS keeps its 4 GiB in real mode, the others get 64 KiB */
	movw %ax, %fs
	movw $SEL_DATA16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	ljmp $SEL_CODE16, $0x9000
real_return:
	movw $SEL_DATA, %ax
	movw %ax, %ds
	movw %ax, %ss
	movl saved_esp, %esp
	call set_segments
	lidt saved_idt
	popa
	ret

	/* Copied to 0x9000. */
	.code16
	.globl real_code, real_code_end, real_handler, real_soft
real_code:
	movl %cr0, %eax
	andl $~1, %eax
	movl %eax, %cr0
	ljmp $0x900, $(1f - real_code)
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x8ffe, %sp
	int $0x21
	/* The local APIC by a segment of 4 GiB: MOV, MOVZX, AND, STOS with its prefix, in 16-bit code. */
	movl $0xfee00030, %ebx
	movl %fs:(%ebx), %eax
	movl %eax, 0x9804
	movl $0xfee00380, %ebx
	movl $0x11223344, %fs:(%ebx)
	andl $0xff00ff00, %fs:(%ebx)
	movl %fs:(%ebx), %eax
	movl %eax, 0x9808
	movzwl %fs:2(%ebx), %eax
	movl %eax, 0x980c
	movl $0, %fs:(%ebx)
	/* A fixed interrupt to itself, through the table at 0. */
	movl $0xfee00300, %ebx
	movl $0x44030, %fs:(%ebx)
	sti
	nop
	nop
	cli
	/* INS and OUTS to the loop-back port, with their repetition. */
	movw $0xe0, %dx
	movw $0x9820, %si
	movw $2, %cx
	rep outsb
	movw $0x9830, %di
	movw $1, %cx
	rep insb
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $real_return
real_soft:
	incw %cs:(0x9800 - 0x9000)
	iretw
real_handler:
	incw %cs:(0x9802 - 0x9000)
	pushl %ebx
	movl $0xfee000b0, %ebx
	movl $0, %fs:(%ebx)
	popl %ebx
	iretw
real_code_end:

	/* Copied to 0: the start-up IPI has vector 0. */
	.globl ap_code, ap_code_end
ap_code:
	cli
	lgdtl %cs:(ap_pointer - ap_code)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $foreign_ap
	.balign 4
ap_pointer:
	.word 63
	.long foreign_gdt
ap_code_end:

	.data
	.balign 8
	.globl foreign_gdt
foreign_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad 0x00cf93000000ffff	/* SEL_DATA */
	.quad 0				/* filled in: a task state segment */
	.quad 0, 0
	.quad 0x00009b000000ffff	/* SEL_CODE16 */
	.quad 0x000093000000ffff	/* SEL_DATA16 */
foreign_gdt_pointer:
	.word 63
	.long foreign_gdt
real_idt:
	.word 0x3ff
	.long 0
saved_idt:
	.word 0
	.long 0

	.bss
	.balign 4
	.globl entry_magic, entry_info, entry_flags, entry_cr0, ap_tickets
entry_magic:
	.skip 4
entry_info:
	.skip 4
entry_flags:
	.skip 4
entry_cr0:
	.skip 4
saved_esp:
	.skip 4
	.data
ap_tickets:
	.long 1

	.section .note.GNU-stack, "", @progbits
