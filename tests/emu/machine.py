# SPDX-License-Identifier: MIT
# Runs an ISO on an emulated machine and hands its serial lines over as they come.
import dataclasses
import functools
import os
import pathlib
import re
import shutil
import subprocess
import time

from tests.emu import line

EMULATORS = ("bochs", "bochs3", "qemu")
BOCHS3 = pathlib.Path(__file__).resolve().parents[1] / "tools/bochs3.sh"
BOCHS3_MODELS = ("sapphire_rapids", "arrow_lake")

# sync=none and a low ips do not slow anything down: ips is how many instructions an emulated second has, so
# that the delays of BIOS and GRUB pass soon. The display is a VNC port that nobody needs to connect to: with
# the others every HLT of a guest sleeps on the host.
BOCHSRC = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model={model}, count={cpus}, {turns}ips={ips}, reset_on_triple_fault=0
clock: sync=none, time0=1700000000
memory: guest={megs}, host={megs}
romimage: file={bios}
vgaromimage: file={vga}
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="{iso}", status=inserted
boot: cdrom
com1: enabled=1, mode={mode}, dev="{serial}"
log: "{log}"
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
"""


@dataclasses.dataclass
class Machine:
    """What is emulated. `cpu` is QEMU's -cpu value where there is no VT-x to ask for (TCG); `ips` is how many
    instructions an emulated second has on Bochs.

    `bochs` is the machine's own; `bochs3` is 3.0, also taken for a model that no older one has.
    """

    emu: str = "bochs"
    cpus: int = 4
    model: str = "corei7_skylake_x"
    megs: int = 512
    cpu: str = ""
    ips: int = 4_000_000  # of Bochs: instructions that an emulated second has

    def __post_init__(self):
        if self.emu == "bochs" and self.model in BOCHS3_MODELS:
            self.emu = "bochs3"

    def __str__(self):
        if self.end == "bochs":
            return f"{'Bochs 3.0' if self.emu == 'bochs3' else 'Bochs'}, {self.model}, {self.cpus} CPUs, {self.megs} MiB"
        return f"QEMU, {self.cpu or 'KVM with VT-x'}, {self.cpus} CPUs, {self.megs} MiB"

    @property
    def end(self):
        """How the machine is told that it is over: the value of Bellhop's `end=`."""
        return "qemu" if self.emu == "qemu" else "bochs"

    def why_not(self):
        """Why this machine cannot be emulated here, in a few words. None: it can."""
        if self.end == "bochs":
            return bochs(self.emu).why_not or bochs(self.emu).why_no_model(self.model)
        if not shutil.which("qemu-system-x86_64"):
            return "qemu-system-x86_64 is not installed"
        return None if self.cpu else why_not_kvm()


@dataclasses.dataclass
class Bochs:
    """A Bochs: its command and the folder of its BIOSes, or why there is none."""

    command: str = ""
    share: pathlib.Path = pathlib.Path()
    why_not: str = ""

    @functools.cached_property
    def help(self):
        """What it says of its CPU models, and its version."""
        said = subprocess.run([self.command, "-help", "cpu"], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL)
        return said.stdout + said.stderr

    @property
    def version(self):
        found = re.search(r"Bochs x86 Emulator ([\d.]+)", "" if self.why_not else self.help)
        return found[1].rstrip(".") if found else "?"

    def why_no_model(self, model):
        if not re.search(rf"^\s*{re.escape(model)}\b", self.help, re.M):
            return f"this Bochs has no CPU model {model}"
        return None


@functools.cache
def bochs(emu):
    """The Bochs of that name in EMULATORS; 3.0 is fetched where it is missing and can be had."""
    if emu == "bochs3":
        found = subprocess.run(["sh", str(BOCHS3)], capture_output=True, text=True, check=False,
                               stdin=subprocess.DEVNULL)
        if found.returncode != 0:
            return Bochs(why_not=(found.stderr.strip().splitlines() or ["no Bochs 3.0"])[-1])
        command, share = found.stdout.splitlines()
        return Bochs(command, pathlib.Path(share))
    if not shutil.which("bochs"):
        return Bochs(why_not="bochs is not installed")
    return Bochs("bochs", pathlib.Path(os.environ.get("BXSHARE", "/usr/share/bochs")))


