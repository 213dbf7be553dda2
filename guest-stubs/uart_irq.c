/* SPDX-License-Identifier: MIT */
/*
 * The UART with itself at the other end: loop-back, FIFO and its trigger levels, each source of interrupts and its place in the
 * order, OUT2 as the switch of the interrupt line. PC16550D data sheet. Nothing is printed while it is looped back.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "uart_irq";

#define COM1   0x3f8
#define DATA   (COM1 + 0)
#define IER    (COM1 + 1)
#define IIR    (COM1 + 2)
#define FCR    (COM1 + 2)
#define LCR    (COM1 + 3)
#define MCR    (COM1 + 4)
#define LSR    (COM1 + 5)
#define MSR    (COM1 + 6)
#define SCR    (COM1 + 7)
#define PIN    4
#define VECTOR 0x71

#define IER_RX     0x01u
#define IER_THRE   0x02u
#define IER_LINE   0x04u
#define IER_MSR    0x08u
#define IIR_NONE   0x01u
#define IIR_THRE   0x02u
#define IIR_RX     0x04u
#define IIR_LINE   0x06u
#define IIR_AGED   0x0cu
#define LSR_READY  0x01u
#define LSR_OVER   0x02u
#define MCR_OUT2   0x08u
#define MCR_LOOP   0x10u
#define LCR_8N1    0x03u
#define LCR_DLAB   0x80u
#define FIFO_ON    0x01u
#define FIFO_CLEAR 0x06u

#define LIMIT 4000000ull
/*
 * Ticks between two bytes sent: more than one character's time, which is 350 ticks at 115200 baud and 4 MHz, and fewer than the
 * four after which the FIFO ages ("FIFO Interrupt Mode Operation"). Faster CPUs have a UART of no speed.
 */
#define CHARACTER 600ull

static volatile unsigned seen;

/* What was found while nothing could be printed. */
static struct {
	const char *text, *departs;
	bool good;
} found[40];
static unsigned count;

static void note(bool good, const char *text)
{
	found[count].text = text;
	found[count++].good = good;
}

/* Of the check before: how the emulator departs from it. */
static void departs(const char *how)
{
	found[count - 1].departs = how;
}

static void on_line(struct trap_frame *frame)
{
	(void)frame;
	seen++;
	apic_eoi();
}

static unsigned which(void)
{
	return cpu_inb(IIR) & 0xfu;
}

static void send(unsigned byte)
{
	cpu_outb(DATA, (uint8_t)byte);
	/* By time: a look at LSR would clear what it shows. */
	WAIT_FOR(false, CHARACTER);
}

static void loop(unsigned mcr)
{
	cpu_outb(IER, 0);
	cpu_outb(MCR, (uint8_t)(MCR_LOOP | mcr));
	cpu_outb(FCR, 0);
	while (cpu_inb(LSR) & LSR_READY)
		cpu_inb(DATA);
	cpu_inb(MSR);
	cpu_inb(IIR);
	seen = 0;
}

static void registers(void)
{
	bool same = true;

	for (unsigned v = 0; v < 256; v++) {
		cpu_outb(SCR, (uint8_t)v);
		same &= cpu_inb(SCR) == v;
	}
	note(same, "the scratch register keeps what is written");
	cpu_outb(LCR, LCR_DLAB | LCR_8N1);
	cpu_outb(DATA, 0x34);
	cpu_outb(IER, 0x12);
	same = cpu_inb(DATA) == 0x34 && cpu_inb(IER) == 0x12;
	cpu_outb(DATA, 1);
	cpu_outb(IER, 0);
	cpu_outb(LCR, LCR_8N1);
	note(same && cpu_inb(IER) == 0, "DLAB shows the divisor in place of data and IER");
	cpu_outb(IER, 0xff);
	note(cpu_inb(IER) == 0x0f, "IER has four bits");
	cpu_outb(IER, 0);
	cpu_outb(FCR, FIFO_ON | FIFO_CLEAR);
	same = (cpu_inb(IIR) & 0xc0) == 0xc0;
	cpu_outb(FCR, 0);
	note(same && !(cpu_inb(IIR) & 0xc0), "IIR tells whether the FIFO is on");
}

static void looped(void)
{
	bool same = true;

	loop(0);
	for (unsigned v = 0; v < 256; v++) {
		send(v);
		same &= WAIT_FOR(cpu_inb(LSR) & LSR_READY, LIMIT) && cpu_inb(DATA) == v &&
		        !(cpu_inb(LSR) & LSR_READY);
	}
	note(same, "looped back, each byte comes in again");
	send(1);
	send(2);
	note(cpu_inb(LSR) & LSR_OVER, "without FIFO the second unread byte is an overrun");
	note(!(cpu_inb(LSR) & LSR_OVER), "which LSR tells once");
	note(cpu_inb(DATA) == 2, "and the later byte is the one that stays");
}

static void fifo(void)
{
	bool same = true;

	loop(0);
	cpu_outb(FCR, FIFO_ON | FIFO_CLEAR);
	for (unsigned i = 0; i < 16; i++)
		send(0x40 + i);
	note(!(cpu_inb(LSR) & LSR_OVER), "the FIFO holds sixteen bytes");
	send(0x99);
	note(cpu_inb(LSR) & LSR_OVER, "the seventeenth is an overrun");
	for (unsigned i = 0; i < 16; i++)
		same &= cpu_inb(DATA) == 0x40 + i;
	note(same && !(cpu_inb(LSR) & LSR_READY), "and is lost, the others are not");
	send(1);
	cpu_outb(FCR, FIFO_ON | FIFO_CLEAR);
	note(!(cpu_inb(LSR) & LSR_READY), "the FIFO can be cleared");
	/* "FIFO Control Register": a 1 in bit 1 "clears all bytes in the RCVR FIFO and resets its counter logic to 0". */
	departs("Bochs leaves LSR's data-ready bit");
}

