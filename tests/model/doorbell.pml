/* SPDX-License-Identifier: MIT */
/* The hypervisor's side of the doorbells, between CPUs: the steps of kernel/vic/doorbell.c and kernel/doorbells.c. */

/*
 * One inline is one function of the C code, by its name; one statement (or d_step) is one access to memory that
 * others see. Every such access of the C code is sequentially consistent, or ordered by one that is, as steps in
 * Promela are. Included by guest.pml, which has the guests, the processes and the cases.
 */

#ifndef PORTS
#define PORTS 1 /* in one word of one group, so that they share a summary bit */
#endif
#define VCPUS 2
#ifndef CPUS
#define CPUS 2 /* whoever makes hypercalls has one of its own: the worst case */
#endif

#define BIT(p)  (1 << (p))
#define CLOSED  255
#define NOBODY  255

/* struct db_vm and the guest's pages. A word holds the bits of all ports. */
byte word[PORTS];    /* struct db_port.word: the bound VCPU, or CLOSED */
bool peer = true;    /* struct db_port.peer of the far port that rings port 0 */
byte pending[VCPUS]; /* struct bh_bits of each VCPU */
byte mask;           /* struct bh_bits of the VM */
bool summary[VCPUS]; /* struct bh_control.summary, the bit of our one word */
bool vcpu0_route;    /* struct db_vm.route: native, or vcpu0 */

/* The group's vector in the VCPU's inbox or LAPIC: inbox.pml is about the way between them. */
bool vector[VCPUS];

/* struct cpu.ring_epoch, of which the parity counts, and "unchanged since wait_for_rings() has read it": a counter
 * of 64 bits does not come back to an old value. One waits at a time, under db_lock. */
bool epoch[CPUS];
bool seen[CPUS];
bool db_lock;

/* What only the properties need. */
byte rung[PORTS], coalesced[PORTS], consumed[PORTS];
byte generation;      /* of port 0: an open after a close */
byte binding[PORTS];  /* how often word[] was written */
bool settled[PORTS];  /* the hypercall that wrote the binding has returned */
bool carried;         /* a bit is in the hands of carry() */

#ifdef LIVE /* endless rings: nothing may count them */
#define COUNT(counter)    skip
#define CONSERVED(port)   true
#else
#define COUNT(counter)    counter++
#define CONSERVED(port)   (consumed[port] + coalesced[port] <= rung[port])
#endif

#define PLACE(bound) (vcpu0_route -> 0 : (bound))
#define RIGHT(v, p)  (!settled[p] || (v) == PLACE(word[p]))
#define PENDING(v, p) ((pending[v] & BIT(p)) != 0)

/* Locals that the inlines work on: each process declares them. */
#define LOCALS byte w, at, effect = NOBODY, i, to, nth, set, m; bool hit, low

inline ring_begin(cpu)
{
	epoch[cpu] = true
}

inline ring_end(cpu)
{
	d_step { epoch[cpu] = false; seen[cpu] = false }
}

inline wait_for_rings()
{
#ifndef NO_WAIT
	i = 0;
	do
	:: i < CPUS ->
		seen[i] = epoch[i];
		atomic { !seen[i] -> i++ }
	:: else -> i = 0; break
	od
#else
	skip
#endif
}

inline spinlock_lock()
{
	atomic { !db_lock -> db_lock = true }
}

inline spinlock_unlock()
{
	db_lock = false
}

/* The effect is the VCPU whose vector is due. The route is read anew, as in C. */
inline announce(v)
{
	d_step { hit = summary[v]; summary[v] = true };
	if
	:: hit -> hit = false
	:: else -> effect = PLACE(v)
	fi
}

/* An upcall for port p (PORTS: for a whole group) goes off. */
inline intr_doorbell(p)
{
	if
	:: effect != NOBODY ->
		d_step {
			if
			:: p < PORTS -> assert(RIGHT(effect, p))
			:: else
			fi;
			vector[effect] = true;
			effect = NOBODY
		}
	:: else
	fi
}

inline db_ring(p)
{
	w = word[p];
	if
	:: w == CLOSED -> skip
	:: else ->
		at = PLACE(w);
#ifdef MASK_FIRST
		low = (mask & BIT(p)) != 0;
#endif
		d_step {
			assert(nth == generation); /* the port that was resolved is the port that is rung */
			COUNT(rung[p]);
			hit = PENDING(at, p);
			pending[at] = pending[at] | BIT(p);
			if
			:: hit -> COUNT(coalesced[p])
			:: else
			fi
		};
		if
		:: hit -> hit = false
		:: else ->
#ifndef MASK_FIRST
			low = (mask & BIT(p)) != 0; /* is_masked() */
#endif
			if
			:: low -> low = false
			:: else -> announce(at)
			fi
		fi
	fi;
	d_step { w = 0; at = 0; low = false }
}

