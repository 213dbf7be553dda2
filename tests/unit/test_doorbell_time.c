/* SPDX-License-Identifier: MIT */
/* Doorbells in time: budgets of upcalls, what is held back, and one-shot timers. */
/* SOURCES: kernel/vic/doorbell.c kernel/vic/doorbell_ports.c kernel/vic/route.c kernel/vic/vioapic.c kernel/vic/icr.c */
#include "tests/unit/doorbell_bed.h"

#define PERIOD 1000

/* Everything that is due; the effects that raise an upcall. */
static unsigned run_due(struct bed *bed, uint64_t now)
{
	struct db_effect effect;
	uint32_t cursor = 0;
	unsigned upcalls = 0;

	while (db_due(&bed->db, now, &cursor, &effect))
		upcalls += effect.what == DB_VECTOR;
	return upcalls;
}

static void no_budget_no_limit(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);

	for (int i = 0; i < 1000; i++) {
		assert_int_equal(db_ring(&bed->db, port, 5).result, BH_RUNG_UPCALL);
		consume(bed, 1);
	}
	assert_true(db_deadline(&bed->db) == DB_NEVER);
	assert_int_equal(run_due(bed, UINT64_MAX - 1), 0);
}

/* Three upcalls a period; the fourth ring keeps its bit and comes with the next period, as one upcall. */
static void past_the_budget_comes_later(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2);
	struct db_effect e;

	db_set_budget(&bed->db, 3, PERIOD);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(db_ring(&bed->db, port, 7 * PERIOD + 10).result, BH_RUNG_UPCALL);
		assert_int_equal(consume(bed, 1), 1);
	}
	e = db_ring(&bed->db, port, 7 * PERIOD + 20);
	assert_int_equal(e.result, BH_RUNG_THROTTLED);
	assert_int_equal(e.what, DB_LATER);
	assert_true(is_pending(bed, 1, port));
	assert_false(has_summary(bed, 1, port));
	assert_int_equal(db_deadline(&bed->db), 8 * PERIOD);
	assert_int_equal(db_ring(&bed->db, port, 7 * PERIOD + 30).result, BH_RUNG_COALESCED);
	assert_int_equal(run_due(bed, 8 * PERIOD - 1), 0);
	assert_int_equal(run_due(bed, 8 * PERIOD), 1);
	assert_int_equal(consume(bed, 1), 1);
	assert_true(db_deadline(&bed->db) == DB_NEVER);
	assert_int_equal(run_due(bed, 8 * PERIOD + 1), 0);
	assert_int_equal(stat(bed, port, BH_STAT_THROTTLED), 1);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 4 + stat(bed, port, BH_STAT_COALESCED));
	/* The refill spent one of its period's three. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(db_ring(&bed->db, port, 8 * PERIOD + 5).result, BH_RUNG_UPCALL);
		consume(bed, 1);
	}
	assert_int_equal(db_ring(&bed->db, port, 8 * PERIOD + 5).result, BH_RUNG_THROTTLED);
	assert_int_equal(run_due(bed, 9 * PERIOD), 1);
	consume(bed, 1);
	/* A clock that is a little behind does not open the old period again. */
	for (int i = 0; i < 2; i++) {
		db_ring(&bed->db, port, 9 * PERIOD);
		consume(bed, 1);
	}
	assert_int_equal(db_ring(&bed->db, port, 9 * PERIOD - 1).result, BH_RUNG_THROTTLED);
}

/* The storm of one port does not cost its neighbour in the same word an upcall. */
static void a_storm_hurts_its_sender_only(void **state)
{
	struct bed *bed = *state;
	uint32_t storm = open_port(bed, 1, 2), calm = open_port(bed, 1, 2);

	db_set_budget(&bed->db, 1, PERIOD);
	db_ring(&bed->db, storm, 0);
	consume(bed, 1);
	assert_int_equal(db_ring(&bed->db, storm, 1).result, BH_RUNG_THROTTLED);
	assert_int_equal(db_ring(&bed->db, calm, 2).result, BH_RUNG_UPCALL);
	assert_int_equal(consume(bed, 1), 2); /* the scan takes the held one along */
	assert_int_equal(run_due(bed, PERIOD), 0);
	/* A ring that finds a scan under way needs no upcall, and spends none. */
	db_ring(&bed->db, calm, PERIOD);
	assert_int_equal(db_ring(&bed->db, storm, PERIOD).result, BH_RUNG_QUIET);
	consume(bed, 1);
	assert_int_equal(db_ring(&bed->db, storm, PERIOD).result, BH_RUNG_UPCALL);
}

static void every_port_can_be_held(void **state)
{
	struct bed *bed = *state;

	db_set_budget(&bed->db, 1, PERIOD);
	for (unsigned i = 0; i < BH_PORTS; i++)
		db_ring(&bed->db, open_port(bed, i % VCPUS, i / BH_SLOTS), 0);
	for (unsigned v = 0; v < VCPUS; v++)
		assert_int_equal(consume(bed, v), BH_PORTS / VCPUS);
	/* Most of them found a scan under way and spent nothing: spend it now. */
	for (uint32_t port = 0; port < BH_PORTS; port++)
		atomic_store(&bed->ports[port].budget, 1);
	for (uint32_t port = 0; port < BH_PORTS; port++)
		assert_int_equal(db_ring(&bed->db, port, 0).result, BH_RUNG_THROTTLED);
	run_due(bed, PERIOD);
	for (unsigned v = 0; v < VCPUS; v++)
		assert_int_equal(consume(bed, v), BH_PORTS / VCPUS);
}

