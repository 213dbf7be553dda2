/* SPDX-License-Identifier: MIT */
/* From an exit to its handler. */
#pragma once

#include "arch/x86/gwalk.h"

struct vcpu;
struct vm_exit;

/* Handles the exit that vcpu_run() came back with, or parks the VM. The VCPU's CPU. */
void exit_dispatch(struct vcpu *v);

/* Forgets the answers of CPUID; also before the first is asked for. The VCPU's CPU. */
void exit_forget(struct vcpu *v);

/* Emulates the instruction behind an access to memory that is not mapped. False: it cannot be (mmio.c). */
bool mmio_exit(struct vcpu *v, const struct vm_exit *e);

/* Emulates IN or OUT, but for stepping over it; and INS or OUTS, likewise false: it cannot be (pio.c). */
void pio_exit(struct vcpu *v, uint16_t port, unsigned size, bool in);
bool pio_string(struct vcpu *v, const struct vm_exit *e);

/* RDMSR, WRMSR (msr_exit.c). */
void msr_exit(struct vcpu *v, uint32_t index, bool write);

/*
 * Guest-linear memory for an emulated access, in the address space that guest_load() read from the registers.
 * GUEST_AGAIN: enter the guest, with a fault injected or to repeat the instruction. GUEST_LOST: page tables, or
 * data, outside of its RAM. The VCPU's CPU.
 */
enum guest_result { GUEST_DONE, GUEST_AGAIN, GUEST_LOST };
void guest_load(struct vcpu *v, struct gwalk_cpu *cpu);
enum guest_result guest_translate(struct vcpu *v, const struct gwalk_cpu *cpu, uint64_t linear,
                                  unsigned access, uint64_t *gpa);

/* Copies from, or with GWALK_WRITE to, guest-linear RAM, page by page; size at most 16 bytes. */
enum guest_result guest_copy(struct vcpu *v, const struct gwalk_cpu *cpu, uint64_t linear, void *bytes,
                             unsigned size, unsigned access);
