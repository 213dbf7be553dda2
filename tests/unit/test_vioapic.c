/* SPDX-License-Identifier: MIT */
/* IOAPIC registers: every offset, register and bit, read-only ones too; what an entry says to others. */
/* SOURCES: kernel/vic/vioapic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/vic/vioapic.h"

#define LOW_WRITABLE 0x0001afffu

static uint32_t reg(struct vioapic *io, uint32_t index)
{
	vioapic_write(io, VIOAPIC_IOREGSEL, index);
	return vioapic_read(io, VIOAPIC_IOWIN);
}

static void set_reg(struct vioapic *io, uint32_t index, uint32_t value)
{
	vioapic_write(io, VIOAPIC_IOREGSEL, index);
	vioapic_write(io, VIOAPIC_IOWIN, value);
}

static uint32_t low_of(unsigned pin)
{
	return VIOAPIC_REG_ENTRY + 2 * pin;
}

static void power_on(void **state)
{
	struct vioapic io;
	struct apic_msg msg;
	unsigned pin;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0x35);
	assert_int_equal(vioapic_read(&io, VIOAPIC_IOREGSEL), 0);
	assert_int_equal(reg(&io, VIOAPIC_REG_ID), 0x05000000);
	assert_int_equal(reg(&io, VIOAPIC_REG_VER), 0x00270011);
	assert_int_equal(reg(&io, VIOAPIC_REG_ARB), 0x05000000);
	for (unsigned i = 0; i < VIOAPIC_PINS; i++) {
		assert_int_equal(reg(&io, low_of(i)), VIOAPIC_MASKED);
		assert_int_equal(reg(&io, low_of(i) + 1), 0);
		assert_false(vioapic_entry(&io, i, &msg));
	}
	assert_false(vioapic_next(&io, &pin, &msg));
	assert_false(io.held);
	assert_int_equal(vioapic_changed(&io), 0);
	vioapic_init(&io, VIOAPIC_VERSION_EOI, 0);
	assert_int_equal(reg(&io, VIOAPIC_REG_VER), 0x00270020);
}

/* IOREGSEL keeps 8 bits; everything in the page that is no register reads 0 and takes nothing. */
static void offsets(void **state)
{
	struct vioapic io, before;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_EOI, 7);
	for (uint32_t i = 0; i < 32; i++) {
		vioapic_write(&io, VIOAPIC_IOREGSEL, 1u << i);
		assert_int_equal(vioapic_read(&io, VIOAPIC_IOREGSEL), i < 8 ? 1u << i : 0);
	}
	vioapic_write(&io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ID);
	for (uint32_t offset = 0; offset < 4096; offset++) {
		if (offset == VIOAPIC_IOREGSEL || offset == VIOAPIC_IOWIN)
			continue;
		before = io;
		vioapic_write(&io, offset, 0xffffffff);
		assert_memory_equal(&io, &before, sizeof(io));
		assert_int_equal(vioapic_read(&io, offset), 0);
	}
	assert_int_equal(vioapic_read(&io, VIOAPIC_IOWIN), 0x07000000);
}

/* Every index that IOREGSEL can hold, every bit: what sticks is exactly what the manual calls R/W. */
static void writable_bits(void **state)
{
	struct vioapic io;

	(void)state;
	for (uint32_t index = 0; index < 256; index++) {
		uint32_t mask = 0;

		if (index == VIOAPIC_REG_ID)
			mask = 0x0f000000;
		else if (index >= 0x10 && index < 0x10 + 2 * 40)
			mask = index & 1 ? 0xff000000u : LOW_WRITABLE;
		vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
		for (unsigned bit = 0; bit < 32; bit++) {
			uint32_t fixed = reg(&io, index) & ~mask;

			set_reg(&io, index, 1u << bit);
			if (index == VIOAPIC_REG_ARB)
				assert_int_equal(reg(&io, index), 0);
			else
				assert_int_equal(reg(&io, index), (fixed & ~mask) | (mask & 1u << bit));
		}
		set_reg(&io, index, 0xffffffff);
		if (mask)
			assert_int_equal(reg(&io, index), mask);
	}
}

/* Writing one half leaves the other, and no other entry moves. */
static void halves_are_separate(void **state)
{
	struct vioapic io;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		set_reg(&io, low_of(pin), VIOAPIC_MASKED | VIOAPIC_LEVEL | (0x40 + pin));
		set_reg(&io, low_of(pin) + 1, (uint32_t)pin << 24);
	}
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		assert_int_equal(reg(&io, low_of(pin)), VIOAPIC_MASKED | VIOAPIC_LEVEL | (0x40 + pin));
		assert_int_equal(reg(&io, low_of(pin) + 1), (uint32_t)pin << 24);
	}
}

