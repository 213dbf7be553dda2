/* SPDX-License-Identifier: MIT */
/* The virtual clock chip. Registers and rules are those of the MC146818A data sheet, quoted by its section
 * titles. */
#include "kernel/dev/vrtc.h"

#include "kernel/dev/clock.h"

#define RTC_HZ 32768u

enum {
	SECONDS = 0,
	SECONDS_ALARM = 1,
	MINUTES = 2,
	MINUTES_ALARM = 3,
	HOURS = 4,
	HOURS_ALARM = 5,
	WEEKDAY = 6,
	DAY = 7,
	MONTH = 8,
	YEAR = 9,
	REG_A = 10,
	REG_B = 11,
	REG_C = 12,
	REG_D = 13,
	BASE_MEMORY = 0x15,     /* KiB, 16 bits */
	EXTENDED_MEMORY = 0x17, /* KiB above 1 MiB, 16 bits */
	CHECKSUM = 0x2e,        /* of 0x10 to 0x2d, high byte first */
	EXTENDED_FOUND = 0x30,  /* again, as the self-test found it */
	CENTURY = 0x32,         /* the FADT names this place */
	ABOVE_16M = 0x34,       /* 64 KiB units */
	ABOVE_4G = 0x5b,        /* 64 KiB units, 24 bits */
};

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

/* "Update Cycle": UIP rises 244 us before the cycle, which takes 1984 us; the clock changes at its end. */
#define UPDATE_COUNTS 73u

#define DAY_SECONDS 86400u
#define NO_ALARM    UINT64_MAX

static unsigned decode(const struct vrtc *r, uint8_t raw)
{
	return r->cmos[REG_B] & B_BINARY ? raw : raw / 16u * 10 + raw % 16u;
}

static uint8_t encode(const struct vrtc *r, unsigned value)
{
	return (uint8_t)(r->cmos[REG_B] & B_BINARY ? value : value / 10 * 16 + value % 10);
}

static unsigned decode_hour(const struct vrtc *r, uint8_t raw)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, raw);
	return decode(r, raw & 0x7f) % 12 + (raw & HOUR_PM ? 12 : 0);
}

