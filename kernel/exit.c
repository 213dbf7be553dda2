/* SPDX-License-Identifier: MIT */
/* Exit dispatch: the backend has decoded, this decides. */
#include "kernel/exit.h"

#include "arch/x86/cpuid.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"

static bool cpuid_exit(struct vcpu *v, const struct vm_exit *e)
{
	uint64_t *gpr = v->virt.gpr;
	struct cpuid_view view = {
		.apic_id = v->index,
		.vcpus = v->vm->vcpu_count,
		.x2apic = v->vm->config->x2apic,
		.apic_enabled = vlapic_is_enabled(&v->apic),
	};
	uint32_t out[4];

	cpuid_guest(&view, (uint32_t)gpr[RAX], (uint32_t)gpr[RCX], out);
	gpr[RAX] = out[0];
	gpr[RBX] = out[1];
	gpr[RCX] = out[2];
	gpr[RDX] = out[3];
	virt->vcpu_skip(&v->virt, e->insn_len);
	return true;
}

static bool hlt_exit(struct vcpu *v, const struct vm_exit *e)
{
	virt->vcpu_skip(&v->virt, e->insn_len);
	v->state = VCPU_HALTED;
	return true;
}

static bool nop_exit(struct vcpu *v, const struct vm_exit *e)
{
	virt->vcpu_skip(&v->virt, e->insn_len);
	return true;
}

static bool undefined_exit(struct vcpu *v)
{
	vcpu_fault(v, FAULT_UD, -1);
	return true;
}

void exit_dispatch(struct vcpu *v, const struct vm_exit *e)
{
	const char *reason = "unhandled exit";
	bool handled = false;

	switch (e->kind) {
	case EXIT_RESUME:
	case EXIT_TIMER:
	case EXIT_TPR:
	case EXIT_WINDOW:
		handled = true; /* the run loop looks at everything before each entry */
		break;
	case EXIT_HOST_IRQ:
		irq_finish(e->vector);
		handled = true;
		break;
	case EXIT_CPUID:
		handled = cpuid_exit(v, e);
		break;
	case EXIT_MSR:
		handled = msr_exit(v, e);
		break;
	case EXIT_IO:
		handled = pio_exit(v, e);
		break;
	case EXIT_MMIO:
		handled = mmio_exit(v, e);
		reason = "access to memory that cannot be emulated";
		break;
	case EXIT_HLT:
		handled = hlt_exit(v, e);
		break;
	case EXIT_HYPERCALL:
		handled = hypercall_exit(v, e);
		break;
	case EXIT_UNDEFINED:
		handled = undefined_exit(v);
		break;
	case EXIT_NOP:
		handled = nop_exit(v, e);
		break;
	case EXIT_SHUTDOWN:
		reason = "triple fault";
		break;
	case EXIT_UNKNOWN:
		break;
	}
	if (!handled)
		vcpu_park(v, e, reason);
}
