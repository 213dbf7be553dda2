#!/bin/sh
# SPDX-License-Identifier: MIT
# First process of the emulated machine: loads KVM and runs the guest.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for module in irqbypass kvm kvm-intel; do
    insmod "/$module.ko"
done
# KVM at its best, with `mitigations=off` on the command line: it halts at once instead of polling.
echo 0 >/sys/module/kvm/parameters/halt_poll_ns
kvm_vmm /guest.bin
echo "PEER-STATUS $?"
exec sleep 3600
