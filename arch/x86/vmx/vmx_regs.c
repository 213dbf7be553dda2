/* SPDX-License-Identifier: MIT */
/* Control registers and MSRs: where each lives, what a guest writes without an exit, and what it may not. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/string.h"

#define MSR_TSC         0x10
#define MSR_SYSENTER_CS 0x174
#define MSR_FS_BASE     0xc0000100
#define MSR_TSC_AUX     0xc0000103

/* SDM vol. 3, "Exit Qualification for Control-Register Accesses". */
#define CR_ACCESS   0x3f /* register and direction; 0x00, 0x04: MOV to CR0, to CR4 */
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

static bool cs_is_long(void)
{
	return vmread(vmx_segment_field(VMCS_GUEST_RIGHTS, SEG_CS)) & RIGHTS_LONG;
}

/* CS.L counts in IA-32e mode only. */
bool regs_are_64bit(void)
{
	return (vmread(VMCS_GUEST_EFER) & EFER_LMA) && cs_is_long();
}

/* Those that are just a field; 0 (the VPID's number) for those that are more. */
static const uint16_t field_of[] = {
	[VREG_RIP] = VMCS_GUEST_RIP,           [VREG_RSP] = VMCS_GUEST_RSP,
	[VREG_RFLAGS] = VMCS_GUEST_RFLAGS,     [VREG_CR3] = VMCS_GUEST_CR3,
	[VREG_EFER] = VMCS_GUEST_EFER,         [VREG_TSC_OFFSET] = VMCS_TSC_OFFSET,
	[VREG_PDPTE0] = VMCS_GUEST_PDPTE0,     [VREG_PDPTE1] = VMCS_GUEST_PDPTE0 + 2,
	[VREG_PDPTE2] = VMCS_GUEST_PDPTE0 + 4, [VREG_PDPTE3] = VMCS_GUEST_PDPTE0 + 6,
};

uint64_t regs_get(struct virt_vcpu *v, enum virt_reg reg)
{
	(void)v;
	if (field_of[reg])
		return vmread(field_of[reg]);
	if (reg == VREG_CR0)
		return (vmread(VMCS_GUEST_CR0) & ~cr0_mask()) | (vmread(VMCS_CR0_SHADOW) & cr0_mask());
	return reg == VREG_CR2 ? read_cr2() : vmread(VMCS_GUEST_CR4) & vmx_caps.guest_cr4;
}

/* LMA follows from LME and PG: SDM vol. 3, "Checks on Guest Control Registers". */
static void set_efer(uint64_t efer)
{
	bool long_mode = (efer & EFER_LME) && (vmread(VMCS_GUEST_CR0) & CR0_PG);

	vmwrite(VMCS_GUEST_EFER, (efer & ~EFER_LMA) | (long_mode ? EFER_LMA : 0));
	vmwrite(VMCS_ENTRY_CONTROLS, vmx_caps.entry | (long_mode ? ENTRY_IA32E : 0));
}

/* For the states that a VCPU starts in, and for the emulator's results. */
void regs_set(struct virt_vcpu *v, enum virt_reg reg, uint64_t value)
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
	/* SDM vol. 3, "Operations that Invalidate TLBs and Paging-Structure Caches". */
	if (reg == VREG_CR0 || reg == VREG_CR3 || reg == VREG_CR4 || reg == VREG_EFER)
		vmcs_flush();
}

/* SDM vol. 2, "MOV—Move to/from Control Registers": what makes it fault, but for PDPTEs. */
static bool cr0_is_legal(uint64_t old, uint64_t value)
{
	if (value >> 32 || ((value & CR0_NW) && !(value & CR0_CD)) || ((value & CR0_PG) && !(value & CR0_PE)))
		return false;
	/* PCIDE, which would forbid it as well, is no bit of a guest's CR4. */
	if ((old & CR0_PG) && !(value & CR0_PG))
		return !regs_are_64bit();
	if (!(old & CR0_PG) && (value & CR0_PG) && (vmread(VMCS_GUEST_EFER) & EFER_LME))
		return (vmread(VMCS_GUEST_CR4) & CR4_PAE) && !cs_is_long();
	return true;
}

/*
 * A legal write of CR0 exits only because it changes NE, CD or NW. The shadow takes those, and the guest
 * executes the instruction again: now it differs in bits of its own only, and the CPU itself does what goes
 * with PE, PG, WP and the like, PDPTEs and LMA included. A write of CR4 exits because it is illegal.
 */
enum exit_kind regs_cr_exit(struct virt_vcpu *v)
{
	uint32_t qualification = vmread32(VMCS_QUALIFICATION), access = qualification & CR_ACCESS;
	unsigned reg = qualification >> CR_REGISTER & 15;
	uint64_t value = reg == RSP ? vmread(VMCS_GUEST_RSP) : v->gpr[reg];

	if (access != 0 && access != 4)
		return EXIT_UNKNOWN;
	if (!regs_are_64bit())
		value = (uint32_t)value;
	if (access == 0 && cr0_is_legal(regs_get(v, VREG_CR0), value))
		vmwrite(VMCS_CR0_SHADOW, value);
	else
		vmx_inject(v, EVENT_EXCEPTION, VECTOR_GP, 0);
	return EXIT_RESUME;
}

/*
 * Reads of all of these are the CPU's own business; so are writes but of two: the TSC, which is the physical
 * one, and EFER, where LME may not change under paging and the CPU's own bits are not all the guest's. Those
 * without a field in the VMCS, but for the TSC, live in the CPU while the VCPU is loaded.
 */
