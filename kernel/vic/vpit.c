/* SPDX-License-Identifier: MIT */
/* A virtual 8254: the counting element between two CLK pulses is computed, never stepped. */
#include "vpit.h"

#define CONTROL_BCD    0x01
#define CONTROL_MODE   0x0e
#define CONTROL_ACCESS 0x30
#define CONTROL_BITS   0x3f

#define CONTROL_SELECT_SHIFT 6 /* a channel; the number after the last one is the read-back command */

#define ACCESS_LATCH 0x00
#define ACCESS_LSB   0x10
#define ACCESS_MSB   0x20
#define ACCESS_BOTH  0x30

#define READ_BACK_NO_COUNT   0x20
#define READ_BACK_NO_STATUS  0x10
#define READ_BACK_CHANNEL(n) (2u << (n))

#define STATUS_OUT  0x80
#define STATUS_NULL 0x40

#define PORT61_WRITABLE 0x0f
#define PORT61_GATE2    0x01
#define PORT61_REFRESH  0x10
#define PORT61_OUT2     0x20
#define REFRESH_TICKS   18 /* 15.09 us: channel 1 asks for a row of memory, and the bit toggles */

#define OPEN_BUS 0xff

/* Names of the modes from the 8254 data sheet, "Mode Definitions". */
enum mode {
	MODE_TERMINAL, /* 0: interrupt on terminal count */
	MODE_ONE_SHOT, /* 1: hardware retriggerable one-shot */
	MODE_RATE,     /* 2: rate generator */
	MODE_SQUARE,   /* 3: square wave mode */
	MODE_STROBE,   /* 4: software triggered strobe */
	MODE_HARD,     /* 5: hardware triggered strobe */
};

/*
 * Sets of modes. "Gate Pin Operations Summary": a rising gate loads the count of all but modes 0 and 4; a low one stops
 * all but the triggered, and sets OUT of the periodic high.
 */
#define PERIODIC  (1u << MODE_RATE | 1u << MODE_SQUARE)
#define TRIGGERED (1u << MODE_ONE_SHOT | 1u << MODE_HARD)
#define STROBES   (1u << MODE_STROBE | 1u << MODE_HARD) /* terminal count is one CLK pulse of OUT low */

static bool channel_is(const struct vpit_channel *c, unsigned set)
{
	return set >> c->mode & 1;
}

static uint32_t channel_radix(const struct vpit_channel *c)
{
	return c->control & CONTROL_BCD ? 10 : 16;
}

/* The counting element wraps from 0 to this less one. */
static uint32_t channel_modulus(const struct vpit_channel *c)
{
	return c->control & CONTROL_BCD ? 10000 : 0x10000;
}

/* Digits above 9 are nobody's business: the result is some count of four digits. 0 is the largest count. */
static uint32_t channel_decode(const struct vpit_channel *c, uint32_t raw)
{
	uint32_t count = 0;

	for (int shift = 12; shift >= 0; shift -= 4)
		count = count * channel_radix(c) + (raw >> shift & 15);
	count %= channel_modulus(c);
	return count ? count : channel_modulus(c);
}

static uint32_t channel_encode(const struct vpit_channel *c, uint32_t count)
{
	uint32_t raw = 0;

	for (int shift = 0; shift < 16; shift += 4) {
		raw |= count % channel_radix(c) << shift;
		count /= channel_radix(c);
	}
	return raw;
}

static void channel_out(struct vpit_channel *c, bool out)
{
	c->rises += out && !c->out;
	c->out = out;
}

static bool channel_runs(const struct vpit_channel *c)
{
	return c->counting && (c->gate || channel_is(c, TRIGGERED));
}

/* The counting element at tick t, with no event between c->at and t. */
static uint32_t channel_count(const struct vpit_channel *c, uint64_t t)
{
	uint32_t modulus = channel_modulus(c);
	uint32_t step = c->mode == MODE_SQUARE ? 2 : 1;
	uint32_t gone = (uint32_t)((t - c->at) % modulus) * step % modulus;

	/* The modulus stands for a largest count that has not begun: it is not terminal count. */
	if (!channel_runs(c) || !gone)
		return c->count;
	return (c->count + modulus - gone) % modulus;
}

/* Makes tick `now` the start of the reckoning, before what it depends on changes. */
static void channel_freeze(struct vpit_channel *c, uint64_t now)
{
	c->count = channel_count(c, now);
	c->at = now;
}

/* Ticks from c->at to the next change of OUT by counting, or VPIT_NEVER. */
static uint64_t channel_span(const struct vpit_channel *c)
{
	/* The pulse of a strobe ends with its CLK cycle: neither the gate nor anything else lengthens it. */
	if (channel_is(c, STROBES) && !c->out)
		return 1;
	if (!channel_runs(c) || !c->armed)
		return VPIT_NEVER;
	/* Square wave: steps of two, and an odd count is one CLK pulse longer in the high half. */
	if (c->mode == MODE_SQUARE)
		return c->cycle / 2 + (c->out ? c->cycle & 1 : 0);
	/* Rate generator: low for the CLK cycle in which the count is 1. */
	if (c->mode == MODE_RATE)
		return c->out ? c->count - 1 : 1;
	return c->count;
}

