# SPDX-License-Identifier: Apache-2.0
"""weir attach, the same on every backend: what tests of each ask of a sandbox in the background."""

import json
import subprocess
import threading

from conftest import SLACK, wait_for
from terminal import Terminal


def attach(weir, name, *flags, **kw):
    return Terminal([*weir.prefix, weir.program, "attach", *flags, name], patience=20 * SLACK,
                    env=weir.environment(None), **kw)


class Piped(subprocess.Popen):
    def __exit__(self, *why):
        self.kill()
        super().__exit__(*why)


def attached(weir, name):
    return json.loads(weir.call_as("inspect", name).stdout)["attached"]


def piped(weir, name, *flags, **kw):
    """weir attach at pipes; it is attached."""
    before = attached(weir, name)
    p = Piped([*weir.prefix, weir.program, "attach", *flags, name], stdin=subprocess.PIPE,
              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=weir.environment(None), **kw)
    assert wait_for(lambda: attached(weir, name) > before, 20), p.poll()
    return p


def check_shell(weir, name):
    """A06: `sh` of weir run -dit: two terminals, leaving and coming back, sizes, ^C, the end with its status."""
    with attach(weir, name) as one, attach(weir, name, "--detach-keys", "ctrl-]", rows=40, cols=90) as two:
        assert wait_for(lambda: attached(weir, name) == 2, 20)
        two.ask(b"echo here $((40+2))", b"here 42")
        one.until(b"here 42")
        one.ask(b"tty", b"/dev/pts/")
        one.resize(20, 70)
        # The next answer may be of before.
        assert wait_for(lambda: b"20 70" in one.ask(b"stty size; echo end$((1))", b"end1"), 20)
        one.ask(b"echo a\x10b$((5))", b"b5")  # the first of the keys alone means nothing
        one.type(b"\x10\x11")
        one.until(b"%s runs on" % name.encode())
        assert one.end() == 0
        with attach(weir, name) as again:
            assert wait_for(lambda: attached(weir, name) == 2, 20)
            again.ask(b"echo back $((20+3))", b"back 23")
            two.until(b"back 23")
            assert b"33 101" in again.ask(b"stty size", b"101")
            # Its own word, so that it is what the terminal's signals go to.
            again.ask(b"sh -c 'echo up$((1)); exec sleep 1000'", b"up1")
            two.type(b"\x03")
            again.until(b"^C")  # which takes away what was typed before
            again.ask(b"echo still$((1))", b"still1")
            two.type(b"\x1d")
            assert two.end() == 0
            again.type(b"exit 7\r")
            assert again.end() == 7
    seen = weir.call_as("attach", name)  # it is over: all of it
    assert seen.returncode == 7 and "here 42" in seen.stdout and "back 23" in seen.stdout, seen


def reads(process, size):
    """A thread that reads so many bytes; its result() in time, or what came."""
    came = []

    def read():
        left = size
        while left:
            piece = process.stdout.read1(left)
            if not piece:
                return
            came.append(piece)
            left -= len(piece)

    t = threading.Thread(target=read, daemon=True)
    t.start()

    def result():
        t.join(30 * SLACK)
        return b"".join(came)

    return result


def check_pipes(weir, name):
    """A06: `cat` of weir run -di: what is written comes back to all, more than fits; nobody's end is its end."""
    data = b"".join(b"line %d of what is typed\n" % i for i in range(40000))
    with piped(weir, name, "--no-input") as watcher:
        with piped(weir, name) as typist:
            both = [reads(p, 6) for p in (typist, watcher)]
            typist.stdin.write(b"first\n")
            typist.stdin.flush()
            assert [r() for r in both] == [b"first\n"] * 2
            both = [reads(p, len(data)) for p in (typist, watcher)]
            typist.stdin.write(data)
            typist.stdin.close()
            for r in both:
                seen = r()
                assert seen == data, (len(seen), len(data))
            assert typist.poll() is None  # its input has ended, the command's has not
            typist.terminate()
            assert typist.wait(20 * SLACK) == 143
        assert wait_for(lambda: attached(weir, name) == 1, 20)
        with piped(weir, name) as late:
            both = [reads(p, 5) for p in (late, watcher)]
            late.stdin.write(b"late\n")
            late.stdin.flush()
            assert [r() for r in both] == [b"late\n"] * 2
            late.kill()
        assert weir.call_as("stop", name, timeout=60).returncode == 0
        assert watcher.wait(30 * SLACK) == 143, watcher.communicate()
