/* SPDX-License-Identifier: MIT */
/* A virtual pair of 8259A: priority resolver, command words and the cascade. */
#include <stddef.h>
#include "vpic.h"

#define INPUTS   8
#define SPURIOUS 7    /* 8259A, "Edge and Level Triggered Modes": a request that went away reads as IR7 */
#define OPEN_BUS 0xff /* nobody drives the data bus */
#define ICW1     0x10 /* with A0 = 0: D4 = 1 is ICW1, else D3 = 1 is OCW3, else OCW2 */
#define OCW3     0x08

#define ICW1_IC4    0x01
#define ICW1_SNGL   0x02
#define ICW2_VECTOR 0xf8
#define ICW3_ID     0x07
#define ICW4_AEOI   0x02
#define ICW4_SFNM   0x10

#define OCW2_LEVEL  0x07
#define OCW2_EOI    0x20
#define OCW2_SL     0x40
#define OCW2_ROTATE 0x80

#define OCW3_RIS  0x01
#define OCW3_RR   0x02
#define OCW3_POLL 0x04
#define OCW3_SMM  0x20
#define OCW3_ESMM 0x40

/*
 * Inputs that can be made level-triggered. The timer, the keyboard, the cascade, the clock and the
 * coprocessor are edges for good (EISA and every PC chipset since: "reserved, must be 0"). ICW1's LTIM bit
 * has no effect there.
 */
#define MASTER_ELCR_WRITABLE 0xf8
#define SLAVE_ELCR_WRITABLE  0xde

/* Which inputs ask. A line must stay asserted until it is acknowledged, whichever way it is triggered. */
static uint8_t chip_irr(const struct vpic_chip *c)
{
	return (uint8_t)(c->line & (c->latch | c->elcr));
}

/* The input of highest priority in a set, or -1. */
static int chip_highest(const struct vpic_chip *c, uint8_t set)
{
	for (int i = 1; i <= INPUTS; i++) {
		int irq = (c->lowest + i) % INPUTS;

		if (set >> irq & 1)
			return irq;
	}
	return -1;
}

/* Distance from the top: 0 is the highest priority, 7 the lowest. */
static int chip_rank(const struct vpic_chip *c, int irq)
{
	return (irq - c->lowest - 1 + 2 * INPUTS) % INPUTS;
}

/*
 * 8259A, "Special Mask Mode": a level that is masked while in service no longer holds back the others, and
 * "will not be cleared by a non-specific EOI".
 */
static uint8_t chip_service(const struct vpic_chip *c)
{
	return c->special_mask ? (uint8_t)(c->isr & ~c->imr) : c->isr;
}

/* The input that INT is up for, or -1. `slaves` are the inputs of a master that have a slave. */
static int chip_request(const struct vpic_chip *c, uint8_t slaves)
{
	int irq, service;

	/* 8259A, "Operation Command Words": it takes requests only once its initialisation is complete. */
	if (c->step != VPIC_READY)
		return -1;
	irq = chip_highest(c, (uint8_t)(chip_irr(c) & ~c->imr));
	service = chip_highest(c, chip_service(c));
	if (irq < 0 || service < 0 || chip_rank(c, irq) < chip_rank(c, service))
		return irq;
	/*
	 * 8259A, "The Special Fully Nested Mode": a slave that is in service is not locked out of the master,
	 * because what it asks for now is of higher priority among its own.
	 */
	if (c->nested && irq == service && (slaves >> irq & 1))
		return irq;
	return -1;
}

static uint8_t master_slaves(const struct vpic *pic)
{
	return pic->master.single ? 0 : pic->master.icw3;
}

/* The end of an acknowledge or a poll: the request becomes service. */
static void chip_take(struct vpic_chip *c, int irq)
{
	uint8_t bit = (uint8_t)(1u << irq);

	c->latch &= (uint8_t)~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->auto_rotate)
		c->lowest = (uint8_t)irq;
}

static void chip_line(struct vpic_chip *c, unsigned irq, bool high)
{
	uint8_t bit = (uint8_t)(1u << irq);

	if (high) {
		c->latch |= (uint8_t)(bit & ~c->line & ~c->elcr);
		c->line |= bit;
	} else {
		c->latch &= (uint8_t)~bit;
		c->line &= (uint8_t)~bit;
	}
}

/* The slave's INT is a wire like any other. */
static void vpic_cascade(struct vpic *pic)
{
	chip_line(&pic->master, VPIC_CASCADE, chip_request(&pic->slave, 0) >= 0);
}

/* The slave's INT drops while it is acknowledged, or the master would miss the edge of the next request. */
static void vpic_pulse(struct vpic *pic)
{
	chip_line(&pic->master, VPIC_CASCADE, false);
	vpic_cascade(pic);
}

static void chip_icw1(struct vpic_chip *c, uint8_t value)
{
	/*
	 * 8259A, "Initialization Command Words": the edge sense circuit is reset (a line that is high already
	 * makes no request), IMR is cleared, IR7 gets the lowest priority, special mask mode is cleared,
	 * status read is IRR; without ICW4 all of its functions are off. Lines and ELCR are not of the 8259A
	 * proper.
	 */
	*c = (struct vpic_chip){
		.step = VPIC_ICW2,
		.line = c->line,
		.elcr = c->elcr,
		.lowest = INPUTS - 1,
		.icw3 = INPUTS - 1,
		.single = value & ICW1_SNGL,
		.want_icw4 = value & ICW1_IC4,
	};
}

