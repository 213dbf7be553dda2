/* SPDX-License-Identifier: MIT */
/* ACPI tables (layouts of ACPI Specification 2.0, which later systems read) and the MP table (MP 1.4). */
#include "kernel/tables.h"

#include "kernel/dev/vpm.h"
#include "kernel/string.h"

#define LAPIC_ADDRESS  0xfee00000u
#define IOAPIC_ADDRESS 0xfec00000u
#define ISA_LINES      16u
#define TIMER_PIN      2u      /* ISA line 0 arrives there; pin 0 has the 8259 pair's INTR */
#define SCI_FLAGS      0x000du /* level-triggered, active high: MPS INTI flags of ACPI and MP alike */

/* Fixed places: tables of fixed size first. */
#define RSDP     TABLES_BASE
#define FLOATING (TABLES_BASE + 0x40)
#define FACS     (TABLES_BASE + 0x80) /* 64-byte boundary */
#define RSDT     (TABLES_BASE + 0x100)
#define XSDT     (TABLES_BASE + 0x140)
#define DSDT     (TABLES_BASE + 0x180)
#define FADT     (TABLES_BASE + 0x200)
#define MADT     (TABLES_BASE + 0x400)
#define MP       (TABLES_BASE + 0x800)

/* Where the next bytes go. */
struct writer {
	uint8_t *ram;
	uint32_t at;
};

static void put(struct writer *w, const void *bytes, uint32_t size)
{
	memcpy(w->ram + w->at, bytes, size);
	w->at += size;
}

/* Bytes in the order in which the specifications list the fields; longer ones are little-endian. */
#define LE16(value)       (uint8_t)(value), (uint8_t)((value) >> 8)
#define LE32(value)       LE16(value), LE16((value) >> 16)
#define LE64(value)       LE32(value), LE32((uint64_t)(value) >> 32)
#define PUT(w, ...)       put(w, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define PUT_TEXT(w, text) put(w, text, sizeof(text) - 1)
/* "Generic Address Structure" of an I/O port. */
#define IO_PORT(bits, port) 1, bits, 0, 0, LE64(port)
#define NO_PORT             LE32(0), LE64(0)

/* Makes `size` bytes at `start` add up to 0 by the byte at `place`. */
static void seal(uint8_t *ram, uint32_t start, uint32_t size, uint32_t place)
{
	uint8_t sum = 0;

	for (uint32_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ram[start + i]);
	ram[place] = (uint8_t)(ram[place] - sum);
}

/* "System Description Table Header"; length and checksum follow in finish(). */
static struct writer begin(uint8_t *ram, uint32_t at, const char *signature, uint8_t revision)
{
	struct writer w = { ram, at };

	put(&w, signature, 4);
	PUT(&w, LE32(0), revision, 0);
	PUT_TEXT(&w, "BELHOPBELLHOP \1\0\0\0BELL\1\0\0\0");
	return w;
}

static void finish(const struct writer *w, uint32_t start)
{
	struct writer length = { w->ram, start + 4 };

	PUT(&length, LE32(w->at - start));
	seal(w->ram, start, w->at - start, start + 9);
}

/* "Root System Description Pointer": the first checksum covers the 20 bytes that ACPI 1.0 had. */
static void write_roots(uint8_t *ram)
{
	struct writer rsdp = { ram, RSDP }, rsdt = begin(ram, RSDT, "RSDT", 1),
		      xsdt = begin(ram, XSDT, "XSDT", 1);

	PUT_TEXT(&rsdp, "RSD PTR \0BELHOP");
	PUT(&rsdp, 2, LE32(RSDT), LE32(36), LE64(XSDT), LE32(0));
	seal(ram, RSDP, 20, RSDP + 8);
	seal(ram, RSDP, 36, RSDP + 32);
	PUT(&rsdt, LE32(FADT), LE32(MADT));
	PUT(&xsdt, LE64(FADT), LE64(MADT));
	finish(&rsdt, RSDT);
	finish(&xsdt, XSDT);
}

/*
 * "Fixed ACPI Description Table". Flags: WBINVD, PROC_C1, no fixed power or sleep button, no fixed RTC wake
 * status, 32-bit timer, reset register. Boot flags: there are ISA devices (but no 8042), and there is no VGA.
 */
