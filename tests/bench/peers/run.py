# SPDX-License-Identifier: MIT
"""`make peers`: the operations on Linux KVM and on Xen, and Bellhop's beside them; writes build/bench/peers.csv.

Both run on the same emulated machine as Bellhop, from Debian's packages (unpacked below build/peers, not installed),
at their best: mitigations and KVM's halt polling are off. Where they differ from tests/bench/peers.csv, that is said.
Status 0 also where a peer cannot be had here: then the figures of that file stand for it.
"""
import gzip
import pathlib
import re
import shutil
import subprocess
import sys
import threading

from tests.bench import measure, run, tables
from tests.emu import folder, iso, machine

HERE = iso.ROOT / "tests/bench/peers"
OUT = iso.ROOT / "build/peers"
C = "-std=gnu11 -O2 -Wall -Wextra -Werror -I. -static".split()
GUEST = C + ("-ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie -no-pie -fno-stack-protector "
             "-fcf-protection=none -fno-asynchronous-unwind-tables -nostdlib "
             "-Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments").split()
SAME = 1.05   # what a peer's figure may differ by
TIMEOUT = 900
XEN = "xen-hypervisor-4.17-amd64"
XEN_OPTIONS = ("placeholder com1=115200,8n1 console=com1 noreboot dom0=pvh dom0-iommu=none dom0_mem=256M,max:256M "
               "dom0_max_vcpus=2 dom0_vcpus_pin=1 x2apic_phys=1 spec-ctrl=off")


class NotHere(Exception):
    """A peer cannot be had on this machine."""


def call(*command, error=RuntimeError):
    done = subprocess.run([str(word) for word in command], cwd=iso.ROOT, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    if done.returncode:
        raise error(f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout


def unpacked(package):
    """The folder of a Debian package's files, which is fetched where it is missing."""
    where = OUT / package
    if not where.exists():
        cache = OUT / "deb"
        cache.mkdir(parents=True, exist_ok=True)
        # In its own folder, because apt writes to the one that it is called in.
        call("env", "-C", cache, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, error=NotHere)
        call("dpkg", "-x", next(cache.glob(f"{package}_*.deb")), f"{where}.new")
        pathlib.Path(f"{where}.new").rename(where)
    return where


def guest(name, sources):
    """The peer's guest, an ELF file."""
    path = OUT / f"{name}.elf"
    call("gcc", *GUEST, "-T", HERE / "guest.ld", "-o", path, *(HERE / source for source in ["guest.c", *sources]))
    return path


# --- what GRUB loads ------------------------------------------------------------------------------------------

def kvm_image():
    depends = call("apt-cache", "depends", "linux-image-cloud-amd64", error=NotHere)
    found = re.search(r"Depends: (linux-image-(\S+))", depends)
    if not found:
        raise NotHere("apt knows no linux-image-cloud-amd64")
    linux, release = unpacked(found[1]), found[2]
    root = OUT / "initrd"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys"):
        (root / name).mkdir(parents=True)
    shutil.copy(unpacked("busybox-static") / "bin/busybox", root / "bin")
    for name in ("sh", "mount", "insmod", "echo", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    for name in ("virt/lib/irqbypass", "arch/x86/kvm/kvm", "arch/x86/kvm/kvm-intel"):
        shutil.copy(linux / f"lib/modules/{release}/kernel/{name}.ko", root)
    shutil.copy(HERE / "kvm_init.sh", root / "init")
    (root / "init").chmod(0o755)
    call("objcopy", "-O", "binary", guest("kvm", ["kvm_guest.c"]), root / "guest.bin")
    call("gcc", *C, "-D_GNU_SOURCE", "-pthread", "-o", root / "bin/kvm_vmm", HERE / "kvm_vmm.c")
    call("sh", "-c", f"cd '{root}' && find . | cpio --quiet -o -H newc | gzip -1 >'{OUT}/initrd.gz'")
    image = iso.Image()
    image.load("linux", linux / f"boot/vmlinuz-{release}", "console=ttyS0 quiet nokaslr mitigations=off")
    image.load("initrd", OUT / "initrd.gz")
    return image


def xen_image():
    xen = OUT / "xen"
    packed = unpacked(XEN) / "boot" / f"{XEN.replace('hypervisor-', '')}.gz"
    xen.write_bytes(gzip.decompress(packed.read_bytes()))
    image = iso.Image()
    image.load("multiboot", xen, XEN_OPTIONS)
    image.load("module", guest("xen_guest", ["xen_guest.c", "xen_entry.S"]))
    return image


# --- measuring ------------------------------------------------------------------------------------------------

PEERS = {"kvm": (kvm_image, 512), "xen": (xen_image, 1024)}  # what makes the image; the machine's memory in MiB


def ticks_of(name):
    """{operation: ticks} of one peer. Raises NotHere."""
    # A machine of 50 MHz: Linux and Xen set their clocks by the TSC, and their ticks would eat up a slower one.
    image, megs = PEERS[name]
    where_to = machine.Machine(cpus=2, model=measure.MODEL, megs=megs, ips=50_000_000)
    if why := where_to.why_not():
        raise NotHere(why)
    said = []
    with folder.claim(f"peer-{name}") as where:
        image().write(where / "run.iso", bios_only=False)
        machine.run(where_to, where / "run.iso", where, TIMEOUT, said.append,
                    enough=lambda: any("PEER-" in line for line in said[-20:]))
    text = "\n".join(said)
    if "PEER-END" not in text:
        raise RuntimeError(f"{name}: no end within {TIMEOUT} s; the last lines:\n" + "\n".join(said[-5:]))
    return {operation: int(ticks) for operation, ticks in re.findall(r"\bROW (\w+) (\d+)\b", text)}


def fresh(old):
    """The rows of peers.csv with what is measured now, and how that differs."""
    measured, remarks = {}, []

    def one(name):
        try:
            measured[name] = ticks_of(name)
        except NotHere as why:
            remarks.append(f"SKIP {name}: {why}")
        except (RuntimeError, OSError) as error:
            remarks.append(f"FAIL {name}: {error}")

    threads = [threading.Thread(target=one, args=(name,)) for name in PEERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [dict(row) for row in old]
    for name, found in measured.items():
        for row in rows:
            was, now = row[name], found.get(row["operation"])
            if now is None and was:
                remarks.append(f"FAIL {name}: {row['operation']} is not measured any more")
            # With two CPUs Bochs's TSC goes in steps, so that a figure within one is the same figure.
            if not now or was and abs(now - int(was)) <= run.STEP:
                continue
            row[name] = str(now)
            if was and not int(was) / SAME <= now <= int(was) * SAME:
                remarks.append(f"{name}: {row['operation']}: {now} ticks, {was} in tests/bench/peers.csv")
    return rows, remarks


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        call("sh", "tests/tools/need.sh", "peers", error=NotHere)
        peers, remarks = fresh(tables.read_csv(tables.PEERS))
    except NotHere as why:
        peers, remarks = tables.read_csv(tables.PEERS), [f"SKIP peers: {why}"]
    rows, missing = run.measured([each for apic in measure.BACKENDS for each in measure.operations(apic)], "operations")
    table = tables.beside_peers(rows, peers)
    tables.write_all(table)
    run.print_operations(table)
    print("\n".join(remarks + missing + ["build/bench/peers.csv: " + ", ".join(PEERS) + " and Bellhop"]))
    return 1 if any(remark.startswith("FAIL") for remark in remarks) else 0


if __name__ == "__main__":
    sys.exit(main())
