/* SPDX-License-Identifier: MIT */
/* A VM's making and its end. */
#include "kernel/vm.h"

#include "arch/x86/cpuid.h"
#include "kernel/doorbells.h"
#include "kernel/intr.h"
#include "kernel/load.h"
#include "kernel/log.h"
#include "kernel/string.h"
#include "kernel/tables.h"
#include "kernel/vcpu.h"

#define LOW_LIMIT (3ull << 30)
#define HIGH_BASE (4ull << 30)

/* What firmware leaves in the boot processor's LAPIC: SDM vol. 3, "LINT0 and LINT1", the virtual wire of a PC. */
#define FIRMWARE_SVR   0x1ff
#define FIRMWARE_LINT0 0x700
#define FIRMWARE_LINT1 0x400

/* docs/abi.md, "Budgets". */
#define BUDGET_PERIODS_A_SECOND 100

/* Four bits in the register, so it may coincide with an APIC ID: in a PC with an xAPIC bus that is no conflict. */
#define IOAPIC_ID 0

struct vm *vms[CONFIG_MAX_VMS];
unsigned vm_count;

/* VMs that have not ended; the last one's end is the end of the run. */
static _Atomic unsigned vms_alive;

static void *within(uint8_t *memory, uint64_t start, uint64_t length, uint64_t gpa, uint64_t size)
{
	return gpa - start < length && size <= length - (gpa - start) ? memory + (gpa - start) : NULL;
}

void *vm_ram(const struct vm *vm, uint64_t gpa, uint64_t size)
{
	uint8_t *scratch = vm->platform.test.scratch;

	if (gpa < vm->ram_low_size)
		return within(vm->ram_low, 0, vm->ram_low_size, gpa, size);
	if (gpa >= HIGH_BASE)
		return within(vm->ram_high, HIGH_BASE, vm->ram_high_size, gpa, size);
	return scratch ? within(scratch, TESTDEV_MEMORY, TESTDEV_MEMORY_SIZE, gpa, size) : NULL;
}

void vm_end(struct vm *vm, enum vm_end how, uint8_t status, const char *reason)
{
	int running = 0;

	if (!atomic_compare_exchange_strong(&vm->ending, &running, (int)how))
		return;
	vm->exit_status = status;
	format_text(vm->end_reason, sizeof(vm->end_reason), "%s", reason);
	/* The signal is sequentially consistent: whoever stops for it sees status and reason. */
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		vcpu_notify(vm->vcpu[i], inbox_signal(&vm->vcpu[i]->inbox, INBOX_STOP));
	}
}

void vm_stopped(struct vm *vm)
{
	if (atomic_fetch_sub(&vm->running, 1) != 1)
		return;
	platform_flush(vm);
	doorbells_gone(vm);
	if (atomic_load(&vm->ending) == VM_PARKED)
		log_line(LOG_GUEST, "vm %s: parked: %s", vm->name, vm->end_reason);
	else
		log_line(LOG_GUEST, "vm %s: ended: exit %u (%s)", vm->name, vm->exit_status, vm->end_reason);
	if (atomic_fetch_sub(&vms_alive, 1) != 1)
		return;
	log_line(LOG_HV, "end of run");
	machine_end();
}

static void *need(const struct config_vm *from, uint64_t size, uint64_t align, const char *what)
{
	void *memory = memory_alloc(size, align);

	if (!memory)
		refuse(LOG_CONFIG,
		       "too little memory: vm %s needs %lu KiB for %s, %lu KiB are free: give it less or the "
		       "machine more",
		       from->name, size / 1024, what, memory_free_bytes() / 1024);
	return memory;
}

static void make_ram(struct vm *vm, const struct config_vm *from)
{
	uint64_t low = from->memory < LOW_LIMIT ? from->memory : LOW_LIMIT;

	vm->ram_low_size = low;
	vm->ram_high_size = from->memory - low;
	vm->ram_low = need(from, low, LARGE_PAGE_SIZE, "its RAM (mem=)");
	vm->space = virt->space_create();
	virt->space_map(vm->space, 0, (uint64_t)vm->ram_low, low);
	if (!vm->ram_high_size)
		return;
	vm->ram_high = need(from, vm->ram_high_size, LARGE_PAGE_SIZE, "its RAM (mem=)");
	virt->space_map(vm->space, HIGH_BASE, (uint64_t)vm->ram_high, vm->ram_high_size);
}

/* Placement: the configuration's list in turn; without one, VMs follow each other around the CPUs. */
static unsigned place(const struct config_vm *from, unsigned index)
{
	static unsigned next;

	if (from->cpu_count)
		return from->cpu[index % from->cpu_count];
	return next++ % cpu_count;
}

/* One register, 0 EAX to 3 EDX, of a CPUID leaf as the guest is shown it at its start. */
static uint32_t guest_cpuid(const struct config_vm *from, uint32_t leaf, unsigned reg)
{
	const struct cpuid_view view = {
		.vcpus = from->vcpus, .x2apic = from->x2apic, .apic_enabled = true, .tsc_hz = tsc_hz
	};
	uint32_t out[4];

	cpuid_guest(&view, leaf, 0, out);
	return out[reg];
}

