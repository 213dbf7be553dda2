/* SPDX-License-Identifier: MIT */
/* BITS: 32 */
/* The same as hypercall.c, from 32-bit code. */
#include "guest-stubs/hypercall.c"
