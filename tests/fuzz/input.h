/* SPDX-License-Identifier: MIT */
/* What the targets that play sequences of operations share: taking numbers off the input, and giving up. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                              \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

/*
 * What only checks is not to be explored: most of the time would go into tracing comparisons. Not inlined,
 * for there they would be traced after all.
 */
#ifdef __clang__
#define UNTRACED __attribute__((noinline, no_sanitize("coverage")))
#else
#define UNTRACED
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

/* An input for a sequence of operations. What is longer takes more time and finds nothing more. */
static inline struct input input_sequence(const uint8_t *data, size_t size)
{
	const size_t most = 96;

	return (struct input){ data, size < most ? size : most };
}

/* Behind its end the input is zeros, so that an operation cut short is an operation still. */
static inline uint8_t input_8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static inline uint32_t input_32(struct input *in)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 8 | input_8(in);
	return value;
}

/* Two bytes for a number of any size: eight bits of it, and where they stand. */
static inline uint64_t input_scaled(struct input *in, unsigned most)
{
	uint64_t value = input_8(in);

	return value << input_8(in) % most;
}

#endif
