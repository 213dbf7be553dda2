/* SPDX-License-Identifier: MIT */
/* What an exit was: reason and qualification become a struct vm_exit. */
#include "arch/x86/vmx/vmx.h"

#define VECTOR_DB 1
#define VECTOR_GP 13
#define VECTOR_MC 18

#define DR7_GD (1u << 13)

/* SDM vol. 3, "Exit Qualification for Debug Exceptions"; the bits are those of DR6. */
#define DR6_CAUSES 0x600full

/* SDM vol. 3, "Exit Qualification for I/O Instructions". */
#define IO_SIZE   7u
#define IO_IN     (1u << 3)
#define IO_STRING (1u << 4)
#define IO_REP    (1u << 5)
#define IO_PORT   16

/* SDM vol. 3, "VM-Exit Instruction-Information Field as Used for INS and OUTS": the address size. */
#define INFO_ADDRESS_SIZE 7

/* SDM vol. 3, "Exit Qualification for EPT Violations". */
#define EPT_WRITE        (1u << 1)
#define EPT_FETCH        (1u << 2)
#define EPT_LINEAR       (1u << 7)
#define EPT_TRANSLATED   (1u << 8)
#define EPT_IRET_UNBLOCK (1u << 12)

typedef void decode_function(struct virt_vcpu *v, struct vm_exit *out);

static void decode_plain(struct virt_vcpu *v, struct vm_exit *out)
{
	(void)v;
	(void)out;
}

static void decode_insn(struct virt_vcpu *v, struct vm_exit *out)
{
	(void)v;
	out->insn_len = vmread32(VMCS_EXIT_INSN_LEN);
}

static void decode_unknown(struct virt_vcpu *v, struct vm_exit *out)
{
	(void)v;
	out->kind = EXIT_UNKNOWN;
	out->raw[1] = vmread(VMCS_QUALIFICATION);
}

static void decode_rdmsr(struct virt_vcpu *v, struct vm_exit *out)
{
	out->insn_len = vmread32(VMCS_EXIT_INSN_LEN);
	out->msr.index = (uint32_t)v->gpr[RCX];
	out->msr.write = false;
}

static void decode_wrmsr(struct virt_vcpu *v, struct vm_exit *out)
{
	decode_rdmsr(v, out);
	out->msr.write = true;
}

static void decode_io(struct virt_vcpu *v, struct vm_exit *out)
{
	uint32_t qualification = vmread32(VMCS_QUALIFICATION);

	(void)v;
	out->raw[1] = qualification;
	out->insn_len = vmread32(VMCS_EXIT_INSN_LEN);
	out->io.port = (uint16_t)(qualification >> IO_PORT);
	out->io.size = (uint8_t)((qualification & IO_SIZE) + 1);
	out->io.in = qualification & IO_IN;
	out->io.rep = qualification & IO_REP;
	out->io.string = qualification & IO_STRING;
	if (out->io.string) {
		out->io.linear = vmread(VMCS_GUEST_LINEAR);
		out->io.address_size = (uint8_t)(2u
		                                 << (vmread(VMCS_EXIT_INSN_INFO) >> INFO_ADDRESS_SIZE & 7));
	}
}

static void decode_host_irq(struct virt_vcpu *v, struct vm_exit *out)
{
	(void)v;
	out->vector = (uint8_t)(vmread(VMCS_EXIT_EVENT) & EVENT_VECTOR);
}

static void decode_timer(struct virt_vcpu *v, struct vm_exit *out)
{
	/* A count cut to 32 bits has run out, not the deadline. */
	if (tsc_now() < vmx_of(v)->deadline)
		out->kind = EXIT_RESUME;
}

static void decode_window(struct virt_vcpu *v, struct vm_exit *out)
{
	struct vmx_vcpu *b = vmx_of(v);

	vmx_window_update(b);
	/* In the shadow of STI we wait for one more instruction than this CPU would. */
	if (out->raw[0] == REASON_NMI_WINDOW && !(b->proc & PROC_NMI_WINDOW))
		out->kind = EXIT_RESUME;
}

static void decode_cr(struct virt_vcpu *v, struct vm_exit *out)
{
	out->raw[1] = vmread(VMCS_QUALIFICATION);
	cr_exit(v, out);
}

/* RDPMC without counters: every index is invalid, which is #GP(0). */
static void decode_rdpmc(struct virt_vcpu *v, struct vm_exit *out)
{
	(void)out;
	vmx_inject(v, EVENT_EXCEPTION, VECTOR_GP, 0);
}

/*
 * SDM vol. 3, "Information for VM Exits That Occur During Event Delivery": what was on its way has not
 * arrived, and the next entry brings it again. True if there was such.
 */
static bool redeliver(struct vmx_vcpu *b)
{
	uint32_t event = vmread32(VMCS_VECTORING_EVENT);

	if (!(event & EVENT_VALID))
		return false;
	vmx_deliver(b, event, event & EVENT_ERROR_CODE ? vmread32(VMCS_VECTORING_ERROR_CODE) : 0);
	return true;
}

/*
 * SDM vol. 3, "Information About NMI Unblocking Due to IRET": an IRET that faulted has not unblocked after
 * all.
 */
static void block_nmi_again(void)
{
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
}

static void decode_ept(struct virt_vcpu *v, struct vm_exit *out)
{
	uint64_t qualification = vmread(VMCS_QUALIFICATION);

	out->raw[1] = qualification;
	out->insn_len = 0;
	out->mmio.gpa = vmread(VMCS_GUEST_PHYSICAL);
	out->mmio.write = qualification & EPT_WRITE;
	out->mmio.fetch = qualification & EPT_FETCH;
	out->mmio.walk = (qualification & (EPT_LINEAR | EPT_TRANSLATED)) != (EPT_LINEAR | EPT_TRANSLATED);
	out->mmio.delivery = redeliver(vmx_of(v));
	if ((qualification & EPT_IRET_UNBLOCK) && !out->mmio.delivery)
		block_nmi_again();
}

