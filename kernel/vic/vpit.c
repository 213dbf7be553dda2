/* SPDX-License-Identifier: MIT */
/* A virtual 8254: the counting element between two CLK pulses is computed, never stepped. */
#include <stddef.h>
#include "vpit.h"

#define CONTROL_BCD    0x01
#define CONTROL_MODE   0x0e
#define CONTROL_ACCESS 0x30
#define CONTROL_BITS   0x3f
#define CONTROL_SELECT 0xc0

#define ACCESS_LATCH 0x00
#define ACCESS_LSB   0x10
#define ACCESS_MSB   0x20
#define ACCESS_BOTH  0x30

#define SELECT_READ_BACK     0xc0
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

/* What distinguishes them; the data sheet's table "Gate Pin Operations Summary" is the last three columns. */
static const struct {
	bool load_new;  /* a count written while counting is loaded at once, not at the end of the cycle */
	bool low_start; /* OUT is low after the control word */
	bool strobe;    /* terminal count is one CLK pulse of OUT low */
	bool periodic;
	bool gate_stops;   /* a low gate stops counting */
	bool gate_raises;  /* a low gate sets OUT high */
	bool gate_trigger; /* a rising gate loads the count */
} modes[] = {
	[MODE_TERMINAL] = { .load_new = true, .low_start = true, .gate_stops = true },
	[MODE_ONE_SHOT] = { .gate_trigger = true },
	[MODE_RATE] = { .periodic = true, .gate_stops = true, .gate_raises = true, .gate_trigger = true },
	[MODE_SQUARE] = { .periodic = true, .gate_stops = true, .gate_raises = true, .gate_trigger = true },
	[MODE_STROBE] = { .load_new = true, .strobe = true, .gate_stops = true },
	[MODE_HARD] = { .strobe = true, .gate_trigger = true },
};

static enum mode channel_mode(const struct vpit_channel *c)
{
	unsigned mode = (c->control & CONTROL_MODE) >> 1;

	/* "X" bits of the control word: 110 is mode 2, 111 is mode 3. */
	return (enum mode)(mode > MODE_HARD ? mode - 4 : mode);
}

/* The counting element wraps from 0 to this less one. */
static uint32_t channel_modulus(const struct vpit_channel *c)
{
	return c->control & CONTROL_BCD ? 10000 : 0x10000;
}

/* Digits above 9 are nobody's business: the result is some count of four digits. */
static uint32_t channel_decode(const struct vpit_channel *c, uint32_t raw)
{
	uint32_t count = raw;

	if (c->control & CONTROL_BCD)
		count = (raw >> 12) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15);
	count %= channel_modulus(c);
	return count ? count : channel_modulus(c); /* 0 is the largest count */
}

static uint32_t channel_encode(const struct vpit_channel *c, uint32_t count)
{
	count %= channel_modulus(c);
	if (!(c->control & CONTROL_BCD))
		return count;
	return count / 1000 << 12 | count / 100 % 10 << 8 | count / 10 % 10 << 4 | count % 10;
}

static void channel_out(struct vpit_channel *c, bool out)
{
	c->rises += out && !c->out;
	c->out = out;
}

static bool channel_runs(const struct vpit_channel *c)
{
	return c->counting && (c->gate || !modes[channel_mode(c)].gate_stops);
}

/* The counting element at tick t, with no event between c->at and t. */
static uint32_t channel_count(const struct vpit_channel *c, uint64_t t)
{
	uint32_t modulus = channel_modulus(c);
	uint32_t step = channel_mode(c) == MODE_SQUARE ? 2 : 1;
	uint32_t gone = (uint32_t)((t - c->at) % modulus) * step % modulus;

	/* The modulus stands for a largest count that has not begun: it is not terminal count. */
	if (!channel_runs(c) || !gone)
		return c->count;
	return (c->count + modulus - gone) % modulus;
}

/* Ticks from c->at to the next change of OUT by counting, or VPIT_NEVER. */
static uint64_t channel_span(const struct vpit_channel *c)
{
	enum mode mode = channel_mode(c);

	/* The pulse of a strobe ends with its CLK cycle: neither the gate nor anything else lengthens it. */
	if (modes[mode].strobe && !c->out)
		return 1;
	if (!channel_runs(c) || !c->armed)
		return VPIT_NEVER;
	/* Square wave: steps of two, and an odd count is one CLK pulse longer in the high half. */
	if (mode == MODE_SQUARE)
		return c->cycle / 2 + (c->out ? c->cycle & 1 : 0);
	/* Rate generator: low for the CLK cycle in which the count is 1. */
	if (mode == MODE_RATE)
		return c->out ? c->count - 1 : 1;
	return c->count;
}

static bool channel_rests(const struct vpit_channel *c)
{
	return modes[channel_mode(c)].periodic && c->cycle == 1;
}

