/* SPDX-License-Identifier: MIT */
/* The decoder on encodings written by hand from the manual, one per rule. */
/* SOURCES: arch/x86/decode.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "arch/x86/decode.h"

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })
#define R8         8
#define R9         9
#define R12        12
#define R13        13

static struct insn decoded(enum decode_mode mode, const uint8_t *bytes, size_t count)
{
	struct insn insn;

	memset(&insn, 0xa5, sizeof(insn));
	assert_int_equal(decode_insn(bytes, count, mode, &insn), 0);
	assert_int_equal(insn.length, count);
	assert_int_equal(insn.mode, mode);
	return insn;
}

static int error_of(enum decode_mode mode, const uint8_t *bytes, size_t count)
{
	struct insn insn;

	return decode_insn(bytes, count, mode, &insn);
}

static void check_memory(const struct insn *insn, struct insn_memory expected)
{
	assert_int_equal(insn->memory.segment, expected.segment);
	assert_int_equal(insn->memory.base, expected.base);
	assert_int_equal(insn->memory.index, expected.index);
	assert_int_equal(insn->memory.scale, expected.scale);
	assert_int_equal(insn->memory.displacement, expected.displacement);
}

static void addressing_64(void **state)
{
	struct insn i;

	(void)state;
	i = decoded(DECODE_64, BYTES(0x8b, 0x05, 0x10, 0, 0, 0)); /* mov eax, [rip + 0x10] */
	check_memory(&i, (struct insn_memory){ 0x10, INSN_DS, INSN_RIP, INSN_NONE, 1 });
	i = decoded(DECODE_64, BYTES(0x45, 0x8b, 0x45, 0x80)); /* mov r8d, [r13 - 0x80] */
	check_memory(&i, (struct insn_memory){ -0x80, INSN_DS, R13, INSN_NONE, 1 });
	i = decoded(DECODE_64, BYTES(0x8b, 0x45, 0x7f)); /* mov eax, [rbp + 0x7f] */
	check_memory(&i, (struct insn_memory){ 0x7f, INSN_SS, INSN_RBP, INSN_NONE, 1 });
	i = decoded(DECODE_64, BYTES(0x41, 0x8b, 0x04, 0x24)); /* mov eax, [r12] */
	check_memory(&i, (struct insn_memory){ 0, INSN_DS, R12, INSN_NONE, 1 });
	i = decoded(DECODE_64, BYTES(0x42, 0x8b, 0x04, 0xa4)); /* mov eax, [rsp + r12 * 4] */
	check_memory(&i, (struct insn_memory){ 0, INSN_SS, INSN_RSP, R12, 4 });
	i = decoded(DECODE_64, BYTES(0x8b, 0x04, 0x25, 0x00, 0x00, 0xe0, 0xfe)); /* mov eax, [-0x1200000] */
	check_memory(&i, (struct insn_memory){ (int32_t)0xfee00000, INSN_DS, INSN_NONE, INSN_NONE, 1 });
	i = decoded(DECODE_64, BYTES(0x67, 0x8b, 0x00)); /* mov eax, [eax] */
	assert_int_equal(i.address_size, 4);
	i = decoded(DECODE_64, BYTES(0xa1, 0x80, 0, 0xe0, 0xfe, 0, 0, 0, 0x80)); /* movabs eax, [...] */
	check_memory(&i,
	             (struct insn_memory){ (int64_t)0x80000000fee00080, INSN_DS, INSN_NONE, INSN_NONE, 1 });
	assert_int_equal(i.form, INSN_REGISTER_MEMORY);
	assert_int_equal(i.reg, INSN_RAX);
}

static void addressing_16_and_32(void **state)
{
	struct insn i;

	(void)state;
	i = decoded(DECODE_16, BYTES(0x8a, 0x42, 0xff)); /* mov al, [bp + si - 1] */
	check_memory(&i, (struct insn_memory){ -1, INSN_SS, INSN_RBP, INSN_RSI, 1 });
	assert_int_equal(i.address_size, 2);
	i = decoded(DECODE_16, BYTES(0x8b, 0x0e, 0x34, 0x92)); /* mov cx, [0x9234] */
	check_memory(&i, (struct insn_memory){ (int16_t)0x9234, INSN_DS, INSN_NONE, INSN_NONE, 1 });
	assert_int_equal(i.size, 2);
	i = decoded(DECODE_16, BYTES(0x8b, 0x46, 0x02)); /* mov ax, [bp + 2] */
	check_memory(&i, (struct insn_memory){ 2, INSN_SS, INSN_RBP, INSN_NONE, 1 });
	i = decoded(DECODE_16, BYTES(0x66, 0x67, 0x8b, 0x80, 0xf0, 0, 0, 0)); /* mov eax, [eax + 0xf0] */
	assert_int_equal(i.size, 4);
	assert_int_equal(i.address_size, 4);
	i = decoded(DECODE_32, BYTES(0xa3, 0xb0, 0, 0xe0, 0xfe)); /* mov [0xfee000b0], eax */
	check_memory(&i, (struct insn_memory){ 0xfee000b0, INSN_DS, INSN_NONE, INSN_NONE, 1 });
	assert_int_equal(i.form, INSN_MEMORY_REGISTER);
	i = decoded(DECODE_32, BYTES(0x67, 0xa0, 0xff, 0xff)); /* mov al, [0xffff] */
	check_memory(&i, (struct insn_memory){ 0xffff, INSN_DS, INSN_NONE, INSN_NONE, 1 });
	i = decoded(DECODE_32, BYTES(0x8b, 0x05, 0, 0, 0xe0, 0xfe)); /* mov eax, [0xfee00000] */
	check_memory(&i, (struct insn_memory){ (int32_t)0xfee00000, INSN_DS, INSN_NONE, INSN_NONE, 1 });
}

