/* SPDX-License-Identifier: MIT */
/* The order of a ring and of a rebind, between CPUs: who waits for whom. */
#include "kernel/doorbells.h"

#include "arch/x86/arch.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

/*
 * Guards every port table's slow operations, of all VMs: a connection touches two. No lock is taken under it, and it
 * is taken under none: upcalls that an operation owes are raised after it. A ring takes no lock of this file.
 */
static struct spinlock db_lock;

/*
 * A ring is in flight on this CPU from here to ring_end(). The epoch is odd meanwhile.
 *
 * The increment is sequentially consistent and comes before the port's binding is read; a rebind writes the binding,
 * likewise, before it reads the epochs. So either the ring sees the new binding, or the rebind sees the ring and
 * waits for its end: after the wait nobody puts a bit where the old binding said.
 */
static void ring_begin(struct cpu *cpu)
{
	atomic_fetch_add(&cpu->ring_epoch, 1);
}

static void ring_end(struct cpu *cpu)
{
	uint64_t epoch = atomic_load_explicit(&cpu->ring_epoch, memory_order_relaxed);

	atomic_store_explicit(&cpu->ring_epoch, epoch + 1, memory_order_release);
}

/*
 * Waits until every ring that was in flight is over. Bounded: a ring waits for nothing but chip_lock, whose holders
 * wait for nothing. The caller is not ringing.
 */
static void wait_for_rings(void)
{
	for (unsigned i = 0; i < cpu_count; i++) {
		uint64_t epoch = atomic_load(&cpus[i].ring_epoch);

		while ((epoch & 1) && atomic_load(&cpus[i].ring_epoch) == epoch)
			cpu_relax();
	}
}

int64_t doorbells_ring(struct vm *vm, const uint64_t arg[4])
{
	struct cpu *cpu = cpu_self();
	unsigned far = vm->index;
	uint32_t to = 0;
	int64_t result;

	ring_begin(cpu);
	result = db_resolve(&vm->doorbells, arg[0], &far, &to);
	if (result >= 0) {
		struct vm *target = vms[far];
		struct db_vm *db = &target->doorbells;
		/* Without a budget it does not matter when. */
		struct db_effect effect = db_ring(db, to, db->budget ? tsc_now() : 0);

		if (effect.what != DB_NOTHING)
			intr_doorbell(target, effect);
		result = effect.result;
	}
	ring_end(cpu);
	return result;
}

int64_t doorbells_ring_many(struct vm *vm, const uint64_t arg[4])
{
	struct bh_ring *rings = NULL;
	int64_t accepted = 0;

	if (arg[1] - 1 < BH_RINGS && arg[0] % sizeof(*rings) == 0)
		rings = vm_ram(vm, arg[0], arg[1] * sizeof(*rings));
	if (!rings)
		return BH_EINVAL;
	for (uint64_t i = 0; i < arg[1]; i++) {
		/* The guest's memory: read once. */
		const uint64_t port[4] = { *(volatile uint32_t *)&rings[i].port };
		int64_t result = doorbells_ring(vm, port);

		rings[i].result = (int32_t)result;
		accepted += result >= 0;
	}
	return accepted;
}

int64_t doorbells_kick(struct vm *vm, const uint64_t arg[4])
{
	struct cpu *cpu = cpu_self();
	struct db_effect effect;

	ring_begin(cpu);
	effect = db_kick(&vm->doorbells, arg[0]);
	intr_doorbell(vm, effect);
	ring_end(cpu);
	return effect.result;
}

int64_t doorbells_open(struct vm *vm, const uint64_t arg[4])
{
	int64_t result;

	spinlock_lock(&db_lock);
	result = db_open(&vm->doorbells, arg[0], arg[1], arg[2]);
	spinlock_unlock(&db_lock);
	return result;
}

int64_t doorbells_close(struct vm *vm, const uint64_t arg[4])
{
	int64_t result;

	spinlock_lock(&db_lock);
	result = db_close(&vm->doorbells, arg[0]);
	if (result >= 0) {
		uint32_t peer = atomic_load(&vm->doorbells.port[arg[0]].peer);

		/* The other end loses its connection before the slot can be somebody else's. */
		if (peer & DB_CONNECTED)
			atomic_store(&vms[peer >> 16 & 0xff]->doorbells.port[peer & 0xffff].peer, 0);
		wait_for_rings();
		result = db_release(&vm->doorbells, (uint32_t)arg[0]);
	}
	spinlock_unlock(&db_lock);
	return result;
}

