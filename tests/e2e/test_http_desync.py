# SPDX-License-Identifier: Apache-2.0
"""Requests and replies whose framing two servers read differently (RFC 9112, sections 2 to 7 and 11).

Each is sent as it is through weir, and through nginx and nghttpx in front of the same origin, which writes
down every byte that arrives. What weir hands on must be read alike by every reader of framing.py: then no
server behind it sees a request that weir did not judge. The table says what each of the three did.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

import framing
import world
from conftest import HERE, SLACK, wait_for
from listener import Listener, tls_context

HOST = "raw.example.com"
PORTS = {"nginx": 18080, "nghttpx": 18081}

# name -> (the bytes, how many whole requests the origin has to count; None: what is up to the proxy).
# A request may have begun when its body turns out to be unreadable; it then never ends.
R = {}


def case(name, text, want, wait=False):
    """~ stands for the end of a line; several texts are pieces with time between them."""
    pieces = [text] if isinstance(text, (str, bytes)) else text
    out = []
    for p in pieces:
        p = p.encode("latin-1") if isinstance(p, str) else p
        out.append(p.replace(b"~", b"\r\n").replace(b"$T", b"/c-" + name.encode()).replace(b"$H", HOST.encode()))
    R[name] = (out, want, wait)


HEAD = "POST $T HTTP/1.1~Host: $H~"
EVIL = "GET /evil HTTP/1.1~Host: $H~~"

# What is right has to arrive.
case("plain", "GET $T HTTP/1.1~Host: $H~~", 1)
case("length", HEAD + "Content-Length: 5~~hello", 1)
case("chunked", HEAD + "Transfer-Encoding: chunked~~5~hello~0~~", 1)
case("chunk-trailer", HEAD + "Transfer-Encoding: chunked~~5~hello~0~X-T: a~~", 1)
case("pipeline", "GET $T HTTP/1.1~Host: $H~~GET /b HTTP/1.1~Host: $H~~GET /c HTTP/1.1~Host: $H~~", 3)
case("pipeline-body", HEAD + "Content-Length: 2~~hiGET /b HTTP/1.1~Host: $H~~", 2)
case("leading-crlf", "~GET $T HTTP/1.1~Host: $H~~", 1)
case("lower-method", "get $T HTTP/1.1~Host: $H~~", 1)
case("own-method", "PURGE $T HTTP/1.1~Host: $H~~", None)
case("absolute-same", "GET https://$H$T HTTP/1.1~Host: $H~~", 1)
case("absolute-scheme", "GET http://$H$T HTTP/1.1~Host: $H~~", None)
case("same-lengths", HEAD + "Content-Length: 5~Content-Length: 5~~hello", None)
case("in-pieces", ["POST $T HT", "TP/1.1~Host: $H~Content-Le", "ngth: 5~", "~hel", "lo"], 1)
case("expect", [HEAD + "Content-Length: 5~Expect: 100-continue~~", "hello"], 1, wait=True)

# A length and a coding; two of either.
case("cl-te", HEAD + "Content-Length: 6~Transfer-Encoding: chunked~~0~~G", 0)
case("te-cl", HEAD + "Transfer-Encoding: chunked~Content-Length: 4~~5c~" + EVIL + "0~~", 0)
case("cl-te-evil", HEAD + "Content-Length: 50~Transfer-Encoding: chunked~~0~~" + EVIL, 0)
case("two-lengths", HEAD + "Content-Length: 0~Content-Length: 40~~" + EVIL, 0)
case("length-list", HEAD + "Content-Length: 0, 40~~" + EVIL, 0)
case("length-plus", HEAD + "Content-Length: +5~~hello", 0)
case("length-minus", HEAD + "Content-Length: -5~~hello", 0)
case("length-hex", HEAD + "Content-Length: 0x5~~hello", 0)
case("length-space", HEAD + "Content-Length: 5 0~~hello" + EVIL, 0)
case("length-huge", HEAD + "Content-Length: 18446744073709551621~~hello" + EVIL, 0)
case("length-empty", HEAD + "Content-Length:~~" + EVIL, 0)
case("length-underscore", HEAD + "Content_Length: 40~~" + EVIL, None)
case("te-twice", HEAD + "Transfer-Encoding: chunked~Transfer-Encoding: identity~~0~~" + EVIL, 0)
case("te-te", HEAD + "Transfer-Encoding: chunked~Transfer-Encoding: cow~~5~hello~0~~", 0)
case("te-list", HEAD + "Transfer-Encoding: chunked, identity~~5~hello~0~~", 0)
case("te-x", HEAD + "Transfer-Encoding: xchunked~~0~~" + EVIL, 0)
case("te-quoted", HEAD + "Transfer-Encoding: \"chunked\"~~0~~" + EVIL, 0)
case("te-tab", HEAD + "Transfer-Encoding:\tchunked~~0~~", None)
case("te-vt", HEAD + "Transfer-Encoding: \x0bchunked~~0~~" + EVIL, 0)
case("te-nul", HEAD + "Transfer-Encoding: chunked\0~~0~~" + EVIL, 0)
case("te-upper", HEAD + "Transfer-Encoding: CHUNKED~~5~hello~0~~", None)
case("te-gzip", HEAD + "Transfer-Encoding: gzip, chunked~~5~hello~0~~", 0)
case("te-in-1.0", "POST $T HTTP/1.0~Host: $H~Transfer-Encoding: chunked~~0~~" + EVIL, 0)
case("te-cr", HEAD + "Transfer-Encoding: chunked\r~~0~~" + EVIL, 0)

# Names, folds, ends of lines.
case("space-colon", HEAD + "Transfer-Encoding : chunked~Content-Length: 20~~0~~" + EVIL, 0)
case("space-name", HEAD + "Content Length: 40~~" + EVIL, 0)
case("fold", HEAD + "X-A: b~ Content-Length: 40~~" + EVIL, 0)
case("fold-te", HEAD + "Transfer-Encoding:~ chunked~~0~~" + EVIL, 0)
case("fold-first", "GET $T HTTP/1.1~ X: y~Host: $H~~", 0)
case("bare-lf", "GET $T HTTP/1.1\nHost: $H\n\n", 0)
case("bare-lf-field", HEAD + "X-A: b\nContent-Length: 40~~" + EVIL, 0)
case("bare-cr", HEAD + "X-A: b\rContent-Length: 40~~" + EVIL, 0)
case("nul-field", HEAD + "X-A: b\0c~Content-Length: 0~~", 0)
case("no-colon", HEAD + "Content-Length~Content-Length: 0~~", 0)
case("empty-name", HEAD + ": x~Content-Length: 0~~", 0)
case("high-name", HEAD + "X-\xe9: x~Content-Length: 0~~", 0)
case("end-lf", HEAD + "Content-Length: 40\n~" + EVIL, 0)

# Who is meant.
case("two-hosts", "GET $T HTTP/1.1~Host: $H~Host: evil.example.net~~", 0)
case("no-host", "GET $T HTTP/1.1~~", 0)
case("host-list", "GET $T HTTP/1.1~Host: $H, evil.example.net~~", 0)
case("host-at", "GET $T HTTP/1.1~Host: $H@evil.example.net~~", 0)
case("absolute-other", "GET http://evil.example.net$T HTTP/1.1~Host: $H~~", 0)
case("host-other", "GET http://$H$T HTTP/1.1~Host: evil.example.net~~", 0)
case("host-space", "GET $T HTTP/1.1~Host : $H~~", 0)

# The first line.
case("two-spaces", "GET  $T HTTP/1.1~Host: $H~~", 0)
case("tab-line", "GET\t$T\tHTTP/1.1~Host: $H~~", 0)
case("space-target", "GET $T x HTTP/1.1~Host: $H~~", 0)
case("no-version", "GET $T~~", 0)
case("version-2", "GET $T HTTP/2.0~Host: $H~~", 0)
case("version-1.2", "GET $T HTTP/1.2~Host: $H~~", None)
case("version-x", "GET $T HTTP/1.1x~Host: $H~~", 0)
case("method-bad", "GE(T $T HTTP/1.1~Host: $H~~", 0)
case("garbage-after", "GET $T HTTP/1.1~Host: $H~~\0\1\2garbage~~" + EVIL, 1)
case("crlf-in-target", b"GET $T\rX: HTTP/1.1~Host: $H~~", 0)

# Chunks.
CHUNKED = HEAD + "Transfer-Encoding: chunked~~"
case("chunk-ext", CHUNKED + "5;a=b~hello~0~~", 1)
case("chunk-ext-quoted", CHUNKED + "5;a=\"b;c\"~hello~0~~", None)
case("chunk-ext-lf", CHUNKED + "2;\nxx~4c~" + EVIL + "0~~", 0)
case("chunk-ext-nul", CHUNKED + "5;a=\0~hello~0~~", 0)
case("chunk-space", CHUNKED + "5 ~hello~0~~", None)
case("chunk-0x", CHUNKED + "0x5~hello~0~~" + EVIL, 0)
case("chunk-plus", CHUNKED + "+5~hello~0~~", 0)
case("chunk-minus", CHUNKED + "-1~hello~0~~", 0)
case("chunk-overflow", CHUNKED + "10000000000000005~hello~0~~" + EVIL, 0)
case("chunk-beyond-32", CHUNKED + "100000005~hello~0~~" + EVIL, None)
case("chunk-empty-size", CHUNKED + "~hello~0~~" + EVIL, 0)
case("chunk-short", CHUNKED + "3~hello~0~~" + EVIL, 0)
case("chunk-lf-end", CHUNKED + "5~hello\n0~~" + EVIL, 0)
case("chunk-lf-size", CHUNKED + "5\nhello~0~~" + EVIL, 0)
case("chunk-cr-size", CHUNKED + "5\r\r\nhello~0~~", 0)
case("chunk-trailer-fold", CHUNKED + "0~X: y~ z~~" + EVIL, 0)
case("chunk-trailer-length", CHUNKED + "0~Content-Length: 40~~" + EVIL, None)
case("chunk-zeros", CHUNKED + "0000000000000000000005~hello~0~~", None)

# Bodies where none is expected.
case("get-body", "GET $T HTTP/1.1~Host: $H~Content-Length: 5~~hello", None)
case("head-body", "HEAD $T HTTP/1.1~Host: $H~Content-Length: 5~~helloGET /b HTTP/1.1~Host: $H~~", 2)
case("trace-body", "TRACE $T HTTP/1.1~Host: $H~Content-Length: 5~~hello", None)
case("upgrade-junk", "GET $T HTTP/1.1~Host: $H~Connection: Upgrade~Upgrade: junk~~" + EVIL, 2)
case("connection-length", HEAD + "Connection: Content-Length~Content-Length: 40~~" + EVIL, None)
case("connection-te", HEAD + "Connection: Transfer-Encoding~Transfer-Encoding: chunked~~0~~" + EVIL, None)


# ---- the origin ------------------------------------------------------------------------------

LENIENT = {"lf": True, "both": "te", "coding": "contains", "length": "first", "space": "trim", "chunk": "c"}
# Where a request of a case begins; no body ends with a capital letter.
CASE = re.compile(rb"(?:[A-Z]+|get) (?:https?://[^/ ]*)?/c-([a-z0-9.-]+)")
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Origin(Listener):
    """Writes down the bytes of each connection; answers what a lenient reader counts, or what a test gives it."""

    def __init__(self):
        self.streams, self.replies = [], {}
        self.once = False  # one reply for a connection: the peers would use it for other cases
        self.context = tls_context("%s/pki/%s.pem" % (os.environ["LAB_DIR"], HOST))
        super().__init__((world.v4(HOST), 80), (world.v4(HOST), 443))

    def reply_for(self, target):
        for name, raw in self.replies.items():
            if target.endswith(b"/r-" + name.encode()):
                return raw
        return REPLY

    def one(self, c):
        c.settimeout(15)
        if c.getsockname()[1] == 80:
            self.talk(c)
            return
        with self.context.wrap_socket(c, server_side=True) as t:
            self.talk(t)

    def talk(self, c):
        stream = bytearray()
        answered = 0
        self.streams.append(stream)
        while True:
            b = c.recv(65536)
            if not b:
                break
            stream += b
            seen = framing.whole(bytes(stream), LENIENT)
            for method, target in seen[answered:]:
                raw = self.reply_for(target)
                if raw is None:
                    return
                if raw is REPLY and method == b"HEAD":
                    raw = raw[:-2]
                if self.once:
                    c.sendall(raw.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
                    return
                c.sendall(raw)
            answered = len(seen)

    def take(self):
        """The bytes of each case by its name, since the beginning or the last time: a connection may serve several."""
        out = {}
        for stream in map(bytes, self.streams):
            heads = [(m.start(), m.group(1).decode()) for m in CASE.finditer(stream)]
            starts = [h for i, h in enumerate(heads) if i == 0 or heads[i - 1][1] != h[1]]
            for i, (_, name) in enumerate(starts):
                begin = starts[i][0] if i else 0
                end = starts[i + 1][0] if i + 1 < len(starts) else len(stream)
                out.setdefault(name, []).append(stream[begin:end])
        self.streams = []
        return out


NGINX = """daemon off; worker_processes 1; pid %(d)s/pid; error_log %(d)s/err;
events { }
http { access_log off; client_body_temp_path %(d)s/b; proxy_temp_path %(d)s/p; fastcgi_temp_path %(d)s/f;
  uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s;
  server { listen 127.0.0.1:%(port)d; location / { proxy_pass http://%(to)s:80; proxy_http_version 1.1;
    proxy_set_header Host $http_host; proxy_request_buffering off; proxy_buffering off; } } }
