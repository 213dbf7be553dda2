/* SPDX-License-Identifier: MIT */
/* The test device. Its ports are those that public x86 test kernels look for. */
#include "kernel/dev/testdev.h"

/* Items of the firmware-configuration ports; any other is empty. */
#define ITEM_SIGNATURE 0u
#define ITEM_MEMORY    3u
#define ITEM_VCPUS     5u

static uint8_t next_byte(struct testdev *t)
{
	static const uint8_t signature[4] = { 'Q', 'E', 'M', 'U' };
	uint32_t at = t->offset;

	/* Past the end of an item there are zeros; the position need not move on. */
	if (at < 8)
		t->offset++;
	switch (t->key) {
	case ITEM_SIGNATURE:
		return at < 4 ? signature[at] : 0;
	case ITEM_MEMORY:
		return (uint8_t)(at < 8 ? t->memory >> 8 * at : 0);
	case ITEM_VCPUS:
		return (uint8_t)(at < 2 ? t->vcpus >> 8 * at : 0);
	}
	return 0;
}

uint32_t testdev_in(struct testdev *t, uint16_t port, unsigned size)
{
	uint32_t value = 0;

	if (port >= TESTDEV_LINES && port < TESTDEV_LINES + TESTDEV_LINE_COUNT)
		return t->lines >> (port - TESTDEV_LINES) & 1;
	if (port == TESTDEV_DATA)
		return next_byte(t);
	if (port >= TESTDEV_NOTHING && port < TESTDEV_NOTHING + 4)
		return 0;
	if (port < TESTDEV_LOOP || port >= TESTDEV_LOOP + 4)
		return UINT32_MAX;
	for (unsigned i = 0; i < size && port + i < TESTDEV_LOOP + 4; i++)
		value |= (uint32_t)t->loop[port + i - TESTDEV_LOOP] << 8 * i;
	return value;
}

bool testdev_out(struct testdev *t, uint16_t port, unsigned size, uint32_t value, uint8_t *status)
{
	if (port >= TESTDEV_LINES && port < TESTDEV_LINES + TESTDEV_LINE_COUNT) {
		uint32_t line = 1u << (port - TESTDEV_LINES);

		t->lines = value ? t->lines | line : t->lines & ~line;
	} else if (port == TESTDEV_SELECT) {
		t->key = (uint16_t)value;
		t->offset = 0;
	} else if (port >= TESTDEV_EXIT && port < TESTDEV_EXIT + 4) {
		/* A status that does not fit must not become success. */
		*status = value > 255 ? 255 : (uint8_t)value;
		return true;
	} else if (port >= TESTDEV_LOOP && port < TESTDEV_LOOP + 4) {
		for (unsigned i = 0; i < size && port + i < TESTDEV_LOOP + 4; i++)
			t->loop[port + i - TESTDEV_LOOP] = (uint8_t)(value >> 8 * i);
	}
	return false;
}

bool testdev_mmio(struct testdev *t, uint64_t gpa, unsigned size, bool write, uint64_t *value)
{
	uint64_t offset = gpa - TESTDEV_MMIO;

	if (gpa < TESTDEV_MMIO || offset > TESTDEV_MMIO_SIZE - size)
		return false;
	if (!write)
		*value = 0;
	for (unsigned i = 0; i < size; i++) {
		if (write)
			t->scratch[offset + i] = (uint8_t)(*value >> 8 * i);
		else
			*value |= (uint64_t)t->scratch[offset + i] << 8 * i;
	}
	return true;
}
