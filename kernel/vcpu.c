/* SPDX-License-Identifier: MIT */
/* The loop of a physical CPU: which VCPU runs, what it is given before it enters, and when it stops. */
#include "kernel/vcpu.h"

#include <limits.h>

#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/log.h"

/* A ring of VCPUs per CPU; built before the CPUs run, constant afterwards. */
static struct vcpu *assigned[MAX_CPUS];

void vcpu_assign(struct vcpu *v)
{
	struct vcpu **head = &assigned[v->cpu];

	if (!*head) {
		*head = v;
		v->next = v;
		return;
	}
	v->next = (*head)->next;
	(*head)->next = v;
	*head = v;
}

void vcpu_fault(struct vcpu *v, uint8_t vector, int32_t error)
{
	virt->vcpu_inject(&v->virt, EVENT_EXCEPTION, vector, error);
}

static void dump_line(const char *text)
{
	log_line(LOG_GUEST, "  %s", text);
}

void vcpu_park(struct vcpu *v, const char *reason)
{
	log_line(LOG_GUEST, "vm %s: VCPU %u: %s", v->vm->name, v->index, reason);
	virt->vcpu_dump(&v->virt, dump_line);
	vm_end(v->vm, VM_PARKED, 0, reason);
}

/*
 * SDM vol. 3, "Handling Multiple NMIs": one is latched while another is handled. Of two that the VCPU could take now,
 * the first would be handled already. SDM vol. 3, "Activity State": NMIs are blocked while a processor waits for its
 * SIPI, which is to say latched as well: one comes after it.
 */
static void latch_nmis(struct vcpu *v, unsigned more)
{
	unsigned most = v->state != VCPU_WAIT_SIPI && virt->vcpu_can_take(&v->virt, EVENT_NMI) ? 2 : 1;

	v->nmis = (uint8_t)(v->nmis + more < most ? v->nmis + more : most);
}

/*
 * SDM vol. 3, "MP Initialization Protocol Algorithm": INIT, then a SIPI that only a waiting processor hears.
 */
static void take_signals(struct vcpu *v, uint32_t signals)
{
	if (signals & INBOX_STOP)
		v->state = VCPU_STOPPED;
	if (v->state == VCPU_STOPPED)
		return;
	if (signals & INBOX_INIT) {
		vlapic_init_signal(&v->apic);
		intr_show(v);
		virt->vcpu_reset(&v->virt);
		v->nmis = 0;
		v->inta = false;
		/*
		 * SDM vol. 3, same section: the bootstrap processor starts at the reset vector: here it has
		 * none.
		 */
		v->state = VCPU_WAIT_SIPI;
	}
	if (signals & INBOX_SIPI) {
		uint32_t page = atomic_exchange(&v->inbox.sipi_vector, 0);

		if (page && v->state == VCPU_WAIT_SIPI) {
			virt->vcpu_start_real(&v->virt, (uint8_t)page);
			v->state = VCPU_RUNNING;
		}
	}
	if (signals & (INBOX_NMI | INBOX_NMI2))
		latch_nmis(v, (signals & INBOX_NMI ? 1u : 0) + (signals & INBOX_NMI2 ? 1u : 0));
	if (signals & INBOX_INTA)
		v->inta = true;
	if (signals & INBOX_EXTINT) {
		struct vlapic_effect effect;

		v->intr = intr_wire(v->vm);
		effect = vlapic_lint(&v->apic, 0, v->intr);
		intr_effect(v, &effect);
	}
}

/* What a notification told of is about to be taken: it would find nothing. */
static uint32_t drain(struct vcpu *v)
{
	bool awaited = inbox_is_notified(&v->inbox);

	if (awaited)
		cpu_await_notification();
	return vlapic_drain(&v->apic, &v->inbox, awaited);
}

/* When the LAPIC timer is due, in host TSC. */
static uint64_t timer_due(struct vcpu *v)
{
	uint64_t guest = vlapic_deadline(&v->apic);

	return guest == VLAPIC_NEVER ? UINT64_MAX : vcpu_host_time(v, v->virt.exit_tsc, guest);
}

/* When this VCPU has to be looked at again though nobody kicks and its LAPIC timer is not due. */
static uint64_t others_due(struct vcpu *v)
{
	uint64_t chip, platform;

	if (v->index)
		return UINT64_MAX;
	chip = atomic_load_explicit(&v->vm->chip_deadline, memory_order_relaxed);
	platform = platform_deadline(v->vm);
	return chip < platform ? chip : platform;
}

