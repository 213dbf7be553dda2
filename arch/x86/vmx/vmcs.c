/* SPDX-License-Identifier: MIT */
/* The life of a VCPU's VMCS: its making, its loading, and the states that a processor starts in. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"
#include "kernel/log.h"
#include "kernel/string.h"

#define EVERY_BIT   UINT64_MAX
#define INVVPID_ONE 1ull

/* SDM vol. 3, "Segment Access Rights": type, S, DPL 0, P. */
#define RIGHTS_CODE_16 0x009b
#define RIGHTS_DATA_16 0x0093
#define RIGHTS_LDT     0x0082
#define RIGHTS_TSS_32  0x008b
#define RIGHTS_CODE_32 0xc09b
#define RIGHTS_DATA_32 0xc093

#define PAT_RESET 0x0007040600070406

struct field_value {
	uint32_t field;
	uint64_t value;
};
#define WRITE(list)                                                   \
	for (size_t i = 0; i < sizeof(list) / sizeof((list)[0]); i++) \
	vmwrite((list)[i].field, (list)[i].value)

/*
 * What neither the machine nor the VM nor the VCPU's life changes. #DB and #AC exit so that they can be
 * handed on: one whose delivery raises it again would keep the CPU in microcode for good, with every
 * interrupt shut out. #MC is the machine's.
 */
static const struct field_value constant[] = {
	{ VMCS_EXCEPTIONS, 1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC },
	{ VMCS_LINK_POINTER, EVERY_BIT },
	{ VMCS_GUEST_PAT, PAT_RESET },
};
static const uint16_t constant_zero[] = {
	VMCS_PF_MASK,           VMCS_PF_MATCH,           VMCS_CR3_TARGETS,
	VMCS_EXIT_MSR_STORES,   VMCS_EXIT_MSR_LOADS,     VMCS_ENTRY_MSR_LOADS,
	VMCS_TPR_THRESHOLD,     VMCS_TSC_OFFSET,         VMCS_GUEST_DEBUGCTL,
	VMCS_GUEST_SYSENTER_CS, VMCS_GUEST_SYSENTER_ESP, VMCS_GUEST_SYSENTER_ESP + 2,
	VMCS_HOST_SYSENTER_CS,  VMCS_HOST_SYSENTER_ESP,  VMCS_HOST_SYSENTER_ESP + 2,
	VMCS_HOST_FS,           VMCS_HOST_FS + 2,        VMCS_HOST_FS_BASE,
};

/* SDM vol. 3, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT". */
static const struct field_value after_init[] = {
	{ VMCS_GUEST_CR3, 0 },           { VMCS_GUEST_EFER, 0 },
	{ VMCS_GUEST_DR7, 0x400 },       { VMCS_GUEST_RFLAGS, 2 },
	{ VMCS_GUEST_RIP, 0xfff0 },      { VMCS_GUEST_RSP, 0 },
	{ VMCS_GUEST_GDTR_BASE, 0 },     { VMCS_GUEST_GDTR_LIMIT, 0xffff },
	{ VMCS_GUEST_IDTR_BASE, 0 },     { VMCS_GUEST_IDTR_LIMIT, 0xffff },
	{ VMCS_GUEST_PENDING_DEBUG, 0 }, { VMCS_GUEST_INTERRUPTIBILITY, 0 },
	{ VMCS_GUEST_ACTIVITY, 0 },      { VMCS_ENTRY_EVENT, 0 },
};

static void write_segment(enum virt_seg seg, uint16_t selector, uint64_t base, uint32_t limit,
                          uint32_t rights)
{
	vmwrite(vmx_segment_field(VMCS_GUEST_SELECTOR, seg), selector);
	vmwrite(vmx_segment_field(VMCS_GUEST_BASE, seg), base);
	vmwrite(vmx_segment_field(VMCS_GUEST_LIMIT, seg), limit);
	vmwrite(vmx_segment_field(VMCS_GUEST_RIGHTS, seg), rights);
}

/* All six with the limit; the code's base is its own. */
static void write_segments(uint16_t code, uint64_t base, uint32_t code_rights, uint16_t data,
                           uint32_t data_rights, uint32_t limit)
{
	for (enum virt_seg seg = SEG_ES; seg <= SEG_GS; seg++)
		write_segment(seg, data, 0, limit, data_rights);
	write_segment(SEG_CS, code, base, limit, code_rights);
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
	uint64_t of[2] = { 0, 0 }; /* VPID, linear address */
	bool failed;

	if (!(vmx_caps.proc2 & PROC2_VPID))
		return;
	of[0] = vmread(VMCS_VPID);
	VMX_INSN(failed, "invvpid %1, %2", "m"(of), "r"(INVVPID_ONE));
	if (failed)
		vmx_bug("INVVPID", of[0]);
}

