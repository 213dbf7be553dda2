/* SPDX-License-Identifier: MIT */
/* The hypervisor's own interrupts and exceptions. */
#ifndef ARCH_X86_TRAP_H
#define ARCH_X86_TRAP_H

#include <stdint.h>

/* Fills the IDT. The boot CPU, once, before trap_load() anywhere. */
void trap_init(void);

/* Loads the IDT. Each CPU, after segments_load(). */
void trap_load(void);

/*
 * An NMI has come to this CPU: by its IDT, or by a VM exit, in which case the backend calls this. Counts it,
 * or halts the CPU if cpu_stop_others() asked for that. Takes no lock.
 */
void trap_nmi(void);

/* Logs the first unexpected NMI, once. Any CPU, where it may take the log's lock: an NMI handler may not. */
void trap_report_nmi(void);

#endif
