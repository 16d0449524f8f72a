# SPDX-License-Identifier: Apache-2.0
"""Bad input: every flag and file refuses it, says which and why, and nothing starts."""

import json
import os
import re
import socket

import pytest

# (flags, what the message must name)
FLAGS = [
    (["--no-such-flag"], "no-such-flag"), (["--polcy", "x"], "--policy"),
    (["--policy"], "--policy"), (["--policy", ""], "--policy"),
    (["--policy", "publc_only"], "public_only"), (["--policy", "/nowhere.json"], "/nowhere.json"),
    (["--policy", "/etc"], "/etc"), (["--config", "/nowhere.json"], "/nowhere.json"),
    (["--backend", "docker"], "docker"), (["--backend", ""], "--backend"),
    (["--net", "pubic"], "public"), (["--net", ""], "--net"), (["--net", "public,none"], "none"),
    (["--net-rule", ""], "--net-rule"), (["--net-rule", "allow"], "allow"),
    (["--net-rule", "alow@public"], "allow"), (["--net-rule", "allow@"], "allow@"),
    (["--net-rule", "allow@publc"], "public"), (["--net-rule", "allow:sideways@public"], "sideways"),
    (["--net-rule", "allow@public:tpc"], "tcp"), (["--net-rule", "allow@public:tcp:0"], "0"),
    (["--net-rule", "allow@public:tcp:70000"], "70000"), (["--net-rule", "allow@public:tcp:9-1"], "9-1"),
    (["--net-rule", "allow@public:tcp:x"], "x"), (["--net-rule", "allow@host:443"], "443"),
    (["--net-rule", "allow@https://example.com"], "example.com"),
    (["--net-rule", "allow@10.0.0.0/33"], "33"), (["--net-rule", "allow@10.0.0"], "10.0.0"),
    (["--net-rule", "allow@0x7f.1"], "0x7f.1"), (["--net-rule", "allow@127.1"], "127.1"),
    (["--net-rule", "allow@010.0.0.1"], "010.0.0.1"), (["--net-rule", "allow@[::1"], "[::1"),
    (["--net-rule", "allow@[fe80::1%eth0]"], "fe80"), (["--net-rule", "allow@a..b"], "a..b"),
    (["--net-rule", "allow@exa mple.com"], "exa mple"), (["--net-rule", "allow@-a.com"], "-a.com"),
    (["--net-rule", "allow@*.com"], "com"), (["--net-rule", "allow@b\u00fccher.de"], "--net-rule"),
    (["--net-rule", "allow@public,,deny@any"], "--net-rule"),
    (["--net-default-egress", "maybe"], "maybe"), (["--net-default-ingress", ""], "--net-default-ingress"),
    (["--secret", "X"], "--secret"), (["--secret", "@api.example.com"], "--secret"),
    (["--secret", "LAB_TOKEN@"], "LAB_TOKEN"), (["--secret", "LAB_TOKEN=v@api.example.com"], "LAB_TOKEN"),
    (["--secret", "LAB_TOKEN:cookie@api.example.com"], "cookie"),
    (["--secret", "LAB_TOKEN:@api.example.com"], "LAB_TOKEN"),
    (["--secret", "LAB_TOKEN@10.0.0.1"], "10.0.0.1"), (["--secret", "LAB_TOKEN@*"], "*"),
    (["--secret", "LAB_TOKEN@https://api.example.com"], "api.example.com"),
    (["--secret", "LAB_TOKEN@api.example.com:443"], "443"),
    (["--secret", "1BAD@api.example.com"], "1BAD"), (["--secret", "A B@api.example.com"], "A B"),
    (["--secret", "PATH@api.example.com"], "PATH"), (["--secret", "LD_PRELOAD@a.example.com"], "LD_PRELOAD"),
    (["--secret", "LAB_TOKEN@a.example.com", "--secret", "LAB_TOKEN@b.example.com"], "LAB_TOKEN"),
    (["--secret-file", "K=/nowhere@api.example.com"], "/nowhere"),
    (["--secret-file", "K=/etc@api.example.com"], "/etc"),
    (["--secret-file", "K@api.example.com"], "K"), (["--secret-file", "K=@api.example.com"], "K"),
    (["--tls-intercept-port", "0"], "0"), (["--tls-intercept-port", "x"], "x"),
    (["--tls-intercept-port", "65536"], "65536"), (["--tls-intercept-port", "-1"], "-1"),
    (["--tls-intercept-port", "443x"], "443x"), (["--tls-bypass", ""], "--tls-bypass"),
    (["--tls-bypass", "a b"], "a b"), (["--tls-bypass", "*.*.com"], "*.*.com"),
    (["--upstream-ca", "/nowhere.pem"], "/nowhere.pem"), (["--upstream-ca", "/etc/hostname"], "/etc/hostname"),
    (["--dns-server", "localhost"], "localhost"), (["--dns-server", "1.2.3"], "1.2.3"),
    (["--dns-server", "1.2.3.4:0"], "1.2.3.4:0"), (["--dns-server", "1.2.3.4:99999"], "99999"),
    (["--dns-server", "[::1"], "[::1"), (["--dns-record", "x"], "x"),
    (["--dns-record", "=1.2.3.4"], "--dns-record"), (["--dns-record", "a.b=1.2.3"], "1.2.3"),
    (["--dns-record", "a..b=1.2.3.4"], "a..b"), (["--dns-record", "a.b="], "a.b"),
    (["--publish", "80"], "80"), (["--publish", "80:"], "80:"), (["--publish", ":80"], ":80"),
    (["--publish", "*:0:80"], "*:0:80"), (["--publish", "80:70000"], "70000"),
    (["--publish", "80:80/sctp"], "sctp"), (["--publish", "1.2.3:80:80"], "1.2.3"),
    (["--publish", "8080:80", "--publish", "8080:81"], "8080"),
    (["--audit", "/no/such/dir/a.jsonl"], "/no/such/dir"), (["--audit", "/etc"], "/etc"),
    (["--capture", "/no/such/dir/c"], "/no/such/dir"),
    (["--max-connections", "0"], "0"), (["--max-connections", "-5"], "-5"),
    (["--max-connections", "many"], "many"), (["--max-connections", "99999999999"], "99999999999"),
    (["--name", ""], "--name"), (["--name", "a/b"], "a/b"), (["--name", "x" * 64], "--name"),
    (["--name", "-x"], "-x"), (["--name", "a b"], "a b"),
    (["--backend", "netns", "--backend", "netns"], "--backend"),
    (["--max-connections", "5", "--max-connections", "6"], "--max-connections"),
]


