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

/* One operation in flight: `a` is the destination's old value, both are zero-extended from their sizes. */
struct work {
	uint64_t a, b;
	unsigned size;        /* bytes of the destination */
	unsigned source_size; /* bytes of b */
	uint64_t flags;       /* RFLAGS, read and changed */
	uint64_t accumulator; /* rAX, for CMPXCHG */
};

/* Returns the destination's new value; bits above the size do not count. */
typedef uint64_t action(struct work *w);

static uint64_t cut(uint64_t value, unsigned size)
{
	return size < 8 ? value & ((UINT64_C(1) << (8 * size)) - 1) : value;
}

static int64_t sign_extended(uint64_t value, unsigned size)
{
	unsigned unused_bits = 64 - 8 * size;

	return (int64_t)(value << unused_bits) >> unused_bits;
}

static uint64_t sign_bit(uint64_t value, unsigned size)
{
	return value >> (8 * size - 1) & 1;
}

static uint64_t flag_if(bool condition, uint64_t flag)
{
	return condition ? flag : 0;
}

/* SDM vol. 1, "Status Flags": PF is the parity of the low byte only, whatever the size. */
static uint64_t result_flags(uint64_t result, unsigned size)
{
	return flag_if(!__builtin_parity((unsigned)(result & 0xff)), PF) |
	       flag_if(cut(result, size) == 0, ZF) | flag_if(sign_bit(result, size), SF);
}

static void set_flags(struct work *w, uint64_t which, uint64_t flags)
{
	w->flags = (w->flags & ~which) | (flags & which);
}

/* a + b + carry. The carry out of each bit follows from the operands and the sum, so no wider type is needed.
 */
static uint64_t sum(struct work *w, uint64_t b, unsigned carry, uint64_t which)
{
	uint64_t result = w->a + b + carry;
	uint64_t carries = (w->a & b) | ((w->a | b) & ~result);

	set_flags(w, which,
	          result_flags(result, w->size) | flag_if(sign_bit(carries, w->size), CF) |
	                  flag_if((w->a ^ b ^ result) & 0x10, AF) |
	                  flag_if(sign_bit((w->a ^ result) & (b ^ result), w->size), OF));
	return result;
}

/* a - b - borrow. */
static uint64_t difference(struct work *w, uint64_t a, uint64_t b, unsigned borrow, uint64_t which)
{
	uint64_t result = a - b - borrow;
	uint64_t borrows = (~a & b) | ((~a | b) & result);

	set_flags(w, which,
	          result_flags(result, w->size) | flag_if(sign_bit(borrows, w->size), CF) |
	                  flag_if((a ^ b ^ result) & 0x10, AF) |
	                  flag_if(sign_bit((a ^ b) & (a ^ result), w->size), OF));
	return result;
}

/* SDM vol. 2, "AND": CF and OF are cleared; AF is undefined, and processors clear it. */
static uint64_t logic(struct work *w, uint64_t result)
{
	set_flags(w, STATUS_FLAGS, result_flags(result, w->size));
	return result;
}

static uint64_t do_mov(struct work *w)
{
	return w->b;
}

static uint64_t do_movsx(struct work *w)
{
	return (uint64_t)sign_extended(w->b, w->source_size);
}

static uint64_t do_add(struct work *w)
{
	return sum(w, w->b, 0, STATUS_FLAGS);
}

static uint64_t do_adc(struct work *w)
{
	return sum(w, w->b, w->flags & CF ? 1 : 0, STATUS_FLAGS);
}

static uint64_t do_sub(struct work *w)
{
	return difference(w, w->a, w->b, 0, STATUS_FLAGS);
}

static uint64_t do_sbb(struct work *w)
{
	return difference(w, w->a, w->b, w->flags & CF ? 1 : 0, STATUS_FLAGS);
}

static uint64_t do_and(struct work *w)
{
	return logic(w, w->a & w->b);
}

static uint64_t do_or(struct work *w)
{
	return logic(w, w->a | w->b);
}

static uint64_t do_xor(struct work *w)
{
	return logic(w, w->a ^ w->b);
}

/* SDM vol. 2, "INC" and "DEC": the carry flag is preserved. */
static uint64_t do_inc(struct work *w)
{
	return sum(w, 1, 0, STATUS_FLAGS & ~CF);
}

static uint64_t do_dec(struct work *w)
{
	return difference(w, w->a, 1, 0, STATUS_FLAGS & ~CF);
}

static uint64_t do_not(struct work *w)
{
	return ~w->a;
}

static uint64_t do_neg(struct work *w)
{
	return difference(w, 0, w->a, 0, STATUS_FLAGS);
}

/* SDM vol. 2, "BT": of the flags only CF is defined, ZF is unaffected; all others are left alone. */
static uint64_t bit_of(struct work *w)
{
	uint64_t bit = UINT64_C(1) << (w->b & (8 * w->size - 1));

	set_flags(w, CF, flag_if(w->a & bit, CF));
	return bit;
}

static uint64_t do_bt(struct work *w)
{
	bit_of(w);
	return w->a;
}

