/* SPDX-License-Identifier: MIT */
/* The virtual LAPIC's registers as the guest sees them, in memory (xAPIC) and as MSRs (x2APIC). */
#include "vlapic_priv.h"

enum access { RO = 1, WO = 2, RW = 3 };

/* A write on its way: the value, reserved bits dropped and read-only bits kept, and what it causes. */
struct reg_write {
	unsigned int slot;
	uint32_t value;
	uint64_t now;
	struct vlapic_effect e;
};

/*
 * One row per register, both faces. Bits in neither mask are reserved: written as ones, the MMIO face drops
 * them and the MSR face faults (SDM vol. 3, "Reserved Bit Checking"). Read-only bits are no fault, or a guest
 * could not write back what it read. A face with no access does not have the register. Without `write`, the
 * value is stored and that is all.
 */
struct rule {
	uint8_t xapic;
	uint8_t x2apic;
	uint32_t writable;
	uint32_t read_only;
	void (*write)(struct vlapic *v, struct reg_write *w);
};

static void store(struct vlapic *v, const struct reg_write *w)
{
	*vlapic_reg(v, w->slot) = w->value;
}

static void publish(struct vlapic *v, struct reg_write *w)
{
	if (vlapic_publish(v))
		w->e.does |= VLAPIC_FACE;
}

/* ID, LDR: what the senders match against. */
static void write_address(struct vlapic *v, struct reg_write *w)
{
	store(v, w);
	publish(v, w);
}

static void write_dfr(struct vlapic *v, struct reg_write *w)
{
	w->value |= APIC_DFR_ONES;
	write_address(v, w);
}

static void write_tpr(struct vlapic *v, struct reg_write *w)
{
	store(v, w);
	atomic_store_explicit(&v->face.priority, vlapic_ppr(v), memory_order_relaxed);
	w->e.does |= VLAPIC_PRIORITY;
}

static void write_eoi(struct vlapic *v, struct reg_write *w)
{
	vlapic_end(v, &w->e);
}

/* SDM vol. 3, "Local APIC State After It Has Been Software Disabled": all LVT entries are and stay masked. */
static void write_svr(struct vlapic *v, struct reg_write *w)
{
	bool open = vlapic_extint_open(v);

	if (!(w->value & APIC_SVR_ENABLED)) {
		vlapic_timer_set_lvt(v, *vlapic_reg(v, APIC_LVT_TIMER) | APIC_LVT_MASKED, w->now);
		for (unsigned int lvt = APIC_LVT_THERMAL; lvt <= APIC_LVT_ERROR; lvt++)
			*vlapic_reg(v, lvt) |= APIC_LVT_MASKED;
		w->e.does |= VLAPIC_TIMER | VLAPIC_PRIORITY;
	}
	store(v, w);
	publish(v, w);
	if (open != vlapic_extint_open(v))
		w->e.does |= VLAPIC_WIRE;
}

/* SDM vol. 3, "Error Handling": a write, whatever its value, shows what was detected since the last one. */
static void write_esr(struct vlapic *v, struct reg_write *w)
{
	w->value = v->errors;
	v->errors = 0;
	store(v, w);
}

/*
 * SDM vol. 3, "Error Handling": vectors 0 to 15 are detected by the sender, and in a self IPI by the receiver
 * too. Such a message goes no further: another LAPIC could do nothing with it but note an error. What a LAPIC
 * sends to itself stays inside.
 */
static void send(struct vlapic *v, const struct apic_msg *msg, struct vlapic_effect *e)
{
	bool has_vector = msg->mode == APIC_MODE_FIXED || msg->mode == APIC_MODE_LOWEST;
	bool illegal = has_vector && msg->vector < 16;

	if (illegal)
		vlapic_error(v, APIC_ESR_SEND_VECTOR);
	if (msg->shorthand == APIC_DEST_SELF && has_vector)
		vlapic_accept(v, msg->vector, false);
	if (illegal || (msg->shorthand == APIC_DEST_SELF && has_vector)) {
		e->does |= VLAPIC_PRIORITY;
	} else if (msg->shorthand == APIC_DEST_SELF) {
		e->does |= VLAPIC_NMI; /* the one mode without a vector that may go to oneself */
	} else {
		e->does |= VLAPIC_SEND;
		e->msg = *msg;
	}
}

