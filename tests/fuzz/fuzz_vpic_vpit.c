/* SPDX-License-Identifier: MIT */
/* Fuzzes the 8259 pair and the 8254: accesses, wires and time, and what must hold whatever they are. */
/* SOURCES: kernel/vic/vpic.c kernel/vic/vpit.c */
#include <string.h>

#include "kernel/vic/vpic.h"
#include "tests/fuzz/input.h"
#include "tests/unit/vpit_out.h"

static struct {
	struct vpic pic;
	struct vpit pit;
	uint64_t now;
	uint16_t wires;
} f;

static const uint16_t pic_port[] = { VPIC_MASTER_CMD, VPIC_MASTER_DATA, VPIC_SLAVE_CMD,
	                             VPIC_SLAVE_DATA, VPIC_MASTER_ELCR, VPIC_SLAVE_ELCR };

/* Does an input ask that is not masked? Necessary, not sufficient: priorities may hold it back. */
UNTRACED static bool asks(const struct vpic_chip *c)
{
	return c->step == VPIC_READY && (c->line & (c->latch | c->elcr) & ~c->imr);
}

UNTRACED static void check_chip(const struct vpic_chip *c, uint8_t always_edge)
{
	REQUIRE(c->lowest < 8 && c->step <= VPIC_READY);
	REQUIRE(!(c->elcr & always_edge));
	/* An edge is remembered while its line is high and edge-triggered, no longer. */
	REQUIRE(!(c->latch & ~c->line) && !(c->latch & c->elcr));
	REQUIRE(!(c->icw2 & 7));
	REQUIRE(!c->isr || c->step == VPIC_READY || c->step == VPIC_RESET);
}

UNTRACED static void check_pic(void)
{
	uint16_t wires = (uint16_t)(f.pic.slave.line << 8 | f.pic.master.line);

	check_chip(&f.pic.master, 0x07);
	check_chip(&f.pic.slave, 0x21);
	REQUIRE((wires & ~(1u << VPIC_CASCADE)) == f.wires);
	REQUIRE(!vpic_intr(&f.pic) || asks(&f.pic.master));
	REQUIRE(!(f.pic.master.line >> VPIC_CASCADE & 1) || asks(&f.pic.slave));
}

static void acknowledge(void)
{
	struct vpic before = f.pic;
	bool intr = vpic_intr(&f.pic);
	uint8_t vector = vpic_ack(&f.pic), irq = vector & 7;
	uint8_t taken = (uint8_t)(f.pic.master.isr & ~before.master.isr);

	if (!intr) {
		/* Withdrawn: IR7 of the master, and nothing is in service for it. */
		REQUIRE(vector == (before.master.icw2 | 7));
		REQUIRE(memcmp(&before, &f.pic, sizeof(before)) == 0);
		return;
	}
	REQUIRE(before.master.auto_eoi ? !taken : !(taken & (taken - 1)));
	/* What an edge asked for is taken once; a slave's vector is for an input of its own, or spurious. */
	if ((vector & 0xf8) == before.master.icw2 && before.master.single)
		REQUIRE((before.master.line & ~before.master.imr) >> irq & 1);
	if (taken == 1u << VPIC_CASCADE && !before.master.single &&
	    before.master.icw3 == 1u << VPIC_CASCADE && before.slave.icw3 == VPIC_CASCADE &&
	    !before.slave.single)
		REQUIRE(vector == (before.slave.icw2 | 7) ||
		        ((before.slave.line & ~before.slave.imr) >> irq & 1));
}

static void set_wire(unsigned irq, bool high)
{
	vpic_set_line(&f.pic, irq, high);
	if (irq != VPIC_CASCADE && irq < VPIC_LINES)
		f.wires = (uint16_t)((f.wires & ~(1u << irq)) | (unsigned)high << irq);
}

/* OUT 0 between two ticks and at the second: no edge is told that was not, and none twice. */
static struct vpit_edges tick(uint64_t now)
{
	bool before = vpit_out(&f.pit, 0, f.now);
	struct vpit_edges edges, again;

	f.now = now;
	edges = vpit_tick(&f.pit, now);
	again = vpit_tick(&f.pit, now);
	REQUIRE(again.rises == 0 && again.out == edges.out && edges.out == vpit_out(&f.pit, 0, now));
	REQUIRE(before || !edges.out || edges.rises);
	return edges;
}

static void check_deadline(void)
{
	uint64_t deadline = vpit_deadline(&f.pit, f.now);

	REQUIRE(deadline > f.now);
	REQUIRE(deadline == vpit_deadline(&f.pit, f.now));
	/* The longest count is 65,536, a load may come before it and a pulse after it. */
	REQUIRE(deadline == VPIT_NEVER || deadline - f.now <= 2 * 0x10000 + 2);
}

