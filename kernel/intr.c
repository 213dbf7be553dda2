/* SPDX-License-Identifier: MIT */
/* The glue between the pure interrupt controllers: under chip_lock it decides, into the inboxes it acts. */
#include "kernel/intr.h"

#include "kernel/dev/clock.h"
#include "kernel/doorbells.h"
#include "kernel/vcpu.h"

#define PIT_LINE       0
#define IOAPIC_PIT_PIN 2 /* ISA line 0 is on pin 2 of every PC; the MADT says so */
#define ISA_LINES      16

/* The pins of the doorbells' callback lines. */
#define CALLBACK_PINS (((1ull << VIOAPIC_PINS) - 1) & ~((1ull << VIOAPIC_CALLBACK_PIN) - 1))

void vcpu_notify(struct vcpu *v, uint8_t vector)
{
	if (vector && v->cpu != cpu_self()->index)
		cpu_interrupt(v->cpu, vector);
}

static uint8_t post_fixed(struct vcpu *v, uint8_t vector, bool level)
{
	return inbox_post(&v->inbox, vector, level, v->cpu == cpu_self()->index);
}

static void post_sipi(struct inbox *in, uint8_t page)
{
	uint32_t none = 0;

	/* A second SIPI before the first is taken changes nothing; an INIT in between forgets the first. */
	atomic_compare_exchange_strong(&in->sipi_vector, &none, 0x100u | page);
}

static uint8_t post(struct vcpu *v, const struct apic_msg *msg)
{
	struct inbox *in = &v->inbox;

	switch (msg->mode) {
	case APIC_MODE_FIXED:
	case APIC_MODE_LOWEST:
		return post_fixed(v, msg->vector, msg->level);
	case APIC_MODE_NMI:
		return inbox_nmi(in);
	case APIC_MODE_INIT:
		if (msg->deassert)
			return 0;
		/* It forgets what came before it. */
		atomic_store(&in->sipi_vector, 0);
		atomic_fetch_and(&in->signals, ~(INBOX_NMI | INBOX_NMI2));
		return inbox_signal(in, INBOX_INIT);
	case APIC_MODE_SIPI:
		post_sipi(in, msg->vector);
		return inbox_signal(in, INBOX_SIPI);
	case APIC_MODE_EXTINT:
		return inbox_signal(in, INBOX_INTA);
	case APIC_MODE_SMI: /* there is no SMM behind this platform */
	case APIC_MODE_RESERVED:
		return 0;
	}
	return 0;
}

static void post_all(struct vm *vm, uint32_t targets, const struct apic_msg *msg)
{
	for (; targets; targets &= targets - 1) {
		struct vcpu *v = vm->vcpu[__builtin_ctz(targets)];

		vcpu_notify(v, post(v, msg));
	}
}

/* irq0=vcpu0: the PIT line prefers VCPU 0, but only where the entry's destination set has it. */
static uint32_t pin_targets(struct vm *vm, unsigned pin, struct apic_msg *msg)
{
	if (pin == IOAPIC_PIT_PIN && vm->config->irq0_vcpu0 && msg->mode == APIC_MODE_LOWEST) {
		struct apic_msg all = *msg;

		all.mode = APIC_MODE_FIXED;
		if (apic_bus_targets(&vm->bus, &all, -1) & 1)
			return 1;
	}
	return apic_bus_targets(&vm->bus, msg, -1);
}

/* Some VCPUs waited for a callback line's interrupt and did not get it: one misdirected upcall each. */
static void count_misdirected(struct vm *vm, unsigned line, uint32_t missed)
{
	const struct db_route *route = atomic_load_explicit(&vm->doorbells.route, memory_order_relaxed);

	if (!route->can_misdirect)
		return;
	for (; missed; missed &= missed - 1) {
		unsigned vcpu = (unsigned)__builtin_ctz(missed);

		atomic_fetch_add_explicit(&vm->misdirected, 1, memory_order_relaxed);
		db_count_misdirected(&vm->doorbells, vm->lines.port[line][vcpu], vcpu);
	}
}

/* Sends whatever the IOAPIC's pins have to send. Under chip_lock; ends every change of the IOAPIC. */
static void drain_ioapic(struct vm *vm)
{
	struct apic_msg msg;
	unsigned pin;

	while (vioapic_next(&vm->ioapic, &pin, &msg)) {
		uint32_t targets = pin_targets(vm, pin, &msg);

		if (pin >= VIOAPIC_CALLBACK_PIN)
			targets = route_targets(&vm->lines, &vm->doorbells, pin, targets);
		if (targets && pin >= VIOAPIC_CALLBACK_PIN) {
			count_misdirected(vm, pin - VIOAPIC_CALLBACK_PIN,
			                  route_sent(&vm->lines, &vm->ioapic, pin, targets));
		}
		vioapic_sent(&vm->ioapic, pin, targets != 0);
		post_all(vm, targets, &msg);
	}
}

