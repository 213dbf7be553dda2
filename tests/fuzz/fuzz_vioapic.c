/* SPDX-License-Identifier: MIT */
/* Fuzzes the virtual IOAPIC and the callback lines: operations against a plain model of each pin. */
/* SOURCES: kernel/vic/vioapic.c kernel/vic/route.c kernel/vic/icr.c */
#include <string.h>

#include "kernel/vic/route.h"
#include "tests/fuzz/input.h"

#define VCPUS     3u
#define READ_ONLY (VIOAPIC_STATUS | VIOAPIC_REMOTE_IRR)
#define WRITABLE  (0x1ffffu & ~READ_ONLY)

struct pin {
	uint32_t low, destination; /* as written, without what is read-only */
	bool wire;
	bool edge; /* signalled, and accepted by nobody yet */
	bool remote_irr;
};

static struct {
	struct vioapic io;
	struct route_lines lines;
	struct db_vm db;
	struct apic_bus bus;
	struct lapic_face face[VCPUS];
	struct pin pin[VIOAPIC_PINS];
	/* Callback lines: an upcall was raised, and no interrupt has been sent since. */
	bool owed[ROUTE_LINES];
	uint64_t sent; /* pins whose message somebody accepted, in this operation */
} f;

static const struct apic_page page; /* all LAPICs have the same priority */

UNTRACED static enum apic_mode mode_of(const struct pin *p)
{
	return (enum apic_mode)(p->low >> 8 & 7);
}

UNTRACED static bool is_level(const struct pin *p)
{
	return (p->low & VIOAPIC_LEVEL) && mode_of(p) <= APIC_MODE_LOWEST;
}

UNTRACED static bool is_open(const struct pin *p)
{
	return !(p->low & VIOAPIC_MASKED) && mode_of(p) != APIC_MODE_RESERVED && mode_of(p) != APIC_MODE_SIPI;
}

UNTRACED static bool is_asserted(const struct pin *p)
{
	return p->wire != !!(p->low & VIOAPIC_ACTIVE_LOW);
}

/* The pin has a message that should be on its way. */
UNTRACED static bool wants(const struct pin *p)
{
	return is_open(p) && (is_level(p) ? is_asserted(p) && !p->remote_irr : p->edge);
}

static void set_wire(struct pin *p, bool high)
{
	bool before = is_asserted(p);

	p->wire = high;
	if (!before && is_asserted(p) && is_open(p) && !is_level(p))
		p->edge = true;
}

/* The pins that route.c drives itself: only what the IOAPIC's own rules say of them is checked. */
UNTRACED static void adopt_callbacks(void)
{
	for (unsigned n = VIOAPIC_CALLBACK_PIN; n < VIOAPIC_PINS; n++) {
		f.pin[n].wire = f.io.high >> n & 1;
		f.pin[n].edge = f.io.latched >> n & 1;
		f.pin[n].remote_irr = f.io.remote_irr >> n & 1;
	}
}

UNTRACED static void check_message(unsigned n, const struct apic_msg *msg)
{
	const struct pin *p = &f.pin[n];

	REQUIRE(is_open(p) && wants(p));
	REQUIRE(msg->vector == (p->low & VIOAPIC_VECTOR) && msg->mode == mode_of(p));
	REQUIRE(msg->dest == p->destination >> 24 && msg->logical == !!(p->low & VIOAPIC_LOGICAL));
	REQUIRE(msg->level == is_level(p) && msg->shorthand == APIC_DEST_FIELD && !msg->wide &&
	        !msg->deassert);
}

/* Who of those that the bus finds gets it: on `vcpu0` VCPU 0 alone, and nobody while its LAPIC is switched off. */
static uint32_t chosen(unsigned n, uint32_t targets)
{
	bool vcpu0 = f.db.route->number == BH_ROUTE_VCPU0 && n >= VIOAPIC_CALLBACK_PIN;
	uint32_t by_route = targets ? route_targets(&f.lines, &f.db, n, targets) : 0;

	REQUIRE(by_route < 1u << VCPUS && (by_route || !targets || vcpu0));
	REQUIRE(!vcpu0 || !targets || by_route == (f.face[0].word & LAPIC_FACE_SW ? 1 : 0));
	return by_route;
}

