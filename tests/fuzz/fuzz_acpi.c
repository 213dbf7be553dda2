/* SPDX-License-Identifier: MIT */
/* Fuzzes the search for CPUs in ACPI tables; checksums are right where the input does not spoil them. */
/* SOURCES: arch/x86/acpi.c */
#include <string.h>

#include "arch/x86/acpi.h"
#include "tests/fuzz/input.h"

/* The machine's memory: a table every 512 bytes, at an odd address. */
#define MEMORY 0x7fe0001ull
#define STEP   512u
#define TABLES 8u

static uint8_t *memory;
static size_t memory_size;

/* Each answer is a block of its own and of exactly that size: the sanitizer sees a read beyond it. */
static void *answer[64];
static unsigned answers;

static const void *map(uint64_t address, size_t size)
{
	void *copy;

	REQUIRE(size <= 0x100000);
	if (address < MEMORY || address - MEMORY > memory_size || size > memory_size - (address - MEMORY))
		return NULL;
	if (answers == sizeof(answer) / sizeof(answer[0]))
		return NULL;
	copy = malloc(size);
	REQUIRE(copy);
	memcpy(copy, memory + (address - MEMORY), size);
	answer[answers++] = copy;
	return copy;
}

static void fix_sum(uint8_t *bytes, size_t size, size_t field)
{
	uint8_t sum = 0;

	bytes[field] = 0;
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
	bytes[field] = (uint8_t)-sum;
}

/* An entry of a table of addresses: that of one of our tables, or anything. */
static uint64_t any_address(struct input *in)
{
	uint8_t choice = input_8(in);

	return choice & 0x80 ? input_scaled(in, 64) : MEMORY + choice % TABLES * STEP;
}

/* One of the entries of a MADT; the length may lie, the flags may say anything. */
static size_t put_madt_entry(struct input *in, uint8_t *at)
{
	static const uint8_t length[16] = { [0] = 8, [1] = 12, [2] = 10, [4] = 6, [9] = 16 };
	uint8_t type = input_8(in), size = length[type & 15];

	at[0] = type & 15;
	at[1] = type & 0x80 ? input_8(in) : size;
	for (unsigned i = 2; i < 16; i++)
		at[i] = 0;
	at[(type & 15) == 9 ? 4 : 3] = input_8(in);
	at[(type & 15) == 9 ? 8 : 4] = type & 0x40 ? input_8(in) : 1;
	return size;
}

static void put_table(struct input *in, uint8_t *table)
{
	static const char signature[4][5] = { "RSDT", "XSDT", "APIC", "FACP" };
	uint8_t form = input_8(in), count = input_8(in) % 24;
	uint32_t length = 36;
	int32_t lie = form & 0x10 ? (int8_t)input_8(in) : 0;

	memcpy(table, signature[form & 3], 4);
	length += (form & 3) == 2 ? 8 : 0;
	for (; count; count--) {
		uint64_t address;

		if ((form & 3) == 2) {
			length += (uint32_t)put_madt_entry(in, table + length);
			continue;
		}
		address = any_address(in);
		memcpy(table + length, &address, form & 1 ? 8 : 4);
		length += form & 1 ? 8 : 4;
	}
	length += (uint32_t)lie;
	if (form & 0x20)
		length = input_32(in);
	memcpy(table + 4, &length, 4);
	if (length >= 36 && length <= STEP)
		fix_sum(table, length, 9);
	table[9] = (uint8_t)(table[9] + (form >> 7));
}

static size_t put_rsdp(struct input *in, uint8_t *rsdp)
{
	uint8_t form = input_8(in);
	uint64_t xsdt = any_address(in);
	uint32_t rsdt = (uint32_t)any_address(in);

	memset(rsdp, 0, 36);
	memcpy(rsdp, "RSD PTR ", 8);
	rsdp[15] = form & 1 ? 2 : 0;
	memcpy(rsdp + 16, &rsdt, 4);
	rsdp[20] = 36;
	memcpy(rsdp + 24, &xsdt, 8);
	fix_sum(rsdp, 20, 8);
	fix_sum(rsdp, 36, 32);
	rsdp[form >> 3] = (uint8_t)(rsdp[form >> 3] + (form & 4 ? 1 : 0));
	return form & 2 ? 20 : 36;
}

static void check(const struct acpi_cpus *cpus)
{
	REQUIRE(cpus->count >= 1 && cpus->count <= ACPI_CPUS_MAX);
	for (unsigned i = 0; i < cpus->count; i++)
		for (unsigned j = 0; j < i; j++)
			REQUIRE(cpus->apic_id[i] != cpus->apic_id[j]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct acpi_cpus cpus;
	struct input in = { data, size };
	uint8_t rsdp[36], *exact;
	const char *wrong;
	size_t rsdp_size;

	memory_size = TABLES * STEP;
	memory = calloc(1, memory_size);
	rsdp_size = put_rsdp(&in, rsdp);
	exact = malloc(rsdp_size);
	REQUIRE(memory && exact);
	memcpy(exact, rsdp, rsdp_size);
	for (unsigned i = 0; i < TABLES && in.left; i++)
		put_table(&in, memory + i * STEP);
	memset(&cpus, 0xa5, sizeof(cpus));
	wrong = acpi_find_cpus(exact, rsdp_size, map, &cpus);
	if (wrong)
		REQUIRE(wrong[0]);
	else
		check(&cpus);
	while (answers)
		free(answer[--answers]);
	free(exact);
	free(memory);
	return 0;
}
