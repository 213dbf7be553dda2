# SPDX-License-Identifier: MIT
# One run of the benchmark guest on an emulated machine, and the tables that it prints.
import csv
import dataclasses

from tests.emu import console, folder, iso, machine

MODEL = "corei7_skylake_x"
GUEST = "bench"

# Interrupt backend (Bellhop's `apic=`), and the emulator that has it with MODEL: posted interrupts came with Bochs 3.0.
BACKENDS = {"soft": "bochs", "regs": "bochs", "vid": "bochs", "posted": "bochs3"}


@dataclasses.dataclass
class Run:
    """A machine, the VM that measures, and the module lines of its neighbours."""

    name: str
    part: str
    cpus: int
    vm: str
    args: str = ""
    others: tuple = ()  # pairs: words of the module line, the guest's part
    timeout: float = 120
    apic: str = "vid"
    ips: int = machine.Machine.ips

    def modules(self):
        guest = iso.guest_file(GUEST)
        lines = [f"vm name={GUEST} {self.vm} budget=0 -- part={self.part} {self.args}".rstrip()]
        lines += [f"vm {words} -- part={part}" for words, part in self.others]
        return [(guest, line) for line in lines]

    def tables(self):
        """The guest's tables: {name: [{column: text}, …]}."""
        where_to = machine.Machine(emu=BACKENDS[self.apic], cpus=self.cpus, model=MODEL, ips=self.ips)
        if why := where_to.why_not():
            raise NotMeasured(why)
        seen = console.Console()
        with folder.claim(f"bench-{self.apic}-{self.name}") as where:
            iso.Image().bellhop(f"end=bochs apic={self.apic}", self.modules()).write(where / "run.iso")
            outcome = machine.run(where_to, where / "run.iso", where, self.timeout, seen.feed,
                                  enough=lambda: GUEST in seen.ends)
        lines = seen.guests.get(GUEST, [])
        if not seen.ends.get(GUEST, "").startswith("ended: exit 0"):
            failed = [line for line in lines if line.startswith("FAIL")] or seen.said[-1:]
            why = seen.ends.get(GUEST) or outcome.fault or f"no end after {outcome.seconds:.0f} s"
            raise RuntimeError(f"bench {self.apic} {self.name}: {'; '.join([why] + failed)}")
        return {name: [{"apic": self.apic, "run": self.name, **row} for row in csv.DictReader(rows)]
                for name, rows in console.tables(lines).items()}


class NotMeasured(Exception):
    """The machine cannot be emulated here."""


def operations(apic):
    """The runs that make up the table of operations, with that backend. On a fast machine the ends of time slices, which come
    by the clock, are few beside the events; with eight CPUs it takes its time to boot.
    """
    fast = {"apic": apic, "ips": 50_000_000}
    return [
        Run("operations", "operations", 2, "vcpus=2 cpus=0-1", **fast),
        Run("across", "across", 2, "vcpus=1 cpus=0 peers=echo", others=(("name=echo cpus=1 peers=bench", "echo"),), **fast),
        Run("broadcast", "broadcast", 8, "vcpus=8 cpus=0-7", apic=apic, ips=16_000_000),
    ]


def ports():
    """The runs over VCPUs and VMs, with one backend: what searches is common to all. The guest goes through the numbers of
    ports. Idle VMs share the CPUs in turn.
    """
    result = []
    for vms in (1, 2, 4, 8):
        for vcpus in (1, 2, 4, 8):
            idle = tuple((f"name=idle{i} mem=16M cpus={i % vcpus}", "idle") for i in range(vms - 1))
            result.append(Run(f"ports-{vms}-{vcpus}", "ports", 8, f"vcpus={vcpus} cpus=0-{vcpus - 1}",
                              f"vms={vms}", idle))
    return result
