# SPDX-License-Identifier: Apache-2.0
"""The record: complete, chained, readable, and every denial explained."""

import hashlib
import json
import os
import signal
import subprocess

import pytest
from conftest import SLACK, wait_for

import world

SCRIPT = ("curl -sS http://api.example.com/ >/dev/null; curl -sS -m 3 http://evil.example.net/; "
          "curl -sS -m 3 http://169.254.169.254/; curl -sS https://api.example.com/ >/dev/null; true")


@pytest.fixture
def run(weir):
    r = weir.sh(SCRIPT, intercept=True)
    assert r.rc == 0, r
    return r


def test_every_line_has_its_place(run):
    events = run.events
    assert [e["seq"] for e in events] == list(range(events[0]["seq"], events[0]["seq"] + len(events)))
    assert len({e["run"] for e in events}) == 1
    for e in events:
        assert e["_schema"] == "weir.audit/v1" and e["kind"] and e["time"].endswith("Z"), e
    kinds = {e["kind"] for e in events}
    assert {"run", "flow", "flow_end", "dns", "tls", "http"} <= kinds, kinds
    assert events[0]["kind"] == "run" and events[-1]["kind"] == "run", run


def test_schema_is_tried_on_what_was_written(run, schema):
    """Each test's record is, when it ends; here: that this finds anything."""
    lines = run.record.splitlines()
    assert lines and all(schema.as_written(x) for x in lines), run
    assert not schema.as_written(lines[1].replace(b"gateway", b"gatewax")), lines[1]
    if schema.check:
        schema.try_record(run.audit_path)
        assert {form[1] for form in schema.seen} >= {"run", "flow", "flow_end", "dns", "tls", "http"}
        assert not schema.check.is_valid({**json.loads(lines[1]), "kind": "flw"})


def test_lines_are_chained(run):
    prev = None
    for line in run.record.decode().splitlines():
        e = json.loads(line)
        bare = line.replace(',"hash":"%s"' % e["hash"], "")
        assert hashlib.sha256(bare.encode()).hexdigest() == e["hash"], e
        if prev is not None:
            assert e["prev"] == prev, e
        prev = e["hash"]


def test_every_flow_that_began_has_ended(run):
    begun = {e["id"] for e in run.find("flow", verdict="allow")}
    assert begun and begun <= {e["id"] for e in run.find("flow_end")}, run


@pytest.mark.netns("stops the supervisor while the sandbox runs")
def test_causes_stand_before_effects(weir, lab):
    """However late the supervisor comes to read, in a burst too: names, then the flow, then what was read of it."""
    done = weir.path("done")
    burst = "curl -sS --http1.1 -Z --parallel-immediate 'https://api.example.com/?[1-20]' >/dev/null"
    p = weir.start("sh", "-c", "echo; cat >/dev/null; %s; %s; %s; touch %s; sleep 60" % (
        "curl -sS http://api.example.com/ >/dev/null", "curl -sS https://api.example.com/ >/dev/null", burst, done),
                   intercept=True, stdin=subprocess.PIPE)
    assert p.stdout.readline() == b"\n"
    p.send_signal(signal.SIGSTOP)
    p.stdin.close()
    try:
        assert wait_for(lambda: os.path.exists(done), 20), lab.seen("http")
    finally:
        p.send_signal(signal.SIGCONT)
    p.terminate()
    p.stdout.close()
    p.stderr.close()
    p.wait(20 * SLACK)
    with open(p.audit_path, encoding="utf-8") as f:
        events = [json.loads(line) for line in f]
    seen = set()
    for e in events:
        if e["kind"] in ("tls", "http", "flow_end"):
            assert e["id"] in seen, events
        elif e["kind"] == "flow":
            seen.add(e["id"])
    assert len([e for e in events if e["kind"] == "http"]) == 22, events
    assert len([e for e in events if e["kind"] == "tls"]) > 10, events


