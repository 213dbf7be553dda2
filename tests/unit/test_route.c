/* SPDX-License-Identifier: MIT */
/* Callback lines on a real IOAPIC model: raise, send, EOI, rewrite, in level and in edge mode. */
/* SOURCES: kernel/vic/doorbell.c kernel/vic/doorbell_ports.c kernel/vic/route.c kernel/vic/vioapic.c kernel/vic/icr.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/vic/route.h"

#define PIN    BH_CALLBACK_PIN
#define VECTOR 0x61

struct bed {
	struct vioapic io;
	struct route_lines lines;
	struct db_vm db;
	struct apic_bus bus;
	struct lapic_face face[4];
	uint64_t changed; /* pins whose entry the last write changed */
	unsigned sent;    /* interrupts that left the IOAPIC */
	unsigned missed;  /* VCPUs that waited for one and did not get it */
	uint32_t target;  /* whom the entry selects: VCPUs are their destination's number here */
};

static void write_entry(struct bed *bed, unsigned pin, uint32_t low, uint8_t dest)
{
	vioapic_write(&bed->io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + pin * 2 + 1);
	vioapic_write(&bed->io, VIOAPIC_IOWIN, (uint32_t)dest << 24);
	vioapic_write(&bed->io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + pin * 2);
	vioapic_write(&bed->io, VIOAPIC_IOWIN, low);
	bed->changed = vioapic_changed(&bed->io);
	route_rewritten(&bed->lines, &bed->io, bed->changed);
}

/* The drain of kernel/intr.c, for physical destinations. */
static void drain(struct bed *bed)
{
	struct apic_msg msg;
	unsigned pin;

	while (vioapic_next(&bed->io, &pin, &msg)) {
		uint32_t targets = route_targets(&bed->lines, &bed->db, pin, 1u << msg.dest);

		bed->sent++;
		bed->target = targets;
		if (pin >= VIOAPIC_CALLBACK_PIN)
			bed->missed += (unsigned)__builtin_popcount(
				route_sent(&bed->lines, &bed->io, pin, targets));
		vioapic_sent(&bed->io, pin, true);
	}
}

/* Ports are numbered by their VCPU here: the line remembers the first that waited. */
static void ring(struct bed *bed, unsigned vcpu)
{
	route_raise(&bed->lines, &bed->io, PIN, vcpu, 100 + vcpu);
	drain(bed);
}

static void eoi(struct bed *bed, uint8_t vector)
{
	route_eoi(&bed->lines, &bed->io, vector);
	vioapic_eoi(&bed->io, vector);
	drain(bed);
}

/* All LAPICs have the same priority. */
static const struct apic_page page;

/* VCPU n has APIC ID n and, in the flat model, logical ID 1 << n. */
static int make(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	bed->bus.count = 4;
	for (unsigned v = 0; v < 4; v++) {
		bed->face[v].page = &page;
		bed->bus.face[v] = &bed->face[v];
		atomic_init(&bed->face[v].word,
		            v | 1ull << (LAPIC_FACE_LDR_SHIFT + v) | LAPIC_FACE_HW | LAPIC_FACE_SW);
	}

	vioapic_init(&bed->io, VIOAPIC_VERSION_EOI, 0);
	db_init(&bed->db, NULL, &bed->bus, 4, BH_ROUTE_IOAPIC);
	write_entry(bed, PIN, VIOAPIC_LEVEL | VECTOR, 2);
	*state = bed;
	return 0;
}

static int drop(void **state)
{
	free(*state);
	return 0;
}

static void one_upcall_is_one_interrupt(void **state)
{
	struct bed *bed = *state;

	ring(bed, 2);
	assert_int_equal(bed->sent, 1);
	assert_int_equal(bed->target, 1u << 2);
	eoi(bed, VECTOR);
	assert_int_equal(bed->sent, 1);
	assert_int_equal(bed->missed, 0);
	ring(bed, 2);
	assert_int_equal(bed->sent, 2);
}

