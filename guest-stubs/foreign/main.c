/* SPDX-License-Identifier: MIT */
/* BITS: 32 */
/*
 * A multiboot kernel in the manner of the public x86 test kernels: header flags 0, its own entry, nothing taken for granted and
 * nothing spared: CR4 of 0, every MSR, every page, real mode, eight CPUs by the shortest way. Ends by the test device.
 */
#include "guest-stubs/foreign/foreign.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "foreign";

#define MAGIC           0x2badb002u
#define BSS_WORDS       (13u << 18)
#define RAM_END         (128ul << 20)
#define FW_SELECT       0x510
#define FW_DATA         0x511
#define FW_CPUS         5
#define EXIT_PORT       0xf4
#define MSR_GS_BASE     0xc0000101u
#define MSR_MISC_ENABLE 0x1a0u
#define MISC_ENABLE_RW  0x4400c50009ull /* SDM vol. 4, "Architectural MSRs" */
#define MISC_ENABLE_RO  0x1880ull
#define CR4_VMXE        0x2000ul
#define SEL_TASK        0x18

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
};

struct module {
	uint32_t start, end, string, reserved;
};

static uint32_t bss[BSS_WORDS];
static uint32_t task[26];
static unsigned nmis;

static const struct info *info(void)
{
	return foreign_at(entry_info);
}

static unsigned fw_cpus(void)
{
	__asm__ volatile("outw %0, %1" ::"a"((uint16_t)FW_CPUS), "Nd"((uint16_t)FW_SELECT));
	return cpu_inb(FW_DATA) | (unsigned)cpu_inb(FW_DATA) << 8;
}

static void at_entry(void)
{
	bool clear = true;

	for (unsigned i = 0; i < BSS_WORDS; i++)
		clear &= bss[i] == 0;
	CHECK(entry_magic == MAGIC, "the loader says multiboot");
	CHECK(!(entry_flags & 0x200) && (entry_cr0 & 0x80000001) == 1, "protected mode, no paging, IF=0");
	CHECK(clear, "13 MiB of BSS are clear");
	CHECK(entry_info >= 4096, "the information is not in page 0");
	CHECK(info()->mem_upper >= (RAM_END - (2ul << 20)) >> 10 && info()->mem_upper < RAM_END >> 10,
	      "mem_upper is the RAM above 1 MiB");
	CHECK(!memcmp(foreign_at(info()->cmdline), "foreign", 7), "the command line begins with the name");
}

/* NAME=VALUE lines, as these kernels are told what they run on. */
static void environment(void)
{
	const struct module *module = foreign_at(info()->mods_addr);
	const char *text;

	if (!CHECK(info()->mods_count == 1, "one module, the environment"))
		return;
	text = foreign_at(module->start);
	CHECK(module->end - module->start > 10 && !memcmp(text, "NR_CPUS=8\n", 10), "its text is there");
	for (uint32_t at = 0; module->start + at < module->end; at++)
		if (text[at] == '=')
			bss[0]++;
	CHECK(bss[0] == 3, "to its end");
	CHECK(module->end < (uintptr_t)bss || module->start > (uintptr_t)(bss + BSS_WORDS),
	      "outside the image");
}

static void memory(void)
{
	uint32_t sum = 0;

	for (unsigned long at = 0; at < RAM_END; at += 4096)
		sum ^= *(volatile uint32_t *)foreign_at(at);
	bss[1] = sum;
	CHECK(true, "each page from 0 to 128 MiB can be read");
	CHECK(!memcmp(foreign_at(0xf0000), "RSD PTR ", 8), "between 0xa0000 and 0xfffff, too");
}

static void undefined(void *arg)
{
	(void)arg;
	__asm__ volatile("ud2");
}

static void vmx(void *arg)
{
	(void)arg;
	__asm__ volatile("mov %0, %%cr4" ::"r"(CR4_VMXE));
}

static void processor(void)
{
	unsigned long cr4, tr;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	CHECK(cr4 == 0, "CR4 reads as the 0 that was written");
	CHECK(trap_catch(vmx, NULL) == TRAP_GP, "there is no VMXE in it");
	CHECK(trap_catch(undefined, NULL) == TRAP_UD, "UD2 is #UD");
	cpu_wrmsr(MSR_GS_BASE, 0x12345678);
	CHECK(cpu_rdmsr(MSR_GS_BASE) == 0x12345678, "the GS base can be set from 32-bit mode");
	cpu_wrmsr(MSR_GS_BASE, 0);
	foreign_gdt[SEL_TASK / 8] = 0x0000890000000067ull | (uint64_t)((uintptr_t)task & 0xffffff) << 16 |
	                            (uint64_t)((uintptr_t)task >> 24) << 56;
	__asm__ volatile("ltr %w0" ::"r"(SEL_TASK) : "memory");
	__asm__ volatile("str %0" : "=r"(tr));
	CHECK((tr & 0xffff) == SEL_TASK && foreign_gdt[SEL_TASK / 8] & 1ull << 41, "a task can be loaded");
}