/* 8254, "Minimum and Maximum Initial Counts": the least of modes 2 and 3 is 2. With 1, OUT rests high. */
static bool channel_rests(const struct vpit_channel *c)
{
	return channel_is(c, PERIODIC) && c->cycle == 1;
}

/* The count register goes into the counting element with the CLK pulse at tick t. */
static void channel_load(struct vpit_channel *c, uint64_t t)
{
	c->cycle = c->reload;
	c->count = c->mode == MODE_SQUARE ? c->reload & ~1u : c->reload;
	c->at = t;
	c->null = false;
	c->counting = !channel_rests(c);
	c->armed = true;
	if (channel_rests(c))
		channel_out(c, true);
}

/* OUT changes at tick t because of the count. */
static void channel_expire(struct vpit_channel *c, uint64_t t)
{
	channel_freeze(c, t);
	if (!channel_is(c, PERIODIC)) {
		c->armed = channel_is(c, STROBES) && c->out;
		channel_out(c, !c->armed);
		return;
	}
	channel_out(c, !c->out);
	/* 8254, "Mode 2" and "Mode 3": a new count is loaded at the end of the cycle, in mode 3 of the half-cycle. */
	if (c->out || c->mode == MODE_SQUARE)
		channel_load(c, t);
}

/* The tick of the next event, or VPIT_NEVER. */
static uint64_t channel_next(const struct vpit_channel *c)
{
	uint64_t span = channel_span(c);
	uint64_t expiry = span == VPIT_NEVER ? VPIT_NEVER : c->at + span;

	return expiry < c->load_at ? expiry : c->load_at;
}

/* A CLK pulse that loads a count replaces the old one: it is not also terminal count of that. */
static void channel_step(struct vpit_channel *c, uint64_t t)
{
	if (t != c->load_at) {
		channel_expire(c, t);
		return;
	}
	c->load_at = VPIT_NEVER;
	channel_load(c, t);
	channel_out(c, c->mode > MODE_ONE_SHOT);
}

/* Skips whole periods from the start of a cycle: the cost of looking does not depend on how long nobody looked. */
static void channel_skip(struct vpit_channel *c, uint64_t now)
{
	uint64_t periods;

	if (!channel_is(c, PERIODIC) || !c->out || c->null || c->load_at != VPIT_NEVER ||
	    channel_span(c) == VPIT_NEVER)
		return;
	periods = (now - c->at) / c->cycle;
	c->at += periods * c->cycle;
	c->rises += periods;
}

/* Brings a channel to tick `now`. */
static void channel_advance(struct vpit_channel *c, uint64_t now)
{
	channel_skip(c, now);
	for (uint64_t t = channel_next(c); t <= now && t != VPIT_NEVER; t = channel_next(c)) {
		channel_step(c, t);
		channel_skip(c, now);
	}
}

/* 8254, "Counter Latch Command": what is latched is held until read, "or until the Counter is reprogrammed". */
static void channel_control(struct vpit_channel *c, uint8_t value, uint64_t now)
{
	unsigned mode = (value & CONTROL_MODE) / 2u;

	*c = (struct vpit_channel){
		.at = now,
		.load_at = VPIT_NEVER,
		.rises = c->rises,
		.count = channel_count(c, now),
		.control = value & CONTROL_BITS,
		.mode = (uint8_t)(mode > MODE_HARD ? mode - 4 : mode),
		.null = true,
		.gate = c->gate,
		.out = c->out,
	};
	channel_out(c, c->mode != MODE_TERMINAL);
}

static void channel_write(struct vpit_channel *c, uint8_t value, uint64_t now)
{
	uint8_t access = c->control & CONTROL_ACCESS;

	/* The first of two bytes. 8254, "Mode 0": it disables counting; OUT goes low at once, without a CLK pulse. */
	if (c->mode == MODE_TERMINAL) {
		channel_freeze(c, now);
		c->counting = false;
		c->load_at = VPIT_NEVER;
		channel_out(c, false);
	}
	if (access == ACCESS_BOTH && !c->write_high) {
		c->low = value;
		c->write_high = true;
		return;
	}
	c->write_high = false;
	c->reload = channel_decode(c, access == ACCESS_LSB ? value : (uint32_t)value << 8 | c->low);
	c->null = true;
	/* The triggered modes wait for the gate, the periodic ones for the end of a cycle. */
	if (!channel_is(c, PERIODIC | TRIGGERED) || (channel_is(c, PERIODIC) && !c->written) ||
	    channel_rests(c))
		c->load_at = now + 1;
	c->written = true;
}

/* 8254, "Counter Latch Command": a second one before the count is read is ignored. So it is with the status. */
static void channel_latch(struct vpit_channel *c, bool count, bool status, uint64_t now)
{
	if (count && !c->latch_full) {
		c->latch = (uint16_t)channel_encode(c, channel_count(c, now));
		c->latch_full = true;
	}
	if (status && !c->status_full) {
		c->status = (uint8_t)((c->out ? STATUS_OUT : 0) | (c->null ? STATUS_NULL : 0) | c->control);
		c->status_full = true;
	}
}

