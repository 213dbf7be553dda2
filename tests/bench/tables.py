# SPDX-License-Identifier: MIT
# What was measured as tables: every backend's operations beside the peers', by backend in columns, and the best of each.
import csv

from tests.bench import measure
from tests.emu import iso

HERE = iso.ROOT / "tests/bench"
OUT = iso.ROOT / "build/bench"
PEERS = HERE / "peers.csv"

MEASURED = ("apic", "run", "operation", "ticks", "exits")
OPERATIONS = ("apic", "operation", "title", "kind", "events", "ticks", "exits", "kvm", "xen", "of_better", "goal", "met")
WIDE = ("operation", "title", *measure.BACKENDS)
TICKS = WIDE + ("kvm", "xen", "goal", "met")
BEST = ("operation", "title", "kind", "kvm", "xen", "bellhop", "exits", "apic", "of_better", "goal", "met")
NO_EXIT = 100  # ticks of a peer below which it had none: then ours is to have none either


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


def goal_of(peer):
    """The better peer's ticks and what ours may be; None: no peer was measured, or it is no cost but a timer's aim."""
    if peer["kind"] == "late":
        return None
    better = min((int(peer[name]) for name in ("kvm", "xen") if peer[name]), default=0)
    return (better, better if better < NO_EXIT else better // 10) if better else None


def beside_peers(measured, peers):
    """Rows of operations.csv: in the order of `peers`, then of the backends."""
    found = {(row["operation"], row["apic"]): row for row in measured}
    result = []
    for peer in peers:
        for apic in measure.BACKENDS:
            if not (ours := found.pop((peer["operation"], apic), None)):
                continue
            row = {**peer, **ours}
            if goal := goal_of(peer):
                row["of_better"] = f"{int(row['ticks']) / goal[0]:.3f}"
                row["goal"] = goal[1]
                row["met"] = "yes" if int(row["ticks"]) <= goal[1] else "no"
            result.append(row)
    if found:
        raise RuntimeError(f"not in tests/bench/peers.csv: {', '.join(sorted({name for name, _ in found}))}")
    return result


def grouped(rows):
    """The rows of each operation, by its name."""
    result = {}
    for row in rows:
        result.setdefault(row["operation"], []).append(row)
    return result


def best(rows):
    """Each operation by the backend with the fewest ticks, of those the one with the fewest exits."""
    chosen = [min(group, key=lambda row: (int(row["ticks"]), float(row["exits"]))) for group in grouped(rows).values()]
    return [{**row, "bellhop": row["ticks"]} for row in chosen]


def wide(rows, value):
    """One row for each operation, `value(row)` in a column for each backend; the rest is the best one's."""
    return [{**least, **{row["apic"]: value(row) for row in group}}
            for least, group in zip(best(rows), grouped(rows).values())]


def exits_per_event(row):
    """A broadcast is as many events as it has receivers, a batch as it has doorbells."""
    return f"{float(row['exits']) / int(row['events']):.2f}"


def write_all(rows):
    """The tables in build/bench from the rows of beside_peers()."""
    write_csv(OUT / "operations.csv", OPERATIONS, rows)
    write_csv(OUT / "ticks.csv", TICKS, wide(rows, lambda row: row["ticks"]))
    write_csv(OUT / "exits.csv", WIDE, [row for row in wide(rows, exits_per_event) if row["operation"] != "nothing"])
    write_csv(OUT / "peers.csv", BEST, [row for row in best(rows) if row["kvm"] or row["xen"]])
