/* SPDX-License-Identifier: MIT */
/* The 8259A pair against an oracle that keeps its priorities as a list, over random operations. */
/* SOURCES: kernel/vic/vpic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "kernel/vic/vpic.h"

struct input {
	bool line, edge, service, masked, level;
};

struct chip {
	struct input in[8];
	unsigned order[8]; /* highest priority first */
	bool aeoi, sfnm, rotate_aeoi, smm;
	uint8_t base;
};

struct pair {
	struct chip c[2];
};

static uint64_t seed;

static uint32_t roll(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % below;
}

static void make_lowest(struct chip *c, unsigned n)
{
	while (c->order[7] != n) {
		unsigned first = c->order[0];

		memmove(&c->order[0], &c->order[1], sizeof(c->order) - sizeof(c->order[0]));
		c->order[7] = first;
	}
}

static void oracle_program(struct chip *c, uint8_t base, uint8_t icw4)
{
	for (unsigned i = 0; i < 8; i++) {
		struct input old = c->in[i];

		c->in[i] = (struct input){ .line = old.line, .level = old.level };
		c->order[i] = i;
	}
	c->aeoi = icw4 & 2;
	c->sfnm = icw4 & 16;
	c->rotate_aeoi = false;
	c->smm = false;
	c->base = base;
}

static bool asks(const struct input *in)
{
	return in->line && (in->level || in->edge);
}

/* Walks down the priorities: who asks first wins, unless somebody in service stands in the way. */
static int wins(const struct chip *c, bool master)
{
	for (unsigned i = 0; i < 8; i++) {
		const struct input *in = &c->in[c->order[i]];
		bool blocks = in->service && !(c->smm && in->masked);

		if (blocks && !(master && c->sfnm && c->order[i] == 2))
			return -1;
		if (asks(in) && !in->masked)
			return (int)c->order[i];
		if (blocks)
			return -1;
	}
	return -1;
}

static void oracle_line(struct input *in, bool high)
{
	if (high && !in->line && !in->level)
		in->edge = true;
	if (!high)
		in->edge = false;
	in->line = high;
}

static void cascade(struct pair *p)
{
	oracle_line(&p->c[0].in[2], wins(&p->c[1], false) >= 0);
}

static void take(struct chip *c, unsigned n)
{
	c->in[n].edge = false;
	if (!c->aeoi)
		c->in[n].service = true;
	else if (c->rotate_aeoi)
		make_lowest(c, n);
}

static uint8_t oracle_ack(struct pair *p)
{
	int m = wins(&p->c[0], true), s;

	if (m < 0)
		return p->c[0].base + 7;
	take(&p->c[0], (unsigned)m);
	if (m != 2)
		return (uint8_t)(p->c[0].base + m);
	s = wins(&p->c[1], false);
	if (s >= 0)
		take(&p->c[1], (unsigned)s);
	oracle_line(&p->c[0].in[2], false);
	cascade(p);
	return (uint8_t)(p->c[1].base + (s < 0 ? 7 : s));
}

static void oracle_ocw2(struct chip *c, uint8_t value)
{
	unsigned n = value & 7;

	if (value >> 5 == 0 || value >> 5 == 4) {
		c->rotate_aeoi = value >> 7;
		return;
	}
	if (value >> 5 == 1 || value >> 5 == 5) {
		unsigned i = 0;

		while (i < 8 && !(c->in[c->order[i]].service && !(c->smm && c->in[c->order[i]].masked)))
			i++;
		if (i == 8)
			return;
		n = c->order[i];
	}
	if (value & 0x20)
		c->in[n].service = false;
	if (value & 0x80)
		make_lowest(c, n);
}

static uint8_t registers(const struct chip *c, bool service)
{
	unsigned set = 0;

	for (unsigned i = 0; i < 8; i++)
		set |= (unsigned)(service ? c->in[i].service : asks(&c->in[i])) << i;
	return (uint8_t)set;
}

