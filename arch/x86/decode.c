/* SPDX-License-Identifier: MIT */
/* The decoder: prefixes, opcode tables, ModRM and SIB, immediates. */
#include "arch/x86/decode.h"

/* A row of an opcode table: an operation, or a group's number, then a form, then flags. Zero: refused. */
enum row {
	OP = 0x1f,
	FORM_SHIFT = 5,
	FORM = 7 << FORM_SHIFT,
	MEM = INSN_MEMORY << FORM_SHIFT,
	MEM_REG = INSN_MEMORY_REGISTER << FORM_SHIFT,
	MEM_IMM = INSN_MEMORY_IMMEDIATE << FORM_SHIFT,
	REG_MEM = INSN_REGISTER_MEMORY << FORM_SHIFT,
	STRING = INSN_STRING << FORM_SHIFT,
	FROM_SHIFT = 8, /* bytes of memory that are extended to the operand size */
	FROM_1 = REG_MEM | 1 << FROM_SHIFT,
	FROM_2 = REG_MEM | 2 << FROM_SHIFT,
	FROM_4 = REG_MEM | 4 << FROM_SHIFT,
	FROM = 7 << FROM_SHIFT,
	GROUP = 1 << 11,  /* ModRM.reg picks the row of groups[] */
	IMM = 1 << 12,    /* an immediate of the operand size, at most four bytes */
	IMM8 = 1 << 13,   /* one of one byte */
	OFFSET = 1 << 14, /* no ModRM: the address stands in the instruction, rAX is the register */
	ONLY_64 = 1 << 15,
	NOT_64 = 1 << 16,
	NO_WORD = 1 << 17, /* 32 or 64 bits in every mode; a 66, F2 or F3 prefix is #UD */
	WIDE = 1 << 18,    /* an even opcode without 8-bit operands */
	BYTE = 1 << 19,    /* 8-bit operands: all other even opcodes, not written in the tables */
};

enum group { GROUP_ALU, GROUP_MOV, GROUP_UNARY, GROUP_COUNT, GROUP_BIT };

/* SDM vol. 2, "Opcode Extensions for One-byte and Two-byte Opcodes". */
static const uint32_t groups[][8] = {
	[GROUP_ALU] = { MEM_IMM | INSN_ADD, MEM_IMM | INSN_OR, MEM_IMM | INSN_ADC, MEM_IMM | INSN_SBB,
	                MEM_IMM | INSN_AND, MEM_IMM | INSN_SUB, MEM_IMM | INSN_XOR, MEM_IMM | INSN_CMP },
	[GROUP_MOV] = { MEM_IMM | INSN_MOV },
	/* /1 is not in the manual's table of TEST, but every processor takes it for /0. */
	[GROUP_UNARY] = { MEM_IMM | IMM | INSN_TEST, MEM_IMM | IMM | INSN_TEST, MEM | INSN_NOT,
	                  MEM | INSN_NEG },
	[GROUP_COUNT] = { MEM | INSN_INC, MEM | INSN_DEC },
	[GROUP_BIT] = { [4] = MEM_IMM | INSN_BT, MEM_IMM | INSN_BTS, MEM_IMM | INSN_BTR, MEM_IMM | INSN_BTC },
};

/* The eight arithmetic operations lie eight opcodes apart, each in the same four memory forms. */
#define ALU(at, op) [(at)] = MEM_REG | (op), MEM_REG | (op), REG_MEM | (op), REG_MEM | (op)

/* Two opcodes beside each other: bytes, then the operand size. */
#define PAIR(at, row) [(at)] = (row), (row)