static void upcalls_in_service_are_one_more_interrupt(void **state)
{
	struct bed *bed = *state;

	ring(bed, 2);
	ring(bed, 2);
	ring(bed, 2);
	assert_int_equal(bed->sent, 1);
	eoi(bed, VECTOR + 1);
	assert_int_equal(bed->sent, 1);
	eoi(bed, VECTOR);
	assert_int_equal(bed->sent, 2);
	eoi(bed, VECTOR);
	assert_int_equal(bed->sent, 2);
}

static void misdirected_upcalls_are_counted(void **state)
{
	struct bed *bed = *state;

	ring(bed, 1);
	assert_int_equal(bed->missed, 1);
	assert_int_equal(bed->lines.port[0][1], 101);
	/* Two VCPUs wait for the next interrupt, one of them is its target. */
	ring(bed, 3);
	ring(bed, 2);
	assert_int_equal(bed->missed, 1);
	route_raise(&bed->lines, &bed->io, PIN, 3, 999);
	assert_int_equal(bed->lines.port[0][3], 103);
	eoi(bed, VECTOR);
	assert_int_equal(bed->missed, 2);
	eoi(bed, VECTOR);
	assert_int_equal(bed->missed, 2);
}

static void a_masked_level_entry_keeps_the_upcall(void **state)
{
	struct bed *bed = *state;

	write_entry(bed, PIN, VIOAPIC_LEVEL | VIOAPIC_MASKED | VECTOR, 2);
	ring(bed, 2);
	ring(bed, 1);
	assert_int_equal(bed->sent, 0);
	write_entry(bed, PIN, VIOAPIC_LEVEL | VECTOR, 1);
	drain(bed);
	assert_int_equal(bed->sent, 1);
	assert_int_equal(bed->target, 1u << 1);
	assert_int_equal(bed->missed, 1);
}

static void edges_need_no_eoi(void **state)
{
	struct bed *bed = *state;

	write_entry(bed, PIN, VECTOR, 2);
	for (unsigned i = 1; i < 5; i++) {
		ring(bed, 2);
		assert_int_equal(bed->sent, i);
	}
	eoi(bed, VECTOR);
	assert_int_equal(bed->sent, 4);
}

/* An edge on a masked entry is lost in a 82093AA; the doorbell gives it again, so the upcall is not. */
static void a_masked_edge_entry_keeps_the_upcall(void **state)
{
	struct bed *bed = *state;

	write_entry(bed, PIN, VIOAPIC_MASKED | VECTOR, 2);
	ring(bed, 2);
	ring(bed, 2);
	assert_int_equal(bed->sent, 0);
	write_entry(bed, PIN, VECTOR, 2);
	drain(bed);
	assert_int_equal(bed->sent, 1);
	write_entry(bed, PIN, VECTOR, 3);
	drain(bed);
	assert_int_equal(bed->sent, 1);
}

static void level_to_edge_in_service_loses_nothing(void **state)
{
	struct bed *bed = *state;

	ring(bed, 2);
	ring(bed, 2);
	write_entry(bed, PIN, VECTOR, 2);
	drain(bed);
	assert_int_equal(bed->sent, 2);
	assert_int_equal(bed->lines.raised, 0);
	write_entry(bed, PIN, VIOAPIC_LEVEL | VECTOR, 2);
	drain(bed);
	ring(bed, 2);
	assert_int_equal(bed->sent, 3);
}

static void vcpu0_overrules_the_callback_entry_only(void **state)
{
	struct bed *bed = *state;

	db_init(&bed->db, NULL, &bed->bus, 4, BH_ROUTE_VCPU0);
	ring(bed, 0);
	assert_int_equal(bed->target, 1);
	assert_int_equal(bed->missed, 0);
	assert_int_equal(route_targets(&bed->lines, &bed->db, 4, 8), 8);
	/* Switched off by SVR it accepts nothing, forced or not: the IOAPIC holds the interrupt back. */
	bed->face[0].word &= ~LAPIC_FACE_SW;
	assert_int_equal(route_targets(&bed->lines, &bed->db, PIN, 8), 0);
	db_init(&bed->db, NULL, &bed->bus, 4, BH_ROUTE_NATIVE);
	assert_int_equal(route_targets(&bed->lines, &bed->db, PIN, 8), 8);
}

