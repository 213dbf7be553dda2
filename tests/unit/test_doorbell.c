/* SPDX-License-Identifier: MIT */
/* Doorbells on the host: every step of a ring, of masks, of rebinds and of route changes, counted. */
/* SOURCES: kernel/vic/doorbell.c kernel/vic/route.c kernel/vic/vioapic.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/vic/doorbell.h"
#include "kernel/vic/route.h"

#define VCPUS 4

struct bed {
	struct db_vm db;
	struct db_port ports[BH_PORTS];
	struct bh_bits pending[VCPUS], mask;
	struct bh_control control[VCPUS];
};

static struct bed *make_bed(enum bh_route route)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	assert_non_null(bed);
	db_init(&bed->db, bed->ports, VCPUS, route);
	db_set_mask(&bed->db, &bed->mask);
	for (unsigned v = 0; v < VCPUS; v++) {
		assert_int_equal(db_set_pages(&bed->db, v, &bed->pending[v], &bed->control[v]), 0);
		for (unsigned g = 0; g < BH_GROUPS; g++)
			assert_int_equal(db_set_vector(&bed->db, v, g, 0x40 + v * 16 + g), 0);
	}
	return bed;
}

static int make_native(void **state)
{
	*state = make_bed(BH_ROUTE_NATIVE);
	return 0;
}

static int drop(void **state)
{
	free(*state);
	return 0;
}

static uint32_t open_kind(struct bed *bed, enum bh_kind kind, unsigned vcpu, unsigned group)
{
	int port = db_open(&bed->db, kind, vcpu, group);

	assert_true(port >= 0);
	return (uint32_t)port;
}

static uint32_t open_port(struct bed *bed, unsigned vcpu, unsigned group)
{
	return open_kind(bed, BH_LOCAL, vcpu, group);
}

static bool is_pending(const struct bed *bed, unsigned vcpu, uint32_t port)
{
	return bed->pending[vcpu].word[port >> 11][port >> 6 & 31] >> (port & 63) & 1;
}

static bool has_summary(const struct bed *bed, unsigned vcpu, uint32_t port)
{
	return bed->control[vcpu].summary[port >> 11] >> (port >> 6 & 31) & 1;
}

static void set_mask(struct bed *bed, uint32_t port, bool masked)
{
	uint64_t *word = &bed->mask.word[port >> 11][port >> 6 & 31], bit = 1ull << (port & 63);

	*word = masked ? *word | bit : *word & ~bit;
}

/* What a guest does with one VCPU's page: summary first, then the words. Returns the events it found. */
static unsigned consume(struct bed *bed, unsigned vcpu)
{
	unsigned found = 0;

	for (unsigned g = 0; g < BH_GROUPS; g++) {
		uint64_t words = bed->control[vcpu].summary[g];

		bed->control[vcpu].summary[g] = 0;
		for (; words; words &= words - 1) {
			unsigned w = (unsigned)__builtin_ctzll(words);
			uint64_t bits = bed->pending[vcpu].word[g][w] & ~bed->mask.word[g][w];

			bed->pending[vcpu].word[g][w] &= ~bits;
			found += (unsigned)__builtin_popcountll(bits);
		}
	}
	return found;
}

static uint64_t stat(struct bed *bed, uint32_t port, enum bh_port_stat which)
{
	int64_t value = db_stat(&bed->db, port, which);

	assert_true(value >= 0);
	return (uint64_t)value;
}

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
		struct db_effect e = db_ring(&bed->db, port);

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

	assert_int_equal(db_ring(&bed->db, port).result, BH_RUNG_UPCALL);
	for (int i = 0; i < 5; i++) {
		struct db_effect e = db_ring(&bed->db, port);

		assert_int_equal(e.result, BH_RUNG_COALESCED);
		assert_int_equal(e.what, DB_NOTHING);
	}
	assert_int_equal(consume(bed, 2), 1);
	assert_int_equal(db_ring(&bed->db, port).result, BH_RUNG_UPCALL);
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

	assert_int_equal(db_ring(&bed->db, a).result, BH_RUNG_UPCALL);
	assert_int_equal(db_ring(&bed->db, b).result, BH_RUNG_QUIET);
	assert_int_equal(consume(bed, 1), 2);
}

