/* SPDX-License-Identifier: MIT */
/* The IDT: interrupts of ours are acknowledged and done with, an exception of ours is the end. */
#include "arch/x86/trap.h"

#include <stdatomic.h>

#include "arch/x86/arch.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "arch/x86/lapic.h"
#include "arch/x86/paging.h"
#include "arch/x86/segments.h"
#include "kernel/log.h"

#define TRAP_NMI                2
#define TRAP_DOUBLE_FAULT       8
#define TRAP_GENERAL_PROTECTION 13
#define TRAP_MACHINE_CHECK      18
#define TRAP_EXCEPTIONS         32

/* SDM vol. 3, "64-Bit Mode IDT". */
struct gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
};

_Static_assert(sizeof(struct gate) == 16, "SDM figure: 64-Bit IDT Gate Descriptors");
#define GATE_INTERRUPT 0x8e

/* As trap_entry.S leaves it. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

extern const uint8_t trap_entries[256][16];
void trap_handle(struct trap_frame *frame);

/* Written by the boot CPU before any other runs. */
static struct gate idt[256];

static const uint8_t trap_ist[TRAP_EXCEPTIONS] = {
	[TRAP_NMI] = IST_NMI,
	[TRAP_DOUBLE_FAULT] = IST_DOUBLE_FAULT,
	[TRAP_MACHINE_CHECK] = IST_MACHINE_CHECK,
};

static const char *const trap_names[TRAP_EXCEPTIONS] = {
	[0] = "#DE",  [1] = "#DB",  [3] = "#BP",  [4] = "#OF",  [5] = "#BR",  [6] = "#UD",  [7] = "#NM",
	[8] = "#DF",  [10] = "#TS", [11] = "#NP", [12] = "#SS", [13] = "#GP", [14] = "#PF", [16] = "#MF",
	[17] = "#AC", [18] = "#MC", [19] = "#XM", [20] = "#VE", [21] = "#CP",
};

/* Any CPU writes these; relaxed: they are figures and one-way flags that carry no other data. */
static _Atomic unsigned nmi_count;
static _Atomic bool nmi_reported;
static _Atomic bool stopping;

void trap_init(void)
{
	for (unsigned v = 0; v < 256; v++) {
		uint64_t entry = (uintptr_t)trap_entries[v];

		idt[v] = (struct gate){
			.offset_low = (uint16_t)entry,
			.selector = SELECTOR_CODE,
			.ist = v < TRAP_EXCEPTIONS ? trap_ist[v] : IST_NONE,
			.type = GATE_INTERRUPT,
			.offset_middle = (uint16_t)(entry >> 16),
			.offset_high = (uint32_t)(entry >> 32),
		};
	}
}

void trap_load(void)
{
	const struct descriptor_table table = { .limit = sizeof(idt) - 1, .base = (uintptr_t)idt };

	lidt(&table);
}

void trap_nmi(void)
{
	if (atomic_load_explicit(&stopping, memory_order_relaxed))
		cpu_stop();
	atomic_fetch_add_explicit(&nmi_count, 1, memory_order_relaxed);
}

void trap_report_nmi(void)
{
	if (atomic_load_explicit(&nmi_count, memory_order_relaxed) == 0 ||
	    atomic_exchange_explicit(&nmi_reported, true, memory_order_relaxed))
		return;
	log_line(LOG_HV, "an NMI that nobody sent came: ignored, as later ones will be");
}

void cpu_stop_others(void)
{
	atomic_store_explicit(&stopping, true, memory_order_relaxed);
	/* One that was never started waits for a SIPI; some emulators let an NMI end that wait. */
	if (cpu_count > 1)
		lapic_nmi_others();
}

/* Goes on behind an instruction that was allowed to fault. */
static bool fixup(struct trap_frame *frame)
{
	for (const struct fixup *f = image_fixups; f < image_fixups_end; f++) {
		if (f->fault == frame->rip) {
			frame->rip = f->resume;
			return true;
		}
	}
	return false;
}

static _Noreturn void trap_panic(const struct trap_frame *f)
{
	const char *name = trap_names[f->vector] ? trap_names[f->vector] : "exception";

	panic("%s (vector %lu, error 0x%lx) on CPU %u in the hypervisor\n"
	      "  rip %016lx  cs %04lx  rflags %08lx  rsp %016lx  ss %04lx\n"
	      "  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n"
	      "  rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n"
	      "  r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n"
	      "  r13 %016lx  r14 %016lx  r15 %016lx\n"
	      "  cr0 %016lx  cr2 %016lx  cr3 %016lx  cr4 %016lx",
	      name, f->vector, f->error, cpu_self()->index, f->rip, f->cs, f->rflags, f->rsp, f->ss, f->rax,
	      f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->r8, f->r9, f->r10, f->r11, f->r12, f->r13,
	      f->r14, f->r15, read_cr0(), read_cr2(), read_cr3(), read_cr4());
}

void irq_finish(uint8_t vector)
{
	/* SDM vol. 3, "Spurious Interrupt": it is not in service, and an EOI would end another's service. */
	if (vector != VECTOR_SPURIOUS)
		lapic_eoi();
}

void trap_handle(struct trap_frame *frame)
{
	if (frame->vector == TRAP_NMI)
		trap_nmi();
	else if (frame->vector >= TRAP_EXCEPTIONS)
		irq_finish((uint8_t)frame->vector);
	else if (frame->vector != TRAP_GENERAL_PROTECTION || !fixup(frame))
		trap_panic(frame);
}
