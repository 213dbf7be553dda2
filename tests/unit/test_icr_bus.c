/* SPDX-License-Identifier: MIT */
/* Who receives a message: every destination against a naive oracle, every shorthand, and fair arbitration. */
/* SOURCES: kernel/vic/icr.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "kernel/vic/icr.h"

/* A LAPIC as the oracle sees it. */
struct cpu {
	uint32_t id;
	uint32_t ldr;
	bool cluster, x2, hw, sw;
};

static struct apic_page pages[VIC_MAX_VCPUS];
static struct lapic_face faces[VIC_MAX_VCPUS];
static struct apic_bus bus;
static uint32_t seed;

static uint32_t random_next(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void bus_make(const struct cpu *cpus, unsigned int count)
{
	memset(&bus, 0, sizeof(bus));
	bus.count = count;
	for (unsigned int i = 0; i < count; i++) {
		uint64_t word = cpus[i].id | (uint64_t)cpus[i].ldr << LAPIC_FACE_LDR_SHIFT;

		word |= (cpus[i].cluster ? LAPIC_FACE_CLUSTER : 0) | (cpus[i].x2 ? LAPIC_FACE_X2APIC : 0);
		word |= (cpus[i].hw ? LAPIC_FACE_HW : 0) | (cpus[i].sw ? LAPIC_FACE_SW : 0);
		atomic_store(&faces[i].word, word);
		pages[i].slot[APIC_TPR].low = 0;
		faces[i].page = &pages[i];
		bus.face[i] = &faces[i];
	}
}

/* The manual's rules, one bit of the destination at a time. */
static bool oracle_logical(const struct cpu *c, uint32_t dest, bool wide)
{
	if (c->x2) {
		for (unsigned int bit = 0; bit < 16; bit++)
			if ((dest >> bit & 1) && c->id == (dest >> 16) * 16 + bit)
				return true;
		return dest == 0xffffffff;
	}
	if (wide && dest == 0xffffffff)
		return true;
	if (dest > 0xff)
		return false;
	if (c->cluster && dest == 0xff && !wide)
		return true;
	for (unsigned int bit = 0; bit < (c->cluster ? 4 : 8); bit++)
		if ((dest >> bit & 1) && (c->ldr >> bit & 1))
			return !c->cluster || dest / 16 == c->ldr / 16;
	return false;
}

static uint32_t oracle(const struct cpu *cpus, unsigned int count, const struct apic_msg *m, int sender)
{
	uint32_t set = 0;

	for (unsigned int i = 0; i < count; i++) {
		const struct cpu *c = &cpus[i];
		bool hit = m->dest == c->id || m->dest == (m->wide ? 0xffffffff : 0xff);

		if (m->logical)
			hit = oracle_logical(c, m->dest, m->wide);
		if (m->shorthand == APIC_DEST_SELF)
			hit = (int)i == sender;
		if (m->shorthand == APIC_DEST_ALL)
			hit = true;
		if (m->shorthand == APIC_DEST_OTHERS)
			hit = (int)i != sender;
		if (m->mode == APIC_MODE_FIXED || m->mode == APIC_MODE_LOWEST || m->mode == APIC_MODE_EXTINT)
			hit = hit && c->sw;
		if (hit && c->hw)
			set |= 1u << i;
	}
	return set;
}

static struct cpu random_cpu(unsigned int i)
{
	uint32_t r = random_next();
	struct cpu c = {
		.id = r & 1 ? i : r >> 1 & 0xff,
		.cluster = r >> 9 & 1,
		.x2 = r >> 10 & 1,
		.hw = (r >> 11 & 7) != 0,
		.sw = (r >> 14 & 7) != 0,
	};

	if (!c.x2)
		c.ldr = random_next() & 0xff;
	return c;
}

/* All 8-bit destinations, physical and logical, on many mixtures of modes, models and states. */
static void narrow_destinations(void **state)
{
	struct cpu cpus[VIC_MAX_VCPUS];

	(void)state;
	seed = 7;
	for (unsigned int round = 0; round < 200; round++) {
		unsigned int count = 1 + round % VIC_MAX_VCPUS;

		for (unsigned int i = 0; i < count; i++)
			cpus[i] = random_cpu(i);
		bus_make(cpus, count);
		for (uint32_t n = 0; n < 256 * 2 * 8; n++) {
			struct apic_msg m = { .dest = n & 0xff, .logical = n >> 8 & 1, .mode = n >> 9 };

			if (m.mode == APIC_MODE_LOWEST)
				continue;
			assert_int_equal(apic_bus_targets(&bus, &m, -1), oracle(cpus, count, &m, -1));
		}
	}
}

/* All clusters with all members, some of them beyond what exists, and destinations that only 32 bits can say. */
static void wide_destinations(void **state)
{
	static const uint32_t clusters[] = { 0, 1, 2, 15, 16, 0xff, 0x100, 0xfffe, 0xffff };
	struct cpu cpus[VIC_MAX_VCPUS];

	(void)state;
	seed = 8;
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < VIC_MAX_VCPUS; i++)
			cpus[i] = random_cpu(i);
		bus_make(cpus, VIC_MAX_VCPUS);
		for (uint32_t n = 0; n < 9u * 0x20000; n++) {
			struct apic_msg m = {
				.dest = clusters[n >> 17] << 16 | (n & 0xffff),
				.logical = n >> 16 & 1,
				.wide = true,
			};

			assert_int_equal(apic_bus_targets(&bus, &m, 0), oracle(cpus, VIC_MAX_VCPUS, &m, 0));
		}
	}
}

