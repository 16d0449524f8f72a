# SPDX-License-Identifier: Apache-2.0
"""Ways around the policy that were open once: each ends in a refusal that is on the record."""

import json
import socket
import ssl

import pytest
from conftest import EXAMPLE, SLACK

import world

API, EVIL = "api.example.com", "evil.example.net"
# Denied on the web only, hence resolvable.
NO_WEB = {"policy": {"default_egress": "allow", "rules": [
    {"id": "no-web", "action": "deny", "destination": "." + EVIL, "protocols": ["tcp"],
     "ports": ["80", "443"]}]}}
ONE = {"policy": {"default_egress": "deny", "rules": [
    {"id": "api", "action": "allow", "destination": API}]}}
READ_ONLY = {"policy": {"default_egress": "allow", "rules": [
    {"id": "no-post", "action": "deny", "destination": EVIL, "http": {"methods": ["POST"]}}]}}


def hello(name, protocols=()):
    """A real client's first flight."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        ctx.set_alpn_protocols(list(protocols))
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ctx.wrap_bio(inward, outward, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outward.read().decode("latin-1")


def request(host, method="GET"):
    return "%s / HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % (
        method, host)


def raw(weir, host, port, *pieces, **kw):
    return weir.guest("raw", host, port, "-", json.dumps(pieces), **kw)


def refused(weir, r):
    """The last refusal of a flow or request; `why` explains it."""
    denied = [e for kind in ("flow", "tls", "http") for e in r.find(kind)
              if e["verdict"] == "deny"]
    assert denied and denied[-1]["denial"], r
    p = weir.call("why", "--audit", r.audit_path, denied[-1]["denial"])
    assert p.returncode == 0 and p.stdout, p
    return denied[-1]


# Parity: p1.6-name.
@pytest.mark.parametrize("mode", ["virtual", "real"])
@pytest.mark.parametrize("port,first", [(80, request), (443, hello)])
def test_another_name_does_not_hide_the_one_that_was_resolved(weir, lab, mode, port, first):
    r = raw(weir, EVIL, port, first(API), policy=NO_WEB, flags=["--dns-answers", mode])
    event = refused(weir, r)
    assert ("refused" in r.err or r.json["text"] == "") and event["rule"] == "no-web", r
    assert not lab.seen("http") and not lab.seen("tls"), lab.seen()


# Parity: p1.5-host-header.
@pytest.mark.parametrize("mode", ["virtual", "real"])
def test_another_host_does_not_hide_the_one_that_was_resolved(weir, lab, mode):
    for name in (API, EVIL):
        r = raw(weir, EVIL, 80, request(name, "POST"), policy=READ_ONLY,
                flags=["--dns-answers", mode])
        refused(weir, r)
    assert not lab.seen("http"), lab.seen()
    r = raw(weir, EVIL, 80, request(EVIL), policy=READ_ONLY, flags=["--dns-answers", mode])
    assert "200 OK" in r.json["text"], r


@pytest.mark.parametrize("alert", ["\x15\x03\x01\x00\x02\x01\x64", "\x14\x03\x01\x00\x01\x01"])
@pytest.mark.parametrize("intercept", [False, True])
def test_record_before_the_hello(weir, lab, alert, intercept):
    r = raw(weir, API, 443, alert, hello(EVIL), policy=ONE, intercept=intercept)
    assert "handshake" in refused(weir, r)["detail"] and r.json["text"] == "", r
    assert not lab.seen("tls"), lab.seen()


def test_half_a_lower_case_method(weir, lab):
    r = weir.sh("python3 - <<'E'\nimport socket, time\n"
                "s = socket.create_connection(('api.example.com', 80))\n"
                "s.send(b'g'); time.sleep(1)\n"
                "s.send(b'et / HTTP/1.1\\r\\nHost: evil.example.net\\r\\n\\r\\n')\n"
                "print(s.recv(100))\nE", policy=ONE)
    refused(weir, r)
    assert "200" not in r.out and not lab.seen("http"), r


def test_http2_without_tls_names_its_own_hosts(weir, lab):
    r = weir.sh("curl -sS -i --http2-prior-knowledge --connect-to ::api.example.com: http://evil.example.net/x",
                policy=ONE)
    assert r.out.startswith("HTTP/2 421"), r
    assert [e["outcome"] for e in r.find("http")] == ["misdirected"], r
    assert not lab.seen("http"), lab.seen()


# Parity: t02.
def test_bypass_is_for_the_host_and_not_for_whoever_names_it(weir, lab):
    """Another host's certificate is not looked past because the client says a bypassed name."""
    r = raw(weir, EVIL, 443, hello(API), policy="allow_all", intercept=True,
            flags=["--tls-bypass", API])
    assert "SNI" in refused(weir, r)["detail"] and not lab.seen("tls", sni=API), r
    r = weir.sh("curl -sS --cacert $LAB_CA https://api.example.com/ | head -c 12", intercept=True,
                policy="allow_all", flags=["--tls-bypass", API])
    assert r.out == '{"authorized' and not r.find("http"), r