/*
 * Drops db_lock and raises what an operation under it owes. From the drop to the raise it counts as a ring: the next
 * rebind of the same port waits for it, so no upcall is raised on a VCPU that a rebind has left.
 */
static void raise_after(struct vm *vm, const struct db_effect *effect)
{
	struct cpu *cpu = cpu_self();

	ring_begin(cpu);
	spinlock_unlock(&db_lock);
	intr_doorbell(vm, *effect);
	ring_end(cpu);
}

/* The same for every upcall that these groups (a bit mask) owe to these VCPUs. */
static void raise_groups_after(struct vm *vm, uint32_t vcpus, uint32_t groups)
{
	struct cpu *cpu = cpu_self();

	ring_begin(cpu);
	spinlock_unlock(&db_lock);
	for (unsigned i = 0; i < vm->vcpu_count * BH_GROUPS; i++) {
		unsigned vcpu = i / BH_GROUPS, group = i % BH_GROUPS;

		if ((vcpus >> vcpu & 1) && (groups >> group & 1)) {
			struct db_effect effect = db_raise(&vm->doorbells, vcpu, group);

			intr_doorbell(vm, effect);
		}
	}
	ring_end(cpu);
}

#define ALL_GROUPS ((1u << BH_GROUPS) - 1)
#define ALL_VCPUS  UINT32_MAX

int64_t doorbells_rebind(struct vm *vm, const uint64_t arg[4])
{
	struct db_effect effect = { .what = DB_NOTHING };
	int64_t result;

	spinlock_lock(&db_lock);
	result = db_rebind(&vm->doorbells, arg[0], arg[1]);
	if (result >= 0) {
		wait_for_rings();
		effect = db_move(&vm->doorbells, (uint32_t)arg[0]);
	}
	raise_after(vm, &effect);
	return result;
}

int64_t doorbells_port_stat(struct vm *vm, const uint64_t arg[4])
{
	return db_stat(&vm->doorbells, arg[0], arg[1]);
}

int64_t doorbells_route(struct vm *vm, const uint64_t arg[4])
{
	struct db_vm *db = &vm->doorbells;
	int64_t result;

	if (arg[0] == BH_ROUTE_ASK)
		return (int64_t)atomic_load(&db->route)->number;
	if (arg[0] >= BH_ROUTES)
		return BH_EINVAL;
	spinlock_lock(&db_lock);
	result = (int64_t)db_set_route(db, (enum bh_route)arg[0]);
	wait_for_rings();
	db_settle(db, ALL_GROUPS);
	raise_groups_after(vm, ALL_VCPUS, ALL_GROUPS);
	intr_retry(vm);
	return result;
}

void doorbells_follow(struct vm *vm, uint32_t groups)
{
	if (!groups || atomic_load(&vm->doorbells.route)->number != BH_ROUTE_FOLLOW)
		return;
	spinlock_lock(&db_lock);
	wait_for_rings();
	db_settle(&vm->doorbells, groups);
	raise_groups_after(vm, ALL_VCPUS, groups);
}

void doorbells_remind(struct vm *vm, unsigned vcpu)
{
	if (!atomic_load(&vm->doorbells.page[vcpu].pending))
		return;
	spinlock_lock(&db_lock);
	raise_groups_after(vm, 1u << vcpu, ALL_GROUPS);
}

/* The VM behind a number of the configuration's peer list; NULL: there is none. */
static struct vm *peer_of(struct vm *vm, uint64_t peer)
{
	return peer < vm->config->peer_count ? vms[vm->peer[peer]] : NULL;
}

int64_t doorbells_offer(struct vm *vm, const uint64_t arg[4])
{
	struct vm *far = peer_of(vm, arg[1]);
	int64_t result;

	if (!far)
		return BH_EPERM;
	spinlock_lock(&db_lock);
	result = db_offer(&vm->doorbells, arg[0], far->index);
	spinlock_unlock(&db_lock);
	return result;
}