static void callback_sent(unsigned n, uint32_t targets)
{
	uint32_t waiting = f.lines.waiting[n - VIOAPIC_CALLBACK_PIN], missed;

	missed = route_sent(&f.lines, &f.io, n, targets);
	REQUIRE(missed == (waiting & ~targets));
	f.owed[n - VIOAPIC_CALLBACK_PIN] = false;
}

/* As kernel/intr.c does it after every change. */
static void drain(void)
{
	struct apic_msg msg;
	unsigned n;

	for (unsigned sent = 0; vioapic_next(&f.io, &n, &msg); sent++) {
		uint32_t targets = apic_bus_targets(&f.bus, &msg, -1);

		REQUIRE(sent <= VIOAPIC_PINS && n < VIOAPIC_PINS);
		adopt_callbacks();
		check_message(n, &msg);
		targets = chosen(n, targets);
		if (targets && n >= VIOAPIC_CALLBACK_PIN)
			callback_sent(n, targets);
		vioapic_sent(&f.io, n, targets != 0);
		if (targets) {
			f.sent |= 1ull << n;
			f.pin[n].edge = false;
			f.pin[n].remote_irr = is_level(&f.pin[n]);
		}
	}
	adopt_callbacks();
}

UNTRACED static bool has_target(unsigned n)
{
	struct apic_msg msg;

	vioapic_entry(&f.io, n, &msg);
	if (msg.mode == APIC_MODE_LOWEST)
		msg.mode = APIC_MODE_FIXED; /* the set, without arbitration */
	return chosen(n, apic_bus_targets(&f.bus, &msg, -1));
}

UNTRACED static void check(void)
{
	for (unsigned n = 0; n < VIOAPIC_PINS; n++) {
		const struct pin *p = &f.pin[n];

		REQUIRE(f.io.entry[n] == ((uint64_t)p->destination << 32 | p->low));
		REQUIRE((f.io.open >> n & 1) == is_open(p) && (f.io.level >> n & 1) == is_level(p));
		REQUIRE((f.io.asserted >> n & 1) == is_asserted(p) && (f.io.latched >> n & 1) == p->edge);
		REQUIRE((f.io.remote_irr >> n & 1) == p->remote_irr);
		/* Remote IRR is a level's, a latched edge is an edge's. */
		REQUIRE(!p->remote_irr || is_level(p));
		REQUIRE(!p->edge || !is_level(p));
		/* What should be on its way is on its way, or there is nobody to take it. */
		REQUIRE(!wants(p) || (!has_target(n) && f.io.held));
	}
	/* An upcall that is owed is remembered by the lines, and by the one it is for. */
	for (unsigned line = 0; line < ROUTE_LINES; line++)
		REQUIRE(!f.owed[line] || (f.lines.raised >> (VIOAPIC_CALLBACK_PIN + line) & 1));
	REQUIRE(!(f.lines.raised << (64 - VIOAPIC_CALLBACK_PIN)) && !(f.lines.raised >> VIOAPIC_PINS));
	REQUIRE(f.io.version == VIOAPIC_VERSION_82093AA || f.io.version == VIOAPIC_VERSION_EOI);
}

UNTRACED static void check_readback(unsigned n)
{
	const struct pin *p = &f.pin[n];
	uint32_t low = p->low | (wants(p) ? VIOAPIC_STATUS : 0) | (p->remote_irr ? VIOAPIC_REMOTE_IRR : 0);

	vioapic_write(&f.io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + 2 * n);
	REQUIRE(vioapic_read(&f.io, VIOAPIC_IOREGSEL) == VIOAPIC_REG_ENTRY + 2 * n);
	REQUIRE(vioapic_read(&f.io, VIOAPIC_IOWIN) == low);
	vioapic_write(&f.io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + 2 * n + 1);
	REQUIRE(vioapic_read(&f.io, VIOAPIC_IOWIN) == p->destination);
}

