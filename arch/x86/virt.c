/* SPDX-License-Identifier: MIT */
/* Picks the virtualisation backend. Another vendor's joins the table here. */
#include "arch/x86/virt.h"

#include <stddef.h>

#include "kernel/log.h"

extern const struct virt_ops vmx_ops;

static const struct virt_ops *const backends[] = { &vmx_ops };

const struct virt_ops *virt;

void virt_pick(void)
{
	const char *missing = NULL;

	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		missing = backends[i]->missing();
		if (!missing) {
			virt = backends[i];
			return;
		}
	}
	refuse(LOG_HV, "%s", missing);
}
