# SPDX-License-Identifier: MIT
# Checks of what was built: the purity of kernel/vic's objects and the shape of the hypervisor's ELF file.
import dataclasses
import struct
import subprocess

from tests.lint import tree

ELF = tree.ROOT / "build/bellhop.elf"
COMPILERS_OWN = {"memcpy", "memset", "memmove", "memcmp"}
PT_LOAD, PF_X, PF_W = 1, 1, 2
SHF_WRITE, SHF_ALLOC, SHF_EXEC = 1, 2, 4
MULTIBOOT2_MAGIC = 0xE85250D6
MULTIBOOT2_SEARCH = 32768


def symbols(path, *options):
    listed = subprocess.run(["nm", *options, str(path)], capture_output=True, text=True, check=True).stdout
    return [line.split()[-2:] for line in listed.splitlines() if line.strip()]


def vic_symbols():
    """kernel/vic calls nothing but itself and what any compiler may call; it has no data that can change."""
    objects = [tree.ROOT / f"build/obj/{path}.o" for path in tree.files(".c", under=("kernel/vic",))]
    complaints = [f"{path.name} was not built" for path in objects if not path.is_file()]
    objects = [path for path in objects if path.is_file()]
    own = {name for path in objects for _, name in symbols(path, "--defined-only", "--extern-only")}
    for path in objects:
        complaints += [f"{path.name}: calls {name}" for _, name in symbols(path, "--undefined-only")
                       if name not in own | COMPILERS_OWN]
        complaints += [f"{path.name}: {name} is a variable, not a constant"
                       for kind, name in symbols(path, "--defined-only") if kind in "bBdDcCsSgG"]
    return complaints


@dataclasses.dataclass
class Header:
    """What we need of the ELF64 header."""

    entry: int
    segments: list  # (type, flags, address, size in memory)
    sections: list  # (name, flags, address, size)


def read_elf(data):
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian ELF64 file")
    entry, phoff, shoff = struct.unpack_from("<QQQ", data, 24)
    phsize, phnum, shsize, shnum, names = struct.unpack_from("<HHHHH", data, 54)
    segments = []
    for index in range(phnum):
        kind, flags, _, address, _, _, size, _ = struct.unpack_from("<IIQQQQQQ", data, phoff + index * phsize)
        segments.append((kind, flags, address, size))
    raw = [struct.unpack_from("<IIQQQQ", data, shoff + index * shsize) for index in range(shnum)]
    strings = raw[names][4]
    sections = []
    for name, _, flags, address, _, size in raw:
        at = strings + name
        sections.append((data[at:data.index(b"\0", at)].decode(), flags, address, size))
    return Header(entry, segments, sections)


def elf_segments():
    """No segment writable and executable; code, constants, data in segments and pages of their own."""
    header = read_elf(ELF.read_bytes())
    loads = [segment for segment in header.segments if segment[0] == PT_LOAD and segment[3]]
    complaints = [f"the segment at {address:#x} is writable and executable"
                  for _, flags, address, _ in loads if flags & PF_W and flags & PF_X]
    if {flags & (PF_W | PF_X) for _, flags, *_ in loads} != {PF_X, 0, PF_W}:
        complaints.append("code, constants and data do not have a segment each")
    pages = {}
    for _, flags, address, size in loads:
        for page in (address >> 12, (address + size - 1) >> 12):
            if pages.setdefault(page, flags) != flags:
                complaints.append(f"the page at {page << 12:#x} has two kinds of segments")
    code = [(address, address + size) for _, flags, address, size in loads if flags & PF_X]
    if not any(start <= header.entry < end for start, end in code):
        complaints.append(f"the entry point {header.entry:#x} is not in the code")
    return complaints


def elf_sections():
    """Each section's rights are those of the segment that it lies in."""
    header = read_elf(ELF.read_bytes())
    complaints = []
    for name, flags, address, size in header.sections:
        if not flags & SHF_ALLOC or not size:
            continue
        home = [segment for segment in header.segments
                if segment[0] == PT_LOAD and segment[2] <= address < segment[2] + segment[3]]
        if not home:
            complaints.append(f"section {name} is in no segment")
            continue
        executable, writable = bool(home[0][1] & PF_X), bool(home[0][1] & PF_W)
        if bool(flags & SHF_EXEC) != executable or (flags & SHF_WRITE and not writable):
            complaints.append(f"section {name} has other rights than its segment")
    return complaints


def multiboot_header():
    """GRUB looks for it at 8-byte steps in the first 32 KiB of the file; its four words add up to 0."""
    data = ELF.read_bytes()[:MULTIBOOT2_SEARCH]
    for offset in range(0, len(data) - 16, 8):
        magic, architecture, length, checksum = struct.unpack_from("<IIII", data, offset)
        if magic == MULTIBOOT2_MAGIC and (magic + architecture + length + checksum) % 2**32 == 0:
            return [] if offset + length <= len(data) else ["the multiboot2 header leaves the first 32 KiB"]
    return ["there is no multiboot2 header at a multiple of 8 in the first 32 KiB"]
