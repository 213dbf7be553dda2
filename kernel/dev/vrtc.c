/* SPDX-License-Identifier: MIT */
/* The virtual clock chip. Registers and rules are those of the MC146818A data sheet, cited by its titles. */
#include "kernel/dev/vrtc.h"

#include "kernel/dev/clock.h"

#define RTC_HZ 32768u

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM };
enum { WEEKDAY = 6, DAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D };

/* What firmware leaves in the memory behind them. */
#define BASE_MEMORY     0x15u /* KiB, 16 bits */
#define EXTENDED_MEMORY 0x17u /* KiB above 1 MiB, 16 bits */
#define CHECKSUM        0x2eu /* of 0x10 to 0x2d, high byte first */
#define EXTENDED_FOUND  0x30u /* again, as the self-test found it */
#define CENTURY         0x32u /* the FADT names this place */
#define ABOVE_16M       0x34u /* 64 KiB units */
#define ABOVE_4G        0x5bu /* 64 KiB units, 24 bits */

#define A_UIP     0x80u
#define A_DIVIDER 0x70u
#define A_RUNNING 0x20u
#define A_RATE    0x0fu
#define B_SET     0x80u
#define B_UIE     0x10u
#define B_BINARY  0x04u
#define B_24H     0x02u
#define C_IRQF    0x80u
#define C_PF      0x40u
#define C_AF      0x20u
#define C_UF      0x10u
#define C_FLAGS   (C_PF | C_AF | C_UF)
#define D_VALID   0x80u
#define HOUR_PM   0x80u
#define ALARM_ANY 0xc0u

/* "Update Cycle": UIP rises 244 us before the cycle, which takes 1984 us; the clock changes at its end. */
#define UPDATE_COUNTS 73u

#define DAY_SECONDS 86400u

/* Whether a register counts to 12 twice a day and its highest bit says which time. */
static bool twelve(const struct vrtc *r, unsigned reg)
{
	return (reg == HOURS || reg == HOURS_ALARM) && !(r->cmos[REG_B] & B_24H);
}

static unsigned get(const struct vrtc *r, unsigned reg)
{
	unsigned raw = r->cmos[reg], half = twelve(r, reg) ? raw & HOUR_PM : 0;
	unsigned value = raw & ~half;

	if (!(r->cmos[REG_B] & B_BINARY))
		value = value / 16 * 10 + value % 16;
	return twelve(r, reg) ? value % 12 + (half ? 12 : 0) : value;
}

static void put(struct vrtc *r, unsigned reg, unsigned value)
{
	unsigned half = twelve(r, reg) && value >= 12 ? HOUR_PM : 0;

	if (twelve(r, reg))
		value = value % 12 ? value % 12 : 12;
	if (!(r->cmos[REG_B] & B_BINARY))
		value = value / 10 * 16 + value % 10;
	r->cmos[reg] = (uint8_t)(value | half);
}

static unsigned month_days(unsigned year, unsigned month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	/* A guest may have written any month. */
	return days[(month + 11) % 12];
}

static void next_day(struct vrtc *r)
{
	unsigned day = get(r, DAY), month = get(r, MONTH), year = get(r, CENTURY) * 100 + get(r, YEAR);
	bool last = day >= month_days(year, month);

	put(r, WEEKDAY, get(r, WEEKDAY) % 7 + 1);
	put(r, DAY, last ? 1 : day + 1);
	if (!last)
		return;
	put(r, MONTH, month < 12 ? month + 1 : 1);
	if (month < 12)
		return;
	put(r, YEAR, (year + 1) % 100);
	put(r, CENTURY, (year + 1) / 100);
}

static unsigned second_of_day(const struct vrtc *r)
{
	return (get(r, HOURS) % 24 * 60 + get(r, MINUTES) % 60) * 60 + get(r, SECONDS) % 60;
}

static void advance(struct vrtc *r, uint64_t seconds)
{
	uint64_t total = second_of_day(r) + seconds;
	unsigned second = (unsigned)(total % DAY_SECONDS);

	put(r, SECONDS, second % 60);
	put(r, MINUTES, second / 60 % 60);
	put(r, HOURS, second / 3600);
	for (uint64_t days = total / DAY_SECONDS; days; days--)
		next_day(r);
}

/* "Alarm": two leading ones make an alarm byte match everything. */
static bool matches(const struct vrtc *r, unsigned reg, unsigned now)
{
	return r->cmos[reg] >= ALARM_ANY || get(r, reg) == now;
}

/* Seconds from the time shown to the next alarm, 1 to 86400; UINT64_MAX: it shows no time of day. */
static uint64_t alarm_distance(const struct vrtc *r)
{
	unsigned start = second_of_day(r), t = start + 1;

	/* A second that never comes would be searched for all day long. */
	if (r->cmos[SECONDS_ALARM] < ALARM_ANY && get(r, SECONDS_ALARM) >= 60)
		return UINT64_MAX;
	while (t <= start + DAY_SECONDS) {
		if (!matches(r, HOURS_ALARM, t / 3600 % 24))
			t = (t / 3600 + 1) * 3600;
		else if (!matches(r, MINUTES_ALARM, t / 60 % 60))
			t = (t / 60 + 1) * 60;
		else if (!matches(r, SECONDS_ALARM, t % 60))
			t++;
		else
			return t - start;
	}
	return UINT64_MAX;
}

