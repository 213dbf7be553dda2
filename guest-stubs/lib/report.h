/* SPDX-License-Identifier: MIT */
/* The report protocol: PASS, FAIL and SKIP lines, then one SUMMARY line, then the end. */
#ifndef GUEST_REPORT_H
#define GUEST_REPORT_H

#include <stdbool.h>

/* PASS or FAIL <guest>: text. Any CPU. */
#define CHECK(cond, ...) report_check((cond), __VA_ARGS__)

/* SKIP <guest>: text; says why. */
#define SKIP(...) report_skip(__VA_ARGS__)

/*
 * A check of which the emulator is known to fail natively, with the reason. There a failure is `SKIP <guest>: text [reason]`;
 * under Bellhop it is FAIL like any other.
 */
#define CHECK_DEPARTS(cond, reason, ...) report_departs((cond), (reason), __VA_ARGS__)

bool report_check(bool passed, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_departs(bool passed, const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void report_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Prints SUMMARY, then ends the VM with status 0 or 1, or natively the emulator. */
void report_end(void) __attribute__((noreturn));

/* SUMMARY alone, for a guest that ends in its own way. */
void report_summary(void);

#endif
