/* SPDX-License-Identifier: MIT */
/* What one CPU does to itself or to another: kick, idle, stop. */
#include "arch/x86/arch.h"
#include "arch/x86/cpureg.h"
#include "arch/x86/lapic.h"
#include "arch/x86/trap.h"

void cpu_kick(unsigned cpu)
{
	lapic_send_fixed(cpus[cpu].apic_id, VECTOR_KICK);
}

void cpu_idle(uint64_t deadline)
{
	trap_report_nmi();
	if (deadline <= tsc_now())
		return;
	if (deadline != UINT64_MAX)
		lapic_timer_start(deadline);
	/* SDM vol. 2, "STI": nothing is delivered before the next instruction's end, so HLT is never missed.
	 */
	__asm__ volatile("sti; hlt; cli" : : : "memory");
	if (deadline != UINT64_MAX)
		lapic_timer_stop();
}

void cpu_stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" : : : "memory");
}
