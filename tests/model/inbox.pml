/* SPDX-License-Identifier: MIT */
/* The way from a post to the guest: inbox, kick, HLT and idle CPU, with and without posted interrupts. */

/*
 * One physical CPU that runs GUESTS VCPUs, and POSTERS other CPUs that post POSTS vectors each. The names are those of
 * kernel/vic/inbox.h, kernel/vcpu.c and arch/x86/cpu.c. There is no timer here but the slice, and that only where
 * VCPUs share the CPU: nothing may depend on being looked at again by chance. The timer that is posted has timer.pml.
 *
 * POSTED: a kick is the notification of posted-interrupt processing, which a CPU in guest mode handles without exit.
 * SIGNALS: the posters raise signals (NMI, INIT, stop), not vectors.
 */
#ifndef GUESTS
#define GUESTS 1
#endif
#ifndef POSTERS
#define POSTERS 2
#endif
#ifndef POSTS
#define POSTS 2
#endif
#ifndef RINGS
#define RINGS 1 /* posts by the guest itself, out of an exit on the CPU itself */
#endif

/* struct inbox of each VCPU: a bit of pid.pir for each poster and one for the guest itself. */
byte pir[GUESTS];
bool on[GUESTS];
bool sent[GUESTS]; /* INBOX_SENT */
byte loaded;       /* the VCPU whose NV is the notification; of the others it is the kick */
bool signals[GUESTS];

/* struct vcpu and the state behind it; touched by the CPU that runs it and nobody else. */
byte irr[GUESTS];     /* vlapic, or virtual-APIC page */
bool halted[GUESTS];
bool signalled[GUESTS]; /* vcpu.nmi and the like */

/* The local APIC of the CPU: one kick is pending, and (SIGNALS with POSTED) one ordinary interrupt. */
bool irq, exit_irq;
bool notified; /* cpu.notified */

#ifdef POSTED
#define NOTIFIES(v) (loaded == (v))
#else
#define NOTIFIES(v) false
#endif

/* A poster's bit for VCPU v has been posted and not been handed to the guest yet. */
#define OWED(v)     (pir[v] || irr[v] || signals[v] || signalled[v])
#define INTERRUPT   (irq || exit_irq)
/* The hypervisor's handler: it ends the interrupt, and notes a notification. */
#define TAKE        notified = notified || (irq && NOTIFIES(v)); irq = false; exit_irq = false
#define GUESTS_OWN  (1 << POSTERS)

#ifdef NO_KICK
#define vcpu_kick()     skip
#define vcpu_kick_out() skip
#else
#define vcpu_kick()     irq = true
#define vcpu_kick_out() exit_irq = true
#endif

inline inbox_post(v, request, here)
{
	pir[v] = pir[v] | request;
	d_step { /* inbox_set_on() */
		found = on[v];
		on[v] = true;
		notify = !found && !here && NOTIFIES(v);
		sent[v] = (found -> sent[v] : notify)
	};
	if
	:: notify -> vcpu_kick()
	:: !notify && !found && !here -> vcpu_kick_out()
	:: else
	fi;
	d_step { found = false; notify = false }
}

/* The processor clears ON and knows no signals: so they are their own notice, by an interrupt that exits. */
inline inbox_signal(v)
{
#ifndef SIGNALS_BY_ON
	d_step { found = signals[v]; signals[v] = true };
	if
	:: !found ->
		d_step { sent[v] = on[v] && sent[v]; on[v] = true };
		vcpu_kick_out()
	:: else -> found = false
#ifdef ON_WITHOUT_KICK
		;
		on[v] = true
#endif
	fi
#else
	signals[v] = true;
	d_step { found = on[v]; on[v] = true };
	if
	:: !found -> vcpu_kick()
	:: else -> found = false
	fi
#endif
}

#ifndef SIGNALS_BY_ON
#define inbox_full(v) (on[v] || signals[v])
#else
#define inbox_full(v) on[v]
#endif

inline inbox_take(v)
{
	d_step { taken = pir[v]; pir[v] = 0 };
	irr[v] = irr[v] | taken;
	taken = 0
}

inline inbox_take_signals(v)
{
	d_step { found = signals[v]; signals[v] = false };
	signalled[v] = signalled[v] || found;
	found = false
}

/* Interrupts are open for a moment, again and again: who waits for an exit loses none, the inbox is looked at after. */
inline cpu_await_notification()
{
	do
	:: notified -> notified = false; break
	:: !notified && irq -> irq = false; break
	od;
	skip
}

