/* SPDX-License-Identifier: MIT */
/* The virtual local APIC: its states, what it accepts, and in which order it hands that to the processor. */
#include "vlapic_priv.h"

#define LVT_FIRST APIC_LVT_TIMER
#define LVT_LAST  APIC_LVT_ERROR

static uint32_t vector_bit(unsigned int vector)
{
	return 1u << (vector % 32);
}

bool vlapic_publish(struct vlapic *v)
{
	uint32_t id = *vlapic_reg(v, APIC_ID);
	uint64_t word = 0;

	if (vlapic_is_x2apic(v))
		word = id | LAPIC_FACE_X2APIC;
	else
		word = (uint64_t)(*vlapic_reg(v, APIC_LDR) >> APIC_XID_SHIFT) << LAPIC_FACE_LDR_SHIFT |
		       id >> APIC_XID_SHIFT;
	if (vlapic_is_enabled(v))
		word |= LAPIC_FACE_HW;
	if (*vlapic_reg(v, APIC_SVR) & APIC_SVR_ENABLED)
		word |= LAPIC_FACE_SW;
	if (!(*vlapic_reg(v, APIC_DFR) & APIC_DFR_MODEL))
		word |= LAPIC_FACE_CLUSTER;
	if (word == atomic_load_explicit(&v->face.word, memory_order_relaxed))
		return false;
	atomic_store_explicit(&v->face.word, word, memory_order_release);
	return true;
}

void vlapic_resync(struct vlapic *v)
{
	v->irr_words = 0;
	v->isr_words = 0;
	for (unsigned int word = 0; word < 8; word++) {
		if (*vlapic_reg(v, APIC_IRR + word))
			v->irr_words |= (uint8_t)(1u << word);
		if (*vlapic_reg(v, APIC_ISR + word))
			v->isr_words |= (uint8_t)(1u << word);
	}
}

/* SDM vol. 3, "Logical Destination Mode in x2APIC Mode": the logical ID follows from the ID. */
static void set_id(struct vlapic *v, uint32_t id)
{
	*vlapic_reg(v, APIC_ID) = id;
	if (vlapic_is_x2apic(v))
		*vlapic_reg(v, APIC_LDR) = id >> 4 << 16 | 1u << (id & 15);
}

/* SDM vol. 3, "Local APIC State After Power-Up or Reset". The ID is the caller's. */
static void clear_registers(struct vlapic *v)
{
	*v->page = (struct apic_page){ 0 };
	for (unsigned int slot = LVT_FIRST; slot <= LVT_LAST; slot++)
		*vlapic_reg(v, slot) = APIC_LVT_MASKED;
	*vlapic_reg(v, APIC_VERSION) = APIC_VERSION_XAPIC | (LVT_LAST - LVT_FIRST) << 16 |
	                               (v->config.eoi_suppression ? APIC_VERSION_SUPPRESS : 0);
	*vlapic_reg(v, APIC_DFR) = APIC_DFR_MODEL | APIC_DFR_ONES;
	*vlapic_reg(v, APIC_SVR) = APIC_SVR_VECTOR;
	v->timer_armed = false;
	v->errors = 0;
	vlapic_resync(v);
	atomic_store_explicit(&v->face.priority, 0, memory_order_relaxed);
}

void vlapic_reset(struct vlapic *v)
{
	v->base = APIC_BASE_DEFAULT | APIC_BASE_EN | (v->config.bsp ? APIC_BASE_BSP : 0);
	clear_registers(v);
	set_id(v, v->config.id << APIC_XID_SHIFT);
	vlapic_publish(v);
}

/*
 * SDM vol. 3, "Local APIC State After It Receives an INIT Reset": as after power-up, but the ID stays.
 * "x2APIC State Transitions": an INIT keeps the mode, be it xAPIC, x2APIC or disabled.
 */
