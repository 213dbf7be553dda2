/* SPDX-License-Identifier: MIT */
/* The decoder against an oracle, Zydis: every opcode and ModRM under many prefixes, then random bytes. */
/* SOURCES: arch/x86/decode.c */
/* LIBS: -lZydis */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>
#include "arch/x86/decode.h"

#define SEED 0x6265c1c0ffee5eedull

/* How often each of our operations was accepted: an oracle that never agrees on an operation proves nothing.
 */
static unsigned long accepted[INSN_SCAS + 1];

static ZydisDecoder decoders[3];

static const struct {
	ZydisMnemonic mnemonic;
	enum insn_op op;
	uint8_t string_size; /* for string operations: the mnemonic says it */
} names[] = {
	{ ZYDIS_MNEMONIC_MOV, INSN_MOV, 0 },         { ZYDIS_MNEMONIC_MOVNTI, INSN_MOVNTI, 0 },
	{ ZYDIS_MNEMONIC_MOVZX, INSN_MOVZX, 0 },     { ZYDIS_MNEMONIC_MOVSX, INSN_MOVSX, 0 },
	{ ZYDIS_MNEMONIC_MOVSXD, INSN_MOVSX, 0 },    { ZYDIS_MNEMONIC_ADD, INSN_ADD, 0 },
	{ ZYDIS_MNEMONIC_OR, INSN_OR, 0 },           { ZYDIS_MNEMONIC_ADC, INSN_ADC, 0 },
	{ ZYDIS_MNEMONIC_SBB, INSN_SBB, 0 },         { ZYDIS_MNEMONIC_AND, INSN_AND, 0 },
	{ ZYDIS_MNEMONIC_SUB, INSN_SUB, 0 },         { ZYDIS_MNEMONIC_XOR, INSN_XOR, 0 },
	{ ZYDIS_MNEMONIC_CMP, INSN_CMP, 0 },         { ZYDIS_MNEMONIC_TEST, INSN_TEST, 0 },
	{ ZYDIS_MNEMONIC_XCHG, INSN_XCHG, 0 },       { ZYDIS_MNEMONIC_XADD, INSN_XADD, 0 },
	{ ZYDIS_MNEMONIC_CMPXCHG, INSN_CMPXCHG, 0 }, { ZYDIS_MNEMONIC_INC, INSN_INC, 0 },
	{ ZYDIS_MNEMONIC_DEC, INSN_DEC, 0 },         { ZYDIS_MNEMONIC_NOT, INSN_NOT, 0 },
	{ ZYDIS_MNEMONIC_NEG, INSN_NEG, 0 },         { ZYDIS_MNEMONIC_BT, INSN_BT, 0 },
	{ ZYDIS_MNEMONIC_BTS, INSN_BTS, 0 },         { ZYDIS_MNEMONIC_BTR, INSN_BTR, 0 },
	{ ZYDIS_MNEMONIC_BTC, INSN_BTC, 0 },         { ZYDIS_MNEMONIC_MOVSB, INSN_MOVS, 1 },
	{ ZYDIS_MNEMONIC_MOVSW, INSN_MOVS, 2 },      { ZYDIS_MNEMONIC_MOVSD, INSN_MOVS, 4 },
	{ ZYDIS_MNEMONIC_MOVSQ, INSN_MOVS, 8 },      { ZYDIS_MNEMONIC_STOSB, INSN_STOS, 1 },
	{ ZYDIS_MNEMONIC_STOSW, INSN_STOS, 2 },      { ZYDIS_MNEMONIC_STOSD, INSN_STOS, 4 },
	{ ZYDIS_MNEMONIC_STOSQ, INSN_STOS, 8 },      { ZYDIS_MNEMONIC_LODSB, INSN_LODS, 1 },
	{ ZYDIS_MNEMONIC_LODSW, INSN_LODS, 2 },      { ZYDIS_MNEMONIC_LODSD, INSN_LODS, 4 },
	{ ZYDIS_MNEMONIC_LODSQ, INSN_LODS, 8 },      { ZYDIS_MNEMONIC_SCASB, INSN_SCAS, 1 },
	{ ZYDIS_MNEMONIC_SCASW, INSN_SCAS, 2 },      { ZYDIS_MNEMONIC_SCASD, INSN_SCAS, 4 },
	{ ZYDIS_MNEMONIC_SCASQ, INSN_SCAS, 8 },
};

