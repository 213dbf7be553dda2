/* SPDX-License-Identifier: MIT */
/* The posted timer: its vector in PIR, the CPU's own timer that notifies, posts and kicks that meet it, the take-back. */

/*
 * One physical CPU that runs VCPU 0, whose guest programs its LAPIC timer ARMS times, and with GUESTS=2 another VCPU, whose
 * guest only computes. Other CPUs post to VCPU 0: POSTS_T times the vector that its timer begins with, POSTS_U times another
 * one, to which the guest changes its timer if VECTORS=2. The names are those of kernel/vic/inbox.h, kernel/vcpu.c,
 * arch/x86/vmx/vmx_apic.c and arch/x86/lapic.c. Posted interrupts are there; what inbox.pml checks is short here.
 */
#ifndef GUESTS
#define GUESTS 1
#endif
#ifndef ARMS
#define ARMS 2
#endif
#ifndef VECTORS
#define VECTORS 1
#endif
#ifndef POSTS_T
#define POSTS_T 0
#endif
#ifndef POSTS_U
#define POSTS_U 0
#endif
#ifndef RINGS
#define RINGS 0 /* posts of T by the guest itself, out of an exit */
#endif
#define SLICES 2 /* of the other VCPU, in all */

/* A vector is a bit of PIR. */
#define T 1
#define U 2

/* struct inbox of VCPU 0. */
byte pir, handed;
byte timer, timers; /* the vector that lies in PIR for the timer; all that ever did */
bool on, sent, signals;
bool nv = true; /* NV is the notification; else it is the kick */

/* struct vcpu and its LAPIC; of the CPU alone. */
byte irr, lvt = T;
bool halted, armed, look = true; /* v->deadline == VCPU_LOOK */
bool timer_posted;
bool past; /* the deadline had passed at v->virt.exit_tsc */

/*
 * The CPU's local APIC. Kick and notification are of one priority class, in which the kick is the higher vector: so the
 * notification waits for the end of the kick's service, and of two that are pending the kick is taken first.
 */
bool irr_kick, irr_notify, isr, deadline_armed;
bool notified; /* cpu.notified */
bool other;    /* VCPU 1 is loaded */
bool by_timer; /* the notification in irr_notify is the timer's */
bool due;      /* the guest's deadline has passed: nobody's, like the TSC */

/* Of the check alone: what posters owe the guest (a set of vectors), what its timer does, how often each may still come. */
byte owed, may[3];
bool owed_timer;

#define INTERRUPT  (irr_kick || irr_notify)
#define inbox_full (on || signals)

/* The guest takes vectors. One that is neither posted nor due, or comes twice, has no `may` left. */
#define DELIVER(vectors)                                                                    \
	assert((!((vectors) & T) || may[T]) && (!((vectors) & U) || may[U]));               \
	may[T] = may[T] - ((vectors) & T);                                                  \
	may[U] = may[U] - ((vectors) >> 1);                                                 \
	owed = owed & ~(vectors);                                                           \
	owed_timer = owed_timer && !((vectors) & lvt)

inline inbox_set_on(here)
{
	d_step {
		found = on;
		notify = !found && !(here) && nv;
		sent = (found -> sent : notify);
		on = true
	};
	if
	:: notify -> irr_notify = true
	:: !found && !notify && !(here) -> irr_kick = true
	:: else
	fi;
	d_step { found = false; notify = false }
}

inline inbox_signal(here)
{
	d_step { found = signals; signals = true };
	if
	:: !found ->
		d_step { sent = on && sent; on = true };
		irr_kick = irr_kick || !(here)
	:: else -> found = false
	fi
}

/* What a poster that finds its vector in PIR takes for the timer's. */
#ifdef NO_HANDED
#define IS_TIMERS(vector) false
#endif
#ifdef FORGETS
#define IS_TIMERS(vector) (timer == (vector))
#endif
#ifdef ONE_VECTOR
#define IS_TIMERS(vector) (timer == (vector))
#endif
#ifndef IS_TIMERS
#define IS_TIMERS(vector) (timers & (vector))
#endif

inline inbox_post(vector, here)
{
	d_step { found = (pir & vector) != 0; pir = pir | vector; owed = owed | vector; may[vector]++ };
	d_step { found = found && IS_TIMERS(vector) };
	if
	:: found ->
		handed = handed | vector;
		inbox_signal(here)
	:: else -> inbox_set_on(here)
	fi
}

