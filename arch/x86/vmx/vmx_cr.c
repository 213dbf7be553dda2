/* SPDX-License-Identifier: MIT */
/* Control registers and EFER: what a guest writes without an exit, and what it may not. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"

#define CR0_NW    (1ull << 29)
#define CR0_CD    (1ull << 30)
#define CR4_PCIDE (1ull << 17)
#define EFER_LMA  (1ull << 10)

#define VECTOR_GP 13

/* SDM vol. 3, "Exit Qualification for Control-Register Accesses". */
#define CR_NUMBER   (15u << 0)
#define CR_TYPE     (3u << 4)
#define CR_REGISTER 8

/*
 * CR0: the guest owns all but what VMX operation fixes (NE) and CD and NW, which no entry or exit switches.
 * Those three live in the read shadow. CR4: the guest owns all it may set; of the others the shadow says 0,
 * so that only a write of 1 exits, and is a fault. SDM vol. 3, "Guest/Host Masks and Read Shadows for CR0 and
 * CR4".
 */
static uint64_t cr0_mask(void)
{
	return vmx_caps.cr0_fixed | CR0_CD | CR0_NW;
}

/* CS.L counts in IA-32e mode only. */
bool cr_is_64bit(void)
{
	return (vmread(VMCS_GUEST_EFER) & EFER_LMA) &&
	       (vmread(vmx_segment_field(VMCS_GUEST_RIGHTS, SEG_CS)) & RIGHTS_LONG);
}

static uint64_t cr0(void)
{
	return (vmread(VMCS_GUEST_CR0) & ~cr0_mask()) | (vmread(VMCS_CR0_SHADOW) & cr0_mask());
}

/* Those that are just a field; 0 (the VPID's number) for those that are more. */
static const uint16_t field_of[] = {
	[VREG_RIP] = VMCS_GUEST_RIP,           [VREG_RSP] = VMCS_GUEST_RSP,
	[VREG_RFLAGS] = VMCS_GUEST_RFLAGS,     [VREG_CR3] = VMCS_GUEST_CR3,
	[VREG_EFER] = VMCS_GUEST_EFER,         [VREG_DR7] = VMCS_GUEST_DR7,
	[VREG_PDPTE0] = VMCS_GUEST_PDPTE0,     [VREG_PDPTE1] = VMCS_GUEST_PDPTE0 + 2,
	[VREG_PDPTE2] = VMCS_GUEST_PDPTE0 + 4, [VREG_PDPTE3] = VMCS_GUEST_PDPTE0 + 6,
	[VREG_TSC_OFFSET] = VMCS_TSC_OFFSET,
};

uint64_t cr_get(struct virt_vcpu *v, enum virt_reg reg)
{
	(void)v;
	if (field_of[reg])
		return vmread(field_of[reg]);
	if (reg == VREG_CR0)
		return cr0();
	return reg == VREG_CR2 ? read_cr2() : vmread(VMCS_GUEST_CR4) & vmx_caps.guest_cr4;
}

/*
 * LMA follows from LME and PG, and the entry control must agree with it: SDM vol. 3, "Checks on Guest Control
 * Registers".
 */
static void set_efer(uint64_t efer)
{
	uint64_t entry = vmread(VMCS_ENTRY_CONTROLS) & ~(uint64_t)ENTRY_IA32E;

	efer &= ~EFER_LMA;
	if ((efer & EFER_LME) && (vmread(VMCS_GUEST_CR0) & CR0_PG)) {
		efer |= EFER_LMA;
		entry |= ENTRY_IA32E;
	}
	vmwrite(VMCS_GUEST_EFER, efer);
	vmwrite(VMCS_ENTRY_CONTROLS, entry);
}

/*
 * For the states that a VCPU starts in, and for the emulator's results. What a guest writes itself is below.
 */
