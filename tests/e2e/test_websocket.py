# SPDX-License-Identifier: Apache-2.0
"""WebSocket through the filter, permessage-deflate included: a client and a server that are real."""

import json

import h2lab
import pytest
from test_clients_tls import python, python_has

SECRET = ["--secret", "LAB_TOKEN:websocket@h2.example.com"]

CLIENT = """
import asyncio, json, os, websockets
async def main():
    token = os.environ["LAB_TOKEN"]
    async with websockets.connect("wss://h2.example.com/ws", max_size=None) as w:
        async def say(m):
            await w.send(m)
            return await w.recv()
        try:
            %s
        except websockets.ConnectionClosed as e:
            print("closed", e.rcvd.code, e.rcvd.reason)
asyncio.run(main())
"""


@pytest.fixture
def ws(h2):
    if not h2.websocket:
        pytest.skip("node-ws is not installed")
    return h2


@python_has("websockets")
def test_lesson_34_messages_arrive_as_they_were(weir, ws, lab):
    """Whatever holds no placeholder is the same at both ends: binary, large, in fragments, empty."""
    r = python(weir, CLIENT % """
            parts = [b"\\xff" * 70000, b"", bytes(range(256))]
            out = [await say(m) for m in (bytes(range(256)) * 300, "x" * 200000, "", b"\\0", parts)]
            print(out == [bytes(range(256)) * 300, "x" * 200000, "", b"\\0", b"".join(parts)], w.extensions != [])""",
               flags=SECRET)
    assert r.out == "True True\n", r
    opened = ws.seen("ws", event="open")
    assert opened and "permessage-deflate" in opened[0]["extensions"], opened
    assert [e["size"] for e in ws.seen("ws", event="binary")] == [76800, 1, 70256]


@python_has("websockets")
@pytest.mark.machine
def test_a_secret_in_text(weir, ws, lab):
    """The server gets the value, the guest its placeholder again, also as JSON and in fragments."""
    r = python(weir, CLIENT % """
            half = len(token) // 2
            print([await say(m) for m in (token, json.dumps({"auth": token}), ["a" + token[:half], token[half:] + "b"])]
                  == [token, json.dumps({"auth": token}), "a" + token + "b"])""", flags=SECRET)
    assert r.out == "True\n", r
    assert lab.token not in r.out + r.err
    assert [e["data"] for e in ws.seen("ws", event="text")] == [
        lab.token, '{"auth": "%s"}' % lab.token, "a" + lab.token + "b"]
    assert r.find("secret", event="used")[0]["place"] == "websocket", r


@python_has("websockets")
@pytest.mark.parametrize("message", ["token.encode()", "b'x' * 100000 + token.encode()"], ids=["short", "long"])
def test_a_violation_closes_both_ends(weir, ws, lab, message):
    r = python(weir, CLIENT % ("print(await say('hi')); print(await say(%s))" % message), flags=SECRET)
    assert r.out.startswith("hi\nclosed 1008 weir: a secret where it may not be"), r
    assert r.find("secret", event="violation")[0]["place"] == "websocket", r
    assert lab.token not in lab.seen_text() and [e["code"] for e in ws.seen("ws", event="close")] == [1008]
    assert not ws.seen("ws", event="binary")


# Two streams of one connection, each a WebSocket, and a request between them.
OVER_H2 = """
const http2 = require('http2'), WebSocket = require('ws'), token = process.env.LAB_TOKEN;
const session = http2.connect('https://h2ws.example.com');
const said = { got: [], closed: [] };

function open(path) {
  return new Promise((done, fail) => {
    const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': path,
      'sec-websocket-version': '13' }, { endStream: false });
    stream.on('error', fail);
    stream.on('response', (h) => {
      const w = new WebSocket(null);
      said.status = h[':status'];
      stream.setNoDelay = () => stream;
      w._isServer = false; // the library's client knows HTTP/1 only
      w.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 24, skipUTF8Validation: false });
      done(w);
    });
  });
}

function say(w, m) {
  return new Promise((done) => {
    w.once('message', (b, binary) => done(binary ? b.length : b.toString()));
    w.send(m);
  });
}

async function main() {
  await new Promise((go) => session.once('remoteSettings', go));
  said.offered = session.remoteSettings.enableConnectProtocol;
  while (!session.remoteSettings.enableConnectProtocol) { // the server's own may come a moment later
    await new Promise((go) => session.once('remoteSettings', go));
  }
  said.alpn = session.alpnProtocol;
  const a = await open('/ws'), b = await open('/ws?say=hello');
  b.once('message', (m) => said.got.push(m.toString()));
  said.got.push(await say(a, 'x'.repeat(100000)) === 'x'.repeat(100000));
  said.got.push(await say(a, Buffer.alloc(70000, 255)));
  said.got.push(await say(a, token) === token);
  const r = session.request({ ':path': '/echo' });
  said.got.push(await new Promise((done) => r.on('response', (h) => done(h[':status']))));
  for (const [w, m] of [[a, 'close'], [b, Buffer.from(token)]]) {
    await new Promise((done) => {
      w.on('close', (code) => done(said.closed.push(code)));
      w.send(m);
    });
  }
  console.log(JSON.stringify(said));
  process.exit(0);
}
main();
"""


# Parity: t11.
def test_over_http2(weir, ws, lab):
    """RFC 8441 between a guest and a server that both speak HTTP/2: read as over HTTP/1, each stream by itself."""
    r = weir.sh("NODE_PATH=%s exec node %s" % (h2lab.node_path(), weir.file("over.js", OVER_H2)), intercept=True,
                flags=["--secret", "LAB_TOKEN:websocket@h2ws.example.com"])
    said = json.loads(r.out)
    assert said["alpn"] == "h2" and said["status"] == 200, r
    assert sorted(map(str, said["got"])) == ["200", "70000", "True", "True", "hello"], r
    assert said["closed"] == [4000, 1008], r
    opened = ws.seen("ws", event="open")
    assert [e["extended"] for e in opened] == [True, True] and {e["proto"] for e in opened} == {"h2"}, opened
    assert len({e["session"] for e in opened}) == 1 and len({e["stream"] for e in opened}) == 2, opened
    assert lab.token in [e["data"] for e in ws.seen("ws", event="text")]
    assert lab.token not in r.out + r.err
    assert r.find("secret", event="violation")[0]["place"] == "websocket", r
