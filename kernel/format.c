/* SPDX-License-Identifier: MIT */
/* Text from a format: the subset of printf() that the log needs. Pure C. */
#include "kernel/log.h"

#include <stdbool.h>
#include <stdint.h>

#include "kernel/string.h"

/* Where the text goes, and the conversion at work: %[-][0][width][.precision][l|ll|z]letter. */
struct output {
	char *buffer;
	size_t size;
	size_t length; /* counts on past `size`, so that the caller learns what the whole text needs */
	bool left, zero;
	bool wide; /* 64 bits, not an int */
	int width;
	int precision; /* of %s only; negative: none */
};

static void put(struct output *out, char c)
{
	if (out->length + 1 < out->size)
		out->buffer[out->length] = c;
	out->length++;
}

static void fill(struct output *out, char c, int count)
{
	for (; count > 0; count--)
		put(out, c);
}

/* `sign` and `length` bytes of `text` in a field of the width asked for. */
static void put_field(struct output *out, const char *sign, const char *text, int length)
{
	int padding = out->width - length - (int)strlen(sign);

	if (!out->left && !out->zero)
		fill(out, ' ', padding);
	for (; *sign; sign++)
		put(out, *sign);
	if (!out->left && out->zero)
		fill(out, '0', padding);
	for (int i = 0; i < length; i++)
		put(out, text[i]);
	if (out->left)
		fill(out, ' ', padding);
}

static void put_text(struct output *out, const char *text)
{
	int length = 0;

	if (!text)
		text = "(null)";
	/* The precision is looked at first: text of a given length need not be terminated. */
	while ((out->precision < 0 || length < out->precision) && text[length])
		length++;
	put_field(out, "", text, length);
}

static void put_number(struct output *out, uint64_t value, unsigned base, const char *sign)
{
	char digits[20];
	int at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put_field(out, sign, digits + at, (int)sizeof(digits) - at);
}

/* A number that stands in the format, or "*": the next argument. */
static int read_number(const char **at, va_list *args)
{
	int n = 0;

	if (**at == '*') {
		(*at)++;
		return va_arg(*args, int);
	}
	for (; **at >= '0' && **at <= '9' && n < 10000; (*at)++)
		n = n * 10 + (**at - '0');
	return n;
}

/* Reads what stands between '%' and the letter; returns where the letter is. */
static const char *read_spec(struct output *out, const char *at, va_list *args)
{
	out->left = out->zero = out->wide = false;
	for (; *at == '-' || *at == '0'; at++)
		*(*at == '-' ? &out->left : &out->zero) = true;
	out->width = read_number(&at, args);
	out->precision = -1;
	if (*at == '.') {
		at++;
		out->precision = read_number(&at, args);
	}
	for (; *at == 'l' || *at == 'z'; at++)
		out->wide = true;
	return at;
}

/* The text of one conversion; false where the letter is none that we know. */
static bool put_conversion(struct output *out, char letter, va_list *args)
{
	int64_t value;

	switch (letter) {
	case 's':
		put_text(out, va_arg(*args, const char *));
		return true;
	case 'c':
		put(out, (char)va_arg(*args, int));
		return true;
	case 'd':
	case 'i':
		value = out->wide ? va_arg(*args, long) : va_arg(*args, int);
		put_number(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, value < 0 ? "-" : "");
		return true;
	case 'u':
	case 'x':
		put_number(out, out->wide ? va_arg(*args, unsigned long) : va_arg(*args, unsigned),
		           letter == 'x' ? 16 : 10, "");
		return true;
	case 'p':
		put_number(out, (uintptr_t)va_arg(*args, void *), 16, "0x");
		return true;
	case '%':
		put(out, '%');
		return true;
	default:
		return false;
	}
}

int format_list(char *buffer, size_t size, const char *fmt, va_list args)
{
	struct output out = { .buffer = buffer, .size = size };
	bool known = true;
	va_list copy;

	/* A va_list parameter may be an array type, whose address is not that of a va_list: a copy always is one. */
	va_copy(copy, args);
	for (const char *at = fmt; *at; at++) {
		const char *letter = *at == '%' && known ? read_spec(&out, at + 1, &copy) : NULL;

		/* After an unknown letter all is shown as it stands: the arguments can no longer be told apart. */
		known = known && (!letter || put_conversion(&out, *letter, &copy));
		if (letter && known)
			at = letter;
		else
			put(&out, *at);
	}
	va_end(copy);
	if (size)
		buffer[out.length < size ? out.length : size - 1] = '\0';
	return (int)out.length;
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