void cr_set(struct virt_vcpu *v, enum virt_reg reg, uint64_t value)
{
	(void)v;
	if (reg == VREG_CR0) {
		vmwrite(VMCS_GUEST_CR0, (value & ~(CR0_CD | CR0_NW)) | vmx_caps.cr0_fixed);
		vmwrite(VMCS_CR0_SHADOW, value);
		vmwrite(VMCS_CR0_MASK, cr0_mask());
		set_efer(vmread(VMCS_GUEST_EFER));
	} else if (reg == VREG_CR4) {
		vmwrite(VMCS_GUEST_CR4, (value & vmx_caps.guest_cr4) | vmx_caps.cr4_fixed);
		vmwrite(VMCS_CR4_SHADOW, 0);
		vmwrite(VMCS_CR4_MASK, ~vmx_caps.guest_cr4);
	} else if (reg == VREG_EFER) {
		set_efer(value);
	} else if (reg == VREG_CR2) {
		write_cr2(value);
	} else {
		vmwrite(field_of[reg], value);
	}
	/*
	 * SDM vol. 3, "Operations that Invalidate TLBs and Paging-Structure Caches": a write of these by MOV
	 * would.
	 */
	if (reg == VREG_CR0 || reg == VREG_CR3 || reg == VREG_CR4 || reg == VREG_EFER)
		vmcs_flush();
}

bool cr_write_efer(uint64_t value)
{
	uint64_t old = vmread(VMCS_GUEST_EFER);

	/*
	 * SDM vol. 2, "WRMSR", and vol. 3, "Initializing IA-32e Mode": LME cannot change under paging. LMA is
	 * read-only.
	 */
	if (value & ~(vmx_caps.guest_efer | EFER_LMA))
		return false;
	if (((value ^ old) & EFER_LME) && (vmread(VMCS_GUEST_CR0) & CR0_PG))
		return false;
	set_efer(value);
	/* NXE changes what a cached translation allows. */
	if ((value ^ old) & EFER_NXE)
		vmcs_flush();
	return true;
}

/*
 * SDM vol. 2, "MOV—Move to/from Control Registers": all that makes a write of CR0 fault, but for PDPTEs in
 * memory.
 */
static bool cr0_is_legal(uint64_t value)
{
	uint64_t old = cr0(), cr4 = vmread(VMCS_GUEST_CR4);

	if (value >> 32 || ((value & CR0_NW) && !(value & CR0_CD)) || ((value & CR0_PG) && !(value & CR0_PE)))
		return false;
	if ((old & CR0_PG) && !(value & CR0_PG))
		return !cr_is_64bit() && !(cr4 & CR4_PCIDE);
	if (!(old & CR0_PG) && (value & CR0_PG) && (vmread(VMCS_GUEST_EFER) & EFER_LME))
		return (cr4 & CR4_PAE) &&
		       !(vmread(vmx_segment_field(VMCS_GUEST_RIGHTS, SEG_CS)) & RIGHTS_LONG);
	return true;
}

static uint64_t source(struct virt_vcpu *v, uint32_t qualification)
{
	unsigned reg = qualification >> CR_REGISTER & 15;
	uint64_t value = reg == RSP ? vmread(VMCS_GUEST_RSP) : v->gpr[reg];

	return cr_is_64bit() ? value : (uint32_t)value;
}

/*
 * A legal write of CR0 exits only because it changes NE, CD or NW. The shadow takes those, and the guest
 * executes the instruction again: now it differs in bits of its own only, and the CPU itself does what goes
 * with PE, PG, WP and the like, PDPTEs and LMA included.
 */
void cr_exit(struct virt_vcpu *v, struct vm_exit *out)
{
	uint32_t qualification = (uint32_t)out->raw[1];

	out->kind = EXIT_RESUME;
	switch (qualification & (CR_TYPE | CR_NUMBER)) {
	case 0:
		if (cr0_is_legal(source(v, qualification)))
			vmwrite(VMCS_CR0_SHADOW, source(v, qualification));
		else
			vmx_inject(v, EVENT_EXCEPTION, VECTOR_GP, 0);
		break;
	case 4:
		vmx_inject(v, EVENT_EXCEPTION, VECTOR_GP, 0);
		break;
	default:
		out->kind = EXIT_UNKNOWN;
		break;
	}
}
