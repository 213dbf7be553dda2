/* SPDX-License-Identifier: MIT */
/* The virtual UART. Registers and rules are those of the PC16550D data sheet, quoted by its section titles.
 */
#include "kernel/dev/vuart.h"

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RX   0x01u
#define IER_THRE 0x02u
#define IER_LINE 0x04u
#define IER_MSR  0x08u

#define IIR_NONE    0x01u
#define IIR_MSR     0x00u
#define IIR_THRE    0x02u
#define IIR_RX      0x04u
#define IIR_LINE    0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO    0xc0u

#define FCR_ENABLE   0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_TRIGGER  0xc0u

#define LCR_DLAB 0x80u

#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u

#define LSR_DR      0x01u
#define LSR_OVERRUN 0x02u
#define LSR_THRE    0x20u
#define LSR_TEMT    0x40u

#define MSR_RI    0x40u
#define MSR_DELTA 0x0fu
/* Somebody is at the other end and ready: CTS, DSR and DCD. */
#define MSR_CABLE 0xb0u

static const uint8_t writable[8] = {
	[IER] = 0x0f, [IIR_FCR] = FCR_ENABLE | FCR_TRIGGER, [LCR] = 0xff, [MCR] = 0x1f, [SCR] = 0xff,
};

static const uint8_t triggers[4] = { 1, 4, 8, 14 };

void vuart_init(struct vuart *u)
{
	*u = (struct vuart){ .msr = MSR_CABLE, .divisor = 12 };
}

static unsigned trigger(const struct vuart *u)
{
	return u->fcr & FCR_ENABLE ? triggers[u->fcr >> 6] : 1;
}

/* The pending interrupt of highest priority ("Interrupt Identification Register"). */
static uint8_t pending(const struct vuart *u)
{
	if (u->ier & IER_LINE && u->errors)
		return IIR_LINE;
	if (u->ier & IER_RX && u->count >= trigger(u))
		return IIR_RX;
	/* "FIFO Interrupt Mode Operation": four character times without traffic; on this line they take no
	 * time. */
	if (u->ier & IER_RX && u->count)
		return IIR_TIMEOUT;
	if (u->ier & IER_THRE && u->thr_interrupt)
		return IIR_THRE;
	if (u->ier & IER_MSR && u->msr & MSR_DELTA)
		return IIR_MSR;
	return IIR_NONE;
}

/* Whether this source alone keeps the interrupt output active. */
static bool sole_source(const struct vuart *u, unsigned enable)
{
	struct vuart rest = *u;

	rest.ier &= (uint8_t)~enable;
	return pending(u) != IIR_NONE && pending(&rest) == IIR_NONE;
}

/* On a PC the OUT2 output switches the interrupt line; the bit does so in loop-back mode too, as probes
 * expect. */
bool vuart_line(const struct vuart *u)
{
	return u->mcr & MCR_OUT2 && pending(u) != IIR_NONE;
}

static void push(struct vuart *u, uint8_t byte)
{
	unsigned room = u->fcr & FCR_ENABLE ? VUART_FIFO_SIZE : 1;

	if (u->count < room) {
		u->fifo[(u->head + u->count++) % VUART_FIFO_SIZE] = byte;
		return;
	}
	/*
	 * "Line Status Register", overrun: without FIFO the new character takes the place of the unread one;
	 * with FIFO only the shift register is overwritten.
	 */
	u->errors |= LSR_OVERRUN;
	if (!(u->fcr & FCR_ENABLE))
		u->fifo[u->head] = byte;
}

