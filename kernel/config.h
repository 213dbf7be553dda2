/* SPDX-License-Identifier: MIT */
/* The configuration: the hypervisor's own options and one line per GRUB module. Pure parsers, host-tested. */
#pragma once

#include <stddef.h>

#include "kernel/vic/abi.h"
#include "kernel/vic/apic_msg.h"

#define CONFIG_MAX_VMS     8
#define CONFIG_MAX_MODULES 8
#define CONFIG_NAME_SIZE   16
#define CONFIG_ERROR_SIZE  120

/* module2 /FILE vm name=N [vcpus=N] [mem=SIZE] [cpus=LIST] [peers=LIST] [testdev] ... [-- ARGUMENTS] */
struct config_vm {
	char name[CONFIG_NAME_SIZE];
	unsigned vcpus;             /* 1 to VIC_MAX_VCPUS, default 1 */
	uint64_t memory;            /* bytes; 1M to 1024G in units K, M, G; default 64M; multiple of 4 KiB */
	uint8_t route;              /* enum bh_route, default native */
	uint32_t budget;            /* upcalls of a port in each 10 ms, to 65535; 0: no limit; default 1000 */
	uint8_t cpu[VIC_MAX_VCPUS]; /* physical CPU of each VCPU; cpus=0,1,2-3 is used round robin */
	unsigned cpu_count;         /* entries given in cpu[]; 0: VMs and VCPUs take all CPUs in turn */
	char peer[CONFIG_MAX_VMS][CONFIG_NAME_SIZE];
	unsigned peer_count;
	bool testdev;           /* the test device's ports: see docs */
	bool irq0_vcpu0;        /* irq0=vcpu0: the PIT line prefers VCPU 0 where its entry allows it */
	uint8_t ioapic_version; /* ioapic=0x11 or 0x20; default 0x20 */
	bool x2apic;            /* x2apic=on (default) or off */
	const char *arguments;  /* what follows " -- "; never NULL; points into the line */
	const void *image;      /* the module's bytes */
	size_t image_size;
};

/* module2 /FILE module vm=NAME [-- STRING] : handed to that VM's multiboot information as a module. */
struct config_module {
	char vm[CONFIG_NAME_SIZE];
	const char *string;
	const void *image;
	size_t image_size;
};

/* multiboot2 /bellhop.elf [end=halt|bochs|qemu|reset] [apic=soft|regs|vid|posted|ipiv] */
struct config {
	struct config_vm vm[CONFIG_MAX_VMS];
	unsigned vm_count;
	struct config_module module[CONFIG_MAX_MODULES];
	unsigned module_count;
	uint8_t end;  /* enum machine_end_way */
	uint8_t apic; /* enum virt_apic; default: the best there is */
};

/* Boot CPU; `line` must outlive the result. False: `error` (CONFIG_ERROR_SIZE bytes) shows the wrong word. */
bool config_options(struct config *config, const char *line, char *error);
bool config_add_module(struct config *config, const char *line, const void *image, size_t size, char *error);
/* After the last line: peers must be mutual, the VMs of modules exist, the CPUs of VMs too. */
bool config_check(struct config *config, unsigned cpus, char *error);
