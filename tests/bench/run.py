# SPDX-License-Identifier: MIT
"""`make bench`: what operations cost, beside the peers and the baseline, and whether the cost grows with the ports.

Writes build/bench/operations.csv and build/bench/ports.csv. `--baseline` makes the measured operations the new
tests/bench/baseline.csv. Status 1: an operation has become more than 5 % dearer, or the cost of a doorbell is not flat.
"""
import concurrent.futures
import csv
import functools
import re
import subprocess
import sys

from tests.bench import measure
from tests.emu import iso
from tests.tools.report import FAILED, PASSED, SKIPPED, WORKERS, Result

HERE = iso.ROOT / "tests/bench"
OUT = iso.ROOT / "build/bench"
BASELINE = HERE / "baseline.csv"
OPERATIONS = ("operation", "title", "kind", "ticks", "exits", "kvm", "xen", "of_better", "goal", "met")

DEARER = 1.05  # what makes a regression
STEP = 5       # with several CPUs Bochs's TSC goes by turns, and a median can fall on either side of one
FLAT = 1.10    # the dearest number of ports by the cheapest
COSTS = ("ring_ticks", "ring_exits", "upcall_ticks", "upcall_exits", "remote_ticks", "remote_exits")
NO_EXIT = 100  # ticks of a peer below which it had none: then ours is to have none either


# --- tables ---------------------------------------------------------------------------------------------------

def read_csv(path):
    """The rows of a CSV file whose comments begin with #."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def write_csv(path, columns, rows, comment=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(comment)
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def tools():
    """What the ticks depend on besides the sources: the compiler and the emulator."""
    gcc = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=False).stdout.strip()
    said = subprocess.run(["bochs", "--help"], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    bochs = re.search(r"Bochs x86 Emulator ([\d.]+)", said.stdout + said.stderr)
    return f"gcc {gcc.split('.')[0]}, Bochs {bochs[1].rstrip('.') if bochs else '?'}, {measure.MODEL}"


# --- operations against the baseline --------------------------------------------------------------------------

def change(now, before):
    """Of the ticks: +0.05 is 5 % dearer."""
    return (int(now["ticks"]) - int(before["ticks"])) / max(int(before["ticks"]), 1)


def complaints(rows, run):
    """What has become dearer than the baseline says, or is not in both, for the operations of one run."""
    before = {row["operation"]: row for row in read_csv(BASELINE) if row["run"] == run}
    result = [f"{name}: not measured any more" for name in before.keys() - {row["operation"] for row in rows}]
    same_tools = baseline_tools() == tools()
    for row in rows:
        name, was = row["operation"], before.get(row["operation"])
        if not was:
            result.append(f"{name}: not in the baseline (make bench-baseline)")
            continue
        if same_tools and int(row["ticks"]) > max(DEARER * int(was["ticks"]), int(was["ticks"]) + STEP):
            result.append(f"{name}: {row['ticks']} ticks, {was['ticks']} before")
        if float(row["exits"]) > DEARER * float(was["exits"]) + 0.01:
            result.append(f"{name}: {row['exits']} exits, {was['exits']} before")
    return result


def baseline_tools():
    return BASELINE.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def judge(run):
    """One run for `make test`."""
    name = f"bench {run.name}"
    try:
        rows = run.tables()["operations"]
    except measure.NotMeasured as why:
        return [Result(name, SKIPPED, str(why))]
    except (RuntimeError, FileNotFoundError) as error:
        return [Result(name, FAILED, str(error))]
    wrong = complaints(rows, run.name)
    if wrong:
        return [Result(name, FAILED, f"dearer than tests/bench/baseline.csv by more than {DEARER - 1:.0%}",
                       "\n".join(wrong))]
    if baseline_tools() != tools():
        return [Result(name, PASSED, f"{len(rows)} operations, exits only: the baseline is of {baseline_tools()}")]
    return [Result(name, PASSED, f"{len(rows)} operations, none dearer than the baseline")]


def jobs():
    """For `make test`: pairs of a name and what returns Results."""
    return [(f"bench {run.name}", functools.partial(judge, run)) for run in measure.operations()]


# --- operations beside the peers ------------------------------------------------------------------------------

def beside_peers(measured):
    """Rows of operations.csv, in the order of peers.csv."""
    found = {row["operation"]: row for row in measured}
    result = []
    for peer in read_csv(HERE / "peers.csv"):
        if peer["operation"] not in found:
            continue
        row = {**peer, **found.pop(peer["operation"])}
        better = min((int(row[name]) for name in ("kvm", "xen") if row[name]), default=0)
        if better:
            goal = better if better < NO_EXIT else better // 10
            row["goal"] = goal
            row["of_better"] = f"{int(row['ticks']) / better:.3f}"
            row["met"] = "yes" if int(row["ticks"]) <= goal else "no"
        result.append(row)
    if found:
        raise RuntimeError(f"not in tests/bench/peers.csv: {', '.join(found)}")
    return result


def print_operations(rows):
    before = {row["operation"]: row for row in read_csv(BASELINE)} if BASELINE.exists() else {}
    same_tools = bool(before) and baseline_tools() == tools()
    print(f"{'operation':<38}{'ticks':>7}{'exits':>7}{'KVM':>8}{'Xen':>8}{'of better':>11}{'goal':>6}"
          f"{'baseline':>10}")
    for row in rows:
        share = f"{float(row['of_better']):.1%}" if row.get("of_better") else "–"
        was = before.get(row["operation"])
        versus = f"{change(row, was):+.1%}" if was and same_tools else "–"
        goal = f"{row['goal']}{' ' if row['met'] == 'yes' else '!'}" if row.get("goal") else "– "
        print(f"{row['title']:<38}{row['ticks']:>7}{row['exits']:>7}{row['kvm'] or '–':>8}{row['xen'] or '–':>8}"
              f"{share:>11}{goal:>7}{versus:>9}")
    print("ticks: TSC ticks, median; exits: of the whole VM; goal: a tenth of the better peer, or no exit where it\n"
          "has none (! not met); baseline: change of the ticks\n")


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
    """The rows of all runs, two machines at a time, in the order of the runs; each row knows its run."""
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        tables = list(pool.map(lambda run: run.tables()[table], runs))
    return [{"run": run.name, **row} for run, rows in zip(runs, tables) for row in rows]


def main():
    try:
        rows = measured(measure.operations(), "operations")
        if "--baseline" in sys.argv:
            write_csv(BASELINE, ("run", "operation", "ticks", "exits"), rows, f"# {tools()}\n")
            print(f"  CSV     {BASELINE.relative_to(iso.ROOT)}: {len(rows)} rows")
            return 0
        table = beside_peers(rows)
        write_csv(OUT / "operations.csv", OPERATIONS, table)
        print_operations(table)
        ports = measured(measure.ports(), "ports")
        write_csv(OUT / "ports.csv", ("vms", "vcpus", "ports") + COSTS, ports)
        print_ports(ports)
    except measure.NotMeasured as why:
        print(f"not measured: {why}", file=sys.stderr)
        return 1
    except (RuntimeError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    wrong = [f"not flat within {FLAT - 1:.0%}: {text}" for text in not_flat(ports)]
    if BASELINE.exists():
        for run in measure.operations():
            wrong += [f"baseline: {text}" for text in complaints([r for r in rows if r["run"] == run.name], run.name)]
    for text in wrong:
        print(text)
    print(f"build/bench/operations.csv: {len(table)} rows, build/bench/ports.csv: {len(ports)} rows; "
          f"{len(wrong) or 'no'} complaint{'s' if len(wrong) != 1 else ''}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
