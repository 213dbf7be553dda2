/* SPDX-License-Identifier: MIT */
/* What VT-x must have for us, said by name where it is missing; turning it on; the table of operations. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"
#include "kernel/string.h"

#define MSR_FEATURE_CONTROL 0x3a
#define MSR_VMX_BASIC       0x480
#define MSR_VMX_PROC        0x482
#define MSR_VMX_MISC        0x485
#define MSR_VMX_CR0_FIXED0  0x486
#define MSR_VMX_CR4_FIXED0  0x488
#define MSR_VMX_CR4_FIXED1  0x489
#define MSR_VMX_PROC2       0x48b
#define MSR_VMX_EPT_VPID    0x48c
#define MSR_VMX_TRUE_PIN    0x48d
#define MSR_VMX_TRUE_PROC   0x48e
#define MSR_VMX_TRUE_EXIT   0x48f
#define MSR_VMX_TRUE_ENTRY  0x490

#define FEATURE_LOCK  (1u << 0)
#define FEATURE_VMXON (1u << 2)

/* SDM vol. 3, appendix "Basic VMX Information". */
#define BASIC_REVISION 0x7fffffffull
#define BASIC_INS_OUTS (1ull << 54)
#define BASIC_TRUE     (1ull << 55)

/* SDM vol. 3, appendix "VPID and EPT Capabilities". */
#define CAP_EPT_WALK_4  (1ull << 6)
#define CAP_EPT_WB      (1ull << 14)
#define CAP_EPT_2M      (1ull << 16)
#define CAP_INVEPT      (1ull << 20)
#define CAP_INVEPT_ALL  (1ull << 26)
#define CAP_INVVPID     (1ull << 32)
#define CAP_INVVPID_ONE (1ull << 41)
#define CAP_INVVPID_ALL (1ull << 42)

#define INVEPT_ALL  2
#define INVVPID_ONE 1
#define INVVPID_ALL 2

#define CPUID_1_ECX_VMX        (1u << 5)
#define CPUID_1_ECX_HYPERVISOR (1u << 31)

#define CR0_EM   (1u << 2)
#define CR0_TS   (1u << 3)
#define CR4_VMXE (1u << 13)
#define EFER_SCE (1u << 0)

/*
 * CR4 bits for a guest, where the CPU has them: VME to OSXMMEXCPT, FSGSBASE, SMEP, SMAP. That is what
 * arch/x86/cpuid.c shows, so not VMXE, SMXE, PCIDE, OSXSAVE and what came after.
 */
#define CR4_GUEST (0x7ffu | 1u << 16 | CR4_SMEP | CR4_SMAP)

/* The controls that every entry runs under, beside those that the manual fixes. */
#define PIN_WANTED (PIN_INTERRUPT_EXIT | PIN_NMI_EXIT | PIN_VIRTUAL_NMI | PIN_TIMER)
#define PROC_WANTED                                                                              \
	(PROC_TSC_OFFSET | PROC_HLT_EXIT | PROC_MWAIT_EXIT | PROC_RDPMC_EXIT | PROC_TPR_SHADOW | \
	 PROC_IO_EXIT | PROC_MSR_BITMAP | PROC_MONITOR_EXIT | PROC_SECONDARY)
#define PROC2_WANTED (PROC2_EPT | PROC2_UNRESTRICTED)
#define EXIT_WANTED                                                                          \
	(EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_ACKNOWLEDGE | EXIT_SAVE_PAT | EXIT_LOAD_PAT | \
	 EXIT_SAVE_EFER | EXIT_LOAD_EFER)
#define ENTRY_WANTED (ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER)

struct vmx_caps vmx_caps;

