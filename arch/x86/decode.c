/* SPDX-License-Identifier: MIT */
/* The decoder: prefixes, opcode tables, ModRM and SIB, immediates. */
#include "arch/x86/decode.h"

enum opcode_flag {
	VALID = 1 << 0,
	BYTE = 1 << 1,       /* 8-bit operands; the others have the operand size */
	GROUP = 1 << 2,      /* ModRM.reg picks the row of groups[op] */
	IMMEDIATE = 1 << 3,  /* of the operand size, at most four bytes */
	IMMEDIATE8 = 1 << 4, /* one byte, sign-extended */
	BIT_NUMBER = 1 << 5, /* one byte, unsigned */
	OFFSET = 1 << 6,     /* no ModRM: the address stands in the instruction, rAX is the register */
	ONLY_64 = 1 << 7,
	NOT_64 = 1 << 8,
	NO_WORD = 1 << 9, /* 32 or 64 bits in every mode; a 66, F2 or F3 prefix is #UD */
};

struct opcode {
	uint8_t op;     /* enum insn_op, or enum group */
	uint8_t form;   /* enum insn_form */
	uint8_t source; /* bytes of memory where they differ from the register's, else 0 */
	uint16_t flags;
};

enum group {
	GROUP_ALU_BYTE,
	GROUP_ALU,
	GROUP_ALU_SHORT,
	GROUP_UNARY_BYTE,
	GROUP_UNARY,
	GROUP_MOV_BYTE,
	GROUP_MOV,
	GROUP_COUNT_BYTE,
	GROUP_COUNT,
	GROUP_BIT,
	GROUPS
};

#define PICK(group)                                   \
	{                                             \
		.op = (group), .flags = VALID | GROUP \
	}
#define MEM(o, f)                                                    \
	{                                                            \
		.op = (o), .form = INSN_MEMORY, .flags = VALID | (f) \
	}
#define MEM_REG(o, f)                                                         \
	{                                                                     \
		.op = (o), .form = INSN_MEMORY_REGISTER, .flags = VALID | (f) \
	}
#define REG_MEM(o, f)                                                         \
	{                                                                     \
		.op = (o), .form = INSN_REGISTER_MEMORY, .flags = VALID | (f) \
	}
#define MEM_IMM(o, f)                                                          \
	{                                                                      \
		.op = (o), .form = INSN_MEMORY_IMMEDIATE, .flags = VALID | (f) \
	}
#define STRING(o, f)                                                 \
	{                                                            \
		.op = (o), .form = INSN_STRING, .flags = VALID | (f) \
	}
#define EXTEND(o, from, f)                                                                      \
	{                                                                                       \
		.op = (o), .form = INSN_REGISTER_MEMORY, .source = (from), .flags = VALID | (f) \
	}

/* The eight arithmetic operations lie eight opcodes apart, each in the same four memory forms. */
#define ALU_ROW(at, o)                                                                        \
	[(at)] = MEM_REG(o, BYTE), [(at) + 1] = MEM_REG(o, 0), [(at) + 2] = REG_MEM(o, BYTE), \
	[(at) + 3] = REG_MEM(o, 0)

#define ALU_GROUP(f)                                                                                   \
	{                                                                                              \
		MEM_IMM(INSN_ADD, f), MEM_IMM(INSN_OR, f), MEM_IMM(INSN_ADC, f), MEM_IMM(INSN_SBB, f), \
			MEM_IMM(INSN_AND, f), MEM_IMM(INSN_SUB, f), MEM_IMM(INSN_XOR, f),              \
			MEM_IMM(INSN_CMP, f)                                                           \
	}

/* /1 is not in the manual's table of TEST, but every processor takes it for /0. */
#define UNARY_GROUP(f)                                                                                      \
	{                                                                                                   \
		MEM_IMM(INSN_TEST, (f) | IMMEDIATE), MEM_IMM(INSN_TEST, (f) | IMMEDIATE), MEM(INSN_NOT, f), \
			MEM(INSN_NEG, f)                                                                    \
	}