static void write_fixed(uint8_t *ram)
{
	struct writer fadt = begin(ram, FADT, "FACP", 3), dsdt = begin(ram, DSDT, "DSDT", 2),
		      facs = { ram, FACS };

	PUT(&fadt, LE32(FACS), LE32(DSDT), 0, 0, LE16(PM_SCI));
	PUT(&fadt, LE64(0)); /* no SMI command port: always in ACPI mode */
	PUT(&fadt, LE32(PM_EVENT), LE32(0), LE32(PM_CONTROL), LE32(0), LE32(0), LE32(PM_TIMER), LE64(0));
	PUT(&fadt, 4, 2, 0, 4, LE32(0));                 /* lengths: PM1 event, PM1 control, no PM2, timer */
	PUT(&fadt, LE16(0xffff), LE16(0xffff), LE64(0)); /* neither C2 nor C3 */
	PUT(&fadt, 0x32, LE16(0x0005), 0, LE32(0x575));  /* the clock's century, boot flags, flags */
	PUT(&fadt, IO_PORT(8, 0xcf9), 0x06, 0, 0, 0);    /* reset register, and the value that resets */
	PUT(&fadt, LE64(FACS), LE64(DSDT));
	PUT(&fadt, IO_PORT(32, PM_EVENT), NO_PORT, IO_PORT(16, PM_CONTROL), NO_PORT, NO_PORT);
	PUT(&fadt, IO_PORT(32, PM_TIMER), NO_PORT, NO_PORT);
	finish(&fadt, FADT);

	/* AML: Name (\_S5, Package () {5, 5, 0, 0}). */
	PUT(&dsdt, 0x08, '\\', '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, PM_SLEEP_OFF, 0x0a, PM_SLEEP_OFF,
	    0, 0);
	finish(&dsdt, DSDT);

	/* "Firmware ACPI Control Structure": only there because systems insist on one; it has no checksum. */
	PUT_TEXT(&facs, "FACS");
	PUT(&facs, LE32(64));
	ram[FACS + 32] = 1;
}

/* "Multiple APIC Description Table". */
static void write_madt(uint8_t *ram, const struct tables_setup *setup)
{
	struct writer w = begin(ram, MADT, "APIC", 3);

	PUT(&w, LE32(LAPIC_ADDRESS), LE32(1)); /* there is an 8259 pair as well */
	for (uint8_t i = 0; i < setup->vcpus; i++)
		PUT(&w, 0, 8, i, i, LE32(1));
	PUT(&w, 1, 12, setup->ioapic_id, 0, LE32(IOAPIC_ADDRESS), LE32(0));
	PUT(&w, 2, 10, 0, 0, LE32(TIMER_PIN), LE16(0));
	PUT(&w, 2, 10, 0, PM_SCI, LE32(PM_SCI), LE16(SCI_FLAGS));
	PUT(&w, 4, 6, 0xff, LE16(0), 1); /* NMI arrives at LINT1 of every processor */
	finish(&w, MADT);
}

/*
 * "Default I/O interrupt assignment" of a board with the timer on pin 2, and local interrupts: 17 entries. INTR of the 8259
 * pair is wired to LINT0 alone: an entry for the IOAPIC's pin 0 would be a lie that Linux notices.
 */
static void put_interrupts(struct writer *w, uint8_t ioapic)
{
	enum { INT = 0, NMI = 1, EXTINT = 3 };

	for (uint8_t line = 0; line < ISA_LINES; line++)
		if (line != 2) /* the second 8259's */
			PUT(w, 3, INT, LE16(line == PM_SCI ? SCI_FLAGS : 0), 0, line, ioapic,
			    line ? line : TIMER_PIN);
	PUT(w, 4, EXTINT, LE16(0), 0, 0, 0xff, 0);
	PUT(w, 4, NMI, LE16(0), 0, 0, 0xff, 1);
}

static void write_mp(uint8_t *ram, const struct tables_setup *setup)
{
	struct writer w = { ram, MP + 44 }, header = { ram, MP }, floating = { ram, FLOATING };

	/* Version of the LAPIC; usable, and the first one boots. */
	for (uint8_t i = 0; i < setup->vcpus; i++)
		PUT(&w, 0, i, 0x14, i ? 1 : 3, LE32(setup->cpu_signature), LE32(setup->cpu_features),
		    LE64(0));
	PUT(&w, 1, 0, 'I', 'S', 'A', ' ', ' ', ' ');
	PUT(&w, 2, setup->ioapic_id, setup->ioapic_version, 1, LE32(IOAPIC_ADDRESS));
	put_interrupts(&w, setup->ioapic_id);

	PUT_TEXT(&header, "PCMP");
	PUT(&header, LE16(w.at - MP), 4, 0); /* MP 1.4, and the checksum */
	PUT_TEXT(&header, "BELLHOP Bellhop VM  ");
	PUT(&header, LE32(0), LE16(0), LE16(setup->vcpus + 2 + 17), LE32(LAPIC_ADDRESS), LE32(0));
	seal(ram, MP, w.at - MP, MP + 7);

	/* One paragraph; MP 1.4; checksum; a table follows; virtual-wire mode. */
	PUT_TEXT(&floating, "_MP_");
	PUT(&floating, LE32(MP), 1, 4, 0, 0, 0, 0, 0, 0);
	seal(ram, FLOATING, 16, FLOATING + 10);
}

void tables_write(uint8_t *ram, const struct tables_setup *setup)
{
	memset(ram + TABLES_BASE, 0, TABLES_END - TABLES_BASE);
	write_roots(ram);
	write_fixed(ram);
	write_madt(ram, setup);
	write_mp(ram, setup);
}
