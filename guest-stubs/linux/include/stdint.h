/* SPDX-License-Identifier: MIT */
/* The one header that the ABI's includes, where there is no C library: the kernel has the same names elsewhere. */
#ifndef DOORBELL_STDINT_H
#define DOORBELL_STDINT_H

#include <linux/types.h>

#endif
