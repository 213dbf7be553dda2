/* SPDX-License-Identifier: MIT */
/* The VMCS by its manual names: field encodings and control bits, only those that are used here. */
#pragma once

/* SDM vol. 3, "Field Encoding in VMCS". Segment fields come in the order of enum virt_seg, two apart. */
enum vmcs_field {
	VMCS_VPID = 0x0000,
	VMCS_POSTED_VECTOR = 0x0002,
	VMCS_LAST_PID_INDEX = 0x0008,
	VMCS_GUEST_SELECTOR = 0x0800,
	VMCS_GUEST_INTERRUPT_STATUS = 0x0810, /* RVI, SVI << 8 */
	VMCS_HOST_SELECTOR = 0x0c00,
	VMCS_HOST_FS = 0x0c08, /* and GS */
	VMCS_HOST_TR = 0x0c0c,
	VMCS_MSR_BITMAP = 0x2004,
	VMCS_TSC_OFFSET = 0x2010,
	VMCS_VIRTUAL_APIC_PAGE = 0x2012,
	VMCS_APIC_ACCESS_PAGE = 0x2014,
	VMCS_POSTED_DESCRIPTOR = 0x2016,
	VMCS_EPT_POINTER = 0x201a,
	VMCS_EOI_EXITS = 0x201c, /* four of 64 vectors each, two apart */
	VMCS_ENCLS_BITMAP = 0x202e,
	VMCS_PROC3 = 0x2034,
	VMCS_PID_TABLE = 0x2042,
	VMCS_GUEST_PHYSICAL = 0x2400,
	VMCS_LINK_POINTER = 0x2800,
	VMCS_GUEST_DEBUGCTL = 0x2802,
	VMCS_GUEST_PAT = 0x2804,
	VMCS_GUEST_EFER = 0x2806,
	VMCS_GUEST_PDPTE0 = 0x280a,
	VMCS_HOST_PAT = 0x2c00,
	VMCS_HOST_EFER = 0x2c02,
	VMCS_PIN = 0x4000,
	VMCS_PROC = 0x4002,
	VMCS_EXCEPTIONS = 0x4004,
	VMCS_PF_MASK = 0x4006,
	VMCS_PF_MATCH = 0x4008,
	VMCS_CR3_TARGETS = 0x400a,
	VMCS_EXIT_CONTROLS = 0x400c,
	VMCS_EXIT_MSR_STORES = 0x400e,
	VMCS_EXIT_MSR_LOADS = 0x4010,
	VMCS_ENTRY_CONTROLS = 0x4012,
	VMCS_ENTRY_MSR_LOADS = 0x4014,
	VMCS_ENTRY_EVENT = 0x4016,
	VMCS_ENTRY_ERROR_CODE = 0x4018,
	VMCS_ENTRY_INSN_LEN = 0x401a,
	VMCS_TPR_THRESHOLD = 0x401c,
	VMCS_PROC2 = 0x401e,
	VMCS_INSTRUCTION_ERROR = 0x4400,
	VMCS_EXIT_REASON = 0x4402,
	VMCS_EXIT_EVENT = 0x4404,
	VMCS_EXIT_ERROR_CODE = 0x4406,
	VMCS_VECTORING_EVENT = 0x4408,
	VMCS_VECTORING_ERROR_CODE = 0x440a,
	VMCS_EXIT_INSN_LEN = 0x440c,
	VMCS_EXIT_INSN_INFO = 0x440e,
	VMCS_GUEST_LIMIT = 0x4800,
	VMCS_GUEST_GDTR_LIMIT = 0x4810,
	VMCS_GUEST_IDTR_LIMIT = 0x4812,
	VMCS_GUEST_RIGHTS = 0x4814,
	VMCS_GUEST_INTERRUPTIBILITY = 0x4824,
	VMCS_GUEST_ACTIVITY = 0x4826,
	VMCS_GUEST_SYSENTER_CS = 0x482a,
	VMCS_GUEST_TIMER = 0x482e,
	VMCS_HOST_SYSENTER_CS = 0x4c00,
	VMCS_CR0_MASK = 0x6000,
	VMCS_CR4_MASK = 0x6002,
	VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	VMCS_QUALIFICATION = 0x6400,
	VMCS_GUEST_LINEAR = 0x640a,
	VMCS_GUEST_CR0 = 0x6800,
	VMCS_GUEST_CR3 = 0x6802,
	VMCS_GUEST_CR4 = 0x6804,
	VMCS_GUEST_BASE = 0x6806,
	VMCS_GUEST_GDTR_BASE = 0x6816,
	VMCS_GUEST_IDTR_BASE = 0x6818,
	VMCS_GUEST_DR7 = 0x681a,
	VMCS_GUEST_RSP = 0x681c,
	VMCS_GUEST_RIP = 0x681e,
	VMCS_GUEST_RFLAGS = 0x6820,
	VMCS_GUEST_PENDING_DEBUG = 0x6822,
	VMCS_GUEST_SYSENTER_ESP = 0x6824, /* and EIP */
	VMCS_HOST_CR0 = 0x6c00,           /* CR3, CR4 */
	VMCS_HOST_FS_BASE = 0x6c06,
	VMCS_HOST_GS_BASE = 0x6c08,
	VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c,
	VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10, /* and EIP */
	VMCS_HOST_RSP = 0x6c14,
	VMCS_HOST_RIP = 0x6c16,
};