static void make_vcpu(struct vm *vm, const struct config_vm *from, unsigned index)
{
	struct vcpu *v = need(from, sizeof(*v), PAGE_SIZE, "a VCPU");
	struct apic_page *page = need(from, sizeof(*page), PAGE_SIZE, "a LAPIC page");
	const struct vlapic_config config = {
		.id = index,
		.bsp = index == 0,
		.x2apic = from->x2apic,
		.phys_bits = (uint8_t)guest_cpuid(from, 0x80000008, 0),
	};

	v->vm = vm;
	v->index = index;
	v->cpu = place(from, index);
	v->state = VCPU_WAIT_SIPI;
	vlapic_init(&v->apic, page, &config);
	inbox_init(&v->inbox, page, CPU_KICK);
	virt->vcpu_init(&v->virt, vm->space, page, &v->inbox);
	vm->vcpu[index] = v;
	vm->bus.face[index] = &v->apic.face;
	if (index == 0) {
		vlapic_mmio_write(&v->apic, APIC_SVR * 16, FIRMWARE_SVR, 0);
		vlapic_mmio_write(&v->apic, APIC_LVT_LINT0 * 16, FIRMWARE_LINT0, 0);
		vlapic_mmio_write(&v->apic, APIC_LVT_LINT1 * 16, FIRMWARE_LINT1, 0);
		v->state = VCPU_RUNNING;
	}
	vcpu_assign(v);
}

static void make_platform(struct vm *vm, const struct config_vm *from)
{
	uint8_t *scratch = from->testdev ? need(from, TESTDEV_MEMORY_SIZE, PAGE_SIZE, "the test device")
	                                 : NULL;

	vioapic_init(&vm->ioapic, from->ioapic_version, IOAPIC_ID);
	vpic_init(&vm->pic);
	vpit_init(&vm->pit, 0);
	atomic_init(&vm->chip_deadline, UINT64_MAX);
	platform_init(vm, scratch);
	/* Instructions of every kind are tried on it, so that none may depend on what we can emulate. */
	if (scratch)
		virt->space_map(vm->space, TESTDEV_MEMORY, (uint64_t)scratch, TESTDEV_MEMORY_SIZE);
}

static void write_tables(struct vm *vm, const struct config_vm *from)
{
	const struct tables_setup setup = {
		.vcpus = vm->vcpu_count,
		.ioapic_id = IOAPIC_ID,
		.ioapic_version = from->ioapic_version,
		.cpu_signature = guest_cpuid(from, 1, 0),
		.cpu_features = guest_cpuid(from, 1, 3),
	};

	tables_write(vm->ram_low, &setup);
}

static void load_image(struct vm *vm, const struct config *config, const struct config_vm *from)
{
	struct load_module modules[LOAD_MAX_MODULES];
	struct load_request request = {
		.ram = vm->ram_low,
		.size = vm->ram_low_size,
		.high = vm->ram_high_size,
		.image = from->image,
		.image_size = from->image_size,
		.name = from->name,
		.arguments = from->arguments,
		.module = modules,
	};
	const char *wrong;

	for (unsigned i = 0; i < config->module_count; i++) {
		const struct config_module *m = &config->module[i];

		if (strcmp(m->vm, from->name) == 0)
			modules[request.module_count++] = (struct load_module){ m->image, m->image_size,
				                                                m->string };
	}
	wrong = (load_is_linux(from->image, from->image_size) ? load_linux : load_multiboot)(&request,
	                                                                                     &vm->start);
	if (wrong)
		refuse(LOG_CONFIG, "vm %s: cannot load its file: %s", from->name, wrong);
	write_tables(vm, from);
}

_Static_assert(CONFIG_MAX_MODULES <= LOAD_MAX_MODULES, "every configured module can be loaded");

struct vm *vm_create(const struct config *config, const struct config_vm *from)
{
	struct vm *vm = need(from, sizeof(*vm), PAGE_SIZE, "itself");
	struct db_port *ports = need(from, BH_PORTS * sizeof(*ports), PAGE_SIZE, "its doorbells");

	memcpy(vm->name, from->name, sizeof(vm->name));
	vm->index = vm_count;
	vm->config = from;
	vm->vcpu_count = from->vcpus;
	atomic_init(&vm->running, from->vcpus);
	vm->bus.count = from->vcpus;
	db_init(&vm->doorbells, ports, &vm->bus, from->vcpus, from->route);
	db_set_budget(&vm->doorbells, from->budget, tsc_hz / BUDGET_PERIODS_A_SECOND);
	make_ram(vm, from);
	vm->gigabyte_pages = guest_cpuid(from, 0x80000001, 3) >> 26 & 1; /* SDM vol. 2, "CPUID" */
	make_platform(vm, from);
	for (unsigned i = 0; i < from->vcpus; i++)
		make_vcpu(vm, from, i);
	load_image(vm, config, from);
	for (unsigned i = 0; i < from->peer_count; i++) {
		for (unsigned p = 0; p < config->vm_count; p++) {
			if (strcmp(config->vm[p].name, from->peer[i]) == 0)
				vm->peer[i] = (int)p;
		}
	}
	atomic_fetch_add(&vms_alive, 1);
	vms[vm_count++] = vm;
	return vm;
}
