/* SPDX-License-Identifier: MIT */
/* The IDT: interrupts of ours are acknowledged and done with, an exception of ours is the end. */
#include <stdatomic.h>

#include "arch/x86/boot.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

#define TRAP_NMI           2
#define TRAP_DOUBLE_FAULT  8
#define TRAP_MACHINE_CHECK 18
#define TRAP_EXCEPTIONS    32

/* As trap_entry.S leaves it. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

extern const uint8_t trap_entries[256][16], trap_notify[], trap_kick[];
_Static_assert(offsetof(struct cpu, notified) == 32, "trap_entry.S");
void trap_handle(struct trap_frame *frame);

/* SDM vol. 3, "64-Bit Mode IDT". Written by the boot CPU before any other runs. */
static uint64_t idt[256][2];
#define GATE_INTERRUPT 0x8eull

static const char trap_names[TRAP_EXCEPTIONS][4] = {
	"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "",    "#TS",
	"#NP", "#SS", "#GP", "#PF", "",    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
};

/* Any CPU writes these; relaxed: they are flags that carry no other data. */
static _Atomic bool stopping;
_Atomic bool trap_nmi_seen;

void trap_init(void)
{
	static const uint64_t ist[256] = {
		[TRAP_NMI] = IST_NMI,
		[TRAP_DOUBLE_FAULT] = IST_DOUBLE_FAULT,
		[TRAP_MACHINE_CHECK] = IST_MACHINE_CHECK,
	};

	for (unsigned v = 0; v < 256; v++) {
		const uint8_t *handler = v == VECTOR_NOTIFY ? trap_notify
		                         : v == CPU_KICK    ? trap_kick
		                                            : trap_entries[v];
		uint64_t entry = (uintptr_t)handler;

		idt[v][0] = (entry & 0xffff) | SELECTOR_CODE << 16 | ist[v] << 32 | GATE_INTERRUPT << 40 |
		            (entry >> 16 & 0xffff) << 48;
		idt[v][1] = entry >> 32;
	}
}

void trap_load(void)
{
	const struct descriptor_table table = { .limit = sizeof(idt) - 1, .base = (uintptr_t)idt };

	__asm__ volatile("lidt %0" : : "m"(table));
}

void cpu_stop_others(void)
{
	atomic_store_explicit(&stopping, true, memory_order_relaxed);
	/* One that was never started waits for a SIPI; some emulators let an NMI end that wait. */
	if (cpu_count > 1)
		lapic_send(0, IPI_ALL_BUT_SELF | IPI_NMI);
}

static _Noreturn void trap_panic(const struct trap_frame *f)
{
	panic("%s (vector %lu, error 0x%lx) on CPU %u in the hypervisor\n"
	      "  rip %016lx  cs %04lx  rflags %08lx  rsp %016lx  ss %04lx\n"
	      "  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n"
	      "  rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n"
	      "  r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n"
	      "  r13 %016lx  r14 %016lx  r15 %016lx\n"
	      "  cr0 %016lx  cr2 %016lx  cr3 %016lx  cr4 %016lx",
	      trap_names[f->vector], f->vector, f->error, cpu_self()->index, f->rip, f->cs, f->rflags, f->rsp,
	      f->ss, f->rax, f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->r8, f->r9, f->r10, f->r11,
	      f->r12, f->r13, f->r14, f->r15, read_cr0(), read_cr2(), read_cr3(), read_cr4());
}

void irq_finish(uint8_t vector)
{
	if (vector == VECTOR_NOTIFY)
		cpu_self()->notified = true;
	/*
	 * SDM vol. 3, "Spurious Interrupt" and "Interrupt Acceptance for Fixed Interrupts": neither that nor an ExtINT is in
	 * service at the LAPIC, and an EOI would end another's service.
	 */
	if ((uint8_t)(vector - VECTOR_PIC) < 8)
		console_interrupt(vector);
	else if (vector != VECTOR_SPURIOUS)
		lapic_eoi();
}

void trap_handle(struct trap_frame *frame)
{
	if (frame->vector == TRAP_NMI) {
		if (atomic_load_explicit(&stopping, memory_order_relaxed))
			cpu_stop();
		atomic_store_explicit(&trap_nmi_seen, true, memory_order_relaxed);
	} else if (frame->vector >= TRAP_EXCEPTIONS) {
		irq_finish((uint8_t)frame->vector);
	} else {
		trap_panic(frame);
	}
}
