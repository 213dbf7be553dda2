# SPDX-License-Identifier: MIT
"""Debian's kernels and busybox, taken out of their packages as they are into build/linux.

Nothing is installed, and what is there already is not fetched again: `make clean` is how to get newer ones.
"""
import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build/linux"
# What we call it, the package or the one that it depends on, and the file in it.
FILES = {
    "linux": ("linux-image-cloud-amd64", "linux-image-", "./boot/vmlinuz-*"),
    "linux-generic": ("linux-image-amd64", "linux-image-", "./boot/vmlinuz-*"),
    "busybox": ("busybox-static", None, "./bin/busybox"),
}


def call(*command, cwd=None, environment=None):
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    return done.stdout


def resolved(package, prefix):
    """The package that `package` stands for: a dependency of it that begins with the prefix."""
    if not prefix:
        return package
    for line in call("apt-cache", "depends", package).splitlines():
        name = line.rpartition("Depends: ")[2]
        if "Depends: " in line and name.startswith(prefix):
            return name
    raise RuntimeError(f"{package} depends on no {prefix}*")


def fetch(name):
    """The file, fetched if it is not there."""
    target = FOLDER / name
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            package, prefix, pattern = FILES[name]
            with tempfile.TemporaryDirectory(dir=FOLDER) as place:
                call("apt-get", "download", "-qq", resolved(package, prefix), cwd=place)
                archive = next(pathlib.Path(place).glob("*.deb"))
                call("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -x --wildcards "$2"', "sh",
                     str(archive), pattern, cwd=place)
                shutil.move(next(pathlib.Path(place).glob(pattern)), target)
    return target


def why_not():
    """Why there is no Linux here. None: there is, or it can be fetched."""
    if all((FOLDER / name).is_file() for name in FILES):
        return None
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(["apt-cache", "show", "linux-image-cloud-amd64"], capture_output=True, check=False,
                          ).returncode == 0:
            return None
    return "apt knows no linux-image-cloud-amd64 here"
