/* SPDX-License-Identifier: MIT */
/* Port I/O: the interrupt controllers' ports first, the platform's after them. */
#include "arch/x86/gwalk.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/vcpu.h"

#define RFLAGS_DF (1u << 10)
#define CPL_SHIFT 5

/* The controllers are 8-bit devices: a wider access is one access a byte, as on an 8-bit bus. */
static uint32_t read_port(struct vm *vm, uint16_t port, unsigned size)
{
	uint32_t value = 0;
	uint8_t byte;

	if (!intr_port_read(vm, port, &byte))
		return platform_in(vm, port, size);
	value = byte;
	for (unsigned i = 1; i < size; i++) {
		if (!intr_port_read(vm, (uint16_t)(port + i), &byte))
			byte = (uint8_t)platform_in(vm, (uint16_t)(port + i), 1);
		value |= (uint32_t)byte << i * 8;
	}
	return value;
}

static void write_port(struct vm *vm, uint16_t port, unsigned size, uint32_t value)
{
	if (!intr_port_write(vm, port, (uint8_t)value)) {
		platform_out(vm, port, size, value);
		return;
	}
	for (unsigned i = 1; i < size; i++) {
		if (!intr_port_write(vm, (uint16_t)(port + i), (uint8_t)(value >> i * 8)))
			platform_out(vm, (uint16_t)(port + i), 1, value >> i * 8 & 0xff);
	}
}

/* SDM vol. 1, "General-Purpose Registers in 64-Bit Mode": a 32-bit result clears the upper half, others keep it. */
static void set_rax(uint64_t *rax, unsigned size, uint32_t value)
{
	if (size == 1)
		*rax = (*rax & ~0xffull) | (value & 0xff);
	else if (size == 2)
		*rax = (*rax & ~0xffffull) | (value & 0xffff);
	else
		*rax = value;
}

static uint64_t add_wrapped(uint64_t reg, int64_t delta, unsigned address_size)
{
	uint64_t sum = reg + (uint64_t)delta;

	if (address_size == 8)
		return sum;
	if (address_size == 4)
		return (uint32_t)sum;
	return (reg & ~0xffffull) | (sum & 0xffff);
}

/*
 * INS and OUTS, one element an exit: a repeated one exits again from the same RIP, so that interrupts are taken
 * in between as SDM vol. 2 asks of "REP". The address comes with the exit; only the registers move here.
 */
static bool string_io(struct vcpu *v, const struct vm_exit *e)
{
	struct virt_segment ss;
	unsigned size = e->io.address_size, user;
	uint64_t *gpr = v->virt.gpr, *index = &gpr[e->io.in ? RDI : RSI];
	uint64_t count = size == 8 ? gpr[RCX] : size == 4 ? (uint32_t)gpr[RCX] : (uint16_t)gpr[RCX];
	int64_t step = virt->vcpu_get(&v->virt, VREG_RFLAGS) & RFLAGS_DF ? -e->io.size : e->io.size;
	enum guest_result result;
	uint32_t value = 0;

	if (e->io.rep && !count) {
		virt->vcpu_skip(&v->virt, e->insn_len);
		return true;
	}
	virt->vcpu_segment(&v->virt, SEG_SS, &ss);
	user = (ss.rights >> CPL_SHIFT & 3) == 3 ? GWALK_USER : 0;
	if (e->io.in) {
		uint64_t gpa;

		/* The fault comes before the access, which may have effects at the device. */
		result = guest_translate(v, e->io.linear, GWALK_WRITE | user, &gpa);
		if (result == GUEST_DONE) {
			value = read_port(v->vm, e->io.port, e->io.size);
			result = guest_copy(v, e->io.linear, &value, e->io.size, GWALK_WRITE | user);
		}
	} else {
		result = guest_copy(v, e->io.linear, &value, e->io.size, user);
		if (result == GUEST_DONE)
			write_port(v->vm, e->io.port, e->io.size, value);
	}
	if (result != GUEST_DONE)
		return result != GUEST_LOST;
	*index = add_wrapped(*index, step, size);
	if (e->io.rep)
		gpr[RCX] = add_wrapped(gpr[RCX], -1, size);
	if (!e->io.rep || count == 1)
		virt->vcpu_skip(&v->virt, e->insn_len);
	return true;
}

bool pio_exit(struct vcpu *v, const struct vm_exit *e)
{
	if (e->io.string)
		return string_io(v, e);
	if (e->io.in)
		set_rax(&v->virt.gpr[RAX], e->io.size, read_port(v->vm, e->io.port, e->io.size));
	else
		write_port(v->vm, e->io.port, e->io.size, (uint32_t)v->virt.gpr[RAX]);
	virt->vcpu_skip(&v->virt, e->insn_len);
	return true;
}