/* The groups that follow their entries do: to whom they select, and nowhere if that is nobody. */
static void follow(uint64_t pins)
{
	uint32_t before[ROUTE_LINES], moved;

	for (unsigned line = 0; line < ROUTE_LINES; line++)
		before[line] = f.db.follow[line];
	moved = route_follow(&f.lines, &f.db, &f.io, pins);
	for (unsigned line = 0; line < ROUTE_LINES; line++) {
		REQUIRE(f.db.follow[line] && f.db.follow[line] < 1u << VCPUS);
		REQUIRE((moved >> line & 1) == (before[line] != f.db.follow[line]));
	}
}

static void write_half(unsigned n, bool upper, uint32_t value)
{
	struct pin *p = &f.pin[n];
	uint32_t before = upper ? p->destination : p->low, after = value & (upper ? 0xff000000u : WRITABLE);
	bool wanted = wants(p);
	uint64_t changed;

	vioapic_write(&f.io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + 2 * n + upper);
	vioapic_write(&f.io, VIOAPIC_IOWIN, value);
	*(upper ? &p->destination : &p->low) = after;
	if (is_level(p))
		p->edge = false;
	else
		p->remote_irr = false;
	changed = vioapic_changed(&f.io);
	REQUIRE(changed == (uint64_t)(before != after) << n);
	route_rewritten(&f.lines, &f.io, changed);
	follow(changed);
	drain();
	/* A new destination sends what was held up, and nothing else. */
	REQUIRE(!upper || n >= VIOAPIC_CALLBACK_PIN || !f.sent || (wanted && f.sent == 1ull << n));
	check_readback(n);
}

static void end_of_interrupt(uint8_t vector, bool directed)
{
	route_eoi(&f.lines, &f.io, vector);
	if (directed && f.io.version == VIOAPIC_VERSION_EOI)
		vioapic_write(&f.io, VIOAPIC_EOI, vector);
	else
		vioapic_eoi(&f.io, vector);
	for (unsigned n = 0; n < VIOAPIC_PINS; n++) {
		if ((f.pin[n].low & VIOAPIC_VECTOR) == vector)
			f.pin[n].remote_irr = false;
	}
	drain();
}

static void change_face(unsigned vcpu, uint8_t flags, uint8_t id)
{
	f.face[vcpu].word = (uint64_t)(flags & 15) << 40 | (uint64_t)id << LAPIC_FACE_LDR_SHIFT | (id & 7);
	vioapic_retry(&f.io);
	follow(f.lines.raised | 0xffffull << VIOAPIC_CALLBACK_PIN);
	drain();
}

static void raise(unsigned line, unsigned vcpu)
{
	f.owed[line] = true;
	route_raise(&f.lines, &f.io, VIOAPIC_CALLBACK_PIN + line, vcpu, line);
	drain();
}

static void any_register(uint8_t select, uint32_t value)
{
	vioapic_write(&f.io, VIOAPIC_IOREGSEL, select);
	REQUIRE(vioapic_read(&f.io, VIOAPIC_IOREGSEL) == select);
	REQUIRE(vioapic_read(&f.io, VIOAPIC_EOI) == 0 && vioapic_read(&f.io, value | 1) == 0);
	if (select >= VIOAPIC_REG_ENTRY && select < VIOAPIC_REG_ENTRY + 2 * VIOAPIC_PINS)
		return;
	vioapic_write(&f.io, VIOAPIC_IOWIN, value);
	value = vioapic_read(&f.io, VIOAPIC_IOWIN);
	if (select == VIOAPIC_REG_VER)
		REQUIRE(value == (39u << 16 | f.io.version));
	else
		REQUIRE(select <= VIOAPIC_REG_ARB ? !(value & ~0x0f000000u) : !value);
	REQUIRE(!vioapic_changed(&f.io));
}

/* Entries that deliver are likely: one of four vectors, and three of four unmasked. */
static uint32_t likely_low(struct input *in)
{
	uint8_t form = input_8(in), mode = input_8(in);
	uint32_t low = 0x20u + (form & 3) * 0x11;

	low |= form & 4 ? VIOAPIC_LEVEL : 0;
	low |= form & 8 ? VIOAPIC_ACTIVE_LOW : 0;
	low |= form & 16 ? VIOAPIC_LOGICAL : 0;
	low |= (form & 0x60) == 0x60 ? VIOAPIC_MASKED : 0;
	return low | (form & 0x80 ? (uint32_t)mode << 8 & VIOAPIC_MODE : (mode & 1u) << 8);
}

