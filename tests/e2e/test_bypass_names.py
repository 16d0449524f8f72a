# SPDX-License-Identifier: Apache-2.0
"""Ways around the rules on names, tried as code in the sandbox would: what holds, and by which means."""

import json
import time

import pytest
from conftest import wait_for
from test_bypass import hello, raw, refused, request
from test_doh import PLAIN
from test_reload import guest, live  # noqa: F401

import world

API, EVIL = "api.example.com", "evil.example.net"
ALL = {"policy": {"default_egress": "allow"}}
FLOOR = {"policy": {"default_egress": "allow", "rules": [
    {"id": "no-evil", "action": "deny", "destination": "." + EVIL},
    {"id": "no-alias", "action": "deny", "destination": "alias2.example.com"},
    {"id": "no-admin", "action": "deny", "destination": ".example.com",
     "http": {"methods": ["POST"], "paths": ["/admin/**"]}},
    {"id": "no-host", "action": "deny", "destination": "host", "ports": ["80"]},
    {"id": "no-loop", "action": "deny", "destination": "loopback"},
    {"id": "no-meta", "action": "deny", "destination": "metadata"},
    {"id": "no-private", "action": "deny", "destination": "private"}]}}
OWN = {"none": "none", "all": ALL, "no-doh": {"policy": {"default_egress": "deny", "rules": [
    {"action": "deny", "destination": {"group": "doh"}}]}}}


# ---- the floor, while the rules above it are only observed -------------------------------------

ATTACKS = """
for t in A AAAA HTTPS SVCB MX SRV TXT ANY NULL; do
    echo "$t $(dig $t %(evil)s | grep -o 'status: [A-Z]*')"; done
for t in A HTTPS; do echo "alias-$t $(dig $t www.example.com | grep -o 'status: [A-Z]*')"; done
try() { n=$1; shift; echo "$n $(curl -sSk -m 4 -o /dev/null -w '%%{http_code}' "$@")"; }
try record http://inner.example.org/
try rebind http://rebind.example.net/
try mapped http://[::ffff:169.254.169.254]/
try sni --resolve %(evil)s:443:%(ip)s https://%(evil)s/
try host -H 'Host: %(evil)s' http://%(ip)s/
try fronted -H 'Host: %(evil)s' https://api.example.com/
try post -d x https://api.example.com/admin/x
try dots --path-as-is -d x https://api.example.com/a/..%%2fadmin/x
try slash --path-as-is -d x https://api.example.com/admin%%2fx
""" % {"evil": EVIL, "ip": world.v4(EVIL)}
CLOSED = {**dict.fromkeys("A AAAA HTTPS SVCB MX SRV TXT ANY NULL alias-A alias-HTTPS".split(),
                          "status: NXDOMAIN"),
          **dict.fromkeys("record rebind mapped sni host".split(), "000"),
          "fronted": "421", "post": "403", "dots": "403", "slash": "403"}


@pytest.mark.parametrize("mode,own,intercept", [
    ("virtual", "none", False), ("virtual", "all", True), ("real", "none", True),
    ("real", "all", False)])
def test_what_the_floor_denies_stays_denied_while_observing(weir, lab, mode, own, intercept):
    r = weir.sh(ATTACKS, policy=OWN[own], intercept=intercept, flags=[
        "--observe", "--policy-floor", weir.file("floor.json", FLOOR), "--dns-answers", mode,
        "--dns-record", "inner.example.org=" + world.PRIVATE4])
    got = dict(line.split(" ", 1) for line in r.out.splitlines())
    assert got == CLOSED, {k: v for k, v in got.items() if v != CLOSED[k]}
    assert not lab.asked("evil"), lab.asked()
    assert not lab.seen("http") and not lab.seen("tls", server=EVIL), lab.seen()


@pytest.mark.parametrize("own", OWN)
def test_doh_is_refused_while_observing_above_a_floor(weir, lab, own):
    """The floor would have judged the name inside; without one, nothing is enforced."""
    script = " -o /dev/null -w '%{http_code} ';".join([PLAIN[0], PLAIN[3], ""])
    floor = ["--policy-floor", weir.file("floor.json", FLOOR)]
    r = weir.sh(script, intercept=True, policy=OWN[own], flags=["--observe", *floor])
    assert r.out.split() == ["403", "403"] and not lab.asked("evil"), r
    assert {e["verdict"] for e in r.find("http")} == {"deny"}, r
    r = weir.sh(script, intercept=True, policy=OWN[own], flags=["--observe"])
    assert r.out.split() == ["200", "200"] and len(lab.asked("evil")) == 2, r
    assert {e["observed"] for e in r.find("http")} == {"deny"}, r


# ---- a deny by name, and the bare address --------------------------------------------------------

