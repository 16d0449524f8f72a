# SPDX-License-Identifier: Apache-2.0
"""`weir gateway`: links of machines that somebody else runs. The machine is linkguest.py here,
a network namespace behind the link; real ones are in test_qemu.py."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest

from conftest import EXAMPLE, HERE, SLACK, wait_for

LINKGUEST = os.path.join(HERE, "linkguest.py")
CURL = ["curl", "-sS", "--max-time", "20"]


class Gateway:
    """One `weir gateway` that is ready, and the machines behind it."""

    def __init__(self, weir, link, policy=EXAMPLE, flags=(), env=None, fds=(), ready=True):
        self.weir, self.link = weir, link
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
        started.append(Gateway(weir, link, **kw))
        return started[-1]

    yield start
    for g in started:
        if g.p.poll() is None:
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