/* SDM vol. 2, "One-byte Opcode Map". */
static const uint32_t one_byte[256] = {
	ALU(0x00, INSN_ADD),
	ALU(0x08, INSN_OR),
	ALU(0x10, INSN_ADC),
	ALU(0x18, INSN_SBB),
	ALU(0x20, INSN_AND),
	ALU(0x28, INSN_SUB),
	ALU(0x30, INSN_XOR),
	ALU(0x38, INSN_CMP),
	[0x63] = FROM_4 | INSN_MOVSX | ONLY_64,
	PAIR(0x80, GROUP | GROUP_ALU | IMM),
	[0x82] = GROUP | GROUP_ALU | IMM | NOT_64,
	[0x83] = GROUP | GROUP_ALU | IMM8,
	PAIR(0x84, MEM_REG | INSN_TEST),
	PAIR(0x86, MEM_REG | INSN_XCHG),
	PAIR(0x88, MEM_REG | INSN_MOV),
	PAIR(0x8a, REG_MEM | INSN_MOV),
	PAIR(0xa0, REG_MEM | INSN_MOV | OFFSET),
	PAIR(0xa2, MEM_REG | INSN_MOV | OFFSET),
	PAIR(0xa4, STRING | INSN_MOVS),
	PAIR(0xaa, STRING | INSN_STOS),
	PAIR(0xac, STRING | INSN_LODS),
	PAIR(0xae, STRING | INSN_SCAS),
	PAIR(0xc6, GROUP | GROUP_MOV | IMM),
	PAIR(0xf6, GROUP | GROUP_UNARY),
	PAIR(0xfe, GROUP | GROUP_COUNT),
};

/* SDM vol. 2, "Two-byte Opcode Map": after 0F. */
static const uint32_t two_byte[256] = {
	[0xa3] = MEM_REG | INSN_BT,
	[0xab] = MEM_REG | INSN_BTS,
	PAIR(0xb0, MEM_REG | INSN_CMPXCHG),
	[0xb3] = MEM_REG | INSN_BTR,
	[0xb6] = FROM_1 | INSN_MOVZX,
	[0xb7] = FROM_2 | INSN_MOVZX,
	[0xba] = GROUP | GROUP_BIT | IMM8 | WIDE,
	[0xbb] = MEM_REG | INSN_BTC,
	[0xbe] = FROM_1 | INSN_MOVSX,
	[0xbf] = FROM_2 | INSN_MOVSX,
	PAIR(0xc0, MEM_REG | INSN_XADD),
	[0xc3] = MEM_REG | INSN_MOVNTI | NO_WORD,
};

/* SDM vol. 2, "LOCK": these and no others, and only where memory is the destination. */
#define LOCKABLE                                                                                    \
	(1u << INSN_ADD | 1u << INSN_OR | 1u << INSN_ADC | 1u << INSN_SBB | 1u << INSN_AND |        \
	 1u << INSN_SUB | 1u << INSN_XOR | 1u << INSN_XCHG | 1u << INSN_XADD | 1u << INSN_CMPXCHG | \
	 1u << INSN_INC | 1u << INSN_DEC | 1u << INSN_NOT | 1u << INSN_NEG | 1u << INSN_BTS |       \
	 1u << INSN_BTR | 1u << INSN_BTC)

/* Where the bytes have been read to. What is read past their end is zero, and `at` tells. */
struct decoder {
	const uint8_t *bytes;
	size_t at, end;
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

	for (unsigned i = 0; i < count; i++, d->at++)
		if (d->at < d->end)
			value |= (uint64_t)d->bytes[d->at] << (8 * i);
	return value;
}

static int64_t take_signed(struct decoder *d, unsigned count)
{
	unsigned unused_bits = 64 - 8 * count;

	return (int64_t)(take(d, count) << unused_bits) >> unused_bits;
}

/* Returns the first byte of the opcode. */
static uint8_t take_prefixes(struct decoder *d)
{
	for (;;) {
		uint8_t byte = (uint8_t)take(d, 1);

		/* SDM vol. 2, "REX Prefixes": one that is not the last byte before the opcode is ignored. */
		if (d->mode == DECODE_64 && (byte & 0xf0) == 0x40) {
			d->rex = byte;
			continue;
		}
		if (one_byte[byte])
			return byte;
		/* SDM vol. 1, "Segmentation in 64-Bit Mode": ES to DS are ignored, FS or GS stay. */
		if ((byte & 0xe7) == 0x26)
			d->override = d->mode == DECODE_64 ? d->override : byte >> 3 & 3;
		else if ((byte & 0xfe) == 0x64)
			d->override = byte & 7;
		else if (byte == 0x66)
			d->operand_size = true;
		else if (byte == 0x67)
			d->address_size = true;
		else if (byte == 0xf0)
			d->lock = true;
		else if ((byte & 0xfe) == 0xf2)
			d->repeat = byte;
		else
			return byte;
		d->rex = 0;
	}
}

