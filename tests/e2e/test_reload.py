# SPDX-License-Identifier: Apache-2.0
"""weir ctl: another policy while the sandbox runs, and who may ask for it."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest
from conftest import SLACK, wait_for

import world

OPEN = {"policy": {"default_egress": "deny", "rules": [
    {"id": "open", "action": "allow", "destination": ".example.com"}]}}
CLOSED = {"policy": {"default_egress": "deny", "rules": [
    {"id": "shut", "action": "deny", "destination": "echo.example.com", "reason": "not now"},
    {"id": "rest", "action": "allow", "destination": ".example.com"}]}}
HTTP = {"policy": {"default_egress": "deny", "rules": [
    {"id": "read", "action": "allow", "destination": ".example.com", "http": {"methods": ["GET"]}}]}}


def call(weir, *args, timeout=30):
    """As the user who runs the sandboxes."""
    return subprocess.run([*weir.prefix, weir.program, *args], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout * SLACK, check=False,
                          env=weir.environment(None))


class Live:
    """A sandbox that runs one of guest.py's clients and can be asked things."""

    def __init__(self, weir, *command, name, **kw):
        self.weir, self.name = weir, name
        kw["flags"] = ["--name", name, *kw.get("flags", ())]
        self.p = weir.start(*command, **kw)
        assert wait_for(lambda: self.ctl("status").returncode == 0, 10), "no control socket"

    def ctl(self, *args, timeout=30):
        return call(self.weir, "ctl", self.name, *args, timeout=timeout)

    def set(self, policy, name="next.json"):
        return self.ctl("policy", "set",
                        policy if isinstance(policy, str) else self.weir.file(name, policy))

    def lines(self):
        """Lines of the client that have come so far, as they come."""
        return iter(self.p.stdout.readline, b"")

    def events(self, kind, **want):
        with open(self.p.audit_path, encoding="utf-8") as f:
            all_events = [json.loads(x) for x in f if x.endswith("}\n")]
        return [e for e in all_events if e["kind"] == kind and
                all(e.get(k) == v for k, v in want.items())]

    def end(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
        try:
            out, err = self.p.communicate(timeout=20 * SLACK)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.communicate()
            raise
        err = err.decode("utf-8", "replace") if err else ""
        assert "Sanitizer" not in err and "runtime error:" not in err, err
        return out, err


@pytest.fixture
def live(weir, request):
    all_of_them = []

    def start(*command, **kw):
        name = "t%d-%s" % (len(all_of_them), request.node.name[:40].replace("[", "-").rstrip("]"))
        all_of_them.append(Live(weir, *command, name=name, **kw))
        return all_of_them[-1]

    yield start
    for x in all_of_them:
        x.end()


def after_that(lines, t0):
    """The client's first report of what it began later."""
    return next(j for j in map(json.loads, lines) if j["began"] > t0)


def guest(lab, *args):
    return ["/usr/bin/python3", "-u", "-B", lab.guest, *map(str, args)]


@pytest.mark.user
def test_list_status_and_show(weir, live):
    a = live("sleep", "60", policy=OPEN)
    p = call(weir, "ctl")
    assert p.returncode == 0 and a.name in p.stdout, p
    s = json.loads(a.ctl("status", "--json").stdout)
    assert s["name"] == a.name and s["generation"] == 1 and s["rules"] == 1, s
    assert a.ctl("status").stdout.startswith(a.name), a.ctl("status")
    # Its id is a name as well.
    assert call(weir, "ctl", s["id"], "status").returncode == 0
    shown = a.ctl("policy", "show")
    again = weir.call("policy", "show", weir.file("shown.json", shown.stdout))
    assert again.returncode == 0 and again.stdout == shown.stdout, again
    a.end()
    assert a.ctl("status").returncode == 1
    assert a.name not in call(weir, "ctl").stdout


def test_two_runs_with_one_name_are_told_apart(weir, live):
    a = live("sleep", "60")
    audit = weir.path("second.jsonl")
    second = weir.start("sleep", "60", flags=["--name", a.name], audit=audit)
    try:
        p = wait_for(lambda: (lambda x: x if "several" in x.stderr else None)(a.ctl("status")), 10)
        assert p and p.returncode == 1, a.ctl("status")
        ids = p.stderr.rsplit(": ", 1)[1].strip().split(", ")
        assert len(ids) == 2, p
        for i in ids:
            assert weir.call("ctl", i, "status").returncode == 0, i
    finally:
        second.terminate()
        second.communicate(timeout=20 * SLACK)


@pytest.mark.parametrize("text,says", [
    ('{"policy": {"rules": [\n  {"action": "alow", "destination": "a.com"}]}}', ":2:14:"),
    ('{"policy": ', ":1:"),
    ("publc_only", "public_only"),
])
def test_errors_are_found_before_anything_is_sent(weir, live, text, says):
    a = live("sleep", "60")
    p = a.set(text if "{" not in text else weir.file("bad.json", text))
    assert p.returncode == 1 and says in p.stderr, p
    assert json.loads(a.ctl("status", "--json").stdout)["generation"] == 1
    assert not a.events("policy"), a.events("policy")


# Parity: lesson-16.
def test_new_policy_for_names_flows_and_requests(lab, live):
    """One client asks the same things again and again; the answers follow the policy."""
    a = live(*guest(lab, "watch", "echo.example.com", world.ECHO), policy=OPEN)
    lines = a.lines()
    assert json.loads(next(lines))["connect"] == "connected"
    p = a.set(CLOSED)
    assert p.returncode == 0 and "generation 2" in p.stdout, p
    t0 = time.time()
    after = after_that(lines, t0)
    assert after["connect"] == "EAI", after  # the name is not even answered, cached or not
    assert after["known"] == "ECONNREFUSED", after  # and its address is closed
    for kind in ("dns", "flow"):
        assert wait_for(lambda k=kind: a.events(k, name="echo.example.com", verdict="deny",
                                                rule="shut", generation=2)), kind
    assert a.set(OPEN).returncode == 0
    t0 = time.time()
    after = after_that(lines, t0)
    assert after["connect"] == after["known"] == "connected", after
    wait_for(lambda: a.events("policy", event="applied", generation=3))
    changes = [(e["event"], e["generation"]) for e in a.events("policy")]
    assert changes == [("set", 2), ("applied", 2), ("set", 3), ("applied", 3)], changes
    assert all(e["uid"] == os.geteuid() for e in a.events("policy"))


# Parity: lesson-16.
@pytest.mark.machine
def test_live_flows_are_reset_and_say_why(weir, lab, live):
    a = live(*guest(lab, "stream", "echo.example.com", world.ECHO), policy=OPEN)
    lines = a.lines()
    assert json.loads(next(lines, "") or a.p.communicate()[1]) == {"state": "streaming"}
    t0 = time.monotonic()
    p = a.set(CLOSED)
    assert "1 flow reset" in p.stdout, p
    end = json.loads(next(lines))
    assert end["end"] == "ECONNRESET", end
    assert time.monotonic() - t0 < 2 * SLACK, time.monotonic() - t0
    told = wait_for(lambda: a.events("flow_end", end="policy", generation=2))
    flow = a.events("flow", id=told[0]["id"], verdict="deny")
    assert flow and flow[0]["detail"] == "policy generation 2" and flow[0]["rule"] == "shut", flow
    assert wait_for(lambda: a.events("policy", event="applied", flows_reset=1))
    w = weir.call("why", flow[0]["denial"], "--audit", a.p.audit_path)
    assert "not now" in w.stdout and "shut" in w.stdout, w


def test_what_stays_allowed_stays_connected(weir, lab, live):
    """The same rules in other words, and more of them, reset nothing."""
    wider = {"policy": {"default_egress": "deny", "rules": [
        {"id": "one", "action": "allow", "destination": "echo.example.com"},
        {"id": "two", "action": "allow", "destination": "other.example.net"}]}}
    a = live(*guest(lab, "stream", "echo.example.com", world.ECHO), policy=OPEN)
    next(a.lines())
    for policy in (OPEN, wider, "allow_all", OPEN):
        assert "0 flows reset" in a.set(policy).stdout, policy
    assert not a.events("flow_end", end="policy") and a.p.poll() is None


def test_a_name_that_was_not_looked_at_is_not_trusted(weir, lab, live):
    """What nobody had to read may have spoken of anybody: rules by name do not take it over."""
    a = live(*guest(lab, "requests", "api.example.com", 80), policy="public_only")
    lines = a.lines()
    assert json.loads(next(lines))["status"]["GET"] == 200
    assert "1 flow reset" in a.set(OPEN).stdout
    told = wait_for(lambda: a.events("flow_end", end="policy"))
    deny = a.events("flow", id=told[0]["id"], verdict="deny")
    assert "was not read" in deny[0]["detail"], deny


@pytest.mark.machine
@pytest.mark.parametrize("kind", ["udp", "ping"])
def test_datagram_flows_end_too(lab, live, kind):
    a = live(*guest(lab, "beat", kind, "echo.example.com", world.ECHO), policy=OPEN)
    lines = a.lines()
    assert json.loads(next(lines))["answered"]
    assert a.set(CLOSED).returncode == 0
    t0 = time.time()
    after = after_that(lines, t0)
    assert not after["answered"], after
    assert wait_for(lambda: a.events("flow_end", end="policy")), a.events("flow_end")


def test_a_dial_under_way_is_dropped(lab, live):
    """A host that does not answer is still being dialled when it is denied."""
    shut = {"policy": {"default_egress": "deny", "rules": [
        {"id": "shut", "action": "deny", "destination": "silent.example.com"},
        {"id": "rest", "action": "allow", "destination": ".example.com"}]}}
    a = live(*guest(lab, "connect", "silent.example.com", 80, 30), policy=OPEN)
    assert wait_for(lambda: a.events("dns", name="silent.example.com"))
    time.sleep(0.5)
    p = a.set(shut)
    assert "1 flow reset" in p.stdout, p
    end = json.loads(next(a.lines()))
    assert end["result"] == "ECONNREFUSED" and end["seconds"] < 5 * SLACK, end
    deny = wait_for(lambda: a.events("flow", verdict="deny", rule="shut"))
    assert deny and deny[0]["generation"] == 2, deny


# Parity: p1.7-published, n15.
def test_published_port_is_judged_again(weir, lab, live):
    shut = {"policy": {"default_egress": "deny", "default_ingress": "deny", "rules": []}}
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    a = live(*guest(lab, "mirror", 8080), policy=OPEN, flags=["--publish", "%d:8080" % port])
    assert next(a.lines()) == b"ready\n"
    with socket.create_connection(("127.0.0.1", port), 5) as c:
        c.sendall(b"x")
        assert c.recv(1) == b"x"
        assert "1 flow reset" in a.set(shut).stdout
        c.settimeout(5)
        try:
            assert c.recv(1) == b""
        except ConnectionResetError:
            pass
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), 5) as c:
        c.settimeout(5)
        c.sendall(b"x")
        if not c.recv(1):
            raise ConnectionResetError