def why_not_kvm():
    """Why QEMU cannot give a guest VT-x here. None: it can."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "there is no usable /dev/kvm, and without KVM QEMU emulates no VT-x"
    if not re.search(r"^flags\s*:.*\bvmx\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M):
        return "this machine's CPU offers no VT-x (no vmx in /proc/cpuinfo)"
    nested = pathlib.Path("/sys/module/kvm_intel/parameters/nested")
    if not nested.exists() or nested.read_text().strip() not in ("1", "Y"):
        return "KVM does not offer nested VT-x (kvm_intel.nested is off)"
    return None


def bochs_command(machine, iso, folder, debugger_script, terminal=None):
    """Debian's Bochs has the debugger built in and starts stopped; the script says what it does then."""
    emulator = bochs(machine.emu)
    # The name of the VGA BIOS differs between versions.
    bios, vga = emulator.share / "BIOS-bochs-latest", emulator.share / "VGABIOS-lgpl-latest"
    vga = vga if vga.exists() else vga.with_suffix(".bin")
    # Makes a tick an instruction on 3.0, as it is on 2.7: there a CPU's turn ends with its basic block, and a CPU
    # that halts counts the whole quantum all the same.
    turns = "" if emulator.version.startswith("2.") else "quantum=1, "
    rc = folder / "bochsrc"
    rc.write_text(BOCHSRC.format(model=machine.model, cpus=machine.cpus, turns=turns, ips=machine.ips, megs=machine.megs,
                                 iso=iso, bios=bios, vga=vga, mode="term" if terminal else "file",
                                 serial=terminal or folder / "serial", log=folder / "bochs.log"))
    script = folder / "debugger"
    script.write_text(debugger_script)
    return [emulator.command, "-q", "-f", str(rc), "-rc", str(script)]


def qemu_command(machine, iso, folder):
    """KVM where `cpu` is empty, TCG with that CPU otherwise."""
    accel = ["-accel", "tcg", "-cpu", machine.cpu] if machine.cpu else ["-accel", "kvm", "-cpu", "host,+vmx"]
    return ["qemu-system-x86_64", *accel, "-smp", str(machine.cpus), "-m", str(machine.megs),
            "-cdrom", str(iso), "-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none",
            "-serial", f"file:{folder / 'serial'}", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]


class Tail:
    """The lines of a growing file."""

    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.rest = b""

    def lines(self, at_end=False):
        if self.path.exists():
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read()
            self.offset += len(data)
            self.rest += data
        *whole, self.rest = self.rest.split(b"\n")
        if at_end and self.rest:
            whole.append(self.rest)
            self.rest = b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in whole]


@dataclasses.dataclass
class Outcome:
    """How a run of the machine ended; `fault` is the emulator's own last word where it did not end well."""

    seconds: float
    timed_out: bool
    fault: str = ""


def run(machine, iso, folder, timeout, on_line, on_wait=None, enough=None, keys=None):
    """Runs until the machine ends itself, `timeout` seconds passed or `enough()` says so.

    `on_wait(seconds)` is called all the time. `keys(text)` is called with the serial output so far and returns bytes to
    type (Bochs only).
    """
    serial = folder / "serial"
    for name in ("serial", "bochs.log", "emulator.out"):
        (folder / name).unlink(missing_ok=True)
    terminal = line.Line(serial) if keys else None
    if machine.end == "bochs":
        command = bochs_command(machine, iso, folder, "c\n", terminal and terminal.path)
    else:
        command = qemu_command(machine, iso, folder)

    tail = Tail(serial)
    start = time.monotonic()
    timed_out = stopped = False
    with open(folder / "emulator.out", "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                if terminal:
                    terminal.type(keys(terminal.seen))
                for text in tail.lines():
                    on_line(text)
                passed = time.monotonic() - start
                if on_wait:
                    on_wait(passed)
                timed_out = passed > timeout
                stopped = bool(enough and enough())
                if timed_out or stopped:
                    break
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if terminal:
                terminal.close()
    for text in tail.lines(at_end=True):
        on_line(text)
    fault = "" if timed_out or stopped else fault_of(machine, process, folder)
    return Outcome(time.monotonic() - start, timed_out, fault)


def fault_of(machine, process, folder):
    """Why the emulator stopped, unless the machine asked for it."""
    if machine.end == "bochs":
        log = folder / "bochs.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        panics = re.findall(r">>PANIC<< (.*)", text) + re.findall(r"^\d+p\[.*?\] (.*)", text, re.M)
        if any(re.search("Shutdown port|shutdown requested|soft power off", panic) for panic in panics):
            return ""
        said = panics[-1] if panics else (folder / "emulator.out").read_text(errors="replace").strip()[-300:]
        return f"Bochs stopped: {said}"
    # isa-debug-exit ends QEMU with an odd status; 0 is a reset or power-off (-no-reboot).
    if process.returncode % 2 == 1 and process.returncode > 0:
        output = (folder / "emulator.out").read_text(errors="replace").strip()
        return f"QEMU: {output[-300:]}" if output else ""
    return f"QEMU ended with status {process.returncode}"