/* Held and then rebound, masked or closed: the refill finds the bit where it is, or nothing to announce. */
static void held_ports_move_and_close(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_port(bed, 1, 2), masked = open_port(bed, 1, 3), closed = open_port(bed, 1, 4);
	struct db_effect effect;
	uint32_t cursor = 0;

	db_set_budget(&bed->db, 1, PERIOD);
	for (int i = 0; i < 2; i++) {
		db_ring(&bed->db, port, 0);
		db_ring(&bed->db, masked, 0);
		db_ring(&bed->db, closed, 0);
		if (i == 0)
			consume(bed, 1);
	}
	set_mask(bed, masked, true);
	assert_int_equal(db_close(&bed->db, closed), 0);
	db_release(&bed->db, closed);
	assert_int_equal(db_rebind(&bed->db, port, 3), 0);
	db_move(&bed->db, port); /* announces it there: a move is no storm */
	assert_int_equal(consume(bed, 3), 1);
	db_ring(&bed->db, port, 0);
	assert_true(db_due(&bed->db, PERIOD, &cursor, &effect));
	assert_int_equal(effect.what, DB_VECTOR);
	assert_int_equal(effect.vcpu, 3);
	assert_true(db_due(&bed->db, PERIOD, &cursor, &effect));
	assert_int_equal(effect.what, DB_NOTHING);
	assert_false(db_due(&bed->db, PERIOD, &cursor, &effect));
}

static void timers_ring_once(void **state)
{
	struct bed *bed = *state;
	uint32_t a = open_kind(bed, BH_TIMED, 1, 2), b = open_kind(bed, BH_TIMED, 2, 2);

	assert_true(db_deadline(&bed->db) == DB_NEVER);
	assert_int_equal(db_arm(&bed->db, a, 500), 0);
	assert_int_equal(db_arm(&bed->db, b, 300), 0);
	assert_int_equal(db_deadline(&bed->db), 300);
	assert_int_equal(run_due(bed, 299), 0);
	assert_int_equal(run_due(bed, 400), 1);
	assert_int_equal(consume(bed, 2), 1);
	assert_int_equal(db_deadline(&bed->db), 500);
	assert_int_equal(db_arm(&bed->db, a, 700), 0);
	assert_int_equal(run_due(bed, 600), 0);
	assert_int_equal(run_due(bed, 700), 1);
	assert_int_equal(consume(bed, 1), 1);
	assert_int_equal(run_due(bed, UINT64_MAX - 1), 0);
	assert_int_equal(db_arm(&bed->db, a, 900), 0);
	assert_int_equal(db_arm(&bed->db, a, DB_NEVER), 0);
	assert_int_equal(run_due(bed, 1000), 0);
}

static void timers_are_few_and_belong_to_ports(void **state)
{
	struct bed *bed = *state;
	uint32_t port[DB_TIMERS];

	for (unsigned i = 0; i < DB_TIMERS; i++)
		port[i] = open_kind(bed, BH_TIMED, i % VCPUS, i % BH_GROUPS);
	assert_int_equal(db_open(&bed->db, BH_TIMED, 0, 0), BH_EFULL);
	assert_int_equal(db_arm(&bed->db, open_port(bed, 0, 0), 5), BH_EINVAL);
	assert_int_equal(db_arm(&bed->db, BH_PORTS, 5), BH_EINVAL);
	assert_int_equal(db_arm(&bed->db, port[7], 5), 0);
	assert_int_equal(db_close(&bed->db, port[7]), 0);
	assert_int_equal(db_arm(&bed->db, port[7], 6), BH_ECLOSED);
	assert_int_equal(run_due(bed, 10), 0);
	db_release(&bed->db, port[7]);
	assert_int_equal(db_arm(&bed->db, port[7], 5), BH_ECLOSED);
	assert_true(db_deadline(&bed->db) == DB_NEVER);
	open_kind(bed, BH_TIMED, 0, 0);
}

/* Armed by a VCPU that had found it before another one closed its port: it is nobody's, and rings nobody. */
static void a_timer_without_a_port_rings_nobody(void **state)
{
	struct bed *bed = *state;
	uint32_t port = open_kind(bed, BH_TIMED, 1, 0), cursor = 0;
	struct db_effect effect;

	assert_int_equal(port, 0); /* what a timer without a port would be taken to ring */
	assert_int_equal(db_close(&bed->db, port), 0);
	db_release(&bed->db, port);
	assert_int_equal(open_port(bed, 1, 0), port);
	atomic_store(&bed->db.timer[0].deadline, 5);
	assert_true(db_due(&bed->db, 5, &cursor, &effect));
	assert_int_equal(effect.what, DB_NOTHING);
	assert_int_equal(stat(bed, port, BH_STAT_RUNG), 0);
	assert_false(is_pending(bed, 1, port));
	assert_true(db_deadline(&bed->db) == DB_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_budget_no_limit, make_native, drop),
		cmocka_unit_test_setup_teardown(past_the_budget_comes_later, make_native, drop),
		cmocka_unit_test_setup_teardown(a_storm_hurts_its_sender_only, make_native, drop),
		cmocka_unit_test_setup_teardown(every_port_can_be_held, make_native, drop),
		cmocka_unit_test_setup_teardown(held_ports_move_and_close, make_native, drop),
		cmocka_unit_test_setup_teardown(timers_ring_once, make_native, drop),
		cmocka_unit_test_setup_teardown(a_timer_without_a_port_rings_nobody, make_native, drop),
		cmocka_unit_test_setup_teardown(timers_are_few_and_belong_to_ports, make_native, drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