@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("mode", ["virtual", "real"])
@pytest.mark.parametrize("allow", [None, "93.184.216.0/24"])
def test_strict_names_close_the_bare_address(weir, lab, mode, intercept, allow):
    """Without it a deny by name stops nobody who shows another one; `policy check` says so."""
    ip = world.v4(EVIL)
    rules = [{"id": "no-evil", "action": "deny", "destination": "." + EVIL}]
    if allow:
        rules.append({"id": "net", "action": "allow", "destination": allow})
    policy = {"default_egress": "deny" if allow else "allow", "rules": rules}
    attempts = {"tls": (443, hello(API)), "other": (443, hello("x.example.org")),
                "http": (80, request(API)), "bare": (80, request(ip)),
                "ssh": (22, "SSH-2.0-x\r\n"), "echo": (443, "x")}
    code = ("import json, socket\nout = {}\nfor k, (port, text) in %r.items():\n"
            "    try:\n"
            "        s = socket.create_connection((%r, port), 3)\n"
            "        s.settimeout(3)\n"
            "        s.sendall(text.encode('latin-1'))\n"
            "        out[k] = len(s.recv(99))\n"
            "    except OSError as e:\n        out[k] = 0\n"
            "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "u.settimeout(1)\nu.connect((%r, 443))\n"
            "try:\n    u.send(b'x')\n    out['udp'] = len(u.recv(9))\n"
            "except OSError:\n    out['udp'] = 0\n"
            "print(json.dumps(out))\n") % (attempts, ip, ip)
    kw = {"intercept": intercept, "flags": ["--dns-answers", mode]}
    r = weir.run("/usr/bin/python3", "-c", code, policy={"policy": {**policy, "strict_names": True}},
                 **kw)
    assert not any(r.json.values()), r.json
    for kind in ("tcp", "tls", "http", "udp"):
        assert not lab.seen(kind), lab.seen()
    assert r.find("flow", verdict="deny", rule="no-evil"), r
    r = weir.guest("raw", ip, 80, "-", json.dumps([request(API)]), policy={"policy": policy}, **kw)
    assert "200 OK" in r.json["text"], r
    for strict in (False, True):
        p = weir.call("policy", "check", weir.file("p.json", {"policy": {**policy,
                                                                         "strict_names": strict}}))
        assert ("evadable-deny" in p.stdout) != strict, p.stdout


# ---- other ways to a resolver ------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["virtual", "real"])
@pytest.mark.parametrize("protocols", [["dot"], ["http/1.1", "dot"]])
def test_dns_over_tls_on_a_port_of_its_own(weir, lab, mode, protocols):
    """The port says nothing, the protocol that the client offers does."""
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"id": "api", "action": "allow", "destination": API}]}}
    flags = ["--dns-answers", mode]
    r = raw(weir, API, 443, hello(API, protocols), policy=policy, flags=flags)
    assert "DNS over TLS" in refused(weir, r)["detail"] and r.json["text"] == "", r
    assert not lab.seen("tls"), lab.seen()
    for ok in (["http/1.1", "dots"], ["acme-tls/1"]):
        r = raw(weir, API, 443, hello(API, ok), policy=policy, flags=flags)
        assert r.find("flow", verdict="allow", port=443), r
    r = raw(weir, API, 443, hello(API, protocols), policy=policy,
            flags=[*flags, "--dns-doh", "allow"])
    assert r.find("flow", verdict="allow", port=443) and lab.seen("tls"), r


@pytest.mark.parametrize("kind", ["", "-H 'Content-Type: application/octet-stream'"])
def test_message_posted_to_the_usual_path(weir, lab, kind):
    """Refused before it leaves, not by the response."""
    r = weir.sh("printf x | curl -sS %s --data-binary @- https://doh.example.com/dns-query" % kind,
                intercept=True)
    assert r.json["status"] == 403 and not lab.seen("http"), r


def test_address_of_a_name_that_is_denied_by_now(weir, lab, live):  # noqa: F811
    """What was given out opens nothing, and dialling it asks upstream for nothing."""
    a = live(*guest(lab, "watch", "short.example.com", 80), policy=ALL)
    lines = a.lines()
    assert json.loads(next(lines))["connect"] == "connected"
    assert wait_for(lambda: len(lab.asked("short")) > 2), lab.asked()
    assert a.set("none").returncode == 0
    t0 = time.time()
    while (line := json.loads(next(lines)))["began"] < t0 + 0.5:
        pass
    n = len(lab.asked("short"))
    while (line := json.loads(next(lines)))["began"] < t0 + 3:
        assert (line["connect"], line["known"]) == ("EAI", "ECONNREFUSED"), line
    assert len(lab.asked("short")) == n, lab.asked()
