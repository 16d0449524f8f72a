# SPDX-License-Identifier: Apache-2.0
"""QUIC where TLS is not intercepted: its server name is a fact. Parity: n31.

The client is an Initial packet made here (RFC 9001 A.2), the server anything
that answers a datagram: the packet passes, or it does not.
"""

import json

import pytest
from conftest import EXAMPLE

import world

V1, V2 = 1, 0x6B3343CF
ECHO = world.v4("echo.example.com")
ALLOW_BUT_EVIL = {"policy": {"default_egress": "allow", "rules": [
    {"id": "no-evil", "action": "deny", "destination": ".example.net"}]}}

CLIENT = r"""
import json, os, socket, struct, sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives import hashes, hmac

def vec(n, b): return len(b).to_bytes(n, "big") + b
def ext(t, b): return struct.pack(">H", t) + vec(2, b)

def hello(name, ech):
    e = ext(0, vec(2, b"\0" + vec(2, name.encode()))) if name else b""
    e += ext(16, vec(2, vec(1, b"h3"))) + ext(43, vec(1, b"\3\4"))
    if ech:
        e += ext(0xfe0d, os.urandom(80))
    body = b"\3\3" + os.urandom(32) + b"\0" + vec(2, b"\x13\x01") + b"\1\0" + vec(2, e)
    return b"\1" + vec(3, body)

def label(secret, text, n):
    info = struct.pack(">H", n) + vec(1, b"tls13 " + text.encode()) + b"\0"
    return HKDFExpand(hashes.SHA256(), n, info).derive(secret)

def initial(version, dcid, pn, frames):
    two = version != 1
    h = hmac.HMAC(bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9" if two else
                                "38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), hashes.SHA256())
    h.update(dcid)
    s = label(h.finalize(), "client in", 32)
    p = "quicv2 " if two else "quic "
    key, iv, hp = label(s, p + "key", 16), label(s, p + "iv", 12), label(s, p + "hp", 16)
    frames += bytes(1150 - len(frames))
    head = bytes([0xd3 if two else 0xc3]) + struct.pack(">I", version) + vec(1, dcid) + b"\0\0"
    head += struct.pack(">HI", 0x4000 | (4 + len(frames) + 16), pn)
    nonce = bytes(a ^ b for a, b in zip(iv, pn.to_bytes(12, "big")))
    body = AESGCM(key).encrypt(nonce, frames, head)
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(body[:16])
    head = bytearray(head)
    head[0] ^= mask[0] & 15
    for i in range(4):
        head[len(head) - 4 + i] ^= mask[1 + i]
    return bytes(head) + body

def crypto(off, b): return b"\6" + struct.pack(">HH", 0x4000 | off, 0x4000 | len(b)) + b

a = json.loads(sys.argv[1])
h, cid = hello(a.get("sni"), a.get("ech")), os.urandom(8)
cut = len(h) // 2 if a.get("pieces", 1) == 2 else len(h)
frames = [crypto(0, h[:cut])] + ([crypto(cut, h[cut:])] if cut < len(h) else [])
out = [initial(a.get("version", 1), cid, i, f) for i, f in enumerate(frames)]
if a.get("only_half"):
    out = out[:1]
if a.get("reverse"):
    out.reverse()
family, _, _, _, to = socket.getaddrinfo(a["to"], 7, socket.AF_INET, socket.SOCK_DGRAM)[0]
s = socket.socket(family, socket.SOCK_DGRAM)
s.connect(to)
s.settimeout(a.get("wait", 5))
result = "nothing"

def ask(out):
    for d in out:
        s.send(d)
    got = [s.recv(2000) for _ in out]
    return "passed" if sorted(got) == sorted(out) else "garbled"

try:
    if a.get("after") is not None:
        assert ask([initial(1, os.urandom(8), 0, crypto(0, hello(a["after"], False)))
                    if a["after"] else b"x"]) == "passed"
        print("first passed", flush=True)
        if len(out) > 1 and a.get("halves"):
            ask(out[:1])
            out = out[1:]
    result = ask(out)
except ConnectionRefusedError:
    result = "refused"
except PermissionError:
    result = "denied"
except OSError as e:
    result = e.strerror or "timeout"
print(result)
"""


def quic(weir, to, sni=None, policy=EXAMPLE, flags=(), **more):
    r = weir.run("/usr/bin/python3", "-B", "-c", CLIENT, json.dumps({"to": to, "sni": sni, **more}),
                 policy=policy, flags=flags)
    assert r.rc == 0, r
    return r, r.out.strip()


@pytest.mark.parametrize("version", [V1, V2])
def test_the_name_is_on_the_record(weir, version):
    r, out = quic(weir, ECHO, "api.example.com", policy="public_only", version=version)
    assert out == "passed", r
    assert r.find("flow", verdict="allow", dst=ECHO, name="api.example.com", name_from="sni"), r


