/* SPDX-License-Identifier: MIT */
/* What the files of the VT-x backend share. Nothing outside this folder includes it. */
#pragma once

#include "arch/x86/arch.h"
#include "arch/x86/virt.h"
#include "arch/x86/vmx/vmcs.h"
#include "kernel/vic/apic_msg.h"
#include "kernel/vic/inbox.h"

#define VECTOR_DB 1
#define VECTOR_UD 6
#define VECTOR_DF 8
#define VECTOR_GP 13
#define VECTOR_AC 17
#define VECTOR_MC 18

/* SDM vol. 3, "Exit Qualification for I/O Instructions". */
#define IO_SIZE   7u
#define IO_IN     (1u << 3)
#define IO_STRING (1u << 4)
#define IO_PORT   16

/* SDM vol. 3, "Exit Qualification for EPT Violations". */
#define EPT_FETCH        (1u << 2)
#define EPT_LINEAR       (1u << 7)
#define EPT_TRANSLATED   (1u << 8)
#define EPT_IRET_UNBLOCK (1u << 12)

/* An access of an instruction to its operand. */
static inline bool is_data_access(uint32_t ept)
{
	return (ept & (EPT_LINEAR | EPT_TRANSLATED | EPT_FETCH)) == (EPT_LINEAR | EPT_TRANSLATED);
}

#define CR0_NW  (1ull << 29)
#define CR0_CD  (1ull << 30)
#define MSR_PAT 0x277

/* What this machine's CPUs have, and what follows from it. Written by the boot CPU, constant afterwards. */
struct vmx_caps {
	uint32_t revision;
	uint32_t pin, proc, proc2, exit, entry;
	uint32_t may_pin, may_proc2; /* all that the CPU has */
	uint64_t may_proc3;
	uint32_t timer_shift; /* the preemption timer counts once every 1 << timer_shift TSC ticks */
	uint64_t cr0_fixed;   /* must be set in VMX operation; PE and PG are free */
	uint64_t cr4_fixed;
	uint64_t guest_cr4; /* bits that a guest may set */
	uint64_t guest_efer;
	bool large_pages, tsc_deadline;
	enum virt_apic apic;
};
extern struct vmx_caps vmx_caps;

/* MSRs that are neither in the VMCS nor used by the hypervisor: the loaded VCPU's values stay in the CPU. */
#define LIVE_MSRS 6

/* The tables of a view, from the root to the one of 4-KiB pages. */
#define EPT_LEVELS 4
struct ept_view {
	uint64_t *table[EPT_LEVELS];
};

/*
 * A VM's memory, and where its VCPUs' descriptors are, by APIC ID; bit 0: the processor may send there. The owner CPU of a
 * VCPU writes its entry, processors read them all. A page of its own.
 */
struct vmx_space {
	_Atomic uint64_t pid[VIC_MAX_VCPUS];
	uint64_t *root;
};

/* The backend's half of a VCPU; a page of its own. Belongs to the VCPU's CPU, after vcpu_init(). */
struct vmx_vcpu {
	uint32_t event;      /* VMCS_ENTRY_EVENT as last written; 0: nothing */
	uint64_t event_exit; /* after which exit (v->exits): the next entry delivers it, later ones do not */
	uint32_t proc;       /* VMCS_PROC as it is */
	bool launched;
	bool shutdown;     /* an exception while delivering #DF */
	uint8_t tpr_class; /* VMCS_TPR_THRESHOLD as it is */
	bool want_interrupt, want_nmi;
	bool host_written;        /* the host-state area: a VCPU stays on its CPU, so once is enough */
	const uint8_t *apic_page; /* the virtual-APIC page; the CPU writes it while the guest runs */
	uint64_t apic_gpa;        /* where the guest has it; with virtualised APIC accesses */
	uint64_t eoi_exits[4];    /* VMCS_EOI_EXITS as they are */
	struct inbox *inbox;
	struct vmx_space *space;
	struct ept_view view; /* the space as this VCPU sees it */
	void *vmcs;
	uint64_t live[LIVE_MSRS];
	uint64_t cr2, dr[4], dr6;
	uint8_t fpu[512] __attribute__((aligned(16))); /* while not loaded */
};

_Static_assert(offsetof(struct virt_vcpu, gpr) == 0 && offsetof(struct virt_vcpu, host_rsp) == 136 &&
                       offsetof(struct virt_vcpu, exit_tsc) == 144 &&
                       offsetof(struct virt_vcpu, timer_limit) == 160 &&
                       offsetof(struct virt_vcpu, exits) == 168 &&
                       offsetof(struct virt_vcpu, hv_ticks) == 176,
               "vmx_entry.S");
_Static_assert(sizeof(struct vmx_vcpu) <= PAGE_SIZE, "a page");

static inline struct vmx_vcpu *vmx_of(const struct virt_vcpu *v)
{
	return v->backend;
}

/* SDM vol. 3, "Conventions": a VMX instruction fails with CF (no current VMCS) or ZF (error number in it). */
#define VMX_INSN(failed, insn, ...) __asm__ volatile(insn : "=@ccbe"(failed) : __VA_ARGS__ : "memory")

/* A VMX instruction of ours that fails is our bug: says which, on what, with the error number. */
_Noreturn void vmx_bug(const char *insn, uint64_t operand);