static void program_both(struct vpic *pic, struct pair *p, uint8_t icw4)
{
	for (unsigned i = 0; i < 2; i++) {
		uint16_t port = i ? 0xa0 : 0x20;

		vpic_write(pic, port, 0x11);
		vpic_write(pic, port + 1, i ? 0x78 : 0x50);
		vpic_write(pic, port + 1, i ? 2 : 4);
		vpic_write(pic, port + 1, icw4);
		oracle_program(&p->c[i], i ? 0x78 : 0x50, icw4);
		/* A chip that is being initialised asks for nothing: the slave's INT drops meanwhile. */
		if (i)
			oracle_line(&p->c[0].in[2], false);
		cascade(p);
	}
}

static void command(struct vpic *pic, struct pair *p, unsigned i)
{
	uint16_t port = i ? 0xa0 : 0x20;
	uint8_t value = (uint8_t)roll(256);
	int n;

	switch (roll(4)) {
	case 0: /* mostly open */
		value &= (uint8_t)roll(256);
		vpic_write(pic, port + 1, value);
		for (unsigned b = 0; b < 8; b++)
			p->c[i].in[b].masked = value >> b & 1;
		break;
	case 1:
		vpic_write(pic, port, value & 0xe7);
		oracle_ocw2(&p->c[i], value & 0xe7);
		break;
	case 2:
		p->c[i].smm = value & 0x20;
		vpic_write(pic, port, 0x48 | (value & 0x20));
		break;
	case 3:
		n = wins(&p->c[i], !i);
		vpic_write(pic, port, 0x0c);
		assert_int_equal(vpic_read(pic, port), n < 0 ? 0 : 0x80 | n);
		if (n >= 0)
			take(&p->c[i], (unsigned)n);
		if (i)
			oracle_line(&p->c[0].in[2], false);
		break;
	}
	cascade(p);
}

static void operate(struct vpic *pic, struct pair *p)
{
	unsigned irq = roll(16);
	bool high = roll(2);

	switch (roll(16)) {
	case 0:
	case 1:
	case 2:
		command(pic, p, roll(2));
		break;
	case 3:
	case 4:
	case 5:
		vpic_write(pic, irq & 1 ? 0xa0 : 0x20, 0x20);
		oracle_ocw2(&p->c[irq & 1], 0x20);
		cascade(p);
		break;
	case 6:
	case 7:
	case 8:
		assert_int_equal(vpic_ack(pic), oracle_ack(p));
		break;
	default:
		vpic_set_line(pic, irq, high);
		if (irq != 2)
			oracle_line(&p->c[irq / 8].in[irq % 8], high);
		cascade(p);
		break;
	}
}

static void random_sequences(void **state)
{
	static const uint8_t shapes[] = { 0x01, 0x03, 0x11, 0x13 };

	(void)state;
	for (unsigned run = 0; run < 400; run++) {
		struct vpic pic;
		struct pair p;
		uint8_t level[2];

		seed = run;
		memset(&p, 0, sizeof(p));
		vpic_init(&pic);
		level[0] = run & 4 ? (uint8_t)roll(256) : 0;
		level[1] = run & 4 ? (uint8_t)roll(256) : 0;
		for (unsigned i = 0; i < 16; i++)
			p.c[i / 8].in[i % 8].level = (level[i / 8] & (i < 8 ? 0xf8 : 0xde)) >> i % 8 & 1;
		vpic_write(&pic, 0x4d0, level[0]);
		vpic_write(&pic, 0x4d1, level[1]);
		program_both(&pic, &p, shapes[run & 3]);
		for (unsigned n = 0; n < 2000; n++) {
			if (!roll(300))
				program_both(&pic, &p, shapes[run & 3]);
			operate(&pic, &p);
			assert_int_equal(vpic_intr(&pic), wins(&p.c[0], true) >= 0);
			for (unsigned i = 0; i < 2; i++) {
				uint16_t port = i ? 0xa0 : 0x20;

				vpic_write(&pic, port, 0x0a);
				assert_int_equal(vpic_read(&pic, port), registers(&p.c[i], false));
				vpic_write(&pic, port, 0x0b);
				assert_int_equal(vpic_read(&pic, port), registers(&p.c[i], true));
			}
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
