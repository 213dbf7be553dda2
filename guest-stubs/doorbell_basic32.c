/* SPDX-License-Identifier: MIT */
/* BITS: 32 */
/* The same as doorbell_basic.c, from 32-bit code. */
#include "guest-stubs/doorbell_basic.c"