/* Carries a changed INTR wire to VCPU 0, whose LINT0 it is soldered to. Under chip_lock. */
static void update_wire(struct vm *vm)
{
	bool intr = vpic_intr(&vm->pic);

	if (intr == vm->intr)
		return;
	vm->intr = intr;
	vcpu_notify(vm->vcpu[0], inbox_signal(&vm->vcpu[0]->inbox, INBOX_EXTINT));
}

static void set_line_locked(struct vm *vm, unsigned line, bool high)
{
	if (line < ISA_LINES) {
		vpic_set_line(&vm->pic, line, high);
		update_wire(vm);
	}
	vioapic_set_line(&vm->ioapic, line == PIT_LINE ? IOAPIC_PIT_PIN : line, high);
	drain_ioapic(vm);
}

void intr_set_line(struct vm *vm, unsigned line, bool high)
{
	spinlock_lock(&vm->chip_lock);
	set_line_locked(vm, line, high);
	spinlock_unlock(&vm->chip_lock);
}

static void end_of_interrupt(struct vm *vm, uint8_t vector)
{
	spinlock_lock(&vm->chip_lock);
	route_eoi(&vm->lines, &vm->ioapic, vector);
	vioapic_eoi(&vm->ioapic, vector);
	drain_ioapic(vm);
	spinlock_unlock(&vm->chip_lock);
}

/* A fixed IPI to the ID that it began with finds this VCPU. */
void intr_show(struct vcpu *v)
{
	uint64_t face = atomic_load_explicit(&v->apic.face.word, memory_order_relaxed);

	virt->vcpu_addressed(&v->virt, v->index,
	                     (face & LAPIC_FACE_HW) && (face & LAPIC_FACE_SW) && (uint32_t)face == v->index);
}

/*
 * A LAPIC's destinations changed: what the IOAPIC holds is tried again, groups follow their entries to whom these
 * select now, and upcalls that INIT or a disabled LAPIC made it forget are raised again.
 */
static void face_changed(struct vcpu *v)
{
	struct vm *vm = v->vm;
	uint32_t moved;

	intr_show(v);
	spinlock_lock(&vm->chip_lock);
	vioapic_retry(&vm->ioapic);
	moved = route_follow(&vm->lines, &vm->doorbells, &vm->ioapic, CALLBACK_PINS);
	drain_ioapic(vm);
	spinlock_unlock(&vm->chip_lock);
	doorbells_follow(vm, moved);
	doorbells_remind(vm, v->index);
}

void intr_effect(struct vcpu *v, const struct vlapic_effect *effect)
{
	if (effect->does & VLAPIC_TIMER)
		v->deadline = VCPU_LOOK;
	if (effect->does & VLAPIC_EOI)
		end_of_interrupt(v->vm, effect->vector);
	if (effect->does & VLAPIC_SEND)
		post_all(v->vm, apic_bus_targets(&v->vm->bus, &effect->msg, (int)v->index), &effect->msg);
	if (effect->does & VLAPIC_FACE)
		face_changed(v);
	if (effect->does & VLAPIC_MODE)
		virt->vcpu_apic(&v->virt, vlapic_base_read(&v->apic));
	if (effect->does & VLAPIC_NMI)
		inbox_nmi(&v->inbox);
	if (effect->does & VLAPIC_INIT)
		inbox_signal(&v->inbox, INBOX_INIT);
}

bool intr_ipi(struct vcpu *v, uint64_t icr)
{
	uint32_t targets = vlapic_ipi(&v->apic, &v->vm->bus, icr), left = targets;

	for (; left; left &= left - 1) {
		struct vcpu *to = v->vm->vcpu[__builtin_ctz(left)];

		vcpu_notify(to, post_fixed(to, (uint8_t)icr, false));
	}
	return targets;
}

static void raise_callback(struct vm *vm, const struct db_effect *effect)
{
	spinlock_lock(&vm->chip_lock);
	for (uint32_t vcpus = effect->also | 1u << effect->vcpu; vcpus; vcpus &= vcpus - 1)
		route_raise(&vm->lines, &vm->ioapic, effect->pin, (unsigned)__builtin_ctz(vcpus),
		            effect->port);
	drain_ioapic(vm);
	spinlock_unlock(&vm->chip_lock);
}

void intr_retry(struct vm *vm)
{
	spinlock_lock(&vm->chip_lock);
	vioapic_retry(&vm->ioapic);
	drain_ioapic(vm);
	spinlock_unlock(&vm->chip_lock);
}

static __attribute__((noinline)) void raise_slowly(struct vm *vm, struct db_effect effect)
{
	if (effect.what == DB_LINE)
		raise_callback(vm, &effect);
	else if (effect.what == DB_LATER)
		intr_deadline(vm, db_deadline(&vm->doorbells));
}

