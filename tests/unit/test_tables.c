/* SPDX-License-Identifier: MIT */
/* The guest's ACPI and MP tables: found as a guest finds them, sums, lengths, and every field that a guest acts on. */
/* SOURCES: kernel/tables.c */
#include "kernel/tables.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define MIB (1u << 20)

static uint8_t ram[MIB + 4096];

static uint64_t get(uint32_t at, unsigned bytes)
{
	uint64_t value = 0;

	assert_true(at + bytes <= TABLES_END && at >= TABLES_BASE);
	memcpy(&value, ram + at, bytes);
	return value;
}

static void sums_to_zero(uint32_t at, uint32_t size)
{
	uint8_t sum = 0;

	assert_in_range(at + size, TABLES_BASE, TABLES_END);
	for (uint32_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ram[at + i]);
	assert_int_equal(sum, 0);
}

static uint32_t find(const char *signature)
{
	uint32_t found = 0;

	for (uint32_t at = 0xe0000; at < MIB; at += 16)
		if (memcmp(ram + at, signature, strlen(signature)) == 0) {
			assert_int_equal(found, 0);
			found = at;
		}
	assert_true(found);
	return found;
}

/* Looks the table up in RSDT and XSDT; both must name the same. */
static uint32_t table(const char *signature)
{
	uint32_t rsdp = find("RSD PTR "), rsdt = (uint32_t)get(rsdp + 16, 4),
		 xsdt = (uint32_t)get(rsdp + 24, 8);
	unsigned entries = ((unsigned)get(rsdt + 4, 4) - 36) / 4;

	assert_int_equal(entries, (get(xsdt + 4, 4) - 36) / 8);
	for (unsigned i = 0; i < entries; i++) {
		uint32_t at = (uint32_t)get(rsdt + 36 + 4 * i, 4);

		assert_int_equal(get(xsdt + 36 + 8 * i, 8), at);
		if (memcmp(ram + at, signature, 4) == 0)
			return at;
	}
	fail_msg("no %s", signature);
	return 0;
}

static void checked(uint32_t at, const char *signature, uint8_t revision)
{
	assert_memory_equal(ram + at, signature, 4);
	assert_int_equal(get(at + 8, 1), revision);
	sums_to_zero(at, (uint32_t)get(at + 4, 4));
}

static void write(unsigned vcpus)
{
	const struct tables_setup setup = { .vcpus = vcpus,
		                            .ioapic_id = 15,
		                            .ioapic_version = 0x20,
		                            .cpu_signature = 0x206a7,
		                            .cpu_features = 0x1783fbff };

	memset(ram, 0xcc, sizeof(ram));
	tables_write(ram, &setup);
}

static void roots(void **state)
{
	uint32_t rsdp;

	(void)state;
	write(4);
	rsdp = find("RSD PTR ");
	assert_int_equal(get(rsdp + 15, 1), 2);
	assert_int_equal(get(rsdp + 20, 4), 36);
	sums_to_zero(rsdp, 20);
	sums_to_zero(rsdp, 36);
	checked((uint32_t)get(rsdp + 16, 4), "RSDT", 1);
	checked((uint32_t)get(rsdp + 24, 8), "XSDT", 1);
	for (uint32_t i = 0; i < sizeof(ram); i++)
		if (i < TABLES_BASE || i >= TABLES_END)
			assert_int_equal(ram[i], 0xcc);
}

static void fixed_description(void **state)
{
	/* Offset, bytes, value: ACPI Specification, "Fixed ACPI Description Table". */
	static const struct {
		uint8_t at, bytes;
		uint32_t value;
	} fields[] = {
		{ 46, 2, 9 },       { 48, 4, 0 },       { 56, 4, 0x600 },   { 60, 4, 0 },
		{ 64, 4, 0x604 },   { 76, 4, 0x608 },   { 88, 1, 4 },       { 89, 1, 2 },
		{ 90, 1, 0 },       { 91, 1, 4 },       { 92, 2, 0 },       { 96, 2, 0xffff },
		{ 98, 2, 0xffff },  { 108, 1, 0x32 },   { 109, 2, 0x0005 }, { 112, 4, 0x575 },
		{ 116, 4, 0x0801 }, { 120, 8, 0xcf9 },  { 128, 1, 6 },      { 148, 4, 0x2001 },
		{ 152, 8, 0x600 },  { 172, 4, 0x1001 }, { 176, 8, 0x604 },  { 208, 4, 0x2001 },
		{ 212, 8, 0x608 },
	};
	uint32_t fadt, facs, dsdt;

	(void)state;
	write(1);
	fadt = table("FACP");
	checked(fadt, "FACP", 3);
	assert_int_equal(get(fadt + 4, 4), 244);
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		assert_int_equal(get(fadt + fields[i].at, fields[i].bytes), fields[i].value);
	facs = (uint32_t)get(fadt + 36, 4);
	dsdt = (uint32_t)get(fadt + 40, 4);
	assert_int_equal(get(fadt + 132, 8), facs);
	assert_int_equal(get(fadt + 140, 8), dsdt);
	assert_int_equal(facs % 64, 0);
	assert_memory_equal(ram + facs, "FACS", 4);
	assert_int_equal(get(facs + 4, 4), 64);
	checked(dsdt, "DSDT", 2);
	assert_memory_equal(ram + dsdt + 36, "\x08\\_S5_\x12\x08\x04\x0a\x05\x0a\x05\x00\x00", 15);
}

