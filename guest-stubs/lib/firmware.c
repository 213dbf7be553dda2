/* SPDX-License-Identifier: MIT */
/* The CPUs that the firmware's tables list: ACPI's MADT, else the MP table. */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/print.h"

#define AREA_START 0xe0000ul
#define AREA_END   0x100000ul
#define EBDA_WORD  0x40eul /* real-mode segment of the extended BIOS data area */

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t rest[28];
} __attribute__((packed));

struct madt_entry {
	uint8_t type, length, processor, id;
	uint32_t flags;
} __attribute__((packed));

struct mp_pointer {
	char signature[4];
	uint32_t table;
} __attribute__((packed));

struct mp_table {
	char signature[4];
	uint16_t length;
	uint8_t fill[28];
	uint16_t entries;
	uint8_t rest[8];
} __attribute__((packed));

/* A list under construction. */
struct ids {
	uint32_t *id;
	unsigned count, max;
};

static void add(struct ids *ids, uint32_t id)
{
	if (id != ids->id[0] && ids->count < ids->max)
		ids->id[ids->count++] = id;
}

static const void *low_memory(unsigned long address)
{
	/* Hidden from the optimiser, which takes addresses near 0 for offsets from a null pointer. */
	__asm__("" : "+r"(address));
	return (const void *)address;
}

static const char *scan(const char *signature, size_t n, unsigned long from, unsigned long to)
{
	for (; from < to; from += 16)
		if (!memcmp(low_memory(from), signature, n))
			return low_memory(from);
	return NULL;
}

static const char *find(const char *signature)
{
	size_t n = strlen(signature);
	unsigned long ebda = (unsigned long)*(const volatile uint16_t *)low_memory(EBDA_WORD) << 4;
	const char *at = ebda >= 0x80000 ? scan(signature, n, ebda, ebda + 1024) : NULL;

	return at ? at : scan(signature, n, AREA_START, AREA_END);
}

static void from_madt(struct ids *ids, const struct acpi_header *madt)
{
	const uint8_t *at = (const uint8_t *)(madt + 1) + 8, *end = (const uint8_t *)madt + madt->length;

	while (at + 2 <= end && at[1] >= 2) {
		const struct madt_entry *entry = (const void *)at;

		if (entry->type == 0 && entry->flags & 1)
			add(ids, entry->id);
		at += entry->length;
	}
}

static bool from_acpi(struct ids *ids)
{
	const char *rsdp = find("RSD PTR ");
	const struct acpi_header *rsdt, *table;
	const uint32_t *pointer;

	if (!rsdp)
		return false;
	rsdt = low_memory(*(const uint32_t *)(const void *)(rsdp + 16));
	pointer = (const uint32_t *)(const void *)(rsdt + 1);
	for (unsigned i = 0; i < (rsdt->length - sizeof(*rsdt)) / 4; i++) {
		table = low_memory(pointer[i]);
		if (!memcmp(table->signature, "APIC", 4)) {
			from_madt(ids, table);
			return true;
		}
	}
	return false;
}

static void from_mp(struct ids *ids)
{
	const struct mp_pointer *pointer = (const void *)find("_MP_");
	const struct mp_table *table;
	const uint8_t *at;

	if (!pointer || !pointer->table)
		return;
	table = low_memory(pointer->table);
	at = (const uint8_t *)(table + 1);
	for (unsigned i = 0; i < table->entries; i++) {
		/* Entry type 0, a processor, has 20 bytes, every other 8; byte 3 bit 0: usable. */
		if (at[0] == 0 && at[3] & 1)
			add(ids, at[1]);
		at += at[0] ? 8 : 20;
	}
}

unsigned boot_cpus(uint32_t *ids, unsigned max)
{
	struct ids list = { .id = ids, .count = 1, .max = max };

	ids[0] = apic_id();
	if (!from_acpi(&list))
		from_mp(&list);
	return list.count;
}
