/* SPDX-License-Identifier: MIT */
/* Accesses to memory that is not mapped: the interrupt controllers' pages, or nothing at all. */
#include "arch/x86/mmio_exec.h"
#include "kernel/exit.h"
#include "kernel/intr.h"
#include "kernel/string.h"
#include "kernel/vcpu.h"

#define IOAPIC_PAGE   0xfec00000ull
#define EFER_LMA      (1u << 10)
#define CS_CONFORMING (1u << 2) /* in a segment's access rights */
#define CS_LONG       (1u << 13)
#define CS_DEFAULT    (1u << 14)

static bool is_apic_page(const struct vcpu *v, uint64_t gpa)
{
	return vlapic_is_enabled(&v->apic) && !vlapic_is_x2apic(&v->apic) &&
	       gpa >> 12 == vlapic_base_read(&v->apic) >> 12;
}

/*
 * The page as a bus of 32-bit registers: a narrower read sees its part of the register it falls into.
 * SDM vol. 3, "Local APIC Register Address Map": 32-bit accesses at multiples of 16; the rest is undefined.
 * False: nothing of this VCPU has changed, but maybe its inbox.
 */
static bool device(struct vcpu *v, uint64_t gpa, bool write, uint64_t *value)
{
	uint32_t offset = gpa % PAGE_SIZE, aligned = offset & ~3u, part = offset % 4 * 8;

	if (is_apic_page(v, gpa)) {
		if (virt_delivers)
			vlapic_resync(&v->apic);
		if (write) {
			struct vlapic_effect effect = vlapic_mmio_write(&v->apic, offset, (uint32_t)*value,
			                                                vcpu_tsc(v));

			if (effect.does)
				intr_effect(v, &effect);
		} else {
			*value = vlapic_mmio_read(&v->apic, aligned, vcpu_tsc(v)) >> part;
			v->deadline = VCPU_LOOK; /* it may have fired */
		}
		return true;
	}
	if (gpa >> 12 == IOAPIC_PAGE >> 12) {
		if (write)
			intr_ioapic_write(v->vm, offset, (uint32_t)*value);
		else
			*value = intr_ioapic_read(v->vm, aligned) >> part;
	} else if (!write) {
		*value = UINT64_MAX;
	}
	return false;
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
 *
 * Where these bytes are follows from the VM, the registers in `code` and the entries that the walk has read: as long as
 * all are equal, with what was accessed marked so already, another walk would find the same.
 */
static struct memo {
	uint64_t words[2];   /* one byte more than an instruction can have */
	struct insn insn;    /* length 0: nothing yet */
	const struct vm *vm; /* not NULL: a plain MOV, and the rest counts */
	struct virt_code code;
	struct gwalk_entry trail[GWALK_LEVELS];
	const uint64_t *ram; /* the bytes */
} __attribute__((aligned(64))) memos[MAX_CPUS][4];

/* Of 32 bits, with a register that is in gpr[] in the quick handlers; or an immediate. */
static bool is_plain(const struct insn *insn)
{
	const unsigned here = 1u << RAX | 1u << RCX | 1u << RDX | 1u << RBX | 1u << RSI | 1u << RDI |
	                      1u << R8 | 1u << R9 | 1u << R10 | 1u << R11;

	return insn->op == INSN_MOV && insn->form != INSN_STRING && insn->size == 4 &&
	       (insn->reg == INSN_NONE || here >> insn->reg & 1);
}

static inline bool is_unchanged(const struct gwalk_entry *entry)
{
	return *(const volatile uint64_t *)entry->at == entry->value;
}

static inline bool is_known(const struct memo *memo, const struct vm *vm, const struct virt_code *code)
{
	const struct gwalk_entry *trail = memo->trail;

	return memo->vm == vm && memo->code.rip == code->rip && memo->code.cr3 == code->cr3 &&
	       memo->code.cr0 == code->cr0 && memo->code.cr4 == code->cr4 && memo->code.efer == code->efer &&
	       memo->code.cs == code->cs && is_unchanged(&trail[0]) && is_unchanged(&trail[1]) &&
	       is_unchanged(&trail[2]) && is_unchanged(&trail[3]) && memo->ram[0] == memo->words[0] &&
	       memo->ram[1] == memo->words[1];
}

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
static enum guest_result fetch(struct vcpu *v, struct gwalk_cpu *walk, uint64_t rip, const struct insn **out)
{
	struct memo *memo = &memos[v->cpu][rip % 4];
	struct gwalk_entry trail[GWALK_LEVELS];
	enum decode_mode mode;
	enum guest_result result;
	struct virt_segment cs;
	unsigned room;
	uint64_t gpa, *ram;

	virt->vcpu_segment(&v->virt, SEG_CS, &cs);
	mode = mode_of(walk, &cs);
	if (mode != DECODE_64)
		rip = (uint32_t)(cs.base + rip);
	walk->trail = trail;
	result = guest_translate(v, walk, rip, GWALK_FETCH, &gpa);
	walk->trail = NULL;
	if (result != GUEST_DONE)
		return result;
	room = (unsigned)(PAGE_SIZE - rip % PAGE_SIZE);
	room = room < sizeof(memo->words) ? room : sizeof(memo->words);
	ram = vm_ram(v->vm, gpa, room);
	if (!ram)
		return GUEST_LOST;
	*out = &memo->insn;
	memo->vm = NULL;
	if (room < sizeof(memo->words) || ram[0] != memo->words[0] || ram[1] != memo->words[1] ||
	    memo->insn.mode != mode || !memo->insn.length)
		result = decode(v, walk, rip, ram, room, mode, memo);
	/* CS's rights tell the CPL, but for conforming code. */
	if (result == GUEST_DONE && room == sizeof(memo->words) && mode == DECODE_64 &&
	    !(cs.rights & CS_CONFORMING) && is_plain(&memo->insn)) {
		memo->vm = v->vm;
		memo->code = v->virt.exit.mmio.code;
		memo->ram = ram;
		memcpy(memo->trail, trail, sizeof(trail));
	}
	return result;
}

bool exit_mmio(struct virt_vcpu *virtual)
{
	struct vcpu *v = vcpu_of(virtual);
	struct vm_exit *e = &virtual->exit;
	const struct memo *memo = &memos[v->cpu][e->mmio.code.rip % 4];
	uint64_t *reg = &virtual->gpr[memo->insn.reg % INSN_REGISTERS], value;
	bool changed;

	if (!is_known(memo, v->vm, &e->mmio.code) || e->mmio.gpa % 4) {
		e->kind = EXIT_UNKNOWN;
		return true;
	}
	vcpu_settle(v);
	if (virt_delivers)
		vlapic_resync(&v->apic);
	if (memo->insn.form == INSN_REGISTER_MEMORY) {
		changed = device(v, e->mmio.gpa, false, &value);
		*reg = (uint32_t)value;
	} else {
		value = memo->insn.reg == INSN_NONE ? memo->insn.immediate : *reg;
		changed = device(v, e->mmio.gpa, true, &value);
	}
	virt->vcpu_skip(virtual, memo->insn.length);
	if (!changed)
		return inbox_is_on(&v->inbox);
	return !vcpu_ready(v);
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
