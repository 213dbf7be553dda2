/* SPDX-License-Identifier: MIT */
/* The 8259A's operation command words: EOI and rotation in all forms, AEOI, special mask mode, poll. */
/* SOURCES: kernel/vic/vpic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/vic/vpic.h"

#define BASE          0x30
#define EOI           0x20
#define SPECIFIC(n)   (uint8_t)(0x60 | (n))
#define ROTATE_EOI    0xa0
#define ROTATE(n)     (uint8_t)(0xe0 | (n))
#define PRIORITY(n)   (uint8_t)(0xc0 | (n))
#define NO_OPERATION  0x40
#define AUTO_ROTATE   0x80
#define STOP_ROTATE   0x00
#define READ_IRR      0x0a
#define READ_ISR      0x0b
#define POLL          0x0c
#define SPECIAL_ON    0x68
#define SPECIAL_OFF   0x48
#define ICW4_PC       0x01
#define ICW4_AUTO_EOI 0x03

static void start(struct vpic *pic, uint8_t icw4)
{
	vpic_init(pic);
	vpic_write(pic, 0x20, 0x11);
	vpic_write(pic, 0x21, BASE);
	vpic_write(pic, 0x21, 0x04);
	vpic_write(pic, 0x21, icw4);
	vpic_write(pic, 0xa0, 0x11);
	vpic_write(pic, 0xa1, BASE + 8);
	vpic_write(pic, 0xa1, 0x02);
	vpic_write(pic, 0xa1, icw4);
}

static uint8_t status(struct vpic *pic, uint16_t port, uint8_t ocw3)
{
	vpic_write(pic, port, ocw3);
	return vpic_read(pic, port);
}

/* Requests on all inputs of the slave (its eight are all wires), in the order in which they are served. */
static void assert_order(struct vpic *pic, unsigned first)
{
	for (unsigned irq = 8; irq < 16; irq++) {
		vpic_set_line(pic, irq, false);
		vpic_set_line(pic, irq, true);
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(vpic_ack(pic), BASE + 8 + (first + i) % 8);
		vpic_write(pic, 0xa0, SPECIFIC((first + i) % 8));
		vpic_write(pic, 0x20, EOI);
	}
	assert_false(vpic_intr(pic));
}

static void set_priority(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	assert_order(&pic, 0);
	for (unsigned n = 0; n < 8; n++) {
		vpic_write(&pic, 0xa0, PRIORITY(n));
		assert_order(&pic, n + 1);
		/* This one is no operation, and no EOI rotates by itself. */
		vpic_write(&pic, 0xa0, (uint8_t)(NO_OPERATION | (n ^ 5)));
		vpic_write(&pic, 0xa0, EOI);
		assert_order(&pic, n + 1);
	}
}

static void rotate_on_specific_eoi(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 8; n++) {
		struct vpic pic;

		start(&pic, ICW4_PC);
		vpic_set_line(&pic, 8 + n, true);
		assert_int_equal(vpic_ack(&pic), BASE + 8 + n);
		vpic_write(&pic, 0xa0, ROTATE(n));
		vpic_write(&pic, 0x20, EOI);
		assert_int_equal(status(&pic, 0xa0, READ_ISR), 0);
		assert_order(&pic, n + 1);
	}
}

/* The highest in service ends and becomes the lowest; with nothing in service nothing moves. */
static void rotate_on_non_specific_eoi(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	vpic_write(&pic, 0xa0, ROTATE_EOI);
	assert_order(&pic, 0);
	vpic_set_line(&pic, 13, false);
	vpic_set_line(&pic, 13, true);
	assert_int_equal(vpic_ack(&pic), BASE + 13);
	vpic_write(&pic, 0x20, EOI);
	vpic_set_line(&pic, 11, false);
	vpic_set_line(&pic, 11, true);
	assert_int_equal(vpic_ack(&pic), BASE + 11);
	vpic_write(&pic, 0x20, EOI);
	assert_int_equal(status(&pic, 0xa0, READ_ISR), 0x28);
	vpic_write(&pic, 0xa0, ROTATE_EOI);
	assert_int_equal(status(&pic, 0xa0, READ_ISR), 0x20);
	/* 4 is the highest now, and 5 is still in service. */
	vpic_write(&pic, 0xa0, ROTATE_EOI);
	assert_int_equal(status(&pic, 0xa0, READ_ISR), 0);
	assert_order(&pic, 6);
}

