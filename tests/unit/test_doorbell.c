/* SPDX-License-Identifier: MIT */
/* Doorbells on the host: every step of a ring, of masks, of opening and closing, counted. */
/* SOURCES: kernel/vic/doorbell.c kernel/vic/doorbell_ports.c kernel/vic/route.c kernel/vic/vioapic.c kernel/vic/icr.c */
#include "tests/unit/doorbell_bed.h"

/* A port's number is its place, lowest slot first, and every one of the 32,768 can be had once. */
static void ports_are_places(void **state)
{
	struct bed *bed = *state;

	for (unsigned g = 0; g < BH_GROUPS; g++) {
		for (unsigned s = 0; s < BH_SLOTS; s++)
			assert_int_equal(db_open(&bed->db, BH_LOCAL, s % VCPUS, g), (int)BH_PORT(g, s));
		assert_int_equal(db_open(&bed->db, BH_LOCAL, 0, g), BH_EFULL);
	}
	assert_int_equal(db_close(&bed->db, BH_PORT(5, 77)), 0);
	db_release(&bed->db, BH_PORT(5, 77));
	assert_int_equal(db_open(&bed->db, BH_LOCAL, 1, 5), (int)BH_PORT(5, 77));
}

static void every_port_rings_its_own_bit(void **state)
{
	struct bed *bed = *state;

	for (unsigned i = 0; i < BH_PORTS; i++)
		open_port(bed, i % VCPUS, i / BH_SLOTS);
	for (uint32_t port = 0; port < BH_PORTS; port++) {
		unsigned vcpu = port % VCPUS, group = port / BH_SLOTS;
		struct db_effect e = db_ring(&bed->db, port, 0);

		assert_int_equal(e.result, BH_RUNG_UPCALL);
		assert_int_equal(e.what, DB_VECTOR);
		assert_int_equal(e.vcpu, vcpu);
		assert_int_equal(e.vector, 0x40 + vcpu * 16 + group);
		assert_true(is_pending(bed, vcpu, port));
		assert_true(has_summary(bed, vcpu, port));
		for (unsigned v = 0; v < VCPUS; v++)
			assert_int_equal(consume(bed, v), v == vcpu);
	}
}

static void second_ring_coalesces(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 2, 3);

	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_RUNG_UPCALL);
	for (int i = 0; i < 5; i++) {
		struct db_effect e = db_ring(&bed->db, port, 0);

		assert_int_equal(e.result, BH_RUNG_COALESCED);
		assert_int_equal(e.what, DB_NOTHING);
	}
	assert_int_equal(consume(bed, 2), 1);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_RUNG_UPCALL);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 7);
	assert_int_equal(stat(bed, port, BH_STAT_COALESCED), 5);
	assert_int_equal(stat(bed, port, BH_STAT_UPCALLS), 2);
	assert_int_equal(bed->control[2].upcalls, 2);
}

/* A second port of the same word needs no second interrupt while the consumer has not cleared the summary. */
static void same_word_is_quiet(void **state)
{
	struct bed *bed = *state;
	uint32_t a = open_port(bed, 1, 4), b = open_port(bed, 1, 4);

	assert_int_equal(db_ring(&bed->db, a, 0).result, BH_RUNG_UPCALL);
	assert_int_equal(db_ring(&bed->db, b, 0).result, BH_RUNG_QUIET);
	assert_int_equal(consume(bed, 1), 2);
}

static void masked_ring_waits_for_the_unmask(void **state)
{
	struct bed *bed = *state;
	uint32_t masked = open_port(bed, 1, 4), open = open_port(bed, 1, 4);

	set_mask(bed, masked, true);
	assert_int_equal(db_ring(&bed->db, masked, 0).result, BH_RUNG_MASKED);
	assert_true(is_pending(bed, 1, masked));
	/* No summary bit either: it would swallow the upcall of the neighbour. */
	assert_false(has_summary(bed, 1, masked));
	assert_int_equal(db_ring(&bed->db, open, 0).result, BH_RUNG_UPCALL);
	assert_int_equal(consume(bed, 1), 1);
	assert_true(is_pending(bed, 1, masked));
	assert_int_equal(db_kick(&bed->db, masked).result, BH_RUNG_QUIET);
	set_mask(bed, masked, false);
	assert_int_equal(db_kick(&bed->db, masked).result, BH_RUNG_UPCALL);
	assert_int_equal(consume(bed, 1), 1);
	assert_int_equal(db_kick(&bed->db, masked).what, DB_NOTHING);
}