static inline void vmwrite(enum vmcs_field field, uint64_t value)
{
	bool failed;

	VMX_INSN(failed, "vmwrite %1, %2", "r"(value), "r"((uint64_t)field));
	if (__builtin_expect(failed, 0))
		vmx_bug("VMWRITE", field);
}

/* Not checked: there is a current VMCS, and what is read has been written before or is in every CPU. */
static inline uint64_t vmread(enum vmcs_field field)
{
	uint64_t value;

	__asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((uint64_t)field) : "cc");
	return value;
}

static inline uint32_t vmread32(enum vmcs_field field)
{
	return (uint32_t)vmread(field);
}

/* The field of a guest segment: VMCS_GUEST_SELECTOR, _LIMIT, _RIGHTS or _BASE plus the segment. */
static inline enum vmcs_field vmx_segment_field(enum vmcs_field first, enum virt_seg seg)
{
	return first + 2 * (unsigned)seg;
}

/*
 * vmx_entry.S: enters until vmx_exit() returns true. `launch` picks VMLAUNCH. True: VMfail, the guest was not
 * entered.
 */
bool vmx_enter(struct virt_vcpu *v, bool launch);
extern const uint8_t vmx_exit_entry[];

/* ept.c */
void *ept_create(void);
void ept_map(void *space, uint64_t gpa, uint64_t hpa, uint64_t size);
/* A VCPU's view: allocates (boot CPU); the EPTP; the space with another page at `gpa` (hpa 0: none there; gpa
 * UINT64_MAX: nothing else), where the caller invalidates. */
void ept_view_init(struct ept_view *view);
uint64_t ept_view_pointer(const struct ept_view *view);
void ept_view_set(struct ept_view *view, const struct vmx_space *space, uint64_t gpa, uint64_t hpa);

/* vmcs.c: life of a VCPU, as in virt.h. */
void vmcs_init(struct virt_vcpu *v, void *space, struct apic_page *apic, struct inbox *inbox);
void vmcs_load(struct virt_vcpu *v);
void vmcs_unload(struct virt_vcpu *v);
void vmcs_reset(struct virt_vcpu *v);
void vmcs_start_real(struct virt_vcpu *v, uint8_t page);
void vmcs_start_flat(struct virt_vcpu *v, const struct virt_start *start);
void vmcs_segment(struct virt_vcpu *v, enum virt_seg seg, struct virt_segment *out);
void vmcs_dump(struct virt_vcpu *v, void (*line)(const char *text));
/* Forgets what the TLB holds of the loaded VCPU's linear addresses. */
void vmcs_flush(void);

/* vmx_run.c, as in virt.h. */
void vmx_run(struct virt_vcpu *v);
void vmx_skip(struct virt_vcpu *v, uint32_t insn_len);
bool vmx_can_take(struct virt_vcpu *v, enum virt_event event);
void vmx_inject(struct virt_vcpu *v, enum virt_event event, uint8_t vector, int32_t error);
void vmx_window(struct virt_vcpu *v, bool interrupt, bool nmi);
void vmx_tpr_threshold(struct virt_vcpu *v, uint8_t task_class);
/* Has the next entry deliver an event again, or for the first time, as an exit's field describes it. */
void vmx_deliver(struct virt_vcpu *v, uint32_t event, uint32_t error_code);
/* Fits the window controls to what is wanted and to the guest's shadow. */
void vmx_window_update(struct vmx_vcpu *b);
/* For vmx_entry.S. At each exit: false to enter again, true to return from vmx_enter(). */
bool vmx_exit(struct virt_vcpu *v);
/* Before an entry at which hv_ticks has reached timer_limit. */
void vmx_set_timer(struct virt_vcpu *v);

/* vmx_apic.c, as in virt.h; and the controls' initial values, the state of a loading, an exit at the APIC page. */
enum virt_apic apic_pick(enum virt_apic wanted);
void apic_init(struct vmx_vcpu *b);
void apic_base(struct virt_vcpu *v, uint64_t base);
void apic_addressed(struct virt_vcpu *v, unsigned id, bool takes);
void apic_requests(struct virt_vcpu *v, int irr, int isr);
void apic_raise(struct virt_vcpu *v, int vector);
bool apic_post_timer(struct virt_vcpu *v, uint8_t vector, uint64_t deadline);
bool apic_unpost_timer(struct virt_vcpu *v);
void apic_load(struct vmx_vcpu *b);
void apic_unload(struct vmx_vcpu *b);
/* Fills in v->exit.mmio.gpa. True: an instruction reads or writes data. */
bool apic_access(struct virt_vcpu *v);

/* vmx_exit.c: what an exit was, with v->exit filled in. */
enum exit_kind vmx_exit_translate(struct virt_vcpu *v);

/* vmx_regs.c, as in virt.h; what an exit for a control register comes to; the MSR bitmap's address. */
uint64_t regs_get(struct virt_vcpu *v, enum virt_reg reg);
void regs_set(struct virt_vcpu *v, enum virt_reg reg, uint64_t value);
bool regs_msr_write(struct virt_vcpu *v, uint32_t index, uint64_t value);
enum exit_kind regs_cr_exit(struct virt_vcpu *v);
bool regs_are_64bit(void);
void regs_init(void); /* once, after vmx_caps */
/* `x2apic`: with what the CPU does of an x2APIC by itself. */
uint64_t regs_msr_bitmap(bool x2apic);
/* Fills the CPU with this VCPU's live MSRs, or the other way round. */
void regs_live_load(const struct vmx_vcpu *b);
void regs_live_save(struct vmx_vcpu *b);
