/* SPDX-License-Identifier: MIT */
/*
 * What a debugged guest sees: single steps over instructions that exit and in the shadows of STI and MOV SS, breakpoints on
 * code and data, general detect, INT1; and the RF flag in the frame of a fault. SDM vol. 3, "Debug Exception (#DB)",
 * "Masking Instruction Breakpoints" and "Masking Exceptions and Interrupts When Switching Stacks".
 */
#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/trap.h"

const char guest_name[] = "debug_traps";

#define FLAG_TF  0x100ul
#define FLAG_RF  0x10000ul
#define DR6_ZERO 0xffff0ff0ul
#define DR6_B0   0x1ul
#define DR6_B1   0x2ul
#define DR6_BD   0x2000ul
#define DR6_BS   0x4000ul
#define DR7_NONE 0x400ul
#define DR7_GD   0x2000ul
#define DR7_CODE 0x2ul      /* G0: execution at DR0 */
#define DR7_DATA 0xf00008ul /* G1: four bytes at DR1, written or read */
#define MSR_EFER 0xc0000080u
#define MOST     16
#define TIMER    0x61

static volatile unsigned count;
static volatile unsigned long ip_of[MOST], dr6_of[MOST], flags_of_fault;
static unsigned long fault_next, data_selector;

#define MARK(name) ".globl " #name "\n" #name ":\n\t"

static unsigned long get_dr6(void)
{
	unsigned long value;

	__asm__ volatile("mov %%dr6, %0" : "=r"(value));
	return value;
}

static void set_dr6(unsigned long value)
{
	__asm__ volatile("mov %0, %%dr6" ::"r"(value));
}

static void set_dr7(unsigned long value)
{
	__asm__ volatile("mov %0, %%dr7" ::"r"(value | DR7_NONE));
}

static void on_debug(struct trap_frame *frame)
{
	unsigned n = count++;

	if (n < MOST) {
		ip_of[n] = frame->ip;
		dr6_of[n] = get_dr6();
	}
	if (dr6_of[n % MOST] & DR6_B0)
		frame->flags |= FLAG_RF;
	if (n >= MOST)
		frame->flags &= ~FLAG_TF;
}

static void on_fault(struct trap_frame *frame)
{
	flags_of_fault = frame->flags;
	frame->ip = fault_next;
}

static void begin(unsigned long dr6)
{
	count = 0;
	set_dr6(dr6);
}

/* Was step n a trap at `ip` with just these bits of DR6? */
static bool step(unsigned n, const char *ip, unsigned long bits)
{
	return ip_of[n] == (unsigned long)ip && dr6_of[n] == (DR6_ZERO | bits);
}

#define FAULTING(text, ...)                               \
	__asm__ volatile("lea 1f(%%rip), %%rdx\n\t"       \
	                 "mov %%rdx, %0\n\t"              \
	                 "xor %%edx, %%edx\n\t" text "\n" \
	                 "1:"                             \
	                 : "=m"(fault_next)               \
	                 : __VA_ARGS__                    \
	                 : "rdx", "memory")

/* SDM vol. 3, "Masking Instruction Breakpoints": the image that a fault pushes has RF set. */
static void resume_flag(void)
{
	trap_set(TRAP_UD, on_fault);
	trap_set(TRAP_GP, on_fault);
	FAULTING("ud2", "a"(0));
	CHECK(flags_of_fault & FLAG_RF, "a fault of the CPU's own pushes RF");
	flags_of_fault = 0;
	FAULTING("mov %%rax, %%cr4", "a"(0xffffffffffffffff));
	CHECK(flags_of_fault & FLAG_RF, "so does that of a MOV to CR4");
	flags_of_fault = 0;
	FAULTING("wrmsr", "a"(1u << 1), "c"(MSR_EFER));
	CHECK(flags_of_fault & FLAG_RF, "and of WRMSR");
	trap_set(TRAP_UD, NULL);
	trap_set(TRAP_GP, NULL);
}

#define TF_ON  "pushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\t"
#define TF_OFF "pushfq\n\tandl $~0x100, (%%rsp)\n\tpopfq\n\t"

extern const char plain[], plain_1[], plain_2[], plain_3[], exits[], exits_1[], exits_2[], exits_3[],
	exits_4[], exits_5[], exits_6[], exits_7[], sti_1[], sti_2[], ss_1[], ss_2[], one_1[], one_2[],
	gd_0[], gd_1[], gd_2[], halt_1[];

static void steps(void)
{
	begin(0);
	__asm__ volatile(TF_ON MARK(plain) "nop\n\t" MARK(plain_1) "pushfq\n\t" MARK(
				 plain_2) "andl $~0x100, (%%rsp)\n\t" MARK(plain_3) "popfq" ::
	                         : "memory", "cc");
	CHECK(count == 4 && step(0, plain_1, DR6_BS) && step(1, plain_2, DR6_BS) && step(2, plain_3, DR6_BS),
	      "a step after each instruction, the first one after the one behind POPF");
	begin(0);
	__asm__ volatile(TF_ON
	                         MARK(exits) "cpuid\n\t" MARK(exits_1) "mov $0x3fd, %%edx\n\t" MARK(exits_2) "in %%dx, %%al\n\t" MARK(exits_3) "mov 0x30(%0), %%eax\n\t" MARK(
					 exits_4) "mov $0x1b, %%ecx\n\t" MARK(exits_5) "rdmsr\n\t" MARK(exits_6) "mov %%cr0, %%rax\n\t" MARK(exits_7)
	                                 TF_OFF ::"r"(APIC_BASE)
	                 : "rax", "rbx", "rcx", "rdx", "memory", "cc");
	CHECK(count == 10 && step(0, exits_1, DR6_BS) && step(2, exits_3, DR6_BS) &&
	              step(3, exits_4, DR6_BS) && step(5, exits_6, DR6_BS) && step(6, exits_7, DR6_BS),
	      "also over CPUID, IN, a register of the APIC's page and RDMSR");
}

