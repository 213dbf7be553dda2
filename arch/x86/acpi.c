/* SPDX-License-Identifier: MIT */
/* RSDP to RSDT or XSDT to MADT; no byte is believed before its table's checksum. */
#include "arch/x86/acpi.h"

#include <stdbool.h>

#include "kernel/string.h"

#define RSDP_1_SIZE    20
#define TABLE_SIZE_MAX 0x100000u

/* ACPI Specification, "Multiple APIC Description Table (MADT)". */
#define MADT_ENTRIES     44
#define MADT_LAPIC       0
#define MADT_LAPIC_SIZE  8
#define MADT_X2APIC      9
#define MADT_X2APIC_SIZE 16
#define MADT_ENABLED     1u

/* ACPI Specification, "Root System Description Pointer (RSDP) Structure". */
struct rsdp {
	char signature[8];
	uint8_t checksum, oem[6], revision;
	uint32_t rsdt;
	uint32_t length; /* the first field that version 1 lacks */
	uint64_t xsdt;
	uint32_t checksums;
} __attribute__((packed));

/* ACPI Specification, "System Description Table Header". */
struct table {
	char signature[4];
	uint32_t length;
	uint8_t rest[28];
} __attribute__((packed));

static bool sums_to_zero(const void *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
	return sum == 0;
}

/* The whole table at `address`, checked; NULL if it cannot be read, is another or is broken. */
static const struct table *table_at(uint64_t address, const char *signature, acpi_map *map)
{
	const struct table *table = map(address, sizeof(*table));

	if (!table || memcmp(table->signature, signature, 4) != 0)
		return NULL;
	if (table->length < sizeof(*table) || table->length > TABLE_SIZE_MAX)
		return NULL;
	table = map(address, table->length);
	return table && sums_to_zero(table, table->length) ? table : NULL;
}

static void add_cpu(struct acpi_cpus *cpus, uint64_t apic_id, uint64_t flags)
{
	if (!(flags & MADT_ENABLED) || cpus->count == ACPI_CPUS_MAX)
		return;
	/* Firmware may list a CPU in both forms. */
	for (unsigned i = 0; i < cpus->count; i++)
		if (cpus->apic_id[i] == apic_id)
			return;
	cpus->apic_id[cpus->count++] = (uint32_t)apic_id;
}

static const char *read_madt(const struct table *madt, struct acpi_cpus *cpus)
{
	uint64_t size;

	for (size_t at = MADT_ENTRIES; at + 2 <= madt->length; at += size) {
		uint64_t type = number_at(madt, at, 1);

		size = number_at(madt, at + 1, 1);
		if (size < 2 || size > madt->length - at)
			return "an entry of the MADT has a wrong length";
		if (type == MADT_LAPIC && size >= MADT_LAPIC_SIZE)
			add_cpu(cpus, number_at(madt, at + 3, 1), number_at(madt, at + 4, 4));
		else if (type == MADT_X2APIC && size >= MADT_X2APIC_SIZE)
			add_cpu(cpus, number_at(madt, at + 4, 4), number_at(madt, at + 8, 4));
	}
	return cpus->count ? NULL : "the MADT has no CPU that is enabled";
}

const char *acpi_find_cpus(const void *start, size_t size, acpi_map *map, struct acpi_cpus *cpus)
{
	const struct rsdp *rsdp = start;
	const struct table *root = NULL;
	size_t step = 8;

	cpus->count = 0;
	if (size < RSDP_1_SIZE)
		return "firmware gave no RSDP";
	if (memcmp(rsdp->signature, "RSD PTR ", 8) != 0 || !sums_to_zero(rsdp, RSDP_1_SIZE))
		return "the RSDP is broken";
	if (size >= sizeof(*rsdp) && rsdp->revision >= 2 && sums_to_zero(rsdp, sizeof(*rsdp)) && rsdp->xsdt)
		root = table_at(rsdp->xsdt, "XSDT", map);
	/* An XSDT that is broken falls back to the RSDT, which some firmware keeps the better one. */
	if (!root) {
		root = table_at(rsdp->rsdt, "RSDT", map);
		step = 4;
	}
	if (!root)
		return "the RSDT or XSDT is broken";
	for (size_t at = sizeof(*root); at + step <= root->length; at += step) {
		const struct table *madt = table_at(number_at(root, at, step), "APIC", map);

		if (madt)
			return read_madt(madt, cpus);
	}
	return "there is no MADT, or it is broken";
}
