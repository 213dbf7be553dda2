/* SPDX-License-Identifier: MIT */
/* Doorbell pages and the loops over them. */
#include "guest-stubs/lib/db.h"

#define BITS  (8 * sizeof(unsigned long))
#define PARTS (64 / BITS) /* a word of the ABI in natural words: 1, or 2 in 32-bit code */

static struct bh_bits mask_page __attribute__((aligned(4096)));
static struct bh_bits pending_page[MAX_CPUS] __attribute__((aligned(4096)));
static struct bh_control control_page[MAX_CPUS] __attribute__((aligned(4096)));
static unsigned vcpu_count;
static db_handler handler;

/* The natural word that holds a port's bit: the words of a page are little-endian, so halves are in order. */
static volatile unsigned long *word_of(struct bh_bits *page, uint32_t port)
{
	return (volatile unsigned long *)(void *)page + port / BITS;
}

static unsigned long bit_of(uint32_t port)
{
	return 1ul << port % BITS;
}

/* 32 words a group: the upper half of a summary word stays 0, the lower half is a natural word in either mode. */
static volatile unsigned long *summary_of(unsigned vcpu, unsigned group)
{
	return (volatile unsigned long *)(void *)&control_page[vcpu].summary[group];
}

long db_init(unsigned vcpus, db_handler on_ring)
{
	long error = bellhop_call1(BH_MASK_PAGE, db_mask_page());

	handler = on_ring;
	for (unsigned v = 0; v < vcpus && !error; v++)
		error = bellhop_call3(BH_VCPU_PAGES, v, db_pending_page(v), db_control_page(v));
	vcpu_count = vcpus;
	return error;
}

void db_mask(uint32_t port)
{
	cpu_fetch_or(word_of(&mask_page, port), bit_of(port));
}

void db_unmask(uint32_t port)
{
	/*
	 * The locked AND is a full barrier: either the ring saw the bit unmasked, or the look below sees the ring. The
	 * ringer does the two in the other order.
	 */
	cpu_fetch_and(word_of(&mask_page, port), ~bit_of(port));
	if (db_take(cpu_self()->index, port))
		handler(port);
	/* Every page, even so: a rebind in flight may leave a bit on the old page and another on the new one. */
	for (unsigned v = 0; v < vcpu_count; v++)
		if (db_is_pending(v, port))
			bellhop_call1(BH_KICK, port);
}

bool db_is_pending(unsigned vcpu, uint32_t port)
{
	return *word_of(&pending_page[vcpu], port) & bit_of(port);
}

long db_notify(unsigned vcpu, uint32_t port)
{
	/* A full barrier between the caller's data and the look, as between the consumer's clear and its own look. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return db_is_pending(vcpu, port) ? BH_RUNG_COALESCED : db_ring(port);
}

bool db_take(unsigned vcpu, uint32_t port)
{
	return cpu_fetch_and(word_of(&pending_page[vcpu], port), ~bit_of(port)) & bit_of(port);
}

/* One natural word of pending bits, whose first bit is `first`. */
static unsigned consume_word(unsigned vcpu, uint32_t first)
{
	volatile unsigned long *pending = word_of(&pending_page[vcpu], first);
	unsigned long set = *pending & ~*word_of(&mask_page, first);
	unsigned count = 0;

	/* Only what this AND has cleared is ours: another CPU may be at the same word. */
	if (set)
		set &= cpu_fetch_and(pending, ~set);
	for (; set; set &= set - 1, count++)
		handler(first + (uint32_t)__builtin_ctzl(set));
	return count;
}

unsigned db_consume_group(unsigned vcpu, unsigned group)
{
	volatile unsigned long *summary = summary_of(vcpu, group);
	unsigned count = 0;

	if (!*summary)
		return 0;
	/* Cleared before the words are read: a ring after the exchange sets it anew and raises its upcall. */
	for (unsigned long set = cpu_xchg(summary, 0); set; set &= set - 1) {
		uint32_t first = BH_PORT(group, (uint32_t)__builtin_ctzl(set) * 64);

		for (unsigned part = 0; part < PARTS; part++)
			count += consume_word(vcpu, first + part * (uint32_t)BITS);
	}
	return count;
}

unsigned db_consume(unsigned vcpu)
{
	unsigned count = 0;

	for (unsigned group = 0; group < BH_GROUPS; group++)
		count += db_consume_group(vcpu, group);
	return count;
}

unsigned db_drop_group(unsigned vcpu, unsigned group)
{
	unsigned count = 0;

	cpu_xchg(summary_of(vcpu, group), 0);
	for (uint32_t slot = 0; slot < BH_SLOTS; slot += BITS) {
		unsigned long set = cpu_xchg(word_of(&pending_page[vcpu], BH_PORT(group, slot)), 0);

		for (; set; set &= set - 1)
			count++;
	}
	return count;
}

const volatile struct bh_control *db_control(unsigned vcpu)
{
	return &control_page[vcpu];
}

unsigned long db_mask_page(void)
{
	return (unsigned long)&mask_page;
}

unsigned long db_pending_page(unsigned vcpu)
{
	return (unsigned long)&pending_page[vcpu];
}

unsigned long db_control_page(unsigned vcpu)
{
	return (unsigned long)&control_page[vcpu];
}
