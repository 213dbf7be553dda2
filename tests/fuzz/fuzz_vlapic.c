/* SPDX-License-Identifier: MIT */
/* Fuzzes the virtual LAPIC: operations, each one checked against a plain model of it. */
/* SOURCES: kernel/vic/vlapic.c kernel/vic/vlapic_regs.c kernel/vic/vlapic_timer.c kernel/vic/icr.c */
#include "tests/fuzz/vlapic_model.h"

UNTRACED static uint32_t bit_of(int vector, unsigned word)
{
	return vector >= 0 && (unsigned)vector / 32 == word ? 1u << vector % 32 : 0;
}

UNTRACED static void check_sets(void)
{
	unsigned irr_words = 0, isr_words = 0;

	for (unsigned w = 0; w < 8; w++) {
		uint32_t irr = f.reset ? 0 : (old_reg(APIC_IRR + w) & ~bit_of(f.taken, w)) | f.requests[w];
		uint32_t isr = (old_reg(APIC_ISR + w) | bit_of(f.taken, w)) & ~bit_of(f.ended, w);
		uint32_t tmr = (old_reg(APIC_TMR + w) & ~f.requests[w]) | f.levels[w];

		REQUIRE(reg(APIC_IRR + w) == irr);
		REQUIRE(reg(APIC_ISR + w) == (f.reset ? 0 : isr));
		REQUIRE(reg(APIC_TMR + w) == (f.reset ? 0 : tmr));
		irr_words |= (unsigned)!!reg(APIC_IRR + w) << w;
		isr_words |= (unsigned)!!reg(APIC_ISR + w) << w;
	}
	REQUIRE(!((reg(APIC_IRR) | reg(APIC_ISR) | reg(APIC_TMR)) & 0xffff));
	REQUIRE(f.v.irr_words == irr_words && f.v.isr_words == isr_words);
}

UNTRACED static void check_registers(void)
{
	uint64_t face = f.v.face.word;
	bool wide = f.v.base & APIC_BASE_EXTD;

	REQUIRE(!!(face & LAPIC_FACE_HW) == !!(f.v.base & APIC_BASE_EN));
	REQUIRE(!!(face & LAPIC_FACE_SW) == !!(reg(APIC_SVR) & APIC_SVR_ENABLED));
	REQUIRE(!!(face & LAPIC_FACE_X2APIC) == wide);
	REQUIRE((uint32_t)face == (wide ? reg(APIC_ID) : reg(APIC_ID) >> 24));
	REQUIRE(!wide || reg(APIC_LDR) == (reg(APIC_ID) >> 4 << 16 | 1u << reg(APIC_ID) % 16));
	for (unsigned slot = APIC_LVT_TIMER; slot <= APIC_LVT_ERROR && !(face & LAPIC_FACE_SW); slot++)
		REQUIRE(reg(slot) & APIC_LVT_MASKED);
	REQUIRE(!(reg(APIC_LVT_LINT0) & APIC_LVT_REMOTE_IRR) ||
	        (reg(APIC_LVT_LINT0) & (APIC_LVT_LEVEL | APIC_LVT_MODE)) == APIC_LVT_LEVEL);
	REQUIRE(!(reg(APIC_LVT_LINT1) & APIC_LVT_REMOTE_IRR));
}

/* After every operation. */
UNTRACED static void check(void)
{
	bool open = f.armed && !(reg(APIC_LVT_TIMER) & APIC_LVT_MASKED);
	uint32_t ppr = priority(&f.page);

	expect_error();
	check_sets();
	check_registers();
	REQUIRE(vlapic_deadline(&f.v) == (open ? f.end : VLAPIC_NEVER));
	REQUIRE(vlapic_ppr(&f.v) == ppr);
	REQUIRE(vlapic_pending(&f.v) == deliverable(&f.page));
	REQUIRE(apic_page_ppr(&f.page) == ppr);
}

