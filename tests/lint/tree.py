# SPDX-License-Identifier: MIT
# Which files there are, and what is code in a C file.
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP = ("boot", "kernel", "arch", "guest-stubs", "tests")
NOISE = re.compile(r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])+'""", re.S | re.X)


def files(*suffixes, under=TOP):
    """The tree's files with one of these endings, sorted, as paths from the root."""
    found = (path for top in under for path in (ROOT / top).rglob("*"))
    return sorted(path.relative_to(ROOT) for path in found if path.suffix in suffixes and path.is_file())


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def code(source):
    """The source without comments and with empty strings; lines stay where they are."""
    def blank(match):
        kept = "\n" * match[0].count("\n")
        return f'"{kept}"' if match[0][0] == '"' else f"'{kept}'" if match[0][0] == "'" else " " + kept
    return NOISE.sub(blank, source)


def functions(source):
    """(name, first line, number of lines) of each function: its braces stand in the first column."""
    lines = code(source).splitlines()
    start, name = 0, ""
    for number, line in enumerate(lines, 1):
        if line == "{" and number > 1:
            start, name = number, head_name(lines, number - 1)
        elif line.startswith("}") and start:
            if name:
                yield name, start, number - start + 1
            start = 0


def head_name(lines, end):
    """The name in the head whose last line is `end` (from 1)."""
    head = ""
    for line in reversed(lines[max(0, end - 8):end]):
        head = line + " " + head
        if not line[:1].isspace():
            break
    named = re.search(r"(\w+)\s*\(", head)
    return named[1] if named else ""
