/* SPDX-License-Identifier: MIT */
/* Access to the interrupt controllers: local APIC, IOAPIC, 8259 pair. */
#include "guest-stubs/lib/apic.h"

#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/trap.h"

#define MSR_X2APIC   0x800u
#define CPUID_X2APIC (1u << 21) /* leaf 1, ECX */

static void spurious(struct trap_frame *frame)
{
	/* SDM vol. 3, "Spurious Interrupt": no ISR bit is set for it, so no EOI. */
	(void)frame;
}

uint32_t apic_read(unsigned reg)
{
	if (cpu_self()->x2apic)
		return (uint32_t)cpu_rdmsr(MSR_X2APIC + reg / 16);
	return mmio_read(APIC_BASE + reg);
}

void apic_write(unsigned reg, uint32_t value)
{
	if (cpu_self()->x2apic)
		cpu_wrmsr(MSR_X2APIC + reg / 16, value);
	else
		mmio_write(APIC_BASE + reg, value);
}

void apic_init(void)
{
	uint64_t base = cpu_rdmsr(MSR_APIC_BASE);

	cpu_self()->x2apic = (base & APIC_BASE_X2) != 0;
	if (!(base & APIC_BASE_ON))
		cpu_wrmsr(MSR_APIC_BASE, base | APIC_BASE_ON);
	trap_set(APIC_SPURIOUS, spurious);
	apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
}

bool apic_to_x2(void)
{
	if (!(cpu_id(1, 0).c & CPUID_X2APIC))
		return false;
	cpu_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | APIC_BASE_X2 | APIC_BASE_ON);
	cpu_self()->x2apic = true;
	return true;
}

uint32_t apic_id(void)
{
	uint32_t id = apic_read(APIC_ID);

	return cpu_self()->x2apic ? id : id >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_ipi(uint32_t dest, uint32_t low)
{
	if (cpu_self()->x2apic) {
		cpu_wrmsr(MSR_X2APIC + APIC_ICR_LOW / 16, (uint64_t)dest << 32 | low);
		return;
	}
	mmio_write(APIC_BASE + APIC_ICR_HIGH, dest << 24);
	mmio_write(APIC_BASE + APIC_ICR_LOW, low);
	while (mmio_read(APIC_BASE + APIC_ICR_LOW) & ICR_PENDING)
		cpu_pause();
}

bool apic_bit(unsigned reg, unsigned vector)
{
	return apic_read(reg + vector / 32 * 16) >> vector % 32 & 1;
}

uint32_t ioapic_read(unsigned reg)
{
	mmio_write(IOAPIC_BASE, reg);
	return mmio_read(IOAPIC_BASE + 0x10);
}

void ioapic_write(unsigned reg, uint32_t value)
{
	mmio_write(IOAPIC_BASE, reg);
	mmio_write(IOAPIC_BASE + 0x10, value);
}

void ioapic_set(unsigned pin, uint32_t dest, uint32_t low)
{
	ioapic_write(IOAPIC_ENTRY + 2 * pin + 1, dest << 24);
	ioapic_write(IOAPIC_ENTRY + 2 * pin, low);
}

unsigned ioapic_pins(void)
{
	return (ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1;
}

void pic_off(void)
{
	/* ICW1 to ICW4: edge, cascade on line 2, vectors 0x20 and 0x28; then mask everything. */
	static const uint8_t words[][2] = { { 0x20, 0x11 }, { 0x21, 0x20 }, { 0x21, 0x04 }, { 0x21, 0x01 },
		                            { 0x21, 0xff }, { 0xa0, 0x11 }, { 0xa1, 0x28 }, { 0xa1, 0x02 },
		                            { 0xa1, 0x01 }, { 0xa1, 0xff } };

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		cpu_outb(words[i][0], words[i][1]);
}
