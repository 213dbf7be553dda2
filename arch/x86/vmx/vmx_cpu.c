/* SPDX-License-Identifier: MIT */
/* What VT-x must have for us, said by name where it is missing; turning it on; the table of operations. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/boot.h"
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
#define MSR_VMX_PROC3       0x492

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
#define CAP_INVEPT      (1ull << 20 | 1ull << 25 | 1ull << 26)
#define CAP_INVVPID_ONE (1ull << 32 | 1ull << 41)

#define INVEPT_ALL 2

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
#define EXIT_WANTED                                                                          \
	(EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_ACKNOWLEDGE | EXIT_SAVE_PAT | EXIT_LOAD_PAT | \
	 EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_SAVE_TIMER)
#define ENTRY_WANTED (ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER)

struct vmx_caps vmx_caps;

/* VMXON takes a page of each CPU and keeps it. */
static uint8_t vmxon_page[MAX_CPUS][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

#define LACKS(what) "this CPU lacks " what ": take a machine with an Intel CPU of 2010 or newer"

/* SDM vol. 3, appendix "Reserved Controls and Default Settings": low half: must be 1, high half: may be 1. */
#define MAY(controls) ((uint64_t)(controls) << 32)

/* What tells CPUs apart comes first, by the name that the operator finds in a data sheet. */
static const struct demand {
	uint32_t msr;
	uint64_t bits; /* all of them */
	const char *text;
} demands[] = {
	{ MSR_VMX_PROC, MAY(PROC_SECONDARY), LACKS("secondary VM-execution controls, so EPT") },
	{ MSR_VMX_PROC2, MAY(PROC2_EPT), LACKS("EPT") },
	{ MSR_VMX_PROC2, MAY(PROC2_UNRESTRICTED), LACKS("unrestricted guest") },
	{ MSR_VMX_EPT_VPID, CAP_EPT_WALK_4 | CAP_EPT_WB, LACKS("EPT of four levels or write-back memory") },
	{ MSR_VMX_EPT_VPID, CAP_INVEPT, LACKS("INVEPT") },
	{ MSR_VMX_BASIC, BASIC_TRUE | BASIC_INS_OUTS,
	  LACKS("true VMX controls, or information on INS and OUTS") },
	{ MSR_VMX_TRUE_PIN, MAY(PIN_WANTED), LACKS("the VMX preemption timer, or virtual NMIs") },
	{ MSR_VMX_TRUE_PROC, MAY(PROC_WANTED | PROC_NMI_WINDOW), LACKS("the TPR shadow, or MSR bitmaps") },
	{ MSR_VMX_TRUE_EXIT, MAY(EXIT_WANTED), LACKS("saving of EFER, PAT or preemption timer at exits") },
	{ MSR_VMX_TRUE_ENTRY, MAY(ENTRY_WANTED), LACKS("loading of EFER or PAT at entries") },
};

static const char *no_vmx(void)
{
	static char text[160];
	struct cpuid_regs id = cpuid(0, 0);
	const uint32_t vendor[4] = { id.ebx, id.edx, id.ecx, 0 };

	format_text(text, sizeof(text),
	            "this CPU has no VT-x (%s): take a machine with an Intel CPU of 2010 or newer%s",
	            (const char *)vendor,
	            cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR ? ", or have this one's hypervisor nest VT-x"
	                                                     : "");
	return text;
}

static bool has_rdtscp(void)
{
	return cpuid(0x80000001, 0).edx & CPUID_EXT_EDX_RDTSCP;
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
	for (size_t i = 0; i < sizeof(demands) / sizeof(demands[0]); i++) {
		if (~rdmsr(demands[i].msr) & demands[i].bits)
			return demands[i].text;
	}
	/* Guests are shown the CPU's own RDTSCP, and it must then work for them, with IA32_TSC_AUX. */
	if (has_rdtscp() && ~rdmsr(MSR_VMX_PROC2) & MAY(PROC2_RDTSCP))
		return LACKS("RDTSCP for guests");
	return NULL;
}

/* The wanted controls and those that the CPU insists on. */
static uint32_t controls(uint32_t msr, uint32_t wanted)
{
	return wanted | (uint32_t)rdmsr(msr);
}

static void read_caps(void)
{
	uint64_t memory = rdmsr(MSR_VMX_EPT_VPID);
	/* Controls that only take work off: each where the CPU has it, and the guest's instruction exists. */
	uint32_t optional = PROC2_WBINVD_EXIT | PROC2_ENCLS_EXIT | (has_rdtscp() ? PROC2_RDTSCP : 0);

	if (!(~memory & CAP_INVVPID_ONE))
		optional |= PROC2_VPID;
	vmx_caps.may_pin = (uint32_t)(rdmsr(MSR_VMX_TRUE_PIN) >> 32);
	vmx_caps.may_proc2 = (uint32_t)(rdmsr(MSR_VMX_PROC2) >> 32);
	if (rdmsr(MSR_VMX_TRUE_PROC) & MAY(PROC_TERTIARY))
		vmx_caps.may_proc3 = rdmsr(MSR_VMX_PROC3);
	optional &= vmx_caps.may_proc2;
	vmx_caps.revision = (uint32_t)(rdmsr(MSR_VMX_BASIC) & BASIC_REVISION);
	vmx_caps.pin = controls(MSR_VMX_TRUE_PIN, PIN_WANTED);
	vmx_caps.proc = controls(MSR_VMX_TRUE_PROC, PROC_WANTED);
	vmx_caps.proc2 = controls(MSR_VMX_PROC2, PROC2_EPT | PROC2_UNRESTRICTED | optional);
	vmx_caps.exit = controls(MSR_VMX_TRUE_EXIT, EXIT_WANTED);
	vmx_caps.entry = controls(MSR_VMX_TRUE_ENTRY, ENTRY_WANTED);
	vmx_caps.timer_shift = (uint32_t)rdmsr(MSR_VMX_MISC) & 31;
	vmx_caps.cr0_fixed = rdmsr(MSR_VMX_CR0_FIXED0) & ~(uint64_t)(CR0_PE | CR0_PG);
	vmx_caps.cr4_fixed = rdmsr(MSR_VMX_CR4_FIXED0);
	vmx_caps.guest_cr4 = rdmsr(MSR_VMX_CR4_FIXED1) & CR4_GUEST;
	vmx_caps.guest_efer = EFER_SCE | EFER_LME;
	if (cpuid(0x80000001, 0).edx & CPUID_EXT_EDX_NX)
		vmx_caps.guest_efer |= EFER_NXE;
	vmx_caps.tsc_deadline = cpuid(1, 0).ecx & CPUID_1_ECX_TSC_DEADLINE;
	vmx_caps.large_pages = memory & CAP_EPT_2M;
}

static const char *missing(void)
{
	const char *text = missing_here();

	if (!text)
		read_caps();
	return text;
}

static const char *cpu_on(void)
{
	const char *text = missing_here();
	uint8_t *page = vmxon_page[cpu_self()->index];
	const uint64_t all[2] = { 0, 0 };
	bool failed;

	if (text)
		return text;
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
	VMX_INSN(failed, "invept %1, %2", "m"(all), "r"((uint64_t)INVEPT_ALL));
	if (failed)
		vmx_bug("INVEPT", INVEPT_ALL);
	return NULL;
}

void vmx_bug(const char *insn, uint64_t operand)
{
	uint64_t error = 0;

	/* Without a current VMCS this VMREAD fails as well, and leaves the 0. */
	__asm__ volatile("vmread %1, %0" : "+r"(error) : "r"((uint64_t)VMCS_INSTRUCTION_ERROR) : "cc");
	panic("panic: %s 0x%lx failed on CPU %u: VM-instruction error %lu", insn, operand, cpu_self()->index,
	      error);
}

extern const struct virt_ops vmx_ops;
const struct virt_ops vmx_ops = {
	.name = "VT-x",
	.missing = missing,
	.apic = apic_pick,
	.cpu_on = cpu_on,
	.space_create = ept_create,
	.space_map = ept_map,
	.vcpu_init = vmcs_init,
	.vcpu_load = vmcs_load,
	.vcpu_unload = vmcs_unload,
	.vcpu_reset = vmcs_reset,
	.vcpu_start_real = vmcs_start_real,
	.vcpu_start_flat = vmcs_start_flat,
	.vcpu_apic = apic_base,
	.vcpu_addressed = apic_addressed,
	.vcpu_requests = apic_requests,
	.vcpu_raise = apic_raise,
	.vcpu_post_timer = apic_post_timer,
	.vcpu_unpost_timer = apic_unpost_timer,
	.vcpu_run = vmx_run,
	.vcpu_get = regs_get,
	.vcpu_set = regs_set,
	.vcpu_segment = vmcs_segment,
	.vcpu_msr_write = regs_msr_write,
	.vcpu_skip = vmx_skip,
	.vcpu_can_take = vmx_can_take,
	.vcpu_inject = vmx_inject,
	.vcpu_window = vmx_window,
	.vcpu_tpr_threshold = vmx_tpr_threshold,
	.vcpu_dump = vmcs_dump,
};
