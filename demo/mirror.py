# SPDX-License-Identifier: Apache-2.0
"""What STUN does: servers that tell a client where it is seen to come from.

    python3 mirror.py serve ADDRESS...      UDP port 3478 of each
    python3 mirror.py ask ADDRESS...        all of them, from one socket
"""

import select
import socket
import sys

PORT = 3478


def serve(addresses):
    sockets = []
    for address in addresses:
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].bind((address, PORT))
    print("ready", flush=True)
    while True:
        for s in select.select(sockets, [], [])[0]:
            _, peer = s.recvfrom(2048)
            s.sendto(("%s:%d" % peer).encode(), peer)


def ask(addresses):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    for address in addresses:
        s.sendto(b"who am I?", (address, PORT))
        answer, peer = s.recvfrom(2048)
        print("%s sees us as %s" % (peer[0], answer.decode()))


{"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2:])
