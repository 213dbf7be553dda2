/* SPDX-License-Identifier: MIT */
/* The 8259A pair: every command word, priority rule and mode, on every input. */
/* SOURCES: kernel/vic/vpic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/vic/vpic.h"

#define MASTER_BASE 0x30
#define SLAVE_BASE  0x38

#define EOI           0x20
#define PRIORITY(n)   (uint8_t)(0xc0 | (n))
#define READ_IRR      0x0a
#define READ_ISR      0x0b
#define POLL          0x0c
#define SPECIAL_ON    0x68
#define ICW4_PC       0x01
#define ICW4_AUTO_EOI 0x03
#define ICW4_NESTED   0x11

static void program(struct vpic *pic, uint8_t icw4)
{
	vpic_write(pic, 0x20, 0x11);
	vpic_write(pic, 0x21, MASTER_BASE);
	vpic_write(pic, 0x21, 0x04);
	vpic_write(pic, 0x21, icw4);
	vpic_write(pic, 0xa0, 0x11);
	vpic_write(pic, 0xa1, SLAVE_BASE);
	vpic_write(pic, 0xa1, 0x02);
	vpic_write(pic, 0xa1, icw4);
}

static void start(struct vpic *pic, uint8_t icw4)
{
	vpic_init(pic);
	program(pic, icw4);
}

static uint8_t vector_of(unsigned irq)
{
	return (uint8_t)(irq < 8 ? MASTER_BASE + irq : SLAVE_BASE + irq - 8);
}

static uint8_t status(struct vpic *pic, uint16_t port, uint8_t ocw3)
{
	vpic_write(pic, port, ocw3);
	return vpic_read(pic, port);
}

static void pulse(struct vpic *pic, unsigned irq)
{
	vpic_set_line(pic, irq, false);
	vpic_set_line(pic, irq, true);
}

static void eoi(struct vpic *pic, unsigned irq)
{
	if (irq >= 8)
		vpic_write(pic, 0xa0, EOI);
	vpic_write(pic, 0x20, EOI);
}

/* Nothing is accepted before the last ICW; a mask may be written, and both ports read. */
static void before_initialisation(void **state)
{
	struct vpic pic;

	(void)state;
	vpic_init(&pic);
	vpic_write(&pic, 0x21, 0x5a);
	vpic_write(&pic, 0xa1, 0xa5);
	assert_int_equal(vpic_read(&pic, 0x21), 0x5a);
	assert_int_equal(vpic_read(&pic, 0xa1), 0xa5);
	vpic_set_line(&pic, 0, true);
	vpic_write(&pic, 0x21, 0);
	assert_int_equal(vpic_read(&pic, 0x20), 0x01);
	assert_false(vpic_intr(&pic));
	assert_int_equal(vpic_ack(&pic), 7);
	assert_int_equal(status(&pic, 0x20, READ_ISR), 0);
}

/* ICW1 says how many follow: all four shapes, each step with a level request waiting. */
static void initialisation_sequence(void **state)
{
	(void)state;
	for (uint8_t shape = 0; shape < 4; shape++) {
		bool single = shape & 1, icw4 = shape & 2;
		struct vpic pic;

		vpic_init(&pic);
		vpic_write(&pic, 0x4d0, 0x08);
		vpic_set_line(&pic, 3, true);
		vpic_write(&pic, 0x20, (uint8_t)(0x10 | (single ? 2 : 0) | (icw4 ? 1 : 0)));
		assert_int_equal(vpic_read(&pic, 0x21), 0); /* IMR was cleared */
		assert_false(vpic_intr(&pic));
		vpic_write(&pic, 0x21, 0x4f);
		if (!single) {
			assert_false(vpic_intr(&pic));
			vpic_write(&pic, 0x21, 0x04);
		}
		if (icw4) {
			assert_false(vpic_intr(&pic));
			vpic_write(&pic, 0x21, 0x02);
		}
		assert_true(vpic_intr(&pic));
		assert_int_equal(vpic_ack(&pic), 0x4b); /* the vector's low bits are the input's */
		/* Without ICW4 there is no AEOI, whatever the byte that never came. */
		assert_int_equal(status(&pic, 0x20, READ_ISR), icw4 ? 0 : 0x08);
		vpic_write(&pic, 0x21, 0xff);
		assert_int_equal(vpic_read(&pic, 0x21), 0xff);
	}
}

