# SPDX-License-Identifier: MIT
# Takes the serial console apart: the hypervisor's lines, and each guest's by its VM's prefix.
import re

HV_LINE = re.compile(r"^\[\s*\d+\.\d+\] (hv|guest|config):\s*(.*)$")
GUEST_LINE = re.compile(r"^([A-Za-z0-9_.-]{1,31})\| ?(.*)$")
VM_END = re.compile(r"^vm (\S+): ((?:ended: exit \d+|parked: ).*)$")
SUMMARY = re.compile(r"^SUMMARY (\S+) (\d+) passed, (\d+) failed, (\d+) skipped$")


class Console:
    """What was said so far. `on_guest(vm, text)` and `on_other(line)` are called line by line."""

    def __init__(self, on_guest=None, on_other=None):
        self.guests = {}       # VM: its lines
        self.ends = {}         # VM: how it ended, the hypervisor's words
        self.said = []         # the hypervisor's lines, "level: text"
        self.complete = False  # the hypervisor said that the run is over
        self._on_guest = on_guest or (lambda vm, text: None)
        self._on_other = on_other or (lambda line: None)

    def feed(self, line):
        if guest := GUEST_LINE.match(line):
            self.guests.setdefault(guest[1], []).append(guest[2])
            self._on_guest(guest[1], guest[2])
            return
        if own := HV_LINE.match(line):
            self.said.append(f"{own[1]}: {own[2]}")
            if end := VM_END.match(own[2]):
                self.ends[end[1]] = end[2]
            self.complete |= own[2] == "end of run"
        self._on_other(line)

    def feed_native(self, vm, line):
        """A line of a guest that has the machine for itself."""
        self.guests.setdefault(vm, []).append(line)
        self._on_guest(vm, line)


def summaries(lines):
    """The summary lines among a guest's: (name, passed, failed, skipped)."""
    found = (SUMMARY.match(line) for line in lines)
    return [(m[1], int(m[2]), int(m[3]), int(m[4])) for m in found if m]


def tables(lines):
    """The tables among a guest's lines: `CSV name row` gives {name: [row, …]}, the header first."""
    result = {}
    for line in lines:
        if line.startswith("CSV ") and line.count(" ") >= 2:
            _, name, row = line.split(" ", 2)
            result.setdefault(name, []).append(row)
    return result
