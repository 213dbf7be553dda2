/* SPDX-License-Identifier: MIT */
/* Ports: opening, closing, ringing, and what their bits are worth. */
#include <linux/cpu.h>
#include <linux/ctype.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <asm/io.h>

#include "guest-stubs/linux/doorbell.h"

struct doorbell_group doorbell_groups[BH_GROUPS];

/* Guards opening and closing: the lines, their names and the two sums below. */
static DEFINE_MUTEX(table_lock);
static u64 closed_consumed, closed_pending;

void doorbell_ports_init(void)
{
	unsigned int g;

	for (g = 0; g < BH_GROUPS; g++) {
		raw_spin_lock_init(&doorbell_groups[g].lock);
		INIT_LIST_HEAD(&doorbell_groups[g].ports);
		doorbell_groups[g].number = g;
	}
}

struct doorbell_port *doorbell_ports_new(void)
{
	struct doorbell_port *port = kzalloc(sizeof(*port), GFP_KERNEL);

	if (!port)
		return NULL;
	init_waitqueue_head(&port->wait);
	mutex_init(&port->using);
	return port;
}

static bool good_name(const char *name, size_t size)
{
	size_t i;

	for (i = 0; i < size && name[i]; i++)
		if (!isascii(name[i]) || !isgraph(name[i]) || name[i] == ',')
			return false;
	return i > 0 && i < size;
}

/* The port can be rung as soon as Bellhop has opened it, and the handler waits for this lock. */
static int open_in(struct doorbell_group *group, struct doorbell_port *port, u32 kind)
{
	unsigned long flags;
	long number;

	raw_spin_lock_irqsave(&group->lock, flags);
	port->vcpu = doorbell_lines_vcpu(group);
	number = doorbell_call(BH_OPEN, kind, port->vcpu, group->number);
	if (number >= 0) {
		port->number = number;
		group->slot[BH_PORT_SLOT(port->number)] = port;
		list_add_tail(&port->node, &group->ports);
		smp_store_release(&port->group, group);
	}
	raw_spin_unlock_irqrestore(&group->lock, flags);
	return doorbell_error(number);
}

int doorbell_ports_open(struct doorbell_port *port, struct doorbell_open *open)
{
	struct doorbell_group *group;
	int error;

	if (open->group >= BH_GROUPS || open->reserved || !good_name(open->name, sizeof(open->name)))
		return -EINVAL;
	group = &doorbell_groups[open->group];
	mutex_lock(&table_lock);
	/* No CPU comes or goes: the one that the interrupt goes to stays, and each that could be it is known. */
	cpus_read_lock();
	error = port->group ? -EBUSY : doorbell_lines_want(group);
	if (!error) {
		memcpy(port->name, open->name, sizeof(port->name));
		error = open_in(group, port, open->kind);
	}
	cpus_read_unlock();
	if (!error) {
		open->port = port->number;
		doorbell_lines_rename(group);
	}
	mutex_unlock(&table_lock);
	return error;
}

int doorbell_ports_shut(struct doorbell_port *port)
{
	struct doorbell_group *group;
	unsigned long flags;
	long pending;

	mutex_lock(&port->using);
	mutex_lock(&table_lock);
	group = port->group;
	if (!group || port->closed) {
		mutex_unlock(&table_lock);
		mutex_unlock(&port->using);
		return -ENOTCONN;
	}
	raw_spin_lock_irqsave(&group->lock, flags);
	/* Rings that nobody had consumed go with the port, and are ours from here on. */
	pending = max(doorbell_call(BH_CLOSE, port->number, 0, 0), 0L);
	group->slot[BH_PORT_SLOT(port->number)] = NULL;
	list_del(&port->node);
	port->consumed += pending;
	raw_spin_unlock_irqrestore(&group->lock, flags);
	atomic64_add(pending, &port->unread);
	smp_store_release(&port->closed, true);
	wake_up_interruptible_poll(&port->wait, EPOLLIN | EPOLLHUP);
	closed_consumed += port->consumed;
	closed_pending += pending;
	doorbell_lines_rename(group);
	mutex_unlock(&table_lock);
	mutex_unlock(&port->using);
	return 0;
}

void doorbell_ports_close(struct doorbell_port *port)
{
	doorbell_ports_shut(port);
	kfree(port);
}

void doorbell_ports_closed(u64 *consumed, u64 *pending)
{
	mutex_lock(&table_lock);
	*consumed = closed_consumed;
	*pending = closed_pending;
	mutex_unlock(&table_lock);
}

static int bind(struct doorbell_port *port, unsigned int vcpu)
{
	int error = doorbell_error(doorbell_call(BH_REBIND, port->number, vcpu, 0));

	if (!error)
		port->vcpu = vcpu;
	return error;
}

