/* SPDX-License-Identifier: MIT */
/* Time: how fast the TSC runs. */
#include "arch/x86/tsc.h"

#include "arch/x86/arch.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

#define PIT_HZ         1193182u
#define PIT_CHANNEL_2  0x42
#define PIT_COMMAND    0x43
#define PIT_ONE_SHOT   0xb0 /* channel 2, both bytes, mode 0 */
#define PORT_B         0x61
#define PORT_B_GATE    0x01
#define PORT_B_SPEAKER 0x02
#define PORT_B_OUT     0x20

#define WINDOW_COUNTS (PIT_HZ / 50)

/* 20 ms are some ten thousand port reads at the most; a PIT that is still at work then does not work. */
#define POLLS_MAX 10000000

uint64_t tsc_hz;
uint64_t tsc_boot;

/* TSC ticks in WINDOW_COUNTS of the PIT, 0 if its output never rises. */
static uint64_t pit_window(void)
{
	uint8_t port_b = inb(PORT_B) & (uint8_t) ~(PORT_B_GATE | PORT_B_SPEAKER);
	uint64_t start, end = 0;

	outb(PORT_B, port_b);
	outb(PIT_COMMAND, PIT_ONE_SHOT);
	outb(PIT_CHANNEL_2, WINDOW_COUNTS & 0xff);
	outb(PIT_CHANNEL_2, WINDOW_COUNTS >> 8);
	outb(PORT_B, port_b | PORT_B_GATE);
	start = tsc_now();
	for (unsigned polls = 0; polls < POLLS_MAX && !end; polls++) {
		if (inb(PORT_B) & PORT_B_OUT)
			end = tsc_now();
		cpu_relax();
	}
	outb(PORT_B, port_b);
	return end ? end - start : 0;
}

/* SDM vol. 3, "Time-Stamp Counter": crystal clock times EBX / EAX, where leaf 0x15 gives the crystal. */
static uint64_t cpuid_hz(void)
{
	struct cpuid_regs r;

	if (cpuid(0, 0).eax < 0x15)
		return 0;
	r = cpuid(0x15, 0);
	return r.eax ? (uint64_t)r.ecx * r.ebx / r.eax : 0;
}

void tsc_init(void)
{
	/* Measured before believed: an emulator's CPUID may tell the rate of the CPU that it imitates. */
	tsc_hz = pit_window() * PIT_HZ / WINDOW_COUNTS;
	if (!tsc_hz)
		tsc_hz = cpuid_hz();
	if (!tsc_hz)
		refuse(LOG_HV,
		       "the TSC's rate is unknown: the PIT does not count and CPUID leaf 0x15 is silent");
}

void tsc_wait(uint64_t microseconds)
{
	uint64_t start = tsc_now(), ticks = microseconds * tsc_hz / 1000000;

	while (tsc_now() - start < ticks)
		cpu_relax();
}
