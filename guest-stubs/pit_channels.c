/* SPDX-License-Identifier: MIT */
/*
 * The 8254: channel 0 and channel 2 with its gate and output in port 0x61; latch and read-back commands, access by bytes,
 * every mode, BCD. Intel 8254 data sheet, "Read Operations" and "Mode Definitions".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "pit_channels";

#define CHANNEL2  0x42
#define PORT61    0x61
#define GATE2     0x01u
#define SPEAKER   0x02u
#define REFRESH   0x10u
#define OUT2      0x20u
#define CONTROL2  0x80u
#define VECTOR    0x71
#define NULL_FLAG 0x40u
#define OUT_FLAG  0x80u

static volatile unsigned seen;

static void on_edge(struct trap_frame *frame)
{
	(void)frame;
	seen++;
	apic_eoi();
}

static uint16_t port_of(unsigned channel)
{
	return (uint16_t)(PIT_CHANNEL0 + channel);
}

static void control(unsigned channel, unsigned mode)
{
	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6 | PIT_MODE(mode)));
}

static void load(unsigned channel, unsigned mode, unsigned count)
{
	control(channel, mode);
	cpu_outb(port_of(channel), (uint8_t)count);
	cpu_outb(port_of(channel), (uint8_t)(count >> 8));
}

static unsigned value_of(unsigned channel)
{
	unsigned low = cpu_inb(port_of(channel));

	return low | (unsigned)cpu_inb(port_of(channel)) << 8;
}

static unsigned latched(unsigned channel)
{
	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6));
	return value_of(channel);
}

static unsigned status(unsigned channel)
{
	cpu_outb(PIT_CONTROL, (uint8_t)(0xe0 | 2u << channel));
	return cpu_inb(port_of(channel));
}

static void gate(bool high)
{
	cpu_outb(PORT61, high ? GATE2 : 0);
}

static bool out2(void)
{
	return cpu_inb(PORT61) & OUT2;
}

static void wait(void)
{
	WAIT_FOR(false, 2000);
}

static void counting(unsigned channel)
{
	unsigned a, b, c, d, e, f;

	load(channel, 2, 60000);
	wait();
	a = latched(channel);
	wait();
	b = latched(channel);
	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6));
	WAIT_FOR(false, 20000);
	c = value_of(channel);
	d = latched(channel);
	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6));
	WAIT_FOR(false, 10000);
	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6));
	e = value_of(channel);
	f = latched(channel);
	CHECK(a <= 60000 && b < a, "channel %u: counts down from what was loaded", channel);
	CHECK(c <= b && b - c < 3000, "channel %u: a latched count waits to be read", channel);
	CHECK(c > d && c - d > 4000, "channel %u: while the count goes on", channel);
	CHECK(e > f && e - f > 2000, "channel %u: a second latch command before the read is ignored",
	      channel);
}

/* Data sheet, "Read-Back Command": status bits 5 to 0 as in the control word; bit 7 is OUT, bit 6 that the count is not loaded. */
static void read_back(unsigned channel)
{
	bool ended, below;
	unsigned s;

	control(channel, 0);
	s = status(channel);
	CHECK((s & 0x3f) == 0x30 && s & NULL_FLAG && !(s & OUT_FLAG),
	      "channel %u: mode 0 without a count: OUT low, nothing loaded", channel);
	load(channel, 0, 3000);
	wait();
	s = status(channel);
	ended = WAIT_FOR(status(channel) & OUT_FLAG, LIMIT_LONG / 10);
	wait();
	below = latched(channel) > 0x8000;
	CHECK((s & 0x3f) == 0x30 && !(s & (NULL_FLAG | OUT_FLAG)), "channel %u: loaded, OUT still low",
	      channel);
	CHECK(ended, "channel %u: at its end OUT is high", channel);
	CHECK(below, "channel %u: and it counts on below 0", channel);
	load(channel, 3, 5000);
	s = status(channel);
	CHECK((s & 0x3f) == 0x36, "channel %u: mode 3 reads back", channel);
	CHECK(WAIT_FOR(!(status(channel) & OUT_FLAG), LIMIT_LONG / 10) &&
	              WAIT_FOR(status(channel) & OUT_FLAG, LIMIT_LONG / 10) &&
	              WAIT_FOR(!(status(channel) & OUT_FLAG), LIMIT_LONG / 10),
	      "channel %u: mode 3: OUT is a square wave", channel);
	cpu_outb(PIT_CONTROL, (uint8_t)(0xc0 | 2u << channel));
	s = cpu_inb(port_of(channel));
	CHECK((s & 0x3f) == 0x36 && value_of(channel) <= 5000,
	      "channel %u: status and count latched by one command: the status first", channel);
}