/* VMXON takes a page of each CPU and keeps it. */
static uint8_t vmxon_page[MAX_CPUS][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

#define NEWER ": take a machine with an Intel CPU of 2010 or newer"

/*
 * In the order in which they are looked at: what tells CPUs apart comes first, so that the name is one that
 * the operator finds in a data sheet. `bits` are wanted in the half of the MSR that says what may be 1, or,
 * where `zero`, must not be in the half that says what may not be 0.
 */
static const struct demand {
	uint32_t msr;
	bool zero;
	uint64_t bits;
	const char *text;
} demands[] = {
	{ MSR_VMX_PROC, false, PROC_SECONDARY,
	  "this CPU lacks secondary VM-execution controls, so EPT" NEWER },
	{ MSR_VMX_PROC2, false, PROC2_EPT, "this CPU lacks EPT" NEWER },
	{ MSR_VMX_PROC2, false, PROC2_UNRESTRICTED, "this CPU lacks unrestricted guest" NEWER },
	{ MSR_VMX_TRUE_PIN, false, PIN_TIMER, "this CPU lacks the VMX preemption timer" NEWER },
	{ MSR_VMX_TRUE_PIN, false, PIN_VIRTUAL_NMI, "this CPU lacks virtual NMIs" NEWER },
	{ MSR_VMX_TRUE_PIN, false, PIN_WANTED, "this CPU lacks external-interrupt or NMI exiting" NEWER },
	{ MSR_VMX_TRUE_PROC, false, PROC_TPR_SHADOW, "this CPU lacks the TPR shadow" NEWER },
	{ MSR_VMX_TRUE_PROC, false, PROC_MSR_BITMAP, "this CPU lacks MSR bitmaps" NEWER },
	{ MSR_VMX_TRUE_PROC, false, PROC_NMI_WINDOW, "this CPU lacks NMI-window exiting" NEWER },
	{ MSR_VMX_TRUE_PROC, false, PROC_WANTED, "this CPU lacks a primary VM-execution control" NEWER },
	{ MSR_VMX_TRUE_PROC, true, PROC_CR3_LOAD_EXIT | PROC_CR3_STORE_EXIT,
	  "this CPU cannot leave CR3 to a guest" NEWER },
	{ MSR_VMX_TRUE_EXIT, false, EXIT_WANTED,
	  "this CPU lacks a VM-exit control (saving and loading EFER and PAT)" NEWER },
	{ MSR_VMX_TRUE_ENTRY, false, ENTRY_WANTED,
	  "this CPU lacks a VM-entry control (loading EFER and PAT)" NEWER },
};

static const char *no_vmx(void)
{
	static char text[160];
	struct cpuid_regs id = cpuid(0, 0);
	char vendor[13] = { 0 };

	memcpy(vendor, &id.ebx, 4);
	memcpy(vendor + 4, &id.edx, 4);
	memcpy(vendor + 8, &id.ecx, 4);
	format_text(text, sizeof(text),
	            "this CPU has no VT-x (%s): take a machine with an Intel CPU of 2010 or newer%s", vendor,
	            cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR ? ", or have this one's hypervisor nest VT-x"
	                                                     : "");
	return text;
}

/* SDM vol. 3, appendix "Reserved Controls and Default Settings": low half: must be 1, high half: may be 1. */
static const char *unmet_demand(void)
{
	uint64_t cap;

	for (size_t i = 0; i < sizeof(demands) / sizeof(demands[0]); i++) {
		const struct demand *d = &demands[i];

		/* Without "true" controls there are no such MSRs. */
		if (d->msr >= MSR_VMX_TRUE_PIN && !(rdmsr(MSR_VMX_BASIC) & BASIC_TRUE))
			return "this CPU lacks true VMX controls" NEWER;
		cap = rdmsr(d->msr);
		if (d->zero ? cap & d->bits : ~cap >> 32 & d->bits)
			return d->text;
	}
	/* Guests are shown the CPU's own RDTSCP, and it must then work for them, with IA32_TSC_AUX. */
	if (cpuid(0x80000001, 0).edx & CPUID_EXT_EDX_RDTSCP && !(rdmsr(MSR_VMX_PROC2) >> 32 & PROC2_RDTSCP))
		return "this CPU cannot give RDTSCP to a guest" NEWER;
	cap = rdmsr(MSR_VMX_EPT_VPID);
	if (!(cap & CAP_EPT_WALK_4) || !(cap & CAP_EPT_WB))
		return "this CPU's EPT lacks write-back memory or four levels" NEWER;
	if (!(rdmsr(MSR_VMX_BASIC) & BASIC_INS_OUTS))
		return "this CPU lacks instruction information on INS and OUTS exits" NEWER;
	return NULL;
}

static const char *missing_here(void)
{
	uint64_t control;

	if (!(cpuid(1, 0).ecx & CPUID_1_ECX_VMX))
		return no_vmx();
	/* SDM vol. 3, "Enabling and Entering VMX Operation". If it is not locked yet, vmx_cpu_on() does. */
	control = rdmsr(MSR_FEATURE_CONTROL);
	if ((control & FEATURE_LOCK) && !(control & FEATURE_VMXON))
		return "VT-x is locked off by firmware: enable it in the firmware setup";
	return unmet_demand();
}

/* The wanted controls and those that the CPU insists on. */
static uint32_t controls(uint32_t msr, uint32_t wanted)
{
	return wanted | (uint32_t)rdmsr(msr);
}

/*
 * Secondary controls that only take work off: each where the CPU has it, and the guest's instruction exists.
 */
static uint32_t optional_proc2(void)
{
	uint32_t wanted = PROC2_WBINVD_EXIT | PROC2_ENCLS_EXIT;

	if (cpuid(0x80000001, 0).edx & CPUID_EXT_EDX_RDTSCP)
		wanted |= PROC2_RDTSCP;
	if (vmx_caps.flush)
		wanted |= PROC2_VPID;
	return wanted & (uint32_t)(rdmsr(MSR_VMX_PROC2) >> 32);
}

static void read_caps(void)
{
	uint64_t memory = rdmsr(MSR_VMX_EPT_VPID);

	if (memory & CAP_INVVPID)
		vmx_caps.flush = memory & CAP_INVVPID_ONE   ? INVVPID_ONE
		                 : memory & CAP_INVVPID_ALL ? INVVPID_ALL
		                                            : 0;
	vmx_caps.revision = (uint32_t)(rdmsr(MSR_VMX_BASIC) & BASIC_REVISION);
	vmx_caps.pin = controls(MSR_VMX_TRUE_PIN, PIN_WANTED);
	vmx_caps.proc = controls(MSR_VMX_TRUE_PROC, PROC_WANTED);
	vmx_caps.proc2 = controls(MSR_VMX_PROC2, PROC2_WANTED | optional_proc2());
	vmx_caps.exit = controls(MSR_VMX_TRUE_EXIT, EXIT_WANTED);
	vmx_caps.entry = controls(MSR_VMX_TRUE_ENTRY, ENTRY_WANTED);
	vmx_caps.timer_shift = (uint32_t)rdmsr(MSR_VMX_MISC) & 31;
	vmx_caps.cr0_fixed = rdmsr(MSR_VMX_CR0_FIXED0) & ~(uint64_t)(CR0_PE | CR0_PG);
	vmx_caps.cr4_fixed = rdmsr(MSR_VMX_CR4_FIXED0);
	vmx_caps.guest_cr4 = rdmsr(MSR_VMX_CR4_FIXED1) & CR4_GUEST;
	vmx_caps.guest_efer = EFER_SCE | EFER_LME;
	if (cpuid(0x80000001, 0).edx & CPUID_EXT_EDX_NX)
		vmx_caps.guest_efer |= EFER_NXE;
	vmx_caps.large_pages = memory & CAP_EPT_2M;
}

const char *vmx_missing(void)
{
	const char *missing = missing_here();

	if (!missing) {
		read_caps();
		msr_init();
	}
	return missing;
}

const char *vmx_cpu_on(void)
{
	const char *missing = missing_here();
	uint8_t *page = vmxon_page[cpu_self()->index];
	const struct {
		uint64_t pointer, zero;
	} all = { 0, 0 };
	bool failed;

	if (missing)
		return missing;
	if (!(rdmsr(MSR_FEATURE_CONTROL) & FEATURE_LOCK))
		wrmsr(MSR_FEATURE_CONTROL, rdmsr(MSR_FEATURE_CONTROL) | FEATURE_VMXON | FEATURE_LOCK);
	/* Guests' FPU state is switched by FXSAVE and FXRSTOR, which must not fault here. */
	write_cr0((read_cr0() & ~(uint64_t)(CR0_EM | CR0_TS)) | rdmsr(MSR_VMX_CR0_FIXED0));
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_VMXE | rdmsr(MSR_VMX_CR4_FIXED0));
	memcpy(page, &vmx_caps.revision, sizeof(vmx_caps.revision));
	VMX_INSN(failed, "vmxon %1", "m"(page));
	if (failed)
		return "VMXON failed: VT-x is in use on this CPU already";
	/* Nobody knows what was cached before: SDM vol. 3, "Guidelines for Use of the INVEPT Instruction". */
	if ((rdmsr(MSR_VMX_EPT_VPID) & (CAP_INVEPT | CAP_INVEPT_ALL)) == (CAP_INVEPT | CAP_INVEPT_ALL)) {
		VMX_INSN(failed, "invept %1, %2", "m"(all), "r"((uint64_t)INVEPT_ALL));
		if (failed)
			vmx_bug("INVEPT", INVEPT_ALL);
	}
	return NULL;
}

