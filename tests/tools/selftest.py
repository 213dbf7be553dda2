# SPDX-License-Identifier: MIT
# Tests of the tests: runs that must not pass do not, and the line counters see what they have to see.
import io
import sys
import unittest
from unittest import mock

from tests.bench import run as bench
from tests.emu import check, console, machine, scenario
from tests.emu import run as scenarios
from tests.lint import tree
from tests.linux import module, packages
from tests.tools import programs
from tests.tools.report import FAILED, PASSED, SHOWN, Report, Result, excerpt

GOOD = ["[  0.100000] hv:    Bellhop starts", "net| PASS net: one",
        "net| SUMMARY net 1 passed, 0 failed, 0 skipped", "[  0.200000] guest: vm net: ended: exit 0",
        "[  0.300000] hv:    end of run"]
ENDED = machine.Outcome(1.0, False)


def judged(lines, outcome=ENDED, **keys):
    """What check.faults() says of a console with these lines."""
    seen = console.Console()
    for line in lines:
        seen.feed(line)
    keys = {key.replace("_", "."): value for key, value in keys.items()}
    item = scenario.Scenario("self", {"guests": "net", **keys}, machine.Machine())
    return check.faults(item, seen, outcome)


class Runs(unittest.TestCase):
    """A run is good only if everything that was promised is there."""

    def test_good_run(self):
        self.assertEqual(judged(GOOD), [])

    def test_every_line_but_the_first_is_needed(self):
        for missing in (2, 3, 4):
            self.assertTrue(judged(GOOD[:missing] + GOOD[missing + 1:]), GOOD[missing])

    def test_summary_twice(self):
        self.assertTrue(judged(GOOD[:3] + GOOD[2:]))

    def test_summary_of_another(self):
        self.assertTrue(judged([line.replace("SUMMARY net", "SUMMARY disk") for line in GOOD]))

    def test_summary_that_counts_nothing_or_a_failure(self):
        for counts in ("0 passed, 0 failed, 1 skipped", "1 passed, 1 failed, 0 skipped"):
            self.assertTrue(judged([line.replace("1 passed, 0 failed, 0 skipped", counts) for line in GOOD]))

    def test_failure_that_the_summary_hides(self):
        self.assertTrue(judged(GOOD[:2] + ["net| FAIL net: two"] + GOOD[2:]))

    def test_wrong_end(self):
        lines = [line.replace("exit 0", "exit 1") for line in GOOD]
        self.assertTrue(judged(lines))
        self.assertEqual(judged(lines, end_net="ended: exit 1"), [])

    def test_emulator_died_or_hung(self):
        self.assertTrue(judged(GOOD, machine.Outcome(1.0, False, "Bochs stopped: 3rd exception")))
        self.assertTrue(judged(GOOD, machine.Outcome(60.0, True)))

    def test_refusal_is_exact_last_and_alone(self):
        line = "[  0.100000] config: no VM given"
        self.assertEqual(judged([line], refusal="config: no VM given"), [])
        self.assertTrue(judged([line + "s"], refusal="config: no VM given"))
        self.assertTrue(judged([line, GOOD[0]], refusal="config: no VM given"))
        self.assertTrue(judged([line, GOOD[1]], refusal="config: no VM given"))
        self.assertTrue(judged([], refusal="config: no VM given"))

    def test_table(self):
        rows = ["net| CSV routes route,lost", "net| CSV routes native,0"]
        keys = {"table": "routes", "rows": "1", "zero": "lost"}
        self.assertEqual(judged(GOOD[:1] + rows + GOOD[1:], **keys), [])
        self.assertTrue(judged(GOOD, **keys))
        self.assertTrue(judged(GOOD[:1] + rows + rows[1:] + GOOD[1:], **keys))
        self.assertTrue(judged(GOOD[:1] + [row.replace(",0", ",2") for row in rows] + GOOD[1:], **keys))


