/* SPDX-License-Identifier: MIT */
/* From the machine as the boot path left it to running VMs: configuration, CPUs, VMs, in that order. */
#include "boot/multiboot2.h"
#include "kernel/log.h"
#include "kernel/vcpu.h"

/* Set by the boot CPU when every VM is made; release, so that the others see the VMs. */
static _Atomic bool vms_are_made;

/* Constant once the VMs are made, which keep pointers into it. */
static struct config config;

static void turn_on_virtualisation(void)
{
	struct cpu *cpu = cpu_self();
	const char *wrong = virt->cpu_on();

	if (wrong)
		refuse(LOG_HV, "CPU %u: %s", cpu->index, wrong);
	log_line(LOG_HV, "CPU %u (APIC ID %u): %s is on", cpu->index, cpu->apic_id, virt->name);
	atomic_store_explicit(&cpu->online, true, memory_order_release);
}

/* Every CPU but the boot CPU. */
static void run_cpu(void)
{
	turn_on_virtualisation();
	/* Interrupts are off but in cpu_idle(): a kick between the look and the HLT ends the HLT. */
	while (!atomic_load_explicit(&vms_are_made, memory_order_acquire))
		cpu_idle(UINT64_MAX);
	vcpu_run_all();
}

static void read_configuration(const struct boot_info *boot)
{
	char error[CONFIG_ERROR_SIZE];
	bool right = config_options(&config, boot->cmdline, error);

	/* First of all: a refusal, too, has to end an emulator's run. */
	machine_end_way = config.end;
	if (!right)
		refuse(LOG_CONFIG, "%s", error);
	for (unsigned i = 0; i < boot->module_count; i++) {
		const struct boot_module *m = &boot->modules[i];

		if (!config_add_module(&config, m->string, (const void *)m->start, m->end - m->start, error))
			refuse(LOG_CONFIG, "module %u: %s", i + 1, error);
	}
	if (!config.vm_count)
		refuse(LOG_CONFIG, "no module given: add a line \"module2 /FILE vm name=NAME\" to grub.cfg");
}

static void make_vms(void)
{
	for (unsigned i = 0; i < config.vm_count; i++) {
		const struct config_vm *from = &config.vm[i];
		struct vm *vm = vm_create(&config, from);

		log_line(LOG_HV, "vm %s: %u VCPUs, %lu MiB, route %s, starts on CPU %u", vm->name,
		         vm->vcpu_count, from->memory >> 20, route_find(from->route)->name, vm->vcpu[0]->cpu);
	}
	atomic_store_explicit(&vms_are_made, true, memory_order_release);
	for (unsigned i = 1; i < cpu_count; i++)
		cpu_interrupt(i, CPU_KICK);
}

void kernel_main(const struct boot_info *boot)
{
	char error[CONFIG_ERROR_SIZE];

	read_configuration(boot);
	machine_init(boot);
	log_line(LOG_HV, "Bellhop, doorbell ABI %u, TSC %lu kHz, %lu MiB free", BH_ABI_VERSION, tsc_hz / 1000,
	         memory_free_bytes() >> 20);
	virt_pick(config.apic);
	smp_start(run_cpu);
	if (!config_check(&config, cpu_count, error))
		refuse(LOG_CONFIG, "%s", error);
	turn_on_virtualisation();
	for (unsigned i = 0; i < cpu_count; i++) {
		while (!atomic_load_explicit(&cpus[i].online, memory_order_acquire))
			cpu_relax();
	}
	make_vms();
	console_listen();
	vcpu_run_all();
}
