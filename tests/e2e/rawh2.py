# SPDX-License-Identifier: Apache-2.0
"""Runs inside the sandbox, and outside against another proxy: HTTP/2 frames as they are told, right or wrong.

    rawh2.py HOST PORT CAFILE SNI CASES.json

CASES: {"name": [step, ...]}, each on a connection of its own. A step is a list:
    ["headers", stream, [[name, value], ...], END_STREAM?, END_HEADERS?]
    ["data", stream, text, END_STREAM?]
    ["frame", type, flags, stream, hex, times]     any bytes
    ["preface", hex]                               instead of the right one
Prints {"name": {"ended": BOOL, "goaway": code, "resets": {stream: code}, "status": {stream: "200"}, "body": {..}}}.
"""

import concurrent.futures
import json
import socket
import ssl
import struct
import sys

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
IDLE = 1.5
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def encode(fields):
    """Literal, never indexed, not compressed: names and values as they are."""
    def text(b):
        n = len(b)
        if n < 127:
            return bytes([n]) + b
        out, n = b"\x7f", n - 127
        while n >= 128:
            out, n = out + bytes([n % 128 + 128]), n // 128
        return out + bytes([n]) + b

    return b"".join(b"\x10" + text(n.encode("latin-1")) + text(v.encode("latin-1")) for n, v in fields)


def bytes_of(steps):
    out = b"" if steps and steps[0][0] == "preface" else PREFACE + frame(4, 0, 0)
    for kind, *a in steps:
        if kind == "preface":
            out += bytes.fromhex(a[0])
        elif kind == "headers":
            flags = (END_STREAM if a[2] else 0) | (END_HEADERS if len(a) < 4 or a[3] else 0)
            block = encode(a[1])
            first, rest = block[:16384], block[16384:]
            if rest and flags & END_HEADERS:
                out += frame(1, flags & ~END_HEADERS, a[0], first)
                while rest:
                    out += frame(9, 0 if len(rest) > 16384 else END_HEADERS, a[0], rest[:16384])
                    rest = rest[16384:]
            else:
                out += frame(1, flags, a[0], first)
        elif kind == "data":
            out += frame(0, END_STREAM if a[2] else 0, a[0], a[1].encode("latin-1"))
        else:
            out += frame(a[0], a[1], a[2], bytes.fromhex(a[3])) * (a[4] if len(a) > 4 else 1)
    return out


class Reply:
    def __init__(self):
        self.told = {"ended": False, "goaway": None, "resets": {}, "status": {}, "body": {}}
        self.decoder, self.block = hpack.Decoder(max_header_list_size=1 << 20), b""

    def frames(self, b):
        while len(b) >= 9:
            n = int.from_bytes(b[:3], "big")
            if len(b) < 9 + n:
                break
            self.one(b[3], b[4], struct.unpack(">I", b[5:9])[0] & 0x7FFFFFFF, b[9:9 + n])
            b = b[9 + n:]
        return b

    def one(self, kind, flags, stream, p):
        key = str(stream)
        if kind == 7:
            self.told["goaway"] = struct.unpack(">I", p[4:8])[0]
        elif kind == 3:
            self.told["resets"][key] = struct.unpack(">I", p)[0]
        elif kind == 0:
            self.told["body"][key] = self.told["body"].get(key, "") + p[:2000].decode("latin-1")
        elif kind in (1, 9):
            self.block += p[5:] if kind == 1 and flags & 0x20 else p
            if flags & END_HEADERS:
                fields = self.decoder.decode(self.block)
                self.block = b""
                for n, v in fields:
                    if n == ":status":
                        self.told["status"][key] = v


def one(host, port, ca, sni, steps):
    x = ssl.create_default_context(cafile=ca)
    x.set_alpn_protocols(["h2"])
    s = x.wrap_socket(socket.create_connection((host, port), timeout=20), server_hostname=sni)
    reply, rest = Reply(), b""
    try:
        text = bytes_of(steps)
        s.settimeout(5)
        for i in range(0, len(text), 65536):
            s.sendall(text[i:i + 65536])
    except OSError:
        pass  # what was said before is still to be read
    try:
        s.settimeout(IDLE)
        while True:
            b = s.recv(65536)
            if not b:
                reply.told["ended"] = True
                break
            rest = reply.frames(rest + b)
    except socket.timeout:
        pass
    except OSError:
        reply.told["ended"] = True
    s.close()
    return reply.told


def main():
    host, port, ca, sni, path = sys.argv[1:]
    with open(path, encoding="utf-8") as f:
        cases = json.load(f)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = {n: pool.submit(one, host, int(port), ca, sni, c) for n, c in cases.items()}
        out = {}
        for n, j in jobs.items():
            try:
                out[n] = j.result()
            except OSError as e:
                out[n] = {"ended": True, "goaway": None, "resets": {}, "status": {}, "body": {}, "error": str(e)}
    print(json.dumps(out))


main()