static void masked_ring_waits_for_the_unmask(void **state)
{
	struct bed *bed = *state;
	uint32_t masked = open_port(bed, 1, 4), open = open_port(bed, 1, 4);

	set_mask(bed, masked, true);
	assert_int_equal(db_ring(&bed->db, masked).result, BH_RUNG_MASKED);
	assert_true(is_pending(bed, 1, masked));
	/* No summary bit either: it would swallow the upcall of the neighbour. */
	assert_false(has_summary(bed, 1, masked));
	assert_int_equal(db_ring(&bed->db, open).result, BH_RUNG_UPCALL);
	assert_int_equal(consume(bed, 1), 1);
	assert_true(is_pending(bed, 1, masked));
	assert_int_equal(db_kick(&bed->db, masked).result, BH_RUNG_QUIET);
	set_mask(bed, masked, false);
	assert_int_equal(db_kick(&bed->db, masked).result, BH_RUNG_UPCALL);
	assert_int_equal(consume(bed, 1), 1);
	assert_int_equal(db_kick(&bed->db, masked).what, DB_NOTHING);
}

static void rebind_carries_the_bit(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 6);
	unsigned old = 99;
	struct db_effect e;

	db_ring(&bed->db, port);
	assert_int_equal(db_rebind(&bed->db, port, 3, &old), 0);
	assert_int_equal(old, 1);
	e = db_move(&bed->db, port, old);
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
	unsigned old;

	db_ring(&bed->db, port);
	assert_int_equal(db_rebind(&bed->db, port, 0, &old), 0);
	assert_int_equal(db_ring(&bed->db, port).result, BH_RUNG_UPCALL);
	assert_int_equal(db_move(&bed->db, port, old).what, DB_NOTHING);
	assert_int_equal(consume(bed, 1) + consume(bed, 0), 1);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 1 + stat(bed, port, BH_STAT_COALESCED));
}

static void rebind_of_a_masked_bit_is_silent(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 6);
	unsigned old;

	set_mask(bed, port, true);
	db_ring(&bed->db, port);
	assert_int_equal(db_rebind(&bed->db, port, 2, &old), 0);
	assert_int_equal(db_move(&bed->db, port, old).what, DB_NOTHING);
	assert_true(is_pending(bed, 2, port));
	assert_false(has_summary(bed, 2, port));
	set_mask(bed, port, false);
	assert_int_equal(db_kick(&bed->db, port).vcpu, 2);
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

				db_ring(&bed->db, port);
			}
			assert_int_equal(db_set_route(&bed->db, to), from);
			db_settle(&bed->db);
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
		struct db_effect e = db_ring(&bed->db, open_port(bed, 2, 9));

		assert_int_equal(e.vcpu, r == BH_ROUTE_VCPU0 ? 0 : 2);
		assert_int_equal(e.what, r == BH_ROUTE_NATIVE ? DB_VECTOR : DB_LINE);
		if (e.what == DB_LINE)
			assert_int_equal(e.pin, BH_CALLBACK_PIN);
		free(bed);
	}
}

/* Without a vector the bit waits; db_raise() after the registration announces it. */
static void no_vector_means_later(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);

	assert_int_equal(db_set_vector(&bed->db, 1, 2, 0), 0);
	assert_int_equal(db_raise(&bed->db, 1, 2).what, DB_NOTHING);
	assert_int_equal(db_ring(&bed->db, port).what, DB_NOTHING);
	assert_int_equal(db_set_vector(&bed->db, 1, 2, 0x99), 0);
	assert_int_equal(db_raise(&bed->db, 1, 2).vector, 0x99);
	assert_int_equal(db_raise(&bed->db, 1, 3).what, DB_NOTHING);
}

static void close_takes_the_bit_along(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);

	db_ring(&bed->db, port);
	assert_int_equal(db_close(&bed->db, port), 0);
	assert_int_equal(db_ring(&bed->db, port).result, BH_ECLOSED);
	assert_int_equal(db_close(&bed->db, port), BH_ECLOSED);
	db_release(&bed->db, port);
	assert_int_equal(open_port(bed, 1, 2), port);
	assert_false(is_pending(bed, 1, port));
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 0);
	assert_int_equal(db_ring(&bed->db, port).result,
	                 BH_RUNG_QUIET); /* the summary bit is the guest's to clear */
}

