/* SPDX-License-Identifier: MIT */
/* How a message finds its VCPUs: decoding the ICR, matching destinations, lowest-priority arbitration. */
#ifndef VIC_ICR_H
#define VIC_ICR_H

#include "apic_msg.h"
#include "apic_regs.h"
#include "apic_regs.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

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
 * The VCPU that alone receives what this 64-bit ICR sends, by one look: it is fixed and physical, has no shorthand and a
 * legal vector, and the destination is in x2APIC mode, with the ID of its index, as it has unless it is reset with
 * another. -1: look at everything, as above. Any CPU, no lock.
 */
static inline int apic_bus_one(const struct apic_bus *bus, uint64_t icr)
{
	uint32_t id = (uint32_t)(icr >> 32);
	uint64_t word;

	/* The level's bit says nothing, see icr_decode(); an illegal vector has its upper half clear. */
	if ((uint32_t)icr & ~(APIC_ICR_VECTOR | APIC_ICR_ASSERT) || !(icr & 0xf0) || id >= bus->count)
		return -1;
	word = atomic_load_explicit(&bus->face[id]->word, memory_order_acquire);
	word &= ~LAPIC_FACE_CLUSTER;
	return word == (LAPIC_FACE_X2APIC | LAPIC_FACE_HW | LAPIC_FACE_SW | id) ? (int)id : -1;
}

/* That arbitration alone: one VCPU of a set that is not empty, as a bit mask. Any CPU, no lock. */
uint32_t apic_bus_arbitrate(struct apic_bus *bus, uint32_t among);

#endif
