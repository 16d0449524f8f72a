# SPDX-License-Identifier: Apache-2.0
"""DNS over TLS, parity D02 and lesson 9: no port is a way past the resolver.

With interception the sandbox's own CA ends TLS and our resolver answers, whatever
server the query was for; without, the port is refused at once.
"""

import ipaddress

import pytest
from conftest import SLACK, wait_for

import world

CA = "/run/weir/ca-bundle.pem"
EVERYTHING = {"policy": {"default_egress": "allow"}}


def dot(weir, server, sni, *names, intercept=True, **kw):
    return weir.guest("dot", server, sni, CA if intercept else "/etc/ssl/certs/ca-certificates.crt",
                      *names, intercept=intercept, **kw)


# Parity: d3.2-dot, lesson-09.
@pytest.mark.parametrize("server,how", [
    (world.FOREIGN_DNS, "+tls-hostname=dns.google"),
    ("9.9.9.9", ""),
    ("2620:fe::fe", ""),
    ("10.1.2.3", "+tls-hostname=resolver.internal"),
])
def test_D02_lesson9_kdig_is_answered_here_whatever_the_server(weir, lab, server, how):
    r = weir.sh("kdig +tls-ca=$SSL_CERT_FILE %s @%s api.example.com; "
                "kdig +tls-ca=$SSL_CERT_FILE %s @%s x.evil.example.net" % (how, server, how, server),
                intercept=True)
    assert r.rc == 0 and r.out.count("TLS session") == 2, r
    given = [line.split()[-1] for line in r.out.splitlines() if line.startswith("api.example.com.")]
    assert len(given) == 1 and ipaddress.ip_address(given[0]) in ipaddress.ip_network(
        "198.18.0.0/15"), r
    assert "status: NXDOMAIN" in r.out and "EDE: 15" in r.out, r
    allowed, denied = r.find("dns", transport="tls", server=server)
    assert (allowed["name"], allowed["verdict"], allowed["given"]) == (
        "api.example.com", "allow", given), r
    assert denied["verdict"] == "deny" and denied["denial"] in r.out, r
    assert not lab.asked("evil") and not lab.seen("tcp", port=853), lab.seen()
    assert not lab.seen("dns", server=world.FOREIGN_DNS), lab.seen("dns")


def test_D02_events_and_exact_counts(weir):
    r = dot(weir, "9.9.9.9", "dns.quad9.net", "api.example.com", "nowhere.example.com")
    assert r.json["result"] == "ok" and r.json["alpn"] == "dot", r
    assert r.json["got"]["nowhere.example.com"]["rcode"] == "NXDOMAIN", r
    flow, = r.find("flow", proto="tcp", port=853)
    assert (flow["dst"], flow["verdict"], flow["intercepted"]) == ("9.9.9.9", "allow", True), r
    assert "rule" not in flow and "upstream" not in flow, r  # names are judged, not the server
    tls, = r.find("tls", id=flow["id"])
    assert (tls["sni"], tls["verdict"]) == ("dns.quad9.net", "allow"), r
    end, = r.find("flow_end", id=flow["id"])
    assert end["bytes_up"] > 300 and end["bytes_down"] > 600, r


@pytest.mark.parametrize("server,sni", [("8.8.8.8", "dns.google"), ("8.8.8.8", ""),
                                        ("2001:4860:4860::8888", "")])
def test_D02_certificate_is_verified_against_the_sandbox_ca(weir, server, sni):
    r = dot(weir, server, sni, "api.example.com")
    assert r.json["result"] == "ok" and len(r.json["got"]["api.example.com"]["answer"]) == 1, r


def test_D02_client_that_trusts_the_world_only_is_told_on_the_record(weir):
    r = weir.guest("dot", "8.8.8.8", "dns.google", "/media/lab/pki/ca.pem", "api.example.com",
                   intercept=True)
    assert r.json["result"].startswith("tls:"), r
    tls = r.find("tls", sni="dns.google")[-1]
    assert tls["verdict"] == "fail" and "does not trust the sandbox CA" in tls["detail"], r
    assert not r.find("dns", transport="tls"), r