/* Without a vector the bit waits; db_raise() after the registration announces it. */
static void no_vector_means_later(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);

	assert_int_equal(db_set_vector(&bed->db, 1, 2, 0), 0);
	assert_int_equal(db_raise(&bed->db, 1, 2).what, DB_NOTHING);
	assert_int_equal(db_ring(&bed->db, port, 0).what, DB_NOTHING);
	assert_int_equal(db_set_vector(&bed->db, 1, 2, 0x99), 0);
	assert_int_equal(db_raise(&bed->db, 1, 2).vector, 0x99);
	assert_int_equal(db_raise(&bed->db, 1, 3).what, DB_NOTHING);
}

static void close_takes_the_bit_along(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);

	db_ring(&bed->db, port, 0);
	assert_int_equal(db_close(&bed->db, port), 0);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_ECLOSED);
	assert_int_equal(db_close(&bed->db, port), BH_ECLOSED);
	assert_int_equal(db_release(&bed->db, port), 1);
	assert_int_equal(open_port(bed, 1, 2), port);
	assert_false(is_pending(bed, 1, port));
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 0);
	assert_int_equal(db_ring(&bed->db, port, 0).result,
	                 BH_RUNG_QUIET); /* the summary bit is the guest's to clear */
}

static void pages_are_given_back_when_no_port_is_open(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);

	assert_int_equal(db_drop_pages(&bed->db, VCPUS), BH_EINVAL);
	assert_int_equal(db_drop_pages(&bed->db, 0), BH_EBUSY);
	assert_int_equal(db_close(&bed->db, port), 0);
	assert_int_equal(db_release(&bed->db, port), 0);
	assert_int_equal(db_drop_pages(&bed->db, 1), 0);
	port = open_port(bed, 1, 2);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_ENOPAGE);
	db_count_misdirected(&bed->db, DB_NO_PORT, 1);
	assert_int_equal(bed->control[1].misdirected, 0);
	assert_int_equal(db_set_pages(&bed->db, 1, &bed->pending[1], &bed->control[1]), 0);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_RUNG_UPCALL);
}

static void bad_arguments_change_nothing(void **state)
{
	struct bed *bed = *state;
	unsigned vm;
	uint32_t port = open_port(bed, 1, 2), to;

	assert_int_equal(db_open(&bed->db, BH_KINDS, 0, 0), BH_EINVAL);
	assert_int_equal(db_open(&bed->db, BH_LOCAL, VCPUS, 0), BH_EINVAL);
	assert_int_equal(db_open(&bed->db, BH_LOCAL, 0, BH_GROUPS), BH_EINVAL);
	assert_int_equal(db_open(&bed->db, BH_LOCAL, 0, UINT64_MAX), BH_EINVAL);
	assert_int_equal(db_close(&bed->db, BH_PORTS), BH_EINVAL);
	assert_int_equal(db_close(&bed->db, port + 1), BH_ECLOSED);
	assert_int_equal(db_rebind(&bed->db, port, VCPUS), BH_EINVAL);
	assert_int_equal(db_rebind(&bed->db, 1ull << 32 | port, 0), BH_EINVAL);
	assert_int_equal(db_rebind(&bed->db, port + 1, 0), BH_ECLOSED);
	assert_int_equal(db_kick(&bed->db, BH_PORTS).result, BH_EINVAL);
	assert_int_equal(db_kick(&bed->db, port + 1).result, BH_ECLOSED);
	assert_int_equal(db_resolve(&bed->db, BH_PORTS, &vm, &to), BH_EINVAL);
	assert_int_equal(db_resolve(&bed->db, port + 1, &vm, &to), BH_ECLOSED);
	assert_int_equal(db_set_vector(&bed->db, 0, 0, 256), BH_EINVAL);
	assert_int_equal(db_set_vector(&bed->db, 0, 0, 15), BH_EINVAL);
	assert_int_equal(db_set_vector(&bed->db, VCPUS, 0, 32), BH_EINVAL);
	assert_int_equal(db_set_vector(&bed->db, 0, BH_GROUPS, 32), BH_EINVAL);
	assert_int_equal(db_set_pages(&bed->db, 0, bed->pending, bed->control), BH_EBUSY);
	assert_int_equal(db_set_pages(&bed->db, VCPUS, bed->pending, bed->control), BH_EINVAL);
	assert_int_equal(db_set_pages(&bed->db, 0, NULL, bed->control), BH_EINVAL);
	assert_int_equal(db_stat(&bed->db, BH_PORTS, 0), BH_EINVAL);
	assert_int_equal(db_stat(&bed->db, port, BH_PORT_STATS), BH_EINVAL);
	assert_int_equal(db_stat(&bed->db, port + 1, 0), BH_ECLOSED);
	assert_int_equal(db_stat(&bed->db, port, BH_STAT_VCPU), 1);
}