void vlapic_init_signal(struct vlapic *v)
{
	uint32_t id = *vlapic_reg(v, APIC_ID);

	clear_registers(v);
	set_id(v, id);
	vlapic_publish(v);
}

void vlapic_init(struct vlapic *v, struct apic_page *page, const struct vlapic_config *config)
{
	*v = (struct vlapic){ .page = page, .config = *config };
	vlapic_reset(v);
}

/* A mode is IA32_APIC_BASE bits 11:10, EN and EXTD; legal_mode[from] has bit `to` set if one may go there. */
enum base_mode { MODE_DISABLED = 0, MODE_INVALID = 1, MODE_XAPIC = 2, MODE_X2APIC = 3 };

/* SDM vol. 3, "x2APIC State Transitions": the figure's arrows; every other one faults. */
static const uint8_t legal_mode[4] = {
	[MODE_DISABLED] = 1 << MODE_DISABLED | 1 << MODE_XAPIC,
	[MODE_XAPIC] = 1 << MODE_DISABLED | 1 << MODE_XAPIC | 1 << MODE_X2APIC,
	[MODE_X2APIC] = 1 << MODE_DISABLED | 1 << MODE_X2APIC,
};

struct vlapic_effect vlapic_base_write(struct vlapic *v, uint64_t value)
{
	uint64_t address = ((1ull << v->config.phys_bits) - 1) & ~0xfffull;
	uint64_t legal = address | APIC_BASE_BSP | APIC_BASE_EN | (v->config.x2apic ? APIC_BASE_EXTD : 0);
	unsigned int from = (unsigned int)(v->base >> 10 & 3);
	unsigned int to = (unsigned int)(value >> 10 & 3);
	struct vlapic_effect e = { .does = 0 };

	if ((value & ~legal) || !(legal_mode[from] >> to & 1)) {
		e.does = VLAPIC_FAULT;
		return e;
	}
	if (value == v->base)
		return e;
	v->base = value;
	e.does = VLAPIC_MODE;
	/*
	 * SDM vol. 3, "Enabling or Disabling the Local APIC": switched off, it may return to its state after
	 * reset; x2APIC mode keeps nothing but its ID. Done for both, at once, so that the disabled LAPIC
	 * holds no interrupt. "x2APIC State Transitions": into x2APIC mode the ID and the logical ID are set
	 * anew, and ICR[63:32], which xAPIC mode does not have, is undefined; the rest stays.
	 */
	if (from != MODE_DISABLED && to == MODE_DISABLED) {
		clear_registers(v);
		set_id(v, v->config.id << APIC_XID_SHIFT);
		e.does |= VLAPIC_TIMER | VLAPIC_PRIORITY | VLAPIC_WIRE;
	} else if (from == MODE_XAPIC && to == MODE_X2APIC) {
		set_id(v, v->config.id);
	} else if (from == MODE_DISABLED && to == MODE_XAPIC) {
		e.does |= VLAPIC_WIRE;
	}
	if (vlapic_publish(v))
		e.does |= VLAPIC_FACE;
	return e;
}

/* SDM vol. 3, "Error Handling": errors are collected whatever the mask; it decides on the interrupt alone. */
void vlapic_error(struct vlapic *v, uint32_t errors)
{
	uint32_t fresh = errors & ~v->errors;
	uint32_t lvt = *vlapic_reg(v, APIC_LVT_ERROR);

	/* Noted first: an error entry with an illegal vector is an error too, and this is what ends the
	 * recursion. */
	v->errors |= errors;
	if (fresh && !(lvt & APIC_LVT_MASKED))
		vlapic_accept(v, (uint8_t)(lvt & APIC_LVT_VECTOR), false);
}

/* SDM vol. 3, "Interrupt Acceptance for Fixed Interrupts": TMR follows the trigger mode at acceptance. */
static void request(struct vlapic *v, unsigned int word, uint32_t vectors, uint32_t level)
{
	uint32_t *tmr = vlapic_reg(v, APIC_TMR + word);

	if (!vectors)
		return;
	*vlapic_reg(v, APIC_IRR + word) |= vectors;
	*tmr = (*tmr & ~vectors) | level;
	v->irr_words |= (uint8_t)(1u << word);
}

