/* SPDX-License-Identifier: MIT */
/* The end of a run: an emulator is told, a machine is reset, else everything halts. */
#include "arch/x86/machine.h"

#include "arch/x86/arch.h"
#include "arch/x86/insn.h"
#include "arch/x86/uart.h"
#include "kernel/string.h"

#define BOCHS_SHUTDOWN_PORT 0x8900
#define QEMU_EXIT_PORT      0xf4 /* -device isa-debug-exit,iobase=0xf4,iosize=0x4 */
#define RESET_PORT          0xcf9
#define RESET_FULL          0x06
#define KEYBOARD_PORT       0x64
#define KEYBOARD_PULSE      0xfe /* pulses the CPU's reset line on an 8042 */

enum machine_end_way machine_end_way = MACHINE_END_HALT;

void machine_choose_end(const char *cmdline)
{
	static const char *const words[] = {
		[MACHINE_END_HALT] = "end=halt",
		[MACHINE_END_BOCHS] = "end=bochs",
		[MACHINE_END_QEMU] = "end=qemu",
		[MACHINE_END_RESET] = "end=reset",
	};

	for (const char *at = cmdline; *at; at++) {
		if (at != cmdline && at[-1] != ' ')
			continue;
		for (unsigned way = 0; way < sizeof(words) / sizeof(words[0]); way++) {
			size_t length = strlen(words[way]);

			if (strncmp(at, words[way], length) == 0 && (at[length] == '\0' || at[length] == ' '))
				machine_end_way = (enum machine_end_way)way;
		}
	}
}

void machine_end(void)
{
	uart_drain();
	switch (machine_end_way) {
	case MACHINE_END_HALT:
		break;
	case MACHINE_END_BOCHS:
		for (const char *s = "Shutdown"; *s; s++)
			outb(BOCHS_SHUTDOWN_PORT, (uint8_t)*s);
		break;
	case MACHINE_END_QEMU:
		outl(QEMU_EXIT_PORT, 0);
		break;
	case MACHINE_END_RESET:
		outb(RESET_PORT, RESET_FULL);
		outb(KEYBOARD_PORT, KEYBOARD_PULSE);
		break;
	}
	cpu_stop_others();
	cpu_stop();
}
