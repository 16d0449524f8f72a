# SPDX-License-Identifier: Apache-2.0
"""Plain TCP and UDP services of echo.example.com: echo, throughput, and the orders of closing."""

import hashlib
import socket
import struct
import threading
import time

import data
import world


def abort(s):
    """Close with a reset."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def echo(s):
    while True:
        b = s.recv(262144)
        if not b:
            break
        s.sendall(b)


def discard(s):
    buf = bytearray(262144)
    while s.recv_into(buf):
        pass


def chargen(s):
    for b in data.blocks(1 << 40):
        s.sendall(b)


def digest(s, pause=0.0, piece=262144):
    h, n = hashlib.sha256(), 0
    while True:
        b = s.recv(piece)
        if not b:
            break
        h.update(b)
        n += len(b)
        if pause:
            time.sleep(pause)
    s.sendall(b"%d %s\n" % (n, h.hexdigest().encode()))


def greet(s):
    s.sendall(b"hello\n")
    s.shutdown(socket.SHUT_WR)
    discard(s)


def reset(s):
    s.recv(1)
    abort(s)


def sluggish(s):
    digest(s, pause=0.05, piece=65536)


def both(s):
    s.recv(1)
    s.shutdown(socket.SHUT_RDWR)


def head(s):
    b = b""
    while not b.endswith(b"\r\n\r\n"):
        more = s.recv(1)
        if not more:
            return b
        b += more
    return b


def copy(a, b):
    try:
        while True:
            d = a.recv(65536)
            if not d:
                break
            b.sendall(d)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        try:
            abort(b)
        except OSError:
            pass  # the other direction has closed it


def proxy(s):
    """As proxies of the world: whoever asks with x:y is let through to any host."""
    first = head(s)
    if not first:
        return
    method, target = first.split(b" ")[:2]
    if b"\r\nProxy-Authorization: Basic eDp5\r\n" not in first:
        s.sendall(b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=lab\r\n"
                  b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        return
    tunnel = method == b"CONNECT"
    where = target if tunnel else target.split(b"/")[2]
    host, _, port = where.decode().partition(":")
    up = socket.create_connection((world.v4(host), int(port or 80)))
    if tunnel:
        s.sendall(b"HTTP/1.0 200 Connection established\r\n\r\n")
    else:
        up.sendall(first.replace(target, b"/" + target.split(b"/", 3)[3], 1))
    threading.Thread(target=copy, args=(s, up), daemon=True).start()
    copy(up, s)
    up.close()


TCP = {
    world.ECHO: echo, world.DISCARD: discard, world.CHARGEN: chargen, world.DIGEST: digest,
    world.PROXY: proxy, world.PROXY_ODD: proxy, world.GREET: greet, world.RESET: reset, world.SLUGGISH: sluggish, world.BOTH: both,
}


def serve(log, listener, service, server):
    def one(c, peer):
        try:
            service(c)
        except OSError:
            pass  # the peer went away: that is its right
        finally:
            c.close()

    while True:
        c, peer = listener.accept()
        log("tcp", server=server, port=listener.getsockname()[1], client=peer[0])
        threading.Thread(target=one, args=(c, peer), daemon=True).start()


def udp_echo(log, s, server):
    while True:
        b, peer = s.recvfrom(65535)
        log("udp", server=server, client=peer[0], size=len(b))
        try:
            s.sendto(b, peer)
        except OSError:
            pass


def listen(addr, port):
    s = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port))
    s.listen(1024)
    return s


def start(log):
    for addr in world.addresses("echo.example.com"):
        for port, service in TCP.items():
            threading.Thread(target=serve, args=(log, listen(addr, port), service, addr),
                             daemon=True).start()
        for port in (world.ECHO, world.QUIC):
            u = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET,
                              socket.SOCK_DGRAM)
            u.bind((addr, port))
            threading.Thread(target=udp_echo, args=(log, u, addr), daemon=True).start()