static const struct {
	uint32_t index;
	uint32_t field;
} msrs[] = {
	{ MSR_TSC, 0 },
	{ MSR_EFER, VMCS_GUEST_EFER },
	{ MSR_PAT, VMCS_GUEST_PAT },
	{ MSR_SYSENTER_CS, VMCS_GUEST_SYSENTER_CS },
	{ MSR_SYSENTER_CS + 1, VMCS_GUEST_SYSENTER_ESP },
	{ MSR_SYSENTER_CS + 2, VMCS_GUEST_SYSENTER_ESP + 2 },
	{ MSR_FS_BASE, VMCS_GUEST_BASE + 2 * SEG_FS },
	{ MSR_GS_BASE, VMCS_GUEST_BASE + 2 * SEG_GS },
	/* STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE; TSC_AUX comes with RDTSCP. */
	{ 0xc0000081, 0 },
	{ 0xc0000082, 0 },
	{ 0xc0000083, 0 },
	{ 0xc0000084, 0 },
	{ 0xc0000102, 0 },
	{ MSR_TSC_AUX, 0 },
};
#define FIRST_LIVE (sizeof(msrs) / sizeof(msrs[0]) - LIVE_MSRS)

static size_t msr_count(void)
{
	return FIRST_LIVE + LIVE_MSRS - (vmx_caps.proc2 & PROC2_RDTSCP ? 0 : 1);
}

/*
 * SDM vol. 3, "MSR-Bitmap Address": 1 is an exit. For all VCPUs, [1] for those in a virtualised x2APIC mode; constant
 * after regs_init().
 */
static struct bitmap {
	uint8_t read[2][1024], write[2][1024]; /* MSRs from 0 on, and from 0xc0000000 on */
} bitmaps[2] __attribute__((aligned(PAGE_SIZE)));

static void let_pass(struct bitmap *bitmap, uint32_t index, bool read, bool write)
{
	uint32_t half = index >> 31, at = index % 0x2000 / 8;
	uint8_t bit = (uint8_t)(1u << index % 8);

	if (read)
		bitmap->read[half][at] &= (uint8_t)~bit;
	if (write)
		bitmap->write[half][at] &= (uint8_t)~bit;
}

/*
 * SDM vol. 3, "Virtualizing MSR-Based APIC Accesses", and "x2APIC Register Address Space": registers that may be read,
 * but the current count, which is nowhere but in our arithmetic, and without virtual-interrupt delivery PPR.
 */
static void let_x2apic_pass(struct bitmap *bitmap)
{
	static const uint8_t readable[][2] = { { 0x02, 0x03 }, { 0x08, 0x08 }, { 0x0d, 0x0d }, { 0x0f, 0x28 },
		                               { 0x30, 0x30 }, { 0x32, 0x38 }, { 0x3e, 0x3e } };
	bool delivers = vmx_caps.apic >= VIRT_APIC_VID;

	for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++) {
		for (uint32_t slot = readable[i][0]; slot <= readable[i][1]; slot++)
			let_pass(bitmap, MSR_X2APIC + slot, true, slot == APIC_TPR);
	}
	let_pass(bitmap, MSR_X2APIC + APIC_PPR, delivers, false);
	let_pass(bitmap, MSR_X2APIC + APIC_EOI, false, delivers);
	let_pass(bitmap, MSR_X2APIC + APIC_SELF_IPI, false, delivers);
	let_pass(bitmap, MSR_X2APIC + APIC_ICR_LO, true, vmx_caps.apic >= VIRT_APIC_IPIV);
}

void regs_init(void)
{
	memset(bitmaps, 0xff, sizeof(bitmaps));
	for (size_t i = 0; i < msr_count(); i++) {
		bool write = msrs[i].index != MSR_TSC && msrs[i].index != MSR_EFER;

		let_pass(&bitmaps[0], msrs[i].index, true, write);
		let_pass(&bitmaps[1], msrs[i].index, true, write);
	}
	let_x2apic_pass(&bitmaps[1]);
}

uint64_t regs_msr_bitmap(bool x2apic)
{
	return (uintptr_t)&bitmaps[x2apic];
}

/* Only writes that exit come here. */
bool regs_msr_write(struct virt_vcpu *v, uint32_t index, uint64_t value)
{
	uint64_t changed = value ^ vmread(VMCS_GUEST_EFER);

	(void)v;
	if (index == MSR_TSC)
		vmwrite(VMCS_TSC_OFFSET, value - tsc_now());
	if (index != MSR_EFER)
		return index == MSR_TSC;
	/* SDM vol. 3, "Initializing IA-32e Mode": LME cannot change under paging. LMA is read-only. */
	if (value & ~(vmx_caps.guest_efer | EFER_LMA) ||
	    (changed & EFER_LME && vmread(VMCS_GUEST_CR0) & CR0_PG))
		return false;
	set_efer(value);
	/* NXE changes what a cached translation allows. */
	if (changed & EFER_NXE)
		vmcs_flush();
	return true;
}

void regs_live_load(const struct vmx_vcpu *b)
{
	for (size_t i = FIRST_LIVE; i < msr_count(); i++)
		wrmsr(msrs[i].index, b->live[i - FIRST_LIVE]);
}

void regs_live_save(struct vmx_vcpu *b)
{
	for (size_t i = FIRST_LIVE; i < msr_count(); i++)
		b->live[i - FIRST_LIVE] = rdmsr(msrs[i].index);
}
