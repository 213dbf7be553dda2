# SPDX-License-Identifier: MIT
"""`make bench`: what operations cost with each interrupt backend, beside the peers and the baseline, and whether the
cost grows with the ports.

Writes the tables and the picture in build/bench. `--baseline` makes the measured operations the new
tests/bench/baseline.csv. Status 1: an operation has become more than 5 % dearer, or the cost of a doorbell is not flat.
"""
import concurrent.futures
import functools
import shutil
import subprocess
import sys

from tests.bench import measure, tables, trace
from tests.bench.tables import HERE, OUT, read_csv, write_csv
from tests.emu import iso, machine
from tests.tools.report import FAILED, PASSED, SKIPPED, WORKERS, Result

BASELINE = HERE / "baseline.csv"
TESTED = ("soft", "vid", "posted")  # the backends in `make test`: `regs` shares its way with `soft`

DEARER = 1.05  # what makes a regression
STEP = 5       # with several CPUs Bochs's TSC goes by turns, and a median can fall on either side of one
# On Bochs 3.0 two VMs that ring each other fall into one of two steps for a whole run, 428 ticks or 532 with the same exits;
# anything that shifts their start, down to the size of a file, decides on it.
STEPS = {("posted", "doorbell_across"): 1.30}
FLAT = 1.10    # the dearest number of ports by the cheapest
COSTS = ("ring_ticks", "ring_exits", "upcall_ticks", "upcall_exits", "remote_ticks", "remote_exits")


# --- operations against the baseline --------------------------------------------------------------------------

@functools.cache
def tools(apic):
    """What the ticks depend on besides the sources: the compiler and the emulator."""
    gcc = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=False).stdout.strip()
    return f"gcc {gcc.split('.')[0]}, Bochs {machine.bochs(measure.BACKENDS[apic]).version}, {measure.MODEL}"


def baseline_tools():
    """The same of each backend, from the comments that the baseline begins with."""
    lines = BASELINE.read_text(encoding="utf-8").splitlines() if BASELINE.exists() else []
    return dict(line.lstrip("# ").split(": ", 1) for line in lines if line.startswith("#"))


def change(now, before):
    """Of the ticks: +0.05 is 5 % dearer."""
    return (int(now["ticks"]) - int(before["ticks"])) / max(int(before["ticks"]), 1)


def complaints(rows, apic, run):
    """What has become dearer than the baseline says, or is not in both, for the operations of one run."""
    before = {row["operation"]: row for row in read_csv(BASELINE) if (row["apic"], row["run"]) == (apic, run)}
    gone = before.keys() - {row["operation"] for row in rows}
    result = [f"{apic} {name}: not measured any more" for name in sorted(gone)]
    same_tools = baseline_tools().get(apic) == tools(apic)
    for row in rows:
        name, was = f"{apic} {row['operation']}", before.get(row["operation"])
        if not was:
            result.append(f"{name}: not in the baseline (make bench-baseline)")
            continue
        dearer = STEPS.get((apic, row["operation"]), DEARER)
        if same_tools and int(row["ticks"]) > max(dearer * int(was["ticks"]), int(was["ticks"]) + STEP):
            result.append(f"{name}: {row['ticks']} ticks, {was['ticks']} before")
        if float(row["exits"]) > DEARER * float(was["exits"]) + 0.01:
            result.append(f"{name}: {row['exits']} exits, {was['exits']} before")
    return result


def judge(run):
    """One run for `make test`."""
    name = f"bench {run.apic} {run.name}"
    try:
        rows = run.tables()["operations"]
    except measure.NotMeasured as why:
        return [Result(name, SKIPPED, str(why))]
    except (RuntimeError, FileNotFoundError) as error:
        return [Result(name, FAILED, str(error))]
    wrong = complaints(rows, run.apic, run.name)
    if wrong:
        return [Result(name, FAILED, f"dearer than tests/bench/baseline.csv by more than {DEARER - 1:.0%}",
                       "\n".join(wrong))]
    was = baseline_tools().get(run.apic)
    if was != tools(run.apic):
        return [Result(name, PASSED, f"{len(rows)} operations, exits only: the baseline is of {was}")]
    return [Result(name, PASSED, f"{len(rows)} operations, none dearer than the baseline")]


def jobs():
    """For `make test`: pairs of a name and what returns Results."""
    return [(f"bench {apic} {run.name}", functools.partial(judge, run))
            for apic in TESTED for run in measure.operations(apic)]


# --- operations beside the peers ------------------------------------------------------------------------------

