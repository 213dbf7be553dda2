/* SPDX-License-Identifier: MIT */
/*
 * INIT and start-up IPIs in every order: to a CPU that runs, that halts, that waits; twice, to all, without each other; and what
 * INIT leaves of the local APIC. SDM vol. 3, "Issuing Interprocessor Interrupts", "MP Initialization Protocol Algorithm" and "Local APIC
 * State After an INIT Reset".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "init_sipi";

#define CPUS      4
#define VECTOR    0x51
#define PAGE_A    0x9u
#define PAGE_B    0xau
#define MAIL      0x7000
#define DEASSERT  0x8500u     /* INIT, level-triggered, de-asserted */
#define CR0_CACHE 0x60000000u /* CD and NW */
#define MSR_SVR   0x80fu

/* What a started CPU tells; the offsets are the assembly's, too. */
struct mail {
	volatile uint32_t starts, beats, cs, edx, cr0, mode, done, base, svr, nmis, pad[6];
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) gdt;
	uint8_t fill[0x100 - 70];
	volatile uint32_t reg[64];
};

enum mode { BEAT, HALT, DUMP, DUMP_MSR };

extern const char blob[], blob_nmi[], blob_end[];
extern uint64_t gdt[];

static struct mail *mail;

__asm__(".pushsection .text, \"ax\"\n"
        ".code16\n"
        "blob:\n\t"
        "movw %cs, %bx\n\t"
        "xorw %ax, %ax\n\t"
        "movw %ax, %ds\n\t"
        "movw %bx, 0x7008\n\t"
        "movl %edx, 0x700c\n\t"
        "movl %cr0, %eax\n\t"
        "movl %eax, 0x7010\n\t"
        "lock incl 0x7000\n\t"
        "cmpl $2, 0x7014\n\t"
        "je 3f\n\t"
        "cmpl $3, 0x7014\n\t"
        "je 4f\n"
        "1:\tlock incl 0x7004\n\t"
        "cmpl $1, 0x7014\n\t"
        "je 2f\n\t"
        "pause\n\t"
        "jmp 1b\n"
        "2:\thlt\n\t"
        "jmp 1b\n"
        "4:\tmovl $0x1b, %ecx\n\t"
        "rdmsr\n\t"
        "movl %eax, 0x701c\n\t"
        "movl $0x80f, %ecx\n\t"
        "rdmsr\n\t"
        "movl %eax, 0x7020\n\t"
        "movl $1, 0x7018\n\t"
        "jmp 1b\n"
        "3:\tlgdtl 0x7040\n\t"
        "movl %cr0, %eax\n\t"
        "orl $1, %eax\n\t"
        "movl %eax, %cr0\n\t"
        "ljmpl $0x08, $dump32\n"
        "blob_nmi:\n\t"
        "lock incl 0x7024\n\t"
        "iretw\n"
        "blob_end:\n"
        ".code32\n"
        "dump32:\n\t"
        "movw $0x10, %ax\n\t"
        "movw %ax, %ds\n\t"
        "xorl %ecx, %ecx\n"
        "1:\tmovl %ecx, %ebx\n\t"
        "shll $4, %ebx\n\t"
        "movl 0xfee00000(%ebx), %eax\n\t"
        "movl %eax, 0x7100(,%ecx,4)\n\t"
        "incl %ecx\n\t"
        "cmpl $64, %ecx\n\t"
        "jb 1b\n\t"
        "movl $1, 0x7018\n"
        "2:\tlock incl 0x7004\n\t"
        "pause\n\t"
        "jmp 2b\n"
        ".code64\n"
        ".popsection");

static void settle(void)
{
	WAIT_FOR(false, LIMIT_QUIET);
}

static void post(enum mode mode)
{
	mail->starts = mail->beats = mail->cs = mail->done = 0;
	mail->edx = 0x12345;
	mail->mode = mode;
}

static void init(uint32_t id)
{
	apic_ipi(id, ICR_INIT | ICR_ASSERT);
	settle();
}

static void sipi(uint32_t id, unsigned page)
{
	apic_ipi(id, ICR_SIPI | ICR_ASSERT | page);
	settle();
}

static bool beats(void)
{
	uint32_t before = mail->beats;

	return WAIT_FOR(mail->beats != before, LIMIT_QUIET * 4);
}

static void starting(uint32_t id)
{
	post(BEAT);
	init(id);
	CHECK(mail->starts == 0, "INIT alone starts nothing");
	sipi(id, PAGE_A);
	CHECK(mail->starts == 1, "a start-up IPI after it does");
	CHECK(mail->cs == PAGE_A << 8 && (mail->cr0 & ~CR0_CACHE) == 0x10,
	      "in real mode, at the page of its vector");
	/* SDM vol. 3, "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT": EDX is the processor's signature. */
	CHECK_DEPARTS(mail->edx == cpu_id(1, 0).a, "Bochs leaves 0 there", "its signature is in EDX");
	CHECK(beats(), "it runs");
	sipi(id, PAGE_B);
	CHECK(mail->starts == 1 && mail->cs == PAGE_A << 8 && beats(),
	      "a start-up IPI to a CPU that runs does nothing");
}

