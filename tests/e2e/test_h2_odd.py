# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 that is not right (RFC 9113), through weir and through nghttpx to one origin.

A request that is malformed (8.1.1) must not arrive, whatever becomes of its stream; what breaks the connection
(5.4.1) has to end it; what is merely unusual has to work. The same frames go to nghttpx in front of the same
origin, and the table says what each did.
"""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

import world
from conftest import HERE, SLACK, wait_for

HOST, PORT = "h2.example.com", 18443
CASES = {}  # name -> (steps, what has to be: "one" request arrives, "none", "ends": none and the connection ends, None)


def fields(name, method="GET", drop=(), **changes):
    out = [[":method", method], [":scheme", "https"], [":authority", HOST], [":path", "/o-" + name]]
    out = [[n, changes.get(n[1:], v)] for n, v in out if n not in drop]
    return out


def request(name, want, more=(), data=None, end=None, **kw):
    steps = [["headers", 1, fields(name, **kw) + [list(m) for m in more], data is None if end is None else end]]
    if data is not None:
        steps.append(["data", 1, data, True])
    CASES[name] = (steps, want)


def steps(name, want, *given):
    CASES[name] = (list(given), want)


def good(name, stream=1):
    return ["headers", stream, fields(name), True]


# Right, or merely unusual.
request("plain", "one")
request("post", "one", method="POST", data="hello")
request("length", "one", [("content-length", "5")], method="POST", data="hello")
request("te-trailers", "one", [("te", "trailers")])
request("host-same", "one", [("host", HOST)])
request("cookie-crumbs", "one", [("cookie", "a=b"), ("cookie", "c=d")])
request("host-only", None, [("host", HOST)], drop=[":authority"])
steps("unknown-frame", "one", ["frame", 0xEE, 0, 0, "00"], good("unknown-frame"))
steps("unknown-setting", "one", ["frame", 4, 0, 0, "fff000000001"], good("unknown-setting"))
steps("priority", "one", ["frame", 2, 0, 3, "0000000110"], good("priority"))
steps("padded", "one", ["headers", 1, fields("padded", method="POST"), False],
      ["frame", 0, 0x9, 1, "03" + "68690a" + "000000"])
steps("trailers", "one", ["headers", 1, fields("trailers", method="POST"), False], ["data", 1, "hi", False],
      ["headers", 1, [["x-trailer", "a"]], True])

# Names and values.
request("upper-name", "none", [("X-Upper", "a")])
request("space-name", "none", [("x y", "a")])
request("colon-name", "none", [("x:y", "a")])
request("empty-name", "none", [("", "a")])
request("crlf-value", "none", [("x-a", "b\r\nx-evil: c")])
request("lf-value", "none", [("x-a", "b\nc")])
request("nul-value", "none", [("x-a", "b\0c")])
request("crlf-name", "none", [("x-a: b\r\nx-evil", "c")])

# What belongs to a connection of HTTP/1.
for n, v in (("connection", "close"), ("transfer-encoding", "chunked"), ("keep-alive", "1"), ("upgrade", "x"),
             ("proxy-connection", "close"), ("te", "gzip")):
    request("has-" + n, "none", [(n, v)])
request("chunked-body", "none", [("transfer-encoding", "chunked")], method="POST",
        data="0\r\n\r\nGET /o-evil HTTP/1.1\r\nHost: h2.example.com\r\n\r\n")

# Pseudo fields.
for n in (":method", ":scheme", ":path"):
    request("no" + n.replace(":", "-"), "none", drop=[n])
request("empty-path", "none", path="")
request("path-no-slash", "none", path="evil")
request("path-space", "none", path="/o-path-space x HTTP/1.1")
request("path-crlf", "none", path="/o-path-crlf HTTP/1.1\r\nx: y")
request("method-space", "none", method="GET /o-evil HTTP/1.1\r\nx:")
request("scheme-odd", None, scheme="https://evil.example.net/")
request("two-paths", "none", [(":path", "/o-evil")])
request("two-authorities", "none", [(":authority", "evil.example.net")])
request("pseudo-late", "none", [("x-a", "b"), (":path", "/o-evil")], drop=[":path"])
request("pseudo-unknown", "none", [(":evil", "a")])
request("status", "none", [(":status", "200")])

# Who is meant.
request("host-other", "none", [("host", "evil.example.net")])
request("authority-other", "none", authority="evil.example.net")
request("authority-user", "none", authority="u@" + HOST)
request("no-name", "none", drop=[":authority"])
request("connect", "none", method="CONNECT", drop=[":scheme", ":path"])

# Lengths.
request("length-more", None, [("content-length", "10")], method="POST", data="hello")
request("length-less", None, [("content-length", "2")], method="POST", data="hello")
request("length-none", None, [("content-length", "5")], method="POST")
request("two-lengths", "none", [("content-length", "5"), ("content-length", "6")], method="POST", data="hello")
request("length-text", "none", [("content-length", "five")], method="POST", data="hello")
steps("trailer-pseudo", None, ["headers", 1, fields("trailer-pseudo", method="POST"), False], ["data", 1, "hi", False],
      ["headers", 1, [[":path", "/o-evil"]], True])

# What breaks a connection.
steps("bad-preface", "ends", ["preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".hex()])
steps("even-stream", "ends", good("even-stream", 2))
steps("stream-zero", "ends", good("stream-zero", 0))
steps("data-idle", "ends", ["data", 5, "hello", True])
steps("reset-idle", "ends", ["frame", 3, 0, 5, "00000008"])
steps("window-zero", "ends", ["frame", 8, 0, 0, "00000000"])
steps("window-over", "ends", ["frame", 8, 0, 0, "7fffffff"])
steps("settings-size", "ends", ["frame", 4, 0, 0, "0001"])
steps("settings-ack-full", "ends", ["frame", 4, 1, 0, "000100000000"])
steps("settings-stream", "ends", ["frame", 4, 0, 1, ""])
steps("settings-window", "ends", ["frame", 4, 0, 0, "000480000000"])
steps("settings-frame", "ends", ["frame", 4, 0, 0, "000500000001"])
steps("settings-push", "ends", ["frame", 4, 0, 0, "000200000002"])
steps("ping-size", "ends", ["frame", 6, 0, 0, "00"])
steps("ping-stream", "ends", ["frame", 6, 0, 1, "0000000000000000"])
steps("goaway-stream", "ends", ["frame", 7, 0, 1, "0000000000000000"])
steps("continuation-alone", "ends", ["frame", 9, 4, 1, "82"])
steps("interleaved", "ends", ["headers", 1, fields("interleaved"), True, False], ["frame", 6, 0, 0, "0000000000000000"])
steps("too-large", "ends", ["frame", 0, 0, 1, "00" * 20000])
steps("pad-too-long", "ends", ["headers", 1, fields("pad-too-long", method="POST"), False], ["frame", 0, 8, 1, "ff00"])
steps("push-promise", "ends", ["frame", 5, 4, 1, "0000000282"])
steps("hpack-index", "ends", ["frame", 1, 5, 1, "ff80808080808080"])
steps("hpack-size", "ends", ["frame", 1, 5, 1, "3fffffffff0f82"])
steps("stream-back", None, ["headers", 3, fields("stream-back"), True], ["headers", 1, fields("stream-back-evil"), True])

# Floods: whatever becomes of them, they end, and the next connection is served.
H2_GET = "8287418a" + "00" * 10
steps("flood-continuation", "ends", ["headers", 1, fields("flood-continuation"), True, False],
      ["frame", 9, 0, 1, "1001610162" * 200, 2000])
steps("flood-empty-continuation", "ends", ["headers", 1, fields("flood-empty-continuation"), True, False],
      ["frame", 9, 0, 1, "", 20000])
steps("flood-ping", None, ["frame", 6, 0, 0, "0000000000000000", 50000])
steps("flood-settings", None, ["frame", 4, 0, 0, "000300000064", 50000])
steps("flood-priority", None, ["frame", 2, 0, 3, "0000000110", 50000])
steps("flood-empty-data", None, ["headers", 1, fields("flood-empty-data", method="POST"), False],
      ["frame", 0, 0, 1, "", 50000])
CASES["flood-reset"] = ([x for i in range(3000) for x in (
    ["headers", 2 * i + 1, fields("flood-reset"), True], ["frame", 3, 0, 2 * i + 1, "00000008"])], None)
request("bomb", None, [("x-%d" % i, "v" * 4000) for i in range(200)])

RESULTS = {}


def arrived(h2):
    out = {}
    for e in h2.seen():
        if e["proto"] == "h2" and not e.get("broken"):
            name = e["path"].split(" ")[0][3:]
            out[name] = out.get(name, 0) + 1
    return out


def through_nghttpx(h2, cases, folder):
    if not shutil.which("nghttpx"):
        return {}, {}
    pem = "%s/pki/%s.pem" % (os.environ["LAB_DIR"], HOST)
    p = subprocess.Popen(["nghttpx", "--conf=/dev/null", "-f127.0.0.1,%d" % PORT,
                          "-b%s,443;;tls;sni=%s;proto=h2" % (world.v4(HOST), HOST), "--cacert=" + os.environ["LAB_CA"],
                          "--workers=1", "--errorlog-file=/dev/null", pem, pem], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before = arrived(h2)
    try:
        def up():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", PORT)) == 0

        assert wait_for(up, 10)
        out = subprocess.run([sys.executable, "-B", os.path.join(HERE, "rawh2.py"), "127.0.0.1", str(PORT),
                              os.environ["LAB_CA"], HOST, cases], stdout=subprocess.PIPE, check=True, cwd=folder,
                             timeout=180 * SLACK, text=True).stdout
    finally:
        p.terminate()
        p.wait(10 * SLACK)
    return json.loads(out), {n: c - before.get(n, 0) for n, c in arrived(h2).items()}


def ask_all(weir, h2):
    if RESULTS:
        return RESULTS
    client = os.path.join(weir.lab.tmp, "rawh2.py")
    shutil.copy(os.path.join(HERE, "rawh2.py"), client)
    cases = weir.file("cases.json", {n: c[0] for n, c in CASES.items()})
    r = weir.sh("/usr/bin/python3 -B %s %s 443 /run/weir/ca-bundle.pem %s %s; curl -sS --http2 -o /dev/null -w "
                "'%%{http_code}\\n' https://%s/after" % (client, HOST, HOST, cases, HOST), intercept=True, timeout=180)
    assert r.rc == 0 and r.out.endswith("200\n"), r
    RESULTS["weir"] = (r.json, arrived(h2))
    RESULTS["nghttpx"] = through_nghttpx(h2, cases, weir.tmp)

    def cell(who, n):
        told, seen = RESULTS[who]
        t = told.get(n)
        return "-" if t is None else "%d %s%s%s" % (
            seen.get(n, 0), " ".join(sorted(set(t["status"].values()))), " reset %s" % sorted(set(
                t["resets"].values())) if t["resets"] else "", " goaway %s" % t["goaway"] if t["goaway"] is not None else
            " ended" if t["ended"] else "")

    print("%-26s %-36s %s" % ("case: requests", "weir", "nghttpx"))
    for n in CASES:
        print("%-26s %-36s %s" % (n, cell("weir", n), cell("nghttpx", n)))
    return RESULTS


@pytest.mark.parametrize("name", CASES)
def test_frames(weir, h2, name):
    told, seen = ask_all(weir, h2)["weir"]
    t, want = told[name], CASES[name][1]
    assert not seen.get("evil") and not seen.get("stream-back-evil"), seen
    if want == "one":
        assert seen.get(name) == 1 and t["status"].get("1") == "200", (name, seen.get(name), t)
    elif want:
        assert not seen.get(name), (name, seen, t)
        assert "200" not in t["status"].values(), (name, t)
    if want == "ends":
        assert t["ended"] or t["goaway"] is not None, (name, t)
    if want == "none":  # an answer, a reset, or an end: never silence
        assert t["status"] or t["resets"] or t["ended"] or t["goaway"] is not None, (name, t)


def test_cookie_crumbs_and_trailers_arrive(weir, h2):
    r = weir.run("curl", "-sS", "--http2", "-H", "Cookie: a=b; c=d", "https://%s/crumbs" % HOST, intercept=True)
    assert ["cookie", "a=b; c=d"] in r.json["headers"], r
