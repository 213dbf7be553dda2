/* SPDX-License-Identifier: MIT */
/* The machine's clocks: how fast the TSC runs, by the PIT, and the CMOS clock's time of day. */
#include "arch/x86/boot.h"
#include "arch/x86/insn.h"
#include "kernel/dev/vrtc.h"
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

#define CMOS_INDEX     0x70
#define CMOS_DATA      0x71
#define CMOS_STATUS_A  0x0a
#define STATUS_A_UIP   0x80
#define CMOS_STATUS_B  0x0b
#define STATUS_B_24H   0x02
#define STATUS_B_BIN   0x04
#define HOUR_PM        0x80
#define UPDATE_RETRIES 10000

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

void tsc_init(void)
{
	struct cpuid_regs r = { 0 };

	/* Measured before believed: an emulator's CPUID may tell the rate of the CPU that it imitates. */
	tsc_hz = pit_window() * PIT_HZ / WINDOW_COUNTS;
	if (tsc_hz)
		return;
	/* SDM vol. 3, "Time-Stamp Counter": crystal clock times EBX / EAX, where leaf 0x15 gives the crystal. */
	if (cpuid(0, 0).eax >= 0x15)
		r = cpuid(0x15, 0);
	tsc_hz = r.eax ? (uint64_t)r.ecx * r.ebx / r.eax : 0;
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

static uint8_t cmos(uint8_t index)
{
	outb(CMOS_INDEX, index);
	return inb(CMOS_DATA);
}

static uint8_t number(uint8_t value, uint8_t status_b)
{
	return status_b & STATUS_B_BIN ? value : (uint8_t)(value / 16 * 10 + value % 16);
}

void wall_clock_read(struct rtc_time *out)
{
	uint8_t b = cmos(CMOS_STATUS_B), hour;

	for (int i = 0; i < UPDATE_RETRIES && (cmos(CMOS_STATUS_A) & STATUS_A_UIP); i++)
		cpu_relax();
	hour = cmos(4);
	*out = (struct rtc_time){
		.second = number(cmos(0), b),
		.minute = number(cmos(2), b),
		.hour = number(hour & 0x7f, b),
		.weekday = number(cmos(6), b),
		.day = number(cmos(7), b),
		.month = number(cmos(8), b),
		.year = (uint16_t)(2000 + number(cmos(9), b)),
	};
	if (!(b & STATUS_B_24H))
		out->hour = (uint8_t)(out->hour % 12 + (hour & HOUR_PM ? 12 : 0));
}
