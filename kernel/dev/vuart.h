/* SPDX-License-Identifier: MIT */
/* A 16550A UART whose line is infinitely fast: what is written is sent, what arrives has arrived. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define VUART_FIFO_SIZE 16

struct vuart {
	uint8_t reg[8];     /* as last written; of the LSR its errors, of the MSR all of it */
	uint8_t divisor[2]; /* low byte first */
	bool thr_interrupt; /* "transmitter holding register empty" is pending */
	uint8_t fifo[VUART_FIFO_SIZE];
	uint8_t head, count; /* received and not yet read; at most 1 without FIFO */
};

/* What the platform still has to do. */
struct vuart_effect {
	bool sent;    /* `byte` leaves the transmitter */
	bool dropped; /* the interrupt output went inactive, if only for a moment: an edge may follow */
	uint8_t byte;
};

void vuart_init(struct vuart *u);
/* Registers 0 to 7. */
uint8_t vuart_read(struct vuart *u, unsigned reg, struct vuart_effect *effect);
void vuart_write(struct vuart *u, unsigned reg, uint8_t value, struct vuart_effect *effect);
/* A character arrives; it overruns when there is no room. Ignored in loop-back mode. */
void vuart_receive(struct vuart *u, uint8_t byte);
/* Whether one could arrive now and would be kept. */
bool vuart_has_room(const struct vuart *u);
/* The level of the ISA interrupt line. */
bool vuart_line(const struct vuart *u);