static void trigger(void)
{
	static const uint8_t level[4] = { 1, 4, 8, 14 };
	bool early = false, there = true, aged;

	for (unsigned t = 0; t < 4; t++) {
		loop(MCR_OUT2);
		cpu_outb(FCR, (uint8_t)(t << 6 | FIFO_ON | FIFO_CLEAR));
		cpu_outb(IER, IER_RX);
		for (unsigned i = 1; i < level[t]; i++) {
			send(i);
			early |= which() == IIR_RX;
		}
		send(0x55);
		there &= WAIT_FOR(which() == IIR_RX, LIMIT);
	}
	note(!early && there, "the receiver interrupts at its trigger level: 1, 4, 8 and 14");
	loop(MCR_OUT2);
	cpu_outb(FCR, 0xc0 | FIFO_ON | FIFO_CLEAR);
	cpu_outb(IER, IER_RX);
	send(0x77);
	aged = WAIT_FOR(which() == IIR_AGED, LIMIT);
	cpu_inb(DATA);
	note(aged, "below it, a character timeout tells of the rest");
	note(which() == IIR_NONE, "reading them ends it");
}

static bool interrupts(unsigned n)
{
	bool good;

	cpu_irq_on();
	good = WAIT_FOR(seen == n, LIMIT / 4) && !WAIT_FOR(seen != n, LIMIT_QUIET / 4);
	cpu_irq_off();
	return good;
}

static void sources(void)
{
	loop(MCR_OUT2);
	cpu_outb(IER, IER_THRE);
	note(interrupts(1), "an empty transmitter interrupts as soon as it may");
	note(which() == IIR_THRE && which() == IIR_NONE, "IIR says so, which ends it");
	send(1);
	note(interrupts(2), "and again when a byte has left");
	cpu_inb(IIR);
	loop(MCR_OUT2);
	cpu_outb(IER, IER_RX);
	send(1);
	note(interrupts(1) && which() == IIR_RX, "a received byte interrupts");
	cpu_inb(DATA);
	note(which() == IIR_NONE, "until it is read");
	loop(MCR_OUT2);
	cpu_outb(IER, IER_LINE);
	send(1);
	send(2);
	note(interrupts(1) && which() == IIR_LINE, "an overrun interrupts");
	cpu_inb(LSR);
	note(which() == IIR_NONE, "until LSR is read");
	loop(0);
	cpu_outb(IER, IER_RX);
	send(1);
	note(interrupts(0) && which() == IIR_RX, "without OUT2 the line stays low");
	loop(MCR_OUT2);
	cpu_outb(IER, IER_RX | IER_THRE | IER_LINE | IER_MSR);
	cpu_outb(MCR, MCR_LOOP | MCR_OUT2 | 1);
	send(1);
	send(2);
	note(which() == IIR_LINE, "of all sources the line status comes first");
	cpu_inb(LSR);
	note(which() == IIR_RX, "then the received byte");
	cpu_inb(DATA);
	note(which() == IIR_THRE, "then the transmitter");
	/* "Interrupt Control Functions": reading IIR resets the transmitter's interrupt "if source of interrupt". */
	departs("Bochs resets it whatever IIR shows");
	note(which() == 0, "the modem status last");
	cpu_inb(MSR);
	note(which() == IIR_NONE, "then nothing");
}

/* In loop-back mode DTR, RTS, OUT1, OUT2 are DSR, CTS, RI, DCD. */
static void modem(void)
{
	static const uint8_t in[4] = { 0x20, 0x10, 0x40, 0x80 };
	bool same = true;

	for (unsigned out = 0; out < 16; out++) {
		unsigned expected = 0;

		for (unsigned i = 0; i < 4; i++)
			expected |= out >> i & 1 ? in[i] : 0;
		cpu_outb(MCR, (uint8_t)(MCR_LOOP | out));
		same &= (cpu_inb(MSR) & 0xf0u) == expected;
	}
	note(same, "looped back, the modem's outputs are its inputs");
	cpu_outb(MCR, MCR_LOOP);
	cpu_inb(MSR);
	cpu_outb(MCR, MCR_LOOP | 2);
	note((cpu_inb(MSR) & 0x0f) == 0x01 && !(cpu_inb(MSR) & 0x0f), "a change shows once");
}

void guest_main(void)
{
	print_drain();
	WAIT_FOR(false, 20000);
	trap_set(VECTOR, on_line);
	ioapic_set(PIN, apic_id(), VECTOR);
	registers();
	looped();
	fifo();
	trigger();
	sources();
	modem();
	print_init();
	ioapic_set(PIN, 0, IOAPIC_MASKED);
	for (unsigned i = 0; i < count; i++)
		if (found[i].departs)
			CHECK_DEPARTS(found[i].good, found[i].departs, "%s", found[i].text);
		else
			CHECK(found[i].good, "%s", found[i].text);
	report_end();
}