static unsigned any_pin(struct input *in)
{
	static const uint8_t few[8] = { 0, 1, 2, 23, 24, 25, 26, 39 };
	uint8_t byte = input_8(in);

	return byte & 0x80 ? byte % VIOAPIC_PINS : few[byte & 7];
}

static void step(struct input *in)
{
	uint8_t operation = input_8(in) % 12, byte;
	unsigned n;

	switch (operation) {
	case 0:
		n = any_pin(in);
		write_half(n, false, likely_low(in) & ~(n < VIOAPIC_CALLBACK_PIN ? 0 : VIOAPIC_ACTIVE_LOW));
		break;
	case 1:
		n = any_pin(in);
		write_half(n, true, (uint32_t)input_8(in) << 24);
		break;
	case 2:
	case 3: /* only one bit of it */
		n = any_pin(in);
		write_half(n, false, f.pin[n].low ^ (operation & 1 ? VIOAPIC_LEVEL : VIOAPIC_MASKED));
		break;
	case 4:
	case 5:
		n = any_pin(in);
		if (n >= VIOAPIC_CALLBACK_PIN)
			break;
		vioapic_set_line(&f.io, n, operation & 1);
		set_wire(&f.pin[n], operation & 1);
		drain();
		break;
	case 6:
		end_of_interrupt((uint8_t)(0x20 + input_8(in) % 4 * 0x11), false);
		break;
	case 7:
		end_of_interrupt(input_8(in), true);
		break;
	case 8:
		byte = input_8(in);
		change_face(byte % VCPUS, (uint8_t)(byte >> 4 | (byte & 8 ? 12 : 0)), input_8(in));
		break;
	case 9:
		byte = input_8(in);
		raise(byte % ROUTE_LINES, byte / 16 % VCPUS);
		break;
	case 10:
		f.db.route = route_find(input_8(in) % BH_ROUTES);
		vioapic_retry(&f.io);
		drain();
		break;
	case 11:
		byte = input_8(in);
		any_register(byte, input_32(in));
		break;
	}
}

/* Unmasked, with somebody to take it and its EOI given, every upcall that is owed is sent. */
static void finish(void)
{
	change_face(0, (LAPIC_FACE_HW | LAPIC_FACE_SW) >> 40, 1);
	for (unsigned line = 0; line < ROUTE_LINES; line++) {
		unsigned n = VIOAPIC_CALLBACK_PIN + line;

		if (!f.owed[line])
			continue;
		write_half(n, true, 0xff000000);
		write_half(n, false, f.pin[n].low & (VIOAPIC_VECTOR | VIOAPIC_LEVEL));
		if (f.owed[line])
			end_of_interrupt((uint8_t)(f.pin[n].low & VIOAPIC_VECTOR), false);
		REQUIRE(!f.owed[line]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_sequence(data, size);
	uint8_t options = input_8(&in);

	memset(&f, 0, sizeof(f));
	vioapic_init(&f.io, options & 1 ? VIOAPIC_VERSION_82093AA : VIOAPIC_VERSION_EOI, options >> 4);
	f.bus.count = VCPUS;
	for (unsigned v = 0; v < VCPUS; v++) {
		f.face[v].page = &page;
		f.bus.face[v] = &f.face[v];
		f.face[v].word = LAPIC_FACE_HW | LAPIC_FACE_SW | 1ull << v << LAPIC_FACE_LDR_SHIFT | v;
	}
	f.db.bus = &f.bus;
	f.db.route = route_find((options >> 1 & 7) % BH_ROUTES);
	for (unsigned line = 0; line < ROUTE_LINES; line++)
		f.db.follow[line] = 1;
	for (unsigned n = 0; n < VIOAPIC_PINS; n++)
		f.pin[n].low = VIOAPIC_MASKED;
	check();
	while (in.left) {
		f.sent = 0;
		step(&in);
		check();
	}
	finish();
	return 0;
}