static void bytes(unsigned channel)
{
	unsigned a, b;

	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6 | 0x14)); /* mode 2, low byte only */
	cpu_outb(port_of(channel), 200);
	wait();
	a = cpu_inb(port_of(channel));
	b = cpu_inb(port_of(channel));
	CHECK(a <= 200 && b <= 200 && (status(channel) & 0x3f) == 0x14, "channel %u: low byte only", channel);
	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6 | 0x24)); /* mode 2, high byte only */
	cpu_outb(port_of(channel), 0x80);
	wait();
	a = cpu_inb(port_of(channel));
	CHECK(a <= 0x80 && a > 0x60 && (status(channel) & 0x3f) == 0x24, "channel %u: high byte only",
	      channel);
	cpu_outb(PIT_CONTROL, (uint8_t)(channel << 6 | 0x35)); /* mode 2, BCD */
	cpu_outb(port_of(channel), 0x00);
	cpu_outb(port_of(channel), 0x50);
	wait();
	a = latched(channel);
	CHECK(a <= 0x5000 && a > 0x3000 && (a & 0xf) < 10 && (a >> 4 & 0xf) < 10 && (a >> 8 & 0xf) < 10,
	      "channel %u: BCD", channel);
}

static void gated(void)
{
	unsigned a, b, c;

	gate(false);
	load(2, 0, 3000);
	wait();
	a = latched(2);
	wait();
	CHECK(a == latched(2) && !out2(), "channel 2: gate low, mode 0 does not count");
	gate(true);
	wait();
	b = latched(2);
	CHECK(b < a, "channel 2: gate high, it does");
	load(2, 0, 30000);
	wait();
	gate(false);
	a = latched(2);
	wait();
	c = latched(2);
	CHECK(a == c && a < 30000 && !out2(), "channel 2: gate low again, it waits");
	gate(true);
	CHECK(WAIT_FOR(out2(), LIMIT_LONG / 10), "channel 2: at its end port 0x61 shows OUT high");
	load(2, 0, 3000);
	CHECK(!out2(), "channel 2: a new count sets it low");
	/* Mode 1: the rising edge of the gate starts it, and starts it again. */
	gate(false);
	load(2, 1, 1500);
	wait();
	CHECK(out2(), "channel 2: mode 1: OUT is high until the gate rises");
	gate(true);
	CHECK(WAIT_FOR(!out2(), LIMIT_LONG / 10), "channel 2: then low");
	CHECK(WAIT_FOR(out2(), LIMIT_LONG / 10), "channel 2: for the count");
	gate(false);
	gate(true);
	CHECK(WAIT_FOR(!out2(), LIMIT_LONG / 10) && WAIT_FOR(out2(), LIMIT_LONG / 10),
	      "channel 2: and once more with the next edge");
	/* Mode 5 as well; its strobe of one clock is too short to be seen here. */
	gate(false);
	load(2, 5, 30000);
	wait();
	CHECK(out2() && status(2) & NULL_FLAG, "channel 2: mode 5: nothing is loaded until the gate rises");
	gate(true);
	WAIT_FOR(false, 20000);
	a = latched(2);
	gate(false);
	wait();
	b = latched(2);
	gate(true);
	wait();
	c = latched(2);
	CHECK(a < 27000 && out2(), "channel 2: then it counts, OUT high");
	CHECK(b < a && c > a && c <= 30000, "channel 2: on when the gate falls, anew when it rises");
	load(2, 3, 400);
	CHECK(WAIT_FOR(!out2(), LIMIT_LONG / 10) && WAIT_FOR(out2(), LIMIT_LONG / 10) &&
	              WAIT_FOR(!out2(), LIMIT_LONG / 10),
	      "channel 2: mode 3: OUT is a square wave");
	gate(false);
	wait();
	CHECK(out2(), "channel 2: whose OUT is high while the gate is low");
}

