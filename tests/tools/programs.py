# SPDX-License-Identifier: MIT
# Runs the host unit tests: every program of tests/unit, its cases counted from cmocka's TAP output.
import functools
import os
import pathlib
import re
import subprocess
import sys

from tests.tools.report import FAILED, PASSED, SKIPPED, Report, Result

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 300
CASE = re.compile(r"^(ok|not ok) \d+ (# SKIP|-) (.*)$", re.M)
PLAN = re.compile(r"^1\.\.(\d+)", re.M)


def judge(name, status, stdout, stderr):
    """Results of a program that has ended: the passed cases together, every other case for itself."""
    cases = CASE.findall(stdout)
    planned = sum(int(number) for number in PLAN.findall(stdout))
    passed = sum(verdict == "ok" and kind == "-" for verdict, kind, _ in cases)
    results = []
    for verdict, kind, case in cases:
        if kind == "# SKIP":
            results.append(Result(f"{name}: {case}", SKIPPED))
        elif verdict == "not ok":
            results.append(Result(f"{name}: {case}", FAILED, "", stdout + stderr))
    failed = any(result.status == FAILED for result in results)
    if planned == 0 or planned != len(cases) or (status != 0 and not failed):
        note = f"{len(cases)} of {planned} cases reported, status {status}"
        results.append(Result(name, FAILED, note, stdout + stderr))
    if passed:
        results.append(Result(name, PASSED, f"{passed} cases", count=passed))
    return results


def run_program(program):
    """Runs one unit test program."""
    name = program.name
    if not program.is_file():
        return [Result(name, FAILED, "was not built")]
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", UBSAN_OPTIONS="print_stacktrace=1")
    try:
        done = subprocess.run([program], cwd=ROOT, env=environment, capture_output=True, text=True,
                              timeout=TIMEOUT, errors="replace", stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return [Result(name, FAILED, f"no end after {TIMEOUT} s")]
    return judge(name, done.returncode, done.stdout, done.stderr)


def jobs(folder="build/unit"):
    """One job for each program of tests/unit."""
    names = sorted(path.stem for path in (ROOT / "tests/unit").glob("test_*.c"))
    return [(name, functools.partial(run_program, ROOT / folder / name)) for name in names]


def main():
    report = Report()
    report.run_all(jobs())
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
