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


TCP = {
    world.ECHO: echo, world.DISCARD: discard, world.CHARGEN: chargen, world.DIGEST: digest,
    world.GREET: greet, world.RESET: reset, world.SLUGGISH: sluggish, world.BOTH: both,
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
