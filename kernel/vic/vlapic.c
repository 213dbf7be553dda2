/* SPDX-License-Identifier: MIT */
/* The virtual local APIC: its states, what it accepts, and in which order it hands that to the processor. */
#include "vlapic_priv.h"

static uint32_t vector_bit(unsigned int vector)
{
	return 1u << (vector % 32);
}

uint32_t vlapic_publish(struct vlapic *v)
{
	uint32_t id = *vlapic_reg(v, APIC_ID);
	uint64_t ldr = *vlapic_reg(v, APIC_LDR) >> APIC_XID_SHIFT;
	uint64_t word = id | LAPIC_FACE_X2APIC;

	if (!vlapic_is_x2apic(v))
		word = ldr << LAPIC_FACE_LDR_SHIFT | id >> APIC_XID_SHIFT;
	word |= vlapic_is_enabled(v) ? LAPIC_FACE_HW : 0;
	word |= *vlapic_reg(v, APIC_SVR) & APIC_SVR_ENABLED ? LAPIC_FACE_SW : 0;
	word |= *vlapic_reg(v, APIC_DFR) & APIC_DFR_MODEL ? 0 : LAPIC_FACE_CLUSTER;
	if (word == atomic_load_explicit(&v->face.word, memory_order_relaxed))
		return 0;
	atomic_store_explicit(&v->face.word, word, memory_order_release);
	return VLAPIC_FACE;
}

void vlapic_tighten(struct vlapic *v)
{
	v->irr_words = 0;
	v->isr_words = 0;
	for (unsigned int word = 0; word < 8; word++) {
		v->irr_words |= (uint8_t)(!!*vlapic_reg(v, APIC_IRR + word) << word);
		v->isr_words |= (uint8_t)(!!*vlapic_reg(v, APIC_ISR + word) << word);
	}
}

/* SDM vol. 3, "Logical Destination Mode in x2APIC Mode": the logical ID follows from the ID. */
static void set_id(struct vlapic *v, uint32_t id)
{
	*vlapic_reg(v, APIC_ID) = id;
	if (vlapic_is_x2apic(v))
		*vlapic_reg(v, APIC_LDR) = id >> 4 << 16 | 1u << (id & 15);
}

/* SDM vol. 3, "Local APIC State After Power-Up or Reset", with this ID. */
static void set_registers(struct vlapic *v, uint32_t id)
{
	*v->page = (struct apic_page){ 0 };
	for (unsigned int slot = APIC_LVT_TIMER; slot <= APIC_LVT_ERROR; slot++)
		*vlapic_reg(v, slot) = APIC_LVT_MASKED;
	*vlapic_reg(v, APIC_VERSION) = APIC_VERSION_XAPIC | (APIC_LVT_ERROR - APIC_LVT_TIMER) << 16 |
	                               APIC_VERSION_SUPPRESS;
	*vlapic_reg(v, APIC_DFR) = APIC_DFR_MODEL | APIC_DFR_ONES;
	*vlapic_reg(v, APIC_SVR) = APIC_SVR_VECTOR;
	set_id(v, id);
	v->timer_armed = false;
	v->errors = 0;
	v->irr_words = 0;
	v->isr_words = 0;
	v->changed = true;
	v->raised = -1;
	vlapic_remember(v);
}

/*
 * SDM vol. 3, "Local APIC State After It Receives an INIT Reset": as after power-up, but the ID stays.
 * "x2APIC State Transitions": an INIT keeps the mode, be it xAPIC, x2APIC or disabled.
 */
void vlapic_init_signal(struct vlapic *v)
{
	set_registers(v, *vlapic_reg(v, APIC_ID));
	vlapic_publish(v);
}

void vlapic_init(struct vlapic *v, struct apic_page *page, const struct vlapic_config *config)
{
	*v = (struct vlapic){ .page = page, .config = *config, .face = { .page = page } };
	v->base = APIC_BASE_DEFAULT | APIC_BASE_EN | (config->bsp ? APIC_BASE_BSP : 0);
	set_registers(v, config->id << APIC_XID_SHIFT);
	vlapic_publish(v);
}

