# SPDX-License-Identifier: Apache-2.0
"""Encrypted ClientHello (RFC 9849): the name that can be read is the outer one.

The hellos are a real client's with the extension put in; what is sealed in it is noise,
as in GREASE, which nobody on the way can tell from the real one.
"""

import os

import pytest
from test_bypass import API, EVIL, hello, raw, refused

FILES, COVER = "files.example.com", "cover.example.org"
ONE = {"policy": {"default_egress": "deny", "rules": [
    {"action": "allow", "destination": API, "protocol": "tcp", "ports": ["443"]}]}}
SERVER_HELLO = "\x16\x03\x03"


def number(b):
    return int.from_bytes(b, "big")


def with_ech(text):
    """The record with one more extension, encrypted_client_hello of type outer."""
    b = text.encode("latin-1")
    at = 9 + 2 + 32  # record, handshake, version, random
    at += 1 + b[at]
    at += 2 + number(b[at:at + 2])
    at += 1 + b[at]
    extensions = b[at + 2:]
    assert number(b[at:at + 2]) == len(extensions) and number(b[3:5]) == len(b) - 5
    body = b"\0\0\1\0\1\x2a" + b"\0\x20" + os.urandom(32) + b"\0\xb0" + os.urandom(0xb0)
    extensions += b"\xfe\x0d" + len(body).to_bytes(2, "big") + body
    message = b[9:at] + len(extensions).to_bytes(2, "big") + extensions
    record = b"\x01" + len(message).to_bytes(3, "big") + message
    return (b[:3] + len(record).to_bytes(2, "big") + record).decode("latin-1")


def answered(r):
    return r.rc == 0 and r.json["text"].startswith(SERVER_HELLO)


@pytest.mark.parametrize("intercept", [False, True])
def test_the_outer_name_is_the_one_that_was_resolved(weir, lab, intercept):
    """It is judged, and dialled; read, the hello that leaves is our own."""
    r = raw(weir, API, 443, with_ech(hello(API)), policy=ONE, intercept=intercept)
    assert answered(r), r
    assert [e["name"] for e in r.find("flow", verdict="allow", port=443)] == [API], r
    assert bool(r.find("tls", sni=API, rule="0")) == intercept, r
    assert intercept or lab.seen("tls", sni=API), lab.seen()


@pytest.mark.parametrize("mode", ["virtual", "real"])
@pytest.mark.parametrize("outer", [COVER, FILES, EVIL])
def test_an_outer_name_that_was_not_given_out(weir, lab, outer, mode):
    """Whatever is sealed in it, nobody can say that it is the name that rules speak of."""
    r = raw(weir, API, 443, with_ech(hello(outer)), policy=ONE, flags=["--dns-answers", mode])
    assert not answered(r) and "encrypted" in refused(weir, r)["detail"], r
    assert not lab.seen("tls"), lab.seen()


@pytest.mark.parametrize("outer", [COVER, EVIL])
def test_an_outer_name_that_was_not_given_out_where_tls_is_read(weir, lab, outer):
    """Dialled for the name of the address, and told nothing."""
    r = raw(weir, API, 443, with_ech(hello(outer)), policy=ONE, intercept=True)
    assert "SNI %s does not agree" % outer in refused(weir, r)["detail"], r
    assert not lab.seen("tls", sni=outer) and not lab.seen("http"), lab.seen()


def test_a_deny_by_name_is_not_escaped(weir, lab):
    """By an outer name that is allowed, at an address that no name stands for."""
    rules = {"policy": {"default_egress": "allow", "rules": [{"action": "deny", "destination": EVIL}]}}
    r = raw(weir, EVIL, 443, with_ech(hello(API)), policy=rules)
    assert "refused" in r.err or not answered(r), r
    assert not lab.seen("tls"), lab.seen()
