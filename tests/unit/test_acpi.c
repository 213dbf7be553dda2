/* SPDX-License-Identifier: MIT */
/* From the RSDP to the list of CPUs, over tables that are right, and broken in every byte. */
/* SOURCES: arch/x86/acpi.c */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/acpi.h"

/* A machine's memory from MEMORY on; each table has its place. */
#define MEMORY 0x7fe0000ull
enum { RSDT = 0x1, XSDT = 0x101, FADT = 0x203, MADT = 0x300, MEMORY_SIZE = 0x2000 };

static uint8_t memory[MEMORY_SIZE];
static uint8_t rsdp[36];
static struct acpi_cpus cpus;

static const void *map(uint64_t address, size_t size)
{
	/* What a broken length asks for is cut before memory is touched. */
	assert_true(size <= 0x100000);
	if (address < MEMORY || address - MEMORY > MEMORY_SIZE || size > MEMORY_SIZE - (address - MEMORY))
		return NULL;
	return memory + (address - MEMORY);
}

static void fix_sum(uint8_t *bytes, size_t size, size_t field)
{
	unsigned sum = 0;

	bytes[field] = 0;
	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
	bytes[field] = (uint8_t)(0 - sum);
}

static void put_table(size_t place, const char *signature, const void *body, uint32_t size)
{
	uint8_t *table = memory + place;
	uint32_t length = 36 + size;

	memset(table, 0, 36);
	memcpy(table, signature, 4);
	memcpy(table + 4, &length, 4);
	if (size)
		memcpy(table + 36, body, size);
	fix_sum(table, length, 9);
}

static void put_rsdp(uint8_t revision, uint64_t rsdt, uint64_t xsdt)
{
	uint32_t low = (uint32_t)rsdt;

	memset(rsdp, 0, sizeof(rsdp));
	memcpy(rsdp, "RSD PTR ", 8);
	rsdp[15] = revision;
	memcpy(rsdp + 16, &low, 4);
	rsdp[20] = 36;
	memcpy(rsdp + 24, &xsdt, 8);
	fix_sum(rsdp, 20, 8);
	fix_sum(rsdp, 36, 32);
}

/* Two enabled LAPICs, one disabled, an IOAPIC, an x2APIC beyond 255 and one that repeats a LAPIC. */
static const uint8_t madt_body[] = {
	0, 0,  0xe0, 0xfe, 1,    0, 0,    0,                            /* address, flags */
	0, 8,  0,    0,    1,    0, 0,    0,                            /* enabled */
	0, 8,  1,    1,    0,    0, 0,    0,                            /* disabled */
	1, 12, 4,    0,    0,    0, 0xc0, 0xfe, 0, 0, 0, 0,             /* IOAPIC */
	0, 8,  2,    6,    1,    0, 0,    0,                            /* enabled */
	9, 16, 0,    0,    0x2c, 1, 0,    0,    1, 0, 0, 0, 3, 0, 0, 0, /* x2APIC 300 */
	9, 16, 0,    0,    6,    0, 0,    0,    1, 0, 0, 0, 2, 0, 0, 0, /* x2APIC 6: again */
	9, 16, 0,    0,    7,    0, 0,    0,    2, 0, 0, 0, 2, 0, 0, 0, /* only "online capable" */
};

static int set_up(void **state)
{
	uint32_t rsdt[] = { (uint32_t)MEMORY + FADT, (uint32_t)MEMORY + MADT };
	uint64_t xsdt[] = { MEMORY + FADT, MEMORY + MADT };

	(void)state;
	memset(memory, 0xcc, sizeof(memory));
	put_table(RSDT, "RSDT", rsdt, sizeof(rsdt));
	put_table(XSDT, "XSDT", xsdt, sizeof(xsdt));
	put_table(FADT, "FACP", "0123456789", 10);
	put_table(MADT, "APIC", madt_body, sizeof(madt_body));
	put_rsdp(2, MEMORY + RSDT, MEMORY + XSDT);
	return 0;
}

static void check_found(void)
{
	assert_int_equal(cpus.count, 3);
	assert_int_equal(cpus.apic_id[0], 0);
	assert_int_equal(cpus.apic_id[1], 6);
	assert_int_equal(cpus.apic_id[2], 300);
}

static void both_roots_lead_to_the_cpus(void **state)
{
	(void)state;
	assert_null(acpi_find_cpus(rsdp, 36, map, &cpus));
	check_found();
	/* The old form, of which 20 bytes are all there is. */
	put_rsdp(0, MEMORY + RSDT, 0);
	assert_null(acpi_find_cpus(rsdp, 20, map, &cpus));
	check_found();
}

