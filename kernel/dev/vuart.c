/* SPDX-License-Identifier: MIT */
/* The virtual UART. Registers and rules are those of the PC16550D data sheet, whose titles are quoted. */
#include "kernel/dev/vuart.h"

enum { DATA, IER, FCR, LCR, MCR, LSR, MSR, SCR, IIR = FCR };

#define IER_RX       0x01u
#define IER_THRE     0x02u
#define IER_LINE     0x04u
#define IER_MSR      0x08u
#define IIR_NONE     0x01u
#define IIR_MSR      0x00u
#define IIR_THRE     0x02u
#define IIR_RX       0x04u
#define IIR_LINE     0x06u
#define IIR_TIMEOUT  0x0cu
#define IIR_FIFO     0xc0u
#define FCR_ENABLE   0x01u
#define FCR_CLEAR_RX 0x02u
#define LCR_DLAB     0x80u
#define MCR_OUT2     0x08u
#define MCR_LOOP     0x10u
#define LSR_DR       0x01u
#define LSR_OVERRUN  0x02u
#define LSR_EMPTY    0x60u /* THRE and TEMT: nothing ever waits to be sent */
#define MSR_RI       0x40u
#define MSR_DELTA    0x0fu
#define MSR_CABLE    0xb0u /* somebody is at the other end and ready: CTS, DSR and DCD */

static const uint8_t writable[8] = { [IER] = 0x0f, [FCR] = 0xc1, [LCR] = 0xff, [MCR] = 0x1f, [SCR] = 0xff };

void vuart_init(struct vuart *u)
{
	*u = (struct vuart){ .reg[MSR] = MSR_CABLE, .divisor = { 12 } };
}

static bool fifo(const struct vuart *u)
{
	return u->reg[FCR] & FCR_ENABLE;
}

static unsigned trigger(const struct vuart *u)
{
	static const uint8_t levels[4] = { 1, 4, 8, 14 };

	return fifo(u) ? levels[u->reg[FCR] >> 6] : 1;
}

/* The pending interrupt of highest priority among those enabled ("Interrupt Identification Register"). */
static uint8_t pending(const struct vuart *u, unsigned enabled)
{
	if (enabled & IER_LINE && u->reg[LSR])
		return IIR_LINE;
	/* "FIFO Interrupt Mode Operation": four character times without traffic take no time here. */
	if (enabled & IER_RX && u->count)
		return u->count >= trigger(u) ? IIR_RX : IIR_TIMEOUT;
	if (enabled & IER_THRE && u->thr_interrupt)
		return IIR_THRE;
	if (enabled & IER_MSR && u->reg[MSR] & MSR_DELTA)
		return IIR_MSR;
	return IIR_NONE;
}

/* Whether this source alone keeps the interrupt output active. */
static bool sole_source(const struct vuart *u, unsigned enable)
{
	return pending(u, u->reg[IER]) != IIR_NONE && pending(u, u->reg[IER] & ~enable) == IIR_NONE;
}

/* On a PC OUT2 switches the interrupt line; the bit does so in loop-back mode too, as probes expect. */
bool vuart_line(const struct vuart *u)
{
	return u->reg[MCR] & MCR_OUT2 && pending(u, u->reg[IER]) != IIR_NONE;
}

static unsigned capacity(const struct vuart *u)
{
	return fifo(u) ? VUART_FIFO_SIZE : 1;
}

bool vuart_has_room(const struct vuart *u)
{
	return !(u->reg[MCR] & MCR_LOOP) && u->count < capacity(u);
}

static void push(struct vuart *u, uint8_t byte)
{
	if (u->count < capacity(u)) {
		u->fifo[(u->head + u->count++) % VUART_FIFO_SIZE] = byte;
		return;
	}
	/*
	 * "Line Status Register", overrun: without FIFO the new character takes the place of the unread one;
	 * with FIFO only the shift register is overwritten.
	 */
	u->reg[LSR] |= LSR_OVERRUN;
	if (!fifo(u))
		u->fifo[u->head] = byte;
}

