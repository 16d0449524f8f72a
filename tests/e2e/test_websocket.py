# SPDX-License-Identifier: Apache-2.0
"""WebSocket through the filter, permessage-deflate included: a client and a server that are real."""

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
