/* SPDX-License-Identifier: MIT */
/* A virtual pair of 8259A: priority resolver, command words and the cascade. */
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
 * Inputs that can be made level-triggered. The timer, the keyboard, the cascade, the clock and the coprocessor are
 * edges for good (EISA and every PC chipset since: "reserved, must be 0"). ICW1's LTIM bit has no effect there.
 */
#define MASTER_ELCR_WRITABLE 0xf8
#define SLAVE_ELCR_WRITABLE  0xde

static struct vpic_chip *chip_at(struct vpic *pic, uint16_t port)
{
	return (port & ~1u) == VPIC_SLAVE_CMD || port == VPIC_SLAVE_ELCR ? &pic->slave : &pic->master;
}

static bool is_elcr(uint16_t port)
{
	return port == VPIC_MASTER_ELCR || port == VPIC_SLAVE_ELCR;
}

/* Which inputs ask. A line must stay asserted until it is acknowledged, whichever way it is triggered. */
static uint8_t chip_irr(const struct vpic_chip *c)
{
	return (uint8_t)(c->line & (c->latch | c->elcr));
}

/* The input of highest priority in a set, or -1: the set turned so that this one comes first. */
static int chip_highest(const struct vpic_chip *c, unsigned set)
{
	unsigned first = (c->lowest + 1u) % INPUTS;

	return set ? (int)((first + (unsigned)__builtin_ctz((set << INPUTS | set) >> first)) % INPUTS) : -1;
}

/*
 * 8259A, "Special Mask Mode": a level that is masked while in service no longer holds back the others, and
 * "will not be cleared by a non-specific EOI".
 */
static unsigned chip_service(const struct vpic_chip *c)
{
	return c->isr & ~(c->special_mask ? c->imr : 0u);
}

/* Inputs of a chip that have a slave behind them. */
static unsigned chip_slaves(const struct vpic *pic, const struct vpic_chip *c)
{
	return c == &pic->master && !c->single ? c->icw3 : 0;
}

/* The input that INT is up for, or -1: it must beat all that are in service. */
static int chip_request(const struct vpic *pic, const struct vpic_chip *c)
{
	unsigned requests = chip_irr(c) & ~(unsigned)c->imr, service = chip_service(c);
	int irq = chip_highest(c, requests | service);

	/*
	 * 8259A, "The Special Fully Nested Mode": a slave that is in service is not locked out of the master,
	 * because what it asks for now is of higher priority among its own.
	 */
	if (c->nested)
		service &= ~chip_slaves(pic, c);
	/* 8259A, "Operation Command Words": it takes requests only once its initialisation is complete. */
	return c->step == VPIC_READY && irq >= 0 && (requests & ~service) >> irq & 1 ? irq : -1;
}

/* An acknowledge or a poll: the request, if there is one, becomes service. */
static int chip_take(const struct vpic *pic, struct vpic_chip *c)
{
	int irq = chip_request(pic, c);
	uint8_t bit = (uint8_t)(1u << (irq & 7));

	if (irq < 0)
		return irq;
	c->latch &= (uint8_t)~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->auto_rotate)
		c->lowest = (uint8_t)irq;
	return irq;
}

static void chip_line(struct vpic_chip *c, unsigned irq, bool high)
{
	uint8_t bit = (uint8_t)(1u << irq), line = (uint8_t)(high ? c->line | bit : c->line & ~bit);

	c->latch = (uint8_t)((c->latch | (line & ~c->line & ~c->elcr)) & line);
	c->line = line;
}

/* The slave's INT is a wire like any other. */
static void vpic_cascade(struct vpic *pic)
{
	chip_line(&pic->master, VPIC_CASCADE, chip_request(pic, &pic->slave) >= 0);
}

/* The slave's INT drops while it is acknowledged, or the master would miss the edge of the next request. */
static int slave_take(struct vpic *pic)
{
	int irq = chip_take(pic, &pic->slave);

	chip_line(&pic->master, VPIC_CASCADE, false);
	vpic_cascade(pic);
	return irq;
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
	int irq = value & OCW2_SL ? value & OCW2_LEVEL : chip_highest(c, chip_service(c));

	/* Neither EOI nor SL: rotation in AEOI mode is turned on or off. */
	if (!(value & (OCW2_SL | OCW2_EOI)))
		c->auto_rotate = value & OCW2_ROTATE;
	else if (irq >= 0 && (value & OCW2_ROTATE))
		c->lowest = (uint8_t)irq;
	if (irq >= 0 && (value & OCW2_EOI))
		c->isr &= (uint8_t) ~(1u << irq);
}

static void chip_ocw3(struct vpic_chip *c, uint8_t value)
{
	if (value & OCW3_ESMM)
		c->special_mask = value & OCW3_SMM;
	if (value & OCW3_RR)
		c->read_isr = value & OCW3_RIS;
	c->poll = value & OCW3_POLL;
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

void vpic_init(struct vpic *pic)
{
	*pic = (struct vpic){ .master.lowest = INPUTS - 1, .slave.lowest = INPUTS - 1 };
}

uint8_t vpic_read(struct vpic *pic, uint16_t port)
{
	struct vpic_chip *c = chip_at(pic, port);
	int irq;

	if (is_elcr(port))
		return c->elcr;
	if (!c->poll) {
		if (port & 1)
			return c->imr;
		return c->read_isr ? c->isr : chip_irr(c);
	}
	/* 8259A, "Poll Command": "the next RD pulse" is an acknowledge, whatever A0 is. */
	c->poll = false;
	irq = c == &pic->slave ? slave_take(pic) : chip_take(pic, c);
	return (uint8_t)(irq < 0 ? 0 : 0x80 | irq);
}

void vpic_write(struct vpic *pic, uint16_t port, uint8_t value)
{
	struct vpic_chip *c = chip_at(pic, port);

	if (is_elcr(port)) {
		c->elcr = value & (c == &pic->slave ? SLAVE_ELCR_WRITABLE : MASTER_ELCR_WRITABLE);
		c->latch &= (uint8_t)~c->elcr;
	} else if (port & 1) {
		chip_data(c, value);
	} else if (value & ICW1) {
		chip_icw1(c, value);
	} else if (value & OCW3) {
		chip_ocw3(c, value);
	} else {
		chip_ocw2(c, value);
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
	return chip_request(pic, &pic->master) >= 0;
}

uint8_t vpic_ack(struct vpic *pic)
{
	const struct vpic_chip *c = &pic->master;
	int irq = chip_take(pic, &pic->master);

	if (irq >= 0 && (chip_slaves(pic, c) >> irq & 1)) {
		c = &pic->slave;
		/* The master puts the number of its input on the CAS lines, and the slave with that ID answers. */
		if (c->single || (c->icw3 & ICW3_ID) != irq)
			return OPEN_BUS;
		irq = slave_take(pic);
	}
	return (uint8_t)(c->icw2 | (irq < 0 ? SPURIOUS : irq));
}
