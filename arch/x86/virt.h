/* SPDX-License-Identifier: MIT */
/* All that the rest of the hypervisor knows about VT-x or SVM: plain exits and one table of operations. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

enum virt_reg {
	VREG_RIP,
	VREG_RSP,
	VREG_RFLAGS,
	VREG_CR0, /* CR0 and CR4 as the guest believes them to be */
	VREG_CR2,
	VREG_CR3,
	VREG_CR4,
	VREG_EFER,
	VREG_PDPTE0, /* the four PDPTE registers of PAE paging, one after the other */
	VREG_PDPTE1,
	VREG_PDPTE2,
	VREG_PDPTE3,
	VREG_TSC_OFFSET, /* guest TSC - host TSC */
};

enum virt_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR };

struct virt_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint16_t rights; /* type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15 */
};

enum exit_kind {
	EXIT_UNKNOWN,
	EXIT_RESUME,    /* dealt with */
	EXIT_STRING_IO, /* INS, OUTS */
	EXIT_MMIO,      /* an access to guest-physical memory that is not mapped */
	EXIT_TPR,       /* TPR fell below the threshold */
	EXIT_WINDOW,    /* the guest can take an interrupt, or an NMI, that it could not take before */
	EXIT_HOST_IRQ,  /* a physical interrupt, which is over: irq_finish() */
	EXIT_TIMER,     /* the deadline has passed */
	EXIT_SHUTDOWN,  /* triple fault */
};

/* Where the guest executes, and what but its page tables decides which bytes these are: for comparing only. */
struct virt_code {
	uint64_t rip, cr0, cr3, cr4, efer, cs; /* access rights */
};

struct vm_exit {
	enum exit_kind kind;
	union {
		struct {
			uint16_t port;
			uint8_t size, address_size; /* bytes */
			bool in, rep;
			uint64_t linear;
		} io;
		struct {
			uint64_t gpa;
			bool stray; /* by a fetch, a page walk, or an event's delivery: that is pending again */
			struct virt_code code;
		} mmio;
	};
};

enum virt_event { EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION };

/*
 * A VCPU as the backend sees it. Belongs to the CPU that runs the VCPU; anybody reads the two counters, which
 * count exits and the TSC ticks between exits and entries.
 */
struct virt_vcpu {
	uint64_t gpr[16]; /* by encoding; RSP is only here between vcpu_get() and vcpu_set() */
	void *backend;
	uint64_t host_rsp;    /* the backend's, while the guest runs */
	uint64_t exit_tsc;    /* at the latest exit, or virt_begin() */
	uint64_t deadline;    /* host TSC of EXIT_TIMER; set by virt_deadline() */
	uint64_t timer_limit; /* the backend's: hv_ticks from which on its timer must be set anew */
	_Atomic uint64_t exits, hv_ticks;
	struct vm_exit exit; /* the latest */
};

/* Before vcpu_run() where time has passed that is not the hypervisor's: idle, or another VCPU's. */
static inline void virt_begin(struct virt_vcpu *v, uint64_t now)
{
	v->exit_tsc = now;
	v->timer_limit = 0;
}

/* The next entries end when the TSC reaches `deadline`; late by a sixteenth of the way there, at worst. */
static inline void virt_deadline(struct virt_vcpu *v, uint64_t deadline)
{
	if (v->deadline != deadline)
		v->timer_limit = 0;
	v->deadline = deadline;
}

enum call_mode { CALL_USER, CALL_32, CALL_64 }; /* CPL above 0; or the mode of the calling code */

/*
 * The kernel's handlers (kernel/exit.c) of exits that most often go straight back, CPUID, hypercalls, IN and OUT
 * stepped over already. While one runs, RBP and R12 to R15 are not in gpr[] but in the CPU. False: the guest
 * is entered again, with what was injected. True: vcpu_run() returns, with EXIT_RESUME.
 */
bool exit_cpuid(struct virt_vcpu *v);
bool exit_hypercall(struct virt_vcpu *v, enum call_mode mode);
bool exit_msr(struct virt_vcpu *v, bool write);
bool exit_io(struct virt_vcpu *v, uint16_t port, unsigned size, bool in);
/* An access of an instruction, with mmio.gpa and mmio.code in place. True with EXIT_UNKNOWN: take the long way. */
bool exit_mmio(struct virt_vcpu *v);
/* The guest has written the LAPIC register at `offset` of its page, and the value is there. */
bool exit_apic_write(struct virt_vcpu *v, uint32_t offset);
/* The guest has ended the level-triggered interrupt `vector`, and ISR says so. */
bool exit_eoi(struct virt_vcpu *v, uint8_t vector);
/* HLT, stepped over already. */
bool exit_hlt(struct virt_vcpu *v);

/* How far the CPU plays the LAPIC, each step with all that the one before has; the option `apic=`. */
enum virt_apic {
	VIRT_APIC_BEST,
	VIRT_APIC_SOFT,   /* TPR */
	VIRT_APIC_REGS,   /* registers that have no effect but to be read */
	VIRT_APIC_VID,    /* delivery of what the page has in IRR, EOI, self-IPI */
	VIRT_APIC_POSTED, /* and of what is in the inbox's descriptor */
	VIRT_APIC_IPIV, /* sending of fixed IPIs to one VCPU. Has never run: no emulator has it, and BEST is not it */
};

/*
 * VIRT_APIC_VID and up: an interrupt in the page's IRR needs no vcpu_inject(), and a guest that runs moves bits of IRR
 * and ISR. Constant after virt_pick().
 */
extern bool virt_delivers;