int64_t doorbells_connect(struct vm *vm, const uint64_t arg[4])
{
	struct vm *far = peer_of(vm, arg[1]);
	int64_t result = BH_ECLOSED;

	if (!far)
		return BH_EPERM;
	spinlock_lock(&db_lock);
	/* Under the lock, and doorbells_gone() takes it after `ending` is set: no connection outlives its VM. */
	if (!atomic_load(&far->ending))
		result = db_connect(&vm->doorbells, vm->index, arg[0], &far->doorbells, far->index, arg[2]);
	spinlock_unlock(&db_lock);
	return result;
}

/* A page of the guest's own RAM that it names in a hypercall; NULL: it is none. */
static void *guest_page(struct vm *vm, uint64_t gpa)
{
	return gpa % PAGE_SIZE ? NULL : vm_ram(vm, gpa, PAGE_SIZE);
}

static int64_t drop_pages(struct vm *vm, uint64_t vcpu)
{
	int64_t result;

	spinlock_lock(&db_lock);
	result = db_drop_pages(&vm->doorbells, vcpu);
	wait_for_rings();
	spinlock_unlock(&db_lock);
	/* Misdirected upcalls are counted there, too: whoever is at that holds the lock that this takes and drops. */
	intr_retry(vm);
	return result;
}

int64_t doorbells_vcpu_pages(struct vm *vm, const uint64_t arg[4])
{
	int64_t result;

	if (!arg[1] && !arg[2])
		return drop_pages(vm, arg[0]);
	if (arg[1] == arg[2])
		return BH_EINVAL;
	spinlock_lock(&db_lock);
	result = db_set_pages(&vm->doorbells, arg[0], guest_page(vm, arg[1]), guest_page(vm, arg[2]));
	/* Bits that belong here and had no page to go to come now. */
	if (result >= 0)
		db_settle(&vm->doorbells, ALL_GROUPS);
	raise_groups_after(vm, result >= 0 ? 1u << arg[0] : 0, ALL_GROUPS);
	return result;
}

int64_t doorbells_mask_page(struct vm *vm, const uint64_t arg[4])
{
	void *mask = arg[0] ? guest_page(vm, arg[0]) : NULL;

	if (!mask && arg[0])
		return BH_EINVAL;
	db_set_mask(&vm->doorbells, mask);
	return 0;
}

int64_t doorbells_group_vector(struct vm *vm, const uint64_t arg[4])
{
	int64_t result;

	spinlock_lock(&db_lock);
	result = db_set_vector(&vm->doorbells, arg[0], arg[1], arg[2]);
	/* What gathered while there was no vector is announced now. */
	raise_groups_after(vm, result >= 0 ? 1u << arg[0] : 0, result >= 0 ? 1u << arg[1] : 0);
	return result;
}

int64_t doorbells_timer(struct vm *vm, const uint64_t arg[4])
{
	struct cpu *cpu = cpu_self();
	/* The deadline is in the caller's TSC; a VCPU may have set its own. */
	uint64_t deadline = arg[1] ? vcpu_host_time(cpu->current, tsc_now(), arg[1]) : DB_NEVER;
	int64_t result;

	/* As a ring: the timer that is found stays the port's until it is armed. */
	ring_begin(cpu);
	result = db_arm(&vm->doorbells, arg[0], deadline);
	ring_end(cpu);
	if (result >= 0)
		intr_deadline(vm, deadline);
	return result;
}

void doorbells_tick(struct vm *vm)
{
	struct cpu *cpu = cpu_self();
	struct db_effect effect;
	uint64_t now = tsc_now();
	uint32_t cursor = 0;

	ring_begin(cpu);
	while (db_due(&vm->doorbells, now, &cursor, &effect))
		intr_doorbell(vm, effect);
	ring_end(cpu);
}

void doorbells_gone(struct vm *vm)
{
	spinlock_lock(&db_lock);
	for (unsigned i = 0; i < vm_count; i++)
		db_disconnect(&vms[i]->doorbells, vm->index);
	wait_for_rings();
	spinlock_unlock(&db_lock);
}
