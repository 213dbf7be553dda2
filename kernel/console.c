/* SPDX-License-Identifier: MIT */
/* Who gets what is typed on the machine's serial line: one VM's serial port, the next one's after three Ctrl-A. */
#include "kernel/log.h"
#include "kernel/vm.h"

#define SWITCH_KEY   0x01
#define SWITCH_TIMES 3u

/* The boot CPU's. */
static unsigned focus; /* a VM's number */
static unsigned held;  /* switch keys that came one after the other and that nobody has got yet */

void console_received(char c)
{
	if (c == SWITCH_KEY && ++held == SWITCH_TIMES) {
		held = 0;
		platform_attend(vms[focus], false);
		focus = (focus + 1) % vm_count;
		log_line(LOG_HV, "what is typed goes to vm %s", vms[focus]->name);
	}
	if (c == SWITCH_KEY)
		return;
	platform_attend(vms[focus], true);
	for (; held; held--)
		platform_receive(vms[focus], SWITCH_KEY);
	platform_receive(vms[focus], c);
}
