/* SPDX-License-Identifier: MIT */
/* What the two halves of the contract's test share. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <stdbool.h>
#include <stdint.h>

#include "guest-stubs/lib/db.h"

#define VCPUS  4
#define GROUP  2
#define VECTOR 0x62 /* of the group on `native`, and of the callback lines */

/* Handlers run, by VCPU; each writes its own. */
extern volatile unsigned handled[VCPUS];

unsigned handled_sum(void);

/* who.c: line 6, in a VM that has a peer, and its end of the peer's side. */
void who_may_ring(void);
void who_peer(void) __attribute__((noreturn));

#endif
