# SPDX-License-Identifier: MIT
# Runs the fuzz targets, for a number of runs or of seconds each, from the corpus that is checked in.
import argparse
import functools
import pathlib
import re
import subprocess
import sys
import time

from tests.tools.report import FAILED, PASSED, Report, Result

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRIEF = 20000
GRACE = 120


def targets():
    return sorted(path.stem for path in (ROOT / "tests/fuzz").glob("*.c"))


def run_target(name, limit, seconds):
    """New inputs go to build/fuzz/NAME.corpus; tests/fuzz/corpus/NAME is read only."""
    found = ROOT / f"build/fuzz/{name}.corpus"
    found.mkdir(parents=True, exist_ok=True)
    corpora = [str(found)]
    if (ROOT / f"tests/fuzz/corpus/{name}").is_dir():
        corpora.append(str(ROOT / f"tests/fuzz/corpus/{name}"))
    command = [str(ROOT / "build/fuzz" / name), limit, "-print_final_stats=1", "-timeout=60",
               "-rss_limit_mb=2048", f"-artifact_prefix={ROOT}/build/fuzz/{name}-", *corpora]
    start = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=seconds + GRACE, check=False)
    except subprocess.TimeoutExpired:
        return [Result(f"fuzz {name}", FAILED, f"no end after {seconds + GRACE} s")]
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stdout)
    if done.returncode != 0 or not runs:
        return [Result(f"fuzz {name}", FAILED, f"status {done.returncode}", done.stdout)]
    return [Result(f"fuzz {name}", PASSED, f"{runs[1]} runs, {time.monotonic() - start:.0f} s")]


def jobs(names=None, limit=f"-runs={BRIEF}", seconds=60):
    return [(f"fuzz {name}", functools.partial(run_target, name, limit, seconds))
            for name in names or targets()]


def main():
    parser = argparse.ArgumentParser()
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--runs", type=int)
    how.add_argument("--seconds", type=int)
    parser.add_argument("targets", nargs="*")
    args = parser.parse_args()
    if not targets():
        print("there are no fuzz targets")
        return 1
    report = Report()
    if args.runs:
        report.run_all(jobs(args.targets, f"-runs={args.runs}", 24 * 3600))
    else:
        report.run_all(jobs(args.targets, f"-max_total_time={args.seconds}", args.seconds))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
