/* SPDX-License-Identifier: MIT */
/* Starts the other CPUs, one at a time, and goes on without those that do not answer. */
#include "arch/x86/smp.h"

#include <stdatomic.h>

#include "arch/x86/acpi.h"
#include "arch/x86/arch.h"
#include "arch/x86/lapic.h"
#include "arch/x86/paging.h"
#include "arch/x86/segments.h"
#include "arch/x86/trap.h"
#include "arch/x86/tsc.h"
#include "boot/multiboot2.h"
#include "kernel/log.h"
#include "kernel/string.h"

/* SDM vol. 3, "Typical BSP Initialization Sequence": INIT, 10 ms, SIPI, 200 us, SIPI. */
#define INIT_WAIT_US    10000
#define STARTUP_WAIT_US 200
#define ANSWER_STEP_US  100
#define ANSWER_STEPS    2000

struct cpu cpus[MAX_CPUS];
unsigned cpu_count = 1;

static struct acpi_cpus found;
static uint64_t trampoline;
static void (*cpu_entry)(void);

/*
 * The stack of the CPU that is being started; the CPU takes it by an exchange with 0 (trampoline.S), the boot
 * CPU gives it and takes it back. Release and acquire: the stack, and struct cpu at its top, go with it.
 */
_Atomic(void *) smp_ticket;

/* Set by the CPU that is being started, cleared by the boot CPU before. Release: it is done with shared
 * set-up. */
static _Atomic bool answered;

extern const uint8_t smp_trampoline[], smp_trampoline_end[];
_Noreturn void smp_cpu_main(struct cpu *cpu);

void smp_place_trampoline(uint64_t page)
{
	trampoline = page;
	if (page)
		memcpy((void *)(uintptr_t)page, smp_trampoline,
		       (size_t)(smp_trampoline_end - smp_trampoline));
}

static const void *map(uint64_t address, size_t size)
{
	return paging_maps(address, size) ? (const void *)(uintptr_t)address : NULL;
}

void smp_find(const struct boot_info *boot)
{
	const char *wrong = acpi_find_cpus(boot->rsdp, boot->rsdp_size, map, &found);

	cpus[0].apic_id = lapic_id();
	if (wrong)
		log_line(LOG_HV, "ACPI: %s: going on with the boot CPU alone", wrong);
}

/* C on another CPU: everything of it that the boot CPU has too. */
void smp_cpu_main(struct cpu *cpu)
{
	segments_load(cpu);
	trap_load();
	paging_load();
	lapic_init();
	atomic_store_explicit(&answered, true, memory_order_release);
	cpu_entry();
	cpu_stop();
}

static bool wait_answer(void)
{
	for (unsigned i = 0; i < ANSWER_STEPS; i++) {
		if (atomic_load_explicit(&answered, memory_order_acquire))
			return true;
		tsc_wait(ANSWER_STEP_US);
	}
	return false;
}

static bool start_cpu(struct cpu *cpu)
{
	void **stack = (void **)(void *)(cpu->stack_top - 16);
	uint8_t page = (uint8_t)(trampoline / PAGE_SIZE);

	*stack = cpu;
	atomic_store_explicit(&answered, false, memory_order_relaxed);
	atomic_store_explicit(&smp_ticket, stack, memory_order_release);
	lapic_send_init(cpu->apic_id);
	tsc_wait(INIT_WAIT_US);
	lapic_send_startup(cpu->apic_id, page);
	tsc_wait(STARTUP_WAIT_US);
	/* A second SIPI would find a CPU that runs already and be ignored: it is for one that missed the
	 * first. */
	if (atomic_load_explicit(&smp_ticket, memory_order_relaxed))
		lapic_send_startup(cpu->apic_id, page);
	if (wait_answer())
		return true;
	/* INIT again: if it ever wakes, it must not do so on a stack that the next CPU has been given. */
	atomic_store_explicit(&smp_ticket, NULL, memory_order_relaxed);
	lapic_send_init(cpu->apic_id);
	return false;
}

/* Room for the CPU with this APIC ID, NULL if it cannot be started. */
static struct cpu *prepare(uint32_t apic_id, unsigned index)
{
	struct cpu_stacks *stacks;

	if (index == MAX_CPUS || (apic_id > 254 && !lapic_is_x2apic())) {
		log_line(LOG_HV, "CPU with APIC ID %u left alone: %s", apic_id,
		         index == MAX_CPUS ? "there are too many" : "its ID needs x2APIC");
		return NULL;
	}
	stacks = memory_alloc(sizeof(*stacks), PAGE_SIZE);
	if (!stacks)
		refuse(LOG_HV, "too little memory for the stacks of CPU %u: give the machine more", index);
	cpus[index].index = index;
	cpus[index].apic_id = apic_id;
	segments_init(&cpus[index], stacks);
	segments_guard(stacks);
	return &cpus[index];
}

void smp_start(void (*entry)(void))
{
	unsigned listed = 1, last;

	cpu_entry = entry;
	if (found.count > 1 && !trampoline) {
		log_line(LOG_HV, "no free page below 1 MiB: going on with the boot CPU alone");
		return;
	}
	/* All stacks first: a page table changes only while no other CPU can have it in its TLB. */
	for (unsigned i = 0; i < found.count; i++)
		if (found.apic_id[i] != cpus[0].apic_id && prepare(found.apic_id[i], listed))
			listed++;
	last = listed;
	/* A CPU that does not answer gives its place to the last one, so that those that run are 0 to
	 * cpu_count - 1. */
	while (cpu_count < last) {
		struct cpu *cpu = &cpus[cpu_count];

		if (start_cpu(cpu)) {
			cpu_count++;
			continue;
		}
		log_line(LOG_HV, "CPU with APIC ID %u does not answer: going on without it", cpu->apic_id);
		cpu->apic_id = cpus[--last].apic_id;
	}
	log_line(LOG_HV, "%u of %u CPUs run", cpu_count, listed);
}
