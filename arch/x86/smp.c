/* SPDX-License-Identifier: MIT */
/* Starts the other CPUs, one at a time, and goes on without those that do not answer. */
#include <stdatomic.h>

#include "arch/x86/acpi.h"
#include "arch/x86/boot.h"
#include "kernel/log.h"
#include "kernel/string.h"

/* SDM vol. 3, "Typical BSP Initialization Sequence": INIT, 10 ms, SIPI, 200 us, SIPI. */
#define INIT_WAIT_US    10000
#define STARTUP_WAIT_US 200
#define ANSWER_STEP_US  100
#define ANSWER_STEPS    2000

static struct acpi_cpus found;
static struct stack (*stacks)[STACKS]; /* of the CPUs found, in their order */
static void (*cpu_entry)(void);

/*
 * The CPU that is being started; it takes the ticket by an exchange with NULL (boot/header.S), the boot CPU gives
 * it and takes it back. Release, and an exchange that acquires: what the structure says goes with it.
 */
_Atomic(struct cpu *) smp_ticket;
_Static_assert(offsetof(struct cpu, stack_top) == 8, "boot/header.S");

/* Set by the CPU that is being started, cleared by the boot CPU before. Release: it is done with shared set-up. */
static _Atomic bool answered;

extern const uint8_t smp_trampoline[], smp_trampoline_end[];
_Noreturn void smp_cpu_main(struct cpu *cpu);

static const void *map(uint64_t address, size_t size)
{
	return address < LOW_4G && size <= LOW_4G - address ? (const void *)address : NULL;
}

void smp_find(const struct boot_info *boot)
{
	const char *wrong = acpi_find_cpus(boot->rsdp, boot->rsdp_size, map, &found);

	if (wrong) {
		log_line(LOG_HV, "ACPI: %s: going on with the boot CPU alone", wrong);
		found.count = 0;
		return;
	}
	/* Now, while there is only memory below 4 GiB: a CPU starts on the boot path's tables, which map no more. */
	stacks = memory_alloc(found.count * sizeof(*stacks), PAGE_SIZE);
	if (!stacks)
		refuse(LOG_HV, "too little memory for the stacks of %u CPUs: give the machine more",
		       found.count);
}

/* C on another CPU: everything of it that the boot CPU has too. */
void smp_cpu_main(struct cpu *cpu)
{
	cpu_load_segments(cpu);
	trap_load();
	paging_load();
	lapic_init();
	atomic_store_explicit(&answered, true, memory_order_release);
	cpu_entry();
	cpu_stop();
}

static bool start_cpu(struct cpu *cpu, uint32_t apic_id)
{
	if (apic_id > 254 && lapic_page)
		return false;
	atomic_store_explicit(&answered, false, memory_order_relaxed);
	atomic_store_explicit(&smp_ticket, cpu, memory_order_release);
	lapic_send(apic_id, IPI_INIT);
	tsc_wait(INIT_WAIT_US);
	/* The second SIPI is for a CPU that missed the first. */
	for (unsigned i = 0; i < 2 && atomic_load_explicit(&smp_ticket, memory_order_relaxed); i++) {
		lapic_send(apic_id, IPI_STARTUP | (uint32_t)(memory_low_page / PAGE_SIZE));
		tsc_wait(STARTUP_WAIT_US);
	}
	for (unsigned i = 0; i < ANSWER_STEPS; i++) {
		if (atomic_load_explicit(&answered, memory_order_acquire))
			return true;
		tsc_wait(ANSWER_STEP_US);
	}
	/* INIT again: if it ever wakes, it must not do so as the CPU that is started next. */
	atomic_store_explicit(&smp_ticket, NULL, memory_order_relaxed);
	lapic_send(apic_id, IPI_INIT);
	return false;
}

void smp_start(void (*entry)(void))
{
	unsigned listed = 1;

	cpu_entry = entry;
	if (found.count > 1 && !memory_low_page) {
		log_line(LOG_HV, "no free page below 1 MiB: going on with the boot CPU alone");
		found.count = 0;
	}
	if (found.count > 1)
		memcpy((void *)memory_low_page, smp_trampoline,
		       (size_t)(smp_trampoline_end - smp_trampoline));
	paging_guard(stacks[0], found.count * STACKS);
	for (unsigned i = 0; i < found.count; i++) {
		struct cpu *cpu = &cpus[cpu_count];

		if (found.apic_id[i] == cpus[0].apic_id)
			continue;
		listed++;
		if (cpu_count == MAX_CPUS)
			continue;
		cpu->index = cpu_count;
		cpu_set_stacks(cpu, stacks[i]);
		if (start_cpu(cpu, found.apic_id[i]))
			cpu_count++;
		else
			log_line(LOG_HV, "CPU with APIC ID %u does not answer: going on without it",
			         found.apic_id[i]);
	}
	log_line(LOG_HV, "%u of %u CPUs run", cpu_count, listed);
}