/* A specific EOI ends the one that it names and no other. */
static void specific_eoi(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	for (unsigned irq = 8; irq-- > 0;) {
		if (irq == 2)
			continue;
		vpic_set_line(&pic, irq, true);
		assert_int_equal(vpic_ack(&pic), BASE + irq);
	}
	assert_int_equal(status(&pic, 0x20, READ_ISR), 0xfb);
	vpic_write(&pic, 0x20, SPECIFIC(4));
	assert_int_equal(vpic_read(&pic, 0x20), 0xeb);
	vpic_write(&pic, 0x20, SPECIFIC(2));
	vpic_write(&pic, 0x20, EOI);
	assert_int_equal(vpic_read(&pic, 0x20), 0xea);
	vpic_write(&pic, 0x20, EOI);
	assert_int_equal(vpic_read(&pic, 0x20), 0xe8);
}

static void automatic_eoi(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_AUTO_EOI);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned irq = 8; irq < 16; irq++) {
			vpic_set_line(&pic, irq, false);
			vpic_set_line(&pic, irq, true);
		}
		/* Each acknowledge makes room for the next, with an edge for the master. */
		for (unsigned i = 0; i < 8; i++) {
			assert_true(vpic_intr(&pic));
			assert_int_equal(vpic_ack(&pic), BASE + 8 + i);
			assert_int_equal(status(&pic, 0xa0, READ_ISR), 0);
			assert_int_equal(status(&pic, 0x20, READ_ISR), 0);
		}
		assert_false(vpic_intr(&pic));
	}
	/* A level is asked for again at once. */
	vpic_write(&pic, 0x4d1, 0x02);
	assert_int_equal(vpic_ack(&pic), BASE + 9);
	assert_true(vpic_intr(&pic));
	assert_int_equal(vpic_ack(&pic), BASE + 9);
}

static void rotate_in_automatic_eoi(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_AUTO_EOI);
	vpic_write(&pic, 0xa0, AUTO_ROTATE);
	vpic_set_line(&pic, 12, true);
	assert_int_equal(vpic_ack(&pic), BASE + 12);
	vpic_set_line(&pic, 11, true);
	vpic_set_line(&pic, 13, true);
	assert_int_equal(vpic_ack(&pic), BASE + 13);
	assert_int_equal(vpic_ack(&pic), BASE + 11);
	vpic_write(&pic, 0xa0, STOP_ROTATE);
	vpic_set_line(&pic, 12, false);
	vpic_set_line(&pic, 12, true);
	assert_int_equal(vpic_ack(&pic), BASE + 12);
	assert_order(&pic, 4);
	assert_int_equal(pic.slave.lowest, 3);
}

/* A mask holds a request back, and keeps it. */
static void mask(void **state)
{
	(void)state;
	for (unsigned irq = 0; irq < VPIC_LINES; irq++) {
		uint16_t port = irq < 8 ? 0x21 : 0xa1;
		struct vpic pic;

		if (irq == VPIC_CASCADE)
			continue;
		start(&pic, ICW4_PC);
		vpic_write(&pic, port, (uint8_t)(1u << irq % 8));
		vpic_set_line(&pic, irq, true);
		assert_false(vpic_intr(&pic));
		assert_int_equal(vpic_read(&pic, port - 1), 1u << irq % 8);
		vpic_write(&pic, port, 0);
		assert_true(vpic_intr(&pic));
		assert_int_equal(vpic_ack(&pic), BASE + irq);
	}
}

