# SPDX-License-Identifier: Apache-2.0
"""The walls: what the sandbox cannot reach around the network, and what is left when weir dies."""

import json
import os
import random
import signal
import socket
import stat
import subprocess
import time

import pytest
from conftest import SLACK, wait_for
from test_secrets import command, descendants


def listener(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind("\0" + path[1:] if path.startswith("@") else path)
    s.listen()
    if not path.startswith("@"):
        os.chmod(path, 0o777)
    return s


# Parity: n29.
@pytest.mark.netns("sockets of the host")
def test_unix_sockets_of_the_host(weir):
    paths = ["/run/weir-test.sock", "/tmp/weir-test-%d.sock" % os.getpid(),
             weir.tmp + "/host.sock", "@weir-test-abstract"]
    held = [listener(p) for p in paths]
    try:
        r = weir.guest("sockets", *paths)
    finally:
        for p, s in zip(paths, held):
            s.close()
            if not p.startswith("@"):
                os.unlink(p)
    for p in paths:
        assert r.json[p] != "connected", (p, r)
    assert r.json["vsock"] != "made" and r.json["bluetooth"] != "made", r


@pytest.mark.user
@pytest.mark.netns("the host's kernel, and who may do what in namespaces")
def test_kernel_knobs_and_devices(weir):
    script = ("for f in /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/core_pattern "
              "/proc/sysrq-trigger /sys/kernel/mm/transparent_hugepage/enabled; do "
              "(echo 1 > $f) 2>/dev/null && echo WROTE $f; done; "
              "ls /dev; mount -t tmpfs none /mnt 2>/dev/null && echo MOUNTED; "
              "umount /run 2>/dev/null && echo UNMOUNTED; umount /etc/resolv.conf 2>/dev/null && "
              "echo UNMOUNTED; unshare -Urn true 2>/dev/null && echo NESTED; "
              "ip link set eth0 down 2>/dev/null && echo LINKDOWN; "
              "ip addr add 192.0.0.3/29 dev eth0 2>/dev/null && echo ADDED; "
              "dmesg >/dev/null 2>&1 && echo DMESG; "
              "cat /proc/1/environ 2>/dev/null | grep -c LAB_; true")
    r = weir.sh(script)
    for word in ("WROTE", "MOUNTED", "UNMOUNTED", "LINKDOWN", "ADDED"):
        assert word not in r.out, r
    assert "kvm" not in r.out.split() and "sda" not in r.out.split() and "null" in r.out.split(), r


@pytest.mark.netns("a machine's /proc has its own kernel's threads")
def test_processes_of_the_host_are_out_of_sight(weir):
    r = weir.sh("ls -d /proc/[0-9]* | wc -l; kill -9 -1; true")
    assert int(r.out.split()[0]) < 12, r
    assert os.path.exists("/proc/self")


def finish(p, seconds=20):
    out, err = p.communicate(timeout=seconds * SLACK)
    return p.returncode, (out or b"").decode(), err.decode()


@pytest.mark.user
@pytest.mark.netns("covers over the host's files")
def test_working_directory_is_no_hold_on_what_is_covered(weir):
    """A process that stands in /dev or /run would go on seeing the host's."""
    for place in ("/dev", "/run"):
        p = weir.start("sh", "-c", "pwd; ls -A . | sort; echo; ls -A %s | sort" % place, cwd=place)
        rc, out, err = finish(p)
        here, there = out.split("\n\n")
        assert rc == 0 and here == place + "\n" + there.rstrip("\n"), (out, err)
    lost = weir.path("lost")
    os.mkdir(lost)
    p = weir.start("pwd", cwd=lost, preexec_fn=lambda: os.rmdir(lost))
    rc, out, err = finish(p)
    assert (rc, out) == (0, "/\n") and "working directory" in err, (out, err)


@pytest.mark.netns("devices of the host")
def test_devices_outside_of_dev_are_dead(weir):
    node = weir.path("null")
    os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.chmod(node, 0o666)
    r = weir.sh("cat %s && echo OPENED; echo x > /dev/null && head -c 3 /dev/zero | wc -c" % node)
    assert r.out == "3\n" and "denied" in r.err, r


@pytest.mark.user
@pytest.mark.netns("covers over the host's files")
def test_directory_as_a_standard_descriptor_is_refused(weir):
    """openat() on it would walk the host's mounts, below every cover."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        rc, out, err = finish(weir.start("true", stdin=fd))
    finally:
        os.close(fd)
    assert rc == 125 and "standard input is a directory" in err, (out, err)


def test_started_with_the_end_of_children_ignored(weir):
    p = weir.start("sh", "-c", "echo here; exit 3",
                   preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    rc, out, err = finish(p)
    assert (rc, out) == (3, "here\n"), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_killed_while_it_waits_for_a_secret(weir, number):
    fifo = weir.path("fifo")
    os.mkfifo(fifo)
    p = weir.start("true", flags=["--secret-file", "KEY=%s@api.example.com" % fifo])
    assert wait_for(lambda: len(descendants(p.pid)) > 1)
    pids = with_start(descendants(p.pid))
    p.send_signal(number)
    assert finish(p)[0] == -number
    assert wait_for(lambda: not alive(pids)), alive(pids)


def test_failed_start_is_on_the_record(weir):
    r = weir.run("true", flags=["--secret-file", "KEY=%s@api.example.com" % weir.file("key", "")])
    assert r.rc == 125 and "at least 8 bytes" in r.err, r
    (e,) = r.find("run", event="failed")
    assert "at least 8 bytes" in e["detail"], r


@pytest.mark.user
@pytest.mark.netns("covers over the host's files")
def test_earlier_records_are_covered(weir):
    state = weir.path("state")
    audit = os.path.join(state, "weir", "audit")
    weir.prefix += ["env", "XDG_STATE_HOME=" + state]
    os.makedirs(audit, 0o700)
    for d, _, _ in os.walk(state):
        os.chown(d, os.stat(weir.tmp).st_uid, os.stat(weir.tmp).st_gid)
    old = os.path.join(audit, "old.jsonl")
    with open(old, "w", encoding="utf-8") as f:
        f.write("kept\n")
    os.chmod(old, 0o666)
    r = weir.sh("ls -A %s; echo x > %s; rm -f %s; touch %s/new; mv %s %s.x; true" %
                (audit, old, old, audit, audit, audit))
    assert r.out == "", r
    with open(old, encoding="utf-8") as f:
        assert f.read() == "kept\n"
    assert os.listdir(audit) == ["old.jsonl"]


def test_what_is_covered_has_one_name(weir):
    """A hard link is a second way to the same file."""
    key, audit = weir.file("key", "0123456789abcdef"), weir.file("audit.jsonl", "")
    for path in (key, audit):
        os.link(path, path + ".other")
    r = weir.run("true", flags=["--secret-file", "KEY=%s@api.example.com" % key])
    assert r.rc == 125 and "hard links" in r.err, r
    rc, out, err = finish(weir.start("true", audit=audit))
    assert rc == 125 and "hard links" in err, (out, err)


@pytest.mark.user
@pytest.mark.netns("what a command on the host's kernel may do")
def test_privileges(weir):
    """Root keeps what installing packages takes; an ordinary user's command has nothing at all."""
    r = weir.sh("id -u; grep -E 'NoNewPrivs|Cap|Seccomp:' /proc/self/status")
    uid, _, text = r.out.partition("\n")
    status = dict(line.split(":\t") for line in text.strip().splitlines())
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", r
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb") + (("CapBnd",) if uid == "0" else ()):
        held = int(status[name], 16)
        assert uid == "0" or held == 0, (name, r)
        # Nothing that changes mounts, links or the machine.
        for bit in (12, 16, 17, 19, 21, 22, 25, 27, 39):
            assert not held >> bit & 1, (name, bit, r)


@pytest.mark.machine
def test_spoofed_packets_go_nowhere(weir, lab):
    """Frames with other sources, written straight to the link, have no effect."""
    code = ("import socket\n"
            "try:\n"
            " s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\n s.bind(('eth0',0))\n"
            " for n in range(0,2000,7): s.send(b'\\x02weir\\x01'+b'\\x02evil\\x02'+"
            "b'\\x08\\x00'+bytes([0x45])+bytes(n%1400+20))\n"
            "except OSError as e: pass\n"
            "import urllib.request as u\n"
            "print(u.urlopen('http://api.example.com/').status)\n")
    r = weir.run("/usr/bin/python3", "-c", code)
    assert r.out == "200\n", r


def alive(pids):
    out = []
    for p, start in pids:
        try:
            with open("/proc/%d/stat" % p, encoding="utf-8", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
                if fields[19] == start and fields[0] != "Z":
                    out.append((p, command(p)))
        except OSError:
            pass
    return out


def with_start(pids):
    out = []
    for p in pids:
        try:
            with open("/proc/%d/stat" % p, encoding="utf-8", errors="replace") as f:
                out.append((p, f.read().rpartition(")")[2].split()[19]))
        except OSError:
            pass
    return out


def name_of(pid):
    try:
        with open("/proc/%d/comm" % pid, encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return ""


def namespaces():
    out = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in ("net", "mnt", "pid"):
            try:
                out.add(os.readlink("/proc/%s/ns/%s" % (pid, kind)))
            except OSError:
                pass
    return out


@pytest.mark.parametrize("victim", range(6))
@pytest.mark.netns("its processes; test_microvm.py kills a machine's")
def test_nothing_is_left_when_any_process_is_killed(weir, lab, victim):
    """Kills the Nth process of the tree at a random moment; the rest must go by itself."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        mounts = f.read()
    before = namespaces()
    p = weir.start("sh", "-c", "echo ready; curl -sS 'https://slow.example.com/drip?n=400&ms=50'; "
                   "sleep 60", flags=["--secret", "LAB_TOKEN@api.example.com"],
                   env={"HOME": weir.tmp})
    try:
        assert p.stdout.readline() == b"ready\n", p.stderr.read()
        time.sleep(random.uniform(0, 0.4))
        tree = descendants(p.pid)
        if victim >= len(tree):
            pytest.skip("only %d processes" % len(tree))
        pids = with_start(tree)
        what, name = command(tree[victim]), name_of(tree[victim])
        os.kill(tree[victim], signal.SIGKILL)
        inner = {c for _, c in alive(pids)} and what.startswith(("curl", "sh -c"))
        if (inner and "sleep" not in what) or name == "weir-tlsproxy":
            p.terminate()  # the command's own process died: a normal end; that one has a successor
        left = wait_for(lambda: not alive(pids), 6)
        assert left, ("killed", what, "left", alive(pids))
        assert p.wait(5 * SLACK) != 0
    finally:
        p.kill()
        p.wait()
    wait_for(lambda: namespaces() <= before, 3)
    assert namespaces() <= before, namespaces() - before
    with open("/proc/self/mounts", encoding="utf-8") as f:
        assert f.read() == mounts


def has_successor(p):
    """The record may not be there yet."""
    if not os.path.exists(p.audit_path):
        return False
    with open(p.audit_path, "rb") as f:
        return b'"tlsproxy_started"' in f.read()


@pytest.mark.netns("its processes; test_microvm.py kills a machine's")
def test_killed_at_any_moment_of_the_start(weir):
    """Forty starts; one of our own processes dies in each, some before the command runs."""
    before = namespaces()
    for n in range(40):
        p = weir.start("sh", "-c", "while :; do curl -sS -m 2 https://api.example.com/; done",
                       flags=["--secret", "LAB_TOKEN@api.example.com"], stdout=subprocess.DEVNULL)
        time.sleep(random.uniform(0, (0.01, 0.04, 0.12)[n % 3]))
        pids = with_start(descendants(p.pid))
        ours = [pid for pid, _ in pids if name_of(pid).startswith("weir")]
        victim = random.choice(ours or [p.pid])
        what = name_of(victim)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            p.kill()  # a helper that had ended by itself
            victim = p.pid
        # The tlsproxy may not have its own name yet.
        if victim != p.pid and wait_for(lambda: p.poll() is not None or has_successor(p), 20) \
                and p.poll() is None:
            p.kill()  # it lives on
            victim = p.pid
        rc, _, err = finish(p, 8)
        # The command itself has pid 1's name until it is executed; its end is told as it is.
        assert rc == (-signal.SIGKILL if victim == p.pid else 125) or (
            what == "weir-init" and rc == 137), (n, what, rc, err)
        assert wait_for(lambda: not alive(pids)), (n, what, alive(pids))
        if not os.path.exists(p.audit_path):
            assert victim == p.pid, (n, what, err)
            continue
        with open(p.audit_path, encoding="utf-8") as f:
            events = [json.loads(line) for line in f]
        if victim != p.pid:
            assert rc == 137 or "failed" in [e.get("event") for e in events], (n, what, err)
        if events:
            assert weir.call("audit", p.audit_path).returncode == 0, (n, what)
    assert wait_for(lambda: namespaces() <= before, 3), namespaces() - before


@pytest.mark.netns("user ids of namespaces")
def test_root_of_a_user_namespace_may_run_it(weir):
    """A container's root, who has no other ids to become."""
    weir.prefix = ["unshare", "-Ur", *weir.prefix]
    r = weir.sh("id -u; cat /proc/self/uid_map; curl -sS http://api.example.com/ | head -c 12",
                flags=["--secret", "LAB_TOKEN@api.example.com"])
    assert r.rc == 0 and '{"authorized' in r.out, r


@pytest.mark.netns("its namespaces; test_microvm.py looks for what a machine leaves")
def test_start_and_end_twenty_times_leaves_nothing(weir):
    before = namespaces()
    there = set(os.listdir("/run/weir")) if os.path.exists("/run/weir") else set()
    for _ in range(20):
        assert weir.run("true").rc == 0
    wait_for(lambda: namespaces() <= before, 3)
    assert namespaces() <= before
    assert not [n for n in os.listdir("/run") if "weir-" in n], os.listdir("/run")
    # Sandboxes that other tests killed may have left lock files, which nobody holds.
    left = set(os.listdir("/run/weir")) - there
    assert not left, "control sockets or lock files are left: %s" % left
