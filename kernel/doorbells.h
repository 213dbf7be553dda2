/* SPDX-License-Identifier: MIT */
/* Doorbells between the VMs: the steps of kernel/vic/doorbell.h put in order, with the lock and the waiting. */
#ifndef KERNEL_DOORBELLS_H
#define KERNEL_DOORBELLS_H

#include <stdint.h>

struct vm;

/* Each does one hypercall of the same name for `vm` and returns its result. Any CPU, holding no lock. */
int64_t doorbells_ring(struct vm *vm, uint64_t port);
int64_t doorbells_kick(struct vm *vm, uint64_t port);
int64_t doorbells_open(struct vm *vm, uint64_t kind, uint64_t vcpu, uint64_t group);
int64_t doorbells_close(struct vm *vm, uint64_t port);
int64_t doorbells_rebind(struct vm *vm, uint64_t port, uint64_t vcpu);
int64_t doorbells_route(struct vm *vm, uint64_t route);
int64_t doorbells_offer(struct vm *vm, uint64_t port, uint64_t peer);
int64_t doorbells_connect(struct vm *vm, uint64_t port, uint64_t peer, uint64_t far_port);
int64_t doorbells_vcpu_pages(struct vm *vm, uint64_t vcpu, uint64_t pending, uint64_t control);
int64_t doorbells_mask_page(struct vm *vm, uint64_t mask);
int64_t doorbells_vector(struct vm *vm, uint64_t vcpu, uint64_t group, uint64_t vector);

/* The VM has ended: its peers' rings fail from now on. Any CPU, holding no lock. */
void doorbells_gone(struct vm *vm);

#endif
