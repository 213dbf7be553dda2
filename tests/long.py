# SPDX-License-Identifier: MIT
# `make test-long`: the scenarios that take too long for `make test`, and Linux's time to its shell.
import sys

from tests.emu import run
from tests.linux import shell
from tests.tools.report import Report


def main():
    report = Report()
    report.run_all(run.jobs(only_long=True) + shell.jobs())
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