/* Interrupts are open for a moment, again and again. */
inline cpu_await_notification()
{
	do
	:: notified -> notified = false; break
	:: atomic { !notified && irr_kick && !isr -> irr_kick = false }
	:: atomic { !notified && irr_notify && !irr_kick && !isr ->
		irr_notify = false; by_timer = false; notified = true }
	od;
	skip
}

/* True in `opened`: a notification by the vector from before is on its way. */
inline inbox_set_notification(notification)
{
	d_step { opened = on && sent; sent = false; nv = notification }
}

inline apic_post_timer()
{
#ifndef NV_KEPT
	inbox_set_notification(false);
	if
	:: opened -> cpu_await_notification()
	:: else
	fi;
#endif
	opened = false;
	if
	:: !on -> /* inbox_post_timer() */
		d_step { timer = lvt; timers = timers | lvt };
		d_step { timer_posted = !(pir & lvt); pir = pir | lvt };
		if
		:: timer_posted -> deadline_armed = true /* lapic_notify_at() */
#ifdef FORGETS
		:: else -> timer = 0
#else
		:: else
#endif
		fi
	:: else
	fi;
	if
	:: !timer_posted -> inbox_set_notification(true); opened = false
	:: else
	fi
}

/* And apic_unpost_timer(). */
inline vcpu_take_timer()
{
	d_step { look = true; timer_posted = false };
	d_step { deadline_armed = false; opened = irr_notify };        /* lapic_notify_stop() */
	d_step { found = (pir & timer) != 0; pir = pir & ~timer }; /* inbox_unpost_timer() */
#ifdef FORGETS
	timer = 0;
#endif
#ifndef NO_AWAIT
	if
	:: opened -> cpu_await_notification()
	:: else
	fi;
#endif
	inbox_set_notification(true);
	d_step {
		armed = armed && found; /* vlapic_fired() */
		opened = false;
		found = false
	}
}

inline vcpu_settle()
{
	if
	:: timer_posted -> vcpu_take_timer()
	:: else
	fi
}

/* In the run loop, before it looks at anything. */
#ifdef NO_SETTLE
#define SETTLE skip
#else
#define SETTLE vcpu_settle()
#endif

inline vlapic_tick()
{
	d_step {
		if
		:: armed && past -> armed = false; irr = irr | lvt
		:: else
		fi
	}
}

/* Which timers are posted is a matter of time: those that are too near, or too far, are not. */
inline set_deadline()
{
	assert(!timer_posted);
	look = false;
	if
	:: armed && !past -> apic_post_timer()
	:: true
	fi
}

inline empty_inbox()
{
	if
	:: on && sent -> cpu_await_notification(); sent = false
	:: else
	fi;
	d_step { opened = on && !sent; on = on && !opened };
	d_step { found = signals; signals = false };
	if
	:: opened -> d_step { irr = irr | pir; pir = 0 }
	:: else
	fi;
	if
	:: found -> d_step { irr = irr | handed; handed = 0 }
	:: else
	fi;
	d_step { opened = false; found = false }
}

/* STI holds interrupts off until the HLT has begun; the CPU's own timer ends it at the deadline. */
inline cpu_idle()
{
	atomic { INTERRUPT || (armed && due) ->
		notified = notified || irr_notify;
		irr_kick = false; irr_notify = false; by_timer = false }
}

/* A VM exit: the time is noted. */
#define EXIT past = armed && due

/* What ends guest execution at once: a physical interrupt, or the preemption timer. */
#define ENDS (INTERRUPT || (!timer_posted && armed && due))

