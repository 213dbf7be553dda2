/* SPDX-License-Identifier: MIT */
/*
 * Somebody types at the serial port: the guest sleeps until each byte's interrupt, shows it, and ends after the lines that its
 * arguments (first, second) name. Only Bellhop is asked to tell who is meant.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "console";

#define COM1     0x3f8
#define IER      (COM1 + 1)
#define MCR      (COM1 + 4)
#define LSR      (COM1 + 5)
#define PIN      4
#define VECTOR   0x71
#define RECEIVED 0x01u
#define MCR_OUT2 0x0bu /* with DTR and RTS */
#define LONGEST  31u

static void on_line(struct trap_frame *frame)
{
	(void)frame;
	apic_eoi();
}

/* A byte, asleep until there is one. */
static char get(void)
{
	while (!(cpu_inb(LSR) & RECEIVED)) {
		cpu_irq_off();
		if (!(cpu_inb(LSR) & RECEIVED))
			cpu_idle();
		cpu_irq_off();
	}
	return (char)cpu_inb(COM1);
}

static void get_line(const char *key)
{
	char line[LONGEST + 1], c;
	unsigned length = 0;

	while ((c = get()) != '\r') {
		if (length < LONGEST)
			line[length++] = c;
		printf("%c", c);
	}
	line[length] = '\0';
	printf("\n");
	CHECK(boot_is(key, line), "the %s line is \"%s\"", key, line);
}

void guest_main(void)
{
	trap_set(VECTOR, on_line);
	ioapic_set(PIN, apic_id(), VECTOR);
	cpu_outb(MCR, MCR_OUT2);
	cpu_outb(IER, RECEIVED);
	printf("# ready\n");
	get_line("first");
	get_line("second");
	report_end();
}
