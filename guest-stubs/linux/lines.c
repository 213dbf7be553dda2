/* SPDX-License-Identifier: MIT */
/* The groups' interrupts: who owns which, their handler, and their names in /proc/interrupts. */
#include <linux/acpi.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/slab.h>

#include "guest-stubs/linux/doorbell.h"

#define NAME_SIZE 96

/* An interrupt and the groups that it is for: one, or on two of the routes all. */
struct line {
	unsigned int irq; /* 0: none yet */
	unsigned int first, groups;
	u64 interrupts, empty; /* written by the handler only, which never runs twice at once */
	char name[NAME_SIZE];  /* the irqaction's; its last byte stays 0 */
};

static struct line lines[BH_GROUPS];

static bool one_line(void)
{
	return doorbell_route == BH_ROUTE_IOAPIC || doorbell_route == BH_ROUTE_VCPU0;
}

static struct line *line_of(const struct doorbell_group *group)
{
	return &lines[one_line() ? 0 : group->number];
}

/*
 * An interrupt that moves while its handler runs is handled, on its new CPU's behalf, by the one that is at it already.
 * What it is about is on the page of the VCPU `there`, where it goes now.
 */
static unsigned int consume_own(struct doorbell_group *group, unsigned int self, unsigned int there)
{
	unsigned int count = doorbell_pages_consume(self, group);

	if (there != self)
		count += doorbell_pages_consume(there, group);
	return count;
}

static unsigned int consume_all(struct doorbell_group *group)
{
	unsigned int vcpu, count = 0;

	for (vcpu = 0; vcpu < doorbell_vcpus; vcpu++)
		count += doorbell_pages_consume(vcpu, group);
	return count;
}

/* Always ours: one that finds nothing went to the wrong VCPU, or another's scan has taken its bit along. */
static irqreturn_t on_upcall(int irq, void *cookie)
{
	struct line *line = cookie;
	unsigned int self = doorbell_vcpu_self(), there = doorbell_lines_vcpu(&doorbell_groups[line->first]);
	/* To a CPU that is only just coming: its VCPU is one of them. */
	bool all = doorbell_look_all || there == DOORBELL_NO_VCPU;
	unsigned int g, count = 0;

	for (g = line->first; g < line->first + line->groups; g++) {
		struct doorbell_group *group = &doorbell_groups[g];

		raw_spin_lock(&group->lock);
		count += all ? consume_all(group) : consume_own(group, self, there);
		raw_spin_unlock(&group->lock);
	}
	line->interrupts++;
	line->empty += !count;
	return IRQ_HANDLED;
}

/*
 * Without a pin of an IOAPIC for it the kernel may call any number an interrupt. An edge: a level-triggered interrupt that
 * comes while its handler runs elsewhere is ended unhandled, for a device would hold its line. An edge is remembered.
 */
static int gsi_alloc(unsigned int gsi)
{
	int irq = acpi_register_gsi(NULL, gsi, ACPI_EDGE_SENSITIVE, ACPI_ACTIVE_HIGH);
	struct irq_chip *chip = irq > 0 ? irq_get_chip(irq) : NULL;

	if (chip && chip->name && strstr(chip->name, "IO-APIC"))
		return irq;
	if (irq > 0)
		acpi_unregister_gsi(gsi);
	pr_err("ACPI knows no IOAPIC pin %u\n", gsi);
	return -ENODEV;
}

static int line_alloc(const struct line *line)
{
	if (doorbell_route == BH_ROUTE_NATIVE)
		return doorbell_native_alloc(&doorbell_groups[line->first]);
	return gsi_alloc(BH_CALLBACK_PIN + line->first);
}

static void line_free(const struct line *line, unsigned int irq)
{
	if (doorbell_route == BH_ROUTE_NATIVE)
		doorbell_native_free(irq);
	else
		acpi_unregister_gsi(BH_CALLBACK_PIN + line->first);
}

