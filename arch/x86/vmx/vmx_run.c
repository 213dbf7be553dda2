/* SPDX-License-Identifier: MIT */
/* Entering a guest, and what the entry delivers to it. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"

#define RFLAGS_TF (1u << 8)
#define RFLAGS_IF (1u << 9)
#define RFLAGS_RF (1u << 16)

#define VECTOR_DF 8

/*
 * SDM vol. 3, "Interrupt 8—Double Fault Exception (#DF)": classes of what was being delivered and of what
 * came up.
 */
enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static const uint8_t fault_class[32] = {
	[0] = CONTRIBUTORY,  [VECTOR_DF] = DOUBLE_FAULT, [10] = CONTRIBUTORY, [11] = CONTRIBUTORY,
	[12] = CONTRIBUTORY, [13] = CONTRIBUTORY,        [14] = PAGE_FAULT,   [21] = CONTRIBUTORY,
};

/*
 * SDM vol. 3, table "Exceptions and Interrupts": those with an error code, as far as an entry may deliver
 * one.
 */
#define WITH_ERROR_CODE (1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17)

/*
 * The timer counts changes of the TSC's bit timer_shift, so it has run out when the TSC, without the bits
 * below, has grown by that count. Rounded up: never early, but for a deadline that is too far for 32 bits.
 */
static inline uint32_t timer_count(uint64_t deadline)
{
	uint64_t now = tsc_now(), count;

	if (deadline <= now)
		return 0;
	count = ((deadline - 1) >> vmx_caps.timer_shift) + 1 - (now >> vmx_caps.timer_shift);
	return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

/* True: there is no entry now, *out says why. */
static bool run_slow(struct vmx_vcpu *b, struct vm_exit *out)
{
	if (b->slow & SLOW_SHUTDOWN)
		out->kind = EXIT_SHUTDOWN;
	/*
	 * SDM vol. 3, "VM-Execution Control Fields" (checks): an entry with a TPR below the threshold fails.
	 * The guest, or an emulated write, has lowered it since the threshold was set, which is what EXIT_TPR
	 * says.
	 */
	else if ((b->slow & SLOW_TPR) && *b->tpr >> 4 < b->tpr_class)
		out->kind = EXIT_TPR;
	else
		return false;
	out->raw[0] = out->raw[1] = 0;
	return true;
}

void vmx_run(struct virt_vcpu *v, uint64_t deadline, struct vm_exit *out)
{
	struct vmx_vcpu *b = vmx_of(v);
	bool launch = false;

	if (__builtin_expect(b->slow != 0, 0)) {
		if (run_slow(b, out))
			return;
		launch = b->slow & SLOW_LAUNCH;
		b->slow &= (uint8_t)~SLOW_LAUNCH;
	}
	b->deadline = deadline;
	vmwrite(VMCS_GUEST_TIMER, timer_count(deadline));
	if (__builtin_expect(vmx_enter(v, launch), 0)) {
		out->kind = EXIT_UNKNOWN;
		out->raw[0] = REASON_ENTRY_FAILED;
		out->raw[1] = vmread(VMCS_INSTRUCTION_ERROR);
		return;
	}
	b->event = 0;
	vmx_exit_translate(v, out);
}

void vmx_skip(struct virt_vcpu *v, uint32_t insn_len)
{
	uint64_t old = vmread(VMCS_GUEST_RIP), rip = old + insn_len, rflags;
	uint32_t state = vmread32(VMCS_GUEST_INTERRUPTIBILITY);

	(void)v;
	/* An instruction at the very end of 4 GiB: EIP wraps, RIP does not. */
	if (__builtin_expect((rip ^ old) >> 32 != 0, 0) && !cr_is_64bit())
		rip = (uint32_t)rip;
	vmwrite(VMCS_GUEST_RIP, rip);
	if (__builtin_expect(state & (SHADOW_STI | SHADOW_MOV_SS), 0))
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state & ~(SHADOW_STI | SHADOW_MOV_SS));
	rflags = vmread(VMCS_GUEST_RFLAGS);
	if (__builtin_expect((rflags & (RFLAGS_TF | RFLAGS_RF)) == 0, 1))
		return;
	/* RF lasts for one instruction. The trap that follows a single-stepped one is still due. */
	vmwrite(VMCS_GUEST_RFLAGS, rflags & ~(uint64_t)RFLAGS_RF);
	if (rflags & RFLAGS_TF)
		vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_BS);
}