bool vlapic_accept(struct vlapic *v, uint8_t vector, bool level)
{
	uint32_t bit = vector_bit(vector);

	if (!vlapic_is_enabled(v) || !(*vlapic_reg(v, APIC_SVR) & APIC_SVR_ENABLED))
		return false;
	/* SDM vol. 3, "Valid Interrupt Vectors": 0 to 15 are illegal, and never reach IRR. */
	if (vector < 16) {
		vlapic_error(v, APIC_ESR_RECEIVE_VECTOR);
		return false;
	}
	request(v, vector / 32, bit, level ? bit : 0);
	return true;
}

uint32_t vlapic_drain(struct vlapic *v, struct inbox *in)
{
	inbox_open(in);
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t level;
		uint64_t vectors = inbox_take(in, i, &level);

		if (!vectors || !vlapic_is_enabled(v))
			continue;
		if (i == 0 && (vectors & 0xffff)) {
			vlapic_error(v, APIC_ESR_RECEIVE_VECTOR);
			vectors &= ~0xffffull;
			level &= ~0xffffull;
		}
		request(v, i * 2, (uint32_t)vectors, (uint32_t)level);
		request(v, i * 2 + 1, (uint32_t)(vectors >> 32), (uint32_t)(level >> 32));
	}
	return inbox_take_signals(in);
}

uint8_t vlapic_take(struct vlapic *v)
{
	int pending = vlapic_pending(v);
	unsigned int vector = (unsigned int)pending;
	uint32_t *irr;

	/* SDM vol. 3, "Spurious Interrupt": withdrawn in the meantime, say by a higher TPR; ISR is not
	 * touched. */
	if (pending < 0)
		return (uint8_t)(*vlapic_reg(v, APIC_SVR) & APIC_SVR_VECTOR);
	irr = vlapic_reg(v, APIC_IRR + vector / 32);
	*irr &= ~vector_bit(vector);
	if (!*irr)
		v->irr_words &= (uint8_t) ~(1u << (vector / 32));
	*vlapic_reg(v, APIC_ISR + vector / 32) |= vector_bit(vector);
	v->isr_words |= (uint8_t)(1u << (vector / 32));
	atomic_store_explicit(&v->face.priority, vlapic_ppr(v), memory_order_relaxed);
	return (uint8_t)vector;
}

/* Level triggering exists for LINT0 alone, and in fixed mode alone (SDM vol. 3, "Local Vector Table"). */
static bool lint_is_level(uint32_t lvt, unsigned int pin)
{
	return pin == 0 && (lvt & APIC_LVT_LEVEL) && !(lvt & APIC_LVT_MODE);
}

static bool lint_is_asserted(struct vlapic *v, unsigned int pin)
{
	bool low = *vlapic_reg(v, APIC_LVT_LINT0 + pin) & APIC_LVT_LOW;

	return (v->lint >> pin & 1) != low;
}

/* What an asserted, unmasked pin does, by the mode in its LVT entry. */
static void lint_assert(struct vlapic *v, unsigned int pin, struct vlapic_effect *e)
{
	uint32_t *lvt = vlapic_reg(v, APIC_LVT_LINT0 + pin);
	bool level = lint_is_level(*lvt, pin);

	if ((*lvt & APIC_LVT_MASKED) || (*lvt & APIC_LVT_REMOTE_IRR))
		return;
	switch ((enum apic_mode)((*lvt & APIC_LVT_MODE) >> APIC_LVT_MODE_SHIFT)) {
	case APIC_MODE_FIXED:
		/* Not accepted, it may still have raised the error interrupt. */
		e->does |= VLAPIC_PRIORITY;
		if (!vlapic_accept(v, (uint8_t)(*lvt & APIC_LVT_VECTOR), level))
			break;
		if (level)
			*lvt |= APIC_LVT_REMOTE_IRR;
		break;
	case APIC_MODE_NMI:
		e->does |= VLAPIC_NMI;
		break;
	case APIC_MODE_INIT:
		e->does |= VLAPIC_INIT;
		break;
	case APIC_MODE_SMI:
		e->does |= VLAPIC_SMI;
		break;
	case APIC_MODE_EXTINT:
		e->does |= VLAPIC_EXTINT;
		break;
	case APIC_MODE_LOWEST:
	case APIC_MODE_RESERVED:
	case APIC_MODE_SIPI:
		break; /* reserved in the LVT: nothing is delivered */
	}
}