/* A mode is IA32_APIC_BASE bits 11:10, EN and EXTD; legal_mode[from] has bit `to` set if one may go there. */
enum base_mode { MODE_DISABLED = 0, MODE_XAPIC = 2, MODE_X2APIC = 3 };

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
	unsigned int from = v->base >> 10 & 3, to = value >> 10 & 3;
	struct vlapic_effect e = { .does = value == v->base ? 0 : VLAPIC_MODE };

	if ((value & ~legal) || !(legal_mode[from] >> to & 1))
		return (struct vlapic_effect){ .does = VLAPIC_FAULT };
	v->base = value;
	/*
	 * SDM vol. 3, "Enabling or Disabling the Local APIC": switched off, it may return to its state after
	 * reset; x2APIC mode keeps nothing but its ID. Done for both, at once, so that the disabled LAPIC
	 * holds no interrupt. "x2APIC State Transitions": into x2APIC mode the ID and the logical ID are set
	 * anew, and ICR[63:32], which xAPIC mode does not have, is undefined; the rest stays.
	 */
	if (from != MODE_DISABLED && to == MODE_DISABLED) {
		set_registers(v, v->config.id << APIC_XID_SHIFT);
		e.does |= VLAPIC_TIMER;
	} else if (from == MODE_XAPIC && to == MODE_X2APIC) {
		set_id(v, v->config.id);
	}
	e.does |= vlapic_publish(v);
	return e;
}

/* SDM vol. 3, "Error Handling": errors are collected whatever the mask; it decides on the interrupt alone. */
void vlapic_error(struct vlapic *v, uint32_t errors)
{
	uint32_t fresh = errors & ~v->errors;
	uint32_t lvt = *vlapic_reg(v, APIC_LVT_ERROR);

	/* Noted first: an illegal vector in the error entry is an error too, and this ends the recursion. */
	v->errors |= errors;
	if (fresh && !(lvt & APIC_LVT_MASKED))
		vlapic_accept(v, (uint8_t)(lvt & APIC_LVT_VECTOR), false);
}