bool vmx_can_take(struct virt_vcpu *v, enum virt_event event)
{
	uint32_t state;

	if (vmx_of(v)->event)
		return false;
	state = vmread32(VMCS_GUEST_INTERRUPTIBILITY);
	switch (event) {
	case EVENT_INTERRUPT:
		return (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) && !(state & (SHADOW_STI | SHADOW_MOV_SS));
	case EVENT_NMI:
		/*
		 * SDM vol. 2, "STI": some processors hold back an NMI as well. Then STI; HLT is one step for
		 * both.
		 */
		return !(state & (SHADOW_STI | SHADOW_MOV_SS | BLOCKED_BY_NMI));
	case EVENT_EXCEPTION:
		return true;
	}
	return false;
}

void vmx_deliver(struct vmx_vcpu *b, uint32_t event, uint32_t error_code)
{
	uint32_t state = vmread32(VMCS_GUEST_INTERRUPTIBILITY);
	uint32_t keep = state & ~(SHADOW_STI | SHADOW_MOV_SS);

	/*
	 * Delivery ends a shadow. An NMI's sets the blocking itself, which must be off before: SDM vol. 3,
	 * "Checks on Guest Non-Register State".
	 */
	if ((event & EVENT_TYPE) == EVENT_TYPE_NMI)
		keep &= ~BLOCKED_BY_NMI;
	if (keep != state)
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, keep);
	event &= EVENT_VALID | EVENT_ERROR_CODE | EVENT_TYPE | EVENT_VECTOR;
	if (event & EVENT_ERROR_CODE)
		vmwrite(VMCS_ENTRY_ERROR_CODE, error_code);
	if ((event & EVENT_TYPE) >= EVENT_TYPE_SOFT)
		vmwrite(VMCS_ENTRY_INSN_LEN, vmread(VMCS_EXIT_INSN_LEN));
	vmwrite(VMCS_ENTRY_EVENT, event);
	b->event = event;
}

/*
 * An exception on top of the event that the entry was to deliver: which of the two it becomes, 0 for
 * shutdown.
 */
static uint8_t combine(uint32_t first, uint8_t second)
{
	enum fault_class a = BENIGN, b = fault_class[second & 31];

	if ((first & EVENT_TYPE) == EVENT_TYPE_HW)
		a = fault_class[first & 31];
	if (a == DOUBLE_FAULT && (b == CONTRIBUTORY || b == PAGE_FAULT))
		return 0;
	if ((a == CONTRIBUTORY && b == CONTRIBUTORY) ||
	    (a == PAGE_FAULT && (b == CONTRIBUTORY || b == PAGE_FAULT)))
		return VECTOR_DF;
	return second;
}

static void inject_exception(struct vmx_vcpu *b, uint8_t vector, int32_t error)
{
	uint32_t event = EVENT_VALID | EVENT_TYPE_HW;

	if (b->event) {
		uint8_t both = combine(b->event, vector);

		if (both == 0) {
			b->slow |= SLOW_SHUTDOWN;
			return;
		}
		if (both != vector)
			error = 0;
		vector = both;
	}
	/* There are no error codes in real mode. */
	if ((WITH_ERROR_CODE >> (vector & 31) & 1) && (vmread(VMCS_GUEST_CR0) & CR0_PE))
		event |= EVENT_ERROR_CODE;
	vmx_deliver(b, event | vector, error < 0 ? 0 : (uint32_t)error);
}

void vmx_inject(struct virt_vcpu *v, enum virt_event event, uint8_t vector, int32_t error)
{
	struct vmx_vcpu *b = vmx_of(v);

	switch (event) {
	case EVENT_INTERRUPT:
		b->event = EVENT_VALID | EVENT_TYPE_EXT | vector;
		vmwrite(VMCS_ENTRY_EVENT, b->event);
		break;
	case EVENT_NMI:
		vmx_deliver(b, EVENT_VALID | EVENT_TYPE_NMI | 2, 0);
		break;
	case EVENT_EXCEPTION:
		inject_exception(b, vector, error);
		break;
	}
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
	struct vmx_vcpu *b = vmx_of(v);

	if (task_class == b->tpr_class)
		return;
	b->tpr_class = task_class;
	b->slow = (uint8_t)((b->slow & ~SLOW_TPR) | (task_class ? SLOW_TPR : 0));
	vmwrite(VMCS_TPR_THRESHOLD, task_class);
}