static uint64_t do_bts(struct work *w)
{
	return w->a | bit_of(w);
}

static uint64_t do_btr(struct work *w)
{
	return w->a & ~bit_of(w);
}

static uint64_t do_btc(struct work *w)
{
	return w->a ^ bit_of(w);
}

/*
 * SDM vol. 2, "CMPXCHG": the destination receives a write cycle whatever the comparison says. That ZF then
 * tells whether the accumulator is to be loaded is used by finish_memory().
 */
static uint64_t do_cmpxchg(struct work *w)
{
	difference(w, w->accumulator, w->a, 0, STATUS_FLAGS);
	return w->flags & ZF ? w->b : w->a;
}

/* What an operation does with its destination. */
enum destination { OVERWRITES = 1, CHANGES = 2, LOOKS = 3 };

static const struct {
	action *act;
	enum destination destination;
} rules[] = {
	[INSN_MOV] = { do_mov, OVERWRITES },   [INSN_MOVNTI] = { do_mov, OVERWRITES },
	[INSN_MOVZX] = { do_mov, OVERWRITES }, [INSN_MOVSX] = { do_movsx, OVERWRITES },
	[INSN_ADD] = { do_add, CHANGES },      [INSN_OR] = { do_or, CHANGES },
	[INSN_ADC] = { do_adc, CHANGES },      [INSN_SBB] = { do_sbb, CHANGES },
	[INSN_AND] = { do_and, CHANGES },      [INSN_SUB] = { do_sub, CHANGES },
	[INSN_XOR] = { do_xor, CHANGES },      [INSN_CMP] = { do_sub, LOOKS },
	[INSN_TEST] = { do_and, LOOKS },       [INSN_XCHG] = { do_mov, CHANGES },
	[INSN_XADD] = { do_add, CHANGES },     [INSN_CMPXCHG] = { do_cmpxchg, CHANGES },
	[INSN_INC] = { do_inc, CHANGES },      [INSN_DEC] = { do_dec, CHANGES },
	[INSN_NOT] = { do_not, CHANGES },      [INSN_NEG] = { do_neg, CHANGES },
	[INSN_BT] = { do_bt, LOOKS },          [INSN_BTS] = { do_bts, CHANGES },
	[INSN_BTR] = { do_btr, CHANGES },      [INSN_BTC] = { do_btc, CHANGES },
	[INSN_MOVS] = { do_mov, OVERWRITES },  [INSN_STOS] = { do_mov, OVERWRITES },
	[INSN_LODS] = { do_mov, OVERWRITES },  [INSN_SCAS] = { do_sub, LOOKS },
};

bool insn_reads(const struct insn *insn)
{
	if (insn->form == INSN_STRING)
		return insn->op != INSN_STOS;
	return insn->form == INSN_REGISTER_MEMORY || rules[insn->op].destination != OVERWRITES;
}

bool insn_writes(const struct insn *insn)
{
	if (insn->form == INSN_STRING)
		return insn->op == INSN_MOVS || insn->op == INSN_STOS;
	return insn->form != INSN_REGISTER_MEMORY && rules[insn->op].destination != LOOKS;
}

/*
 * SDM vol. 2, "BT": a bit offset in a register is signed and reaches beyond the operand; one in an immediate
 * does not, it is taken modulo the operand's size.
 */
static int64_t bit_offset_bytes(const struct insn *insn, const struct insn_cpu *cpu)
{
	int64_t bits = (int64_t)insn->size * 8;

	if (insn->form != INSN_MEMORY_REGISTER || insn->op < INSN_BT || insn->op > INSN_BTC)
		return 0;
	return (sign_extended(cpu->gpr[insn->reg], insn->size) & ~(bits - 1)) / 8;
}

uint64_t insn_linear(const struct insn *insn, const struct insn_cpu *cpu, enum insn_access access)
{
	const struct insn_memory *memory = &insn->memory;
	enum insn_segment segment = memory->segment;
	uint64_t address = (uint64_t)memory->displacement + (uint64_t)bit_offset_bytes(insn, cpu);

	if (insn->op == INSN_MOVS &&
	    access == INSN_WRITE) { /* the destination's segment cannot be overridden */
		segment = INSN_ES;
		address = cpu->gpr[INSN_RDI];
	} else if (memory->base == INSN_RIP) {
		address += cpu->rip + insn->length;
	} else if (memory->base != INSN_NONE) {
		address += cpu->gpr[memory->base];
	}
	if (memory->index != INSN_NONE)
		address += cpu->gpr[memory->index] * memory->scale;
	address = cut(address, insn->address_size);
	/* SDM vol. 1, "Segmentation in 64-Bit Mode": all bases but those of FS and GS are zero. */
	if (insn->mode == DECODE_64)
		return segment >= INSN_FS ? address + cpu->base[segment] : address;
	return cut(address + cpu->base[segment], 4);
}

static uint64_t register_value(const struct insn *insn, const struct insn_cpu *cpu)
{
	uint64_t value;

	if (insn->reg == INSN_NONE)
		return 0;
	value = cpu->gpr[insn->reg];
	return cut(insn->high_byte ? value >> 8 : value, insn->reg_size);
}

