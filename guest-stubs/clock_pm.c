/* SPDX-License-Identifier: MIT */
/*
 * The power-management timer and the CMOS clock, each against the 8254: rates, the clock's flags and its three interrupts, the
 * time of day. ACPI Specification, "Power Management Timer"; MC146818A data sheet.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "clock_pm";

#define RTC_PIN 8
#define VECTOR  0x71
#define REG_A   0x0a
#define REG_B   0x0b
#define REG_C   0x0c
#define REG_D   0x0d

#define A_UIP     0x80u
#define A_32K     0x20u
#define B_SET     0x80u
#define B_PERIOD  0x40u
#define B_ALARM   0x20u
#define B_UPDATE  0x10u
#define B_24H     0x02u
#define C_IRQF    0x80u
#define FADT_PM   76 /* offset of the timer's port */
#define FADT_FLAG 112
#define WIDE      0x100u /* TMR_VAL_EXT: 32 bits */
#define PM_HZ     3579545u

#define LIMIT_SECONDS \
	12000000ull /* ticks: three seconds of the emulator, which is all that the time of day is tried on */

static volatile unsigned seen, flags;
static uint16_t pm_port;
static uint32_t pm_mask;

static uint8_t cmos(unsigned reg)
{
	cpu_outb(0x70, (uint8_t)reg);
	return cpu_inb(0x71);
}

static void set_cmos(unsigned reg, unsigned value)
{
	cpu_outb(0x70, (uint8_t)reg);
	cpu_outb(0x71, (uint8_t)value);
}

static void on_clock(struct trap_frame *frame)
{
	(void)frame;
	flags = cmos(REG_C);
	seen++;
	apic_eoi();
}

static uint32_t pm(void)
{
	return cpu_inl(pm_port) & pm_mask;
}

static const uint8_t *at(unsigned long address)
{
	__asm__("" : "+r"(address));
	return (const uint8_t *)address;
}

static uint32_t word(const uint8_t *p, unsigned offset)
{
	return p[offset] | (uint32_t)p[offset + 1] << 8 | (uint32_t)p[offset + 2] << 16 |
	       (uint32_t)p[offset + 3] << 24;
}

static bool find_pm(void)
{
	const uint8_t *rsdp = NULL, *rsdt;

	for (unsigned long a = 0xe0000; a < 0x100000 && !rsdp; a += 16)
		if (!memcmp(at(a), "RSD PTR ", 8))
			rsdp = at(a);
	if (!rsdp)
		return false;
	rsdt = at(word(rsdp, 16));
	for (unsigned i = 36; i < word(rsdt, 4); i += 4) {
		const uint8_t *table = at(word(rsdt, i));

		if (memcmp(table, "FACP", 4))
			continue;
		pm_port = (uint16_t)word(table, FADT_PM);
		pm_mask = word(table, FADT_FLAG) & WIDE ? UINT32_MAX : 0xffffff;
		return true;
	}
	return false;
}

static unsigned pit_count(void)
{
	unsigned low;

	cpu_outb(PIT_CONTROL, 0);
	low = cpu_inb(PIT_CHANNEL0);
	return low | (unsigned)cpu_inb(PIT_CHANNEL0) << 8;
}

/* 3,579,545 Hz is three times the 8254's clock. */
static void pm_timer(void)
{
	unsigned first, last;
	uint32_t start, ticks, previous, now;
	bool rises = true;

	pit_periodic(0);
	WAIT_FOR(false, 1000);
	start = pm();
	first = pit_count();
	WAIT_FOR(false, 60000);
	ticks = (pm() - start) & pm_mask;
	last = pit_count();
	pit_low();
	CHECK(ticks > (first - last) * 3 * 95 / 100 && ticks < (first - last) * 3 * 105 / 100,
	      "PM timer: three times as fast as the 8254");
	previous = pm();
	for (unsigned i = 0; i < 2000; i++) {
		now = pm();
		rises &= ((now - previous) & pm_mask) < pm_mask / 2;
		previous = now;
	}
	CHECK(rises, "PM timer: never goes back");
}

static bool is_bcd(unsigned value, unsigned highest)
{
	return (value & 0xf) < 10 && value >> 4 < 10 && (value >> 4) * 10 + (value & 0xf) <= highest;
}

