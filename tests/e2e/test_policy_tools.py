# SPDX-License-Identifier: Apache-2.0
"""From a real run to a policy and back: suggest, check, test, replay of record and capture."""

import json

import pytest
from conftest import EXAMPLE

import world

ASK = ("curl -sS http://api.example.com/v1/me?x=1 >/dev/null; "
       "curl -sS -X POST -d x http://api.example.com/v1/post >/dev/null; "
       "curl -sS https://api.example.com/v1/tls >/dev/null; "
       "curl -sS -m 3 http://evil.example.net/; curl -sS -m 3 http://%s/; "
       "curl -sS -m 3 http://closed.example.com/; true" % world.METADATA4)


class Run:
    """A run with its record and capture."""

    def __init__(self, weir, intercept=None, flags=(), policy=EXAMPLE):
        self.weir, self.capture = weir, weir.path("capture.pcapng")
        self.policy = weir.file("before.json", policy)
        self.r = weir.sh(ASK, policy=self.policy, intercept=intercept,
                         flags=["--capture", self.capture, *flags])
        assert self.r.rc == 0, self.r
        self.record = self.r.audit_path

    def suggest(self, *flags):
        p = self.weir.call("policy", "suggest", self.record, *flags)
        assert p.returncode == 0, p
        return self.weir.file("suggested.json", p.stdout), p.stderr


@pytest.fixture(params=["virtual", "virtual-read", "real", "real-read"])
def run(request, weir):
    flags = ["--config", weir.file("c.json", {"dns": {"answers": "real"}})] \
        if request.param.startswith("real") else []
    return Run(weir, request.param.endswith("read") or None, flags)


def test_replay_under_the_same_policy_changes_nothing(weir, run):
    p = weir.call("policy", "replay", run.policy, run.record)
    assert p.returncode == 0 and "intact" in p.stdout, p
    assert " 0 now allowed, 0 now denied, 0 depend" in p.stdout, p


def test_suggestion_allows_what_the_run_used(weir, run):
    path, _ = run.suggest()
    assert weir.call("policy", "check", path).returncode == 0, path
    p = weir.call("policy", "replay", path, run.record)
    assert p.returncode == 0, p
    for to in ("evil.example.net:80", "files.example.com:80", "api.example.com:22",
               world.METADATA4 + ":80", "api.example.com:443/udp"):
        q = weir.call("policy", "explain", path, "--to", to)
        assert q.returncode == 1, (to, q.stdout)


def test_run_again_under_its_suggestion(weir, lab):
    """Names, ports and requests of the first run pass the second, and nothing else does."""
    first = Run(weir, intercept=True)
    path, err = first.suggest()
    assert "--tls-intercept" in err, err
    script = ("curl -sS -o /dev/null -w '%{http_code} ' http://api.example.com/v1/me; "
              "curl -sS -o /dev/null -w '%{http_code} ' https://api.example.com/v1/tls; "
              "curl -sS -o /dev/null -w '%{http_code} ' http://api.example.com/v1/you; "
              "curl -sS -o /dev/null -w '%{http_code} ' -X DELETE http://api.example.com/v1/me; "
              "curl -sS -m 3 -o /dev/null -w '%{http_code} ' http://files.example.com/bytes/1; true")
    again = weir.sh(script, policy=path, intercept=True)
    assert again.out.split() == ["200", "200", "403", "403", "000"], again
    assert not lab.asked("files.example.com"), again
    p = weir.call("policy", "replay", path, again.audit_path)
    assert p.returncode == 0, p


def test_from_denied(weir, run):
    path, _ = run.suggest("--from-denied")
    p = weir.call("policy", "explain", path, "--to", "evil.example.net", "--dns")
    assert p.returncode == 0, p
    assert weir.call("policy", "explain", path, "--to", world.METADATA4 + ":80").returncode == 0
    assert weir.call("policy", "explain", path, "--to", "api.example.com:80").returncode == 1


def test_another_policy_is_told_apart(weir, run):
    p = weir.call("policy", "replay", "none", run.record, "--json")
    assert p.returncode == 1, p
    j = json.loads(p.stdout)
    assert j["now_allowed"] == 0 and j["now_denied"] > 0 and j["record"]["intact"], j
    denied = {g["what"] for g in j["groups"]}
    assert "api.example.com" in denied and all(g["now"] == "deny" for g in j["groups"]), j
    q = weir.call("policy", "replay", run.policy, run.record, "--floor", "none")
    assert q.returncode == 1 and "the floor's default" in q.stdout, q


def test_capture_says_what_the_record_says(weir, run):
    """The gateway's own packets, judged without its help."""
    p = weir.call("policy", "replay", run.policy, run.capture, "--json")
    assert p.returncode == 1, p
    groups = {(g["now"], g["what"]) for g in json.loads(p.stdout)["groups"]}
    for want in (("allow", "api.example.com"), ("deny", "evil.example.net"),
                 ("allow", "tcp api.example.com:80"), ("allow", "tcp api.example.com:443"),
                 ("allow", "GET api.example.com:80/v1/me?x=1"),
                 ("allow", "POST api.example.com:80/v1/post"),
                 ("deny", "tcp %s:80" % world.METADATA4)):
        assert want in groups, (want, groups)
    by_path = weir.file("path.json", {"policy": {"rules": [
        {"action": "allow", "destination": "api.example.com", "protocols": ["tcp"],
         "http": {"methods": ["GET"]}}]}})
    q = json.loads(weir.call("policy", "replay", by_path, run.capture, "--json").stdout)
    groups = {(g["now"], g["what"]) for g in q["groups"]}
    assert ("allow", "GET api.example.com:80/v1/me?x=1") in groups, groups
    assert ("deny", "POST api.example.com:80/v1/post") in groups, groups
    assert ("depends", "tcp api.example.com:443") in groups, groups


def test_a_changed_record_is_no_ground(weir):
    run = Run(weir)
    text = open(run.record, encoding="utf-8").read().replace(world.METADATA4, "93.184.216.99")
    path = weir.file("changed.jsonl", text)
    p = weir.call("policy", "replay", run.policy, path)
    assert p.returncode == 2 and "BROKEN" in p.stdout, p
    q = weir.call("policy", "suggest", path)
    assert q.returncode == 2 and not q.stdout, q


def test_table_of_cases_agrees_with_the_run(weir):
    policy = weir.file("p.json", EXAMPLE)
    cases = weir.file("cases", "allow api.example.com:80 rule=example\n"
                               "deny  evil.example.net:80 rule=default\n"
                               "allow dns api.example.com AAAA\n"
                               "deny  dns evil.example.net\n"
                               "deny  %s:80\n" % world.METADATA4)
    p = weir.call("policy", "test", policy, cases)
    assert p.returncode == 0 and "5 cases, 5 as expected" in p.stdout, p
    r = weir.guest("connects", "api.example.com/80/5", "evil.example.net/80/5",
                   world.METADATA4 + "/80/5", policy=policy)
    assert [v["result"] == "connected" for v in r.json.values()] == [True, False, False], r


def test_why_of_queries(weir, run):
    denied = run.r.find("dns", name="evil.example.net")[0]
    for what in (denied["denial"], "evil.example.net"):
        p = weir.call("why", what, "--audit", run.record)
        assert p.returncode == 0 and "No rule matched" in p.stdout, p
        assert '"destination":"evil.example.net"' in p.stdout, p
    p = weir.call("why", "api.example.com", "--audit", run.record)
    assert p.returncode == 0 and "Nothing was refused" in p.stdout, p