/* Up to the deadline nothing rises and the level stays, but for a pulse's fall; there something happens. */
static void to_deadline(void)
{
	uint64_t deadline = vpit_deadline(&f.pit, f.now);
	struct vpit_edges before = tick(f.now), early, late;

	if (deadline == VPIT_NEVER) {
		early = tick(f.now + 0x20000);
		REQUIRE(!early.rises && (early.out == before.out || !early.out));
		return;
	}
	early = tick(deadline - 1);
	REQUIRE(!early.rises && (early.out == before.out || !early.out));
	REQUIRE(vpit_deadline(&f.pit, f.now) == deadline);
	late = tick(deadline);
	REQUIRE(late.rises == 1 || (before.out && !late.out));
}

/* In one step or in two: the same waveform. The second half is played on a copy. */
static void split(uint64_t first, uint64_t second)
{
	struct vpit copy = f.pit;
	uint64_t rises = vpit_tick(&copy, f.now + first).rises;
	struct vpit_edges whole;

	rises += vpit_tick(&copy, f.now + first + second).rises;
	whole = tick(f.now + first + second);
	REQUIRE(whole.rises == rises);
	for (unsigned c = 0; c < VPIT_CHANNELS; c++)
		REQUIRE(vpit_out(&copy, c, f.now) == vpit_out(&f.pit, c, f.now));
	for (uint16_t port = VPIT_CHANNEL0; port < VPIT_CONTROL; port++) {
		struct vpit peek = f.pit;

		REQUIRE(vpit_read(&copy, port, f.now) == vpit_read(&peek, port, f.now));
	}
}

static void access_61(uint8_t value)
{
	uint8_t read;

	vpit_port61_write(&f.pit, value, f.now);
	read = vpit_port61_read(&f.pit, f.now);
	REQUIRE((read & 0x0f) == (value & 0x0f) && !(read & 0xc0));
	REQUIRE(!!(read & 0x20) == vpit_out(&f.pit, 2, f.now));
}

static void step_pic(struct input *in, uint8_t operation)
{
	uint16_t port = pic_port[input_8(in) % 6];
	uint8_t byte, value;

	switch (operation) {
	case 0:
		byte = input_8(in);
		set_wire(byte & 31, byte & 0x80);
		break;
	case 1:
		vpic_write(&f.pic, port, input_8(in));
		break;
	case 2: /* the mask registers read as they are written, the trigger modes up to their fixed bits */
		value = input_8(in);
		vpic_write(&f.pic, VPIC_MASTER_ELCR, value);
		REQUIRE(vpic_read(&f.pic, VPIC_MASTER_ELCR) == (value & 0xf8));
		break;
	case 3:
		value = vpic_read(&f.pic, port);
		REQUIRE(port < VPIC_MASTER_ELCR || vpic_read(&f.pic, port) == value);
		break;
	case 4: /* as firmware initialises them */
		for (unsigned chip = 0; chip < 2; chip++) {
			vpic_write(&f.pic, pic_port[chip * 2], 0x11);
			vpic_write(&f.pic, pic_port[chip * 2 + 1], (uint8_t)(0x20 + 8 * chip));
			vpic_write(&f.pic, pic_port[chip * 2 + 1], chip ? VPIC_CASCADE : 1u << VPIC_CASCADE);
			vpic_write(&f.pic, pic_port[chip * 2 + 1], (uint8_t)(1 | (input_8(in) & 0x12)));
		}
		break;
	case 5:
	case 6:
		acknowledge();
		break;
	case 7:
		vpic_write(&f.pic, port & ~1u & 0xffff, 0x20);
		break;
	}
}

static void step_pit(struct input *in, uint8_t operation)
{
	uint8_t byte = input_8(in);

	switch (operation) {
	case 8:
		vpit_write(&f.pit, (uint16_t)(VPIT_CHANNEL0 + (byte & 3)), input_8(in), f.now);
		break;
	case 9: /* a mode and a short count at once */
		vpit_write(&f.pit, VPIT_CONTROL, (byte & 0xcf) | 0x10, f.now);
		if ((byte & 0xc0) != 0xc0)
			vpit_write(&f.pit, (uint16_t)(VPIT_CHANNEL0 + (byte >> 6)), input_8(in), f.now);
		break;
	case 10:
		vpit_read(&f.pit, (uint16_t)(VPIT_CHANNEL0 + (byte & 3)), f.now);
		break;
	case 11:
		access_61(byte);
		break;
	case 12:
		to_deadline();
		break;
	case 13:
		split(byte, input_scaled(in, 24));
		break;
	case 14:
		tick(f.now + byte);
		break;
	case 15: /* a clock that is behind counts as the newest seen */
		vpit_out(&f.pit, byte % VPIT_CHANNELS, f.now > byte ? f.now - byte : 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_sequence(data, size);

	memset(&f, 0, sizeof(f));
	f.now = 1000;
	vpic_init(&f.pic);
	vpit_init(&f.pit, f.now);
	while (in.left) {
		uint8_t operation = input_8(&in) % 16;

		if (operation < 8)
			step_pic(&in, operation);
		else
			step_pit(&in, operation);
		check_pic();
		check_deadline();
	}
	return 0;
}
