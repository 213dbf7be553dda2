/* SPDX-License-Identifier: MIT */
/* The routes as tables of two functions each, and the callback lines. docs/routing.md compares them. */
#include "route.h"

static uint32_t places_vcpu0(const struct db_vm *db, unsigned group)
{
	(void)db;
	(void)group;
	return 1;
}

static uint32_t places_follow(const struct db_vm *db, unsigned group)
{
	return atomic_load(&db->follow[group]);
}

static void raise_line(unsigned vcpu, unsigned group, struct db_effect *effect)
{
	(void)group;
	effect->what = DB_LINE;
	effect->vcpu = (uint8_t)vcpu;
	effect->pin = BH_CALLBACK_PIN;
}

static void raise_group_line(unsigned vcpu, unsigned group, struct db_effect *effect)
{
	raise_line(vcpu, group, effect);
	effect->pin = (uint8_t)(BH_CALLBACK_PIN + group);
}

static const struct db_route routes[BH_ROUTES] = {
	[BH_ROUTE_IOAPIC] = { "ioapic", BH_ROUTE_IOAPIC, true, NULL, raise_line },
	[BH_ROUTE_VCPU0] = { "vcpu0", BH_ROUTE_VCPU0, false, places_vcpu0, raise_line },
	[BH_ROUTE_NATIVE] = { "native", BH_ROUTE_NATIVE, false, NULL, NULL },
	[BH_ROUTE_MULTI] = { "multi", BH_ROUTE_MULTI, true, NULL, raise_group_line },
	[BH_ROUTE_FOLLOW] = { "follow", BH_ROUTE_FOLLOW, false, places_follow, raise_group_line },
};

const struct db_route *route_find(uint64_t number)
{
	return number < BH_ROUTES ? &routes[number] : NULL;
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

uint32_t route_follow(struct route_lines *lines, struct db_vm *db, const struct vioapic *io, uint64_t pins)
{
	uint32_t moved = 0;

	for (pins >>= VIOAPIC_CALLBACK_PIN; pins; pins &= pins - 1) {
		unsigned group = (unsigned)__builtin_ctzll(pins);
		struct apic_msg msg;
		uint32_t places;

		vioapic_entry(io, VIOAPIC_CALLBACK_PIN + group, &msg);
		if (msg.mode == APIC_MODE_LOWEST)
			msg.mode = APIC_MODE_FIXED; /* the whole set; who of it is decided at each ring */
		places = apic_bus_targets(db->bus, &msg, -1);
		if (!places || places == atomic_load(&db->follow[group]))
			continue;
		atomic_store(&db->follow[group], places);
		lines->waiting[group] &= places;
		moved |= 1u << group;
	}
	return moved;
}

uint32_t route_targets(const struct route_lines *lines, const struct db_vm *db, unsigned pin,
                       uint32_t targets)
{
	const struct db_route *route = atomic_load_explicit(&db->route, memory_order_relaxed);
	uint32_t waiting;

	if (pin < VIOAPIC_CALLBACK_PIN)
		return targets;
	waiting = lines->waiting[pin - VIOAPIC_CALLBACK_PIN];
	if (route->number == BH_ROUTE_VCPU0)
		return atomic_load(&db->bus->face[0]->word) & LAPIC_FACE_SW ? 1 : 0;
	if (route->number == BH_ROUTE_FOLLOW && (waiting & targets))
		return waiting & targets;
	return targets;
}
