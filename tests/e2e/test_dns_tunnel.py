# SPDX-License-Identifier: Apache-2.0
"""What escapes through names below an allowed suffix, measured at its name server.

A policy allows "*.t.example.net", whose authoritative server is an attacker's: a
server here that keeps every label it is sent, and iodined. What the budget lets
through is asserted, and printed with -rP.
"""

import base64
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import HERE, MACHINE_SLACK, SLACK

DOMAIN = "t.example.net"
APEX = "example.net"
POLICY = {"policy": {"default_egress": "deny", "rules": [
    {"id": "wild", "action": "allow", "destination": "*." + DOMAIN}]}}
# The defaults of struct dns_budget.
NAMES, BYTES, QUERIES, REFILL = 256, 6144, 2048, 600
ALL = 16  # all domains together, as a multiple of one


class NameServer:
    """Answers every A with an address and TTL 0; keeps what it was asked."""

    def __init__(self):
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(("127.0.0.1", 0))
        self.port = self.s.getsockname()[1]
        self.asked = []  # (name, type)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                self.one(*self.s.recvfrom(4096))
            except OSError:
                return

    def one(self, msg, peer):
        at, labels = 12, []
        while msg[at]:
            labels.append(msg[at + 1:at + 1 + msg[at]].decode("ascii", "replace"))
            at += 1 + msg[at]
        qtype = struct.unpack(">H", msg[at + 1:at + 3])[0]
        self.asked.append((".".join(labels), qtype))
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x5d\xb8\xd8\x0a" if qtype == 1 else b""
        self.s.sendto(msg[:2] + b"\x81\x80\0\1" + struct.pack(">HHH", bool(answer), 0, 0) +
                      msg[12:at + 5] + answer, peer)

    def close(self):
        self.s.close()

    def names(self):
        return {n for n, _ in self.asked}

    def label_bytes(self):
        return sum(len(n) - len(APEX) for n in self.names())

    def payload(self):
        """What the attacker has, put together by number."""
        parts = {}
        for n in self.names():
            labels = n[:-len(DOMAIN) - 1].split(".")
            text = "".join(labels[1:]).upper()
            parts[int(labels[0], 16)] = base64.b32decode(text + "=" * (-len(text) % 8))
        return b"".join(parts.values())


@pytest.fixture
def server():
    s = NameServer()
    yield s
    s.close()


@pytest.fixture
def client(lab):
    path = os.path.join(lab.tmp, "dnstunnel.py")
    shutil.copy(os.path.join(HERE, "dnstunnel.py"), path)
    return path


def drive(weir, server, client, *args, flags=()):
    return weir.run("/usr/bin/python3", "-B", client, *map(str, args), policy=POLICY,
                    flags=["--dns-server", "127.0.0.1:%d" % server.port, *flags], timeout=60)


def lasts(weir, seconds):
    """So long that the budget is spent: without KVM fewer are asked in a second."""
    return seconds * (1 if weir.backend == "netns" else MACHINE_SLACK)


def allowed(size, seconds):
    """A full bucket, what refills meanwhile, and one that was begun."""
    return size * (1 + seconds / REFILL) + 1


# Parity: weak-6.
def test_labels(weir, server, client):
    """Data in labels over all types: the budget's bytes get out and no more."""
    r = drive(weir, server, client, "send", DOMAIN, lasts(weir, 6), 2000000)
    payload, labels = len(server.payload()), server.label_bytes()
    print("budget: %d questions sent, %d names with %d bytes of labels arrived, %d bytes of data; "
          "%.0f per 10 minutes from then on" % (r.json["sent"], len(server.names()), labels, payload,
                                          BYTES * 5 / 8))
    assert r.json["sent"] > 1000, r
    assert payload > 1000, "the tunnel itself does not work: %r" % r
    assert labels <= allowed(BYTES, r.seconds), labels
    assert len(server.names()) <= allowed(NAMES, r.seconds)
    # Only A and AAAA reach anybody; the rest is answered here.
    assert {t for _, t in server.asked} <= {1, 28, 65}, server.asked
    denied = r.find("dns", result="budget")
    assert denied and denied[0]["denial"] and "below example.net" in denied[0]["detail"], r
    assert r.json["rcodes"].get("3", 0) > r.json["sent"] / 2, r


def test_labels_without_budget(weir, server, client):
    """The same without a budget: what the bound is worth."""
    if "--dns-budget" not in weir.call("run", "--help").stdout:
        pytest.skip("no option switches the budget off")
    r = drive(weir, server, client, "send", DOMAIN, lasts(weir, 6), 2000000, flags=["--dns-budget", "off"])
    print("no budget: %d names, %d bytes of labels, %d bytes of data in %.1f s" % (
        len(server.names()), server.label_bytes(), len(server.payload()), r.seconds))
    assert server.label_bytes() > 10 * BYTES, r


def test_order_of_known_names(weir, server, client):
    """Data in the order of names that are known: bounded by the number of questions."""
    r = drive(weir, server, client, "order", DOMAIN, lasts(weir, 15), 250)
    firsts = [n for n, t in server.asked if t == 1]
    print("order: %d sent, %d questions arrived, 8 bits each" % (r.json["sent"], len(firsts)))
    assert len(firsts) > 1.5 * len(server.names()), "nothing was asked twice: %r" % r
    assert r.json["sent"] > QUERIES, r
    assert len(firsts) <= allowed(QUERIES, r.seconds), len(firsts)
    assert r.find("dns", result="budget"), r