/* What Zydis said. */
struct oracle {
	bool decoded;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* One case, kept for the message when it fails. */
struct sample {
	uint8_t bytes[16];
	enum decode_mode mode;
};

static void complain(const struct sample *s, const char *what, uint64_t ours, uint64_t theirs)
{
	static const unsigned bits[] = { [DECODE_16] = 16, [DECODE_32] = 32, [DECODE_64] = 64 };
	char hex[64] = "";

	for (unsigned i = 0; i < 15; i++)
		snprintf(hex + 3 * i, 4, "%02x ", s->bytes[i]);
	fail_msg("%u-bit %s: %s is %llx, Zydis says %llx", bits[s->mode], hex, what, (unsigned long long)ours,
	         (unsigned long long)theirs);
}

static void same(const struct sample *s, const char *what, uint64_t ours, uint64_t theirs)
{
	if (ours != theirs)
		complain(s, what, ours, theirs);
}

static int name_of(ZydisMnemonic mnemonic)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].mnemonic == mnemonic)
			return (int)i;
	return -1;
}

static const ZydisDecodedOperand *operand(const struct oracle *z, ZydisOperandType type, unsigned skip)
{
	for (unsigned i = 0; i < z->insn.operand_count; i++)
		if (z->operands[i].type == type && skip-- == 0)
			return &z->operands[i];
	return NULL;
}

static bool is_gpr(ZydisRegister reg)
{
	switch ((int)ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return true;
	}
	return false;
}

/* Our list, in the oracle's words: a mnemonic of ours, a memory operand, and nothing but GPRs beside it. */
static bool is_ours(const struct oracle *z)
{
	if (!z->decoded || z->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	    name_of(z->insn.mnemonic) < 0)
		return false;
	for (unsigned i = 0; i < z->insn.operand_count_visible; i++)
		if (z->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && !is_gpr(z->operands[i].reg.value))
			return false;
	return operand(z, ZYDIS_OPERAND_TYPE_MEMORY, 0) != NULL;
}

static uint8_t segment_of(ZydisRegister reg)
{
	return (uint8_t)(reg - ZYDIS_REGISTER_ES); /* the same order as ours */
}

static uint8_t number_of(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return INSN_NONE;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return INSN_RIP;
	return (uint8_t)ZydisRegisterGetId(reg);
}

static uint64_t cut(uint64_t value, unsigned size)
{
	return size < 8 ? value & ((UINT64_C(1) << 8 * size) - 1) : value;
}

/*
 * SDM vol. 2, "MOVSX/MOVSXD": opcode 63 with a 16-bit operand size is MOVSXD r16, r/m16. Zydis follows AMD's
 * manual instead, where the source has 32 bits always.
 */
static unsigned memory_bits(const struct insn *insn, const ZydisDecodedOperand *theirs)
{
	if (insn->op == INSN_MOVSX && insn->reg_size == 2 && theirs->size == 32)
		return 16;
	return theirs->size;
}

static void compare_memory(const struct sample *s, const struct insn *insn, const ZydisDecodedOperand *theirs)
{
	same(s, "memory size", insn->size * 8u, memory_bits(insn, theirs));
	same(s, "segment", insn->memory.segment, segment_of(theirs->mem.segment));
	same(s, "base", insn->memory.base, number_of(theirs->mem.base));
	same(s, "index", insn->memory.index, number_of(theirs->mem.index));
	if (insn->memory.index != INSN_NONE)
		same(s, "scale", insn->memory.scale, theirs->mem.scale);
	/* Zydis sign-extends absolute offsets too: equal where it matters is enough. */
	same(s, "displacement", cut((uint64_t)insn->memory.displacement, insn->address_size),
	     cut((uint64_t)theirs->mem.disp.value, insn->address_size));
}

static void compare_register(const struct sample *s, const struct insn *insn,
                             const ZydisDecodedOperand *theirs)
{
	ZydisRegister reg = theirs->reg.value;
	bool high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
	unsigned number = (unsigned)ZydisRegisterGetId(reg);

	if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR8) {
		/* AL to BL, AH to BH, SPL to R15B: from AH on four more than the register. */
		number = (unsigned)(reg - ZYDIS_REGISTER_AL);
		if (number >= 4)
			number -= 4;
	}
	same(s, "register", insn->reg, number);
	same(s, "high byte", insn->high_byte, high);
	same(s, "register size", insn->reg_size * 8u, theirs->size);
}

