# SPDX-License-Identifier: Apache-2.0
"""Runs in the background, found again, attached to, and ended: weir run -d, ps, inspect, attach, stop, kill, rm."""

import json
import os
import subprocess
import time

import pytest

from attachments import check_pipes, check_shell, piped
from conftest import SLACK, sanitized, wait_for


@pytest.fixture
def place(weir, monkeypatch):
    """A folder for control sockets that no other test has; root's is fixed."""
    names = []
    yield names
    for name in names:
        weir.call_as("rm", "--force", name)


def start(weir, names, name, *command, flags=()):
    names.append(name)
    audit = weir.path("audit.jsonl")
    p = subprocess.run(weir.argv(command, flags=["--detach", "--name", name, *flags], audit=audit),
                       capture_output=True, text=True, timeout=60 * SLACK, check=False,
                       env=weir.environment(None), stdin=subprocess.DEVNULL)
    return p, audit


def listed(weir, *flags):
    p = weir.call_as("ps", "--json", *flags)
    assert p.returncode == 0, p
    return {o["name"]: o for o in json.loads(p.stdout)}


# Parity: V09, V12, V16.
@pytest.mark.user
def test_life_in_the_background(weir, lab, place):
    t0 = time.monotonic()
    p, audit = start(weir, place, "bg-one", "sh", "-c", "echo begun; trap 'exit 5' TERM; sleep 300 & wait",
                     flags=["--label", "team=red", "--label", "tier=1"])
    assert p.returncode == 0 and p.stdout == "bg-one\n" and not p.stderr, p
    assert time.monotonic() - t0 < 30 * SLACK
    again, _ = start(weir, [], "bg-one", "true")
    assert again.returncode == 125 and "is running" in again.stderr, again
    mine = listed(weir, "--label", "team=red")["bg-one"]
    assert mine["labels"] == {"team": "red", "tier": "1"} and mine["detached"], mine
    assert "bg-one" not in listed(weir, "--label", "team=blue")
    assert "bg-one" in weir.call_as("ps").stdout
    seen = json.loads(weir.call_as("inspect", "bg-one").stdout)
    assert seen["state"] == "running" and seen["backend"] == weir.backend and seen["record"] == audit, seen
    assert weir.call_as("rm", "bg-one").returncode == 1  # it runs
    p = weir.call_as("stop", "bg-one")
    assert p.returncode == 0, p
    assert "bg-one" not in listed(weir)
    over = listed(weir, "--all")["bg-one"]
    assert over["status"] == 5, over
    assert json.loads(weir.call_as("inspect", "bg-one").stdout)["state"] == "ended"
    with open(audit, encoding="utf-8") as f:
        assert [e["status"] for e in map(json.loads, f) if e.get("event") == "end"] == [5]
    assert weir.call_as("rm", "bg-one").returncode == 0
    assert "bg-one" not in listed(weir, "--all") and weir.call_as("rm", "bg-one").returncode == 1