/* The CPU reports the causes of a #DB that exits, and leaves it to us to record them as its delivery does. */
static void record_debug(void)
{
	uint64_t causes = vmread(VMCS_QUALIFICATION) & DR6_CAUSES, dr6;

	/*
	 * SDM vol. 3, "Debug Status Register (DR6)": B0 to B3 are of this exception only, the others add up.
	 */
	__asm__ volatile("movq %%dr6, %0" : "=r"(dr6));
	__asm__ volatile("movq %0, %%dr6" : : "r"((dr6 & ~0xfull) | causes));
	/* SDM vol. 3, "Debug Control Register (DR7)": GD is cleared on entering the handler. */
	vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~(uint64_t)DR7_GD);
}

static void decode_exception(struct virt_vcpu *v, struct vm_exit *out)
{
	uint32_t event = vmread32(VMCS_EXIT_EVENT);
	uint8_t vector = (uint8_t)(event & EVENT_VECTOR);

	out->kind = EXIT_RESUME;
	if ((event & EVENT_TYPE) == EVENT_TYPE_NMI) {
		/* The machine's, and blocked by the exit: the IRET of its handler opens it again. */
		__asm__ volatile("int $2" : : : "memory");
		return;
	}
	if (vector == VECTOR_MC) {
		__asm__ volatile("int $18" : : : "memory");
		return;
	}
	if ((event & EVENT_IRET_UNBLOCK) && !(vmread(VMCS_VECTORING_EVENT) & EVENT_VALID))
		block_nmi_again();
	if (vector == VECTOR_DB)
		record_debug();
	/*
	 * #DB and #AC are benign: on top of another event's delivery they come alone, and what they
	 * interrupted comes again when its instruction does. As on the bare machine, where an external
	 * interrupt would be lost as well.
	 */
	vmx_deliver(vmx_of(v), event, event & EVENT_ERROR_CODE ? vmread32(VMCS_EXIT_ERROR_CODE) : 0);
}

/* By basic reason; a hole is a reason that cannot come, and parks the VM if it does. */
static const struct {
	enum exit_kind kind;
	decode_function *decode;
} reasons[REASONS] = {
	[REASON_EXCEPTION] = { EXIT_RESUME, decode_exception },
	[REASON_INTERRUPT] = { EXIT_HOST_IRQ, decode_host_irq },
	[REASON_TRIPLE_FAULT] = { EXIT_SHUTDOWN, decode_plain },
	[REASON_INIT] = { EXIT_RESUME, decode_plain },
	[REASON_SIPI] = { EXIT_RESUME, decode_plain },
	[REASON_INTERRUPT_WINDOW] = { EXIT_WINDOW, decode_window },
	[REASON_NMI_WINDOW] = { EXIT_WINDOW, decode_window },
	[REASON_CPUID] = { EXIT_CPUID, decode_insn },
	[REASON_GETSEC] = { EXIT_UNDEFINED, decode_insn },
	[REASON_HLT] = { EXIT_HLT, decode_insn },
	[REASON_INVD] = { EXIT_NOP, decode_insn },
	[REASON_RDPMC] = { EXIT_RESUME, decode_rdpmc },
	[REASON_RSM] = { EXIT_UNDEFINED, decode_insn },
	[REASON_VMCALL] = { EXIT_HYPERCALL, decode_insn },
	[REASON_VMCLEAR... REASON_VMXON] = { EXIT_UNDEFINED, decode_insn },
	[REASON_CR] = { EXIT_RESUME, decode_cr },
	[REASON_IO] = { EXIT_IO, decode_io },
	[REASON_RDMSR] = { EXIT_MSR, decode_rdmsr },
	[REASON_WRMSR] = { EXIT_MSR, decode_wrmsr },
	[REASON_MWAIT] = { EXIT_UNDEFINED, decode_insn },
	[REASON_MONITOR] = { EXIT_UNDEFINED, decode_insn },
	[REASON_TPR] = { EXIT_TPR, decode_plain },
	[REASON_EPT_VIOLATION] = { EXIT_MMIO, decode_ept },
	[REASON_INVEPT] = { EXIT_UNDEFINED, decode_insn },
	[REASON_TIMER] = { EXIT_TIMER, decode_timer },
	[REASON_INVVPID] = { EXIT_UNDEFINED, decode_insn },
	[REASON_WBINVD] = { EXIT_NOP, decode_insn },
	[REASON_XSETBV] = { EXIT_UNDEFINED, decode_insn },
	[REASON_VMFUNC] = { EXIT_UNDEFINED, decode_insn },
	[REASON_ENCLS] = { EXIT_UNDEFINED, decode_insn },
};

void vmx_exit_translate(struct virt_vcpu *v, struct vm_exit *out)
{
	uint32_t reason = vmread32(VMCS_EXIT_REASON);

	out->raw[0] = reason;
	out->raw[1] = 0;
	if (__builtin_expect(reason < REASONS && reasons[reason].decode, 1)) {
		out->kind = reasons[reason].kind;
		reasons[reason].decode(v, out);
		return;
	}
	if (reason == (REASON_ENTRY_FAILED | REASON_ENTRY_MACHINE_CHECK))
		__asm__ volatile("int $18" : : : "memory");
	decode_unknown(v, out);
}
