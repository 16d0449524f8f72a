# SPDX-License-Identifier: Apache-2.0
"""Runs inside the sandbox, and outside against the other proxies: bytes as they are, each case on its connection.

    rawclient.py HOST PORT CAFILE|- CASES.json

CASES: {"name": {"pieces": [hex, ...], "wait": BOOL}}; wait: a reply is awaited after each piece. Prints
{"name": hex of all that came back}.
"""

import concurrent.futures
import json
import os
import socket
import ssl
import sys
import time

PATIENCE = int(os.environ.get("GUEST_PATIENCE", "1"))  # as in guest.py
IDLE = 1.5 * PATIENCE  # seconds without a byte that end a case
AT_ONCE = 12 // PATIENCE  # more handshakes than the processor does in their time would all be lost


def listen(s, idle):
    out = b""
    s.settimeout(idle)
    try:
        while True:
            b = s.recv(65536)
            if not b:
                return out, True
            out += b
    except socket.timeout:
        return out, False
    except OSError:
        return out, True


def tls(ca):
    if ca == "-":
        return None
    x = ssl.create_default_context(cafile=ca)
    x.set_alpn_protocols(["http/1.1"])
    return x


def one(host, port, x, case):
    s = socket.create_connection((host, port), timeout=20)
    if x:
        s = x.wrap_socket(s, server_hostname=host)
    out, ended = b"", False
    try:
        for p in case["pieces"]:
            s.settimeout(20)
            s.sendall(bytes.fromhex(p))
            if case.get("wait"):
                got, ended = listen(s, 0.5 * PATIENCE)
                out += got
            else:
                time.sleep(0.02)
    except OSError:
        ended = True
    if not ended:
        out += listen(s, IDLE)[0]
    s.close()
    return out.hex()


def main():
    host, port, ca, path = sys.argv[1:]
    with open(path, encoding="ascii") as f:
        cases = json.load(f)
    x = tls(ca)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {n: pool.submit(one, host, int(port), x, c) for n, c in cases.items()}
        out = {}
        for n, j in jobs.items():
            try:
                out[n] = j.result()
            except OSError as e:
                out[n] = ("error: %s" % e).encode().hex()
    print(json.dumps(out))


main()