@pytest.mark.netns("without KVM four thousand refusals are no flood")
def test_flood_of_refusals_is_counted_not_lost(weir):
    """A port scan has every refusal in the record, but not a line for each."""
    r = weir.guest("portscan", world.PRIVATE4, 1000, 4999, policy="public_only")
    assert r.json == {"ECONNREFUSED": 4000}, r
    lines = r.find("flow", verdict="deny", dst=world.PRIVATE4)
    counted = [e for e in lines if "count" in e]
    assert sum(e.get("count", 1) for e in lines) == 4000, r
    assert counted and len(lines) < 2000, len(lines)
    assert all(e["denial"] and e["rule"] and e["proto"] == "tcp" for e in counted), counted
    assert max(int(str(e.get("ports", e.get("port"))).split("-")[-1]) for e in lines) == 4999, lines[-3:]
    p = weir.call("audit", r.audit_path)
    assert p.returncode == 0 and "%d times" % counted[-1]["count"] in p.stdout, p.stdout[-2000:]
    p = weir.call("why", counted[-1]["denial"], "--audit", r.audit_path)
    assert p.returncode == 0 and world.PRIVATE4 in p.stdout, p


def test_table(weir, run):
    p = weir.call("audit", run.audit_path)
    assert p.returncode == 0, p
    for want in ("api.example.com", "evil.example.net", "169.254.169.254", "deny"):
        assert want in p.stdout, p.stdout
    assert "\x1b" not in p.stdout, "colour although not on a terminal"


def test_json(weir, run):
    p = weir.call("audit", "--json", run.audit_path)
    assert p.returncode == 0, p
    assert len([json.loads(x) for x in p.stdout.splitlines()]) >= len(run.events), p.stdout


# Parity: lesson-14.
def test_every_denial_is_explained(weir, run):
    ids = {e["denial"] for e in run.events if e.get("denial")}
    assert len(ids) >= 2, run
    for i in ids:
        p = weir.call("why", "--audit", run.audit_path, i)
        assert p.returncode == 0 and i in p.stdout, p
    p = weir.call("why", "--audit", run.audit_path, "no-such-id")
    assert p.returncode != 0 and p.stderr, p


@pytest.mark.parametrize("damage", ["changed", "dropped", "swapped"])
def test_tampering_shows(weir, run, damage):
    lines = run.record.decode().splitlines(keepends=True)
    i = len(lines) // 2
    if damage == "changed":
        lines[i] = lines[i].replace('"run":"', '"run":"x', 1)
    elif damage == "dropped":
        del lines[i]
    else:
        lines[i], lines[i + 1] = lines[i + 1], lines[i]
    p = weir.call("audit", weir.file("bad.jsonl", "".join(lines)))
    assert p.returncode != 0 and (p.stdout + p.stderr).strip(), p


def test_not_a_record_is_an_error(weir):
    for text in ("", "hello\n", "{}\n", "[1]\n"):
        p = weir.call("audit", weir.file("x", text))
        assert p.returncode != 0 or text == "", (text, p)
    assert weir.call("audit", "/no/such/file").returncode != 0


@pytest.mark.netns("covers over the host's files")
def test_the_sandbox_cannot_touch_the_record(weir):
    path = os.path.join(weir.tmp, "mine.jsonl")
    p = weir.start("sh", "-c", "echo forged >> %s; : > %s; rm -f %s; mv %s %s.old; true" % ((path,) * 5),
                   audit=path)
    p.communicate(timeout=30)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    assert "forged" not in text and json.loads(text.splitlines()[0])["kind"] == "run", text


@pytest.mark.netns("calls weir itself, with --backend netns")
def test_default_place(weir):
    """Without --audit a record is kept all the same, and `weir why` finds it."""
    home = weir.tmp
    env = dict(os.environ, HOME=home, XDG_STATE_HOME=home + "/state")
    import subprocess
    p = subprocess.run([weir.program, "run", "--backend", "netns", "--", "dig", "+time=2",
                        "rebind.example.net"], env=env, capture_output=True, text=True, timeout=30,
                       check=False)
    denial = [w.strip("()\".,;:") for w in p.stdout.split() if "-g" in w and len(w) > 8]
    assert p.returncode == 0 and "NXDOMAIN" in p.stdout, p
    for d in denial[:1]:
        q = subprocess.run([weir.program, "why", d], env=env, capture_output=True, text=True,
                           timeout=30, check=False)
        assert q.returncode == 0, (d, q)


@pytest.mark.machine
def test_hostile_names_do_not_break_the_record(weir):
    r = weir.sh(r"dig 'a\"b\\\010c.example.com' >/dev/null; dig '\027[31mred.example.com' >/dev/null; "
                r"curl -sS -m 3 -g --path-as-is 'http://api.example.com/\"}{' >/dev/null; true",
                intercept=True)
    assert r.events[-1]["kind"] == "run", r
    p = weir.call("audit", r.audit_path)
    assert p.returncode == 0 and "\x1b[31m" not in p.stdout, p
