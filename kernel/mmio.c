/* SPDX-License-Identifier: MIT */
/* Accesses to memory that is not mapped: the interrupt controllers' pages, or nothing at all. */
#include "arch/x86/gwalk.h"
#include "arch/x86/mmio_exec.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/string.h"
#include "kernel/vcpu.h"

#define IOAPIC_PAGE 0xfec00000ull
#define CPL_SHIFT   5 /* DPL in a segment's access rights */

/* The page as a bus of 32-bit registers: a narrower access sees its part of the register it falls into. */
static uint64_t part_of(uint32_t value, uint64_t gpa, unsigned size)
{
	uint64_t shifted = (uint64_t)value >> gpa % 4 * 8;

	return size >= 4 ? shifted : shifted & ((1ull << size * 8) - 1);
}

static uint64_t all_ones(unsigned size)
{
	return size == 8 ? UINT64_MAX : (1ull << size * 8) - 1;
}

static bool is_lapic(const struct vcpu *v, uint64_t gpa)
{
	return vlapic_is_enabled(&v->apic) && !vlapic_is_x2apic(&v->apic) &&
	       gpa >> 12 == vlapic_base_read(&v->apic) >> 12;
}

/* SDM vol. 3, "Local APIC Register Address Map": 32-bit accesses at multiples of 16; the rest is undefined. */
static uint64_t read_device(struct vcpu *v, uint64_t gpa, unsigned size)
{
	uint32_t offset = gpa % PAGE_SIZE;
	uint64_t value;

	if (is_lapic(v, gpa))
		return part_of(vlapic_mmio_read(&v->apic, offset & ~3u, vcpu_tsc(v)), gpa, size);
	if (gpa >> 12 == IOAPIC_PAGE >> 12)
		return part_of(intr_ioapic_read(v->vm, offset & ~3u), gpa, size);
	if (platform_mmio(v->vm, gpa, size, false, &value))
		return value;
	return all_ones(size);
}

static void write_device(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t value)
{
	uint32_t offset = gpa % PAGE_SIZE;

	if (is_lapic(v, gpa)) {
		struct vlapic_effect effect;

		effect = vlapic_mmio_write(&v->apic, offset, (uint32_t)value, vcpu_tsc(v));
		intr_effect(v, &effect);
	} else if (gpa >> 12 == IOAPIC_PAGE >> 12) {
		intr_ioapic_write(v->vm, offset, (uint32_t)value);
	} else {
		platform_mmio(v->vm, gpa, size, true, &value);
	}
}

/* One side of an instruction: RAM (the other half of a MOVS, or a walk into another page) or a device. */
static enum guest_result access(struct vcpu *v, uint64_t linear, unsigned size, unsigned rights,
                                uint64_t *value)
{
	uint64_t gpa;
	enum guest_result result = guest_translate(v, linear, rights, &gpa);

	if (result != GUEST_DONE)
		return result;
	if (vm_ram(v->vm, gpa, 1))
		return guest_copy(v, linear, value, size, rights);
	if (rights & GWALK_WRITE)
		write_device(v, gpa, size, *value);
	else
		*value = read_device(v, gpa, size);
	return GUEST_DONE;
}

/* Does one iteration: translate everything that may fault first, then the accesses, then the registers. */
static enum guest_result iterate(struct vcpu *v, const struct insn *insn, struct insn_cpu *cpu, unsigned user)
{
	uint64_t value = 0, gpa;
	enum guest_result result;

	if (insn_is_over(insn, cpu)) {
		insn_skip(insn, cpu);
		return GUEST_DONE;
	}
	if (insn_writes(insn)) {
		uint64_t linear = insn_linear(insn, cpu, INSN_WRITE);

		result = guest_translate(v, linear, GWALK_WRITE | user, &gpa);
		if (result != GUEST_DONE)
			return result;
	}
	if (insn_reads(insn)) {
		result = access(v, insn_linear(insn, cpu, INSN_READ), insn->size, user, &value);
		if (result != GUEST_DONE)
			return result;
	}
	if (insn_writes(insn)) {
		uint64_t linear = insn_linear(insn, cpu, INSN_WRITE);

		value = insn_finish(insn, cpu, value);
		return access(v, linear, insn->size, GWALK_WRITE | user, &value);
	}
	insn_finish(insn, cpu, value);
	return GUEST_DONE;
}

static enum decode_mode mode_of(struct vcpu *v, const struct virt_segment *cs)
{
	/* SDM vol. 3, "Operating Modes": L counts in IA-32e mode only; D is the default size otherwise. */
	if ((virt->vcpu_get(&v->virt, VREG_EFER) & 1u << 10) && (cs->rights & 1u << 13))
		return DECODE_64;
	return cs->rights & 1u << 14 ? DECODE_32 : DECODE_16;
}