static uint8_t encode_hour(const struct vrtc *r, unsigned hour)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, hour);
	return (uint8_t)(encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned month_days(unsigned year, unsigned month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	/* A guest may have written any month. */
	return days[(month + 11) % 12];
}

static void store_date(struct vrtc *r, const struct rtc_time *t)
{
	r->cmos[WEEKDAY] = encode(r, t->weekday);
	r->cmos[DAY] = encode(r, t->day);
	r->cmos[MONTH] = encode(r, t->month);
	r->cmos[YEAR] = encode(r, t->year % 100u);
	r->cmos[CENTURY] = encode(r, t->year / 100u);
}

static void advance_days(struct vrtc *r, uint64_t days)
{
	struct rtc_time t = {
		.weekday = (uint8_t)decode(r, r->cmos[WEEKDAY]),
		.day = (uint8_t)decode(r, r->cmos[DAY]),
		.month = (uint8_t)decode(r, r->cmos[MONTH]),
		.year = (uint16_t)(decode(r, r->cmos[CENTURY]) * 100 + decode(r, r->cmos[YEAR])),
	};

	for (; days; days--) {
		t.weekday = (uint8_t)(t.weekday % 7 + 1);
		if (t.day++ < month_days(t.year, t.month))
			continue;
		t.day = 1;
		if (t.month++ < 12)
			continue;
		t.month = 1;
		t.year++;
	}
	store_date(r, &t);
}

static unsigned second_of_day(const struct vrtc *r)
{
	unsigned hour = decode_hour(r, r->cmos[HOURS]) % 24, minute = decode(r, r->cmos[MINUTES]) % 60;

	return (hour * 60 + minute) * 60 + decode(r, r->cmos[SECONDS]) % 60;
}

static void advance(struct vrtc *r, uint64_t seconds)
{
	uint64_t total = second_of_day(r) + seconds;
	unsigned second = (unsigned)(total % DAY_SECONDS);

	r->cmos[SECONDS] = encode(r, second % 60);
	r->cmos[MINUTES] = encode(r, second / 60 % 60);
	r->cmos[HOURS] = encode_hour(r, second / 3600);
	if (total >= DAY_SECONDS)
		advance_days(r, total / DAY_SECONDS);
}

/* "Alarm": two leading ones make an alarm byte match everything. */
static bool matches(unsigned now, uint8_t raw, unsigned decoded)
{
	return raw >= 0xc0 || now == decoded;
}

/* Seconds from the time shown to the next alarm, 1 to 86400; NO_ALARM: it shows no time of day. */
static uint64_t alarm_distance(const struct vrtc *r)
{
	const uint8_t *c = r->cmos;
	unsigned start = second_of_day(r), hour = decode_hour(r, c[HOURS_ALARM]);
	unsigned minute = decode(r, c[MINUTES_ALARM]), second = decode(r, c[SECONDS_ALARM]);
	unsigned t = start + 1;

	while (t <= start + DAY_SECONDS) {
		if (!matches(t / 3600 % 24, c[HOURS_ALARM], hour))
			t = (t / 3600 + 1) * 3600;
		else if (!matches(t / 60 % 60, c[MINUTES_ALARM], minute))
			t = (t / 60 + 1) * 60;
		else if (!matches(t % 60, c[SECONDS_ALARM], second))
			t++;
		else
			return t - start;
	}
	return NO_ALARM;
}

/* "Periodic Interrupt Rate": as a shift of the 32,768 Hz count; 0: none. The two fastest codes repeat slower
 * ones. */
static unsigned period_shift(const struct vrtc *r)
{
	unsigned rate = r->cmos[REG_A] & A_RATE;

	if (rate == 0)
		return 0;
	return rate < 3 ? rate + 6 : rate - 1;
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
	uint64_t at = UINT64_MAX, second = r->seen / RTC_HZ, alarm;
	unsigned enabled = r->cmos[REG_B] & C_FLAGS, shift = period_shift(r);

	if (!running(r) || vrtc_line(r))
		return UINT64_MAX;
	if (enabled & C_PF && shift)
		at = ((r->seen >> shift) + 1) << shift;
	if (enabled & C_UF && updating(r) && (second + 1) * RTC_HZ < at)
		at = (second + 1) * RTC_HZ;
	if (enabled & C_AF && updating(r)) {
		alarm = alarm_distance(r);
		if (alarm != NO_ALARM && (second + alarm) * RTC_HZ < at)
			at = (second + alarm) * RTC_HZ;
	}
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

static void write_a(struct vrtc *r, uint8_t value, uint64_t now)
{
	bool before = running(r);

	r->cmos[REG_A] = value & (uint8_t)~A_UIP;
	if (before || !running(r))
		return;
	/* "Divider Control": the first update cycle begins half a second after the reset is removed. */
	r->origin = now - r->hz / 2;
	r->seen = RTC_HZ / 2;
}

void vrtc_write(struct vrtc *r, uint8_t value, uint64_t now)
{
	vrtc_tick(r, now);
	switch (r->index) {
	case REG_A:
		write_a(r, value, now);
		break;
	case REG_B:
		/* "Register B", SET: a 1 also clears the update-ended interrupt enable. */
		r->cmos[REG_B] = value & B_SET ? value & (uint8_t)~B_UIE : value;
		break;
	case REG_C:
	case REG_D:
		break;
	default:
		r->cmos[r->index] = value;
		break;
	}
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
	return value < limit ? value : limit;
}

static void store(struct vrtc *r, unsigned reg, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++)
		r->cmos[reg + i] = (uint8_t)(value >> 8 * i);
}

void vrtc_init(struct vrtc *r, const struct rtc_time *wall, uint64_t now, uint64_t hz, uint64_t ram_low,
               uint64_t ram_high)
{
	uint64_t above_1m = ram_low > (1u << 20) ? ram_low - (1u << 20) : 0;
	uint64_t above_16m = ram_low > (16u << 20) ? ram_low - (16u << 20) : 0;
	unsigned sum = 0;

	*r = (struct vrtc){ .origin = now, .hz = hz };
	r->cmos[REG_A] = A_RUNNING | 6;
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_D] = D_VALID;
	store_date(r, wall);
	r->cmos[HOURS] = encode_hour(r, wall->hour);
	r->cmos[MINUTES] = encode(r, wall->minute);
	r->cmos[SECONDS] = encode(r, wall->second);
	store(r, BASE_MEMORY, 2, 640);
	store(r, EXTENDED_MEMORY, 2, at_most(above_1m >> 10, 0xffff));
	store(r, EXTENDED_FOUND, 2, at_most(above_1m >> 10, 0xffff));
	store(r, ABOVE_16M, 2, at_most(above_16m >> 16, 0xffff));
	store(r, ABOVE_4G, 3, at_most(ram_high >> 16, 0xffffff));
	for (unsigned i = 0x10; i < CHECKSUM; i++)
		sum += r->cmos[i];
	r->cmos[CHECKSUM] = (uint8_t)(sum >> 8);
	r->cmos[CHECKSUM + 1] = (uint8_t)sum;
}
