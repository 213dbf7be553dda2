/* SPDX-License-Identifier: MIT */
/* Bits that move: rebinds, route changes, entries that are followed; and connections between two VMs. */
/* SOURCES: kernel/vic/doorbell.c kernel/vic/doorbell_ports.c kernel/vic/route.c kernel/vic/vioapic.c kernel/vic/icr.c */
#include "tests/unit/doorbell_bed.h"

static void rebind_carries_the_bit(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 6);
	struct db_effect e;

	db_ring(&bed->db, port, 0);
	assert_int_equal(db_rebind(&bed->db, port, 3), 0);
	e = db_move(&bed->db, port);
	assert_int_equal(e.what, DB_VECTOR);
	assert_int_equal(e.vcpu, 3);
	assert_false(is_pending(bed, 1, port));
	assert_true(is_pending(bed, 3, port));
	assert_int_equal(consume(bed, 1), 0);
	assert_int_equal(consume(bed, 3), 1);
	assert_int_equal(stat(bed, port, BH_STAT_VCPU), 3);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 1);
	assert_int_equal(stat(bed, port, BH_STAT_COALESCED), 0);
}

/* A ring that found the new binding before the old bit was moved: two rings, one bit, nothing lost in the sum. */
static void rebind_merges_two_bits_into_one(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 6);

	db_ring(&bed->db, port, 0);
	assert_int_equal(db_rebind(&bed->db, port, 0), 0);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_RUNG_UPCALL);
	assert_int_equal(db_move(&bed->db, port).what, DB_NOTHING);
	assert_int_equal(consume(bed, 1) + consume(bed, 0), 1);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 1 + stat(bed, port, BH_STAT_COALESCED));
}

static void rebind_of_a_masked_bit_is_silent(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 6);

	set_mask(bed, port, true);
	db_ring(&bed->db, port, 0);
	assert_int_equal(db_rebind(&bed->db, port, 2), 0);
	assert_int_equal(db_move(&bed->db, port).what, DB_NOTHING);
	assert_true(is_pending(bed, 2, port));
	assert_false(has_summary(bed, 2, port));
	set_mask(bed, port, false);
	assert_int_equal(db_kick(&bed->db, port).vcpu, 2);
}

/* A route change could not carry the bit to a VCPU without pages; the rebind to one that has them does. */
static void rebind_finds_a_bit_left_behind(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 6);

	atomic_store(&bed->db.page[1].pending, NULL);
	db_set_route(&bed->db, BH_ROUTE_VCPU0);
	db_ring(&bed->db, port, 0);
	db_set_route(&bed->db, BH_ROUTE_NATIVE);
	db_settle(&bed->db, 0xffff);
	assert_true(is_pending(bed, 0, port));
	assert_int_equal(db_rebind(&bed->db, port, 2), 0);
	assert_int_equal(db_move(&bed->db, port).vcpu, 2);
	assert_false(is_pending(bed, 0, port));
	assert_true(is_pending(bed, 2, port));
}

static void every_route_change_carries_every_bit(void **state)
{
	(void)state;
	for (unsigned from = 0; from < BH_ROUTES; from++) {
		for (unsigned to = 0; to < BH_ROUTES; to++) {
			struct bed *bed = make_bed(from);
			unsigned found = 0, home = 0;

			for (unsigned i = 0; i < 64; i++) {
				uint32_t port = open_port(bed, i % VCPUS, i % BH_GROUPS);

				db_ring(&bed->db, port, 0);
			}
			assert_int_equal(db_set_route(&bed->db, to), from);
			db_settle(&bed->db, 0xffff);
			for (unsigned v = 0; v < VCPUS; v++) {
				unsigned here = consume(bed, v);

				found += here;
				home += here && (to != BH_ROUTE_VCPU0 || v == 0);
			}
			assert_int_equal(found, 64);
			assert_int_equal(home, to == BH_ROUTE_VCPU0 ? 1 : VCPUS);
			free(bed);
		}
	}
}

