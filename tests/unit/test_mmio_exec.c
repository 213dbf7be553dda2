/* SPDX-License-Identifier: MIT */
/* Emulated instructions against the host's own CPU: the same bytes, registers, flags and memory go to both.
 */
/* SOURCES: arch/x86/decode.c arch/x86/mmio_exec.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "arch/x86/mmio_exec.h"

#define SEED 0x5eed0fbe11400001ull
#define CF   0x001u
#define PF   0x004u
#define AF   0x010u
#define ZF   0x040u
#define SF   0x080u
#define DF   0x400u
#define OF   0x800u
#define ALL  (CF | PF | AF | ZF | SF | OF)

/*
 * Runs the bytes at host_code with the registers and flags below, RSP excepted. They end in a jump to
 * host_return. Neither jump nor MOV touches a flag.
 */
uint64_t host_gpr[INSN_REGISTERS], host_flags, host_stack, host_code;
void host_run(void);
extern const char host_return[];

#define EACH_REGISTER(move)                                                                        \
	move(0, rax) move(1, rcx) move(2, rdx) move(3, rbx) move(5, rbp) move(6, rsi) move(7, rdi) \
		move(8, r8) move(9, r9) move(10, r10) move(11, r11) move(12, r12) move(13, r13)    \
			move(14, r14) move(15, r15)
#define LOAD(n, name)  "movq host_gpr+8*" #n "(%rip), %" #name "\n"
#define STORE(n, name) "movq %" #name ", host_gpr+8*" #n "(%rip)\n"

__asm__(".pushsection .text\n"
        "host_run:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "movq %rsp, host_stack(%rip)\n"
        "push host_flags(%rip)\n"
        "popfq\n" EACH_REGISTER(
		LOAD) "jmp *host_code(%rip)\n"
                      "host_return:\n" EACH_REGISTER(
			      STORE) "movq host_stack(%rip), %rsp\n"
                                     "pushfq\n"
                                     "pop host_flags(%rip)\n"
                                     "cld\n"
                                     "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
                                     "ret\n"
                                     ".popsection\n");

#define CODE_SIZE  4096u
#define ARENA_SIZE 32768u

/* Code, and behind it what the instructions access. Below 4 GiB, so that 32-bit addresses reach it. */
static uint8_t *code;
static uint8_t *arena, shadow[ARENA_SIZE];

/* One generated instruction. */
struct sample {
	uint8_t bytes[32];
	unsigned absolute_at; /* offset of a displacement that has no base register beside it, else 0 */
	unsigned offset_size; /* bytes of it, for MOV with an absolute offset; else 0 */
	unsigned length;
	struct insn insn;
	uint64_t gpr[INSN_REGISTERS], flags;
};

