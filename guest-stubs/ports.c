/* SPDX-License-Identifier: MIT */
/*
 * Ports with nothing behind them, PCI among them, and the ways to end: `end=cf9`, `keyboard`, `92` (resets) or `s5` in the arguments. Under
 * Bellhop alone: the bare machine has PCI.
 */
#include "guest-stubs/lib/bellhop.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"

const char guest_name[] = "ports";

#define PCI_ADDRESS  0xcf8
#define PCI_DATA     0xcfc
#define RESET        0xcf9
#define KEYBOARD     0x64
#define FAST         0x92
#define FADT_CONTROL 64 /* offset of PM1a's control port in the FADT */
#define SLEEP_S5     (5u << 10 | 1u << 13)

static uint16_t inw(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static void outw(uint16_t port, unsigned value)
{
	__asm__ volatile("outw %0, %1" ::"a"((uint16_t)value), "Nd"(port) : "memory");
}

/* PCI Local Bus Specification, "Configuration Mechanism #1": without a bridge nobody even keeps the address. */
static void no_pci(void)
{
	unsigned found = 0;

	cpu_outl(PCI_ADDRESS, 0x80000000);
	CHECK(cpu_inl(PCI_ADDRESS) == 0xffffffff, "no bridge keeps a configuration address");
	for (unsigned device = 0; device < 32; device++)
		for (unsigned bus = 0; bus < 256; bus += 51) {
			cpu_outl(PCI_ADDRESS, 0x80000000 | bus << 16 | device << 11);
			found += cpu_inl(PCI_DATA) != 0xffffffff || inw(PCI_DATA) != 0xffff ||
			         cpu_inb(PCI_DATA + 3) != 0xff;
		}
	CHECK(found == 0, "no device answers on any bus");
}

static void nothing_there(void)
{
	static const uint16_t ports[] = {
		0x10, 0x60, 0x80, 0x170, 0x1f7, 0x2f8, 0x378, 0x3d4, 0x1000, 0xffff
	};
	unsigned wrong = 0;

	for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		wrong += cpu_inb(ports[i]) != 0xff;
		cpu_outb(ports[i], 0);
		wrong += cpu_inb(ports[i]) != 0xff;
	}
	wrong += inw(0x2f8) != 0xffff || cpu_inl(0x170) != 0xffffffff;
	CHECK(wrong == 0, "ports of nobody read as ones, and take what is written");
	CHECK(inw(0x64) >> 8 == 0xff, "an access that is wider than its device has ones behind it");
}

static const uint8_t *at(unsigned long address)
{
	__asm__("" : "+r"(address));
	return (const uint8_t *)address;
}

static uint32_t word(const uint8_t *p, unsigned offset)
{
	return p[offset] | (uint32_t)p[offset + 1] << 8 | (uint32_t)p[offset + 2] << 16 |
	       (uint32_t)p[offset + 3] << 24;
}

static uint16_t control_port(void)
{
	const uint8_t *rsdt = at(word(at(0xf0000), 16));

	for (unsigned i = 36; i < word(rsdt, 4); i += 4)
		if (!memcmp(at(word(rsdt, i)), "FACP", 4))
			return (uint16_t)word(at(word(rsdt, i)), FADT_CONTROL);
	return 0;
}

void guest_main(void)
{
	if (!bellhop_present()) {
		SKIP("the bare machine has PCI");
		report_end();
	}
	no_pci();
	nothing_there();
	outw(RESET, 0x06);
	CHECK(true, "a reset request takes a byte: a word is none");
	report_summary();
	if (boot_is("end", "s5"))
		outw(control_port(), SLEEP_S5);
	if (boot_is("end", "keyboard"))
		cpu_outb(KEYBOARD, 0xfe);
	if (boot_is("end", "92"))
		cpu_outb(FAST, 1);
	cpu_outb(RESET, 0x02);
	cpu_outb(RESET, 0x06);
	for (;;)
		__asm__ volatile("cli; hlt");
}
