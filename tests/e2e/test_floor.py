# SPDX-License-Identifier: Apache-2.0
"""--policy-floor and --net-strict: what no policy of a run can open."""

import json
import time

import pytest
from conftest import wait_for
from test_reload import after_that, guest, live  # noqa: F401

import world

FLOOR = {"policy": {"default_egress": "deny", "rules": [
    {"id": "no-evil", "action": "deny", "destination": "evil.example.net", "reason": "told so"},
    {"id": "no-meta", "action": "deny", "destination": "metadata"},
    {"id": "names", "action": "allow", "destination": ".example.com"}]}}
ALL = {"policy": {"default_egress": "allow", "rules": []}}


# Parity: p1.4-5.
@pytest.mark.user
def test_traffic_must_pass_both(weir, lab):
    floor = weir.file("floor.json", FLOOR)
    r = weir.guest("connects", "evil.example.net/80/5", "%s/80/5" % world.METADATA4,
                   "%s/80/5" % world.v4("api.example.com"), "api.example.com/80/5", policy=ALL,
                   flags=["--policy-floor", floor])
    got = [x["result"] for x in r.json.values()]
    assert got == ["EAI", "ECONNREFUSED", "ECONNREFUSED", "connected"], r
    e = r.find("dns", name="evil.example.net", verdict="deny", rule="no-evil", floor=True)
    assert e and e[0]["reason"] == "told so", r
    assert r.find("flow", dst=world.METADATA4, verdict="deny", rule="no-meta", floor=True), r
    assert r.find("run", event="begin", floor=True), r
    # An own denial is the policy's, though the floor would deny it too.
    r = weir.guest("connects", "evil.example.net/80/5", policy="none", flags=["--policy-floor", floor])
    assert r.find("dns", name="evil.example.net", verdict="deny", rule="default"), r
    assert not [e for e in r.find("dns") if e.get("floor")], r


def test_floor_in_the_configuration(weir, lab):
    weir.n = 90
    floor = weir.file("floor.json", FLOOR)
    config = weir.file("c.json", {"policy": ALL["policy"], "policy_floor": floor.rsplit("/", 1)[1]})
    r = weir.guest("connects", "evil.example.net/80/5", policy=None, flags=["--config", config])
    assert r.json["evil.example.net/80/5"]["result"] == "EAI", r
    r = weir.run("true", policy=None, flags=["--config", config, "--policy-floor", floor])
    assert r.rc == 125 and "contradicts" in r.err, r
    r = weir.run("true", flags=["--policy-floor", weir.file("bad.json", '{"rules": [{}]}')])
    assert r.rc == 125 and "bad.json:1:" in r.err, r


def test_the_sandbox_is_told_whose_rule_it_is(weir, lab):
    floor = weir.file("floor.json", {"policy": {"default_egress": "deny", "rules": [
        {"id": "reads", "action": "allow", "destination": ".example.com",
         "http": {"methods": ["GET"]}}]}})
    r = weir.sh("curl -sS -d x https://api.example.com/; "
                "dig +noall +comments evil.example.net @198.51.100.1 || true",
                policy=ALL, flags=["--policy-floor", floor])
    body = json.loads([x for x in r.out.splitlines() if x.startswith("{")][0])
    assert body["floor"] is True and "operator's floor" in body["reason"], body
    assert r.find("http", method="POST", verdict="deny", floor=True), r
    if "EDE" in r.out:
        assert "operator's floor" in r.out, r


# Parity: p1.4-5, n30.
def test_ctl_cannot_weaken_it(weir, lab, live):  # noqa: F811
    floor = weir.file("floor.json", FLOOR)
    a = live(*guest(lab, "watch", "evil.example.net", 80), policy=ALL,
             flags=["--policy-floor", floor])
    lines = a.lines()
    assert json.loads(next(lines))["connect"] == "EAI"
    for policy in ("allow_all", ALL):
        assert a.set(policy).returncode == 0
        assert json.loads(next(lines))["connect"] == "EAI"
    s = json.loads(a.ctl("status", "--json").stdout)
    assert s["generation"] == 3 and s["floor"] is True, s
    assert wait_for(lambda: a.events("dns", name="evil.example.net", floor=True, generation=3))
    assert "no-evil" not in a.ctl("policy", "show").stdout


# Parity: p1.5-strict, n14.
def test_strict_names_in_real_mode(weir, lab):
    """A datagram proves no name; a TLS name does."""
    flags = ["--dns-answers", "real"]
    script = "udp", "echo.example.com", world.ECHO, "x"
    r = weir.guest(*script, flags=flags)
    assert r.json["result"] == "ok", r
    r = weir.guest(*script, flags=[*flags, "--net-strict"])
    assert r.json["result"] != "ok", r
    assert r.find("flow", proto="udp", verdict="deny"), r
    r = weir.sh("curl -sS -o /dev/null --cacert %s -w '%%{http_code}' https://api.example.com/" %
                lab.ca, flags=[*flags, "--net-strict"])
    assert r.out == "200", r


def test_strict_names_outlast_a_policy(weir, lab, live):  # noqa: F811
    """--net-strict belongs to the run: a policy that does not say so is strict all the same."""
    a = live(*guest(lab, "beat", "udp", "echo.example.com", world.ECHO), policy="public_only",
             flags=["--dns-answers", "real", "--net-strict"])
    lines = a.lines()
    assert json.loads(next(lines))["answered"]
    assert a.set({"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": ".example.com"}]}}).returncode == 0
    t0 = time.time()
    assert not after_that(lines, t0)["answered"]
    assert '"strict_names": true' in a.ctl("policy", "show").stdout
