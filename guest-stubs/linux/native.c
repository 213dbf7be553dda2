/* SPDX-License-Identifier: MIT */
/*
 * Route native: an interrupt controller of our own on top of x86's vectors. Linux chooses a CPU and a vector for each
 * group; the group's ports are bound to that CPU and rung on that vector.
 */
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>

#include "guest-stubs/linux/doorbell.h"

static struct irq_domain *domain;
static struct fwnode_handle *node;

static void announce(const struct doorbell_group *group)
{
	WARN_ON_ONCE(doorbell_call(BH_GROUP_VECTOR, group->vcpu, group->number,
	                           group->masked ? 0 : group->vector));
}

/*
 * Linux has chosen: the new vector first, then the ports with whatever is pending, and then nothing can come by the old
 * one any more but what its LAPIC had accepted before, which finds nothing. Linux keeps its own half of the old vector
 * until the first interrupt on the new one.
 */
static void aim(struct doorbell_group *group, struct irq_data *data)
{
	unsigned int cpu = cpumask_first(irq_data_get_effective_affinity_mask(data)), old = group->vcpu;

	WRITE_ONCE(group->vcpu, doorbell_vcpu_of(cpu));
	group->vector = irqd_cfg(data)->vector;
	announce(group);
	if (group->vcpu == old)
		return;
	doorbell_ports_rebind(group, group->vcpu);
	if (old != DOORBELL_NO_VCPU)
		doorbell_call(BH_GROUP_VECTOR, old, group->number, 0);
}

/* A CPU that is only just coming has not said yet which VCPU it is: later. */
static bool known(unsigned int cpu)
{
	return doorbell_vcpu_of(cpu) != DOORBELL_NO_VCPU;
}

static int chip_set_affinity(struct irq_data *data, const struct cpumask *wanted, bool force)
{
	struct doorbell_group *group = irq_data_get_irq_chip_data(data);
	unsigned long flags;
	unsigned int cpu;
	int result;

	for_each_cpu_and(cpu, wanted, cpu_online_mask)
		if (!known(cpu))
			return -EBUSY;
	raw_spin_lock_irqsave(&group->lock, flags);
	result = irq_chip_set_affinity_parent(data, wanted, force);
	if (result >= 0)
		aim(group, data);
	raw_spin_unlock_irqrestore(&group->lock, flags);
	return result;
}

/* Bellhop keeps what is rung while there is no vector, and announces it when there is one. */
static void set_masked(struct irq_data *data, bool masked)
{
	struct doorbell_group *group = irq_data_get_irq_chip_data(data);
	unsigned long flags;

	raw_spin_lock_irqsave(&group->lock, flags);
	group->masked = masked;
	announce(group);
	raw_spin_unlock_irqrestore(&group->lock, flags);
}

static void chip_mask(struct irq_data *data)
{
	set_masked(data, true);
}

static void chip_unmask(struct irq_data *data)
{
	set_masked(data, false);
}

static struct irq_chip chip = {
	.name = "Bellhop",
	.irq_mask = chip_mask,
	.irq_unmask = chip_unmask,
	.irq_ack = irq_chip_ack_parent,
	.irq_set_affinity = chip_set_affinity,
	.irq_retrigger = irq_chip_retrigger_hierarchy,
	.flags = IRQCHIP_SKIP_SET_WAKE,
};

static int domain_alloc(struct irq_domain *of, unsigned int irq, unsigned int count, void *arg)
{
	struct irq_alloc_info *info = arg;
	int error = irq_domain_alloc_irqs_parent(of, irq, count, info);

	if (error)
		return error;
	irq_domain_set_info(of, irq, info->hwirq, &chip, &doorbell_groups[info->hwirq], handle_edge_irq, NULL,
	                    "edge");
	/* An upcall under way to the old CPU is no obstacle, so a move need not wait for the next one. */
	irq_set_status_flags(irq, IRQ_MOVE_PCNTXT);
	return 0;
}

static int domain_activate(struct irq_domain *of, struct irq_data *data, bool reserve)
{
	struct doorbell_group *group = irq_data_get_irq_chip_data(data);
	unsigned long flags;

	if (reserve)
		return 0;
	if (!known(cpumask_first(irq_data_get_effective_affinity_mask(data))))
		return -EBUSY;
	raw_spin_lock_irqsave(&group->lock, flags);
	aim(group, data);
	raw_spin_unlock_irqrestore(&group->lock, flags);
	return 0;
}

static void domain_deactivate(struct irq_domain *of, struct irq_data *data)
{
	struct doorbell_group *group = irq_data_get_irq_chip_data(data);
	unsigned long flags;

	raw_spin_lock_irqsave(&group->lock, flags);
	group->vector = 0;
	announce(group);
	raw_spin_unlock_irqrestore(&group->lock, flags);
}

static const struct irq_domain_ops domain_ops = {
	.alloc = domain_alloc,
	.free = irq_domain_free_irqs_common,
	.activate = domain_activate,
	.deactivate = domain_deactivate,
};

int doorbell_native_init(void)
{
	node = irq_domain_alloc_named_fwnode("doorbell");
	if (!node)
		return -ENOMEM;
	domain = irq_domain_create_hierarchy(x86_vector_domain, 0, BH_GROUPS, node, &domain_ops, NULL);
	if (!domain) {
		irq_domain_free_fwnode(node);
		return -ENOMEM;
	}
	return 0;
}

void doorbell_native_exit(void)
{
	irq_domain_remove(domain);
	irq_domain_free_fwnode(node);
}

int doorbell_native_alloc(struct doorbell_group *group)
{
	struct irq_alloc_info info = { .hwirq = group->number };

	group->vcpu = DOORBELL_NO_VCPU;
	group->masked = true;
	return __irq_domain_alloc_irqs(domain, -1, 1, NUMA_NO_NODE, &info, false, NULL);
}

void doorbell_native_free(unsigned int irq)
{
	irq_dispose_mapping(irq);
}
