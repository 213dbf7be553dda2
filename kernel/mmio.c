/* SPDX-License-Identifier: MIT */
/* Accesses to memory that is not mapped: the interrupt controllers' pages, or nothing at all. */
#include "arch/x86/mmio_exec.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/string.h"
#include "kernel/vcpu.h"

#define IOAPIC_PAGE 0xfec00000ull
#define EFER_LMA    (1u << 10)
#define CS_LONG     (1u << 13) /* in a segment's access rights */
#define CS_DEFAULT  (1u << 14)

static bool is_apic_page(const struct vcpu *v, uint64_t gpa)
{
	return vlapic_is_enabled(&v->apic) && !vlapic_is_x2apic(&v->apic) &&
	       gpa >> 12 == vlapic_base_read(&v->apic) >> 12;
}

/*
 * The page as a bus of 32-bit registers: a narrower read sees its part of the register it falls into.
 * SDM vol. 3, "Local APIC Register Address Map": 32-bit accesses at multiples of 16; the rest is undefined.
 */
static void device(struct vcpu *v, uint64_t gpa, bool write, uint64_t *value)
{
	uint32_t offset = gpa % PAGE_SIZE, aligned = offset & ~3u, part = offset % 4 * 8;

	if (is_apic_page(v, gpa)) {
		if (write) {
			struct vlapic_effect effect = vlapic_mmio_write(&v->apic, offset, (uint32_t)*value,
			                                                vcpu_tsc(v));

			intr_effect(v, &effect);
		} else {
			*value = vlapic_mmio_read(&v->apic, aligned, vcpu_tsc(v)) >> part;
		}
	} else if (gpa >> 12 == IOAPIC_PAGE >> 12) {
		if (write)
			intr_ioapic_write(v->vm, offset, (uint32_t)*value);
		else
			*value = intr_ioapic_read(v->vm, aligned) >> part;
	} else if (!write) {
		*value = UINT64_MAX;
	}
}

/* One side of an instruction: RAM (the other half of a MOVS, or a walk into another page) or a device. */
static enum guest_result access(struct vcpu *v, const struct gwalk_cpu *walk, uint64_t linear, unsigned size,
                                bool write, uint64_t *value)
{
	unsigned how = write ? GWALK_WRITE : GWALK_READ;
	uint64_t gpa;
	enum guest_result result = guest_translate(v, walk, linear, how, &gpa);

	if (result != GUEST_DONE)
		return result;
	if (vm_ram(v->vm, gpa, 1) && !is_apic_page(v, gpa))
		return guest_copy(v, walk, linear, value, size, how);
	device(v, gpa, write, value);
	return GUEST_DONE;
}

/* Does one iteration: translate everything that may fault first, then the accesses, then the registers. */
static enum guest_result iterate(struct vcpu *v, const struct gwalk_cpu *walk, const struct insn *insn,
                                 struct insn_cpu *cpu)
{
	uint64_t to = insn_linear(insn, cpu, INSN_WRITE), value = 0, gpa;
	enum guest_result result = GUEST_DONE;

	if (insn_is_over(insn, cpu))
		return GUEST_AGAIN; /* the code has changed since the exit */
	if (insn_writes(insn)) {
		result = guest_translate(v, walk, to, GWALK_WRITE, &gpa);
		if (result == GUEST_DONE)
			result = guest_translate(v, walk, to + insn->size - 1, GWALK_WRITE, &gpa);
	}
	if (result == GUEST_DONE && insn_reads(insn))
		result = access(v, walk, insn_linear(insn, cpu, INSN_READ), insn->size, false, &value);
	if (result != GUEST_DONE)
		return result;
	value = insn_finish(insn, cpu, value);
	return insn_writes(insn) ? access(v, walk, to, insn->size, true, &value) : GUEST_DONE;
}

/*
 * The last instructions decoded on a CPU: an EOI comes from the same few places all the time. What it means
 * follows from the bytes and the mode alone, so that an entry with the guest's bytes of now is right.
 */
static struct memo {
	uint64_t words[2]; /* one byte more than an instruction can have */
	struct insn insn;  /* length 0: nothing yet */
} memos[MAX_CPUS][4];

static enum decode_mode mode_of(const struct gwalk_cpu *walk, const struct virt_segment *cs)
{
	/* SDM vol. 3, "Code-Segment Descriptor in 64-bit Mode": L counts in IA-32e mode only. */
	if ((walk->efer & EFER_LMA) && (cs->rights & CS_LONG))
		return DECODE_64;
	return cs->rights & CS_DEFAULT ? DECODE_32 : DECODE_16;
}

