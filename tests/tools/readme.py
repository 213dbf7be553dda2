#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Writes the tables of README.md from the CSV files that `make run` left, so that no figure there is typed by hand.
# The curve that it drew becomes docs/saturation.svg.
import csv
import pathlib
import re
import shutil
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]

# Columns of the CSV, and what they are called in the README.
ROUTES = {
    "route": "route", "manner": "manner", "rung": "rung", "consumed": "consumed", "coalesced": "coalesced",
    "stranded": "stranded", "misdirected": "misdirected", "lost": "lost", "doubled": "doubled",
    "share0": "VCPU 0", "share1": "VCPU 1", "share2": "VCPU 2", "share3": "VCPU 3",
    "exits_per_event": "exits/event", "hv_ticks_per_event": "ticks/event",
}


def cell(column, value):
    if column in ("route", "manner"):
        return f"`{value}`"
    if value and column.startswith("share"):
        return f"{float(value):.0f} %"
    if value and value.isdigit():
        return f"{int(value):,}"
    return value or "–"


def markdown(path, columns):
    lines = ["| " + " | ".join(columns.values()) + " |",
             "|" + "|".join("---" if c in ("route", "manner") else "--:" for c in columns) + "|"]
    with open(path, newline="", encoding="ascii") as file:
        for row in csv.DictReader(file):
            lines.append("| " + " | ".join(cell(c, row[c]) for c in columns) + " |")
    return "\n".join(lines)


def main():
    source = TOP / "build/run/routes.csv"
    if not source.exists():
        sys.exit(f"{source.relative_to(TOP)} is not there: `make run` writes it")
    readme = TOP / "README.md"
    text = readme.read_text(encoding="utf-8")
    pattern = re.compile(r"(<!-- routes:[^\n]*-->\n).*?(<!-- end of routes -->)", re.S)
    text, found = pattern.subn(lambda m: m[1] + markdown(source, ROUTES) + "\n" + m[2], text)
    if found != 1:
        sys.exit("README.md has no place for the table of routes")
    readme.write_text(text, encoding="utf-8")
    print("  README  table of routes")
    curve = TOP / "build/run/saturation.svg"
    if not curve.exists():
        sys.exit(f"{curve.relative_to(TOP)} is not there: `make run` draws it where gnuplot is installed")
    shutil.copyfile(curve, TOP / "docs/saturation.svg")
    print("  README  saturation curve")


if __name__ == "__main__":
    main()
