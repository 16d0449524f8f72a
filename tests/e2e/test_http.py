# SPDX-License-Identifier: Apache-2.0
"""HTTP under interception: denials that explain themselves, and requests that two readers would read differently."""

import json

import pytest

RULES = {"policy": {"default_egress": "deny", "rules": [
    {"id": "read-only", "action": "allow", "destination": "api.example.com", "protocols": ["tcp"],
     "ports": ["443", "80"], "http": {"methods": ["GET", "HEAD"], "paths": ["/repos/acme/**"]},
     "reason": "read-only; writes go through review"}]}}
API = "api.example.com"


def raw(weir, text, host=API, sni=API, port=443, **kw):
    kw.setdefault("intercept", True)
    pieces = text if isinstance(text, list) else [text]
    return weir.guest("raw", host, port, sni, json.dumps(pieces), **kw)


def status_lines(r):
    return [x for x in r.json["text"].splitlines() if x.startswith("HTTP/1.1 ")]


# Parity: lesson-15.
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_denied_request_explains_itself(weir, lab, scheme):
    r = weir.sh("curl -sSi -X POST -d x %s://api.example.com/repos/acme/x" % scheme, policy=RULES)
    head, _, body = r.out.replace("\r\n", "\n").partition("\n\n")
    assert head.startswith("HTTP/1.1 403"), r
    headers = {k.lower(): v for k, v in (x.split(": ", 1) for x in head.splitlines()[1:])}
    assert headers["content-type"].startswith("application/problem+json"), r
    assert "weir" in headers["proxy-status"] and "error=" in headers["proxy-status"], r
    problem = json.loads(body)
    assert problem["status"] == 403 and problem["title"], r
    event = r.find("http", outcome="denied")[0]
    assert event["denial"] in body and event["denial"] in headers["proxy-status"], r
    assert event["method"] == "POST", r
    assert not lab.seen("http"), lab.seen("http")


def test_denial_by_default_says_that_no_rule_matched(weir, lab):
    r = weir.sh("curl -sS https://api.example.com/other; dig other.example.net", policy=RULES)
    problem = json.loads(r.out.partition("\n")[0])
    assert problem["rule"] == "default", r
    assert problem["reason"] == "no rule matched, so the default decided", r
    assert "name denied: no rule matched" in r.out, r
    event = r.find("http", outcome="denied")[0]
    assert event["reason"] == problem["reason"] and "detail" not in event, r
    p = weir.call("why", "--audit", r.audit_path, event["denial"])
    assert "No rule matched, and the default refused it. To allow it, add this rule:" in p.stdout, p
    assert '"http":{"methods":["GET"],"paths":["/other"]}' in p.stdout, p


def test_rules_by_method_and_path(weir, lab):
    paths = {"/repos/acme/": "200", "/repos/acme/a/b?q=1": "200", "/repos/other": "403",
             "/repos/acme/../other": "403", "/repos/acme/%2e%2e/other": "403",
             "/repos/acme/..%2fother": "403", "/repos/acme/%2F": "403", "/": "403",
             "//repos/acme/x": "403", "/repos/acme/a%00": "403", "/repos/acme/a%zz": "403"}
    script = "; ".join("curl -sS --path-as-is -o /dev/null -w '%%{http_code} ' 'https://%s%s'" % (
        API, p) for p in paths)
    r = weir.sh(script, policy=RULES)
    got = [c.replace("400", "403") for c in r.out.split()]
    assert dict(zip(paths, got)) == paths, r
    for e in lab.seen("http"):
        assert e["head"].startswith("GET /repos/acme/"), e


@pytest.mark.machine
def test_every_request_of_a_connection_is_judged(weir, lab):
    text = "".join("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n" % (m, p, API)
                   for m, p in (("GET", "/repos/acme/1"), ("POST", "/repos/acme/2"),
                                ("GET", "/repos/acme/3")))
    r = raw(weir, text, policy=RULES)
    lines = status_lines(r)
    assert lines[0].startswith("HTTP/1.1 200") and lines[1].startswith("HTTP/1.1 403"), r
    assert not [e for e in lab.seen("http") if e["head"].startswith("POST")], lab.seen("http")


def test_not_http_where_http_is_needed(weir, lab):
    r = raw(weir, "SSH-2.0-OpenSSH_9.2\r\n", policy=RULES, port=80, sni="-")
    assert "SSH" not in json.dumps(lab.seen("http")), lab.seen()
    assert r.json["text"] == "" or " 400" in r.json["text"], r


