# SPDX-License-Identifier: MIT
# Counts what passed, failed and was skipped, and prints a line for each as it ends.
import concurrent.futures
import dataclasses
import os
import re
import threading

PASSED, FAILED, SKIPPED = "PASS", "FAIL", "SKIP"
WORKERS = min(2, os.cpu_count() or 1)
SHOWN = 40  # lines of a failure's detail, and as many of those before them that say FAIL
FAIL_LINE = re.compile(r"^(\S+\| ?)?FAIL ")  # a guest's own, or under Bellhop with its VM's name before it


@dataclasses.dataclass
class Result:
    """The outcome of a test, or of `count` tests. `note` says why, `detail` is shown where it failed."""

    name: str
    status: str
    note: str = ""
    detail: str = ""
    count: int = 1


def excerpt(detail):
    """The end of a transcript, and before it the FAIL lines of what is left out."""
    lines = detail.rstrip().splitlines()
    early = [line for line in lines[:-SHOWN] if FAIL_LINE.match(line)]
    if len(early) > SHOWN:
        early[SHOWN:] = [f"({len(early) - SHOWN} more FAIL lines)"]
    return early + (["..."] if early else []) + lines[-SHOWN:]


class Report:
    """The counts of a whole session. Threads may add to it."""

    def __init__(self):
        self.counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
        self.failures = []
        self._lock = threading.Lock()

    def add(self, result):
        with self._lock:
            self.counts[result.status] += result.count
            print(f"{result.status} {result.name}{': ' + result.note if result.note else ''}", flush=True)
            if result.status == FAILED:
                self.failures.append(result.name)
                print("".join(f"    {line}\n" for line in excerpt(result.detail)), end="")

    def run_all(self, jobs, workers=WORKERS):
        """Runs (name, function) pairs, `workers` at a time; each function returns a list of Results."""
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            started = {pool.submit(function): name for name, function in jobs}
            for done in concurrent.futures.as_completed(started):
                try:
                    results = done.result()
                except Exception as error:  # pylint: disable=broad-except
                    results = [Result(started[done], FAILED, f"the runner itself failed: {error!r}")]
                for result in results:
                    self.add(result)

    def close(self):
        """The closing line, alone and last. Returns the exit status: nothing passed is a failure, too."""
        if self.failures:
            print("Failed: " + ", ".join(self.failures))
        passed, failed, skipped = (self.counts[status] for status in (PASSED, FAILED, SKIPPED))
        print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
        return 0 if passed and not failed else 1
