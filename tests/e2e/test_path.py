# SPDX-License-Identifier: Apache-2.0
"""A path with routers: who they are, how wide it is, and who sees which port of ours.

    lab (weir) --- r1 --- r2 --- srv        45.10.N.0/24 and 2a0e:1:N::/64; r2 to srv is 1300 bytes wide
"""

import json
import os
import subprocess
import time

import pytest

ALL = "allow_all"
HOPS = [("r1", 1), ("r2", 2), ("srv", 3)]
SRV4, OTHER4, SRV6 = "45.10.3.2", "45.10.3.3", "2a0e:1:3::2"

# Tells each client where it is seen to come from; on its order another port speaks to it as well.
MIRROR = r"""
import select, socket
socks = []
for family, addr in ((socket.AF_INET, "45.10.3.2"), (socket.AF_INET, "45.10.3.3"),
                     (socket.AF_INET6, "2a0e:1:3::2")):
    for port in (3478, 3479):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.bind((addr, port))
        socks.append(s)
for s in (socket.create_server(("45.10.3.2", 80)),
          socket.create_server(("2a0e:1:3::2", 80), family=socket.AF_INET6)):
    s.listen()
print("ready", flush=True)
while True:
    for s in select.select(socks, [], [])[0]:
        data, peer = s.recvfrom(65535)
        seen = b"%s %d" % (peer[0].encode(), peer[1])
        if data == b"stranger":
            stranger = [x for x in socks if x.family == s.family and x is not s][0]
            stranger.sendto(b"from a stranger", peer)
        s.sendto(seen + b" %d" % len(data), peer)
"""


def sh(*argv):
    subprocess.run(argv, check=True, capture_output=True)


def in_ns(ns, *argv):
    sh("ip", "netns", "exec", ns, *argv)


def link(a, b, n, mtu=1500):
    """a: .1, b: .2 of network n; a None: the lab itself."""
    sh("ip", "link", "add", "up%d" % n, "type", "veth", "peer", "name", "down%d" % n)
    for ns, dev, last in ((a, "down%d" % n, 1), (b, "up%d" % n, 2)):
        run = lambda *argv, ns=ns: in_ns(ns, *argv) if ns else sh(*argv)  # noqa: E731
        if ns:
            sh("ip", "link", "set", dev, "netns", ns)
        run("ip", "addr", "add", "45.10.%d.%d/24" % (n, last), "dev", dev)
        run("ip", "-6", "addr", "add", "2a0e:1:%d::%d/64" % (n, last), "dev", dev, "nodad")
        run("ip", "link", "set", dev, "mtu", str(mtu), "up")


@pytest.fixture(scope="module")
def path(lab_session):
    if os.geteuid() != 0:
        pytest.skip("makes network namespaces")
    mirror = None
    try:
        for ns, _ in HOPS:
            sh("ip", "netns", "add", ns)
            in_ns(ns, "ip", "link", "set", "lo", "up")
            # Tests ask more often than routers answer by default.
            in_ns(ns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
                  "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0",
                  "net.ipv4.icmp_msgs_per_sec=10000")
        link(None, "r1", 1)
        link("r1", "r2", 2)
        link("r2", "srv", 3, mtu=1300)
        in_ns("srv", "ip", "addr", "add", "45.10.3.3/24", "dev", "up3")
        for ns, dst, via in ((None, 2, 1), (None, 3, 1), ("r1", 3, 2), ("r2", 1, 2), ("srv", 1, 3),
                             ("srv", 2, 3)):
            back = ns in ("r2", "srv")
            for family, net, gw in (
                    ("-4", "45.10.%d.0/24" % dst, "45.10.%d.%d" % (via, 1 if back else 2)),
                    ("-6", "2a0e:1:%d::/64" % dst, "2a0e:1:%d::%d" % (via, 1 if back else 2))):
                argv = ["ip", family, "route", "add", net, "via", gw]
                in_ns(ns, *argv) if ns else sh(*argv)
        mirror = subprocess.Popen(
            ["ip", "netns", "exec", "srv", "python3", "-c", MIRROR], stdout=subprocess.PIPE, text=True)
        assert mirror.stdout.readline() == "ready\n"
        yield
    finally:
        if mirror:
            mirror.kill()
            mirror.wait()
        for ns, _ in HOPS:
            subprocess.run(["ip", "netns", "del", ns], check=False, capture_output=True)


def hops_of(text):
    """Line by line: the address that answered at 1, 2, 3 ..."""
    return [line.split()[1] for line in text.splitlines() if line.strip()[:1].isdigit()]


@pytest.mark.parametrize("how", ["", "-I", "-T -p 80"])
@pytest.mark.parametrize("family", [4, 6])
def test_traceroute(weir, path, how, family):
    """Lessons: weak-28 (echo only, no traceroute)."""
    to = SRV4 if family == 4 else SRV6
    r = weir.sh("traceroute -%d -n -q 1 -N 1 -w 3 -m 6 %s %s" % (family, how, to), policy=ALL)
    assert r.rc == 0, r
    got = hops_of(r.out)
    want = ["45.10.1.2", "45.10.2.2"] if family == 4 else ["2a0e:1:1::2", "2a0e:1:2::2"]
    assert got[1:3] == want and got[3] == to and len(got) == 4, r