# Two readers of each of these would see different requests: refused, never forwarded.
GET = "GET / HTTP/1.1\r\nHost: api.example.com\r\n"
POST = "POST /x HTTP/1.1\r\nHost: api.example.com\r\n"
EVIL = "GET /smuggled HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
SMUGGLING = {
    "length and chunked": POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "chunked and length": POST + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + EVIL,
    "two lengths": POST + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + EVIL,
    "length list": POST + "Content-Length: 0, 44\r\n\r\n" + EVIL,
    "length plus": POST + "Content-Length: +5\r\n\r\nhello",
    "length minus": POST + "Content-Length: -1\r\n\r\n",
    "length hex": POST + "Content-Length: 0x5\r\n\r\nhello",
    "length huge": POST + "Content-Length: 99999999999999999999999\r\n\r\nx",
    "length empty": POST + "Content-Length: \r\n\r\n",
    "length spaced": POST + "Content-Length: 1 2\r\n\r\nx",
    "encoding identity": POST + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
    "encoding unknown": POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "encoding twice": POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "encoding two lines": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "encoding not last": POST + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "encoding tab": POST + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "encoding in 1.0": "POST /x HTTP/1.0\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": POST + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "space first": POST + " Content-Length: 5\r\n\r\nhello",
    "folded": GET + "X: a\r\n b\r\n\r\n",
    "bare newline": "GET / HTTP/1.1\nHost: api.example.com\n\n",
    "bare newline in header": GET + "X: a\nContent-Length: 5\r\n\r\n",
    "bare return": GET + "X: a\rContent-Length: 5\r\n\r\n",
    "nul in header": GET + "X: a\x00b\r\n\r\n",
    "control in name": GET + "X\x01Y: a\r\n\r\n",
    "no colon": GET + "nonsense\r\n\r\n",
    "empty name": GET + ": x\r\n\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + "Host: evil.example.net\r\n\r\n",
    "two equal hosts": GET + "Host: api.example.com\r\n\r\n",
    "host list": "GET / HTTP/1.1\r\nHost: api.example.com, evil.example.net\r\n\r\n",
    "host userinfo": "GET / HTTP/1.1\r\nHost: api.example.com@evil.example.net\r\n\r\n",
    "host empty": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "host nul": "GET / HTTP/1.1\r\nHost: api.example.com\x00.evil.example.net\r\n\r\n",
    "target space": "GET / x HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "target control": "GET /\x01 HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "target relative": "GET x HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "version 1.2x": "GET / HTTP/1.12\r\nHost: api.example.com\r\n\r\n",
    "version 0.9": "GET /\r\n\r\n",
    "version lower": "GET / http/1.1\r\nHost: api.example.com\r\n\r\n",
    "version 2": "GET / HTTP/2.0\r\nHost: api.example.com\r\n\r\n",
    "method control": "G\x01T / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "method space": " GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
    "connect": "CONNECT evil.example.net:443 HTTP/1.1\r\nHost: evil.example.net:443\r\n\r\n",
    "chunk size hex": POST + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk size sign": POST + "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "chunk size huge": POST + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "chunk size empty": POST + "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
    "chunk bare newline": POST + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "chunk too long": POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
}


# Parity: weak-3.
@pytest.mark.parametrize("shape", SMUGGLING)
def test_ambiguous_requests_are_refused(weir, lab, shape):
    r = raw(weir, SMUGGLING[shape], intercept=True)
    assert r.json["end"] != "timeout", r
    lines = status_lines(r)
    assert not lines or lines[0].split()[1] in ("400", "403", "405", "414", "421", "431", "501",
                                                "505"), r
    seen = [e for e in lab.seen("http") if "broken" not in e]
    assert not seen, (seen, r)
    assert [e for e in r.find("http") if e["outcome"] != "forwarded"], r


def test_long_heads_are_bounded(weir, lab):
    r = raw(weir, [GET + "X: "] + [["a", 60000]] * 40 + ["\r\n\r\n"])
    lines = status_lines(r)
    assert not lines or lines[0].split()[1] in ("400", "431"), r
    assert not lab.seen("http")
    r = raw(weir, [GET, ["X: y\r\n", 20000], "\r\n"])
    assert not status_lines(r) or status_lines(r)[0].split()[1] in ("400", "431"), r
    assert not lab.seen("http")


def test_t11_prior_knowledge_is_judged(weir, lab):
    r = weir.sh("curl -sS -i --http2-prior-knowledge http://api.example.com/denied", policy=RULES)
    assert r.out.startswith("HTTP/2 403"), r
    assert not lab.seen("http"), r


def test_expect_continue(weir):
    r = weir.sh("head -c 200000 /dev/zero | curl -sS -H 'Expect: 100-continue' --data-binary @- "
                "https://api.example.com/x", intercept=True)
    assert r.json["body"]["size"] == 200000, r


def test_a_byte_at_a_time(weir):
    text = "GET /slow HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n"
    r = raw(weir, list(text))
    assert status_lines(r) == ["HTTP/1.1 200 OK"], r


# Parity: weak-11.
def test_tls_without_a_name(weir, lab):
    """The flow has a name (its address was given out for it); the request must agree."""
    r = raw(weir, GET + "Connection: close\r\n\r\n", sni="")
    for e in lab.seen("http"):
        assert e["head"].find("api.example.com") > 0, e
    r = raw(weir, "GET / HTTP/1.1\r\nHost: files.example.com\r\nConnection: close\r\n\r\n", sni="")
    assert not status_lines(r) or status_lines(r)[0].split()[1] in ("421", "403"), r


def test_not_tls_on_443(weir, lab):
    r = raw(weir, "hello, this is no TLS\r\n\r\n", sni="-")
    assert r.json["end"] != "timeout", r
    assert not lab.seen("http")