/* ICW1 forgets: service, mask, edges seen, rotation, special mask mode, AEOI, status read, poll. */
static void icw1_resets(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_AUTO_EOI);
	vpic_write(&pic, 0x20, PRIORITY(3));
	vpic_write(&pic, 0x20, SPECIAL_ON);
	vpic_write(&pic, 0x20, READ_ISR);
	vpic_write(&pic, 0x20, POLL);
	vpic_set_line(&pic, 1, true);
	vpic_set_line(&pic, 9, true);
	program(&pic, ICW4_PC);
	assert_int_equal(vpic_read(&pic, 0x20), 0);
	assert_false(vpic_intr(&pic));
	pulse(&pic, 1);
	pulse(&pic, 7);
	assert_int_equal(vpic_read(&pic, 0x20), 0x82);
	assert_int_equal(vpic_ack(&pic), vector_of(1));
	assert_int_equal(status(&pic, 0x20, READ_ISR), 0x02);
	/* Special mask mode is off: masking the one in service lets nobody pass. */
	vpic_write(&pic, 0x21, 0x02);
	assert_false(vpic_intr(&pic));
}

/* An edge asks once, on every input; the vector, IRR and ISR of each. */
static void every_edge(void **state)
{
	(void)state;
	for (unsigned irq = 0; irq < VPIC_LINES; irq++) {
		struct vpic pic;
		uint16_t port = irq < 8 ? 0x20 : 0xa0;
		uint8_t bit = (uint8_t)(1u << irq % 8);

		if (irq == VPIC_CASCADE)
			continue;
		start(&pic, ICW4_PC);
		vpic_set_line(&pic, irq, true);
		vpic_set_line(&pic, irq, true);
		assert_true(vpic_intr(&pic));
		assert_int_equal(status(&pic, port, READ_IRR), bit);
		assert_int_equal(status(&pic, 0x20, READ_IRR), irq < 8 ? bit : 0x04);
		assert_int_equal(vpic_ack(&pic), vector_of(irq));
		assert_int_equal(status(&pic, port, READ_IRR), 0);
		assert_int_equal(status(&pic, port, READ_ISR), bit);
		assert_int_equal(status(&pic, 0x20, READ_ISR), irq < 8 ? bit : 0x04);
		eoi(&pic, irq);
		assert_int_equal(status(&pic, port, READ_ISR), 0);
		assert_int_equal(status(&pic, 0x20, READ_ISR), 0);
		assert_false(vpic_intr(&pic));
		pulse(&pic, irq);
		assert_int_equal(vpic_ack(&pic), vector_of(irq));
	}
}

/* IRQ 2 has no wire of its own, and there is no IRQ 16. */
static void lines_that_are_not_there(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	vpic_set_line(&pic, 2, true);
	vpic_set_line(&pic, 16, true);
	assert_false(vpic_intr(&pic));
	assert_int_equal(status(&pic, 0x20, READ_IRR), 0);
}

/* ELCR: which bits there are, and that a level input asks until it drops. */
static void every_level(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	vpic_write(&pic, 0x4d0, 0xff);
	vpic_write(&pic, 0x4d1, 0xff);
	assert_int_equal(vpic_read(&pic, 0x4d0), 0xf8);
	assert_int_equal(vpic_read(&pic, 0x4d1), 0xde);
	for (unsigned irq = 0; irq < VPIC_LINES; irq++) {
		bool level = (irq < 8 ? 0xf8 >> irq : 0xde >> (irq - 8)) & 1;

		if (irq == VPIC_CASCADE)
			continue;
		vpic_set_line(&pic, irq, true);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(vpic_intr(&pic), level || i == 0);
			if (!vpic_intr(&pic))
				continue;
			assert_int_equal(vpic_ack(&pic), vector_of(irq));
			assert_false(vpic_intr(&pic));
			eoi(&pic, irq);
		}
		vpic_set_line(&pic, irq, false);
		assert_false(vpic_intr(&pic));
	}
	/* An edge that was seen is none any more once the input was a level. */
	vpic_write(&pic, 0x4d0, 0);
	vpic_set_line(&pic, 5, true);
	vpic_write(&pic, 0x4d0, 0x20);
	assert_true(vpic_intr(&pic));
	vpic_write(&pic, 0x4d0, 0);
	assert_false(vpic_intr(&pic));
	/* The other inputs' edges stay. */
	pulse(&pic, 6);
	vpic_write(&pic, 0x4d0, 0x20);
	vpic_write(&pic, 0x4d0, 0x00);
	assert_int_equal(vpic_ack(&pic), vector_of(6));
}

