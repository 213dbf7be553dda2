/* SPDX-License-Identifier: MIT */
/* What a guest is started with: its arguments, its CPUs; and the way from the entry to guest_main(). */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include <stdbool.h>
#include <stdint.h>

/* The guest itself: called on the boot CPU with IF=0, APIC on, PIC masked. Never returns: it ends by report_end(). */
void guest_main(void) __attribute__((noreturn));

/* The name in its reports. */
extern const char guest_name[];

/* The value of `key` in the command line, or `otherwise`. A number is decimal, or hexadecimal after 0x. */
uint64_t boot_number(const char *key, uint64_t otherwise);

/* True if `key=value` is in the command line. */
bool boot_is(const char *key, const char *value);

/* Bytes of RAM from 1 MiB on, by the loader; 0 if it did not say. */
uint64_t boot_memory(void);

/* APIC IDs of the CPUs by the MADT, else by the MP table, the boot CPU's first; how many there are, at most `max`. */
unsigned boot_cpus(uint32_t *ids, unsigned max);

/* Only entry.S calls these. */
void cpu_boot_main(void);
void cpu_ap_main(void);

#endif