static void compare_string(const struct sample *s, const struct insn *insn, const struct oracle *z, int name)
{
	const ZydisDecodedOperand *source = operand(z, ZYDIS_OPERAND_TYPE_MEMORY, insn->op == INSN_MOVS);
	uint64_t repeats = ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE;

	assert_non_null(source);
	compare_memory(s, insn, source);
	same(s, "size", insn->size, names[name].string_size);
	same(s, "REP", insn->rep, (z->insn.attributes & repeats) != 0);
	/* Zydis has no word for F2 before anything but CMPS and SCAS, where it still repeats. */
	if (insn->op == INSN_SCAS)
		same(s, "REPNE", insn->repne, (z->insn.attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0);
}

static void compare_operands(const struct sample *s, const struct insn *insn, const struct oracle *z)
{
	static const ZydisOperandType shape[][2] = {
		[INSN_MEMORY] = { ZYDIS_OPERAND_TYPE_MEMORY },
		[INSN_MEMORY_REGISTER] = { ZYDIS_OPERAND_TYPE_MEMORY, ZYDIS_OPERAND_TYPE_REGISTER },
		[INSN_MEMORY_IMMEDIATE] = { ZYDIS_OPERAND_TYPE_MEMORY, ZYDIS_OPERAND_TYPE_IMMEDIATE },
		[INSN_REGISTER_MEMORY] = { ZYDIS_OPERAND_TYPE_REGISTER, ZYDIS_OPERAND_TYPE_MEMORY },
	};
	unsigned count = insn->form == INSN_MEMORY ? 1 : 2;

	same(s, "number of operands", count, z->insn.operand_count_visible);
	for (unsigned i = 0; i < count; i++) {
		const ZydisDecodedOperand *theirs = &z->operands[i];

		same(s, "kind of operand", shape[insn->form][i], theirs->type);
		if (theirs->type == ZYDIS_OPERAND_TYPE_MEMORY)
			compare_memory(s, insn, theirs);
		else if (theirs->type == ZYDIS_OPERAND_TYPE_REGISTER)
			compare_register(s, insn, theirs);
		else
			same(s, "immediate", insn->immediate, cut(theirs->imm.value.u, insn->size));
	}
}

static void compare(const struct sample *s, const struct insn *insn, const struct oracle *z)
{
	int name = name_of(z->insn.mnemonic);

	if (!is_ours(z))
		complain(s, "accepted", insn->op, (uint64_t)z->insn.mnemonic);
	accepted[insn->op]++;
	same(s, "length", insn->length, z->insn.length);
	same(s, "operation", insn->op, names[name].op);
	same(s, "address size", insn->address_size * 8u, z->insn.address_width);
	same(s, "LOCK", insn->lock, (z->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0);
	if (insn->form == INSN_STRING)
		compare_string(s, insn, z, name);
	else
		compare_operands(s, insn, z);
}

/* Every prefix of what we accept must ask for more, and never for anything else. */
static void compare_cut(const struct sample *s, const struct insn *insn, unsigned available)
{
	struct insn again;

	if (available < insn->length)
		same(s, "cut short", (uint64_t)decode_insn(s->bytes, available, s->mode, &again),
		     (uint64_t)DECODE_MORE);
	else
		same(s, "exact bytes", (uint64_t)decode_insn(s->bytes, insn->length, s->mode, &again), 0);
}

/*
 * Zydis up to 4.1 makes R13D of a SIB base that says "none" where REX.B meets a 32-bit address size (its
 * issue 592, mended since). SDM vol. 2, "Special Cases of REX Encodings": REX.B is not decoded there.
 */
static void mend_oracle(struct oracle *z)
{
	const ZydisDecodedInstruction *insn = &z->insn;

	if (!z->decoded || !(insn->attributes & ZYDIS_ATTRIB_HAS_SIB) || insn->address_width != 32 ||
	    insn->raw.modrm.mod != 0 || insn->raw.sib.base != 5)
		return;
	for (unsigned i = 0; i < insn->operand_count; i++)
		if (z->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    z->operands[i].mem.base == ZYDIS_REGISTER_R13D) {
			z->operands[i].mem.base = ZYDIS_REGISTER_NONE;
			z->operands[i].mem.disp.value = insn->raw.disp.value;
		}
}

static void try(const struct sample *s, unsigned available)
{
	struct oracle z;
	struct insn insn;
	int error = decode_insn(s->bytes, INSN_MAX_LENGTH, s->mode, &insn);

	z.decoded = ZYAN_SUCCESS(
		ZydisDecoderDecodeFull(&decoders[s->mode], s->bytes, INSN_MAX_LENGTH, &z.insn, z.operands));
	mend_oracle(&z);
	if (error == 0) {
		compare(s, &insn, &z);
		compare_cut(s, &insn, available);
		return;
	}
	same(s, "more than 15 bytes wanted", error == DECODE_MORE, false);
	if (is_ours(&z))
		complain(s, "refused", (uint64_t)error, (uint64_t)z.insn.mnemonic);
	if (error == DECODE_ILLEGAL && z.decoded)
		complain(s, "illegal", (uint64_t)error, (uint64_t)z.insn.mnemonic);
}

/* xorshift64*: the same numbers on every machine. */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static const char *const prefixes[] = {
	"",
	"\x66",
	"\x67",
	"\x66\x67",
	"\xf0",
	"\xf2",
	"\xf3",
	"\x64",
	"\x65",
	"\x2e",
	"\x36",
	"\x3e",
	"\x26",
	"\x40",
	"\x41",
	"\x42",
	"\x44",
	"\x48",
	"\x4f",
	"\x66\x48",
	"\x48\x66",
	"\xf0\x48",
	"\xf3\x48",
	"\x67\x4b",
	"\x64\x2e\x4d",
	"\x65\x67\x66",
	"\xf0\xf2\x4c",
	"\xf3\x66\x67\x45",
};

static void every_opcode_and_modrm(void **state)
{
	uint64_t random = SEED;

	(void)state;
	for (unsigned p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]); p++)
		for (unsigned rest = 0; rest < 3 * 2 * 256 * 256; rest++) {
			struct sample s = { .mode = (enum decode_mode)(rest >> 17) };
			size_t at = strlen(prefixes[p]);
			uint64_t filler[2] = { random_next(&random), random_next(&random) };

			memcpy(s.bytes, filler, sizeof(s.bytes));
			memcpy(s.bytes, prefixes[p], at);
			if (rest >> 16 & 1)
				s.bytes[at++] = 0x0f;
			s.bytes[at++] = (uint8_t)(rest >> 8);
			s.bytes[at] = (uint8_t)rest;
			try(&s, (unsigned)(filler[1] >> 32) % 16);
		}
}

