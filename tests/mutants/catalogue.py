# SPDX-License-Identifier: MIT
# The mutants: each breaks one rule of the doorbells on purpose, by replacing a text that is in its file exactly once.
import dataclasses

RING = "kernel/vic/doorbell.c"
ORDER = "kernel/doorbells.c"
GUEST = "guest-stubs/lib/db.c"
LINES = "kernel/vic/route.c"


@dataclasses.dataclass
class Mutant:
    """The rule that is broken, and the edits: a file, the old text and the new one. A harmless one must not be caught."""

    name: str
    rule: str
    edits: tuple
    harmless: bool = False


# An emulator's CPUs go in step, so that a window of few instructions may never be hit. A ring may take any time: here it takes
# longer between its look at the binding and its bit.
LOOK = "\tcount(&p->rung);\n"
SLOWLY = LOOK + "\tfor (volatile unsigned slow = 0; slow < 60; slow++)\n\t\t;\n"

MUTANTS = (
    Mutant("none", "the tree as it is", (), harmless=True),
    Mutant("slow-ring", "none: a ring may take its time", ((RING, LOOK, SLOWLY),), harmless=True),
    Mutant("no-recheck", "whoever unmasks looks at the pending bit", ((
        GUEST, "\tcpu_fetch_and(word_of(&mask_page, port), ~bit_of(port));\n",
        "\tcpu_fetch_and(word_of(&mask_page, port), ~bit_of(port));\n\tif (vcpu_count)\n\t\treturn;\n"),)),
    Mutant("no-move", "a rebind takes the pending bit along", ((
        RING, "\t\tif (!(places >> v & 1))\n\t\t\tmoved = carry(",
        "\t\tif (!(places >> v & 1) && !db->vcpus)\n\t\t\tmoved = carry("),)),
    Mutant("no-settle", "on follow, a rewritten entry takes the pending bits along", ((
        ORDER, "\tdb_settle(&vm->doorbells, groups);\n", ""),)),
    Mutant("no-kick", "whoever posts to another CPU's VCPU kicks it", ((
        "kernel/intr.c", "\tif (vector && v->cpu != cpu_self()->index)\n",
        "\tif (vector && v->cpu == cpu_self()->index)\n"),)),
    Mutant("no-wait", "a rebind, close or route change waits for rings in flight", ((RING, LOOK, SLOWLY), (
        ORDER, "\tfor (unsigned i = 0; i < cpu_count; i++) {\n\t\tuint64_t epoch",
        "\tfor (unsigned i = cpu_count; i < cpu_count; i++) {\n\t\tuint64_t epoch"))),
    Mutant("mask-first", "a ring sets its bit before it looks at the mask", ((
        RING, LOOK, "\tbool masked = is_masked(db, port);\n\n" + LOOK), (
        RING, "\tif (is_masked(db, port))\n\t\treturn done(BH_RUNG_MASKED);\n",
        "\tif (masked)\n\t\treturn done(BH_RUNG_MASKED);\n"))),
    Mutant("stale-summary", "no summary bit stays set without an upcall on its way", ((
        RING, "\t\tatomic_fetch_and(shared(&control->summary[group]), ~",
        "\t\tatomic_fetch_and(shared(&control->summary[group]), ~0ull | ~"),)),
    Mutant("take-blind", "a bit is handled by the one who has cleared it", ((
        GUEST, "\t\tset &= cpu_fetch_and(pending, ~set);\n", "\t\tcpu_fetch_and(pending, ~set);\n"),)),
    Mutant("vcpu0-by-entry", "on vcpu0 the callback goes to VCPU 0, whatever the entry says", ((
        LINES, "\tif (route->number == BH_ROUTE_VCPU0)\n", "\tif (route->number == BH_ROUTES)\n"),)),
    Mutant("uncounted", "an upcall that misses its VCPU is counted", ((
        "kernel/intr.c", "\tif (!route->can_misdirect)\n", "\tif (route)\n"),)),
    Mutant("vcpu0-takes-all", "a route changes nothing for other lines", ((
        LINES, "\tif (pin < VIOAPIC_CALLBACK_PIN)\n",
        "\tif (route->number == BH_ROUTE_VCPU0)\n\t\treturn 1;\n\tif (pin < VIOAPIC_CALLBACK_PIN)\n"), (
        "kernel/intr.c", "\t\tif (pin >= VIOAPIC_CALLBACK_PIN)\n\t\t\ttargets = route_targets(",
        "\t\ttargets = route_targets("))),
    Mutant("open-house", "only what is offered can be connected", ((
        "kernel/vic/doorbell_ports.c", "\tif (far->port[far_port].offered != self + 1)\n",
        "\tif (far->port[far_port].offered > self + 1)\n"),)),
    Mutant("late-end", "no interrupt is in service while a notification is awaited", ((
        "arch/x86/vmx/vmx_exit.c", "\t\tirq_finish((uint8_t)(vmread(VMCS_EXIT_EVENT) & EVENT_VECTOR));\n", ""), (
        "kernel/vcpu.c", "\t\t\tvcpu_settle(v);\n\t\t\texit_dispatch(v);\n",
        "\t\t\tvcpu_settle(v);\n\t\t\tif (v->virt.exit.kind == EXIT_HOST_IRQ)\n"
        "\t\t\t\tirq_finish(CPU_KICK);\n\t\t\texit_dispatch(v);\n"))),
    Mutant("no-budget", "a port has a budget of upcalls", ((
        RING, "\t\tif (used >= db->budget)\n", "\t\tif (used > 0xffff)\n"),)),
)

# Those that are caught within seconds, and the tree as it is: a part of `make test`.
QUICK = ("none", "no-recheck", "no-move", "no-settle")
