/* SPDX-License-Identifier: MIT */
/* Numbers that C and assembly share. */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define MAX_CPUS   16
#define CPU_STACK  16384 /* also its alignment: struct cpu lies at the lower end */
#define TRAMPOLINE 0x8000

#define SEL_CODE32    0x08
#define SEL_DATA      0x10
#define SEL_CODE64    0x18
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS       0x30

#endif