/* An operation that returns effects: each change has its bit, and no bit is there without reason. */
UNTRACED static void check_effect(const struct vlapic_effect *e, bool sends)
{
	REQUIRE(vlapic_deadline(&f.v) == f.old_deadline || (e->does & VLAPIC_TIMER));
	REQUIRE((f.v.face.word != f.old_face) == !!(e->does & VLAPIC_FACE));
	REQUIRE((f.v.base != f.old_base) == !!(e->does & VLAPIC_MODE));
	REQUIRE(sends || !(e->does & VLAPIC_SEND));
	if (e->does & VLAPIC_EOI)
		REQUIRE(f.ended >= 0 && e->vector == f.ended && in_set(&f.old, APIC_TMR, f.ended) &&
		        !(old_reg(APIC_SVR) & APIC_SVR_SUPPRESS));
	else
		REQUIRE(f.ended < 0 || !in_set(&f.old, APIC_TMR, f.ended) ||
		        (old_reg(APIC_SVR) & APIC_SVR_SUPPRESS));
	if (e->does & VLAPIC_SEND)
		REQUIRE(e->msg.shorthand != APIC_DEST_SELF && !e->msg.deassert && !e->msg.level &&
		        e->msg.wide == vlapic_is_x2apic(&f.v) &&
		        (e->msg.vector >= 16 || e->msg.mode > APIC_MODE_LOWEST));
	if (e->does & VLAPIC_FAULT)
		REQUIRE(e->does == VLAPIC_FAULT && memcmp(&f.old, &f.page, REGISTERS) == 0 &&
		        f.v.errors == f.old_errors);
}

/* What a guest may set, per register; what is not here is read-only, write-only or absent. */
static const uint32_t kept[APIC_SELF_IPI + 1] = {
	[APIC_ID] = 0xff000000,       [APIC_TPR] = 0xff,
	[APIC_LDR] = 0xff000000,      [APIC_DFR] = 0xf0000000,
	[APIC_SVR] = 0x11ff,          [APIC_ICR_LO] = 0xccfff,
	[APIC_ICR_HI] = 0xff000000,   [APIC_LVT_TIMER] = 0x700ff,
	[APIC_LVT_THERMAL] = 0x107ff, [APIC_LVT_PERF] = 0x107ff,
	[APIC_LVT_LINT0] = 0x1a7ff,   [APIC_LVT_LINT1] = 0x1a7ff,
	[APIC_LVT_ERROR] = 0x100ff,   [APIC_TIMER_INITIAL] = 0xffffffff,
	[APIC_TIMER_DIVIDE] = 0xb,
};

UNTRACED static void check_kept(unsigned slot, uint32_t value)
{
	uint32_t mask = slot <= APIC_SELF_IPI ? kept[slot] : 0;
	uint32_t read_only = slot == APIC_LVT_LINT0 ? APIC_LVT_REMOTE_IRR
	                     : slot == APIC_DFR     ? APIC_DFR_ONES
	                                            : 0;

	value &= mask;
	if (slot >= APIC_LVT_TIMER && slot <= APIC_LVT_ERROR && !enabled())
		value |= APIC_LVT_MASKED;
	if (slot == APIC_TIMER_INITIAL && !timer_counts(old_reg(APIC_LVT_TIMER)))
		value = old_reg(slot);
	if (slot == APIC_ESR)
		REQUIRE(reg(slot) == f.old_errors && f.v.errors == 0);
	else if (mask)
		REQUIRE((reg(slot) & ~read_only) == (value & ~read_only));
	else
		REQUIRE(reg(slot) == old_reg(slot) || (slot >= APIC_ISR && slot < APIC_ESR));
}