/* Every opcode of the decoder with its ModRM.reg where that is part of the opcode. 0F is 0x100. */
static const struct {
	uint16_t opcode;
	uint8_t reg_mask;  /* which ModRM.reg may stand here; 0: no ModRM */
	uint8_t immediate; /* 1: a byte, 2: operand size */
} kinds[] = {
	{ 0x00, 255, 0 },  { 0x01, 255, 0 },  { 0x02, 255, 0 },  { 0x03, 255, 0 },  { 0x08, 255, 0 },
	{ 0x09, 255, 0 },  { 0x0b, 255, 0 },  { 0x10, 255, 0 },  { 0x11, 255, 0 },  { 0x13, 255, 0 },
	{ 0x18, 255, 0 },  { 0x19, 255, 0 },  { 0x1a, 255, 0 },  { 0x1b, 255, 0 },  { 0x20, 255, 0 },
	{ 0x21, 255, 0 },  { 0x23, 255, 0 },  { 0x28, 255, 0 },  { 0x29, 255, 0 },  { 0x2a, 255, 0 },
	{ 0x2b, 255, 0 },  { 0x30, 255, 0 },  { 0x31, 255, 0 },  { 0x33, 255, 0 },  { 0x38, 255, 0 },
	{ 0x39, 255, 0 },  { 0x3a, 255, 0 },  { 0x3b, 255, 0 },  { 0x63, 255, 0 },  { 0x80, 255, 1 },
	{ 0x81, 255, 2 },  { 0x83, 255, 1 },  { 0x84, 255, 0 },  { 0x85, 255, 0 },  { 0x86, 255, 0 },
	{ 0x87, 255, 0 },  { 0x88, 255, 0 },  { 0x89, 255, 0 },  { 0x8a, 255, 0 },  { 0x8b, 255, 0 },
	{ 0xa0, 0, 0 },    { 0xa1, 0, 0 },    { 0xa2, 0, 0 },    { 0xa3, 0, 0 },    { 0xa4, 0, 0 },
	{ 0xa5, 0, 0 },    { 0xaa, 0, 0 },    { 0xab, 0, 0 },    { 0xac, 0, 0 },    { 0xad, 0, 0 },
	{ 0xae, 0, 0 },    { 0xaf, 0, 0 },    { 0xc6, 1, 1 },    { 0xc7, 1, 2 },    { 0xf6, 3, 1 },
	{ 0xf6, 12, 0 },   { 0xf7, 3, 2 },    { 0xf7, 12, 0 },   { 0xfe, 3, 0 },    { 0xff, 3, 0 },
	{ 0x1a3, 255, 0 }, { 0x1ab, 255, 0 }, { 0x1b0, 255, 0 }, { 0x1b1, 255, 0 }, { 0x1b3, 255, 0 },
	{ 0x1b6, 255, 0 }, { 0x1b7, 255, 0 }, { 0x1ba, 240, 1 }, { 0x1bb, 255, 0 }, { 0x1be, 255, 0 },
	{ 0x1bf, 255, 0 }, { 0x1c0, 255, 0 }, { 0x1c1, 255, 0 }, { 0x1c3, 255, 0 },
};

static uint64_t random_state = SEED;

static uint64_t random_next(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dull;
}

/* Values at the edges, where carries and signs happen, as often as any others. */
static uint64_t random_value(void)
{
	static const uint64_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000 };
	uint64_t random = random_next();

	if (random & 1)
		return random_next();
	random = edges[(random >> 8) % 9];
	return random_next() & 1 ? ~random : random;
}

static void put(struct sample *s, uint64_t byte)
{
	s->bytes[s->length++] = (uint8_t)byte;
}

/* ModRM and SIB; notes where a displacement that stands alone begins. */
static void put_memory(struct sample *s, unsigned reg)
{
	uint64_t random = random_next();
	unsigned mod = (unsigned)(random % 3), rm = random >> 8 & 7, base = random >> 16 & 7;

	put(s, mod << 6 | reg << 3 | rm);
	if (rm == 4)
		put(s, (random >> 24 & 31) << 3 | base);
	if (mod == 0 && (rm == 5 || (rm == 4 && base == 5)))
		s->absolute_at = s->length;
}

static void generate_bytes(struct sample *s)
{
	unsigned kind = (unsigned)(random_next() % (sizeof(kinds) / sizeof(kinds[0])));
	uint64_t random = random_next();
	unsigned opcode = kinds[kind].opcode, reg;

	for (unsigned i = 0; i < 3; i++, random >>= 8)
		if ((random & 7) == 0)
			put(s, (const uint8_t[]){ 0x66, 0x67, 0xf0 }[i]);
	if (opcode >= 0xa4 && opcode <= 0xaf && (random & 3))
		put(s, random & 1 ? 0xf3 : 0xf2);
	if (random & 0x10)
		put(s, 0x40 | (random >> 8 & 15));
	if (opcode > 0xff)
		put(s, 0x0f);
	put(s, opcode);
	if (kinds[kind].reg_mask) {
		do
			reg = (unsigned)random_next() & 7;
		while (!(kinds[kind].reg_mask >> reg & 1));
		put_memory(s, reg);
	} else if (opcode <= 0xa3) {
		s->absolute_at = s->length;
		s->offset_size = memchr(s->bytes, 0x67, s->length) ? 4 : 8;
	}
	/* Displacement and immediate, in whatever sizes they turn out to have. */
	for (unsigned end = s->length + 12; s->length < end;)
		put(s, random_next());
}

