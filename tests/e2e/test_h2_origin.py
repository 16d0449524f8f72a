# SPDX-License-Identifier: Apache-2.0
"""The HTTP/2 origin itself, asked without weir: what other tests rely on."""

import hashlib
import json
import os
import ssl
import subprocess

import pytest

import data


def curl(lab, *args, binary=False):
    p = subprocess.run(["curl", "-sS", "-m", "20", "--cacert", lab.ca, *args], check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return p.stdout if binary else p.stdout.decode("utf-8", "replace")


@pytest.mark.parametrize("how, scheme, proto", [
    ("--http2", "https", "h2"), ("--http1.1", "https", "h1"), ("--http1.1", "http", "h1"),
    ("--http2-prior-knowledge", "http", "h2")])
def test_each_protocol(lab, h2, how, scheme, proto):
    r = json.loads(curl(lab, how, "-d", "hello", "-H", "X-A: b", scheme + "://h2.example.com/echo?q=1"))
    assert (r["proto"], r["method"], r["path"], r["authority"]) == (
        proto, "POST", "/echo?q=1", "h2.example.com")
    assert r["body"]["sha256"] == hashlib.sha256(b"hello").hexdigest() and r["body"]["text"] == "hello"
    seen = h2.seen(path="/echo?q=1")
    assert seen and seen[0]["proto"] == proto and seen[0]["tls"] == (scheme == "https"), seen


@pytest.mark.parametrize("host, how, alpn", [("h2only", "--http2", "h2"), ("h1only", "--http2", "http/1.1"),
                                             ("h2ws", "--http2", "h2"), ("h2alias", "--http2", "h2")])
def test_hosts(lab, h2, host, how, alpn):
    assert json.loads(curl(lab, how, "https://%s.example.com/" % host))["alpn"] == alpn


def test_only_h2_takes_no_http1(lab, h2):
    """Refused in the handshake (Node.js 20), or answered that it will not do (18, Debian's)."""
    said = curl(lab, "--http1.1", "https://h2only.example.com/")
    assert "curl:" in said or "Unknown ALPN Protocol" in said, said


@pytest.mark.parametrize("how", ["--http2", "--http1.1"])
def test_bodies(lab, h2, how):
    u = "https://h2.example.com"
    for form in ("", "?chunked"):
        b = curl(lab, how, u + "/bytes/3000000" + form, binary=True)
        assert hashlib.sha256(b).hexdigest() == data.sha256(3000000)
    whole = b"".join(bytes(x) for x in data.blocks(2000000))
    assert curl(lab, how, "-r", "1048000-1049000", u + "/bytes/2000000", binary=True) == whole[1048000:1049001]
    assert curl(lab, how, "-r", "-5", u + "/bytes/2000000", binary=True) == whole[-5:]
    for name in ("gzip", "deflate", "raw-deflate", "br", "members", "gzip,br") + (
            ("zstd",) if h2.zstd else ()):
        b = curl(lab, how, "-H", "Content-Type: text/plain", "-d", "x" * 5000,
                 u + "/coded/" + name, binary=True)
        back = {"raw-deflate": None, "members": "gzip", "gzip,br": "gzip, br"}.get(name, name)
        if back:
            with open(lab.tmp + "/coded", "wb") as f:
                f.write(b)
            r = json.loads(curl(lab, how, "-H", "Content-Encoding: " + back, "--data-binary",
                                "@" + lab.tmp + "/coded", u + "/decode"))
            assert r["decoded"]["text"] == "x" * 5000, name


@pytest.mark.parametrize("how", ["--http2", "--http1.1"])
def test_forms_of_replies(lab, h2, how):
    u = "https://h2.example.com"
    assert "x-more: yes" in curl(lab, how, "-i", u + "/trailers")
    assert curl(lab, how, "-i", u + "/hints?n=2").count(" 103") == 2
    assert "data: event 2" in curl(lab, how, "-N", u + "/sse")
    assert "data: a 2" in curl(lab, how, "--compressed", u + "/coded-drip/gzip?text=a")
    assert "X-Y: z" in curl(lab, how, "-X", "TRACE", "-H", "X-Y: z", u + "/t").replace("x-y", "X-Y")
    assert "curl:" in curl(lab, how, u + "/reset") and "curl:" in curl(lab, how, u + "/goaway")
    assert curl(lab, how, "-d", "abc", u + "/mirror") == "abc"


def test_git_and_static(lab, h2, tmp_path):
    with open(h2.static + "/a.json", "w", encoding="ascii") as f:
        f.write("{}")
    assert curl(lab, "https://h2.example.com/static/a.json") == "{}"
    p = subprocess.run(["git", "clone", "-q", "https://h2.example.com/git/repo.git",
                        str(tmp_path / "x")], check=False, env=dict(os.environ, GIT_SSL_CAINFO=lab.ca))
    assert p.returncode == 0 and (tmp_path / "x" / "README").exists()


def test_grpc_and_trailers(lab, h2):
    frame = b"\0" + (5).to_bytes(4, "big") + b"hello"
    with open(lab.tmp + "/grpc", "wb") as f:
        f.write(frame)
    out = curl(lab, "--http2", "-i", "-H", "Content-Type: application/grpc", "-H", "TE: trailers",
               "--data-binary", "@" + lab.tmp + "/grpc", "https://h2.example.com/lab.Echo/Unary")
    assert "hello" in out and "grpc-status: 0" in out, out
    assert "grpc-status: 7" in curl(lab, "--http2", "-i", "-d", "", "https://h2.example.com/lab.Echo/Fail")


def test_websocket(lab, h2):
    if not h2.websocket:
        pytest.skip("node-ws is not installed")
    asyncio = pytest.importorskip("asyncio")
    websockets = pytest.importorskip("websockets")
    tls = ssl.create_default_context(cafile=lab.ca)

    async def talk():
        async with websockets.connect("wss://h2.example.com/ws?say=hi", ssl=tls,
                                      extra_headers={"Authorization": "Bearer x"}) as w:
            out = [await w.recv()]
            for m in ("text", b"\xff\0", "x" * 100000):
                await w.send(m)
                out.append(await w.recv())
            return out, [x.name for x in w.extensions]

    out, extensions = asyncio.run(talk())
    assert out == ["hi", "text", b"\xff\0", "x" * 100000] and extensions == ["permessage-deflate"]
    assert [e["event"] for e in h2.seen("ws")][:4] == ["open", "text", "binary", "text"]
