/* SPDX-License-Identifier: MIT */
/*
 * The firmware's tables as an operating system walks them: RSDP, RSDT, XSDT, FADT, MADT, DSDT, and the MP floating pointer
 * with its table. Lengths, checksums, and that the two agree on the CPUs. Counts of entries differ between machines.
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"

const char guest_name[] = "tables_walk";

#define HEADER 36u

static unsigned cpus_madt, cpus_mp, ioapics_madt, ioapics_mp, timer_override;

static const uint8_t *at(unsigned long address)
{
	__asm__("" : "+r"(address));
	return (const uint8_t *)address;
}

static uint32_t word(const uint8_t *p, unsigned offset, unsigned bytes)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint32_t)p[offset + i] << 8 * i;
	return value;
}

static bool sums_up(const uint8_t *p, unsigned size)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < size; i++)
		sum = (uint8_t)(sum + p[i]);
	return sum == 0;
}

static const uint8_t *scan(const char *signature)
{
	unsigned n = (unsigned)strlen(signature);

	for (unsigned long a = 0xe0000; a < 0x100000; a += 16)
		if (!memcmp(at(a), signature, n))
			return at(a);
	/* The first KiB of the extended BIOS data area comes first by the specification; nobody here uses it. */
	return NULL;
}

static bool is_table(const uint8_t *t, const char *signature)
{
	uint32_t length = word(t, 4, 4);

	return !memcmp(t, signature, 4) && length >= HEADER && length < 65536 && sums_up(t, length);
}

static const uint8_t *find(const uint8_t *root, unsigned width, const char *signature)
{
	for (unsigned i = HEADER; i < word(root, 4, 4); i += width) {
		const uint8_t *t = at(word(root, i, 4));

		if (!memcmp(t, signature, 4))
			return t;
	}
	return NULL;
}

static void walk_madt(const uint8_t *madt)
{
	unsigned end = word(madt, 4, 4), i = HEADER + 8;

	for (; i + 2 <= end && madt[i + 1] >= 2; i += madt[i + 1]) {
		if (madt[i] == 0)
			cpus_madt += madt[i + 4] & 1;
		else if (madt[i] == 1)
			ioapics_madt += word(madt, i + 4, 4) == IOAPIC_BASE;
		else if (madt[i] == 2)
			timer_override |= madt[i + 3] == 0 && word(madt, i + 4, 4) == 2;
	}
	CHECK(i == end, "MADT: its entries fill it exactly");
	CHECK(word(madt, HEADER, 4) == APIC_BASE, "MADT: the local APIC is at its usual place");
	CHECK(word(madt, HEADER + 4, 4) & 1, "MADT: there is an 8259 pair, too");
	CHECK(cpus_madt == boot_number("cpus", 1), "MADT: as many CPUs as there are");
	CHECK(ioapics_madt == 1, "MADT: one IOAPIC, at its usual place");
	CHECK(timer_override, "MADT: line 0 arrives at pin 2");
}

static void walk_fadt(const uint8_t *fadt)
{
	const uint8_t *dsdt = at(word(fadt, 40, 4)), *facs = at(word(fadt, 36, 4));

	CHECK(is_table(dsdt, "DSDT"), "DSDT: there, and its checksum is right");
	CHECK(!memcmp(facs, "FACS", 4) && word(facs, 4, 4) >= 64, "FACS: there");
	CHECK(word(fadt, 76, 4) != 0, "FADT: has the power-management timer's port");
	CHECK(word(fadt, 64, 4) != 0 && word(fadt, 56, 4) != 0, "FADT: and those of PM1a");
}

static void walk_acpi(void)
{
	const uint8_t *rsdp = scan("RSD PTR "), *rsdt, *fadt, *madt;

	if (!CHECK(rsdp != NULL, "RSDP: there, on a 16-byte boundary"))
		return;
	CHECK(sums_up(rsdp, 20), "RSDP: its checksum is right");
	if (rsdp[15] >= 2) {
		const uint8_t *xsdt = at(word(rsdp, 24, 4));

		CHECK(sums_up(rsdp, 36) && word(rsdp, 20, 4) == 36, "RSDP: so is the extended one");
		CHECK(is_table(xsdt, "XSDT"), "XSDT: there, and its checksum is right");
		CHECK(find(xsdt, 8, "FACP") && find(xsdt, 8, "APIC"), "XSDT: has FADT and MADT");
	} else {
		SKIP("RSDP: so is the extended one [Bochs has ACPI 1.0]");
		SKIP("XSDT: there, and its checksum is right [Bochs has ACPI 1.0]");
		SKIP("XSDT: has FADT and MADT [Bochs has ACPI 1.0]");
	}
	rsdt = at(word(rsdp, 16, 4));
	CHECK(is_table(rsdt, "RSDT"), "RSDT: there, and its checksum is right");
	fadt = find(rsdt, 4, "FACP");
	madt = find(rsdt, 4, "APIC");
	if (CHECK(fadt && is_table(fadt, "FACP"), "FADT: there, and its checksum is right"))
		walk_fadt(fadt);
	if (CHECK(madt && is_table(madt, "APIC"), "MADT: there, and its checksum is right"))
		walk_madt(madt);
}

/* MP Specification 1.4, "MP Configuration Table Entries": processors have 20 bytes, everything else 8. */
static void walk_mp(void)
{
	const uint8_t *floating = scan("_MP_"), *table;
	unsigned i = 44, last = 0;
	bool boots = false, sorted = true;

	if (!CHECK(floating != NULL, "MP: the floating pointer is there"))
		return;
	CHECK(floating[8] == 1 && sums_up(floating, 16), "MP: one paragraph, its checksum is right");
	table = at(word(floating, 4, 4));
	CHECK(!memcmp(table, "PCMP", 4) && sums_up(table, word(table, 4, 2)),
	      "MP: the table's checksum is right");
	CHECK(word(table, 36, 4) == APIC_BASE, "MP: the local APIC is at its usual place");
	for (unsigned n = word(table, 34, 2); n; n--) {
		sorted &= table[i] >= last;
		last = table[i];
		cpus_mp += last == 0 && table[i + 3] & 1;
		boots |= last == 0 && table[i + 3] & 2 && table[i + 1] == apic_id();
		ioapics_mp += last == 2 && table[i + 3] & 1 && word(table, i + 4, 4) == IOAPIC_BASE;
		i += last ? 8 : 20;
	}
	CHECK(i == word(table, 4, 2), "MP: its entries fill it exactly");
	CHECK(sorted, "MP: in the order of their types");
	CHECK(boots, "MP: the boot CPU is marked, and is this one");
	CHECK(cpus_mp == cpus_madt, "MP: as many CPUs as in the MADT");
	CHECK(ioapics_mp == 1, "MP: one IOAPIC, at its usual place");
}

void guest_main(void)
{
	uint32_t ids[16];

	walk_acpi();
	walk_mp();
	CHECK(boot_cpus(ids, 16) == cpus_madt, "the APIC IDs are all different");
	report_end();
}
