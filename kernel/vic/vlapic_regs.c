/* SPDX-License-Identifier: MIT */
/* The virtual LAPIC's registers as the guest sees them, in memory (xAPIC) and as MSRs (x2APIC). */
#include "vlapic_priv.h"

/* A side effect of its own: the common path of a write stays without a frame. */
#define APART static __attribute__((noinline))

enum access { RO = 1, WO = 2, RW = 3 };

/*
 * One row per register, both faces. Bits in neither mask are reserved: written as ones, the MMIO face drops
 * them and the MSR face faults (SDM vol. 3, "Reserved Bit Checking"). Read-only bits are no fault, or a guest
 * could not write back what it read. A face with no access does not have the register.
 */
struct rule {
	uint8_t xapic;
	uint8_t x2apic;
	uint32_t writable;
	uint32_t read_only;
};

/* SDM vol. 3, "Local Vector Table", the figure: which entries have which fields. */
#define LVT_PLAIN (APIC_LVT_VECTOR | APIC_LVT_MASKED)
#define LVT_MODAL (LVT_PLAIN | APIC_LVT_MODE)
#define LVT_LINT  (LVT_MODAL | APIC_LVT_LOW | APIC_LVT_LEVEL)

#define ICR_FIELDS                                                                               \
	(APIC_ICR_VECTOR | APIC_ICR_MODE | APIC_ICR_LOGICAL | APIC_ICR_ASSERT | APIC_ICR_LEVEL | \
	 APIC_ICR_SHORTHAND)

static const struct rule rules[] = {
	[APIC_ID] = { RW, RO, APIC_BITS(31, 24), 0 },
	[APIC_VERSION] = { RO, RO, 0, 0 },
	[APIC_TPR] = { RW, RW, APIC_BITS(7, 0), 0 },
	[APIC_APR] = { RO, 0, 0, 0 },
	[APIC_PPR] = { RO, RO, 0, 0 },
	[APIC_EOI] = { WO, WO, 0, 0 },
	[APIC_RRD] = { RO, 0, 0, 0 },
	[APIC_LDR] = { RW, RO, APIC_BITS(31, 24), 0 },
	[APIC_DFR] = { RW, 0, APIC_DFR_MODEL, APIC_DFR_ONES },
	[APIC_SVR] = { RW, RW, APIC_SVR_VECTOR | APIC_SVR_ENABLED | APIC_SVR_SUPPRESS, 0 },
	[APIC_ISR... APIC_IRR + 7] = { RO, RO, 0, 0 },
	[APIC_ESR] = { RW, RW, 0, 0 },
	[APIC_ICR_LO] = { RW, RW, ICR_FIELDS, APIC_ICR_STATUS },
	[APIC_ICR_HI] = { RW, 0, APIC_BITS(31, 24), 0 },
	[APIC_LVT_TIMER] = { RW, RW, LVT_PLAIN | APIC_TIMER_MODE, APIC_LVT_STATUS },
	[APIC_LVT_THERMAL] = { RW, RW, LVT_MODAL, APIC_LVT_STATUS },
	[APIC_LVT_PERF] = { RW, RW, LVT_MODAL, APIC_LVT_STATUS },
	[APIC_LVT_LINT0] = { RW, RW, LVT_LINT, APIC_LVT_STATUS | APIC_LVT_REMOTE_IRR },
	[APIC_LVT_LINT1] = { RW, RW, LVT_LINT, APIC_LVT_STATUS | APIC_LVT_REMOTE_IRR },
	[APIC_LVT_ERROR] = { RW, RW, LVT_PLAIN, APIC_LVT_STATUS },
	[APIC_TIMER_INITIAL] = { RW, RW, APIC_BITS(31, 0), 0 },
	[APIC_TIMER_CURRENT] = { RO, RO, 0, 0 },
	[APIC_TIMER_DIVIDE] = { RW, RW, APIC_DIVIDE_VALUE, 0 },
	[APIC_SELF_IPI] = { 0, WO, APIC_BITS(7, 0), 0 },
};

/* Row 0 is no register, and stands for all that are none. */
static const struct rule *find_rule(unsigned int slot)
{
	return &rules[slot < sizeof(rules) / sizeof(rules[0]) ? slot : 0];
}

/* SDM vol. 3, "Local APIC State After It Has Been Software Disabled": all LVT entries are masked, and stay so. */
static uint32_t lvt_mask(struct vlapic *v)
{
	return *vlapic_reg(v, APIC_SVR) & APIC_SVR_ENABLED ? 0 : APIC_LVT_MASKED;
}