/* Sets a register or the displacement so that the operand lies at `target`. False: not with these bytes. */
static bool aim(struct sample *s, uint64_t target)
{
	struct insn *insn = &s->insn;
	const struct insn_memory *memory = &insn->memory;
	uint64_t index = 0, displacement;

	if (memory->base == INSN_RSP || insn->reg == INSN_RSP ||
	    (memory->base == memory->index && memory->base != INSN_NONE))
		return false;
	if (memory->index != INSN_NONE) {
		if (s->absolute_at) /* beside 31 bits of displacement it has to be small */
			s->gpr[memory->index] &= 0xff;
		index = s->gpr[memory->index] * memory->scale;
	}
	if (!s->absolute_at) {
		s->gpr[memory->base] = target - index - (uint64_t)memory->displacement;
		if (insn->address_size == 4)
			s->gpr[memory->base] += random_next() << 32;
		return true;
	}
	displacement = target - index;
	if (memory->base == INSN_RIP)
		displacement -= (uint64_t)code + insn->length;
	memcpy(s->bytes + s->absolute_at, &displacement, s->offset_size ? s->offset_size : 4);
	return decode_insn(s->bytes, INSN_MAX_LENGTH, DECODE_64, insn) == 0;
}

/* Registers beside the address: bit offsets that stay in the arena, string operands, comparisons that hold.
 */
static bool prepare(struct sample *s)
{
	const struct insn *insn = &s->insn;
	uint64_t middle = (uint64_t)arena + ARENA_SIZE / 2 + random_next() % 64;
	uint64_t upper = insn->address_size == 4 ? random_next() << 32 : 0;

	for (unsigned i = 0; i < INSN_REGISTERS; i++)
		s->gpr[i] = random_value();
	s->flags = 0x202 | (random_next() & (ALL | DF));
	if (insn->form == INSN_STRING) {
		s->gpr[INSN_RSI] = middle + upper;
		s->gpr[INSN_RDI] = (uint64_t)arena + ARENA_SIZE / 2 + random_next() % 64 + upper;
		/* Never zero: nothing exits then. (With a 32-bit address size the host clears RCX's high
		 * half.) */
		s->gpr[INSN_RCX] = 1 + random_next() % 8 + (random_next() & upper & ~UINT64_C(0xffffffff));
		return true;
	}
	if (insn->form == INSN_MEMORY_REGISTER && insn->op >= INSN_BT && insn->op <= INSN_BTC) {
		s->gpr[insn->reg] = (uint64_t)(int16_t)random_next();
		if (insn->size < 8)
			s->gpr[insn->reg] ^= random_next() << (8 * insn->size);
		if (insn->reg == insn->memory.base || insn->reg == insn->memory.index)
			return false;
	}
	if (!aim(s, middle))
		return false;
	if (insn->op == INSN_CMPXCHG && (random_next() & 1) && insn->memory.base != INSN_RAX &&
	    insn->memory.index != INSN_RAX)
		memcpy(&s->gpr[INSN_RAX], (void *)middle, insn->size);
	return true;
}

/* One sample that decodes and hits the arena. */
static void generate(struct sample *s)
{
	do {
		memset(s, 0, sizeof(*s));
		generate_bytes(s);
	} while (decode_insn(s->bytes, INSN_MAX_LENGTH, DECODE_64, &s->insn) || !prepare(s));
}

static void run_natively(const struct sample *s)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp [rip + 0] */
	const char *back = host_return;

	memcpy(code, s->bytes, s->insn.length);
	memcpy(code + s->insn.length, jump, sizeof(jump));
	memcpy(code + s->insn.length + sizeof(jump), &back, sizeof(back));
	memcpy(host_gpr, s->gpr, sizeof(host_gpr));
	host_flags = s->flags;
	host_code = (uint64_t)code;
	host_run();
}

static void *in_shadow(uint64_t linear, unsigned size)
{
	uint64_t offset = linear - (uint64_t)arena;

	if (offset + size > ARENA_SIZE)
		fail_msg("address %#llx is outside of the arena", (unsigned long long)linear);
	return shadow + offset;
}

