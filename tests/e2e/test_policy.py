# SPDX-License-Identifier: Apache-2.0
"""The policy commands: check, show, explain, and that they agree with what a run does."""

import json

import pytest
from conftest import EXAMPLE

import world

MANY = {"policy": {"default_egress": "deny", "rules": [
    {"id": "no-db", "action": "deny", "destination": "api.example.com", "ports": ["5432"]},
    {"id": "api", "action": "allow", "destination": "api.example.com", "protocols": ["tcp"],
     "ports": ["80", "443"]},
    {"id": "nets", "action": "allow", "destination": "93.184.216.11"},
    {"id": "sub", "action": "allow", "destination": ".git.example.com"},
    {"id": "below", "action": "allow", "destination": "*.slow.example.com"}]}}


def test_check(weir):
    p = weir.call("policy", "check", weir.file("p.json", MANY))
    assert p.returncode == 0, p


# Parity: p1.3-allow-all.
@pytest.mark.parametrize("preset", ["none", "public_only", "non_local", "allow_all", "disabled",
                                    "airgapped", "public", "default", "all", "non-local"])
def test_show_prints_plain_rules_that_load_again(weir, preset):
    p = weir.call("policy", "show", preset)
    assert p.returncode == 0, p
    path = weir.file("shown.json", p.stdout)
    assert weir.call("policy", "check", path).returncode == 0, p.stdout
    assert weir.call("policy", "show", path).stdout == p.stdout


CASES = [
    ("api.example.com:443", 0, "api"), ("api.example.com:443/udp", 1, None),
    ("api.example.com:5432", 1, "no-db"), ("API.example.com.:443", 0, "api"),
    ("git.example.com:22", 0, "sub"), ("x.git.example.com:22", 0, "sub"),
    ("slow.example.com:80", 1, None), ("x.slow.example.com:80", 0, "below"),
    ("notgit.example.com:22", 1, None), ("93.184.216.11:80", 0, "nets"),
    ("[2606:2800:220:1::11]:80", 1, None), ("169.254.169.254:80", 1, None),
]


@pytest.mark.parametrize("to,status,rule", CASES)
def test_explain(weir, to, status, rule):
    path = weir.file("p.json", MANY)
    p = weir.call("policy", "explain", path, "--to", to)
    assert p.returncode == status and p.stdout, p
    q = weir.call("policy", "explain", path, "--to", to, "--json")
    assert q.returncode == status, q
    j = json.loads(q.stdout)
    assert j["verdict"] == ("deny" if status else "allow") and j["rule"] == rule, j
    assert "generation" in j and isinstance(j["trace"], list), j


@pytest.mark.parametrize("to", ["", "x", "x:", "x:0", "x:99999", "x:80/sctp", "a..b:80", "127.1:80",
                                "[::1:80", "x:80:90"])
def test_explain_bad_question(weir, to):
    p = weir.call("policy", "explain", weir.file("p.json", MANY), "--to", to)
    assert p.returncode == 2 and p.stderr, p


def test_explain_with_an_address(weir):
    path = weir.file("p.json", {"policy": {"default_egress": "allow", "rules": [
        {"action": "deny", "destination": "10.0.0.0/8"}]}})
    assert weir.call("policy", "explain", path, "--to", "x.example.com:80", "--ip",
                     "10.1.2.3").returncode == 1
    assert weir.call("policy", "explain", path, "--to", "x.example.com:80", "--ip",
                     "93.184.216.34").returncode == 0


@pytest.mark.machine
def test_explain_agrees_with_the_run(weir, lab):
    path = weir.file("p.json", MANY)
    targets = ["api.example.com/80", "api.example.com/81", "files.example.com/80",
               "git.example.com/80", "slow.example.com/80", "%s/80" % world.v4("files.example.com"),
               "%s/80" % world.v4("api.example.com"), "%s/80" % world.METADATA4]
    said = {t: weir.call("policy", "explain", path, "--to", t.replace("/", ":")).returncode == 0
            for t in targets}
    r = weir.guest("connects", *[t + "/5" for t in targets], policy=path)
    did = {t: r.json[t + "/5"]["result"] == "connected" for t in targets}
    assert did == said, (did, said, r)


# Parity: p1.4-3, p1.4-4, p1.9-flags.
@pytest.mark.parametrize("flags,host,reached", [
    (["--net-rule", "deny@api.example.com"], "api.example.com", False),
    (["--net-rule", "deny@.example.com,allow@any"], "files.example.com", False),
    (["--net-rule", "deny@public:tcp:443"], "api.example.com", True),
    (["--net", "none", "--net-rule", "allow@api.example.com:tcp:80"], "api.example.com", True),
    (["--no-net", "--net-rule", "allow@api.example.com"], "api.example.com", True),
    (["--no-net", "--net-rule", "allow@api.example.com"], "files.example.com", False),
    (["--net-default-egress", "allow", "--net", "none"], "api.example.com", True),
    (["--net", "public"], "api.example.com", True),
])
def test_flags_compose(weir, flags, host, reached):
    r = weir.guest("connect", host, 80, 5, policy=None, flags=flags)
    assert (r.json["result"] == "connected") == reached, r


# Parity: p1.3-deny-only, n10.
def test_deny_lists_only(weir):
    r = weir.guest("connects", "api.example.com/80/5", "files.example.com/80/5",
                   "evil.example.net/80/5", policy={"policy": {
                       "deny_domains": ["files.example.com"],
                       "deny_domain_suffixes": ["example.net"]}})
    assert [v["result"] for v in r.json.values()] == ["connected", "EAI", "EAI"], r


# Parity: p1.5-refusal-seen.
def test_silent_refusal_is_an_option(weir):
    policy = {"policy": {"on_deny": "drop", **EXAMPLE["policy"]}}
    r = weir.guest("connect", world.v4("evil.example.net"), 80, 2, policy=policy)
    assert r.json["result"] == "timeout", r