class Transcripts(unittest.TestCase):
    """The bare machine and Bellhop are compared line by line."""

    NATIVE = ["PASS net: one", "FAIL net: two", "SUMMARY net 1 passed, 1 failed, 0 skipped"]
    VIRTUAL = ["PASS net: one", "PASS net: two", "SUMMARY net 2 passed, 0 failed, 0 skipped"]

    def test_difference_is_a_fault(self):
        self.assertEqual(check.native_faults("net", self.VIRTUAL, self.VIRTUAL), [])
        self.assertEqual(len(check.native_faults("net", self.VIRTUAL, self.NATIVE)), 2)
        self.assertTrue(check.native_faults("net", self.VIRTUAL, self.NATIVE[:2]))

    def test_only_a_skip_for_the_emulators_fault_is_forgiven(self):
        for verdict, faults in (("SKIP net: two [Bochs has none]", 0), ("SKIP net: two [not here]", 2),
                                ("SKIP net: 2 [Bochs has none]", 2)):
            native = [self.NATIVE[0], verdict, self.NATIVE[2]]
            self.assertEqual(len(check.native_faults("net", self.VIRTUAL, native)), faults)


class Backends(unittest.TestCase):
    """A section's runs on the backends, and what of them is compared."""

    MANIFEST = mock.Mock(read_text=lambda: """
[backends]
runs = corei7_skylake_x regs
       sapphire_rapids posted long
[one]
guests   = net
options  = x=y
backends = yes
[two]
guests = net
long   = yes
""")

    def load(self):
        with mock.patch.object(scenario, "MANIFESTS", (self.MANIFEST,)):
            return {item.name: item for item in scenario.load()}

    def test_expansion(self):
        items = self.load()
        self.assertEqual(list(items), ["one", "one@corei7_skylake_x+regs", "one@sapphire_rapids+posted", "two"])
        self.assertEqual([item.machine.emu for item in items.values()], ["bochs", "bochs", "bochs3", "bochs"])
        with mock.patch.object(scenario.Scenario, "modules", lambda item: []):
            lines = [item.image().lines[0] for item in items.values()]
        self.assertTrue(lines[1].endswith(" 'end=bochs' 'apic=regs' 'x=y'"))
        self.assertNotIn("apic", lines[0])

    def test_long_ones_only_when_asked_for(self):
        with mock.patch.object(scenario, "MANIFESTS", (self.MANIFEST,)):
            self.assertEqual([name for name, _ in scenarios.jobs()], ["one", "one@corei7_skylake_x+regs"])
            self.assertEqual([name for name, _ in scenarios.jobs(only_long=True)],
                             ["one@sapphire_rapids+posted", "two"])
            self.assertEqual(len(scenarios.jobs(["one*"])), 3)

    def test_transcripts_are_the_same_on_each_backend(self):
        def faults(name, text):
            seen = console.Console()
            seen.feed(f"net| # {name}")
            seen.feed(f"net| {text}")
            return scenarios.backend_faults(self.load()[name], seen)

        with mock.patch.object(scenarios, "TRANSCRIPTS", scenarios.Once()):
            self.assertEqual(faults("one@corei7_skylake_x+regs", "PASS net: one"), [])
            self.assertEqual(faults("one@sapphire_rapids+posted", "PASS net: one"), [])
            self.assertEqual(len(faults("one@sapphire_rapids+posted", "SKIP net: one [not here]")), 2)


class Counting(unittest.TestCase):
    """Nothing passes by not running."""

    def test_cmocka_output(self):
        full = "1..2\nok 1 - a\nok 2 - b\n"
        good = programs.judge("t", 0, full, "")
        self.assertEqual([(result.status, result.count) for result in good], [(PASSED, 2)])
        for status, output in ((0, ""), (0, "1..2\nok 1 - a\n"), (1, full), (1, "1..1\nnot ok 1 - a\n")):
            self.assertIn(FAILED, [result.status for result in programs.judge("t", status, output, "")])

    def test_empty_session_fails(self):
        with mock.patch("builtins.print"):
            self.assertEqual(Report().close(), 1)

    def test_early_failure_is_shown(self):
        rest = [f"net| PASS net: {number}" for number in range(SHOWN)]
        self.assertEqual(excerpt("\n".join(["net| PASS net: a", "net| FAIL net: b", "FAIL net: c"] + rest)),
                         ["net| FAIL net: b", "FAIL net: c", "..."] + rest)
        self.assertEqual(excerpt("\n".join(["net| # FAIL"] + rest)), rest)
        self.assertEqual(excerpt("net| FAIL net: b\n"), ["net| FAIL net: b"])
        self.assertEqual(excerpt("\n".join(["FAIL net: b"] * 50 + rest))[SHOWN:], ["(10 more FAIL lines)", "..."] + rest)

    def test_function_lengths(self):
        source = "/* {\n} */\nstatic int\nf(int a,\n  int b)\n{\n\tputs(\"}\");\n\tif (a)\n\t{\n\t}\n}\n"
        source += "\nstruct s {\n\tint x;\n};\n"
        self.assertEqual(list(tree.functions(source)), [("f", 6, 6)])


