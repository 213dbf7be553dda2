/* SPDX-License-Identifier: MIT */
/* From GRUB to C: the multiboot2 header, and the way from 32-bit protected mode to long mode. */

#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6
#define MULTIBOOT2_INFO_MAGIC   0x36d76289
#define COM1                    0x3f8

#define BOOT_STACK_OFFSET       0x5000  /* end of boot_stacks.normal; segments.c asserts it */

	.section .multiboot2, "a"
	.balign 8
header:
	.long	MULTIBOOT2_HEADER_MAGIC
	.long	0
	.long	header_end - header
	.long	-(MULTIBOOT2_HEADER_MAGIC + 0 + (header_end - header))
	/* Information that we cannot do without: command line, modules, memory map. */
	.balign 8
	.word	1, 0
	.long	20
	.long	1, 3, 6
	/* Modules start on a page: guests' images are then not mixed with anything else. */
	.balign 8
	.word	6, 0
	.long	8
	.balign 8
	.word	0, 0
	.long	8
header_end:

	.section .text.boot, "ax"
	.code32
	.globl boot_entry
boot_entry:
	cli
	cld
	movl	$(boot_stacks + BOOT_STACK_OFFSET), %esp
	movl	%eax, %edi
	movl	%ebx, %esi

	cmpl	$MULTIBOOT2_INFO_MAGIC, %edi
	movl	$no_multiboot2, %ebp
	jne	boot_refuse

	/* SDM vol. 1, "Processor Identification and Feature Determination": ID can be flipped iff CPUID exists. */
	movl	$no_long_mode, %ebp
	pushfl
	popl	%eax
	movl	%eax, %ecx
	xorl	$(1 << 21), %eax
	pushl	%eax
	popfl
	pushfl
	popl	%eax
	cmpl	%eax, %ecx
	je	boot_refuse

	movl	$0x80000000, %eax
	cpuid
	cmpl	$0x80000001, %eax
	jb	boot_refuse
	movl	$0x80000001, %eax
	cpuid
	btl	$29, %edx
	jnc	boot_refuse

	/* The first 4 GiB by 2 MiB pages, all rights: paging.c builds the tables that last. */
	movl	$boot_directories, %ebx
	movl	$0x83, %eax
1:	movl	%eax, (%ebx)
	addl	$8, %ebx
	addl	$0x200000, %eax
	jnc	1b

	movl	$(boot_directories + 3), %eax
	movl	$boot_pointers, %ebx
2:	movl	%eax, (%ebx)
	addl	$8, %ebx
	addl	$4096, %eax
	cmpl	$(boot_directories + 4 * 4096), %eax
	jb	2b
	movl	$(boot_pointers + 3), boot_root

	/* SDM vol. 3, "Initializing IA-32e Mode": PAE, CR3, LME, then paging. */
	movl	%cr4, %eax
	orl	$(1 << 5), %eax
	movl	%eax, %cr4
	movl	$boot_root, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$(1 << 8), %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000001, %eax
	movl	%eax, %cr0
	lgdt	boot_gdt_pointer
	ljmpl	$0x08, $boot_long

	.code64
boot_long:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%esi, %edi
	call	boot_main
3:	cli
	hlt
	jmp	3b

	/*
	 * Says why we cannot start (text at EBP) on COM1, then halts. There is no C here yet, and the way to end an
	 * emulator's run stands in the command line, which only C reads.
	 */
	.code32
boot_refuse:
	movl	$uart_setup, %esi
4:	movzwl	(%esi), %edx
	movb	2(%esi), %al
	outb	%al, %dx
	addl	$3, %esi
	cmpl	$uart_setup_end, %esi
	jb	4b
5:	movb	(%ebp), %bl
	testb	%bl, %bl
	jz	8f
	/* The wait is bounded, for a machine without the UART. */
	movl	$100000, %ecx
	movw	$(COM1 + 5), %dx
6:	inb	%dx, %al
	testb	$0x20, %al
	jnz	7f
	pause
	decl	%ecx
	jnz	6b
7:	movw	$COM1, %dx
	movb	%bl, %al
	outb	%al, %dx
	incl	%ebp
	jmp	5b
8:	cli
	hlt
	jmp	8b

	.section .rodata
no_multiboot2:
	.asciz	"[  0.000000] config: not started by multiboot2: use multiboot2 and module2 in grub.cfg\r\n"
no_long_mode:
	.asciz	"[  0.000000] hv:     this CPU has no long mode: use a 64-bit Intel CPU with VT-x\r\n"

	/* Port and byte: 115,200 baud, 8n1, FIFO on, no interrupts. */
uart_setup:
	.word	COM1 + 1
	.byte	0x00
	.word	COM1 + 3
	.byte	0x80
	.word	COM1 + 0
	.byte	0x01
	.word	COM1 + 1
	.byte	0x00
	.word	COM1 + 3
	.byte	0x03
	.word	COM1 + 2
	.byte	0x07
uart_setup_end:

	/* Also the other CPUs' first GDT. Accessed bits are set beforehand: this is read-only once paging lasts. */
	.balign 8
	.globl boot_gdt
boot_gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
boot_gdt_end:
	.globl boot_gdt_pointer
boot_gdt_pointer:
	.word	boot_gdt_end - boot_gdt - 1
	.long	boot_gdt

	.section .bss
	.balign 4096
boot_root:
	.skip	4096
boot_pointers:
	.skip	4096
boot_directories:
	.skip	4 * 4096

	.section .note.GNU-stack, "", @progbits
