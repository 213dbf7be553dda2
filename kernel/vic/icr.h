/* SPDX-License-Identifier: MIT */
/* How a message finds its VCPUs: decoding the ICR, matching destinations, lowest-priority arbitration. */
#pragma once

#include "apic_msg.h"
#include "apic_regs.h"

#include <stdatomic.h>

/*
 * What a LAPIC shows to the others: enough to match a destination without touching the vlapic. Only the owner's CPU
 * stores. `word` is stored with release and loaded with acquire order: seen whole, and with it what its owner did
 * before. Arbitration reads the priority from the registers themselves, which the processor may be changing: on
 * hardware, too, it is out of date on arrival.
 */
struct lapic_face {
	_Atomic uint64_t word;
	const struct apic_page *page; /* constant */
};

/* Fields of lapic_face.word: the APIC ID is bits 31:0, the xAPIC logical ID bits 39:32. */
#define LAPIC_FACE_LDR_SHIFT 32
#define LAPIC_FACE_CLUSTER   (1ull << 40) /* DFR: cluster model */
#define LAPIC_FACE_X2APIC    (1ull << 41) /* the logical ID follows from the APIC ID */
#define LAPIC_FACE_HW        (1ull << 42) /* IA32_APIC_BASE.EN: receives messages at all */
#define LAPIC_FACE_SW        (1ull << 43) /* SVR bit 8: accepts fixed interrupts */

/* The LAPICs of one VM. Index = VCPU. Zeroed, then filled in before the VM starts. */
struct apic_bus {
	unsigned int count; /* VCPUs, at most VIC_MAX_VCPUS */
	struct lapic_face *face[VIC_MAX_VCPUS];
	_Atomic uint32_t turn;                /* lowest-priority messages so far */
	_Atomic uint32_t last[VIC_MAX_VCPUS]; /* the turn at which each VCPU was last chosen */
};

/*
 * Decodes all 64 bits of the ICR (`wide`: x2APIC; else ICR_HI << 32 | ICR_LO). False: the combination is invalid and
 * nothing leaves the LAPIC. Checks no vector. Any CPU.
 */
bool icr_decode(uint64_t icr, bool wide, struct apic_msg *msg);

/*
 * The VCPUs that receive `msg`, as a bit mask; 0: nobody. `sender`: the VCPU whose ICR it came from, -1 if none did
 * (IOAPIC). APIC_MODE_LOWEST arbitrates, hence at most one bit. Any CPU, no lock.
 */
uint32_t apic_bus_targets(struct apic_bus *bus, const struct apic_msg *msg, int sender);

/*
 * The same for what this 64-bit ICR sends, where few looks will do: it is fixed and has a legal vector, and goes to all
 * others or to one physical destination, in x2APIC mode with the ID of its index. 0: look at everything, as above. Any
 * CPU, no lock.
 */
static inline uint32_t apic_bus_plain(const struct apic_bus *bus, uint64_t icr,
                                      const struct lapic_face *sender)
{
	const uint64_t enabled = LAPIC_FACE_HW | LAPIC_FACE_SW;
	/* The level's bit says nothing, see icr_decode(); an illegal vector has its upper half clear. */
	uint32_t rest = (uint32_t)icr & ~(APIC_ICR_VECTOR | APIC_ICR_ASSERT), id = (uint32_t)(icr >> 32);
	uint32_t targets = 0;

	if (!(icr & 0xf0))
		return 0;
	if (!rest && id < bus->count) {
		uint64_t word = atomic_load_explicit(&bus->face[id]->word, memory_order_acquire);

		return (word & ~LAPIC_FACE_CLUSTER) == (enabled | LAPIC_FACE_X2APIC | id) ? 1u << id : 0;
	}
	for (uint32_t i = 0; rest == APIC_DEST_OTHERS << APIC_ICR_SHORTHAND_SHIFT && i < bus->count; i++) {
		uint64_t word = atomic_load_explicit(&bus->face[i]->word, memory_order_acquire);

		if (bus->face[i] != sender && (word & enabled) == enabled)
			targets |= 1u << i;
	}
	return targets;
}

/* That arbitration alone: one VCPU of a set that is not empty, as a bit mask. Any CPU, no lock. */
uint32_t apic_bus_arbitrate(struct apic_bus *bus, uint32_t among);