@pytest.mark.parametrize("port", [80, 443])
def test_requests_on_a_kept_connection(lab, live, port):
    """The connection stays, its next request is judged by the new rules."""
    a = live(*guest(lab, "requests", "api.example.com", port), policy=OPEN, intercept=True)
    lines = a.lines()
    assert json.loads(next(lines))["status"] == {"GET": 200, "POST": 200}
    assert a.set(HTTP).returncode == 0
    t0 = time.time()
    after = after_that(lines, t0)
    assert after["status"] == {"GET": 200, "POST": 403}, after
    assert wait_for(lambda: a.events("http", method="POST", verdict="deny", generation=2))
    assert not a.events("flow_end", end="policy"), "the connection itself is still allowed"


def test_what_was_not_started_is_not_promised(live):
    a = live("sleep", "60", policy=OPEN)
    p = a.set(HTTP)
    assert p.returncode == 1 and "--tls-intercept" in p.stderr, p
    assert json.loads(a.ctl("status", "--json").stdout)["generation"] == 1
    assert wait_for(lambda: a.events("policy", event="refused")), a.events("policy")
    p = a.set("public_only")  # and the next one is heard
    assert p.returncode == 0 and "generation 2" in p.stdout, p


@pytest.mark.slow
def test_exact_under_load(weir, lab, live):
    """100 changes during traffic: nothing gets through while denied, all flows are reset in time."""
    a = live(*guest(lab, "hammer", "echo.example.com", world.ECHO, 4), policy=OPEN)
    lines = a.lines()
    next(lines)
    shut_at, open_at = [], []
    shut, open_ = weir.file("shut.json", CLOSED), weir.file("open.json", OPEN)
    for i in range(50):
        assert a.ctl("policy", "set", shut).returncode == 0
        shut_at.append(time.time())
        time.sleep(0.05 if i % 2 else 0)
        open_at.append(time.time())
        assert a.ctl("policy", "set", open_).returncode == 0
        time.sleep(0.05 if i % 3 else 0.15)
    a.p.send_signal(signal.SIGTERM)
    out = [json.loads(x) for x in lines if x.startswith(b"{")]
    a.end()
    made = sum(len(x["made"]) for x in out)
    assert made > 50, "no traffic: %d" % made
    for lo, hi in zip(shut_at, open_at):
        for x in out:
            wrong = [t for t in x["made"] if lo < t[0] and t[1] < hi]
            assert not wrong, ("a connection was made while denied", lo, hi, wrong)
            late = [t for t in x["echoed"] if lo < t[0] and t[1] < hi]
            assert not late, ("a live connection went on while denied", lo, hi, late)
    ends = a.events("flow_end")
    begun = {e["id"] for e in a.events("flow", verdict="allow")}
    assert begun <= {e["id"] for e in ends}, "a flow has no end"
    assert a.events("policy", event="applied", generation=101)
    assert sum(e["flows_reset"] for e in a.events("policy", event="applied")) > 10


