/* SPDX-License-Identifier: MIT */
/* The multiboot2 header, and the ways to 64-bit C: the boot CPU's from GRUB, the others' from real mode. */

#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6
#define MULTIBOOT2_INFO_MAGIC   0x36d76289
#define COM1                    0x3f8
#define CR0_PE                  (1 << 0)
#define CR0_PG                  (1 << 31)
#define CR4_PAE                 (1 << 5)
#define MSR_EFER                0xc0000080
#define EFER_LME                (1 << 8)
#define LONG_MODE               29      /* bit of EDX, CPUID leaf 0x80000001 */
#define BOOT_STACK_OFFSET       0x5000  /* end of the first of boot_stacks; cpu.c asserts it */

	.section .multiboot2, "a"
	.balign 8
header:
	.long	MULTIBOOT2_HEADER_MAGIC, 0, header_end - header
	.long	-(MULTIBOOT2_HEADER_MAGIC + 0 + (header_end - header))
	/* Information that we cannot do without: command line, modules, memory map. */
	.word	1, 0
	.long	20, 1, 3, 6
	/* Modules start on a page: guests' images are then not mixed with anything else. */
	.balign 8
	.word	6, 0
	.long	8
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
	movl	%ebx, %edi
	movl	$no_multiboot2, %esi
	cmpl	$MULTIBOOT2_INFO_MAGIC, %eax
	jne	refuse
	movl	$no_long_mode, %esi
	movl	$0x80000000, %eax
	cpuid
	cmpl	$0x80000001, %eax
	jb	refuse
	movl	$0x80000001, %eax
	cpuid
	btl	$LONG_MODE, %edx
	jnc	refuse
	movl	$boot_cpu, %ebp

	/* Every CPU, in flat 32-bit mode. SDM vol. 3, "Initializing IA-32e Mode": PAE, CR3, LME, then paging. */
enter_long_mode:
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$boot_root, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$(CR0_PG | CR0_PE), %eax
	movl	%eax, %cr0
	lgdt	boot_gdt_pointer
	ljmpl	$0x08, $long_mode

	.code64
long_mode:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%ebp, %ebp
	jmp	*%rbp

boot_cpu:
	movl	%edi, %edi
	call	boot_main

other_cpu:
	/* Who takes the ticket runs; a CPU that comes late, or was never called, finds none. */
	xorl	%edi, %edi
	xchgq	%rdi, smp_ticket(%rip)
	testq	%rdi, %rdi
	jz	halt
	movq	8(%rdi), %rsp                   /* stack_top: smp.c asserts its place */
	call	smp_cpu_main

	/* Another CPU's first instructions, copied below 1 MiB as they are: of their place only CS knows. */
	.code16
	.globl smp_trampoline, smp_trampoline_end
smp_trampoline:
	cli
	lgdtl	%cs:(boot_gdt_pointer - smp_trampoline)
	movl	$CR0_PE, %eax                   /* INIT leaves the caches off, this turns them on */
	movl	%eax, %cr0
	ljmpl	$0x18, $1f
boot_gdt_pointer:
	.word	boot_gdt_end - boot_gdt - 1
	.long	boot_gdt
smp_trampoline_end:
	.code32
1:	movl	$0x10, %eax
	movl	%eax, %ds
	movl	$other_cpu, %ebp
	jmp	enter_long_mode

	.macro	out port, value
	movw	$\port, %dx
	movb	$\value, %al
	outb	%al, %dx
	.endm

	/*
	 * Says why we cannot start (text at ESI) on COM1 at 115,200 baud, then halts. There is no C here yet, and the
	 * way to end an emulator's run stands in the command line, which only C reads.
	 */
refuse:
	out	COM1+3, 0x80
	out	COM1+0, 0x01
	out	COM1+1, 0x00
	out	COM1+3, 0x03
	out	COM1+2, 0x07
2:	movb	(%esi), %bl
	testb	%bl, %bl
	jz	halt
	/* The wait is bounded, for a machine without the UART. */
	movl	$100000, %ecx
	movw	$(COM1 + 5), %dx
3:	inb	%dx, %al
	testb	$0x20, %al
	loopz	3b
	movw	$COM1, %dx
	movb	%bl, %al
	outb	%al, %dx
	incl	%esi
	jmp	2b
	/* The same instructions in 32-bit and in 64-bit mode. */
halt:	cli
	hlt
	jmp	halt

	.section .rodata
no_multiboot2:
	.asciz	"[  0.000000] config: not started by multiboot2: use multiboot2 and module2 in grub.cfg\r\n"
no_long_mode:
	.asciz	"[  0.000000] hv:     this CPU has no long mode: use a 64-bit Intel CPU with VT-x\r\n"

	/* Null, 64-bit code, data, 32-bit code; accessed already, as they are constants under paging.c's tables. */
	.balign 8
boot_gdt:
	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
boot_gdt_end:

	/* The first 4 GiB by 2 MiB pages, all rights, until each CPU loads paging.c's tables. */
	.data
	.balign 4096
boot_root:
	.quad	boot_pointers + 3
	.balign 4096
boot_pointers:
	.irp	page, 0, 1, 2, 3
	.quad	boot_directories + \page * 4096 + 3
	.endr
	.balign 4096
boot_directories:
	.set	entry, 0x83
	.rept	4 * 512
	.quad	entry
	.set	entry, entry + 0x200000
	.endr

	.section .note.GNU-stack, "", @progbits
