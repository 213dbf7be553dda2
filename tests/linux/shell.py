# SPDX-License-Identifier: MIT
# How long Linux takes to its shell, under Bellhop and on the bare emulator, in the emulator's ticks.
import functools
import re

from tests.emu import folder, machine, run, scenario
from tests.tools.report import FAILED, PASSED, SKIPPED, Result

TICKS_A_SECOND = 40_000_000
CPUS = (1, 2, 4)
MOST = 1.5  # times as long as on the bare machine
SHELL = re.compile(r"^# shell after (\S+) s of (\S+) MHz$")


def item_of(cpus):
    # The emulator's CPUID tells a wrong rate, so that the bare kernel is told the right one.
    keys = {"guests": "linux", "vm": f"vcpus={cpus} mem=160M",
            "args": f"test=boot vcpus={cpus} tsc_early_khz={TICKS_A_SECOND // 1000}", "timeout": "900"}
    return scenario.Scenario(f"linux-shell-{cpus}", keys,
                             machine.Machine(cpus=cpus, megs=256, ips=TICKS_A_SECOND))


def ticks(lines):
    """From the kernel's first line to the shell, in millions."""
    found = [SHELL.match(line) for line in lines]
    return next((float(m[1]) * float(m[2]) for m in found if m), None)


def run_one(cpus):
    item = item_of(cpus)
    if why := item.why_not():
        return [Result(item.name, SKIPPED, why)]
    with folder.claim(item.name) as where:
        seen, _ = run.run_virtual(item, where)
        _, bare = run.run_native(item, where)
    ours, theirs = ticks(seen.guests.get("linux", [])), ticks(bare)
    if ours is None or theirs is None:
        return [Result(item.name, FAILED, "no shell under Bellhop" if ours is None else "no shell on the bare machine")]
    note = f"{ours:.0f} million ticks to the shell, {theirs:.0f} million on the bare machine"
    return [Result(item.name, PASSED if ours <= MOST * theirs else FAILED, note)]


def jobs():
    return [(f"linux-shell-{cpus}", functools.partial(run_one, cpus)) for cpus in CPUS]
