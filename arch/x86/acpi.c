/* SPDX-License-Identifier: MIT */
/* RSDP to RSDT or XSDT to MADT; no byte is believed before its table's checksum. */
#include "arch/x86/acpi.h"

#include <stdbool.h>

#include "kernel/string.h"

/* ACPI Specification, "Root System Description Pointer (RSDP) Structure". */
#define RSDP_1_SIZE   20
#define RSDP_2_SIZE   36
#define RSDP_REVISION 15
#define RSDP_RSDT     16
#define RSDP_XSDT     24

/* ACPI Specification, "System Description Table Header". */
#define TABLE_LENGTH      4
#define TABLE_HEADER_SIZE 36
#define TABLE_SIZE_MAX    0x100000u

/* ACPI Specification, "Multiple APIC Description Table (MADT)". */
#define MADT_ENTRIES     44
#define MADT_LAPIC       0
#define MADT_LAPIC_SIZE  8
#define MADT_X2APIC      9
#define MADT_X2APIC_SIZE 16
#define MADT_ENABLED     1u

static uint32_t read32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t read64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static bool sums_to_zero(const uint8_t *bytes, size_t size)
{
	unsigned sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
	return (sum & 0xff) == 0;
}

/* The whole table at `address`, checked; NULL if it cannot be read or is broken. */
static const uint8_t *table_at(uint64_t address, acpi_map *map)
{
	const uint8_t *table = map(address, TABLE_HEADER_SIZE);
	uint32_t length;

	if (!table)
		return NULL;
	length = read32(table + TABLE_LENGTH);
	if (length < TABLE_HEADER_SIZE || length > TABLE_SIZE_MAX)
		return NULL;
	table = map(address, length);
	return table && sums_to_zero(table, length) ? table : NULL;
}

static bool is_table(const uint8_t *table, const char *signature)
{
	return memcmp(table, signature, 4) == 0;
}

/* The root table; `entry` becomes the size of one address in it. */
static const uint8_t *find_root(const uint8_t *rsdp, size_t size, acpi_map *map, size_t *entry)
{
	const uint8_t *root;

	/* An XSDT that is there but broken falls back to the RSDT, which some firmware keeps the better one.
	 */
	if (size >= RSDP_2_SIZE && rsdp[RSDP_REVISION] >= 2 && sums_to_zero(rsdp, RSDP_2_SIZE) &&
	    read64(rsdp + RSDP_XSDT)) {
		root = table_at(read64(rsdp + RSDP_XSDT), map);
		*entry = 8;
		if (root && is_table(root, "XSDT"))
			return root;
	}
	root = table_at(read32(rsdp + RSDP_RSDT), map);
	*entry = 4;
	return root && is_table(root, "RSDT") ? root : NULL;
}

static const uint8_t *find_madt(const uint8_t *root, size_t entry, acpi_map *map)
{
	size_t length = read32(root + TABLE_LENGTH);

	for (size_t at = TABLE_HEADER_SIZE; at + entry <= length; at += entry) {
		const uint8_t *table = table_at(entry == 8 ? read64(root + at) : read32(root + at), map);

		if (table && is_table(table, "APIC"))
			return table;
	}
	return NULL;
}

static void add_cpu(struct acpi_cpus *cpus, uint32_t apic_id, uint32_t flags)
{
	if (!(flags & MADT_ENABLED) || cpus->count == ACPI_CPUS_MAX)
		return;
	/* Firmware may list a CPU in both forms. */
	for (unsigned i = 0; i < cpus->count; i++)
		if (cpus->apic_id[i] == apic_id)
			return;
	cpus->apic_id[cpus->count++] = apic_id;
}

static const char *read_madt(const uint8_t *madt, struct acpi_cpus *cpus)
{
	size_t length = read32(madt + TABLE_LENGTH);
	size_t size;

	for (size_t at = MADT_ENTRIES; at + 2 <= length; at += size) {
		size = madt[at + 1];
		if (size < 2 || size > length - at)
			return "an entry of the MADT has a wrong length";
		if (madt[at] == MADT_LAPIC && size >= MADT_LAPIC_SIZE)
			add_cpu(cpus, madt[at + 3], read32(madt + at + 4));
		else if (madt[at] == MADT_X2APIC && size >= MADT_X2APIC_SIZE)
			add_cpu(cpus, read32(madt + at + 4), read32(madt + at + 8));
	}
	return cpus->count ? NULL : "the MADT has no CPU that is enabled";
}

const char *acpi_find_cpus(const uint8_t *rsdp, size_t size, acpi_map *map, struct acpi_cpus *cpus)
{
	const uint8_t *root, *madt;
	size_t entry;

	cpus->count = 0;
	if (size < RSDP_1_SIZE)
		return "firmware gave no RSDP";
	if (memcmp(rsdp, "RSD PTR ", 8) != 0 || !sums_to_zero(rsdp, RSDP_1_SIZE))
		return "the RSDP is broken";
	root = find_root(rsdp, size, map, &entry);
	if (!root)
		return "the RSDT or XSDT is broken";
	madt = find_madt(root, entry, map);
	if (!madt)
		return "there is no MADT, or it is broken";
	return read_madt(madt, cpus);
}