/* What the hypervisor does with an exit, as often as the instruction needs it. Returns the iterations. */
static unsigned emulate(const struct insn *insn, struct insn_cpu *cpu)
{
	uint64_t start = cpu->rip;
	unsigned rounds = 0;

	for (; cpu->rip == start; rounds++) {
		uint64_t value = 0;
		void *to = NULL;

		assert_false(insn_is_over(insn, cpu));
		if (insn_reads(insn))
			memcpy(&value, in_shadow(insn_linear(insn, cpu, INSN_READ), insn->size), insn->size);
		if (insn_writes(insn))
			to = in_shadow(insn_linear(insn, cpu, INSN_WRITE), insn->size);
		value = insn_finish(insn, cpu, value);
		if (to)
			memcpy(to, &value, insn->size);
	}
	assert_int_equal(cpu->rip, start + insn->length);
	return rounds;
}

/* The flags that the manual leaves undefined are not compared. */
static uint64_t defined_flags(enum insn_op op)
{
	if (op >= INSN_BT && op <= INSN_BTC)
		return CF | ZF | DF;
	if (op == INSN_AND || op == INSN_OR || op == INSN_XOR || op == INSN_TEST)
		return (ALL & ~AF) | DF;
	return ALL | DF;
}

static void complain(const struct sample *s, const char *what, uint64_t ours, uint64_t theirs)
{
	char hex[64] = "";

	for (unsigned i = 0; i < s->insn.length; i++)
		snprintf(hex + 3 * i, 4, "%02x ", s->bytes[i]);
	fail_msg("%s: %s is %#llx, on the host %#llx", hex, what, (unsigned long long)ours,
	         (unsigned long long)theirs);
}

static void compare(const struct sample *s, const struct insn_cpu *cpu)
{
	uint64_t differing = (cpu->rflags ^ host_flags) & defined_flags(s->insn.op);
	char name[] = "register 00";

	if (differing)
		complain(s, "RFLAGS", cpu->rflags, host_flags);
	for (unsigned i = 0; i < INSN_REGISTERS; i++) {
		snprintf(name, sizeof(name), "register %u", i);
		if (i != INSN_RSP && cpu->gpr[i] != host_gpr[i])
			complain(s, name, cpu->gpr[i], host_gpr[i]);
	}
	for (unsigned i = 0; memcmp(shadow, arena, ARENA_SIZE) != 0; i++)
		if (shadow[i] != arena[i])
			complain(s, "memory", shadow[i], arena[i]);
}

static void same_as_the_host(void **state)
{
	const char *wanted = getenv("BELLHOP_RANDOM");
	unsigned long long count = wanted ? strtoull(wanted, NULL, 0) : 300000;
	unsigned long seen[INSN_SCAS + 1][4] = { { 0 } };
	struct sample s;

	(void)state;
	print_message("%llu random instructions from seed %#llx\n", count, (unsigned long long)SEED);
	for (unsigned i = 0; i < ARENA_SIZE; i++)
		arena[i] = (uint8_t)random_value();
	for (unsigned long long i = 0; i < count; i++) {
		struct insn_cpu cpu = { .gpr = s.gpr, .rip = (uint64_t)code };

		generate(&s);
		memcpy(shadow, arena, ARENA_SIZE);
		run_natively(&s);
		cpu.rflags = s.flags;
		emulate(&s.insn, &cpu);
		compare(&s, &cpu);
		seen[s.insn.op][__builtin_ctz(s.insn.size)]++;
	}
	for (unsigned op = 0; op <= INSN_SCAS; op++)
		assert_true(seen[op][0] + seen[op][1] + seen[op][2] + seen[op][3] > count / 1000);
}

static struct insn decoded(enum decode_mode mode, const char *bytes)
{
	struct insn insn;

	assert_int_equal(decode_insn((const uint8_t *)bytes, INSN_MAX_LENGTH, mode, &insn), 0);
	return insn;
}

