# SPDX-License-Identifier: MIT
# The machine's serial line as a pseudo-terminal: what comes out is kept in a file, what is typed goes in.
import os
import re
import select
import sys
import termios
import threading
import tty


class Line:
    """`path` is for the emulator; `seen` is all that came out so far."""

    def __init__(self, file):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self.seen = b""
        # The terminal holds 4 KiB and the emulator does not wait: somebody has to read all the time.
        self._reader = threading.Thread(target=self._read, args=(file,), daemon=True)
        self._reader.start()

    def _read(self, file):
        with open(file, "wb", buffering=0) as out:
            while True:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    return
                out.write(data)
                self.seen += data

    def type(self, data):
        if data:
            os.write(self.master, data)

    def close(self):
        """When the emulator has ended: the last one to close the far end ends the reader."""
        os.close(self.slave)
        self._reader.join(5)
        os.close(self.master)


class Script:
    """Types each answer once the output after the one before matches its pattern: [(pattern, answer), …]."""

    def __init__(self, steps):
        self.steps = list(steps)
        self.after = 0

    def __call__(self, seen):
        if not self.steps:
            return b""
        pattern, answer = self.steps[0]
        found = re.compile(pattern.encode()).search(seen, self.after)
        if not found:
            return b""
        self.after = found.end()
        self.steps.pop(0)
        return answer


class Keyboard:
    """Our own terminal, raw: shows what comes out, types what is typed. Ctrl-] sets `ended`."""

    def __init__(self):
        self.shown = 0
        self.ended = False

    def __enter__(self):
        self.before = termios.tcgetattr(sys.stdin)
        tty.setraw(sys.stdin)
        return self

    def __exit__(self, *_):
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.before)

    def __call__(self, seen):
        os.write(sys.stdout.fileno(), seen[self.shown:])
        self.shown = len(seen)
        if not select.select([sys.stdin], [], [], 0)[0]:
            return b""
        typed, end, _ = os.read(sys.stdin.fileno(), 1024).partition(b"\x1d")
        self.ended |= bool(end)
        return typed