static void again(uint32_t id)
{
	init(id);
	CHECK(!beats(), "INIT stops a CPU that runs");
	post(BEAT);
	apic_ipi(id, ICR_SIPI | ICR_ASSERT | PAGE_B);
	apic_ipi(id, ICR_SIPI | ICR_ASSERT | PAGE_A);
	settle();
	CHECK(mail->starts == 1 && mail->cs == PAGE_B << 8, "of two start-up IPIs the first counts");
	post(HALT);
	settle();
	CHECK(!beats(), "it halts, with IF=0");
	sipi(id, PAGE_A);
	CHECK(mail->starts == 0, "a start-up IPI to a CPU that halts does nothing");
	init(id);
	sipi(id, PAGE_A);
	CHECK(mail->starts == 1 && mail->cs == PAGE_A << 8, "INIT and a start-up IPI wake it elsewhere");
	post(BEAT);
	init(id);
	init(id);
	sipi(id, PAGE_B);
	CHECK(mail->starts == 1 && beats(), "INIT, INIT, start-up IPI: it starts once");
	post(BEAT);
	apic_ipi(id, ICR_INIT | ICR_ASSERT);
	apic_ipi(id, ICR_SIPI | ICR_ASSERT | PAGE_A);
	CHECK(WAIT_FOR(mail->starts == 1, LIMIT_LONG / 10) && beats(), "without a pause in between, too");
}

/*
 * SDM vol. 3, "Activity State" (wait-for-SIPI): NMIs are blocked there. Like any that are blocked, one is kept. DS is 0
 * from INIT on.
 */
static void nmi_while_waiting(uint32_t id)
{
	unsigned long vector = TRAP_NMI * 4;

	__asm__("" : "+r"(vector));
	*(volatile uint32_t *)vector = PAGE_A << 24 | (uint32_t)(blob_nmi - blob);
	post(BEAT);
	mail->nmis = 0;
	init(id);
	for (unsigned i = 0; i < 3; i++)
		apic_ipi(id, ICR_NMI | ICR_ASSERT);
	settle();
	CHECK(mail->starts == 0 && mail->nmis == 0, "an NMI starts nothing either");
	sipi(id, PAGE_A);
	CHECK(mail->starts == 1 && beats(), "the start-up IPI does");
	CHECK(mail->nmis == 1, "and then one NMI comes of those that were sent");
	init(id);
	sipi(id, PAGE_A);
	CHECK(mail->starts == 2 && mail->nmis == 1, "with the next start none");
}

/* SDM vol. 3, "Interrupt Command Register (ICR)": INIT level de-assert is "not supported in Pentium 4 and Intel Xeon processors". */
static void deassert(uint32_t id)
{
	apic_ipi(id, DEASSERT);
	CHECK(beats(), "INIT de-assert does nothing");
}

static void races(uint32_t id)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < 40; i++) {
		post(i % 2 ? BEAT : HALT);
		apic_ipi(id, ICR_INIT | ICR_ASSERT);
		WAIT_FOR(false, i * 37);
		apic_ipi(id, ICR_SIPI | ICR_ASSERT | (i % 3 ? PAGE_A : PAGE_B));
		lost += !WAIT_FOR(mail->starts == 1, LIMIT_LONG / 100) ||
		        mail->cs != (i % 3 ? PAGE_A : PAGE_B) << 8;
	}
	CHECK(lost == 0, "forty times, at other distances");
}

/* Run by the library's second CPU: as much state as an APIC can have. */
static void soil(void)
{
	unsigned long cr0;

	cpu_irq_off();
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" ::"r"(cr0 & ~(unsigned long)CR0_CACHE));
	apic_write(APIC_TPR, 0x70);
	apic_write(APIC_LDR, 0x02000000);
	apic_write(APIC_DFR, 0x0fffffff);
	apic_write(APIC_LVT_LINT1, 0x400);
	apic_ipi(0, ICR_SELF | ICR_ASSERT | VECTOR);
	apic_write(APIC_TIMER_DIV, 0xa);
	apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
	apic_write(APIC_TIMER_INIT, 1000000);
}

static bool reset_value(unsigned reg, uint32_t value)
{
	return mail->reg[reg / 16] == value;
}

static bool all_clear(unsigned first)
{
	for (unsigned i = 0; i < 8; i++)
		if (mail->reg[first / 16 + i])
			return false;
	return true;
}