static void segment_overrides(void **state)
{
	struct insn i;

	(void)state;
	i = decoded(DECODE_32, BYTES(0x26, 0x8b, 0x45, 0)); /* mov eax, es:[ebp] */
	assert_int_equal(i.memory.segment, INSN_ES);
	i = decoded(DECODE_32, BYTES(0x64, 0x2e, 0x8b, 0x00)); /* the last one counts: cs */
	assert_int_equal(i.memory.segment, INSN_CS);
	i = decoded(DECODE_64, BYTES(0x64, 0x2e, 0x8b, 0x00)); /* cs does not count: fs */
	assert_int_equal(i.memory.segment, INSN_FS);
	i = decoded(DECODE_64, BYTES(0x3e, 0x8b, 0x45, 0)); /* nor ds: rbp keeps the stack */
	assert_int_equal(i.memory.segment, INSN_SS);
	i = decoded(DECODE_32, BYTES(0x65, 0xf3, 0xa4)); /* rep movsb es:[edi], gs:[esi] */
	assert_int_equal(i.memory.segment, INSN_GS);
	i = decoded(DECODE_32, BYTES(0x65, 0xab)); /* stosd: the destination is in ES whatever is said */
	assert_int_equal(i.memory.segment, INSN_ES);
}

static void registers(void **state)
{
	struct insn i;

	(void)state;
	i = decoded(DECODE_64, BYTES(0x88, 0x20)); /* mov [rax], ah */
	assert_int_equal(i.reg, INSN_RAX);
	assert_true(i.high_byte);
	i = decoded(DECODE_64, BYTES(0x40, 0x88, 0x20)); /* mov [rax], spl */
	assert_int_equal(i.reg, INSN_RSP);
	assert_false(i.high_byte);
	i = decoded(DECODE_64, BYTES(0x44, 0x88, 0x08)); /* mov [rax], r9b */
	assert_int_equal(i.reg, R9);
	i = decoded(DECODE_64, BYTES(0x40, 0x66, 0x88, 0x20)); /* a REX before another prefix is none */
	assert_true(i.high_byte);
	i = decoded(DECODE_64, BYTES(0x4c, 0x0f, 0xb6, 0x00)); /* movzx r8, byte [rax] */
	assert_int_equal(i.reg, R8);
	assert_int_equal(i.size, 1);
	assert_int_equal(i.reg_size, 8);
	i = decoded(DECODE_32, BYTES(0x0f, 0xbf, 0x38)); /* movsx edi, word [eax] */
	assert_int_equal(i.op, INSN_MOVSX);
	assert_int_equal(i.size, 2);
	assert_int_equal(i.reg_size, 4);
	i = decoded(DECODE_64, BYTES(0x48, 0x63, 0x00)); /* movsxd rax, dword [rax] */
	assert_int_equal(i.size, 4);
	assert_int_equal(i.reg_size, 8);
}

static void sizes_and_immediates(void **state)
{
	struct insn i;

	(void)state;
	i = decoded(DECODE_64, BYTES(0x48, 0xc7, 0x00, 0, 0, 0, 0x80)); /* mov qword [rax], -0x80000000 */
	assert_int_equal(i.size, 8);
	assert_true(i.immediate == 0xffffffff80000000);
	i = decoded(DECODE_64, BYTES(0x66, 0x48, 0x83, 0x08, 0xff)); /* REX.W wins over 66 */
	assert_int_equal(i.size, 8);
	assert_true(i.immediate == UINT64_MAX);
	i = decoded(DECODE_32, BYTES(0x66, 0x81, 0x20, 0x34, 0x12)); /* and word [eax], 0x1234 */
	assert_int_equal(i.op, INSN_AND);
	assert_int_equal(i.immediate, 0x1234);
	i = decoded(DECODE_32, BYTES(0x83, 0x38, 0xfe)); /* cmp dword [eax], -2 */
	assert_int_equal(i.op, INSN_CMP);
	assert_int_equal(i.immediate, 0xfffffffe);
	i = decoded(DECODE_32, BYTES(0x0f, 0xba, 0x28, 0xff)); /* bts dword [eax], 255 */
	assert_int_equal(i.op, INSN_BTS);
	assert_int_equal(i.immediate, 0xff);
	i = decoded(DECODE_32, BYTES(0xf6, 0x08, 0x80)); /* test byte [eax], 0x80 by its alias /1 */
	assert_int_equal(i.op, INSN_TEST);
	assert_int_equal(i.immediate, 0x80);
}