struct vlapic_effect vlapic_lint(struct vlapic *v, unsigned int pin, bool high)
{
	struct vlapic_effect e = { .does = 0 };
	bool before = lint_is_asserted(v, pin);

	v->lint = (uint8_t)((v->lint & ~(1u << pin)) | (unsigned int)high << pin);
	if (before || !lint_is_asserted(v, pin))
		return e;
	/* SDM vol. 3, "Enabling or Disabling the Local APIC": disabled, the pins are INTR and NMI. */
	if (!vlapic_is_enabled(v))
		e.does = pin == 0 ? VLAPIC_EXTINT : VLAPIC_NMI;
	else
		lint_assert(v, pin, &e);
	return e;
}

void vlapic_lint_rewritten(struct vlapic *v, unsigned int pin, struct vlapic_effect *e)
{
	uint32_t *lvt = vlapic_reg(v, APIC_LVT_LINT0 + pin);

	/* Remote IRR is undefined but for level-triggered fixed interrupts; left set, it would wedge the pin.
	 */
	if (!lint_is_level(*lvt, pin))
		*lvt &= ~APIC_LVT_REMOTE_IRR;
	else if (lint_is_asserted(v, pin))
		lint_assert(v, pin, e);
}

void vlapic_end(struct vlapic *v, struct vlapic_effect *e)
{
	int highest = vlapic_highest(v, APIC_ISR, v->isr_words);
	unsigned int vector = (unsigned int)highest;
	uint32_t *lvt = vlapic_reg(v, APIC_LVT_LINT0);
	uint32_t *isr;

	if (highest < 0)
		return;
	isr = vlapic_reg(v, APIC_ISR + vector / 32);
	*isr &= ~vector_bit(vector);
	if (!*isr)
		v->isr_words &= (uint8_t) ~(1u << (vector / 32));
	e->does |= VLAPIC_PRIORITY;
	/* SDM vol. 3, "Signaling Interrupt Servicing Completion": TMR decides on the broadcast, SVR may veto
	 * it. */
	if ((*vlapic_reg(v, APIC_TMR + vector / 32) & vector_bit(vector)) &&
	    !(*vlapic_reg(v, APIC_SVR) & APIC_SVR_SUPPRESS)) {
		e->does |= VLAPIC_EOI;
		e->vector = (uint8_t)vector;
	}
	if ((*lvt & APIC_LVT_REMOTE_IRR) && (*lvt & APIC_LVT_VECTOR) == vector) {
		*lvt &= ~APIC_LVT_REMOTE_IRR;
		vlapic_lint_rewritten(v, 0, e);
	}
	atomic_store_explicit(&v->face.priority, vlapic_ppr(v), memory_order_relaxed);
}

/* The 8259's output is active high and passed on while it is high: polarity and trigger mode do not apply. */
bool vlapic_extint_open(const struct vlapic *v)
{
	uint32_t lvt = v->page->slot[APIC_LVT_LINT0].low;

	if (!vlapic_is_enabled(v))
		return true;
	return !(lvt & APIC_LVT_MASKED) && (lvt & APIC_LVT_MODE) == APIC_MODE_EXTINT << APIC_LVT_MODE_SHIFT;
}