def control_socket(name):
    folder = "/run/weir"
    return [os.path.join(folder, f) for f in os.listdir(folder) if f.endswith("@%s.sock" % name)][0]


def ask(path, text):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(15)
    s.connect(path)
    try:
        if text is not None:
            s.send(text)
    except BrokenPipeError:
        pass  # turned away before it asked: the answer is there
    return s


def test_hostile_clients_do_not_block(weir, live):
    """Silent ones, garbage, half requests: the run goes on, and others are heard."""
    a = live("sh", "-c", "sleep 20", policy=OPEN)
    path = control_socket(a.name)
    for text in (b"", b"{", b"[1]", b'{"verb":5}', b'{"verb":"nothing"}', b"\xff" * 100,
                 b'{"verb":"policy.set"}', b'{"verb":"status","verb":"status"}',
                 b"[" * 9000, b"x" * 60000):
        with ask(path, text) as s:
            try:
                b = s.recv(65536)
            except OSError:
                b = b""
            assert not b or json.loads(b)["ok"] is False, (text[:40], b)
    silent = [ask(path, None) for _ in range(8)]
    t0 = time.monotonic()
    with ask(path, b'{"verb":"status"}') as s:
        assert b"too many" in s.recv(65536)
    assert wait_for(lambda: a.ctl("status").returncode == 0, 15), "silent clients stay for ever"
    assert time.monotonic() - t0 < 14 * SLACK
    for s in silent:
        s.close()
    # A descriptor that is no sealed memory file.
    for fd in (os.open("/dev/zero", os.O_RDONLY), os.memfd_create("x")):
        os.write(fd, b"{}") if fd and os.readlink("/proc/self/fd/%d" % fd) != "/dev/zero" else None
        s = ask(path, None)
        socket.send_fds(s, [b'{"verb":"policy.set"}'], [fd])
        assert b"sealed" in s.recv(65536)
        s.close()
        os.close(fd)
    assert json.loads(a.ctl("status", "--json").stdout)["generation"] == 1


