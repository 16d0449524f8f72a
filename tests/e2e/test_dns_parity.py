# SPDX-License-Identifier: Apache-2.0
"""What a resolver in a sandbox has to do, with dig and curl, by the ids of the parity study.

The ids that need no sandbox are in tests/unit/dns/test_parity.c and
tests/unit/weir/test_dns_parity.c; D02 (DNS over TLS) is in test_dot.py.
"""

import ipaddress
import re

import pytest
from conftest import EXAMPLE, SLACK

import world

EVERYTHING = {"policy": {"default_egress": "allow"}}
TYPES = {"policy": {"default_egress": "deny", "rules": [
    {"action": "allow", "destination": ".example.com", "qtypes": ["MX", "SRV", "TXT"]}]}}


def with_config(weir, config, **kw):
    return {"policy": None, "flags": ["--config", weir.file("weir.json", config)], **kw}


def answers(text):
    """The records of dig's answer sections: (type, data)."""
    found = re.findall(r"^\S+\s+\d+\s+IN\s+(\S+)\s+(.*)$", text, re.M)
    return [f for f in found if f[0] != "SOA"]


# Parity: p1.6-ports, d3.3-direct.
def test_D01_any_destination_udp_and_tcp(weir, lab):
    servers = ["8.8.8.8", "10.1.2.3", "169.254.1.1", "2001:4860:4860::8888", world.PRIVATE6]
    r = weir.sh("; ".join("dig %s +short @%s api.example.com" % (how, s)
                          for s in servers for how in ("", "+tcp")))
    assert len(r.out.split()) == 2 * len(servers) and len(set(r.out.split())) == 1, r
    assert {e["server"] for e in lab.seen("dns")} <= {world.DNS4, world.DNS6}, lab.seen("dns")
    assert not lab.seen("tcp", port=53), lab.seen("tcp")
    assert {e["server"] for e in r.find("dns")} == set(servers), r


# Parity: p1.6-ports, d3.2-others, lesson-09.
@pytest.mark.parametrize("port", [853, 5353, 5355, 137])
def test_D03_other_ways_to_resolve_are_refused(weir, lab, port):
    """DoQ, mDNS, LLMNR, NetBIOS, even where everything else is allowed: at once, by an error.

    To a group there is no error to send (RFC 1122 3.2.2); that it was refused is on the record.
    """
    r = weir.guest("udp", world.DNS4, port, "x", policy=EVERYTHING)
    assert r.json["result"] not in ("ok", "timeout"), r
    assert r.find("flow", port=port)[0]["verdict"] == "deny", r
    group = "224.0.0.251" if port == 5353 else "224.0.0.252"
    r = weir.guest("udp", group, port, "x", 1, policy=EVERYTHING)
    assert r.json["result"] != "ok", r
    assert r.find("flow", port=port, dst=group)[0]["verdict"] == "deny", r
    assert not lab.seen("udp"), lab.seen("udp")


# Parity: d3.1-timeout.
def test_D07_timeout(weir):
    config = {"dns": {"timeout_ms": 600}, **EXAMPLE}
    r = weir.sh("t=$(date +%s%N); dig +tries=1 +time=20 lost.example.com; "
                "echo took $(( ($(date +%s%N) - t) / 1000000 ))", **with_config(weir, config))
    assert "status: SERVFAIL" in r.out and re.search("EDE: 2[23]", r.out), r
    assert 500 <= int(re.search(r"took (\d+)", r.out).group(1)) < 6000 * SLACK, r


