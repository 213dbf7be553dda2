/* SPDX-License-Identifier: MIT */
/* All that the rest of the hypervisor knows about VT-x or SVM: plain exits and one table of operations. */
#ifndef ARCH_X86_VIRT_H
#define ARCH_X86_VIRT_H

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
	VREG_DR7,
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
	EXIT_RESUME, /* the backend dealt with it: enter again */
	EXIT_CPUID,
	EXIT_MSR,
	EXIT_IO,
	EXIT_MMIO, /* an access to guest-physical memory that is not mapped */
	EXIT_HLT,
	EXIT_HYPERCALL,
	EXIT_TPR,       /* TPR fell below the threshold */
	EXIT_WINDOW,    /* the guest can take an interrupt, or an NMI, that it could not take before */
	EXIT_HOST_IRQ,  /* a physical interrupt, acknowledged: the vector */
	EXIT_TIMER,     /* the entry's deadline has passed */
	EXIT_UNDEFINED, /* an instruction that this platform does not have: #UD */
	EXIT_NOP,       /* an instruction without effect here (WBINVD, INVD): step over it */
	EXIT_SHUTDOWN,  /* triple fault */
	EXIT_UNKNOWN,
};

struct vm_exit {
	enum exit_kind kind;
	uint32_t insn_len; /* of the exiting instruction, where the kind is one */
	uint64_t raw[2];   /* vendor reason and qualification: for the dump only */
	union {
		struct {
			uint32_t index;
			bool write;
		} msr; /* value in EDX:EAX */
		struct {
			uint16_t port;
			uint8_t size, address_size; /* bytes */
			bool in, string, rep;
			uint64_t linear;
		} io;
		struct {
			uint64_t gpa;
			bool write, fetch;
			bool walk; /* by the guest's own page walk */
			bool delivery; /* by an event's delivery: no instruction to emulate; the event is pending again */
		} mmio;
		uint8_t vector; /* EXIT_HOST_IRQ */
	};
};

enum virt_event { EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION };

/* A VCPU as the backend sees it. Belongs to the CPU that runs the VCPU. */
struct virt_vcpu {
	uint64_t gpr[16]; /* by encoding; RSP is only here between vcpu_get() and vcpu_set() */
	void *backend;
};

struct apic_page;

struct virt_ops {
	const char *name;
	/* Boot CPU, before cpu_on(): NULL, or one line that names what this machine lacks and what to do. */
	const char *(*missing)(void);
	/* Each CPU once: turns virtualisation on. NULL, or what this CPU lacks. */
	const char *(*cpu_on)(void);

	/* A VM's guest-physical memory. Boot CPU, before any VCPU of it runs; sizes and addresses in bytes.
	 */
	void *(*space_create)(void);
	void (*space_map)(void *space, uint64_t gpa, uint64_t hpa, uint64_t size);

	/* Boot CPU: allocates; the state is that of vcpu_reset(). */
	void (*vcpu_init)(struct virt_vcpu *v, void *space, struct apic_page *apic);
	/*
	 * The owner CPU, all below, and all but vcpu_load() for the VCPU that is loaded. Loading brings a VCPU's
	 * state into the CPU, FPU, debug and system-call registers included: unload the one before first.
	 */
	void (*vcpu_load)(struct virt_vcpu *v);
	void (*vcpu_unload)(struct virt_vcpu *v);
	/* The state after INIT (SDM vol. 3, "Processor State Following Power-up, Reset, or INIT"). */
	void (*vcpu_reset)(struct virt_vcpu *v);
	/* Real mode at page << 12 (SIPI), or flat 32-bit protected mode at `entry` with EAX and EBX
	 * (multiboot). */
	void (*vcpu_start_real)(struct virt_vcpu *v, uint8_t page);
	void (*vcpu_start_flat)(struct virt_vcpu *v, uint32_t entry, uint32_t eax, uint32_t ebx);
	/* Enters the guest until the next exit, at the latest when the TSC reaches `deadline`. */
	void (*vcpu_run)(struct virt_vcpu *v, uint64_t deadline, struct vm_exit *out);

	uint64_t (*vcpu_get)(struct virt_vcpu *v, enum virt_reg reg);
	void (*vcpu_set)(struct virt_vcpu *v, enum virt_reg reg, uint64_t value);
	void (*vcpu_segment)(struct virt_vcpu *v, enum virt_seg seg, struct virt_segment *out);
	/*
	 * MSRs whose values the backend keeps (FS/GS base, SYSCALL, SYSENTER, EFER, PAT, TSC, TSC_AUX). False:
	 * #GP. Writes are for what exits, which is EFER and TSC: the others' go straight to the register.
	 */
	bool (*vcpu_msr_read)(struct virt_vcpu *v, uint32_t index, uint64_t *value);
	bool (*vcpu_msr_write)(struct virt_vcpu *v, uint32_t index, uint64_t value);
	/* Steps over the exiting instruction: RIP, and the end of an interrupt shadow. */
	void (*vcpu_skip)(struct virt_vcpu *v, uint32_t insn_len);

	/* Events: at most one a vcpu_run(); an exception may have an error code (-1: none). */
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

/* Boot CPU, once: picks the backend, or refuses with the missing feature's name. */
void virt_pick(void);

#endif