static uint64_t deadline_of(struct vcpu *v)
{
	uint64_t timer = timer_due(v), others = others_due(v);

	return timer < others ? timer : others;
}

static void meet_deadlines(struct vcpu *v, uint64_t now)
{
	vlapic_tick(&v->apic, now + v->tsc_offset);
	if (v->index)
		return;
	if (now >= atomic_load_explicit(&v->vm->chip_deadline, memory_order_relaxed))
		intr_tick(v->vm);
	if (now >= platform_deadline(v->vm))
		platform_tick(v->vm, now);
}

/* Does INTR reach this VCPU as an ExtINT, by a message, by its LINT0 or because its LAPIC is off? */
static bool has_extint(struct vcpu *v)
{
	return v->inta || (v->intr && vlapic_extint_open(&v->apic));
}

/*
 * SDM vol. 3, "Priority Among Concurrent Events": NMI before maskable interrupts. What cannot be taken yet
 * asks for the exit at which it can.
 */
static __attribute__((noinline)) void inject_events(struct vcpu *v, int vector)
{
	bool extint = has_extint(v);
	bool interrupt = vector >= 0 || extint;

	if (v->nmis && virt->vcpu_can_take(&v->virt, EVENT_NMI)) {
		virt->vcpu_inject(&v->virt, EVENT_NMI, 2, -1);
		v->nmis--;
	}
	if (interrupt && virt->vcpu_can_take(&v->virt, EVENT_INTERRUPT)) {
		uint8_t taken = extint ? intr_acknowledge(v->vm) : vlapic_take(&v->apic);

		virt->vcpu_inject(&v->virt, EVENT_INTERRUPT, taken, -1);
		/* The 8259 may have another one at once, and says so by a signal; what the LAPIC took was its highest. */
		if (extint)
			v->inta = false;
		interrupt = extint && (vector >= 0 || has_extint(v));
	}
	if (interrupt || v->nmis || v->window) {
		virt->vcpu_window(&v->virt, interrupt, v->nmis);
		v->window = interrupt || v->nmis;
	}
}

/* An interrupt that only TPR holds back comes when TPR falls: the processor watches that for us. */
static __attribute__((noinline)) void watch_tpr(struct vcpu *v)
{
	int irr = vlapic_highest_irr(&v->apic);
	uint8_t tpr = vlapic_cr8_read(&v->apic);
	uint8_t threshold = irr >= 0 && irr >> 4 <= tpr ? (uint8_t)(irr >> 4) : 0;

	if (threshold != v->threshold) {
		virt->vcpu_tpr_threshold(&v->virt, threshold);
		v->threshold = threshold;
	}
}

/* SDM vol. 2, "HLT": an enabled interrupt, an NMI or INIT resumes execution. */
static bool is_awake(struct vcpu *v)
{
	if (v->state != VCPU_HALTED)
		return v->state == VCPU_RUNNING;
	if ((v->nmis && virt->vcpu_can_take(&v->virt, EVENT_NMI)) ||
	    ((vlapic_pending(&v->apic) >= 0 || has_extint(v)) &&
	     virt->vcpu_can_take(&v->virt, EVENT_INTERRUPT)))
		v->state = VCPU_RUNNING;
	return v->state == VCPU_RUNNING;
}

/*
 * What the LAPIC timer interrupts in time, the processor delivers by itself, if it can. Not again for a deadline before which
 * somebody had to kick: that costs more than it saves.
 */
static void post_timer(struct vcpu *v, uint64_t due)
{
	int vector = vlapic_timer_vector(&v->apic);

	v->timer_posted = vector >= 0 && vlapic_deadline(&v->apic) != v->spoilt &&
	                  virt->vcpu_post_timer(&v->virt, (uint8_t)vector, due);
}

/* v->deadline anew: the slice's end at the latest, and not so soon that the guest gets nowhere. */
static __attribute__((noinline)) void set_deadline(struct vcpu *v)
{
	uint64_t timer = timer_due(v), deadline = others_due(v), step = tsc_hz / VCPU_STEP_HZ;
	uint64_t soonest = v->met + (step > VCPU_STEP_TICKS ? step : VCPU_STEP_TICKS);

	if (deadline > v->slice_end)
		deadline = v->slice_end;
	if (timer < deadline && timer >= soonest && virt_delivers)
		post_timer(v, timer);
	if (timer < deadline && !v->timer_posted)
		deadline = timer;
	if (deadline < soonest)
		deadline = soonest;
	v->deadline = deadline < v->slice_end ? deadline : v->slice_end;
}