void vuart_receive(struct vuart *u, uint8_t byte)
{
	if (!(u->mcr & MCR_LOOP))
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

/* Modem inputs follow the cable or, in loop-back mode, the outputs: RTS, DTR, OUT1, OUT2 to CTS, DSR, RI,
 * DCD. */
static void modem_inputs(struct vuart *u)
{
	uint8_t in = MSR_CABLE, changed;

	if (u->mcr & MCR_LOOP)
		in = (uint8_t)((u->mcr & 1) << 5 | (u->mcr & 2) << 3 | (u->mcr & 0x0c) << 4);
	changed = (uint8_t)((u->msr ^ in) & 0xf0);
	/* "Modem Status Register": the ring indicator reports only its trailing edge. */
	if (in & MSR_RI)
		changed &= (uint8_t)~MSR_RI;
	u->msr = (uint8_t)(in | (u->msr & MSR_DELTA) | changed >> 4);
}

static uint8_t read_iir(struct vuart *u)
{
	uint8_t id = pending(u);

	/* "Interrupt Control Functions": reading it resets the THRE interrupt if that is the source it shows.
	 */
	if (id == IIR_THRE)
		u->thr_interrupt = false;
	return (uint8_t)(id | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0));
}

static uint8_t read_lsr(struct vuart *u)
{
	uint8_t value = (uint8_t)(LSR_THRE | LSR_TEMT | u->errors | (u->count ? LSR_DR : 0));

	u->errors = 0;
	return value;
}

static uint8_t read_msr(struct vuart *u)
{
	uint8_t value = u->msr;

	u->msr &= (uint8_t)~MSR_DELTA;
	return value;
}

uint8_t vuart_read(struct vuart *u, unsigned reg, struct vuart_effect *effect)
{
	*effect = (struct vuart_effect){ 0 };
	switch (reg) {
	case RBR_THR:
		if (u->lcr & LCR_DLAB)
			return (uint8_t)u->divisor;
		/* Each read resets the character timeout, which then runs out again at once. */
		effect->dropped = u->count <= trigger(u) && sole_source(u, IER_RX);
		return pop(u);
	case IER:
		return u->lcr & LCR_DLAB ? (uint8_t)(u->divisor >> 8) : u->ier;
	case IIR_FCR:
		return read_iir(u);
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		return read_lsr(u);
	case MSR:
		return read_msr(u);
	case SCR:
		return u->scratch;
	}
	return 0xff;
}

static void transmit(struct vuart *u, uint8_t byte, struct vuart_effect *effect)
{
	/*
	 * Writing THR resets its interrupt, and the byte has left when this returns: the request falls and
	 * rises. A driver that answers the interrupt without reading IIR needs that edge.
	 */
	effect->dropped = sole_source(u, IER_THRE);
	effect->sent = !(u->mcr & MCR_LOOP);
	effect->byte = byte;
	if (u->mcr & MCR_LOOP)
		push(u, byte);
	u->thr_interrupt = true;
}

static void write_ier(struct vuart *u, uint8_t value)
{
	/* Enabling the THRE interrupt while the register is empty, which it always is, requests it. */
	if (value & ~u->ier & IER_THRE)
		u->thr_interrupt = true;
	u->ier = value & writable[IER];
}

static void write_fcr(struct vuart *u, uint8_t value)
{
	/* "FIFO Control Register": a change of bit 0 empties the FIFOs; the other bits count only while it
	 * is 1. */
	if ((value ^ u->fcr) & FCR_ENABLE || (value & FCR_ENABLE && value & FCR_CLEAR_RX))
		u->count = 0;
	u->fcr = value & FCR_ENABLE ? value & writable[IIR_FCR] : 0;
}

void vuart_write(struct vuart *u, unsigned reg, uint8_t value, struct vuart_effect *effect)
{
	*effect = (struct vuart_effect){ 0 };
	switch (reg) {
	case RBR_THR:
		if (u->lcr & LCR_DLAB)
			u->divisor = (uint16_t)((u->divisor & 0xff00) | value);
		else
			transmit(u, value, effect);
		break;
	case IER:
		if (u->lcr & LCR_DLAB)
			u->divisor = (uint16_t)((u->divisor & 0xff) | value << 8);
		else
			write_ier(u, value);
		break;
	case IIR_FCR:
		write_fcr(u, value);
		break;
	case LCR:
		u->lcr = value;
		break;
	case MCR:
		u->mcr = value & writable[MCR];
		modem_inputs(u);
		break;
	case SCR:
		u->scratch = value;
		break;
	}
}