def test_alias_of_a_denied_name(weir, lab):
    policy = {"policy": {"default_egress": "allow", "rules": [
        {"id": "no-alias", "action": "deny", "destination": "alias2.example.com"}]}}
    r = weir.sh("dig www.example.com; curl -sS -m 5 http://www.example.com/", policy=policy)
    assert "NXDOMAIN" in r.out and "EDE: 15" in r.out and r.rc, r
    event = r.find("dns", name="www.example.com")[0]
    assert event["verdict"] == "deny" and "no-alias" in event["detail"], r
    assert event["denial"] in r.out and "rule" not in event, r
    assert not lab.seen("tcp"), lab.seen()


# Parity: d3.6-record.
def test_record_of_names_says_what_decided(weir):
    r = weir.sh("dig +short %s; dig +short -x 198.18.0.1; dig -c CH -t TXT version.bind" % API,
                policy=ONE)
    assert API + "." in r.out, r
    ptr = r.find("dns", qtype="PTR")[0]
    assert ptr["verdict"] == "allow" and "rule" not in ptr, ptr
    chaos = r.find("dns", name="version.bind")[0]
    assert chaos["verdict"] == "deny" and chaos["denial"] and "rule" not in chaos, chaos


# Parity: p1.2-metadata.
def test_literal_addresses_in_every_form(weir, lab):
    forms = ["169.254.169.254", "::ffff:169.254.169.254", "::169.254.169.254",
             "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
             "::ffff:0:169.254.169.254", "fd00:ec2::254", "10.9.8.7", "::ffff:10.9.8.7",
             "100.100.100.200", "168.63.129.16", "198.18.200.200",
             # Translated, Teredo (inverted) and ISATAP forms; this machine and the gateway.
             "::ffff:0:10.9.8.7", "2001:0:1:1:1:1:f5f6:f7f8", "2606:2800:220:1:200:5efe:a09:807",
             "127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::1",
             "2001:0:1:1:1:1:80ff:fffe", "2606:2800:220:1:0:5efe:7f00:1", "0.0.0.0", "::",
             "192.0.0.1", "::ffff:192.0.0.1", "64:ff9b::192.0.0.1", "2002:c000:1::",
             "fd77:6569:7200::1"]
    for policy in ("public_only", EXAMPLE):
        r = weir.guest("connects", *[f + "/80" for f in forms], policy=policy)
        for target, said in r.json.items():
            assert said["result"] in ("ECONNREFUSED", "EHOSTUNREACH"), (target, said)
            assert said["seconds"] < SLACK, (target, said)
    assert socket.inet_aton(world.METADATA4) and not lab.seen("tcp"), lab.seen("tcp")


# Parity: p1.2-host, d3.4-alias.
@pytest.mark.machine
def test_the_gateway_is_judged_by_its_own_address(weir, lab):
    """Rules for loopback addresses are about another machine than the one behind the gateway."""
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "deny", "destination": "127.0.0.0/8"},
        {"action": "deny", "destination": "::1"},
        {"action": "allow", "destination": "host", "ports": ["80"], "http": {"methods": ["GET"]}}]}}
    r = weir.sh("curl -sS -m 5 http://host.weir.internal/ | head -c 8; "
                "curl -sS -m 5 -X POST http://host.weir.internal/", policy=policy)
    events = r.find("http")
    assert [e["verdict"] for e in events] == ["allow", "deny"], r
    assert events[1]["rule"] == "default", r


@pytest.mark.parametrize("mode", ["virtual", "real"])
def test_rules_by_request_read_every_port(weir, lab, mode):
    """Not an open way but a closed one: ports outside --tls-intercept-port, in both modes."""
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": API, "http": {"methods": ["GET"]}}]}}
    r = weir.sh("curl -sS https://api.example.com/ | head -c 12; "
                "curl -sS -o /dev/null -w '%{http_code}' -X POST https://api.example.com/",
                policy=policy, flags=["--tls-intercept-port", "8443", "--dns-answers", mode])
    assert r.out == '{"authorized403', r