/* CR2 is in no VMCS field. The hypervisor has no page faults of its own, so that it can stay in the CPU. */
static void debug_load(const struct vmx_vcpu *b)
{
	write_cr2(b->cr2);
	__asm__ volatile("movq %0, %%dr0; movq %1, %%dr1; movq %2, %%dr2; movq %3, %%dr3; movq %4, %%dr6"
	                 :
	                 : "r"(b->dr[0]), "r"(b->dr[1]), "r"(b->dr[2]), "r"(b->dr[3]), "r"(b->dr6));
}

static void debug_save(struct vmx_vcpu *b)
{
	b->cr2 = read_cr2();
	__asm__ volatile("movq %%dr0, %0; movq %%dr1, %1; movq %%dr2, %2; movq %%dr3, %3; movq %%dr6, %4"
	                 : "=r"(b->dr[0]), "=r"(b->dr[1]), "=r"(b->dr[2]), "=r"(b->dr[3]), "=r"(b->dr6));
}

/* Everything of this CPU's that an exit brings back. None of it changes once VCPUs run. */
static void write_host_state(void)
{
	struct descriptor_table gdt, idt;
	const uint64_t *tss;

	__asm__("sgdt %0" : "=m"(gdt));
	__asm__("sidt %0" : "=m"(idt));
	tss = (const uint64_t *)(uintptr_t)(gdt.base + SELECTOR_TSS);
	for (enum virt_seg seg = SEG_ES; seg <= SEG_DS; seg++)
		vmwrite(vmx_segment_field(VMCS_HOST_SELECTOR, seg),
		        seg == SEG_CS ? SELECTOR_CODE : SELECTOR_DATA);
	const struct field_value host[] = {
		{ VMCS_HOST_TR, SELECTOR_TSS },
		/* SDM vol. 3, "TSS Descriptor in 64-bit mode": the base lies in four pieces. */
		{ VMCS_HOST_TR_BASE, (tss[0] >> 16 & 0xffffff) | (tss[0] >> 56) << 24 | tss[1] << 32 },
		{ VMCS_HOST_GDTR_BASE, gdt.base },
		{ VMCS_HOST_IDTR_BASE, idt.base },
		{ VMCS_HOST_GS_BASE, (uintptr_t)cpu_self() },
		{ VMCS_HOST_CR0, read_cr0() },
		{ VMCS_HOST_CR0 + 2, read_cr3() },
		{ VMCS_HOST_CR0 + 4, read_cr4() },
		{ VMCS_HOST_EFER, rdmsr(MSR_EFER) },
		{ VMCS_HOST_PAT, rdmsr(MSR_PAT) },
	};
	WRITE(host);
}

static void write_controls(struct virt_vcpu *v)
{
	static uint16_t last_vpid; /* 0 is the hypervisor's own */
	const struct field_value controls[] = {
		{ VMCS_PIN, vmx_caps.pin },
		{ VMCS_PROC, vmx_caps.proc },
		{ VMCS_PROC2, vmx_caps.proc2 },
		{ VMCS_EXIT_CONTROLS, vmx_caps.exit },
		{ VMCS_ENTRY_CONTROLS, vmx_caps.entry },
		{ VMCS_EPT_POINTER, ept_view_pointer(&vmx_of(v)->view) },
		{ VMCS_MSR_BITMAP, regs_msr_bitmap(false) },
		{ VMCS_VIRTUAL_APIC_PAGE, (uintptr_t)vmx_of(v)->apic_page },
		{ VMCS_HOST_RIP, (uintptr_t)vmx_exit_entry },
		{ VMCS_HOST_RSP, (uintptr_t)v->gpr },
		{ VMCS_CR0_SHADOW, CR0_CD | CR0_NW },
	};

	WRITE(controls);
	WRITE(constant);
	for (size_t i = 0; i < sizeof(constant_zero) / sizeof(constant_zero[0]); i++)
		vmwrite(constant_zero[i], 0);
	vmx_of(v)->proc = vmx_caps.proc;
	if (vmx_caps.proc2 & PROC2_VPID)
		vmwrite(VMCS_VPID, ++last_vpid);
	if (vmx_caps.proc2 & PROC2_ENCLS_EXIT)
		vmwrite(VMCS_ENCLS_BITMAP, EVERY_BIT);
}

void vmcs_init(struct virt_vcpu *v, void *space, struct apic_page *apic, struct inbox *inbox)
{
	struct vmx_vcpu *b = memory_alloc(PAGE_SIZE, PAGE_SIZE);

	if (b)
		b->vmcs = memory_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!b || !b->vmcs)
		refuse(LOG_CONFIG, "no memory is left for a VCPU: give the VMs less or the machine more");
	v->backend = b;
	b->apic_page = (const uint8_t *)apic;
	b->inbox = inbox;
	b->space = space;
	ept_view_init(&b->view);
	/* The same table: FCW, tags, MXCSR after power-up. An INIT leaves them alone. */
	b->fpu[0] = 0x40;
	b->fpu[4] = 0xff;
	b->fpu[24] = 0x80;
	b->fpu[25] = 0x1f;

	*(uint32_t *)b->vmcs = vmx_caps.revision;
	vmcs_pointer(b, false);
	vmcs_pointer(b, true);
	write_controls(v);
	apic_init(b);
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
	debug_load(b);
	regs_live_load(b);
	apic_load(b);
	__asm__ volatile("fxrstor64 %0" : : "m"(b->fpu));
}

