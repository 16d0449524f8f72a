# SPDX-License-Identifier: Apache-2.0
"""The resolver as other people's programs meet it: dig, kdig, dnspython, and how fast a
denied name fails in a libc, curl, Node.js and Python, in how many queries."""

import os
import shutil

import pytest
from conftest import SLACK

from conftest import SLACK

EVERYTHING = {"default_egress": "allow"}
NAME = "api.example.com"

# Arguments of dig, what the reply must say, what it must not.
DIG = {
    "udp": ("+notcp", ["NOERROR", "ANSWER: 1", "(UDP)"], []),
    "tcp": ("+tcp", ["NOERROR", "ANSWER: 1", "(TCP)"], []),
    "pipelined": ("+tcp +keepopen api.example.com files.example.com", ["NOERROR", "(TCP)"], []),
    "no EDNS": ("+noedns", ["NOERROR", "ANSWER: 1"], ["OPT PSEUDOSECTION"]),
    "small": ("+bufsize=512", ["NOERROR", "udp: 1232"], ["ServFail"]),
    "smaller than may be": ("+bufsize=1", ["NOERROR", "ANSWER: 1"], []),
    "large": ("+bufsize=65535", ["NOERROR", "udp: 1232"], []),
    "name of the server": ("+nsid", ["NOERROR", "ANSWER: 1"], ["NSID:"]),
    "cookie": ("+cookie=0102030405060708", ["NOERROR", "ANSWER: 1"], ["COOKIE: 0102"]),
    "bad cookie": ("+cookie=01", ["NOERROR"], ["BADCOOKIE"]),
    "client subnet": ("+subnet=192.0.2.0/24", ["NOERROR", "ANSWER: 1"], ["CLIENT-SUBNET: 192"]),
    "padding": ("+padding=128", ["NOERROR", "ANSWER: 1"], []),
    "unknown option": ("+ednsopt=65001:00ff", ["NOERROR", "ANSWER: 1"], ["65001"]),
    "keepalive": ("+tcp +keepalive", ["NOERROR", "ANSWER: 1"], []),
    "unknown flags": ("+ednsflags=0x4000 +zflag", ["NOERROR", "ANSWER: 1"], []),
    "DNSSEC": ("+dnssec +cd", ["NOERROR", "ANSWER: 1", "cd"], ["RRSIG", " ad"]),
    "other version": ("+edns=1 +noednsneg", ["BADVERS"], ["ANSWER: 1"]),
    "opcode": ("+opcode=NOTIFY", ["NOTIMP"], ["ANSWER: 1"]),
    "update": ("+opcode=UPDATE", ["NOTIMP"], ["ANSWER: 1"]),
    "header only": ("+header-only", ["FORMERR"], []),
    "other class": ("-c CH -t TXT version.bind", ["REFUSED"], []),
    "no recursion": ("+norecurse", ["NOERROR", "ANSWER: 1"], []),
    "case": ("-q ApI.eXaMpLe.CoM", ["NOERROR", "ApI.eXaMpLe.CoM"], []),
    "any": ("-t ANY", ["NOERROR", "RFC8482"], []),
    "transfer": ("-t AXFR", ["Transfer failed"], []),
    "discovery": ("-q _dns.resolver.arpa -t SVCB", ["NOERROR", "ANSWER: 0", "EDE: 15"], []),
    "NAT64": ("-q ipv4only.arpa -t AAAA", ["NOERROR", "ANSWER: 0"], []),
}


@pytest.mark.parametrize("how", DIG)
def test_dig(weir, how):
    args, there, absent = DIG[how]
    name = "" if "-q" in args or "bind" in args or "keepopen" in args else NAME
    r = weir.sh("dig +tries=1 +time=5 %s %s" % (name, args), policy=EVERYTHING)
    said = "\n".join(x for x in r.out.splitlines() if not x.startswith("; <<>>"))
    for text in there:
        assert text in said, r
    for text in absent:
        assert text not in said, r


@pytest.mark.skipif(not shutil.which("kdig"), reason="no kdig")
@pytest.mark.parametrize("args", ["", "+tcp", "+bufsize=1232", "+padding", "+cookie", "+nsid"])
def test_kdig(weir, args):
    r = weir.sh("kdig +retry=0 %s %s" % (NAME, args))
    assert "NOERROR" in r.out and "ANSWER: 1" in r.out and "WARNING" not in r.out, r