static void prefixes(void **state)
{
	struct insn i;

	(void)state;
	i = decoded(DECODE_32, BYTES(0xf2, 0xf3, 0xab)); /* the last one counts */
	assert_true(i.rep && !i.repne);
	i = decoded(DECODE_32, BYTES(0xf0, 0x0f, 0xab, 0x08)); /* lock bts [eax], ecx */
	assert_true(i.lock);
	assert_int_equal(error_of(DECODE_32, BYTES(0xf0, 0x89, 0x08)), DECODE_ILLEGAL); /* lock mov */
	assert_int_equal(error_of(DECODE_32, BYTES(0xf0, 0x03, 0x08)), DECODE_ILLEGAL); /* lock add ecx, m */
	assert_int_equal(error_of(DECODE_32, BYTES(0xf0, 0x83, 0x38, 0)), DECODE_ILLEGAL); /* lock cmp */
	assert_int_equal(error_of(DECODE_32, BYTES(0xf0, 0x0f, 0xba, 0x20, 1)), DECODE_ILLEGAL); /* lock bt */
	assert_int_equal(error_of(DECODE_32, BYTES(0xf0, 0x01, 0xc8)), DECODE_ILLEGAL); /* no memory */
	assert_int_equal(error_of(DECODE_64, BYTES(0x82, 0x00, 0)), DECODE_ILLEGAL);
	assert_int_equal(error_of(DECODE_64, BYTES(0x66, 0x0f, 0xc3, 0x00)), DECODE_ILLEGAL); /* 66 movnti */
}

static void refusals(void **state)
{
	(void)state;
	assert_int_equal(error_of(DECODE_64, BYTES(0x89, 0xc8)), DECODE_REFUSED);       /* mov eax, ecx */
	assert_int_equal(error_of(DECODE_64, BYTES(0x0f, 0x10, 0x00)), DECODE_REFUSED); /* movups */
	assert_int_equal(error_of(DECODE_64, BYTES(0xc5, 0xf8, 0x10, 0x00)), DECODE_REFUSED); /* vmovups */
	assert_int_equal(error_of(DECODE_32, BYTES(0x63, 0x00)), DECODE_REFUSED);             /* arpl */
	assert_int_equal(error_of(DECODE_32, BYTES(0xff, 0x30)), DECODE_REFUSED);             /* push [eax] */
	assert_int_equal(error_of(DECODE_32, BYTES(0xf7, 0x20)), DECODE_REFUSED);             /* mul [eax] */
	assert_int_equal(error_of(DECODE_32, BYTES(0xc7, 0x08)), DECODE_REFUSED);             /* C7 /1 */
}

static void lengths(void **state)
{
	static const uint8_t longest[] = { 0x66, 0x66, 0x66, 0x66, 0x81, 0x84, 0x88, 1, 2, 3, 4, 5, 6 };
	uint8_t padded[32];
	struct insn insn;

	(void)state;
	for (size_t available = 0; available < sizeof(longest); available++)
		assert_int_equal(error_of(DECODE_32, longest, available), DECODE_MORE);
	insn = decoded(DECODE_32, longest, sizeof(longest));
	assert_int_equal(insn.immediate, 0x0605);
	/* 15 bytes are an instruction, 16 are none, however many there are to read. */
	memset(padded, 0x66, sizeof(padded));
	memcpy(padded + 13, "\x89\x08", 2);
	assert_int_equal(decode_insn(padded, sizeof(padded), DECODE_32, &insn), 0);
	assert_int_equal(insn.length, 15);
	memcpy(padded + 13, "\x66\x89\x08", 3);
	assert_int_equal(decode_insn(padded, sizeof(padded), DECODE_32, &insn), DECODE_ILLEGAL);
	assert_int_equal(decode_insn(padded, 15, DECODE_32, &insn), DECODE_ILLEGAL);
	assert_int_equal(decode_insn(padded, 14, DECODE_32, &insn), DECODE_MORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addressing_64),
		cmocka_unit_test(addressing_16_and_32),
		cmocka_unit_test(segment_overrides),
		cmocka_unit_test(registers),
		cmocka_unit_test(sizes_and_immediates),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(refusals),
		cmocka_unit_test(lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
