/* SPDX-License-Identifier: MIT */
/* Text from a format: the subset of printf() that the log needs. Pure C. */
#include "kernel/log.h"

#include <stdbool.h>
#include <stdint.h>

/* Where the text goes. `length` counts on past `size`, so that the caller learns what the whole text needs.
 */
struct sink {
	char *buffer;
	size_t size;
	size_t length;
};

/* One conversion: %[-][0][width][.precision][l|ll|z]letter. */
struct spec {
	bool left;
	bool zero;
	int width;
	int precision; /* of %s only; negative: none */
	int longs;     /* 0: int, 1 and more: 64 bits */
};

static void sink_put(struct sink *sink, char c)
{
	if (sink->length + 1 < sink->size)
		sink->buffer[sink->length] = c;
	sink->length++;
}

static void sink_fill(struct sink *sink, char c, int count)
{
	for (; count > 0; count--)
		sink_put(sink, c);
}

static void put_text(struct sink *sink, const struct spec *spec, const char *text)
{
	int length = 0;

	if (!text)
		text = "(null)";
	/* The precision is looked at first: text of a given length need not be terminated. */
	while ((spec->precision < 0 || length < spec->precision) && text[length])
		length++;
	if (!spec->left)
		sink_fill(sink, ' ', spec->width - length);
	for (int i = 0; i < length; i++)
		sink_put(sink, text[i]);
	if (spec->left)
		sink_fill(sink, ' ', spec->width - length);
}

static void put_number(struct sink *sink, const struct spec *spec, uint64_t value, unsigned base,
                       const char *sign)
{
	char digits[20];
	int count = 0, length = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (sign[length])
		length++;
	if (!spec->left && !spec->zero)
		sink_fill(sink, ' ', spec->width - count - length);
	for (const char *s = sign; *s; s++)
		sink_put(sink, *s);
	if (!spec->left && spec->zero)
		sink_fill(sink, '0', spec->width - count - length);
	for (int i = count; i > 0; i--)
		sink_put(sink, digits[i - 1]);
	if (spec->left)
		sink_fill(sink, ' ', spec->width - count - length);
}

static int read_number(const char **at)
{
	int n = 0;

	while (**at >= '0' && **at <= '9' && n < 10000)
		n = n * 10 + (*(*at)++ - '0');
	return n;
}

/* Reads what stands between '%' and the letter; returns where the letter is. */
static const char *read_spec(const char *at, struct spec *spec, va_list *args)
{
	*spec = (struct spec){ .precision = -1 };
	for (; *at == '-' || *at == '0'; at++) {
		spec->left |= *at == '-';
		spec->zero |= *at == '0';
	}
	spec->width = read_number(&at);
	if (*at == '.') {
		at++;
		if (*at == '*') {
			spec->precision = va_arg(*args, int);
			at++;
		} else {
			spec->precision = read_number(&at);
		}
	}
	for (; *at == 'l' || *at == 'z'; at++)
		spec->longs++;
	return at;
}

static void put_signed(struct sink *sink, const struct spec *spec, va_list *args)
{
	int64_t value = spec->longs ? va_arg(*args, long) : va_arg(*args, int);

	if (value < 0)
		put_number(sink, spec, 0 - (uint64_t)value, 10, "-");
	else
		put_number(sink, spec, (uint64_t)value, 10, "");
}

/* The text of one conversion; false where the letter is none that we know. */
static bool put_conversion(struct sink *sink, const struct spec *spec, char letter, va_list *args)
{
	switch (letter) {
	case 's':
		put_text(sink, spec, va_arg(*args, const char *));
		return true;
	case 'c':
		sink_put(sink, (char)va_arg(*args, int));
		return true;
	case 'd':
	case 'i':
		put_signed(sink, spec, args);
		return true;
	case 'u':
	case 'x':
		put_number(sink, spec, spec->longs ? va_arg(*args, unsigned long) : va_arg(*args, unsigned),
		           letter == 'x' ? 16 : 10, "");
		return true;
	case 'p':
		put_number(sink, spec, (uintptr_t)va_arg(*args, void *), 16, "0x");
		return true;
	case '%':
		sink_put(sink, '%');
		return true;
	default:
		return false;
	}
}

int format_list(char *buffer, size_t size, const char *fmt, va_list args)
{
	struct sink sink = { .buffer = buffer, .size = size };
	va_list copy;

	/* A va_list parameter may be an array type, whose address is not that of a va_list: a copy always is
	 * one. */
	va_copy(copy, args);
	for (const char *at = fmt; *at; at++) {
		struct spec spec;
		const char *letter;

		if (*at != '%') {
			sink_put(&sink, *at);
			continue;
		}
		letter = read_spec(at + 1, &spec, &copy);
		/* An unknown letter is shown as it stands: the arguments after it can no longer be told
		 * apart. */
		if (!put_conversion(&sink, &spec, *letter, &copy)) {
			for (; *at; at++)
				sink_put(&sink, *at);
			break;
		}
		at = letter;
	}
	va_end(copy);
	if (size)
		buffer[sink.length < size ? sink.length : size - 1] = '\0';
	return (int)sink.length;
}

int format_text(char *buffer, size_t size, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = format_list(buffer, size, fmt, args);
	va_end(args);
	return length;
}
