/* SPDX-License-Identifier: MIT */
/* Doorbells between the VMs: the steps of kernel/vic/doorbell.h put in order, with the lock and the waiting. */
#pragma once

#include <stdint.h>

struct vm;

/* A hypercall for `vm` with its four arguments; returns its result. Any CPU, holding no lock. */
typedef int64_t hypercall(struct vm *vm, const uint64_t arg[4]);

/* The calls of the same names in kernel/vic/abi.h, which says what the arguments are. */
hypercall doorbells_mask_page, doorbells_vcpu_pages, doorbells_group_vector;
hypercall doorbells_open, doorbells_close, doorbells_rebind, doorbells_ring, doorbells_ring_many,
	doorbells_kick;
hypercall doorbells_port_stat, doorbells_route, doorbells_offer, doorbells_connect, doorbells_timer;

/*
 * These groups' entries select other VCPUs now (route_follow()): on route `follow` their bits move there before this
 * returns, with upcalls on their way. Any CPU, holding no lock; cheap when `groups` is 0.
 */
void doorbells_follow(struct vm *vm, uint32_t groups);

/* Raises again the vectors of a VCPU whose LAPIC may have forgotten them (INIT, disabled). Any CPU, holding no lock. */
void doorbells_remind(struct vm *vm, unsigned vcpu);

/* Rings timers that are due and announces what was held back until now. VCPU 0's CPU, holding no lock. */
void doorbells_tick(struct vm *vm);

/* The VM has ended: its peers' rings fail from now on. Any CPU, holding no lock. */
void doorbells_gone(struct vm *vm);
