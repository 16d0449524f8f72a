# SPDX-License-Identifier: Apache-2.0
"""TCP, UDP and ICMP as programs meet them: failures, orders of closing, limits, published ports."""

import json
import os
import socket
import threading
import time

import pytest
from conftest import SLACK, wait_for

import data
import world

PUBLIC = "public_only"


# Parity: weak-9.
@pytest.mark.user
def test_upstream_failures_look_like_what_they_are(weir):
    r = weir.guest("connects", "closed.example.com/81/5", "unreachable.example.com/80/5",
                   "silent.example.com/80/2", "noroute.example.com/80/5")
    j = r.json
    assert j["closed.example.com/81/5"]["result"] == "ECONNREFUSED", r
    assert j["closed.example.com/81/5"]["seconds"] < 1 * SLACK, r
    assert j["unreachable.example.com/80/5"]["result"] == "EHOSTUNREACH", r
    assert j["silent.example.com/80/2"]["result"] == "timeout", r
    assert j["noroute.example.com/80/5"]["result"] in ("ENETUNREACH", "EHOSTUNREACH"), r
    assert r.find("flow", verdict="fail", name="closed.example.com"), r


def test_next_address_is_tried(weir):
    r = weir.sh("curl -sS http://retry.example.com/bytes/1000 | wc -c")
    assert r.out == "1000\n", r


# Parity: n01.
@pytest.mark.user
@pytest.mark.machine
def test_metadata_and_private_addresses_are_denied_by_default(weir, lab):
    targets = ["%s/80/5" % a for a in (
        world.METADATA4, world.METADATA6, world.PRIVATE4, world.PRIVATE6, "192.168.1.1",
        "100.100.100.200", "168.63.129.16", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe")]
    r = weir.guest("connects", *targets, policy=PUBLIC)
    for t in targets:
        assert r.json[t]["result"] not in ("connected", "timeout"), (t, r)
        assert r.json[t]["seconds"] < 1 * SLACK, (t, r)
    assert not lab.seen("tcp", server="metadata"), lab.seen()
    assert not lab.seen("tcp", server="private"), lab.seen()
    assert not lab.seen("tcp", server="loopback"), lab.seen()
    denied = [e["dst"] for e in r.find("flow", verdict="deny")]
    assert world.METADATA4 in denied and world.PRIVATE4 in denied, r
    assert all(e.get("denial") for e in r.find("flow", verdict="deny")), r


def test_public_address_without_a_name(weir):
    api = world.v4("api.example.com")
    r = weir.sh("curl -sS http://%s/literal | head -c 12" % api, policy=PUBLIC)
    assert '{"authorized' in r.out, r
    r = weir.guest("connect", api, 80, 5)  # only names are allowed here
    assert r.json["result"] == "ECONNREFUSED" and r.json["seconds"] < 1 * SLACK, r


def test_loopback_is_the_sandboxes_own(weir, lab):
    r = weir.guest("connect", "127.0.0.1", 80, policy="allow_all")
    assert r.json["result"] == "ECONNREFUSED", r
    assert not lab.seen("tcp", server="loopback")


# Parity: n08, n09.
def test_ports_and_protocols(weir):
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": "echo.example.com", "protocols": ["tcp"],
         "ports": ["7", "1000-1008"]}]}}
    r = weir.guest("connects", "echo.example.com/7", "echo.example.com/9",
                   "echo.example.com/1007", "echo.example.com/1009", policy=policy)
    assert [v["result"] for v in r.json.values()] == [
        "connected", "ECONNREFUSED", "connected", "ECONNREFUSED"], r
    r = weir.guest("udp", "echo.example.com", 7, "x", policy=policy)
    assert r.json["result"] != "ok" and r.json["seconds"] < 1 * SLACK, r


@pytest.mark.parametrize("family", ["4", "6"])
def test_half_close(weir, family):
    r = weir.guest("half", "echo%s.example.com" % family, 1007, 3000017, 1000, family)
    assert r.json["got"] == "3000017 %s\n" % data.sha256(3000017), r


def test_slow_server_gets_everything(weir):
    r = weir.guest("half", "echo.example.com", 1011, 2000003)
    assert r.json["got"] == "2000003 %s\n" % data.sha256(2000003), r


def test_slow_reader_gets_everything(weir):
    r = weir.guest("slowread", "echo.example.com", 19, 8000009)
    assert r.json == {"left": 0, "same": True}, r


def test_server_closes_first(weir):
    r = weir.guest("greet", "echo.example.com", 1009, 2 << 20)
    assert r.json == {"got": "hello\n", "sent": 2 << 20}, r


def test_both_close_at_once(weir):
    r = weir.guest("both", "echo.example.com", 1012, 200)
    assert r.json["rounds"] == 200 and r.json["seconds"] < 20 * SLACK, r


def test_reset_is_passed_on(weir):
    r = weir.guest("reset", "echo.example.com", 1010)
    assert r.json["result"] == "ECONNRESET", r


def test_many_conversations_at_once(weir):
    r = weir.guest("parallel", "echo.example.com", 7, 64, 200000)
    assert r.json["bad"] == [], r


@pytest.mark.machine
def test_limit_of_connections_refuses_clearly(weir):
    r = weir.guest("many", "echo.example.com", 7, 12, flags=["--max-connections", "8"])
    results = r.json["results"]
    assert results[:8] == ["ok"] * 8, r
    assert set(results[8:]) == {"ECONNREFUSED"}, r
    assert len(r.find("flow", verdict="deny")) >= 4, r


def test_limit_frees_up_again(weir):
    r = weir.sh("for i in 1 2 3 4 5 6 7 8 9 10; do curl -sS -o /dev/null -w '%{http_code} ' "
                "http://api.example.com/; done", flags=["--max-connections", "8"])
    assert r.out.split() == ["200"] * 10, r


