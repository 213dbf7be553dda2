/* SPDX-License-Identifier: MIT */
/* From an exit to its handler. */
#ifndef KERNEL_EXIT_H
#define KERNEL_EXIT_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct vm_exit;

/* Handles one exit, or parks the VM. The VCPU's CPU. */
void exit_dispatch(struct vcpu *v, const struct vm_exit *e);

/* Emulates the instruction behind an access to memory that is not mapped. False: it cannot be (mmio.c). */
bool mmio_exit(struct vcpu *v, const struct vm_exit *e);

/* Emulates IN, OUT, INS or OUTS (pio.c). */
bool pio_exit(struct vcpu *v, const struct vm_exit *e);

/* RDMSR, WRMSR (msr_exit.c) and VMCALL (hypercall.c). */
bool msr_exit(struct vcpu *v, const struct vm_exit *e);
bool hypercall_exit(struct vcpu *v, const struct vm_exit *e);

/*
 * Guest-linear memory for an emulated access. GUEST_DONE: *gpa is where. GUEST_FAULTED: the fault has been injected.
 * GUEST_LOST: the page tables lie outside of the guest's memory.
 */
enum guest_result { GUEST_DONE, GUEST_FAULTED, GUEST_RETRY, GUEST_LOST };
enum guest_result guest_translate(struct vcpu *v, uint64_t linear, unsigned access, uint64_t *gpa);

/* Copies guest-linear memory, page by page; size at most 16 bytes. Only RAM: GUEST_LOST elsewhere. */
enum guest_result guest_copy(struct vcpu *v, uint64_t linear, void *bytes, unsigned size, unsigned access);

#endif