static uint32_t follow(struct bed *bed)
{
	return route_follow(&bed->lines, &bed->db, &bed->io, bed->changed);
}

static void groups_follow_their_entries(void **state)
{
	struct bed *bed = *state;

	db_init(&bed->db, NULL, &bed->bus, 4, BH_ROUTE_FOLLOW);
	for (unsigned g = 0; g < BH_GROUPS; g++) {
		write_entry(bed, PIN + g, VIOAPIC_MASKED | VIOAPIC_LEVEL | VECTOR, (uint8_t)(1 + g % 3));
		assert_int_equal(follow(bed), 1u << g);
		assert_int_equal(bed->db.follow[g], 1u << (1 + g % 3));
		/* A new vector, or the mask alone, moves nothing. */
		write_entry(bed, PIN + g, VIOAPIC_LEVEL | (VECTOR + 1), (uint8_t)(1 + g % 3));
		assert_int_equal(follow(bed), 0);
	}
	write_entry(bed, 5, VECTOR, 3);
	assert_int_equal(follow(bed), 0);
	/* Nobody there: the group stays. */
	write_entry(bed, PIN, VIOAPIC_LEVEL | VECTOR, 9);
	assert_int_equal(follow(bed), 0);
	assert_int_equal(bed->db.follow[0], 1u << 1);
	/* Several: logical, flat; lowest priority keeps the whole set. */
	write_entry(bed, PIN, VIOAPIC_LEVEL | VIOAPIC_LOGICAL | APIC_MODE_LOWEST << 8 | VECTOR, 0xc);
	assert_int_equal(follow(bed), 1);
	assert_int_equal(bed->db.follow[0], 0xc);
}

static void follow_interrupts_whom_the_bits_are_for(void **state)
{
	struct bed *bed = *state;

	db_init(&bed->db, NULL, &bed->bus, 4, BH_ROUTE_FOLLOW);
	write_entry(bed, PIN, VIOAPIC_LEVEL | VIOAPIC_LOGICAL | VECTOR, 0xf);
	follow(bed);
	route_raise(&bed->lines, &bed->io, PIN, 2, 7);
	assert_int_equal(route_targets(&bed->lines, &bed->db, PIN, 0xf), 1u << 2);
	/* The entry moves on before the interrupt was sent: whoever waited for it waits no more. */
	write_entry(bed, PIN, VIOAPIC_LEVEL | VECTOR, 1);
	follow(bed);
	assert_int_equal(bed->lines.waiting[0], 0);
	assert_int_equal(route_targets(&bed->lines, &bed->db, PIN, 1u << 1), 1u << 1);
}

static void routes_have_numbers(void **state)
{
	(void)state;
	assert_null(route_find(BH_ROUTES));
	for (unsigned r = 0; r < BH_ROUTES; r++)
		assert_int_equal(route_find(r)->number, r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_upcall_is_one_interrupt, make, drop),
		cmocka_unit_test_setup_teardown(upcalls_in_service_are_one_more_interrupt, make, drop),
		cmocka_unit_test_setup_teardown(misdirected_upcalls_are_counted, make, drop),
		cmocka_unit_test_setup_teardown(a_masked_level_entry_keeps_the_upcall, make, drop),
		cmocka_unit_test_setup_teardown(edges_need_no_eoi, make, drop),
		cmocka_unit_test_setup_teardown(a_masked_edge_entry_keeps_the_upcall, make, drop),
		cmocka_unit_test_setup_teardown(level_to_edge_in_service_loses_nothing, make, drop),
		cmocka_unit_test_setup_teardown(vcpu0_overrules_the_callback_entry_only, make, drop),
		cmocka_unit_test_setup_teardown(groups_follow_their_entries, make, drop),
		cmocka_unit_test_setup_teardown(follow_interrupts_whom_the_bits_are_for, make, drop),
		cmocka_unit_test(routes_have_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