@pytest.mark.parametrize("flags,names", FLAGS, ids=[" ".join(f[0])[:50] for f in FLAGS])
def test_flag(weir, flags, names):
    backend = [] if "--backend" in flags else ["--backend", "netns"]
    p = weir.call("run", *backend, *flags, "--", "echo", "started")
    assert p.returncode == 125, p
    assert "started" not in p.stdout, p
    assert names in p.stderr and p.stderr.startswith("weir"), p
    assert len(p.stderr.strip().splitlines()) <= 3, p


def test_no_command(weir):
    for args in (["run"], ["run", "--backend", "netns"], ["run", "--"], [], ["rum"]):
        p = weir.call(*args)
        assert p.returncode not in (0, 127) and p.stderr, (args, p)


@pytest.mark.user
def test_published_port_that_cannot_be_had(weir):
    r = weir.run("true", flags=["--publish", "192.0.2.77:8080:80"])
    assert r.rc == 125 and "192.0.2.77:8080/tcp" in r.err and "does not have that" in r.err, r
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        r = weir.run("true", flags=["--publish", "%d:80" % port])
    assert r.rc == 125 and "127.0.0.1:%d/tcp" % port in r.err and "another port" in r.err, r


COMMANDS = ["run", "gateway", "policy", "audit", "why", "ctl", "doctor", "ps", "inspect", "stop", "kill",
            "rm"] + [
    "policy " + x for x in ("check", "show", "explain", "test", "replay", "suggest", "diff", "nft")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(weir, command):
    if command == "policy nft" and not os.path.exists(weir.program + "-policy-nft"):
        pytest.skip("only weir itself was copied to where its user can go")
    p = weir.call(*command.split(), "--help")
    assert p.returncode == 0 and "\nExit status" in p.stdout and not p.stderr, p
    assert p.stdout.startswith("Usage: weir " + command), p
    assert all(len(line) <= 80 for line in p.stdout.splitlines()), p
    assert weir.call("help", *command.split()).stdout == p.stdout


def test_help_names_every_command(weir):
    p = weir.call("help")
    assert p.returncode == 0 and all(x.split()[-1] in p.stdout for x in COMMANDS), p
    assert all(len(line) <= 80 for line in p.stdout.splitlines()), p
    p = weir.call("help", "policy")
    assert all("weir " + x in p.stdout for x in COMMANDS if " " in x), p
    for words in (["nosuch"], ["policy", "nosuch"]):
        p = weir.call("help", *words)
        assert p.returncode == 2 and 'no command "nosuch"' in p.stderr and not p.stdout, p


@pytest.mark.parametrize("args,says", [
    (["check", "EMPTY"], ":1:1: the file is empty"), (["check", "RECORD"], "the record of a run"),
    (["check", "DIR"], "Is a directory"), (["check", ""], "neither a file nor a preset"),
    (["replay", "none", "EMPTY"], "no event is on record"), (["replay", "none", "DIR"], "Is a directory"),
    (["replay", "none", "/nowhere"], "/nowhere: No such file"),
    (["suggest", "EMPTY"], "no event is on record"), (["suggest", "/nowhere"], "suggest: /nowhere: No such"),
    (["suggest", "none"], "No such file"), (["test", "none", "EMPTY"], "no case in it"),
    (["diff", "none", "EMPTY"], "the file is empty"), (["nft", "EMPTY"], "the file is empty"),
    (["nft", "none", "--aply"], "did you mean --apply?"), (["diff", "none", "--jso"], "did you mean --json?"),
])
def test_other_files_in_place_of_the_right_one(weir, args, says):
    record = weir.file("run.jsonl", '{"_schema":"weir.audit/v1","seq":1}\n')
    places = {"EMPTY": weir.file("empty", ""), "RECORD": record, "DIR": weir.tmp}
    p = weir.call("policy", *[places.get(a, a) for a in args])
    assert p.returncode == 2 and says in p.stderr and not p.stdout, p
    assert p.stderr.startswith("weir policy " + args[0] + ": "), p


def test_secret_for_a_denied_host_is_told(weir):
    r = weir.run("true", flags=["--secret", "LAB_TOKEN@elsewhere.example.net"])
    assert r.rc == 0 and "secret LAB_TOKEN can never be used for elsewhere.example.net: no rule " \
        "allows it and the default denies that name" in r.err, r
    r = weir.run("true", flags=["--secret", "LAB_TOKEN@api.example.com"])
    assert r.rc == 0 and not r.err, r


RULE = {"action": "allow", "destination": "example.com"}
FILES = [
    ("", 1), ("{", 1), ("[]", 1), ("null", 1), ('{"policy": {}} x', 1), ('{"policy": 1}', 1),
    ('{"policy": {"rules": {}}}', 1), ('{"polcy": {}}', 1), ('{"policy": {"ruls": []}}', 1),
    ('{"policy": {"default_egress": "no"}}', 1), ('{"policy": {"default_egress": true}}', 1),
    ('{"policy": {"rules": [1]}}', 1), ('{"policy": {"rules": [{}]}}', 1),
    ('{"policy": {\n "default_egress": "deny",\n "default_egress": "allow"}}', 3),
    ('{"policy": {"deny_domains": "x"}}', 1), ('{"policy": {"deny_domains": ["a..b"]}}', 1),
    ('{"policy": {"allow_domain_suffixes": [""]}}', 1),
    ('{"dns": {"answers": "magic"}}', 1), ('{"dns": {"answer": "real"}}', 1),
    ('{"dns": {"servers": ["nope"]}}', 1), ('{"dns": {"timeout_ms": -1}}', 1),
    ('{"limits": {"max_connections": 0}}', 1), ('{"limits": {"max_connection": 5}}', 1),
    ('{"tls": {"intercept": "yes"}}', 1), ('{"tls": {"bypas": []}}', 1),
    ('{"secrets": [{}]}', 1), ('{"secrets": {}}', 1),
    ('{"secrets": [{"env": "X", "hosts": []}]}', 1), ('{"publish": ["x"]}', 1),
    ('{"audit": 5}', 1),
    ("\ufeff{}", 1), ('{"policy": {"rules": [{"action": "allow", "destination": "a\\u0000b"}]}}', 1),
    ("[" * 5000, 1),
]
RULES = [
    {"action": "permit"}, {"direction": "up"}, {"destination": ""}, {"destination": "pubic"},
    {"destination": 5}, {"destination": None}, {"destination": {"cidr": "10.0.0.0/8", "group": "public"}},
    {"destination": {"cidr": "10.0.0.1/8"}}, {"destination": {"cidr": "x"}},
    {"destination": {"domain": "*.x.com"}}, {"destination": {"domain_sufix": "x.com"}},
    {"destination": {"group": "everyone"}}, {"destination": "x.com", "destination_kind": "cidr"},
    {"destination": "1.2.3.4", "destination_kind": "domain"}, {"destination_kind": "host"},
    {"protocols": ["tpc"]}, {"protocols": []}, {"protocol": 6},
    {"ports": ["0"]}, {"ports": ["1-0"]},
    {"ports": [65536]}, {"ports": ["80-"]}, {"ports": [{"start": 5}]},
    {"ports": [{"start": 9, "end": 5}]}, {"ports": [-1]}, {"ports": [1.5]}, {"port": "http"},
    {"ports": []}, {"http": {}}, {"http": {"methods": "GET"}},
    {"http": {"method": ["GET"]}}, {"http": {"methods": ["G T"]}}, {"http": {"paths": ["x"]}}, {"http": {"paths": ["/a/%2e%2e/b"]}},
    {"http": {"paths": ["/a"]}, "protocols": ["udp"]},
    {"reason": 5}, {"id": ""}, {"id": 5}, {"actoin": "deny"},
    {"protocols": ["icmpv4"], "ports": ["80"]},
]


def complaint(p, path, line=None):
    assert p.returncode == 2, p
    found = re.search(re.escape(path) + r":(\d+):(\d+): \S", p.stderr)
    assert found, p
    if line:
        assert int(found.group(1)) == line, p
    assert "started" not in p.stdout


# Parity: n32.
@pytest.mark.parametrize("text,line", FILES, ids=[f[0][:50] or "empty" for f in FILES])
def test_file(weir, text, line):
    path = weir.file("bad.json", text)
    if '"policy"' in text or not text.startswith('{"'):
        complaint(weir.call("policy", "check", path), path, line)
    p = weir.call("run", "--backend", "netns", "--config", path, "--", "echo", "started")
    assert p.returncode == 125 and "started" not in p.stdout, p
    assert path + ":" in p.stderr, p


@pytest.mark.parametrize("change", RULES, ids=[json.dumps(r)[:50] for r in RULES])
def test_rule(weir, change):
    """The place that is named is the rule's, on line 3 or after."""
    rule = {**RULE, **change}
    text = '{"policy": {\n"rules": [\n%s]}}' % json.dumps(rule)
    path = weir.file("rule.json", text)
    complaint(weir.call("policy", "check", path), path, 3)


def test_duplicate_rule_ids(weir):
    path = weir.file("p.json", '{"rules": [\n{"id": "a", "action": "deny", "destination": "any"},\n'
                     '{"id": "a", "action": "deny", "destination": "any"}]}')
    complaint(weir.call("policy", "check", path), path, 3)


def test_nothing_is_half_applied(weir, lab):
    """A bad last flag: no socket listens, no record is begun, nothing is run."""
    import os
    audit = os.path.join(weir.tmp, "never.jsonl")
    p = weir.call("run", "--backend", "netns", "--publish", "18090:80", "--audit", audit,
                  "--max-connections", "x", "--", "echo", "started")
    assert p.returncode == 125 and not os.path.exists(audit), p
