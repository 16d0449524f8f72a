# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as a user meets it: denials, one authority, another policy in the midst of streams, load."""
import json

import pytest

from test_reload import Live


def paths(*allowed):
    return {"policy": {"default_egress": "deny", "rules": [
        {"id": "some", "action": "allow", "destination": ".example.com", "http": {"paths": list(allowed)}}]}}


@pytest.mark.machine
def test_a_denial_is_an_answer_and_the_connection_stays(weir, h2):
    r = weir.sh("curl -sS --http2 -i https://h2.example.com/denied "
                "--next -sS --http2 -o /dev/null -w '%{http_code} %{num_connects}' https://h2.example.com/echo",
                intercept=True, policy=paths("/echo"))
    head, rest = r.out.split("\r\n\r\n", 1)
    body, status = rest.split("\n", 1)
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert head.startswith("HTTP/2 403") and status == "200 0", r
    assert fields["content-type"] == "application/problem+json", r
    assert fields["proxy-status"].startswith("weir; error=http_request_denied"), r
    assert json.loads(body)["id"] in fields["proxy-status"], r
    assert not h2.seen(path="/denied") and h2.seen(path="/echo")


def test_a_large_upload_is_refused_before_it_is_read(weir, h2):
    r = weir.sh("head -c 5000000 /dev/zero | curl -sS --http2 -o /dev/null -w '%{http_code} %{size_upload}' "
                "--data-binary @- https://h2.example.com/denied", intercept=True, policy=paths("/echo"))
    status, sent = r.out.split()
    assert status == "403" and int(sent) < 2000000, r


# Parity: weak-16.
def test_t10_one_authority_for_each_connection(weir, h2):
    r = weir.sh("curl -sS --http2 -i -H 'Host: h2only.example.com' https://h2.example.com/echo "
                "--next -sS --http2 -o /dev/null -w '%{http_code} %{num_connects}' https://h2.example.com/echo",
                intercept=True)
    assert r.out.startswith("HTTP/2 421") and r.out.endswith("200 0"), r
    assert [e["outcome"] for e in r.find("http")] == ["misdirected", "forwarded"], r


# p8-29: a policy that changes ends the streams that it denies, and no others.
def test_another_policy_resets_only_what_it_denies(weir, h2):
    script = """
const s = require('http2').connect('https://h2.example.com');
const open = (name, path) => {
  const r = s.request({ ':method': 'POST', ':path': path });
  r.on('data', (d) => console.log(name, String(d)));
  r.on('error', () => {});
  r.on('close', () => console.log(name, 'closed'));
  setInterval(() => r.closed || r.write('x'), 100);
};
s.on('goaway', () => console.log('goaway'));
open('a', '/mirror');
open('b', '/lab.Echo/Unary');
"""
    live = Live(weir, "node", "-e", script, name="streams", intercept=True, policy=paths("/mirror", "/lab.Echo/**"))
    try:
        lines = live.lines()
        seen = set()
        while not {b"a x", b"b x"} <= seen:
            line = next(lines)
            seen.add(line.split()[0] + b" x" if b"x" in line else line.strip())
        assert live.set(paths("/lab.Echo/**")).returncode == 0
        while b"a closed" not in seen:
            seen.add(next(lines).strip())
        for _ in range(5):
            assert next(lines).startswith(b"b x")
        denied = live.events("http", outcome="denied")
        assert [e["path"] for e in denied] == ["/mirror"], denied
    finally:
        live.end()


HANG_UP = """
const http2 = require('http2'), out = {};
const connect = () => http2.connect('https://h2.example.com').on('error', () => {});

function ask(session, method, path) {
  return new Promise((done) => {
    const r = session.request({ ':method': method, ':path': path });
    let status = 0, body = '';
    r.on('response', (h) => { status = h[':status']; });
    r.on('data', (b) => { body += b; });
    r.on('error', () => {});
    r.on('close', () => done({ status, body, code: r.rstCode }));
    r.end(method === 'POST' ? 'data' : undefined);
  });
}

async function main() {
  for (const method of ['GET', 'POST']) {
    const path = '/hang-up?how=' + process.argv[1] + '&key=' + method + process.argv[1], session = connect();
    await ask(session, 'GET', '/echo');
    out[method] = await ask(session, method, path);
    out[method].closed = await new Promise((go) => session.closed ? go(true) : session.on('close', () => go(true)));
    out[method + ' again'] = await ask(connect(), method, path);
  }
  console.log(JSON.stringify(out));
  process.exit(0);
}
main();
"""


@pytest.mark.parametrize("how", ["goaway", "close", "reset"])
def test_an_upstream_that_hangs_up_is_no_riddle(weir, h2, how):
    """Under a request on a connection that was kept: given back to be sent again where that is safe, or told why."""
    r = weir.run("node", "-e", HANG_UP, how, intercept=True)
    refused = {"status": 0, "body": "", "code": 7, "closed": True}
    assert r.json["GET"] == refused, r
    # Only GOAWAY says that nothing was done with a POST.
    if how == "goaway":
        assert r.json["POST"] == refused, r
    else:
        assert r.json["POST"]["status"] == 502 and "without an answer" in r.json["POST"]["body"], r
    for again in ("GET again", "POST again"):
        assert r.json[again]["status"] == 200, r
    told = [e["detail"] for e in r.find("http", outcome="upstream_failed")]
    assert len(told) == 2 and all("the upstream" in t for t in told), told


def test_a_request_given_up_is_on_the_record_as_that(weir, h2):
    script = """
const s = require('http2').connect('https://h2.example.com');
const r = s.request({ ':path': '/hold?key=given-up' });
r.on('error', () => {});
setTimeout(() => r.close(8), 700);
setTimeout(() => s.request({ ':path': '/echo' }).on('response', () => process.exit(0)), 1000);
"""
    r = weir.run("node", "-e", script, intercept=True)
    gone = r.find("http", path="/hold?key=given-up")
    assert [(e["outcome"], e["verdict"], e["status"]) for e in gone] == [("cancelled", "allow", 0)], r
    assert "gave the request up unanswered" in gone[0]["detail"], r
    assert h2.seen(path="/hold?key=given-up"), "it did go out"


def test_load(weir, h2):
    r = weir.sh("h2load -n 3000 -c 3 -m 50 https://h2.example.com/bytes/1000 | grep '^requests'; "
                "nghttp -sn -m 20 https://h2.example.com/bytes/300000 >/dev/null && echo fine", intercept=True)
    assert "3000 succeeded, 0 failed" in r.out and "fine" in r.out, r


def test_t11_prior_knowledge_with_trailers(weir, h2):
    r = weir.sh("printf '\\0\\0\\0\\0\\1a' > /tmp/message; "
                "curl -sS -i --http2-prior-knowledge -H 'TE: trailers' -H 'Content-Type: application/grpc' "
                "--data-binary @/tmp/message http://h2.example.com/lab.Echo/Unary | tr -d '\\0'", policy=paths("/lab.Echo/**"))
    assert "grpc-status: 0" in r.out and "HTTP/2 200" in r.out, r
    assert [e["path"] for e in r.find("http")] == ["/lab.Echo/Unary"], r