/* SDM vol. 2, "Opcode Extensions for One-byte and Two-byte Opcodes". */
static const struct opcode groups[GROUPS][8] = {
	[GROUP_ALU_BYTE] = ALU_GROUP(BYTE | IMMEDIATE),
	[GROUP_ALU] = ALU_GROUP(IMMEDIATE),
	[GROUP_ALU_SHORT] = ALU_GROUP(IMMEDIATE8),
	[GROUP_UNARY_BYTE] = UNARY_GROUP(BYTE),
	[GROUP_UNARY] = UNARY_GROUP(0),
	[GROUP_MOV_BYTE] = { MEM_IMM(INSN_MOV, BYTE | IMMEDIATE) },
	[GROUP_MOV] = { MEM_IMM(INSN_MOV, IMMEDIATE) },
	[GROUP_COUNT_BYTE] = { MEM(INSN_INC, BYTE), MEM(INSN_DEC, BYTE) },
	[GROUP_COUNT] = { MEM(INSN_INC, 0), MEM(INSN_DEC, 0) },
	[GROUP_BIT] = { [4] = MEM_IMM(INSN_BT, BIT_NUMBER),
	                [5] = MEM_IMM(INSN_BTS, BIT_NUMBER),
	                [6] = MEM_IMM(INSN_BTR, BIT_NUMBER),
	                [7] = MEM_IMM(INSN_BTC, BIT_NUMBER) },
};

/* SDM vol. 2, "One-byte Opcode Map". A hole is an instruction that we refuse. */
static const struct opcode one_byte[256] = {
	ALU_ROW(0x00, INSN_ADD),
	ALU_ROW(0x08, INSN_OR),
	ALU_ROW(0x10, INSN_ADC),
	ALU_ROW(0x18, INSN_SBB),
	ALU_ROW(0x20, INSN_AND),
	ALU_ROW(0x28, INSN_SUB),
	ALU_ROW(0x30, INSN_XOR),
	ALU_ROW(0x38, INSN_CMP),
	[0x63] = EXTEND(INSN_MOVSX, 4, ONLY_64),
	[0x80] = PICK(GROUP_ALU_BYTE),
	[0x81] = PICK(GROUP_ALU),
	[0x82] = { .op = GROUP_ALU_BYTE, .flags = VALID | GROUP | NOT_64 },
	[0x83] = PICK(GROUP_ALU_SHORT),
	[0x84] = MEM_REG(INSN_TEST, BYTE),
	[0x85] = MEM_REG(INSN_TEST, 0),
	[0x86] = MEM_REG(INSN_XCHG, BYTE),
	[0x87] = MEM_REG(INSN_XCHG, 0),
	[0x88] = MEM_REG(INSN_MOV, BYTE),
	[0x89] = MEM_REG(INSN_MOV, 0),
	[0x8a] = REG_MEM(INSN_MOV, BYTE),
	[0x8b] = REG_MEM(INSN_MOV, 0),
	[0xa0] = REG_MEM(INSN_MOV, BYTE | OFFSET),
	[0xa1] = REG_MEM(INSN_MOV, OFFSET),
	[0xa2] = MEM_REG(INSN_MOV, BYTE | OFFSET),
	[0xa3] = MEM_REG(INSN_MOV, OFFSET),
	[0xa4] = STRING(INSN_MOVS, BYTE),
	[0xa5] = STRING(INSN_MOVS, 0),
	[0xaa] = STRING(INSN_STOS, BYTE),
	[0xab] = STRING(INSN_STOS, 0),
	[0xac] = STRING(INSN_LODS, BYTE),
	[0xad] = STRING(INSN_LODS, 0),
	[0xae] = STRING(INSN_SCAS, BYTE),
	[0xaf] = STRING(INSN_SCAS, 0),
	[0xc6] = PICK(GROUP_MOV_BYTE),
	[0xc7] = PICK(GROUP_MOV),
	[0xf6] = PICK(GROUP_UNARY_BYTE),
	[0xf7] = PICK(GROUP_UNARY),
	[0xfe] = PICK(GROUP_COUNT_BYTE),
	[0xff] = PICK(GROUP_COUNT),
};

/* SDM vol. 2, "Two-byte Opcode Map": after 0F. */
static const struct opcode two_byte[256] = {
	[0xa3] = MEM_REG(INSN_BT, 0),         [0xab] = MEM_REG(INSN_BTS, 0),
	[0xb0] = MEM_REG(INSN_CMPXCHG, BYTE), [0xb1] = MEM_REG(INSN_CMPXCHG, 0),
	[0xb3] = MEM_REG(INSN_BTR, 0),        [0xb6] = EXTEND(INSN_MOVZX, 1, 0),
	[0xb7] = EXTEND(INSN_MOVZX, 2, 0),    [0xba] = PICK(GROUP_BIT),
	[0xbb] = MEM_REG(INSN_BTC, 0),        [0xbe] = EXTEND(INSN_MOVSX, 1, 0),
	[0xbf] = EXTEND(INSN_MOVSX, 2, 0),    [0xc0] = MEM_REG(INSN_XADD, BYTE),
	[0xc1] = MEM_REG(INSN_XADD, 0),       [0xc3] = MEM_REG(INSN_MOVNTI, NO_WORD),
};