static void no_pages_no_ring(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	uint32_t port;

	(void)state;
	db_init(&bed->db, bed->ports, &bed->bus, VCPUS, BH_ROUTE_NATIVE);
	port = open_port(bed, 1, 0);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_ENOPAGE);
	assert_int_equal(db_kick(&bed->db, port).result, BH_ENOPAGE);
	assert_int_equal(db_rebind(&bed->db, port, 2), BH_ENOPAGE);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 0);
	/* Without a mask page nothing is masked. */
	assert_int_equal(db_set_pages(&bed->db, 1, &bed->pending[1], &bed->control[1]), 0);
	assert_int_equal(db_set_vector(&bed->db, 1, 0, 0x50), 0);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_RUNG_UPCALL);
	db_count_misdirected(&bed->db, port, 3);
	assert_int_equal(stat(bed, port, BH_STAT_MISDIRECTED), 1);
	db_settle(&bed->db, 0xffff);
	free(bed);
}

/* A VCPU that has a control page and no pending page yet is one without pages: registering writes the two one by one. */
static void half_registered_is_not_registered(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	uint32_t port;

	(void)state;
	db_init(&bed->db, bed->ports, &bed->bus, VCPUS, BH_ROUTE_NATIVE);
	port = open_port(bed, 1, 0);
	assert_int_equal(db_set_pages(&bed->db, 1, &bed->pending[1], NULL), BH_EINVAL);
	assert_int_equal(db_set_vector(&bed->db, 1, 0, 0x50), 0);
	bed->control[1].summary[0] = 1;
	assert_int_equal(db_raise(&bed->db, 1, 0).what, DB_NOTHING);
	atomic_store(&bed->db.page[1].control, &bed->control[1]);
	assert_int_equal(db_raise(&bed->db, 1, 0).what, DB_NOTHING);
	assert_int_equal(bed->control[1].summary[0], 1);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_ENOPAGE);
	assert_int_equal(db_close(&bed->db, port), 0);
	db_release(&bed->db, port);
	assert_int_equal(open_port(bed, 1, 0), port);
	/* Both, and no mask page: what was said before is raised if a bit is behind it. */
	assert_int_equal(db_set_pages(&bed->db, 1, &bed->pending[1], &bed->control[1]), 0);
	bed->pending[1].word[0][0] = 1;
	assert_int_equal(db_raise(&bed->db, 1, 0).vector, 0x50);
	assert_int_equal(bed->control[1].summary[0], 1);
	free(bed);
}

static void misdirected_upcalls_are_counted(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);

	db_count_misdirected(&bed->db, port, 1);
	db_count_misdirected(&bed->db, port, 2);
	db_count_misdirected(&bed->db, DB_NO_PORT, 2);
	assert_int_equal(stat(bed, port, BH_STAT_MISDIRECTED), 2);
	assert_int_equal(bed->control[0].misdirected, 0);
	assert_int_equal(bed->control[1].misdirected, 1);
	assert_int_equal(bed->control[2].misdirected, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ports_are_places, make_native, drop),
		cmocka_unit_test_setup_teardown(every_port_rings_its_own_bit, make_native, drop),
		cmocka_unit_test_setup_teardown(second_ring_coalesces, make_native, drop),
		cmocka_unit_test_setup_teardown(same_word_is_quiet, make_native, drop),
		cmocka_unit_test_setup_teardown(masked_ring_waits_for_the_unmask, make_native, drop),
		cmocka_unit_test_setup_teardown(no_vector_means_later, make_native, drop),
		cmocka_unit_test_setup_teardown(close_takes_the_bit_along, make_native, drop),
		cmocka_unit_test_setup_teardown(pages_are_given_back_when_no_port_is_open, make_native, drop),
		cmocka_unit_test_setup_teardown(bad_arguments_change_nothing, make_native, drop),
		cmocka_unit_test(no_pages_no_ring),
		cmocka_unit_test(half_registered_is_not_registered),
		cmocka_unit_test_setup_teardown(misdirected_upcalls_are_counted, make_native, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