class Bench(unittest.TestCase):
    """What became dearer, or grows with the ports, is a complaint."""

    @staticmethod
    def complaints(*rows):
        before = [{"apic": "vid", "run": "r", "operation": "cpuid", "ticks": "200", "exits": "1.00"},
                  {"apic": "vid", "run": "other", "operation": "port", "ticks": "1", "exits": "1.00"},
                  {"apic": "soft", "run": "r", "operation": "port", "ticks": "1", "exits": "1.00"}]
        keys = ("operation", "ticks", "exits")
        with mock.patch.multiple(bench, read_csv=lambda path: before, tools=lambda apic: "",
                                 baseline_tools=lambda: {"vid": ""}):
            return bench.complaints([dict(zip(keys, row)) for row in rows], "vid", "r")

    def test_regressions(self):
        self.assertEqual(self.complaints(("cpuid", "210", "1.01")), [])
        for rows in ([("cpuid", "211", "1.00")], [("cpuid", "200", "1.07")], [],
                     [("cpuid", "200", "1.00"), ("new", "1", "0.00")]):
            self.assertEqual(len(self.complaints(*rows)), 1, rows)

    def test_flatness(self):
        def judged_ports(*ticks):
            return bench.not_flat([{"vms": "1", "vcpus": "1", **dict.fromkeys(bench.COSTS, value)}
                                   for value in ticks])

        self.assertEqual(judged_ports("100", "110", "105", "100"), [])
        self.assertEqual(len(judged_ports("100", "111", "105", "100")), len(bench.COSTS))
        self.assertEqual(len(judged_ports("100", "100")), 1)


class Driver(unittest.TestCase):
    """Without headers of exactly the kernel's version what needs the driver is skipped, and says why."""

    def why_not(self, status, complaint, found, driver="yes"):
        done = mock.Mock(returncode=status, stderr=complaint)
        item = scenario.Scenario("self", {"guests": "net:linux", "driver": driver}, machine.Machine())
        module.unavailable.cache_clear()
        with mock.patch.object(packages, "why_not", return_value=None), \
             mock.patch.object(machine.Machine, "why_not", return_value=None), \
             mock.patch.object(module, "version", return_value=("6.1.0-9", "6.1.9-1")), \
             mock.patch.object(module.subprocess, "run", return_value=done), \
             mock.patch.object(module, "installed", return_value=found):
            why = item.why_not()
        module.unavailable.cache_clear()
        return why

    def test_headers(self):
        self.assertIsNone(self.why_not(0, "", "6.1.9-1"))
        self.assertIn("6.1.8-1", self.why_not(0, "", "6.1.8-1"))
        self.assertIn("E: no package", self.why_not(1, "E: no package\nmore", ""))
        self.assertIsNone(self.why_not(1, "E: no package", "", driver="no"))


def run_all():
    cases = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(stream=io.StringIO(), verbosity=0).run(cases)
    bad = result.failures + result.errors
    detail = "\n".join(text for _, text in bad)
    status = FAILED if bad or not result.testsRun else PASSED
    note = f"{result.testsRun - len(bad)} of {result.testsRun} cases"
    return [Result("tests of the tests", status, note, detail)]


def jobs():
    return [("tests of the tests", run_all)]


if __name__ == "__main__":
    print(run_all()[0])