/* SDM vol. 2, "LOCK": these and no others, and only where memory is the destination. */
static const bool lockable[] = {
	[INSN_ADD] = true, [INSN_OR] = true,  [INSN_ADC] = true,   [INSN_SBB] = true,  [INSN_AND] = true,
	[INSN_SUB] = true, [INSN_XOR] = true, [INSN_XCHG] = true,  [INSN_XADD] = true, [INSN_CMPXCHG] = true,
	[INSN_INC] = true, [INSN_DEC] = true, [INSN_NOT] = true,   [INSN_NEG] = true,  [INSN_BTS] = true,
	[INSN_BTR] = true, [INSN_BTC] = true, [INSN_SCAS] = false,
};

/* Where the bytes have been read to. An error sticks, and what is read after it is zero. */
struct decoder {
	const uint8_t *bytes;
	size_t available, at;
	int error;
	enum decode_mode mode;
	uint8_t rex;      /* 0: none that counts */
	uint8_t repeat;   /* 0, F2 or F3: the last one counts */
	uint8_t override; /* enum insn_segment; INSN_NONE: none that counts */
	bool lock, operand_size, address_size;
};

#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

static uint64_t take(struct decoder *d, unsigned count)
{
	uint64_t value = 0;

	if (d->error)
		return 0;
	if (d->at + count > INSN_MAX_LENGTH)
		d->error = DECODE_ILLEGAL;
	else if (d->at + count > d->available)
		d->error = DECODE_MORE;
	if (d->error)
		return 0;
	for (unsigned i = 0; i < count; i++)
		value |= (uint64_t)d->bytes[d->at++] << (8 * i);
	return value;
}

static int64_t take_signed(struct decoder *d, unsigned count)
{
	unsigned unused_bits = 64 - 8 * count;

	return (int64_t)(take(d, count) << unused_bits) >> unused_bits;
}

/*
 * SDM vol. 1, "Segmentation in 64-Bit Mode": CS, DS, ES and SS overrides are ignored there, so that they do
 * not cancel an FS or GS override before them either.
 */
static void take_override(struct decoder *d, enum insn_segment segment)
{
	if (d->mode != DECODE_64 || segment >= INSN_FS)
		d->override = (uint8_t)segment;
}

static bool take_prefix(struct decoder *d, uint8_t byte)
{
	static const uint8_t segments[256] = {
		[0x26] = 1 + INSN_ES, [0x2e] = 1 + INSN_CS, [0x36] = 1 + INSN_SS,
		[0x3e] = 1 + INSN_DS, [0x64] = 1 + INSN_FS, [0x65] = 1 + INSN_GS,
	};

	if (segments[byte])
		take_override(d, (enum insn_segment)(segments[byte] - 1));
	else if (byte == 0x66)
		d->operand_size = true;
	else if (byte == 0x67)
		d->address_size = true;
	else if (byte == 0xf0)
		d->lock = true;
	else if (byte == 0xf2 || byte == 0xf3)
		d->repeat = byte;
	else
		return false;
	return true;
}

/* Returns the first byte of the opcode. */
static uint8_t take_prefixes(struct decoder *d)
{
	for (;;) {
		uint8_t byte = (uint8_t)take(d, 1);

		if (d->error)
			return 0;
		/* SDM vol. 2, "REX Prefixes": one that is not the last byte before the opcode is ignored. */
		if (d->mode == DECODE_64 && (byte & 0xf0) == 0x40) {
			d->rex = byte;
			continue;
		}
		if (!take_prefix(d, byte))
			return byte;
		d->rex = 0;
	}
}

/* SDM vol. 1, "Operand Size and Address Size in 64-Bit Mode" and "... Attributes"; REX.W wins over 66. */
static uint8_t operand_size(const struct decoder *d, const struct opcode *row)
{
	if (row->flags & BYTE)
		return 1;
	if (d->rex & REX_W)
		return 8;
	if (row->flags & NO_WORD)
		return 4;
	return (d->mode == DECODE_16) != d->operand_size ? 2 : 4;
}

