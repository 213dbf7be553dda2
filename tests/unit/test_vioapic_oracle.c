/* SPDX-License-Identifier: MIT */
/* IOAPIC against an oracle that keeps one plain record per pin, over random sequences of operations. */
/* SOURCES: kernel/vic/vioapic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/vic/vioapic.h"

struct pin {
	uint32_t low; /* without the read-only bits */
	uint32_t high;
	bool line, remote_irr, edge, held;
};

static uint64_t seed;

static uint32_t roll(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % below;
}

static bool is_asserted(const struct pin *p)
{
	return p->low & 0x2000 ? !p->line : p->line;
}

static bool is_silent(const struct pin *p)
{
	uint32_t mode = p->low >> 8 & 7;

	return p->low & 0x10000 || mode == 3 || mode == 6;
}

static bool is_level(const struct pin *p)
{
	return p->low & 0x8000 && (p->low >> 8 & 7) < 2;
}

static bool wants(const struct pin *p)
{
	if (is_silent(p))
		return false;
	return is_level(p) ? is_asserted(p) && !p->remote_irr : p->edge;
}

static void oracle_line(struct pin *p, bool line)
{
	bool before = is_asserted(p);

	p->line = line;
	if (!before && is_asserted(p) && !is_silent(p) && !is_level(p))
		p->edge = true;
}

static void oracle_low(struct pin *p, uint32_t value)
{
	p->low = value & 0x1afff;
	p->held = false;
	if (is_level(p))
		p->edge = false;
	else
		p->remote_irr = false;
}

static void oracle_eoi(struct pin *pins, uint8_t vector)
{
	for (unsigned i = 0; i < VIOAPIC_PINS; i++)
		if (is_level(&pins[i]) && (pins[i].low & 0xff) == vector)
			pins[i].remote_irr = false;
}

static void oracle_sent(struct pin *p, bool accepted)
{
	if (!accepted)
		p->held = true;
	else if (is_level(p))
		p->remote_irr = true;
	else
		p->edge = false;
}

static int oracle_next(const struct pin *pins)
{
	for (int i = 0; i < VIOAPIC_PINS; i++)
		if (wants(&pins[i]) && !pins[i].held)
			return i;
	return -1;
}

/* Few vectors, and mostly sane modes, so that entries meet. */
static uint32_t random_low(void)
{
	uint32_t value = 0x50 + roll(4);

	value |= roll(3) ? 0 : roll(8) << 8;
	value |= roll(2) << 15 | roll(2) << 13 | (roll(3) ? 0 : VIOAPIC_MASKED);
	return value | (roll(2) ? VIOAPIC_STATUS | VIOAPIC_REMOTE_IRR : 0);
}

static void operate(struct vioapic *io, struct pin *pins)
{
	unsigned pin = roll(6) * 7; /* few pins, from one end to the other */
	uint32_t value;

	switch (roll(8)) {
	case 0:
		value = random_low();
		vioapic_write(io, VIOAPIC_IOREGSEL, 0x10 + 2 * pin);
		vioapic_write(io, VIOAPIC_IOWIN, value);
		oracle_low(&pins[pin], value);
		break;
	case 1:
		value = roll(256) << 24;
		vioapic_write(io, VIOAPIC_IOREGSEL, 0x11 + 2 * pin);
		vioapic_write(io, VIOAPIC_IOWIN, value);
		pins[pin].high = value;
		pins[pin].held = false;
		break;
	case 2:
		value = 0x50 + roll(4);
		vioapic_eoi(io, (uint8_t)value);
		oracle_eoi(pins, (uint8_t)value);
		break;
	case 3:
		vioapic_retry(io);
		for (unsigned i = 0; i < VIOAPIC_PINS; i++)
			pins[i].held = false;
		break;
	default:
		value = roll(2);
		vioapic_set_line(io, pin, value);
		oracle_line(&pins[pin], value);
		break;
	}
}

static void compare(struct vioapic *io, const struct pin *pins)
{
	for (unsigned i = 0; i < VIOAPIC_PINS; i++) {
		const struct pin *p = &pins[i];
		uint32_t low = p->low | (wants(p) ? 1u << 12 : 0) | (p->remote_irr ? 1u << 14 : 0);

		vioapic_write(io, VIOAPIC_IOREGSEL, 0x10 + 2 * i);
		assert_int_equal(vioapic_read(io, VIOAPIC_IOWIN), low);
		vioapic_write(io, VIOAPIC_IOREGSEL, 0x11 + 2 * i);
		assert_int_equal(vioapic_read(io, VIOAPIC_IOWIN), p->high);
		assert_true(!p->remote_irr || is_level(p));
	}
}

static void random_sequences(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 200; run++) {
		struct vioapic io;
		struct pin pins[VIOAPIC_PINS] = { 0 };

		seed = run;
		vioapic_init(&io, VIOAPIC_VERSION_EOI, 0);
		for (unsigned i = 0; i < VIOAPIC_PINS; i++)
			pins[i].low = VIOAPIC_MASKED;
		for (unsigned n = 0; n < 500; n++) {
			struct apic_msg msg;
			unsigned pin;
			bool accepted;

			operate(&io, pins);
			while (roll(8) && vioapic_next(&io, &pin, &msg)) {
				assert_int_equal(pin, oracle_next(pins));
				assert_int_equal(msg.vector, pins[pin].low & 0xff);
				assert_int_equal(msg.dest, pins[pin].high >> 24);
				assert_int_equal(msg.level, is_level(&pins[pin]));
				accepted = roll(4);
				vioapic_sent(&io, pin, accepted);
				oracle_sent(&pins[pin], accepted);
			}
			assert_int_equal(vioapic_next(&io, &pin, &msg), oracle_next(pins) >= 0);
			compare(&io, pins);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sequences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
