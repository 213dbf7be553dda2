/* SPDX-License-Identifier: MIT */
/* A virtual pair of 8259A, wired as in a PC: the slave's INT is the master's IR2. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Ports: command (A0 = 0) and data (A0 = 1) of each chip, and the edge/level control registers. */
#define VPIC_MASTER_CMD  0x20
#define VPIC_MASTER_DATA 0x21
#define VPIC_SLAVE_CMD   0xa0
#define VPIC_SLAVE_DATA  0xa1
#define VPIC_MASTER_ELCR 0x4d0
#define VPIC_SLAVE_ELCR  0x4d1

#define VPIC_LINES   16
#define VPIC_CASCADE 2 /* the master's input that the slave drives */

/* Where a chip is in its initialisation sequence: what the next write with A0 = 1 is. */
enum vpic_step {
	VPIC_RESET, /* never initialised: OCW1 is accepted, no interrupt is */
	VPIC_ICW2,
	VPIC_ICW3,
	VPIC_ICW4,
	VPIC_READY,
};

struct vpic_chip {
	enum vpic_step step;
	uint8_t line;  /* electrical level of the inputs */
	uint8_t latch; /* edges seen on edge-triggered inputs, until acknowledged or withdrawn */
	uint8_t isr;
	uint8_t imr;
	uint8_t elcr;   /* level-triggered inputs */
	uint8_t lowest; /* the input of lowest priority, 7 unless rotated */
	uint8_t icw2;   /* vector of input 0 */
	uint8_t icw3;   /* master: inputs with a slave; slave: its ID */
	bool single;    /* ICW1: no cascade */
	bool want_icw4;
	bool nested;      /* ICW4: special fully nested mode */
	bool auto_eoi;    /* ICW4: AEOI */
	bool auto_rotate; /* OCW2: rotate in AEOI mode */
	bool special_mask;
	bool read_isr; /* OCW3: what a read with A0 = 0 returns */
	bool poll;     /* OCW3: the next read is a poll */
};

/* One per VM. The caller holds the VM's PIC lock for every call, and asks vpic_intr() after each. */
struct vpic {
	struct vpic_chip master;
	struct vpic_chip slave;
};

/* Power-on state: nothing initialised, nothing accepted, every line low. There is no firmware in here. */
void vpic_init(struct vpic *pic);

/* 8-bit accesses to the six ports, and to no other. A read can be a poll, an acknowledge. */
uint8_t vpic_read(struct vpic *pic, uint16_t port);
void vpic_write(struct vpic *pic, uint16_t port, uint8_t value);

/* The wire of IRQ 0 to 15 goes high or low. IRQ 2, the cascade, has no wire: it and others are ignored. */
void vpic_set_line(struct vpic *pic, unsigned irq, bool high);

/* The INTR wire to the processor (LINT0) and to the IOAPIC's pin 0. */
bool vpic_intr(const struct vpic *pic);

/*
 * An interrupt-acknowledge sequence (both INTA cycles): returns the vector. It is valid with INTR low: the request may
 * have been withdrawn, and the vector is then that of the spurious IRQ 7 (or 15). INTR drops during the sequence and may
 * be up again after it: an edge-triggered input (an IOAPIC's ExtINT entry) must be shown a low level in between.
 */
uint8_t vpic_ack(struct vpic *pic);
