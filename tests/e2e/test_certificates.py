# SPDX-License-Identifier: Apache-2.0
"""Certificates that must not be believed: what weir says of each, beside what curl says of the same server.

weir stands between the client and the server: what it believes, the client believes. Each case is a server of its
own name; what is refused ends as a 502 with its reason, and the server sees no request.
"""

import datetime
import os
import socket
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID as EKU
from cryptography.x509.oid import NameOID

import world
from conftest import SLACK, wait_for
from listener import Listener

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.utcnow()
SERVER = [EKU.SERVER_AUTH]


def new_key(bits=0):
    return rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())


class Cert:
    """A certificate, its key, and what has to be sent with it. issuer None: its own."""

    def __init__(self, name, issuer=None, sans=(), ca=None, eku=(), start=-DAY, end=DAY, key=None,
                 digest=hashes.SHA256, more=(), path=None, ip=None):
        self.key = key or new_key()
        self.chain = [] if issuer is None or issuer.root else [issuer.cert, *issuer.chain]
        self.root = issuer is None
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        b = (x509.CertificateBuilder().subject_name(subject)
             .issuer_name(issuer.cert.subject if issuer else subject).public_key(self.key.public_key())
             .serial_number(x509.random_serial_number()).not_valid_before(NOW + start)
             .not_valid_after(NOW + end))
        names = [x509.DNSName(n) for n in sans] + ([ip] if ip else [])
        if names:
            b = b.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if ca is not None:
            b = b.add_extension(x509.BasicConstraints(ca=ca, path_length=path), critical=True)
            b = b.add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False),
                                critical=True)
        if eku:
            b = b.add_extension(x509.ExtendedKeyUsage(list(eku)), critical=False)
        for extension, critical in more:
            b = b.add_extension(extension, critical=critical)
        self.cert = b.sign((issuer or self).key, digest())

    def pem(self):
        def text(c):
            return c.public_bytes(serialization.Encoding.PEM)

        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()) + text(self.cert) + b"".join(
                                          text(c) for c in self.chain)