/* The count register goes into the counting element with the CLK pulse at tick t. */
static void channel_load(struct vpit_channel *c, uint64_t t)
{
	c->cycle = c->reload;
	c->count = channel_mode(c) == MODE_SQUARE ? c->reload & ~1u : c->reload;
	c->at = t;
	c->null = false;
	c->counting = true;
	c->armed = true;
	/*
	 * 8254, "Minimum and Maximum Initial Counts": the least count of modes 2 and 3 is 2. With 1,
	 * OUT rests high until a better one is written.
	 */
	if (channel_rests(c)) {
		c->counting = false;
		channel_out(c, true);
	}
}

/* OUT changes at tick t because of the count. */
static void channel_expire(struct vpit_channel *c, uint64_t t)
{
	enum mode mode = channel_mode(c);

	if (modes[mode].periodic) {
		channel_out(c, !c->out);
		/*
		 * 8254, "Mode 2" and "Mode 3": a new count is loaded at the end of the cycle, in the square
		 * wave already at the end of the half-cycle.
		 */
		if (c->out || mode == MODE_SQUARE) {
			channel_load(c, t);
		} else {
			c->count = 1;
			c->at = t;
		}
		return;
	}
	c->count = channel_count(c, t);
	c->at = t;
	c->armed = modes[mode].strobe && c->out;
	channel_out(c, !c->armed);
}

/* The next event, if it is not after `until`: true, and *t. */
static bool channel_event(const struct vpit_channel *c, uint64_t until, uint64_t *t)
{
	uint64_t span = channel_span(c);
	uint64_t expiry = span == VPIT_NEVER ? VPIT_NEVER : c->at + span;

	*t = expiry < c->load_at ? expiry : c->load_at;
	return *t <= until && *t != VPIT_NEVER;
}

/* A CLK pulse that loads a count replaces the old one: it is not also terminal count of that. */
static void channel_step(struct vpit_channel *c, uint64_t t)
{
	enum mode mode = channel_mode(c);

	if (t != c->load_at) {
		channel_expire(c, t);
		return;
	}
	c->load_at = VPIT_NEVER;
	channel_load(c, t);
	channel_out(c, mode != MODE_TERMINAL && mode != MODE_ONE_SHOT);
}

/*
 * Skips the whole periods between the start of a cycle, at c->at, and tick `now`: the cost of looking does
 * not depend on how long nobody looked.
 */
static void channel_skip(struct vpit_channel *c, uint64_t now)
{
	uint64_t periods;

	if (!modes[channel_mode(c)].periodic || !c->out || c->null || channel_span(c) == VPIT_NEVER)
		return;
	if (c->load_at != VPIT_NEVER)
		return;
	periods = (now - c->at) / c->cycle;
	c->at += periods * c->cycle;
	c->rises += periods;
}

/* Brings a channel to tick `now`. */
static void channel_advance(struct vpit_channel *c, uint64_t now)
{
	uint64_t t;

	for (channel_skip(c, now); channel_event(c, now, &t); channel_skip(c, now))
		channel_step(c, t);
}

/* Makes tick `now` the start of the reckoning, before what it depends on changes. */
static void channel_freeze(struct vpit_channel *c, uint64_t now)
{
	c->count = channel_count(c, now);
	c->at = now;
}

static void channel_control(struct vpit_channel *c, uint8_t value, uint64_t now)
{
	channel_freeze(c, now);
	c->control = value & CONTROL_BITS;
	/* 8254, "Counter Latch Command": held until read, "or until the Counter is reprogrammed". */
	c->latch_full = false;
	c->status_full = false;
	c->read_high = false;
	c->write_high = false;
	c->written = false;
	c->null = true;
	c->counting = false;
	c->load_at = VPIT_NEVER;
	channel_out(c, !modes[channel_mode(c)].low_start);
}

/* 8254, "Mode 0": the first of two bytes disables counting; OUT goes low at once, without a CLK pulse. */
static void channel_half(struct vpit_channel *c, uint8_t value, uint64_t now)
{
	c->low = value;
	c->write_high = true;
	if (channel_mode(c) != MODE_TERMINAL)
		return;
	channel_freeze(c, now);
	c->counting = false;
	c->load_at = VPIT_NEVER;
	channel_out(c, false);
}

static void channel_write(struct vpit_channel *c, uint8_t value, uint64_t now)
{
	enum mode mode = channel_mode(c);
	uint8_t access = c->control & CONTROL_ACCESS;
	uint32_t raw = access == ACCESS_LSB ? value : (uint32_t)value << 8;

	if (access == ACCESS_BOTH) {
		if (!c->write_high) {
			channel_half(c, value, now);
			return;
		}
		raw |= c->low;
		c->write_high = false;
	}
	c->reload = channel_decode(c, raw);
	c->null = true;
	if (mode == MODE_TERMINAL) {
		c->armed = false;
		channel_out(c, false);
	}
	/* The triggered modes wait for the gate, the periodic ones for the end of a cycle. */
	if (modes[mode].load_new || (modes[mode].periodic && !c->written) || channel_rests(c))
		c->load_at = now + 1;
	c->written = true;
}

