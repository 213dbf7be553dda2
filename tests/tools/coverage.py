# SPDX-License-Identifier: MIT
# Runs the unit tests' coverage builds and prints the lines and branches of kernel/vic that they reached.
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.tools import programs
from tests.tools.report import FAILED, WORKERS

ROOT = programs.ROOT
OBJECTS = ROOT / "build/cov"
LEAST = 95  # per cent of the branches of all files that the tests must reach


def gcov(source):
    """gcov's account of one source: its lines, each with its branches. None: no test links it."""
    notes = OBJECTS / f"{source}.gcno"
    if not notes.is_file():
        return None
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", str(notes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for file in json.loads(done.stdout)["files"]:
        if file["file"] == source:
            return file["lines"]
    return []


def counts(lines):
    """(lines reached, lines, branches reached, branches)"""
    branches = [branch["count"] > 0 for line in lines for branch in line["branches"]]
    return sum(line["count"] > 0 for line in lines), len(lines), sum(branches), len(branches)


def percent(part, whole):
    return f"{100 * part / whole:6.1f}" if whole else "     -"


def show(name, numbers):
    hit, lines, taken, branches = numbers
    print(f"{name:<32} {percent(hit, lines)} % of {lines:5}  {percent(taken, branches)} % of {branches:5}")


def main():
    for stale in OBJECTS.rglob("*.gcda"):
        stale.unlink()
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(lambda job: job[1](), programs.jobs("build/coverage"))
    failures = [result.name for found in results for result in found if result.status == FAILED]
    for name in failures:
        print(f"FAIL {name}")

    print(f"{'file':<32} {'lines':>17}  {'branches':>17}")
    total = [0, 0, 0, 0]
    for path in sorted((ROOT / "kernel/vic").glob("*.c")):
        source = str(path.relative_to(ROOT))
        lines = gcov(source)
        if lines is None:
            print(f"{source:<32}  no unit test lists it")
            failures.append(source)
            continue
        numbers = counts(lines)
        total = [a + b for a, b in zip(total, numbers)]
        show(source, numbers)
    show("all", total)
    if 100 * total[2] < LEAST * total[3]:
        print(f"FAIL less than {LEAST} % of the branches are reached")
        failures.append("branches")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
