/* SPDX-License-Identifier: MIT */
/* The MSRs whose values the backend keeps: which a guest reaches without an exit, where each lives. */
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpureg.h"
#include "arch/x86/insn.h"

#define MSR_TSC            0x10
#define MSR_SYSENTER_CS    0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_PAT            0x277
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_CSTAR          0xc0000083
#define MSR_FMASK          0xc0000084
#define MSR_FS_BASE        0xc0000100
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX        0xc0000103

enum msr_home { HOME_TSC, HOME_EFER, HOME_FIELD, HOME_LIVE };

/*
 * Reads of all of them are the CPU's own business; so are writes but of two: the TSC, which is the physical
 * one, and EFER, where LME may not change under paging and the CPU's own bits are not all the guest's.
 */
static const struct msr_row {
	uint32_t index;
	enum msr_home home;
	uint32_t where; /* HOME_FIELD: of the VMCS; HOME_LIVE: enum vmx_live */
} rows[] = {
	{ MSR_TSC, HOME_TSC, 0 },
	{ MSR_EFER, HOME_EFER, 0 },
	{ MSR_PAT, HOME_FIELD, VMCS_GUEST_PAT },
	{ MSR_SYSENTER_CS, HOME_FIELD, VMCS_GUEST_SYSENTER_CS },
	{ MSR_SYSENTER_ESP, HOME_FIELD, VMCS_GUEST_SYSENTER_ESP },
	{ MSR_SYSENTER_EIP, HOME_FIELD, VMCS_GUEST_SYSENTER_EIP },
	{ MSR_FS_BASE, HOME_FIELD, VMCS_GUEST_BASE + 2 * SEG_FS },
	{ MSR_GS_BASE, HOME_FIELD, VMCS_GUEST_BASE + 2 * SEG_GS },
	{ MSR_KERNEL_GS_BASE, HOME_LIVE, LIVE_KERNEL_GS },
	{ MSR_STAR, HOME_LIVE, LIVE_STAR },
	{ MSR_LSTAR, HOME_LIVE, LIVE_LSTAR },
	{ MSR_CSTAR, HOME_LIVE, LIVE_CSTAR },
	{ MSR_FMASK, HOME_LIVE, LIVE_FMASK },
	{ MSR_TSC_AUX, HOME_LIVE, LIVE_TSC_AUX },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* SDM vol. 3, "MSR-Bitmap Address": a bit set means an exit. One for all VCPUs; constant after msr_init(). */
static struct {
	uint8_t read_low[1024], read_high[1024], write_low[1024], write_high[1024];
} bitmap __attribute__((aligned(PAGE_SIZE)));

/* IA32_TSC_AUX comes with RDTSCP. */
static bool exists(const struct msr_row *row)
{
	return row->index != MSR_TSC_AUX || vmx_caps.proc2 & PROC2_RDTSCP;
}

static void pass(uint8_t *low, uint8_t *high, uint32_t index)
{
	uint8_t *half = index >= 0xc0000000 ? high : low;
	uint32_t bit = index & 0x1fff;

	half[bit / 8] &= (uint8_t) ~(1u << bit % 8);
}

void msr_init(void)
{
	for (size_t i = 0; i < sizeof(bitmap); i++)
		((uint8_t *)&bitmap)[i] = 0xff;
	for (size_t i = 0; i < ROWS; i++) {
		if (!exists(&rows[i]))
			continue;
		pass(bitmap.read_low, bitmap.read_high, rows[i].index);
		if (rows[i].home == HOME_FIELD || rows[i].home == HOME_LIVE)
			pass(bitmap.write_low, bitmap.write_high, rows[i].index);
	}
}

uint64_t msr_bitmap_address(void)
{
	return (uintptr_t)&bitmap;
}

static const struct msr_row *find(uint32_t index)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].index == index && exists(&rows[i]))
			return &rows[i];
	}
	return NULL;
}

bool msr_read(struct virt_vcpu *v, uint32_t index, uint64_t *value)
{
	const struct msr_row *row = find(index);

	(void)v;
	if (!row)
		return false;
	switch (row->home) {
	case HOME_TSC:
		*value = tsc_now() + vmread(VMCS_TSC_OFFSET);
		break;
	case HOME_EFER:
		*value = vmread(VMCS_GUEST_EFER);
		break;
	case HOME_FIELD:
		*value = vmread(row->where);
		break;
	case HOME_LIVE:
		*value = rdmsr(index);
		break;
	}
	return true;
}

/* Only writes that exit come here. */
bool msr_write(struct virt_vcpu *v, uint32_t index, uint64_t value)
{
	const struct msr_row *row = find(index);

	(void)v;
	if (row && row->home == HOME_EFER)
		return cr_write_efer(value);
	if (!row || row->home != HOME_TSC)
		return false;
	vmwrite(VMCS_TSC_OFFSET, value - tsc_now());
	return true;
}

void msr_live_load(const struct vmx_vcpu *b)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].home == HOME_LIVE && exists(&rows[i]))
			wrmsr(rows[i].index, b->live[rows[i].where]);
	}
}

void msr_live_save(struct vmx_vcpu *b)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].home == HOME_LIVE && exists(&rows[i]))
			b->live[rows[i].where] = rdmsr(rows[i].index);
	}
}