def make_cases():
    """name of the host -> (certificate, is it to be believed: None: as curl says)"""
    root = Cert("suite root", ca=True)
    other = Cert("another root", ca=True)
    mid = Cert("suite intermediate", root, ca=True)
    not_ca = Cert("no authority", root, ca=False)
    out = {}

    def case(label, good, host=None, issuer=mid, sans=None, eku=SERVER, ca=False, **kw):
        host = host or label + ".cert.example.com"
        out[host] = (Cert(host, issuer, [host] if sans is None else sans, ca, eku, **kw), good, label)
        return out[host][0]

    def constrained(label, permitted=None, excluded=None):
        def names(n):
            return [x509.DNSName(n)] if n else None

        i = Cert("constrained " + label, root, ca=True, more=[
            (x509.NameConstraints(names(permitted), names(excluded)), True)])
        case(label, None if label == "constraint-kept" else False, issuer=i)

    case("good", True)
    case("good-direct", True, issuer=root)
    case("good-rsa", True, key=new_key(2048))
    case("wildcard", True, "a.wild.cert.example.com", sans=["*.wild.cert.example.com"])
    case("expired", False, start=-2 * DAY, end=-DAY)
    case("not-yet", False, start=DAY, end=2 * DAY)
    case("wrong-name", False, sans=["other.cert.example.com"])
    case("self-signed", False, issuer=None)
    case("untrusted-root", False, issuer=other)
    case("missing-intermediate", False).chain = []
    case("not-ca", False, issuer=not_ca)
    case("expired-intermediate", False, issuer=Cert("old", root, ca=True, start=-3 * DAY, end=-DAY))
    case("path-too-long", False, issuer=Cert("deep", Cert("shallow", root, ca=True, path=0), ca=True))
    case("weak-key", False, key=new_key(1024))
    case("weak-intermediate", False, issuer=Cert("weak", root, ca=True, key=new_key(1024)))
    case("sha1", False, digest=hashes.SHA1)
    constrained("constraint-kept", permitted="cert.example.com")
    constrained("constraint-other", permitted="example.org")
    constrained("constraint-excluded", excluded="cert.example.com")
    case("wrong-eku", False, eku=[EKU.CLIENT_AUTH])
    case("eku-of-issuer", False, issuer=Cert("mail only", root, ca=True, eku=[EKU.EMAIL_PROTECTION]))
    case("unknown-critical", False, more=[
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\0"), True)])
    case("wildcard-two-levels", False, "a.b.two.cert.example.com", sans=["*.two.cert.example.com"])
    case("wildcard-apex", False, "apex.cert.example.com", sans=["*.apex.cert.example.com"])
    case("wildcard-top", False, sans=["*.com"])
    case("wildcard-part", False, "partial.cert.example.com", sans=["par*.cert.example.com"])
    case("wildcard-middle", False, "middle.cert.example.com", sans=["middle.*.example.com"])
    case("wildcard-all", False, sans=["*"])
    case("nul", False, sans=["nul.cert.example.com\0.example.org"])
    case("nul-end", False, sans=["nul-end.cert.example.com\0"])
    case("dot-end", None, sans=["dot-end.cert.example.com."])
    case("no-names", None, sans=[])
    case("address-only", False, sans=[], ip=x509.DNSName("example.org"))
    case("name-in-cn-only", False, sans=["other.example.org"])
    return root, out


class Server(Listener):
    """All cases on one address: the name asked for chooses."""

    def __init__(self, folder, cases):
        self.heads = []
        self.contexts = {}
        for host, (cert, _, _) in cases.items():
            path = os.path.join(folder, host + ".pem")
            with open(path, "wb") as f:
                f.write(cert.pem())
            self.contexts[host] = self.context(path)
        self.front = self.context(path)
        self.front.sni_callback = self.choose
        super().__init__((world.v4("cert.example.com"), 443))

    @staticmethod
    def context(path):
        x = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        x.set_ciphers("DEFAULT:@SECLEVEL=0")  # first: it decides what may be loaded
        x.load_cert_chain(path)
        return x

    def choose(self, s, name, _):
        if name in self.contexts:
            s.context = self.contexts[name]
        return None

    def one(self, c):
        c.settimeout(20)
        with self.front.wrap_socket(c, server_side=True) as t:
            head = t.recv(65536)
            if head:
                self.heads.append(head.decode("latin-1"))
                t.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhere\n")
                t.unwrap()


ROOT, CASES = make_cases()


@pytest.fixture(scope="module")
def suite(tmp_path_factory, lab_session):
    folder = str(tmp_path_factory.mktemp("certs"))
    ca = folder + "/root.pem"
    with open(ca, "wb") as f:
        f.write(ROOT.cert.public_bytes(serialization.Encoding.PEM))
    server = Server(folder, CASES)
    server.ca, server.results = ca, None
    yield server
    server.close()


def ask_all(weir, suite):
    """Every host once, in one sandbox, and once by curl without weir; kept for all cases."""
    if suite.results:
        return suite.results
    direct = {}
    for host in CASES:
        p = subprocess.run(["curl", "-sS", "-m", "20", "--cacert", suite.ca, "https://%s/direct" % host], check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        direct[host] = (p.returncode, p.stderr.strip())
    r = weir.sh("for h in %s; do printf '%%s ' $h; curl -sS -m 20 -o $0.body -w '%%{http_code} ' https://$h/weir 2>&1; "
                "tr -d '\\n' < $0.body; rm -f $0.body; echo; done" % " ".join(CASES), intercept=True,
                flags=["--upstream-ca", suite.ca], timeout=120)
    got = {}
    for line in r.out.splitlines():
        host, status, text = (line.split(" ", 2) + ["", ""])[:3]
        got[host] = (status, text)
    details = {e.get("host"): e for e in r.find("http")}
    suite.results = direct, got, details, list(suite.heads)
    print("%-28s %-10s %-9s %s" % ("case", "weir", "curl", "reason"))
    for host, (_, _, label) in CASES.items():
        print("%-28s %-10s %-9s %s" % (label, got.get(host, ("?",))[0], "accepts" if direct[host][0] == 0 else
                                       "refuses", details.get(host, {}).get("detail", "")))
    return suite.results


# Parity: T03.
@pytest.mark.parametrize("host", CASES, ids=[c[2] for c in CASES.values()])
def test_certificate(weir, suite, host):
    direct, got, details, heads = ask_all(weir, suite)
    _, good, label = CASES[host]
    status, text = got[host]
    curls = direct[host][0] == 0
    asked = [h for h in heads if "/weir" in h and "Host: %s\r\n" % host in h]
    if good is None:
        good = curls and status == "200"
    if good:
        assert curls and (status, text) == ("200", "here\n".strip()) and len(asked) == 1, (label, got[host])
        return
    assert status == "502", (label, got[host], direct[host])
    assert not asked, (label, asked)
    event = details[host]
    assert event["verdict"] == "fail" and "certificate" in event["detail"], (label, event)
    assert "certificate" in text, (label, text)


# ---- revocation by a stapled response --------------------------------------------------------------


def staple(cert, issuer, status, start=-DAY, end=DAY, signer=None):
    signer = signer or issuer
    revoked = status == ocsp.OCSPCertStatus.REVOKED
    b = ocsp.OCSPResponseBuilder().add_response(
        cert=cert.cert, issuer=issuer.cert, algorithm=hashes.SHA1(), cert_status=status,
        this_update=NOW + start, next_update=NOW + end, revocation_time=NOW - DAY if revoked else None,
        revocation_reason=None).responder_id(ocsp.OCSPResponderEncoding.HASH, signer.cert)
    return b.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


MUST = [(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]
GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
STAPLES = {  # label -> (extensions of the leaf, how the response is made or None, believed)
    "no-staple": ([], None, True),
    "good": ([], dict(status=GOOD), True),
    "revoked": ([], dict(status=REVOKED), False),
    "must-staple-good": (MUST, dict(status=GOOD), True),
    "must-staple-none": (MUST, None, False),
}


@pytest.mark.parametrize("label", STAPLES)
def test_staple(weir, suite, label):
    more, how, good = STAPLES[label]
    host = label + ".staple.example.com"
    leaf = Cert(host, ROOT, [host], False, SERVER, more=more)
    path = weir.file("leaf.pem", leaf.pem().decode())
    argv = ["openssl", "s_server", "-accept", world.v4("staple.example.com") + ":443", "-cert", path, "-key", path,
            "-www", "-quiet"]
    if how:
        response = path + ".ocsp"
        with open(response, "wb") as f:
            f.write(staple(leaf, ROOT, **how))
        argv += ["-status_file", response]
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def up():
            with socket.socket() as s:
                return s.connect_ex((world.v4("staple.example.com"), 443)) == 0

        assert wait_for(up, 10)
        r = weir.sh("curl -sS -m 20 -i https://%s/ | head -c 2000" % host, intercept=True,
                    flags=["--upstream-ca", suite.ca])
    finally:
        p.kill()
        p.wait(10 * SLACK)
    first = r.out.split("\r\n")[0]
    assert (" 200" in first) if good else (" 502" in first and "certificate" in r.out), (label, r)
