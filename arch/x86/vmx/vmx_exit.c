/* SPDX-License-Identifier: MIT */
/* What an exit was: reason and qualification become a struct vm_exit. */
#include "arch/x86/vmx/vmx.h"

#define DR7_GD (1u << 13)

/* SDM vol. 3, "Exit Qualification for Debug Exceptions"; the bits are those of DR6. */
#define DR6_CAUSES 0x600full

/* SDM vol. 3, "Exit Qualification for I/O Instructions". */
#define IO_REP (1u << 5)

/* SDM vol. 3, "VM-Exit Instruction-Information Field as Used for INS and OUTS": the address size. */
#define INFO_ADDRESS_SIZE 7

/*
 * Reasons of instructions that this platform does not have: GETSEC, RSM, those of VMX from VMCLEAR to VMXON,
 * MWAIT, MONITOR, INVEPT, INVVPID, XSETBV, VMFUNC, ENCLS.
 */
#define NOT_HERE                                                                                        \
	(1ull << 11 | 1ull << 17 | 0x1ffull << 19 | 1ull << 36 | 1ull << 39 | 1ull << 50 | 1ull << 53 | \
	 1ull << 55 | 3ull << 59)

/* IN and OUT never come here: vmx_exit() has them. */
static enum exit_kind decode_string_io(struct virt_vcpu *v)
{
	uint32_t qualification = vmread32(VMCS_QUALIFICATION);
	struct vm_exit *e = &v->exit;

	e->io.port = (uint16_t)(qualification >> IO_PORT);
	e->io.size = (uint8_t)((qualification & IO_SIZE) + 1);
	e->io.in = qualification & IO_IN;
	e->io.rep = qualification & IO_REP;
	e->io.linear = vmread(VMCS_GUEST_LINEAR);
	e->io.address_size = (uint8_t)(2u << (vmread(VMCS_EXIT_INSN_INFO) >> INFO_ADDRESS_SIZE & 7));
	return EXIT_STRING_IO;
}

static enum exit_kind decode_timer(struct virt_vcpu *v)
{
	if (tsc_now() >= v->deadline)
		return EXIT_TIMER;
	/* A count cut to 32 bits has run out, or rounded down by many exits. */
	v->timer_limit = 0;
	return EXIT_RESUME;
}

static enum exit_kind decode_window(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);
	uint32_t asked = b->proc;

	vmx_window_update(b);
	/* In the shadow of STI we wait for one more instruction than this CPU would. */
	return asked & ~b->proc & PROC_NMI_WINDOW ? EXIT_RESUME : EXIT_WINDOW;
}

/*
 * SDM vol. 3, "Information for VM Exits That Occur During Event Delivery": what was on its way has not
 * arrived, and the next entry brings it again. True if there was such.
 */
static bool redeliver(struct virt_vcpu *v)
{
	uint32_t event = vmread32(VMCS_VECTORING_EVENT);

	if (!(event & EVENT_VALID))
		return false;
	vmx_deliver(v, event, event & EVENT_ERROR_CODE ? vmread32(VMCS_VECTORING_ERROR_CODE) : 0);
	return true;
}

/* SDM vol. 3, "Information About NMI Unblocking Due to IRET": a faulted IRET did not unblock. */
static void block_nmi_again(void)
{
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKED_BY_NMI);
}

/* What exit_by_access() has left to do: mmio.gpa and mmio.code are there. */
static enum exit_kind decode_ept(struct virt_vcpu *v)
{
	uint32_t qualification = vmread32(VMCS_QUALIFICATION);
	bool delivery = redeliver(v);

	v->exit.mmio.stray = delivery || !is_data_access(qualification);
	if ((qualification & EPT_IRET_UNBLOCK) && !delivery)
		block_nmi_again();
	return EXIT_MMIO;
}

static enum exit_kind decode_apic_access(struct virt_vcpu *v)
{
	bool delivery = redeliver(v);

	v->exit.mmio.stray = !apic_access(v) || delivery;
	return EXIT_MMIO;
}