/* SDM vol. 3, "Pin-Based VM-Execution Controls". */
#define PIN_INTERRUPT_EXIT (1u << 0)
#define PIN_NMI_EXIT       (1u << 3)
#define PIN_VIRTUAL_NMI    (1u << 5)
#define PIN_TIMER          (1u << 6)
#define PIN_POSTED         (1u << 7)

/* SDM vol. 3, "Processor-Based VM-Execution Controls". */
#define PROC_INTERRUPT_WINDOW (1u << 2)
#define PROC_TSC_OFFSET       (1u << 3)
#define PROC_HLT_EXIT         (1u << 7)
#define PROC_MWAIT_EXIT       (1u << 10)
#define PROC_RDPMC_EXIT       (1u << 11)
#define PROC_TERTIARY         (1u << 17)
#define PROC_TPR_SHADOW       (1u << 21)
#define PROC_NMI_WINDOW       (1u << 22)
#define PROC_IO_EXIT          (1u << 24)
#define PROC_MSR_BITMAP       (1u << 28)
#define PROC_MONITOR_EXIT     (1u << 29)
#define PROC_SECONDARY        (1u << 31)

#define PROC2_APIC_ACCESS  (1u << 0) /* virtualize APIC accesses */
#define PROC2_EPT          (1u << 1)
#define PROC2_RDTSCP       (1u << 3)
#define PROC2_X2APIC       (1u << 4) /* virtualize x2APIC mode */
#define PROC2_VPID         (1u << 5)
#define PROC2_WBINVD_EXIT  (1u << 6)
#define PROC2_UNRESTRICTED (1u << 7)
#define PROC2_APIC_REGS    (1u << 8) /* APIC-register virtualization */
#define PROC2_APIC_VID     (1u << 9) /* virtual-interrupt delivery */
#define PROC2_ENCLS_EXIT   (1u << 15)

#define PROC3_IPI (1ull << 4) /* IPI virtualization */

/* SDM vol. 3, "VM-Exit Controls" and "VM-Entry Controls". */
#define EXIT_SAVE_DEBUG  (1u << 2)
#define EXIT_HOST_64     (1u << 9)
#define EXIT_ACKNOWLEDGE (1u << 15)
#define EXIT_SAVE_PAT    (1u << 18)
#define EXIT_LOAD_PAT    (1u << 19)
#define EXIT_SAVE_EFER   (1u << 20)
#define EXIT_LOAD_EFER   (1u << 21)
#define EXIT_SAVE_TIMER  (1u << 22)

#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_IA32E      (1u << 9)
#define ENTRY_LOAD_PAT   (1u << 14)
#define ENTRY_LOAD_EFER  (1u << 15)

/* SDM vol. 3, "Guest Non-Register State". */
#define SHADOW_STI     (1u << 0)
#define SHADOW_MOV_SS  (1u << 1)
#define BLOCKED_BY_NMI (1u << 3)
#define PENDING_BS     (1u << 14)

/*
 * SDM vol. 3, "VM-Entry Controls for Event Injection". The VM-exit and the IDT-vectoring
 * interruption-information fields have the same format, but for bit 12: there it tells of an IRET.
 */
#define EVENT_VECTOR       0xffu
#define EVENT_TYPE         (7u << 8)
#define EVENT_TYPE_EXT     (0u << 8)
#define EVENT_TYPE_NMI     (2u << 8)
#define EVENT_TYPE_HW      (3u << 8)
#define EVENT_TYPE_INT1    (5u << 8)
#define EVENT_TYPE_SOFT    (4u << 8) /* and above: made by an instruction, which has a length */
#define EVENT_ERROR_CODE   (1u << 11)
#define EVENT_IRET_UNBLOCK (1u << 12)
#define EVENT_VALID        (1u << 31)

/* SDM vol. 3, "Segment Access Rights". */
#define RIGHTS_CONFORMING (1u << 2) /* of code; of data: grows down */
#define RIGHTS_DPL        (3u << 5)
#define RIGHTS_LONG       (1u << 13)
#define RIGHTS_UNUSABLE   (1u << 16)

/* SDM vol. 3, appendix "VMX Basic Exit Reasons". */
#define REASON_EXCEPTION           0
#define REASON_INTERRUPT           1
#define REASON_TRIPLE_FAULT        2
#define REASON_INIT                3
#define REASON_INTERRUPT_WINDOW    7
#define REASON_NMI_WINDOW          8
#define REASON_CPUID               10
#define REASON_HLT                 12
#define REASON_INVD                13
#define REASON_RDPMC               15
#define REASON_VMCALL              18
#define REASON_CR                  28
#define REASON_IO                  30
#define REASON_RDMSR               31
#define REASON_WRMSR               32
#define REASON_ENTRY_MACHINE_CHECK 41
#define REASON_TPR                 43
#define REASON_APIC_ACCESS         44
#define REASON_EOI                 45
#define REASON_EPT_VIOLATION       48
#define REASON_TIMER               52
#define REASON_WBINVD              54
#define REASON_APIC_WRITE          56
#define REASON_ENTRY_FAILED        (1u << 31)