/* Decodes at `rip`, whose page holds `room` bytes more; only if they do not do it, the next page is read. */
static enum guest_result decode(struct vcpu *v, const struct gwalk_cpu *walk, uint64_t rip, const void *ram,
                                unsigned room, enum decode_mode mode, struct memo *memo)
{
	struct memo fresh = { 0 };
	uint8_t *bytes = (uint8_t *)fresh.words;
	int error;

	memcpy(bytes, ram, room);
	error = decode_insn(bytes, room, mode, &fresh.insn);
	if (error == DECODE_MORE) {
		unsigned rest = (unsigned)sizeof(fresh.words) - room;
		enum guest_result result = guest_copy(v, walk, rip + room, bytes + room, rest, GWALK_FETCH);

		if (result != GUEST_DONE)
			return result;
		error = decode_insn(bytes, sizeof(fresh.words), mode, &fresh.insn);
	}
	if (error)
		return error == DECODE_ILLEGAL ? GUEST_AGAIN : GUEST_LOST;
	*memo = fresh;
	return GUEST_DONE;
}

/* The instruction at CS:RIP. */
static enum guest_result fetch(struct vcpu *v, const struct gwalk_cpu *walk, uint64_t rip,
                               const struct insn **out)
{
	struct memo *memo = &memos[v->cpu][rip % 4];
	enum decode_mode mode;
	enum guest_result result;
	struct virt_segment cs;
	unsigned room;
	uint64_t gpa, *ram;

	virt->vcpu_segment(&v->virt, SEG_CS, &cs);
	mode = mode_of(walk, &cs);
	if (mode != DECODE_64)
		rip = (uint32_t)(cs.base + rip);
	result = guest_translate(v, walk, rip, GWALK_FETCH, &gpa);
	if (result != GUEST_DONE)
		return result;
	room = (unsigned)(PAGE_SIZE - rip % PAGE_SIZE);
	room = room < sizeof(memo->words) ? room : sizeof(memo->words);
	ram = vm_ram(v->vm, gpa, room);
	if (!ram)
		return GUEST_LOST;
	*out = &memo->insn;
	if (room == sizeof(memo->words) && ram[0] == memo->words[0] && ram[1] == memo->words[1] &&
	    memo->insn.mode == mode && memo->insn.length)
		return GUEST_DONE;
	return decode(v, walk, rip, ram, room, mode, memo);
}

static void load_bases(struct vcpu *v, struct insn_cpu *cpu)
{
	_Static_assert(INSN_ES == (int)SEG_ES && INSN_GS == (int)SEG_GS, "one order of segments");
	struct virt_segment segment;

	for (unsigned i = 0; i < INSN_SEGMENTS; i++) {
		virt->vcpu_segment(&v->virt, (enum virt_seg)i, &segment);
		cpu->base[i] = segment.base;
	}
}

bool mmio_exit(struct vcpu *v, const struct vm_exit *e)
{
	uint64_t rip = virt->vcpu_get(&v->virt, VREG_RIP), rsp, value = 0;
	struct insn_cpu cpu;
	struct gwalk_cpu walk;
	const struct insn *insn;
	enum guest_result result;

	/* Code, page tables or a stack where there is no memory: nothing defined follows. */
	if (e->mmio.fetch || e->mmio.walk || e->mmio.delivery)
		return false;
	guest_load(v, &walk);
	result = fetch(v, &walk, rip, &insn);
	if (result != GUEST_DONE)
		return result != GUEST_LOST;
	v->virt.gpr[RSP] = rsp = virt->vcpu_get(&v->virt, VREG_RSP);
	cpu.gpr = v->virt.gpr;
	cpu.rflags = walk.rflags;
	cpu.rip = rip;
	if (insn->form != INSN_STRING && e->mmio.gpa % PAGE_SIZE + insn->size <= PAGE_SIZE) {
		/* One operand on one page: the CPU has translated and checked it, see the exit. */
		if (insn_reads(insn))
			device(v, e->mmio.gpa, false, &value);
		value = insn_finish(insn, &cpu, value);
		if (insn_writes(insn))
			device(v, e->mmio.gpa, true, &value);
	} else {
		load_bases(v, &cpu);
		result = iterate(v, &walk, insn, &cpu);
		if (result != GUEST_DONE)
			return result != GUEST_LOST;
	}
	if (v->virt.gpr[RSP] != rsp)
		virt->vcpu_set(&v->virt, VREG_RSP, v->virt.gpr[RSP]);
	if (cpu.rflags != walk.rflags)
		virt->vcpu_set(&v->virt, VREG_RFLAGS, cpu.rflags);
	if (cpu.rip != rip) /* steps over it: an interrupt shadow ends, a debugged guest traps */
		virt->vcpu_skip(&v->virt, insn->length);
	return true;
}
