/* SPDX-License-Identifier: MIT */
/* The few functions of <string.h> that a freestanding C compiler may call or that a parser needs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/* The number of `size` bytes, at most 8, that stands at an offset in a file or table. */
static inline uint64_t number_at(const void *bytes, uint64_t at, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, (const char *)bytes + at, size);
	return value;
}
