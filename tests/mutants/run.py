# SPDX-License-Identifier: MIT
"""`make mutants`: the contract's tests must fail for what is broken on purpose, and pass for what is not.

Each mutant is built in a copy of the tree under build/mutants and run against tests/mutants/scenarios.ini.
"""
import functools
import shutil
import subprocess
import sys

from tests.emu import iso
from tests.mutants import catalogue
from tests.tools.report import FAILED, PASSED, Report, Result

HERE = iso.ROOT / "tests/mutants"
COPIES = iso.ROOT / "build/mutants"
TREE = ("boot", "kernel", "arch", "guest-stubs", "tests", "Makefile", "linker.ld", "build/obj", "build/guest64")
PARTS = ("build/bellhop.elf", "build/guest/contract.elf", "build/guest/stress.elf")
TESTS = ("contract", "storm", "stress-2", "stress-4", "posted")
TIMEOUT = 600


def copy_tree(name):
    """A copy with its objects, so that only what the mutant touches is compiled again."""
    target = COPIES / name
    shutil.rmtree(target, ignore_errors=True)
    for part in TREE:
        source = iso.ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / part)
    shutil.copy2(HERE / "scenarios.ini", target / "tests/emu/scenarios.ini")
    return target


def apply(mutant, target):
    """What is wrong with the edits. None: all of them are made."""
    for file, old, new in mutant.edits:
        path = target / file
        text = path.read_text()
        if text.count(old) != 1:
            return f"{file} has \"{old.strip().splitlines()[0]}\" {text.count(old)} times, not once"
        path.write_text(text.replace(old, new))
    return None


def call(target, *command):
    return subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=TIMEOUT, errors="replace",
                          stdin=subprocess.DEVNULL, check=False)


def why_failed(output):
    """The reason that the runner gives, without the transcript."""
    line = next((line for line in output.splitlines() if line.startswith("FAIL ")), "")
    return "hung" if "no end after" in line else "failed"


def run_mutant(mutant, tests, caught):
    """One mutant: passed if some test fails. A harmless one: passed if none does."""
    name = f"mutant {mutant.name}"
    target = copy_tree(mutant.name)
    if problem := apply(mutant, target):
        return [Result(name, FAILED, f"does not apply: {problem}")]
    built = call(target, "make", "-j1", *PARTS)
    if built.returncode:
        return [Result(name, FAILED, "does not build", built.stdout + built.stderr)]
    found, output = {}, ""
    for test in tests:
        done = call(target, sys.executable, "-B", "-m", "tests.emu.run", test)
        output += done.stdout
        if done.returncode:
            found[test] = why_failed(done.stdout)
    caught[mutant.name] = found
    shutil.rmtree(target)
    told = ", ".join(f"{test} {how}" for test, how in found.items())
    if mutant.harmless:
        return [Result(name, FAILED if found else PASSED, told or "passes every test", output)]
    return [Result(name, PASSED if found else FAILED, f"caught: {told}" if found else "not caught", output)]


def jobs(names=catalogue.QUICK, tests=("contract", "stress-2"), caught=None):
    """These mutants against these tests."""
    caught = {} if caught is None else caught
    chosen = [mutant for mutant in catalogue.MUTANTS if mutant.name in names]
    return [(f"mutant {mutant.name}", functools.partial(run_mutant, mutant, tests, caught))
            for mutant in chosen]


def print_table(caught):
    print(f"\n{'mutant':16}" + "".join(f"{test:>10}" for test in TESTS) + "  the rule")
    for mutant in catalogue.MUTANTS:
        if mutant.name in caught:
            cells = "".join(f"{caught[mutant.name].get(test, '-'):>10}" for test in TESTS)
            print(f"{mutant.name:16}{cells}  {mutant.rule}")
    print()


def main():
    names = sys.argv[1:] or [mutant.name for mutant in catalogue.MUTANTS]
    caught, report = {}, Report()
    report.run_all(jobs(names, TESTS, caught))
    print_table(caught)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
