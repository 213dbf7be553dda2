/* SPDX-License-Identifier: MIT */
/* Code at CPL 3, 64-bit guests only. */
#ifndef GUEST_USER_H
#define GUEST_USER_H

/*
 * Boot CPU: runs fn() at CPL 3 on a stack of its own until it faults. Returns the vector. fn() must not return, but end in a
 * fault: UD2 will do.
 */
int user_run(void (*fn)(void));

#endif
