# SPDX-License-Identifier: MIT
# Runs the scenarios of scenarios.ini on their emulated machines, two at a time.
import fnmatch
import functools
import sys

from tests.emu import check, console, folder, machine, scenario
from tests.tools.report import FAILED, PASSED, SKIPPED, Report, Result


def run_virtual(item, where):
    """One run under Bellhop. Returns its console and its outcome."""
    seen = console.Console()
    item.image().write(where / "run.iso")

    def enough():
        return item.halts and item.refusal in seen.said

    return seen, machine.run(item.machine, where / "run.iso", where, item.timeout, seen.feed, enough=enough)


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


def run_scenario(item):
    if why := item.machine.why_not():
        return [Result(item.name, SKIPPED, why)]
    with folder.claim(item.name) as where:
        try:
            seen, outcome = run_virtual(item, where)
            faults = check.faults(item, seen, outcome)
            serial = (where / "serial").read_text(errors="replace") if (where / "serial").exists() else ""
            if item.native and not faults:
                guest = item.guests[0]
                faults, lines = run_native(item, where)
                faults = faults or check.native_faults(item.stub[guest], seen.guests.get(guest, []), lines)
                serial = "\n".join(lines) if faults else serial
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


def jobs(patterns=("*",)):
    def chosen(item):
        return any(fnmatch.fnmatch(item.name, pattern) for pattern in patterns)

    return [(item.name, functools.partial(run_scenario, item)) for item in scenario.load() if chosen(item)]


def main():
    report = Report()
    report.run_all(jobs(sys.argv[1:] or ["*"]))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
