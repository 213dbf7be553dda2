/* SPDX-License-Identifier: MIT */
/* The decoder for instructions that touch emulated memory: bytes in, one plain struct out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSN_MAX_LENGTH 15 /* SDM vol. 2, "Instruction Format": a longer one is #GP, whatever it says */

/* What CS says of the code: not what the address or operand size is. */
enum decode_mode { DECODE_16, DECODE_32, DECODE_64 };

enum decode_error {
	DECODE_MORE = -1,    /* the bytes end inside the instruction: call again with the next page's */
	DECODE_REFUSED = -2, /* not an instruction with a memory operand that we emulate */
	DECODE_ILLEGAL = -3, /* #UD, or longer than 15 bytes: no CPU exits on it, so the code has changed */
};

/* MOVSX is MOVSXD too. ADD to CMP, and BT to BTC, are in the order of their encoding. */
enum insn_op {
	INSN_MOV,
	INSN_MOVNTI,
	INSN_MOVZX,
	INSN_MOVSX,
	INSN_ADD,
	INSN_OR,
	INSN_ADC,
	INSN_SBB,
	INSN_AND,
	INSN_SUB,
	INSN_XOR,
	INSN_CMP,
	INSN_TEST,
	INSN_XCHG,
	INSN_XADD,
	INSN_CMPXCHG,
	INSN_INC,
	INSN_DEC,
	INSN_NOT,
	INSN_NEG,
	INSN_BT,
	INSN_BTS,
	INSN_BTR,
	INSN_BTC,
	INSN_MOVS,
	INSN_STOS,
	INSN_LODS,
	INSN_SCAS
};

/* What stands beside the memory operand, and which of the two is the destination. */
enum insn_form {
	INSN_MEMORY = 1,      /* memory alone */
	INSN_MEMORY_REGISTER, /* memory first, the destination if there is one */
	INSN_MEMORY_IMMEDIATE,
	INSN_REGISTER_MEMORY, /* register first */
	INSN_STRING,          /* rAX, rSI, rDI, rCX as the operation says */
};

/* In the order of their encoding in a MOV to a segment register. */
enum insn_segment { INSN_ES, INSN_CS, INSN_SS, INSN_DS, INSN_FS, INSN_GS, INSN_SEGMENTS };

/* General-purpose registers have the numbers of their encoding, REX included: 0 RAX, 1 RCX ... 15 R15. */
enum insn_register { INSN_RAX, INSN_RCX, INSN_RDX, INSN_RBX, INSN_RSP, INSN_RBP, INSN_RSI, INSN_RDI };
#define INSN_REGISTERS 16
#define INSN_RIP       16   /* as a base only: the address of the next instruction */
#define INSN_NONE      0xff /* no such register */

/* segment:(base + index * scale + displacement), cut to the address size. */
struct insn_memory {
	int64_t displacement;      /* sign-extended; for MOV with an absolute offset zero-extended */
	enum insn_segment segment; /* after defaults and overrides */
	uint8_t base;              /* 0 to 15, INSN_RIP, INSN_NONE */
	uint8_t index;             /* 0 to 15, INSN_NONE */
	uint8_t scale;             /* 1, 2, 4, 8; 1 where there is no index */
};

struct insn {
	enum insn_op op;
	enum insn_form form;
	enum decode_mode mode;
	uint8_t length;            /* bytes, 1 to 15 */
	uint8_t size;              /* bytes of memory that one access touches: 1, 2, 4, 8 */
	uint8_t reg_size;          /* bytes of the register operand: differs from size for MOVZX and MOVSX */
	uint8_t address_size;      /* bytes: 2, 4, 8 */
	uint8_t reg;               /* 0 to 15, INSN_NONE where there is none; RAX for string operations */
	bool high_byte;            /* the register is AH, CH, DH or BH: `reg` is the one it lies in, 0 to 3 */
	bool lock;                 /* LOCK prefix; XCHG is locked without */
	bool rep, repne;           /* F3, or F2, before a string operation */
	struct insn_memory memory; /* string operations: rSI for MOVS and LODS, ES:rDI for STOS and SCAS */
	uint64_t immediate;        /* sign-extended, then cut to `size` bytes; BT and its kin: the byte */
};

/*
 * Decodes at most 15 and at most `available` bytes. Returns 0 and fills `out`, or returns an enum
 * decode_error and leaves `out` undefined. Any CPU, no lock, no state.
 */
int decode_insn(const uint8_t *bytes, size_t available, enum decode_mode mode, struct insn *out);