static void write_icr(struct vlapic *v, struct reg_write *w)
{
	bool wide = vlapic_is_x2apic(v);
	uint32_t high = wide ? v->page->slot[w->slot].high : *vlapic_reg(v, APIC_ICR_HI);
	struct apic_msg msg;

	store(v, w);
	if (icr_decode((uint64_t)high << 32 | w->value, wide, &msg))
		send(v, &msg, &w->e);
}

/* SDM vol. 3, "SELF IPI Register": an edge-triggered, fixed self IPI; nothing of it is kept. */
static void write_self_ipi(struct vlapic *v, struct reg_write *w)
{
	struct apic_msg msg = {
		.vector = (uint8_t)w->value,
		.mode = APIC_MODE_FIXED,
		.shorthand = APIC_DEST_SELF,
	};

	send(v, &msg, &w->e);
}

static void mask_if_disabled(struct vlapic *v, struct reg_write *w)
{
	if (!(*vlapic_reg(v, APIC_SVR) & APIC_SVR_ENABLED))
		w->value |= APIC_LVT_MASKED;
}

static void write_lvt(struct vlapic *v, struct reg_write *w)
{
	mask_if_disabled(v, w);
	store(v, w);
}

static void write_lint(struct vlapic *v, struct reg_write *w)
{
	bool open = vlapic_extint_open(v);

	write_lvt(v, w);
	vlapic_lint_rewritten(v, w->slot - APIC_LVT_LINT0, &w->e);
	if (open != vlapic_extint_open(v))
		w->e.does |= VLAPIC_WIRE;
}

static void write_timer(struct vlapic *v, struct reg_write *w)
{
	mask_if_disabled(v, w);
	vlapic_timer_set_lvt(v, w->value, w->now);
	w->e.does |= VLAPIC_TIMER | VLAPIC_PRIORITY;
}

static void write_initial(struct vlapic *v, struct reg_write *w)
{
	vlapic_timer_set_initial(v, w->value, w->now);
	w->e.does |= VLAPIC_TIMER | VLAPIC_PRIORITY;
}

static void write_divide(struct vlapic *v, struct reg_write *w)
{
	vlapic_timer_set_divide(v, w->value, w->now);
	w->e.does |= VLAPIC_TIMER | VLAPIC_PRIORITY;
}

/* SDM vol. 3, "Local Vector Table", the figure: which entries have which fields. */
#define LVT_PLAIN (APIC_LVT_VECTOR | APIC_LVT_MASKED)
#define LVT_MODAL (LVT_PLAIN | APIC_LVT_MODE)
#define LVT_LINT  (LVT_MODAL | APIC_LVT_LOW | APIC_LVT_LEVEL)

#define ICR_FIELDS                                                                               \
	(APIC_ICR_VECTOR | APIC_ICR_MODE | APIC_ICR_LOGICAL | APIC_ICR_ASSERT | APIC_ICR_LEVEL | \
	 APIC_ICR_SHORTHAND)

