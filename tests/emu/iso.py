# SPDX-License-Identifier: MIT
# Makes ISO images that GRUB starts: Bellhop with its modules, or a guest alone on the bare machine.
import pathlib
import shutil
import subprocess
import sys

from tests.linux import guest as linux, initramfs, packages

ROOT = pathlib.Path(__file__).resolve().parents[2]
HYPERVISOR = ROOT / "build/bellhop.elf"
GUESTS = ROOT / "build/guest"
BIOS_MODULES = pathlib.Path("/usr/lib/grub/i386-pc")


def guest_file(name):
    """The file of a guest: one of ours by its name, a Linux kernel, or any file by its path. None: there is none."""
    if name in linux.KERNELS:
        return packages.fetch(name)
    ours = GUESTS / f"{name}.elf"
    for path in (ours, pathlib.Path(name)):
        if path.is_file():
            return path.resolve()
    return None


def quoted(text):
    """A line of words as GRUB's shell must see it, so that nothing in it is special to that shell."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in text.split())


class Image:
    """What is on the image: files by their name there, and GRUB's lines."""

    def __init__(self):
        self.files = {}
        self.lines = []

    def load(self, command, path, text=""):
        """GRUB (2.06 and newer) hands over `text` alone, without the file's name before it."""
        name = pathlib.Path(path).name
        while name in self.files and self.files[name] != path:
            name = "_" + name
        self.files[name] = path
        self.lines.append(f"\t{command} /{name} {quoted(text)}".rstrip())

    def bellhop(self, options, modules):
        """The hypervisor; `modules` are pairs of a file and its module line."""
        self.load("multiboot2", HYPERVISOR, options)
        for path, text in modules:
            self.load("module2", path, text)
        return self

    def native(self, path, args, modules=()):
        """A guest on the bare machine. The first word of its line is its name, as under Bellhop."""
        if linux.is_linux(path):
            self.load("linux", path, f"{linux.COMMAND} {args}")
            self.load("initrd", initramfs.write())
            return self
        self.load("multiboot", path, f"{path.stem} {args}")
        for file, text in modules:
            self.load("module", file, text)
        return self

    def write(self, target, bios_only=True, timeout=0, title="Bellhop"):
        """Writes the ISO file `target`; `bios_only` leaves out the EFI loader, for emulated machines."""
        folder = pathlib.Path(f"{target}.d")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "boot/grub").mkdir(parents=True)
        for name, path in self.files.items():
            shutil.copyfile(path, folder / name)
        menu = (ROOT / "boot/grub.cfg").read_text()
        for key, value in (("TITLE", title), ("TIMEOUT", str(timeout)), ("LOADS", "\n".join(self.lines))):
            menu = menu.replace(f"@{key}@", value)
        menu = "".join(line for line in menu.splitlines(True) if not line.startswith("#"))
        (folder / "boot/grub/grub.cfg").write_text(menu)

        command = ["grub-mkrescue", "-o", str(target), str(folder)]
        if bios_only:
            modules = "normal linux multiboot multiboot2 iso9660 biosdisk"
            command[1:1] = ["-d", str(BIOS_MODULES), f"--install-modules={modules}"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        shutil.rmtree(folder)
        if made.returncode != 0:
            raise RuntimeError(f"grub-mkrescue failed:\n{made.stderr}")


def main():
    target = pathlib.Path(sys.argv[1])
    image = Image().bellhop("", [(GUESTS / "pvdemo.elf", "vm name=pvdemo vcpus=4")])
    image.write(target, bios_only=False, timeout=3, title="Bellhop: the demonstration")
    print(f"{target}: boots from CD and, written to it as it is, from a USB stick")


if __name__ == "__main__":
    main()