APART void write_svr(struct vlapic *v, uint32_t value, uint64_t now, struct vlapic_effect *e)
{
	/* Before the register itself: what the timer owes is accepted still. */
	if (!(value & APIC_SVR_ENABLED)) {
		vlapic_timer_write(v, APIC_LVT_TIMER, *vlapic_reg(v, APIC_LVT_TIMER) | APIC_LVT_MASKED, now);
		for (unsigned int lvt = APIC_LVT_THERMAL; lvt <= APIC_LVT_ERROR; lvt++)
			*vlapic_reg(v, lvt) |= APIC_LVT_MASKED;
		e->does |= VLAPIC_TIMER;
	}
	*vlapic_reg(v, APIC_SVR) = value;
	e->does |= vlapic_publish(v);
}

/*
 * SDM vol. 3, "Error Handling": vectors 0 to 15 are detected by the sender, and in a self IPI by the receiver
 * too. Such a message goes no further: another LAPIC could do nothing with it but note an error. What a LAPIC
 * sends to itself stays inside; NMI is the one mode without a vector that may go there.
 */
static void send(struct vlapic *v, const struct apic_msg *msg, struct vlapic_effect *e)
{
	bool has_vector = msg->mode == APIC_MODE_FIXED || msg->mode == APIC_MODE_LOWEST;
	bool illegal = has_vector && msg->vector < 16;
	bool self = msg->shorthand == APIC_DEST_SELF;

	if (illegal)
		vlapic_error(v, APIC_ESR_SEND_VECTOR);
	if (self && has_vector)
		vlapic_accept(v, msg->vector, false);
	if (illegal || self) {
		e->does |= has_vector ? 0 : VLAPIC_NMI;
	} else {
		e->does |= VLAPIC_SEND;
		e->msg = *msg;
	}
}

static uint32_t read(struct vlapic *v, unsigned int slot, uint64_t now)
{
	if (slot == APIC_PPR)
		return vlapic_ppr(v);
	if (slot == APIC_TIMER_CURRENT)
		return vlapic_timer_count(v, now);
	return *vlapic_reg(v, slot);
}

/* The destination: ICR_HI, or the upper half of the one 64-bit register. */
APART void write_icr(struct vlapic *v, uint32_t low, struct vlapic_effect *e)
{
	bool wide = vlapic_is_x2apic(v);
	uint64_t high = wide ? v->page->slot[APIC_ICR_LO].high : *vlapic_reg(v, APIC_ICR_HI);
	struct apic_msg msg;

	*vlapic_reg(v, APIC_ICR_LO) = low;
	if (icr_decode(high << 32 | low, wide, &msg))
		send(v, &msg, e);
}

/* SDM vol. 3, "SELF IPI Register": an edge-triggered, fixed self IPI; nothing of it is kept. */
APART void write_self_ipi(struct vlapic *v, uint32_t vector, struct vlapic_effect *e)
{
	send(v, &(struct apic_msg){ .vector = (uint8_t)vector, .shorthand = APIC_DEST_SELF }, e);
}

/* ID, LDR, DFR: what the senders match against. */
APART void write_address(struct vlapic *v, unsigned int slot, uint32_t value, struct vlapic_effect *e)
{
	*vlapic_reg(v, slot) = value | (slot == APIC_DFR ? APIC_DFR_ONES : 0);
	e->does = vlapic_publish(v);
}

/* Writes the writable bits of a register. Here are only the side effects: without one, the value is kept. */
static void write(struct vlapic *v, unsigned int slot, uint32_t value, uint64_t now, struct vlapic_effect *e)
{
	uint32_t *reg = vlapic_reg(v, slot);

	switch (slot) {
	case APIC_EOI:
		vlapic_end(v, e);
		break;
	case APIC_SVR:
		write_svr(v, value, now, e);
		break;
	case APIC_ID:
	case APIC_LDR:
	case APIC_DFR:
		write_address(v, slot, value, e);
		break;
	case APIC_ESR:
		/* SDM vol. 3, "Error Handling": any write shows what was detected since the last one. */
		*reg = v->errors;
		v->errors = 0;
		break;
	case APIC_ICR_LO:
		write_icr(v, value, e);
		break;
	case APIC_SELF_IPI:
		write_self_ipi(v, value, e);
		break;
	case APIC_LVT_THERMAL:
	case APIC_LVT_PERF:
	case APIC_LVT_ERROR:
		*reg = value | lvt_mask(v);
		break;
	case APIC_LVT_LINT0:
	case APIC_LVT_LINT1:
		value |= *reg & APIC_LVT_REMOTE_IRR;
		vlapic_lint_write(v, slot - APIC_LVT_LINT0, value | lvt_mask(v), e);
		break;
	case APIC_LVT_TIMER:
		e->does = VLAPIC_TIMER;
		vlapic_timer_write(v, slot, value | lvt_mask(v), now);
		break;
	case APIC_TIMER_INITIAL:
	case APIC_TIMER_DIVIDE:
		e->does = VLAPIC_TIMER;
		vlapic_timer_write(v, slot, value, now);
		break;
	default:
		*reg = value;
		break;
	}
}