def print_operations(rows):
    """One line for each operation; the change is the best backend's."""
    before = {(row["apic"], row["operation"]): row for row in read_csv(BASELINE)} if BASELINE.exists() else {}
    old_tools = baseline_tools()
    shown = [apic for apic in measure.BACKENDS if any(row["apic"] == apic for row in rows)]
    print(f"{'operation':<44}" + "".join(f"{apic:>7}{'exits':>7}" for apic in shown)
          + f"{'KVM':>7}{'Xen':>7}{'goal':>6} {'baseline':>9}")
    for least, group in zip(tables.best(rows), tables.grouped(rows).values()):
        ours = {row["apic"]: f"{row['ticks']:>7}{row['exits']:>7}" for row in group}
        was = before.get((least["apic"], least["operation"]))
        versus = f"{change(least, was):+.1%}" if was and old_tools[least["apic"]] == tools(least["apic"]) else "–"
        goal = f"{least['goal']:>6}{' ' if least['met'] == 'yes' else '!'}" if least.get("goal") else f"{'–':>6} "
        print(f"{least['title']:<44}" + "".join(ours.get(apic, f"{'–':>7}{'–':>7}") for apic in shown)
              + f"{least['kvm'] or '–':>7}{least['xen'] or '–':>7}{goal}{versus:>9}")
    print("Under each backend's name ticks, median, and exits of the whole VM; goal: a tenth of the better peer, or no\n"
          "exit where it has none (! not met by any backend); baseline: change of the best backend's ticks\n")


def draw(table, script):
    """The table as a picture beside it, where gnuplot is installed."""
    picture = table.with_suffix(".svg")
    if not shutil.which("gnuplot"):
        print("gnuplot is not installed: no picture")
        return
    subprocess.run(["gnuplot", "-e", f"table='{table}'; picture='{picture}'", str(script)], check=True,
                   stdin=subprocess.DEVNULL)


# --- ports ----------------------------------------------------------------------------------------------------

def not_flat(rows):
    """Where the cost depends on the number of ports: complaints, one for each column of a machine."""
    groups = {}
    for row in rows:
        groups.setdefault((row["vms"], row["vcpus"]), []).append(row)
    result = []
    for (vms, vcpus), group in groups.items():
        if len(group) < 4:
            result.append(f"{vms} VMs, {vcpus} VCPUs: {len(group)} numbers of ports only")
        for column in COSTS:
            values = [float(row[column]) for row in group]
            if max(values) > FLAT * min(values):
                result.append(f"{vms} VMs, {vcpus} VCPUs: {column} from {min(values):g} to {max(values):g}")
    return result


def print_ports(rows):
    print(f"{'VMs':>4}{'VCPUs':>6}{'ports/VCPU':>12}{'ring':>8}{'exits':>7}{'upcall':>9}{'exits':>7}"
          f"{'to another':>12}{'exits':>7}")
    for row in rows:
        there = row["vcpus"] != "1"
        print(f"{row['vms']:>4}{row['vcpus']:>6}{int(row['ports']):>12,}{row['ring_ticks']:>8}{row['ring_exits']:>7}"
              f"{row['upcall_ticks']:>9}{row['upcall_exits']:>7}"
              f"{row['remote_ticks'] if there else '–':>12}{row['remote_exits'] if there else '–':>7}")
    print("ring: the sender's hypercall; upcall: ring, interrupt and handler on one VCPU; to another: from the ring to\n"
          "the handler on another VCPU, which spins\n")


# --- all of it ------------------------------------------------------------------------------------------------

def measured(runs, table):
    """The rows of all runs, two machines at a time, in the order of the runs, and why what was not measured was not."""
    def one(run):
        try:
            return run.tables()[table], None
        except measure.NotMeasured as why:
            return [], f"{run.apic} {run.name}: not measured: {why}"

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        done = list(pool.map(one, runs))
    return [row for rows, _ in done for row in rows], [why for _, why in done if why]


def write_baseline(rows, missing):
    """All backends or none: a baseline without one of them would fail the tests of a machine that has it."""
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 1
    write_csv(BASELINE, tables.MEASURED, rows, "".join(f"# {apic}: {tools(apic)}\n" for apic in measure.BACKENDS))
    print(f"  CSV     {BASELINE.relative_to(iso.ROOT)}: {len(rows)} rows")
    return 0


def main():
    runs = [run for apic in measure.BACKENDS for run in measure.operations(apic)]
    try:
        rows, missing = measured(runs, "operations")
        if "--baseline" in sys.argv:
            return write_baseline(rows, missing)
        table = tables.beside_peers(rows, read_csv(tables.PEERS))
        ports, missing_ports = measured(measure.ports(), "ports")
        counts, missing_counts = trace.table()
    except (RuntimeError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(missing + missing_ports + missing_counts))
    if not rows or not ports:
        return 1
    tables.write_all(table)
    draw(OUT / "exits.csv", HERE / "exits.gp")
    print_operations(table)
    write_csv(OUT / "ports.csv", ("vms", "vcpus", "ports") + COSTS, ports)
    print_ports(ports)
    titles = {row["operation"]: row["title"] for row in table}
    write_csv(OUT / "trace.csv", trace.COLUMNS, [{**row, "title": titles[row["operation"]]} for row in counts])
    wrong = [f"not flat within {FLAT - 1:.0%}: {text}" for text in not_flat(ports)]
    if BASELINE.exists():
        for run in runs:
            if ours := [row for row in rows if (row["apic"], row["run"]) == (run.apic, run.name)]:
                wrong += [f"baseline: {text}" for text in complaints(ours, run.apic, run.name)]
    for text in wrong:
        print(text)
    print(f"build/bench/operations.csv: {len(table)} rows, build/bench/ports.csv: {len(ports)} rows, build/bench/trace.csv: {len(counts)} rows; "
          f"{len(wrong) or 'no'} complaint{'s' if len(wrong) != 1 else ''}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