def test_dnspython(weir):
    """Its parser is strict: bytes behind a message or a wrong count would not pass."""
    code = ("import dns.message as m, dns.query as q, dns.flags as f\n"
            "for t in ('A','AAAA','HTTPS','NULL'):\n"
            " for edns in (False, 0):\n"
            "  for ask in (q.udp, q.tcp):\n"
            "   a = ask(m.make_query(%r, t, use_edns=edns), '192.0.0.1', timeout=5)\n"
            "   print(t, a.rcode(), len(a.answer), bool(a.flags & f.AA), a.edns)\n" % NAME)
    r = weir.run("/usr/bin/python3", "-c", code)
    lines = r.out.splitlines()
    assert len(lines) == 16 and all(" 0 " in x and "False" in x for x in lines), r
    assert [x.split()[2] for x in lines[:8]] == ["1"] * 8, r
    assert [x.split()[2] for x in lines[-4:]] == ["0"] * 4, r


# A program that resolves a denied name once. A denied name is final: at most one query a
# family, and a search domain's worth more (there is none here).
CLIENTS = {
    "getent": "getent ahosts no.evil.example.net",
    "curl": "curl -sS -m 10 http://no.evil.example.net/",
    "python": "/usr/bin/python3 -c \"import socket; socket.getaddrinfo('no.evil.example.net', 80)\"",
    "dnspython": "/usr/bin/python3 -c \"import dns.resolver; "
                 "dns.resolver.resolve('no.evil.example.net')\"",
    "node lookup": "node -e \"require('dns').lookup('no.evil.example.net', "
                   "e => process.exit(e ? 1 : 0))\"",
    "node resolve": "node -e \"require('dns').resolve4('no.evil.example.net', "
                    "e => process.exit(e ? 1 : 0))\"",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_denied_name_fails_fast_and_once(weir, lab, client):
    command = CLIENTS[client]
    if not shutil.which(os.path.basename(command.split()[0])):
        pytest.skip("no " + command.split()[0])
    r = weir.sh("t=$(date +%%s%%N); %s >/dev/null 2>&1; rc=$?; "
                "echo $rc $(( ($(date +%%s%%N) - t) / 1000000 ))" % command)
    rc, ms = map(int, r.out.split())
    queries = r.find("dns", name="no.evil.example.net")
    assert rc != 0 and ms < 4000 * SLACK, r
    assert 1 <= len(queries) <= 2 and all(e["verdict"] == "deny" for e in queries), r
    assert lab.asked("evil") == [], lab.asked()


def test_flood_of_udp_leaves_room_for_tcp(weir):
    """Questions that upstream answers late fill the queue: the rest hears so, TCP does not."""
    code = ("import dns.message as m, dns.query as q, socket, time\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.connect(('192.0.0.1', 53)); s.settimeout(2)\n"
            "w = m.make_query('late.example.com', 'A', use_edns=0).to_wire()\n"
            "for i in range(600):\n"
            " s.send(i.to_bytes(2, 'big') + w[2:])\n"
            " if i %% 50 == 49: time.sleep(.02)\n"
            "t = time.monotonic()\n"
            "a = m.from_wire(s.recv(4096))\n"
            "print(a.rcode(), int(a.options[0].code))\n"
            "b = q.tcp(m.make_query('%s', 'A'), '192.0.0.1', timeout=5)\n"
            "print(b.rcode(), len(b.answer), time.monotonic() - t < %g)\n" % (NAME, 1.5 * SLACK))
    r = weir.run("/usr/bin/python3", "-c", code)
    assert r.out == "2 14\n0 1 True\n", r


def test_observed_type_is_told(weir):
    r = weir.sh("dig +tries=1 %s TXT" % NAME, flags=["--observe"])
    event = r.find("dns", name=NAME, qtype="TXT")[0]
    assert event["verdict"] == "allow" and event["observed"] == "deny", r
    assert event["detail"] == "no rule lets this type be asked" and "denial" in event, r


def test_service_of_an_exact_name(weir, lab):
    """The policy has api.example.com alone: the record of its port is its own."""
    policy = {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": NAME, "qtypes": ["SRV"]}]}
    r = weir.sh("for q in '_8443._https.%s HTTPS' '_web._tcp.%s SRV' '_x._https.%s HTTPS' "
                "'_8443._https.%s A'; do dig +tries=1 $q | grep -E 'status|EDE'; done" % ((NAME,) * 4),
                policy=policy)
    verdicts = [(e["name"], e["qtype"], e["verdict"]) for e in r.find("dns")]
    assert ("_8443._https." + NAME, "HTTPS", "allow") in verdicts, r
    assert ("_web._tcp." + NAME, "SRV", "allow") in verdicts, r
    assert ("_x._https." + NAME, "HTTPS", "deny") in verdicts, r
    assert ("_8443._https." + NAME, "A", "deny") in verdicts, r
    assert len(lab.asked("_8443._https")) == 1 and not lab.asked("_x."), lab.asked()
