/* SPDX-License-Identifier: MIT */
/* Exit dispatch: the backend has decoded, this decides. */
#include "kernel/exit.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/mmio_exec.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"

#define APIC_MSR_COUNT 0x100u

#define APART static __attribute__((noinline))

static struct cpuid_answer *answer_of(struct vcpu *v)
{
	return &v->cpuid[(uint32_t)v->virt.gpr[RAX] % VCPU_CPUID_ANSWERS];
}

static inline bool answer(struct vcpu *v)
{
	const struct cpuid_answer *a = answer_of(v);

	v->virt.gpr[RAX] = a->reg[0];
	v->virt.gpr[RBX] = a->reg[1];
	v->virt.gpr[RCX] = a->reg[2];
	v->virt.gpr[RDX] = a->reg[3];
	return inbox_is_on(&v->inbox);
}

APART bool ask(struct vcpu *v)
{
	const struct cpuid_view view = {
		.apic_id = v->index,
		.vcpus = v->vm->vcpu_count,
		.x2apic = v->vm->config->x2apic,
		.apic_enabled = vlapic_is_enabled(&v->apic),
		.tsc_hz = tsc_hz,
	};
	struct cpuid_answer *a = answer_of(v);

	a->leaf = (uint32_t)v->virt.gpr[RAX];
	a->subleaf = (uint32_t)v->virt.gpr[RCX];
	cpuid_guest(&view, a->leaf, a->subleaf, a->reg);
	return answer(v);
}

/* The answers that a VCPU had last: nothing that they depend on changes, but IA32_APIC_BASE.EN. */
bool exit_cpuid(struct virt_vcpu *virtual)
{
	struct vcpu *v = vcpu_of(virtual);
	const struct cpuid_answer *a = answer_of(v);

	if (a->leaf == (uint32_t)v->virt.gpr[RAX] && a->subleaf == (uint32_t)v->virt.gpr[RCX])
		return answer(v);
	return ask(v);
}

/* No answer: a leaf that is looked for in another place. */
void exit_forget(struct vcpu *v)
{
	for (unsigned i = 0; i < VCPU_CPUID_ANSWERS; i++)
		v->cpuid[i].leaf = i + 1;
}

static inline uint64_t msr_value(const struct vcpu *v)
{
	return v->virt.gpr[RDX] << 32 | (uint32_t)v->virt.gpr[RAX];
}

APART bool access_msr(struct vcpu *v, bool write)
{
	uint32_t index = (uint32_t)v->virt.gpr[RCX];
	struct vlapic_effect effect;

	vcpu_settle(v);
	/* A register of the x2APIC, where speed counts; msr_exit() has the same for all others. */
	if (write && index - APIC_MSR_BASE < APIC_MSR_COUNT) {
		effect = vlapic_msr_write(&v->apic, index, msr_value(v), vcpu_tsc(v));
		if (effect.does & VLAPIC_FAULT)
			vcpu_fault(v, FAULT_GP, 0);
		else
			virt->vcpu_skip(&v->virt, 0);
		if (effect.does & ~(uint32_t)VLAPIC_FAULT)
			intr_effect(v, &effect);
	} else {
		msr_exit(v, index, write);
		v->deadline = VCPU_LOOK;
		if (index == APIC_BASE_MSR)
			exit_forget(v);
	}
	return !vcpu_ready(v);
}

bool exit_apic_write(struct virt_vcpu *virtual, uint32_t offset)
{
	struct vcpu *v = vcpu_of(virtual);
	struct vlapic_effect effect;

	vcpu_settle(v);
	effect = vlapic_written(&v->apic, offset, vcpu_tsc(v));
	intr_effect(v, &effect);
	return !vcpu_ready(v);
}

bool exit_eoi(struct virt_vcpu *virtual, uint8_t vector)
{
	struct vcpu *v = vcpu_of(virtual);
	struct vlapic_effect effect = vlapic_ended(&v->apic, vector);

	intr_effect(v, &effect);
	return !vcpu_ready(v);
}

/* For what changes nothing in this VCPU but its deadline: nothing else need be looked at. */
static inline bool step_over(struct vcpu *v)
{
	virt->vcpu_skip(&v->virt, 0);
	return inbox_is_on(&v->inbox);
}

APART bool write_icr(struct vcpu *v)
{
	return intr_ipi(v, msr_value(v)) ? step_over(v) : access_msr(v, true);
}

APART bool write_timer(struct vcpu *v, uint32_t index)
{
	uint64_t end;

	vcpu_settle(v);
	/* The guest's TSC at the exit is the time of the write. */
	end = vlapic_arm(&v->apic, index, msr_value(v), v->virt.exit_tsc + v->tsc_offset);

	if (!end)
		return access_msr(v, true);
	vcpu_armed(v, end);
	return step_over(v);
}

/* Without a frame of its own. */
bool exit_msr(struct virt_vcpu *virtual, bool write)
{
	struct vcpu *v = vcpu_of(virtual);
	uint32_t index = (uint32_t) virtual->gpr[RCX];

	if (write && index == APIC_MSR_BASE + APIC_ICR_LO)
		return write_icr(v);
	if (write && (index == APIC_MSR_BASE + APIC_TIMER_INITIAL || index == APIC_DEADLINE_MSR))
		return write_timer(v, index);
	return access_msr(v, write);
}

/* A device may do anything, but where there is none nothing has changed. */
bool exit_io(struct virt_vcpu *virtual, uint16_t port, unsigned size, bool in)
{
	struct vcpu *v = vcpu_of(virtual);

	if (__builtin_expect(platform_answers(port, size), 0)) {
		pio_exit(v, port, size, in);
		return !vcpu_ready(v);
	}
	if (in)
		insn_store(&virtual->gpr[RAX], UINT64_MAX, size);
	return inbox_is_on(&v->inbox);
}

void exit_dispatch(struct vcpu *v)
{
	const struct vm_exit *e = &v->virt.exit;
	const char *stuck = NULL;

	switch (e->kind) {
	case EXIT_RESUME:
	case EXIT_TIMER:
	case EXIT_TPR:
	case EXIT_WINDOW:
	case EXIT_HOST_IRQ:
		break; /* the run loop looks at everything before each entry */
	case EXIT_STRING_IO:
		if (!pio_string(v, e))
			stuck = "string I/O on memory that cannot be reached";
		break;
	case EXIT_MMIO:
		/* Code, page tables or a stack where no memory is: no PC goes on in a defined way. */
		if (e->mmio.stray || !mmio_exit(v, e))
			stuck = "access to memory that cannot be emulated";
		break;
	case EXIT_SHUTDOWN:
		stuck = "triple fault";
		break;
	case EXIT_UNKNOWN:
		stuck = "unhandled exit";
		break;
	}
	if (stuck)
		vcpu_park(v, stuck);
}