"""


def start_peers(folder):
    """nginx and nghttpx in front of the origin, those that are installed."""
    out = {}
    if shutil.which("nginx"):
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w", encoding="ascii") as f:
            f.write(NGINX % {"d": folder, "port": PORTS["nginx"], "to": world.v4(HOST)})
        out["nginx"] = ["nginx", "-c", path, "-p", folder]
    if shutil.which("nghttpx"):
        out["nghttpx"] = ["nghttpx", "--conf=/dev/null", "-f127.0.0.1,%d;no-tls" % PORTS["nghttpx"],
                          "-b%s,80" % world.v4(HOST), "--workers=1", "--errorlog-file=/dev/null",
                          "--backend-keep-alive-timeout=1ms", "--accesslog-file=/dev/null"]
    started = {n: subprocess.Popen(a, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for n, a in out.items()}
    for n in started:
        def up(port=PORTS[n]):
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        assert wait_for(up, 10), n + " did not start"
    return started


@pytest.fixture(scope="module")
def origin(lab_session):
    o = Origin()
    yield o
    o.close()


RESULTS = {}


def ask_directly(port, cases, folder):
    """What another proxy makes of the cases."""
    p = subprocess.run([sys.executable, "-B", os.path.join(HERE, "rawclient.py"), "127.0.0.1", str(port), "-", cases],
                       stdout=subprocess.PIPE, check=True, timeout=120 * SLACK, text=True, cwd=folder)
    return json.loads(p.stdout)


def through(weir, cases, port="443", ca="/run/weir/ca-bundle.pem"):
    client = os.path.join(weir.lab.tmp, "rawclient.py")
    shutil.copy(os.path.join(HERE, "rawclient.py"), client)
    return weir.run("/usr/bin/python3", "-B", client, HOST, port, ca, cases, intercept=True, timeout=120)


def verdicts(streams, replies):
    """Of each case: how many requests the origin counted, what readers disagree on, the first status."""
    out = {}
    for name in R:
        got = streams.get(name, [])
        bad = next((d for d in map(framing.disagreement, got) if d), None)
        count = sum(len(framing.whole(s, LENIENT)) for s in got)
        m = re.match(rb"HTTP/1\.[01] ([0-9]{3})", bytes.fromhex(replies.get(name, "")))
        out[name] = (count, bad, m.group(1).decode() if m else "-")
    return out


def ask_all(weir, origin):
    if RESULTS:
        return RESULTS
    cases = weir.file("cases.json", {n: {"pieces": [p.hex() for p in pieces], "wait": wait}
                                     for n, (pieces, _, wait) in R.items()})
    os.chmod(cases, 0o644)
    origin.take()
    r = through(weir, cases)
    found = {"weir": verdicts(origin.take(), r.json)}
    r = through(weir, cases, "80", "-")
    found["weir, port 80"] = verdicts(origin.take(), r.json)
    folder = os.path.join(weir.tmp, "peers")
    os.mkdir(folder)
    peers = start_peers(folder)
    origin.once = True
    try:
        for n in peers:
            got = ask_directly(PORTS[n], cases, folder)
            found[n] = verdicts(origin.take(), got)
    finally:
        origin.once = False
        for p in peers.values():
            p.terminate()
            p.wait(10 * SLACK)
    RESULTS.update(found)
    print("%-22s %s" % ("case: requests, status", "".join("%-20s" % n for n in found)))
    for name in R:
        print("%-22s %s" % (name, "".join("%-20s" % (
            "%d %s%s" % (v[name][0], v[name][2], " AMBIGUOUS" if v[name][1] else "")) for v in found.values())))
    return RESULTS


@pytest.mark.parametrize("name", R)
def test_request(weir, origin, name):
    found = ask_all(weir, origin)
    count, _, status = found["weir"][name]
    want = R[name][1]
    for way in ("weir", "weir, port 80"):
        assert not found[way][name][1], (name, way, "handed on what two servers read differently", found[way][name])
    if want is not None:
        assert count == want, (name, found["weir"][name])
    if want == 0:
        # Without TLS, what does not begin as HTTP is another protocol's, and the host is allowed.
        assert found["weir, port 80"][name][0] == 0 or name == "method-bad", (name, found["weir, port 80"][name])
        assert status in ("400", "403", "411", "413", "421", "431", "501", "505"), (name, found["weir"][name])


def test_the_readers_disagree_where_they_should():
    """The judge of the others: a stream known to be ambiguous is found so, a plain one is not."""
    def raw(name):
        return b"".join(R[name][0])

    for name in ("cl-te-evil", "two-lengths", "te-x", "bare-lf-field", "space-colon", "chunk-ext-lf", "chunk-0x"):
        assert framing.disagreement(raw(name)), name
    for name in ("plain", "length", "chunked", "pipeline", "chunk-trailer", "chunk-ext"):
        assert not framing.disagreement(raw(name)), name


# ---- replies --------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
EVIL_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
# name -> (the method, the raw reply)
REPLIES = {
    "plain": ("GET", OK + b"Content-Length: 5\r\n\r\nright"),
    "chunked": ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n"),
    "early-hints": ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + OK + b"Content-Length: 5\r\n\r\nright"),
    "flood-1xx": ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 20000 + OK + b"Content-Length: 5\r\n\r\nright"),
    "cl-te": ("GET", OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n"),
    "two-lengths": ("GET", OK + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nright" + EVIL_REPLY),
    "length-list": ("GET", OK + b"Content-Length: 5, 50\r\n\r\nright" + EVIL_REPLY),
    "te-x": ("GET", OK + b"Transfer-Encoding: xchunked\r\n\r\n5\r\nright\r\n0\r\n\r\n"),
    "bare-lf": ("GET", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nright"),
    "bare-lf-field": ("GET", OK + b"X: y\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nright"),
    "bare-cr": ("GET", OK + b"X: y\rContent-Length: 0\r\nContent-Length: 5\r\n\r\nright"),
    "nul": ("GET", OK + b"X: a\0b\r\nContent-Length: 5\r\n\r\nright"),
    "fold": ("GET", OK + b"X: y\r\n Content-Length: 0\r\nContent-Length: 5\r\n\r\nright"),
    "space-colon": ("GET", OK + b"Content-Length : 0\r\nContent-Length: 5\r\n\r\nright"),
    "trailing": ("GET", OK + b"Content-Length: 5\r\n\r\nright" + EVIL_REPLY),
    "chunk-overflow": ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nright\r\n0\r\n\r\n" + EVIL_REPLY),
    "chunk-lf": ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n5\nright\r\n0\r\n\r\n"),
    "chunk-trailing": ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n" + EVIL_REPLY),
    "head-body": ("HEAD", OK + b"Content-Length: 40\r\n\r\n" + EVIL_REPLY),
    "head-chunked": ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    "204-body": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 40\r\n\r\n" + EVIL_REPLY),
    "204-chunked": ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    "304-body": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 40\r\n\r\n" + EVIL_REPLY),
    "101-unasked": ("GET", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + EVIL_REPLY),
    "status-bad": ("GET", b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nright"),
    "http-0.9": ("GET", b"<html>just text</html>"),
    "version-2": ("GET", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nright"),
    "head-split": ("GET", OK + b"X: y\r\n\r\n" + EVIL_REPLY),
}
RIGHT = ("plain", "chunked", "early-hints")
REPLY_RESULTS = {}


def ask_replies(weir, origin):
    if REPLY_RESULTS:
        return REPLY_RESULTS
    origin.replies = {n: raw for n, (_, raw) in REPLIES.items()}
    second = b"GET /second HTTP/1.1\r\nHost: %s\r\n\r\n" % HOST.encode()
    cases = weir.file("replies.json", {n: {"wait": True, "pieces": [
        (b"%s /r-%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (method.encode(), n.encode(), HOST.encode())).hex(), second.hex()]}
        for n, (method, _) in REPLIES.items()})
    os.chmod(cases, 0o644)
    REPLY_RESULTS.update(through(weir, cases).json)
    return REPLY_RESULTS


@pytest.mark.parametrize("name", REPLIES)
def test_reply(weir, origin, name):
    """What a client reads after an odd reply: no reply that the origin did not mean, and the same for all clients."""
    got = bytes.fromhex(ask_replies(weir, origin)[name])
    method = REPLIES[name][0]
    bad = framing.reply_disagreement(got, [method, "GET"])
    assert not bad, (name, got[-500:], bad)
    if name in RIGHT:
        assert got.endswith(b"ok") and b"right" in got, (name, got)
    for r in framing.replies(got, [method, "GET"], LENIENT)[1:]:
        assert r == "unreadable" or r[1] != b"evil", (name, got)
    if method == "HEAD" or name.startswith(("204", "304")):
        assert b"evil" not in got, (name, got)
    assert got.count(b" 103 ") <= 100, name
