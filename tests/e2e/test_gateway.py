# SPDX-License-Identifier: Apache-2.0
"""`weir gateway`: links of machines that somebody else runs. The machine is linkguest.py here,
a network namespace behind the link; real ones are in test_qemu.py."""

import json
import os
import signal
import socket
import stat
import subprocess

import pytest

import data
from conftest import EXAMPLE, HERE, SLACK, wait_for

LINKGUEST = os.path.join(HERE, "linkguest.py")


class Gateway:
    """One `weir gateway` that is ready, and the machines behind it."""

    def __init__(self, weir):
        self.weir, self.p = weir, None

    def start(self, link, policy=EXAMPLE, flags=(), env=None, fds=(), ready=True):
        weir = self.weir
        self.audit = weir.path("audit.jsonl")
        self.name = "gw-" + os.path.basename(self.audit).split("-")[0]
        argv = [*weir.prefix, weir.program, "gateway", "--link", link, "--name", self.name,
                "--upstream-ca", os.environ["LAB_CA"], "--audit", self.audit]
        if isinstance(policy, dict):
            argv += ["--policy", weir.file("policy.json", policy)]
        elif policy:
            argv += ["--policy", policy]
        self.p = subprocess.Popen([*argv, *flags], env=weir.environment(env), pass_fds=fds,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.line = self.p.stdout.readline() if ready else None
        if ready and not self.line:
            pytest.fail("not ready: " + self.p.stderr.read())
        return self

    def events(self, kind, **want):
        if not os.path.exists(self.audit):
            return []
        with open(self.audit, encoding="utf-8") as f:
            all_events = [json.loads(x) for x in f.read().splitlines(True) if x.endswith("\n")]
        return [e for e in all_events if e["kind"] == kind and
                all(e.get(k) == v for k, v in want.items())]

    def machine(self, link, *command, **kw):
        """Starts one."""
        hold = ["--hold"] if kw.pop("hold", False) else []
        return subprocess.Popen([*self.weir.prefix, "/usr/bin/python3", "-B", self.weir.linkguest,
                                 link, *hold, "--", *command], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True,
                                env=self.weir.environment(None), **kw)

    def run(self, link, *command, **kw):
        """A machine that runs one command: its status, output, errors."""
        p = self.machine(link, *command, **kw)
        out, err = p.communicate(timeout=60 * SLACK)
        return p.returncode, out, err

    def end(self, sig=signal.SIGTERM):
        """Told to end; its status and what it said."""
        if self.p.poll() is None and sig:
            self.p.send_signal(sig)
        out, err = self.p.communicate(timeout=20 * SLACK)
        assert "Sanitizer" not in err and "runtime error" not in err, err
        return self.p.returncode, out, err


@pytest.fixture
def gateway(weir, lab):
    weir.linkguest = os.path.join(lab.tmp, "linkguest.py")
    with open(LINKGUEST, encoding="utf-8") as f, open(weir.linkguest, "w", encoding="utf-8") as to:
        to.write(f.read())
    started = []

    def start(link, **kw):
        started.append(Gateway(weir))
        return started[-1].start(link, **kw) if link else started[-1]

    yield start
    for g in started:
        if g.p and g.p.poll() is None:
            g.p.kill()
            g.p.communicate()


def in_its_own_namespace(g, name, *command):
    """A machine that gets the gateway's tap."""
    p = g.machine("tap:" + name, *command)
    pid = p.stdout.readline().split()[1]
    subprocess.run(["ip", "link", "set", name, "netns", pid], check=True)
    out, err = p.communicate(timeout=60 * SLACK)
    return p.returncode, out, err


def root_only(weir):
    if weir.prefix or os.geteuid() != 0:
        pytest.skip("taps are root's")


def test_tap(weir, gateway):
    root_only(weir)
    g = gateway("tap:weir0")
    assert g.line == "weir: ready: %s (%s) serves tap:weir0\n" % (
        g.name, g.events("run", event="begin")[0]["run"]), g.line
    shown = json.loads(subprocess.check_output(["ip", "-j", "link", "show", "weir0"]))[0]
    assert shown["txqlen"] == 20000 and "UP" not in shown["flags"], shown
    rc, out, err = in_its_own_namespace(g, "weir0", "sh", "-c", """
        curl -sS --max-time 20 http://files.example.com/bytes/100000 | wc -c
        curl -sS --max-time 20 http://evil.example.net/
        ping -c 1 -W 5 echo.example.com >/dev/null && echo pong""")
    assert out == "100000\npong\n" and "Could not resolve host: evil.example.net" in err, (out, err)
    assert g.events("flow", verdict="allow", name="files.example.com")
    assert g.events("dns", verdict="deny", name="evil.example.net")
    assert g.events("run", event="begin")[0]["link"] == "tap:weir0"
    # The interface went with its namespace.
    rc, _, err = g.end(None)
    assert rc == 125 and "tap:weir0: the interface is gone" in err, err
    assert g.events("run", event="link_down") and g.events("run", event="failed")


SIZE = 3000017
WORK = """
    curl -sS --max-time 20 http://files.example.com/bytes/%d | sha256sum | cut -c1-64
    /usr/bin/python3 -B $LAB_TMP/guest.py upload http://files.example.com/up %d
    curl -sS --max-time 20 http://evil.example.net/
    ping -c 1 -W 5 echo.example.com >/dev/null && echo pong""" % (SIZE, SIZE)


def check_work(g, rc, out, err):
    """Bytes both ways, a name that is refused with the refusal on the record, a ping."""
    assert rc == 0, (out, err)
    down, up, pong = out.splitlines()
    assert down == data.sha256(SIZE) and pong == "pong", out
    assert json.loads(up) == {"size": SIZE, "sha256": down}, out
    assert "Could not resolve host: evil.example.net" in err, err
    denied = g.events("dns", verdict="deny", name="evil.example.net")
    assert denied and denied[0]["denial"], denied


def two_machines(g, link):
    """One after the other; the second finds nothing of the first."""
    for n in (1, 2):
        check_work(g, *g.run(link, "sh", "-c", WORK))
        assert wait_for(lambda: len(g.events("run", event="link_down")) == n)  # noqa: B023
    assert len(g.events("run", event="link_up")) == 2
    rc, _, err = g.end()
    assert rc == 0 and not err, err
    assert g.events("run", event="end")[0]["status"] == 0
    assert {e["id"] for e in g.events("flow", verdict="allow")} == {
        e["id"] for e in g.events("flow_end")}


@pytest.mark.user
def test_stream(weir, gateway):
    path = weir.path("link.sock")
    g = gateway("stream:" + path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    two_machines(g, "stream:" + path)
    assert not os.path.exists(path)


@pytest.mark.user
@pytest.mark.parametrize("peer", [False, True], ids=["whoever is first", "peer"])
def test_dgram(weir, gateway, peer):
    ours, theirs = weir.path("weir.sock"), weir.path("machine.sock")
    g = gateway("dgram:" + ours + (",peer=" + theirs if peer else ""))
    assert stat.S_IMODE(os.stat(ours).st_mode) == 0o600
    two_machines(g, "dgram:%s,%s" % (theirs, ours))
    assert not os.path.exists(ours)


@pytest.mark.user
def test_dgram_from_nowhere(weir, gateway):
    """Who cannot be answered is told of once, and keeps nobody out."""
    ours, theirs = weir.path("weir.sock"), weir.path("machine.sock")
    g = gateway("dgram:%s,peer=%s" % (ours, theirs))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as third:
        for _ in range(3):
            nameless.sendto(b"x" * 60, ours)
        third.bind(weir.path("third.sock"))
        third.sendto(b"x" * 60, ours)
        check_work(g, *g.run("dgram:%s,%s" % (theirs, ours), "sh", "-c", WORK))
    rc, _, err = g.end()
    assert rc == 0 and "has no path" in err and len(err.splitlines()) == 1, err


@pytest.mark.user
def test_connect(weir, gateway):
    """QEMU's server=on: the machine listens, and when it goes the run is over."""
    path = weir.path("machine.sock")
    g = gateway(None)
    p = g.machine("listen:" + path, "sh", "-c", WORK)
    assert wait_for(lambda: os.path.exists(path))
    g.start("stream:%s,connect" % path)
    out, err = p.communicate(timeout=60 * SLACK)
    check_work(g, p.returncode, out, err)
    rc, _, err = g.end(None)
    assert rc == 0 and "the machine has closed it" in err, err
    assert g.events("run", event="end") and os.path.exists(path)


@pytest.mark.user
@pytest.mark.parametrize("kind", ["stream", "dgram", "seqpacket"])
def test_descriptor(weir, gateway, kind):
    ours, theirs = socket.socketpair(socket.AF_UNIX, getattr(socket, "SOCK_" + kind.upper()))
    with ours, theirs:
        g = gateway("fd:%d" % ours.fileno(), fds=[ours.fileno()])
        ours.close()
        check_work(g, *g.run("fd:%d" % theirs.fileno(), "sh", "-c", WORK,
                             pass_fds=[theirs.fileno()]))
    if kind == "dgram":  # that nobody is there shows when something is sent
        assert g.end()[0] == 0
        return
    rc, _, err = g.end(None)
    assert rc == 0 and "the machine has closed it" in err, err


@pytest.mark.user
def test_listening_descriptor(weir, gateway):
    path = weir.path("link.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.bind(path)
        os.chmod(path, 0o777)
        s.listen()
        g = gateway("fd:%d" % s.fileno(), fds=[s.fileno()])
    two_machines(g, "stream:" + path)
    assert os.path.exists(path), "not ours to remove"
