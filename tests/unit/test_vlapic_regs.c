/* SPDX-License-Identifier: MIT */
/* Every slot of the LAPIC's register space, both faces, every bit, against the manual's map as stated here. */
/* SOURCES: kernel/vic/vlapic.c kernel/vic/vlapic_regs.c kernel/vic/vlapic_timer.c kernel/vic/icr.c */
#include "lapic_fixture.h"

/*
 * SDM vol. 3, "Local APIC Register Address Map" and "x2APIC Register Address Space". `x` and `m` are the access in
 * xAPIC mode and by MSR: r, w, b(oth), - (does not exist). `bits` are those that a write changes, `kept` those that it may
 * carry without harm. `start` is the value after power-up with the fixture's configuration, software-enabled.
 */
struct expected {
	uint8_t slot;
	char x, m;
	uint32_t bits;
	uint32_t kept;
	uint32_t start;
};

static const struct expected map[] = {
	{ 0x02, 'b', 'r', 0xff000000, 0, 0x05000000 },   /* ID */
	{ 0x03, 'r', 'r', 0, 0, 0x01050014 },            /* version */
	{ 0x08, 'b', 'b', 0x000000ff, 0, 0 },            /* TPR */
	{ 0x09, 'r', '-', 0, 0, 0 },                     /* APR */
	{ 0x0a, 'r', 'r', 0, 0, 0 },                     /* PPR */
	{ 0x0b, 'w', 'w', 0, 0, 0 },                     /* EOI */
	{ 0x0c, 'r', '-', 0, 0, 0 },                     /* RRD */
	{ 0x0d, 'b', 'r', 0xff000000, 0, 0 },            /* LDR */
	{ 0x0e, 'b', '-', 0xf0000000, 0, 0xffffffff },   /* DFR */
	{ 0x0f, 'b', 'b', 0x000011ff, 0, 0x1ff },        /* SVR */
	{ 0x28, 'b', 'b', 0, 0, 0 },                     /* ESR */
	{ 0x30, 'b', 'b', 0x000ccfff, 0x1000, 0 },       /* ICR low */
	{ 0x31, 'b', '-', 0xff000000, 0, 0 },            /* ICR high */
	{ 0x32, 'b', 'b', 0x000700ff, 0x1000, 0x10000 }, /* LVT timer */
	{ 0x33, 'b', 'b', 0x000107ff, 0x1000, 0x10000 }, /* LVT thermal */
	{ 0x34, 'b', 'b', 0x000107ff, 0x1000, 0x10000 }, /* LVT performance counters */
	{ 0x35, 'b', 'b', 0x0001a7ff, 0x5000, 0x10000 }, /* LVT LINT0 */
	{ 0x36, 'b', 'b', 0x0001a7ff, 0x5000, 0x10000 }, /* LVT LINT1 */
	{ 0x37, 'b', 'b', 0x000100ff, 0x1000, 0x10000 }, /* LVT error */
	{ 0x38, 'b', 'b', 0xffffffff, 0, 0 },            /* initial count */
	{ 0x39, 'r', 'r', 0, 0, 0 },                     /* current count */
	{ 0x3e, 'b', 'b', 0x0000000b, 0, 0 },            /* divide configuration */
	{ 0x3f, '-', 'w', 0x000000ff, 0, 0 },            /* self IPI */
};

static struct expected expect(unsigned int slot)
{
	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (map[i].slot == slot)
			return map[i];
	if (slot >= 0x10 && slot < 0x28)
		return (struct expected){ .slot = (uint8_t)slot, .x = 'r', .m = 'r' };
	return (struct expected){ .slot = (uint8_t)slot, .x = '-', .m = '-' };
}

static bool can(char access, char what)
{
	return access == what || access == 'b';
}

static void power_up_values(void **state)
{
	struct lapic l;

	(void)state;
	for (unsigned int slot = 0; slot < 256; slot++) {
		struct vlapic *v = lapic_on(&l);
		struct expected want = expect(slot);

		assert_int_equal(rd(v, slot), can(want.x, 'r') ? want.start : 0);
		assert_int_equal(errors(v), want.x == '-' ? 0x80 : 0);
	}
}