static void time_of_day(void)
{
	uint8_t b = cmos(REG_B), s;

	CHECK(cmos(REG_D) & 0x80, "clock: valid RAM and time");
	CHECK((b & (B_SET | B_24H)) == B_24H && (cmos(REG_A) & 0x70) == A_32K, "clock: runs, with 24 hours");
	CHECK(is_bcd(cmos(0), 59) && is_bcd(cmos(2), 59) && is_bcd(cmos(4), 23) && is_bcd(cmos(7), 31) &&
	              is_bcd(cmos(8), 12) && is_bcd(cmos(9), 99),
	      "clock: a date and a time in BCD");
	s = cmos(0);
	CHECK(WAIT_FOR(cmos(0) != s, LIMIT_SECONDS), "clock: the seconds go on");
	CHECK(WAIT_FOR(cmos(REG_A) & A_UIP, LIMIT_SECONDS) && WAIT_FOR(!(cmos(REG_A) & A_UIP), LIMIT_SECONDS),
	      "clock: UIP announces an update");
	set_cmos(REG_B, b | B_SET);
	set_cmos(0, 0x58);
	CHECK(!WAIT_FOR(cmos(0) != 0x58, 5000000), "clock: SET holds it still");
	set_cmos(2, 0x59);
	set_cmos(4, 0x23);
	set_cmos(7, 0x28);
	set_cmos(8, 0x02);
	set_cmos(9, 0x24);
	set_cmos(REG_B, b);
	/* "Time, Calendar and Alarm Locations": it goes on from what was written, with an end-of-month and leap-year rule. */
	CHECK_DEPARTS(WAIT_FOR(cmos(4) == 0, LIMIT_SECONDS) && cmos(7) == 0x29 && cmos(8) == 0x02,
	              "Bochs goes on from an hour earlier",
	              "clock: the 28th of February of a leap year is not its last day");
	for (unsigned i = 0x50; i < 0x58; i++)
		set_cmos(i, i * 3);
	for (unsigned i = 0x50; i < 0x58; i++)
		s = s && cmos(i) == (uint8_t)(i * 3);
	CHECK(cmos(0x50) == 0xf0 && cmos(0x57) == 0x05, "clock: its RAM keeps what is written");
}

static void arm(unsigned enable)
{
	set_cmos(REG_B, B_24H);
	cmos(REG_C);
	seen = 0;
	set_cmos(REG_B, B_24H | enable);
}

static void periodic(void)
{
	unsigned first, periods;
	uint32_t start, ticks;

	set_cmos(REG_A, A_32K | 10); /* 64 Hz */
	arm(B_PERIOD);
	cpu_irq_on();
	CHECK(WAIT_FOR(seen, LIMIT_SECONDS), "clock: periodic interrupts come");
	CHECK((flags & (C_IRQF | B_PERIOD)) == (C_IRQF | B_PERIOD), "clock: register C says which");
	first = seen;
	WAIT_FOR(seen > first, LIMIT_SECONDS);
	start = pm();
	first = seen;
	WAIT_FOR(seen >= first + 16, LIMIT_SECONDS);
	ticks = (pm() - start) & pm_mask;
	periods = seen - first;
	cpu_irq_off();
	CHECK(ticks > PM_HZ / 64 * periods * 97 / 100 && ticks < PM_HZ / 64 * periods * 103 / 100,
	      "clock: 64 times a second");
	set_cmos(REG_B, B_24H);
	cpu_irq_window();
	arm(0);
	/* "Register C": PF "is set to 1 independent of the state of the PIE bit". */
	CHECK_DEPARTS(WAIT_FOR(cmos(REG_C) & B_PERIOD, LIMIT_SECONDS / 4) && !seen,
	              "Bochs sets it with PIE only", "clock: the flag is there for who polls");
}

static void seconds(void)
{
	arm(B_UPDATE);
	cpu_irq_on();
	CHECK(WAIT_FOR(seen == 1, LIMIT_SECONDS) && (flags & (C_IRQF | B_UPDATE)) == (C_IRQF | B_UPDATE),
	      "clock: an interrupt at the end of an update");
	cpu_irq_off();
	set_cmos(REG_B, B_24H);
	set_cmos(1, 0xff);
	set_cmos(3, 0xff);
	set_cmos(5, 0xff);
	arm(B_ALARM);
	cpu_irq_on();
	CHECK(WAIT_FOR(seen == 2, LIMIT_SECONDS) && (flags & (C_IRQF | B_ALARM)) == (C_IRQF | B_ALARM),
	      "clock: an alarm that matches everything comes each second");
	cpu_irq_off();
	set_cmos(1, 0x77); /* a second that never comes */
	arm(B_ALARM);
	cpu_irq_on();
	CHECK(!WAIT_FOR(seen, 6000000), "clock: one that matches nothing does not");
	cpu_irq_off();
	set_cmos(REG_B, B_24H);
}

void guest_main(void)
{
	trap_set(VECTOR, on_clock);
	if (!CHECK(find_pm(), "the FADT names the PM timer's port"))
		report_end();
	pm_timer();
	ioapic_set(RTC_PIN, apic_id(), VECTOR);
	time_of_day();
	periodic();
	seconds();
	ioapic_set(RTC_PIN, 0, IOAPIC_MASKED);
	report_end();
}
