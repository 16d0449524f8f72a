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

pytestmark = pytest.mark.netns("weir gateway: machines are somebody else's")
LINKGUEST = os.path.join(HERE, "linkguest.py")


class Gateway:
    """One `weir gateway` that is ready, and the machines behind it."""

    def __init__(self, weir):
        self.weir, self.p, self.audit = weir, None, ""

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
        begin = self.events("run", event="begin")
        net = "-" if kw.pop("asks", False) else begin and " ".join(
            a for pair in zip(begin[0]["guest"], begin[0]["gateway"]) for a in pair)
        return subprocess.Popen([*self.weir.prefix, "/usr/bin/python3", "-B", self.weir.linkguest,
                                 link, *hold, "--", *command], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.weir.environment(
                                    {"LINKGUEST_NET": net} if net else None), **kw)

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
    assert g.events("run", event="link_down")[0]["detail"] == "the interface is gone"
    assert g.events("run", event="failed")


def test_tap_on_a_bridge(weir, gateway):
    """The host is on a bridge of its own as well, unless it is kept off: that is told."""
    root_only(weir)
    for words in ("link add br7 type bridge", "tuntap add weir7 mode tap vnet_hdr",
                  "link set weir7 txqueuelen 20000 master br7 up"):
        subprocess.run(["ip", *words.split()], check=True)
    try:
        g = gateway("tap:weir7")
        rc, _, err = g.end()
        assert rc == 0 and "this host is on the machine's link as well, by bridge br7" in err, err
        settings = err.split("as root: sysctl -w ")[1].split()
        subprocess.run(["sysctl", "-qw", *settings], check=True)
        rc, _, err = gateway("tap:weir7").end()
        assert rc == 0 and not err, err
    finally:
        for device in ("weir7", "br7"):
            subprocess.run(["ip", "link", "del", device], check=True)


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
    assert {e["detail"] for e in g.events("run", event="link_down")} <= {
        "the machine has closed the connection", "the machine's socket is gone",
        "the machine's socket refuses what is sent"}
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
def test_dgram_machine_turns_away_and_back(weir, gateway):
    """Its socket is connected elsewhere for a while, which is an error on ours; then it is served again."""
    ours, other = weir.path("weir.sock"), weir.path("other.sock")
    g = gateway("dgram:" + ours)
    begin = g.events("run", event="begin")[0]
    addr = [socket.inet_aton(begin[k][0]) for k in ("guest", "gateway")]
    mac = bytes.fromhex("027765697202")
    arp = (b"\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + addr[0] + bytes(6) + addr[1])

    def answered(s):
        try:
            s.send(arp)
            return addr[1] in s.recv(2000)
        except OSError:
            return False

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as third:
        third.bind(other)
        theirs = weir.path("machine.sock")
        s.bind(theirs)
        os.chmod(theirs, 0o777)
        s.settimeout(0.5)
        for _ in range(3):
            s.connect(ours)
            assert wait_for(lambda: answered(s))
            s.connect(other)
    assert wait_for(lambda: g.events("run", event="link_down"))
    rc, _, err = g.end()
    assert rc == 0 and not err, err


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


@pytest.mark.user
def test_names_that_are_taken(weir, gateway):
    """A socket nobody answers at is replaced; what somebody serves, or is no socket, stays."""
    path = weir.path("link.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.bind(path)
        os.chmod(path, 0o777)
    first = gateway("stream:%s,mode=0660" % path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    for kind in ("stream", "vhost-user", "dgram"):
        p = weir.call_as("gateway", "--link", "%s:%s" % (kind, path))
        assert p.returncode == 125 and "somebody listens there already" in p.stderr, p
    plain = weir.file("plain", "x")
    p = weir.call_as("gateway", "--link", "dgram:" + plain)
    assert p.returncode == 125 and "there is a file at this path" in p.stderr, p
    with open(plain, encoding="ascii") as f:
        assert f.read() == "x"
    # Killed, it leaves its socket; the next one takes the name over, and spares what is not its own.
    first.p.kill()
    first.p.wait()
    assert os.path.exists(path)
    second = gateway("stream:" + path)
    os.rename(path, path + ".old")
    third = gateway("stream:" + path)
    assert second.end()[0] == 0 and os.path.exists(path)
    assert third.end()[0] == 0 and not os.path.exists(path)


@pytest.mark.user
def test_many_at_once_for_one_name(weir, gateway):
    """One of them gets the socket that was left behind; the others find it served."""
    path = weir.path("link.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.bind(path)
        os.chmod(path, 0o777)
    many = [gateway("stream:" + path, ready=False) for _ in range(5)]
    assert wait_for(lambda: sum(g.p.poll() is None for g in many) == 1)
    one = [g for g in many if g.p.poll() is None]
    for g in many:
        if g not in one:
            rc, _, err = g.end(None)
            assert rc == 125 and "somebody listens there already" in err, err
    assert one[0].p.stdout.readline().startswith("weir: ready: ")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(path)
        assert wait_for(lambda: one[0].events("run", event="link_up"))
    assert one[0].end()[0] == 0 and not os.path.exists(path)


BAD = [
    (["--link", "tap"], "a link is tap:NAME"), (["--link", "tun:x"], "a link is tap:NAME"),
    (["--link", ""], "--link"), ([], "--link is missing"), (["--link", "tap:"], "interface"),
    (["--link", "tap:sixteen-letters-"], "1 to 15"), (["--link", "tap:a/b"], "'/'"),
    (["--link", "tap:x%d"], "'%'"), (["--link", "fd:0"], "from 3 on"), (["--link", "fd:x"], "fd:N"),
    (["--link", "fd:1000"], "descriptor 1000 is not open"), (["--link", "tap:x,connect"], "takes nothing"),
    (["--link", "stream:"], "the path is missing"), (["--link", "stream:" + "x" * 108], "at most 107"),
    (["--link", "stream:/no/such/dir/s"], "its folder does not exist"),
    (["--link", "stream:/no/such,connect"], "start the machine first"),
    (["--link", "stream:x,conect"], "connect or mode=OCTAL"), (["--link", "stream:x,mode=8"], "octal"),
    (["--link", "stream:x,mode=0077"], "from 0600"), (["--link", "stream:x,connect,mode=600"], "makes none"),
    (["--link", "dgram:x,peer="], "the path is missing"), (["--link", "dgram:x,peer=x"], "weir's own"),
    (["--link", "dgram:x,peer=y,peer=z"], "given twice"), (["--link", "vhost-user:x,peer=y"], "mode=OCTAL"),
    (["--link", "stream:x\ny"], "control character"), (["--link", "stream:x", "true"], "nothing belongs"),
    (["--link", "stream:x", "--link", "stream:y"], "given twice"),
    (["--link", "stream:x", "--backend", "netns"], "a flag of weir run"),
    (["--link", "stream:x", "--tls-intercept"], "--ca-out"),
    (["--link", "stream:x", "--ca-out", "ca.pem"], "nothing is intercepted"),
    (["--link", "stream:x", "--trust-host-cas"], "add --ca-out FILE"),
    (["--link", "stream:x", "--secret", "LAB_TOKEN@api.example.com"], "--env-out"),
    (["--link", "stream:x", "--env-out", "/no/such/dir/e"], "/no/such/dir"),
    (["--link", "stream:x", "--tls-intercept", "--ca-out", "f", "--env-out", "f"], "same file"),
]


@pytest.mark.parametrize("flags,says", BAD, ids=[" ".join(f[0])[:40] for f in BAD])
def test_bad_flags(weir, flags, says):
    p = weir.call_as("gateway", *flags, cwd=weir.tmp)
    assert p.returncode == 125 and says in p.stderr and not p.stdout, p
    assert p.stderr.startswith("weir: error: ") and len(p.stderr.splitlines()) <= 3, p
    assert not os.listdir(weir.tmp), "something was made"


@pytest.mark.parametrize("flags", [["--link", "stream:x"], ["--ca-out", "x"], ["--env-out", "x"]])
def test_flags_of_a_gateway_only(weir, flags):
    p = weir.call("run", "--backend", "netns", *flags, "--", "true")
    assert p.returncode == 125 and "a flag of weir gateway" in p.stderr, p


@pytest.mark.user
@pytest.mark.parametrize("what,says", [
    ("file", "this is a file"), ("pipe", "this is a pipe"), ("inet", "another family"),
    ("lonely", "neither listens nor is connected"), ("null", "this is a device")])
def test_wrong_descriptor(weir, what, says):
    made = {"file": lambda: os.open(weir.file("f", "x"), os.O_RDONLY), "pipe": lambda: os.pipe()[0],
            "inet": lambda: socket.socket().detach(), "null": lambda: os.open("/dev/null", os.O_RDWR),
            "lonely": lambda: socket.socket(socket.AF_UNIX).detach()}[what]()
    p = weir.call_as("gateway", "--link", "fd:%d" % made, pass_fds=[made])
    os.close(made)
    assert p.returncode == 125 and says in p.stderr, p


@pytest.mark.user
def test_ready_in_every_way(weir, gateway):
    """A line of JSON, and a datagram for the service manager."""
    notify, path = weir.path("notify.sock"), weir.path("link.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(notify)
        os.chmod(notify, 0o777)
        s.settimeout(20 * SLACK)
        g = gateway("stream:" + path, flags=["--json"], env={"NOTIFY_SOCKET": notify})
        said = json.loads(g.line)
        assert said["event"] == "ready" and said["name"] == g.name, said
        assert said["link"] == "stream:" + path and said["record"] == g.audit, said
        assert s.recv(100) == b"READY=1"
        rc, _, err = g.end(signal.SIGINT)
        assert s.recv(100) == b"STOPPING=1"
    assert rc == 0 and json.loads(err)["status"] == 0, err


@pytest.mark.user
def test_policy_set_status_and_why(weir, gateway):
    """The same control socket and record as those of weir run."""
    path = weir.path("link.sock")
    g = gateway("stream:" + path)
    status = json.loads(weir.call_as("ctl", g.name, "status", "--json").stdout)
    assert status["link"] == "stream:" + path and "command" not in status, status
    assert "stream:" + path in weir.call_as("ctl").stdout
    fetch = ["curl", "-sS", "--max-time", "20", "http://files.example.com/bytes/9", "-o", "/dev/null"]
    assert g.run("stream:" + path, *fetch)[0] == 0
    p = weir.call_as("ctl", g.name, "policy", "set", weir.file("next.json", {"policy": "none"}))
    assert p.returncode == 0, p
    assert g.run("stream:" + path, *fetch)[0] == 6
    assert g.end()[0] == 0
    denied = g.events("dns", verdict="deny", name="files.example.com")
    assert denied and denied[0]["generation"] == 2, denied
    p = weir.call_as("why", denied[0]["denial"], "--audit", g.audit)
    assert p.returncode == 0 and "files.example.com" in p.stdout, p


@pytest.mark.user
def test_secret_and_trust_for_the_machine(weir, lab, gateway):
    """What an integrator brings into the machine: a certificate and placeholders."""
    path, ca, env = weir.path("link.sock"), weir.path("ca.pem"), weir.path("guest.env")
    g = gateway("stream:" + path, flags=["--secret", "LAB_TOKEN@api.example.com", "--ca-out", ca,
                                         "--env-out", env])
    assert stat.S_IMODE(os.stat(ca).st_mode) == 0o644
    assert stat.S_IMODE(os.stat(env).st_mode) == 0o600
    with open(env, encoding="ascii") as f:
        variables = dict(x.rstrip("\n").split("=", 1) for x in f)
    assert set(variables) == {"LAB_TOKEN", "WEIR_SANDBOX"} and variables["WEIR_SANDBOX"] == g.name
    assert variables["LAB_TOKEN"] != lab.token and len(variables["LAB_TOKEN"]) == len(lab.token)
    rc, out, err = g.run("stream:" + path, "sh", "-c", """. %s
        curl -sS --max-time 20 --cacert %s -H "Authorization: Bearer $LAB_TOKEN" \
            https://api.example.com/v1/me""" % (env, ca))
    assert rc == 0 and json.loads(out)["authorized"] is True, (out, err)
    assert lab.token not in out
    assert g.events("secret") and g.end()[0] == 0


@pytest.mark.user
def test_written_files_are_new_ones(weir, gateway):
    """Who has the old file open or linked gets nothing; links are not followed; both or none."""
    ca, env, path = weir.file("ca.pem", "old"), weir.file("guest.env", "old"), weir.path("link.sock")
    for name in (ca, env):
        os.chmod(name, 0o666)
        os.chmod(os.path.dirname(name), 0o777)
        os.link(name, name + ".link")
    flags = ["--secret", "LAB_TOKEN@api.example.com", "--ca-out", ca, "--env-out"]
    g = gateway("stream:" + path, flags=[*flags, env])
    for name, mode in ((ca, 0o644), (env, 0o600)):
        assert stat.S_IMODE(os.stat(name).st_mode) == mode and os.stat(name).st_nlink == 1
        with open(name + ".link", encoding="ascii") as f:
            assert f.read() == "old"
    assert g.end()[0] == 0
    with open(ca, encoding="ascii") as f:
        before = f.read()
    os.symlink(env + ".link", env + ".to")
    p = weir.call_as("gateway", "--link", "stream:" + path, *flags, env + ".to")
    assert p.returncode == 125 and "is a symbolic link" in p.stderr, p
    with open(ca, encoding="ascii") as f, open(env + ".link", encoding="ascii") as old:
        assert f.read() == before and old.read() == "old"
    assert not [x for x in os.listdir(os.path.dirname(ca)) if x.startswith(os.path.basename(ca) + ".")
                and not x.endswith(".link")]
    assert not os.path.exists(path)


@pytest.mark.user
def test_killed_while_it_writes_leaves_nothing(weir, gateway):
    """One file is written, the other a FIFO that nobody reads: what is there then has no name."""
    folder = weir.path("out")
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    ca, env = os.path.join(folder, "ca.pem"), os.path.join(folder, "env")
    os.mkfifo(env)
    os.chmod(env, 0o666)
    argv = [*weir.prefix, weir.program, "gateway", "--link", "stream:" + weir.path("link.sock"), "--audit",
            weir.path("audit.jsonl"), "--secret", "LAB_TOKEN@api.example.com", "--ca-out", ca, "--env-out", env]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=weir.environment(None)) as p:
        def waits_for_a_reader():
            with open("/proc/%d/wchan" % p.pid, encoding="ascii") as f:
                return f.read() in ("wait_for_partner", "fifo_open")
        assert wait_for(waits_for_a_reader)
        assert os.listdir(folder) == ["env"]
        p.kill()
        p.wait(20 * SLACK)
    assert os.listdir(folder) == ["env"]
    # What an earlier one left between its two names, and an older file, give way.
    for name, text in ((ca, "old"), (ca + ".weir-new", "half")):
        with open(name, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(name, 0o666)
    os.unlink(env)
    g = gateway("stream:" + weir.path("other.sock"), flags=["--secret", "LAB_TOKEN@api.example.com", "--ca-out", ca,
                                                            "--env-out", env])
    with open(ca, encoding="ascii") as f:
        assert "BEGIN CERTIFICATE" in f.read()
    assert g.end()[0] == 0 and sorted(os.listdir(folder)) == ["ca.pem", "env"]


@pytest.mark.user
def test_configuration_file(weir, gateway):
    """The section gateway; a path of it starts at the file's folder."""
    sock = weir.path("link.sock")
    config = weir.file("config.json", {"policy": EXAMPLE["policy"], "gateway": {
        "link": "stream:" + os.path.basename(sock)}})
    g = gateway("stream:" + weir.path("other.sock"), policy=None, flags=["--config", config])
    assert g.end()[0] == 0 and not os.path.exists(sock), "a flag wins over the file"
    p = weir.call_as("run", "--backend", "netns", "--config", config, "--", "true")
    assert p.returncode == 125 and "a section of weir gateway" in p.stderr, p
    with subprocess.Popen([*weir.prefix, weir.program, "gateway", "--config", config, "--audit",
                           weir.path("audit.jsonl")], stdout=subprocess.PIPE, text=True,
                          env=weir.environment(None), stdin=subprocess.DEVNULL) as p:
        line = p.stdout.readline()
        assert os.path.exists(sock), line
        p.terminate()
        assert p.wait(timeout=20 * SLACK) == 0 and not os.path.exists(sock)


def kill_child(g, name):
    children = subprocess.check_output(["pgrep", "-P", str(g.p.pid), "-x", name], text=True).split()
    assert len(children) == 1, children
    os.kill(int(children[0]), signal.SIGKILL)


@pytest.mark.user
def test_fails_closed(weir, gateway):
    """A gateway process that dies ends the whole, with the reason."""
    path = weir.path("link.sock")
    g = gateway("stream:" + path)
    m = g.machine("stream:" + path, "true", hold=True, stdin=subprocess.PIPE)
    assert wait_for(lambda: g.events("run", event="link_up"))
    kill_child(g, "weir-gateway")
    rc, _, err = g.end(None)
    assert rc == 125 and "ended unexpectedly; the link was closed" in err, err
    assert not os.path.exists(path) and g.events("run", event="failed")
    m.kill()
    m.communicate()


@pytest.mark.user
def test_a_tlsproxy_that_dies_has_a_successor(weir, gateway):
    """The link stays up, and what died is on the record."""
    path = weir.path("link.sock")
    g = gateway("stream:" + path)
    m = g.machine("stream:" + path, "true", hold=True, stdin=subprocess.PIPE)
    assert wait_for(lambda: g.events("run", event="link_up"))
    kill_child(g, "weir-tlsproxy")
    assert wait_for(lambda: g.events("run", event="tlsproxy_died"))
    assert wait_for(lambda: g.events("run", event="tlsproxy_started"))
    assert os.path.exists(path) and m.poll() is None and not g.events("run", event="link_down")
    m.kill()
    m.communicate()
    assert g.end()[0] == 0
