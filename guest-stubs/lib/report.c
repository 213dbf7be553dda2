/* SPDX-License-Identifier: MIT */
/* Counts of checks, the lines about them, and the end of the run. */
#include "guest-stubs/lib/report.h"

#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"

#define BOCHS_PORT 0x8900 /* the emulator ends when it has read `Shutdown` here */

static volatile unsigned passed, failed, skipped;

static void line(const char *word, const char *reason, const char *fmt, va_list args)
{
	char text[160];

	print_to(text, sizeof(text), fmt, args);
	if (reason)
		printf("%s %s: %s [%s]\n", word, guest_name, text, reason);
	else
		printf("%s %s: %s\n", word, guest_name, text);
}

bool report_check(bool good, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	line(good ? "PASS" : "FAIL", NULL, fmt, args);
	va_end(args);
	cpu_fetch_add(good ? &passed : &failed, 1);
	return good;
}

void report_departs(bool good, const char *reason, const char *fmt, ...)
{
	bool excused = !good && !bellhop_present();
	va_list args;

	va_start(args, fmt);
	line(excused ? "SKIP" : good ? "PASS" : "FAIL", excused ? reason : NULL, fmt, args);
	va_end(args);
	cpu_fetch_add(excused ? &skipped : good ? &passed : &failed, 1);
}

void report_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	line("SKIP", NULL, fmt, args);
	va_end(args);
	cpu_fetch_add(&skipped, 1);
}

void report_summary(void)
{
	printf("SUMMARY %s %u passed, %u failed, %u skipped\n", guest_name, passed, failed, skipped);
	print_drain();
}

void report_end(void)
{
	report_summary();
	if (bellhop_present())
		bellhop_call1(BH_EXIT, failed != 0);
	for (const char *s = "Shutdown"; *s; s++)
		cpu_outb(BOCHS_PORT, (uint8_t)*s);
	for (;;)
		__asm__ volatile("cli; hlt");
}