void vuart_receive(struct vuart *u, uint8_t byte)
{
	if (!(u->reg[MCR] & MCR_LOOP))
		push(u, byte);
}

static uint8_t pop(struct vuart *u)
{
	uint8_t byte = u->fifo[u->head];

	if (u->count) {
		u->head = (uint8_t)((u->head + 1) % VUART_FIFO_SIZE);
		u->count--;
	}
	return byte;
}

/* The inputs follow the cable or, in loop-back mode, RTS, DTR, OUT1, OUT2 to CTS, DSR, RI, DCD. */
static void modem_inputs(struct vuart *u)
{
	unsigned mcr = u->reg[MCR], in = MSR_CABLE, changed;

	if (mcr & MCR_LOOP)
		in = (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 0x0c) << 4;
	changed = (u->reg[MSR] ^ in) & 0xf0;
	/* "Modem Status Register": the ring indicator reports only its trailing edge. */
	if (in & MSR_RI)
		changed &= ~MSR_RI;
	u->reg[MSR] = (uint8_t)(in | (u->reg[MSR] & MSR_DELTA) | changed >> 4);
}

uint8_t vuart_read(struct vuart *u, unsigned reg, struct vuart_effect *effect)
{
	uint8_t value = reg < 8 ? u->reg[reg] : 0xff;

	*effect = (struct vuart_effect){ 0 };
	if (reg <= IER && u->reg[LCR] & LCR_DLAB)
		return u->divisor[reg];
	switch (reg) {
	case DATA:
		/* Each read resets the character timeout, which then runs out again at once. */
		effect->dropped = u->count <= trigger(u) && sole_source(u, IER_RX);
		return pop(u);
	case IIR:
		value = pending(u, u->reg[IER]);
		/* "Interrupt Control Functions": reading resets the THRE interrupt if that is shown. */
		if (value == IIR_THRE)
			u->thr_interrupt = false;
		return value | (fifo(u) ? IIR_FIFO : 0);
	case LSR:
		u->reg[LSR] = 0;
		return value | LSR_EMPTY | (u->count ? LSR_DR : 0);
	case MSR:
		u->reg[MSR] &= (uint8_t)~MSR_DELTA;
		break;
	}
	return value;
}

static void transmit(struct vuart *u, uint8_t byte, struct vuart_effect *effect)
{
	/*
	 * Writing THR resets its interrupt, and the byte has left when this returns: the request falls and
	 * rises. A driver that answers the interrupt without reading IIR needs that edge.
	 */
	effect->dropped = sole_source(u, IER_THRE);
	effect->sent = !(u->reg[MCR] & MCR_LOOP);
	effect->byte = byte;
	if (!effect->sent)
		push(u, byte);
	u->thr_interrupt = true;
}

void vuart_write(struct vuart *u, unsigned reg, uint8_t value, struct vuart_effect *effect)
{
	uint8_t old = u->reg[reg];

	*effect = (struct vuart_effect){ 0 };
	if (reg <= IER && u->reg[LCR] & LCR_DLAB) {
		u->divisor[reg] = value;
		return;
	}
	u->reg[reg] = (uint8_t)((old & ~writable[reg]) | (value & writable[reg]));
	switch (reg) {
	case DATA:
		transmit(u, value, effect);
		break;
	case IER:
		/* Enabling the THRE interrupt while the register is empty, as it always is, requests it. */
		u->thr_interrupt |= value & ~old & IER_THRE;
		break;
	case FCR:
		/* "FIFO Control Register": a change of bit 0 empties the FIFOs; at 0 no other counts. */
		if ((value ^ old) & FCR_ENABLE || (fifo(u) && value & FCR_CLEAR_RX))
			u->count = 0;
		break;
	case MCR:
		modem_inputs(u);
		break;
	}
}