static uint8_t address_size(const struct decoder *d)
{
	if (d->mode == DECODE_64)
		return d->address_size ? 4 : 8;
	return (d->mode == DECODE_16) != d->address_size ? 2 : 4;
}

/* SDM vol. 2, "16-Bit Addressing Forms with the ModR/M Byte". */
static void memory_16(struct decoder *d, unsigned mod, unsigned rm, struct insn_memory *memory)
{
	static const uint8_t base[8] = { INSN_RBX, INSN_RBX, INSN_RBP, INSN_RBP,
		                         INSN_RSI, INSN_RDI, INSN_RBP, INSN_RBX };
	static const uint8_t index[8] = { INSN_RSI,  INSN_RDI,  INSN_RSI,  INSN_RDI,
		                          INSN_NONE, INSN_NONE, INSN_NONE, INSN_NONE };

	memory->base = base[rm];
	memory->index = index[rm];
	if (mod == 0 && rm == 6) {
		memory->base = INSN_NONE;
		memory->displacement = take_signed(d, 2);
	} else if (mod != 0) {
		memory->displacement = take_signed(d, mod);
	}
}

/* SDM vol. 2, "32-Bit Addressing Forms with the SIB Byte". True: a displacement stands for the base. */
static bool take_sib(struct decoder *d, unsigned mod, struct insn_memory *memory)
{
	unsigned sib = (unsigned)take(d, 1);
	unsigned index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);
	bool no_base = mod == 0 && (sib & 7) == INSN_RBP;

	if (index != INSN_RSP) { /* R12 can be an index, RSP cannot */
		memory->index = (uint8_t)index;
		memory->scale = (uint8_t)(1u << (sib >> 6));
	}
	if (!no_base)
		memory->base = (uint8_t)((sib & 7) | (d->rex & REX_B ? 8 : 0));
	return no_base;
}

/* SDM vol. 2, "32-Bit Addressing Forms with the ModR/M Byte" and "RIP-Relative Addressing". */
static void memory_32(struct decoder *d, unsigned mod, unsigned rm, struct insn_memory *memory)
{
	bool absolute = mod == 0 && rm == INSN_RBP;

	if (rm == INSN_RSP)
		absolute = take_sib(d, mod, memory);
	else if (!absolute)
		memory->base = (uint8_t)(rm | (d->rex & REX_B ? 8 : 0));
	else if (d->mode == DECODE_64)
		memory->base = INSN_RIP;
	if (absolute || mod == 2)
		memory->displacement = take_signed(d, 4);
	else if (mod == 1)
		memory->displacement = take_signed(d, 1);
}

/* SDM vol. 1, "Specifying a Segment Selector": addresses from rBP or rSP are on the stack, unless overridden.
 */
static enum insn_segment memory_segment(const struct decoder *d, const struct insn_memory *memory)
{
	if (d->override != INSN_NONE)
		return (enum insn_segment)d->override;
	return memory->base == INSN_RSP || memory->base == INSN_RBP ? INSN_SS : INSN_DS;
}

static void take_memory(struct decoder *d, unsigned modrm, struct insn *insn)
{
	if (insn->address_size == 2)
		memory_16(d, modrm >> 6, modrm & 7, &insn->memory);
	else
		memory_32(d, modrm >> 6, modrm & 7, &insn->memory);
	insn->memory.segment = memory_segment(d, &insn->memory);
}

static void set_register(const struct decoder *d, unsigned reg, struct insn *insn)
{
	insn->reg = (uint8_t)(reg | (d->rex & REX_R ? 8 : 0));
	/* SDM vol. 2, "REX Prefixes": any REX at all turns AH to BH into SPL to DIL. */
	if (insn->reg_size == 1 && d->rex == 0 && reg >= 4) {
		insn->reg = (uint8_t)(reg - 4);
		insn->high_byte = true;
	}
}

