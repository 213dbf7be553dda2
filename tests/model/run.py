# SPDX-License-Identifier: MIT
# Checks the models with Spin: each case must hold, and each mutant must break it. `python3 -m tests.model.run [word ...]`
import dataclasses
import functools
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tests.tools.report import FAILED, PASSED, SKIPPED, Report, Result

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT = 300
DEPTH = 100000
BROKEN = ("assertion violated", "acceptance cycle", "invalid end state")
INCOMPLETE = ("Search not completed", "max search depth too small", "out of memory", "resource limitation")


@dataclasses.dataclass
class Case:
    """A model with some numbers set. A mutant is the case with one more macro, by which it must fail."""

    name: str
    model: str
    numbers: str
    mutants: str = ""


CASES = (
    Case("ring, unmask by the owner", "guest", "MASKS=2 MASKER=0", "NO_RECHECK MASK_FIRST SUMMARY_LATE"),
    Case("ring, unmask by another VCPU", "guest", "MASKS=1 MASKER=1", "NO_RECHECK MASK_FIRST LOOK_OWN_ONLY"),
    Case("rebind", "guest", "REBINDS=1", "NO_WAIT NO_MOVE NO_ANNOUNCE TAKE_BLIND SUMMARY_LATE"),
    Case("rebind there and back", "guest", "RINGERS=1 RINGS=3 REBINDS=2"),
    Case("two rebinds at once", "guest", "RINGERS=1 REBINDS=1 REBINDERS=2", "NO_WAIT RAISE_LATE"),
    Case("rebind, unmask by the old VCPU", "guest", "RINGERS=1 REBINDS=1 MASKS=1 MASKER=0", "LOOK_STOPS NO_RECHECK"),
    Case("rebind, unmask by the new VCPU", "guest", "RINGERS=1 REBINDS=1 MASKS=1 MASKER=1", "NO_RECHECK"),
    Case("two ports in a word", "guest", "PORTS=2 RINGS=1 REBINDS=1 MASKS=1 MASKED=1 MASKER=0", "NO_RECHECK"),
    Case("close and open again", "guest", "CLOSES=2", "NO_WAIT EPOCH_LATE TAKE_BLIND"),
    Case("route change", "guest", "RINGERS=1 ROUTES=2 BOUND=1", "NO_WAIT NO_MOVE NO_RAISE"),
    Case("route change and rebind", "guest", "RINGERS=1 ROUTES=1 BOUND=1 REBINDS=1"),
    Case("LAPIC switched on late", "guest", "START BOUND=1", "NO_FACE"),
    Case("always handled: unmask", "guest", "LIVE MASKS=1 MASKER=1", "NO_RECHECK SUMMARY_LATE"),
    Case("always handled: rebind", "guest", "LIVE REBINDS=1", "NO_ANNOUNCE"),
    Case("always handled: route change", "guest", "LIVE RINGERS=1 ROUTES=1 BOUND=1", "NO_RAISE"),
    Case("inbox", "inbox", "", "NO_KICK ON_LATE HLT_SPLIT"),
    Case("inbox, posted interrupts", "inbox", "POSTED", "NO_KICK ON_LATE HLT_SPLIT AWAIT_LATE"),
    Case("inbox, two VCPUs on the CPU", "inbox", "GUESTS=2", "ON_LATE HLT_SPLIT"),
    Case("inbox, two VCPUs, posted interrupts", "inbox", "GUESTS=2 POSTED", "ON_LATE HLT_SPLIT"),
    Case("signals", "inbox", "SIGNALS", "NO_KICK ON_LATE ON_WITHOUT_KICK"),
    Case("signals, posted interrupts", "inbox", "SIGNALS POSTED", "SIGNALS_BY_ON"),
    Case("always handled: inbox", "inbox", "LIVE", "NO_KICK ON_LATE HLT_SPLIT"),
    Case("always handled: posted interrupts", "inbox", "LIVE POSTED", "NO_KICK ON_LATE HLT_SPLIT"),
    Case("always handled: two VCPUs", "inbox", "LIVE GUESTS=2", "NO_KICK"),
    Case("always handled: two VCPUs, posted interrupts", "inbox", "LIVE GUESTS=2 POSTED", "NO_KICK"),
    Case("posted timer", "timer", "POSTS_U=2", "LATE_END NO_AWAIT NV_KEPT NO_SETTLE"),
    Case("posted timer, posts of its vector", "timer", "POSTS_T=2", "NO_HANDED FORGETS"),
    Case("posted timer, posts by the guest itself", "timer", "POSTS_T=1 RINGS=1", "LATE_END NO_HANDED"),
    Case("posted timer, two vectors", "timer", "POSTS_T=1 VECTORS=2", "FORGETS ONE_VECTOR"),
    Case("posted timer, two VCPUs", "timer", "GUESTS=2 POSTS_U=1", "LATE_END NO_AWAIT NV_KEPT NO_SETTLE"),
    Case("posted timer, two VCPUs, posts of its vector", "timer", "GUESTS=2 POSTS_T=1", "FORGETS"),
    Case("always handled: posted timer", "timer", "LIVE POSTS_T=1 RINGS=1", "LATE_END NO_HANDED FORGETS"),
    Case("always handled: posted timer, two VCPUs", "timer", "LIVE GUESTS=2 POSTS_U=1", "LATE_END"),
)