@pytest.mark.machine
def test_D02_pipelined_queries(weir, lab):
    names = ["api.example.com", "files.example.com", "late.example.com", "evil.example.net"]
    names += ["n%d.example.com" % i for i in range(40)]
    r = dot(weir, "1.1.1.1", "one.one.one.one", *names, timeout=90)
    got = r.json["got"]
    assert sorted(got) == sorted(names), r
    # Out of order: one slow answer holds up no other.
    assert list(got).index("late.example.com") > 3, list(got)
    assert got["evil.example.net"]["rcode"] == "NXDOMAIN" and got["evil.example.net"]["ede"], r
    assert got["api.example.com"]["answer"] and got["late.example.com"]["answer"], r
    assert all(got["n%d.example.com" % i]["rcode"] == "NXDOMAIN" for i in range(40)), r
    assert len(r.find("dns", transport="tls")) == len(names) and not lab.asked("evil"), r
    assert len(r.find("flow", port=853)) == 1, r


def test_D02_secret_placeholders_in_names_stay_placeholders(weir, lab):
    r = weir.sh('kdig +tls @9.9.9.9 "$TOKEN.example.com" >/dev/null', intercept=True,
                env={"TOKEN": "lab-value-0123456789abcdef"},
                flags=["--secret", "TOKEN@api.example.com"])
    assert r.find("dns", transport="tls"), r
    assert "lab-value-0123456789abcdef" not in lab.seen_text(), lab.seen("dns")
    assert b"lab-value-0123456789abcdef" not in r.record


# Parity: p1.6-ports.
def test_D02_lesson9_without_interception_refused_quickly(weir, lab):
    r = dot(weir, world.FOREIGN_DNS, "dns.google", "api.example.com", intercept=False,
            policy=EVERYTHING)
    assert r.json["result"] == "ECONNREFUSED" and r.json["seconds"] < SLACK, r
    flow, = r.find("flow", port=853)
    assert flow["verdict"] == "deny" and flow["denial"] and "--tls-intercept" in flow["detail"], r
    assert not lab.seen("tcp", port=853), lab.seen()


# Parity: lesson-09.
@pytest.mark.parametrize("port", [853, 5353, 5355, 137])
def test_lesson9_other_name_protocols_are_refused_with_interception_too(weir, port):
    r = weir.guest("udp", "9.9.9.9", port, "x", policy=EVERYTHING, intercept=True)
    assert r.json["result"] not in ("ok", "timeout") and r.json["seconds"] < SLACK, r
    assert r.find("flow", port=port, verdict="deny"), r


@pytest.mark.netns("without KVM the first of 140 connections ends idle before the last is made")
def test_D02_too_many_connections_are_refused_and_pass(weir):
    r = weir.guest("dots", "9.9.9.9", CA, 140, intercept=True, timeout=90)
    results = r.json["results"]
    assert results[:128] == ["ok"] * 128 and set(results[128:]) == {"ECONNREFUSED"}, results
    assert r.json["after"]["got"]["api.example.com"]["rcode"] == "NOERROR", r
    refused = r.find("flow", port=853, verdict="deny")
    assert sum(e.get("count", 1) for e in refused) == 12, r
    assert all("too many DNS connections" in e["detail"] for e in refused), r


# Parity: d3.2-dot.
@pytest.mark.slow
def test_D02_half_open_handshakes_end_by_themselves(weir):
    code = ("import socket,time\n"
            "s=[socket.create_connection(('9.9.9.9',853)) for _ in range(20)]\n"
            "[x.settimeout(15) for x in s]\n"
            "t=time.monotonic(); print([x.recv(9) for x in s]==[b'']*20, 5<time.monotonic()-t<14)\n")
    r = weir.run("/usr/bin/python3", "-c", code, intercept=True)
    assert r.out == "True True\n", r
    assert len([e for e in r.find("tls") if "no ClientHello in time" in e["detail"]]) == 20, r
    assert wait_for(lambda: len(r.find("flow_end")) == 20), r
