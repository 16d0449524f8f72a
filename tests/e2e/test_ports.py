# SPDX-License-Identifier: Apache-2.0
"""Published ports: every form, floods, half closes, the PROXY header, changes while it runs."""

import hashlib
import json
import os
import selectors
import socket
import struct
import threading

import pytest

from conftest import SLACK, wait_for
from test_reload import OPEN, call, live  # noqa: F401

# One server for all: TCP tells who comes and echoes, on port+1 it counts and digests until the
# end; UDP echoes behind the peer's address. Both families.
SERVER = r'''
import asyncio, hashlib, json, socket, sys
port = int(sys.argv[1])

async def echo(r, w):
    try:
        w.write((json.dumps(w.get_extra_info("peername")[:2]) + "\n").encode())
        while b := await r.read(65536):
            w.write(b)
            await w.drain()
        w.write_eof()
    except OSError:
        pass
    finally:
        w.close()

async def digest(r, w):
    h, n = hashlib.sha256(), 0
    while b := await r.read(1 << 20):
        h.update(b)
        n += len(b)
    w.write(json.dumps([n, h.hexdigest()]).encode())
    # Much, to a peer that does not read yet, and the end right behind it.
    w.write(b"\n" + b"z" * int(sys.argv[2]))
    w.close()

class Udp(asyncio.DatagramProtocol):
    def connection_made(self, t):
        self.t = t
    def datagram_received(self, b, peer):
        self.t.sendto(json.dumps(peer[:2]).encode() + b" " + b, peer)

def dual(kind, port):
    s = socket.socket(socket.AF_INET6, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    return s

async def main():
    loop = asyncio.get_running_loop()
    await asyncio.start_server(echo, sock=dual(socket.SOCK_STREAM, port), backlog=4096)
    await asyncio.start_server(digest, sock=dual(socket.SOCK_STREAM, port + 1), backlog=4096)
    await loop.create_datagram_endpoint(Udp, sock=dual(socket.SOCK_DGRAM, port))
    print("ready", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
'''
INSIDE = 9000
BIG = 24 << 20


@pytest.fixture
def server(weir, live):
    def start(*ports, name="server.py", **kw):
        flags = [x for p in ports for x in ("--publish", p)]
        path = weir.file(name, SERVER)
        if os.environ.get("LAB_TMP"):
            os.chmod(path, 0o644)
        a = live("/usr/bin/python3", "-u", path, str(INSIDE), str(BIG), policy=OPEN,
                 flags=[*flags, *kw.pop("flags", ())], **kw)
        assert next(a.lines()) == b"ready\n"
        return a
    return start


def free_port(family=socket.AF_INET):
    with socket.socket(family) as s:
        s.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return s.getsockname()[1]


def free_ports(n):
    """The first of n ports in a row that nobody has."""
    for first in range(20000, 30000, n):
        try:
            for p in range(first, first + n):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET6, kind) as s:
                        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                        s.bind(("::", p))
            return first
        except OSError:
            continue
    raise AssertionError("no free ports")


def line(s):
    """The server's first line: whom it sees."""
    got = b""
    while not got.endswith(b"\n"):
        b = s.recv(1)
        if not b:
            raise ConnectionError("ended after %r" % got)
        got += b
    return json.loads(got)


def tcp(port, host="127.0.0.1", text=b"ping", **kw):
    with socket.create_connection((host, port), 20 * SLACK, **kw) as s:
        seen = line(s)
        s.sendall(text)
        assert s.recv(len(text), socket.MSG_WAITALL) == text
        return seen


def udp(port, host="127.0.0.1"):
    """Connected: an answer from another address than was asked is none."""
    def once():
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                           socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.connect((host, port))
            s.send(b"ping")
            try:
                return s.recv(100)
            except OSError:
                return None
    return wait_for(once, 10)


def ports(a):
    p = a.ctl("ports", "--json")
    assert p.returncode == 0, p
    return json.loads(p.stdout)["ports"]


