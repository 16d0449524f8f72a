# SPDX-License-Identifier: Apache-2.0
"""A command in a microVM: the whole chain with QEMU and a stock Debian kernel, from policy to exit
status. Without KVM a boot takes some five seconds on an idle machine, so each does many things."""

import fcntl
import hashlib
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

from conftest import SLACK, TOP, sanitized, wait_for

import data

LINUX = os.path.join(TOP, "build", "guest-linux")
ROOT = os.path.join(LINUX, "root")
PATIENCE = 90

pytestmark = [pytest.mark.slow, pytest.mark.netns("boots machines of its own")]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One store for all tests: what is made once is kept."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def vm(weir, cache, monkeypatch):
    if sanitized():
        pytest.skip("an instrumented agent is no static program, and so no pid 1 of a machine")
    # Not a skip: what these tests are for would go unseen. In the lab there is no network to get it.
    if not shutil.which("qemu-system-x86_64"):
        pytest.fail("qemu-system-x86_64 is missing: sh tests/packages.sh")
    if not os.path.exists(ROOT):
        pytest.fail("the machine's kernel is missing: sh tests/e2e/guest-linux.sh build/guest-linux")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    weir.backend = "qemu"
    weir.machine = ["--kernel", LINUX + "/vmlinuz", "--modules", LINUX + "/modules", "--rootfs", ROOT,
                    "--memory", "256MiB"]
    return weir


def run(vm, *command, flags=(), **kw):
    return vm.run(*command, flags=[*vm.machine, *flags], timeout=PATIENCE, **kw)


def words(out, key):
    return [x[len(key) + 1:] for x in out.splitlines() if x.startswith(key + " ")]


SCRIPT = """
echo "kernel $(uname -r)"
echo "user $(id -u)"
echo "pid1 $(cat /proc/1/comm)"
echo "host $(hostname)"
echo "resolver $(sed -n 's/nameserver //p' /etc/resolv.conf | tr '\\n' ' ')"
echo "address $(ip -o addr show dev eth0 | sed 's/.*inet6* //; s/ .*//' | tr '\\n' ' ')"
echo "greeting $GREETING"
echo "motd $(cat /etc/motd)"
echo "mine $HOME_OF_WEIR"
echo "input $(sha256sum | sed 's/ .*//')"
curl -sS --max-time 60 http://files.example.com/bytes/300017 | sha256sum | sed 's/ .*//; s/^/down /'
head -c 200003 /dev/urandom >/tmp/up
sha256sum </tmp/up | sed 's/ .*//; s/^/sent /'
echo "up $(curl -sS --max-time 60 -T /tmp/up http://files.example.com/up)"
curl -sS --max-time 20 http://evil.example.net/; echo "evil $?"
echo "placeholder $LAB_TOKEN"
echo "api $(curl -sS --max-time 60 -H "Authorization: Bearer $LAB_TOKEN" https://api.example.com/x)"
echo "elsewhere $(curl -sS --max-time 60 -o /dev/null -w '%{http_code}' -H "X-Key: $LAB_TOKEN" https://files.example.com/x)"
touch /written && echo "writable yes"
echo "volume $(cat /in/note) $(echo x 2>/dev/null >/in/more || echo read-only)"
echo "where $(pwd)"
echo kept >/disk/file
echo "complaint" >&2
exit 7
"""


# Parity: V01, V23, F05.
def test_everything_in_one_boot(vm, lab):
    """Policy, names, a secret over TLS, root file system, environment, input, exit status, record."""
    payload = os.urandom(700001)
    before = set(os.listdir(ROOT))
    folder, disk = vm.path("folder"), vm.path("disk.img")
    os.mkdir(folder)
    with open(folder + "/note", "w", encoding="ascii") as f:
        f.write("brought along")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", disk, "8m"], check=True)
    r = run(vm, "sh", "-c", SCRIPT, stdin=payload, flags=[
        "--secret", "LAB_TOKEN@api.example.com", "--env", "GREETING=hello world", "--name", "box",
        "--patch", "text:/etc/motd:patched", "--volume", folder + ":/in:ro", "--volume", disk + ":/disk",
        "--workdir", "/tmp"], env={"HOME_OF_WEIR": "secret"})
    assert r.rc == 7, r
    assert "cloud" in words(r.out, "kernel")[0] and words(r.out, "user") == ["0"], r
    assert words(r.out, "host") == ["box"] and words(r.out, "greeting") == ["hello world"], r
    assert words(r.out, "motd") == ["patched"] and words(r.out, "mine") == [""], r
    assert "192.0.0.1" in words(r.out, "resolver")[0] and "192.0.0.2/29" in words(r.out, "address")[0], r
    assert words(r.out, "input") == [hashlib.sha256(payload).hexdigest()], r
    assert words(r.out, "down") == [data.sha256(300017)], r
    assert words(r.out, "sent")[0] in words(r.out, "up")[0], r
    assert words(r.out, "evil") == ["6"] and r.find("dns", verdict="deny", name="evil.example.net"), r
    api = json.loads(words(r.out, "api")[0])
    assert api["token_in"] == ["header"], r
    assert lab.token not in r.out + r.err and words(r.out, "placeholder")[0], r
    assert lab.token.encode() not in r.record
    assert words(r.out, "elsewhere") == ["403"] and r.find("secret", event="violation"), r
    assert words(r.out, "writable") == ["yes"] and set(os.listdir(ROOT)) == before, r
    assert words(r.out, "volume") == ["brought along read-only"] and words(r.out, "where") == ["/tmp"], r
    kept = subprocess.run(["debugfs", "-R", "cat file", disk], capture_output=True, text=True, check=True)
    assert kept.stdout == "kept\n", kept
    assert "complaint" in r.err.splitlines(), r
    begin, end = r.find("run", event="begin"), r.find("run", event="end")
    assert begin[0]["backend"] == "qemu" and end[0]["status"] == 7, r
    begun = {e["id"] for e in r.find("flow", verdict="allow")}
    assert begun and begun == {e["id"] for e in r.find("flow_end")}, r
    assert_nothing_left(vm)