@pytest.mark.parametrize("mode", ["virtual", "real"])
def test_many_domains(weir, server, client, mode):
    """No domain is over its budget, all of them together are: over any transport, by any type."""
    r = weir.run("/usr/bin/python3", "-B", client, "spread", str(lasts(weir, 5)), policy="allow_all",
                 flags=["--dns-answers", mode, "--dns-server", "127.0.0.1:%d" % server.port])
    names, size = server.names(), sum(map(len, server.names()))
    print("spread: %d sent over UDP, %d names with %d bytes arrived" % (
        r.json["sent"], len(names), size))
    assert {e["transport"] for e in r.find("dns", result="budget")} == {"udp", "tcp"}, r
    assert size > BYTES and size <= allowed(BYTES * ALL, r.seconds), size
    assert len(names) <= allowed(NAMES * ALL, r.seconds), len(names)
    assert len(server.asked) <= 2 * allowed(QUERIES * ALL, r.seconds), len(server.asked)
    assert {t for _, t in server.asked} <= {1, 28, 65}, server.asked


def test_names_in_full_are_free(weir, server, client):
    """The policy spells a name out: it can be asked for without end."""
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": "w%d.%s" % (i, DOMAIN)} for i in range(400)]}}
    r = weir.run("/usr/bin/python3", "-B", client, "order", DOMAIN, "4", "400", policy=policy,
                 flags=["--dns-server", "127.0.0.1:%d" % server.port])
    assert len(server.names()) == 400, r
    assert not r.find("dns", result="budget"), r


# ---- iodine ------------------------------------------------------------------------------


IODINED, FRONT, RELAY = "127.0.0.78", "127.0.0.79", "127.0.0.77"
CONNECTED = "Connection setup complete"


class Front:
    """Passes datagrams on to iodined and keeps what it sees: what escaped."""

    def __init__(self):
        self.asked = []
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind((FRONT, 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def one(self, msg, peer):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as up:
            up.settimeout(5)
            up.connect((IODINED, 53))
            try:
                up.send(msg)
                self.s.sendto(up.recv(65535), peer)
            except OSError:
                pass

    def serve(self):
        while True:
            try:
                msg, peer = self.s.recvfrom(65535)
            except OSError:
                return
            at = 12
            while msg[at]:
                at += 1 + msg[at]
            self.asked.append((msg[12:at], struct.unpack(">H", msg[at + 1:at + 3])[0]))
            threading.Thread(target=self.one, args=(msg, peer), daemon=True).start()

    def label_bytes(self):
        return sum(len(n) - len(APEX) - 1 for n in {n for n, _ in self.asked})


def relay_through(p):
    """Datagrams to RELAY:53 go into the sandbox, whose client asks weir's resolver."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((RELAY, 53))
    peers = {}

    def inward():
        while True:
            try:
                msg, peer = s.recvfrom(65535)
                n = peers.setdefault(peer, len(peers))
                os.write(p.stdin.fileno(), struct.pack(">HH", n, len(msg)) + msg)
            except OSError:
                return

    def outward():
        while True:
            head = p.stdout.read(4)
            if len(head) < 4:
                return
            n, size = struct.unpack(">HH", head)
            s.sendto(p.stdout.read(size), [a for a, k in peers.items() if k == n][0])

    threading.Thread(target=inward, daemon=True).start()
    threading.Thread(target=outward, daemon=True).start()
    return s


def iodine(resolver, qtype, seconds):
    """One client's output after so long; -r: no raw UDP past the resolver."""
    p = subprocess.Popen(["iodine", "-f", "-r", "-P", "secret", "-T", qtype, resolver, DOMAIN],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         stdin=subprocess.DEVNULL)
    try:
        out, _ = p.communicate(timeout=seconds * SLACK)
    except subprocess.TimeoutExpired:
        p.kill()
        out, _ = p.communicate()
    return out


@pytest.fixture
def iodined():
    if not shutil.which("iodined") or not shutil.which("iodine"):
        pytest.skip("iodine is not installed")
    p = subprocess.Popen(["iodined", "-f", "-c", "-P", "secret", "-l", IODINED, "10.99.0.1", DOMAIN],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         stdin=subprocess.DEVNULL)
    time.sleep(0.5)
    if p.poll() is not None:
        pytest.skip("iodined does not start here: " + p.stdout.read())
    yield p
    p.kill()
    p.wait()


# Parity: weak-6.
@pytest.mark.slow
def test_iodine(weir, iodined, client):
    """A real tunnel works in the lab, and through weir it does not come to stand with any type."""
    out = iodine(IODINED, "NULL", 8)
    assert CONNECTED in out, out
    front = Front()
    p = weir.start("/usr/bin/python3", "-B", client, "relay", policy=POLICY,
                   flags=["--dns-server", FRONT + ":53"], stdin=subprocess.PIPE, bufsize=0)
    s = relay_through(p)
    try:
        types = ["NULL", "PRIVATE", "TXT", "SRV", "MX", "CNAME", "A"]
        outs = {}
        threads = [threading.Thread(target=lambda t=t: outs.update({t: iodine(RELAY, t, 15)}))
                   for t in types]
        t0 = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        seconds = time.monotonic() - t0
    finally:
        p.stdin.close()
        p.wait(10)
        s.close()
        front.s.close()
    print("iodine: %d questions, %d bytes of labels escaped in %.0f s; none of %s connected" % (
        len(front.asked), front.label_bytes(), seconds, ", ".join(types)))
    for t in types:
        assert "Sending DNS queries" in outs[t] and CONNECTED not in outs[t], outs[t]
    # It was let out as far as names go: the test is not blind.
    assert front.asked, outs
    assert front.label_bytes() <= allowed(BYTES, seconds)
    assert {t for _, t in front.asked} <= {1, 28, 65}, front.asked