static const struct rule rules[] = {
	[APIC_ID] = { RW, RO, APIC_BITS(31, 24), 0, write_address },
	[APIC_VERSION] = { RO, RO, 0, 0, NULL },
	[APIC_TPR] = { RW, RW, APIC_BITS(7, 0), 0, write_tpr },
	[APIC_APR] = { RO, 0, 0, 0, NULL },
	[APIC_PPR] = { RO, RO, 0, 0, NULL },
	[APIC_EOI] = { WO, WO, 0, 0, write_eoi },
	[APIC_RRD] = { RO, 0, 0, 0, NULL },
	[APIC_LDR] = { RW, RO, APIC_BITS(31, 24), 0, write_address },
	[APIC_DFR] = { RW, 0, APIC_DFR_MODEL, 0, write_dfr },
	[APIC_SVR] = { RW, RW, APIC_SVR_VECTOR | APIC_SVR_ENABLED | APIC_SVR_SUPPRESS, 0, write_svr },
	[APIC_ISR... APIC_IRR + 7] = { RO, RO, 0, 0, NULL },
	[APIC_ESR] = { RW, RW, 0, 0, write_esr },
	[APIC_ICR_LO] = { RW, RW, ICR_FIELDS, APIC_ICR_STATUS, write_icr },
	[APIC_ICR_HI] = { RW, 0, APIC_BITS(31, 24), 0, NULL },
	[APIC_LVT_TIMER] = { RW, RW, LVT_PLAIN | APIC_TIMER_MODE, APIC_LVT_STATUS, write_timer },
	[APIC_LVT_THERMAL] = { RW, RW, LVT_MODAL, APIC_LVT_STATUS, write_lvt },
	[APIC_LVT_PERF] = { RW, RW, LVT_MODAL, APIC_LVT_STATUS, write_lvt },
	[APIC_LVT_LINT0] = { RW, RW, LVT_LINT, APIC_LVT_STATUS | APIC_LVT_REMOTE_IRR, write_lint },
	[APIC_LVT_LINT1] = { RW, RW, LVT_LINT, APIC_LVT_STATUS | APIC_LVT_REMOTE_IRR, write_lint },
	[APIC_LVT_ERROR] = { RW, RW, LVT_PLAIN, APIC_LVT_STATUS, write_lvt },
	[APIC_TIMER_INITIAL] = { RW, RW, APIC_BITS(31, 0), 0, write_initial },
	[APIC_TIMER_CURRENT] = { RO, RO, 0, 0, NULL },
	[APIC_TIMER_DIVIDE] = { RW, RW, APIC_DIVIDE_VALUE, 0, write_divide },
	[APIC_SELF_IPI] = { 0, WO, APIC_BITS(7, 0), 0, write_self_ipi },
};

static const struct rule no_rule;

static const struct rule *find_rule(unsigned int slot)
{
	return slot < sizeof(rules) / sizeof(rules[0]) ? &rules[slot] : &no_rule;
}

/* What is not offered to this VM is reserved. */
static uint32_t writable(const struct vlapic *v, const struct rule *rule, unsigned int slot)
{
	uint32_t absent = 0;

	if (slot == APIC_SVR && !v->config.eoi_suppression)
		absent = APIC_SVR_SUPPRESS;
	if (slot == APIC_LVT_TIMER && !v->config.tsc_deadline)
		absent = APIC_TIMER_DEADLINE;
	return rule->writable & ~absent;
}

static uint32_t read(struct vlapic *v, unsigned int slot, uint64_t now)
{
	if (slot == APIC_PPR)
		return vlapic_ppr(v);
	if (slot == APIC_TIMER_CURRENT)
		return vlapic_timer_count(v, now);
	return *vlapic_reg(v, slot);
}

static void write(struct vlapic *v, const struct rule *rule, struct reg_write *w)
{
	w->value &= writable(v, rule, w->slot);
	w->value |= *vlapic_reg(v, w->slot) & rule->read_only;
	if (rule->write)
		rule->write(v, w);
	else
		store(v, w);
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
	struct reg_write w = { .slot = offset / 16, .value = value, .now = now };

	if (!vlapic_is_enabled(v) || vlapic_is_x2apic(v) || offset % 16)
		return w.e;
	if (!rule->xapic) {
		vlapic_error(v, APIC_ESR_REGISTER);
		w.e.does = VLAPIC_PRIORITY;
	}
	if (rule->xapic & WO)
		write(v, rule, &w);
	return w.e;
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
	struct reg_write w = { .slot = msr - APIC_MSR_BASE, .value = (uint32_t)value, .now = now };
	const struct rule *rule = find_rule(w.slot);
	uint64_t reserved = ~(uint64_t)(writable(v, rule, w.slot) | rule->read_only);

	if (w.slot == APIC_ICR_LO)
		reserved &= 0xffffffff;
	if (!vlapic_is_x2apic(v) || !(rule->x2apic & WO) || (value & reserved)) {
		w.e.does = VLAPIC_FAULT;
		return w.e;
	}
	if (w.slot == APIC_ICR_LO)
		v->page->slot[w.slot].high = (uint32_t)(value >> 32);
	write(v, rule, &w);
	return w.e;
}

uint8_t vlapic_cr8_read(const struct vlapic *v)
{
	return (uint8_t)(v->page->slot[APIC_TPR].low >> 4 & 0xf);
}

struct vlapic_effect vlapic_cr8_write(struct vlapic *v, uint8_t cr8)
{
	struct reg_write w = { .slot = APIC_TPR, .value = (cr8 & 0xfu) << 4 };

	write_tpr(v, &w);
	return w.e;
}
