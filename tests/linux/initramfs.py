# SPDX-License-Identifier: MIT
"""Makes the guests' initial RAM disk: busybox, the driver and the files of tests/linux/root, as a cpio archive (newc)."""
import os
import pathlib
import threading

from tests.linux import module, packages

ROOT = pathlib.Path(__file__).resolve().parent / "root"
TARGET = packages.FOLDER / "initrd"
FOLDER, FILE, LINK, DEVICE = 0o040755, 0o100755, 0o120777, 0o020600
DEVICES = {"dev/console": (5, 1), "dev/null": (1, 3)}


def entry(number, name, mode, data=b"", device=(0, 0)):
    """One member: thirteen numbers of eight hexadecimal digits, the name, the data, each padded to 4 bytes."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def members(files):
    """(name, mode, data, device) of everything, folders first; `files` are names there and bytes."""
    folders = {"bin", "dev", "proc", "sys", "tmp"} | {str(pathlib.PurePath(name).parent) for name in files}
    for folder in sorted(folders - {"."}):
        yield folder, FOLDER, b"", (0, 0)
    for name, device in DEVICES.items():
        yield name, DEVICE, b"", device
    yield "bin/busybox", FILE, packages.fetch("busybox").read_bytes(), (0, 0)
    yield "bin/sh", LINK, b"busybox", (0, 0)
    for name, data in sorted(files.items()):
        yield name, FILE, data, (0, 0)


def make(more=None):
    """The archive's bytes; `more` are further files."""
    files = {str(path.relative_to(ROOT)): path.read_bytes() for path in ROOT.rglob("*") if path.is_file()}
    files |= more or {}
    parts = [entry(number, *member) for number, member in enumerate(members(files), 1)]
    return b"".join(parts) + entry(0, "TRAILER!!!", 0)


def write():
    """build/linux/initrd, replaced only if it changes: runs at the same time may read it."""
    data = make(module.files())
    if not TARGET.is_file() or TARGET.read_bytes() != data:
        fresh = TARGET.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        fresh.write_bytes(data)
        fresh.replace(TARGET)
    return TARGET
