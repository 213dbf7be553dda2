/* SPDX-License-Identifier: MIT */
/* Application processors: INIT, SIPI, SIPI; then a loop that waits for work. */
#include "guest-stubs/lib/smp.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/trap.h"

/* SDM vol. 3, "Typical AP Initialization Sequence" waits 10 ms and 200 us; ticks of at most 4 GHz. */
#define TICKS_INIT 400000ull
#define TICKS_SIPI 80000ull

extern const char trampoline[], trampoline_end[];
extern char cpu_stacks[MAX_CPUS][CPU_STACK];
extern uint32_t ap_stack;

struct cpu *cpu_get(unsigned index)
{
	return (struct cpu *)(void *)cpu_stacks[index];
}

static void wake(struct trap_frame *frame)
{
	(void)frame;
	apic_eoi();
}

void cpu_boot_main(void)
{
	print_init();
	trap_init();
	pic_off();
	apic_init();
	cpu_self()->apic_id = apic_id();
	cpu_self()->online = true;
	trap_set(SMP_WAKE_VECTOR, wake);
	guest_main();
}

void cpu_ap_main(void)
{
	struct cpu *self = cpu_self();

	trap_load();
	apic_init();
	__atomic_store_n(&self->online, true, __ATOMIC_RELEASE);
	for (;;) {
		void (*work)(void);

		/* IF=0 from the look to the HLT: the wake-up IPI of work that comes in between ends the HLT. */
		cpu_irq_off();
		work = __atomic_load_n(&self->work, __ATOMIC_ACQUIRE);
		if (!work) {
			cpu_idle();
			continue;
		}
		cpu_irq_on();
		work();
		__atomic_store_n(&self->work, NULL, __ATOMIC_RELEASE);
	}
}

static bool start(unsigned index, uint32_t id)
{
	struct cpu *cpu = cpu_get(index);

	cpu->index = index;
	cpu->apic_id = id;
	__atomic_store_n(&ap_stack, (uint32_t)(uintptr_t)cpu_stacks[index] + CPU_STACK, __ATOMIC_SEQ_CST);
	apic_ipi(id, ICR_INIT | ICR_ASSERT);
	(void)WAIT_FOR(false, TICKS_INIT);
	for (int i = 0; i < 2 && !cpu->online; i++) {
		apic_ipi(id, ICR_SIPI | ICR_ASSERT | TRAMPOLINE >> 12);
		if (WAIT_FOR(cpu->online, TICKS_SIPI))
			break;
	}
	return WAIT_FOR(cpu->online, LIMIT_LONG);
}

unsigned smp_start(unsigned wanted)
{
	uint32_t ids[MAX_CPUS];
	unsigned there = boot_cpus(ids, MAX_CPUS), started = 1;
	unsigned cap = (unsigned)boot_number("cpus", MAX_CPUS);

	memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	for (unsigned i = 1; i < there && started < wanted && started < cap; i++)
		if (start(started, ids[i]))
			started++;
	return started;
}

void smp_run(unsigned index, void (*fn)(void))
{
	struct cpu *cpu = cpu_get(index);

	__atomic_store_n(&cpu->work, fn, __ATOMIC_RELEASE);
	apic_ipi(cpu->apic_id, ICR_ASSERT | SMP_WAKE_VECTOR);
}

bool smp_wait(unsigned index)
{
	struct cpu *cpu = cpu_get(index);

	return WAIT_FOR(!__atomic_load_n(&cpu->work, __ATOMIC_ACQUIRE), LIMIT_LONG);
}
