/* SPDX-License-Identifier: MIT */
/* The log: lines of one writer at a time, and the two ways to stop with a message. */
#include "kernel/log.h"

#include "kernel/spinlock.h"

#define LINE_SIZE  320
#define PANIC_SIZE 1600

/* Guards the console's bytes only. It nests inside nothing. */
static struct spinlock console_lock;

/* The prefix of the line that is not finished, NULL: there is none; under console_lock. */
static const char *unfinished;

/* How many have called panic(); written by any CPU. */
static _Atomic unsigned panics;

/* With a carriage return before each line's end, which a terminal on a serial line needs. */
static void put(char c)
{
	if (c == '\n')
		console_put('\r');
	console_put(c);
}

static void put_text(const char *text)
{
	while (*text)
		put(*text++);
}

static void begin_line(const char *prefix)
{
	if (unfinished)
		put('\n');
	unfinished = NULL;
	put_text(prefix);
}

static void put_line(enum log_level level, const char *text)
{
	static const char *const names[] = {
		[LOG_HV] = "hv:", [LOG_GUEST] = "guest:", [LOG_CONFIG] = "config:"
	};
	/* Before the TSC's rate is known every line is at 0. */
	uint64_t hz = tsc_hz ? tsc_hz : 1, ticks = tsc_hz ? tsc_now() - tsc_boot : 0;
	char head[40];

	format_text(head, sizeof(head), "[%3lu.%06lu] %-7s ", ticks / hz, ticks % hz * 1000000 / hz,
	            names[level]);
	begin_line(head);
	put_text(text);
	put_text("\n");
}

static void log_list(enum log_level level, const char *fmt, va_list args)
{
	char text[LINE_SIZE];

	format_list(text, sizeof(text), fmt, args);
	spinlock_lock(&console_lock);
	put_line(level, text);
	spinlock_unlock(&console_lock);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_list(level, fmt, args);
	va_end(args);
}

void log_text(const char *prefix, const char *text, size_t length)
{
	spinlock_lock(&console_lock);
	if (unfinished != prefix)
		begin_line(prefix);
	for (size_t i = 0; i < length; i++)
		put(text[i]);
	unfinished = text[length - 1] == '\n' ? NULL : prefix;
	spinlock_unlock(&console_lock);
}

void refuse(enum log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_list(level, fmt, args);
	va_end(args);
	machine_end();
}

void panic(const char *fmt, ...)
{
	char text[PANIC_SIZE];
	va_list args;
	int length;

	/* A CPU that panics while another does, or in its own panic, has nothing to add. */
	if (atomic_fetch_add_explicit(&panics, 1, memory_order_relaxed) != 0)
		cpu_stop();
	cpu_stop_others();
	length = format_text(text, sizeof(text), "panic: ");
	va_start(args, fmt);
	format_list(text + length, sizeof(text) - (size_t)length, fmt, args);
	va_end(args);
	/* No lock: its holder may be stopped by now, or be this CPU. A torn line before is the lesser evil. */
	put_text("\n");
	put_line(LOG_HV, text);
	machine_end();
}
