/* SPDX-License-Identifier: MIT */
/* The life of a VCPU's VMCS: its making, its loading, and the states that a processor starts in. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"

#define MSR_PAT   0x277
#define APIC_TPR  0x80 /* in the virtual-APIC page */
#define EVERY_BIT UINT64_MAX
#define CR0_NW    (1ull << 29)
#define CR0_CD    (1ull << 30)
#define VECTOR_DB 1
#define VECTOR_AC 17
#define VECTOR_MC 18

/* SDM vol. 3, "Segment Access Rights": type, S, DPL 0, P. */
#define RIGHTS_CODE_16 0x009b
#define RIGHTS_DATA_16 0x0093
#define RIGHTS_LDT     0x0082
#define RIGHTS_TSS_32  0x008b
#define RIGHTS_CODE_32 0xc09b
#define RIGHTS_DATA_32 0xc093

#define PAT_RESET 0x0007040600070406

struct field_value {
	enum vmcs_field field;
	uint64_t value;
};

/* What neither the machine nor the VM nor the VCPU's life changes. */
static const struct field_value constant[] = {
	/*
	 * #DB and #AC exit so that they can be handed on: one whose delivery raises it again would keep the
	 * CPU in microcode for good, with every interrupt shut out. #MC is the machine's.
	 */
	{ VMCS_EXCEPTIONS, 1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC },
	{ VMCS_PF_MASK, 0 },
	{ VMCS_PF_MATCH, 0 },
	{ VMCS_CR3_TARGETS, 0 },
	{ VMCS_EXIT_MSR_STORES, 0 },
	{ VMCS_EXIT_MSR_LOADS, 0 },
	{ VMCS_ENTRY_MSR_LOADS, 0 },
	{ VMCS_TPR_THRESHOLD, 0 },
	{ VMCS_TSC_OFFSET, 0 },
	{ VMCS_LINK_POINTER, EVERY_BIT },
	{ VMCS_GUEST_DEBUGCTL, 0 },
	{ VMCS_GUEST_PAT, PAT_RESET },
	{ VMCS_GUEST_SYSENTER_CS, 0 },
	{ VMCS_GUEST_SYSENTER_ESP, 0 },
	{ VMCS_GUEST_SYSENTER_EIP, 0 },
	{ VMCS_HOST_SYSENTER_CS, 0 },
	{ VMCS_HOST_SYSENTER_ESP, 0 },
	{ VMCS_HOST_SYSENTER_EIP, 0 },
};

/*
 * SDM vol. 3, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT", where it is the
 * same for all.
 */
static const struct field_value after_init[] = {
	{ VMCS_GUEST_CR3, 0 },           { VMCS_GUEST_EFER, 0 },
	{ VMCS_GUEST_DR7, 0x400 },       { VMCS_GUEST_RFLAGS, 2 },
	{ VMCS_GUEST_RIP, 0xfff0 },      { VMCS_GUEST_RSP, 0 },
	{ VMCS_GUEST_GDTR_BASE, 0 },     { VMCS_GUEST_GDTR_LIMIT, 0xffff },
	{ VMCS_GUEST_IDTR_BASE, 0 },     { VMCS_GUEST_IDTR_LIMIT, 0xffff },
	{ VMCS_GUEST_PENDING_DEBUG, 0 }, { VMCS_GUEST_INTERRUPTIBILITY, 0 },
	{ VMCS_GUEST_ACTIVITY, 0 },      { VMCS_ENTRY_EVENT, 0 },
};

static void write_fields(const struct field_value *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		vmwrite(list[i].field, list[i].value);
}

static void write_segment(enum virt_seg seg, uint16_t selector, uint64_t base, uint32_t limit,
                          uint32_t rights)
{
	vmwrite(vmx_segment_field(VMCS_GUEST_SELECTOR, seg), selector);
	vmwrite(vmx_segment_field(VMCS_GUEST_BASE, seg), base);
	vmwrite(vmx_segment_field(VMCS_GUEST_LIMIT, seg), limit);
	vmwrite(vmx_segment_field(VMCS_GUEST_RIGHTS, seg), rights);
}