/* Flat 32-bit protected mode as the boot protocols leave it: CS 0x10, the others 0x18; what is not here is 0. */
struct virt_start {
	uint32_t entry, eax, ebx, esi;
	uint32_t gdt; /* guest-physical address of the table with these selectors, if the protocol has one */
};

struct apic_page;
struct inbox;

struct virt_ops {
	const char *name;
	/* Boot CPU, before cpu_on(): NULL, or one line that names what this machine lacks and what to do. */
	const char *(*missing)(void);
	/*
	 * Boot CPU, once, then: what of this the CPUs can do at most, if it is what is wanted, or
	 * VIRT_APIC_BEST (none).
	 */
	enum virt_apic (*apic)(enum virt_apic wanted);
	/* Each CPU once: turns virtualisation on. NULL, or what this CPU lacks. */
	const char *(*cpu_on)(void);

	/* A VM's guest-physical memory; sizes and addresses in bytes. Boot CPU, before its VCPUs run. */
	void *(*space_create)(void);
	void (*space_map)(void *space, uint64_t gpa, uint64_t hpa, uint64_t size);

	/* Boot CPU: allocates; the state is that of vcpu_reset(). */
	void (*vcpu_init)(struct virt_vcpu *v, void *space, struct apic_page *apic, struct inbox *inbox);
	/*
	 * The owner CPU, all below, and all but vcpu_load() for the VCPU that is loaded. Loading brings a
	 * VCPU's state into the CPU, FPU, debug and system-call registers included: unload the one before
	 * first.
	 */
	void (*vcpu_load)(struct virt_vcpu *v);
	void (*vcpu_unload)(struct virt_vcpu *v);
	/* The state after INIT (SDM vol. 3, "Processor State Following Power-up, Reset, or INIT"). */
	void (*vcpu_reset)(struct virt_vcpu *v);
	/* Real mode at page << 12 (SIPI); or flat 32-bit protected mode (boot protocols). */
	void (*vcpu_start_real)(struct virt_vcpu *v, uint8_t page);
	void (*vcpu_start_flat)(struct virt_vcpu *v, const struct virt_start *start);
	/*
	 * The VCPU's IA32_APIC_BASE: after it changed, and once before the first entry. Where its page lies, no
	 * memory is reached by this VCPU.
	 */
	void (*vcpu_apic)(struct virt_vcpu *v, uint64_t base);
	/*
	 * Whether the VCPU has this xAPIC or x2APIC ID (below VIC_MAX_VCPUS) and takes fixed IPIs: once before the
	 * first entry, and when either changed.
	 */
	void (*vcpu_addressed)(struct virt_vcpu *v, unsigned id, bool takes);
	/* virt_delivers: IRR, ISR or TMR of the page changed by other hands; the highest of each, -1: none. */
	void (*vcpu_requests)(struct virt_vcpu *v, int irr, int isr);
	/* virt_delivers: IRR has gained bits that are edge-triggered, TMR is as before; the highest of them. */
	void (*vcpu_raise)(struct virt_vcpu *v, int vector);
	/*
	 * Has the CPU deliver `vector` at `deadline` (host TSC) by itself; false: it cannot, now or ever. Until it is
	 * taken back, which tells whether it has been delivered, the inbox is not drained.
	 */
	bool (*vcpu_post_timer)(struct virt_vcpu *v, uint8_t vector, uint64_t deadline);
	bool (*vcpu_unpost_timer)(struct virt_vcpu *v);
	/* Enters the guest until an exit, v->exit, that its handler above does not send back. */
	void (*vcpu_run)(struct virt_vcpu *v);

	uint64_t (*vcpu_get)(struct virt_vcpu *v, enum virt_reg reg);
	void (*vcpu_set)(struct virt_vcpu *v, enum virt_reg reg, uint64_t value);
	void (*vcpu_segment)(struct virt_vcpu *v, enum virt_seg seg, struct virt_segment *out);
	/*
	 * MSRs whose values the backend keeps (FS/GS base, SYSCALL, SYSENTER, EFER, PAT, TSC, TSC_AUX) need
	 * no exit where the CPU has them, but for writes of EFER and TSC. False: #GP.
	 */
	bool (*vcpu_msr_write)(struct virt_vcpu *v, uint32_t index, uint64_t value);
	/* Steps over the exiting instruction: RIP, and the end of an interrupt shadow. 0: it was no access to memory. */
	void (*vcpu_skip)(struct virt_vcpu *v, uint32_t insn_len);

	/* Events: at most one an entry; an exception may have an error code (-1: none). */
	bool (*vcpu_can_take)(struct virt_vcpu *v, enum virt_event event);
	void (*vcpu_inject)(struct virt_vcpu *v, enum virt_event event, uint8_t vector, int32_t error);
	/* Asks for EXIT_WINDOW when an interrupt (or NMI) can be taken. Stays until it is taken back. */
	void (*vcpu_window)(struct virt_vcpu *v, bool interrupt, bool nmi);
	/* EXIT_TPR when TPR's class falls below this class (0: never). */
	void (*vcpu_tpr_threshold)(struct virt_vcpu *v, uint8_t task_class);
	/* Writes the state, a line at a time, for the dump of a parked VM. */
	void (*vcpu_dump)(struct virt_vcpu *v, void (*line)(const char *text));
};

/* The backend of this machine; constant after virt_pick(). */
extern const struct virt_ops *virt;

/* Boot CPU, once: picks the backend and how far it plays the LAPIC, or refuses with the missing feature's name. */
void virt_pick(enum virt_apic wanted);