static void port61(void)
{
	cpu_outb(PORT61, SPEAKER);
	CHECK((cpu_inb(PORT61) & 3) == SPEAKER, "port 0x61: bits 0 and 1 read back");
	cpu_outb(PORT61, 0);
	CHECK((cpu_inb(PORT61) & 3) == 0, "port 0x61: both 0");
	CHECK(WAIT_FOR(cpu_inb(PORT61) & REFRESH, LIMIT_LONG / 10) &&
	              WAIT_FOR(!(cpu_inb(PORT61) & REFRESH), LIMIT_LONG / 10),
	      "port 0x61: the refresh bit toggles");
}

static void modes_as_interrupts(void)
{
	pit_low();
	ioapic_set(PIT_PIN, apic_id(), VECTOR);
	cpu_irq_window();
	seen = 0;
	cpu_irq_on();
	load(0, 0, 300);
	CHECK(WAIT_FOR(seen == 1, LIMIT_LONG / 10) && !WAIT_FOR(seen != 1, LIMIT_QUIET * 2),
	      "channel 0: mode 0 interrupts once");
	seen = 0;
	load(0, 2, 6000);
	CHECK(WAIT_FOR(seen == 5, LIMIT_LONG / 10), "channel 0: mode 2 goes on");
	pit_low();
	seen = 0;
	load(0, 3, 6000);
	CHECK(WAIT_FOR(seen >= 5, LIMIT_LONG / 10), "channel 0: mode 3 goes on");
	pit_low();
	cpu_irq_off();
	cpu_irq_window();
	seen = 0;
	load(0, 4, 300);
	cpu_irq_on();
	CHECK(WAIT_FOR(status(0) & OUT_FLAG, LIMIT_LONG / 10), "channel 0: mode 4 strobes from high");
	seen = 0;
	load(0, 5, 300);
	CHECK(!WAIT_FOR(seen, LIMIT_QUIET) && status(0) & OUT_FLAG && status(0) & NULL_FLAG,
	      "channel 0: mode 5 waits for a gate that never rises");
	cpu_irq_off();
	ioapic_set(PIT_PIN, 0, IOAPIC_MASKED);
	pit_low();
}

/* Both channels run off one clock. */
static void one_clock(void)
{
	unsigned a0, b0, a2, b2, d0, d2;

	gate(true);
	load(0, 2, 0);
	load(2, 2, 0);
	wait();
	a0 = latched(0);
	a2 = latched(2);
	WAIT_FOR(false, 60000);
	b0 = latched(0);
	b2 = latched(2);
	d0 = (a0 - b0) & 0xffff;
	d2 = (a2 - b2) & 0xffff;
	CHECK(d0 > 5000 && (d0 > d2 ? d0 - d2 : d2 - d0) < d0 / 10, "both channels count at one rate");
	pit_low();
	gate(false);
}

void guest_main(void)
{
	trap_set(VECTOR, on_edge);
	counting(0);
	read_back(0);
	gate(true);
	counting(2);
	read_back(2);
	bytes(0);
	bytes(2);
	gated();
	port61();
	modes_as_interrupts();
	one_clock();
	report_end();
}
