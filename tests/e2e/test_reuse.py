# SPDX-License-Identifier: Apache-2.0
"""Verified upstream connections serve one flow after another: what the server sees, and what does without them."""

import socket
import threading

import pytest
from listener import Listener, tls_context
from test_reload import CLOSED, OPEN, live  # noqa: F401
from test_tls import API, PORT, intercept, other  # noqa: F401

import world


class Keeping(Listener):
    """Answers any number of requests on a connection with the number of that connection."""

    def __init__(self, pem, leaves_after=0):
        self.context = tls_context(pem)
        self.leaves_after, self.accepted, self.heads, self.raw = leaves_after, 0, [], []
        self.lock = threading.Lock()
        super().__init__((world.v4(API), PORT))

    def one(self, c):
        with self.lock:
            self.accepted += 1
            number = self.accepted
        c.settimeout(30)
        first = c.recv(1, socket.MSG_PEEK)
        if first != b"\x16":
            self.raw.append(c.recv(100))
            c.sendall(b"raw %d\n" % number)
            return
        with self.context.wrap_socket(c, server_side=True) as t:
            served = 0
            while not self.leaves_after or served < self.leaves_after:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = t.recv(65536)
                    if not more:
                        return
                    head += more
                served += 1
                self.heads.append(head.decode("latin-1"))
                t.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%3d\n" % number)


@pytest.fixture
def keeping(other):  # noqa: F811
    servers = []

    def start(**kw):
        servers.append(Keeping(other.server, **kw))
        return servers[-1]

    yield start
    for s in servers:
        s.close()


# In one process: what is parked is forgotten after some seconds, in which a machine may not start two.
CLIENT = """
import socket, ssl, time
x = ssl.create_default_context()
x.set_alpn_protocols(["http/1.1"])
def up():
    return socket.create_connection((%r, %d), 10)
def ask(c, more=""):
    c = x.wrap_socket(c, server_hostname=%r)
    c.sendall(("GET / HTTP/1.1\\r\\nHost: %s:%d\\r\\n" + more + "\\r\\n").encode())
    out = b""
    while not out.endswith(b"\\n") or b"200" not in out or len(out.split(b"\\r\\n\\r\\n")[1]) < 4:
        out += c.recv(1000)
    print(out.split()[-1].decode())
    return c
def leave(c):
    c.unwrap().close()
    time.sleep(0.1)
""" % (API, PORT, API, API, PORT)


ALTERNATING = CLIENT + """
for _ in range(3):
    leave(ask(up()))
    leave(ask(up(), "Connection: close\\r\\n"))
"""


@pytest.mark.parametrize("answers", ["virtual", "real"])
def test_one_connection_for_all(weir, keeping, other, answers):  # noqa: F811
    """Of a name that is dialled again and again, the server sees one connection."""
    s = keeping()
    r = weir.run("/usr/bin/python3", weir.file("again.py", ALTERNATING), policy="allow_all",
                 intercept=True, flags=intercept("--upstream-ca", other.path, "--dns-answers", answers))
    assert r.out.split() == ["1"] * 6, r
    assert s.accepted == 1 and not any("close" in h for h in s.heads)
    assert [e.get("reused", False) for e in r.find("tls")] == [False] + [True] * 5
    flows = [e for e in r.find("flow") if e.get("port") == PORT]
    assert len(flows) == 6 and all(e["verdict"] == "allow" and e["intercepted"] and
                                   e["upstream"] == "%s:%d" % (world.v4(API), PORT) for e in flows)


def test_rules_that_need_the_name_first(weir, keeping, other):  # noqa: F811
    """In real mode the flow is not dialled before its hello is judged: that is enough."""
    s = keeping()
    rules = [{"action": "allow", "destination": API}]
    r = weir.run("/usr/bin/python3", weir.file("again.py", CLIENT + "leave(ask(up()))\n" * 3),
                 policy={"policy": {"default_egress": "deny", "rules": rules}}, intercept=True,
                 flags=intercept("--upstream-ca", other.path, "--dns-answers", "real"))
    assert r.out.split() == ["1"] * 3 and s.accepted == 1, r