/* 82093AA: the arbitration register is loaded by a write of the ID, and by nothing else. */
static void arbitration_follows_id(void **state)
{
	struct vioapic io;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 3);
	for (uint32_t id = 0; id < 16; id++) {
		set_reg(&io, VIOAPIC_REG_ID, id << 24 | 0xf0ffffff);
		assert_int_equal(reg(&io, VIOAPIC_REG_ID), id << 24);
		assert_int_equal(reg(&io, VIOAPIC_REG_ARB), id << 24);
		set_reg(&io, VIOAPIC_REG_ARB, ~(id << 24));
		assert_int_equal(reg(&io, VIOAPIC_REG_ARB), id << 24);
	}
}

/* Every field of a message comes from its bits of the entry: all vectors, modes, destinations. */
static void entry_to_message(void **state)
{
	struct vioapic io;
	struct apic_msg msg;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
	for (uint32_t mode = 0; mode < 8; mode++) {
		bool valid = mode != 3 && mode != 6;

		for (uint32_t v = 0; v < 256; v++) {
			uint32_t flags = v & 1 ? VIOAPIC_LOGICAL | VIOAPIC_LEVEL : 0;

			set_reg(&io, low_of(9), mode << 8 | v | flags);
			set_reg(&io, low_of(9) + 1, (255 - v) << 24);
			assert_int_equal(vioapic_entry(&io, 9, &msg), valid);
			assert_int_equal(msg.vector, v);
			assert_int_equal(msg.mode, mode);
			assert_int_equal(msg.dest, 255 - v);
			assert_int_equal(msg.logical, v & 1);
			assert_int_equal(msg.level, mode < 2 && (v & 1));
			assert_int_equal(msg.shorthand, APIC_DEST_FIELD);
			assert_false(msg.wide || msg.deassert);
			set_reg(&io, low_of(9), mode << 8 | v | flags | VIOAPIC_MASKED);
			assert_false(vioapic_entry(&io, 9, &msg));
			assert_int_equal(msg.vector, v);
		}
	}
}

/* A write that changes no bit is no change; either half is; asking forgets. */
static void changed_entries(void **state)
{
	struct vioapic io;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		set_reg(&io, low_of(pin), VIOAPIC_MASKED);
		set_reg(&io, low_of(pin) + 1, 0);
		set_reg(&io, low_of(pin), VIOAPIC_MASKED | VIOAPIC_STATUS | VIOAPIC_REMOTE_IRR);
		assert_int_equal(vioapic_changed(&io), 0);
		set_reg(&io, low_of(pin), 0x31);
		assert_int_equal(vioapic_changed(&io), 1ull << pin);
		assert_int_equal(vioapic_changed(&io), 0);
		set_reg(&io, low_of(pin) + 1, 0x01000000);
		assert_int_equal(vioapic_changed(&io), 1ull << pin);
	}
	set_reg(&io, low_of(0), 0x32);
	set_reg(&io, low_of(39) + 1, 0x02000000);
	set_reg(&io, VIOAPIC_REG_ID, 0x02000000);
	assert_int_equal(vioapic_changed(&io), 1ull << 39 | 1);
}

/* The EOI of its vector, and of no other, ends what is in service, though its entry is masked by now. */
static void a_mask_hides_no_eoi(void **state)
{
	struct vioapic io;
	struct apic_msg msg;
	unsigned pin;

	(void)state;
	vioapic_init(&io, VIOAPIC_VERSION_82093AA, 0);
	set_reg(&io, low_of(20), VIOAPIC_LEVEL | 0x44);
	vioapic_set_line(&io, 20, true);
	assert_true(vioapic_next(&io, &pin, &msg));
	vioapic_sent(&io, pin, true);
	set_reg(&io, low_of(20), VIOAPIC_LEVEL | VIOAPIC_MASKED | 0x44);
	for (unsigned v = 0; v < 256; v++) {
		assert_int_equal(io.remote_irr, v <= 0x44 ? 1u << 20 : 0);
		vioapic_eoi(&io, (uint8_t)v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_on),
		cmocka_unit_test(offsets),
		cmocka_unit_test(writable_bits),
		cmocka_unit_test(halves_are_separate),
		cmocka_unit_test(arbitration_follows_id),
		cmocka_unit_test(entry_to_message),
		cmocka_unit_test(changed_entries),
		cmocka_unit_test(a_mask_hides_no_eoi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