/* Each bit alone, and its complement; a register that does not exist says so in ESR. */
static void every_bit_in_memory(void **state)
{
	struct lapic l;

	(void)state;
	for (unsigned int slot = 0; slot < 256; slot++) {
		struct expected want = expect(slot);

		for (unsigned int n = 0; n < 64; n++) {
			struct vlapic *v = lapic_on(&l);
			uint32_t value = n < 32 ? 1u << n : ~(1u << (n - 32));
			uint32_t ones = slot == 0x0e ? 0x0fffffff : 0;
			uint32_t back;

			wr(v, slot, value);
			back = rd(v, slot);
			if (want.x == 'b' && slot != 0x28)
				assert_int_equal(back, (value & want.bits) | ones);
			else
				assert_int_equal(back, can(want.x, 'r') ? want.start : 0);
			assert_int_equal(v->errors & 0x80, want.x == '-' ? 0x80 : 0);
		}
	}
}

static void every_bit_by_msr(void **state)
{
	struct lapic l;

	(void)state;
	for (unsigned int slot = 0; slot < 256; slot++) {
		struct expected want = expect(slot);

		for (unsigned int bit = 0; bit < 64; bit++) {
			struct vlapic *v = lapic_x2(&l);
			uint64_t value = 1ull << bit;
			uint64_t bits = want.bits | (slot == 0x30 ? 0xffffffff00000000 : 0);
			bool legal = can(want.m, 'w') && !(value & ~(bits | want.kept));
			uint64_t before = 0, back = 0;
			bool readable = vlapic_msr_read(v, 0x800 + slot, &before, 0);
			struct vlapic_effect e = wrx(v, slot, value);

			assert_int_equal(readable, can(want.m, 'r'));
			assert_int_equal(!(e.does & VLAPIC_FAULT), legal);
			assert_int_equal(vlapic_msr_read(v, 0x800 + slot, &back, 0), readable);
			if (readable)
				assert_true(back == (legal ? value & bits : before));
			assert_int_equal(v->errors & 0x80, 0);
		}
		if (can(want.m, 'w'))
			assert_int_equal(wrx(lapic_x2(&l), slot, 0).does & VLAPIC_FAULT, 0);
	}
}

/* What the guest read it may write back, with the read-only bits that it then carries. */
static void read_only_bits_stay(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_x2(&l);

	(void)state;
	vlapic_lint(v, 0, true);
	wrx(v, 0x35, 0x8044);
	assert_int_equal(rdx(v, 0x35), 0xc044);
	assert_int_equal(wrx(v, 0x35, 0xd055).does & VLAPIC_FAULT, 0);
	assert_int_equal(rdx(v, 0x35), 0xc055);
}

/* Not in the mode of the face: the memory is no APIC, the MSRs do not exist. */
static void faces_follow_the_mode(void **state)
{
	struct lapic l;
	uint64_t value;

	(void)state;
	for (unsigned int slot = 0; slot < 256; slot++) {
		struct vlapic *v = lapic_on(&l);

		assert_false(vlapic_msr_read(v, 0x800 + slot, &value, 0));
		assert_int_equal(wrx(v, slot, 0).does, VLAPIC_FAULT);
		v = lapic_x2(&l);
		assert_int_equal(rd(v, slot), 0xffffffff);
		assert_int_equal(wr(v, slot, 0).does, 0);
		vlapic_base_write(v, BASE_OFF);
		assert_int_equal(rd(v, slot), 0xffffffff);
		assert_int_equal(wr(v, slot, 0x1ff).does, 0);
		assert_false(vlapic_msr_read(v, 0x800 + slot, &value, 0));
		assert_int_equal(wrx(v, slot, 0).does, VLAPIC_FAULT);
		assert_int_equal(v->page->slot[0x0f].low, 0xff);
	}
	assert_false(vlapic_msr_read(lapic_x2(&l), 0x7ff, &value, 0));
	assert_int_equal(vlapic_msr_write(&l.v, 0x7ff, 0, 0).does, VLAPIC_FAULT);
}