static volatile bool timed_out;

static void on_timer(struct trap_frame *frame)
{
	(void)frame;
	timed_out = true;
	apic_eoi();
}

/* SDM vol. 2, "HLT": a debug exception resumes execution. The timer is for a machine where it does not. */
static void halts(void)
{
	trap_set(TIMER, on_timer);
	apic_write(APIC_LVT_TIMER, TIMER);
	apic_write(APIC_TIMER_INIT, LIMIT_QUIET);
	begin(0);
	__asm__ volatile(TF_ON "sti\n\t"
	                       "hlt\n\t" MARK(halt_1) TF_OFF "cli" ::
	                               : "memory", "cc");
	apic_write(APIC_TIMER_INIT, 0);
	CHECK_DEPARTS(!timed_out, "Bochs sleeps on", "a step over HLT is all that the HLT waits for");
	CHECK(count == 5 && step(1, halt_1, DR6_BS), "and its trap is behind the HLT");
}

static void shadows(void)
{
	begin(0);
	__asm__ volatile("cli\n\t" TF_ON "sti\n\t" MARK(sti_1) "nop\n\t" MARK(sti_2) TF_OFF "cli" ::
	                         : "memory", "cc");
	CHECK(count == 5 && step(0, sti_1, DR6_BS) && step(1, sti_2, DR6_BS), "STI holds no step back");
	begin(0);
	__asm__ volatile("mov %%ss, %%eax\n\t" TF_ON "mov %%eax, %%ss\n\t"
	                 "nop\n\t" MARK(ss_1) "nop\n\t" MARK(ss_2) TF_OFF ::
	                         : "rax", "memory", "cc");
	CHECK(count == 5 && step(0, ss_1, DR6_BS) && step(1, ss_2, DR6_BS),
	      "MOV SS does, by one instruction");
	begin(0);
	__asm__ volatile("mov %%ss, %%eax\n\t" TF_ON "mov %%eax, %%ss\n\t"
	                 ".byte 0xf1\n\t" MARK(one_1) "nop\n\t" MARK(one_2) TF_OFF ::
	                         : "rax", "memory", "cc");
	CHECK(count == 5 && step(0, one_1, 0) && step(1, one_2, DR6_BS), "INT1 behind MOV SS, stepped");
	begin(0);
	set_dr7(DR7_GD);
	__asm__ volatile("mov %%ss, %%eax\n\t"
	                 "mov %0, %%rcx\n\t" TF_ON "mov %%eax, %%ss\n\t" MARK(
				 gd_0) "mov %%rcx, %%dr6\n\t" MARK(gd_1) "nop\n\t" MARK(gd_2) TF_OFF ::"i"(0)
	                 : "rax", "rcx", "memory", "cc");
	CHECK(count == 6 && ip_of[0] == (unsigned long)gd_0 && dr6_of[0] & DR6_BD && step(1, gd_1, DR6_BS) &&
	              step(2, gd_2, DR6_BS),
	      "general detect behind MOV SS");
	set_dr7(0);
}

extern const char code_1[], code_2[], data_1[], data_2[], int1_1[], ss_int1[];

static void breakpoints(void)
{
	begin(0);
	__asm__ volatile("mov %0, %%dr0" ::"r"(code_1));
	set_dr7(DR7_CODE);
	__asm__ volatile(MARK(code_1) "nop");
	CHECK(count == 1 && step(0, code_1, DR6_B0), "a breakpoint on code, before it is executed");
	begin(DR6_BS | DR6_B1);
	__asm__ volatile("mov %0, %%dr0" ::"r"(code_2));
	__asm__ volatile(MARK(code_2) "nop");
	CHECK(count == 1 && step(0, code_2, DR6_BS | DR6_B0),
	      "of DR6, B0 to B3 are written, BS stays as it was");
	__asm__ volatile("mov %0, %%dr1" ::"r"(&data_selector));
	set_dr7(DR7_DATA);
	begin(0);
	__asm__ volatile("movl $42, %0\n\t" MARK(data_1) : "=m"(data_selector));
	CHECK(count == 1 && step(0, data_1, DR6_B1), "one on data, after it was written");
	begin(DR6_BS);
	__asm__ volatile("movl $43, %0\n\t" MARK(data_2) : "=m"(data_selector));
	CHECK(count == 1 && step(0, data_2, DR6_BS | DR6_B1), "with BS as it was");
	begin(0);
	__asm__ volatile(".byte 0xf1\n\t" MARK(int1_1));
	CHECK(count == 1 && step(0, int1_1, 0), "INT1 is a trap, and no bit of DR6");
}

static void behind_mov_ss(void)
{
	set_dr7(0);
	data_selector = 0;
	__asm__ volatile("mov %%ss, %0" : "=m"(data_selector));
	set_dr7(DR7_DATA);
	begin(0);
	__asm__ volatile("mov %0, %%ss\n\t"
	                 ".byte 0x2e, 0x2e, 0xf1\n\t" MARK(ss_int1)
	                 : "+m"(data_selector));
	CHECK(count == 1 && ip_of[0] == (unsigned long)ss_int1,
	      "data breakpoint of MOV SS, then INT1: one trap");
	set_dr7(0);
}

void guest_main(void)
{
	trap_set(TRAP_DB, on_debug);
	resume_flag();
	steps();
	halts();
	shadows();
	breakpoints();
	behind_mov_ss();
	report_end();
}