# Parity: V12.
def test_kill_and_signals(weir, place):
    p, _ = start(weir, place, "bg-two", "sh", "-c",
                 "trap '' TERM; trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done")
    assert p.returncode == 0, p
    assert wait_for(lambda: "ready" in weir.call_as("logs", "bg-two").stdout)
    assert weir.call_as("kill", "--signal", "nonsense", "bg-two").returncode == 2
    assert weir.call_as("kill", "--signal", "USR1", "bg-two").returncode == 0
    assert wait_for(lambda: listed(weir, "--all").get("bg-two", {}).get("status") == 9, 20), listed(weir, "--all")
    assert "bg-two" not in listed(weir)
    p, _ = start(weir, place, "bg-two", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    assert p.returncode == 0 and "bg-two" in listed(weir), p
    assert wait_for(lambda: "ready" in weir.call_as("logs", "bg-two").stdout)
    t0 = time.monotonic()
    assert weir.call_as("stop", "--timeout", "1", "bg-two").returncode == 0
    assert time.monotonic() - t0 >= 1
    assert listed(weir, "--all")["bg-two"]["status"] == 137


@pytest.mark.user
@pytest.mark.netns("it is about the supervisor, which is the same for machines")
def test_is_always_listed(weir, place):
    """At no moment between its start and weir rm does nobody know of it, nor is it there twice."""
    for turn in range(8):
        p, _ = start(weir, place, "bg-seen", "sleep", "0.%d" % turn)
        assert p.returncode == 0, p
        while True:
            p = weir.call_as("ps", "--json", "--all")
            mine = [o for o in json.loads(p.stdout) if o["name"] == "bg-seen"]
            assert len(mine) == 1, (turn, p)
            if mine[0].get("state") == "ended":
                break
        assert weir.call_as("rm", "bg-seen").returncode == 0


# Parity: V12.
@pytest.mark.user
@pytest.mark.netns("it is about the supervisor, which is the same for machines")
def test_by_id(weir, place):
    """What weir ps shows as its id is as good as its name, while it runs and when it is over."""
    script = "echo begun; trap 'exit 7' USR1; while :; do sleep 0.1; done"
    p, _ = start(weir, place, "bg-id", "sh", "-c", script)
    assert p.returncode == 0, p
    run = listed(weir)["bg-id"]["id"]
    assert wait_for(lambda: weir.call_as("logs", run).stdout == "begun\n")
    assert json.loads(weir.call_as("inspect", run).stdout)["name"] == "bg-id"
    assert weir.call_as("ctl", run, "status").returncode == 0
    assert weir.call_as("rm", run).returncode == 1  # it runs
    with subprocess.Popen([*weir.prefix, weir.program, "attach", "--no-input", run], stdin=subprocess.DEVNULL,
                          env=weir.environment(None)) as attached:
        assert wait_for(lambda: listed(weir)["bg-id"]["attached"] == 1)
        assert weir.call_as("kill", "--signal", "USR1", run).returncode == 0
        assert attached.wait(30 * SLACK) == 7
    assert listed(weir, "--all")["bg-id"]["id"] == run
    assert run in weir.call_as("ps", "--all").stdout
    assert weir.call_as("logs", "--follow", run).stdout == "begun\n"
    assert json.loads(weir.call_as("inspect", run).stdout)["status"] == 7
    again = weir.call_as("attach", run)
    assert again.returncode == 7 and again.stdout == "begun\n", again
    assert weir.call_as("rm", run).returncode == 0 and "bg-id" not in listed(weir, "--all")
    p, _ = start(weir, place, "bg-id", "sleep", "300")
    assert p.returncode == 0, p
    run = listed(weir)["bg-id"]["id"]
    assert weir.call_as("stop", "--timeout", "0", run).returncode == 0 and "bg-id" not in listed(weir)


# Parity: V14.
@pytest.mark.netns("a machine's longest life begins before it boots")
def test_longest_life(weir):
    r = weir.run("sh", "-c", "trap '' TERM; sleep 300", flags=["--max-duration", "1s"])
    assert r.rc == 124 and "--max-duration" in r.err, r
    assert 10 <= r.seconds < 10 + 15 * SLACK, r  # it was asked first, and had ten seconds
    assert weir.call("run", "--max-duration", "soon", "--", "true").returncode == 125


# Parity: V14.
def test_idleness(weir):
    """A machine that boots is not idle, however long it takes."""
    r = weir.run("sh", "-c", "echo here; sleep 300", flags=["--idle-timeout", "2s"])
    assert r.out == "here\n", r
    assert r.rc == 124 and "--idle-timeout" in r.err and 2 <= r.seconds < 2 + 15 * SLACK, r
    # Traffic keeps it alive: a request each half second, for five.
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do curl -sS -o /dev/null http://files.example.com/bytes/10; sleep 0.5; done"
    r = weir.sh(script, flags=["--idle-timeout", "4s" if weir.backend == "netns" else "20s"])
    assert r.rc == 0, r


def test_start_that_fails_is_told(weir, place):
    p, _ = start(weir, place, "bg-three", "sleep", "1", flags=["--capture", "/surely/not/there"])
    assert p.returncode == 125 and "/surely/not/there" in p.stderr and not p.stdout, p
    assert "bg-three" not in listed(weir, "--all")
    assert weir.call_as("rm", "bg-three").returncode == 1


# Parity: A06.
@pytest.mark.user
def test_attach(weir, place):
    p, _ = start(weir, place, "bg-tty", "sh", flags=["-it"])
    assert p.returncode == 0, p
    check_shell(weir, "bg-tty")
    p, _ = start(weir, place, "bg-cat", "cat", flags=["--interactive"])
    assert p.returncode == 0, p
    check_pipes(weir, "bg-cat")


def test_attach_to_what_only_writes(weir, place):
    """Without -i the command's input is empty; what weir attach is given goes nowhere."""
    p, _ = start(weir, place, "bg-out", "sh", "-c", "cat; echo begun; sleep 2; echo out; echo err >&2; exit 4")
    assert p.returncode == 0, p
    with piped(weir, "bg-out") as a:
        out, err = a.communicate(b"not read\n", timeout=30 * SLACK)
        assert a.returncode == 4 and out.endswith(b"out\n") and err == b"err\n", (a.returncode, out, err)
    r = weir.call_as("logs", "bg-out")
    assert "begun\nout\n" == r.stdout and r.stderr == "err\n", r


def test_who_does_not_read_is_dropped(weir, place, tmp_path):
    """The command writes on, the log has its bound, memory does not grow."""
    p, _ = start(weir, place, "bg-flood", "sh", "-c",
                 "while :; do head -c 4000000 /dev/zero | tr '\\0' x; echo; done")
    assert p.returncode == 0, p
    with piped(weir, "bg-flood") as stuck:
        assert stuck.stdout.read(1) == b"x"
        time.sleep(3 * SLACK)  # the pipe is full, and it is given two seconds
        out, err = stuck.communicate(timeout=30 * SLACK)
        assert stuck.returncode == 125 and b"too slow" in err, (stuck.returncode, len(out), err)
        assert len(out) < 4 << 20, len(out)
    with piped(weir, "bg-flood") as quick:
        assert len(quick.stdout.read(3000000)) == 3000000  # it writes on
        quick.kill()
    pid = json.loads(weir.call_as("inspect", "bg-flood").stdout)["pid"]
    with open("/proc/%d/statm" % pid, encoding="ascii") as f:
        assert int(f.read().split()[1]) * 4096 < (400 if sanitized() else 100) << 20
    assert wait_for(lambda: "no more of it is kept" in weir.call_as("logs", "--source", "system", "bg-flood").stderr, 30)


def test_attach_refused(weir, place):
    """What attach cannot do, said so."""
    r = weir.call_as("attach", "surely-none")
    assert r.returncode == 125 and "surely-none" in r.stderr and "weir ps" in r.stderr, r
    assert weir.call_as("attach").returncode == 125 and weir.call_as("attach", "a", "b").returncode == 125
    r = weir.call_as("attach", "--detach-keys", "ctrl-?", "a")
    assert r.returncode == 125 and "--detach-keys" in r.stderr, r
    place.append("bg-fore")
    p = weir.start("sleep", "1000", flags=["--name", "bg-fore"])
    assert wait_for(lambda: "bg-fore" in listed(weir), 20)
    r = weir.call_as("attach", "bg-fore")
    assert r.returncode == 125 and "--detach" in r.stderr, r
    if weir.backend == "netns":
        r = weir.call_as("exec", "bg-fore", "true")
        assert r.returncode == 125 and "microVM" in r.stderr, r
    p.terminate()
    p.communicate()
    r = weir.run("true", flags=["--tty"])
    assert r.rc == 125 and "--tty" in r.err, r


# Parity: V23.
def test_host_name_and_limits(weir):
    script = "hostname; getent hosts box.lab; ulimit -Sn; ulimit -Hn; ulimit -c"
    r = weir.run("sh", "-c", script, flags=["--hostname", "box.lab", "--rlimit", "nofile=99:199", "--rlimit", "core=0"])
    words = r.out.split()
    assert r.rc == 0 and words[0] == "box.lab" and words[-3:] == ["99", "199", "0"] and words.count("box.lab") >= 2, r
    r = weir.run("true", flags=["--rlimit", "nofile=5:4"])
    assert r.rc == 125 and "--rlimit" in r.err and "above" in r.err, r
    assert weir.run("true", flags=["--hostname", "a_b"]).rc == 125