/* Fetches and decodes at CS:RIP. A page-crossing instruction takes a second fetch, and only then. */
static enum guest_result fetch(struct vcpu *v, uint64_t linear, enum decode_mode mode, unsigned user,
                               struct insn *insn)
{
	uint8_t bytes[INSN_MAX_LENGTH];
	unsigned first = (unsigned)(PAGE_SIZE - linear % PAGE_SIZE);
	enum guest_result result;
	int error;

	first = first < sizeof(bytes) ? first : sizeof(bytes);
	result = guest_copy(v, linear, bytes, first, GWALK_FETCH | user);
	if (result != GUEST_DONE)
		return result;
	error = decode_insn(bytes, first, mode, insn);
	if (error == DECODE_MORE && first < sizeof(bytes)) {
		result = guest_copy(v, linear + first, bytes + first, sizeof(bytes) - first,
		                    GWALK_FETCH | user);
		if (result != GUEST_DONE)
			return result;
		error = decode_insn(bytes, sizeof(bytes), mode, insn);
	}
	if (error == DECODE_ILLEGAL)
		return GUEST_RETRY; /* the code has changed since the exit */
	return error ? GUEST_LOST : GUEST_DONE;
}

/* What an instruction works on; the segment bases only where its address has to be computed. */
static void load_cpu(struct vcpu *v, struct insn_cpu *cpu, bool bases)
{
	static const enum virt_seg order[INSN_SEGMENTS] = {
		[INSN_ES] = SEG_ES, [INSN_CS] = SEG_CS, [INSN_SS] = SEG_SS,
		[INSN_DS] = SEG_DS, [INSN_FS] = SEG_FS, [INSN_GS] = SEG_GS,
	};
	struct virt_segment segment;

	v->virt.gpr[RSP] = virt->vcpu_get(&v->virt, VREG_RSP);
	cpu->gpr = v->virt.gpr;
	cpu->rflags = virt->vcpu_get(&v->virt, VREG_RFLAGS);
	for (unsigned i = 0; bases && i < INSN_SEGMENTS; i++) {
		virt->vcpu_segment(&v->virt, order[i], &segment);
		cpu->base[i] = segment.base;
	}
}

/* RIP goes on by vcpu_skip(), which also ends an interrupt shadow and steps a debugged guest. */
static void store_cpu(struct vcpu *v, const struct insn_cpu *cpu, uint64_t rsp, uint64_t rflags, uint64_t rip)
{
	if (v->virt.gpr[RSP] != rsp)
		virt->vcpu_set(&v->virt, VREG_RSP, v->virt.gpr[RSP]);
	if (cpu->rflags != rflags)
		virt->vcpu_set(&v->virt, VREG_RFLAGS, cpu->rflags);
	if (cpu->rip != rip)
		virt->vcpu_skip(&v->virt, (uint32_t)(cpu->rip - rip));
}

/*
 * An instruction with one memory operand on one page: the CPU translated and checked it before it exited, and the exit
 * says where it lies.
 */
static void perform(struct vcpu *v, const struct insn *insn, struct insn_cpu *cpu, uint64_t gpa)
{
	uint64_t value = insn_reads(insn) ? read_device(v, gpa, insn->size) : 0;

	value = insn_finish(insn, cpu, value);
	if (insn_writes(insn))
		write_device(v, gpa, insn->size, value);
}

bool mmio_exit(struct vcpu *v, const struct vm_exit *e)
{
	struct virt_segment cs, ss;
	struct insn_cpu cpu;
	struct insn insn;
	enum decode_mode mode;
	enum guest_result result;
	uint64_t rsp, rflags, rip = virt->vcpu_get(&v->virt, VREG_RIP);
	unsigned user;
	bool simple;

	/* Code, or page tables, where there is no memory: no PC goes on from there in a defined way. */
	if (e->mmio.fetch || e->mmio.walk)
		return false;
	virt->vcpu_segment(&v->virt, SEG_CS, &cs);
	virt->vcpu_segment(&v->virt, SEG_SS, &ss);
	user = (ss.rights >> CPL_SHIFT & 3) == 3 ? GWALK_USER : 0;
	mode = mode_of(v, &cs);
	result = fetch(v, mode == DECODE_64 ? rip : (uint32_t)(cs.base + rip), mode, user, &insn);
	if (result != GUEST_DONE)
		return result != GUEST_LOST;
	simple = insn.form != INSN_STRING && e->mmio.gpa % PAGE_SIZE + insn.size <= PAGE_SIZE;
	load_cpu(v, &cpu, !simple);
	cpu.rip = rip;
	rsp = cpu.gpr[RSP];
	rflags = cpu.rflags;
	if (simple)
		perform(v, &insn, &cpu, e->mmio.gpa);
	else
		result = iterate(v, &insn, &cpu, user);
	if (result == GUEST_DONE)
		store_cpu(v, &cpu, rsp, rflags, rip);
	return result != GUEST_LOST;
}