static void routes_raise_what_they_say(void **state)
{
	(void)state;
	for (unsigned r = 0; r < BH_ROUTES; r++) {
		struct bed *bed = make_bed(r);
		struct db_effect e = db_ring(&bed->db, open_port(bed, 2, 9), 0);

		bool by_group = r == BH_ROUTE_MULTI || r == BH_ROUTE_FOLLOW;

		assert_int_equal(e.vcpu, r == BH_ROUTE_VCPU0 ? 0 : r == BH_ROUTE_FOLLOW ? 9 % VCPUS : 2);
		assert_int_equal(e.what, r == BH_ROUTE_NATIVE ? DB_VECTOR : DB_LINE);
		if (e.what == DB_LINE)
			assert_int_equal(e.pin, BH_CALLBACK_PIN + (by_group ? 9 : 0));
		free(bed);
	}
}

/* Of several VCPUs each ring goes to one; equal priorities take turns; a kick finds the bit wherever it is. */
static void follow_spreads_over_a_set(void **state)
{
	struct bed *bed = make_bed(BH_ROUTE_FOLLOW);
	uint32_t port = open_port(bed, 0, 3);
	unsigned got[VCPUS] = { 0 };

	(void)state;
	atomic_store(&bed->db.follow[3], 0xe);
	for (int i = 0; i < 30; i++) {
		struct db_effect e = db_ring(&bed->db, port, 0);

		assert_int_equal(e.what, DB_LINE);
		assert_true(is_pending(bed, e.vcpu, port));
		got[e.vcpu] += consume(bed, e.vcpu);
	}
	assert_int_equal(got[0], 0);
	for (unsigned v = 1; v < VCPUS; v++)
		assert_int_equal(got[v], 10);
	bed_page[2].slot[APIC_TPR].low = 0;
	bed_page[1].slot[APIC_TPR].low = 0x20;
	bed_page[3].slot[APIC_TPR].low = 0x20;
	set_mask(bed, port, true);
	assert_int_equal(db_ring(&bed->db, port, 0).result, BH_RUNG_MASKED);
	set_mask(bed, port, false);
	assert_int_equal(db_kick(&bed->db, port).vcpu, 2);
	assert_int_equal(consume(bed, 2), 1);
	/* Masked rings that arbitration put on two pages: one kick announces both. */
	set_mask(bed, port, true);
	db_ring(&bed->db, port, 0);
	bed_page[2].slot[APIC_TPR].low = 0x30;
	bed_page[3].slot[APIC_TPR].low = 0;
	db_ring(&bed->db, port, 0);
	set_mask(bed, port, false);
	struct db_effect both = db_kick(&bed->db, port);
	assert_int_equal(1u << both.vcpu | both.also, 0xc);
	assert_int_equal(consume(bed, 2) + consume(bed, 3), 2);
	free(bed);
}

/* The entry is rewritten: bits on VCPUs that it no longer selects move, those where they may stay do not. */
static void follow_moves_what_does_not_belong(void **state)
{
	struct bed *bed = make_bed(BH_ROUTE_FOLLOW);
	uint32_t a = open_port(bed, 0, 3), other = open_port(bed, 0, 2);

	(void)state;
	atomic_store(&bed->db.follow[3], 1u << 1);
	db_ring(&bed->db, a, 0);
	db_ring(&bed->db, other, 0);
	atomic_store(&bed->db.follow[3], 1u << 1 | 1u << 2);
	db_settle(&bed->db, 1u << 3);
	assert_true(is_pending(bed, 1, a));
	atomic_store(&bed->db.follow[3], 1u << 2);
	db_settle(&bed->db, 1u << 2);
	assert_true(is_pending(bed, 1, a)); /* not the group that was asked for */
	db_settle(&bed->db, 1u << 3);
	assert_false(is_pending(bed, 1, a));
	assert_true(is_pending(bed, 2, a));
	assert_int_equal(db_raise(&bed->db, 2, 3).pin, BH_CALLBACK_PIN + 3);
	/* The summary that stayed behind on VCPU 1 is stale and raises nothing. */
	assert_true(has_summary(bed, 1, a));
	assert_int_equal(db_raise(&bed->db, 1, 3).what, DB_NOTHING);
	assert_false(has_summary(bed, 1, a)); /* or it would keep the next ring quiet */
	assert_int_equal(consume(bed, 2), 2); /* group 2's entry selects VCPU 2 as well */
	free(bed);
}