static void channel_latch_count(struct vpit_channel *c, uint64_t now)
{
	uint32_t raw = channel_encode(c, channel_count(c, now));

	/* 8254, "Counter Latch Command": a second one before the count is read is ignored. */
	if (c->latch_full)
		return;
	c->latch[0] = (uint8_t)raw;
	c->latch[1] = (uint8_t)(raw >> 8);
	c->latch_full = true;
}

static void channel_latch_status(struct vpit_channel *c)
{
	if (c->status_full)
		return;
	c->status = (uint8_t)((c->out ? STATUS_OUT : 0) | (c->null ? STATUS_NULL : 0) | c->control);
	c->status_full = true;
}

static uint8_t channel_read(struct vpit_channel *c, uint64_t now)
{
	uint8_t access = c->control & CONTROL_ACCESS;
	bool both = access == ACCESS_BOTH;
	bool high = both ? c->read_high : access == ACCESS_MSB;
	uint32_t raw;

	/* 8254, "Read-Back Command": if both are latched, the first read returns the status. */
	if (c->status_full) {
		c->status_full = false;
		return c->status;
	}
	c->read_high = both && !high;
	if (c->latch_full) {
		c->latch_full = c->read_high;
		return c->latch[high];
	}
	raw = channel_encode(c, channel_count(c, now));
	return (uint8_t)(high ? raw >> 8 : raw);
}

static void channel_gate(struct vpit_channel *c, bool gate, uint64_t now)
{
	enum mode mode = channel_mode(c);

	if (gate == c->gate)
		return;
	channel_freeze(c, now);
	c->gate = gate;
	if (!gate && modes[mode].gate_raises) {
		/* Only a trigger goes on from here, and it loads the count anew. */
		c->counting = false;
		channel_out(c, true);
	} else if (gate && modes[mode].gate_trigger && c->written) {
		c->load_at = now + 1;
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
		/*
		 * 8254: before the first control word everything is undefined. High, so that the first
		 * control word of a periodic mode makes no edge.
		 */
		pit->channel[i] = (struct vpit_channel){
			.at = now,
			.load_at = VPIT_NEVER,
			.reload = 0x10000,
			.cycle = 0x10000,
			.control = ACCESS_BOTH | MODE_SQUARE << 1,
			.null = true,
			.gate = i != 2,
			.out = true,
		};
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
		if (!(value & READ_BACK_CHANNEL(i)))
			continue;
		if (!(value & READ_BACK_NO_COUNT))
			channel_latch_count(&pit->channel[i], now);
		if (!(value & READ_BACK_NO_STATUS))
			channel_latch_status(&pit->channel[i]);
	}
}

void vpit_write(struct vpit *pit, uint16_t port, uint8_t value, uint64_t now)
{
	struct vpit_channel *c;

	now = vpit_advance(pit, now);
	if (port < VPIT_CHANNEL0 || port > VPIT_CONTROL)
		return;
	if (port < VPIT_CONTROL) {
		channel_write(&pit->channel[port - VPIT_CHANNEL0], value, now);
		return;
	}
	if ((value & CONTROL_SELECT) == SELECT_READ_BACK) {
		vpit_read_back(pit, value, now);
		return;
	}
	c = &pit->channel[value >> 6];
	if ((value & CONTROL_ACCESS) == ACCESS_LATCH)
		channel_latch_count(c, now);
	else
		channel_control(c, value, now);
}

uint8_t vpit_port61_read(struct vpit *pit, uint64_t now)
{
	uint8_t value = pit->port61;

	now = vpit_advance(pit, now);
	if (now / REFRESH_TICKS & 1)
		value |= PORT61_REFRESH;
	if (pit->channel[2].out)
		value |= PORT61_OUT2;
	return value;
}

void vpit_port61_write(struct vpit *pit, uint8_t value, uint64_t now)
{
	now = vpit_advance(pit, now);
	pit->port61 = value & PORT61_WRITABLE;
	channel_gate(&pit->channel[2], value & PORT61_GATE2, now);
}

bool vpit_out(struct vpit *pit, unsigned channel, uint64_t now)
{
	vpit_advance(pit, now);
	return pit->channel[channel].out;
}

struct vpit_edges vpit_tick(struct vpit *pit, uint64_t now)
{
	const struct vpit_channel *c = &pit->channel[0];
	struct vpit_edges edges;

	vpit_advance(pit, now);
	edges = (struct vpit_edges){ .rises = c->rises - pit->told, .out = c->out };
	pit->told = c->rises;
	return edges;
}

uint64_t vpit_deadline(struct vpit *pit, uint64_t now)
{
	struct vpit_channel c;
	bool pulse, before;
	uint64_t t, rises;

	vpit_advance(pit, now);
	c = pit->channel[0];
	pulse = channel_mode(&c) == MODE_RATE || modes[channel_mode(&c)].strobe;
	before = c.out;
	rises = c.rises;
	/* Played on a copy. At most a load, a fall and a rise: every other event changes OUT. */
	while (channel_event(&c, VPIT_NEVER, &t)) {
		channel_step(&c, t);
		if (c.rises != rises || (before && !c.out && !pulse))
			return t;
	}
	return VPIT_NEVER;
}