/* A request that is gone at the acknowledge: IRQ 7 without service; behind the cascade: IRQ 15. */
static void spurious(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	vpic_set_line(&pic, 3, true);
	vpic_set_line(&pic, 3, false);
	assert_false(vpic_intr(&pic));
	assert_int_equal(vpic_ack(&pic), vector_of(7));
	assert_int_equal(status(&pic, 0x20, READ_ISR), 0);
	vpic_set_line(&pic, 10, true);
	vpic_write(&pic, 0xa1, 0x04);
	assert_false(vpic_intr(&pic));
	assert_int_equal(vpic_ack(&pic), vector_of(7));
	/* A slave that answers to another input of the master is asked when it has nothing. */
	vpic_write(&pic, 0x20, 0x11);
	vpic_write(&pic, 0x21, MASTER_BASE);
	vpic_write(&pic, 0x21, 0x10);
	vpic_write(&pic, 0x21, ICW4_PC);
	vpic_write(&pic, 0xa0, 0x11);
	vpic_write(&pic, 0xa1, SLAVE_BASE);
	vpic_write(&pic, 0xa1, 0x04);
	vpic_write(&pic, 0xa1, ICW4_PC);
	vpic_set_line(&pic, 4, true);
	assert_int_equal(vpic_ack(&pic), vector_of(15));
	assert_int_equal(status(&pic, 0x20, READ_ISR), 0x10);
	assert_int_equal(status(&pic, 0xa0, READ_ISR), 0);
	/* ICW1 gives a slave the ID 7, until ICW3 comes. */
	vpic_write(&pic, 0x20, 0x11);
	vpic_write(&pic, 0x21, MASTER_BASE);
	vpic_write(&pic, 0x21, 0x84);
	vpic_write(&pic, 0x21, ICW4_PC);
	vpic_write(&pic, 0xa0, 0x11);
	vpic_write(&pic, 0xa1, SLAVE_BASE);
	pulse(&pic, 7);
	assert_int_equal(vpic_ack(&pic), vector_of(15));
}

/* No slave has the number on the CAS lines: nobody drives the bus. A single slave does not look at them. */
static void cascade_without_answer(void **state)
{
	(void)state;
	for (int single = 0; single < 2; single++) {
		struct vpic pic;

		start(&pic, ICW4_PC);
		vpic_write(&pic, 0xa0, single ? 0x13 : 0x11);
		vpic_write(&pic, 0xa1, SLAVE_BASE);
		if (!single)
			vpic_write(&pic, 0xa1, 0x05);
		vpic_write(&pic, 0xa1, ICW4_PC);
		vpic_set_line(&pic, 8, true);
		assert_true(vpic_intr(&pic));
		assert_int_equal(vpic_ack(&pic), 0xff);
		/* The slave still asks, but makes no new edge. */
		vpic_write(&pic, 0x20, EOI);
		assert_false(vpic_intr(&pic));
		assert_int_equal(status(&pic, 0xa0, READ_IRR), 0x01);
	}
}

/* A master programmed without slaves answers for the cascade input itself. */
static void master_alone(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	vpic_write(&pic, 0x20, 0x13);
	vpic_write(&pic, 0x21, MASTER_BASE);
	vpic_write(&pic, 0x21, ICW4_PC);
	vpic_set_line(&pic, 8, true);
	assert_int_equal(vpic_ack(&pic), MASTER_BASE + 2);
	assert_int_equal(status(&pic, 0xa0, READ_ISR), 0);
	vpic_set_line(&pic, 0, true);
	assert_int_equal(vpic_ack(&pic), MASTER_BASE);
}

/* Fully nested: for every pair on one chip, only the higher one gets through the other. */
static void fully_nested(void **state)
{
	(void)state;
	for (unsigned a = 8; a < 16; a++) {
		for (unsigned b = 8; b < 16; b++) {
			struct vpic pic;

			start(&pic, ICW4_NESTED);
			vpic_set_line(&pic, a, true);
			assert_int_equal(vpic_ack(&pic), vector_of(a));
			pulse(&pic, b);
			/* The slave's own order decides: special fully nested, the master lets it pass. */
			assert_int_equal(vpic_intr(&pic), b < a);
			if (b < a)
				assert_int_equal(vpic_ack(&pic), vector_of(b));
			start(&pic, ICW4_PC);
			vpic_set_line(&pic, a, true);
			assert_int_equal(vpic_ack(&pic), vector_of(a));
			pulse(&pic, b);
			assert_false(vpic_intr(&pic));
			/* What waited is delivered after both EOIs, by the edge that the slave then makes. */
			vpic_write(&pic, 0xa0, EOI);
			vpic_write(&pic, 0x20, EOI);
			assert_true(vpic_intr(&pic));
			assert_int_equal(vpic_ack(&pic), vector_of(b));
		}
	}
	for (unsigned a = 0; a < 8; a++) {
		for (unsigned b = 0; b < 8; b++) {
			struct vpic pic;

			if (a == 2 || b == 2)
				continue;
			start(&pic, ICW4_NESTED);
			vpic_set_line(&pic, a, true);
			assert_int_equal(vpic_ack(&pic), vector_of(a));
			pulse(&pic, b);
			assert_int_equal(vpic_intr(&pic), b < a);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_initialisation),
		cmocka_unit_test(initialisation_sequence),
		cmocka_unit_test(icw1_resets),
		cmocka_unit_test(every_edge),
		cmocka_unit_test(lines_that_are_not_there),
		cmocka_unit_test(every_level),
		cmocka_unit_test(spurious),
		cmocka_unit_test(cascade_without_answer),
		cmocka_unit_test(master_alone),
		cmocka_unit_test(fully_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