static void connections_need_an_offer(void **state)
{
	struct bed *a = *state, *b = make_bed(BH_ROUTE_NATIVE);
	uint32_t mine = open_kind(a, BH_INTERVM, 1, 0), theirs = open_kind(b, BH_INTERVM, 2, 7);
	uint32_t local = open_port(a, 0, 0), to;
	unsigned vm;

	assert_int_equal(db_resolve(&a->db, mine, &vm, &to), BH_ECLOSED);
	assert_int_equal(db_connect(&a->db, 4, mine, &b->db, 5, theirs), BH_EPERM);
	assert_int_equal(db_offer(&b->db, theirs, 6), 0);
	assert_int_equal(db_connect(&a->db, 4, mine, &b->db, 5, theirs), BH_EPERM);
	assert_int_equal(db_offer(&b->db, theirs, 4), 0);
	assert_int_equal(db_connect(&a->db, 4, local, &b->db, 5, theirs), BH_EINVAL);
	assert_int_equal(db_connect(&a->db, 4, BH_PORTS, &b->db, 5, theirs), BH_EINVAL);
	assert_int_equal(db_connect(&a->db, 4, mine, &b->db, 5, BH_PORTS), BH_EINVAL);
	assert_int_equal(db_connect(&a->db, 4, mine, &b->db, 5, theirs + 1), BH_ECLOSED);
	assert_int_equal(db_connect(&a->db, 4, mine, &b->db, 5, theirs), 0);
	assert_int_equal(db_resolve(&a->db, mine, &vm, &to), 1);
	assert_int_equal(vm, 5);
	assert_int_equal(to, theirs);
	assert_int_equal(db_resolve(&b->db, theirs, &vm, &to), 1);
	assert_int_equal(vm, 4);
	assert_int_equal(to, mine);
	assert_int_equal(db_offer(&b->db, theirs, 4), BH_EBUSY);
	assert_int_equal(db_offer(&a->db, local, 4), BH_EINVAL);
	assert_int_equal(db_offer(&a->db, BH_PORTS, 4), BH_EINVAL);
	assert_int_equal(db_offer(&a->db, local + 1, 4), BH_ECLOSED);
	db_disconnect(&a->db, 6);
	assert_int_equal(db_resolve(&a->db, mine, &vm, &to), 1);
	db_disconnect(&a->db, 5);
	assert_int_equal(db_resolve(&a->db, mine, &vm, &to), BH_ECLOSED);
	free(b);
}

static void busy_ends_and_withdrawn_offers(void **state)
{
	struct bed *a = *state, *b = make_bed(BH_ROUTE_NATIVE);
	uint32_t one = open_kind(a, BH_INTERVM, 1, 0), two = open_kind(a, BH_INTERVM, 1, 0);
	uint32_t far = open_kind(b, BH_INTERVM, 2, 7), other = open_kind(b, BH_INTERVM, 2, 7);

	assert_int_equal(db_offer(&b->db, far, 4), 0);
	assert_int_equal(db_connect(&a->db, 4, one, &b->db, 5, far), 0);
	assert_int_equal(db_offer(&b->db, other, 4), 0);
	assert_int_equal(db_connect(&a->db, 4, one, &b->db, 5, other), BH_EBUSY);
	db_disconnect(&b->db, 4); /* the VM that the offer was for is gone */
	assert_int_equal(db_connect(&a->db, 4, two, &b->db, 5, other), BH_EPERM);
	free(b);
}