void vcpu_take_timer(struct vcpu *v)
{
	v->timer_posted = false;
	v->deadline = VCPU_LOOK;
	if (virt->vcpu_unpost_timer(&v->virt))
		vlapic_fired(&v->apic);
}

/* The processor delivers what the page holds; what was put there since it last ran is news to it. */
static __attribute__((noinline)) void hand_over(struct vcpu *v)
{
	if (v->apic.changed) {
		vlapic_resync(&v->apic);
		virt->vcpu_requests(&v->virt, vlapic_highest_irr(&v->apic),
		                    vlapic_highest(&v->apic, APIC_ISR, v->apic.isr_words));
	} else {
		virt->vcpu_raise(&v->virt, v->apic.raised);
	}
	v->apic.changed = false;
	v->apic.raised = -1;
}

static __attribute__((noinline)) void renew_deadline(struct vcpu *v)
{
	set_deadline(v);
	virt_deadline(&v->virt, v->deadline);
}

void vcpu_armed(struct vcpu *v, uint64_t end)
{
	/*
	 * Not before the slice ends, and nothing else was: it stays so. `end` is ahead of the guest's TSC, so that as host
	 * TSC it is right, or has wrapped and is small.
	 */
	if (v->deadline != v->slice_end || end - v->tsc_offset < v->slice_end)
		renew_deadline(v);
}

bool vcpu_ready(struct vcpu *v)
{
	if (inbox_full(&v->inbox) || v->state != VCPU_RUNNING)
		return false;
	if (v->deadline == VCPU_LOOK)
		set_deadline(v);
	if (v->virt.exit_tsc >= v->deadline)
		return false;
	if (virt_delivers && (v->apic.changed || v->apic.raised >= 0))
		hand_over(v);
	if (v->nmis || v->intr || v->inta || v->window ||
	    (!virt_delivers && (v->apic.irr_words || v->threshold))) {
		inject_events(v, virt_delivers ? -1 : vlapic_pending(&v->apic));
		if (!virt_delivers)
			watch_tpr(v);
		/* An acknowledge at the 8259 may have signalled this very VCPU: entered with ON set, it would get no kick. */
		if (inbox_full(&v->inbox))
			return false;
	}
	virt_deadline(&v->virt, v->deadline);
	return true;
}

/* Takes what the inbox has, if it is vectors alone. False: the run loop has to. */
static bool take_vectors(struct vcpu *v)
{
	uint32_t signals;

	vcpu_settle(v);
	if (atomic_load_explicit(&v->inbox.signals, memory_order_relaxed))
		return false;
	signals = drain(v);
	if (signals)
		inbox_signal(&v->inbox, signals);
	return !signals;
}

bool vcpu_continue(struct vcpu *v)
{
	return take_vectors(v) && vcpu_ready(v);
}

/* Sleeps until the inbox has vectors that end the HLT. False: something else is to be looked at. */
static bool sleep(struct vcpu *v, uint64_t deadline)
{
	/* What is there cannot end it, see is_awake(), and neither the priority nor what the guest takes changes now. */
	int ends = virt->vcpu_can_take(&v->virt, EVENT_INTERRUPT) ? (vlapic_ppr(&v->apic) | 0xf) : INT_MAX;

	v->apic.raised = -1;
	for (;;) {
		if (inbox_full(&v->inbox)) {
			if (!take_vectors(v))
				return false;
			if (v->apic.raised > ends)
				return true;
		}
		if (deadline <= tsc_now())
			return false;
		cpu_idle(deadline);
		v->virt.exit_tsc = tsc_now();
	}
}