def test_client_killed_midway(weir, lab, live):
    """The change is done whole or not at all, whatever becomes of who asked for it."""
    a = live("sleep", "60", policy=OPEN)
    rules = [{"action": "allow", "destination": "h%d.example.com" % i} for i in range(20000)]
    big = weir.file("big.json", {"policy": {"default_egress": "deny", "rules": rules}})
    for delay in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8):
        p = subprocess.Popen([weir.program, "ctl", a.name, "policy", "set", big],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        p.kill()
        p.wait()
    assert wait_for(lambda: a.set(CLOSED).returncode == 0, 20)
    s = json.loads(a.ctl("status", "--json").stdout)
    assert s["rules"] == 2, s
    done = [e["generation"] for e in a.events("policy", event="applied")]
    assert [e["generation"] for e in a.events("policy", event="set")] == done
    assert s["generation"] == done[-1]


def test_sandbox_cannot_ask(weir, live):
    """Root inside, the same user: the socket is not there, and stays so for a later run's."""
    a = live("sh", "-c", "sleep 3; ls -A /run/weir 2>/dev/null; ls -A ${HOME}/.local/state/weir/run; "
             "%s ctl; %s ctl box policy set allow_all; true" % (weir.program, weir.program),
             env={"HOME": weir.tmp})
    b = live("sleep", "30")
    out, err = a.end() if a.p.wait(30 * SLACK) is None else a.p.communicate()
    assert b"@" not in out, out
    assert a.name.encode() not in out and b.name.encode() not in out, out
    assert b.ctl("status").returncode == 0


def test_dead_runs_leave_no_socket(weir, live):
    a = live("sleep", "60")
    path = control_socket(a.name)
    a.p.kill()
    a.p.wait()
    assert os.path.exists(path)
    assert a.name not in weir.call("ctl").stdout
    assert not os.path.exists(path), "a dead run's socket is left"


@pytest.mark.parametrize("args", [["x", "polcy"], ["x", "policy"], ["x", "policy", "st"],
                                  ["x", "policy", "set"], ["x", "status", "y"], ["status"],
                                  ["--jsn"], ["x", "policy", "show", "--json"]])
def test_usage(weir, args):
    p = weir.call("ctl", *args)
    assert p.returncode == 2 and p.stderr.startswith("weir ctl: "), p


def test_a_sandbox_that_is_not_there(weir):
    for args in (["x"], ["x", "status"], ["x", "policy", "set", "none"]):
        p = weir.call("ctl", *args)
        assert p.returncode == 1 and 'no sandbox named "x" is running' in p.stderr, p


RESOLV = "/etc/resolv.conf"


# Parity: d3.3-system, d05, lesson-10.
def test_resolvers_are_followed(lab, live):
    """A new /etc/resolv.conf is used for the next name, and stands on the record."""
    with open(RESOLV, encoding="utf-8") as f:
        before = f.read()
    a = live(*guest(lab, "watch", "echo.example.com", world.ECHO), policy=OPEN)
    try:
        with open(RESOLV, "w", encoding="utf-8") as f:
            f.write("# moved\nnameserver %s\n" % world.DNS6)
        seen = wait_for(lambda: a.events("run", event="resolvers"))
        assert seen and seen[0]["servers"] == ["[%s]:53" % world.DNS6], seen
        with open(RESOLV, "w", encoding="utf-8") as f:
            f.write("search nowhere\n")  # none at all: the old ones stay
        time.sleep(0.6)
        assert len(a.events("run", event="resolvers")) == 1
    finally:
        with open(RESOLV, "w", encoding="utf-8") as f:
            f.write(before)
