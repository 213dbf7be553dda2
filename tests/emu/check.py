# SPDX-License-Identifier: MIT
# Judges a run: lists what is wrong with it. A guest's word counts only by its SUMMARY line.
import difflib
import re

from tests.emu import console

EMULATOR_WRONG = re.compile(r"^SKIP (.*) \[Bochs .*\]$")


def matches(expected, text):
    return text.startswith(expected[:-1]) if expected.endswith("*") else text == expected


def guest_faults(scenario, seen, guest):
    """What is wrong with one VM's output and end."""
    faults = []
    end = seen.ends.get(guest)
    if end is None:
        faults.append(f"{guest}: Bellhop did not say how it ended")
    elif not matches(scenario.end(guest), end) and not end.startswith(scenario.end(guest) + " ("):
        faults.append(f"{guest}: {end}, not {scenario.end(guest)}")
    if guest in scenario.summary:
        faults += summary_faults(guest, scenario.stub[guest], seen.guests.get(guest, []))
    return faults


def summary_faults(guest, stub, lines):
    found = console.summaries(lines)
    if len(found) != 1:
        return [f"{guest}: {len(found)} SUMMARY lines instead of one"]
    name, passed, failed, _ = found[0]
    counted = sum(line.startswith("FAIL ") for line in lines)
    if name != stub:
        return [f"{guest}: its SUMMARY line names {name}"]
    if failed or counted:
        return [f"{guest}: {max(failed, counted)} failed"]
    return [] if passed else [f"{guest}: nothing passed"]


def refusal_faults(scenario, seen):
    """A refusal is one line, the last one, and nothing of a guest."""
    faults = []
    if not seen.said or not matches(scenario.refusal, seen.said[-1]):
        faults.append(f"its last line is not the refusal \"{scenario.refusal}\"")
    if seen.guests:
        faults.append("a guest ran in spite of the refusal")
    return faults


def table_faults(scenario, seen):
    """The table is there, complete, and 0 where it has to be."""
    name = scenario.keys.get("table")
    if not name:
        return []
    tables = [console.tables(seen.guests.get(guest, [])).get(name) for guest in scenario.guests]
    tables = [[row.split(",") for row in table] for table in tables if table]
    if not tables:
        return [f"the table {name} is missing"]
    header = tables[0][0]
    body = [row for table in tables for row in table[1:]]
    faults = [f"{name}: a row of {len(row)} columns under {len(header)}"
              for row in body if len(row) != len(header)]
    if len(body) != int(scenario.keys.get("rows", len(body))):
        faults.append(f"{name}: {len(body)} rows, not {scenario.keys['rows']}")
    for column in (text.strip() for text in scenario.keys.get("zero", "").split(",") if text.strip()):
        if column not in header:
            faults.append(f"{name}: no column {column}")
        elif any(row[header.index(column)] != "0" for row in body if len(row) == len(header)):
            faults.append(f"{name}: {column} is not 0 in each row")
    return faults


def faults(scenario, seen, outcome):
    """Everything that is wrong with a run under Bellhop."""
    found = []
    if outcome.timed_out:
        found.append(f"no end after {scenario.timeout:.0f} s")
    if outcome.fault:
        found.append(outcome.fault)
    if scenario.refusal:
        return found + refusal_faults(scenario, seen)
    if not seen.complete:
        found.append("Bellhop did not say \"end of run\"")
    for guest in scenario.guests:
        found += guest_faults(scenario, seen, guest)
    return found + table_faults(scenario, seen)


def transcript(lines):
    """What must be the same natively and virtually: no counts, tables of measurements or remarks (#)."""
    return [line for line in lines if line and not line.startswith(("SUMMARY ", "CSV ", "# "))]


def forgiven(native, virtual):
    """The native transcript, its `SKIP guest: text [Bochs …]` taken for the PASS that Bellhop has there.

    So a stub says where it knows the emulator to be wrong; its source has the manual's sentence beside it.
    """
    passed = set(line for line in virtual if line.startswith("PASS "))
    result = []
    for line in native:
        skip = EMULATOR_WRONG.match(line)
        result.append(f"PASS {skip[1]}" if skip and f"PASS {skip[1]}" in passed else line)
    return result


def native_faults(guest, virtual, native):
    """Where the bare machine and Bellhop disagree, beyond what the emulator is known to do wrong."""
    found = console.summaries(native)
    if len(found) != 1 or found[0][0] != guest:
        return [f"natively: {len(found)} SUMMARY lines of {guest} instead of one"]
    virtual = transcript(virtual)
    native = forgiven(transcript(native), virtual)
    return differences(native, virtual, "natively", "under Bellhop")


def differences(one, other, whose, others):
    """The lines of one transcript only (-) and of the other only (+)."""
    found = list(difflib.unified_diff(one, other, lineterm="", n=0))[2:]
    return [f"{whose} (-) and {others} (+): {line}" for line in found if not line.startswith("@@")]
