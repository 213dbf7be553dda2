/* SPDX-License-Identifier: MIT */
/* A 16550 on COM1, polled. */
#include "arch/x86/uart.h"

#include "arch/x86/arch.h"
#include "arch/x86/insn.h"

#define COM1 0x3f8

enum uart_register {
	UART_DATA = COM1,
	UART_IER = COM1 + 1,
	UART_FCR = COM1 + 2,
	UART_LCR = COM1 + 3,
	UART_MCR = COM1 + 4,
	UART_LSR = COM1 + 5,
	UART_SCRATCH = COM1 + 7,
};

#define LCR_DLAB     0x80
#define LCR_8N1      0x03
#define FCR_ON_CLEAR 0x07
#define MCR_DTR_RTS  0x03
#define LSR_DATA     0x01
#define LSR_EMPTY    0x20
#define LSR_IDLE     0x40

/* A byte takes 87 us at this rate, a poll at least some tens of ns: a UART that is slower than this is
 * broken. */
#define POLLS_MAX 1000000

/* Set at boot, constant afterwards. */
static bool present;

void uart_init(void)
{
	/* Open bus reads as ones; the scratch register of a UART keeps what is written. */
	outb(UART_SCRATCH, 0x5a);
	present = inb(UART_SCRATCH) == 0x5a;
	if (!present)
		return;
	outb(UART_IER, 0);
	outb(UART_LCR, LCR_DLAB);
	outb(UART_DATA, 1);
	outb(UART_IER, 0);
	outb(UART_LCR, LCR_8N1);
	outb(UART_FCR, FCR_ON_CLEAR);
	outb(UART_MCR, MCR_DTR_RTS);
}

static void wait_for(uint8_t status)
{
	for (unsigned polls = 0; polls < POLLS_MAX; polls++) {
		if (inb(UART_LSR) & status)
			return;
		cpu_relax();
	}
}

void console_put(char c)
{
	if (!present)
		return;
	wait_for(LSR_EMPTY);
	outb(UART_DATA, (uint8_t)c);
}

int console_get(void)
{
	if (!present || !(inb(UART_LSR) & LSR_DATA))
		return -1;
	return inb(UART_DATA);
}

void uart_drain(void)
{
	if (present)
		wait_for(LSR_IDLE);
}
