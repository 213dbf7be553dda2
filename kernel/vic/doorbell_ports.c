/* SPDX-License-Identifier: MIT */
/* What is set up around doorbells: connections between VMs, pages, vectors; and the counters. */
#include "doorbell_priv.h"

int db_offer(struct db_vm *db, uint64_t port, unsigned to_vm)
{
	uint32_t word = open_word(db, port);

	if (port >= BH_PORTS)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	if (WORD_KIND(word) != BH_INTERVM)
		return BH_EINVAL;
	if (atomic_load(&db->port[port].peer))
		return BH_EBUSY;
	db->port[port].offered = to_vm + 1;
	return 0;
}

int db_connect(struct db_vm *db, unsigned self, uint64_t port, struct db_vm *far, unsigned far_self,
               uint64_t far_port)
{
	uint32_t word = open_word(db, port), far_word = open_word(far, far_port);

	if (port >= BH_PORTS || far_port >= BH_PORTS)
		return BH_EINVAL;
	if (!(word & DB_OPEN) || !(far_word & DB_OPEN))
		return BH_ECLOSED;
	if (WORD_KIND(word) != BH_INTERVM || WORD_KIND(far_word) != BH_INTERVM)
		return BH_EINVAL;
	if (atomic_load(&db->port[port].peer))
		return BH_EBUSY;
	/* The other end's state is none of ours until it is offered to us; an offer goes with its connection. */
	if (far->port[far_port].offered != self + 1)
		return BH_EPERM;
	far->port[far_port].offered = 0;
	db->port[port].offered = 0;
	atomic_store(&far->port[far_port].peer, DB_CONNECTED | self << 16 | (uint32_t)port);
	atomic_store(&db->port[port].peer, DB_CONNECTED | far_self << 16 | (uint32_t)far_port);
	return 0;
}

void db_disconnect(struct db_vm *db, unsigned gone)
{
	for (uint32_t port = 0; port < BH_PORTS; port++) {
		uint32_t peer = atomic_load_explicit(&db->port[port].peer, memory_order_relaxed);

		if (db->port[port].offered == gone + 1)
			db->port[port].offered = 0;
		if ((peer & DB_CONNECTED) && (peer >> 16 & 0xff) == gone)
			atomic_store(&db->port[port].peer, 0);
	}
}

int db_set_pages(struct db_vm *db, uint64_t vcpu, void *pending, void *control)
{
	if (vcpu >= db->vcpus || !pending || !control)
		return BH_EINVAL;
	if (atomic_load(&db->page[vcpu].pending))
		return BH_EBUSY;
	/* The control page first: whoever finds the pending page finds it too. */
	atomic_store(&db->page[vcpu].control, control);
	atomic_store(&db->page[vcpu].pending, pending);
	return 0;
}

int db_drop_pages(struct db_vm *db, uint64_t vcpu)
{
	if (vcpu >= db->vcpus)
		return BH_EINVAL;
	for (unsigned w = 0; w < BH_GROUPS * BH_GROUP_WORDS; w++) {
		if (db->used[w / BH_GROUP_WORDS][w % BH_GROUP_WORDS])
			return BH_EBUSY;
	}
	/* The pending page first, as whoever finds it relies on the other. */
	atomic_store(&db->page[vcpu].pending, NULL);
	atomic_store(&db->page[vcpu].control, NULL);
	return 0;
}

void db_set_mask(struct db_vm *db, void *mask)
{
	atomic_store(&db->mask, mask);
}

int db_set_vector(struct db_vm *db, uint64_t vcpu, uint64_t group, uint64_t vector)
{
	if (vcpu >= db->vcpus || group >= BH_GROUPS || vector > 255 || (vector && vector < 16))
		return BH_EINVAL;
	atomic_store(&db->vector[vcpu][group], (uint8_t)vector);
	return 0;
}

int64_t db_stat(const struct db_vm *db, uint64_t port, uint64_t which)
{
	uint32_t word = open_word(db, port);
	const struct db_port *p = &db->port[port % BH_PORTS];

	if (port >= BH_PORTS || which >= BH_PORT_STATS)
		return BH_EINVAL;
	if (!(word & DB_OPEN))
		return BH_ECLOSED;
	switch ((enum bh_port_stat)which) {
	case BH_STAT_RUNG:
		return (int64_t)atomic_load(&p->rung);
	case BH_STAT_COALESCED:
		return (int64_t)atomic_load(&p->coalesced);
	case BH_STAT_UPCALLS:
		return (int64_t)atomic_load(&p->upcalls);
	case BH_STAT_MISDIRECTED:
		return (int64_t)atomic_load(&p->misdirected);
	case BH_STAT_THROTTLED:
		return (int64_t)atomic_load(&p->throttled);
	case BH_STAT_VCPU:
		return WORD_VCPU(word);
	case BH_PORT_STATS:
		break;
	}
	return BH_EINVAL;
}

void db_count_misdirected(struct db_vm *db, uint32_t port, unsigned vcpu)
{
	struct bh_control *control = atomic_load(&db->page[vcpu].control);

	if (port != DB_NO_PORT)
		count(&db->port[port].misdirected);
	if (control)
		count(shared(&control->misdirected));
}
