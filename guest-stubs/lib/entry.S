/* SPDX-License-Identifier: MIT */
/* From the multiboot(1) entry, and from an application processor's SIPI, to C. */
#include "guest-stubs/lib/layout.h"

	.section .multiboot, "a"
	.balign 4
	/* Flags: modules on pages, memory sizes wanted. */
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.section .text.entry, "ax"
	.code32
	.weak _start
_start:
	cli
	cld
	movl $cpu_stacks + CPU_STACK, %esp
	movl %eax, boot_magic
	movl %ebx, boot_info
	lgdt gdt_pointer
	ljmp $SEL_CODE32, $1f
1:	call load_segments
#ifdef __x86_64__
	call build_tables
	call enter_long
	ljmp $SEL_CODE64, $start64
#else
	call cpu_boot_main
	jmp halt
#endif

	/* An application processor arrives here from the trampoline, in protected mode; the starter left its stack. */
ap_start:
	movw $SEL_DATA, %ax
	movw %ax, %ss
	movw %ax, %ds
	movl ap_stack, %esp
	call load_segments
#ifdef __x86_64__
	call enter_long
	ljmp $SEL_CODE64, $ap_start64
#else
	call cpu_ap_main
	jmp halt
#endif

load_segments:
	movw $SEL_DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw %ax, %fs
	movw %ax, %gs
	ret

#ifdef __x86_64__
	/* 4 GiB, virtual = physical, user pages all: CPL 3 code of the tests lies in the same image. */
build_tables:
	movl $page_dirs + 7, %eax
	movl $page_pointers, %edi
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	cmpl $page_pointers + 4 * 8, %edi
	jne 1b
	movl $page_pointers + 7, page_root
	movl $0x87, %eax
	movl $page_dirs, %edi
2:	movl %eax, (%edi)
	cmpl $0xc0000000, %eax
	jb 3f
	orl $0x18, (%edi)	/* the top GiB has the controllers: uncached */
3:	addl $8, %edi
	addl $0x200000, %eax
	jnc 2b
	ret

enter_long:
	movl %cr4, %eax
	orl $0x20, %eax		/* PAE */
	movl %eax, %cr4
	movl $page_root, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax	/* LME */
	wrmsr
	movl %cr0, %eax
	orl $0x80000001, %eax
	movl %eax, %cr0
	ret

	.code64
start64:
	movl $cpu_stacks + CPU_STACK, %esp
	call cpu_boot_main
	jmp halt
ap_start64:
	movl ap_stack, %esp
	call cpu_ap_main
#endif

halt:	cli
	hlt
	jmp halt

	/* Copied to TRAMPOLINE; CS has that base after the SIPI, every other address is absolute. */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl TRAMPOLINE + (trampoline_gdt - trampoline)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $ap_start
	.balign 4
trampoline_gdt:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:

	.data
	.balign 16
	.globl gdt
gdt:	.quad 0
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad 0x00cf93000000ffff	/* SEL_DATA */
	.quad 0x00af9b000000ffff	/* SEL_CODE64 */
	.quad 0x00cff3000000ffff	/* SEL_USER_DATA */
	.quad 0x00affb000000ffff	/* SEL_USER_CODE */
	.quad 0, 0			/* SEL_TSS: filled in by user.c */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt

	.bss
	.balign CPU_STACK
	.globl cpu_stacks
cpu_stacks:
	.skip MAX_CPUS * CPU_STACK
	.balign 4096
#ifdef __x86_64__
page_root:
	.skip 4096
page_pointers:
	.skip 4096
page_dirs:
	.skip 4 * 4096
#endif
	.globl boot_magic, boot_info, ap_stack
boot_magic:
	.skip 4
boot_info:
	.skip 4
ap_stack:
	.skip 4

	.section .note.GNU-stack, "", @progbits
