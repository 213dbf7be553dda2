# SPDX-License-Identifier: MIT
# Linux as the other guests are run: its files on an image, its module lines, its command line.
import pathlib

from tests.linux import initramfs, packages

KERNELS = ("linux", "linux-generic")
# Not what an emulator takes minutes for: self-tests of the cryptography, and ways around speculation.
COMMAND = "console=ttyS0,115200 quiet cryptomgr.notests mitigations=off log_buf_len=1M"


def is_linux(path):
    return pathlib.Path(path).parent == packages.FOLDER and pathlib.Path(path).name in KERNELS


def modules(kernel, vm, line, args):
    """Pairs of a file and its module line: the kernel and its initrd."""
    return [(kernel, f"{line} -- {COMMAND} {args}".rstrip()), (initramfs.write(), f"module vm={vm}")]