class Broken(Exception):
    """A tool failed where it should not."""


def call(folder, *command):
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT,
                              errors="replace", stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{command[0]}: no end after {TIMEOUT} s") from error
    if done.returncode and command[0] != "./pan":
        raise Broken(f"{command[0]}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def explore(folder, model, macros, optimise):
    """What the verifier said: all states are searched, for a cycle under weak fairness where there is an ltl."""
    live = "LIVE" in macros
    call(folder, "spin", *(f"-D{macro}" for macro in macros), "-a", str(HERE / f"{model}.pml"))
    call(folder, "gcc", optimise, "-w", *(["-DNFAIR=3"] if live else ["-DSAFETY"]), "-o", "pan", "pan.c")
    return call(folder, "./pan", f"-m{DEPTH}", "-w22", *(["-a", "-f"] if live else []))


def trail(folder, model, macros):
    """The steps that led to the error."""
    text = call(folder, "spin", *(f"-D{macro}" for macro in macros), "-t", "-p", "-k", f"{model}.pml.trail",
                str(HERE / f"{model}.pml"))
    steps = [line for line in text.splitlines() if "proc " in line and "[else]" not in line and ".(goto)" not in line]
    return "\n".join(steps).replace(f"{HERE}/", "")


def states(output):
    line = next((line for line in output.splitlines() if "states, stored" in line), "0")
    return line.split()[0]


def check(case, mutant):
    """One run of the verifier: the case as it is (no mutant), or broken on purpose."""
    name = f"model {case.name}{f', {mutant}' if mutant else ''}"
    macros = case.numbers.split() + ([mutant] if mutant else [])
    with tempfile.TemporaryDirectory() as folder:
        try:
            # Most mutants fail so early that the compiler takes the time.
            output = explore(folder, case.model, macros, "-O0" if mutant else "-O1")
            errors = "errors: 0" not in output
            caught = next((word for word in BROKEN if word in output), None)
            if mutant and caught:
                return [Result(name, PASSED, f"caught: {caught}")]
            if mutant:
                return [Result(name, FAILED, "the mutant was not caught", output)]
            if errors or any(word in output for word in INCOMPLETE):
                steps = trail(folder, case.model, macros) if errors and caught else ""
                return [Result(name, FAILED, caught or "not verified", f"{steps}\n{output.splitlines()[0]}")]
            return [Result(name, PASSED, f"{states(output)} states")]
        except Broken as why:
            return [Result(name, FAILED, "could not be checked", str(why))]


def jobs(words=()):
    """One job for each case and each mutant; with words, those whose case has one of them in its name."""
    for tool in ("spin", "gcc"):
        if not shutil.which(tool):
            return [("model", lambda missing=tool: [Result("model", SKIPPED, f"{missing} is not installed")])]
    return [(f"model {case.name} {mutant}".rstrip(), functools.partial(check, case, mutant))
            for case in CASES if not words or any(word in case.name for word in words)
            for mutant in ["", *case.mutants.split()]]


def main():
    report = Report()
    report.run_all(jobs(sys.argv[1:]))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