void vmcs_unload(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);

	__asm__ volatile("fxsave64 %0" : "=m"(b->fpu));
	regs_live_save(b);
	debug_save(b);
	apic_unload(b);
}

void vmcs_reset(struct virt_vcpu *v)
{
	struct vmx_vcpu *b = vmx_of(v);
	uint64_t cache = vmread(VMCS_CR0_SHADOW) & (CR0_CD | CR0_NW);

	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[RDX] = cpuid(1, 0).eax;
	WRITE(after_init);
	write_segments(0xf000, 0xffff0000, RIGHTS_CODE_16, 0, RIGHTS_DATA_16, 0xffff);
	write_segment(SEG_LDTR, 0, 0, 0xffff, RIGHTS_LDT);
	write_segment(SEG_TR, 0, 0, 0xffff, RIGHTS_TSS_32);
	/* The same table: INIT leaves CD and NW as they are. */
	regs_set(v, VREG_CR0, cache | CR0_ET);
	regs_set(v, VREG_CR4, 0);
	b->shutdown = false;
	b->event = 0;
	b->cr2 = 0;
	memset(b->dr, 0, sizeof(b->dr));
	b->dr6 = 0xffff0ff0;
	debug_load(b);
}

void vmcs_start_real(struct virt_vcpu *v, uint8_t page)
{
	(void)v;
	write_segment(SEG_CS, (uint16_t)(page << 8), (uint64_t)page << 12, 0xffff, RIGHTS_CODE_16);
	vmwrite(VMCS_GUEST_RIP, 0);
}

void vmcs_start_flat(struct virt_vcpu *v, const struct virt_start *start)
{
	regs_set(v, VREG_CR0, CR0_PE | CR0_ET);
	write_segments(0x10, 0, RIGHTS_CODE_32, 0x18, RIGHTS_DATA_32, UINT32_MAX);
	vmwrite(VMCS_GUEST_GDTR_BASE, start->gdt);
	vmwrite(VMCS_GUEST_RIP, start->entry);
	v->gpr[RAX] = start->eax;
	v->gpr[RBX] = start->ebx;
	v->gpr[RDX] = 0; /* where INIT leaves the processor's signature */
	v->gpr[RSI] = start->esi;
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

/* What a dump shows beside segments and CR2. */
static const char gpr_names[16][8] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	                               "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
static const char field_names[16][8] = { "rip",    "rflags", "cr0",    "cr3",     "cr4",      "efer",
	                                 "active", "shadow", "reason", "qualif.", "physical", "linear",
	                                 "event",  "during", "error",  "vmfail" };
static const uint16_t fields[16] = {
	VMCS_GUEST_RIP,   VMCS_GUEST_RFLAGS,    VMCS_GUEST_CR0,       VMCS_GUEST_CR3,
	VMCS_GUEST_CR4,   VMCS_GUEST_EFER,      VMCS_GUEST_ACTIVITY,  VMCS_GUEST_INTERRUPTIBILITY,
	VMCS_EXIT_REASON, VMCS_QUALIFICATION,   VMCS_GUEST_PHYSICAL,  VMCS_GUEST_LINEAR,
	VMCS_EXIT_EVENT,  VMCS_VECTORING_EVENT, VMCS_EXIT_ERROR_CODE, VMCS_INSTRUCTION_ERROR,
};

/* Four to a line. */
static void dump_values(const char names[16][8], const uint64_t values[16], void (*line)(const char *text))
{
	char text[128];

	for (unsigned i = 0; i < 16; i += 4) {
		format_text(text, sizeof(text), "%-7s %016lx  %-7s %016lx  %-7s %016lx  %-7s %016lx",
		            names[i], values[i], names[i + 1], values[i + 1], names[i + 2], values[i + 2],
		            names[i + 3], values[i + 3]);
		line(text);
	}
}

void vmcs_dump(struct virt_vcpu *v, void (*line)(const char *text))
{
	static const char segments[8][5] = { "es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr" };
	struct virt_segment s;
	uint64_t values[16];
	char text[128];

	for (unsigned i = 0; i < 16; i++)
		values[i] = vmread(fields[i]);
	v->gpr[RSP] = vmread(VMCS_GUEST_RSP);
	dump_values(gpr_names, v->gpr, line);
	dump_values(field_names, values, line);
	for (enum virt_seg seg = SEG_ES; seg <= SEG_TR; seg++) {
		vmcs_segment(v, seg, &s);
		format_text(text, sizeof(text), "%-4s %04x  base %016lx  limit %08x  rights %04x  cr2 %lx",
		            segments[seg], s.selector, s.base, s.limit, s.rights, read_cr2());
		line(text);
	}
}
