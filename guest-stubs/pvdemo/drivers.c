/* SPDX-License-Identifier: MIT */
/* The net and the block driver: ports, upcall handlers in either manner, and their counts. */
#include "guest-stubs/pvdemo/pvdemo.h"

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/trap.h"

static uint32_t ports[DRIVERS][QUEUES];
static uint32_t control;
static bool look_at_all; /* written at rest only */

/* Events consumed: each VCPU has a line of its own and is the only one to write it. */
static struct {
	volatile uint64_t handled;
} __attribute__((aligned(64))) counts[VCPUS];

static void handle(uint32_t port)
{
	if (BH_PORT_GROUP(port) >= SATURATION_GROUP)
		saturation_handle(port);
	else if (BH_PORT_GROUP(port) != CONTROL_GROUP)
		counts[cpu_self()->index].handled++;
}

/* The upcall of the line that serves every group. */
static void on_callback(struct trap_frame *frame)
{
	(void)frame;
	if (!look_at_all)
		db_consume(cpu_self()->index);
	for (unsigned vcpu = 0; look_at_all && vcpu < VCPUS; vcpu++)
		db_consume(vcpu);
	apic_eoi();
}

/* The upcall of one group: the vector tells which. */
static void on_group(struct trap_frame *frame)
{
	unsigned group = DRIVER_GROUP((unsigned)(frame->vector - DRIVER_VECTOR(0)) / 0x10);

	if (!look_at_all)
		db_consume_group(cpu_self()->index, group);
	for (unsigned vcpu = 0; look_at_all && vcpu < VCPUS; vcpu++)
		db_consume_group(vcpu, group);
	apic_eoi();
}

static bool open_queue(const struct options *options, unsigned driver, unsigned queue)
{
	enum bh_kind kind = options->from_vm ? BH_INTERVM : BH_LOCAL;
	long port = db_open(kind, DRIVER_VCPU(driver), DRIVER_GROUP(driver));

	if (port < 0)
		return false;
	ports[driver][queue] = (uint32_t)port;
	return !options->from_vm || bellhop_call2(BH_OFFER, (unsigned long)port, 0) == 0;
}

static bool open_control(void)
{
	long port = db_open(BH_INTERVM, 0, CONTROL_GROUP);

	if (port < 0)
		return false;
	control = (uint32_t)port;
	/* Masked for good: the boot CPU polls it, so that it costs the measured window no interrupt. */
	db_mask(control);
	return bellhop_call2(BH_OFFER, control, 0) == 0;
}

bool drivers_open(const struct options *options)
{
	bool good = db_init(VCPUS, handle) == 0;

	trap_set(CALLBACK_VECTOR, on_callback);
	for (unsigned driver = 0; driver < DRIVERS; driver++) {
		trap_set(DRIVER_VECTOR(driver), on_group);
		good &= bellhop_call3(BH_GROUP_VECTOR, DRIVER_VCPU(driver), DRIVER_GROUP(driver),
		                      DRIVER_VECTOR(driver)) == 0;
		for (unsigned queue = 0; good && queue < QUEUES; queue++)
			good = open_queue(options, driver, queue);
	}
	return good && (!options->from_vm || open_control());
}

void drivers_reset(bool all)
{
	look_at_all = all;
	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		counts[vcpu].handled = 0;
}

uint64_t drivers_share(unsigned vcpu)
{
	return counts[vcpu].handled;
}

uint64_t drivers_consumed(void)
{
	uint64_t sum = 0;

	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		sum += counts[vcpu].handled;
	return sum;
}

uint64_t drivers_port_sum(enum bh_port_stat stat)
{
	uint64_t sum = 0;

	for (unsigned driver = 0; driver < DRIVERS; driver++)
		for (unsigned queue = 0; queue < QUEUES; queue++)
			sum += (uint64_t)bellhop_call2(BH_PORT_STAT, ports[driver][queue], stat);
	return sum;
}

unsigned drivers_drop(void)
{
	unsigned dropped = 0;

	for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++)
		for (unsigned driver = 0; driver < DRIVERS; driver++)
			dropped += db_drop_group(vcpu, DRIVER_GROUP(driver));
	return dropped;
}

uint32_t drivers_port(unsigned driver, unsigned queue)
{
	return ports[driver][queue];
}

uint32_t drivers_control(void)
{
	return control;
}
