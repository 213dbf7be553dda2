/* SPDX-License-Identifier: MIT */
/* How far the CPU plays the local APIC: virtual-APIC page, virtual-interrupt delivery, posted interrupts. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/boot.h"
#include "arch/x86/cpureg.h"

/* SDM vol. 3, "Exit Qualification for APIC-Access VM Exits". */
#define ACCESS_OFFSET 0xfffu
#define ACCESS_TYPE   12
#define ACCESS_READ   0u
#define ACCESS_WRITE  1u

#define INVEPT_ONE 1ull

/* What each step of enum virt_apic needs of the CPU. */
static const struct {
	uint32_t pin, proc2, proc3;
} needs[] = {
	[VIRT_APIC_REGS] = { .proc2 = PROC2_APIC_ACCESS | PROC2_X2APIC | PROC2_APIC_REGS },
	[VIRT_APIC_VID] = { .proc2 = PROC2_APIC_VID },
	[VIRT_APIC_POSTED] = { .pin = PIN_POSTED },
	[VIRT_APIC_IPIV] = { .proc3 = PROC3_IPI },
};

/* The guest's accesses to where this page is mapped are the processor's to virtualise; nothing is in it. */
static const uint8_t access_page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

enum virt_apic apic_pick(enum virt_apic wanted)
{
	enum virt_apic best = VIRT_APIC_SOFT;

	while (best < VIRT_APIC_IPIV && !(needs[best + 1].pin & ~vmx_caps.may_pin) &&
	       !(needs[best + 1].proc2 & ~vmx_caps.may_proc2) &&
	       !(needs[best + 1].proc3 & ~vmx_caps.may_proc3))
		best++;
	if (wanted > best)
		return VIRT_APIC_BEST;
	/* Nobody has seen that one work. */
	if (best == VIRT_APIC_IPIV)
		best = VIRT_APIC_POSTED;
	if (wanted == VIRT_APIC_IPIV)
		vmx_caps.proc |= PROC_TERTIARY;
	vmx_caps.apic = wanted == VIRT_APIC_BEST ? best : wanted;
	regs_init();
	return vmx_caps.apic;
}

void apic_init(struct vmx_vcpu *b)
{
	if (vmx_caps.apic >= VIRT_APIC_REGS)
		vmwrite(VMCS_APIC_ACCESS_PAGE, (uintptr_t)access_page);
	if (vmx_caps.apic >= VIRT_APIC_VID) {
		vmwrite(VMCS_GUEST_INTERRUPT_STATUS, 0);
		for (unsigned i = 0; i < 4; i++)
			vmwrite(VMCS_EOI_EXITS + 2 * i, 0);
	}
	if (vmx_caps.apic >= VIRT_APIC_POSTED) {
		vmwrite(VMCS_POSTED_VECTOR, VECTOR_NOTIFY);
		vmwrite(VMCS_POSTED_DESCRIPTOR, (uintptr_t)&b->inbox->pid);
	}
	if (vmx_caps.apic >= VIRT_APIC_IPIV) {
		vmwrite(VMCS_PID_TABLE, (uintptr_t)b->space->pid);
		vmwrite(VMCS_LAST_PID_INDEX, VIC_MAX_VCPUS - 1);
	}
}

static void flush_view(const struct vmx_vcpu *b)
{
	const uint64_t of[2] = { ept_view_pointer(&b->view), 0 };
	bool failed;

	VMX_INSN(failed, "invept %1, %2", "m"(of), "r"(INVEPT_ONE));
	if (failed)
		vmx_bug("INVEPT", of[0]);
}

/*
 * A disabled LAPIC delivers nothing, whatever arrives late in its inbox: all of it is off then. Otherwise its mode says
 * how the guest reaches the registers.
 */
void apic_base(struct virt_vcpu *v, uint64_t base)
{
	struct vmx_vcpu *b = vmx_of(v);
	bool on = base & APIC_BASE_EN, x2apic = base & APIC_BASE_EXTD,
	     virtual = vmx_caps.apic > VIRT_APIC_SOFT;
	uint32_t pin = vmx_caps.pin, proc2 = vmx_caps.proc2;

	for (enum virt_apic i = VIRT_APIC_REGS; on && i <= vmx_caps.apic; i++) {
		pin |= needs[i].pin;
		proc2 |= needs[i].proc2;
	}
	proc2 &= ~(x2apic ? PROC2_APIC_ACCESS : PROC2_X2APIC);
	vmwrite(VMCS_PIN, pin);
	vmwrite(VMCS_PROC2, proc2);
	if (vmx_caps.apic >= VIRT_APIC_IPIV)
		vmwrite(VMCS_PROC3, on ? PROC3_IPI : 0);
	vmwrite(VMCS_MSR_BITMAP, regs_msr_bitmap(on && x2apic && virtual));
	b->apic_gpa = on && !x2apic ? base & ~(PAGE_SIZE - 1) : UINT64_MAX;
	ept_view_set(&b->view, b->space, b->apic_gpa, virtual ? (uintptr_t)access_page : 0);
	flush_view(b);
}

