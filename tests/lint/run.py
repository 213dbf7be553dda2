# SPDX-License-Identifier: MIT
# Runs the checks of style and shape. Each is one test.
import functools
import sys

from tests.lint import binary, source
from tests.tools.report import FAILED, PASSED, SKIPPED, Report, Result

CHECKS = {
    "format": source.format_clean,
    "headers compile alone": source.headers_alone,
    "function sizes": source.function_sizes,
    "file sizes": source.file_sizes,
    "hypervisor size": source.hypervisor_size,
    "first lines": source.first_lines,
    "nothing unfinished": source.finished,
    "VT-x words": source.vmx_words,
    "kernel/vic includes": source.vic_includes,
    "kernel/vic symbols": binary.vic_symbols,
    "ELF segments": binary.elf_segments,
    "ELF sections": binary.elf_sections,
    "multiboot2 header": binary.multiboot_header,
}


def check(name, function):
    try:
        complaints = function()
    except source.Skip as why:
        return [Result(f"lint {name}", SKIPPED, str(why))]
    except FileNotFoundError as error:
        complaints = [f"{error.filename} is missing"]
    if complaints:
        return [Result(f"lint {name}", FAILED, f"{len(complaints)} complaints", "\n".join(complaints))]
    return [Result(f"lint {name}", PASSED)]


def jobs():
    return [(f"lint {name}", functools.partial(check, name, function)) for name, function in CHECKS.items()]


def main():
    report = Report()
    report.run_all(jobs())
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
