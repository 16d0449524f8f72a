# SPDX-License-Identifier: Apache-2.0
"""A program at a terminal of its own, as a person has it."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time


class Terminal:
    def __init__(self, argv, rows=33, cols=101, patience=20, **kw):
        self.leader, self.follower = pty.openpty()
        self.patience, self.out = patience, b""
        self._size(rows, cols)
        self.before = termios.tcgetattr(self.follower)
        self.process = subprocess.Popen(argv, preexec_fn=self._control, **{
            "stdin": self.follower, "stdout": self.follower, "stderr": self.follower, **kw})

    @staticmethod
    def _control():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def _size(self, rows, cols):
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def resize(self, rows, cols):
        self._size(rows, cols)
        os.kill(self.process.pid, signal.SIGWINCH)

    def until(self, text):
        """Reads on; what stands behind the text is for the next time."""
        end = time.monotonic() + self.patience
        while text not in self.out and time.monotonic() < end:
            if select.select([self.leader], [], [], 0.5)[0]:
                self.out += os.read(self.leader, 4096)
        assert text in self.out, (text, self.out, self.process.poll())
        seen, self.out = self.out.split(text, 1)
        return seen + text

    def type(self, data):
        os.write(self.leader, data)

    def ask(self, line, text):
        """A command line of a shell, and what it answers (which is not in the line)."""
        self.type(line + b"\r")
        return self.until(text)

    def end(self):
        """The status; the terminal is as it was."""
        status = self.process.wait(self.patience)
        assert termios.tcgetattr(self.follower) == self.before
        return status

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.follower)
