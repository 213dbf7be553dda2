#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Writes the tables of README.md, docs/routing.md, docs/linux.md and docs/performance.md from the CSV files that `make run`,
# `make run GUEST=linux`, `make bench` and `make peers` left, so that no figure there is typed by hand. The pictures that they
# drew are copied into docs.
import csv
import pathlib
import re
import shutil
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]

# Columns of the CSV, and what they are called in the text.
ROUTES = {
    "route": "route", "manner": "manner", "rung": "rung", "consumed": "consumed", "coalesced": "coalesced",
    "stranded": "stranded", "misdirected": "misdirected", "lost": "lost", "doubled": "doubled",
    "share0": "VCPU 0", "share1": "VCPU 1", "share2": "VCPU 2", "share3": "VCPU 3",
    "exits_per_event": "exits/event", "hv_ticks_per_event": "ticks/event",
}
KEPT = {column: ROUTES[column] for column in (
    "route", "manner", "consumed", "coalesced", "stranded", "misdirected", "lost", "doubled", "exits_per_event")}
LINUX = {column: title.replace("VCPU", "CPU").replace("manner", "look") for column, title in ROUTES.items()}
BACKENDS = {"soft": "`soft`", "regs": "`regs`", "vid": "`vid`", "posted": "`posted`"}
TICKS = {"title": "operation", **BACKENDS, "kvm": "KVM", "xen": "Xen", "goal": "goal", "met": "met"}
EXITS = {"title": "operation", **BACKENDS}
PEERS = {
    "title": "operation", "kvm": "KVM", "xen": "Xen", "bellhop": "Bellhop", "apic": "backend", "goal": "goal", "met": "met",
}
TRACE = {"title": "operation", **{f"{apic}_{kind}": f"{name}" for apic in ("soft", "vid") for kind, name in (
    ("exits", f"`{apic}`: exits"), ("instructions", "instructions"), ("vmreads", "VMREAD"), ("vmwrites", "VMWRITE"),
    ("locked", "locked"), ("msrs", "MSRs"))}}
PORTS = {
    "vms": "VMs", "vcpus": "VCPUs", "ports": "ports/VCPU", "ring_ticks": "ring", "ring_exits": "exits",
    "upcall_ticks": "ring and upcall", "upcall_exits": "exits", "remote_ticks": "to another VCPU",
    "remote_exits": "exits",
}
WORDS = ("route", "manner", "title", "met", "apic")

# Table: its file, columns, the text that it belongs in, and which of its rows.
TABLES = {
    "routes": ("build/run/routes.csv", ROUTES, "README.md", lambda row: True),
    "kept": ("build/run/routes.csv", KEPT, "docs/routing.md", lambda row: True),
    "linux": ("build/run/linux.csv", LINUX, "docs/linux.md", lambda row: True),
    "peers": ("build/bench/peers.csv", PEERS, "README.md", lambda row: True),
    "ticks": ("build/bench/ticks.csv", TICKS, "docs/performance.md", lambda row: True),
    "exits": ("build/bench/exits.csv", EXITS, "docs/performance.md", lambda row: True),
    "trace": ("build/bench/trace.csv", TRACE, "docs/performance.md", lambda row: True),
    "ports": ("build/bench/ports.csv", PORTS, "docs/performance.md", lambda row: row["vms"] in ("1", "8")),
}
PICTURES = {"build/run/saturation.svg": "run", "build/bench/exits.svg": "bench"}  # and what draws them


def cell(column, value, row):
    if column in ("route", "manner", "apic"):
        return f"`{value}`"
    if column.startswith("remote") and row["vcpus"] == "1":
        return "–"
    if value in ("", "-"):
        return "–"
    if column.startswith("share"):
        return f"{float(value):.0f} %"
    if value and value.isdigit():
        return f"{int(value):,}"
    return value or "–"


def markdown(path, columns, wanted):
    lines = ["| " + " | ".join(columns.values()) + " |",
             "|" + "|".join("---" if c in WORDS else "--:" for c in columns) + "|"]
    with open(path, newline="", encoding="utf-8") as file:
        for row in filter(wanted, csv.DictReader(file)):
            lines.append("| " + " | ".join(cell(c, row[c], row) for c in columns) + " |")
    return "\n".join(lines)


def write(name, source, columns, document, wanted):
    """Puts one table between its marks. Returns what is wrong, or nothing."""
    if not (TOP / source).exists():
        return f"{source} is not there: `make {'run GUEST=linux' if 'linux' in source else 'run' if 'run' in source else 'bench'}` writes it"
    text = (TOP / document).read_text(encoding="utf-8")
    table = markdown(TOP / source, columns, wanted)
    pattern = re.compile(rf"(<!-- {name}:[^\n]*-->\n).*?(<!-- end of {name} -->)", re.S)
    text, found = pattern.subn(lambda m: m[1] + table + "\n" + m[2], text)
    if found != 1:
        return f"{document} has no place for the table of {name}"
    (TOP / document).write_text(text, encoding="utf-8")
    print(f"  README  {document}: table of {name}")
    return None


def main():
    wrong = [write(name, *table) for name, table in TABLES.items()]
    for picture, target in PICTURES.items():
        if (TOP / picture).exists():
            shutil.copy(TOP / picture, TOP / "docs")
            print(f"  README  docs/{pathlib.Path(picture).name}")
        else:
            wrong.append(f"{picture} is not there: `make {target}` draws it where gnuplot is installed")
    wrong = [text for text in wrong if text]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