static void vmcs_pointer(struct vmx_vcpu *b, bool load)
{
	bool failed;

	if (load)
		VMX_INSN(failed, "vmptrld %1", "m"(b->vmcs));
	else
		VMX_INSN(failed, "vmclear %1", "m"(b->vmcs));
	if (failed)
		vmx_bug(load ? "VMPTRLD" : "VMCLEAR", (uintptr_t)b->vmcs);
}

void vmcs_flush(void)
{
	struct {
		uint64_t vpid, linear;
	} of = { 0, 0 };
	bool failed;

	if (!vmx_caps.flush)
		return;
	of.vpid = vmread(VMCS_VPID);
	VMX_INSN(failed, "invvpid %1, %2", "m"(of), "r"(vmx_caps.flush));
	if (failed)
		vmx_bug("INVVPID", of.vpid);
}

/* CR2 is in no VMCS field. The hypervisor has no page faults of its own, so that it can stay in the CPU. */
static void debug_load(const struct vmx_vcpu *b)
{
	write_cr2(b->cr2);
	__asm__ volatile("movq %0, %%dr0" : : "r"(b->dr[0]));
	__asm__ volatile("movq %0, %%dr1" : : "r"(b->dr[1]));
	__asm__ volatile("movq %0, %%dr2" : : "r"(b->dr[2]));
	__asm__ volatile("movq %0, %%dr3" : : "r"(b->dr[3]));
	__asm__ volatile("movq %0, %%dr6" : : "r"(b->dr6));
}

static void debug_save(struct vmx_vcpu *b)
{
	b->cr2 = read_cr2();
	__asm__ volatile("movq %%dr0, %0" : "=r"(b->dr[0]));
	__asm__ volatile("movq %%dr1, %0" : "=r"(b->dr[1]));
	__asm__ volatile("movq %%dr2, %0" : "=r"(b->dr[2]));
	__asm__ volatile("movq %%dr3, %0" : "=r"(b->dr[3]));
	__asm__ volatile("movq %%dr6, %0" : "=r"(b->dr6));
}

/* Everything of this CPU's that an exit brings back. None of it changes once VCPUs run. */
static void write_host_state(void)
{
	struct descriptor_table gdt, idt;
	uint16_t cs, ss, tr;
	const uint64_t *tss;

	__asm__("movw %%cs, %0" : "=rm"(cs));
	__asm__("movw %%ss, %0" : "=rm"(ss));
	__asm__("str %0" : "=rm"(tr));
	__asm__("sgdt %0" : "=m"(gdt));
	__asm__("sidt %0" : "=m"(idt));
	tss = (const uint64_t *)(uintptr_t)(gdt.base + tr);

	vmwrite(VMCS_HOST_CS, cs);
	vmwrite(VMCS_HOST_SS, ss);
	vmwrite(VMCS_HOST_DS, ss);
	vmwrite(VMCS_HOST_ES, ss);
	vmwrite(VMCS_HOST_FS, 0);
	vmwrite(VMCS_HOST_GS, 0);
	vmwrite(VMCS_HOST_TR, tr);
	vmwrite(VMCS_HOST_FS_BASE, 0);
	vmwrite(VMCS_HOST_GS_BASE, (uintptr_t)cpu_self());
	/* SDM vol. 3, "TSS Descriptor in 64-bit mode": the base lies in four pieces. */
	vmwrite(VMCS_HOST_TR_BASE, (tss[0] >> 16 & 0xffffff) | (tss[0] >> 56) << 24 | tss[1] << 32);
	vmwrite(VMCS_HOST_GDTR_BASE, gdt.base);
	vmwrite(VMCS_HOST_IDTR_BASE, idt.base);
	vmwrite(VMCS_HOST_CR0, read_cr0());
	vmwrite(VMCS_HOST_CR3, read_cr3());
	vmwrite(VMCS_HOST_CR4, read_cr4());
	vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
}

