/* SPDX-License-Identifier: MIT */
/* Addresses, values and flags of decoded instructions. */
#include "arch/x86/mmio_exec.h"

/* SDM vol. 1, "Status Flags" and "DF Flag". */
#define CF (UINT64_C(1) << 0)
#define PF (UINT64_C(1) << 2)
#define AF (UINT64_C(1) << 4)
#define ZF (UINT64_C(1) << 6)
#define SF (UINT64_C(1) << 7)
#define DF (UINT64_C(1) << 10)
#define OF (UINT64_C(1) << 11)

#define STATUS_FLAGS (CF | PF | AF | ZF | SF | OF)

/* Operations that do not write their destination, and those that do not read it. */
#define LOOKS (1u << INSN_CMP | 1u << INSN_TEST | 1u << INSN_BT | 1u << INSN_SCAS)
#define OVERWRITES                                                                                    \
	(1u << INSN_MOV | 1u << INSN_MOVNTI | 1u << INSN_MOVZX | 1u << INSN_MOVSX | 1u << INSN_MOVS | \
	 1u << INSN_STOS | 1u << INSN_LODS)

static int64_t sign_extended(uint64_t value, unsigned size)
{
	unsigned unused_bits = 64 - 8 * size;

	return (int64_t)(value << unused_bits) >> unused_bits;
}

/*
 * Sets the status flags for a result, of which only ZF, SF and PF follow from it alone. SDM vol. 1, "Status
 * Flags": PF is the parity of the low byte only, whatever the size.
 */
static uint64_t flagged(uint64_t result, unsigned size, uint64_t *flags, uint64_t others)
{
	*flags &= ~STATUS_FLAGS;
	*flags |= others | (__builtin_parity((unsigned)(result & 0xff)) ? 0 : PF) |
	          (insn_cut(result, size) ? 0 : ZF) | (sign_extended(result, size) < 0 ? SF : 0);
	return result;
}

/*
 * a + b + carry, or a - b - carry as a + ~b + !carry, where the carry out is no borrow. The carry out of each
 * bit follows from the operands and the sum, so no wider type is needed.
 */
static uint64_t add(uint64_t a, uint64_t b, bool carry, bool subtract, unsigned size, uint64_t *flags)
{
	uint64_t addend = subtract ? ~b : b;
	uint64_t result = a + addend + (carry != subtract);
	uint64_t carries = (a & addend) | ((a | addend) & ~result);
	uint64_t overflows = (a ^ result) & (addend ^ result);
	bool carry_out = sign_extended(carries, size) < 0;

	return flagged(result, size, flags,
	               (carry_out != subtract ? CF : 0) | ((a ^ b ^ result) & AF) |
	                       (sign_extended(overflows, size) < 0 ? OF : 0));
}

/* SDM vol. 2, "BT": of the flags only CF is defined, ZF is unaffected; all others are left alone. */
static uint64_t bit_of(uint64_t a, uint64_t b, unsigned size, uint64_t *flags)
{
	uint64_t bit = UINT64_C(1) << (b & (8 * size - 1));

	*flags = (*flags & ~CF) | (a & bit ? CF : 0);
	return bit;
}

/*
 * The destination's new value from its old one, `a`, and the source, `b`, both zero-extended; the bits above
 * the destination's size do not count. `source_size` is that of b, `accumulator` rAX.
 */
static uint64_t compute(const struct insn *insn, uint64_t a, uint64_t b, unsigned size, uint64_t accumulator,
                        uint64_t *flags)
{
	bool carry = *flags & CF;
	uint64_t result;

	switch (insn->op) {
	case INSN_MOV ... INSN_MOVZX:
	case INSN_MOVS ... INSN_LODS:
	case INSN_XCHG:
		return b;
	case INSN_MOVSX:
		return (uint64_t)sign_extended(b, insn->size);
	case INSN_ADD:
	case INSN_XADD:
		return add(a, b, false, false, size, flags);
	case INSN_ADC:
		return add(a, b, carry, false, size, flags);
	case INSN_SBB:
		return add(a, b, carry, true, size, flags);
	case INSN_SUB:
	case INSN_CMP:
	case INSN_SCAS:
		return add(a, b, false, true, size, flags);
	case INSN_NEG:
		return add(0, a, false, true, size, flags);
	case INSN_INC:
	case INSN_DEC: /* SDM vol. 2: the carry flag is preserved */
		result = add(a, 1, false, insn->op == INSN_DEC, size, flags);
		*flags = (*flags & ~CF) | (carry ? CF : 0);
		return result;
	/* SDM vol. 2, "AND": CF and OF are cleared; AF is undefined, and processors clear it. */
	case INSN_AND:
	case INSN_TEST:
		return flagged(a & b, size, flags, 0);
	case INSN_OR:
		return flagged(a | b, size, flags, 0);
	case INSN_XOR:
		return flagged(a ^ b, size, flags, 0);
	case INSN_NOT:
		return ~a;
	case INSN_CMPXCHG: /* SDM vol. 2: the destination is written whatever the comparison says */
		add(accumulator, a, false, true, size, flags);
		return *flags & ZF ? b : a;
	case INSN_BT:
	case INSN_BTS:
		return a | bit_of(a, b, size, flags);
	case INSN_BTR:
		return a & ~bit_of(a, b, size, flags);
	case INSN_BTC:
		return a ^ bit_of(a, b, size, flags);
	}
	return 0;
}

