# SPDX-License-Identifier: MIT
"""Reads the manifests. A section is a scenario, or one for each CPU model that it lists.

guests       names of guests, one VM each; the VM has the guest's name, or its own as in VM:GUEST
vm, args     words of each VM's module line and its arguments; `vm.NAME`, `args.NAME` for one VM only
lines        instead of guests: module lines as they are, `FILE: line` each (FILE: a guest's name)
options      words of Bellhop's own line
cpus, model, megs, ips, timeout     the machine; `emu = bochs3` is Bochs 3.0 (so are the models that only it has),
             `emu = qemu-tcg` QEMU without VT-x, model its -cpu
refusal      the one line with which Bellhop must stop, "level: text", a final * as for end
halts        yes: after that line it cannot end the run, and the runner does
end.NAME     how that VM must end, as Bellhop says it, with or without the bracket behind it; a final * stands
             for any rest (ended: exit 0)
summary      the VMs that must print a SUMMARY line (all of them)
native       yes: also run the guest on the bare machine, and compare what it prints
backends     yes: also run it on each line of the section [backends], which is no scenario: a CPU model, the value of
             Bellhop's `apic=`, and words among `bochs3` (the emulator) and `long`; all runs of a section that force a
             backend must print the same
fault        what the emulator does wrong, so that the scenario is skipped with this reason
long         yes: not in `make test` but in `make test-long`
keys         lines `PATTERN => TEXT` (escapes as in Python): TEXT is typed once the output has a match, after the last one
driver       yes: Linux's doorbell driver has to be there
table, rows, zero                   a table that the guest prints, its rows, and columns that are 0 in each
"""
import configparser
import dataclasses
import pathlib

from tests.emu import iso, line, machine
from tests.linux import guest as linux, module, packages

MANIFESTS = (iso.ROOT / "tests/emu/scenarios.ini", iso.ROOT / "tests/linux/scenarios.ini")
KEYS = {"guests", "vm", "args", "lines", "options", "cpus", "model", "megs", "ips", "timeout", "emu",
        "refusal", "halts", "end", "summary", "native", "backends", "apic", "fault", "long", "keys", "table", "rows", "zero",
        "driver"}
BACKENDS = "backends"


def words(text):
    return [word.strip() for word in text.split(",") if word.strip()]


def lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


@dataclasses.dataclass
class Scenario:
    """One run of the machine (two with `native`) and what is expected of it."""

    name: str
    keys: dict
    machine: machine.Machine

    def __post_init__(self):
        named = [word.split(":") for word in words(self.keys.get("guests", ""))]
        self.stub = {names[0]: names[-1] for names in named}  # VM: its guest
        self.guests = list(self.stub)
        self.timeout = float(self.keys.get("timeout", "60"))
        self.refusal = self.keys.get("refusal")
        self.halts = self.keys.get("halts") == "yes"
        self.native = self.keys.get("native") == "yes"
        self.long = self.keys.get("long") == "yes"
        self.apic = self.keys.get("apic")
        self.compared = bool(self.apic) and self.keys.get("backends") == "yes"
        self.summary = words(self.keys["summary"]) if "summary" in self.keys else self.guests
        for key in self.keys:
            if key.split(".")[0] not in KEYS:
                raise ValueError(f"[{self.name}]: unknown key {key}")

    def why_not(self):
        """Why this cannot be run here. None: it can."""
        no_linux = packages.why_not() if set(self.stub.values()) & set(linux.KERNELS) else None
        no_linux = no_linux or (module.why_not() if self.keys.get("driver") == "yes" else None)
        return self.machine.why_not() or no_linux or self.keys.get("fault")

    @property
    def section(self):
        return self.name.split("@")[0]

    def of(self, key, guest, default=""):
        """The value for one VM, or the one for all."""
        return self.keys.get(f"{key}.{guest}", self.keys.get(key, default))

    def end(self, guest):
        return self.of("end", guest, "ended: exit 0")

    def script(self):
        """What is to be typed, and when. None: nothing."""
        steps = (text.split(" => ") for text in lines(self.keys.get("keys", "")))
        steps = [(pattern, typed.encode().decode("unicode_escape").encode()) for pattern, typed in steps]
        return line.Script(steps) if steps else None

    def modules(self):
        """Pairs of a file and its module line."""
        result = []
        for row in lines(self.keys.get("lines", "")):
            name, text = row.split(":", 1)
            result.append((needed(name), text.strip()))
        for guest in self.guests:
            text = f"vm name={guest} {self.of('vm', guest)}".strip()
            path, args = needed(self.stub[guest]), self.of("args", guest)
            if linux.is_linux(path):
                result += linux.modules(path, guest, text, args)
            else:
                result.append((path, f"{text} -- {args}" if args else text))
        return result

    def image(self):
        options = [f"end={self.machine.end}", self.apic and f"apic={self.apic}", self.keys.get("options")]
        return iso.Image().bellhop(" ".join(filter(None, options)), self.modules())

    def native_image(self):
        guest = self.guests[0]
        return iso.Image().native(needed(self.stub[guest]), self.of("args", guest))


def needed(name):
    path = iso.guest_file(name) or iso.guest_file(iso.ROOT / name)
    if not path:
        raise FileNotFoundError(f"{name}: neither a guest that was built nor a file")
    return pathlib.Path(path)


def machine_of(keys, model):
    common = {"cpus": int(keys.get("cpus", "2")), "megs": int(keys.get("megs", "256"))}
    if keys.get("emu") == "qemu-tcg":
        return machine.Machine(emu="qemu", cpu=model or "qemu64", **common)
    return machine.Machine(emu=keys.get("emu", "bochs"), model=model or "corei7_skylake_x",
                           ips=int(keys.get("ips", "4000000")), **common)


def backends(parser):
    """The keys that each line of the section [backends] changes in a scenario."""
    result = []
    for line in lines(parser.get(BACKENDS, "runs", fallback="")):
        model, apic, *rest = line.split()
        if not set(rest) <= {"bochs3", "long"}:
            raise ValueError(f"scenarios.ini: [{BACKENDS}]: {line}")
        keys = {"model": model, "apic": apic}
        keys.update({"emu": "bochs3"} if "bochs3" in rest else {}, **({"long": "yes"} if "long" in rest else {}))
        result.append(keys)
    return result


def load():
    """All scenarios of the manifests, in their order."""
    return [item for manifest in MANIFESTS for item in load_one(manifest)]


def load_one(manifest):
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str
    parser.read_string(manifest.read_text())
    result = []
    for section in parser.sections():
        if section == BACKENDS:
            continue
        keys = dict(parser[section])
        models = words(keys.get("model", "")) or [""]
        for model in models:
            name = section if len(models) == 1 else f"{section}@{model}"
            result.append(Scenario(name, keys, machine_of(keys, model)))
        for extra in backends(parser) if keys.get("backends") == "yes" else ():
            name = f"{section}@{extra['model']}+{extra['apic']}"
            result.append(Scenario(name, {**keys, **extra}, machine_of({**keys, **extra}, extra["model"])))
    return result
