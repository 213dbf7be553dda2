/* SPDX-License-Identifier: MIT */
/* Entering a guest, the short way back into it, and what an entry delivers. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"

#define RFLAGS_TF (1u << 8)
#define RFLAGS_IF (1u << 9)
#define RFLAGS_RF (1u << 16)

#define SHADOW (SHADOW_STI | SHADOW_MOV_SS)

/*
 * The timer counts changes of the TSC's bit timer_shift, so it has run out when the TSC, without the bits
 * below, has grown by that count. Rounded up: never early, but for a deadline that is too far for 32 bits.
 *
 * Exits save the count, so that it stands still outside of the guest and need not be written at each entry.
 * When the hypervisor has taken a sixteenth of the time that was left, it is set right.
 */
void vmx_set_timer(struct virt_vcpu *v)
{
	uint64_t now = tsc_now(), left = v->deadline > now ? v->deadline - now : 0, timer = 0;

	if (left)
		timer = ((v->deadline - 1) >> vmx_caps.timer_shift) + 1 - (now >> vmx_caps.timer_shift);
	vmwrite(VMCS_GUEST_TIMER, timer > UINT32_MAX ? UINT32_MAX : timer);
	v->timer_limit = atomic_load_explicit(&v->hv_ticks, memory_order_relaxed) + left / 16;
}

/* True: the guest is single-stepped. */
static __attribute__((noinline)) bool step_in_full(uint64_t insn_len)
{
	uint64_t old = vmread(VMCS_GUEST_RIP), rip = old + insn_len, rflags = vmread(VMCS_GUEST_RFLAGS);
	uint32_t state = vmread32(VMCS_GUEST_INTERRUPTIBILITY);

	/* An instruction at the very end of 4 GiB: EIP wraps, RIP does not. */
	vmwrite(VMCS_GUEST_RIP, (rip ^ old) >> 32 && !regs_are_64bit() ? (uint32_t)rip : rip);
	if (state & SHADOW)
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state & ~SHADOW);
	/* RF lasts for one instruction. The trap that follows a single-stepped one is still due. */
	if (rflags & RFLAGS_RF)
		vmwrite(VMCS_GUEST_RFLAGS, rflags & ~(uint64_t)RFLAGS_RF);
	if (rflags & RFLAGS_TF)
		vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_BS);
	return rflags & RFLAGS_TF;
}

/* False: one of the special cases of step_in_full() is at hand. */
static inline bool step(uint64_t insn_len)
{
	uint64_t rip = vmread(VMCS_GUEST_RIP) + insn_len;

	if (__builtin_expect((uint32_t)rip < (uint32_t)insn_len ||
	                             vmread(VMCS_GUEST_INTERRUPTIBILITY) & SHADOW ||
	                             vmread(VMCS_GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_RF),
	                     0))
		return false;
	vmwrite(VMCS_GUEST_RIP, rip);
	return true;
}

void vmx_skip(struct virt_vcpu *v, uint32_t insn_len)
{
	uint64_t length = insn_len ? insn_len : vmread(VMCS_EXIT_INSN_LEN);

	(void)v;
	if (!step(length))
		step_in_full(length);
}

/*
 * Who calls, by the rights of CS alone where they tell: a nonconforming segment's DPL is the CPL (SDM vol. 3,
 * "Accessing Nonconforming Code Segments"). Outside of IA-32e mode L is reserved, and who sets it there has
 * 64-bit arguments.
 */
static inline enum call_mode call_mode(void)
{
	uint32_t rights = vmread32(vmx_segment_field(VMCS_GUEST_RIGHTS, SEG_CS));

	if (__builtin_expect((rights & (RIGHTS_DPL | RIGHTS_CONFORMING | RIGHTS_LONG)) == RIGHTS_LONG, 1))
		return CALL_64;
	if (rights & (RIGHTS_DPL | RIGHTS_CONFORMING) &&
	    vmread32(vmx_segment_field(VMCS_GUEST_RIGHTS, SEG_SS)) & RIGHTS_DPL)
		return CALL_USER;
	return rights & RIGHTS_LONG ? CALL_64 : CALL_32;
}

static inline bool handle(struct virt_vcpu *v, uint32_t reason)
{
	uint32_t io;

	if (reason == REASON_CPUID)
		return exit_cpuid(v);
	if (reason == REASON_VMCALL)
		return exit_hypercall(v, call_mode());
	io = vmread32(VMCS_QUALIFICATION);
	return exit_io(v, (uint16_t)(io >> IO_PORT), (io & IO_SIZE) + 1, io & IO_IN);
}

static __attribute__((noinline)) bool skip_and_handle(struct virt_vcpu *v, uint32_t reason)
{
	step_in_full(vmread(VMCS_EXIT_INSN_LEN));
	return handle(v, reason);
}

static inline bool step_and_handle(struct virt_vcpu *v, uint32_t reason)
{
	return step(vmread(VMCS_EXIT_INSN_LEN)) ? handle(v, reason) : skip_and_handle(v, reason);
}