def test_a_denied_name_is_denied_whatever_its_address(weir):
    """Parity: n31."""
    assert quic(weir, ECHO, "api.example.com", policy=ALLOW_BUT_EVIL)[1] == "passed"
    for more in ({}, {"pieces": 2}, {"pieces": 2, "reverse": True}, {"version": V2}):
        r, out = quic(weir, ECHO, "www.evil.example.net", policy=ALLOW_BUT_EVIL, **more)
        assert out not in ("passed", "timed out"), (more, r)
        denied = r.find("flow", verdict="deny", name="www.evil.example.net")
        assert denied and denied[0]["rule"] == "no-evil" and denied[0]["proto"] == "udp", (more, r)


def test_a_claimed_name_opens_nothing(weir, lab):
    """Only where the address was given out for it, as with TLS over TCP. Parity: n31."""
    r, out = quic(weir, ECHO, "echo.example.com")
    assert out not in ("passed", "timed out") and r.find("flow", verdict="deny", dst=ECHO), r
    real = ["--dns-answers", "real"]
    assert quic(weir, "echo.example.com", "echo.example.com", flags=real)[1] == "passed"
    # The server sees a client that says another name than the one it asked for: denied as such.
    r, out = quic(weir, "echo.example.com", "www.evil.example.net", policy={"policy": {
        "default_egress": "allow", "rules": ALLOW_BUT_EVIL["policy"]["rules"]}}, flags=real)
    assert out not in ("passed", "timed out"), r


def test_the_name_agrees_with_the_address(weir):
    """Virtual answers: the flow's name is certain, and the packet has to say the same. Parity: n31."""
    assert quic(weir, "echo.example.com", "echo.example.com")[1] == "passed"
    for more in ({}, {"ech": True}):
        r, out = quic(weir, "echo.example.com", "www.evil.example.net", **more)
        assert out not in ("passed", "timed out"), r
        assert "not the name of the address" in r.find("flow", verdict="deny")[0]["detail"], r
    r, out = quic(weir, "echo.example.com", "www.evil.example.net", pieces=2, only_half=True)
    assert out not in ("passed", "timed out"), r
    assert "cannot be read" in r.find("flow", verdict="deny")[0]["detail"], r
    # A draft's keys are another's.
    for more in ({}, {"after": ""}):
        r, out = quic(weir, "echo.example.com", "echo.example.com", version=0xFF00001D, wait=1, **more)
        assert not out.endswith("passed") or out == "first passed", r
        assert "cannot be read" in r.find("flow", verdict="deny")[0]["detail"], r


@pytest.mark.parametrize("first", ["", "echo.example.com"])
def test_a_later_connection_says_the_same(weir, first):
    """After a datagram that is no QUIC, or after a good connection: each hello is read. Parity: n31."""
    r, out = quic(weir, "echo.example.com", "echo.example.com", after=first, pieces=2, halves=True)
    assert out.split("\n") == ["first passed", "passed"], r
    for more in ({}, {"pieces": 2}, {"pieces": 2, "halves": True}):
        # The answer of a piece comes; that of the last one never, whichever way the flow ends.
        r, out = quic(weir, "echo.example.com", "www.evil.example.net", after=first, wait=1, **more)
        assert out.startswith("first passed") and not out.endswith("\npassed"), (more, r)
        assert "not the name of the address" in r.find("flow", verdict="deny")[0]["detail"], r


def test_a_later_connection_meets_denials(weir):
    """A real address, allowed by itself or as what it was given out for; a name that is not. Parity: n31."""
    policy = {"policy": {"default_egress": "deny", "rules": [
        *ALLOW_BUT_EVIL["policy"]["rules"], {"action": "allow", "destination": ".example.com"}]}}
    real = ["--dns-answers", "real"]
    for first in ("", "echo.example.com"):
        r, out = quic(weir, "echo.example.com", "www.evil.example.net", policy=policy, flags=real,
                      after=first, wait=1)
        assert out.startswith("first passed") and not out.endswith("\npassed"), r
        assert r.find("flow", verdict="deny", rule="no-evil"), r
        r, out = quic(weir, "echo.example.com", "echo.example.com", policy=policy, flags=real, after=first)
        assert out.split("\n") == ["first passed", "passed"], r


def test_a_name_that_cannot_be_read_is_none(weir):
    """Encrypted, or never complete: judged without a name, and the record says why."""
    named = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": "api.example.com"}]}}
    r, out = quic(weir, ECHO, "api.example.com", ech=True, policy=named)
    assert out not in ("passed", "timed out"), r
    assert "encrypted" in r.find("flow", verdict="deny")[0]["detail"], r
    r, out = quic(weir, ECHO, "api.example.com", pieces=2, only_half=True, policy=named)
    assert out not in ("passed", "timed out"), r
    assert "no name could be read" in r.find("flow", verdict="deny")[0]["detail"], r
    # Where no name is needed it is only late.
    assert quic(weir, ECHO, None, pieces=2, only_half=True, policy="public_only")[1] == "passed"