static void offsets_between_registers(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	for (uint32_t offset = 0; offset < 4096; offset++) {
		if (offset % 16 == 0)
			continue;
		assert_int_equal(vlapic_mmio_write(v, offset, 0xffffffff, 0).does, 0);
		assert_int_equal(vlapic_mmio_read(v, offset, 0), 0);
	}
	assert_int_equal(errors(v), 0);
	assert_int_equal(rd(v, 0x08), 0);
}

/* SVR bit 8 off masks every LVT entry and keeps it masked; on again, the masks stay until written. */
static void software_disable_masks(void **state)
{
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	for (unsigned int slot = 0x32; slot <= 0x37; slot++)
		wr(v, slot, 0x40);
	assert_true(wr(v, 0x0f, 0xff).does & VLAPIC_FACE);
	for (unsigned int slot = 0x32; slot <= 0x37; slot++) {
		assert_int_equal(rd(v, slot), 0x10040);
		wr(v, slot, 0x41);
		assert_int_equal(rd(v, slot), 0x10041);
	}
	assert_true(wr(v, 0x0f, 0x1ff).does & VLAPIC_FACE);
	for (unsigned int slot = 0x32; slot <= 0x37; slot++) {
		assert_int_equal(rd(v, slot), 0x10041);
		wr(v, slot, 0x42);
		assert_int_equal(rd(v, slot), 0x42);
	}
}

/* Writes that change what senders match against say so; writing the same again does not. */
static void face_effect(void **state)
{
	static const struct {
		unsigned int slot;
		uint32_t value;
	} writes[] = {
		{ 0x02, 0x07000000 }, { 0x0d, 0x04000000 }, { 0x0e, 0 }, { 0x0f, 0x0f0 }, { 0x0f, 0x1f0 }
	};
	struct lapic l;
	struct vlapic *v = lapic_on(&l);

	(void)state;
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		assert_true(wr(v, writes[i].slot, writes[i].value).does & VLAPIC_FACE);
		assert_false(wr(v, writes[i].slot, writes[i].value).does & VLAPIC_FACE);
	}
	assert_true(atomic_load(&v->face.word) ==
	            (7 | 4ull << LAPIC_FACE_LDR_SHIFT | LAPIC_FACE_CLUSTER | LAPIC_FACE_HW | LAPIC_FACE_SW));
	wr(v, 0x0e, 0xffffffff);
	assert_false(atomic_load(&v->face.word) & LAPIC_FACE_CLUSTER);
}

/* SDM vol. 3, "Virtualizing Memory-Mapped APIC Accesses": what APIC-register virtualisation lets the guest write. */
static const uint8_t virtualised[] = { 0x02, 0x0d, 0x0e, 0x0f, 0x28, 0x30, 0x32,
	                               0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x3e };

/* A write that the processor did before it told us is a write all the same: two LAPICs stay twins. */
static void written_by_the_hardware(void **state)
{
	static struct lapic a, b;
	struct vlapic *v = lapic_on(&a), *twin = lapic_on(&b);
	uint32_t seed = 1;

	(void)state;
	for (uint64_t now = 0; now < 200000; now += seed >> 24) {
		uint32_t slot, value;
		struct vlapic_effect e, f;

		seed = seed * 1664525 + 1013904223;
		slot = virtualised[(seed >> 8) % sizeof(virtualised)];
		seed = seed * 1664525 + 1013904223;
		value = seed >> 31 ? seed ^ seed << 13 : seed >> (seed >> 8 & 31);
		a.page.slot[slot].low = value;
		e = vlapic_written(v, slot * 16, now);
		f = vlapic_mmio_write(twin, slot * 16, value, now);
		assert_int_equal(e.does, f.does);
		assert_memory_equal(&a.page, &b.page, sizeof(a.page));
		assert_true(v->timer_armed == twin->timer_armed && v->timer_end == twin->timer_end);
		assert_int_equal(v->errors, twin->errors);
		assert_int_equal(vlapic_lint(v, seed >> 12 & 1, seed >> 13 & 1).does,
		                 vlapic_lint(twin, seed >> 12 & 1, seed >> 13 & 1).does);
		if (!(seed >> 20 & 7) && vlapic_pending(v) >= 0)
			assert_int_equal(vlapic_take(v), vlapic_take(twin));
	}
}

