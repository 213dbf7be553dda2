/* SPDX-License-Identifier: MIT */
/* BITS: 32 */
/* The same as apic_page.c, from 32-bit code. */
#include "guest-stubs/apic_page.c"