# Parity: n16, n17, n18, weak-29.
def test_every_form(server):
    first = free_ports(8)
    a = server("%d-%d:%d-%d" % (first, first + 1, INSIDE, INSIDE + 1),
               "*:%d:%d" % (first + 2, INSIDE), "[::1]:%d:%d/tcp" % (first + 3, INSIDE),
               "0:%d" % INSIDE, "0.0.0.0:%d:%d/udp" % (first, INSIDE),
               "[::]:%d:%d/udp" % (first, INSIDE))
    assert tcp(first)[0] == "::ffff:192.0.0.1"
    with socket.create_connection(("127.0.0.1", first + 1), 5) as s:
        s.shutdown(socket.SHUT_WR)
        assert line(s)[0] == 0
    assert tcp(first + 2)[0] == "::ffff:192.0.0.1"
    assert tcp(first + 2, "::1")[0] == "fd77:6569:7200::1"
    assert tcp(first + 3, "::1")[0] == "fd77:6569:7200::1"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", first + 3), 1)
    chosen = [p for p in ports(a) if p["proto"] == "tcp" and p["port"] == INSIDE][-1]["listen"]
    assert tcp(int(chosen.rpartition(":")[2]))
    # Another of our addresses: the answer comes from where the question went.
    for host in ("127.0.0.1", "127.0.0.2", "93.184.216.10", "::1"):
        assert udp(first, host).endswith(b" ping"), host
    # The true peer is seen where it can be answered.
    assert tcp(first + 2, "93.184.216.10", source_address=("93.184.216.11", 0))[0] == \
        "::ffff:93.184.216.11"
    counts = {p["listen"] + "/" + p["proto"]: p for p in ports(a)}
    one = counts["127.0.0.1:%d/tcp" % first]
    assert one["total"] == 1 and one["refused"] == 0, counts
    assert counts["0.0.0.0:%d/udp" % first]["now"] == 3, counts
    _, err = a.end()
    assert "published: %s:%d/tcp" % (chosen, INSIDE) in err, err


# Parity: lesson-20, lesson-22.
def test_a_thousand_at_once_are_all_served(server):
    """Ten times as many as there is room for: none is refused, all are served in turn."""
    port = free_port()
    a = server("%d:%d" % (port, INSIDE), flags=["--max-connections", "100"])
    sel, left, done = selectors.DefaultSelector(), 1000, 0
    for _ in range(left):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", port))
        sel.register(s, selectors.EVENT_READ, b"")
    while done < 1000:
        events = sel.select(30 * SLACK)
        assert events, "%d served, then nothing" % done
        for key, _ in events:
            got = key.fileobj.recv(200)
            assert got, "ended before it was served"
            if (key.data + got).endswith(b"\n"):
                done += 1
                sel.unregister(key.fileobj)
                key.fileobj.close()
            else:
                sel.modify(key.fileobj, selectors.EVENT_READ, key.data + got)
    p = ports(a)[0]
    assert p["total"] == 1000 and p["refused"] == 0 and p["waited"] > 0, p


# Parity: lesson-21.
def test_no_byte_is_lost_to_a_slow_peer_or_an_early_end(server):
    port = free_port()
    server("%d:%d" % (port, INSIDE + 1))
    body = os.urandom(1 << 20) * 16
    with socket.create_connection(("127.0.0.1", port), 20 * SLACK) as s:
        s.settimeout(60 * SLACK)
        s.sendall(body)
        s.shutdown(socket.SHUT_WR)
        # The server has answered and closed long before this is read.
        threading.Event().wait(0.5)
        f = s.makefile("rb")
        assert json.loads(f.readline()) == [len(body), hashlib.sha256(body).hexdigest()]
        assert len(f.read()) == BIG


def test_what_refuses_inside_refuses_outside(live):
    port = free_port()
    a = live("sleep", "60", policy=OPEN, flags=["--publish", "%d:1" % port])
    with pytest.raises(ConnectionResetError), \
            socket.create_connection(("127.0.0.1", port), 10 * SLACK) as s:
        s.recv(1)
    assert wait_for(lambda: a.events("flow_end"))


def test_two_ports_and_one_source(server):
    """What the sandbox could not tell apart is told apart for it."""
    first = free_ports(2)
    server("%d-%d:%d-%d" % (first, first + 1, INSIDE, INSIDE + 1),
           "%d:%d" % (first + 2, INSIDE))
    source = free_port()
    with socket.socket() as a, socket.socket() as b:
        for s, to in ((a, first), (b, first + 2)):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.settimeout(10 * SLACK)
            s.bind(("127.0.0.1", source))
            s.connect(("127.0.0.1", to))
        assert line(a)[1] != line(b)[1]


# Parity: weak-29.
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"], ids=["v4", "v6"])
def test_proxy_header(live, weir, host):
    v6 = ":" in host
    port = free_port(socket.AF_INET6 if v6 else socket.AF_INET)
    code = "import socket\ns=socket.create_server(('::',%d),family=socket.AF_INET6," \
           "dualstack_ipv6=True)\nprint('ready',flush=True)\nwhile 1:\n c,_=s.accept()\n" \
           " print(c.recv(%d,socket.MSG_WAITALL).hex(),flush=True)" % (INSIDE, 16 + (36 if v6 else 12) + 5)
    a = live("/usr/bin/python3", "-c", code, policy=OPEN,
             flags=["--publish", "%s:%d:%d,proxy" % ("[%s]" % host if v6 else host, port, INSIDE)])
    lines = a.lines()
    assert next(lines) == b"ready\n"
    with socket.create_connection((host, port), 10 * SLACK) as s:
        s.sendall(b"hello")
        got = bytes.fromhex(next(lines).decode())
        family = socket.AF_INET6 if v6 else socket.AF_INET
        ip = socket.inet_pton(family, host)
        assert got == (b"\r\n\r\n\0\r\nQUIT\n\x21" + (b"\x21\0\x24" if v6 else b"\x11\0\x0c") +
                       ip + ip + struct.pack("!HH", s.getsockname()[1], port) + b"hello")
    # A server that speaks first, and a client that says nothing: the header comes all the same.
    with socket.create_connection((host, port), 10 * SLACK) as s:
        s.shutdown(socket.SHUT_WR)
        assert bytes.fromhex(next(lines).decode()).startswith(b"\r\n\r\n\0\r\nQUIT\n\x21")


