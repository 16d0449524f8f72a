# SPDX-License-Identifier: Apache-2.0
"""TLS as users set it up: ports, own authority, trust by host, client certificates, pins, tickets."""

import base64
import hashlib
import json
import os
import socket
import ssl
import subprocess

import pytest
from test_bypass import hello, raw, refused
from conftest import EXAMPLE, wait_for
from listener import Listener, tls_context

import pki
import world
from test_quic import ECHO, quic
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

API, FILES, EVIL = "api.example.com", "files.example.com", "evil.example.net"
PORT = 8443
OPEN = "allow_all"


class Server(Listener):
    """A TLS server of the test's own, at a host of the lab."""

    def __init__(self, context, talk, host=API, port=PORT):
        self.context, self.talk, self.port = context, talk, port
        super().__init__((world.v4(host), port))

    def one(self, c):
        if not self.context:
            self.talk(c)
            return
        with self.context.wrap_socket(c, server_side=True) as t:
            self.talk(t)
            t.unwrap()


def http(c, body=None):
    """One request; by default the answer is who the client is."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = c.recv(65536)
        if not more:
            return
        head += more
    if body is None:
        who = c.getpeercert()
        body = dict(x[0] for x in who["subject"])["commonName"] if who else "nobody"
    body = body(head) if callable(body) else body
    c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body), body.encode()))


def client_leaf(ca, path, cn):
    """The lab's own leaves are for servers only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, cn)])
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(ca.cert.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(ca.now - pki.DAY).not_valid_after(ca.now + pki.DAY)
            .sign(ca.key, hashes.SHA256()))
    with open(path, "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))
        f.write(cert.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def other(tmp_path):
    """An authority that nobody trusts, with a server's and a client's certificate."""
    class Other:
        ca = pki.Authority()
        path = str(tmp_path / "other-ca.pem")
        server = str(tmp_path / "server.pem")
        client = str(tmp_path / "client.pem")

    Other.ca.save(Other.path)
    Other.ca.leaf(Other.server, [API, FILES])
    client_leaf(Other.ca, Other.client, "agent-7")
    os.chmod(Other.client, 0o600)
    return Other


@pytest.fixture
def serve(other):
    servers = []

    def start(talk=http, host=API, port=PORT, pem=None, plain=False, ask=False):
        x = None
        if not plain:
            x = tls_context(pem or other.server)
            if ask:
                x.verify_mode = ssl.CERT_REQUIRED
                x.load_verify_locations(other.path)
        servers.append(Server(x, talk, host, port))

    yield start
    for s in servers:
        s.close()


def curl(host=API, port=PORT, *more):
    return "curl -sS -m 20 -w ' %%{http_code}' %s https://%s:%d/" % (" ".join(more), host, port)


def intercept(*flags):
    return ["--tls-intercept-port", str(PORT), *flags]


def details(r, kind="tls"):
    return " ".join(e.get("detail", "") for e in r.find(kind))


# ---- whom we believe ---------------------------------------------------------------

# Parity: T03, T04.
def test_T04_verification_by_host(weir, lab, serve):
    serve()
    for flags, code, mark in (
            ([], "502", False),
            (["--tls-no-verify-upstream-for", API], "200", True),
            (["--tls-no-verify-upstream-for", ".example.com"], "200", True),
            (["--tls-no-verify-upstream-for", FILES], "502", False),
            (["--tls-no-verify-upstream"], "200", True)):
        r = weir.sh(curl(), policy=OPEN, intercept=True, flags=intercept(*flags))
        assert r.out.endswith(code), (flags, r)
        assert bool(r.find("tls", unverified=True)) == mark, (flags, r)
    # The most specific wins; the warning is for whoever started it.
    conf = weir.file("c.json", {"tls": {"ports": [PORT], "verify_upstream": False,
                                        "upstream": [{"host": API, "verify": True}]}})
    r = weir.sh(curl(), policy=OPEN, intercept=True, flags=["--config", conf])
    assert r.out.endswith("502") and "nobody knows who answers" in r.err, r


# Parity: T04.
def test_T04_no_secret_for_the_unverified(weir, lab, serve):
    got = []
    serve(lambda c: http(c, lambda head: got.append(head) or "ok"))
    script = curl(API, PORT, "-H", '"X-Key: $KEY"')
    env = {"KEY": "not-for-just-anybody-7"}
    r = weir.sh(script, policy=OPEN, env=env,
                flags=intercept("--secret", "KEY:header@" + API,
                                "--tls-no-verify-upstream-for", API))
    assert r.out.endswith("403") and not got, (r, got)
    assert "not verified" in details(r, "secret"), r


# Parity: T05.
def test_T05_authorities_by_host(weir, lab, serve, other):
    serve()
    for flags, code in ((["--tls-upstream-ca-for", "*.example.com=" + other.path], "200"),
                        (["--tls-upstream-ca-for", FILES + "=" + other.path], "502"),
                        (["--upstream-ca", other.path], "200")):
        r = weir.sh(curl(), policy=OPEN, intercept=True, flags=intercept(*flags))
        assert r.out.endswith(code), (flags, r)
        assert not r.find("tls", unverified=True), r


def spki(pem):
    with open(pem, "rb") as f:
        cert = x509.load_pem_x509_certificate(f.read())
    key = cert.public_key().public_bytes(serialization.Encoding.DER,
                                         serialization.PublicFormat.SubjectPublicKeyInfo)
    whole = cert.public_bytes(serialization.Encoding.DER)
    return ("sha256/" + base64.b64encode(hashlib.sha256(key).digest()).decode(),
            "cert-sha256/" + hashlib.sha256(whole).hexdigest())


# Parity: weak-15.
def test_weak_15_pins(weir, lab, serve, other):
    serve()
    own, whole = spki(other.server)
    above, _ = spki(other.path)
    wrong = "sha256/" + base64.b64encode(bytes(32)).decode()
    for pins, code in (([own], "200"), ([whole], "200"), ([wrong, above], "200"), ([wrong], "502")):
        flags = [f for p in pins for f in ("--tls-pin", "%s=%s" % (API, p))]
        r = weir.sh(curl(), policy=OPEN, intercept=True,
                    flags=intercept("--upstream-ca", other.path, *flags))
        assert r.out.endswith(code), (pins, r)
    assert "pinned" in details(r) and "pinned" in r.out, r


# Parity: weak-15.
def test_weak_15_client_certificates(weir, lab, serve, other):
    serve(ask=True)
    r = weir.sh(curl() + "; echo; cat %s | wc -c" % other.client, policy=OPEN, intercept=True,
                flags=intercept("--upstream-ca", other.path, "--tls-client-cert",
                                ".example.com=" + other.client))
    # The key is not to be read inside.
    assert r.out.startswith("agent-7 200") and r.out.split()[-1] == "0", r
    r = weir.sh(curl(), policy=OPEN, intercept=True,
                flags=intercept("--upstream-ca", other.path, "--tls-client-cert",
                                FILES + "=" + other.client))
    assert r.out.endswith("502") and "certificate" in details(r), r


# ---- our own authority ------------------------------------------------------------------

# Parity: T06.
def test_T06_own_authority(weir, lab, tmp_path):
    ca = pki.Authority()
    cert, key, loose = (str(tmp_path / x) for x in ("own.pem", "own.key", "loose.key"))
    ca.save(cert)
    pem = ca.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                               serialization.NoEncryption())
    for path, mode in ((key, 0o600), (loose, 0o644)):
        with open(path, "wb") as f:
            f.write(pem)
        os.chmod(path, mode)
    r = weir.sh("curl -sSv --cacert %s https://%s/ 2>&1 >/dev/null | grep issuer:; cat %s | wc -c"
                % (cert, API, key), policy=OPEN, intercept=True,
                flags=["--tls-ca-cert", cert, "--tls-ca-key", key])
    assert "CN=weir lab CA" in r.out and r.out.split()[-1] == "0", r
    bad = [(["--tls-ca-cert", cert], "both"),
           (["--tls-ca-cert", cert, "--tls-ca-key", loose], "everybody"),
           (["--tls-ca-cert", os.environ["LAB_CA"], "--tls-ca-key", key], "is not the key of"),
           (["--tls-ca-cert", str(tmp_path / "none"), "--tls-ca-key", key], "cannot be read")]
    leaf = str(tmp_path / "leaf.pem")
    ca.leaf(leaf, [API])
    os.chmod(leaf, 0o600)
    bad.append((["--tls-ca-cert", leaf, "--tls-ca-key", leaf], "CA:TRUE"))
    for flags, why in bad:
        r = weir.sh("true", policy=OPEN, intercept=True, flags=flags)
        assert r.rc == 125 and why in r.err, (flags, r)


# Parity: T06.
def test_T06_ca_show(weir, lab):
    p = weir.start("sh", "-c", "cat /run/weir/ca.pem; sleep 30", policy=OPEN, intercept=True,
                   flags=["--name", "shown", "--tls-ca-hours", "5"])
    try:
        pem = b""
        while not pem.endswith(b"-----END CERTIFICATE-----\n"):
            line = p.stdout.readline()
            assert line, p.stderr.read()
            pem += line
        shown = wait_for(lambda: weir.call("ca", "show", "shown").stdout)
        assert shown == pem.decode() and "PRIVATE" not in shown
        cert = x509.load_pem_x509_certificate(pem)
        digest = hashlib.sha256(cert.public_bytes(serialization.Encoding.DER)).hexdigest()
        o = json.loads(weir.call("ca", "show", "--json", "shown").stdout)
        assert o["sha256"] == digest and o["pem"] == shown and o["permitted"] is None, o
        assert o["name"] == "shown" and o["key"].endswith("256"), o
        life = (cert.not_valid_after - cert.not_valid_before).total_seconds() / 3600
        assert 24 + 4.9 < life < 24 + 5.1, life
        text = weir.call("ca", "show", "shown", "--text").stdout
        assert digest in text and "no name constraints" in text, text
        for args, rc in ((["show", "nobody"], 1), (["shwo"], 2), ([], 2), (["show", "--xml"], 2)):
            q = weir.call("ca", *args)
            assert q.returncode == rc and q.stderr.startswith("weir ca: "), (args, q)
    finally:
        p.kill()
        p.wait()
    r = weir.sh("exec $WEIR_PROGRAM ca show", policy=OPEN, env={"WEIR_PROGRAM": weir.program})
    # Nothing inside may ask; a machine has not even the program.
    assert r.rc == (1 if weir.backend == "netns" else 127), r


# Parity: weak-13.
def test_weak_13_constrained_names(weir, lab, tmp_path):
    floor = weir.file("floor.json", EXAMPLE)
    script = ("openssl x509 -in /run/weir/ca.pem -noout -ext nameConstraints; "
              + curl(API, 443, "-o", "/dev/null"))
    for flags, policy, constrained in (
            (["--policy-floor", floor], OPEN, True),
            (["--policy-floor", floor, "--tls-name-constraints", "off"], OPEN, False),
            (["--tls-name-constraints", "policy"], EXAMPLE, True),
            (["--tls-name-constraints", "policy"], OPEN, False),
            ([], EXAMPLE, False)):
        r = weir.sh(script, policy=policy, intercept=True, flags=flags)
        assert ("DNS:example.com" in r.out) == constrained and r.out.endswith("200"), (flags, r)
    # A later policy allows more than the authority can sign for: said as it is.
    wide = weir.file("wide.json", {"policy": {"default_egress": "allow"}})
    p = weir.start("sh", "-c", "echo up; read x; " + curl(EVIL, 443) + "; " + curl(API, 443),
                   policy=EXAMPLE, intercept=True, stdin=subprocess.PIPE,
                   flags=["--name", "narrow", "--tls-name-constraints", "policy"])
    try:
        assert p.stdout.readline() == b"up\n"
        q = wait_for(lambda: (lambda q: q if q.returncode == 0 else None)(
            weir.call("ctl", "narrow", "policy", "set", wide)))
        assert q, "not set"
        out, err = p.communicate(b"\n", timeout=60)
    finally:
        p.kill()
    assert out.endswith(b" 200") and b"alert" in err, (out, err)
    with open(p.audit_path, encoding="utf-8") as f:
        events = [json.loads(x) for x in f]
    mine = [e for e in events if e["kind"] == "tls" and e.get("sni") == EVIL]
    assert mine and "may not sign for " + EVIL in mine[0]["detail"], mine


# ---- what the guest sees ---------------------------------------------------------------------

# Parity: weak-14.
def test_weak_14_tickets_are_for_what_they_were_given_for(weir, lab):
    ask = ("printf 'GET / HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' | "
           "openssl s_client -ign_eof -connect %s:443 -servername %s -%s %s 2>&1 | "
           "grep -E '^(New|Reused),|^HTTP'; ")
    script = "cd /tmp; " + ask % (API, API, API, "sess_out", "t") + \
        ask % (API, API, API, "sess_in", "t") + ask % (FILES, FILES, FILES, "sess_in", "t") + \
        ask.replace("-connect", "-alpn http/1.1 -connect") % (API, API, API, "sess_in", "t")
    r = weir.sh(script, policy=OPEN, intercept=True)
    said = [x.split(",")[0] for x in r.out.split("\n") if x[:3] in ("New", "Reu")]
    assert said == ["New", "Reused", "New", "New"], r
    assert r.out.count("HTTP/1.1 200") == 4, r


# Parity: weak-10.
def test_weak_10_http2_is_the_upstreams_choice(weir, h2):
    script = "for h in h2.example.com %s; do curl -sS --http2 -o /dev/null -w '%%{http_version} ' " \
        "https://$h/; done" % API
    conf = weir.file("c.json", {"tls": {"intercept": True, "http2": False}})
    for flags, said in ((["--tls-intercept"], "2 1.1 "), (["--tls-intercept", "--no-http2"], "1.1 1.1 "),
                        (["--config", conf], "1.1 1.1 ")):
        r = weir.sh(script, policy=OPEN, flags=flags)
        assert r.out == said, (flags, r)


def test_certificate_ends_with_the_upstreams(weir, lab):
    script = ("echo | openssl s_client -connect %s:443 -servername %s 2>/dev/null | "
              "openssl x509 -noout -enddate" % (API, API))
    here = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    r = weir.sh(script, policy=OPEN, intercept=True)
    ends = [ssl.cert_time_to_seconds(x.strip().split("=")[1]) for x in (here.stdout, r.out)]
    assert ends[1] <= ends[0], (here.stdout, r)


# ---- any port -------------------------------------------------------------------------------

STARTTLS = """
import smtplib, ssl, sys, time
t = time.time()
s = smtplib.SMTP(sys.argv[1], 2525, timeout=20)
greeted = time.time() - t
s.ehlo()
s.starttls(context=ssl.create_default_context(cafile=sys.argv[2]))
print(s.ehlo()[0], s.sock.getpeercert()["subject"][0][0][1], greeted < 2)
"""


def smtp(pem):
    """Enough of a mail server: greeting, EHLO, STARTTLS."""
    x = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    x.load_cert_chain(pem)

    def talk(c):
        c.sendall(b"220 mail ESMTP\r\n")
        while True:
            line = c.recv(1000)
            if not line:
                return
            if line.upper().startswith(b"STARTTLS"):
                c.sendall(b"220 go ahead\r\n")
                c = x.wrap_socket(c, server_side=True)
            else:
                c.sendall(b"250-mail\r\n250 STARTTLS\r\n")

    return talk


# Parity: T01.
def test_T01_any_port(weir, lab, serve, other, tmp_path):
    serve(lambda c: http(c, "read"))
    serve(smtp(other.server), port=2525, plain=True)
    serve(lambda c: c.sendall(b"first\n"), port=2526, plain=True)
    script = weir.file("mail.py", STARTTLS)
    conf = weir.file("c.json", {"tls": {"ports": "any"}})
    for flags in (["--tls-intercept-port", "any"], ["--config", conf]):
        r = weir.sh("%s; echo; python3 %s %s %s; "
                    "python3 -c 'import socket; print(socket.create_connection((\"%s\", 2526))"
                    ".recv(9))'" % (curl(), script, API, other.path, API),
                    policy=OPEN, intercept=True, flags=[*flags, "--upstream-ca", other.path])
        lines = r.out.split("\n")
        assert lines[0] == "read 200" and r.find("http", host=API), r
        assert lines[1] == "250 %s True" % API and lines[2] == "b'first\\n'", r
    # As before, other ports are not read.
    r = weir.sh(curl(API, PORT, "--cacert", other.path), policy=OPEN, intercept=True)
    assert r.out == "read 200" and not r.find("http"), r


# Parity: T01, S09.
@pytest.mark.parametrize("ports, read", [(str(PORT), True), ("any", True), ("443", False)])
def test_T01_any_port_inside_connect(weir, lab, serve, other, ports, read):
    """What a port means does not depend on how the host is reached."""
    serve(lambda c: http(c, lambda head: "read" if lab.token.encode() in head else "unread"))
    r = weir.sh(curl(API, PORT, "-x http://x:y@echo.example.com:%d" % world.PROXY,
                     "-H \"Authorization: Bearer $LAB_TOKEN\"",
                     *([] if read else ["--cacert", other.path])),
                policy=OPEN, flags=["--tls-intercept", "--tls-intercept-port", ports,
                                    "--secret", "LAB_TOKEN@" + API, "--upstream-ca", other.path])
    assert r.out == ("read 200" if read else "unread 200"), r
    assert bool(r.find("http", method="GET", host=API)) == read, r


# Parity: T01, n31.
def test_T01_any_port_refuses_quic_on_any_port(weir):
    anywhere = ["--tls-intercept", "--tls-intercept-port", "any"]
    for flags in ([], anywhere):
        for more in ({}, {"after": ""}):  # the second: in a flow that began with something else
            r, out = quic(weir, ECHO, API, policy=OPEN, flags=flags, **more)
            assert (out.split("\n")[-1] == "passed") == (not flags), (flags, more, r)
            assert bool([e for e in r.find("flow", verdict="deny") if "QUIC" in e["detail"]]) == \
                bool(flags), r


# ---- this machine's authorities ----------------------------------------------------------------

# Parity: T09.
@pytest.mark.parametrize("read", [False, True])
def test_T09_host_authorities(weir, lab, other, read):
    script = "grep -c -F \"$(sed -n 2p %s)\" /etc/ssl/certs/ca-certificates.crt; " \
        "echo $NODE_EXTRA_CA_CERTS" % other.path
    with open("/etc/ssl/certs/ca-certificates.crt", encoding="utf-8") as f:
        bundle = f.read()
    with open(other.path, encoding="utf-8") as f:
        own = weir.file("roots.pem", bundle + f.read())
    r = weir.sh(script, policy=OPEN, intercept=read, env={"SSL_CERT_FILE": own})
    assert r.out.startswith("0"), r
    r = weir.sh(script, policy=OPEN, intercept=read, env={"SSL_CERT_FILE": own},
                flags=["--trust-host-cas"])
    assert r.out.startswith("1") and "/run/weir/ca-bundle.pem" in r.out, r
    r = weir.sh(script, policy=OPEN, intercept=read, env={"SSL_CERT_FILE": "/nonexistent"},
                flags=["--trust-host-cas"])
    assert r.rc == 125 and "nonexistent" in r.err, r


# Parity: T09.
def test_T09_host_authorities_for_a_machine(weir, tmp_path):
    """A machine of its own gets them in a file, behind the authority of its TLS if that is read."""
    ca, link = str(tmp_path / "ca.pem"), str(tmp_path / "link")
    with open("/etc/ssl/certs/ca-certificates.crt", encoding="utf-8") as f:
        bundle = f.read()
    for flags in ([], ["--tls-intercept"]):
        p = subprocess.Popen([weir.program, "gateway", "--link", "stream:" + link, "--ca-out", ca,
                              "--trust-host-cas", *flags], stdout=subprocess.PIPE,
                             stdin=subprocess.DEVNULL, env=weir.environment(None))
        try:
            assert b"weir: ready" in p.stdout.readline()
            with open(ca, encoding="utf-8") as f:
                text = f.read()
        finally:
            p.terminate()
            p.wait(30)
        first = x509.load_pem_x509_certificate(text.encode())
        assert bundle.strip() in text, flags
        assert ("weir sandbox CA" in first.subject.rfc4514_string()) == bool(flags), flags
        os.unlink(ca)


# Parity: T02.
@pytest.mark.parametrize("pattern,spliced", [
    ("files.example.com", {"files.example.com"}), (".example.com", {"files.example.com", "api.example.com"}),
    ("*.example.com", {"files.example.com", "api.example.com"}), ("*.files.example.com", set())])
def test_T02_bypass(weir, lab, pattern, spliced):
    """Exact, a suffix, what is below one: everything works, and what is spliced is not read."""
    hosts = ["files.example.com", "api.example.com", "evil.example.net"]
    r = weir.sh("for h in %s; do curl -sS -o /dev/null --cacert %s https://$h/ 2>/dev/null; echo $?; done" % (
        " ".join(hosts), lab.ca), policy={"policy": {"default_egress": "allow"}}, intercept=True,
        flags=["--tls-bypass", pattern])
    assert r.out.split() == ["0"] * 3, r
    assert {e["host"] for e in r.find("http")} == set(hosts) - spliced, r
    assert {e["sni"] for e in r.find("tls") if e.get("sni")} == set(hosts) - spliced, r


# Parity: T02.
@pytest.mark.parametrize("sni", ["evil.example.net", "api.example.com"])
def test_T02_bypass_checks_the_name(weir, lab, sni):
    """A spliced flow is for the name it was resolved by: another in its hello is refused."""
    rules = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": "files.example.com"}]}}
    r = raw(weir, "files.example.com", 443, hello(sni), policy=rules, intercept=True,
            flags=["--tls-bypass", "files.example.com"])
    assert "SNI %s does not agree" % sni in refused(weir, r)["detail"], r
    assert not lab.seen("tls", sni=sni), lab.seen()
