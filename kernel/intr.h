/* SPDX-License-Identifier: MIT */
/* Interrupts of a VM: from lines, messages and doorbells into the inboxes of its VCPUs. */
#pragma once

#include "kernel/vic/doorbell.h"

struct vm;
struct vcpu;
struct vlapic_effect;

/*
 * Electrical level of an interrupt line: an ISA line (0-15) goes to the 8259 pair and the IOAPIC (line 0 to pin 2, as
 * the MADT's override says), any other to the IOAPIC pin of that number. Any CPU; takes chip_lock.
 */
void intr_set_line(struct vm *vm, unsigned line, bool high);

/* Shows the backend what the LAPIC's face says: before the first entry, and after an INIT. The VCPU's CPU. */
void intr_show(struct vcpu *v);

/* Does what a LAPIC operation left to do, all but injecting #GP. The VCPU's CPU. */
void intr_effect(struct vcpu *v, const struct vlapic_effect *effect);

/* An IPI that needs nothing but to be posted, and noted in the ICR. False: another; nothing was done. The VCPU's CPU. */
bool intr_ipi(struct vcpu *v, uint64_t icr);

/* Does what a doorbell operation left to do. Any CPU; while "ringing" (kernel/doorbells.c). */
void intr_doorbell(struct vm *vm, struct db_effect effect);

/* Tries again what the IOAPIC holds: another route may have somebody for it. Any CPU; takes chip_lock. */
void intr_retry(struct vm *vm);

/* IOAPIC page at `offset`. Any CPU; takes chip_lock. */
uint32_t intr_ioapic_read(struct vm *vm, uint32_t offset);
void intr_ioapic_write(struct vm *vm, uint32_t offset, uint32_t value);

/* A port of PLATFORM_CHIP (kernel/dev/platform.h): the 8259 pair's, the 8254's, 0x61. Any CPU; takes chip_lock. */
void intr_port(struct vm *vm, uint16_t port, bool in, uint8_t *value);

/* The interrupt acknowledge of an ExtINT: the 8259's vector. The VCPU's CPU; takes chip_lock. */
uint8_t intr_acknowledge(struct vm *vm);

/* INTR as it is now. Any CPU; takes chip_lock. */
bool intr_wire(struct vm *vm);

/* Something of the VM is due at `host` TSC: VCPU 0's CPU, which keeps its deadlines, wakes for it. Any CPU. */
void intr_deadline(struct vm *vm, uint64_t host);

/* Runs PIT and doorbells up to now and sets vm->chip_deadline. VCPU 0's CPU, when that deadline has passed. */
void intr_tick(struct vm *vm);

/*
 * After a post: sends the vector that it returned to the CPU of the VCPU, unless that is this one, which looks at the
 * inbox before it enters a guest. Any CPU.
 */
void vcpu_notify(struct vcpu *v, uint8_t vector);