/* The line of `vcpu0` comes to that VCPU whatever its entry says, so there its vector must be, and stay. */
static int line_start(struct line *line)
{
	unsigned long flags = IRQF_NO_THREAD;
	int error = 0, irq = line_alloc(line);

	if (irq < 0)
		return irq;
	if (doorbell_route == BH_ROUTE_VCPU0) {
		unsigned int cpu = doorbell_cpu_of(0);

		flags |= IRQF_NOBALANCING;
		error = cpu < nr_cpu_ids ? irq_set_affinity(irq, cpumask_of(cpu)) : -ENXIO;
	}
	snprintf(line->name, NAME_SIZE - 1, one_line() ? "doorbell" : "doorbell%u", line->first);
	line->irq = irq;
	error = error ?: request_irq(irq, on_upcall, flags, line->name, line);
	if (error) {
		line->irq = 0;
		line_free(line, irq);
	}
	return error;
}

int doorbell_lines_want(struct doorbell_group *group)
{
	struct line *line = line_of(group);

	if (!group->slot) {
		struct doorbell_port **slot = kvcalloc(BH_SLOTS, sizeof(*slot), GFP_KERNEL);

		if (!slot)
			return -ENOMEM;
		group->slot = slot;
	}
	return line->irq ? 0 : line_start(line);
}

unsigned int doorbell_lines_irq(struct doorbell_group *group)
{
	return line_of(group)->irq;
}

unsigned int doorbell_lines_vcpu(struct doorbell_group *group)
{
	if (doorbell_route == BH_ROUTE_NATIVE)
		return READ_ONCE(group->vcpu);
	return doorbell_vcpu_of(cpumask_first(irq_get_effective_affinity_mask(line_of(group)->irq)));
}

void doorbell_lines_rename(struct doorbell_group *of)
{
	struct line *line = line_of(of);
	char name[NAME_SIZE] = "", divider = ':';
	struct doorbell_port *port;
	unsigned int g, length;

	/* One less than there is room for, and zeros to the end: whoever reads it meanwhile finds an end, too. */
	length = scnprintf(name, NAME_SIZE - 1, one_line() ? "doorbell" : "doorbell%u", line->first);
	for (g = line->first; g < line->first + line->groups; g++) {
		list_for_each_entry(port, &doorbell_groups[g].ports, node) {
			length += scnprintf(name + length, NAME_SIZE - 1 - length, "%c%s", divider,
			                    port->name);
			divider = ',';
		}
	}
	/* Not while the handler is entered: a tracer takes the name's length first and its text second. */
	disable_irq(line->irq);
	memcpy(line->name, name, NAME_SIZE);
	enable_irq(line->irq);
}

void doorbell_lines_count(u64 *interrupts, u64 *empty)
{
	const struct line *line;

	*interrupts = *empty = 0;
	for (line = lines; line < lines + BH_GROUPS; line++) {
		*interrupts += READ_ONCE(line->interrupts);
		*empty += READ_ONCE(line->empty);
	}
}

int doorbell_lines_init(void)
{
	unsigned int g;
	int irq;

	for (g = 0; g < BH_GROUPS; g++) {
		lines[g].first = g;
		lines[g].groups = one_line() ? BH_GROUPS - g : 1;
	}
	if (doorbell_route == BH_ROUTE_NATIVE)
		return doorbell_native_init();
	irq = gsi_alloc(BH_CALLBACK_PIN);
	if (irq < 0)
		return irq;
	acpi_unregister_gsi(BH_CALLBACK_PIN);
	return 0;
}

void doorbell_lines_exit(void)
{
	struct line *line;
	unsigned int g;

	for (line = lines; line < lines + BH_GROUPS; line++) {
		if (!line->irq)
			continue;
		free_irq(line->irq, line);
		line_free(line, line->irq);
	}
	for (g = 0; g < BH_GROUPS; g++)
		kvfree(doorbell_groups[g].slot);
	if (doorbell_route == BH_ROUTE_NATIVE)
		doorbell_native_exit();
}
