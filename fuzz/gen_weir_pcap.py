#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_weir_pcap: small captures, each of one thing.

usage: fuzz/gen_weir_pcap.py [CORPUS]    (default fuzz/corpus)
"""

import ipaddress
import struct

import seeds

GUEST, RESOLVER, API, EVIL = "10.1.2.3", "10.1.2.1", "93.184.216.10", "93.184.216.14"
GUEST6, API6 = "2001:db8::3", "2606:2800:220:1::10"


def packed(a):
    return ipaddress.ip_address(a).packed


def ip(src, dst, proto, payload, fragment=0, options=b""):
    s, d = packed(src), packed(dst)
    if len(s) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + s + d + payload
    words = 5 + len(options) // 4
    return struct.pack("!BBHHHBBH", 4 << 4 | words, 0, words * 4 + len(payload), 1, fragment, 64,
                       proto, 0) + s + d + options + payload


def extended(src, dst, chain, proto, payload):
    """IPv6 with extension headers: [(type, body of 8n-2 bytes)]."""
    out, following = payload, proto
    for kind, body in reversed(chain):
        out = bytes([following, 0 if kind == 44 else (len(body) + 2) // 8 - 1]) + body + out
        following = kind
    return ip(src, dst, following, out)


def udp(sport, dport, data):
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def tcp(sport, dport, seq, flags, data=b""):
    return struct.pack("!HHIIBBHHH", sport, dport, seq % 2**32, 0, 5 << 4, flags, 65535, 0, 0) + data


SYN, ACK, FIN, RST = 2, 16, 1, 4


def conversation(dst, port, data, src=GUEST, size=1400, isn=1000, sport=40000):
    """The frames of a connection whose client says data."""
    yield ip(src, dst, 6, tcp(sport, port, isn, SYN))
    yield ip(dst, src, 6, tcp(port, sport, 77, SYN | ACK))
    for at in range(0, len(data), size):
        yield ip(src, dst, 6, tcp(sport, port, isn + 1 + at, ACK, data[at:at + size]))
    yield ip(src, dst, 6, tcp(sport, port, isn + 1 + len(data), FIN | ACK))


def name(text):
    return b"".join(bytes([len(x)]) + x.encode() for x in text.split(".")) + b"\0"


def query(text, kind=1):
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name(text) + struct.pack("!HH", kind, 1)


def answer(text, addresses, alias=None):
    n = len(addresses) + bool(alias)
    out = struct.pack("!HHHHHH", 7, 0x8180, 1, n, 0, 0) + name(text) + struct.pack("!HH", 1, 1)
    owner = b"\xc0\x0c"
    if alias:
        target = name(alias)
        out += owner + struct.pack("!HHIH", 5, 1, 60, len(target)) + target
        owner = target
    for a in addresses:
        p = packed(a)
        out += owner + struct.pack("!HHIH", 1 if len(p) == 4 else 28, 1, 60, len(p)) + p
    return out


def lookup(text, addresses, alias=None):
    yield ip(GUEST, RESOLVER, 17, udp(5000, 53, query(text)))
    yield ip(RESOLVER, GUEST, 17, udp(53, 5000, answer(text, addresses, alias)))


def hello(sni):
    entry = b"\0" + struct.pack("!H", len(sni)) + sni.encode()
    ext = struct.pack("!HHH", 0, len(entry) + 2, len(entry)) + entry
    body = (b"\x03\x03" + bytes(32) + b"\0" + struct.pack("!H", 2) + b"\x13\x01" + b"\x01\0" +
            struct.pack("!H", len(ext)) + ext)
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


REQUEST = b"GET /v1/me?x=1 HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
POST = b"POST /v1/me HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 2\r\n\r\nhi"

ETHER = bytes(12) + b"\x08\0"
ETHER6 = bytes(12) + b"\x86\xdd"


def ether(frames):
    return [(ETHER6 if f[0] >> 4 == 6 else ETHER) + f for f in frames]


def pcap(frames, link=1, order="<", cut=None):
    out = struct.pack(order + "IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, link)
    for i, f in enumerate(frames):
        kept = f[:cut] if cut else f
        out += struct.pack(order + "IIII", i, 0, len(kept), len(f)) + kept
    return out


def block(kind, body):
    body += bytes(-len(body) % 4)
    n = len(body) + 12
    return struct.pack("<II", kind, n) + body + struct.pack("<I", n)


def pcapng(frames):
    out = block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1))
    out += block(1, struct.pack("<HHI", 1, 0, 65535))
    out += block(10, struct.pack("<II", 0x544c534b, 4) + b"key\n")
    for i, f in enumerate(frames):
        out += block(6, struct.pack("<IIIII", 0, 0, i, len(f), len(f)) + f)
    return out


def captures():
    dns = list(lookup("api.example.com", [API, API6], "edge.example.com"))
    http = list(conversation(API, 80, REQUEST + REQUEST + POST))
    yield "http.pcap", pcap(ether(dns + http))
    yield "tls.pcapng", pcapng(ether(dns + list(conversation(API, 443, hello("api.example.com")))))
    yield "tls-claimed.pcap", pcap(ether(conversation(EVIL, 443, hello("api.example.com"))))
    yield "segments.pcap", pcap(ether(dns + list(conversation(API, 80, REQUEST, size=7))))
    late = list(conversation(API, 443, hello("api.example.com"), size=16))
    yield "out-of-order.pcap", pcap(ether(dns + late[:2] + late[6:2:-1] + late[2:]))
    yield "wrapped-sequence.pcap", pcap(ether(conversation(API, 80, REQUEST, isn=2**32 - 20, size=9)))
    yield "ports-again.pcap", pcap(ether([*http, *conversation(API, 80, POST, isn=9000)]))
    yield "midway.pcap", pcap(ether([ip(GUEST, API, 6, tcp(4000, 443, 5, ACK, b"later bytes"))]))
    yield "reset.pcap", pcap(ether([ip(GUEST, EVIL, 6, tcp(4000, 22, 5, SYN)),
                                    ip(EVIL, GUEST, 6, tcp(22, 4000, 0, RST | ACK))]))
    over_tcp = query("api.example.com")
    yield "dns-tcp.pcap", pcap(ether(conversation(
        RESOLVER, 53, struct.pack("!H", len(over_tcp)) + over_tcp, size=5)))
    yield "rebinding.pcap", pcap(ether(lookup("x.example.com", ["10.0.0.1", "127.0.0.1"])))
    yield "denied-alias.pcap", pcap(ether(lookup("x.example.com", [EVIL], "evil.example.net")))
    yield "udp-echo.pcap", pcap(ether([ip(GUEST, API, 17, udp(1, 123, b"x")),
                                       ip(GUEST, API, 1, b"\x08\0\0\0\0\1\0\1"),
                                       ip(API, GUEST, 1, b"\0\0\0\0\0\1\0\1")]))
    yield "ipv6.pcap", pcap(ether(conversation(API6, 443, hello("api.example.com"), GUEST6)))
    yield "extensions.pcap", pcap(ether([
        extended(GUEST6, API6, [(0, bytes(6)), (60, bytes(14)), (43, bytes(6))], 17, udp(1, 9, b"x")),
        extended(GUEST6, API6, [(44, b"\0\1\0\0\0\1")], 17, udp(1, 9, b"x")),
        extended(GUEST6, API6, [(44, b"\0\x08\0\0\0\1")], 17, b"rest"),
        ip(GUEST6, API6, 58, b"\x80\0\0\0\0\1\0\1"), ip(GUEST6, "ff02::1", 59, b"")]))
    yield "fragments.pcap", pcap(ether([ip(GUEST, API, 17, udp(1, 9, b"first"), 0x2000),
                                        ip(GUEST, API, 17, b"second", 2)]))
    yield "options.pcap", pcap(ether([ip(GUEST, API, 6, tcp(1, 443, 1, SYN), options=b"\1\1\1\0")]))
    vlan = bytes(12) + b"\x88\xa8\0\7\x81\0\0\x08\x08\0"
    yield "vlan.pcap", pcap([vlan + f for f in http])
    yield "cooked.pcap", pcap([bytes(14) + b"\x08\0" + f for f in http], 113)
    yield "cooked2.pcap", pcap([b"\x08\0" + bytes(18) + f for f in http], 276)
    yield "raw.pcap", pcap(http, 101, ">")
    yield "loopback.pcap", pcap([b"\2\0\0\0" + f for f in http], 0)
    yield "snapped.pcap", pcap(ether(http), cut=60)
    yield "link-only.pcap", pcap([bytes(12) + b"\x08\x06" + bytes(28), b"short",
                                  *ether([ip(GUEST, API, 2, b"igmp"), ip(GUEST, API, 132, b"sctp"),
                                          ip("0.0.0.0", "255.255.255.255", 17, udp(68, 67, b"d"))])])
    yield "cut-off.pcap", pcap(ether(http))[:-9]
    yield "lying-lengths.pcap", pcap(ether([
        b"\x45\0\xff\xff" + ip(GUEST, API, 6, tcp(1, 2, 3, SYN))[4:],
        b"\x4f" + ip(GUEST, API, 6, tcp(1, 2, 3, SYN))[1:],
        ip(GUEST, API, 17, b"\0\1\0\2\0\3\0\0"), ip(GUEST, API, 6, tcp(1, 2, 3, SYN)[:12])]))


seeds.write("weir_pcap", captures())
