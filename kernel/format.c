/* SPDX-License-Identifier: MIT */
/* Text from a format: the subset of printf() that the log needs. Pure C. */
#include "kernel/log.h"

#include <stdbool.h>
#include <stdint.h>

#include "kernel/string.h"

/* Where the text goes, and the conversion at work: %[-][0][width][l|ll|z]letter. */
struct output {
	char *buffer;
	size_t size;
	size_t length; /* counts on past `size`, so that the caller learns what the whole text needs */
	bool left, zero;
	bool wide; /* 64 bits, not an int */
	size_t width;
};

static void put(struct output *out, char c)
{
	if (out->length + 1 < out->size)
		out->buffer[out->length] = c;
	out->length++;
}

/* The text in a field of the width asked for. */
static void put_text(struct output *out, const char *text)
{
	size_t length;

	if (!text)
		text = "(null)";
	length = strlen(text);
	for (size_t i = length; !out->left && i < out->width; i++)
		put(out, out->zero ? '0' : ' ');
	for (size_t i = 0; i < length; i++)
		put(out, text[i]);
	for (size_t i = length; out->left && i < out->width; i++)
		put(out, ' ');
}

static void put_number(struct output *out, uint64_t value, unsigned base)
{
	char digits[21] = "", *at = digits + sizeof(digits) - 1;

	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	put_text(out, at);
}

/* Reads what stands between '%' and the letter; returns where the letter is. */
static const char *read_spec(struct output *out, const char *at)
{
	out->left = out->zero = out->wide = false;
	for (; *at == '-' || *at == '0'; at++)
		*(*at == '-' ? &out->left : &out->zero) = true;
	for (out->width = 0; *at >= '0' && *at <= '9'; at++)
		out->width = out->width * 10 + (size_t)(*at - '0');
	for (; *at == 'l' || *at == 'z'; at++)
		out->wide = true;
	return at;
}

/* The text of one conversion; false where the letter is none that we know. */
static bool put_conversion(struct output *out, char letter, va_list *args)
{
	switch (letter) {
	case 's':
		put_text(out, va_arg(*args, const char *));
		return true;
	case 'u':
	case 'x':
		put_number(out, out->wide ? va_arg(*args, unsigned long) : va_arg(*args, unsigned),
		           letter == 'x' ? 16 : 10);
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
		const char *letter = *at == '%' && known ? read_spec(&out, at + 1) : NULL;

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
