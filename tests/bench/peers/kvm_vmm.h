/* SPDX-License-Identifier: MIT */
/* What KVM's monitor and its guest agree on: ports. */
#ifndef PEER_KVM_VMM_H
#define PEER_KVM_VMM_H

#define PORT_LOG        0xe9  /* a character */
#define PORT_END        0xf4  /* all is measured */
#define PORT_UNBOUND    0x510 /* 32 bits: an ioeventfd that nobody waits for */
#define PORT_BELL_OWN   0x514 /* 32 bits: an interrupt of VCPU 0 */
#define PORT_BELL_OTHER 0x520 /* 32 bits: an interrupt of VCPU 1 */

#endif
