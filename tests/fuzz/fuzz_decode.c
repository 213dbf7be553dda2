/* SPDX-License-Identifier: MIT */
/* Fuzzes the decoder, and runs what it accepts: first byte the mode, second the registers, the rest the code.
 */
/* SOURCES: arch/x86/decode.c arch/x86/mmio_exec.c */
#include <stdlib.h>
#include <string.h>
#include "arch/x86/decode.h"
#include "arch/x86/mmio_exec.h"

#define REQUIRE(condition)        \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fields that the hypervisor indexes with or shifts by. */
static void check_fields(const struct insn *insn, size_t available)
{
	const struct insn_memory *memory = &insn->memory;

	REQUIRE(insn->length >= 1 && insn->length <= INSN_MAX_LENGTH && insn->length <= available);
	REQUIRE(insn->size == 1 || insn->size == 2 || insn->size == 4 || insn->size == 8);
	REQUIRE(insn->reg_size >= insn->size && insn->reg_size <= 8);
	REQUIRE(insn->reg < INSN_REGISTERS || insn->reg == INSN_NONE);
	REQUIRE(!insn->high_byte || (insn->reg < 4 && insn->reg_size == 1));
	REQUIRE(memory->segment < INSN_SEGMENTS);
	REQUIRE(memory->base < INSN_REGISTERS || memory->base == INSN_RIP || memory->base == INSN_NONE);
	REQUIRE(memory->index < INSN_REGISTERS || memory->index == INSN_NONE);
	REQUIRE(insn->mode == DECODE_64 ||
	        (insn->size < 8 && insn->address_size < 8 && memory->base != INSN_RIP));
}

static void run(const struct insn *insn, uint8_t fill)
{
	uint64_t gpr[INSN_REGISTERS];
	struct insn_cpu cpu = { .gpr = gpr, .rflags = 2 | (uint64_t)(fill & 1) << 10, .rip = 0x1000 };
	uint64_t value;

	memset(gpr, fill, sizeof(gpr));
	if (insn_is_over(insn, &cpu))
		return;
	REQUIRE(insn_reads(insn) || insn_writes(insn));
	for (int access = INSN_READ; access <= INSN_WRITE; access++) {
		value = insn_linear(insn, &cpu, (enum insn_access)access);
		REQUIRE(insn->mode == DECODE_64 || value <= UINT32_MAX);
	}
	value = insn_finish(insn, &cpu, UINT64_C(0x0123456789abcdef) * fill);
	REQUIRE(insn->size == 8 || value >> (8 * insn->size) == 0);
	REQUIRE(insn_writes(insn) || value == 0);
	REQUIRE(cpu.rip == 0x1000 || cpu.rip == 0x1000 + (uint64_t)insn->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct insn insn, again;
	size_t available = size < 2 ? 0 : size - 2;
	uint8_t *bytes;
	int error;

	if (size < 2)
		return 0;
	/* A block of exactly this size: the sanitizer sees a read beyond it. */
	bytes = malloc(available ? available : 1);
	REQUIRE(bytes);
	memcpy(bytes, data + 2, available);
	error = decode_insn(bytes, available, (enum decode_mode)(data[0] % 3), &insn);
	REQUIRE(error <= 0 && error >= DECODE_ILLEGAL);
	REQUIRE(error != DECODE_MORE || available < INSN_MAX_LENGTH);
	if (error == 0) {
		check_fields(&insn, available);
		/* What is behind an instruction, and whether anything is, says nothing about it. */
		REQUIRE(decode_insn(bytes, insn.length, insn.mode, &again) == 0 &&
		        again.length == insn.length);
		REQUIRE(decode_insn(bytes, insn.length - 1u, insn.mode, &again) == DECODE_MORE);
		run(&insn, data[1]);
	}
	free(bytes);
	return 0;
}
