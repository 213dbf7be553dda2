/* SPDX-License-Identifier: MIT */
/* The routes as tables of two functions each, and the callback lines. docs/routing.md compares them. */
#include "route.h"

#include <stddef.h>

static unsigned place_bound(const struct db_vm *db, unsigned bound)
{
	(void)db;
	return bound;
}

static unsigned place_vcpu0(const struct db_vm *db, unsigned bound)
{
	(void)db;
	(void)bound;
	return 0;
}

static void raise_line(const struct db_vm *db, unsigned vcpu, unsigned group, struct db_effect *effect)
{
	(void)db;
	(void)group;
	effect->what = DB_LINE;
	effect->vcpu = (uint8_t)vcpu;
	effect->pin = BH_CALLBACK_PIN;
}

static void raise_vector(const struct db_vm *db, unsigned vcpu, unsigned group, struct db_effect *effect)
{
	uint8_t vector = atomic_load_explicit(&db->vector[vcpu][group], memory_order_relaxed);

	/* No vector yet: the bit waits, and whoever registers one raises what has gathered. */
	if (!vector)
		return;
	effect->what = DB_VECTOR;
	effect->vcpu = (uint8_t)vcpu;
	effect->vector = vector;
}

static const struct db_route routes[BH_ROUTES] = {
	[BH_ROUTE_IOAPIC] = { .name = "ioapic",
	                      .number = BH_ROUTE_IOAPIC,
	                      .place = place_bound,
	                      .raise = raise_line },
	[BH_ROUTE_VCPU0] = { .name = "vcpu0",
	                     .number = BH_ROUTE_VCPU0,
	                     .place = place_vcpu0,
	                     .raise = raise_line },
	[BH_ROUTE_NATIVE] = { .name = "native",
	                      .number = BH_ROUTE_NATIVE,
	                      .place = place_bound,
	                      .raise = raise_vector },
};

const struct db_route *route_find(uint64_t number)
{
	return number < BH_ROUTES ? &routes[number] : NULL;
}

static bool same_name(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const struct db_route *route_named(const char *name)
{
	for (unsigned i = 0; i < BH_ROUTES; i++) {
		if (same_name(routes[i].name, name))
			return &routes[i];
	}
	return NULL;
}

/* The device pulls its line: an edge-triggered entry sees one edge, a level-triggered one a level that stays. */
static void pulse(struct vioapic *io, unsigned pin)
{
	vioapic_set_line(io, pin, false);
	vioapic_set_line(io, pin, true);
}

void route_raise(struct route_lines *lines, struct vioapic *io, unsigned pin, unsigned vcpu, uint32_t port)
{
	uint32_t *waiting = &lines->waiting[pin - VIOAPIC_CALLBACK_PIN];
	uint64_t bit = 1ull << pin;

	if (!(*waiting & 1u << vcpu))
		lines->port[pin - VIOAPIC_CALLBACK_PIN][vcpu] = port;
	*waiting |= 1u << vcpu;
	if (lines->sent & bit & io->level)
		lines->again |= bit;
	else
		pulse(io, pin);
	lines->raised |= bit;
}

uint32_t route_sent(struct route_lines *lines, struct vioapic *io, unsigned pin, uint32_t targets)
{
	uint64_t bit = 1ull << pin;
	uint32_t missed = lines->waiting[pin - VIOAPIC_CALLBACK_PIN] & ~targets;

	lines->waiting[pin - VIOAPIC_CALLBACK_PIN] = 0;
	lines->sent |= bit;
	if (!(io->level & bit)) {
		/* An edge needs no acknowledgement at the IOAPIC: the line is free for the next one. */
		lines->raised &= ~bit;
		lines->sent &= ~bit;
		lines->again &= ~bit;
		vioapic_set_line(io, pin, false);
	}
	return missed;
}

void route_eoi(struct route_lines *lines, struct vioapic *io, uint8_t vector)
{
	for (uint64_t pins = lines->sent; pins; pins &= pins - 1) {
		unsigned pin = (unsigned)__builtin_ctzll(pins);
		uint64_t bit = 1ull << pin;

		if ((io->entry[pin] & VIOAPIC_VECTOR) != vector || !(io->remote_irr & bit))
			continue;
		lines->sent &= ~bit;
		if (lines->again & bit) {
			lines->again &= ~bit;
			continue;
		}
		lines->raised &= ~bit;
		vioapic_set_line(io, pin, false);
	}
}

void route_rewritten(struct route_lines *lines, struct vioapic *io, uint64_t changed)
{
	for (uint64_t pins = lines->raised & changed & io->open & ~io->level; pins; pins &= pins - 1)
		pulse(io, (unsigned)__builtin_ctzll(pins));
}

uint32_t route_targets(const struct db_vm *db, unsigned pin, uint32_t targets)
{
	const struct db_route *route = atomic_load_explicit(&db->route, memory_order_relaxed);

	if (pin >= VIOAPIC_CALLBACK_PIN && route->number == BH_ROUTE_VCPU0)
		return 1;
	return targets;
}