/*
 * SDM vol. 3, "IPI Virtualization": the processor sends where the table allows it, and reports every other write of the
 * ICR when it is done.
 */
void apic_addressed(struct virt_vcpu *v, unsigned id, bool takes)
{
	uint64_t entry = takes ? (uintptr_t)&vmx_of(v)->inbox->pid | 1 : 0;

	atomic_store(&vmx_of(v)->space->pid[id], entry);
}

/*
 * The EOI of a level-triggered interrupt has to be heard: so the EOI-exit bitmap is TMR. The processor looks at the
 * bitmap and never at TMR (SDM vol. 3, "EOI Virtualization").
 */
void apic_requests(struct virt_vcpu *v, int irr, int isr)
{
	struct vmx_vcpu *b = vmx_of(v);

	vmwrite(VMCS_GUEST_INTERRUPT_STATUS,
	        (isr < 0 ? 0 : (uint64_t)isr << 8) | (irr < 0 ? 0 : (uint64_t)irr));
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *tmr = b->apic_page + (APIC_TMR + 2 * i) * 16;
		uint64_t exits = *(const uint32_t *)(tmr + 16);

		exits = exits << 32 | *(const uint32_t *)tmr;
		if (exits != b->eoi_exits[i])
			vmwrite(VMCS_EOI_EXITS + 2 * i, exits);
		b->eoi_exits[i] = exits;
	}
}

void apic_raise(struct virt_vcpu *v, int vector)
{
	uint64_t status = vmread(VMCS_GUEST_INTERRUPT_STATUS);

	(void)v;
	if ((uint8_t)status < vector)
		vmwrite(VMCS_GUEST_INTERRUPT_STATUS, (status & ~(uint64_t)0xff) | (uint8_t)vector);
}

/* While another VCPU is loaded the processor would take this one's notifications for that one's: they kick instead. */
void apic_load(struct vmx_vcpu *b)
{
	uint32_t id = cpu_self()->apic_id;

	if (vmx_caps.apic < VIRT_APIC_POSTED)
		return;
	inbox_set_destination(&b->inbox->pid, lapic_page ? id << 8 : id);
	inbox_set_notification(&b->inbox->pid, VECTOR_NOTIFY);
}

void apic_unload(struct vmx_vcpu *b)
{
	if (inbox_set_notification(&b->inbox->pid, CPU_KICK))
		cpu_await_notification();
}

/*
 * The timer's interrupt without an exit: its vector lies in the descriptor, and the CPU's own timer sends the notification.
 * Whatever else is posted meanwhile would be one, so that it kicks.
 */
bool apic_post_timer(struct virt_vcpu *v, uint8_t vector, uint64_t deadline)
{
	struct vmx_vcpu *b = vmx_of(v);

	/* With IPI virtualisation processors post as well, and know nothing of timers. */
	if (vmx_caps.apic != VIRT_APIC_POSTED || !vmx_caps.tsc_deadline)
		return false;
	if (inbox_set_notification(&b->inbox->pid, CPU_KICK))
		cpu_await_notification();
	if (!inbox_is_on(b->inbox) && inbox_post_timer(b->inbox, vector)) {
		lapic_notify_at(deadline);
		return true;
	}
	inbox_set_notification(&b->inbox->pid, VECTOR_NOTIFY);
	return false;
}

bool apic_unpost_timer(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);
	bool sent = lapic_notify_stop(), delivered = !inbox_unpost_timer(b->inbox);

	if (sent)
		cpu_await_notification();
	inbox_set_notification(&b->inbox->pid, VECTOR_NOTIFY);
	return delivered;
}

bool apic_access(struct virt_vcpu *v)
{
	uint32_t qualification = vmread32(VMCS_QUALIFICATION), type = qualification >> ACCESS_TYPE & 0xf;

	v->exit.mmio.gpa = vmx_of(v)->apic_gpa | (qualification & ACCESS_OFFSET);
	return type == ACCESS_READ || type == ACCESS_WRITE;
}
