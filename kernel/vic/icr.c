/* SPDX-License-Identifier: MIT */
/* How a message finds its VCPUs: decoding the ICR, matching destinations, lowest-priority arbitration. */
#include "icr.h"

#define MODE(name) (1u << APIC_MODE_##name)
#define ADDRESSED  (MODE(FIXED) | MODE(LOWEST) | MODE(SMI) | MODE(NMI) | MODE(INIT) | MODE(SIPI))

/*
 * SDM vol. 3, "Valid Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt Command
 * Register": the modes of each shorthand. One exception: NMI to self and to all including self. The table says
 * invalid, processors deliver it, and hypervisors rely on that to pass on an NMI exit's NMI.
 */
static const uint8_t sendable[4] = {
	[APIC_DEST_FIELD] = ADDRESSED,
	[APIC_DEST_SELF] = MODE(FIXED) | MODE(NMI),
	[APIC_DEST_ALL] = MODE(FIXED) | MODE(NMI),
	[APIC_DEST_OTHERS] = ADDRESSED,
};

/*
 * The modes that only a software-enabled LAPIC takes. SDM vol. 3, "Local APIC State After It Has Been Software
 * Disabled": it responds normally to INIT, NMI, SMI and SIPI messages.
 */
#define NEEDS_SOFTWARE_ENABLE (MODE(FIXED) | MODE(LOWEST) | MODE(EXTINT))

bool icr_decode(uint64_t icr, bool wide, struct apic_msg *msg)
{
	uint32_t low = (uint32_t)icr, high = (uint32_t)(icr >> 32);

	*msg = (struct apic_msg){
		.dest = wide ? high : high >> APIC_XID_SHIFT,
		.vector = (uint8_t)(low & APIC_ICR_VECTOR),
		.mode = (enum apic_mode)((low & APIC_ICR_MODE) >> APIC_ICR_MODE_SHIFT),
		.shorthand = (enum apic_shorthand)((low & APIC_ICR_SHORTHAND) >> APIC_ICR_SHORTHAND_SHIFT),
		.logical = low & APIC_ICR_LOGICAL,
		.wide = wide,
	};
	/*
	 * SDM vol. 3, "Interrupt Command Register (ICR)": since the Pentium 4 an IPI always goes out as an asserted
	 * edge; hence no msg.level. "INIT level de-assert" is not supported: start-up code still sends it, and it
	 * must not be taken for an INIT.
	 */
	msg->deassert = msg->mode == APIC_MODE_INIT && (low & APIC_ICR_LEVEL) && !(low & APIC_ICR_ASSERT);
	return (sendable[msg->shorthand] >> msg->mode & 1) && !msg->deassert;
}

/* SDM vol. 3, "Determining IPI Destination" and "Logical Destination Mode in x2APIC Mode". */
static bool face_matches(uint64_t face, const struct apic_msg *msg)
{
	uint32_t id = (uint32_t)face;
	uint32_t ldr = (uint32_t)(face >> LAPIC_FACE_LDR_SHIFT) & 0xff;
	uint32_t everybody = msg->wide ? 0xffffffff : 0xff;
	uint32_t dest = msg->dest & everybody;

	if (!msg->logical)
		return dest == everybody || dest == id;
	/*
	 * The receiver's mode decides how it reads a logical destination. One in x2APIC mode takes the 8 bits of an
	 * IOAPIC or xAPIC for the low 8 bits of 32: members 0 to 7 of cluster 0.
	 */
	if (face & LAPIC_FACE_X2APIC)
		return dest == 0xffffffff || (dest >> 16 == id >> 4 && (dest >> (id & 15) & 1));
	if (dest > 0xff)
		return dest == 0xffffffff;
	if (face & LAPIC_FACE_CLUSTER)
		return dest == everybody || (dest >> 4 == ldr >> 4 && (dest & ldr & 0xf));
	return dest & ldr;
}

static bool is_addressed(const struct apic_msg *msg, uint64_t face, bool is_sender)
{
	if (!(face & LAPIC_FACE_HW) || ((NEEDS_SOFTWARE_ENABLE >> msg->mode & 1) && !(face & LAPIC_FACE_SW)))
		return false;
	if (msg->shorthand == APIC_DEST_FIELD)
		return face_matches(face, msg);
	return msg->shorthand == APIC_DEST_ALL || is_sender == (msg->shorthand == APIC_DEST_SELF);
}

/*
 * SDM vol. 3, "Lowest Priority Delivery Mode": the processor with the lowest processor priority, by the whole PPR. Ties
 * go to whoever was chosen longest ago: a counter that merely rotates starves a VCPU when destination sets of
 * different shapes alternate. The stamps only serve fairness: relaxed, and two messages that race may agree.
 */
uint32_t apic_bus_arbitrate(struct apic_bus *bus, uint32_t among)
{
	uint32_t turn = atomic_fetch_add_explicit(&bus->turn, 1, memory_order_relaxed);
	uint32_t best_priority = UINT32_MAX, best_age = 0;
	unsigned int best = 0;

	for (; among; among &= among - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(among);
		uint32_t priority = apic_page_ppr(bus->face[i]->page);
		uint32_t age = turn - atomic_load_explicit(&bus->last[i], memory_order_relaxed);

		if (priority < best_priority || (priority == best_priority && age > best_age)) {
			best_priority = priority;
			best_age = age;
			best = i;
		}
	}
	atomic_store_explicit(&bus->last[best], turn + 1, memory_order_relaxed);
	return 1u << best;
}

uint32_t apic_bus_targets(struct apic_bus *bus, const struct apic_msg *msg, int sender)
{
	uint32_t targets = 0;

	for (unsigned int i = 0; i < bus->count; i++) {
		uint64_t face = atomic_load_explicit(&bus->face[i]->word, memory_order_acquire);

		if (is_addressed(msg, face, (int)i == sender))
			targets |= 1u << i;
	}
	return msg->mode == APIC_MODE_LOWEST && targets ? apic_bus_arbitrate(bus, targets) : targets;
}