bool exit_hlt(struct virt_vcpu *virtual)
{
	struct vcpu *v = vcpu_of(virtual);
	uint64_t deadline, slept = v->virt.exit_tsc;

	vcpu_settle(v);
	deadline = deadline_of(v);
	v->state = VCPU_HALTED;
	if (virt_delivers) {
		vlapic_resync(&v->apic);
		vlapic_tighten(&v->apic);
	}
	/* What a VCPU waits for that is alone on its CPU, it waits for here. */
	if (!is_awake(v) && (v->next != v || !sleep(v, deadline))) {
		virt_begin(&v->virt, v->virt.exit_tsc);
		return true;
	}
	v->state = VCPU_RUNNING;
	/*
	 * No deadline has changed while it slept. Alone on its CPU, its slices end when we like: as much later as it slept,
	 * for the timer has stood still and, set for that, is right as it is. One set for less has to be set again.
	 */
	slept = v->virt.exit_tsc - slept;
	if (v->virt.deadline == v->slice_end)
		v->virt.deadline += slept;
	else
		virt_begin(&v->virt, v->virt.exit_tsc);
	v->slice_end += slept;
	v->deadline = deadline < v->slice_end ? deadline : v->slice_end;
	return !vcpu_ready(v);
}

/* Runs one VCPU until it halts, stops, or its slice is over and another one could run. */
static void run_slice(struct vcpu *v)
{
	virt_begin(&v->virt, tsc_now());
	v->slice_end = v->virt.exit_tsc + tsc_hz / VCPU_SLICE_HZ;
	for (;;) {
		uint64_t now = v->virt.exit_tsc;
		bool due;

		if (vcpu_ready(v)) {
			virt->vcpu_run(&v->virt);
			if (virt_delivers)
				vlapic_resync(&v->apic);
			if (v->timer_posted && v->virt.exit.kind == EXIT_HOST_IRQ)
				v->spoilt = vlapic_deadline(&v->apic);
			vcpu_settle(v);
			exit_dispatch(v);
			continue;
		}
		vcpu_settle(v);
		v->deadline = VCPU_LOOK;
		if (inbox_full(&v->inbox))
			take_signals(v, drain(v));
		due = now >= deadline_of(v);
		if (due)
			meet_deadlines(v, now);
		else if (!is_awake(v))
			return;
		/* The time as it is, not as it was at the exit: a guest can have us meet deadlines for long. */
		now = tsc_now();
		if (due)
			v->met = now;
		if (now < v->slice_end)
			continue;
		if (v->next != v)
			return;
		v->slice_end = now + tsc_hz / VCPU_SLICE_HZ;
	}
}

static bool wants_cpu(struct vcpu *v, uint64_t now)
{
	return v->state != VCPU_STOPPED &&
	       (v->state == VCPU_RUNNING || inbox_full(&v->inbox) || now >= deadline_of(v));
}

/* The next VCPU of the ring that has something to do; NULL and the nearest deadline when none has. */
static struct vcpu *pick_next(struct vcpu *after, uint64_t *deadline)
{
	uint64_t now = tsc_now();
	struct vcpu *v = after;

	*deadline = UINT64_MAX;
	do {
		v = v->next;
		if (wants_cpu(v, now))
			return v;
		if (v->state != VCPU_STOPPED && deadline_of(v) < *deadline)
			*deadline = deadline_of(v);
	} while (v != after);
	return NULL;
}

static void switch_to(struct cpu *cpu, struct vcpu *v)
{
	if (cpu->current == v)
		return;
	if (cpu->current)
		virt->vcpu_unload(&cpu->current->virt);
	virt->vcpu_load(&v->virt);
	cpu->current = v;
}

/* The VMs' first instructions: VCPU 0 where the loader said, the others wait for their SIPI. */
static void start_assigned(struct cpu *cpu, struct vcpu *first)
{
	struct vcpu *v = first;

	do {
		switch_to(cpu, v);
		exit_forget(v);
		virt->vcpu_apic(&v->virt, vlapic_base_read(&v->apic));
		intr_show(v);
		if (v->index == 0)
			virt->vcpu_start_flat(&v->virt, &v->vm->start);
		v = v->next;
	} while (v != first);
}

_Noreturn void vcpu_run_all(void)
{
	struct cpu *cpu = cpu_self();
	struct vcpu *last = assigned[cpu->index];

	while (!last)
		cpu_idle(UINT64_MAX);
	start_assigned(cpu, last);
	for (;;) {
		uint64_t deadline;
		struct vcpu *v = pick_next(last, &deadline);

		if (!v) {
			cpu_idle(deadline);
			continue;
		}
		last = v;
		switch_to(cpu, v);
		run_slice(v);
		if (v->state == VCPU_STOPPED)
			vm_stopped(v->vm);
	}
}
