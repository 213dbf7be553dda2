/* SPDX-License-Identifier: MIT */
/* Guest-linear memory, as an emulated instruction sees it. */
#include "arch/x86/cpureg.h"
#include "kernel/exit.h"
#include "kernel/string.h"
#include "kernel/vcpu.h"

#define DPL_SHIFT 5 /* in a segment's access rights */

void guest_load(struct vcpu *v, struct gwalk_cpu *cpu)
{
	struct virt_segment ss;

	/* SDM vol. 3, "Guest Register State": CPL is the DPL of SS, in every mode. */
	virt->vcpu_segment(&v->virt, SEG_SS, &ss);
	cpu->user = (ss.rights >> DPL_SHIFT & 3) == 3;
	cpu->cr0 = virt->vcpu_get(&v->virt, VREG_CR0);
	cpu->cr3 = virt->vcpu_get(&v->virt, VREG_CR3);
	cpu->cr4 = virt->vcpu_get(&v->virt, VREG_CR4);
	cpu->efer = virt->vcpu_get(&v->virt, VREG_EFER);
	cpu->rflags = virt->vcpu_get(&v->virt, VREG_RFLAGS);
	cpu->physical_bits = v->apic.config.phys_bits;
	cpu->gigabyte_pages = v->vm->gigabyte_pages;
	cpu->trail = NULL;
	/* SDM vol. 3, "PAE Paging": the PDPTE registers count in that mode only. */
	for (unsigned i = 0; i < 4 && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA); i++)
		cpu->pdpte[i] = virt->vcpu_get(&v->virt, VREG_PDPTE0 + i);
}

enum guest_result guest_translate(struct vcpu *v, const struct gwalk_cpu *cpu, uint64_t linear,
                                  unsigned access, uint64_t *gpa)
{
	uint32_t error;

	switch (gwalk(cpu, v->vm, linear, access, gpa, &error)) {
	case GWALK_OK:
		return GUEST_DONE;
	case GWALK_FAULT:
		virt->vcpu_set(&v->virt, VREG_CR2, linear);
		vcpu_fault(v, FAULT_PF, (int32_t)error);
		return GUEST_AGAIN;
	case GWALK_NON_CANONICAL:
		vcpu_fault(v, FAULT_GP, 0);
		return GUEST_AGAIN;
	case GWALK_RETRY:
		return GUEST_AGAIN;
	case GWALK_NO_TABLE:
		break;
	}
	return GUEST_LOST;
}

enum guest_result guest_copy(struct vcpu *v, const struct gwalk_cpu *cpu, uint64_t linear, void *bytes,
                             unsigned size, unsigned access)
{
	uint8_t *at = bytes;

	while (size) {
		unsigned room = (unsigned)(PAGE_SIZE - linear % PAGE_SIZE), piece = room < size ? room : size;
		uint64_t gpa;
		enum guest_result result = guest_translate(v, cpu, linear, access, &gpa);
		void *ram;

		if (result != GUEST_DONE)
			return result;
		ram = vm_ram(v->vm, gpa, piece);
		if (!ram)
			return GUEST_LOST;
		if (access & GWALK_WRITE)
			memcpy(ram, at, piece);
		else
			memcpy(at, ram, piece);
		at += piece;
		linear += piece;
		size -= piece;
	}
	return GUEST_DONE;
}