/* In x2APIC mode that is the self-IPI register alone; the legal vectors the processor does by itself. */
static void written_as_msr(void **state)
{
	static struct lapic a, b;
	struct vlapic *v = lapic_on(&a), *twin = lapic_on(&b);

	(void)state;
	vlapic_base_write(v, BASE_X2APIC);
	vlapic_base_write(twin, BASE_X2APIC);
	for (uint32_t vector = 0; vector < 16; vector++) {
		v->errors = twin->errors = 0;
		a.page.slot[APIC_SELF_IPI].low = vector;
		assert_int_equal(vlapic_written(v, APIC_SELF_IPI * 16, 0).does,
		                 vlapic_msr_write(twin, APIC_MSR_BASE + APIC_SELF_IPI, vector, 0).does);
		assert_int_equal(v->errors, APIC_ESR_SEND_VECTOR | APIC_ESR_RECEIVE_VECTOR);
		assert_int_equal(v->errors, twin->errors);
	}
}

/* The short way of an IPI does what the long one does, or nothing; a bit that is not the plain IPI's takes the long one. */
static void ipi_alike(void **state)
{
	static struct lapic to[4];
	struct apic_bus bus = { .count = 4 };
	unsigned int short_ways = 0;

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		struct vlapic_config config = lapic_all;

		config.id = i == 3 ? 7 : i; /* the last one's is not its index */
		bus.face[i] = &lapic_new(&to[i], &config)->face;
		if (i != 2)
			vlapic_base_write(&to[i].v, BASE_X2APIC);
		if (i != 1)
			vlapic_msr_write(&to[i].v, APIC_MSR_BASE + APIC_SVR, 0x1ff, 0);
	}
	for (uint32_t n = 0; n < 3 * 5 * 5 * 33; n++) {
		static const uint32_t vectors[] = { 0, 0x0f, 0x10, 0x80, 0xff },
				      dests[] = { 0, 1, 2, 7, UINT32_MAX };
		uint64_t icr = (uint64_t)dests[n / 5 % 5] << 32 |
		               (n / 75 < 32 ? 1u << n / 75 & ~0xffu : 3u << 18) | vectors[n % 5];
		struct vlapic *v = &to[n / 25 % 3].v;
		struct apic_page before = *v->page;
		uint32_t targets = vlapic_ipi(v, &bus, icr);
		struct apic_page after = *v->page;
		struct vlapic_effect effect;

		if (!targets) {
			assert_memory_equal(&after, &before, sizeof(before));
			continue;
		}
		short_ways++;
		*v->page = before;
		effect = vlapic_msr_write(v, APIC_MSR_BASE + APIC_ICR_LO, icr, 0);
		assert_int_equal(effect.does, VLAPIC_SEND);
		assert_int_equal(effect.msg.mode, APIC_MODE_FIXED);
		assert_int_equal(effect.msg.vector, icr & 0xff);
		assert_int_equal(apic_bus_targets(&bus, &effect.msg, (int)(n / 25 % 3)), targets);
		assert_memory_equal(&after, v->page, sizeof(after));
	}
	/* To VCPU 0 from itself and VCPU 1, with 3 legal vectors, no bit of the 24 above them but "assert"; to all others. */
	assert_int_equal(short_ways, 2 * 3 * (8 + 1) + 2 * 3 * 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_up_values),
		cmocka_unit_test(every_bit_in_memory),
		cmocka_unit_test(every_bit_by_msr),
		cmocka_unit_test(read_only_bits_stay),
		cmocka_unit_test(faces_follow_the_mode),
		cmocka_unit_test(offsets_between_registers),
		cmocka_unit_test(software_disable_masks),
		cmocka_unit_test(face_effect),
		cmocka_unit_test(written_by_the_hardware),
		cmocka_unit_test(written_as_msr),
		cmocka_unit_test(ipi_alike),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