static __attribute__((noinline)) bool exit_by_msr(struct virt_vcpu *v, uint32_t reason)
{
	return exit_msr(v, reason == REASON_WRMSR);
}

static __attribute__((noinline)) bool exit_by_io(struct virt_vcpu *v)
{
	return step_and_handle(v, REASON_IO);
}

static __attribute__((noinline)) bool exit_by_apic(struct virt_vcpu *v, uint32_t reason)
{
	uint32_t what = vmread32(VMCS_QUALIFICATION);

	return reason == REASON_EOI ? exit_eoi(v, (uint8_t)what) : exit_apic_write(v, what & 0xfff);
}

/* SDM vol. 2, "HLT": a debug exception resumes execution, so that after a single step there is nothing to wait for. */
static __attribute__((noinline)) bool exit_by_hlt(struct virt_vcpu *v)
{
	uint64_t length = vmread(VMCS_EXIT_INSN_LEN);

	return (!step(length) && step_in_full(length)) || exit_hlt(v);
}

/* Short only for an access that an instruction itself makes to data, while nothing is being delivered. */
static __attribute__((noinline)) bool exit_by_access(struct virt_vcpu *v, uint32_t reason)
{
	uint32_t qualification = vmread32(VMCS_QUALIFICATION);
	bool plain;

	if (reason == REASON_APIC_ACCESS) {
		plain = apic_access(v);
	} else {
		plain = is_data_access(qualification) && !(qualification & EPT_IRET_UNBLOCK);
		v->exit.mmio.gpa = vmread(VMCS_GUEST_PHYSICAL);
	}
	v->exit.mmio.code = (struct virt_code){
		.rip = vmread(VMCS_GUEST_RIP),
		.cr0 = vmread(VMCS_GUEST_CR0),
		.cr3 = vmread(VMCS_GUEST_CR3),
		.cr4 = vmread(VMCS_GUEST_CR4),
		.efer = vmread(VMCS_GUEST_EFER),
		.cs = vmread(vmx_segment_field(VMCS_GUEST_RIGHTS, SEG_CS)),
	};
	if (plain && !(vmread32(VMCS_VECTORING_EVENT) & EVENT_VALID))
		return exit_mmio(v);
	v->exit.kind = EXIT_UNKNOWN;
	return true;
}

/* Without a frame: what needs one is in a function of its own. */
bool vmx_exit(struct virt_vcpu *v)
{
	uint32_t reason = vmread32(VMCS_EXIT_REASON);

	if (reason == REASON_VMCALL)
		return step_and_handle(v, REASON_VMCALL);
	if (reason == REASON_CPUID)
		return step_and_handle(v, REASON_CPUID);
	if (reason == REASON_RDMSR || reason == REASON_WRMSR)
		return exit_by_msr(v, reason);
	if (reason == REASON_IO && !(vmread32(VMCS_QUALIFICATION) & IO_STRING))
		return exit_by_io(v);
	if (reason == REASON_EPT_VIOLATION || reason == REASON_APIC_ACCESS)
		return exit_by_access(v, reason);
	if (reason == REASON_APIC_WRITE || reason == REASON_EOI)
		return exit_by_apic(v, reason);
	if (reason == REASON_HLT)
		return exit_by_hlt(v);
	v->exit.kind = EXIT_UNKNOWN;
	return true;
}

void vmx_run(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);
	bool launch = !b->launched;

	/*
	 * SDM vol. 3, "VM-Execution Control Fields" (checks): an entry with a TPR below the threshold fails.
	 * The guest, or an emulated write, has lowered it since the threshold was set, which is what EXIT_TPR
	 * says.
	 */
	if (b->shutdown || b->apic_page[APIC_TPR * 16] >> 4 < b->tpr_class) {
		v->exit.kind = b->shutdown ? EXIT_SHUTDOWN : EXIT_TPR;
		return;
	}
	b->launched = true;
	v->exit.kind = EXIT_RESUME;
	if (vmx_enter(v, launch))
		v->exit.kind = EXIT_UNKNOWN;
	else if (v->exit.kind == EXIT_UNKNOWN)
		v->exit.kind = vmx_exit_translate(v);
}

/* What the next entry delivers, as VMCS_ENTRY_EVENT; 0: nothing. */
static uint32_t due_event(const struct virt_vcpu *v)
{
	return vmx_of(v)->event_exit == atomic_load_explicit(&v->exits, memory_order_relaxed)
	               ? vmx_of(v)->event
	               : 0;
}

bool vmx_can_take(struct virt_vcpu *v, enum virt_event event)
{
	uint32_t state;

	if (due_event(v))
		return false;
	state = vmread32(VMCS_GUEST_INTERRUPTIBILITY);
	/* SDM vol. 2, "STI": some processors hold back an NMI as well. Then STI; HLT is one step for both. */
	if (event == EVENT_NMI)
		return !(state & (SHADOW | BLOCKED_BY_NMI));
	return event == EVENT_EXCEPTION || (!(state & SHADOW) && vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF);
}