static void interrupt_controllers(void **state)
{
	(void)state;
	for (unsigned vcpus = 1; vcpus <= 16; vcpus++) {
		unsigned processors = 0, ioapics = 0, overrides = 0, nmis = 0;
		uint32_t madt, at, end;

		write(vcpus);
		madt = table("APIC");
		checked(madt, "APIC", 3);
		assert_int_equal(get(madt + 36, 4), 0xfee00000);
		assert_int_equal(get(madt + 40, 4), 1);
		end = madt + (uint32_t)get(madt + 4, 4);
		for (at = madt + 44; at < end; at += (uint32_t)get(at + 1, 1)) {
			switch (get(at, 1)) {
			case 0:
				assert_int_equal(get(at + 1, 7),
				                 8 | processors << 8 | processors << 16 | 1 << 24);
				processors++;
				break;
			case 1:
				assert_int_equal(get(at + 1, 3), 12 | 15 << 8);
				assert_int_equal(get(at + 4, 8), 0xfec00000);
				ioapics++;
				break;
			case 2:
				assert_int_equal(get(at + 3, 1), overrides ? 9 : 0);
				assert_int_equal(get(at + 4, 4), overrides ? 9 : 2);
				assert_int_equal(get(at + 8, 2), overrides ? 0xd : 0);
				overrides++;
				break;
			case 4:
				assert_int_equal(get(at + 1, 5), 0x010000ff06);
				nmis++;
				break;
			default:
				fail();
			}
		}
		assert_int_equal(at, end);
		assert_int_equal(processors, vcpus);
		assert_int_equal(ioapics, 1);
		assert_int_equal(overrides, 2);
		assert_int_equal(nmis, 1);
	}
}

static void multiprocessor(void **state)
{
	(void)state;
	for (unsigned vcpus = 1; vcpus <= 16; vcpus++) {
		unsigned entries = 0, kinds[5] = { 0 }, pins = 0;
		uint32_t floating, mp, at;

		write(vcpus);
		floating = find("_MP_");
		mp = (uint32_t)get(floating + 4, 4);
		assert_int_equal(get(floating + 8, 2), 0x0401);
		sums_to_zero(floating, 16);
		assert_memory_equal(ram + mp, "PCMP", 4);
		sums_to_zero(mp, (uint32_t)get(mp + 4, 2));
		assert_int_equal(get(mp + 6, 1), 4);
		assert_int_equal(get(mp + 36, 4), 0xfee00000);
		for (at = mp + 44; at < mp + get(mp + 4, 2); entries++) {
			unsigned kind = (unsigned)get(at, 1);

			assert_in_range(kind, 0, 4);
			if (kind == 0) {
				assert_int_equal(get(at + 1, 1), kinds[0]);
				assert_int_equal(get(at + 3, 1), kinds[0] ? 1 : 3);
				assert_int_equal(get(at + 4, 4), 0x206a7);
			}
			if (kind == 2)
				assert_int_equal(get(at + 1, 7), 0xfec0000001200full);
			if (kind == 3)
				pins |= 1u << get(at + 7, 1);
			if (kind == 3 && get(at + 5, 1) == 9)
				assert_int_equal(get(at + 2, 2), 0xd);
			if (kind >= 3)
				assert_int_equal(get(at + 6, 1), kind == 3 ? 15 : 0xff);
			kinds[kind]++;
			at += kind ? 8 : 20;
		}
		assert_int_equal(at, mp + get(mp + 4, 2));
		assert_int_equal(entries, get(mp + 34, 2));
		assert_int_equal(kinds[0], vcpus);
		assert_int_equal(kinds[1], 1);
		assert_int_equal(kinds[2], 1);
		assert_int_equal(kinds[3], 15);
		assert_int_equal(kinds[4], 2);
		assert_int_equal(pins, 0xfffe); /* nothing is on pin 0: INTR goes to LINT0 */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots),
		cmocka_unit_test(fixed_description),
		cmocka_unit_test(interrupt_controllers),
		cmocka_unit_test(multiprocessor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
