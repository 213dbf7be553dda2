/* SPDX-License-Identifier: MIT */
/* Guest-linear memory, as an emulated instruction sees it. */
#include "arch/x86/gwalk.h"
#include "kernel/exit.h"
#include "kernel/string.h"
#include "kernel/vcpu.h"

#define CR4_PAE  (1u << 5)
#define EFER_LMA (1u << 10)

static bool read_entry(void *context, uint64_t gpa, unsigned size, uint64_t *value)
{
	const struct vm *vm = context;
	void *at = vm_ram(vm, gpa, size);

	if (!at)
		return false;
	if (size == 8)
		*value = __atomic_load_n((uint64_t *)at, __ATOMIC_RELAXED);
	else
		*value = __atomic_load_n((uint32_t *)at, __ATOMIC_RELAXED);
	return true;
}

static bool update_entry(void *context, uint64_t gpa, unsigned size, uint64_t expected, uint64_t desired)
{
	const struct vm *vm = context;
	void *at = vm_ram(vm, gpa, size);
	uint32_t expected32 = (uint32_t)expected;

	if (!at)
		return true;
	if (size == 8)
		return __atomic_compare_exchange_n((uint64_t *)at, &expected, desired, false,
		                                   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)at, &expected32, (uint32_t)desired, false,
	                                   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static void load_walk(struct vcpu *v, struct gwalk_cpu *cpu)
{
	*cpu = (struct gwalk_cpu){
		.cr0 = virt->vcpu_get(&v->virt, VREG_CR0),
		.cr3 = virt->vcpu_get(&v->virt, VREG_CR3),
		.cr4 = virt->vcpu_get(&v->virt, VREG_CR4),
		.efer = virt->vcpu_get(&v->virt, VREG_EFER),
		.rflags = virt->vcpu_get(&v->virt, VREG_RFLAGS),
		.physical_bits = v->apic.config.phys_bits,
		.gigabyte_pages = true,
	};
	/* SDM vol. 3, "PAE Paging": the PDPTE registers count in that mode only. */
	for (unsigned i = 0; i < 4 && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA); i++)
		cpu->pdpte[i] = virt->vcpu_get(&v->virt, VREG_PDPTE0 + i);
}

enum guest_result guest_translate(struct vcpu *v, uint64_t linear, unsigned access, uint64_t *gpa)
{
	const struct gwalk_memory memory = { .read = read_entry, .update = update_entry, .context = v->vm };
	struct gwalk_cpu cpu;
	uint32_t error = 0;

	load_walk(v, &cpu);
	switch (gwalk(&cpu, linear, access, &memory, gpa, &error)) {
	case GWALK_OK:
		return GUEST_DONE;
	case GWALK_FAULT:
		virt->vcpu_set(&v->virt, VREG_CR2, linear);
		vcpu_fault(v, FAULT_PF, (int32_t)error);
		return GUEST_FAULTED;
	case GWALK_NON_CANONICAL:
		vcpu_fault(v, FAULT_GP, 0);
		return GUEST_FAULTED;
	case GWALK_NO_TABLE:
		return GUEST_LOST;
	case GWALK_RETRY:
		return GUEST_RETRY;
	}
	return GUEST_LOST;
}

enum guest_result guest_copy(struct vcpu *v, uint64_t linear, void *bytes, unsigned size, unsigned access)
{
	uint8_t *at = bytes;

	while (size) {
		unsigned piece = (unsigned)(PAGE_SIZE - linear % PAGE_SIZE);
		enum guest_result result;
		uint64_t gpa;
		void *ram;

		piece = piece < size ? piece : size;
		result = guest_translate(v, linear, access, &gpa);
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
