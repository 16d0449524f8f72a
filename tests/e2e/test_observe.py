# SPDX-License-Identifier: Apache-2.0
"""--observe: everything passes but what the floor denies, and what would have been denied is told."""

import json

import pytest

import world

NARROW = {"policy": {"default_egress": "deny", "rules": [
    {"id": "no-echo", "action": "deny", "destination": "echo.example.com", "reason": "too chatty"},
    {"id": "some", "action": "allow", "destination": ".example.com"}]}}
OBSERVE = ["--observe"]


def observed(r, kind, **want):
    return r.find(kind, verdict="allow", observed="deny", **want)


@pytest.mark.user
def test_denied_names_and_flows_pass_and_are_told(weir, lab):
    r = weir.guest("connects", "echo.example.com/%d/5" % world.ECHO, "evil.example.net/80/5",
                   "api.example.com/80/5", policy=NARROW, flags=OBSERVE)
    assert [x["result"] for x in r.json.values()] == ["connected"] * 3, r
    for kind in ("dns", "flow"):
        told = observed(r, kind, name="echo.example.com", rule="no-echo")
        assert told and told[0]["reason"] == "too chatty", r
        assert observed(r, kind, name="evil.example.net", rule="default"), r
        assert not observed(r, kind, name="api.example.com"), r
        for e in told:
            p = weir.call("why", e["denial"], "--audit", r.audit_path)
            assert p.returncode == 0 and "no-echo" in p.stdout and "observed" not in p.stderr, p
    n = len([e for e in r.events if e.get("observed")])
    assert not r.find("flow", verdict="deny") and not r.find("dns", verdict="deny"), r
    assert "%d would have been denied and were not" % n in r.err, (n, r.err)
    p = weir.call("audit", "--denied", r.audit_path)
    assert "would" in p.stdout and "echo.example.com" in p.stdout, p.stdout


def test_without_it_they_are_denied(weir):
    r = weir.guest("connects", "echo.example.com/%d/5" % world.ECHO, policy=NARROW)
    assert [x["result"] for x in r.json.values()] == ["EAI"], r
    assert not [e for e in r.events if "observed" in e], r


def test_addresses_and_datagrams(weir, lab):
    api = world.v4("api.example.com")
    r = weir.sh("curl -sS -o /dev/null -w '%%{http_code}\\n' http://%s/; "
                "ping -c1 -W3 %s >/dev/null && echo pong" % (api, api), policy=NARROW, flags=OBSERVE)
    assert "200" in r.out and "pong" in r.out, r
    assert observed(r, "flow", dst=api, proto="tcp", rule="default"), r
    assert observed(r, "flow", dst=api, proto="icmpv4"), r


def test_rebinding_answers_and_aliases(weir, lab):
    alias = {"policy": {"default_egress": "deny", "rules": [
        {"id": "no-api", "action": "deny", "destination": "api.example.com"},
        {"id": "www", "action": "allow", "destination": ".example.com"},
        {"id": "net", "action": "allow", "destination": ".example.net"}]}}
    r = weir.sh("getent ahosts rebind.example.net >/dev/null && echo answered; "
                "getent ahosts www.example.com >/dev/null && echo aliased", policy=alias,
                flags=[*OBSERVE, "--dns-answers", "real"])
    assert r.out == "answered\naliased\n", r
    e = observed(r, "dns", name="rebind.example.net")
    assert e and "may not stand behind a name" in e[0]["detail"], r
    e = observed(r, "dns", name="www.example.com", rule="no-api")
    assert e and "alias" in e[0]["detail"], r


@pytest.mark.machine
def test_requests(weir, lab):
    read_only = {"policy": {"default_egress": "deny", "rules": [
        {"id": "read", "action": "allow", "destination": "api.example.com",
         "http": {"methods": ["GET"]}}]}}
    r = weir.sh("curl -sS -o /dev/null -w '%{http_code} ' https://api.example.com/a; "
                "curl -sS -o /dev/null -w '%{http_code}' -d x=y https://api.example.com/b",
                policy=read_only, flags=OBSERVE, intercept=True)
    assert r.out == "200 200", r
    assert observed(r, "http", method="POST") and not observed(r, "http", method="GET"), r
    p = weir.call("why", observed(r, "http", method="POST")[0]["denial"], "--audit", r.audit_path)
    assert p.returncode == 0 and "POST" in p.stdout, p


def test_the_floor_stays(weir, lab):
    floor = weir.file("floor.json", {"policy": {"default_egress": "allow", "rules": [
        {"id": "never", "action": "deny", "destination": "evil.example.net"},
        {"action": "deny", "destination": "metadata"}]}})
    r = weir.guest("connects", "echo.example.com/%d/5" % world.ECHO, "evil.example.net/80/5",
                   "%s/80/5" % world.METADATA4, policy=NARROW,
                   flags=[*OBSERVE, "--policy-floor", floor])
    assert [x["result"] for x in r.json.values()] == ["connected", "EAI", "ECONNREFUSED"], r
    assert r.find("dns", name="evil.example.net", verdict="deny", rule="never", floor=True), r
    assert r.find("flow", dst=world.METADATA4, verdict="deny", floor=True), r
    assert not lab.seen("tcp", server="metadata"), lab.seen()


def test_secrets_are_not_loosened(weir, lab):
    """The policy would let it out; the secret's own hosts do not."""
    r = weir.sh('curl -sS -o /dev/null -w "%{http_code}" -H "X-Key: $LAB_TOKEN" '
                'https://files.example.com/', policy=NARROW,
                flags=[*OBSERVE, "--secret", "LAB_TOKEN@api.example.com"])
    assert r.out == "403", r
    assert r.find("secret", event="violation", verdict="deny"), r
    assert lab.token not in lab.seen_text()


def test_the_end_is_told_as_json(weir):
    r = weir.guest("connect", "echo.example.com", world.ECHO, policy=NARROW,
                   flags=[*OBSERVE, "--json"])
    report = [json.loads(x) for x in r.err.splitlines() if x.startswith('{"run"')][0]
    assert report["observed"] == len([e for e in r.events if e.get("observed")]) > 0, report
    assert report["denied"] == 0, report
