/* SPDX-License-Identifier: MIT */
/* The machine's console, a 16550 on COM1, polled, and the end of its run. */
#include "arch/x86/boot.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"

enum uart_register {
	UART_DATA = 0x3f8,
	UART_IER,
	UART_FCR,
	UART_LCR,
	UART_MCR,
	UART_LSR,
	UART_SCRATCH = 0x3ff,
};

#define LCR_DLAB     0x80
#define LCR_8N1      0x03
#define FCR_ON_CLEAR 0x07
#define MCR_DTR_RTS  0x03
#define MCR_OUT2     0x08 /* on a PC: its interrupt goes out */
#define IER_RECEIVED 0x01
#define LSR_RECEIVED 0x01
#define LSR_EMPTY    0x20
#define LSR_IDLE     0x40

/* The first 8259, as Intel's data sheet has it: ICW1 to the one port, ICW2 to 4 and the mask to the other. */
#define PIC        0x20
#define PIC_MASK   0x21
#define PIC_ICW1   0x11 /* edges, a pair, ICW4 follows */
#define PIC_ICW3   0x04 /* the second one is on line 2 */
#define PIC_ICW4   0x01 /* x86 */
#define PIC_EOI    0x20
#define PIC_SERIAL 4u

/* A byte takes 87 us at this rate, a poll at least some tens of ns: a UART that is slower than this is broken. */
#define POLLS_MAX 1000000

#define BOCHS_SHUTDOWN_PORT 0x8900
#define QEMU_EXIT_PORT      0xf4 /* -device isa-debug-exit,iobase=0xf4,iosize=0x4 */
#define RESET_PORT          0xcf9
#define RESET_FULL          0x06
#define KEYBOARD_PORT       0x64
#define KEYBOARD_PULSE      0xfe /* pulses the CPU's reset line on an 8042 */

enum machine_end_way machine_end_way = MACHINE_END_HALT;

/* Set at boot, constant afterwards. */
static bool present;

void console_init(void)
{
	/* Open bus reads as ones; the scratch register of a UART keeps what is written. */
	outb(UART_SCRATCH, 0x5a);
	present = inb(UART_SCRATCH) == 0x5a;
	if (!present)
		return;
	outb(UART_LCR, LCR_DLAB);
	outb(UART_DATA, 1);
	outb(UART_IER, 0);
	outb(UART_LCR, LCR_8N1);
	outb(UART_IER, 0);
	outb(UART_FCR, FCR_ON_CLEAR);
	outb(UART_MCR, MCR_DTR_RTS);
}

static void wait_for(uint8_t status)
{
	for (unsigned polls = 0; polls < POLLS_MAX && !(inb(UART_LSR) & status); polls++)
		cpu_relax();
}

void console_put(char c)
{
	if (!present)
		return;
	wait_for(LSR_EMPTY);
	outb(UART_DATA, (uint8_t)c);
}

/* By the 8259, which every machine with a COM1 has, rather than by an IOAPIC that would have to be found. */
void console_listen(void)
{
	static const uint8_t words[] = { VECTOR_PIC, PIC_ICW3, PIC_ICW4, (uint8_t) ~(1u << PIC_SERIAL) };

	if (!present)
		return;
	outb(PIC, PIC_ICW1);
	for (unsigned i = 0; i < sizeof(words); i++)
		outb(PIC_MASK, words[i]);
	lapic_open_pic();
	outb(UART_MCR, MCR_DTR_RTS | MCR_OUT2);
	outb(UART_IER, IER_RECEIVED);
}

void console_interrupt(uint8_t vector)
{
	/* The other lines are masked: what comes with their vectors, the last one's, is spurious and has no EOI. */
	if (vector != VECTOR_PIC + PIC_SERIAL)
		return;
	/* All of it: a byte that comes after the last look is a new edge, and a new interrupt after the EOI. */
	while (inb(UART_LSR) & LSR_RECEIVED)
		console_received((char)inb(UART_DATA));
	outb(PIC, PIC_EOI);
}

void machine_end(void)
{
	if (present)
		wait_for(LSR_IDLE);
	switch (machine_end_way) {
	case MACHINE_END_HALT:
		break;
	case MACHINE_END_BOCHS:
		for (const char *s = "Shutdown"; *s; s++)
			outb(BOCHS_SHUTDOWN_PORT, (uint8_t)*s);
		break;
	case MACHINE_END_QEMU:
		outb(QEMU_EXIT_PORT, 0);
		break;
	case MACHINE_END_RESET:
		outb(RESET_PORT, RESET_FULL);
		outb(KEYBOARD_PORT, KEYBOARD_PULSE);
		break;
	}
	cpu_stop_others();
	cpu_stop();
}
