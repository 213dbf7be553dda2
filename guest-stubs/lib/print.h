/* SPDX-License-Identifier: MIT */
/* Text on COM1, and the few functions that the compiler expects of a C library. */
#ifndef GUEST_PRINT_H
#define GUEST_PRINT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Boot CPU, first of all: 115200 baud, 8N1, FIFO on, no interrupts. */
void print_init(void);

/*
 * %s %c %d %u %x with l or ll, a width, `-` and `0`; and %%. One call is one piece: other CPUs wait. At most 255
 * characters; the rest is cut off.
 */
void printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void print_args(const char *fmt, va_list args);
size_t print_text(char *buffer, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
size_t print_to(char *buffer, size_t size, const char *fmt, va_list args);

/* For the CPU that is about to end everything: forgets who else is printing. */
void print_unlock_all(void);

/* Waits until the last bit has left the UART. */
void print_drain(void);

/* n / d without the 64-bit division that 32-bit code has no library for; *rem may be NULL. */
uint64_t print_divide(uint64_t n, uint32_t d, uint32_t *rem);

void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

#endif