static void chip_ocw2(struct vpic_chip *c, uint8_t value)
{
	int irq = value & OCW2_LEVEL;

	if (!(value & OCW2_SL)) {
		/* Neither EOI nor SL: rotation in AEOI mode is turned on or off. */
		if (!(value & OCW2_EOI)) {
			c->auto_rotate = value & OCW2_ROTATE;
			return;
		}
		irq = chip_highest(c, chip_service(c));
		if (irq < 0)
			return;
	}
	if (value & OCW2_EOI)
		c->isr &= (uint8_t) ~(1u << irq);
	if (value & OCW2_ROTATE)
		c->lowest = (uint8_t)irq;
}

static void chip_ocw3(struct vpic_chip *c, uint8_t value)
{
	if (value & OCW3_ESMM)
		c->special_mask = value & OCW3_SMM;
	if (value & OCW3_RR)
		c->read_isr = value & OCW3_RIS;
	c->poll = value & OCW3_POLL;
}

static void chip_command(struct vpic_chip *c, uint8_t value)
{
	if (value & ICW1)
		chip_icw1(c, value);
	else if (value & OCW3)
		chip_ocw3(c, value);
	else
		chip_ocw2(c, value);
}

static void chip_data(struct vpic_chip *c, uint8_t value)
{
	switch (c->step) {
	case VPIC_RESET:
	case VPIC_READY:
		c->imr = value;
		return;
	case VPIC_ICW2:
		c->icw2 = value & ICW2_VECTOR;
		if (!c->single) {
			c->step = VPIC_ICW3;
			return;
		}
		break;
	case VPIC_ICW3:
		c->icw3 = value;
		break;
	case VPIC_ICW4:
		/* The buffered modes change only pins, and the 8080 mode (uPM = 0) cannot work in a PC. */
		c->auto_eoi = value & ICW4_AEOI;
		c->nested = value & ICW4_SFNM;
		c->want_icw4 = false;
		break;
	}
	c->step = c->want_icw4 ? VPIC_ICW4 : VPIC_READY;
}

static uint8_t chip_read(struct vpic_chip *c, bool data, uint8_t slaves)
{
	/* 8259A, "Poll Command": "the next RD pulse" is an acknowledge, whatever A0 is. */
	if (c->poll) {
		int irq = chip_request(c, slaves);

		c->poll = false;
		if (irq < 0)
			return 0;
		chip_take(c, irq);
		return (uint8_t)(0x80 | irq);
	}
	if (data)
		return c->imr;
	return c->read_isr ? c->isr : chip_irr(c);
}

void vpic_init(struct vpic *pic)
{
	*pic = (struct vpic){ .master.lowest = INPUTS - 1, .slave.lowest = INPUTS - 1 };
}

uint8_t vpic_read(struct vpic *pic, uint16_t port)
{
	uint8_t value = OPEN_BUS;
	bool polled;

	switch (port) {
	case VPIC_MASTER_CMD:
	case VPIC_MASTER_DATA:
		value = chip_read(&pic->master, port == VPIC_MASTER_DATA, master_slaves(pic));
		break;
	case VPIC_SLAVE_CMD:
	case VPIC_SLAVE_DATA:
		polled = pic->slave.poll;
		value = chip_read(&pic->slave, port == VPIC_SLAVE_DATA, 0);
		if (polled)
			vpic_pulse(pic);
		break;
	case VPIC_MASTER_ELCR:
		value = pic->master.elcr;
		break;
	case VPIC_SLAVE_ELCR:
		value = pic->slave.elcr;
		break;
	}
	return value;
}

static void chip_elcr(struct vpic_chip *c, uint8_t value)
{
	c->elcr = value;
	c->latch &= (uint8_t)~value;
}

void vpic_write(struct vpic *pic, uint16_t port, uint8_t value)
{
	switch (port) {
	case VPIC_MASTER_CMD:
		chip_command(&pic->master, value);
		break;
	case VPIC_MASTER_DATA:
		chip_data(&pic->master, value);
		break;
	case VPIC_SLAVE_CMD:
		chip_command(&pic->slave, value);
		break;
	case VPIC_SLAVE_DATA:
		chip_data(&pic->slave, value);
		break;
	case VPIC_MASTER_ELCR:
		chip_elcr(&pic->master, value & MASTER_ELCR_WRITABLE);
		break;
	case VPIC_SLAVE_ELCR:
		chip_elcr(&pic->slave, value & SLAVE_ELCR_WRITABLE);
		break;
	}
	vpic_cascade(pic);
}

void vpic_set_line(struct vpic *pic, unsigned irq, bool high)
{
	if (irq == VPIC_CASCADE || irq >= VPIC_LINES)
		return;
	chip_line(irq < INPUTS ? &pic->master : &pic->slave, irq % INPUTS, high);
	vpic_cascade(pic);
}

bool vpic_intr(const struct vpic *pic)
{
	return chip_request(&pic->master, master_slaves(pic)) >= 0;
}

static uint8_t slave_ack(struct vpic_chip *c)
{
	int irq = chip_request(c, 0);

	if (irq < 0)
		return c->icw2 | SPURIOUS;
	chip_take(c, irq);
	return (uint8_t)(c->icw2 | irq);
}

uint8_t vpic_ack(struct vpic *pic)
{
	struct vpic_chip *slave = &pic->slave;
	int irq = chip_request(&pic->master, master_slaves(pic));
	uint8_t vector;

	if (irq < 0)
		return pic->master.icw2 | SPURIOUS;
	chip_take(&pic->master, irq);
	if (!(master_slaves(pic) >> irq & 1))
		return (uint8_t)(pic->master.icw2 | irq);
	/* The master puts the number of its input on the CAS lines, and the slave with that ID answers. */
	if (slave->single || (slave->icw3 & ICW3_ID) != irq)
		return OPEN_BUS;
	vector = slave_ack(slave);
	vpic_pulse(pic);
	return vector;
}
