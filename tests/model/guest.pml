/* SPDX-License-Identifier: MIT */
/* The guests' side of the doorbells (guest-stubs/lib/db.c), the processes, and what must hold at rest and in the end. */

/*
 * A case is a set of these numbers, given by run.py:
 * RINGS (of each of RINGERS), MASKS on VCPU MASKER of port MASKED, REBINDS of each of REBINDERS, CLOSES, ROUTES, START.
 */
#ifndef RINGERS
#define RINGERS 2
#endif
#ifndef RINGS
#define RINGS 2
#endif
#ifndef BOUND
#define BOUND 0 /* where the ports are bound at first */
#endif
#ifndef MASKS
#define MASKS 0
#endif
#ifndef MASKER
#define MASKER 0
#endif
#ifndef MASKED
#define MASKED 0
#endif
#ifndef REBINDS
#define REBINDS 0
#endif
#ifndef REBINDERS
#define REBINDERS 1
#endif
#ifndef CLOSES
#define CLOSES 0
#endif
#ifndef ROUTES
#define ROUTES 0
#endif

/* CPUs: the ringers', the rebinders', the masker's. */
#define FIRST_REBINDER RINGERS
#if REBINDS
#define MASKER_CPU RINGERS + REBINDERS
#else
#define MASKER_CPU RINGERS
#endif
#if MASKS
#define CPUS MASKER_CPU + 1
#else
#define CPUS MASKER_CPU
#endif

#include "doorbell.pml"

/* The handler of one port on VCPU v has been given one bit. Inside the step that took it. */
inline handler(v, p)
{
	COUNT(consumed[p]);
	assert(CONSERVED(p));
	assert(RIGHT(v, p))
}

inline consume_word(v)
{
	if /* C leaves the order of the two reads open */
	:: set = pending[v]; m = mask
	:: m = mask; set = pending[v]
	fi;
	d_step { set = set & ~m; m = 0 };
	if
	:: set != 0 ->
		d_step {
#ifndef TAKE_BLIND
			set = set & pending[v];
#endif
			pending[v] = pending[v] & ~set;
			for (i : 0 .. PORTS - 1) {
				if
				:: set & BIT(i) -> handler(v, i)
				:: else
				fi
			};
			i = 0;
			set = 0
		}
	:: else
	fi
}

inline db_consume_group(v)
{
#ifndef SUMMARY_LATE
	d_step { hit = summary[v]; summary[v] = false };
#else
	hit = summary[v];
#endif
	if
	:: hit ->
		hit = false;
		consume_word(v);
#ifdef SUMMARY_LATE
		summary[v] = false
#endif
	:: else
	fi
}

inline db_take(v, p)
{
	d_step {
		hit = PENDING(v, p);
		pending[v] = pending[v] & ~BIT(p);
		if
		:: hit -> handler(v, p)
		:: else
		fi
	}
}

inline db_unmask(v, p)
{
	mask = mask & ~BIT(p);
#ifndef NO_RECHECK
	db_take(v, p);
#ifdef LOOK_STOPS
	set = (hit -> VCPUS : 0);
#endif
#ifdef LOOK_OWN_ONLY
	set = VCPUS;
#endif
	hit = false;
	do /* a rebind may have left a second bit on another page */
	:: set < VCPUS ->
		if
		:: PENDING(set, p) -> doorbells_kick(MASKER_CPU, p)
		:: else
		fi;
		set++
	:: else -> set = 0; break
	od
#endif
}

proctype vcpu(byte v)
{
	LOCALS;

#ifdef START
	/* VCPU 1 has its LAPIC off at first, or an INIT is still to come: what is drained until then is forgotten. */
	if
	:: v == 1 ->
		do
		:: vector[v] -> vector[v] = false
		:: break
		od;
#ifndef NO_FACE
		db_raise(v);
		intr_doorbell(PORTS)
#endif
	:: else
	fi;
#endif
end_vcpu:
	do
	:: atomic { vector[v] -> vector[v] = false };
		db_consume_group(v)
	od
}

/* The last of the ringers rings the last port, the others the first. An odd one rings from afar where ports close. */
proctype ringer(byte cpu)
{
	byte left = RINGS;
	LOCALS;

	do
	:: left > 0 ->
		doorbells_ring(cpu, (cpu == RINGERS - 1 -> PORTS - 1 : 0), (CLOSES && (cpu & 1)));
#ifndef LIVE
		left--
#endif
	:: else -> break
	od
}

proctype masker()
{
	byte left = MASKS;
	LOCALS;

	do
	:: left > 0 ->
		mask = mask | BIT(MASKED); /* db_mask() */
		db_unmask(MASKER, MASKED);
		left--
	:: else -> break
	od
}

/* Odd ones begin by binding to the other VCPU than even ones. */
proctype rebinder(byte cpu)
{
	byte left = REBINDS, goal = (cpu - FIRST_REBINDER + BOUND + 1) % VCPUS;
	LOCALS;

	do
	:: left > 0 ->
		doorbells_rebind(cpu, 0, goal);
		d_step { goal = (goal + 1) % VCPUS; left-- }
	:: else -> break
	od
}

proctype closer()
{
	byte left = CLOSES;
	LOCALS;

	do
	:: left > 0 ->
		doorbells_close(0);
		doorbells_open(0, left % VCPUS);
		left--
	:: else -> break
	od
}

proctype router()
{
	byte left = ROUTES;
	LOCALS;

	do
	:: left > 0 ->
		doorbells_route(!vcpu0_route);
		left--
	:: else -> break
	od
}

#ifndef LIVE
/* At rest: nobody has anything left to do. */
inline check_rest()
{
	for (i : 0 .. PORTS - 1) {
		assert(rung[i] == consumed[i] + coalesced[i] + PENDING(0, i) + PENDING(1, i));
		assert(!PENDING(0, i) && !PENDING(1, i) || (mask & BIT(i)));
		for (v : 0 .. VCPUS - 1) {
			assert(!PENDING(v, i) || v == PLACE(word[i]))
		}
	};
	assert(!db_lock);
	assert(_nr_pr == VCPUS + 1) /* nobody is stuck: all but the VCPUs have ended */
}

#define OWED false
#else
#define OWED (carried || ((pending[0] | pending[1]) & BIT(0)))

/* The masker leaves the mask clear in the end: so any bit, whenever it was set, is handled. */
ltl handled { [] (OWED -> <> !OWED) }
#endif

init
{
	byte i, v;

	atomic {
		for (i : 0 .. PORTS - 1) {
			word[i] = BOUND;
			settled[i] = true
		};
		/* First, because Spin removes processes in the reverse order. */
		for (v : 0 .. VCPUS - 1) {
			run vcpu(v)
		};
		for (i : 0 .. RINGERS - 1) {
			run ringer(i)
		};
		if
		:: REBINDS > 0 ->
			for (i : 0 .. REBINDERS - 1) {
				run rebinder(FIRST_REBINDER + i)
			}
		:: else
		fi;
		if :: MASKS > 0 -> run masker() :: else fi;
		if :: CLOSES > 0 -> run closer() :: else fi;
		if :: ROUTES > 0 -> run router() :: else fi;
		i = 0;
		v = 0
	};
#ifndef LIVE
	timeout -> d_step { check_rest() }
#endif
}
