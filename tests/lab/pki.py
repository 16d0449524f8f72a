# SPDX-License-Identifier: Apache-2.0
"""The lab's private CA and the certificates of its servers, made at start."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import world

DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write(path, key, *certs):
    with open(path, "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))
        for c in certs:
            f.write(c.public_bytes(serialization.Encoding.PEM))
    return path


class Authority:
    def __init__(self):
        self.now = datetime.datetime.utcnow()
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = _name("weir lab CA")
        self.cert = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(self.now - DAY).not_valid_after(self.now + 2 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False,
                                         False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()),
                           critical=False)
            .sign(self.key, hashes.SHA256()))

    def save(self, path):
        with open(path, "wb") as f:
            f.write(self.cert.public_bytes(serialization.Encoding.PEM))

    def leaf(self, path, names, expired=False, self_signed=False):
        """Key and chain in one PEM file, as ssl.SSLContext reads it."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(names[0])
        signer, issuer = (key, subject) if self_signed else (self.key, self.cert.subject)
        until = self.now - DAY / 2 if expired else self.now + DAY
        cert = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(self.now - DAY).not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]),
                           critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
                           critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                           critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256()))
        return _write(path, key, cert)


def make_all(folder):
    """CA and one certificate for every host that speaks TLS; returns nothing, writes folder/*.pem."""
    ca = Authority()
    ca.save(folder + "/ca.pem")
    extra = {
        "api.example.com": ["www.example.com", "alias1.example.com", "alias2.example.com",
                            "sub.api.example.com", "short.example.com", "mixed.example.net"],
        "files.example.com": ["retry.example.com"],
        "doh.example.com": ["dns.google"],
        "h2.example.com": ["h2alias.example.com"],
        "evil.example.net": ["*.evil.example.net"],
    }
    for alias, (host, _) in world.FAMILY.items():
        extra.setdefault(host, []).append(alias)
    for host in world.HOSTS:
        names = [host] + extra.get(host, [])
        if host == "wrong-name.example.com":
            names = ["right-name.example.com"]
        ca.leaf("%s/%s.pem" % (folder, host), names, expired=host.startswith("expired."),
                self_signed=host.startswith("self-signed."))