static uint8_t channel_read(struct vpit_channel *c, uint64_t now)
{
	uint8_t access = c->control & CONTROL_ACCESS;
	bool high = access == ACCESS_MSB || c->read_high;
	uint32_t raw = c->latch_full ? c->latch : channel_encode(c, channel_count(c, now));

	/* 8254, "Read-Back Command": if both are latched, the first read returns the status. */
	if (c->status_full) {
		c->status_full = false;
		return c->status;
	}
	c->read_high = access == ACCESS_BOTH && !high;
	c->latch_full = c->latch_full && c->read_high;
	return (uint8_t)(high ? raw >> 8 : raw);
}

static void channel_gate(struct vpit_channel *c, bool gate, uint64_t now)
{
	if (gate == c->gate)
		return;
	channel_freeze(c, now);
	c->gate = gate;
	if (gate && channel_is(c, PERIODIC | TRIGGERED) && c->written)
		c->load_at = now + 1;
	if (!gate && channel_is(c, PERIODIC)) {
		/* Only a trigger goes on from here, and it loads the count anew. */
		c->counting = false;
		channel_out(c, true);
	}
}

/* Brings every channel to the newest time seen. */
static uint64_t vpit_advance(struct vpit *pit, uint64_t now)
{
	if (now > pit->now)
		pit->now = now;
	for (unsigned i = 0; i < VPIT_CHANNELS; i++)
		channel_advance(&pit->channel[i], pit->now);
	return pit->now;
}

void vpit_init(struct vpit *pit, uint64_t now)
{
	*pit = (struct vpit){ .now = now };
	for (unsigned i = 0; i < VPIT_CHANNELS; i++) {
		/* 8254: before the first control word all is undefined. High: that of a periodic mode makes no edge. */
		pit->channel[i].out = true;
		pit->channel[i].gate = i != 2;
		channel_control(&pit->channel[i], ACCESS_BOTH | MODE_SQUARE << 1, now);
	}
}

uint8_t vpit_read(struct vpit *pit, uint16_t port, uint64_t now)
{
	now = vpit_advance(pit, now);
	if (port < VPIT_CHANNEL0 || port >= VPIT_CONTROL)
		return OPEN_BUS;
	return channel_read(&pit->channel[port - VPIT_CHANNEL0], now);
}

static void vpit_read_back(struct vpit *pit, uint8_t value, uint64_t now)
{
	for (unsigned i = 0; i < VPIT_CHANNELS; i++) {
		if (value & READ_BACK_CHANNEL(i))
			channel_latch(&pit->channel[i], !(value & READ_BACK_NO_COUNT),
			              !(value & READ_BACK_NO_STATUS), now);
	}
}

void vpit_write(struct vpit *pit, uint16_t port, uint8_t value, uint64_t now)
{
	unsigned select = value >> CONTROL_SELECT_SHIFT;

	now = vpit_advance(pit, now);
	if (port >= VPIT_CHANNEL0 && port < VPIT_CONTROL)
		channel_write(&pit->channel[port - VPIT_CHANNEL0], value, now);
	else if (port != VPIT_CONTROL)
		return;
	else if (select == VPIT_CHANNELS)
		vpit_read_back(pit, value, now);
	else if ((value & CONTROL_ACCESS) == ACCESS_LATCH)
		channel_latch(&pit->channel[select], true, false, now);
	else
		channel_control(&pit->channel[select], value, now);
}

uint8_t vpit_port61_read(struct vpit *pit, uint64_t now)
{
	now = vpit_advance(pit, now);
	return (uint8_t)(pit->port61 | (now / REFRESH_TICKS & 1 ? PORT61_REFRESH : 0) |
	                 (pit->channel[2].out ? PORT61_OUT2 : 0));
}

void vpit_port61_write(struct vpit *pit, uint8_t value, uint64_t now)
{
	now = vpit_advance(pit, now);
	pit->port61 = value & PORT61_WRITABLE;
	channel_gate(&pit->channel[2], value & PORT61_GATE2, now);
}

struct vpit_edges vpit_tick(struct vpit *pit, uint64_t now)
{
	const struct vpit_channel *c = &pit->channel[0];
	uint64_t told = pit->told;

	vpit_advance(pit, now);
	pit->told = c->rises;
	return (struct vpit_edges){ .rises = c->rises - told, .out = c->out };
}

uint64_t vpit_deadline(struct vpit *pit, uint64_t now)
{
	const struct vpit_channel *before = &pit->channel[0];
	struct vpit_channel c;
	bool pulses;

	vpit_advance(pit, now);
	c = *before;
	pulses = c.mode == MODE_RATE || channel_is(&c, STROBES);
	/* Played on a copy. At most a load, a fall and a rise: every other event changes OUT. */
	for (uint64_t t = channel_next(&c); t != VPIT_NEVER; t = channel_next(&c)) {
		channel_step(&c, t);
		if (c.rises != before->rises || (before->out && !c.out && !pulses))
			return t;
	}
	return VPIT_NEVER;
}