# Parity: p1.8-echo.
def test_ping(weir):
    r = weir.sh("ping -4 -c 3 -i 0.2 -W 2 api.example.com && ping -6 -c 3 -i 0.2 -W 2 api.example.com")
    assert r.rc == 0 and r.out.count(" 0% packet loss") == 2, r


@pytest.mark.machine
def test_ping_denied_is_answered(weir):
    r = weir.sh("ping -c 2 -i 0.2 -W 2 10.9.8.7")
    assert r.rc == 1 and "filtered" in (r.out + r.err).lower(), r


@pytest.mark.parametrize("host", ["echo4.example.com", "echo6.example.com"])
def test_udp_echo(weir, host):
    r = weir.guest("udp", host, 7, "d", 3, 50)
    assert r.json["got"] == ["d%d" % i for i in range(50)], r


# Parity: lesson-17.
@pytest.mark.machine
def test_udp_sizes_and_fragments(weir):
    r = weir.guest("udpsize", "echo.example.com", 7, 1, 1400, 1472, 1473, 4000, 9000, 60000)
    assert all(v is True for v in r.json.values()), r


def test_udp_refusals_are_answered(weir):
    r = weir.guest("udp", "closed.example.com", 7, "x")
    assert r.json["result"] == "ECONNREFUSED" and r.json["seconds"] < 1 * SLACK, r
    r = weir.guest("udp", "10.9.8.7", 7, "x")
    assert r.json["result"] in ("EHOSTUNREACH", "EACCES", "ENETUNREACH", "ECONNREFUSED"), r
    assert r.json["seconds"] < 1 * SLACK, r


def connect_soon(port, kind=socket.SOCK_STREAM):
    """The published port listens before the service does; ask until it answers."""
    def ask():
        try:
            s = socket.socket(socket.AF_INET, kind)
            s.settimeout(1)
            s.connect(("127.0.0.1", port))
            s.sendall(b"ping")
            got = s.recv(100)
            s.close()
            return got
        except OSError:
            return b""
    return wait_for(ask, 10)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.machine
def test_published_port(weir, lab, proto):
    port = 18080 if proto == "tcp" else 18081
    flag = "%d:8080%s" % (port, "/udp" if proto == "udp" else "")
    p = weir.start("/usr/bin/python3", lab.guest, "serve", "8080", "inside:", proto,
                   flags=["--publish", flag])
    try:
        assert p.stdout.readline() == b"ready\n"
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        assert connect_soon(port, kind) == b"inside:ping"
    finally:
        p.terminate()
        p.wait(10 * SLACK)
    time.sleep(0.1)
    assert connect_refused(port)


def connect_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return False
    except OSError:
        return True


def test_published_port_taken_is_an_error(weir):
    s = socket.socket()
    s.bind(("127.0.0.1", 18082))
    s.listen()
    r = weir.run("true", flags=["--publish", "18082:80"])
    s.close()
    assert r.rc == 125 and "18082" in r.err, r


def test_published_port_judged(weir, lab):
    p = weir.start("/usr/bin/python3", lab.guest, "serve", "8080", "inside:",
                   flags=["--publish", "18083:8080", "--net-default-ingress", "deny"])
    try:
        assert p.stdout.readline() == b"ready\n"
        try:
            with socket.create_connection(("127.0.0.1", 18083), 3) as s:
                s.sendall(b"ping")
                assert s.recv(100) == b""
        except (ConnectionError, BrokenPipeError):
            pass  # reset: a refusal
    finally:
        p.terminate()
        p.wait(10 * SLACK)


# Parity: n02, lesson-13.
def test_no_net(weir, lab):
    r = weir.sh("curl -m 3 -sS http://%s/; echo $?; getent hosts api.example.com; echo $?" %
                world.v4("api.example.com"), policy=None, flags=["--no-net"])
    assert r.out.split() == ["7", "2"], r
    assert not lab.seen(), lab.seen()


def test_capture_is_readable(weir, lab):
    path = os.path.join(weir.tmp, "c.pcapng")
    r = weir.sh("curl -sS http://api.example.com/ >/dev/null", flags=["--capture", path])
    assert r.rc == 0, r
    with open(path, "rb") as f:
        b = f.read()
    assert b[:4] == b"\x0a\x0d\x0d\x0a" and b"GET / HTTP/1.1" in b, b[:100]


# The far end of interactive protocols: header and body in two writes, Nagle's algorithm on.
NAGLE_ROUNDS = 50
NAGLE_CLIENT = r"""
import json, socket, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])))
took = []
for _ in range(int(sys.argv[3])):
    t, got = time.monotonic(), b""
    c.sendall(b"ask")
    while len(got) < 30:
        b = c.recv(100)
        assert b, got
        got += b
    took.append(time.monotonic() - t)
print(json.dumps(took))
"""


# Parity: weak-25.
def test_a_far_end_with_nagle_does_not_wait(weir):
    listener = socket.create_server((world.v4("echo.example.com"), 0))

    def serve():
        c, _ = listener.accept()
        with c:
            while c.recv(3, socket.MSG_WAITALL):
                c.sendall(b"h" * 10)
                c.sendall(b"b" * 20)

    t = threading.Thread(target=serve, daemon=True)
    t.start()
    host, port = listener.getsockname()
    r = weir.run("/usr/bin/python3", "-c", NAGLE_CLIENT, host, str(port), str(NAGLE_ROUNDS),
                 policy="allow_all")
    listener.close()
    t.join(10)
    late = [s for s in json.loads(r.out) if s > 0.03]
    assert len(late) < NAGLE_ROUNDS / 5, late
