/* SPDX-License-Identifier: MIT */
/* Another CPU's way from real mode to C. Copied below 1 MiB as it is: of its place only CS knows. */

#define MSR_EFER     0xc0000080
#define EFER_LME_NXE 0x900
#define CR4_PAE      0x20
#define CR0_LONG     0x80010033  /* PG WP NE ET MP PE; INIT leaves the caches off, this turns them on */

	.section .rodata
	.globl smp_trampoline, smp_trampoline_end
	.code16
smp_trampoline:
	cli
	/* SDM vol. 3, "Initializing IA-32e Mode": from real mode at once, paging and protection in one write. */
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$paging_root, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	movl	$EFER_LME_NXE, %eax
	xorl	%edx, %edx
	wrmsr
	lgdtl	%cs:(gdt_pointer - smp_trampoline)
	movl	$CR0_LONG, %eax
	movl	%eax, %cr0
	ljmpl	$0x08, $smp_long
gdt_pointer:
	.word	3 * 8 - 1
	.long	boot_gdt
smp_trampoline_end:

	.section .text
	.code64
smp_long:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	/* Who takes the ticket runs; a CPU that comes late, or was never called, finds none. */
	xorl	%eax, %eax
	xchgq	%rax, smp_ticket(%rip)
	testq	%rax, %rax
	jz	1f
	movq	(%rax), %rdi
	movq	%rax, %rsp
	call	smp_cpu_main
1:	cli
	hlt
	jmp	1b

	.section .note.GNU-stack, "", @progbits