# One socket of the guest's asks several servers who it is, then lets a stranger answer.
ASK = r"""
import json, socket, sys
order, targets = sys.argv[1], [t.rsplit("/", 1) for t in sys.argv[2:]]
s = socket.socket(socket.AF_INET6 if ":" in targets[0][0] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
out = {"seen": [], "strangers": 0}
for host, port in targets:
    s.sendto(b"who am I", (host, int(port)))
    data, peer = s.recvfrom(65535)
    out["seen"].append([peer[0], peer[1], data.decode().split()])
s.sendto(order.encode(), (targets[0][0], int(targets[0][1])))
try:
    while True:
        data, peer = s.recvfrom(65535)
        out["strangers"] += data == b"from a stranger"
        if data != b"from a stranger":
            s.settimeout(0.3)
except socket.timeout:
    pass
print(json.dumps(out))
"""


def ask(weir, *targets, order="again", **kw):
    r = weir.run("python3", "-c", ASK, order, *targets, **kw)
    assert r.rc == 0, r
    return r, json.loads(r.out)


@pytest.mark.parametrize("targets", [
    [SRV4 + "/3478", OTHER4 + "/3478", OTHER4 + "/3479"], [SRV6 + "/3478", SRV6 + "/3479"]])
def test_every_remote_sees_the_same_port(weir, path, targets):
    """Parity: weak-27 (symmetric NAT breaks STUN). Who was not asked is not heard, and is on record."""
    r, out = ask(weir, *targets, policy=ALL)
    for target, (host, port, _) in zip(targets, out["seen"]):
        assert "%s/%d" % (host, port) == target, r
    assert len({tuple(seen[:2]) for _, _, seen in out["seen"]}) == 1, r
    assert len(r.find("flow", verdict="allow", proto="udp")) == len(targets), r
    # All were asked: both ports of one address may speak.
    assert ask(weir, SRV4 + "/3478", SRV4 + "/3479", order="stranger",
               policy=ALL)[1]["strangers"] == 1


def test_strangers_are_not_heard(weir, path):
    """Parity: weak-27."""
    r, out = ask(weir, SRV4 + "/3478", order="stranger", policy=ALL)
    assert out["strangers"] == 0, r
    denied = r.find("flow", verdict="deny", dir="ingress")
    assert denied and "sent none" in denied[0]["detail"], r


def test_a_denied_remote_of_an_open_port(weir, path):
    """The port being open for one remote opens it for no other. Parity: weak-27."""
    policy = weir.file("one.json", json.dumps({"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": SRV4, "protocols": ["udp"]}]}}))
    ask(weir, SRV4 + "/3478", policy=policy)
    r = weir.run("python3", "-c", ASK, "again", SRV4 + "/3478", OTHER4 + "/3478", policy=policy)
    assert r.rc != 0 and r.find("flow", verdict="deny", dst=OTHER4), r


BIG = r"""
import errno, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: never fragment
s.connect((sys.argv[1], 3478))
s.settimeout(0.5)
for n in range(20):
    try:
        s.send(b"x" * 1400)
        s.recv(2000)
    except socket.timeout:
        continue
    except OSError as e:
        assert e.errno == errno.EMSGSIZE, e
        break
else:
    sys.exit("never told that it is too big")
print(s.getsockopt(socket.IPPROTO_IP, 14))  # IP_MTU
s.setsockopt(socket.IPPROTO_IP, 10, 0)      # may be fragmented now
s.settimeout(5)
for n in (1400, 4000, 20000):
    s.send(b"x" * n)
    print(s.recv(2000).decode().split()[2])
"""


def test_path_mtu_of_udp(weir, path):
    """Parity: n24. Lessons: lesson-17."""
    r = weir.run("python3", "-c", BIG, SRV4, policy=ALL)
    assert r.rc == 0 and r.out.split() == ["1300", "1400", "4000", "20000"], r


@pytest.mark.parametrize("to, size", [(SRV4, 1272), (SRV6, 1252)])
def test_path_mtu_of_ping(weir, path, to, size):
    """Parity: n23."""
    r = weir.sh("ping -n -c 1 -W 5 -M do -s %d %s" % (size, to), policy=ALL)
    assert r.rc == 0 and "1 received" in r.out, r
    r = weir.sh("ping -n -c 2 -i 0.2 -W 1 -M do -s %d %s" % (size + 1, to), policy=ALL)
    assert r.rc != 0 and "1300" in r.out + r.err, r
    r = weir.sh("ping -n -c 2 -i 0.2 -W 5 -M dont -s 3000 %s" % to, policy=ALL)
    assert r.rc == 0, r


@pytest.mark.parametrize("to, router", [(SRV4, "45.10.2.2"), (SRV6, "2a0e:1:2::2")])
def test_tracepath(weir, path, to, router):
    """Parity: weak-28."""
    r = weir.sh("tracepath -n -m 6 %s" % to, policy=ALL)
    assert "pmtu 1300" in r.out and router in r.out, r


def test_a_closed_port_is_told(weir, path):
    r = weir.run("python3", "-c", ASK, "again", SRV4 + "/9999", policy=ALL)
    # An unconnected socket hears of no error; a connected one does.
    assert r.rc != 0, r
    r = weir.run("python3", "-c", "import socket,sys\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\n"
                 "s.connect((sys.argv[1],9999)); s.settimeout(5); s.send(b'x')\n"
                 "try: s.recv(9)\nexcept ConnectionRefusedError: print('refused')", SRV6, policy=ALL)
    assert r.out == "refused\n", r