/* Prefixes in any number and order before any opcode: up to 15, so that the length limit is met too. */
static void random_prefixes(struct sample *s, uint64_t random)
{
	static const uint8_t some[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67,
		                        0xf0, 0xf2, 0xf3, 0x40, 0x48, 0x4d, 0x43, 0x46 };
	unsigned count = random & 15;

	random >>= 4;
	if (count > 5 && random & 3) /* long ones are rarer */
		count %= 5;
	random >>= 2;
	for (unsigned i = 0; i < count && i < 14; i++, random >>= 4)
		s->bytes[i] = some[random & 15];
	if (count < 14 && random & 1)
		s->bytes[count] = 0x0f;
}

static void random_bytes(void **state)
{
	const char *wanted = getenv("BELLHOP_RANDOM");
	unsigned long long count = wanted ? strtoull(wanted, NULL, 0) : 2000000;
	uint64_t random = SEED;

	(void)state;
	print_message("%llu random samples from seed %#llx\n", count, (unsigned long long)SEED);
	for (unsigned long long i = 0; i < count; i++) {
		uint64_t filler[2] = { random_next(&random), random_next(&random) };
		uint64_t shape = random_next(&random);
		struct sample s = { .mode = (enum decode_mode)(shape >> 60) % 3 };

		memcpy(s.bytes, filler, sizeof(s.bytes));
		if (shape & 7)
			random_prefixes(&s, random_next(&random));
		try(&s, shape >> 8 & 15);
	}
}

static void every_operation_was_seen(void **state)
{
	(void)state;
	for (unsigned op = 0; op <= INSN_SCAS; op++)
		if (accepted[op] < 100)
			fail_msg("operation %u was accepted %lu times only", op, accepted[op]);
}

static int start(void **state)
{
	(void)state;
	ZydisDecoderInit(&decoders[DECODE_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&decoders[DECODE_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&decoders[DECODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_opcode_and_modrm),
		cmocka_unit_test(random_bytes),
		cmocka_unit_test(every_operation_was_seen),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