/* Finds the row of the opcode, and takes the ModRM if it has one. Returns 0 or an enum decode_error. */
static int take_opcode(struct decoder *d, uint32_t *found, unsigned *modrm)
{
	uint8_t opcode = take_prefixes(d);
	const uint32_t *map = one_byte;
	uint32_t row;

	if (opcode == 0x0f) {
		opcode = (uint8_t)take(d, 1);
		map = two_byte;
	}
	row = map[opcode];
	if (!row || ((row & ONLY_64) && d->mode != DECODE_64)) /* 63 is ARPL there */
		return DECODE_REFUSED;
	if (((row & NOT_64) && d->mode == DECODE_64) || ((row & NO_WORD) && (d->operand_size || d->repeat)))
		return DECODE_ILLEGAL;
	if (!(opcode & 1) && !(row & (WIDE | FROM)))
		row |= BYTE;
	if (!(row & OFFSET) && (row & FORM) != STRING) {
		*modrm = (unsigned)take(d, 1);
		if (row & GROUP) {
			uint32_t member = groups[row & OP][*modrm >> 3 & 7];

			if (!member)
				return DECODE_REFUSED;
			row = (row & ~(uint32_t)OP) | member;
		}
		if (*modrm >> 6 == 3)
			return d->lock ? DECODE_ILLEGAL : DECODE_REFUSED;
	}
	if (d->lock && ((row & FORM) == REG_MEM || !(LOCKABLE >> (row & OP) & 1)))
		return DECODE_ILLEGAL;
	*found = row;
	return 0;
}

/* SDM vol. 1, "Operand Size and Address Size in 64-Bit Mode" and "... Attributes"; REX.W wins over 66. */
static void set_sizes(const struct decoder *d, uint32_t row, struct insn *insn)
{
	uint8_t from = row >> FROM_SHIFT & 7;

	if (row & BYTE)
		insn->reg_size = 1;
	else if (d->rex & REX_W)
		insn->reg_size = 8;
	else
		insn->reg_size = (d->mode == DECODE_16) != d->operand_size && !(row & NO_WORD) ? 2 : 4;
	/* A MOVZX, MOVSX or MOVSXD into a register no wider than its source reads only what fits. */
	insn->size = from && from < insn->reg_size ? from : insn->reg_size;
	if (d->mode == DECODE_64)
		insn->address_size = d->address_size ? 4 : 8;
	else
		insn->address_size = (d->mode == DECODE_16) != d->address_size ? 2 : 4;
}

/* SDM vol. 2, "16-Bit Addressing Forms with the ModR/M Byte". */
static void memory_16(struct decoder *d, unsigned mod, unsigned rm, struct insn_memory *memory)
{
	static const uint8_t base[8] = { INSN_RBX, INSN_RBX, INSN_RBP, INSN_RBP,
		                         INSN_RSI, INSN_RDI, INSN_RBP, INSN_RBX };
	bool absolute = mod == 0 && rm == 6;

	memory->base = absolute ? INSN_NONE : base[rm];
	memory->index = rm >= 4 ? INSN_NONE : rm & 1 ? INSN_RDI : INSN_RSI;
	if (absolute || mod)
		memory->displacement = take_signed(d, absolute ? 2 : mod);
}

static uint8_t extended(const struct decoder *d, unsigned reg, unsigned rex_bit)
{
	return (uint8_t)(reg | (d->rex & rex_bit ? 8 : 0));
}

