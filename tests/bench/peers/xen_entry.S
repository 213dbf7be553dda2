/* SPDX-License-Identifier: MIT */
/* Where Xen starts a PVH domain, in 32-bit mode without paging; from there to 64-bit mode, 4 GiB mapped one to one. */

/* XEN_ELFNOTE_PHYS32_ENTRY: name, 4 bytes of value, type 18. */
	.section .note.Xen, "a", @note
	.align 4
	.long 4, 4, 18
	.asciz "Xen"
	.long _start

	.section .start, "ax"
	.code32
	.globl _start
_start:
	cli
	mov $stack_first, %esp
	mov $directories, %edi
	mov $0x83, %eax
	mov $2048, %ecx
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $0x200000, %eax
	add $8, %edi
	dec %ecx
	jnz 1b
	movl $directories + 0x0003, pdpt
	movl $directories + 0x1003, pdpt + 8
	movl $directories + 0x2003, pdpt + 16
	movl $directories + 0x3003, pdpt + 24
	movl $pdpt + 3, xen_pml4
	mov $0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $xen_pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx		/* EFER.LME */
	mov $0x100, %eax
	xor %edx, %edx
	wrmsr
	mov $0x80000033, %eax		/* PG, PE, MP, ET, NE */
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $first

	.code64
first:
	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $stack_first, %rsp
	call guest_first

/* VCPU 1 begins in 64-bit mode, with what VCPUOP_initialise gave it. */
	.globl xen_second
xen_second:
	lgdt gdt_pointer
	push $8
	push $1f
	lretq
1:	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	call guest_second

	.data
	.align 16
gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word 23
	.quad gdt

	.bss
	.align 4096
	.globl xen_pml4, xen_shared, xen_stack_second
xen_pml4:
	.skip 4096
pdpt:
	.skip 4096
directories:
	.skip 4 * 4096
xen_shared:
	.skip 4096
	.skip 16384
stack_first:
	.skip 16384
xen_stack_second:
