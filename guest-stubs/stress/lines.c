/* SPDX-License-Identifier: MIT */
/* The IOAPIC under stress: callback lines that go anywhere by any mode, other lines that must not notice. */
#include "guest-stubs/stress/stress.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/pit.h"
#include "guest-stubs/lib/trap.h"

#define ENTRY_LOWEST  0x100u
#define ENTRY_LOGICAL 0x800u
#define ENTRY_STATUS  0x1000u /* and IOAPIC_IRR: the IOAPIC's own bits of the lower half */
#define LAST_ISA_PIN  23u
#define NOBODY        0x0eu /* no VCPU has this APIC ID */

static volatile unsigned lock; /* the IOAPIC's index and window are two accesses */

static void on_line(struct trap_frame *frame)
{
	unsigned group = (unsigned)frame->vector - LINE_VECTOR;

	ports_consume(group ? group : BH_GROUPS);
	apic_eoi();
}

static void on_native(struct trap_frame *frame)
{
	ports_consume((unsigned)frame->vector - NATIVE_VECTOR);
	apic_eoi();
}

static void on_other(struct trap_frame *frame)
{
	(void)frame;
	apic_eoi();
}

bool lines_init(void)
{
	bool good = true;

	trap_set(OTHER_VECTOR, on_other);
	trap_set(NAP_VECTOR, on_other);
	for (unsigned group = 0; group < BH_GROUPS; group++) {
		trap_set(LINE_VECTOR + group, on_line);
		trap_set(NATIVE_VECTOR + group, on_native);
		for (unsigned v = 0; v < options.vcpus; v++)
			good &= bellhop_call3(BH_GROUP_VECTOR, v, group, NATIVE_VECTOR + group) == 0;
	}
	lines_restore();
	pit_periodic(0);
	return good;
}

void lines_join(void)
{
	apic_write(APIC_LDR, 1u << (24 + cpu_self()->index));
	apic_write(APIC_LVT_TIMER, NAP_VECTOR);
	apic_write(APIC_TIMER_DIV, 0xb);
}

static void acquire(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		cpu_pause();
}

static void release(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

/* Writes the entry, or one half of it, in either order; what is read back is what was written. */
static void rewrite(unsigned pin, uint32_t high, uint32_t low)
{
	unsigned how = stress_random(4), reg = IOAPIC_ENTRY + 2 * pin;

	acquire();
	if (how == 0)
		ioapic_write(reg, low);
	if (how != 1)
		ioapic_write(reg + 1, high);
	if (how != 2)
		ioapic_write(reg, low);
	if (how != 1 && ioapic_read(reg + 1) != high)
		cpu_fetch_add(&faults.readback, 1);
	if (how != 2 && (ioapic_read(reg) & ~(ENTRY_STATUS | IOAPIC_IRR)) != low)
		cpu_fetch_add(&faults.readback, 1);
	release();
	worker_self()->rewrites++;
}

void lines_rewrite_callback(void)
{
	unsigned group = stress_random(3) ? stress_random(BH_GROUPS) : 0;
	uint32_t low = LINE_VECTOR + group, dest = cpu_get(stress_random(options.vcpus))->apic_id;

	/* The line of one group stays where most of the traffic is. */
	if (group > 11)
		group = 1, low = LINE_VECTOR + 1;
	if (stress_random(2))
		low |= IOAPIC_LEVEL;
	if (stress_random(2))
		low |= ENTRY_LOWEST;
	if (!stress_random(8))
		low |= IOAPIC_MASKED;
	if (stress_random(2)) {
		low |= ENTRY_LOGICAL;
		dest = stress_random(1u << options.vcpus);
	} else if (!stress_random(16)) {
		dest = NOBODY;
	}
	rewrite(BH_CALLBACK_PIN + group, dest << 24, low);
}

void lines_rewrite_other(void)
{
	unsigned pin = stress_random(LAST_ISA_PIN + 1);
	uint32_t low = OTHER_VECTOR, dest = stress_random(16);

	/* Unmasked but for an active-low level that a silent line would hold for ever. */
	if (pin == PIT_PIN)
		dest = cpu_get(stress_random(options.vcpus))->apic_id;
	else
		low |= stress_random(2) ? IOAPIC_LEVEL : IOAPIC_LOW | IOAPIC_MASKED;
	rewrite(pin, dest << 24, low);
}

void lines_restore(void)
{
	acquire();
	for (unsigned group = 0; group < BH_GROUPS; group++)
		ioapic_set(BH_CALLBACK_PIN + group, cpu_get(group % options.vcpus)->apic_id,
		           IOAPIC_LEVEL | (LINE_VECTOR + group));
	release();
}
