/* SPDX-License-Identifier: MIT */
/*
 * VMCALL: arguments by the guest's mode, a table of calls, the result in RAX. docs/abi.md is the reference.
 */
#include "kernel/doorbells.h"
#include "kernel/vcpu.h"

static int64_t call_version(struct vm *vm, const uint64_t arg[4])
{
	(void)vm;
	(void)arg;
	return BH_ABI_VERSION;
}

static int64_t call_vm_stat(struct vm *vm, const uint64_t arg[4])
{
	uint64_t exits = 0, ticks = 0;

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		exits += atomic_load_explicit(&vm->vcpu[i]->virt.exits, memory_order_relaxed);
		ticks += atomic_load_explicit(&vm->vcpu[i]->virt.hv_ticks, memory_order_relaxed);
	}
	switch (arg[0]) {
	case BH_VM_EXITS:
		return (int64_t)exits;
	case BH_VM_HV_TICKS:
		return (int64_t)ticks;
	case BH_VM_MISDIRECTED:
		return (int64_t)atomic_load_explicit(&vm->misdirected, memory_order_relaxed);
	case BH_VM_TSC_HZ:
		return (int64_t)tsc_hz;
	default:
		return BH_EINVAL;
	}
}

static int64_t call_exit(struct vm *vm, const uint64_t arg[4])
{
	if (arg[0] > 255)
		return BH_EINVAL;
	vm_end(vm, VM_ENDED, (uint8_t)arg[0], "exit");
	return 0;
}

static hypercall *const calls[BH_CALLS] = {
	[BH_VERSION] = call_version,
	[BH_MASK_PAGE] = doorbells_mask_page,
	[BH_VCPU_PAGES] = doorbells_vcpu_pages,
	[BH_GROUP_VECTOR] = doorbells_group_vector,
	[BH_OPEN] = doorbells_open,
	[BH_CLOSE] = doorbells_close,
	[BH_REBIND] = doorbells_rebind,
	[BH_RING] = doorbells_ring,
	[BH_KICK] = doorbells_kick,
	[BH_PORT_STAT] = doorbells_port_stat,
	[BH_VM_STAT] = call_vm_stat,
	[BH_ROUTE] = doorbells_route,
	[BH_OFFER] = doorbells_offer,
	[BH_CONNECT] = doorbells_connect,
	[BH_EXIT] = call_exit,
	[BH_TIMER] = doorbells_timer,
	[BH_RING_MANY] = doorbells_ring_many,
};

static int64_t dispatch(struct vm *vm, uint64_t number, const uint64_t arg[4])
{
	return number < BH_CALLS ? calls[number](vm, arg) : BH_ENOCALL;
}

/* No call changes its VCPU but by the inbox: that alone tells whether to go straight back. */
static __attribute__((noinline)) bool call(struct vcpu *v, enum call_mode mode)
{
	uint64_t *gpr = v->virt.gpr;

	if (mode == CALL_64) {
		const uint64_t arg[4] = { gpr[RDI], gpr[RSI], gpr[RDX], gpr[R10] };

		gpr[RAX] = (uint64_t)dispatch(v->vm, gpr[RAX], arg);
	} else if (mode == CALL_32) {
		/* A deadline is the one argument that 32 bits cannot hold. */
		uint64_t upper = (uint32_t)gpr[RAX] == BH_TIMER ? gpr[RDX] << 32 : 0;
		const uint64_t arg[4] = { (uint32_t)gpr[RBX], upper | (uint32_t)gpr[RCX], (uint32_t)gpr[RDX],
			                  (uint32_t)gpr[RSI] };

		gpr[RAX] = (uint32_t)dispatch(v->vm, (uint32_t)gpr[RAX], arg);
	} else {
		gpr[RAX] = (uint64_t)BH_EPERM;
	}
	return inbox_is_on(&v->inbox) && !vcpu_continue(v);
}

static __attribute__((noinline)) bool ring(struct vcpu *v)
{
	v->virt.gpr[RAX] = (uint64_t)doorbells_ring(v->vm, &v->virt.gpr[RDI]);
	return inbox_is_on(&v->inbox) && !vcpu_continue(v);
}

static __attribute__((noinline)) bool other(struct vcpu *v, enum call_mode mode)
{
	return mode == CALL_64 && v->virt.gpr[RAX] == BH_RING ? ring(v) : call(v, mode);
}

/*
 * BH_VERSION, without arguments, is the null call: it shows what a call costs at least. A ring, of one argument, is the call
 * that all others are for.
 */
bool exit_hypercall(struct virt_vcpu *v, enum call_mode mode)
{
	if (mode != CALL_64 || v->gpr[RAX] != BH_VERSION)
		return other(vcpu_of(v), mode);
	v->gpr[RAX] = BH_ABI_VERSION;
	return inbox_is_on(&vcpu_of(v)->inbox);
}