void vmx_bug(const char *insn, uint64_t operand)
{
	uint64_t error = 0;

	/* Not vmread(): without a current VMCS it would end here again. */
	__asm__ volatile("vmread %1, %0" : "+r"(error) : "r"((uint64_t)VMCS_INSTRUCTION_ERROR) : "cc");
	panic("panic: %s 0x%lx failed on CPU %u: VM-instruction error %lu", insn, operand, cpu_self()->index,
	      error);
}

extern const struct virt_ops vmx_ops;
const struct virt_ops vmx_ops = {
	.name = "VT-x",
	.missing = vmx_missing,
	.cpu_on = vmx_cpu_on,
	.space_create = ept_create,
	.space_map = ept_map,
	.vcpu_init = vmcs_init,
	.vcpu_load = vmcs_load,
	.vcpu_unload = vmcs_unload,
	.vcpu_reset = vmcs_reset,
	.vcpu_start_real = vmcs_start_real,
	.vcpu_start_flat = vmcs_start_flat,
	.vcpu_run = vmx_run,
	.vcpu_get = cr_get,
	.vcpu_set = cr_set,
	.vcpu_segment = vmcs_segment,
	.vcpu_msr_read = msr_read,
	.vcpu_msr_write = msr_write,
	.vcpu_skip = vmx_skip,
	.vcpu_can_take = vmx_can_take,
	.vcpu_inject = vmx_inject,
	.vcpu_window = vmx_window,
	.vcpu_tpr_threshold = vmx_tpr_threshold,
	.vcpu_dump = vmcs_dump,
};