@pytest.mark.netns("a machine without KVM may not start a client in the seconds for which a connection is kept")
def test_http2(weir, h2):
    """One client after another: the same connection, with the header tables both ends have of it."""
    r = weir.sh("for i in 1 2 3 4; do nghttp -n -H 'x-turn: '$i https://h2.example.com/echo; done",
                policy="allow_all", intercept=True)
    assert [e["status"] for e in r.find("http")] == [200] * 4, r
    assert [dict(q["headers"])["x-turn"] for q in h2.seen(path="/echo")] == ["1", "2", "3", "4"]
    assert [e.get("reused", False) for e in r.find("tls")] == [False] + [True] * 3, r


def test_a_connection_that_ended(weir, keeping, other):  # noqa: F811
    """The server closes what is parked: the next flow has its own, and nobody notices."""
    s = keeping(leaves_after=2)
    script = weir.file("again.py", CLIENT + "leave(ask(up()))\n" * 6)
    r = weir.run("/usr/bin/python3", script, policy="allow_all",
                 intercept=True, flags=intercept("--upstream-ca", other.path))
    assert r.out.split() == ["1", "1", "2", "2", "3", "3"] and s.accepted == 3, r


RAW = CLIENT + """
leave(ask(up()))
a = up(); a.sendall(b"SSH-2.0-x\\r\\n"); print(a.recv(100).decode().split()[0])
b = up(); time.sleep(1.5); b.sendall(b"hello"); print(b.recv(100).decode().split()[0])
"""


def test_other_protocols_are_dialled(weir, keeping, other):  # noqa: F811
    """While one is parked: what is not TLS, and a client that waits for its server, are connected as ever."""
    s = keeping()
    r = weir.run("/usr/bin/python3", weir.file("raw.py", RAW), policy="allow_all",
                 intercept=True, flags=intercept("--upstream-ca", other.path))
    assert r.out.split() == ["1", "raw", "raw"], r
    assert s.raw == [b"SSH-2.0-x\r\n", b"hello"] and s.accepted == 3


TWO = CLIENT + """
leave(ask(up()))
# Both while one is parked, which only one can have.
pair = up(), up()
kept = [ask(c) for c in pair]
"""


@pytest.mark.netns("without KVM a hello may come after the quarter second in which nothing is dialled")
@pytest.mark.parametrize("answers", ["virtual", "real"])
def test_dialled_when_none_is_left(weir, keeping, other, answers):  # noqa: F811
    """Two flows count on the one that is parked: the second is dialled when that is known."""
    s = keeping()
    r = weir.run("/usr/bin/python3", weir.file("two.py", TWO), policy="allow_all",
                 intercept=True, flags=intercept("--upstream-ca", other.path, "--dns-answers", answers))
    assert r.out.split() == ["1", "1", "2"] and s.accepted == 2, r
    late = [e["upstream"] for e in r.find("tls") if "upstream" in e]
    assert late == ["%s:%d" % (world.v4(API), PORT)]


ONE = "curl -sS -m 20 --http1.1 https://%s:%d/" % (API, PORT)


@pytest.mark.netns("twelve handshakes at once outlast their ten seconds without KVM")
def test_many_at_once(weir, keeping, other):  # noqa: F811
    s = keeping()
    r = weir.sh("seq 80 | xargs -P 12 -n 1 sh -c '%s'" % ONE, policy="allow_all",
                intercept=True, flags=intercept("--upstream-ca", other.path), timeout=120)
    assert len(r.out.split()) == 80 and s.accepted <= 40, (s.accepted, r)
    assert len([e for e in r.find("http") if e["status"] == 200]) == 80


def test_another_policy(weir, keeping, other, live):  # noqa: F811
    """What another policy let through is not used under the next."""
    s = keeping()
    script = weir.file("again.py", CLIENT + "while True:\n    leave(ask(up()))\n")
    a = live("/usr/bin/python3", "-u", script, policy=OPEN,
             intercept=True, flags=intercept("--upstream-ca", other.path))
    lines = a.lines()
    assert [int(next(lines)) for _ in range(3)] == [1, 1, 1]
    assert a.set(CLOSED).returncode == 0
    # One may have been under way.
    assert [int(next(lines)) for _ in range(3)][-1] == 2 and s.accepted == 2
