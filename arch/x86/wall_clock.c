/* SPDX-License-Identifier: MIT */
/* The machine's CMOS clock, read once: what the guests' clocks start from. */
#include "arch/x86/arch.h"
#include "arch/x86/insn.h"
#include "kernel/dev/vrtc.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA  0x71

#define CMOS_STATUS_A  0x0a
#define STATUS_A_UIP   0x80
#define CMOS_STATUS_B  0x0b
#define STATUS_B_24H   0x02
#define STATUS_B_BIN   0x04
#define HOUR_PM        0x80
#define CMOS_CENTURY   0x32 /* where every PC since the PS/2 keeps it; the FADT may say otherwise */
#define UPDATE_RETRIES 10000

static uint8_t cmos(uint8_t index)
{
	outb(CMOS_INDEX, index);
	return inb(CMOS_DATA);
}

static uint8_t number(uint8_t value, bool binary)
{
	return binary ? value : (uint8_t)(value / 16 * 10 + value % 16);
}

void wall_clock_read(struct rtc_time *out)
{
	bool binary = cmos(CMOS_STATUS_B) & STATUS_B_BIN;
	uint8_t hour, century;

	for (int i = 0; i < UPDATE_RETRIES && (cmos(CMOS_STATUS_A) & STATUS_A_UIP); i++)
		cpu_relax();
	hour = cmos(4);
	*out = (struct rtc_time){
		.second = number(cmos(0), binary),
		.minute = number(cmos(2), binary),
		.hour = number(hour & 0x7f, binary),
		.weekday = number(cmos(6), binary),
		.day = number(cmos(7), binary),
		.month = number(cmos(8), binary),
		.year = number(cmos(9), binary),
	};
	if (!(cmos(CMOS_STATUS_B) & STATUS_B_24H))
		out->hour = (uint8_t)(out->hour % 12 + (hour & HOUR_PM ? 12 : 0));
	century = number(cmos(CMOS_CENTURY), binary);
	out->year = (uint16_t)(out->year + (century >= 19 && century < 99 ? century * 100 : 2000));
}