/*
 * SDM vol. 1, "General-Purpose Registers in 64-Bit Mode": 32-bit results are zero-extended, 8-bit and 16-bit
 * ones leave the other bits alone.
 */
static void store(uint64_t *gpr, uint64_t value, unsigned size)
{
	uint64_t kept = size >= 4 ? 0 : *gpr & ~cut(UINT64_MAX, size);

	*gpr = kept | cut(value, size);
}

static void store_register(const struct insn *insn, struct insn_cpu *cpu, uint64_t value)
{
	uint64_t *gpr = &cpu->gpr[insn->reg];

	if (insn->high_byte)
		*gpr = (*gpr & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
	else
		store(gpr, value, insn->reg_size);
}

void insn_skip(const struct insn *insn, struct insn_cpu *cpu)
{
	cpu->rip += insn->length;
	if (insn->mode != DECODE_64)
		cpu->rip = cut(cpu->rip, 4);
}

static bool repeats(const struct insn *insn)
{
	return insn->rep || insn->repne;
}

bool insn_is_over(const struct insn *insn, const struct insn_cpu *cpu)
{
	return repeats(insn) && cut(cpu->gpr[INSN_RCX], insn->address_size) == 0;
}

static void advance_index(const struct insn *insn, struct insn_cpu *cpu, enum insn_register index)
{
	uint64_t step = cpu->rflags & DF ? -(uint64_t)insn->size : insn->size;

	store(&cpu->gpr[index], cpu->gpr[index] + step, insn->address_size);
}

/* SDM vol. 2, "REP/REPE/REPZ/REPNE/REPNZ": both prefixes count, and before a SCAS both also look at ZF. */
static bool has_more(const struct insn *insn, const struct insn_cpu *cpu)
{
	if (!repeats(insn) || insn_is_over(insn, cpu))
		return false;
	return insn->op != INSN_SCAS || ((cpu->rflags & ZF) != 0) == insn->rep;
}

static uint64_t finish_string(const struct insn *insn, struct insn_cpu *cpu, uint64_t value)
{
	struct work w = {
		.a = cut(cpu->gpr[INSN_RAX], insn->size),
		.b = insn_reads(insn) ? value : cpu->gpr[INSN_RAX],
		.size = insn->size,
		.source_size = insn->size,
		.flags = cpu->rflags,
	};
	uint64_t result;

	w.b = cut(w.b, insn->size);
	result = rules[insn->op].act(&w);
	cpu->rflags = w.flags;
	if (insn->op == INSN_LODS)
		store(&cpu->gpr[INSN_RAX], result, insn->size);
	if (insn->op == INSN_MOVS || insn->op == INSN_LODS)
		advance_index(insn, cpu, INSN_RSI);
	if (insn->op != INSN_LODS)
		advance_index(insn, cpu, INSN_RDI);
	if (repeats(insn))
		store(&cpu->gpr[INSN_RCX], cpu->gpr[INSN_RCX] - 1, insn->address_size);
	if (!has_more(insn, cpu))
		insn_skip(insn, cpu);
	return insn_writes(insn) ? cut(result, insn->size) : 0;
}

/* Memory is the first operand: the destination, or what is looked at. */
static uint64_t finish_memory(const struct insn *insn, struct insn_cpu *cpu, uint64_t value)
{
	struct work w = {
		.a = insn_reads(insn) ? cut(value, insn->size) : 0,
		.b = insn->form == INSN_MEMORY_IMMEDIATE ? insn->immediate : register_value(insn, cpu),
		.size = insn->size,
		.source_size = insn->size,
		.flags = cpu->rflags,
		.accumulator = cut(cpu->gpr[INSN_RAX], insn->size),
	};
	uint64_t result = rules[insn->op].act(&w);

	cpu->rflags = w.flags;
	if (insn->op == INSN_XCHG || insn->op == INSN_XADD)
		store_register(insn, cpu, w.a);
	if (insn->op == INSN_CMPXCHG && !(w.flags & ZF))
		store(&cpu->gpr[INSN_RAX], w.a, insn->size);
	return insn_writes(insn) ? cut(result, insn->size) : 0;
}

static void finish_register(const struct insn *insn, struct insn_cpu *cpu, uint64_t value)
{
	struct work w = {
		.a = register_value(insn, cpu),
		.b = cut(value, insn->size),
		.size = insn->reg_size,
		.source_size = insn->size,
		.flags = cpu->rflags,
	};
	uint64_t result = rules[insn->op].act(&w);

	cpu->rflags = w.flags;
	if (rules[insn->op].destination != LOOKS)
		store_register(insn, cpu, result);
}

uint64_t insn_finish(const struct insn *insn, struct insn_cpu *cpu, uint64_t value)
{
	uint64_t result = 0;

	if (insn->form == INSN_STRING)
		return finish_string(insn, cpu, value);
	if (insn->form == INSN_REGISTER_MEMORY)
		finish_register(insn, cpu, value);
	else
		result = finish_memory(insn, cpu, value);
	insn_skip(insn, cpu);
	return result;
}
