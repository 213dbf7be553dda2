/* SPDX-License-Identifier: MIT */
/* A virtual 82093AA: registers, lines, and the decision which pin has a message to send. */
#include "vioapic.h"

#define ID_SHIFT        24
#define DEST_SHIFT      56
#define MODE_SHIFT      8
#define MAX_ENTRY_SHIFT 16

#define WRITABLE_ID 0x0f000000u

/*
 * The bits a guest may write in the halves of an entry: every other bit is reserved or read-only. 82093AA,
 * "IOREDTBL[23:0]: I/O Redirection Table Registers": delivery status and remote IRR are RO.
 */
static const uint32_t writable_half[2] = {
	VIOAPIC_VECTOR | VIOAPIC_MODE | VIOAPIC_LOGICAL | VIOAPIC_ACTIVE_LOW | VIOAPIC_LEVEL | VIOAPIC_MASKED,
	0xff000000u,
};

/* Delivery modes: 011 and 110 are reserved. An entry that has them sends nothing, as if it were masked. */
#define RESERVED_MODES (1u << APIC_MODE_RESERVED | 1u << APIC_MODE_SIPI)
/*
 * 82093AA, "IOREDTBL[23:0]": NMI and INIT are treated as edges even if programmed as levels, SMI and ExtINT require
 * an edge. No EOI answers any of the four, so a remote IRR that one of them set would stay for good: all four are
 * edges here, whatever the trigger mode bit says.
 */
#define LEVEL_MODES (1u << APIC_MODE_FIXED | 1u << APIC_MODE_LOWEST)

static void put(uint64_t *set, uint64_t pins, bool in)
{
	*set = in ? *set | pins : *set & ~pins;
}

static enum apic_mode entry_mode(uint64_t entry)
{
	return (enum apic_mode)((entry & VIOAPIC_MODE) >> MODE_SHIFT);
}

/*
 * Pins whose message should be on its way: an edge that was latched, or a level that no LAPIC holds yet. An
 * edge that was signalled before the mask was set is kept behind the mask: only one that comes while it is
 * set is lost.
 */
static uint64_t injected(const struct vioapic *io)
{
	return io->open & (io->latched | (io->level & io->asserted & ~io->remote_irr));
}

void vioapic_init(struct vioapic *io, uint8_t version, uint8_t id)
{
	*io = (struct vioapic){ .version = version, .id = id & 0xf };
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++)
		io->entry[pin] = VIOAPIC_MASKED;
}

static uint32_t read_half(const struct vioapic *io, unsigned pin, unsigned upper)
{
	uint64_t bit = 1ull << pin;
	uint32_t half = (uint32_t)(io->entry[pin] >> upper * 32);

	/*
	 * 82093AA: send pending is "injected but its delivery is temporarily held up", by the receiver. A
	 * mask is none of the receiver's business: a pin behind it reads idle.
	 */
	if (!upper && (injected(io) & bit))
		half |= VIOAPIC_STATUS;
	if (!upper && (io->remote_irr & bit))
		half |= VIOAPIC_REMOTE_IRR;
	return half;
}

static void write_half(struct vioapic *io, unsigned pin, unsigned upper, uint32_t value)
{
	uint64_t kept = io->entry[pin] & 0xffffffffull << (upper ? 0 : 32), bit = 1ull << pin;
	uint64_t entry = kept | (uint64_t)(value & writable_half[upper]) << upper * 32;
	enum apic_mode mode = entry_mode(entry);
	bool level = (LEVEL_MODES >> mode & 1) && (entry & VIOAPIC_LEVEL);

	if (entry != io->entry[pin])
		io->changed |= bit;
	io->entry[pin] = entry;
	put(&io->open, bit, !(RESERVED_MODES >> mode & 1) && !(entry & VIOAPIC_MASKED));
	put(&io->level, bit, level);
	/* A polarity written over a still line is no signal: it asserts a level, but makes no edge. */
	put(&io->asserted, bit, !!(io->high & bit) ^ !!(entry & VIOAPIC_ACTIVE_LOW));
	/*
	 * 82093AA: remote IRR's "meaning is undefined for edge triggered interrupts"; here it is 0. Going to
	 * edge and back therefore clears it: a guest without the EOI register ends one pin's service so.
	 */
	if (level)
		io->latched &= ~bit;
	else
		io->remote_irr &= ~bit;
	/* What nobody accepted was injected already: to send it to where the entry now points is no new injection. */
	io->held &= ~bit;
}

