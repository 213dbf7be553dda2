/* SPDX-License-Identifier: MIT */
/* Channel 0 of the 8254, as a line that a test can pull: IOAPIC pin 2, by the PC's wiring. */
#ifndef GUEST_PIT_H
#define GUEST_PIT_H

#include <stdint.h>

#include "guest-stubs/lib/cpu.h"

#define PIT_PIN 2

/* Intel 8254 data sheet, "Control Word Format": channel 0, low byte then high byte, binary. */
#define PIT_CHANNEL0 0x40
#define PIT_CONTROL  0x43
#define PIT_MODE(m)  (uint8_t)(0x30 | (m) << 1)

/* OUT is low from here on, until a count has run down. */
static inline void pit_low(void)
{
	cpu_outb(PIT_CONTROL, PIT_MODE(0));
}

/* OUT goes low now and high after `count` periods of 0.84 us; there it stays. */
static inline void pit_raise_after(uint16_t count)
{
	cpu_outb(PIT_CONTROL, PIT_MODE(0));
	cpu_outb(PIT_CHANNEL0, (uint8_t)count);
	cpu_outb(PIT_CHANNEL0, (uint8_t)(count >> 8));
}

/* A rising edge every `count` periods, from now until pit_low(). */
static inline void pit_periodic(uint16_t count)
{
	cpu_outb(PIT_CONTROL, PIT_MODE(2));
	cpu_outb(PIT_CHANNEL0, (uint8_t)count);
	cpu_outb(PIT_CHANNEL0, (uint8_t)(count >> 8));
}

#endif
