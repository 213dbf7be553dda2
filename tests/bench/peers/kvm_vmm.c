/* SPDX-License-Identifier: MIT */
/* The least monitor for KVM: `kvm_vmm IMAGE` runs the guest on two VCPUs, each on a CPU of its own. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/peers/kvm_vmm.h"

#define VCPUS  2
#define MEMORY (32u << 20)
#define LOAD   (16u << 20) /* guest.ld */
#define STACK  (8u << 20)  /* VCPU 0's; the next one is 1 MiB further on */
#define GDT    0x1000
#define PML4   0x2000
#define PDPT   0x3000
#define PD_LOW 0x4000 /* 0 to 1 GiB */
#define PD_TOP 0x5000 /* 3 to 4 GiB, where the APICs are */

static int kvm, vm, vcpus[VCPUS];
static char *ram;

static int must(const char *what, int result)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

/* A write to the port makes the eventfd ready, and that the interrupt; without a line nobody waits. */
static void doorbell(unsigned port, int line)
{
	int event = must("eventfd", eventfd(0, EFD_NONBLOCK));
	struct kvm_ioeventfd io = { .addr = port, .len = 4, .fd = event, .flags = KVM_IOEVENTFD_FLAG_PIO };
	struct kvm_irqfd irq = { .fd = (unsigned)event, .gsi = (unsigned)line };

	must("KVM_IOEVENTFD", ioctl(vm, KVM_IOEVENTFD, &io));
	if (line >= 0)
		must("KVM_IRQFD", ioctl(vm, KVM_IRQFD, &irq));
}

static void make_doorbells(void)
{
	static union {
		struct kvm_irq_routing head;
		char room[sizeof(struct kvm_irq_routing) + 2 * sizeof(struct kvm_irq_routing_entry)];
	} table;

	/* Lines beyond the IOAPIC's are messages to a LAPIC: address and data as of an MSI. */
	table.head.nr = 2;
	for (unsigned i = 0; i < 2; i++) {
		struct kvm_irq_routing_entry *entry = &table.head.entries[i];

		entry->gsi = 24 + i;
		entry->type = KVM_IRQ_ROUTING_MSI;
		entry->u.msi.address_lo = 0xfee00000 | i << 12;
		entry->u.msi.data = 0x40 + i;
	}
	must("KVM_SET_GSI_ROUTING", ioctl(vm, KVM_SET_GSI_ROUTING, &table.head));
	doorbell(PORT_UNBOUND, -1);
	doorbell(PORT_BELL_OWN, 24);
	doorbell(PORT_BELL_OTHER, 25);
}

static void make_memory(const char *image)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	unsigned long *words;
	FILE *file = fopen(image, "rb");

	ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (!file || ram == MAP_FAILED || fread(ram + LOAD, 1, MEMORY - LOAD, file) == 0)
		err(1, "%s", image);
	fclose(file);
	words = (unsigned long *)(ram + GDT);
	words[1] = 0x00af9b000000fffful;
	words[2] = 0x00cf93000000fffful;
	*(unsigned long *)(ram + PML4) = PDPT | 3;
	words = (unsigned long *)(ram + PDPT);
	words[0] = PD_LOW | 3;
	words[3] = PD_TOP | 3;
	for (unsigned long i = 0; i < 512; i++) {
		((unsigned long *)(ram + PD_LOW))[i] = i << 21 | 0x83;
		((unsigned long *)(ram + PD_TOP))[i] = (0xc0000000ul + (i << 21)) | 0x83;
	}
	region.userspace_addr = (unsigned long)ram;
	must("KVM_SET_USER_MEMORY_REGION", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
}

/* All that KVM supports, with x2APIC and the deadline timer. */
static void set_cpuid(int vcpu)
{
	static union {
		struct kvm_cpuid2 head;
		char room[sizeof(struct kvm_cpuid2) + 128 * sizeof(struct kvm_cpuid_entry2)];
	} table;

	table.head.nent = 128;
	must("KVM_GET_SUPPORTED_CPUID", ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &table.head));
	for (unsigned i = 0; i < table.head.nent; i++)
		if (table.head.entries[i].function == 1)
			table.head.entries[i].ecx |= 1u << 21 | 1u << 24;
	must("KVM_SET_CPUID2", ioctl(vcpu, KVM_SET_CPUID2, &table.head));
}

/* In 64-bit mode at the image's first byte. */
static void make_vcpu(unsigned index)
{
	struct kvm_regs regs = {
		.rip = LOAD, .rsp = STACK + ((unsigned long)index << 20) - 8, .rdi = index, .rflags = 2
	};
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .l = 1, .s = 1, .g = 1
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_mp_state state = { KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs sregs;
	int vcpu = must("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, index));

	set_cpuid(vcpu);
	must("KVM_GET_SREGS", ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = GDT;
	sregs.gdt.limit = 23;
	sregs.cr0 = 0x80000031;
	sregs.cr3 = PML4;
	sregs.cr4 = 0x620;
	sregs.efer = 0x500;
	must("KVM_SET_SREGS", ioctl(vcpu, KVM_SET_SREGS, &sregs));
	must("KVM_SET_REGS", ioctl(vcpu, KVM_SET_REGS, &regs));
	must("KVM_SET_MP_STATE", ioctl(vcpu, KVM_SET_MP_STATE, &state));
	vcpus[index] = vcpu;
}

/* Until the guest has ended. */
static void *run(void *argument)
{
	unsigned index = (unsigned)(unsigned long)argument;
	int size = must("KVM_GET_VCPU_MMAP_SIZE", ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	struct kvm_run *state = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpus[index], 0);
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(index, &cpus);
	must("sched_setaffinity", sched_setaffinity(0, sizeof(cpus), &cpus));
	if (state == MAP_FAILED)
		err(1, "mmap");
	for (;;) {
		if (ioctl(vcpus[index], KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			err(1, "KVM_RUN");
		if (state->exit_reason != KVM_EXIT_IO)
			errx(1, "VCPU %u: exit %u", index, state->exit_reason);
		if (state->io.port == PORT_END)
			return NULL;
		if (state->io.port == PORT_LOG)
			putchar(((char *)state)[state->io.data_offset]);
	}
}

int main(int argc, char **argv)
{
	unsigned long identity_map = 0xfffbc000;
	pthread_t second;

	if (argc != 2)
		errx(1, "usage: kvm_vmm IMAGE");
	kvm = must("/dev/kvm", open("/dev/kvm", O_RDWR));
	vm = must("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));
	must("KVM_SET_TSS_ADDR", ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul));
	must("KVM_SET_IDENTITY_MAP_ADDR", ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map));
	must("KVM_CREATE_IRQCHIP", ioctl(vm, KVM_CREATE_IRQCHIP, 0));
	make_memory(argv[1]);
	make_doorbells();
	for (unsigned i = 0; i < VCPUS; i++)
		make_vcpu(i);
	if (pthread_create(&second, NULL, run, (void *)1ul) != 0)
		errx(1, "pthread_create");
	run(NULL);
	fflush(stdout);
	_exit(0);
}
