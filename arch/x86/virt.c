/* SPDX-License-Identifier: MIT */
/* Picks the virtualisation backend. Another vendor's joins the table here. */
#include "arch/x86/virt.h"

#include "kernel/log.h"

extern const struct virt_ops vmx_ops;

static const struct virt_ops *const backends[] = { &vmx_ops };

const struct virt_ops *virt;
bool virt_delivers;

static const char *const apic_names[] = { "", "soft", "regs", "vid", "posted", "ipiv" };

static void pick_apic(enum virt_apic wanted)
{
	enum virt_apic apic = virt->apic(wanted);

	if (apic == VIRT_APIC_BEST)
		refuse(LOG_CONFIG, "apic=%s: this CPU cannot do that; apic=%s is the best it can",
		       apic_names[wanted], apic_names[virt->apic(VIRT_APIC_BEST)]);
	virt_delivers = apic >= VIRT_APIC_VID;
	log_line(LOG_HV, "%s with apic=%s", virt->name, apic_names[apic]);
}

void virt_pick(enum virt_apic wanted)
{
	const char *missing = NULL;

	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		missing = backends[i]->missing();
		if (!missing) {
			virt = backends[i];
			pick_apic(wanted);
			return;
		}
	}
	refuse(LOG_HV, "%s", missing);
}