/* The operands of an instruction without ModRM. */
static void implied_operands(struct decoder *d, const struct opcode *row, struct insn *insn)
{
	if (row->flags & OFFSET) {
		insn->reg = INSN_RAX;
		insn->memory.displacement = (int64_t)take(d, insn->address_size);
		insn->memory.segment = memory_segment(d, &insn->memory);
		return;
	}
	insn->rep = d->repeat == 0xf3;
	insn->repne = d->repeat == 0xf2;
	if (insn->op == INSN_STOS || insn->op == INSN_SCAS) {
		insn->memory.base = INSN_RDI;
		insn->memory.segment = INSN_ES;
	} else {
		insn->memory.base = INSN_RSI;
		insn->memory.segment = memory_segment(d, &insn->memory);
	}
}

static void take_immediate(struct decoder *d, const struct opcode *row, struct insn *insn)
{
	if (row->flags & BIT_NUMBER)
		insn->immediate = take(d, 1);
	else if (row->flags & IMMEDIATE8)
		insn->immediate = (uint64_t)take_signed(d, 1);
	else if (row->flags & IMMEDIATE)
		insn->immediate = (uint64_t)take_signed(d, insn->size < 4 ? insn->size : 4);
	if (insn->size < 8)
		insn->immediate &= (UINT64_C(1) << (8 * insn->size)) - 1;
}

/* Whether a row may stand with these prefixes, in this mode. Returns 0 or an enum decode_error. */
static int check(const struct decoder *d, const struct opcode *row)
{
	if (!(row->flags & VALID))
		return DECODE_REFUSED;
	if ((row->flags & NOT_64) && d->mode == DECODE_64)
		return DECODE_ILLEGAL;
	if ((row->flags & ONLY_64) && d->mode != DECODE_64)
		return DECODE_REFUSED; /* ARPL */
	if ((row->flags & NO_WORD) && (d->operand_size || d->repeat))
		return DECODE_ILLEGAL;
	if (d->lock && !(row->flags & GROUP) && (!lockable[row->op] || row->form == INSN_REGISTER_MEMORY))
		return DECODE_ILLEGAL;
	return 0;
}

static void set_sizes(const struct decoder *d, const struct opcode *row, struct insn *insn)
{
	uint8_t size = operand_size(d, row);

	insn->reg_size = size;
	insn->size = size;
	/* A MOVZX, MOVSX or MOVSXD into a register no wider than its source reads only what fits. */
	if (row->source && row->source < size)
		insn->size = row->source;
	insn->address_size = address_size(d);
}

/* Finds the row of the opcode, ModRM included where it has a part in that. Returns 0 or an enum decode_error.
 */
static int take_opcode(struct decoder *d, struct opcode *row, unsigned *modrm)
{
	uint8_t byte = take_prefixes(d);
	const struct opcode *map = one_byte;

	if (byte == 0x0f) {
		byte = (uint8_t)take(d, 1);
		map = two_byte;
	}
	if (d->error)
		return d->error;
	*row = map[byte];
	d->error = check(d, row);
	if (d->error || row->form == INSN_STRING || (row->flags & OFFSET))
		return d->error;
	*modrm = (unsigned)take(d, 1);
	if (d->error)
		return d->error;
	if (row->flags & GROUP) {
		*row = groups[row->op][*modrm >> 3 & 7];
		d->error = check(d, row);
	}
	if (!d->error && *modrm >> 6 == 3)
		d->error = d->lock ? DECODE_ILLEGAL : DECODE_REFUSED;
	return d->error;
}

int decode_insn(const uint8_t *bytes, size_t available, enum decode_mode mode, struct insn *out)
{
	struct decoder d = { .bytes = bytes, .available = available, .mode = mode, .override = INSN_NONE };
	struct opcode row;
	unsigned modrm = 0;

	if (take_opcode(&d, &row, &modrm))
		return d.error;
	*out = (struct insn){
		.op = (enum insn_op)row.op,
		.form = (enum insn_form)row.form,
		.mode = mode,
		.lock = d.lock,
		.reg = INSN_NONE,
		.memory = { .base = INSN_NONE, .index = INSN_NONE, .scale = 1 },
	};
	set_sizes(&d, &row, out);
	if (row.form == INSN_STRING || (row.flags & OFFSET)) {
		implied_operands(&d, &row, out);
	} else {
		take_memory(&d, modrm, out);
		if (row.form == INSN_MEMORY_REGISTER || row.form == INSN_REGISTER_MEMORY)
			set_register(&d, modrm >> 3 & 7, out);
	}
	take_immediate(&d, &row, out);
	out->length = (uint8_t)d.at;
	return d.error;
}