/* The CPU reports the causes of a #DB that exits, and leaves it to us to record them as its delivery does. */
static void record_debug(bool int1)
{
	uint64_t causes = vmread(VMCS_QUALIFICATION) & DR6_CAUSES, dr6;

	/* SDM vol. 3, "Debug Status Register (DR6)": BS is single stepping's alone. Bochs notes the step that MOV SS held back. */
	if (int1)
		causes &= ~PENDING_BS;

	/* SDM vol. 3, "Debug Status Register (DR6)": B0 to B3 are of this one, the others add up. */
	__asm__ volatile("movq %%dr6, %0" : "=r"(dr6));
	__asm__ volatile("movq %0, %%dr6" : : "r"((dr6 & ~0xfull) | causes));
	/* SDM vol. 3, "Debug Control Register (DR7)": GD is cleared on entering the handler. */
	vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~(uint64_t)DR7_GD);
}

static enum exit_kind decode_exception(struct virt_vcpu *v)
{
	uint32_t event = vmread32(VMCS_EXIT_EVENT);
	uint8_t vector = (uint8_t)(event & EVENT_VECTOR);

	/* The machine's: an NMI is blocked by the exit, and the IRET of its handler opens it again. */
	if ((event & EVENT_TYPE) == EVENT_TYPE_NMI) {
		__asm__ volatile("int $2" : : : "memory");
		return EXIT_RESUME;
	}
	if (vector == VECTOR_MC) {
		__asm__ volatile("int $18" : : : "memory");
		return EXIT_RESUME;
	}
	if ((event & EVENT_IRET_UNBLOCK) && !(vmread(VMCS_VECTORING_EVENT) & EVENT_VALID))
		block_nmi_again();
	if (vector == VECTOR_DB)
		record_debug((event & EVENT_TYPE) == EVENT_TYPE_INT1);
	/*
	 * #DB and #AC are benign: on top of another event's delivery they come alone, and what they
	 * interrupted comes again when its instruction does. As on the bare machine, where an external
	 * interrupt would be lost as well.
	 */
	vmx_deliver(v, event, event & EVENT_ERROR_CODE ? vmread32(VMCS_EXIT_ERROR_CODE) : 0);
	return EXIT_RESUME;
}

enum exit_kind vmx_exit_translate(struct virt_vcpu *v)
{
	uint32_t reason = vmread32(VMCS_EXIT_REASON);

	switch (reason) {
	case REASON_EXCEPTION:
		return decode_exception(v);
	case REASON_INTERRUPT:
		/* At once: in service, it would keep back a notification that somebody waits for. */
		irq_finish((uint8_t)(vmread(VMCS_EXIT_EVENT) & EVENT_VECTOR));
		return EXIT_HOST_IRQ;
	case REASON_TRIPLE_FAULT:
		return EXIT_SHUTDOWN;
	case REASON_INIT:
		return EXIT_RESUME;
	case REASON_INTERRUPT_WINDOW:
	case REASON_NMI_WINDOW:
		return decode_window(v);
	case REASON_INVD: /* no caches are the guest's */
	case REASON_WBINVD:
		vmx_skip(v, vmread32(VMCS_EXIT_INSN_LEN));
		return EXIT_RESUME;
	case REASON_RDPMC: /* there are no counters, so that every index is invalid */
		vmx_inject(v, EVENT_EXCEPTION, VECTOR_GP, 0);
		return EXIT_RESUME;
	case REASON_CR:
		return regs_cr_exit(v);
	case REASON_IO:
		return decode_string_io(v);
	case REASON_TPR:
		return EXIT_TPR;
	case REASON_APIC_ACCESS:
		return decode_apic_access(v);
	case REASON_EPT_VIOLATION:
		return decode_ept(v);
	case REASON_TIMER:
		return decode_timer(v);
	case REASON_ENTRY_FAILED | REASON_ENTRY_MACHINE_CHECK:
		__asm__ volatile("int $18" : : : "memory");
		return EXIT_UNKNOWN;
	}
	if (reason > 63 || !(NOT_HERE >> reason & 1))
		return EXIT_UNKNOWN;
	vmx_inject(v, EVENT_EXCEPTION, VECTOR_UD, -1);
	return EXIT_RESUME;
}