/* Whatever is in service and masked lets everybody else pass, and survives a non-specific EOI. */
static void special_mask(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	vpic_set_line(&pic, 1, true);
	assert_int_equal(vpic_ack(&pic), BASE + 1);
	vpic_write(&pic, 0x21, 0x02);
	vpic_set_line(&pic, 6, true);
	assert_false(vpic_intr(&pic));
	vpic_write(&pic, 0x20, 0x28); /* SMM without ESMM says nothing */
	assert_false(vpic_intr(&pic));
	vpic_write(&pic, 0x20, SPECIAL_ON);
	assert_true(vpic_intr(&pic));
	vpic_write(&pic, 0x20, SPECIAL_OFF);
	assert_false(vpic_intr(&pic));
	vpic_write(&pic, 0x20, SPECIAL_ON);
	assert_int_equal(vpic_ack(&pic), BASE + 6);
	/* The one that is not masked holds back those below it, as ever. */
	vpic_set_line(&pic, 7, true);
	assert_false(vpic_intr(&pic));
	vpic_set_line(&pic, 3, true);
	assert_true(vpic_intr(&pic));
	vpic_write(&pic, 0x20, EOI);
	vpic_write(&pic, 0x20, EOI);
	assert_int_equal(status(&pic, 0x20, READ_ISR), 0x02);
	vpic_write(&pic, 0x20, SPECIFIC(1));
	assert_int_equal(vpic_read(&pic, 0x20), 0);
}

/* A poll is an acknowledge without a vector, through either port, once. */
static void poll(void **state)
{
	struct vpic pic;

	(void)state;
	for (uint16_t a0 = 0; a0 < 2; a0++) {
		start(&pic, ICW4_PC);
		vpic_write(&pic, 0x21, 0x40);
		vpic_write(&pic, 0x20, POLL);
		assert_int_equal(vpic_read(&pic, 0x20 + a0), 0);
		assert_int_equal(vpic_read(&pic, 0x21), 0x40);
		vpic_set_line(&pic, 5, true);
		vpic_write(&pic, 0x20, POLL);
		assert_int_equal(vpic_read(&pic, 0x20 + a0), 0x85);
		assert_int_equal(status(&pic, 0x20, READ_ISR), 0x20);
		assert_false(vpic_intr(&pic));
		vpic_write(&pic, 0x20, EOI);
		vpic_set_line(&pic, 14, true);
		vpic_write(&pic, 0x20, POLL);
		assert_int_equal(vpic_read(&pic, 0x20 + a0), 0x82);
		vpic_write(&pic, 0xa0, POLL);
		assert_int_equal(vpic_read(&pic, 0xa0 + a0), 0x86);
		assert_int_equal(status(&pic, 0xa0, READ_ISR), 0x40);
		/* A poll that an OCW3 without P takes back. */
		vpic_write(&pic, 0xa0, POLL);
		assert_int_equal(status(&pic, 0xa0, READ_IRR), 0);
	}
	/* A polled slave's next request is an edge for the master. */
	start(&pic, ICW4_AUTO_EOI);
	vpic_set_line(&pic, 14, true);
	assert_int_equal(status(&pic, 0x20, POLL), 0x82);
	vpic_set_line(&pic, 15, true);
	assert_int_equal(status(&pic, 0xa0, POLL), 0x86);
	assert_int_equal(vpic_ack(&pic), BASE + 15);
}

/* Which register a read returns stays chosen; RIS without RR chooses nothing. */
static void status_read(void **state)
{
	struct vpic pic;

	(void)state;
	start(&pic, ICW4_PC);
	vpic_set_line(&pic, 3, true);
	assert_int_equal(vpic_read(&pic, 0x20), 0x08);
	assert_int_equal(vpic_ack(&pic), BASE + 3);
	vpic_set_line(&pic, 4, true);
	vpic_write(&pic, 0x20, 0x09);
	assert_int_equal(vpic_read(&pic, 0x20), 0x10);
	vpic_write(&pic, 0x20, READ_ISR);
	assert_int_equal(vpic_read(&pic, 0x20), 0x08);
	vpic_write(&pic, 0x20, 0x08);
	assert_int_equal(vpic_read(&pic, 0x20), 0x08);
	assert_int_equal(status(&pic, 0x20, READ_IRR), 0x10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_priority),
		cmocka_unit_test(rotate_on_specific_eoi),
		cmocka_unit_test(rotate_on_non_specific_eoi),
		cmocka_unit_test(specific_eoi),
		cmocka_unit_test(automatic_eoi),
		cmocka_unit_test(rotate_in_automatic_eoi),
		cmocka_unit_test(mask),
		cmocka_unit_test(special_mask),
		cmocka_unit_test(poll),
		cmocka_unit_test(status_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