int doorbell_ports_bind(struct doorbell_port *port, unsigned int cpu)
{
	struct doorbell_group *group = port->group;
	unsigned long flags;
	int error = -EINVAL;

	cpus_read_lock();
	raw_spin_lock_irqsave(&group->lock, flags);
	/* Elsewhere on `native` there is no vector for it. */
	if (cpu < nr_cpu_ids && cpu_online(cpu))
		error = doorbell_route == BH_ROUTE_NATIVE && doorbell_vcpu_of(cpu) != group->vcpu
		                ? -EBUSY
		                : bind(port, doorbell_vcpu_of(cpu));
	raw_spin_unlock_irqrestore(&group->lock, flags);
	cpus_read_unlock();
	return error;
}

void doorbell_ports_rebind(struct doorbell_group *group, unsigned int vcpu)
{
	struct doorbell_port *port;

	list_for_each_entry(port, &group->ports, node)
		WARN_ON_ONCE(bind(port, vcpu));
}

void doorbell_ports_leave(unsigned int from, unsigned int to)
{
	struct doorbell_group *group;
	struct doorbell_port *port;
	unsigned long flags;

	for (group = doorbell_groups; group < doorbell_groups + BH_GROUPS; group++) {
		raw_spin_lock_irqsave(&group->lock, flags);
		list_for_each_entry(port, &group->ports, node)
			if (port->vcpu == from)
				WARN_ON_ONCE(bind(port, to));
		raw_spin_unlock_irqrestore(&group->lock, flags);
	}
}

/* Counts an answer. Returns the error that it is, or 0. */
static int count_answer(struct doorbell_port *port, long answer)
{
	if (answer >= 0 && answer < DOORBELL_ANSWERS)
		atomic64_inc(&port->answers[answer]);
	else
		atomic64_inc(&port->refused);
	if (READ_ONCE(port->gone) != (answer == BH_ECLOSED)) {
		WRITE_ONCE(port->gone, answer == BH_ECLOSED);
		wake_up_interruptible_poll(&port->wait, EPOLLERR);
	}
	return doorbell_error(answer);
}

/* The first error of many rings, or 0. */
static int ring_many(struct doorbell_port *port, unsigned int times)
{
	int error = 0, one;
	unsigned int i;
	long result;

	for (i = 0; i < times; i++)
		port->rings[i].port = port->number;
	result = doorbell_call(BH_RING_MANY, virt_to_phys(port->rings), times, 0);
	for (i = 0; i < times; i++) {
		one = count_answer(port, result < 0 ? result : port->rings[i].result);
		error = error ?: one;
	}
	return error;
}

int doorbell_ports_ring(struct doorbell_port *port, u64 times)
{
	int error = -ENOTCONN;

	if (times == 0 || times > BH_RINGS)
		return -EINVAL;
	mutex_lock(&port->using);
	if (!port->closed)
		error = times > 1 ? ring_many(port, times)
		                  : count_answer(port, doorbell_call(BH_RING, port->number, 0, 0));
	mutex_unlock(&port->using);
	return error;
}

void doorbell_ports_found(struct doorbell_group *group, unsigned int slot)
{
	struct doorbell_port *port = group->slot ? group->slot[slot] : NULL;
	unsigned int cpu = smp_processor_id();

	/* A port's bit goes before the port does. */
	if (WARN_ON_ONCE(!port))
		return;
	port->consumed++;
	if (cpu < DOORBELL_CPUS)
		port->on_cpu[cpu]++;
	atomic64_inc(&port->unread);
	wake_up_interruptible_poll(&port->wait, EPOLLIN | EPOLLRDNORM);
}

/* The counters that go with the port. */
static void bellhop_stat(u32 number, struct doorbell_stat *stat)
{
	stat->rung = doorbell_call(BH_PORT_STAT, number, BH_STAT_RUNG, 0);
	stat->coalesced = doorbell_call(BH_PORT_STAT, number, BH_STAT_COALESCED, 0);
	stat->upcalls = doorbell_call(BH_PORT_STAT, number, BH_STAT_UPCALLS, 0);
	stat->misdirected = doorbell_call(BH_PORT_STAT, number, BH_STAT_MISDIRECTED, 0);
	stat->throttled = doorbell_call(BH_PORT_STAT, number, BH_STAT_THROTTLED, 0);
	stat->cpu = doorbell_cpu_of(doorbell_call(BH_PORT_STAT, number, BH_STAT_VCPU, 0));
	stat->pending = doorbell_pages_pending(number);
}

void doorbell_ports_stat(struct doorbell_port *port, struct doorbell_stat *stat)
{
	unsigned long flags;
	unsigned int answer;

	memset(stat, 0, sizeof(*stat));
	stat->irq = doorbell_lines_irq(port->group);
	mutex_lock(&table_lock);
	if (!port->closed)
		bellhop_stat(port->number, stat);
	mutex_unlock(&table_lock);
	for (answer = 0; answer < DOORBELL_ANSWERS; answer++)
		stat->answers[answer] = atomic64_read(&port->answers[answer]);
	stat->refused = atomic64_read(&port->refused);
	raw_spin_lock_irqsave(&port->group->lock, flags);
	stat->consumed = port->consumed;
	memcpy(stat->on_cpu, port->on_cpu, sizeof(stat->on_cpu));
	raw_spin_unlock_irqrestore(&port->group->lock, flags);
}
