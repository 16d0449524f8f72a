# SPDX-License-Identifier: Apache-2.0
"""Many queries a second: every one is in the record's count, without a line for each."""

import json
from datetime import datetime

import pytest
from conftest import wait_for

from test_counters import as_told, recount
from test_reload import guest, live  # noqa: F401

NAMES = ["api.example.com", "files.example.com", "nothing.example.com"]
RULES = {"policy": {"default_egress": "deny", "rules": [
    {"id": "ours", "action": "allow", "destination": ".example.com"},
    {"id": "theirs", "action": "deny", "destination": "evil.example.net"}]}}
# The record counts instead of telling each from 200 in a second on.
TOO_FEW = "without KVM some thousand queries are no flood"


def counted(events):
    return sum(e.get("count", 1) for e in events)


def at(event):
    return datetime.fromisoformat(event["time"][:26]).timestamp()


@pytest.mark.netns(TOO_FEW)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_repeated_queries_are_counted_not_lost(weir, transport):
    r = weir.guest("askmany", "192.0.0.1", transport, 6000, 30, *NAMES, policy=RULES,
                   flags=["--dns-budget", "off"])
    assert set(r.json["replies"].values()) == {2000}, r
    for name in NAMES:
        lines = r.find("dns", name=name, transport=transport)
        assert counted(lines) == 2000, (name, counted(lines))
        assert "count" not in lines[0] and any("count" in e for e in lines), lines[:3]
        same = {json.dumps({k: e.get(k) for k in ("verdict", "rule", "result", "answers", "given",
                                                  "qtype", "server", "generation")})
                for e in lines}
        assert len(same) == 1, same
    assert len(r.find("dns")) < 3000, len(r.find("dns"))
    told = weir.call("audit", "--rules", "--json", r.audit_path)
    assert as_told(json.loads(told.stdout)) == recount(r.events)
    assert recount(r.events)[1, False, "ours"]["queries"]["allow"] == 6000
    table = weir.call("audit", r.audit_path)
    last = [e for e in r.find("dns") if "count" in e][-1]
    assert table.returncode == 0 and "%d times" % last["count"] in table.stdout, table
    policy = weir.file("policy.json", RULES)
    replay = weir.call("policy", "replay", policy, r.audit_path, "--json")
    assert replay.returncode == 0 and json.loads(replay.stdout)["same"] == 6000, replay
    suggest = weir.call("policy", "suggest", r.audit_path)
    assert suggest.returncode == 0 and all(n in suggest.stdout for n in NAMES), suggest


@pytest.mark.netns(TOO_FEW)
def test_repeated_denials_are_counted_and_every_id_that_was_told_is_known(weir):
    r = weir.guest("askmany", "192.0.0.1", "udp", 3000, 20, "evil.example.net", policy=RULES)
    lines = r.find("dns", name="evil.example.net", verdict="deny", rule="theirs")
    assert counted(lines) == 3000 and len(lines) < 1500, (counted(lines), len(lines))
    assert r.json["ids"] and set(r.json["ids"]) == {e["denial"] for e in lines}, r
    many = [e for e in lines if "count" in e][-1]
    of_id = counted(e for e in lines if e["denial"] == many["denial"])
    p = weir.call("why", many["denial"], "--audit", r.audit_path)
    assert p.returncode == 0 and "evil.example.net" in p.stdout, p
    assert "%d times" % of_id in p.stdout, (of_id, p)
    p = weir.call("why", many["denial"], "--audit", r.audit_path, "--json")
    assert json.loads(p.stdout)["count"] == of_id, p


def test_numbers_are_written_within_a_second(weir, lab):
    r = weir.sh("/usr/bin/python3 -B %s askmany 192.0.0.1 udp 3000 20 %s; sleep 2.5"
                % (lab.guest, NAMES[0]), policy=RULES)
    lines = r.find("dns", name=NAMES[0])
    assert counted(lines) == 3000, counted(lines)
    assert at(r.find("run", event="end")[0]) - at(lines[-1]) > 1.2, lines[-1]


@pytest.mark.netns(TOO_FEW)
def test_what_is_only_observed_is_counted_as_such(weir):
    r = weir.guest("askmany", "192.0.0.1", "udp", 2000, 20, "evil.example.net", policy=RULES,
                   flags=["--observe", "--json"])
    lines = r.find("dns", name="evil.example.net", verdict="allow", observed="deny")
    assert counted(lines) == 2000 and len(lines) < 1000, (counted(lines), len(lines))
    assert all(e["denial"] for e in lines), lines[-1]
    totals = json.loads(r.err.splitlines()[-1])
    assert totals["observed"] == totals["allowed"] == 2000, totals


def test_no_number_is_of_two_policies(weir, lab, live):  # noqa: F811
    a = live(*guest(lab, "askmany", "192.0.0.1", "udp", 40000, 20, NAMES[0]), policy=RULES)
    lines = a.lines()
    wider = {"policy": {"default_egress": "allow", "rules": RULES["policy"]["rules"]}}
    assert wait_for(lambda: a.events("dns", name=NAMES[0])) and a.set(wider).returncode == 0
    assert json.loads(next(lines))["replies"] == {NAMES[0]: 40000}
    a.end()
    told = a.events("dns", name=NAMES[0])
    assert counted(told) == 40000, counted(told)
    generations = [e["generation"] for e in told]
    assert set(generations) == {1, 2} and generations == sorted(generations), set(generations)