static void write_mmio(uint32_t offset, uint32_t value)
{
	bool reaches = (f.v.base & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EN && offset % 16 == 0;
	struct vlapic_effect e;

	if (reaches && offset / 16 != APIC_SELF_IPI)
		expect_write(offset / 16, value);
	e = vlapic_mmio_write(&f.v, offset, value, f.now);
	check_effect(&e, offset / 16 == APIC_ICR_LO);
	REQUIRE(!(e.does & VLAPIC_FAULT));
	if (reaches)
		check_kept(offset / 16, value);
	else
		REQUIRE(memcmp(&f.old, &f.page, REGISTERS) == 0 && !e.does);
}

static void write_msr(uint32_t msr, uint64_t value)
{
	struct vlapic_effect e;
	unsigned slot = msr - APIC_MSR_BASE;

	expect_write(slot, (uint32_t)value);
	e = vlapic_msr_write(&f.v, msr, value, f.now);
	if (e.does & VLAPIC_FAULT) {
		expect_nothing();
	} else {
		REQUIRE(vlapic_is_x2apic(&f.v) && (slot == APIC_ICR_LO || value <= UINT32_MAX));
		REQUIRE(slot != APIC_ICR_LO || f.page.slot[slot].high == value >> 32);
		check_kept(slot, (uint32_t)value);
	}
	check_effect(&e, slot == APIC_ICR_LO);
}

static void read_mmio(uint32_t offset)
{
	bool reaches = (f.v.base & (APIC_BASE_EN | APIC_BASE_EXTD)) == APIC_BASE_EN;
	uint32_t expected = 0;

	if (reaches && offset % 16 == 0 && offset / 16 <= APIC_TIMER_DIVIDE)
		expected = expected_read(offset / 16);
	REQUIRE(vlapic_mmio_read(&f.v, offset, f.now) == (reaches ? expected : UINT32_MAX));
}

static void read_msr(uint32_t msr)
{
	unsigned slot = msr - APIC_MSR_BASE;
	uint64_t value = 0x5a5a5a5a5a5a5a5a;
	uint32_t expected = expected_read(slot);

	if (vlapic_msr_read(&f.v, msr, &value, f.now)) {
		REQUIRE(vlapic_is_x2apic(&f.v) && (uint32_t)value == expected);
		REQUIRE(value >> 32 == (slot == APIC_ICR_LO ? f.page.slot[slot].high : 0));
	} else {
		REQUIRE(value == 0x5a5a5a5a5a5a5a5a);
		REQUIRE(slot != APIC_TPR || !vlapic_is_x2apic(&f.v));
		expect_nothing();
	}
}

/* SDM vol. 3, "x2APIC State Transitions": the page, the mode bits that were, the mode bits that shall be. */
static void write_base(uint64_t value)
{
	static const bool legal[4][4] = { { true, false, true, false },
		                          { false },
		                          { true, false, true, true },
		                          { true, false, false, true } };
	uint64_t known = (1ull << f.v.config.phys_bits) - 1;
	bool good = legal[f.old_base >> 10 & 3][value >> 10 & 3] && !(value & 0x2ff) && !(value & ~known) &&
	            (f.v.config.x2apic || !(value & APIC_BASE_EXTD));
	struct vlapic_effect e = vlapic_base_write(&f.v, value);

	REQUIRE(good == !(e.does & VLAPIC_FAULT));
	REQUIRE(f.v.base == (good ? value : f.old_base));
	if (good && (f.old_base & APIC_BASE_EN) && !(value & APIC_BASE_EN)) {
		f.reset = true;
		f.armed = false;
	}
	check_effect(&e, false);
}

static void write_deadline(uint64_t value)
{
	bool has = (old_reg(APIC_LVT_TIMER) & APIC_TIMER_MODE) == APIC_TIMER_DEADLINE;
	struct vlapic_effect e;

	if (has) {
		timer_fires();
		f.armed = value;
		f.end = value;
		timer_fires();
	}
	e = vlapic_tsc_deadline_write(&f.v, value, f.now);
	check_effect(&e, false);
	timer_fires();
	REQUIRE(vlapic_tsc_deadline_read(&f.v, f.now) == (has && f.armed ? f.end : 0));
}

/* A tick is worth something at the deadline and not before. */
static void tick(uint64_t now)
{
	bool early = now < f.old_deadline, fires;

	f.now = now;
	fires = timer_fires() && enabled() && (old_reg(APIC_LVT_TIMER) & APIC_LVT_VECTOR) >= 16;
	REQUIRE(!early || !fires);
	REQUIRE(vlapic_tick(&f.v, now) == fires);
}

static void drain(void)
{
	for (unsigned w = 0; w < 8 && (f.old_base & APIC_BASE_EN); w++) {
		f.requests[w] = f.posted[w] & ~(w ? 0 : 0xffffu);
		f.levels[w] = f.posted_level[w] & f.requests[w];
	}
	vlapic_drain(&f.v, &f.inbox, false);
	REQUIRE(!inbox_full(&f.inbox));
	memset(f.posted, 0, sizeof(f.posted));
	memset(f.posted_level, 0, sizeof(f.posted_level));
}

static void post(uint8_t vector, bool level)
{
	uint32_t bit = 1u << vector % 32;

	inbox_post(&f.inbox, vector, level, false);
	f.posted[vector / 32] |= bit;
	f.posted_level[vector / 32] |= level ? bit : 0;
}

/* Everything of lower or equal priority than what is in service, or than TPR, waits. */
static void take(void)
{
	int vector = deliverable(&f.old);
	uint8_t got = vlapic_take(&f.v);

	f.taken = vector;
	REQUIRE(got == (vector < 0 ? (old_reg(APIC_SVR) & APIC_SVR_VECTOR) : (uint32_t)vector));
	REQUIRE(vector < 0 || (uint32_t)vector >> 4 > (old_reg(APIC_TPR) & 0xff) >> 4);
	REQUIRE(vector < 0 || vector >> 4 > highest(&f.old, APIC_ISR) >> 4);
}

static void lint(unsigned pin, bool high)
{
	static const uint32_t signal[8] = { [4] = VLAPIC_NMI, [5] = VLAPIC_INIT };
	uint32_t lvt = old_reg(APIC_LVT_LINT0 + pin), wanted = 0;
	bool before = lint_asserted(pin, lvt);
	struct vlapic_effect e = vlapic_lint(&f.v, pin, high);
	bool edge = !before && lint_asserted(pin, lvt);

	if (edge && !(f.old_base & APIC_BASE_EN))
		wanted = pin ? VLAPIC_NMI : 0;
	else if (edge && !(lvt & APIC_LVT_MASKED))
		wanted = signal[lvt >> APIC_LVT_MODE_SHIFT & 7];
	REQUIRE(e.does == wanted);
	if (edge && lint_open(lvt))
		requests(lvt & APIC_LVT_VECTOR, pin == 0 && (lvt & APIC_LVT_LEVEL));
	check_effect(&e, false);
}

static void reset(bool power)
{
	uint64_t up = APIC_BASE_DEFAULT | APIC_BASE_EN | (f.v.config.bsp ? APIC_BASE_BSP : 0);
	struct vlapic_config config = f.v.config;
	uint8_t wires = f.v.lint;

	if (power) {
		vlapic_init(&f.v, &f.page, &config);
		f.v.lint = wires;
	} else {
		vlapic_init_signal(&f.v);
	}
	f.reset = true;
	f.armed = false;
	REQUIRE(f.v.base == (power ? up : f.old_base));
	REQUIRE(reg(APIC_ID) == (power ? f.v.config.id << 24 : old_reg(APIC_ID)));
	REQUIRE(reg(APIC_SVR) == 0xff && reg(APIC_TPR) == 0 && f.v.errors == 0);
}

static void move_tsc(uint64_t delta)
{
	uint64_t left = f.end > f.now ? f.end - f.now : 0;

	vlapic_tsc_moved(&f.v, f.now, f.now + delta);
	f.now += delta;
	if (timer_counts(old_reg(APIC_LVT_TIMER)))
		f.end = left <= UINT64_MAX - f.now ? f.now + left : UINT64_MAX;
}

/* A register by its slot, through the face that the mode offers: most writes get somewhere. */
static void write_somehow(unsigned slot, uint32_t value)
{
	if (vlapic_is_x2apic(&f.v))
		write_msr(APIC_MSR_BASE + slot,
		          value & (slot <= APIC_SELF_IPI && kept[slot] ? kept[slot] : value));
	else
		write_mmio(slot * 16, value);
}

/* As the processor does for MOV to CR8, in the page. */
static void set_tpr(uint8_t cr8)
{
	f.v.page->slot[APIC_TPR].low = (cr8 & 0xfu) << 4;
	REQUIRE(vlapic_cr8_read(&f.v) == (cr8 & 0xf));
}

/* The operations of the processor and of the other CPUs, by the first byte; the guest's are in step(). */
static bool step_outside(struct input *in, uint8_t operation)
{
	uint8_t byte;

	switch (operation) {
	case 0:
		byte = input_8(in);
		requests(byte, operation);
		REQUIRE(vlapic_accept(&f.v, byte, false) == (enabled() && byte >= 16));
		return true;
	case 1:
		byte = input_8(in);
		requests(byte, true);
		REQUIRE(vlapic_accept(&f.v, byte, true) == (enabled() && byte >= 16));
		return true;
	case 2:
	case 3:
		post(input_8(in), operation & 1);
		return true;
	case 4:
		drain();
		return true;
	case 5:
	case 6:
		take();
		return true;
	case 7:
		tick(f.now + input_scaled(in, 36));
		return true;
	case 8:
		tick(f.old_deadline > f.now && f.old_deadline < 1ull << 60 ? f.old_deadline - 1 : f.now);
		return true;
	case 9:
		tick(f.old_deadline > f.now && f.old_deadline < 1ull << 60 ? f.old_deadline : f.now);
		return true;
	case 10:
		byte = input_8(in);
		lint(byte & 1, byte & 2);
		return true;
	case 11:
		reset(input_8(in) & 1);
		return true;
	case 12:
		move_tsc(input_scaled(in, 36));
		return true;
	}
	return false;
}

/* The guest writes and reads registers: those that do something, then any. */
static void step_registers(struct input *in, uint8_t operation)
{
	uint8_t slot;

	switch (operation) {
	case 21:
		slot = input_8(in) % 6;
		write_somehow(APIC_LVT_TIMER + slot,
		              (uint32_t)input_8(in) << 13 | (uint32_t)(input_8(in) & 7) << 8 | input_8(in));
		break;
	case 22:
		write_somehow(APIC_TIMER_INITIAL, input_32(in) >> 16);
		break;
	case 23:
		write_somehow(APIC_TIMER_DIVIDE, input_8(in));
		break;
	case 24:
		write_somehow(APIC_ICR_LO, (uint32_t)(input_8(in) & 3) << 18 | input_8(in));
		break;
	case 25:
	case 26:
		slot = input_8(in);
		write_mmio((uint32_t)slot << 4 | (operation & 1 ? 0 : input_8(in) & 0xf), input_32(in));
		break;
	case 27:
	case 28:
		slot = input_8(in);
		write_msr(APIC_MSR_BASE + slot,
		          (uint64_t)(operation & 1 ? 0 : input_8(in)) << 32 | input_32(in));
		break;
	case 29:
		slot = input_8(in);
		read_mmio((uint32_t)slot << 4 | (slot & 0x80 ? slot & 0xf : 0));
		break;
	case 30:
		read_msr(APIC_MSR_BASE + input_8(in));
		break;
	case 31:
		write_somehow(input_8(in) & 0x3f, (uint32_t)input_8(in) << 8 | input_8(in));
		break;
	}
}

static void step(struct input *in)
{
	uint8_t operation = input_8(in) % 32;

	if (step_outside(in, operation))
		return;
	step_registers(in, operation);
	switch (operation) {
	case 13:
		write_base((f.v.base ^ (uint64_t)(input_8(in) & 0x3d) << 6) ^ input_scaled(in, 56));
		break;
	case 14:
		write_deadline(f.now + input_scaled(in, 40) - 128);
		break;
	case 15:
		write_deadline(0);
		break;
	case 16:
		set_tpr(input_8(in) & 0xf);
		break;
	case 17: /* the processor, with a TPR shadow */
		f.page.slot[APIC_TPR].low = input_8(in);
		f.old.slot[APIC_TPR] = f.page.slot[APIC_TPR];
		break;
	case 18:
		write_somehow(APIC_SVR, APIC_SVR_ENABLED | input_8(in));
		break;
	case 19:
	case 20:
		write_somehow(APIC_EOI, 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_sequence(data, size);
	uint8_t options = input_8(&in);
	const struct vlapic_config config = {
		.id = input_8(&in) % 255u,
		.bsp = options & 1,
		.x2apic = !(options & 2),
		.phys_bits = options & 16 ? 36 : 52,
	};

	memset(&f, 0, sizeof(f));
	f.now = 1000;
	vlapic_init(&f.v, &f.page, &config);
	inbox_init(&f.inbox, &f.page, 1);
	while (in.left) {
		begin();
		step(&in);
		check();
	}
	return 0;
}
