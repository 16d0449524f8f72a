# SPDX-License-Identifier: Apache-2.0
"""In and out of a microVM that runs in the background: exec, shell, cp, metrics, logs. One boot, many checks."""

import filecmp
import json
import os
import signal
import stat
import subprocess
import time

import pytest

from attachments import check_pipes, check_shell
from conftest import SLACK, wait_for
from terminal import Terminal
from test_microvm import PATIENCE, cache, machines, vm  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.netns("boots machines of its own")]


class Box:
    def __init__(self, weir):
        self.weir = weir
        self.boot("sh", "-c", "echo begun; echo bad >&2; exec sleep 1000")

    def boot(self, *command, flags=()):
        r = self.weir.call(*self.weir.argv(command, audit=self.weir.path("audit"),
                                           flags=[*self.weir.machine, "--detach", "--name", "box", *flags])[1:],
                           timeout=PATIENCE)
        assert r.returncode == 0 and r.stdout == "box\n", r

    def exec(self, *words, **kw):
        return self.weir.call("exec", *words[:-1], "box", "--", *words[-1], **kw)

    def sh(self, script, **kw):
        return self.exec(["sh", "-c", script], **kw)


@pytest.fixture
def box(vm, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    b = Box(vm)
    yield b
    vm.call("rm", "--force", "box")
    assert wait_for(lambda: not machines("box")), machines("box")


def check_exec(box):
    """A01, A03, A05, A07: output, code, input, user, folder, variables, limits, timeout, failures."""
    r = box.sh("echo out; echo err >&2; exit 7")
    assert (r.returncode, r.stdout, r.stderr) == (7, "out\n", "err\n"), r
    text = "".join("line %d\n" % i for i in range(100000))
    r = box.exec(["cat"], stdin=text, timeout=60)
    assert r.returncode == 0 and r.stdout == text, (r.returncode, len(r.stdout), r.stderr)
    r = box.exec("--workdir", "/etc", "--env", "A=b c", "--user", "65534:65534", "--rlimit", "nofile=99",
                 ["sh", "-c", "pwd; echo $A; id -u; id -g; ulimit -n"])
    assert r.stdout.split("\n") == ["/etc", "b c", "65534", "65534", "99", ""], r
    assert box.exec("--timeout", "1", ["sleep", "100"]).returncode == 124
    assert box.exec(["surely-not-there"]).returncode == 127
    assert box.exec(["/etc/passwd"]).returncode == 126
    r = box.exec("--user", "surely-nobody", ["true"])
    assert r.returncode == 125 and "surely-nobody" in r.stderr, r
    r = box.weir.call("exec", "no-such-box", "true")
    assert r.returncode == 125 and r.stderr, r


def check_side_by_side(box):
    """A02: several at once, and one that is killed takes its own command along, nobody else's."""
    many = [subprocess.Popen([box.weir.program, "exec", "box", "--", "sh", "-c", "sleep 1; echo %d" % i],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for i in range(8)]
    lost = subprocess.Popen([box.weir.program, "exec", "box", "--", "sleep", "98765"], stdin=subprocess.DEVNULL)
    assert wait_for(lambda: box.sh("ps | grep -q '[s]leep 98765'").returncode == 0, 20)
    lost.kill()
    lost.wait()
    assert wait_for(lambda: box.sh("ps | grep -q '[s]leep 98765'").returncode == 1, 20)
    for i, p in enumerate(many):
        assert p.communicate(timeout=30 * SLACK)[0] == b"%d\n" % i
    polite = subprocess.Popen([box.weir.program, "exec", "box", "--", "sh", "-c", "trap 'exit 9' TERM; echo up;"
                               "while :; do sleep 0.1; done"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert polite.stdout.readline() == b"up\n"
    polite.send_signal(signal.SIGTERM)
    assert polite.wait(20 * SLACK) == 9


def check_cp(box, tmp):
    """F04: files and folders both ways: bytes, modes, times, links; what is refused."""
    cp = lambda *a: box.weir.call("cp", *a, timeout=60)  # noqa: E731
    tree = os.path.join(tmp, "tree")
    os.makedirs(tree + "/a/b")
    with open(tree + "/a/big", "wb") as f:
        f.write(os.urandom(1500007))
    with open(tree + "/a/b/tool", "w", encoding="ascii") as f:
        f.write("#!/bin/sh\n")
    os.chmod(tree + "/a/b/tool", 0o4751)
    os.utime(tree + "/a/big", (1234567890, 1234567890))
    os.symlink("../../etc/passwd", tree + "/a/link")
    assert cp(tree, "box:/tmp").returncode == 0
    r = box.sh("cd /tmp/tree/a && sha256sum < big; readlink link; ls -l b/tool")
    assert "../../etc/passwd" in r.stdout and "-rwsr-x--x" in r.stdout, r
    r = cp("box:/tmp/tree", tmp + "/back")
    assert r.returncode == 0, r
    assert filecmp.cmp(tree + "/a/big", tmp + "/back/a/big", shallow=False)
    assert os.readlink(tmp + "/back/a/link") == "../../etc/passwd"
    assert os.stat(tmp + "/back/a/b/tool").st_mode & 0o7777 == 0o751  # what a guest says sets no user id here
    assert os.stat(tmp + "/back/a/big").st_mtime == 1234567890
    assert cp("box:/etc/passwd", tmp).returncode == 0 and os.path.exists(tmp + "/passwd")
    assert cp("box:/none", tmp).returncode == 1 and cp(tmp + "/none", "box:/tmp/x").returncode == 1
    assert cp(tmp, tmp).returncode == 2
    # A link that is in the way here is replaced, not followed.
    os.symlink(tmp + "/victim", tmp + "/out")
    assert cp("box:/etc/passwd", tmp + "/out").returncode == 0
    assert not os.path.exists(tmp + "/victim") and not os.path.islink(tmp + "/out")


def check_terminal(box):
    """A04, A06: a shell with a terminal of our size; detach keys end it."""
    with Terminal([box.weir.program, "shell", "box"], patience=20 * SLACK) as t:
        t.until(b"# ")
        t.ask(b"stty size; tty", b"33 101")
        t.until(b"/dev/pts/")
        t.ask(b"echo a\x10b", b"b")  # the first of the keys alone means nothing
        t.ask(b"echo $((6*7))", b"42")
        t.type(b"\x10\x11")
        assert t.end() == 0
    with Terminal([box.weir.program, "exec", "-it", "box", "sh", "-c", "tty; exit 9"], patience=20 * SLACK) as t:
        t.until(b"/dev/pts/")
        assert t.end() == 9


def check_clock(box):
    """A clock that is wrong is set right; SIGCONT (somebody went on) has it looked at now."""
    off = lambda: abs(int(box.sh("date +%s").stdout) - time.time())  # noqa: E731
    assert off() < 30
    assert box.sh("date -s @1000000000").returncode == 0 and off() > 1e8
    assert box.weir.call("kill", "--signal", "CONT", "box").returncode == 0
    assert wait_for(lambda: off() < 30, 30), off()


def check_layer(box):
    """What the machine deletes leaves the file that takes its writes."""
    (pid,) = machines("box")[:1]

    def kept():
        """Of files without a name; the machine's memory is one, too."""
        sizes = [0]
        for fd in os.listdir("/proc/%d/fd" % pid):
            path = "/proc/%d/fd/%s" % (pid, fd)
            st = os.stat(path)
            if stat.S_ISREG(st.st_mode) and st.st_nlink == 0 and "memfd" not in os.readlink(path):
                sizes.append(st.st_blocks * 512)
        return max(sizes)

    assert "discard" in box.sh("grep ' / ' /proc/mounts").stdout
    before = kept()
    assert box.sh("dd if=/dev/urandom of=/big bs=1M count=40; sync").returncode == 0
    assert kept() > before + (39 << 20), (before, kept())
    assert box.sh("rm /big; sync").returncode == 0
    assert wait_for(lambda: kept() < before + (4 << 20), 30), (before, kept())


def check_metrics_and_logs(box):
    """O01, O05: what the machine uses; what its command wrote."""
    r = box.weir.call("metrics", "--json", "box")
    m = json.loads(r.stdout)
    assert m["cpus"] >= 1 and 100 << 20 < m["memory_bytes"] < 300 << 20 and m["processes"] > 3, m
    assert 0 < m["memory_available_bytes"] < m["memory_bytes"] and 0 <= m["cpu_percent"] <= 100, m
    assert "CPU" in box.weir.call("metrics", "box").stdout
    r = box.weir.call("logs", "box")
    assert "begun\n" in r.stdout and "bad\n" in r.stdout + r.stderr, r
    assert box.weir.call("logs", "no-such-box").returncode == 1


# Parity: A01 to A08, F04, O01, O05.
def test_in_and_out_of_one_machine(box, lab, tmp_path):
    check_exec(box)
    check_side_by_side(box)
    check_cp(box, str(tmp_path))
    check_terminal(box)
    check_clock(box)
    check_layer(box)
    check_metrics_and_logs(box)
    # weir attach ends with the sandbox, and as it does.
    p = subprocess.Popen([box.weir.program, "attach", "box"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.5)
    assert p.poll() is None
    assert box.weir.call("stop", "box", timeout=60).returncode == 0
    assert p.wait(30 * SLACK) == 143, p.communicate()
    assert box.weir.call("exec", "box", "true").returncode == 125


# Parity: A06, V23.
def test_attach(box):
    assert box.weir.call("rm", "--force", "box").returncode == 0
    box.boot("sh", flags=["-it"])
    check_shell(box.weir, "box")
    box.boot("cat", flags=["-i", "--hostname", "inner.lab", "--rlimit", "nofile=88:188"])
    r = box.sh("hostname; ulimit -Sn; ulimit -Hn")
    assert r.stdout.split() == ["inner.lab", "88", "188"], r
    check_pipes(box.weir, "box")
