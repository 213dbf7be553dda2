/* SPDX-License-Identifier: MIT */
/* What is measured on every peer, and what differs from one to the other. Two VCPUs, 64-bit code, memory mapped one to one. */
#ifndef PEER_GUEST_H
#define PEER_GUEST_H

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/cpu.h"

#define RUNS 200

#define MSR_EOI      0x80bu
#define MSR_SVR      0x80fu
#define MSR_ICR      0x830u
#define MSR_LVTT     0x832u
#define MSR_INITIAL  0x838u
#define MSR_DIVIDE   0x83eu
#define MSR_SELF     0x83fu
#define MSR_DEADLINE 0x6e0u

#define VECTOR_OWN   0x40 /* to VCPU 0 */
#define VECTOR_OTHER 0x41 /* to VCPU 1 */
#define VECTOR_TIMER 0x42
#define VECTOR_EVENT 0x50 /* Xen's upcall */

/* A function of which the caller times every instruction: no call may come between. */
#define TIMED static inline __attribute__((always_inline))

struct frame;
#define HANDLER static __attribute__((interrupt)) void

/* Boot CPU only. */
extern uint32_t sample[RUNS];

extern volatile unsigned taken;    /* interrupts of VCPU 0 */
extern volatile unsigned arrived;  /* interrupts of VCPU 1 */
extern volatile uint64_t arrival;  /* TSC at the handler's first line; written before the count */
extern volatile bool second_is_up; /* written by VCPU 1 */

/* Where each VCPU begins, with IF=0 and a stack. Neither returns. */
void guest_first(void);
void guest_second(void);

/* For both VCPUs. */
void guest_gate(unsigned vector, void (*handler)(struct frame *frame));

/* The row of an operation: the median of `sample`, which is sorted. */
void guest_row(const char *operation);

/* VCPU 1 waits in a loop with PAUSE; in HLT. */
void guest_wait_spin(void);
void guest_wait_halt(void);

/* The peer's part: starts VCPU 1; rows of its own, by the face of the APIC; a character of the log; the end. */
void peer_start(void);
void peer_rows_xapic(void);
void peer_rows_x2apic(void);
void peer_put(char c);
void peer_end(void);
extern const uint32_t peer_other_id; /* VCPU 1's APIC ID */

TIMED void pauses(unsigned count)
{
	while (count--)
		cpu_pause();
}

/* Without a limit: the run has one. */
TIMED void wait_beyond(const volatile unsigned *count, unsigned before)
{
	while (*count == before)
		cpu_pause();
}

/* Ticks around an operation, the two RDTSCs included. */
TIMED void row_around(const char *operation, void (*what)(void))
{
	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t start = cpu_tsc();

		what();
		sample[i] = (uint32_t)(cpu_tsc() - start);
	}
	guest_row(operation);
}

/* From before the send on VCPU 0 to the first line of the handler on VCPU 1, which has had `rest` PAUSEs before. */
TIMED void row_of_way(const char *operation, void (*send)(void), unsigned rest)
{
	for (unsigned i = 0; i < RUNS; i++) {
		unsigned before;
		uint64_t start;

		pauses(rest);
		before = arrived;
		start = cpu_tsc();
		send();
		wait_beyond(&arrived, before);
		sample[i] = (uint32_t)(arrival - start);
	}
	guest_row(operation);
}

TIMED void rows_of_way(const char *spin, const char *halt, void (*send)(void))
{
	guest_wait_spin();
	row_of_way(spin, send, 200);
	guest_wait_halt();
	row_of_way(halt, send, 3000);
	guest_wait_spin();
}

#endif
