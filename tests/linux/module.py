# SPDX-License-Identifier: MIT
"""The doorbell driver for the kernel in build/linux, and the program `bell`: out of tree, into build/linux/driver.

A module fits one kernel only, so that the headers are those of exactly the version that was fetched.
"""
import fcntl
import functools
import hashlib
import pathlib
import re
import shutil
import subprocess
import threading

from tests.linux import packages

ROOT = packages.FOLDER.parents[1]
SOURCE = ROOT / "guest-stubs/linux"
ABI = ROOT / "kernel/vic/abi.h"
FOLDER = packages.FOLDER / "driver"
WARN = ("-Wall -Wextra -Werror -Wconversion -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wswitch-enum -Wvla "
        "-Wundef").split()
FILES = {"lib/doorbell.ko": "module/doorbell.ko", "bin/bell": "bell"}  # in the initrd, and here
ONE = threading.Lock()


def version():
    """The kernel's release and its package's version, from the text that a bzImage has for its loader."""
    with open(packages.fetch("linux"), "rb") as file:
        head = file.read(0x10000)
    start = int.from_bytes(head[0x20e:0x210], "little") + 0x200
    text = head[start:].split(b"\0")[0].decode("ascii", "replace")
    found = re.match(r"(\S+) .*Debian (\S+)", text)
    if not found:
        raise RuntimeError(f"build/linux/linux calls itself \"{text}\"")
    return found[1], found[2]


def installed(package):
    """The version of an installed package, "" without it."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
                          capture_output=True, text=True, check=False)
    status, _, number = done.stdout.partition(" ")
    return number if done.returncode == 0 and status == "installed" else ""


@functools.lru_cache(maxsize=1)
def unavailable():
    """Installs the headers if they are missing. Why there are none that fit, or None."""
    release, wanted = version()
    package = f"linux-headers-{release}"
    done = subprocess.run(["sh", "tests/tools/need.sh", "linux", package], cwd=ROOT, text=True,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        return f"no {package} {wanted}: {(done.stderr.strip().splitlines() or ['apt cannot get it'])[0]}"
    if (found := installed(package)) != wanted:
        return f"{package} is of {found or 'no version'}, the kernel of {wanted}; after `make clean` it is fetched anew"
    return None


def why_not():
    """Why there is no driver for the guests' kernel here. None: there is one, or it can be built."""
    with ONE:
        return packages.why_not() or unavailable()


def sources():
    return sorted(path for path in SOURCE.rglob("*") if path.is_file()) + [ABI, pathlib.Path(__file__)]


def build():
    """Both, if a source or the kernel has changed since."""
    release, wanted = version()
    state = hashlib.sha256(f"{release} {wanted}".encode())
    for path in sources():
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    stamp = FOLDER / "stamp"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ONE, open(FOLDER / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == state.hexdigest():
            return
        stamp.unlink(missing_ok=True)
        build_module(release)
        build_program()
        stamp.write_text(state.hexdigest())


def build_module(release):
    """What the kernel's build warns of is an error."""
    place = FOLDER / "module"
    shutil.rmtree(place, ignore_errors=True)
    packages.call("make", "-s", "-C", str(SOURCE), f"KDIR=/usr/src/linux-headers-{release}", f"OUT={place}",
                  "KCFLAGS=-Werror", environment={"MAKEFLAGS": ""})
    packages.call("strip", "--strip-debug", str(place / "doorbell.ko"))


def build_program():
    files = sorted(str(path.relative_to(ROOT)) for path in SOURCE.glob("bell*.c"))
    packages.call("gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", *WARN, "-I.", "-static", "-pthread", "-s",
                  "-o", str(FOLDER / "bell"), *files, cwd=ROOT)


def files():
    """What the initrd gets: names there and bytes. Nothing where there is no driver."""
    if why_not():
        return {}
    build()
    return {name: (FOLDER / path).read_bytes() for name, path in FILES.items()}
