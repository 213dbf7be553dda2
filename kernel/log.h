/* SPDX-License-Identifier: MIT */
/* Log lines on the machine's console: a time, and a level that says who is to blame. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

/*
 * LOG_HV: the hypervisor speaks of itself or of the machine. LOG_GUEST: a guest did something; rate-limited per
 * VM by the caller's budget so that a guest cannot flood the log. LOG_CONFIG: what the operator wrote is wrong.
 */
enum log_level { LOG_HV, LOG_GUEST, LOG_CONFIG };

/*
 * Writes one line, "[  0.123456] hv: text". Any CPU, not under another spinlock's protection for long: it takes the
 * console's own lock, which nests inside nothing. printf subset: %s %u %x %%, l, ll, z, width, '-', '0'.
 */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Writes a guest's serial output under the console's lock, `length` at least 1, as it is but for the `prefix` that every
 * line begins with. A line that `text` does not end goes on with the next text of the same prefix (the same pointer),
 * unless somebody else wrote in between: that ends it. Any CPU.
 */
void log_text(const char *prefix, const char *text, size_t length);

/* A demand of ours is not met or the configuration is wrong: one line that names it, and a clean stop. */
_Noreturn void refuse(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Our own invariant is broken: the message, then every CPU stops. Never reachable from guest input. */
_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* vsnprintf() of the same subset. Returns the length that the whole text has; always terminated if size > 0. */
int format_text(char *buffer, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int format_list(char *buffer, size_t size, const char *fmt, va_list args);