static void bad_arguments_change_nothing(void **state)
{
	struct bed *bed = *state;
	unsigned old;
	uint32_t port = open_port(bed, 1, 2), to;

	assert_int_equal(db_open(&bed->db, BH_KINDS, 0, 0), BH_EINVAL);
	assert_int_equal(db_open(&bed->db, BH_LOCAL, VCPUS, 0), BH_EINVAL);
	assert_int_equal(db_open(&bed->db, BH_LOCAL, 0, BH_GROUPS), BH_EINVAL);
	assert_int_equal(db_open(&bed->db, BH_LOCAL, 0, UINT64_MAX), BH_EINVAL);
	assert_int_equal(db_close(&bed->db, BH_PORTS), BH_EINVAL);
	assert_int_equal(db_close(&bed->db, port + 1), BH_ECLOSED);
	assert_int_equal(db_rebind(&bed->db, port, VCPUS, &old), BH_EINVAL);
	assert_int_equal(db_rebind(&bed->db, 1ull << 32 | port, 0, &old), BH_EINVAL);
	assert_int_equal(db_rebind(&bed->db, port + 1, 0, &old), BH_ECLOSED);
	assert_int_equal(db_kick(&bed->db, BH_PORTS).result, BH_EINVAL);
	assert_int_equal(db_kick(&bed->db, port + 1).result, BH_ECLOSED);
	assert_int_equal(db_resolve(&bed->db, BH_PORTS, &old, &to), BH_EINVAL);
	assert_int_equal(db_resolve(&bed->db, port + 1, &old, &to), BH_ECLOSED);
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
	unsigned old;
	uint32_t port;

	(void)state;
	db_init(&bed->db, bed->ports, VCPUS, BH_ROUTE_NATIVE);
	port = open_port(bed, 1, 0);
	assert_int_equal(db_ring(&bed->db, port).result, BH_ENOPAGE);
	assert_int_equal(db_kick(&bed->db, port).result, BH_ENOPAGE);
	assert_int_equal(db_rebind(&bed->db, port, 2, &old), BH_ENOPAGE);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 0);
	/* Without a mask page nothing is masked. */
	assert_int_equal(db_set_pages(&bed->db, 1, &bed->pending[1], &bed->control[1]), 0);
	assert_int_equal(db_set_vector(&bed->db, 1, 0, 0x50), 0);
	assert_int_equal(db_ring(&bed->db, port).result, BH_RUNG_UPCALL);
	db_count_misdirected(&bed->db, port, 3);
	assert_int_equal(stat(bed, port, BH_STAT_MISDIRECTED), 1);
	db_settle(&bed->db);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ports_are_places, make_native, drop),
		cmocka_unit_test_setup_teardown(every_port_rings_its_own_bit, make_native, drop),
		cmocka_unit_test_setup_teardown(second_ring_coalesces, make_native, drop),
		cmocka_unit_test_setup_teardown(same_word_is_quiet, make_native, drop),
		cmocka_unit_test_setup_teardown(masked_ring_waits_for_the_unmask, make_native, drop),
		cmocka_unit_test_setup_teardown(rebind_carries_the_bit, make_native, drop),
		cmocka_unit_test_setup_teardown(rebind_merges_two_bits_into_one, make_native, drop),
		cmocka_unit_test_setup_teardown(rebind_of_a_masked_bit_is_silent, make_native, drop),
		cmocka_unit_test(every_route_change_carries_every_bit),
		cmocka_unit_test(routes_raise_what_they_say),
		cmocka_unit_test_setup_teardown(no_vector_means_later, make_native, drop),
		cmocka_unit_test_setup_teardown(close_takes_the_bit_along, make_native, drop),
		cmocka_unit_test_setup_teardown(bad_arguments_change_nothing, make_native, drop),
		cmocka_unit_test(no_pages_no_ring),
		cmocka_unit_test_setup_teardown(connections_need_an_offer, make_native, drop),
		cmocka_unit_test_setup_teardown(busy_ends_and_withdrawn_offers, make_native, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
