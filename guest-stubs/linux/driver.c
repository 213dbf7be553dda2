/* SPDX-License-Identifier: MIT */
/* Bellhop's doorbells for Linux: loading, unloading, and which CPU is which VCPU. */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/module.h>
#include <linux/string.h>
#include <asm/processor.h>

#include "guest-stubs/linux/doorbell.h"

static char *route = "keep";
module_param(route, charp, 0444);
MODULE_PARM_DESC(route, "how a doorbell becomes an interrupt: keep, ioapic, vcpu0, native, multi or follow");

static char *look = "auto";
module_param(look, charp, 0444);
MODULE_PARM_DESC(look, "whose pages a handler looks at: own, all, or auto (what loses nothing on the route)");

enum bh_route doorbell_route;
bool doorbell_look_all;
unsigned int doorbell_vcpus;

static DEFINE_PER_CPU(unsigned int, vcpu_of) = DOORBELL_NO_VCPU;
static enum cpuhp_state hotplug;

static const char *const routes[BH_ROUTES] = {
	[BH_ROUTE_IOAPIC] = "ioapic", [BH_ROUTE_VCPU0] = "vcpu0",   [BH_ROUTE_NATIVE] = "native",
	[BH_ROUTE_MULTI] = "multi",   [BH_ROUTE_FOLLOW] = "follow",
};

unsigned int doorbell_vcpu_of(unsigned int cpu)
{
	return READ_ONCE(per_cpu(vcpu_of, cpu));
}

unsigned int doorbell_vcpu_self(void)
{
	unsigned int vcpu = this_cpu_read(vcpu_of);

	/* An interrupt may come to a new CPU before it is said to be on. */
	return vcpu != DOORBELL_NO_VCPU ? vcpu : cpuid_edx(BH_CPUID_ABI) >> 16;
}

unsigned int doorbell_cpu_of(unsigned int vcpu)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		if (doorbell_vcpu_of(cpu) == vcpu)
			return cpu;
	return nr_cpu_ids;
}

int doorbell_error(long result)
{
	if (result >= 0)
		return 0;
	switch (result) {
	case BH_ENOCALL:
		return -ENOSYS;
	case BH_EPERM:
		return -EACCES;
	case BH_EBUSY:
		return -EBUSY;
	case BH_EFULL:
		return -ENOSPC;
	case BH_ECLOSED:
		return -EPIPE;
	case BH_ENOPAGE:
		return -ENXIO;
	default:
		return -EINVAL;
	}
}

/* On the CPU that has come: only itself can ask which VCPU it is. */
static int cpu_on(unsigned int cpu)
{
	WRITE_ONCE(per_cpu(vcpu_of, cpu), doorbell_vcpu_self());
	return 0;
}

/*
 * On the CPU that is about to go. On `native` and `follow` its ports go where Linux sends their interrupts; on the others
 * an interrupt is no binding.
 */
static int cpu_off(unsigned int cpu)
{
	unsigned int vcpu = doorbell_vcpu_of(cpu);

	if (doorbell_route == BH_ROUTE_VCPU0 && vcpu == 0)
		return -EBUSY; /* that line goes nowhere else */
	if (doorbell_route != BH_ROUTE_NATIVE)
		doorbell_ports_leave(vcpu, doorbell_vcpu_of(cpumask_any_but(cpu_online_mask, cpu)));
	return 0;
}

static int choose(void)
{
	long number = BH_ROUTE_ASK;
	int all = match_string((const char *const[]){ "own", "all", "auto" }, 3, look);

	if (strcmp(route, "keep"))
		number = match_string(routes, BH_ROUTES, route);
	if (number < 0 || all < 0) {
		pr_err("there is no %s=%s\n", all < 0 ? "look" : "route", all < 0 ? look : route);
		return -EINVAL;
	}
	doorbell_route = doorbell_call(BH_ROUTE, number, 0, 0);
	if (number != BH_ROUTE_ASK)
		doorbell_route = number;
	if (all == 2)
		all = doorbell_route == BH_ROUTE_IOAPIC || doorbell_route == BH_ROUTE_MULTI;
	doorbell_look_all = all;
	return 0;
}

static int discover(void)
{
	unsigned int highest = 0, b = 0, c = 0, d = 0;

	if (boot_cpu_has(X86_FEATURE_HYPERVISOR))
		cpuid(BH_CPUID_BASE, &highest, &b, &c, &d);
	if (highest < BH_CPUID_ABI || b != BH_SIGNATURE_EBX || c != BH_SIGNATURE_ECX ||
	    d != BH_SIGNATURE_EDX) {
		pr_err("this is no VM of Bellhop\n");
		return -ENODEV;
	}
	if (cpuid_eax(BH_CPUID_ABI) != BH_ABI_VERSION) {
		pr_err("Bellhop's ABI is version %u, not %u\n", cpuid_eax(BH_CPUID_ABI), BH_ABI_VERSION);
		return -ENODEV;
	}
	doorbell_vcpus = cpuid_edx(BH_CPUID_ABI) & 0xffff;
	return 0;
}

static int __init driver_load(void)
{
	int error = discover() ?: choose();

	if (error)
		return error;
	doorbell_ports_init();
	error = doorbell_pages_register();
	if (error)
		return error;
	error = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "doorbell:online", cpu_on, cpu_off);
	if (error < 0)
		goto no_cpus;
	hotplug = error;
	error = doorbell_lines_init();
	if (error)
		goto no_lines;
	error = doorbell_device_register();
	if (error)
		goto no_device;
	pr_info("%u VCPUs, route %s, handlers look at %s pages\n", doorbell_vcpus, routes[doorbell_route],
	        doorbell_look_all ? "all" : "their own");
	return 0;

no_device:
	doorbell_lines_exit();
no_lines:
	cpuhp_remove_state_nocalls(hotplug);
no_cpus:
	doorbell_pages_release();
	return error;
}

/* No file is open: each holds the module. So no port is, and nobody rings. */
static void __exit driver_unload(void)
{
	u64 consumed, pending;

	doorbell_device_unregister();
	doorbell_lines_exit();
	cpuhp_remove_state_nocalls(hotplug);
	doorbell_pages_release();
	doorbell_ports_closed(&consumed, &pending);
	pr_info("%llu doorbells consumed, %llu of them as their port was closed\n", consumed, pending);
}

module_init(driver_load);
module_exit(driver_unload);
MODULE_DESCRIPTION("Bellhop's doorbells as Linux interrupts and as /dev/doorbell");
MODULE_LICENSE("Dual MIT/GPL");