/* A destination from an 8-bit sender is 8 bits, whatever else is in the field. */
static void narrow_is_narrow(void **state)
{
	struct cpu cpu = { .id = 3, .hw = true, .sw = true };
	struct apic_msg m = { .dest = 0x503 };

	(void)state;
	bus_make(&cpu, 1);
	assert_int_equal(apic_bus_targets(&bus, &m, -1), 1);
	m.wide = true;
	assert_int_equal(apic_bus_targets(&bus, &m, -1), 0);
}

static void shorthands(void **state)
{
	struct cpu cpus[VIC_MAX_VCPUS];

	(void)state;
	seed = 9;
	for (unsigned int round = 0; round < 200; round++) {
		for (unsigned int i = 0; i < VIC_MAX_VCPUS; i++)
			cpus[i] = random_cpu(i);
		bus_make(cpus, VIC_MAX_VCPUS);
		for (unsigned int n = 0; n < 8 * 4 * 17; n++) {
			struct apic_msg m = { .mode = n & 7, .shorthand = n >> 3 & 3, .dest = 0x77 };
			int sender = (int)(n >> 5) - 1;

			if (m.mode == APIC_MODE_LOWEST)
				continue;
			assert_int_equal(apic_bus_targets(&bus, &m, sender),
			                 oracle(cpus, VIC_MAX_VCPUS, &m, sender));
		}
	}
}

/* The lowest PPR among those addressed, never more than one, whatever the set. */
static void lowest_priority_wins(void **state)
{
	struct cpu cpus[8];

	(void)state;
	seed = 10;
	for (unsigned int i = 0; i < 8; i++)
		cpus[i] = (struct cpu){ .id = i, .ldr = 1u << i, .hw = true, .sw = i != 3 };
	bus_make(cpus, 8);
	for (unsigned int round = 0; round < 20000; round++) {
		struct apic_msg m = { .mode = APIC_MODE_LOWEST,
			              .logical = true,
			              .dest = random_next() & 0xff };
		uint32_t set = oracle(cpus, 8, &m, -1), got, lowest = 256;

		for (unsigned int i = 0; i < 8; i++)
			pages[i].slot[APIC_TPR].low = random_next() & (round & 1 ? 0xff : 0x30);
		for (unsigned int i = 0; i < 8; i++)
			if ((set >> i & 1) && pages[i].slot[APIC_TPR].low < lowest)
				lowest = pages[i].slot[APIC_TPR].low;
		got = apic_bus_targets(&bus, &m, -1);
		assert_int_equal(!got, !set);
		assert_int_equal(__builtin_popcount(got), set ? 1 : 0);
		assert_int_equal(got & ~set, 0);
		if (got)
			assert_int_equal(pages[__builtin_ctz(got)].slot[APIC_TPR].low, lowest);
	}
}

static void count_choices(uint32_t dest, unsigned int times, unsigned int *chosen)
{
	struct apic_msg m = { .mode = APIC_MODE_LOWEST, .logical = true, .dest = dest };

	for (unsigned int n = 0; n < times; n++)
		chosen[__builtin_ctz(apic_bus_targets(&bus, &m, -1))]++;
}

/* Equal priorities: every set shares evenly; across the wrap of the turn too. */
static void ties_are_fair(void **state)
{
	struct cpu cpus[8];

	(void)state;
	for (unsigned int i = 0; i < 8; i++)
		cpus[i] = (struct cpu){ .id = i, .ldr = 1u << i, .hw = true, .sw = true };
	for (uint32_t dest = 1; dest < 256; dest++) {
		unsigned int chosen[8] = { 0 };
		unsigned int members = (unsigned int)__builtin_popcount(dest);

		bus_make(cpus, 8);
		atomic_store(&bus.turn, dest & 1 ? 0 : UINT32_MAX - 100);
		for (unsigned int i = 0; i < 8; i++)
			atomic_store(&bus.last[i], atomic_load(&bus.turn));
		count_choices(dest, 100 * members, chosen);
		for (unsigned int i = 0; i < 8; i++)
			assert_int_equal(chosen[i], dest >> i & 1 ? 100 : 0);
	}
}

/* Two overlapping sets in turn: nobody starves, as VCPU 1 would if the choice merely rotated. */
static void overlapping_sets_are_fair(void **state)
{
	struct cpu cpus[3];
	unsigned int chosen[3] = { 0 };

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		cpus[i] = (struct cpu){ .id = i, .ldr = 1u << i, .hw = true, .sw = true };
	bus_make(cpus, 3);
	for (unsigned int n = 0; n < 300; n++) {
		count_choices(0x03, 1, chosen);
		count_choices(0x05, 1, chosen);
	}
	for (unsigned int i = 0; i < 3; i++)
		assert_in_range(chosen[i], 150, 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(narrow_destinations),       cmocka_unit_test(wide_destinations),
		cmocka_unit_test(narrow_is_narrow),          cmocka_unit_test(shorthands),
		cmocka_unit_test(lowest_priority_wins),      cmocka_unit_test(ties_are_fair),
		cmocka_unit_test(overlapping_sets_are_fair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