/* SDM vol. 2, "RDMSR" and "WRMSR": a reserved or unimplemented MSR is #GP(0). */
static void msrs(void)
{
	static const uint32_t absent[] = { 0x2,   0x3a,  0x3c,  0xc1,  0xfe,       0x186,
		                           0x1d3, 0x200, 0x309, 0x345, 0x38f,      0x3f1,
		                           0x480, 0x600, 0x6a0, 0x8ff, 0xc0000104, 0xc0010015 };
	unsigned there = 0, wrong = 0, odd = 0;
	uint64_t value;

	for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		wrong += trap_rdmsr(absent[i], &value) != TRAP_GP || trap_wrmsr(absent[i], 0) != TRAP_GP;
	CHECK(wrong == 0, "MSRs that are not there are #GP, to read and to write");
	value = cpu_rdmsr(MSR_MISC_ENABLE);
	cpu_wrmsr(MSR_MISC_ENABLE, value ^ MISC_ENABLE_RW);
	wrong = cpu_rdmsr(MSR_MISC_ENABLE) != (value ^ MISC_ENABLE_RW);
	cpu_wrmsr(MSR_MISC_ENABLE, value ^ MISC_ENABLE_RO);
	CHECK(!wrong && cpu_rdmsr(MSR_MISC_ENABLE) == value,
	      "IA32_MISC_ENABLE keeps what may be written, and no more");
	for (uint32_t base = 0;; base = 0xc0000000) {
		for (uint32_t i = base; i < base + 0x2000; i++) {
			int vector = trap_rdmsr(i, &value);

			there += vector == TRAP_NONE;
			odd += vector != TRAP_NONE && vector != TRAP_GP;
		}
		if (base)
			break;
	}
	printf("# %u MSRs can be read\n", there);
	CHECK(odd == 0 && there > 10 && there < 60, "of all others each is there or #GP");
}

static void on_nmi(struct trap_frame *frame)
{
	(void)frame;
	nmis++;
}

/* The table of interrupt vectors lies at 0, code at 0x9000, what it did at 0x9800. */
static void real_mode(void)
{
	uint32_t *table = foreign_at(0), soft = 0x9000 + (uint32_t)(real_soft - real_code);
	uint32_t hard = 0x9000 + (uint32_t)(real_handler - real_code);
	uint8_t *mail = foreign_at(0x9800);

	memcpy(foreign_at(0x9000), real_code, (size_t)(real_code_end - real_code));
	memset(mail, 0, 0x40);
	mail[0x21] = 0x5c;
	table[0x21] = 0x9000000u | (soft - 0x9000);
	table[0x30] = 0x9000000u | (hard - 0x9000);
	foreign_real();
	CHECK(mail[0] == 1, "real mode: INT");
	CHECK((mail[4] & 0xf0) == 0x10, "real mode: the local APIC's version, by a segment of 4 GiB");
	CHECK(*(uint32_t *)(void *)(mail + 8) == 0x11003300, "real mode: MOV and AND");
	CHECK(*(uint32_t *)(void *)(mail + 12) == 0x1100, "real mode: MOVZX");
	CHECK(mail[2] == 1, "real mode: a fixed interrupt to itself");
	CHECK(mail[0x30] == 0x5c, "real mode: OUTS and INS");
}

/* Under nothing else: the exit port, and if that is not there, the emulator's. */
static void finish(unsigned status)
{
	report_summary();
	cpu_outl(EXIT_PORT, status);
	for (const char *s = "Shutdown"; *s; s++)
		cpu_outb(0x8900, (uint8_t)*s);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void guest_main(void)
{
	print_init();
	trap_init();
	trap_set(TRAP_NMI, on_nmi);
	cpu_outb(0x21, 0xff);
	cpu_outb(0xa1, 0xff);
	at_entry();
	environment();
	memory();
	processor();
	msrs();
	foreign_apic();
	apic_ipi(0, ICR_SELF | ICR_NMI);
	CHECK(WAIT_FOR(nmis == 1, LIMIT_QUIET), "an NMI to itself");
	real_mode();
	CHECK(fw_cpus() == FOREIGN_CPUS, "firmware configuration tells of eight CPUs");
	foreign_cpus(fw_cpus());
	foreign_devices();
	finish(0);
	__builtin_unreachable();
}
