/* SPDX-License-Identifier: MIT */
/* A VM's doorbells on the host: ports, pages, LAPIC faces, and a guest that consumes. */
#ifndef TESTS_UNIT_DOORBELL_BED_H
#define TESTS_UNIT_DOORBELL_BED_H

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
	struct apic_bus bus;
	struct lapic_face face[VCPUS];
	struct db_port ports[BH_PORTS];
	struct bh_bits pending[VCPUS], mask;
	struct bh_control control[VCPUS];
};

/* The LAPICs' registers, for their priorities. */
static struct apic_page bed_page[VCPUS];

static inline struct bed *make_bed(enum bh_route route)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	assert_non_null(bed);
	bed->bus.count = VCPUS;
	memset(bed_page, 0, sizeof(bed_page));
	for (unsigned v = 0; v < VCPUS; v++) {
		bed->face[v].page = &bed_page[v];
		bed->bus.face[v] = &bed->face[v];
	}
	db_init(&bed->db, bed->ports, &bed->bus, VCPUS, route);
	/* `follow`: group g's entry selects VCPU g modulo 4. */
	for (unsigned g = 0; g < BH_GROUPS; g++)
		atomic_store(&bed->db.follow[g], 1u << g % VCPUS);
	db_set_mask(&bed->db, &bed->mask);
	for (unsigned v = 0; v < VCPUS; v++) {
		assert_int_equal(db_set_pages(&bed->db, v, &bed->pending[v], &bed->control[v]), 0);
		for (unsigned g = 0; g < BH_GROUPS; g++)
			assert_int_equal(db_set_vector(&bed->db, v, g, 0x40 + v * 16 + g), 0);
	}
	return bed;
}

static inline int make_native(void **state)
{
	*state = make_bed(BH_ROUTE_NATIVE);
	return 0;
}

static inline int drop(void **state)
{
	free(*state);
	return 0;
}

static inline uint32_t open_kind(struct bed *bed, enum bh_kind kind, unsigned vcpu, unsigned group)
{
	int port = db_open(&bed->db, kind, vcpu, group);

	assert_true(port >= 0);
	return (uint32_t)port;
}

static inline uint32_t open_port(struct bed *bed, unsigned vcpu, unsigned group)
{
	return open_kind(bed, BH_LOCAL, vcpu, group);
}

static inline bool is_pending(const struct bed *bed, unsigned vcpu, uint32_t port)
{
	return bed->pending[vcpu].word[port >> 11][port >> 6 & 31] >> (port & 63) & 1;
}

static inline bool has_summary(const struct bed *bed, unsigned vcpu, uint32_t port)
{
	return bed->control[vcpu].summary[port >> 11] >> (port >> 6 & 31) & 1;
}

static inline void set_mask(struct bed *bed, uint32_t port, bool masked)
{
	uint64_t *word = &bed->mask.word[port >> 11][port >> 6 & 31], bit = 1ull << (port & 63);

	*word = masked ? *word | bit : *word & ~bit;
}

/* What a guest does with one VCPU's page: summary first, then the words. Returns the events it found. */
static inline unsigned consume(struct bed *bed, unsigned vcpu)
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

static inline uint64_t stat(struct bed *bed, uint32_t port, enum bh_port_stat which)
{
	int64_t value = db_stat(&bed->db, port, which);

	assert_true(value >= 0);
	return (uint64_t)value;
}

#endif
