/* SPDX-License-Identifier: MIT */
/* A VM and its VCPUs: who owns what, and which lock guards what. */
#pragma once

#include "arch/x86/virt.h"
#include "kernel/config.h"
#include "kernel/dev/platform.h"
#include "kernel/spinlock.h"
#include "kernel/vic/doorbell.h"
#include "kernel/vic/icr.h"
#include "kernel/vic/inbox.h"
#include "kernel/vic/route.h"
#include "kernel/vic/vioapic.h"
#include "kernel/vic/vlapic.h"
#include "kernel/vic/vpic.h"
#include "kernel/vic/vpit.h"

enum vcpu_state {
	VCPU_WAIT_SIPI, /* after INIT */
	VCPU_RUNNING,
	VCPU_HALTED,  /* HLT: until an event */
	VCPU_STOPPED, /* its VM has ended */
};

/* An answer of CPUID. */
struct cpuid_answer {
	uint32_t leaf, subleaf, reg[4];
};
#define VCPU_CPUID_ANSWERS 16u

/*
 * A VCPU. Every field belongs to the CPU it is pinned to, except the inbox (anybody posts), the LAPIC's
 * face (anybody reads) and the backend's two counters, which their owner writes and anybody reads.
 */
struct vcpu {
	struct virt_vcpu virt;
	struct vm *vm;
	struct vcpu *next; /* the next VCPU of the same CPU; a ring, constant once the VMs run */
	unsigned index;    /* in the VM; also its APIC ID */
	unsigned cpu;      /* the physical CPU it is pinned to; constant */
	enum vcpu_state state;
	uint8_t nmis;        /* NMIs that wait */
	bool intr;           /* the 8259's INTR wire as last seen; VCPU 0 has it */
	bool inta;           /* an ExtINT message waits: INTR is asked whatever LINT0 says */
	bool window;         /* EXIT_WINDOW was asked for */
	uint8_t threshold;   /* the TPR threshold in force */
	uint64_t tsc_offset; /* guest TSC - host TSC */
	uint64_t msr_flips;  /* bits of IA32_MISC_ENABLE that are not as at the start */
	uint64_t slice_end;  /* host TSC */
	bool timer_posted;   /* the processor delivers the LAPIC timer's interrupt, see vcpu_settle() */
	uint64_t spoilt; /* the timer deadline (guest TSC) for which that was taken back because of a kick */
	uint64_t met;    /* host TSC at which a deadline was last met */
	uint64_t deadline; /* host TSC at which something is due or the slice ends; VCPU_LOOK: not known */
	struct cpuid_answer cpuid[VCPU_CPUID_ANSWERS]; /* by leaf % VCPU_CPUID_ANSWERS */
	struct vlapic apic;
	struct inbox inbox;
};

/*
 * Locks: chip_lock (IOAPIC, 8259 pair, PIT, callback lines), the platform's own (UART, RTC and the like) and the
 * doorbell lock (one for all VMs, kernel/doorbells.c). None nests in another, and the console's nests in none.
 * Interrupts are posted into inboxes under chip_lock: an inbox takes no lock.
 */
struct vm {
	char name[CONFIG_NAME_SIZE];
	unsigned index;
	const struct config_vm *config;
	unsigned vcpu_count;
	struct vcpu *vcpu[VIC_MAX_VCPUS];

	/* Guest RAM, constant: guest-physical 0 to ram_low_size (at most 3 GiB), and 4 GiB on. */
	uint8_t *ram_low;
	uint64_t ram_low_size;
	uint8_t *ram_high;
	uint64_t ram_high_size;
	void *space;         /* the backend's page tables for it */
	bool gigabyte_pages; /* its CPUID shows 1-GByte pages; constant */

	struct spinlock chip_lock;
	struct vioapic ioapic;
	struct vpic pic;
	struct vpit pit;
	struct route_lines lines;
	bool intr;                      /* the 8259's INTR wire; under chip_lock */
	_Atomic uint64_t chip_deadline; /* host TSC at which VCPU 0's CPU looks at PIT and doorbells again */
	struct apic_bus bus;            /* the faces of all VCPUs */

	struct db_vm doorbells;
	_Atomic uint64_t misdirected;
	int peer[CONFIG_MAX_VMS]; /* VM numbers in the order of the configuration's list; constant */

	struct platform platform;

	struct virt_start start; /* VCPU 0's; constant */

	_Atomic int ending;       /* 0 while it runs, else enum vm_end */
	_Atomic unsigned running; /* VCPUs that have not stopped; the last one reports the end */
	uint8_t exit_status;
	char end_reason[64]; /* written by the one who changed `ending` */
};

enum vm_end { VM_ENDED = 1, VM_PARKED };

/* Constant once the VMs run. */
extern struct vm *vms[CONFIG_MAX_VMS];
extern unsigned vm_count;

/* Guest RAM as the hypervisor sees it, NULL unless gpa to gpa + size - 1 is all RAM of one piece. Any CPU. */
void *vm_ram(const struct vm *vm, uint64_t gpa, uint64_t size);

/*
 * Ends a VM, once: `status` for VM_ENDED, a reason for both. Any CPU; its VCPUs leave the guest and stop. A parked VM
 * is one that did something impossible or unknown; the caller has written the dump.
 */
void vm_end(struct vm *vm, enum vm_end how, uint8_t status, const char *reason);

/* One VCPU of it has stopped, on its own CPU. The last one reports, and the last VM ends the run. */
void vm_stopped(struct vm *vm);

/* Boot CPU: makes a VM from its configuration: memory, VCPUs, devices, the loaded image. Refuses what cannot be. */
struct vm *vm_create(const struct config *config, const struct config_vm *from);
