# SPDX-License-Identifier: MIT
"""`make stress`: the stress guest twice, as peers, over seeds, CPU counts and sets of routes.

Seeds are words of the command line; EVENTS (of all runs together) and CPUS are environment variables. A run is
repeated exactly by its seed, number of CPUs, set of routes and events: SEEDS="3" CPUS="2" EVENTS=...
"""
import functools
import os
import sys
import time

from tests.emu import check, console, folder, machine, run, scenario
from tests.tools.report import FAILED, PASSED, Report, Result

SEEDS = ("1", "2", "3", "4")
CPUS = "1 2 4 8"
EVENTS = 10_000_000
ROUTES = ("all", "exact")  # the latter: without those that may misdirect
COUNTS = ("events", "rings", "consumed", "misdirected", "lost", "doubled", "stuck")
SLOWEST = 100  # events a second


def item_of(seed, cpus, routes, events):
    """A scenario: two VMs, more VCPUs than CPUs, and a budget that one of the VMs reaches."""
    vcpus = min(max(cpus, 4), 8)
    args = f"seed={seed} events={-(-events // 2)} routes={routes}"
    zero = "lost, doubled, stuck" + (", misdirected" if routes == "exact" else "")
    keys = {"guests": "a:stress, b:stress", "vm.a": f"vcpus={vcpus} peers=b", "vm.b": f"vcpus={vcpus} peers=a budget=2",
            "args.a": args, "args.b": f"{args} role=connects", "table": "stress", "rows": "2", "zero": zero,
            "timeout": str(120 + events / SLOWEST)}
    return scenario.Scenario(f"stress-{routes}-{cpus}-{seed}", keys, machine.Machine(cpus=cpus, megs=256))


def rows_of(seen):
    """Both VMs' rows as dictionaries."""
    tables = (console.tables(lines).get("stress", [""]) for lines in seen.guests.values())
    return [dict(zip(head.split(","), row.split(","))) for head, *body in tables for row in body]


def run_one(item, place, table):
    """One run; its counts are added to table[place]."""
    start = time.monotonic()
    with folder.claim(item.name) as where:
        seen, outcome = run.run_virtual(item, where)
        faults = check.faults(item, seen, outcome)
        serial = (where / "serial").read_text(errors="replace")
    rows = rows_of(seen)
    sums = {name: sum(int(row[name]) for row in rows) for name in COUNTS}
    for name in COUNTS:
        table.setdefault(place, dict.fromkeys(COUNTS, 0))[name] += sums[name]
    total = sum(counts["events"] for counts in table.values())
    note = f"{sums['events']} events in {time.monotonic() - start:.0f} s; {total} so far"
    return [Result(item.name, FAILED if faults else PASSED, "; ".join(faults) or note, serial if faults else "")]


def print_table(table):
    print(f"\n{'routes':8}{'CPUs':>5}" + "".join(f"{name:>12}" for name in COUNTS))
    sums = dict.fromkeys(COUNTS, 0)
    for (routes, cpus), counts in sorted(table.items()):
        print(f"{routes:8}{cpus:5}" + "".join(f"{counts[name]:12}" for name in COUNTS))
        sums = {name: sums[name] + counts[name] for name in COUNTS}
    print(f"{'':8}{'':5}" + "".join(f"{sums[name]:12}" for name in COUNTS) + "\n")


def main():
    seeds = sys.argv[1:] or SEEDS
    cpus = [int(word) for word in (os.environ.get("CPUS") or CPUS).split()]
    places = [(seed, number, routes) for seed in seeds for number in cpus for routes in ROUTES]
    events = -(-int(os.environ.get("EVENTS") or EVENTS) // len(places))
    table, report = {}, Report()
    print(f"{len(places)} runs of {events} events, seeds {' '.join(seeds)}", flush=True)
    report.run_all([(f"stress-{routes}-{number}-{seed}",
                     functools.partial(run_one, item_of(seed, number, routes, events), (routes, number), table))
                    for seed, number, routes in places])
    print_table(table)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
