/* SPDX-License-Identifier: MIT */
/* RDMSR and WRMSR: the policy table says who answers for a register; what it does not list is #GP. */
#include "arch/x86/msr.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"

#define MSR_TSC        0x10u
#define MSR_TSC_ADJUST 0x3bu

static bool apic_read(struct vcpu *v, uint32_t index, uint64_t *value)
{
	if (index == APIC_BASE_MSR)
		*value = vlapic_base_read(&v->apic);
	else if (index == APIC_DEADLINE_MSR)
		*value = vlapic_tsc_deadline_read(&v->apic, vcpu_tsc(v));
	else
		return vlapic_msr_read(&v->apic, index, value, vcpu_tsc(v));
	return true;
}

static bool apic_write(struct vcpu *v, uint32_t index, uint64_t value)
{
	struct vlapic_effect effect;

	if (index == APIC_BASE_MSR)
		effect = vlapic_base_write(&v->apic, value);
	else if (index == APIC_DEADLINE_MSR)
		effect = vlapic_tsc_deadline_write(&v->apic, value, vcpu_tsc(v));
	else
		effect = vlapic_msr_write(&v->apic, index, value, vcpu_tsc(v));
	if (effect.does & VLAPIC_FAULT)
		return false;
	intr_effect(v, &effect);
	return true;
}

/*
 * The guest sets its TSC or IA32_TSC_ADJUST, which is the sum of all such changes since reset (SDM vol. 3, "Time-Stamp
 * Counter Adjustment"): here that is the offset. The offset changes, and the LAPIC timer's count goes on as before.
 */
static bool move_tsc(struct vcpu *v, uint64_t offset)
{
	uint64_t now = tsc_now();

	vlapic_tsc_moved(&v->apic, now + v->tsc_offset, now + offset);
	v->tsc_offset = offset;
	virt->vcpu_set(&v->virt, VREG_TSC_OFFSET, offset);
	return true;
}

/* Either way, `value` is in or out. False: #GP. */
static bool access_msr(struct vcpu *v, uint32_t index, bool write, uint64_t *value)
{
	const struct msr_rule *rule = msr_find(index);

	if (!rule)
		return false;
	switch (rule->kind) {
	case MSR_CONST:
		if (!write)
			*value = rule->value ^ (v->msr_flips & rule->kept);
		else if (!msr_const_write(rule, *value))
			return false;
		else if (rule->kept)
			v->msr_flips = *value ^ rule->value;
		return true;
	case MSR_BACKEND:
		/* A read exits only if this CPU has no such register. */
		if (index == MSR_TSC)
			return write && move_tsc(v, *value - tsc_now());
		if (index == MSR_TSC_ADJUST && write)
			return move_tsc(v, *value);
		if (index == MSR_TSC_ADJUST) {
			*value = v->tsc_offset;
			return true;
		}
		return write && virt->vcpu_msr_write(&v->virt, index, *value);
	case MSR_APIC:
		return write ? apic_write(v, index, *value) : apic_read(v, index, value);
	}
	return false;
}

void msr_exit(struct vcpu *v, uint32_t index, bool write)
{
	uint64_t *gpr = v->virt.gpr, value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];

	if (!access_msr(v, index, write, &value)) {
		vcpu_fault(v, FAULT_GP, 0);
		return;
	}
	if (!write) {
		gpr[RAX] = (uint32_t)value;
		gpr[RDX] = value >> 32;
	}
	virt->vcpu_skip(&v->virt, 0);
}