void vmx_deliver(struct virt_vcpu *v, uint32_t event, uint32_t error_code)
{
	uint32_t state = vmread32(VMCS_GUEST_INTERRUPTIBILITY), ends = SHADOW;

	/*
	 * Delivery ends a shadow. An NMI's sets the blocking itself, which must be off before: SDM vol. 3,
	 * "Checks on Guest Non-Register State".
	 */
	if ((event & EVENT_TYPE) == EVENT_TYPE_NMI)
		ends |= BLOCKED_BY_NMI;
	if (state & ends)
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state & ~ends);
	event &= EVENT_VALID | EVENT_ERROR_CODE | EVENT_TYPE | EVENT_VECTOR;
	if (event & EVENT_ERROR_CODE)
		vmwrite(VMCS_ENTRY_ERROR_CODE, error_code);
	if ((event & EVENT_TYPE) >= EVENT_TYPE_SOFT)
		vmwrite(VMCS_ENTRY_INSN_LEN, vmread(VMCS_EXIT_INSN_LEN));
	vmwrite(VMCS_ENTRY_EVENT, event);
	vmx_of(v)->event = event;
	vmx_of(v)->event_exit = atomic_load_explicit(&v->exits, memory_order_relaxed);
}

/* SDM vol. 3, "Interrupt 8—Double Fault Exception (#DF)": classes of exceptions, by vector; 0: benign. */
enum { CONTRIBUTORY = 1, PAGE_FAULT, DOUBLE_FAULT };
static const uint8_t fault_class[32] = {
	[0] = CONTRIBUTORY,  [VECTOR_DF] = DOUBLE_FAULT, [10] = CONTRIBUTORY, [11] = CONTRIBUTORY,
	[12] = CONTRIBUTORY, [VECTOR_GP] = CONTRIBUTORY, [14] = PAGE_FAULT,   [21] = CONTRIBUTORY,
};

/* SDM vol. 3, table "Exceptions and Interrupts": those with an error code. */
#define WITH_ERROR_CODE (1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17)

static void inject_exception(struct virt_vcpu *v, uint8_t vector, int32_t error)
{
	uint32_t before = due_event(v), event = EVENT_VALID | EVENT_TYPE_HW;

	/* On top of an exception that the entry was to deliver. What else was to come, comes again. */
	if (before && (before & EVENT_TYPE) == EVENT_TYPE_HW) {
		uint8_t first = fault_class[before & 31], second = fault_class[vector & 31];
		bool serious = second == CONTRIBUTORY || second == PAGE_FAULT;

		if (first == DOUBLE_FAULT && serious) {
			vmx_of(v)->shutdown = true;
			return;
		}
		if ((first == CONTRIBUTORY && second == CONTRIBUTORY) || (first == PAGE_FAULT && serious)) {
			vector = VECTOR_DF;
			error = 0;
		}
	}
	/*
	 * SDM vol. 3, "Masking Instruction Breakpoints": a fault pushes RF set. Injection pushes what is in the
	 * guest's RFLAGS, and clears it there.
	 */
	vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
	/* There are no error codes in real mode. */
	if ((WITH_ERROR_CODE >> (vector & 31) & 1) && (vmread(VMCS_GUEST_CR0) & CR0_PE))
		event |= EVENT_ERROR_CODE;
	vmx_deliver(v, event | vector, error < 0 ? 0 : (uint32_t)error);
}

void vmx_inject(struct virt_vcpu *v, enum virt_event event, uint8_t vector, int32_t error)
{
	if (event == EVENT_EXCEPTION)
		inject_exception(v, vector, error);
	else
		vmx_deliver(v, EVENT_VALID | (event == EVENT_NMI ? EVENT_TYPE_NMI : EVENT_TYPE_EXT) | vector,
		            0);
}

void vmx_window_update(struct vmx_vcpu *b)
{
	uint32_t proc = vmx_caps.proc;

	if (b->want_interrupt)
		proc |= PROC_INTERRUPT_WINDOW;
	/*
	 * The NMI window opens as soon as the CPU would take an NMI, for some that is in the shadow of STI.
	 * The interrupt window opens after it. (STI; CLI closes both: then the NMI waits for the next exit,
	 * the slice's end at the latest.)
	 */
	if (b->want_nmi)
		proc |= vmread(VMCS_GUEST_INTERRUPTIBILITY) & SHADOW_STI ? PROC_INTERRUPT_WINDOW
		                                                         : PROC_NMI_WINDOW;
	if (proc != b->proc)
		vmwrite(VMCS_PROC, proc);
	b->proc = proc;
}

void vmx_window(struct virt_vcpu *v, bool interrupt, bool nmi)
{
	struct vmx_vcpu *b = vmx_of(v);

	if (b->want_interrupt == interrupt && b->want_nmi == nmi)
		return;
	b->want_interrupt = interrupt;
	b->want_nmi = nmi;
	vmx_window_update(b);
}

void vmx_tpr_threshold(struct virt_vcpu *v, uint8_t task_class)
{
	vmwrite(VMCS_TPR_THRESHOLD, task_class);
	vmx_of(v)->tpr_class = task_class;
}
