# SPDX-License-Identifier: MIT
# Checks of the sources: format, headers, sizes, words. Each returns a list of complaints.
import pathlib
import re
import shutil
import subprocess

from tests.lint import tree

MAX_FUNCTION = 60
MAX_FILE = 500
MAX_MAKEFILE = 200
MAX_HYPERVISOR = 11200  # lines of code, so that it does not grow; the aim is 10,000 with blank lines and comments
FORMAT_VERSION = 14
LINUX_ONLY = pathlib.Path("guest-stubs/linux/doorbell.h")
SOURCES = (".c", ".h", ".S", ".ld", ".py", ".sh")
VMX_WORDS = re.compile(r"vmcs|vmread|vmwrite|vmlaunch|vmresume|vmxon", re.I)
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


class Skip(Exception):
    """The check cannot be made on this machine; the text says why."""


def call(*command):
    return subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, check=False)


def format_clean():
    """clang-format would change nothing. Its versions differ in details, so one of them decides."""
    if not shutil.which("clang-format"):
        raise Skip("clang-format is not installed")
    done = call("clang-format", "--dry-run", "--Werror", *map(str, tree.files(".c", ".h")))
    if done.returncode == 0:
        return []
    version = re.search(r"version (\d+)", call("clang-format", "--version").stdout)
    if not version or int(version[1]) != FORMAT_VERSION:
        raise Skip(f"clang-format {FORMAT_VERSION} decides on the format, not {version and version[1]}")
    places = [line.split(":", 1)[0] for line in done.stderr.splitlines() if "error:" in line]
    return [f"{path}: {places.count(path)} places" for path in sorted(set(places))]


def headers_alone():
    """Each header compiles without anything before it. What only a kernel's own build can compile is left to that."""
    complaints = []
    for header in tree.files(".h"):
        if header == LINUX_ONLY:
            continue
        freestanding = [] if header.parts[0] == "tests" else ["-ffreestanding"]
        done = call("gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I.", *freestanding, "-fsyntax-only",
                    "-x", "c", "-include", str(header), "/dev/null")
        if done.returncode:
            complaints += [line for line in done.stderr.splitlines() if "error:" in line][:1]
    return complaints


def function_sizes():
    return [f"{path}:{line}: {name}() has {size} lines, more than {MAX_FUNCTION}"
            for path in tree.files(".c", ".h") for name, line, size in tree.functions(tree.text(path))
            if size > MAX_FUNCTION]


def file_sizes():
    complaints = [f"{path}: {size} lines, more than {MAX_FILE}" for path in tree.files(*SOURCES)
                  if (size := len(tree.text(path).splitlines())) > MAX_FILE]
    if (size := len(tree.text("Makefile").splitlines())) > MAX_MAKEFILE:
        complaints.append(f"Makefile: {size} lines, more than {MAX_MAKEFILE}")
    return complaints


def hypervisor_size():
    """Lines of everything that the hypervisor's own ELF file is made from."""
    paths = tree.files(".c", ".h", ".S", under=("boot", "kernel", "arch"))
    size = sum(len(tree.text(path).splitlines()) for path in paths)
    of_code = sum(bool(line.strip()) for path in paths for line in tree.code(tree.text(path)).splitlines())
    if of_code < MAX_HYPERVISOR:
        return []
    return [f"{of_code} lines of code (of {size} in all): not under {MAX_HYPERVISOR}"]


def first_lines():
    """The licence and the purpose, in the first two lines (after the line that names an interpreter)."""
    complaints = []
    for path in tree.files(*SOURCES):
        lines = [line for line in tree.text(path).splitlines()[:4] if not line.startswith("#!")]
        if not lines or "SPDX-License-Identifier: MIT" not in lines[0]:
            complaints.append(f"{path}: its first line is not the SPDX line")
        elif not re.match(r"/\* \S|/\*\n \* \S|# \S|\"\"\"", "\n".join(lines[1:])):
            complaints.append(f"{path}: its second line does not say its purpose")
    return complaints


def finished():
    return [f"{path}:{number}: {match[0]}" for path in tree.files(*SOURCES, ".md", ".cfg", ".ini")
            for number, line in enumerate(tree.text(path).splitlines(), 1)
            if (match := UNFINISHED.search(line))]


def vmx_words():
    """The vendor's words stay behind the seam."""
    complaints = []
    for path in tree.files(".c", ".h", ".S", under=("boot", "kernel", "arch")):
        if path.parts[:3] == ("arch", "x86", "vmx"):
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            if match := VMX_WORDS.search(line):
                complaints.append(f"{path}:{number}: \"{match[0]}\" outside arch/x86/vmx")
    return complaints


def vic_includes():
    """kernel/vic includes four headers of the language and its own folder's."""
    allowed = {"<stdint.h>", "<stdbool.h>", "<stddef.h>", "<stdatomic.h>"}
    own = {f'"{path.name}"' for path in tree.files(".h", under=("kernel/vic",))}
    return [f"{path}:{number}: includes {match[1]}" for path in tree.files(".c", ".h", under=("kernel/vic",))
            for number, line in enumerate(tree.text(path).splitlines(), 1)
            if (match := re.match(r"\s*#\s*include\s+(\S+)", line)) and match[1] not in allowed | own]
