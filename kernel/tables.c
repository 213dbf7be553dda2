/* SPDX-License-Identifier: MIT */
/* ACPI tables (ACPI Specification 2.0 layouts, which every later system reads) and the MP table (MP Specification 1.4). */
#include "kernel/tables.h"

#include <stddef.h>

#include "kernel/dev/vpm.h"
#include "kernel/string.h"

#define LAPIC_ADDRESS  0xfee00000u
#define IOAPIC_ADDRESS 0xfec00000u
#define ISA_LINES      16u
#define TIMER_PIN      2u      /* ISA line 0 arrives there; pin 0 has the 8259 pair's INTR */
#define SCI_FLAGS      0x000du /* level-triggered, active high: MPS INTI flags of ACPI and MP alike */

#define RSDP_SIZE     36u
#define FACS_SIZE     64u
#define FLOATING_SIZE 16u

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

/* The lowest `bytes` bytes of value, little-endian. */
static void put(struct writer *w, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++, value >>= 8)
		w->ram[w->at++] = (uint8_t)value;
}

static void put_text(struct writer *w, const char *text)
{
	for (; *text; text++)
		put(w, 1, (uint8_t)*text);
}

/* Makes `size` bytes at `start` add up to 0 by the byte at `place`. */
static void seal(uint8_t *ram, uint32_t start, uint32_t size, uint32_t place)
{
	uint8_t sum = 0;

	ram[place] = 0;
	for (uint32_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ram[start + i]);
	ram[place] = (uint8_t)-sum;
}

/* "System Description Table Header"; the length follows in finish(). */
static struct writer begin(uint8_t *ram, uint32_t at, const char *signature, uint8_t revision)
{
	struct writer w = { ram, at };

	put_text(&w, signature);
	put(&w, 4, 0);
	put(&w, 1, revision);
	put(&w, 1, 0);
	put_text(&w, "BELHOPBELLHOP ");
	put(&w, 4, 1);
	put_text(&w, "BELL");
	put(&w, 4, 1);
	return w;
}

static void finish(const struct writer *w, uint32_t start)
{
	struct writer length = { w->ram, start + 4 };

	put(&length, 4, w->at - start);
	seal(w->ram, start, w->at - start, start + 9);
}

/* "Root System Description Pointer": the first checksum covers the 20 bytes that ACPI 1.0 had. */
static void write_rsdp(uint8_t *ram)
{
	struct writer w = { ram, RSDP };

	put_text(&w, "RSD PTR ");
	put(&w, 1, 0);
	put_text(&w, "BELHOP");
	put(&w, 1, 2);
	put(&w, 4, RSDT);
	put(&w, 4, RSDP_SIZE);
	put(&w, 8, XSDT);
	put(&w, 4, 0);
	seal(ram, RSDP, 20, RSDP + 8);
	seal(ram, RSDP, RSDP_SIZE, RSDP + 32);
}

static void write_roots(uint8_t *ram)
{
	struct writer r = begin(ram, RSDT, "RSDT", 1), x = begin(ram, XSDT, "XSDT", 1);

	put(&r, 4, FADT);
	put(&r, 4, MADT);
	put(&x, 8, FADT);
	put(&x, 8, MADT);
	finish(&r, RSDT);
	finish(&x, XSDT);
}

/* AML: Name (\_S5, Package () {5, 5, 0, 0}). */
static void write_dsdt(uint8_t *ram)
{
	static const uint8_t code[] = { 0x08, '\\', '_',          'S',  '5',          '_',  0x12, 0x08,
		                        0x04, 0x0a, PM_SLEEP_OFF, 0x0a, PM_SLEEP_OFF, 0x00, 0x00 };
	struct writer w = begin(ram, DSDT, "DSDT", 2);

	memcpy(ram + w.at, code, sizeof(code));
	w.at += (uint32_t)sizeof(code);
	finish(&w, DSDT);
}

/* "Generic Address Structure" of an I/O port. */
static void put_port(struct writer *w, unsigned bits, uint64_t port)
{
	put(w, 1, port ? 1 : 0);
	put(w, 1, port ? bits : 0);
	put(w, 2, 0);
	put(w, 8, port);
}

/*
 * "Fixed ACPI Description Table". Flags: WBINVD, PROC_C1, no fixed power or sleep button, no fixed RTC wake status, 32-bit
 * timer, reset register. Boot flags: there are ISA devices (but no 8042), and there is no VGA.
 */
static void write_fadt(uint8_t *ram)
{
	struct writer w = begin(ram, FADT, "FACP", 3);

	put(&w, 4, FACS);
	put(&w, 4, DSDT);
	put(&w, 2, 0);
	put(&w, 2, PM_SCI);
	put(&w, 8, 0); /* no SMI command port: always in ACPI mode */
	put(&w, 4, PM_EVENT);
	put(&w, 4, 0);
	put(&w, 4, PM_CONTROL);
	put(&w, 8, 0);
	put(&w, 4, PM_TIMER);
	put(&w, 8, 0);
	put(&w, 4, 0x04000204); /* lengths: PM1 event 4, control 2, PM2 none, timer 4 */
	put(&w, 4, 0);
	put(&w, 2, 0xffff); /* neither C2 */
	put(&w, 2, 0xffff); /* nor C3 */
	put(&w, 8, 0);
	put(&w, 1, 0x32); /* the clock's century */
	put(&w, 2, 0x0005);
	put(&w, 1, 0);
	put(&w, 4, 0x00000575);
	put_port(&w, 8, 0xcf9);
	put(&w, 4, 0x06); /* the value that resets */
	put(&w, 8, FACS);
	put(&w, 8, DSDT);
	put_port(&w, 32, PM_EVENT);
	put_port(&w, 0, 0);
	put_port(&w, 16, PM_CONTROL);
	put_port(&w, 0, 0);
	put_port(&w, 0, 0);
	put_port(&w, 32, PM_TIMER);
	put_port(&w, 0, 0);
	put_port(&w, 0, 0);
	finish(&w, FADT);
}