inline empty_inbox(v)
{
#ifdef AWAIT_LATE
	d_step { opened = on[v] && sent[v]; on[v] = on[v] && !opened };
	if
	:: opened -> cpu_await_notification()
	:: else
	fi;
	inbox_take(v);
#else
	if
	:: on[v] && sent[v] -> /* inbox_is_notified() */
		cpu_await_notification();
		sent[v] = false /* and so inbox_open() may go on */
	:: else
	fi;
#endif
#ifndef ON_LATE
	d_step { /* inbox_open() */
		opened = on[v] && !sent[v];
		on[v] = on[v] && !opened
	};
	inbox_take_signals(v);
	if
	:: opened -> inbox_take(v)
	:: else
	fi;
	opened = false
#else
	inbox_take_signals(v);
	inbox_take(v);
	on[v] = false
#endif
}

/* STI holds interrupts off until the HLT has begun: one step. The handler only ends the interrupt. */
inline cpu_idle()
{
#ifndef HLT_SPLIT
	atomic { INTERRUPT -> TAKE }
#else
	if /* STI, and then whatever is pending is taken at once */
	:: INTERRUPT -> TAKE
	:: !INTERRUPT
	fi;
end_halt: atomic { INTERRUPT -> TAKE } /* HLT */
#endif
}

/* The guest runs until something ends it. It takes every interrupt at once: what delays that is the guest's own. */
inline enter(v)
{
	do
	:: atomic { INTERRUPT ->
#ifdef POSTED
		if /* SDM vol. 3, "Posted-Interrupt Processing": no exit, whoever the notification was for */
		:: irq -> assert(loaded == v); irq = false; on[v] = false
		:: else -> exit_irq = false; break
		fi }
		inbox_take(v);
		irr[v] = 0
#else
		irq = false; exit_irq = false; break }
#endif
	:: atomic { !INTERRUPT -> halted[v] = true }; break /* HLT */
	:: atomic { !INTERRUPT && left > 0 -> left-- }; /* a hypercall: a ring of a VCPU on this same CPU */
		inbox_post(GUESTS - 1, GUESTS_OWN, true);
		break
	:: !INTERRUPT -> /* it computes and computes */
end_guest:	if
		:: INTERRUPT
		:: GUESTS > 1 -> over = true; break /* the slice ends */
		fi
	od
}

/* run_slice() of every VCPU in turn, pick_next() and vcpu_run_all() around it; interrupts are off all the while. */
active proctype cpu()
{
	byte v = 0, seen = 0, left = RINGS, taken;
	bool found, notify, opened, over;

end_pick_next:
	do
	:: seen < GUESTS ->
		v = (v + 1) % GUESTS;
		if
		:: !halted[v] || inbox_full(v) -> /* wants_cpu() */
			d_step { seen = 0; over = false };
			if /* switch_to(): apic_unload(), apic_load() */
			:: loaded != v ->
				d_step { opened = on[loaded] && sent[loaded]; sent[loaded] = false; loaded = GUESTS };
				if
				:: opened -> cpu_await_notification()
				:: else
				fi;
				d_step { opened = false; loaded = v }
			:: else
			fi;
run_slice:
			if
			:: inbox_full(v) -> empty_inbox(v)
			:: else
			fi;
			if
			:: halted[v] && !irr[v] && !signalled[v] /* not is_awake(): back to pick_next() */
			:: else ->
				halted[v] = false;
				if
				:: over
				:: else ->
					/* inject_events(): the guest has it, and handles it first thing */
					d_step { irr[v] = 0; signalled[v] = false };
					enter(v);
					goto run_slice
				fi
			fi
		:: else -> seen++
		fi
	:: else ->
		seen = 0;
end_idle:	cpu_idle()
	od
}

proctype poster(byte request)
{
	byte n = POSTS;
	bool found, notify;

	do
	:: n > 0 ->
#ifdef SIGNALS
		if
		:: request == 1 -> inbox_signal(GUESTS - 1)
		:: else -> inbox_post(GUESTS - 1, request, false)
		fi;
#else
		inbox_post(GUESTS - 1, request, false);
#endif
		n--
	:: else -> break
	od
}

init
{
	byte i;

	atomic {
		for (i : 0 .. POSTERS - 1) {
			run poster(1 << i)
		}
	};
#ifndef LIVE
	timeout -> assert(!OWED(0) && !OWED(GUESTS - 1))
#endif
}

#ifdef LIVE
ltl handled { [] (OWED(GUESTS - 1) -> <> !OWED(GUESTS - 1)) }
#endif