static void write_controls(struct virt_vcpu *v, void *space, struct apic_page *apic)
{
	static uint16_t last_vpid; /* 0 is the hypervisor's own */
	struct vmx_vcpu *b = vmx_of(v);

	b->proc = vmx_caps.proc;
	vmwrite(VMCS_PIN, vmx_caps.pin);
	vmwrite(VMCS_PROC, b->proc);
	vmwrite(VMCS_PROC2, vmx_caps.proc2);
	vmwrite(VMCS_EXIT_CONTROLS, vmx_caps.exit);
	vmwrite(VMCS_ENTRY_CONTROLS, vmx_caps.entry);
	if (vmx_caps.proc2 & PROC2_VPID)
		vmwrite(VMCS_VPID, ++last_vpid);
	if (vmx_caps.proc2 & PROC2_ENCLS_EXIT)
		vmwrite(VMCS_ENCLS_BITMAP, EVERY_BIT);
	vmwrite(VMCS_EPT_POINTER, ept_pointer(space));
	vmwrite(VMCS_MSR_BITMAP, msr_bitmap_address());
	vmwrite(VMCS_VIRTUAL_APIC_PAGE, (uintptr_t)apic);
	vmwrite(VMCS_HOST_RIP, (uintptr_t)vmx_exit_entry);
	vmwrite(VMCS_HOST_RSP, (uintptr_t)v->gpr);
	write_fields(constant, sizeof(constant) / sizeof(constant[0]));
}

void vmcs_init(struct virt_vcpu *v, void *space, struct apic_page *apic)
{
	struct vmx_vcpu *b = memory_alloc(PAGE_SIZE, PAGE_SIZE);

	if (b)
		b->vmcs = memory_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!b || !b->vmcs)
		refuse(LOG_CONFIG, "no memory is left for a VCPU: give the VMs less or the machine more");
	v->backend = b;
	b->tpr = (const uint8_t *)apic + APIC_TPR;
	b->slow = SLOW_LAUNCH;
	/*
	 * SDM vol. 3, the same table: FCW and MXCSR after power-up. An INIT leaves them, and the tags, alone.
	 */
	b->fpu[0] = 0x40;
	b->fpu[4] = 0xff;
	b->fpu[24] = 0x80;
	b->fpu[25] = 0x1f;

	*(uint32_t *)b->vmcs = vmx_caps.revision;
	vmcs_pointer(b, false);
	vmcs_pointer(b, true);
	write_controls(v, space, apic);
	vmwrite(VMCS_CR0_SHADOW, CR0_CD | CR0_NW);
	vmcs_reset(v);
	/* The owner CPU may be another one: nothing of it may stay cached here. */
	vmcs_pointer(b, false);
}

void vmcs_load(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);

	vmcs_pointer(b, true);
	if (!b->host_written)
		write_host_state();
	b->host_written = true;
	b->loaded = true;
	debug_load(b);
	msr_live_load(b);
	__asm__ volatile("fxrstor64 %0" : : "m"(b->fpu));
}

void vmcs_unload(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);

	__asm__ volatile("fxsave64 %0" : "=m"(b->fpu));
	msr_live_save(b);
	debug_save(b);
	b->loaded = false;
}

void vmcs_reset(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);
	uint64_t cache = vmread(VMCS_CR0_SHADOW) & (CR0_CD | CR0_NW);

	for (unsigned i = 0; i < 16; i++)
		v->gpr[i] = 0;
	v->gpr[RDX] = cpuid(1, 0).eax;
	write_fields(after_init, sizeof(after_init) / sizeof(after_init[0]));
	write_segment(SEG_CS, 0xf000, 0xffff0000, 0xffff, RIGHTS_CODE_16);
	for (enum virt_seg seg = SEG_ES; seg <= SEG_GS; seg++) {
		if (seg != SEG_CS)
			write_segment(seg, 0, 0, 0xffff, RIGHTS_DATA_16);
	}
	write_segment(SEG_LDTR, 0, 0, 0xffff, RIGHTS_LDT);
	write_segment(SEG_TR, 0, 0, 0xffff, RIGHTS_TSS_32);
	/* The same table: INIT leaves CD and NW as they are. */
	cr_set(v, VREG_CR0, cache | CR0_ET);
	cr_set(v, VREG_CR4, 0);
	b->slow &= (uint8_t)~SLOW_SHUTDOWN;
	b->event = 0;
	b->cr2 = 0;
	b->dr[0] = b->dr[1] = b->dr[2] = b->dr[3] = 0;
	b->dr6 = 0xffff0ff0;
	if (b->loaded)
		debug_load(b);
}