/* Does IOREGSEL select half of an entry? */
static bool selects_entry(const struct vioapic *io, unsigned *pin)
{
	*pin = (io->select - VIOAPIC_REG_ENTRY) / 2u;
	return io->select >= VIOAPIC_REG_ENTRY && *pin < VIOAPIC_PINS;
}

static uint32_t read_register(const struct vioapic *io)
{
	unsigned pin;

	switch (io->select) {
	case VIOAPIC_REG_ID:
	case VIOAPIC_REG_ARB: /* 82093AA, "IOAPICARB": it is loaded whenever the ID register is */
		return (uint32_t)io->id << ID_SHIFT;
	case VIOAPIC_REG_VER:
		return (uint32_t)(VIOAPIC_PINS - 1) << MAX_ENTRY_SHIFT | io->version;
	}
	return selects_entry(io, &pin) ? read_half(io, pin, io->select & 1) : 0;
}

uint32_t vioapic_read(const struct vioapic *io, uint32_t offset)
{
	if (offset == VIOAPIC_IOREGSEL)
		return io->select;
	return offset == VIOAPIC_IOWIN ? read_register(io) : 0; /* the EOI register is write-only */
}

void vioapic_write(struct vioapic *io, uint32_t offset, uint32_t value)
{
	unsigned pin;

	switch (offset) {
	case VIOAPIC_IOREGSEL:
		io->select = (uint8_t)value;
		break;
	case VIOAPIC_IOWIN:
		if (io->select == VIOAPIC_REG_ID)
			io->id = (uint8_t)((value & WRITABLE_ID) >> ID_SHIFT);
		else if (selects_entry(io, &pin))
			write_half(io, pin, io->select & 1, value);
		break;
	case VIOAPIC_EOI:
		if (io->version >= VIOAPIC_VERSION_EOI)
			vioapic_eoi(io, (uint8_t)value);
		break;
	}
}

void vioapic_set_line(struct vioapic *io, unsigned pin, bool high)
{
	uint64_t bit = 1ull << (pin % 64);
	bool asserted;

	if (pin >= VIOAPIC_PINS)
		return;
	put(&io->high, bit, high);
	asserted = high ^ !!(io->entry[pin] & VIOAPIC_ACTIVE_LOW);
	/*
	 * 82093AA, interrupt mask: "edge-sensitive interrupts signaled on a masked interrupt pin are ignored
	 * (i.e., not delivered or held pending)". A second edge before the first is accepted merges with it.
	 */
	if (asserted && !(io->asserted & bit))
		io->latched |= bit & io->open & ~io->level;
	put(&io->asserted, bit, asserted);
}

bool vioapic_entry(const struct vioapic *io, unsigned pin, struct apic_msg *msg)
{
	uint64_t entry = io->entry[pin];

	/* Illegal vectors (0 to 15) go out as they are: it is the receiver that logs them in its ESR. */
	*msg = (struct apic_msg){
		.dest = (uint32_t)(entry >> DEST_SHIFT),
		.vector = (uint8_t)(entry & VIOAPIC_VECTOR),
		.mode = entry_mode(entry),
		.shorthand = APIC_DEST_FIELD,
		.logical = entry & VIOAPIC_LOGICAL,
		.level = io->level >> pin & 1,
	};
	return io->open >> pin & 1;
}

bool vioapic_next(const struct vioapic *io, unsigned *pin, struct apic_msg *msg)
{
	uint64_t ready = injected(io) & ~io->held;

	if (!ready)
		return false;
	*pin = (unsigned)__builtin_ctzll(ready);
	return vioapic_entry(io, *pin, msg);
}

void vioapic_sent(struct vioapic *io, unsigned pin, bool accepted)
{
	uint64_t bit = 1ull << pin;

	/* 82093AA: remote IRR is "set to 1 when local APIC(s) accept the level interrupt", and not before. */
	if (!accepted)
		io->held |= bit;
	else if (io->level & bit)
		io->remote_irr |= bit;
	else
		io->latched &= ~bit;
}

void vioapic_retry(struct vioapic *io)
{
	io->held = 0;
}

void vioapic_eoi(struct vioapic *io, uint8_t vector)
{
	/* Only level entries are in this set, masked ones too: the mask does not hide an EOI. */
	for (uint64_t pins = io->remote_irr; pins; pins &= pins - 1) {
		if ((io->entry[__builtin_ctzll(pins)] & VIOAPIC_VECTOR) == vector)
			io->remote_irr &= ~(pins & -pins);
	}
}

uint64_t vioapic_changed(struct vioapic *io)
{
	uint64_t changed = io->changed;

	io->changed = 0;
	return changed;
}
