# SPDX-License-Identifier: MIT
# Runs the scenarios of the manifests on their emulated machines, two at a time: those named, or all that
# are not long.
import fnmatch
import functools
import sys
import threading

from tests.emu import check, console, folder, machine, scenario
from tests.tools.report import FAILED, PASSED, SKIPPED, Report, Result


class Once:
    """Remembers the first value of each key; who asks for it meanwhile waits. Threads may share one."""

    def __init__(self):
        self._values = {}
        self._locks = {}
        self._lock = threading.Lock()

    def get(self, key, make):
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._values:
                self._values[key] = make()
            return self._values[key]


NATIVE = Once()       # (stub, its arguments, machine): what run_native() says, as it is the same for each backend
TRANSCRIPTS = Once()  # (section, VM): the name and the transcript of the first scenario that forces a backend


def run_virtual(item, where):
    """One run under Bellhop. Returns its console and its outcome."""
    seen = console.Console()
    item.image().write(where / "run.iso")

    def enough():
        return item.halts and item.refusal in seen.said

    return seen, machine.run(item.machine, where / "run.iso", where, item.timeout, seen.feed, enough=enough,
                             keys=item.script())


def run_native(item, where):
    """The same guest on the bare machine. Returns what is wrong, and its lines."""
    lines = []
    item.native_image().write(where / "native.iso")
    place = where / "native"
    place.mkdir(exist_ok=True)
    outcome = machine.run(item.machine, where / "native.iso", place, item.timeout, lines.append)
    if outcome.timed_out or outcome.fault:
        return [f"natively: {outcome.fault or f'no end after {item.timeout:.0f} s'}"], lines
    return [], lines


def backend_faults(item, seen):
    """Where the guests' transcripts differ from those of another backend. The first run of a section sets the measure."""
    faults = []
    for guest in item.guests:
        mine = (item.name, check.transcript(seen.guests.get(guest, [])))
        first = TRANSCRIPTS.get((item.section, guest), lambda mine=mine: mine)
        faults += check.differences(first[1], mine[1], first[0], item.name)
    return faults


def run_scenario(item):
    if why := item.why_not():
        return [Result(item.name, SKIPPED, why)]
    with folder.claim(item.name) as where:
        try:
            seen, outcome = run_virtual(item, where)
            faults = check.faults(item, seen, outcome)
            serial = (where / "serial").read_text(errors="replace") if (where / "serial").exists() else ""
            if item.native and not faults:
                guest = item.guests[0]
                key = (item.stub[guest], item.of("args", guest), str(item.machine))
                faults, lines = NATIVE.get(key, lambda: run_native(item, where))
                faults = faults or check.native_faults(item.stub[guest], seen.guests.get(guest, []), lines)
                serial = "\n".join(lines) if faults else serial
            if item.compared and not faults:
                faults = backend_faults(item, seen)
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            return [Result(item.name, FAILED, str(error))]
    if faults:
        return [Result(item.name, FAILED, "; ".join(faults), serial)]
    return [Result(item.name, PASSED, f"{told(item, seen)}, {outcome.seconds:.0f} s")]


def told(item, seen):
    """What a passed scenario shows: the guests' counts, or the refusal."""
    if item.refusal:
        return f"refused, \"{item.refusal}\""
    counts = [count for guest in item.summary for count in console.summaries(seen.guests.get(guest, []))]
    skipped = sum(count[3] for count in counts)
    return f"{sum(count[1] for count in counts)} checks" + (f" and {skipped} skipped" if skipped else "")


def jobs(patterns=(), only_long=False):
    """A pattern chooses long ones as well; without any, they are what `only_long` says."""
    def chosen(item):
        if patterns:
            return any(fnmatch.fnmatch(item.name, pattern) for pattern in patterns)
        return item.long == only_long

    return [(item.name, functools.partial(run_scenario, item)) for item in scenario.load() if chosen(item)]


def main():
    report = Report()
    report.run_all(jobs(sys.argv[1:]))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
