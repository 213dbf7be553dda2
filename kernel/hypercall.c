/* SPDX-License-Identifier: MIT */
/* VMCALL: arguments by the guest's mode, a table of calls, the result in RAX. docs/abi.md is the reference. */
#include "kernel/doorbells.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"

#define EFER_LMA  (1u << 10)
#define CS_L      (1u << 13)
#define CPL_SHIFT 5

typedef int64_t (*hypercall)(struct vcpu *v, const uint64_t arg[4]);

static int64_t call_version(struct vcpu *v, const uint64_t arg[4])
{
	(void)v;
	(void)arg;
	return BH_ABI_VERSION;
}

static int64_t call_mask_page(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_mask_page(v->vm, arg[0]);
}

static int64_t call_vcpu_pages(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_vcpu_pages(v->vm, arg[0], arg[1], arg[2]);
}

static int64_t call_group_vector(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_vector(v->vm, arg[0], arg[1], arg[2]);
}

static int64_t call_open(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_open(v->vm, arg[0], arg[1], arg[2]);
}

static int64_t call_close(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_close(v->vm, arg[0]);
}

static int64_t call_rebind(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_rebind(v->vm, arg[0], arg[1]);
}

static int64_t call_ring(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_ring(v->vm, arg[0]);
}

static int64_t call_kick(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_kick(v->vm, arg[0]);
}

static int64_t call_port_stat(struct vcpu *v, const uint64_t arg[4])
{
	return db_stat(&v->vm->doorbells, arg[0], arg[1]);
}

static int64_t call_vm_stat(struct vcpu *v, const uint64_t arg[4])
{
	uint64_t sum = 0;

	if (arg[0] == BH_VM_TSC_HZ)
		return (int64_t)tsc_hz;
	if (arg[0] == BH_VM_MISDIRECTED)
		return (int64_t)atomic_load_explicit(&v->vm->misdirected, memory_order_relaxed);
	if (arg[0] != BH_VM_EXITS && arg[0] != BH_VM_HV_TICKS)
		return BH_EINVAL;
	for (unsigned i = 0; i < v->vm->vcpu_count; i++) {
		struct vcpu *other = v->vm->vcpu[i];

		sum += atomic_load_explicit(arg[0] == BH_VM_EXITS ? &other->exits : &other->hv_ticks,
		                            memory_order_relaxed);
	}
	return (int64_t)sum;
}

static int64_t call_route(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_route(v->vm, arg[0]);
}

static int64_t call_offer(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_offer(v->vm, arg[0], arg[1]);
}

static int64_t call_connect(struct vcpu *v, const uint64_t arg[4])
{
	return doorbells_connect(v->vm, arg[0], arg[1], arg[2]);
}

static int64_t call_exit(struct vcpu *v, const uint64_t arg[4])
{
	if (arg[0] > 255)
		return BH_EINVAL;
	vm_end(v->vm, VM_ENDED, (uint8_t)arg[0], "exit");
	return 0;
}

static const hypercall calls[BH_CALLS] = {
	[BH_VERSION] = call_version,
	[BH_MASK_PAGE] = call_mask_page,
	[BH_VCPU_PAGES] = call_vcpu_pages,
	[BH_GROUP_VECTOR] = call_group_vector,
	[BH_OPEN] = call_open,
	[BH_CLOSE] = call_close,
	[BH_REBIND] = call_rebind,
	[BH_RING] = call_ring,
	[BH_KICK] = call_kick,
	[BH_PORT_STAT] = call_port_stat,
	[BH_VM_STAT] = call_vm_stat,
	[BH_ROUTE] = call_route,
	[BH_OFFER] = call_offer,
	[BH_CONNECT] = call_connect,
	[BH_EXIT] = call_exit,
};

static int64_t dispatch(struct vcpu *v, uint64_t number, const uint64_t arg[4])
{
	return number < BH_CALLS ? calls[number](v, arg) : BH_ENOCALL;
}

static bool is_64bit(struct vcpu *v)
{
	struct virt_segment cs;

	virt->vcpu_segment(&v->virt, SEG_CS, &cs);
	return (cs.rights & CS_L) && (virt->vcpu_get(&v->virt, VREG_EFER) & EFER_LMA);
}

bool hypercall_exit(struct vcpu *v, const struct vm_exit *e)
{
	uint64_t *gpr = v->virt.gpr;
	struct virt_segment ss;

	virt->vcpu_segment(&v->virt, SEG_SS, &ss);
	if (ss.rights >> CPL_SHIFT & 3) {
		gpr[RAX] = (uint64_t)BH_EPERM;
	} else if (is_64bit(v)) {
		const uint64_t arg[4] = { gpr[RDI], gpr[RSI], gpr[RDX], gpr[R10] };

		gpr[RAX] = (uint64_t)dispatch(v, gpr[RAX], arg);
	} else {
		const uint64_t arg[4] = { (uint32_t)gpr[RBX], (uint32_t)gpr[RCX], (uint32_t)gpr[RDX],
			                  (uint32_t)gpr[RSI] };

		gpr[RAX] = (uint32_t)dispatch(v, (uint32_t)gpr[RAX], arg);
	}
	virt->vcpu_skip(&v->virt, e->insn_len);
	return true;
}
