/* SPDX-License-Identifier: MIT */
/* Callback lines on a real IOAPIC model: raise, send, EOI, rewrite, in level and in edge mode. */
/* SOURCES: kernel/vic/doorbell.c kernel/vic/route.c kernel/vic/vioapic.c */
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
	unsigned sent;   /* interrupts that left the IOAPIC */
	unsigned missed; /* VCPUs that waited for one and did not get it */
	uint32_t target; /* whom the entry selects: VCPUs are their destination's number here */
};

static void write_entry(struct bed *bed, unsigned pin, uint32_t low, uint8_t dest)
{
	vioapic_write(&bed->io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + pin * 2 + 1);
	vioapic_write(&bed->io, VIOAPIC_IOWIN, (uint32_t)dest << 24);
	vioapic_write(&bed->io, VIOAPIC_IOREGSEL, VIOAPIC_REG_ENTRY + pin * 2);
	vioapic_write(&bed->io, VIOAPIC_IOWIN, low);
	route_rewritten(&bed->lines, &bed->io, vioapic_changed(&bed->io));
}

/* The drain of kernel/intr.c, for physical destinations. */
static void drain(struct bed *bed)
{
	struct apic_msg msg;
	unsigned pin;

	while (vioapic_next(&bed->io, &pin, &msg)) {
		uint32_t targets = route_targets(&bed->db, pin, 1u << msg.dest);

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

static int make(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	vioapic_init(&bed->io, VIOAPIC_VERSION_EOI, 0);
	db_init(&bed->db, NULL, 4, BH_ROUTE_IOAPIC);
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

	db_init(&bed->db, NULL, 4, BH_ROUTE_VCPU0);
	ring(bed, 0);
	assert_int_equal(bed->target, 1);
	assert_int_equal(bed->missed, 0);
	assert_int_equal(route_targets(&bed->db, 4, 8), 8);
	db_init(&bed->db, NULL, 4, BH_ROUTE_NATIVE);
	assert_int_equal(route_targets(&bed->db, PIN, 8), 8);
}

static void routes_have_names(void **state)
{
	(void)state;
	assert_int_equal(route_named("ioapic")->number, BH_ROUTE_IOAPIC);
	assert_int_equal(route_named("vcpu0")->number, BH_ROUTE_VCPU0);
	assert_int_equal(route_named("native")->number, BH_ROUTE_NATIVE);
	assert_null(route_named(""));
	assert_null(route_named("nativ"));
	assert_null(route_named("natives"));
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
		cmocka_unit_test(routes_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