/* "Firmware ACPI Control Structure": only there because systems insist on one; it has no checksum. */
static void write_facs(uint8_t *ram)
{
	struct writer w = { ram, FACS };

	put_text(&w, "FACS");
	put(&w, 4, FACS_SIZE);
	ram[FACS + 32] = 1;
}

static void put_override(struct writer *w, uint8_t line, uint32_t pin, uint16_t flags)
{
	put(w, 1, 2);
	put(w, 1, 10);
	put(w, 1, 0);
	put(w, 1, line);
	put(w, 4, pin);
	put(w, 2, flags);
}

/* "Multiple APIC Description Table". */
static void write_madt(uint8_t *ram, const struct tables_setup *setup)
{
	struct writer w = begin(ram, MADT, "APIC", 3);

	put(&w, 4, LAPIC_ADDRESS);
	put(&w, 4, 1); /* there is an 8259 pair as well */
	for (unsigned i = 0; i < setup->vcpus; i++) {
		put(&w, 2, 0x0800);
		put(&w, 1, i);
		put(&w, 1, i);
		put(&w, 4, 1);
	}
	put(&w, 2, 0x0c01);
	put(&w, 2, setup->ioapic_id);
	put(&w, 4, IOAPIC_ADDRESS);
	put(&w, 4, 0);
	put_override(&w, 0, TIMER_PIN, 0);
	put_override(&w, PM_SCI, PM_SCI, SCI_FLAGS);
	put(&w, 2, 0x0604); /* NMI arrives at LINT1 of every processor */
	put(&w, 1, 0xff);
	put(&w, 2, 0);
	put(&w, 1, 1);
	finish(&w, MADT);
}

/* I/O and local interrupt entries of the MP table have one form. */
enum mp_type { MP_INT = 0, MP_NMI = 1, MP_EXTINT = 3 };
static void put_interrupt(struct writer *w, unsigned entry, enum mp_type type, unsigned flags, unsigned line,
                          unsigned apic, unsigned pin)
{
	put(w, 1, entry);
	put(w, 1, type);
	put(w, 2, flags);
	put(w, 1, 0);
	put(w, 1, line);
	put(w, 1, apic);
	put(w, 1, pin);
}

/* "Default I/O interrupt assignment" of a board with the timer on pin 2. Returns the number of entries. */
static unsigned put_interrupts(struct writer *w, uint8_t ioapic)
{
	unsigned entries = 3;

	put_interrupt(w, 3, MP_EXTINT, 0, 0, ioapic, 0);
	for (unsigned line = 0; line < ISA_LINES; line++) {
		if (line == 2) /* the second 8259's */
			continue;
		put_interrupt(w, 3, MP_INT, line == PM_SCI ? SCI_FLAGS : 0, line, ioapic,
		              line ? line : TIMER_PIN);
		entries++;
	}
	put_interrupt(w, 4, MP_EXTINT, 0, 0, 0xff, 0);
	put_interrupt(w, 4, MP_NMI, 0, 0, 0xff, 1);
	return entries;
}

static void write_mp(uint8_t *ram, const struct tables_setup *setup)
{
	struct writer w = { ram, MP + 44 }, header = { ram, MP }, floating = { ram, FLOATING };
	unsigned entries = setup->vcpus + 2;

	for (unsigned i = 0; i < setup->vcpus; i++) {
		put(&w, 1, 0);
		put(&w, 1, i);
		put(&w, 1, 0x14);           /* version of its LAPIC */
		put(&w, 1, i == 0 ? 3 : 1); /* usable; the first one boots */
		put(&w, 4, setup->cpu_signature);
		put(&w, 4, setup->cpu_features);
		put(&w, 8, 0);
	}
	put(&w, 2, 0x0001);
	put_text(&w, "ISA   ");
	put(&w, 1, 2);
	put(&w, 1, setup->ioapic_id);
	put(&w, 1, setup->ioapic_version);
	put(&w, 1, 1);
	put(&w, 4, IOAPIC_ADDRESS);
	entries += put_interrupts(&w, setup->ioapic_id);

	put_text(&header, "PCMP");
	put(&header, 2, w.at - MP);
	put(&header, 2, 4); /* MP 1.4, and the checksum */
	put_text(&header, "BELLHOP ");
	put_text(&header, "Bellhop VM  ");
	put(&header, 6, 0);
	put(&header, 2, entries);
	put(&header, 4, LAPIC_ADDRESS);
	put(&header, 4, 0);
	seal(ram, MP, w.at - MP, MP + 7);

	put_text(&floating, "_MP_");
	put(&floating, 4, MP);
	put(&floating, 2, 0x0401); /* one paragraph; MP 1.4 */
	put(&floating, 6, 0);      /* checksum; a table follows; virtual-wire mode */
	seal(ram, FLOATING, FLOATING_SIZE, FLOATING + 10);
}

void tables_write(uint8_t *ram, const struct tables_setup *setup)
{
	memset(ram + TABLES_BASE, 0, TABLES_END - TABLES_BASE);
	write_rsdp(ram);
	write_roots(ram);
	write_dsdt(ram);
	write_facs(ram);
	write_fadt(ram);
	write_madt(ram, setup);
	write_mp(ram, setup);
}