# Parity: weak-29.
@pytest.mark.user
def test_published_and_unpublished_while_it_runs(server):
    a = server()
    assert "no port" in a.ctl("ports").stdout
    first = free_ports(4)
    p = a.ctl("publish", "%d:%d" % (first, INSIDE))
    assert p.returncode == 0 and "127.0.0.1:%d/tcp" % first in p.stdout, p
    assert tcp(first)
    p = a.ctl("publish", "%d-%d:%d-%d/udp" % (first, first + 1, INSIDE, INSIDE + 1), "--json")
    assert [x["port"] for x in json.loads(p.stdout)["ports"]] == [INSIDE, INSIDE + 1], p
    assert udp(first)
    p = a.ctl("publish", "0:%d" % INSIDE, "--json")
    chosen = json.loads(p.stdout)["ports"][0]["listen"]
    assert tcp(int(chosen.rpartition(":")[2]))

    # Connections go on when nothing new comes in any more.
    with socket.create_connection(("127.0.0.1", first), 10 * SLACK) as s:
        line(s)
        p = a.ctl("unpublish", str(first) + "/tcp")
        assert p.returncode == 0 and "1 connection, left to end" in p.stdout, p
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", first), 5)
        s.sendall(b"still")
        assert s.recv(5, socket.MSG_WAITALL) == b"still"
    assert a.ctl("publish", "%d:%d" % (first, INSIDE)).returncode == 0
    with socket.create_connection(("127.0.0.1", first), 10 * SLACK) as s:
        line(s)
        p = a.ctl("unpublish", "%d:%d" % (first, INSIDE), "--end")
        assert p.returncode == 0 and "1 connection, reset" in p.stdout, p
        with pytest.raises(ConnectionResetError):
            s.recv(1)
    p = a.ctl("unpublish", str(first), "--json")  # what is left of that number: UDP
    assert [x["proto"] for x in json.loads(p.stdout)["ports"]] == ["udp"], p
    told = [(e["event"], e["listen"], e["proto"]) for e in a.events("run")
            if e["event"].endswith("published")]
    here = "127.0.0.1:%d" % first
    assert told[0] == ("published", here, "tcp") and told[-1] == ("unpublished", here, "udp"), told


# Parity: n16.
def test_a_change_is_made_whole_or_not_at_all(server):
    a = server()
    first = free_ports(3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 1))
        taken.listen()
        p = a.ctl("publish", "%d-%d:%d-%d" % (first, first + 2, INSIDE, INSIDE + 2))
        assert p.returncode == 1 and "127.0.0.1:%d" % (first + 1) in p.stderr, p
        assert "process %d" % os.getpid() in p.stderr, p
    assert ports(a) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first), 5)
    assert a.ctl("publish", "%d:%d" % (first, INSIDE)).returncode == 0
    for bad, why in ((["publish", "%d:1" % first], "published already"),
                     (["publish", "1:2:3"], "IPv4"), (["publish", "8000-8001:1"], "range"),
                     (["publish", "8000:1/udp,proxy"], "TCP"), (["publish", "1000-2000:1000-2000"], "256"),
                     (["unpublish", "1"], "no such port"), (["unpublish", "x"], "decimal"),
                     (["unpublish", "%d/udp" % first], "no such port"),
                     (["unpublish", "%d:%d" % (first, INSIDE + 1)], "no such port")):
        p = a.ctl(*bad)
        assert p.returncode and why in p.stderr, (bad, p)
    assert len(ports(a)) == 1


# Parity: n17.
def test_too_many_udp_peers_push_nobody_out(server):
    """One address takes its share of the peers and no more; who talks stays."""
    port = free_port()
    a = server("127.0.0.1:%d:%d/udp" % (port, INSIDE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as old:
        old.bind(("127.0.0.2", 0))
        old.connect(("127.0.0.1", port))
        old.settimeout(1)

        def answered():
            old.send(b"x")
            try:
                return old.recv(100)
            except TimeoutError:
                return None

        assert wait_for(answered, 10)
        many = []
        for _ in range(300):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.sendto(b"y", ("127.0.0.1", port))
            many.append(s)
        p = wait_for(lambda: next((x for x in ports(a) if x["refused"] >= 44), None))
        assert p["now"] == 257, p
        assert wait_for(answered, 10)
        for s in many:
            s.close()
    assert wait_for(lambda: a.events("flow", verdict="fail",
                                     detail="the published port has too many peers"))