# Parity: d3.5-hints.
@pytest.mark.parametrize("mode", ["virtual", "real"])
def test_D08_hints_are_addresses(weir, lab, mode):
    """A service record's hints are filtered as answers are, and agree with the mode."""
    r = weir.sh("dig HTTPS svc.example.com; dig +short svc.example.com",
                **with_config(weir, {"dns": {"answers": mode}, **EXAMPLE}))
    (kind, data), = answers(r.out)
    given = r.out.split()[-1]
    assert kind == "HTTPS" and data.startswith('1 . alpn="h2,h3" port=443 '), r
    assert "ech" not in data and "key65000" not in data and world.PRIVATE4 not in data, r
    assert "ipv4hint=%s " % given in data + " ", r
    hint6 = re.search(r"ipv6hint=(\S+)", data).group(1)
    if mode == "real":
        assert given == world.v4("api.example.com"), r
        assert hint6 == world.v6("api.example.com"), r
    else:
        assert ipaddress.ip_address(given) in ipaddress.ip_network("198.18.0.0/15"), r
        assert ipaddress.ip_address(hint6).is_private, r
    event = r.find("dns", qtype="HTTPS")[0]
    assert event["detail"] == "some answers were filtered", event
    assert world.PRIVATE4 not in event["answers"], event


def test_D08_a_hint_is_as_good_as_an_address(weir, lab):
    """Real mode: whoever dials a hint without asking for A has the name's rights and no more."""
    hint = world.v4("api.example.com")
    r = weir.sh("dig HTTPS svc.example.com >/dev/null; "
                "curl -sS -m 5 --resolve svc.example.com:80:%s http://svc.example.com/ | "
                "head -c 12; curl -sS -m 5 --resolve svc.example.com:80:%s "
                "http://svc.example.com/" % (hint, world.v4("files.example.com")),
                **with_config(weir, {"dns": {"answers": "real"}, **EXAMPLE}))
    assert r.out == '{"authorized' and r.rc != 0, r


def test_service_records_of_other_hosts_are_left_out(weir):
    r = weir.sh("dig HTTPS othersvc.example.com")
    assert "status: NOERROR" in r.out and not answers(r.out) and "EDE: 17" in r.out, r


# Parity: n31.
def test_no_http3_where_tls_is_intercepted(weir):
    r = weir.sh("dig HTTPS svc.example.com", intercept=True)
    assert 'alpn="h2"' in r.out and "h3" not in r.out, r


def test_D09_denied_in_every_type(weir, lab):
    types = "A AAAA HTTPS SVCB MX SRV TXT PTR ANY NULL CNAME SOA NS DS"
    r = weir.sh("for t in %s; do dig +tcp $t data.evil.example.net; done" % types)
    assert r.out.count("status: NXDOMAIN") == len(types.split()), r
    assert r.out.count("EDE: 15") == len(types.split()), r
    assert lab.asked("evil") == [], lab.asked()


# Parity: weak-6.
def test_D09_types_that_are_not_served_stay_here(weir, lab):
    r = weir.sh("for t in MX SRV TXT NULL CNAME SOA NS DS TYPE1000; do dig $t api.example.com; "
                "done")
    assert r.out.count("status: NOERROR") == r.out.count("EDE: 21") == 9, r
    assert not answers(r.out) and lab.asked() == [], r
    r = weir.sh("dig ANY +notcp api.example.com")
    assert "RFC8482" in r.out and lab.asked() == [], r


def test_mail_services_and_text_by_a_rule(weir, lab):
    r = weir.sh("dig MX mail.example.com; dig SRV _web._tcp.example.com; dig TXT txt.example.com",
                policy=TYPES)
    assert sorted(answers(r.out)) == [
        ("MX", "10 api.example.com."), ("MX", "20 closed.example.com."),
        ("SRV", "0 5 443 api.example.com."), ("TXT", '"a text"')], r
    assert {e["type"] for e in lab.seen("dns")} == {"MX", "SRV", "TXT"}, lab.seen("dns")


# Parity: d3.3-direct, weak-4.
def test_D10_a_chosen_resolver_is_never_asked(weir, lab):
    """@resolver is answered here, whether or not the policy would let a packet to it."""
    for policy in (EVERYTHING, EXAMPLE):
        r = weir.sh("dig +short @%s api.example.com; dig +short +tcp @%s api.example.com; "
                    "dig @%s evil.example.net" % ((world.FOREIGN_DNS,) * 3), policy=policy)
        assert len(r.out.split()[:2]) == 2, r
        assert ("status: NXDOMAIN" in r.out) == (policy is EXAMPLE), r
    assert not lab.seen("dns", server=world.FOREIGN_DNS), lab.seen("dns")