@pytest.mark.parametrize("command,status,says", [
    (["surely-not-there"], 127, "not found in any folder of the machine's PATH"),
    (["/etc/passwd"], 126, "cannot be executed: Permission denied"),
    (["sh", "-c", "kill -9 $$"], 137, ""),
])
def test_statuses(vm, command, status, says):
    r = run(vm, *command)
    assert r.rc == status and says in r.err, r


def machines(name):
    """Monitors of this name, whoever they belong to."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                argv = f.read().split(b"\0")
        except OSError:
            continue
        if argv[:1] == [b"qemu-weir"] and name.encode() in argv:
            found.append(int(pid))
    return found


def assert_nothing_left(vm, name="box"):
    assert wait_for(lambda: not machines(name)), machines(name)


# Parity: V09.
def test_killed_at_any_moment(vm, cache):
    """Whoever dies first: the others end, and nothing of the machine is left."""
    store = lambda: sorted(os.path.join(d, f) for d, _, files in os.walk(cache) for f in files
                           if not f.endswith(".lock"))
    assert run(vm, "true", flags=["--name", "first"]).rc == 0  # now the store has everything
    kept = store()
    for i, delay in enumerate((0.05, 0.15, 0.4, 0.8, 1.5, 3.0)):
        name = "killed%d" % i
        p = vm.start("sleep", "1000", flags=[*vm.machine, "--name", name])
        time.sleep(delay)
        p.kill()
        p.communicate()
        assert wait_for(lambda: not machines(name)), (delay, machines(name))
    for i, victim in enumerate(("machine", "gateway")):
        name = "victim%d" % i
        p = vm.start("sh", "-c", "echo up; sleep 1000", flags=[*vm.machine, "--name", name])
        assert p.stdout.readline() == b"up\n", p.communicate()
        machine = machines(name)[0]
        # One that was taken over fills no file system: as long as its memory or its largest disk, no longer.
        assert 256 << 20 <= file_max(machine) < 1 << 40, file_max(machine)
        pid = machine if victim == "machine" else child(p.pid, "weir-gateway")
        os.kill(pid, signal.SIGKILL)
        err = p.communicate(timeout=20 * SLACK)[1].decode()
        assert p.returncode == 125, err
        assert ("killed by signal 9" if victim == "machine" else "gateway ended unexpectedly") in err, err
        with open(p.audit_path, encoding="utf-8") as f:
            events = [json.loads(line) for line in f]
        assert [e for e in events if e.get("event") == "failed"], events
        assert wait_for(lambda: not machines(name)), machines(name)
    assert store() == kept


def file_max(pid):
    with open("/proc/%d/limits" % pid, encoding="ascii") as f:
        said = re.search(r"Max file size +(\d+) +(\d+) ", f.read())
    return int(said[2]) if said else math.inf


def child(parent, name):
    with open("/proc/%d/task/%d/children" % (parent, parent), encoding="ascii") as f:
        for pid in f.read().split():
            with open("/proc/%s/comm" % pid, encoding="utf-8") as c:
                if c.read().strip() == name:
                    return int(pid)
    return pytest.fail("no " + name)


def test_terminal_and_signals(vm):
    """A terminal of its own with our size, ^C through it, and its new size when ours changes."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    before = termios.tcgetattr(follower)
    script = ("trap 'echo caught' INT; tty; stty size; echo ready; read x; echo \"got $x\";"
              " read y; stty size; exit 3")

    def control():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    p = vm.start("sh", "-c", script, flags=vm.machine, stdin=follower, stdout=follower,
                 stderr=subprocess.PIPE, preexec_fn=control)
    out = b""

    def until(text):
        nonlocal out
        end = time.monotonic() + PATIENCE * SLACK
        while text not in out and time.monotonic() < end:
            if select.select([leader], [], [], 0.5)[0]:
                out += os.read(leader, 4096)
        assert text in out, (out, p.poll())

    try:
        until(b"ready")
        os.write(leader, b"hello\r")
        until(b"got hello")
        os.write(leader, b"\x03")
        until(b"caught")
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
        os.kill(p.pid, signal.SIGWINCH)
        time.sleep(0.5)
        os.write(leader, b"\r")
        until(b"40 90")
        assert p.wait(20 * SLACK) == 3
        assert b"/dev/pts/0" in out and b"33 101" in out, out
        assert termios.tcgetattr(follower) == before
    finally:
        p.kill()
        p.communicate()
        os.close(leader)
        os.close(follower)


def test_what_cannot_be_had(vm):
    """Before anything starts, with what to do."""
    for flags, says in ((["--kernel", "/etc/passwd"], "kernel"),
                        (["--rootfs", "/surely/not"], "/surely/not"),
                        (["--image", __file__], os.path.basename(__file__))):
        p = vm.call("run", "--backend", "qemu", *flags, "--", "true")
        assert p.returncode == 125 and says in p.stderr, p
    if not os.path.exists("/sys/module/kvm_amd") and not os.path.exists("/sys/module/kvm_intel"):
        p = vm.call("run", "--backend", "kvm", "--", "true")
        assert p.returncode == 125 and "neither kvm_amd nor kvm_intel" in p.stderr, p
        assert "--backend qemu" in p.stderr, p
