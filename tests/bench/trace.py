# SPDX-License-Identifier: MIT
"""What Bellhop executes for one operation, counted in a trace of the emulated machine.

Bochs's debugger stops at the marks that the benchmark guest leaves around one more run of each operation, and traces every
CPU from one to the next. Debian's Bochs 2.7 has that debugger, 3.0 has not: so `posted` is not counted.
"""
import re
import subprocess

from tests.bench import measure
from tests.emu import console, folder, iso, machine

BACKENDS = ("soft", "vid")
COUNTS = ("exits", "instructions", "vmreads", "vmwrites", "locked", "msrs")
COLUMNS = ("operation", "title") + tuple(f"{apic}_{kind}" for apic in BACKENDS for kind in COUNTS)
MARKS = 200  # more than there are
PARTIAL = ("edge_eoi", "level_eoi")  # their rows are of a part of what is traced
LINE = re.compile(r"\(\d+\)\.\[\d+\] \[0x([0-9a-f]+)\] \S+ \(.*?\): (.*?)\s+;")
KINDS = {"vmreads": r"vmread\b", "vmwrites": r"vmwrite\b", "locked": r"lock |xchg .*\[", "msrs": r"(rd|wr)msr\b"}


def script(cpus):
    """The debugger's lines: from every second mark to the next, all CPUs are traced."""
    def tracing(state):
        return "".join(f"set $cpu={cpu}\ntrace {state}\n" for cpu in reversed(range(cpus)))
    return (f"c\n{tracing('on')}c\n{tracing('off')}" * (MARKS // 2)) + "c\n"


def hypervisor():
    """The addresses of its code, and that of its exits."""
    listed = subprocess.run(["nm", "--defined-only", str(iso.HYPERVISOR)], capture_output=True, text=True, check=True)
    found = {name: int(address, 16) for address, _, name in (line.split() for line in listed.stdout.splitlines())}
    return range(found["image_start"], found["image_text_end"]), found["vmx_exit_entry"]


def count(lines):
    """One operation's trace as counts."""
    code, exit_entry = hypervisor()
    result = dict.fromkeys(COUNTS, 0)
    for line in lines:
        found = LINE.match(line)
        if not found or (address := int(found[1], 16)) not in code:
            continue
        result["instructions"] += 1
        result["exits"] += address == exit_entry
        for kind, pattern in KINDS.items():
            result[kind] += bool(re.match(pattern, found[2]))
    return result


def traced(apic):
    """One row for each operation of the guest's part `operations`, in its order."""
    run = measure.operations(apic)[0]
    where_to = machine.Machine(emu=measure.BACKENDS[apic], cpus=run.cpus, model=measure.MODEL, ips=run.ips)
    if why := where_to.why_not():
        raise measure.NotMeasured(why)
    with folder.claim(f"trace-{apic}") as where:
        iso.Image().bellhop(f"end=bochs apic={apic}", run.modules()).write(where / "run.iso")
        command = machine.bochs_command(where_to, where / "run.iso", where, script(run.cpus))
        with open(where / "bochsrc", "a", encoding="ascii") as rc:
            rc.write("magic_break: enabled=1\n")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=run.timeout, check=False)
        seen = console.Console()
        for line in (where / "serial").read_text(errors="replace").splitlines():
            seen.feed(line)
    names = [row.split(",")[0] for row in console.tables(seen.guests[measure.GUEST])["operations"][1:]]
    parts = done.stdout.split("Magic breakpoint")[1::2]
    if len(parts) != 3 * len(names):
        raise RuntimeError(f"trace {apic}: {len(parts)} traces of {len(names)} operations")
    return [{"operation": name, **count(part.splitlines())}
            for name, part in zip(names, parts[2::3]) if name not in PARTIAL]


def table():
    """One row for each operation that has an exit, a backend's counts as columns; and why what is not counted is not."""
    rows, missing = {}, []
    for apic in BACKENDS:
        try:
            for row in traced(apic):
                counts = {f"{apic}_{kind}": row[kind] for kind in COUNTS}
                rows.setdefault(row["operation"], {"operation": row["operation"]}).update(counts)
        except measure.NotMeasured as why:
            missing.append(f"{apic} trace: not counted: {why}")
    return [row for row in rows.values() if any(row[f"{apic}_exits"] for apic in BACKENDS)], missing
