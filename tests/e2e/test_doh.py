# SPDX-License-Identifier: Apache-2.0
"""DNS over HTTPS, parity lesson 9: recognised where requests are read, refused unless it is meant.

And N31: QUIC, which would carry the same past the reader, is refused where TLS is read.
"""

import base64
import json

import pytest
from conftest import SLACK

import world

EVERYTHING = {"policy": {"default_egress": "allow"}}
GROUP = {"policy": {"default_egress": "deny", "rules": [
    {"id": "resolvers", "action": "allow", "destination": {"group": "doh"}},
    {"id": "example", "action": "allow", "destination": ".example.com"}]}}
QUERY = (b"\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04evil\x07example\x03net\x00"
         b"\x00\x01\x00\x01")
DNS = base64.urlsafe_b64encode(QUERY).decode().rstrip("=")
URL = "https://doh.example.com"
REFUSED = "DNS over HTTPS goes around the resolver"

PLAIN = [
    "curl -sS '%s/dns-query?dns=%s'" % (URL, DNS),
    "curl -sS -H 'Accept: application/dns-message' '%s/x'" % URL,
    "printf x | curl -sS -H 'Content-Type: application/dns-message' --data-binary @- %s/x" % URL,
    "curl -sS '%s/resolve?name=evil.example.net&type=A'" % URL,
    "curl -sS '%s/dns-query?name=evil.example.net'" % URL,
    "curl -sS -H 'Accept: application/dns-json' '%s/x'" % URL,
    "curl -sS -H 'Content-Type: application/oblivious-dns-message' -d x %s/x" % URL,
]


# Parity: d3.2-doh, lesson-09.
@pytest.mark.parametrize("command", PLAIN)
def test_lesson9_doh_requests_are_refused(weir, lab, command):
    r = weir.sh(command + "; " + command + " -o /dev/null -w '\n%{http_code}\n'", intercept=True)
    problem = r.json
    assert problem["status"] == 403 and REFUSED in problem["reason"], r
    assert r.out.endswith("\n403\n"), r
    events = r.find("http", host="doh.example.com")
    assert len(events) == 2 and {e["verdict"] for e in events} == {"deny"}, r
    assert events[0]["denial"] == problem["id"] and "rule" not in events[0], r
    why = weir.call("why", problem["id"], "--audit", r.audit_path)
    assert REFUSED in why.stdout, why
    assert not lab.seen("http", server="doh.example.com"), lab.seen("http")
    assert not lab.asked("evil"), lab.asked()


def test_lesson9_curl_doh_url(weir, lab):
    """A client as it is: refused by default, so it cannot go past the rules on names."""
    command = ("curl -sS -m 10 --doh-url %s/dns-query https://api.example.com/ | head -c 12"
               % URL)
    r = weir.sh(command, intercept=True, policy=EVERYTHING)
    assert "authorized" not in r.out, r
    assert r.find("http", host="doh.example.com", verdict="deny"), r
    assert not lab.seen("dns", transport="doh"), lab.seen("dns")
    r = weir.sh(command, intercept=True, policy=EVERYTHING, flags=["--dns-doh", "allow"])
    assert r.out == '{"authorized', r
    assert lab.seen("dns", transport="doh", name="api.example.com"), lab.seen("dns")
    assert r.find("http", host="doh.example.com", verdict="allow"), r


def test_doh_allowed_by_configuration(weir, lab):
    config = {"dns": {"doh": "allow"}, "tls": {"intercept": True}, **EVERYTHING}
    path = weir.file("weir.json", config)
    r = weir.sh(PLAIN[3], policy=None, flags=["--config", path])
    assert r.json["Answer"] == [world.v4("evil.example.net")], r
    assert lab.asked("evil"), lab.asked()
    r = weir.sh(PLAIN[3], policy=None, flags=["--config", path, "--dns-doh", "deny"])
    assert r.json["status"] == 403, r


def test_doh_allowed_by_a_rule_on_the_group(weir, lab):
    """For the hosts that the rule is about, and no other."""
    r = weir.sh("curl -sS 'https://dns.google/resolve?name=api.example.com&type=A'; echo; " +
                PLAIN[3], intercept=True, policy=GROUP,
                flags=["--dns-record", "dns.google=" + world.v4("doh.example.com")])
    answers = [json.loads(x) for x in r.out.splitlines() if x]
    assert answers[0]["Answer"] == [world.v4("api.example.com")], r
    assert answers[1]["status"] == 403, r
    allowed, = r.find("http", host="dns.google")
    assert (allowed["verdict"], allowed["rule"]) == ("allow", "resolvers"), r


def test_response_that_shows_what_the_request_hid(weir, lab):
    """The query went out, and is on the record; the answer does not come in."""
    ask = "base64 -d | curl -sS --data-binary @- %s/hidden" % URL
    r = weir.sh(ask, intercept=True, stdin=base64.b64encode(QUERY))
    assert r.json["status"] == 403 and "DNS message" in r.json["detail"], r
    event, = r.find("http", host="doh.example.com")
    assert event["verdict"] == "deny" and REFUSED in event["reason"], r
    r = weir.sh(ask + " | wc -c", intercept=True, stdin=base64.b64encode(QUERY),
                flags=["--dns-doh", "allow"])
    assert int(r.out) > 12, r


def test_what_only_looks_like_doh_passes(weir, lab):
    r = weir.sh("for u in '/?dns=1.1.1.1' '/resolve?name=left-pad&type=package' '/dns-query' "
                "'/zones?dns=AAAA'; do curl -sS -o /dev/null -w '%{http_code} ' "
                "\"https://api.example.com$u\"; done", intercept=True)
    assert r.out.split() == ["401"] * 4 or r.out.split() == ["200"] * 4, r
    assert len(lab.seen("http", server="api.example.com")) == 4, r


def test_firefox_is_told_to_leave_its_own_resolver_off(weir, lab):
    r = weir.sh("dig use-application-dns.net; dig AAAA use-application-dns.net",
                policy="allow_all")
    assert r.out.count("status: NXDOMAIN") == 2, r
    assert not lab.asked("use-application"), lab.asked()


def test_N31_replies_do_not_offer_http3(weir):
    for url, read in ((URL, True), ("http://doh.example.com", False)):
        r = weir.sh("curl -sS -D - -o /dev/null %s/alt-svc" % url, intercept=read,
                    policy=EVERYTHING)
        lines = [x.lower() for x in r.out.splitlines() if x.lower().startswith("alt-svc")]
        assert "alt-svc: clear" in lines and any("h3" in x for x in lines) != read, r


@pytest.mark.parametrize("host", ["echo4.example.com", "echo6.example.com"])
def test_N31_quic_is_refused_at_once_where_tls_is_read(weir, lab, host):
    r = weir.guest("udp", host, 443, "initial", intercept=True)
    assert r.json["result"] not in ("ok", "timeout") and r.json["seconds"] < SLACK, r
    event = r.find("flow", proto="udp", port=443)[0]
    assert event["verdict"] == "deny" and "QUIC is refused" in event["detail"], r
    assert not lab.seen("udp"), lab.seen()
    r = weir.guest("udp", host, 443, "initial")
    assert r.json["result"] == "ok" and r.json["got"] == ["initial0"], r