static void after_init(uint32_t id)
{
	smp_run(1, soil);
	CHECK(smp_wait(1), "a CPU with a busy APIC");
	post(DUMP);
	init(id);
	sipi(id, PAGE_A);
	if (!CHECK(WAIT_FOR(mail->done, LIMIT_LONG / 10), "after INIT it tells"))
		return;
	CHECK_DEPARTS(mail->cr0 == 0x10, "Bochs sets them",
	              "CD and NW of CR0 stay, the rest is as after reset");
	CHECK(reset_value(APIC_ID, id << 24), "the APIC ID stays");
	CHECK(reset_value(APIC_TPR, 0) && reset_value(APIC_LDR, 0) && reset_value(APIC_DFR, 0xffffffff),
	      "TPR, LDR and DFR are as after reset");
	CHECK(reset_value(APIC_SVR, 0xff), "SVR is, too: switched off, vector 255");
	CHECK(reset_value(APIC_LVT_TIMER, LVT_MASKED) && reset_value(APIC_LVT_LINT0, LVT_MASKED) &&
	              reset_value(APIC_LVT_LINT1, LVT_MASKED) && reset_value(APIC_LVT_ERROR, LVT_MASKED),
	      "the LVT entries are masked and empty");
	CHECK(all_clear(APIC_IRR) && all_clear(APIC_ISR) && all_clear(APIC_TMR),
	      "IRR, ISR and TMR are clear");
	CHECK(reset_value(APIC_TIMER_INIT, 0) && reset_value(APIC_TIMER_NOW, 0) &&
	              reset_value(APIC_TIMER_DIV, 0),
	      "the timer has stopped");
}

static void to_x2(void)
{
	cpu_irq_off();
	apic_to_x2();
	cpu_wrmsr(0x80f, SVR_ENABLE | 0x77);
}

/* SDM vol. 3, "x2APIC Transitions From x2APIC Mode": after INIT "the x2APIC is in the x2APIC mode" still; so are APIC ID and IA32_APIC_BASE. */
#define INIT_LEAVES "Bochs goes back to xAPIC mode"

static void after_init_x2(uint32_t id)
{
	cpu_get(1)->online = false;
	if (!(cpu_id(1, 0).c & 1u << 21)) {
		SKIP("this CPU has no x2APIC");
		return;
	}
	CHECK(smp_start(2) == 2, "started once more");
	smp_run(1, to_x2);
	smp_wait(1);
	post(DUMP_MSR);
	init(id);
	sipi(id, PAGE_A);
	CHECK_DEPARTS(WAIT_FOR(mail->done, LIMIT_LONG / 10) &&
	                      (mail->base & (APIC_BASE_X2 | APIC_BASE_ON)) == (APIC_BASE_X2 | APIC_BASE_ON),
	              INIT_LEAVES, "INIT leaves it in x2APIC mode");
	CHECK_DEPARTS(mail->svr == 0xff, INIT_LEAVES, "with its registers as after reset");
	cpu_get(1)->online = false;
}

static void to_all(void)
{
	post(BEAT);
	apic_ipi(0, ICR_OTHERS | ICR_INIT | ICR_ASSERT);
	settle();
	CHECK(mail->starts == 0 && !beats(), "INIT to all but self stops all");
	apic_ipi(0, ICR_OTHERS | ICR_SIPI | ICR_ASSERT | PAGE_A);
	CHECK(WAIT_FOR(mail->starts == CPUS - 1, LIMIT_LONG / 10),
	      "a start-up IPI to all but self starts all");
	apic_ipi(0, ICR_OTHERS | ICR_SIPI | ICR_ASSERT | PAGE_A);
	settle();
	CHECK(mail->starts == CPUS - 1, "the second one none");
}

void guest_main(void)
{
	unsigned long address = MAIL;
	uint32_t ids[MAX_CPUS];

	/* Hidden from the optimiser, which takes addresses near 0 for offsets from a null pointer. */
	__asm__("" : "+r"(address));
	mail = (struct mail *)address;
	mail->gdt.limit = 0x2f;
	mail->gdt.base = (uint32_t)(uintptr_t)gdt;
	memcpy((void *)(uintptr_t)(PAGE_A << 12), blob, (size_t)(blob_end - blob));
	memcpy((void *)(uintptr_t)(PAGE_B << 12), blob, (size_t)(blob_end - blob));
	if (!CHECK(boot_cpus(ids, MAX_CPUS) == CPUS, "four CPUs are there"))
		report_end();
	starting(ids[1]);
	again(ids[1]);
	deassert(ids[1]);
	nmi_while_waiting(ids[1]);
	races(ids[1]);
	CHECK(smp_start(2) == 2, "then an ordinary start");
	after_init(ids[1]);
	after_init_x2(ids[1]);
	to_all();
	CHECK(smp_start(CPUS) == CPUS, "and all of them start in the ordinary way");
	report_end();
}