/* "Periodic Interrupt Rate": as a shift of the 32,768 Hz count; 0: none. The first two repeat slower ones. */
static unsigned period_shift(const struct vrtc *r)
{
	unsigned rate = r->cmos[REG_A] & A_RATE;

	return rate == 0 ? 0 : rate < 3 ? rate + 6 : rate - 1;
}

static bool running(const struct vrtc *r)
{
	return (r->cmos[REG_A] & A_DIVIDER) == A_RUNNING;
}

static bool updating(const struct vrtc *r)
{
	return running(r) && !(r->cmos[REG_B] & B_SET);
}

void vrtc_tick(struct vrtc *r, uint64_t now)
{
	uint64_t count, seconds;
	unsigned shift = period_shift(r);

	/* The TSCs of two CPUs may differ by a little. */
	if (!running(r) || now < r->origin)
		return;
	count = clock_count(now - r->origin, r->hz, RTC_HZ);
	if (count <= r->seen)
		return;
	if (shift && count >> shift != r->seen >> shift)
		r->cmos[REG_C] |= C_PF;
	seconds = count / RTC_HZ - r->seen / RTC_HZ;
	if (seconds && updating(r)) {
		r->cmos[REG_C] |= C_UF;
		if (alarm_distance(r) <= seconds)
			r->cmos[REG_C] |= C_AF;
		advance(r, seconds);
	}
	r->seen = count;
}

/* Flags in register C and their enables in register B have the same places. */
bool vrtc_line(const struct vrtc *r)
{
	return r->cmos[REG_B] & r->cmos[REG_C] & C_FLAGS;
}

uint64_t vrtc_deadline(const struct vrtc *r)
{
	uint64_t at = UINT64_MAX, second = UINT64_MAX;
	unsigned enabled = r->cmos[REG_B] & C_FLAGS, shift = period_shift(r);

	if (!running(r) || vrtc_line(r))
		return UINT64_MAX;
	if (enabled & C_PF && shift)
		at = ((r->seen >> shift) + 1) << shift;
	if (enabled & C_AF)
		second = alarm_distance(r);
	if (enabled & C_UF)
		second = 1;
	if (second != UINT64_MAX && updating(r) && (r->seen / RTC_HZ + second) * RTC_HZ < at)
		at = (r->seen / RTC_HZ + second) * RTC_HZ;
	return at == UINT64_MAX ? at : r->origin + clock_ticks(at, r->hz, RTC_HZ);
}

void vrtc_select(struct vrtc *r, uint8_t index)
{
	/* Bit 7 holds back the NMIs of the board's own error sources, and this board has none. */
	r->index = index & 0x7f;
}

uint8_t vrtc_read(struct vrtc *r, uint64_t now)
{
	uint8_t value;

	vrtc_tick(r, now);
	value = r->cmos[r->index];
	if (r->index == REG_A && updating(r) && r->seen % RTC_HZ >= RTC_HZ - UPDATE_COUNTS)
		value |= A_UIP;
	if (r->index == REG_C) {
		value |= vrtc_line(r) ? C_IRQF : 0;
		r->cmos[REG_C] = 0;
	}
	return value;
}

void vrtc_write(struct vrtc *r, uint8_t value, uint64_t now)
{
	vrtc_tick(r, now);
	/* "Divider Control": the first update cycle begins half a second after the reset is removed. */
	if (r->index == REG_A && !running(r) && (value & A_DIVIDER) == A_RUNNING) {
		r->origin = now - r->hz / 2;
		r->seen = RTC_HZ / 2;
	}
	if (r->index == REG_A)
		value &= (uint8_t)~A_UIP;
	/* "Register B", SET: a 1 also clears the update-ended interrupt enable. */
	if (r->index == REG_B && value & B_SET)
		value &= (uint8_t)~B_UIE;
	if (r->index != REG_C && r->index != REG_D)
		r->cmos[r->index] = value;
}

/* The lowest `bytes` bytes, or their highest value if it does not fit. */
static void store(struct vrtc *r, unsigned reg, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		r->cmos[reg + i] = (uint8_t)(value >> 8 * bytes ? 0xff : value >> 8 * i);
}

void vrtc_init(struct vrtc *r, const struct rtc_time *wall, uint64_t now, uint64_t hz, uint64_t ram_low,
               uint64_t ram_high)
{
	uint64_t above_1m = (ram_low >> 10) - 1024,
		 above_16m = ram_low > 16u << 20 ? ram_low - (16u << 20) : 0;
	unsigned sum = 0;

	*r = (struct vrtc){ .origin = now, .hz = hz };
	r->cmos[REG_A] = A_RUNNING | 6;
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_D] = D_VALID;
	put(r, CENTURY, wall->year / 100u);
	put(r, YEAR, wall->year % 100u);
	put(r, MONTH, wall->month);
	put(r, DAY, wall->day);
	put(r, WEEKDAY, wall->weekday);
	put(r, HOURS, wall->hour);
	put(r, MINUTES, wall->minute);
	put(r, SECONDS, wall->second);
	store(r, BASE_MEMORY, 2, 640);
	store(r, EXTENDED_MEMORY, 2, above_1m);
	store(r, EXTENDED_FOUND, 2, above_1m);
	store(r, ABOVE_16M, 2, above_16m >> 16);
	store(r, ABOVE_4G, 3, ram_high >> 16);
	for (unsigned i = 0x10; i < CHECKSUM; i++)
		sum += r->cmos[i];
	r->cmos[CHECKSUM] = (uint8_t)(sum >> 8);
	r->cmos[CHECKSUM + 1] = (uint8_t)sum;
}