bool insn_reads(const struct insn *insn)
{
	if (insn->form == INSN_STRING)
		return insn->op != INSN_STOS;
	return insn->form == INSN_REGISTER_MEMORY || !(OVERWRITES >> insn->op & 1);
}

bool insn_writes(const struct insn *insn)
{
	if (insn->form == INSN_STRING)
		return insn->op == INSN_MOVS || insn->op == INSN_STOS;
	return insn->form != INSN_REGISTER_MEMORY && !(LOOKS >> insn->op & 1);
}

/*
 * SDM vol. 2, "BT": a bit offset in a register is signed and reaches beyond the operand; one in an immediate
 * does not, it is taken modulo the operand's size.
 */
static uint64_t bit_offset_bytes(const struct insn *insn, const struct insn_cpu *cpu)
{
	int64_t bits = (int64_t)insn->size * 8;

	if (insn->form != INSN_MEMORY_REGISTER || insn->op < INSN_BT || insn->op > INSN_BTC)
		return 0;
	return (uint64_t)((sign_extended(cpu->gpr[insn->reg], insn->size) & ~(bits - 1)) / 8);
}

uint64_t insn_linear(const struct insn *insn, const struct insn_cpu *cpu, enum insn_access access)
{
	const struct insn_memory *memory = &insn->memory;
	enum insn_segment segment = memory->segment;
	uint64_t address = (uint64_t)memory->displacement + bit_offset_bytes(insn, cpu);

	if (insn->op == INSN_MOVS && access == INSN_WRITE) {
		segment = INSN_ES; /* the destination's cannot be overridden */
		address = cpu->gpr[INSN_RDI];
	} else if (memory->base == INSN_RIP) {
		address += cpu->rip + insn->length;
	} else if (memory->base != INSN_NONE) {
		address += cpu->gpr[memory->base];
	}
	if (memory->index != INSN_NONE)
		address += cpu->gpr[memory->index] * memory->scale;
	address = insn_cut(address, insn->address_size);
	/* SDM vol. 1, "Segmentation in 64-Bit Mode": all bases but those of FS and GS are zero. */
	if (insn->mode == DECODE_64)
		return segment >= INSN_FS ? address + cpu->base[segment] : address;
	return insn_cut(address + cpu->base[segment], 4);
}

static void store_register(const struct insn *insn, struct insn_cpu *cpu, uint64_t value)
{
	uint64_t *gpr = &cpu->gpr[insn->reg];

	if (insn->high_byte)
		*gpr = (*gpr & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
	else
		insn_store(gpr, value, insn->reg_size);
}

/* The operand beside memory. */
static uint64_t other_operand(const struct insn *insn, const struct insn_cpu *cpu)
{
	if (insn->reg == INSN_NONE)
		return insn->immediate;
	return insn_cut(cpu->gpr[insn->reg] >> (insn->high_byte ? 8 : 0), insn->reg_size);
}

static bool repeats(const struct insn *insn)
{
	return insn->rep || insn->repne;
}

bool insn_is_over(const struct insn *insn, const struct insn_cpu *cpu)
{
	return repeats(insn) && insn_cut(cpu->gpr[INSN_RCX], insn->address_size) == 0;
}

static void advance(const struct insn *insn, struct insn_cpu *cpu, enum insn_register index, uint64_t step)
{
	insn_store(&cpu->gpr[index], cpu->gpr[index] + step, insn->address_size);
}

/* Moves a string operation on. True: it has another iteration to do. */
static bool advance_string(const struct insn *insn, struct insn_cpu *cpu)
{
	uint64_t step = cpu->rflags & DF ? -(uint64_t)insn->size : insn->size;

	if (insn->op == INSN_MOVS || insn->op == INSN_LODS)
		advance(insn, cpu, INSN_RSI, step);
	if (insn->op != INSN_LODS)
		advance(insn, cpu, INSN_RDI, step);
	if (!repeats(insn))
		return false;
	advance(insn, cpu, INSN_RCX, UINT64_MAX);
	/* SDM vol. 2, "REP/REPE/REPZ/REPNE/REPNZ": both count; before a SCAS both look at ZF too. */
	return !insn_is_over(insn, cpu) && (insn->op != INSN_SCAS || ((cpu->rflags & ZF) != 0) == insn->rep);
}

uint64_t insn_finish(const struct insn *insn, struct insn_cpu *cpu, uint64_t value)
{
	bool to_register = insn->form == INSN_REGISTER_MEMORY || insn->op == INSN_LODS ||
	                   insn->op == INSN_SCAS;
	uint64_t memory = insn_cut(value, insn->size), other = other_operand(insn, cpu), result;

	if (to_register)
		result = compute(insn, other, memory, insn->reg_size, 0, &cpu->rflags);
	else
		result = compute(insn, memory, insn->op == INSN_MOVS ? memory : other, insn->size,
		                 insn_cut(cpu->gpr[INSN_RAX], insn->size), &cpu->rflags);
	if (to_register && !(LOOKS >> insn->op & 1))
		store_register(insn, cpu, result);
	if (insn->op == INSN_XCHG || insn->op == INSN_XADD)
		store_register(insn, cpu, memory);
	if (insn->op == INSN_CMPXCHG && !(cpu->rflags & ZF))
		insn_store(&cpu->gpr[INSN_RAX], memory, insn->size);
	if (insn->form != INSN_STRING || !advance_string(insn, cpu))
		cpu->rip = insn_cut(cpu->rip + insn->length, insn->mode == DECODE_64 ? 8 : 4);
	return insn_writes(insn) ? insn_cut(result, insn->size) : 0;
}
