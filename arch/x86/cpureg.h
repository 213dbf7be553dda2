/* SPDX-License-Identifier: MIT */
/* Control registers, MSRs, CPUID bits and vectors of the physical CPU, as far as the hypervisor's own set-up
 * needs them. */
#pragma once

#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_PG (1u << 31)

#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)

#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC       0x800
#define MSR_EFER         0xc0000080
#define MSR_GS_BASE      0xc0000101

#define APIC_BASE_PAGE 0xffffff000ull

#define EFER_LME (1u << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1u << 11)

/* SDM vol. 2, "CPUID": leaf 1, leaf 7 (EBX) and leaf 0x80000001 (EDX). */
#define CPUID_1_ECX_X2APIC       (1u << 21)
#define CPUID_1_ECX_TSC_DEADLINE (1u << 24)
#define CPUID_1_EDX_APIC         (1u << 9)
#define CPUID_7_EBX_SMEP         (1u << 7)
#define CPUID_7_EBX_SMAP         (1u << 20)
#define CPUID_EXT_EDX_NX         (1u << 20)
#define CPUID_EXT_EDX_RDTSCP     (1u << 27)

/* What the hypervisor itself uses of the vectors; CPU_KICK is above them, so that it is served first. */
#define VECTOR_PIC      0xe0 /* and seven more: the first 8259, of which only COM1's line is open */
#define VECTOR_TIMER    0xf0
#define VECTOR_NOTIFY   0xf1 /* posted-interrupt processing */
#define VECTOR_SPURIOUS 0xff

/* The GDT of every CPU; GRUB's successor in boot/header.S has the first two as well. */
#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18
