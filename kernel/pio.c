/* SPDX-License-Identifier: MIT */
/* Port I/O: the interrupt controllers' ports first, the platform's after them. */
#include "arch/x86/mmio_exec.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"

#define RFLAGS_DF (1u << 10)

/* The controllers are 8-bit devices: a wider access is one access a byte, as on an 8-bit bus. */
static uint32_t access_port(struct vm *vm, uint16_t port, unsigned size, bool in, uint32_t out)
{
	unsigned step = platform_ports[port] & PLATFORM_CHIP ? 1 : size;
	uint32_t value = 0;

	for (unsigned i = 0; i < size; i += step) {
		uint16_t at = (uint16_t)(port + i);
		uint8_t byte = (uint8_t)(out >> 8 * i);

		if (platform_ports[at] & PLATFORM_CHIP) {
			intr_port(vm, at, in, &byte);
			value |= (uint32_t)byte << 8 * i;
		} else {
			value |= platform_access(vm, at, step, !in, out >> 8 * i) << 8 * i;
		}
	}
	return value;
}

/* The access itself. The guest's fault comes before the device's effects. */
static enum guest_result transfer(struct vcpu *v, const struct vm_exit *e, const struct gwalk_cpu *walk)
{
	enum guest_result result;
	uint32_t value = 0;
	uint64_t gpa;

	if (e->io.in) {
		result = guest_translate(v, walk, e->io.linear, GWALK_WRITE, &gpa);
		if (result != GUEST_DONE)
			return result;
		value = access_port(v->vm, e->io.port, e->io.size, true, 0);
		return guest_copy(v, walk, e->io.linear, &value, e->io.size, GWALK_WRITE);
	}
	result = guest_copy(v, walk, e->io.linear, &value, e->io.size, GWALK_READ);
	if (result == GUEST_DONE)
		access_port(v->vm, e->io.port, e->io.size, false, value);
	return result;
}

/*
 * INS and OUTS, one element an exit: a repeated one exits again from the same RIP, so that interrupts are
 * taken in between as SDM vol. 2 asks of "REP". The address comes with the exit; only the registers move here.
 */
bool pio_string(struct vcpu *v, const struct vm_exit *e)
{
	unsigned size = e->io.address_size;
	uint64_t *gpr = v->virt.gpr, *index = &gpr[e->io.in ? RDI : RSI];
	uint64_t count = e->io.rep ? insn_cut(gpr[RCX], size) : 1;

	if (count) {
		struct gwalk_cpu walk;
		enum guest_result result;

		guest_load(v, &walk);
		result = transfer(v, e, &walk);
		if (result != GUEST_DONE)
			return result != GUEST_LOST;
		insn_store(index, walk.rflags & RFLAGS_DF ? *index - e->io.size : *index + e->io.size, size);
		if (e->io.rep)
			insn_store(&gpr[RCX], count - 1, size);
	}
	if (count <= 1)
		virt->vcpu_skip(&v->virt, 0);
	return true;
}

void pio_exit(struct vcpu *v, uint16_t port, unsigned size, bool in)
{
	uint64_t *rax = &v->virt.gpr[RAX];
	uint32_t value = access_port(v->vm, port, size, in, (uint32_t)*rax);

	if (in)
		insn_store(rax, value, size);
}