/* SDM vol. 3, "Interrupt Acceptance for Fixed Interrupts": TMR follows the trigger mode at acceptance. */
static inline void request(struct vlapic *v, unsigned int word, uint32_t vectors, uint32_t level)
{
	uint32_t *tmr = vlapic_reg(v, APIC_TMR + word), mode = (*tmr & ~vectors) | level;
	int highest;

	*vlapic_reg(v, APIC_IRR + word) |= vectors;
	highest = (int)(word * 32 + 31) - __builtin_clz(vectors);
	v->raised = highest > v->raised ? highest : v->raised;
	if (mode != *tmr) {
		*tmr = mode;
		v->changed = true;
	}
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

/* The same for 64 vectors from an inbox. */
static void request_word(struct vlapic *v, unsigned int word, uint64_t vectors, bool level)
{
	uint64_t legal = word ? UINT64_MAX : ~0xffffull;

	if (!vlapic_is_enabled(v))
		return;
	if (vectors & ~legal)
		vlapic_error(v, APIC_ESR_RECEIVE_VECTOR);
	vectors &= legal;
	if ((uint32_t)vectors)
		request(v, word * 2, (uint32_t)vectors, level ? (uint32_t)vectors : 0);
	if (vectors >> 32)
		request(v, word * 2 + 1, (uint32_t)(vectors >> 32), level ? (uint32_t)(vectors >> 32) : 0);
}

/* The level-triggered ones last: of a vector that both want, an end too many does no harm, one too few does. */
static __attribute__((noinline)) void take_handed(struct vlapic *v, struct inbox *in)
{
	for (unsigned int i = 0; i < 8; i++)
		request_word(v, i % 4, inbox_take(&in->handed[i / 4][i % 4]), i / 4);
}

uint32_t vlapic_drain(struct vlapic *v, struct inbox *in, bool awaited)
{
	bool opened = inbox_open(in, awaited);
	uint32_t signals = inbox_take_signals(in);

	for (unsigned int i = 0; i < 4 && opened; i++) {
		uint64_t vectors = inbox_take(&in->pid.pir[i]);

		if (vectors)
			request_word(v, i, vectors, false);
	}
	if (signals & INBOX_HANDED)
		take_handed(v, in);
	return signals & ~INBOX_HANDED;
}

/* Takes a vector out of IRR or ISR (`slot`), of which `words` is the summary. */
static void remove(struct vlapic *v, unsigned int slot, uint8_t *words, unsigned int vector)
{
	uint32_t *word = vlapic_reg(v, slot + vector / 32);

	*word &= ~vector_bit(vector);
	if (!*word)
		*words &= (uint8_t) ~(1u << (vector / 32));
}

uint8_t vlapic_take(struct vlapic *v)
{
	int pending = vlapic_pending(v);
	unsigned int vector = (unsigned int)pending;

	/* SDM vol. 3, "Spurious Interrupt": withdrawn meanwhile, say by a higher TPR; ISR is not touched. */
	if (pending < 0)
		return (uint8_t)(*vlapic_reg(v, APIC_SVR) & APIC_SVR_VECTOR);
	remove(v, APIC_IRR, &v->irr_words, vector);
	*vlapic_reg(v, APIC_ISR + vector / 32) |= vector_bit(vector);
	v->isr_words |= (uint8_t)(1u << (vector / 32));
	return (uint8_t)vector;
}

static void tell_end(struct vlapic *v, unsigned int vector, struct vlapic_effect *e)
{
	uint32_t lint = *vlapic_reg(v, APIC_LVT_LINT0);

	/* SDM vol. 3, "Signaling Interrupt Servicing Completion": TMR decides on the broadcast, SVR may veto it. */
	if ((*vlapic_reg(v, APIC_TMR + vector / 32) & vector_bit(vector)) &&
	    !(*vlapic_reg(v, APIC_SVR) & APIC_SVR_SUPPRESS)) {
		e->does |= VLAPIC_EOI;
		e->vector = (uint8_t)vector;
	}
	if ((lint & APIC_LVT_REMOTE_IRR) && (lint & APIC_LVT_VECTOR) == vector)
		vlapic_lint_write(v, 0, lint & ~APIC_LVT_REMOTE_IRR, e);
}

void vlapic_end(struct vlapic *v, struct vlapic_effect *e)
{
	int highest = vlapic_highest(v, APIC_ISR, v->isr_words);

	if (highest < 0)
		return;
	remove(v, APIC_ISR, &v->isr_words, (unsigned int)highest);
	v->changed = true;
	tell_end(v, (unsigned int)highest, e);
}

struct vlapic_effect vlapic_ended(struct vlapic *v, uint8_t vector)
{
	struct vlapic_effect e = { .does = 0 };

	tell_end(v, vector, &e);
	return e;
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

/* What an asserted, unmasked pin does, by the mode in its LVT entry: nothing in the modes reserved there. */
static void lint_assert(struct vlapic *v, unsigned int pin, struct vlapic_effect *e)
{
	static const uint16_t does[8] = {
		[APIC_MODE_NMI] = VLAPIC_NMI,
		[APIC_MODE_INIT] = VLAPIC_INIT,
	};
	uint32_t *lvt = vlapic_reg(v, APIC_LVT_LINT0 + pin);
	bool level = lint_is_level(*lvt, pin);

	if (*lvt & (APIC_LVT_MASKED | APIC_LVT_REMOTE_IRR))
		return;
	e->does |= does[(*lvt & APIC_LVT_MODE) >> APIC_LVT_MODE_SHIFT];
	if (!(*lvt & APIC_LVT_MODE) && vlapic_accept(v, (uint8_t)(*lvt & APIC_LVT_VECTOR), level) && level)
		*lvt |= APIC_LVT_REMOTE_IRR;
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
		e.does = pin == 0 ? 0 : VLAPIC_NMI;
	else
		lint_assert(v, pin, &e);
	vlapic_remember(v);
	return e;
}

void vlapic_lint_write(struct vlapic *v, unsigned int pin, uint32_t value, struct vlapic_effect *e)
{
	bool level = lint_is_level(value, pin);

	/* Remote IRR is undefined but for level-triggered fixed interrupts; left set, it would wedge the pin. */
	*vlapic_reg(v, APIC_LVT_LINT0 + pin) = level ? value : value & ~APIC_LVT_REMOTE_IRR;
	if (level && lint_is_asserted(v, pin))
		lint_assert(v, pin, e);
	vlapic_remember(v);
}

/* The 8259's output is active high and passed on while it is high: polarity and trigger mode do not apply. */
bool vlapic_extint_open(const struct vlapic *v)
{
	uint32_t lvt = v->page->slot[APIC_LVT_LINT0].low;

	return !vlapic_is_enabled(v) ||
	       (lvt & (APIC_LVT_MASKED | APIC_LVT_MODE)) == APIC_MODE_EXTINT << APIC_LVT_MODE_SHIFT;
}
