/* SPDX-License-Identifier: MIT */
/* The IDT, the dispatch to C handlers and the recovery from faults. */
#include "guest-stubs/lib/trap.h"

#include "guest-stubs/lib/cpu.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"

#define GATE_INTERRUPT 0x8e00u /* present, DPL 0, clears IF */

#ifdef __x86_64__
#define GATE_WORDS 4
#define GATE_CODE  SEL_CODE64
#else
#define GATE_WORDS 2
#define GATE_CODE  SEL_CODE32
#endif

static uint32_t idt[256][GATE_WORDS] __attribute__((aligned(16)));
static trap_handler handlers[256];

void trap_init(void)
{
	for (unsigned v = 0; v < 256; v++) {
		uint32_t entry = (uint32_t)(uintptr_t)trap_entries + v * 16;

		idt[v][0] = (uint32_t)GATE_CODE << 16 | (entry & 0xffff);
		idt[v][1] = (entry & 0xffff0000) | GATE_INTERRUPT;
	}
	trap_load();
}

void trap_load(void)
{
	struct {
		uint16_t limit;
		const void *base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, idt };

	__asm__ volatile("lidt %0" ::"m"(pointer));
}

void trap_set(unsigned vector, trap_handler handler)
{
	__atomic_store_n(&handlers[vector], handler, __ATOMIC_RELEASE);
}

void trap_dispatch(struct trap_frame *frame)
{
	trap_handler handler = __atomic_load_n(&handlers[frame->vector], __ATOMIC_ACQUIRE);
	struct cpu *cpu = cpu_self();
	unsigned long sp = cpu->catch_sp;

	if (handler) {
		handler(frame);
		return;
	}
	/* Only exceptions end a caught call: an interrupt that nobody expects is a finding wherever it hits. */
	if (sp && frame->vector < 32 && frame->vector != TRAP_NMI) {
		cpu->catch_sp = 0;
		trap_resume(sp, (int)frame->vector);
	}
	print_unlock_all();
	printf("unexpected vector %lu, error 0x%lx, CPU %u, at 0x%lx\n", frame->vector, frame->error,
	       cpu->index, frame->ip);
	report_check(false, "no unexpected interrupt or exception");
	report_end();
}

int trap_catch(void (*fn)(void *arg), void *arg)
{
	struct cpu *cpu = cpu_self();
	int vector = trap_try(&cpu->catch_sp, fn, arg);

	cpu->catch_sp = 0;
	return vector;
}

struct msr_access {
	uint32_t msr;
	uint64_t value;
};

static void do_rdmsr(void *arg)
{
	struct msr_access *access = arg;

	access->value = cpu_rdmsr(access->msr);
}

static void do_wrmsr(void *arg)
{
	struct msr_access *access = arg;

	cpu_wrmsr(access->msr, access->value);
}

int trap_rdmsr(uint32_t msr, uint64_t *value)
{
	struct msr_access access = { .msr = msr };
	int vector = trap_catch(do_rdmsr, &access);

	if (vector == TRAP_NONE)
		*value = access.value;
	return vector;
}

int trap_wrmsr(uint32_t msr, uint64_t value)
{
	struct msr_access access = { .msr = msr, .value = value };

	return trap_catch(do_wrmsr, &access);
}
