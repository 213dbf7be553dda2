# SPDX-License-Identifier: MIT
# `make debug`: the same machine, stopped before its first instruction, with our symbols at hand.
import subprocess
import sys

from tests.emu import folder, guest, iso, machine

BOCHS_HELP = """
Bochs stands at the BIOS's first instruction. Lines to type:
  lb "boot_main"   stop there          c           go on           s / n       one instruction (n: over calls)
  info cpu         registers           x /8gx ADDR memory          r           short registers
  set cpu 1        (SMP) another CPU   info tab    page tables     q           end
The serial line is in {serial}.
"""

GDB_HELP = """
QEMU waits for gdb, stopped before the first instruction. In another terminal:
  gdb build/bellhop.elf -ex 'target remote :1234' -ex 'hbreak boot_main' -ex continue
The serial line appears below; Ctrl-C ends it.
"""


def write_symbols(path):
    """Our symbols in the form that Bochs's debugger reads: an address and a name a line."""
    command = ["nm", "--defined-only", str(iso.HYPERVISOR)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    words = (line.split() for line in listed.stdout.splitlines())
    path.write_text("".join(f"{address} {name}\n" for address, kind, name in words if kind != "a"))


def debug_bochs(settings, where):
    symbols = where / "symbols"
    write_symbols(symbols)
    command = machine.bochs_command(settings.machine, where / "run.iso", where, f'ldsym global "{symbols}"\n')
    print(BOCHS_HELP.format(serial=where / "serial"), flush=True)
    return subprocess.run(command, check=False).returncode


def debug_qemu(settings, where):
    """The way into the hypervisor can be watched without VT-x as well: TCG will do where there is no KVM."""
    why = machine.why_not_kvm()
    if why:
        print(f"{why}: plain QEMU, which Bellhop will refuse at VMX")
        settings.machine.cpu = "qemu64"
    command = machine.qemu_command(settings.machine, where / "run.iso", where)
    command[command.index("-serial") + 1] = "stdio"
    print(GDB_HELP, flush=True)
    return subprocess.run([*command, "-s", "-S"], check=False).returncode


def main():
    settings = guest.Settings()
    if settings.machine.end == "bochs" and (problem := settings.problem()):
        print(problem, file=sys.stderr)
        return guest.NOT_STARTED
    with folder.claim(f"debug-{settings.name}") as where:
        settings.image().write(where / "run.iso")
        return (debug_bochs if settings.machine.end == "bochs" else debug_qemu)(settings, where)


if __name__ == "__main__":
    sys.exit(main())