/* The guest of VCPU 0, until an exit that is not over at once. `wrote`: it has programmed its timer. */
inline enter()
{
	do
	:: atomic { irr_kick -> irr_kick = false; isr = true; EXIT };
#ifndef LATE_END
		isr = false; /* vmx_exit_translate(): irq_finish() */
#endif
		break
	:: atomic { irr_notify && !irr_kick -> /* SDM vol. 3, "Posted-Interrupt Processing" */
		assert(!by_timer || timer_posted);
		irr_notify = false; by_timer = false; on = false };
		d_step { DELIVER(pir); pir = 0 }
	:: atomic { !ENDS && left > 0 -> left--; wrote = true; EXIT }; break
	:: atomic { !ENDS -> halted = true; EXIT }; break /* HLT */
	:: atomic { !INTERRUPT && ENDS -> EXIT }; break /* the preemption timer */
	:: atomic { !ENDS && !on }; skip /* CPUID, and back */
	:: atomic { !ENDS && rings > 0 -> rings--; EXIT };
		inbox_post(T, true); /* write_icr() */
		if
		:: on -> break
		:: else
		fi
	:: !ENDS -> /* it computes and computes */
end_guest:	if
		:: ENDS
		:: GUESTS > 1 && slices > 0 -> EXIT; over = true; break /* the slice ends */
		fi
	od
}

/* The time of the write is that of the exit: a deadline that has passed since then has been replaced before. */
inline write_timer()
{
	vcpu_settle();
	vlapic_tick();
	atomic {
		if
		:: due && armed -> may[lvt]--; owed_timer = false
		:: else
		fi;
		due = false; past = false; wrote = false; armed = true;
		if
		:: armed = false /* it wrote 0 */
		:: VECTORS > 1 -> lvt = T + U - lvt
		:: true
		fi
	};
	set_deadline()
}

/* run_slice() of VCPU 0, pick_next() and vcpu_run_all() around it; interrupts are off all the while. */
active proctype cpu()
{
	byte left = ARMS, rings = RINGS, slices = SLICES;
	bool found, notify, opened, over, wrote;

	do
	:: !halted || inbox_full || (armed && due) -> /* wants_cpu() */
		if
		:: other -> other = false; inbox_set_notification(true); opened = false /* apic_load() */
		:: else
		fi;
		d_step { over = false; EXIT };
run_slice:	/* vcpu_ready() */
		if
		:: !inbox_full && !halted && !over ->
			if
			:: look -> set_deadline()
			:: else
			fi;
			if
			:: !armed || !past || timer_posted ->
				d_step { DELIVER(irr); irr = 0 }; /* hand_over(): the guest takes it first thing */
again:				enter();
				if
				:: wrote ->
					write_timer();
					if
					:: !on && irr -> goto run_slice
					:: !on && !irr -> goto again
					:: else
					fi
				:: else
				fi;
				SETTLE;
#ifdef LATE_END
				isr = false;
#endif
				goto run_slice
			:: else
			fi
		:: else
		fi;
		SETTLE;
		look = true;
		if
		:: inbox_full -> empty_inbox()
		:: else
		fi;
		if
		:: armed && past -> vlapic_tick(); goto run_slice /* meet_deadlines() */
		:: (!armed || !past) && halted && !irr /* not is_awake() */
		:: else ->
			halted = false;
			if
			:: over
			:: else -> goto run_slice
			fi
		fi
	:: GUESTS > 1 && slices > 0 ->
		slices--;
		if /* switch_to(): apic_unload() */
		:: !other ->
			inbox_set_notification(false);
			if
			:: opened -> cpu_await_notification()
			:: else
			fi;
			d_step { opened = false; other = true }
		:: else
		fi;
		if /* its guest */
		:: atomic { irr_kick -> irr_kick = false }
		:: atomic { irr_notify && !irr_kick -> assert(false) }
		:: true
		fi
	:: !(!halted || inbox_full || (armed && due)) ->
end_idle:	cpu_idle()
	od
}

/* The TSC, and the CPU's timer, which may be somewhat later than the TSC that the hypervisor reads. */
active proctype clock()
{
end_clock:
	do
	:: atomic { armed && !due -> due = true; owed_timer = true; may[lvt]++ }
	:: atomic { deadline_armed && due -> deadline_armed = false; irr_notify = true; by_timer = true }
	od
}

proctype poster(byte vector, n)
{
	bool found, notify;

	do
	:: n > 0 -> inbox_post(vector, false); n--
	:: else -> break
	od
}

#define OWED (owed || owed_timer)

init
{
	atomic {
		if
		:: POSTS_T > 0 -> run poster(T, POSTS_T)
		:: else
		fi;
		if
		:: POSTS_U > 0 -> run poster(U, POSTS_U)
		:: else
		fi
	};
#ifndef LIVE
	timeout -> assert(!OWED)
#endif
}

#ifdef LIVE
ltl handled { [] (OWED -> <> !OWED) }
#endif
