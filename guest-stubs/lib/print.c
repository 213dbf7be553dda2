/* SPDX-License-Identifier: MIT */
/* A small printf on the polled UART. */
#include "guest-stubs/lib/print.h"

#include "guest-stubs/lib/cpu.h"

#define COM1 0x3f8
#define DATA (COM1 + 0)
#define IER  (COM1 + 1)
#define FCR  (COM1 + 2)
#define LCR  (COM1 + 3)
#define MCR  (COM1 + 4)
#define LSR  (COM1 + 5)

#define LCR_8N1     0x03
#define LCR_DIVISOR 0x80
#define FCR_CLEAR   0x07
#define LSR_ROOM    0x20
#define LSR_EMPTY   0x40

static volatile unsigned lock;

void print_init(void)
{
	cpu_outb(IER, 0);
	cpu_outb(LCR, LCR_DIVISOR | LCR_8N1);
	cpu_outb(DATA, 1);
	cpu_outb(IER, 0);
	cpu_outb(LCR, LCR_8N1);
	cpu_outb(FCR, FCR_CLEAR);
	cpu_outb(MCR, 3);
}

static void put(char c)
{
	while (!(cpu_inb(LSR) & LSR_ROOM))
		cpu_pause();
	cpu_outb(DATA, (uint8_t)c);
}

void print_drain(void)
{
	while (!(cpu_inb(LSR) & LSR_EMPTY))
		cpu_pause();
}

void print_unlock_all(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

uint64_t print_divide(uint64_t n, uint32_t d, uint32_t *rem)
{
	uint32_t high = (uint32_t)(n >> 32), low = (uint32_t)n, r = high % d;

	/* DIV of EDX:EAX cannot overflow here: the remainder in EDX is below the divisor. */
	__asm__("divl %2" : "+a"(low), "+d"(r) : "r"(d) : "cc");
	if (rem)
		*rem = r;
	return (uint64_t)(high / d) << 32 | low;
}

/* What stands between the % and its letter. */
struct spec {
	bool left;
	char fill;
	unsigned width;
	unsigned longs;
};

struct sink {
	char *buffer;
	size_t size, used;
};

static void emit(struct sink *sink, char c)
{
	if (sink->used + 1 < sink->size)
		sink->buffer[sink->used++] = c;
}

static void emit_padded(struct sink *sink, const struct spec *spec, const char *text, size_t n)
{
	size_t pad = spec->width > n ? spec->width - n : 0;

	for (size_t i = 0; !spec->left && i < pad; i++)
		emit(sink, spec->fill);
	for (size_t i = 0; i < n; i++)
		emit(sink, text[i]);
	for (size_t i = 0; spec->left && i < pad; i++)
		emit(sink, ' ');
}

static void emit_number(struct sink *sink, const struct spec *spec, uint64_t n, uint32_t base, bool minus)
{
	char digits[24];
	size_t at = sizeof(digits);
	uint32_t digit;

	do {
		n = print_divide(n, base, &digit);
		digits[--at] = "0123456789abcdef"[digit];
	} while (n);
	if (minus)
		digits[--at] = '-';
	emit_padded(sink, spec, digits + at, sizeof(digits) - at);
}

static const char *parse_spec(const char *fmt, struct spec *spec)
{
	*spec = (struct spec){ .fill = ' ' };
	for (; *fmt == '-' || *fmt == '0'; fmt++) {
		if (*fmt == '-')
			spec->left = true;
		else
			spec->fill = '0';
	}
	for (; *fmt >= '0' && *fmt <= '9'; fmt++)
		spec->width = spec->width * 10 + (unsigned)(*fmt - '0');
	for (; *fmt == 'l'; fmt++)
		spec->longs++;
	return fmt;
}

size_t print_to(char *buffer, size_t size, const char *fmt, va_list args)
{
	struct sink sink = { buffer, size, 0 };
	struct spec spec;

	for (; *fmt; fmt++) {
		const char *text;
		uint64_t n;
		char c;

		if (*fmt != '%') {
			emit(&sink, *fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &spec);
		if (*fmt == 's') {
			text = va_arg(args, const char *);
			emit_padded(&sink, &spec, text, strlen(text));
		} else if (*fmt == 'c') {
			c = (char)va_arg(args, int);
			emit_padded(&sink, &spec, &c, 1);
		} else if (*fmt == 'd') {
			int64_t i = spec.longs > 1 ? va_arg(args, long long)
			            : spec.longs   ? va_arg(args, long)
			                           : va_arg(args, int);

			emit_number(&sink, &spec, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, 10, i < 0);
		} else if (*fmt == 'u' || *fmt == 'x') {
			n = spec.longs > 1 ? va_arg(args, unsigned long long)
			    : spec.longs   ? va_arg(args, unsigned long)
			                   : va_arg(args, unsigned);
			emit_number(&sink, &spec, n, *fmt == 'u' ? 10 : 16, false);
		} else {
			emit(&sink, *fmt);
		}
	}
	buffer[sink.used] = 0;
	return sink.used;
}

size_t print_text(char *buffer, size_t size, const char *fmt, ...)
{
	va_list args;
	size_t n;

	va_start(args, fmt);
	n = print_to(buffer, size, fmt, args);
	va_end(args);
	return n;
}

void print_args(const char *fmt, va_list args)
{
	char line[256];
	size_t n = print_to(line, sizeof(line), fmt, args);

	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		cpu_pause();
	for (size_t i = 0; i < n; i++)
		put(line[i]);
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

void printf(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	print_args(fmt, args);
	va_end(args);
}
