# SPDX-License-Identifier: MIT
# `make test`: lint, unit tests, the model, each fuzz target for a moment, the scenarios, the benchmark's operations and
# the quickest mutants; one count over all of them.
import sys

from tests.bench import run as bench
from tests.emu import run as scenarios
from tests.lint import run as lint
from tests.model import run as model
from tests.mutants import run as mutants
from tests.tools import fuzz, programs, selftest
from tests.tools.report import Report

PARTS = (("lint", lint), ("tests of the tests", selftest), ("unit tests", programs), ("model", model),
         ("fuzz targets", fuzz), ("scenarios", scenarios), ("bench", bench),
         ("mutants", mutants))


def main():
    report = Report()
    for title, part in PARTS:
        print(f"--- {title}", flush=True)
        report.run_all(part.jobs())
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