/* SDM vol. 2, "32-Bit Addressing Forms with the ModR/M Byte", "... SIB Byte", "RIP-Relative Addressing". */
static void memory_32(struct decoder *d, unsigned mod, unsigned rm, struct insn_memory *memory)
{
	unsigned base = rm;

	if (rm == INSN_RSP) {
		unsigned sib = (unsigned)take(d, 1);
		uint8_t index = extended(d, sib >> 3 & 7, REX_X);

		base = sib & 7;
		if (index != INSN_RSP) { /* R12 can be an index, RSP cannot */
			memory->index = index;
			memory->scale = (uint8_t)(1u << (sib >> 6));
		}
	}
	if (mod != 0 || base != INSN_RBP) {
		memory->base = extended(d, base, REX_B);
	} else {
		mod = 2; /* a displacement of four bytes stands for the base */
		if (rm == INSN_RBP && d->mode == DECODE_64)
			memory->base = INSN_RIP;
	}
	if (mod)
		memory->displacement = take_signed(d, mod == 1 ? 1 : 4);
}

/* The memory operand. SDM vol. 1, "Specifying a Segment Selector": rBP and rSP mean the stack. */
static void take_memory(struct decoder *d, uint32_t row, unsigned modrm, struct insn *insn)
{
	struct insn_memory *memory = &insn->memory;
	bool to_string = insn->op == INSN_STOS || insn->op == INSN_SCAS;

	if (insn->form == INSN_STRING)
		memory->base = to_string ? INSN_RDI : INSN_RSI;
	else if (row & OFFSET)
		memory->displacement = (int64_t)take(d, insn->address_size);
	else if (insn->address_size == 2)
		memory_16(d, modrm >> 6, modrm & 7, memory);
	else
		memory_32(d, modrm >> 6, modrm & 7, memory);
	memory->segment = memory->base == INSN_RSP || memory->base == INSN_RBP ? INSN_SS : INSN_DS;
	if (d->override != INSN_NONE)
		memory->segment = d->override;
	if (to_string)
		memory->segment = INSN_ES;
}

static void set_register(const struct decoder *d, uint32_t row, unsigned reg, struct insn *insn)
{
	if (insn->form == INSN_STRING || (row & OFFSET)) {
		insn->reg = INSN_RAX;
	} else if (insn->form == INSN_MEMORY_REGISTER || insn->form == INSN_REGISTER_MEMORY) {
		/* SDM vol. 2, "REX Prefixes": any REX at all turns AH to BH into SPL to DIL. */
		insn->high_byte = insn->reg_size == 1 && d->rex == 0 && reg >= 4;
		insn->reg = insn->high_byte ? (uint8_t)(reg - 4) : extended(d, reg, REX_R);
	}
}

static void take_immediate(struct decoder *d, uint32_t row, struct insn *insn)
{
	if (row & IMM8) /* a bit's number is unsigned */
		insn->immediate = insn->op >= INSN_BT ? take(d, 1) : (uint64_t)take_signed(d, 1);
	else
		insn->immediate = (uint64_t)take_signed(d, insn->size < 4 ? insn->size : 4);
	if (insn->size < 8)
		insn->immediate &= (UINT64_C(1) << (8 * insn->size)) - 1;
}

int decode_insn(const uint8_t *bytes, size_t available, enum decode_mode mode, struct insn *out)
{
	struct decoder d = { .bytes = bytes, .mode = mode, .override = INSN_NONE };
	unsigned modrm = 0;
	uint32_t row;
	int error;

	d.end = available < INSN_MAX_LENGTH ? available : INSN_MAX_LENGTH;
	error = take_opcode(&d, &row, &modrm);
	if (!error) {
		*out = (struct insn){
			.op = row & OP,
			.form = (row & FORM) >> FORM_SHIFT,
			.mode = mode,
			.lock = d.lock,
			.reg = INSN_NONE,
			.memory = { .base = INSN_NONE, .index = INSN_NONE, .scale = 1 },
		};
		set_sizes(&d, row, out);
		take_memory(&d, row, modrm, out);
		set_register(&d, row, modrm >> 3 & 7, out);
		if (row & (IMM | IMM8))
			take_immediate(&d, row, out);
		out->rep = out->form == INSN_STRING && d.repeat == 0xf3;
		out->repne = out->form == INSN_STRING && d.repeat == 0xf2;
		out->length = (uint8_t)d.at;
	}
	if (d.at > d.end)
		error = d.end == INSN_MAX_LENGTH ? DECODE_ILLEGAL : DECODE_MORE;
	return error;
}
