/* SPDX-License-Identifier: MIT */
/* RDMSR and WRMSR: the policy table says who answers for a register; what it does not list is #GP. */
#include "arch/x86/msr.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"

#define MSR_TSC          0x10u
#define MSR_TSC_DEADLINE 0x6e0u

static bool apic_read(struct vcpu *v, uint32_t index, uint64_t *value)
{
	uint64_t now = vcpu_tsc(v);

	switch (index) {
	case APIC_BASE_MSR:
		*value = vlapic_base_read(&v->apic);
		return true;
	case MSR_TSC_DEADLINE:
		*value = vlapic_tsc_deadline_read(&v->apic, now);
		return true;
	default:
		return vlapic_msr_read(&v->apic, index, value, now);
	}
}

static bool apic_write(struct vcpu *v, uint32_t index, uint64_t value)
{
	uint64_t now = vcpu_tsc(v);
	struct vlapic_effect effect;

	switch (index) {
	case APIC_BASE_MSR:
		effect = vlapic_base_write(&v->apic, value);
		break;
	case MSR_TSC_DEADLINE:
		effect = vlapic_tsc_deadline_write(&v->apic, value, now);
		break;
	default:
		effect = vlapic_msr_write(&v->apic, index, value, now);
		break;
	}
	if (effect.does & VLAPIC_FAULT)
		return false;
	intr_effect(v, &effect);
	return true;
}

/* The guest sets its TSC: the offset changes, and the LAPIC timer's count goes on as before. */
static void write_tsc(struct vcpu *v, uint64_t value)
{
	uint64_t offset = value - tsc_now();

	vlapic_tsc_moved(&v->apic, offset - v->tsc_offset);
	v->tsc_offset = offset;
	virt->vcpu_set(&v->virt, VREG_TSC_OFFSET, offset);
}

static bool read_msr(struct vcpu *v, uint32_t index, uint64_t *value)
{
	const struct msr_rule *rule = msr_find(index);

	if (!rule)
		return false;
	switch (rule->kind) {
	case MSR_CONST:
		*value = rule->value;
		return true;
	case MSR_BACKEND:
		return virt->vcpu_msr_read(&v->virt, index, value);
	case MSR_APIC:
		return apic_read(v, index, value);
	}
	return false;
}

static bool write_msr(struct vcpu *v, uint32_t index, uint64_t value)
{
	const struct msr_rule *rule = msr_find(index);

	if (!rule)
		return false;
	if (index == MSR_TSC) {
		write_tsc(v, value);
		return true;
	}
	switch (rule->kind) {
	case MSR_CONST:
		return msr_const_write(rule, value);
	case MSR_BACKEND:
		return virt->vcpu_msr_write(&v->virt, index, value);
	case MSR_APIC:
		return apic_write(v, index, value);
	}
	return false;
}

bool msr_exit(struct vcpu *v, const struct vm_exit *e)
{
	uint64_t *gpr = v->virt.gpr, value = 0;
	bool exists;

	if (e->msr.write) {
		exists = write_msr(v, e->msr.index, gpr[RDX] << 32 | (uint32_t)gpr[RAX]);
	} else {
		exists = read_msr(v, e->msr.index, &value);
		if (exists) {
			gpr[RAX] = (uint32_t)value;
			gpr[RDX] = value >> 32;
		}
	}
	if (exists)
		virt->vcpu_skip(&v->virt, e->insn_len);
	else
		vcpu_fault(v, FAULT_GP, 0);
	return true;
}