uint32_t vlapic_mmio_read(struct vlapic *v, uint32_t offset, uint64_t now)
{
	const struct rule *rule = find_rule(offset / 16);

	if (!vlapic_is_enabled(v) || vlapic_is_x2apic(v))
		return 0xffffffff;
	if (offset % 16)
		return 0;
	if (!rule->xapic)
		vlapic_error(v, APIC_ESR_REGISTER);
	return rule->xapic & RO ? read(v, offset / 16, now) : 0;
}

struct vlapic_effect vlapic_mmio_write(struct vlapic *v, uint32_t offset, uint32_t value, uint64_t now)
{
	const struct rule *rule = find_rule(offset / 16);
	struct vlapic_effect e = { .does = 0 };

	if (!vlapic_is_enabled(v) || vlapic_is_x2apic(v) || offset % 16)
		return e;
	if (rule->xapic & WO) {
		write(v, offset / 16, value & rule->writable, now, &e);
		if (offset / 16 >= APIC_SVR)
			vlapic_remember(v);
	} else if (!rule->xapic) {
		vlapic_error(v, APIC_ESR_REGISTER);
	}
	return e;
}

/* Registers of which a write's effect depends on what was there before. */
static const uint8_t before[VLAPIC_BEFORE] = {
	APIC_SVR, APIC_LVT_TIMER, APIC_LVT_LINT0, APIC_LVT_LINT1, APIC_TIMER_INITIAL, APIC_TIMER_DIVIDE,
};

void vlapic_remember(struct vlapic *v)
{
	for (unsigned int i = 0; i < VLAPIC_BEFORE; i++)
		v->before[i] = *vlapic_reg(v, before[i]);
}

struct vlapic_effect vlapic_written(struct vlapic *v, uint32_t offset, uint64_t now)
{
	uint64_t high = offset / 16 == APIC_ICR_LO ? v->page->slot[APIC_ICR_LO].high : 0;
	uint32_t value = *vlapic_reg(v, offset / 16);

	for (unsigned int i = 0; i < VLAPIC_BEFORE; i++) {
		if (before[i] == offset / 16)
			*vlapic_reg(v, before[i]) = v->before[i];
	}
	/* In x2APIC mode it is the self-IPI register, with a vector that is illegal, or an ICR that the processor cannot send. */
	if (vlapic_is_x2apic(v))
		return vlapic_msr_write(v, APIC_MSR_BASE + offset / 16, high << 32 | value, now);
	return vlapic_mmio_write(v, offset, value, now);
}

bool vlapic_msr_read(struct vlapic *v, uint32_t msr, uint64_t *value, uint64_t now)
{
	unsigned int slot = msr - APIC_MSR_BASE;

	if (!vlapic_is_x2apic(v) || !(find_rule(slot)->x2apic & RO))
		return false;
	*value = read(v, slot, now);
	if (slot == APIC_ICR_LO)
		*value |= (uint64_t)v->page->slot[slot].high << 32;
	return true;
}

struct vlapic_effect vlapic_msr_write(struct vlapic *v, uint32_t msr, uint64_t value, uint64_t now)
{
	unsigned int slot = msr - APIC_MSR_BASE;
	const struct rule *rule = find_rule(slot);
	uint32_t bits = rule->writable, high = (uint32_t)(value >> 32);
	struct vlapic_effect e = { .does = VLAPIC_FAULT };

	/* One for each interrupt. */
	if (slot == APIC_EOI && !value && vlapic_is_x2apic(v)) {
		e.does = 0;
		vlapic_end(v, &e);
		return e;
	}
	if (!vlapic_is_x2apic(v) || !(rule->x2apic & WO) || ((uint32_t)value & ~(bits | rule->read_only)) ||
	    (high && slot != APIC_ICR_LO))
		return e;
	if (slot == APIC_ICR_LO)
		v->page->slot[slot].high = high;
	e.does = 0;
	write(v, slot, (uint32_t)value & bits, now, &e);
	return e;
}

uint32_t vlapic_ipi(struct vlapic *v, const struct apic_bus *bus, uint64_t icr)
{
	uint32_t targets = vlapic_is_x2apic(v) ? apic_bus_plain(bus, icr, &v->face) : 0;

	if (targets) {
		v->page->slot[APIC_ICR_LO].low = (uint32_t)icr;
		v->page->slot[APIC_ICR_LO].high = (uint32_t)(icr >> 32);
	}
	return targets;
}
