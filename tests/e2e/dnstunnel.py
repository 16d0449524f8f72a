# SPDX-License-Identifier: Apache-2.0
"""Clients of test_dns_tunnel.py that run inside the sandbox. Standard library only.

    dnstunnel.py send DOMAIN SECONDS BYTES    data in labels, all types, as fast as answers come
    dnstunnel.py order DOMAIN SECONDS NAMES   data in which of a few known names is asked
    dnstunnel.py spread SECONDS               data in names of many domains, over UDP and TCP at once
    dnstunnel.py relay                        framed datagrams from stdin to the resolver and back
"""

import base64
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time

RESOLVER = ("192.0.0.1", 53)
TYPES = {"A": 1, "NULL": 10, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "CNAME": 5, "HTTPS": 65}
IN_FLIGHT = 32


def question(n, name, qtype):
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    return struct.pack(">HHHHHH", n & 0xffff, 0x0100, 1, 0, 0, 0) + labels + b"\0" + \
        struct.pack(">HH", qtype, 1)


def chunked(data, seq, domain):
    """The name that carries this chunk: its number, then base32 in labels of 63."""
    text = base64.b32encode(data).decode().rstrip("=").lower()
    labels = [text[i:i + 63] for i in range(0, len(text), 63)]
    return ".".join(["%x" % seq] + labels + [domain])


def pump(names, seconds):
    """Ask each (name, type) once, with a window of questions under way."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(RESOLVER)
    end, sent, rcodes, open_ids = time.monotonic() + seconds, 0, {}, {}
    for name, qtype in names:
        while len(open_ids) >= IN_FLIGHT or select.select([s], [], [], 0)[0]:
            if not select.select([s], [], [], 1)[0]:
                open_ids.clear()
                break
            reply = s.recv(4096)
            rcodes[reply[3] & 15] = rcodes.get(reply[3] & 15, 0) + 1
            open_ids.pop(reply[:2], None)
        if time.monotonic() > end:
            break
        q = question(sent, name, qtype)
        open_ids[q[:2]] = True
        s.send(q)
        sent += 1
    time.sleep(0.5)
    print(json.dumps({"sent": sent, "rcodes": rcodes}))


def send(domain, seconds, size):
    room = 253 - len(domain) - 8 - 4
    step = room * 5 // 8
    types = list(TYPES.values())

    def names():
        for seq, at in enumerate(range(0, size, step)):
            chunk = os.urandom(min(step, size - at))
            # Most as A; the others must not carry more.
            yield chunked(chunk, seq, domain), types[seq % len(types)] if seq % 4 == 3 else 1

    pump(names(), seconds)


def order(domain, seconds, n):
    def names():
        for i in range(n):
            yield "w%d.%s" % (i, domain), 1
        while True:
            # A name that is asked again within a second comes from the cache and says nothing.
            for i in random.sample(range(n), n):
                yield "w%d.%s" % (i, domain), 1
            time.sleep(1.1)

    pump(names(), seconds)


def spread(seconds):
    suffixes = ["com", "net", "co.uk", "github.io", "example.net", "zz"]

    def names(seed):
        r = random.Random(seed)
        while True:
            yield "%030x.d%d.%s" % (r.getrandbits(120), r.randrange(4000), r.choice(suffixes)), \
                r.choice(list(TYPES.values()))

    def pipelined():
        end = time.monotonic() + seconds
        s = socket.create_connection(RESOLVER, 5)
        replies = s.makefile("rb")
        for name, qtype in names(1):
            if time.monotonic() > end:
                break
            q = question(0, name, qtype)
            s.sendall((struct.pack(">H", len(q)) + q) * 2)
            for _ in range(2):
                replies.read(struct.unpack(">H", replies.read(2))[0])

    t = threading.Thread(target=pipelined)
    t.start()
    pump(names(2), seconds)
    t.join()


def relay():
    """[number, length, datagram] each way; one socket per number."""
    socks, buf = {}, b""
    while True:
        ready = select.select([0] + list(socks.values()), [], [])[0]
        if 0 in ready:
            part = os.read(0, 65536)
            if not part:
                return
            buf += part
        while len(buf) >= 4:
            n, size = struct.unpack(">HH", buf[:4])
            if len(buf) < 4 + size:
                break
            if n not in socks:
                socks[n] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                socks[n].connect(RESOLVER)
            socks[n].send(buf[4:4 + size])
            buf = buf[4 + size:]
        for n, s in socks.items():
            if s in ready:
                msg = s.recv(65535)
                os.write(1, struct.pack(">HH", n, len(msg)) + msg)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1] == "order":
        order(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1] == "spread":
        spread(float(sys.argv[2]))
    else:
        relay()