def test_D13_a_family_without_addresses_is_nodata(weir):
    r = weir.sh("dig AAAA v4only.example.com; dig A v6only.example.com",
                **with_config(weir, {"dns": {"answers": "real"}, **EXAMPLE}))
    assert r.out.count("status: NOERROR") == 2 and not answers(r.out), r


def test_either_family_reaches_either_family(weir):
    """Virtual answers: the guest's family need not be upstream's, and both are addresses."""
    r = weir.sh("for f in 4 6; do for n in v4only v6only; do "
                "curl -sS -m 10 -$f http://$n.example.com/ | head -c 12; echo; done; done; "
                "dig +short A v6only.example.com; dig +short AAAA v4only.example.com")
    out = r.out.split()
    assert out[:4] == ['{"authorized'] * 4, r
    assert ipaddress.ip_address(out[4]).version == 4 and ipaddress.ip_address(out[5]).version == 6, r


@pytest.mark.parametrize("server", [world.DNS4, "2001:4860:4860::8888"])
def test_D14_truncation(weir, server):
    r = weir.sh("for how in '+noedns +ignore' '+bufsize=512 +ignore' '+bufsize=65000 +ignore' "
                "'' '+tcp'; do dig @%s $how TXT long.example.com | grep -E 'flags: qr|SIZE'; "
                "done" % server, policy=TYPES)
    flags = re.findall(r"flags: (qr[^;]*);.*ANSWER: (\d+)", r.out)
    sizes = [int(n) for n in re.findall(r"rcvd: (\d+)", r.out)]
    assert [" tc" in f for f, _ in flags] == [True, True, True, False, False], r
    assert [int(n) for _, n in flags] == [0, 0, 0, 30, 30], r
    assert max(sizes[:2]) <= 512 and sizes[2] <= 1232 and min(sizes[3:]) > 6000, r


# Parity: weak-6.
def test_nothing_of_the_guests_message_leaves(weir, lab):
    """Case, EDNS, its options and flags: upstream sees the same bytes, its id and ours excepted."""
    seen = []
    for how in ("+noedns api.example.com", "+edns=0 +dnssec +cdflag +adflag aPi.EXAMPLE.cOm",
                "+cookie=0102030405060708 +nsid +subnet=192.0.2.0/24 +padding=128 "
                "+ednsopt=65001:736563726574 +ednsflags=0x7fff api.example.com",
                "+tcp +keepalive +zflag +aaflag API.example.com", "+norecurse api.example.com."):
        mark = len(lab.seen("dns"))
        r = weir.sh("dig +tries=1 %s; dig +tries=1 %s HTTPS" % (how, how))
        assert r.out.count("status: NOERROR") == 2, r
        seen.append(sorted({(e["type"], e["wire"]) for e in lab.seen("dns")[mark:]}))
    assert [t for t, _ in seen[0]] == ["A", "AAAA", "HTTPS"], seen[0]
    assert all(s == seen[0] for s in seen), seen


def test_reverse_of_what_was_given_out(weir, lab):
    r = weir.sh("a=$(dig +short api.example.com); dig +short -x $a; "
                "b=$(dig +short AAAA api.example.com); dig +short -x $b; dig -x 9.9.9.9")
    assert r.out.split()[:2] == ["api.example.com."] * 2, r
    r = weir.sh("dig +short api.example.com; dig +short -x %s; dig -x %s" % (
        world.v4("api.example.com"), world.v4("files.example.com")),
                **with_config(weir, {"dns": {"answers": "real"}, **EXAMPLE}))
    assert r.out.split()[1] == "api.example.com.", r
    assert "status: NXDOMAIN" in r.out and not lab.asked("arpa"), r