inline db_kick(p)
{
	w = word[p];
	if
	:: w == CLOSED -> skip
	:: else ->
		at = PLACE(w);
		hit = PENDING(at, p);
		low = (mask & BIT(p)) != 0;
		if
		:: hit && !low -> hit = false; announce(at)
		:: else -> d_step { hit = false; low = false }
		fi
	fi;
	d_step { w = 0; at = 0 }
}

inline carry(p, from)
{
	to = PLACE(word[p]); /* nobody else writes it: db_lock is held */
	if
	:: from == to -> skip
	:: else ->
		d_step {
			hit = PENDING(from, p);
			pending[from] = pending[from] & ~BIT(p);
			carried = hit
		};
		if
		:: !hit -> skip
		:: else ->
			d_step {
				hit = PENDING(to, p);
				pending[to] = pending[to] | BIT(p);
				carried = false;
				if
				:: hit -> COUNT(coalesced[p])
				:: else
				fi
			};
			if
			:: hit -> hit = false
			:: else ->
				low = (mask & BIT(p)) != 0;
				if
				:: low -> low = false
				:: else ->
#ifndef NO_ANNOUNCE
					announce(to)
#else
					skip
#endif
				fi
			fi
		fi
	fi;
	to = 0
}

/* BH_RING: of the port itself, or (far) of the far port that is connected to it. */
inline doorbells_ring(cpu, p, far)
{
#ifndef EPOCH_LATE
	ring_begin(cpu);
#endif
	/* db_resolve() */
	d_step { hit = (far -> peer : word[p] != CLOSED); nth = generation };
#ifdef EPOCH_LATE
	ring_begin(cpu);
#endif
	if
	:: hit -> hit = false; db_ring(p); intr_doorbell(p)
	:: else
	fi;
	nth = 0;
	ring_end(cpu)
}

inline doorbells_kick(cpu, p)
{
	ring_begin(cpu);
	db_kick(p);
	intr_doorbell(p);
	ring_end(cpu)
}

inline doorbells_rebind(cpu, p, new)
{
	spinlock_lock();
	w = PLACE(word[p]);
	d_step { word[p] = new; settled[p] = false; binding[p]++; nth = binding[p] }; /* db_rebind() */
	wait_for_rings();
#ifndef NO_MOVE
	carry(p, w); /* db_move() */
#endif
#ifndef RAISE_LATE
	/* What is due is still a ring in flight, for the next rebind. */
	ring_begin(cpu);
#endif
	spinlock_unlock();
	intr_doorbell(p);
#ifndef RAISE_LATE
	ring_end(cpu);
#endif
	d_step { settled[p] = (binding[p] == nth); w = 0; nth = 0 }
}

inline doorbells_close(p)
{
	spinlock_lock();
	d_step { word[p] = CLOSED; settled[p] = false }; /* db_close() */
	peer = false;
	wait_for_rings();
	i = 0; /* db_release() */
	do
	:: i < VCPUS ->
		d_step {
			hit = PENDING(i, p);
			pending[i] = pending[i] & ~BIT(p);
			if
			:: hit -> COUNT(consumed[p]) /* dropped, with the port */
			:: else
			fi;
			hit = false
		};
		i++
	:: else -> i = 0; break
	od;
	assert(rung[p] == coalesced[p] + consumed[p]);
	spinlock_unlock()
}

inline doorbells_open(p, v)
{
	spinlock_lock();
	d_step {
		generation++;
		rung[p] = 0;
		coalesced[p] = 0;
		consumed[p] = 0;
		word[p] = v
	};
	spinlock_unlock()
}

/* Without a vector of its own: for whatever the group's summary says. */
inline db_raise(v)
{
	if
	:: summary[v] -> effect = PLACE(v)
	:: else
	fi
}

inline doorbells_route(new)
{
	spinlock_lock();
	d_step { /* db_set_route() */
		vcpu0_route = new;
		for (i : 0 .. PORTS - 1) {
			settled[i] = false
		};
		i = 0
	};
	wait_for_rings();
#ifndef NO_MOVE
	for (w : 0 .. VCPUS - 1) { /* db_settle() */
		for (m : 0 .. PORTS - 1) {
			carry(m, w);
			effect = NOBODY
		}
	};
#endif
	spinlock_unlock();
#ifndef NO_RAISE
	for (w : 0 .. VCPUS - 1) {
		db_raise(w);
		intr_doorbell(PORTS)
	};
#endif
	w = 0;
	d_step {
		m = 0;
		for (i : 0 .. PORTS - 1) {
			settled[i] = true
		};
		i = 0
	}
}