void vmcs_start_real(struct virt_vcpu *v, uint8_t page)
{
	(void)v;
	write_segment(SEG_CS, (uint16_t)(page << 8), (uint64_t)page << 12, 0xffff, RIGHTS_CODE_16);
	vmwrite(VMCS_GUEST_RIP, 0);
}

void vmcs_start_flat(struct virt_vcpu *v, uint32_t entry, uint32_t eax, uint32_t ebx)
{
	cr_set(v, VREG_CR0, CR0_PE | CR0_ET);
	write_segment(SEG_CS, 0x08, 0, UINT32_MAX, RIGHTS_CODE_32);
	for (enum virt_seg seg = SEG_ES; seg <= SEG_GS; seg++) {
		if (seg != SEG_CS)
			write_segment(seg, 0x10, 0, UINT32_MAX, RIGHTS_DATA_32);
	}
	vmwrite(VMCS_GUEST_RIP, entry);
	v->gpr[RAX] = eax;
	v->gpr[RBX] = ebx;
}

void vmcs_segment(struct virt_vcpu *v, enum virt_seg seg, struct virt_segment *out)
{
	uint32_t rights = vmread32(vmx_segment_field(VMCS_GUEST_RIGHTS, seg));

	(void)v;
	out->base = vmread(vmx_segment_field(VMCS_GUEST_BASE, seg));
	out->limit = vmread32(vmx_segment_field(VMCS_GUEST_LIMIT, seg));
	out->selector = (uint16_t)vmread(vmx_segment_field(VMCS_GUEST_SELECTOR, seg));
	out->rights = rights & RIGHTS_UNUSABLE ? 0 : (uint16_t)rights;
}

void vmcs_dump(struct virt_vcpu *v, void (*line)(const char *text))
{
	static const char *const names[] = { "es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr" };
	static const char *const gprs[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		                            "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15" };
	struct virt_segment s;
	char text[128];

	v->gpr[RSP] = vmread(VMCS_GUEST_RSP);
	format_text(text, sizeof(text), "rip %016lx  rflags %08lx  shadow %lx  activity %lx",
	            vmread(VMCS_GUEST_RIP), vmread(VMCS_GUEST_RFLAGS), vmread(VMCS_GUEST_INTERRUPTIBILITY),
	            vmread(VMCS_GUEST_ACTIVITY));
	line(text);
	for (unsigned i = 0; i < 16; i += 4) {
		format_text(text, sizeof(text), "%s %016lx  %s %016lx  %s %016lx  %s %016lx", gprs[i],
		            v->gpr[i], gprs[i + 1], v->gpr[i + 1], gprs[i + 2], v->gpr[i + 2], gprs[i + 3],
		            v->gpr[i + 3]);
		line(text);
	}
	format_text(text, sizeof(text), "cr0 %016lx  cr2 %016lx  cr3 %016lx  cr4 %016lx", cr_get(v, VREG_CR0),
	            read_cr2(), cr_get(v, VREG_CR3), cr_get(v, VREG_CR4));
	line(text);
	for (enum virt_seg seg = SEG_ES; seg <= SEG_TR; seg++) {
		vmcs_segment(v, seg, &s);
		format_text(text, sizeof(text), "%-4s %04x  base %016lx  limit %08x  rights %04x", names[seg],
		            s.selector, s.base, s.limit, s.rights);
		line(text);
	}
	format_text(text, sizeof(text),
	            "efer %lx  exit reason %lx  qualification %lx  linear %lx  physical %lx",
	            vmread(VMCS_GUEST_EFER), vmread(VMCS_EXIT_REASON), vmread(VMCS_QUALIFICATION),
	            vmread(VMCS_GUEST_LINEAR), vmread(VMCS_GUEST_PHYSICAL));
	line(text);
	format_text(text, sizeof(text), "event %lx  while delivering %lx  instruction error %lx",
	            vmread(VMCS_EXIT_EVENT), vmread(VMCS_VECTORING_EVENT), vmread(VMCS_INSTRUCTION_ERROR));
	line(text);
}
