/* SPDX-License-Identifier: MIT */
/* What the parts of the benchmark share: samples, medians, rows; light interrupt handlers; the receiving VCPUs. */
#ifndef BENCH_H
#define BENCH_H

#include "guest-stubs/lib/apic.h"
#include "guest-stubs/lib/boot.h"
#include "guest-stubs/lib/db.h"
#include "guest-stubs/lib/print.h"
#include "guest-stubs/lib/report.h"
#include "guest-stubs/lib/smp.h"
#include "guest-stubs/lib/trap.h"

#define RUNS 201

/* A function of which the caller times every instruction: no call may come between. */
#define TIMED static inline __attribute__((always_inline))

/* An interrupt handler that saves what it uses and nothing else; installed by gate_set(). */
#define HANDLER static __attribute__((interrupt)) void

/* The median ticks of an operation, and the exits of the whole VM for a hundred of it. */
struct cost {
	uint32_t ticks, exits_x100;
	uint32_t late; /* ticks of the 99th percentile, for machines where runs differ */
};

/* Boot CPU only, like everything that measures. */
extern uint32_t sample[RUNS];

/* Exits of the VM so far, the call's own included. */
long exits_now(void);

/* The cost by `sample`, which it sorts, and by exits_now() after all runs minus before them. */
struct cost cost_of(long exits);

/* Prints one row of the table of operations. */
void cost_row(const char *operation, struct cost cost);

/* The vector goes straight to a HANDLER, past the library's dispatch. */
void gate_set(unsigned vector, void (*handler)(struct trap_frame *frame));

/* Spends some time without exits. */
TIMED void pauses(unsigned count)
{
	while (count--)
		cpu_pause();
}

/*
 * CPUs that take turns, as emulated ones do, can fall into step. Each run begins a little later than the one before, so that
 * the median does not hang on where they happen to be.
 */
TIMED void pauses_of_run(unsigned run)
{
	pauses(run % 13);
}

/* Nothing but a sign for an emulator that watches: the one of Bochs's "magic" breakpoints. */
TIMED void mark(void)
{
	__asm__ volatile("xchg %%bx, %%bx" : : : "memory");
}

/*
 * Once more, for who counts instructions, with what a receiver does after its handler. Here it is at another address, and
 * the hypervisor may have to get to know that first: the third time counts. tests/bench/trace.py
 */
#define TRACED(operation)                           \
	for (unsigned time = 0; time < 3; time++) { \
		pauses(1000);                       \
		mark();                             \
		(void)(operation)();                \
		pauses(1000);                       \
		mark();                             \
	}

/* What the sample says by itself: ticks between two CPUs. */
TIMED struct cost cost_told(uint32_t (*operation)(void))
{
	long exits = exits_now();

	for (unsigned i = 0; i < RUNS; i++) {
		pauses_of_run(i);
		sample[i] = operation();
	}
	exits = exits_now() - exits;
	TRACED(operation)
	return cost_of(exits);
}

/* Ticks around the operation, the two RDTSCs included. */
TIMED struct cost cost_around(void (*operation)(void))
{
	long exits = exits_now();

	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t start;

		pauses_of_run(i);
		start = cpu_tsc();
		operation();
		sample[i] = (uint32_t)(cpu_tsc() - start);
	}
	exits = exits_now() - exits;
	TRACED(operation)
	return cost_of(exits);
}

/* Ends the guest as failed: what was waited for did not come. */
void wait_failed(void) __attribute__((noreturn));

/* Waits until the count is at least `target`. */
TIMED void wait_count(const volatile unsigned *count, unsigned target)
{
	for (unsigned turns = 0; *count < target; turns++) {
		if (turns == 20000000)
			wait_failed();
		cpu_pause();
	}
}

/* The consumer of docs/abi.md for one group of one VCPU; returns how many bits were set. */
TIMED unsigned consume(unsigned vcpu, unsigned group)
{
	struct bh_control *control = (struct bh_control *)db_control_page(vcpu);
	struct bh_bits *pending = (struct bh_bits *)db_pending_page(vcpu);
	struct bh_bits *mask = (struct bh_bits *)db_mask_page();
	unsigned long words = cpu_xchg(&control->summary[group], 0);
	unsigned count = 0;

	for (; words; words &= words - 1) {
		unsigned at = (unsigned)__builtin_ctzl(words);
		unsigned long bits = pending->word[group][at] & ~mask->word[group][at];

		bits &= cpu_fetch_and(&pending->word[group][at], ~bits);
		for (; bits; bits &= bits - 1)
			count++;
	}
	return count;
}

/* How VCPUs 1 and up wait for what is sent to them: in a loop with PAUSE, or in HLT; or they go home. */
enum waiting { WAIT_SPIN, WAIT_HALT, WAIT_END };

/* Starts the VCPUs until `vcpus` run, all in x2APIC mode, those but VCPU 0 waiting. False: cannot be. */
bool targets_start(unsigned vcpus);

/* Returns when all of them wait that way. */
void targets_wait(enum waiting how);

/*
 * Rows of part_operations(): the EOI of an edge interrupt; then, with two VCPUs that spin, doorbells by the callback line and
 * the EOI of that. The route is `ioapic` afterwards. False: no ports.
 */
void eoi_alone(void);
bool callbacks(void);

/* The parts, by their names on the command line; main.c says what each measures. */
void part_operations(void);
void part_broadcast(void);
void part_across(void);
void part_echo(void);
void part_ports(void);
void part_idle(void);

#endif