/* The host cannot run these from a 64-bit program: by the manual alone. */
static void addresses_wrap(void **state)
{
	uint64_t gpr[INSN_REGISTERS] = {
		[INSN_RBX] = 0xabcdfff0, [INSN_RSI] = 0x20, [INSN_RDI] = 0x12348000
	};
	struct insn_cpu cpu = { .gpr = gpr, .rip = 0xfffffffe };
	struct insn insn;

	(void)state;
	for (unsigned i = 0; i < INSN_SEGMENTS; i++)
		cpu.base[i] = 0x10000u * (i + 1);
	insn = decoded(DECODE_16, "\x8b\x00..............."); /* mov ax, [bx + si] */
	assert_int_equal(insn_linear(&insn, &cpu, INSN_READ), 0x40010);
	insn = decoded(DECODE_16, "\x2e\x8b\x40\x80............"); /* mov ax, cs:[bx + si - 0x80] */
	assert_int_equal(insn_linear(&insn, &cpu, INSN_READ), 0x2ff90);
	insn = decoded(DECODE_16, "\x26\xa4.............."); /* movsb es:[di], es:[si] */
	assert_int_equal(insn_linear(&insn, &cpu, INSN_READ), 0x10020);
	assert_int_equal(insn_linear(&insn, &cpu, INSN_WRITE), 0x18000);
	cpu.base[INSN_DS] = 0xf0000000;
	insn = decoded(DECODE_32, "\x8b\x03.............."); /* mov eax, [ebx]: the sum wraps at 4 GiB */
	assert_int_equal(insn_linear(&insn, &cpu, INSN_READ), 0x9bcdfff0);
	insn_finish(&insn, &cpu, 0x1122334455667788);
	assert_int_equal(gpr[INSN_RAX], 0x55667788);
	assert_int_equal(cpu.rip, 0); /* and so does EIP */
	cpu.rip = 0xfffffffffffff000;
	insn = decoded(DECODE_64, "\x8b\x03.............."); /* DS has no base */
	assert_int_equal(insn_linear(&insn, &cpu, INSN_READ), 0xabcdfff0);
	insn = decoded(DECODE_64, "\x65\x8b\x03.............."); /* GS has one */
	assert_int_equal(insn_linear(&insn, &cpu, INSN_READ), 0xabd2fff0 + 0x10000);
	insn = decoded(DECODE_64, "\x67\x8b\x05\x04\0\0\0........"); /* mov eax, [eip + 4] */
	assert_int_equal(insn_linear(&insn, &cpu, INSN_READ), 0xfffff00b);
}

static void strings_use_the_address_size(void **state)
{
	uint64_t gpr[INSN_REGISTERS] = {
		[INSN_RAX] = 0x11223344, [INSN_RCX] = 0xaaaa0002, [INSN_RDI] = 0xbbbbfffe
	};
	struct insn_cpu cpu = { .gpr = gpr, .rip = 0x100, .rflags = 2 };
	struct insn insn = decoded(DECODE_16, "\x66\xf3\xab............"); /* rep stosd es:[di] */

	(void)state;
	assert_false(insn_reads(&insn));
	assert_true(insn_writes(&insn));
	assert_int_equal(insn_linear(&insn, &cpu, INSN_WRITE), 0xfffe);
	assert_int_equal(insn_finish(&insn, &cpu, 0), 0x11223344);
	assert_int_equal(gpr[INSN_RDI], 0xbbbb0002); /* only DI and CX move */
	assert_int_equal(gpr[INSN_RCX], 0xaaaa0001);
	assert_int_equal(cpu.rip, 0x100);
	assert_false(insn_is_over(&insn, &cpu));
	cpu.rflags |= DF;
	insn_finish(&insn, &cpu, 0);
	assert_int_equal(gpr[INSN_RDI], 0xbbbbfffe);
	assert_int_equal(cpu.rip, 0x103);
	assert_true(insn_is_over(&insn, &cpu));
}

static int map_memory(void **state)
{
	(void)state;
	code = mmap(NULL, CODE_SIZE + ARENA_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	arena = code + CODE_SIZE;
	return code == MAP_FAILED ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_the_host),
		cmocka_unit_test(addresses_wrap),
		cmocka_unit_test(strings_use_the_address_size),
	};

	return cmocka_run_group_tests(tests, map_memory, NULL);
}
