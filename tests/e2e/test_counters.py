# SPDX-License-Identifier: Apache-2.0
"""Decisions and bytes per rule: what weir says is what the record says."""

import json

from test_reload import OPEN, guest, live  # noqa: F401
from conftest import wait_for

import world

RULES = {"policy": {"default_egress": "deny", "rules": [
    {"id": "no-post", "action": "deny", "destination": "api.example.com",
     "http": {"methods": ["POST"]}},
    {"id": "api", "action": "allow", "destination": "api.example.com"},
    {"action": "allow", "destination": "files.example.com"}]}}
CLASSES = {"flow": "flows", "dns": "queries", "http": "requests", "tls": "tls"}


def recount(events):
    """From the record alone: {(generation, floor, rule): counts}."""
    counts, flows = {}, {}
    for e in events:
        if e["kind"] == "flow_end" and e["id"] in flows:
            c = flows.pop(e["id"])
            c["bytes_up"] += e["bytes_up"]
            c["bytes_down"] += e["bytes_down"]
        if e["kind"] not in CLASSES or not e.get("rule"):
            continue
        key = e["generation"], e.get("floor", False), e["rule"]
        c = counts.setdefault(key, {
            "bytes_up": 0, "bytes_down": 0,
            **{k: {"allow": 0, "deny": 0, "observed": 0} for k in CLASSES.values()}})
        how = "observed" if e.get("observed") else "deny" if e["verdict"] == "deny" else "allow"
        c[CLASSES[e["kind"]]][how] += e.get("count", 1)
        if e["kind"] == "flow" and e["verdict"] == "allow":
            flows[e["id"]] = c
    return counts


def as_told(rules):
    return {(r["generation"], r["floor"], r["rule"]):
            {k: v for k, v in r.items() if k not in ("generation", "floor", "rule")}
            for r in rules["rules"]}


def test_counters_are_what_the_record_says(weir, lab):
    floor = weir.file("floor.json", {"policy": {"default_egress": "allow", "rules": [
        {"id": "low", "action": "deny", "destination": "metadata"}]}})
    r = weir.sh("curl -sS -o /dev/null https://api.example.com/a http://api.example.com/b; "
                "curl -sS -o /dev/null -d x https://api.example.com/c; "
                "curl -sS http://files.example.com/bytes/100000 | wc -c; "
                "curl -sS -m2 http://evil.example.net/; curl -sS -m2 http://169.254.169.254/; "
                "python3 -B %s portscan %s 1000 2999" % (lab.guest, world.PRIVATE4),
                policy=RULES, flags=["--policy-floor", floor])
    p = weir.call("audit", "--rules", "--json", r.audit_path)
    assert p.returncode == 0, p
    told = as_told(json.loads(p.stdout))
    assert told == recount(r.events), (told, recount(r.events))
    assert told[1, False, "default"]["flows"]["deny"] >= 2000, told
    assert told[1, False, "no-post"]["requests"]["deny"] == 1, told
    assert told[1, False, "2"]["bytes_down"] >= 100000, told
    p = weir.call("audit", "--rules", r.audit_path)
    assert "no-post" in p.stdout and "DENIED" in p.stdout, p.stdout


def test_live_counters_begin_anew_with_each_policy(weir, lab, live):  # noqa: F811
    a = live(*guest(lab, "watch", "echo.example.com", world.ECHO), policy=OPEN, intercept=True)
    lines = a.lines()

    def told():
        return as_told(json.loads(a.ctl("policy", "counters", "--json").stdout))

    assert wait_for(lambda: told().get((1, False, "open"), {}).get("flows", {}).get("allow"))
    assert a.set(RULES).returncode == 0
    for _ in range(5):
        next(lines)
    assert wait_for(lambda: (2, False, "default") in told())
    assert {k[0] for k in told()} == {2}, told()
    table = a.ctl("policy", "counters")
    assert table.returncode == 0 and "default" in table.stdout, table
    a.end()
    with open(a.p.audit_path, encoding="utf-8") as f:
        events = [json.loads(x) for x in f]
    p = weir.call("audit", "--rules", "--json", a.p.audit_path)
    assert as_told(json.loads(p.stdout)) == recount(events)