void intr_doorbell(struct vm *vm, struct db_effect effect)
{
	struct vcpu *v = vm->vcpu[effect.vcpu];

	if (effect.what != DB_VECTOR)
		raise_slowly(vm, effect);
	/* Summary bit first, LAPIC second; one that is switched on is shown first and then reminded, see face_changed(). */
	else if (atomic_load(&v->apic.face.word) & LAPIC_FACE_SW)
		vcpu_notify(v, post_fixed(v, effect.vector, false));
}

uint32_t intr_ioapic_read(struct vm *vm, uint32_t offset)
{
	uint32_t value;

	spinlock_lock(&vm->chip_lock);
	value = vioapic_read(&vm->ioapic, offset);
	spinlock_unlock(&vm->chip_lock);
	return value;
}

void intr_ioapic_write(struct vm *vm, uint32_t offset, uint32_t value)
{
	uint64_t changed;
	uint32_t moved;

	spinlock_lock(&vm->chip_lock);
	/* A directed EOI ends a callback line's interrupt as a broadcast one does. */
	if (offset == VIOAPIC_EOI && vm->ioapic.version == VIOAPIC_VERSION_EOI)
		route_eoi(&vm->lines, &vm->ioapic, (uint8_t)value);
	vioapic_write(&vm->ioapic, offset, value);
	changed = vioapic_changed(&vm->ioapic);
	route_rewritten(&vm->lines, &vm->ioapic, changed);
	moved = route_follow(&vm->lines, &vm->doorbells, &vm->ioapic, changed);
	drain_ioapic(vm);
	spinlock_unlock(&vm->chip_lock);
	doorbells_follow(vm, moved);
}

/* The PIT's clock: input-clock ticks since the machine started. */
static uint64_t pit_now(void)
{
	return clock_count(tsc_now(), tsc_hz, VPIT_HZ);
}

void intr_deadline(struct vm *vm, uint64_t host)
{
	uint64_t seen = atomic_load(&vm->chip_deadline);

	do {
		if (seen <= host)
			return;
	} while (!atomic_compare_exchange_weak(&vm->chip_deadline, &seen, host));
	vcpu_notify(vm->vcpu[0], inbox_signal(&vm->vcpu[0]->inbox, INBOX_RESCAN));
}

/* Carries OUT of channel 0 to line 0, and says when to look again. Under chip_lock. */
static void run_pit(struct vm *vm)
{
	uint64_t now = pit_now(), deadline;
	struct vpit_edges edges = vpit_tick(&vm->pit, now);

	if (edges.rises) {
		set_line_locked(vm, PIT_LINE, false);
		set_line_locked(vm, PIT_LINE, true);
	}
	set_line_locked(vm, PIT_LINE, edges.out);
	deadline = vpit_deadline(&vm->pit, now);
	/* Forget the old time first: a doorbell that comes in between finds none and sets its own. */
	atomic_store(&vm->chip_deadline, UINT64_MAX);
	intr_deadline(vm, deadline == VPIT_NEVER ? UINT64_MAX : clock_ticks(deadline, tsc_hz, VPIT_HZ));
	intr_deadline(vm, db_deadline(&vm->doorbells));
}

void intr_tick(struct vm *vm)
{
	doorbells_tick(vm);
	spinlock_lock(&vm->chip_lock);
	run_pit(vm);
	spinlock_unlock(&vm->chip_lock);
}

#define PORT61 0x61

void intr_port(struct vm *vm, uint16_t port, bool in, uint8_t *value)
{
	bool is_pit = port >= VPIT_CHANNEL0 && port <= VPIT_CONTROL;

	spinlock_lock(&vm->chip_lock);
	if (is_pit && in)
		*value = vpit_read(&vm->pit, port, pit_now());
	else if (is_pit)
		vpit_write(&vm->pit, port, *value, pit_now());
	else if (port == PORT61 && in)
		*value = vpit_port61_read(&vm->pit, pit_now());
	else if (port == PORT61)
		vpit_port61_write(&vm->pit, *value, pit_now());
	else if (in)
		*value = vpic_read(&vm->pic, port);
	else
		vpic_write(&vm->pic, port, *value);
	if (!in && (is_pit || port == PORT61))
		run_pit(vm);
	update_wire(vm); /* a read, too, may acknowledge: that of a poll command */
	spinlock_unlock(&vm->chip_lock);
}

uint8_t intr_acknowledge(struct vm *vm)
{
	uint8_t vector;

	spinlock_lock(&vm->chip_lock);
	vector = vpic_ack(&vm->pic);
	update_wire(vm);
	spinlock_unlock(&vm->chip_lock);
	return vector;
}

bool intr_wire(struct vm *vm)
{
	bool intr;

	spinlock_lock(&vm->chip_lock);
	intr = vm->intr;
	spinlock_unlock(&vm->chip_lock);
	return intr;
}