static void each_root_stands_in_for_nothing_else(void **state)
{
	(void)state;
	/* XSDT alone, RSDT alone, none. */
	put_rsdp(2, 0x10, MEMORY + XSDT);
	assert_null(acpi_find_cpus(rsdp, 36, map, &cpus));
	put_rsdp(2, MEMORY + RSDT, 0x10);
	assert_null(acpi_find_cpus(rsdp, 36, map, &cpus));
	put_rsdp(2, 0x10, 0x10);
	assert_string_equal(acpi_find_cpus(rsdp, 36, map, &cpus), "the RSDT or XSDT is broken");
	/* Revision 0 has no XSDT, whatever lies in those bytes: here, the address of one without a MADT. */
	put_table(XSDT, "XSDT", NULL, 0);
	put_rsdp(0, MEMORY + RSDT, MEMORY + XSDT);
	assert_null(acpi_find_cpus(rsdp, 36, map, &cpus));
}

static void every_flipped_byte_is_noticed(void **state)
{
	static const size_t tables[] = { RSDT, MADT };

	(void)state;
	put_rsdp(0, MEMORY + RSDT, 0);
	for (unsigned i = 0; i < 20; i++) {
		rsdp[i] ^= 0x10;
		assert_string_equal(acpi_find_cpus(rsdp, 20, map, &cpus), "the RSDP is broken");
		rsdp[i] ^= 0x10;
	}
	for (unsigned t = 0; t < 2; t++) {
		uint8_t *table = memory + tables[t];
		size_t length = table[4];

		for (size_t i = 0; i < length; i++) {
			table[i] ^= 0x10;
			assert_non_null(acpi_find_cpus(rsdp, 20, map, &cpus));
			table[i] ^= 0x10;
		}
	}
	assert_null(acpi_find_cpus(rsdp, 20, map, &cpus));
}

static void no_table_is_read_past_memory(void **state)
{
	static const uint32_t lengths[] = { 0, 35, MEMORY_SIZE - MADT + 1, 0x100001, UINT32_MAX };

	(void)state;
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memcpy(memory + MADT + 4, &lengths[i], 4);
		assert_string_equal(acpi_find_cpus(rsdp, 36, map, &cpus),
		                    "there is no MADT, or it is broken");
	}
	assert_string_equal(acpi_find_cpus(rsdp, 0, map, &cpus), "firmware gave no RSDP");
	assert_string_equal(acpi_find_cpus(rsdp, 19, map, &cpus), "firmware gave no RSDP");
}

/* A MADT of these entries behind the eight bytes of address and flags. */
static const char *with_entries(const uint8_t *entries, size_t size)
{
	uint8_t body[600] = { 0 };

	memcpy(body + 8, entries, size);
	put_table(MADT, "APIC", body, (uint32_t)(8 + size));
	return acpi_find_cpus(rsdp, 36, map, &cpus);
}

static void wrong_entries_are_refused(void **state)
{
	static const uint8_t endless[] = { 0, 0, 0, 0, 1, 0, 0, 0 };
	static const uint8_t one[] = { 0, 1, 0, 0, 1, 0, 0, 0 };
	static const uint8_t over[] = { 0, 9, 0, 0, 1, 0, 0, 0 };
	static const uint8_t disabled[] = { 0, 8, 0, 0, 0, 0, 0, 0 };
	static const uint8_t stunted[] = {
		0, 7, 0, 0, 1, 0, 0, 9, 15, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0
	};

	(void)state;
	assert_non_null(strstr(with_entries(endless, sizeof(endless)), "wrong length"));
	assert_non_null(strstr(with_entries(one, sizeof(one)), "wrong length"));
	assert_non_null(strstr(with_entries(over, sizeof(over)), "wrong length"));
	assert_non_null(strstr(with_entries(disabled, sizeof(disabled)), "no CPU"));
	/* Entries that are shorter than their kind are stepped over, not read past their end. */
	assert_non_null(strstr(with_entries(stunted, sizeof(stunted)), "no CPU"));
	assert_non_null(strstr(with_entries(stunted, 0), "no CPU"));
}

static void more_cpus_than_fit_are_left_out(void **state)
{
	static uint8_t body[8 + (ACPI_CPUS_MAX + 8) * 16];

	(void)state;
	for (uint32_t i = 0; i < ACPI_CPUS_MAX + 8; i++) {
		uint8_t *entry = body + 8 + i * 16;

		entry[0] = 9;
		entry[1] = 16;
		memcpy(entry + 4, &i, 4);
		entry[8] = 1;
	}
	put_table(MADT, "APIC", body, sizeof(body));
	assert_null(acpi_find_cpus(rsdp, 36, map, &cpus));
	assert_int_equal(cpus.count, ACPI_CPUS_MAX);
	assert_int_equal(cpus.apic_id[ACPI_CPUS_MAX - 1], ACPI_CPUS_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(both_roots_lead_to_the_cpus, set_up),
		cmocka_unit_test_setup(each_root_stands_in_for_nothing_else, set_up),
		cmocka_unit_test_setup(every_flipped_byte_is_noticed, set_up),
		cmocka_unit_test_setup(no_table_is_read_past_memory, set_up),
		cmocka_unit_test_setup(wrong_entries_are_refused, set_up),
		cmocka_unit_test_setup(more_cpus_than_fit_are_left_out, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
