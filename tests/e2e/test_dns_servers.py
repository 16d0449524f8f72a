# SPDX-License-Identifier: Apache-2.0
"""Several upstream servers: one that is silent, one that is not there, one that fails."""

import re
import socket
import struct
import threading

import pytest

import world
from conftest import SLACK


class Failing:
    """Says SERVFAIL to everything, and counts."""

    def __init__(self):
        self.n = 0
        self.s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.s.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                self.one(*self.s.recvfrom(4096))
            except OSError:
                return

    def one(self, msg, peer):
        self.n += 1
        at = 12
        while msg[at]:
            at += 1 + msg[at]
        self.s.sendto(msg[:2] + b"\x81\x82\0\1" + struct.pack(">HHH", 0, 0, 0) +
                      msg[12:at + 5], peer)


@pytest.fixture
def failing():
    f = Failing()
    yield f
    f.s.close()


def times(out):
    return [int(t) for t in re.findall(r"Query time: (\d+) msec", out)]


def ask(weir, names, *servers):
    flags = [x for s in servers for x in ("--dns-server", s)]
    return weir.sh("for n in %s; do dig +tries=1 +time=8 $n.example.com; done" % names, flags=flags)


# Parity: d06, lesson-11.
def test_silent_first_server_costs_one_question(weir, lab):
    """The next is asked after a sixth of the time-out (5 s), and first from then on."""
    r = ask(weir, "api files echo git deb", world.V4 + str(world.SILENT), world.DNS4)
    t = times(r.out)
    assert r.out.count("status: NOERROR") == 5 and len(t) == 5, r
    assert 700 < t[0] < 2500 * SLACK, t
    assert max(t[1:]) < 400 * SLACK, t


# Parity: d06.
def test_unreachable_first_server_costs_nothing(weir):
    for first in (world.V4 + str(world.UNREACHABLE), "127.0.0.1:9"):
        r = ask(weir, "api files", first, world.DNS4)
        assert r.out.count("status: NOERROR") == 2 and max(times(r.out)) < 400 * SLACK, r


# Parity: d3.3-failover, lesson-11.
def test_failing_first_server_hands_on(weir, failing):
    """SERVFAIL is not final while another server has not been asked; both failing is."""
    r = ask(weir, "api files", failing.address, world.DNS4)
    assert r.out.count("status: NOERROR") == 2 and failing.n == 4, (failing.n, r)
    r = ask(weir, "api", failing.address)
    assert "status: SERVFAIL" in r.out and "EDE: 22" in r.out, r
