/* SPDX-License-Identifier: MIT */
/* How the machine's run ends. machine_end() is in arch.h. */
#ifndef ARCH_X86_MACHINE_H
#define ARCH_X86_MACHINE_H

/*
 * Sets machine_end_way from the word `end=` of the hypervisor's own line, if it has one that is right. Boot
 * CPU, before the first demand that can be refused: the configuration, which judges that line, comes later.
 */
void machine_choose_end(const char *cmdline);

#endif
