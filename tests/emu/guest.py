# SPDX-License-Identifier: MIT
"""`make run`: starts one guest under Bellhop and shows what it prints and how it ended.

The settings are environment variables, which is how make hands over what stands on its command line:
GUEST VM ARGS MODULE HV CPUS MODEL MEGS TIMEOUT EMU; `make help` explains them.

With GUEST=linux at a terminal, the terminal is the machine's serial line; Ctrl-] ends the run. Without one it ends with the
driver's table, which becomes build/run/linux.csv.

Status: 0 the VM ended itself with 0 (and no check of a Linux failed); 1 to 125 the value that it ended with; 124 no end within TIMEOUT;
126 Bellhop parked it; 127 it could not be started. (make itself turns each of those but 0 into its own 2.)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

from tests.emu import console, folder, iso, line, machine
from tests.linux import guest as linux, module

PLOTS = iso.ROOT / "tests/bench"

TIMED_OUT, PARKED, NOT_STARTED = 124, 126, 127


def note(text):
    print(text, file=sys.stderr, flush=True)


def setting(name, default):
    return os.environ.get(name) or default


class Settings:
    """The environment, with the defaults of the demonstration."""

    def __init__(self):
        self.guest = setting("GUEST", "pvdemo")
        self.path = iso.guest_file(self.guest)
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", pathlib.Path(self.guest).stem)[:15]
        self.linux = self.guest in linux.KERNELS
        self.vm = setting("VM", "vcpus=4" if self.guest == "pvdemo" else "vcpus=4 mem=256M" if self.linux else "")
        self.module = setting("MODULE", "")
        self.emu = setting("EMU", "bochs")
        self.keyboard = self.linux and self.emu == "bochs" and sys.stdin.isatty()
        self.args = setting("ARGS", "test=table" if self.linux and not self.keyboard else "")
        self.timeout = float(setting("TIMEOUT", "86400" if self.keyboard else "1200" if self.linux else "300"))
        # Linux trips over how Bochs delivers virtual interrupts: tests/linux/scenarios.ini.
        self.hv = setting("HV", "apic=soft" if self.linux and self.emu.startswith("bochs") else "")
        self.machine = machine.Machine(emu=self.emu, model=setting("MODEL", "corei7_skylake_x"),
                                       cpus=int(setting("CPUS", "4")),
                                       megs=int(setting("MEGS", "512")),
                                       ips=40_000_000 if self.linux else machine.Machine.ips)

    def problem(self):
        """Why this cannot be run. None: it can."""
        if self.emu not in machine.EMULATORS:
            return f"EMU={self.emu}: it is {', '.join(machine.EMULATORS[:-1])} or {machine.EMULATORS[-1]}"
        if not self.path:
            return f"GUEST={self.guest}: neither a guest of ours nor a file"
        if self.module and not pathlib.Path(self.module).is_file():
            return f"MODULE={self.module}: no such file"
        if why := self.machine.why_not():
            return f"EMU={self.emu}: {why}"
        return None

    def image(self):
        """Bellhop with the guest and its module. The VM's own name may be set with VM="name=…"."""
        named = re.search(r"(?:^|\s)name=(\S+)", self.vm)
        self.name = named[1] if named else self.name
        text = f"vm {self.vm}" if named else f"vm name={self.name} {self.vm}"
        if self.linux:
            modules = linux.modules(self.path, self.name, text, self.args)
        else:
            modules = [(self.path, f"{text} -- {self.args}" if self.args else text)]
        if self.module:
            modules.append((pathlib.Path(self.module).resolve(), f"module vm={self.name}"))
        return iso.Image().bellhop(f"end={self.machine.end} {self.hv}".strip(), modules)


class Progress:
    """Says on standard error that the run is still going while nothing else is said."""

    def __init__(self, every=10):
        self.every = every
        self.next = every

    def __call__(self, seconds):
        if seconds >= self.next:
            note(f"  ... {int(seconds)} s")
            self.next += self.every


def write_tables(lines):
    """The guest's tables as build/run/NAME.csv."""
    for name, rows in console.tables(lines).items():
        if re.fullmatch(r"[A-Za-z0-9_-]+", name):
            path = folder.RUN / f"{name}.csv"
            path.write_text("\n".join(rows) + "\n")
            note(f"  CSV     {path.relative_to(iso.ROOT)}: {len(rows) - 1} rows")
            draw(path)


def draw(table):
    """The table as a picture, where there is a tests/bench/NAME.gp and gnuplot to run it."""
    script, picture = PLOTS / f"{table.stem}.gp", table.with_suffix(".svg")
    if not script.exists() or not shutil.which("gnuplot"):
        return
    done = subprocess.run(["gnuplot", "-e", f"table='{table}'; picture='{picture}'", str(script)],
                          capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    note(f"  SVG     {picture.relative_to(iso.ROOT)}" if done.returncode == 0 else done.stderr.strip())


def status_of(seen, name, outcome):
    """The exit status, and the sentence that explains it."""
    end = seen.ends.get(name)
    if outcome.timed_out:
        return TIMED_OUT, f"no end after {outcome.seconds:.0f} s"
    if end is None:
        return NOT_STARTED, f"{name} did not run: {outcome.fault or (seen.said or ['nothing was said'])[-1]}"
    if value := re.match(r"ended: exit (\d+)", end):
        # A Linux switches itself off, whatever has failed in it.
        failed = sum(summary[2] for summary in console.summaries(seen.guests.get(name, [])))
        return min(int(value[1]) or failed, 125), f"{name}: {end}" + (f", {failed} checks failed" if failed else "")
    return PARKED, f"{name}: {end}"


def main():
    settings = Settings()
    if problem := settings.problem():
        note(problem)
        return NOT_STARTED
    image = settings.image()
    if settings.linux:
        (folder.RUN / "linux.csv").unlink(missing_ok=True)
    if settings.guest == "linux" and (why := module.why_not()):
        note(f"without the doorbell driver: {why}")

    def on_guest(vm, text):
        if not settings.keyboard and not console.tables([text]):
            print(text if vm == settings.name else f"{vm}| {text}", flush=True)

    with folder.claim(settings.name) as where:
        note(f"  ISO     {(where / 'run.iso').relative_to(iso.ROOT)}")
        image.write(where / "run.iso")
        note(f"  RUN     {settings.name} on {settings.machine}")
        if settings.keyboard:
            seen = console.Console()
            with line.Keyboard() as keys:
                outcome = machine.run(settings.machine, where / "run.iso", where, settings.timeout, seen.feed,
                                      enough=lambda: keys.ended, keys=keys)
        else:
            seen = console.Console(on_guest, note)
            outcome = machine.run(settings.machine, where / "run.iso", where, settings.timeout, seen.feed,
                                  on_wait=Progress())
        if outcome.fault:
            note(f"{outcome.fault} (see {where.relative_to(iso.ROOT)})")

    write_tables(seen.guests.get(settings.name, []))
    status, sentence = status_of(seen, settings.name, outcome)
    print(f"{sentence} ({outcome.seconds:.1f} s, status {status})", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
