# SPDX-License-Identifier: Apache-2.0
"""Random policies under mixed traffic, and the accounts afterwards. WEIR_E2E_SOAK: seconds of each (10)."""

import json
import os
import random
import time

import pytest
from conftest import SLACK, wait_for
from test_counters import CLASSES, as_told, recount
from test_reload import CLOSED, HTTP, OPEN, live  # noqa: F401

import world

SOAK = float(os.environ.get("WEIR_E2E_SOAK", "10"))
FLOOR = {"policy": {"default_egress": "allow", "rules": [
    {"id": "low", "action": "deny", "destination": "files.example.com"},
    {"id": "lower", "action": "deny", "destination": "metadata"}]}}
NAMES = ["echo", "api", "files", "git", "deb"]


def some_policy(rng):
    """Allows a part of what the clients want, by rules with and without an id."""
    rules = []
    for name in rng.sample(NAMES, rng.randint(1, len(NAMES))):
        rule = {"action": rng.choice(["allow", "allow", "allow", "deny"]),
                "destination": rng.choice([name, "*"]) + ".example.com"}
        if rng.random() < 0.5:
            rule["id"] = "r%d" % rng.randint(0, 9) + name
        if rng.random() < 0.3 and rule["action"] == "allow":
            rule["http"] = {"methods": rng.choice([["GET"], ["POST"], ["GET", "POST"]])}
        elif rng.random() < 0.2:
            rule["ports"] = rng.choice([[80], [443], [world.ECHO]])
        rules.append(rule)
    ids = [r["id"] for r in rules if "id" in r]
    for r in rules:
        if "id" in r and ids.count(r["id"]) > 1:
            del r["id"]
    return {"policy": {"default_egress": rng.choice(["deny", "deny", "allow"]), "rules": rules}}


def clients(lab):
    """Each begins anew when it ends: a reset is what it is there for."""
    g = "/usr/bin/python3 -B %s " % lab.guest
    again = ["watch echo.example.com %d" % world.ECHO, "stream echo.example.com %d" % world.ECHO,
             "requests api.example.com 443", "requests api.example.com 80",
             "beat udp echo.example.com %d" % world.ECHO, "asks files.example.com",
             "connect silent.example.com 80 3", "connects metadata/80 169.254.169.254/80",
             "portscan %s 1000 1500" % world.PRIVATE4]
    script = "".join("(while :; do %s%s; sleep 0.1; done) & " % (g, c) for c in again)
    script += "(while :; do curl -sS -m 5 -o /dev/null https://files.example.com/bytes/200000 " \
              "https://git.example.com/x; sleep 0.1; done) & "
    return "exec >/dev/null 2>&1; " + script + "wait"


@pytest.mark.slow
@pytest.mark.netns("ten interpreters that begin again and again: without KVM they outlast the run")
@pytest.mark.parametrize("flags", [[], ["--observe"], ["--policy-floor"],
                                   ["--observe", "--policy-floor"]],
                         ids=["plain", "observe", "floor", "both"])
def test_accounts_are_exact_after_a_busy_run(weir, lab, live, flags):  # noqa: F811
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    flags = [x for f in flags
             for x in ([f, weir.file("floor.json", FLOOR)] if f == "--policy-floor" else [f])]
    a = live("sh", "-c", clients(lab), policy=OPEN, intercept=True, flags=flags)
    assert wait_for(lambda: a.events("flow", verdict="allow"), 15), "no traffic"
    end, times = time.monotonic() + SOAK, 0
    while time.monotonic() < end:
        policy = rng.choice([OPEN, CLOSED, HTTP, "public_only", some_policy(rng), some_policy(rng)])
        p = a.set(policy, "soak.json")
        assert p.returncode == 0, (seed, policy, p)
        times += 1
        time.sleep(rng.choice([0, 0, 0.05, 0.3, 1]))
    assert a.p.poll() is None, seed
    last = json.loads(a.ctl("policy", "counters", "--json").stdout)
    out, err = a.end()
    assert a.p.returncode == 143, (seed, a.p.returncode, err)
    with open(a.p.audit_path, encoding="utf-8") as f:
        events = [json.loads(x) for x in f]
    p = weir.call("audit", "--rules", "--json", a.p.audit_path, timeout=60)
    told, counted = as_told(json.loads(p.stdout)), recount(events)
    assert told == counted, (seed, {k: (told.get(k), counted.get(k)) for k in {*told, *counted}
                                    if told.get(k) != counted.get(k)})
    # What was said while it ran is no more than what it came to, of the last generation only.
    for key, c in as_told(last).items():
        assert key[0] == 1 + times, (seed, key, times)
        for k in CLASSES.values():
            assert all(n <= told[key][k][how] for how, n in c[k].items()), (seed, key, c, told[key])
    ends, flows = {}, {}
    for e in events:
        if e["kind"] == "flow_end":
            assert e["id"] not in ends, (seed, "ended twice", e)
            ends[e["id"]] = e
        elif e["kind"] == "flow" and e["verdict"] == "allow":
            assert e["id"] not in flows, (seed, "allowed twice", e)
            flows[e["id"]] = e
    assert set(flows) <= set(ends), (seed, "no end", [flows[i] for i in set(flows) - set(ends)][:3])
    for way in ("bytes_up", "bytes_down"):
        assert sum(c[way] for c in told.values()) == \
            sum(ends[i][way] for i, e in flows.items() if e.get("rule")), (seed, way)
    # Decisions carry the generation that was in force: never one that was not yet, or long past.
    now = 1
    for e in events:
        if e["kind"] == "policy" and e["event"] == "set":
            now = e["generation"]
        elif "generation" in e and e["kind"] in CLASSES:
            assert e["generation"] in (now, now - 1), (seed, now, e)
    assert now == 1 + times and len(flows) > 20, (seed, now, len(flows))
    if "--observe" in flags:
        assert any(e.get("observed") for e in events), seed
    if FLOOR["policy"]["rules"][0]["id"] in {k[2] for k in told if k[1]}:
        return
    assert "--policy-floor" not in flags, (seed, "the floor was never asked")
