# SPDX-License-Identifier: MIT
# A run's own folder below build/run, so that runs at the same time do not meet.
import contextlib
import fcntl
import itertools

from tests.emu import iso

RUN = iso.ROOT / "build/run"


@contextlib.contextmanager
def claim(name):
    """The folder build/run/NAME, or NAME.2 and so on while another run has it."""
    for number in itertools.count(1):
        folder = RUN / (name if number == 1 else f"{name}.{number}")
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder
            return