/* Settling announces what the old route had out of sight, and not what is masked or held: that comes in its own time. */
static void settle_leaves_masked_and_held_bits_silent(void **state)
{
	struct bed *bed = *state;
	uint32_t masked = open_port(bed, 1, 2), held = open_port(bed, 1, 3), plain = open_port(bed, 1, 4);

	db_set_budget(&bed->db, 1, 1000);
	set_mask(bed, masked, true);
	assert_int_equal(db_ring(&bed->db, masked, 0).result, BH_RUNG_MASKED);
	db_ring(&bed->db, held, 0);
	consume(bed, 1);
	assert_int_equal(db_ring(&bed->db, held, 0).result, BH_RUNG_THROTTLED);
	bed->pending[1].word[4][0] = 1; /* not announced where it was before */
	db_settle(&bed->db, 0xffff);
	assert_false(has_summary(bed, 1, masked));
	assert_false(has_summary(bed, 1, held));
	assert_true(has_summary(bed, 1, plain));
	assert_int_equal(db_raise(&bed->db, 1, 4).vector, 0x40 + 16 + 4);
	assert_int_equal(stat(bed, held, BH_STAT_UPCALLS), 1);
	assert_true(is_pending(bed, 1, masked));
	assert_true(is_pending(bed, 1, held));
}

/* Of the places of an entry one has no pages: a kick announces the bit of the other, before it or after it. */
static void kick_passes_over_a_vcpu_without_pages(void **state)
{
	(void)state;
	for (unsigned without = 1; without < 3; without++) {
		struct bed *bed = make_bed(BH_ROUTE_FOLLOW);
		uint32_t port = open_port(bed, 0, 3);
		unsigned with = 3 - without;

		atomic_store(&bed->db.follow[3], 1u << 1 | 1u << 2);
		atomic_store(&bed->db.page[without].pending, NULL);
		assert_int_equal(db_kick(&bed->db, port).result, BH_ENOPAGE);
		bed->pending[with].word[3][0] = 1;
		assert_int_equal(db_kick(&bed->db, port).result, BH_RUNG_UPCALL);
		assert_true(has_summary(bed, with, port));
		free(bed);
	}
}

static void connections_need_two_open_ends(void **state)
{
	struct bed *a = *state, *b = make_bed(BH_ROUTE_NATIVE);
	uint32_t mine = open_kind(a, BH_INTERVM, 1, 0), theirs = open_kind(b, BH_INTERVM, 2, 7);
	uint32_t local = open_port(b, 2, 7);

	assert_int_equal(db_offer(&b->db, theirs, 4), 0);
	assert_int_equal(db_connect(&a->db, 4, mine + 1, &b->db, 5, theirs), BH_ECLOSED);
	/* No offer can be made of it, but a connection must not rest on that. */
	b->ports[local].offered = 4 + 1;
	assert_int_equal(db_connect(&a->db, 4, mine, &b->db, 5, local), BH_EINVAL);
	assert_int_equal(atomic_load(&b->ports[local].peer), 0);
	assert_int_equal(db_connect(&a->db, 4, mine, &b->db, 5, theirs), 0);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rebind_carries_the_bit, make_native, drop),
		cmocka_unit_test_setup_teardown(rebind_merges_two_bits_into_one, make_native, drop),
		cmocka_unit_test_setup_teardown(rebind_of_a_masked_bit_is_silent, make_native, drop),
		cmocka_unit_test_setup_teardown(rebind_finds_a_bit_left_behind, make_native, drop),
		cmocka_unit_test(every_route_change_carries_every_bit),
		cmocka_unit_test(routes_raise_what_they_say),
		cmocka_unit_test(follow_spreads_over_a_set),
		cmocka_unit_test(follow_moves_what_does_not_belong),
		cmocka_unit_test_setup_teardown(settle_leaves_masked_and_held_bits_silent, make_native, drop),
		cmocka_unit_test(kick_passes_over_a_vcpu_without_pages),
		cmocka_unit_test_setup_teardown(connections_need_an_offer, make_native, drop),
		cmocka_unit_test_setup_teardown(connections_need_two_open_ends, make_native, drop),
		cmocka_unit_test_setup_teardown(busy_ends_and_withdrawn_offers, make_native, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
