# SPDX-License-Identifier: Apache-2.0
"""The client's side of tls.py, in the client's place: runs what it is told, or holds connections open.

    tls_inside.py run              lines of JSON {"argv": [...], "copies": N, "seconds": S, "limit": L} on stdin,
                                   answers on stdout: N at once, and again until S seconds are over; who has not
                                   ended after L seconds is killed, and said nothing
    tls_inside.py hold URL N       N idle connections after a request each; "held N", until stdin ends

@TOKEN@ in an argument is the variable BENCH_TOKEN: in a sandbox with a secret, its placeholder.
"""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.parse


def said(p, until):
    try:
        return p.communicate(timeout=max(until - time.monotonic(), 0.1))[0]
    except subprocess.TimeoutExpired:
        p.kill()
        p.communicate()
        return ""


def run():
    token = os.environ.get("BENCH_TOKEN", "none")
    print(json.dumps({"up": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        argv = [a.replace("@TOKEN@", token) for a in job["argv"]]
        if job.get("hold"):  # in the background; its end is ours
            p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            text = p.stdout.readline()
            print(json.dumps({"out": [text], "seconds": 0}), flush=True)
            sys.stdin.readline()
            p.kill()
            p.wait()
            print(json.dumps({"out": [""], "seconds": 0}), flush=True)
            continue
        began = time.monotonic()
        until = began + job["limit"]
        out = []
        while not out or time.monotonic() - began < job.get("seconds", 0):
            many = [subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, text=True) for _ in range(job.get("copies", 1))]
            out += [said(p, until) for p in many]
        print(json.dumps({"out": out, "seconds": time.monotonic() - began}), flush=True)


async def hold(url, n):
    u = urllib.parse.urlsplit(url)
    x = ssl.create_default_context()
    x.check_hostname, x.verify_mode = False, ssl.CERT_NONE
    x.set_alpn_protocols(["http/1.1"])
    room = asyncio.Semaphore(20)
    held = []

    async def one():
        async with room:
            try:
                r, w = await asyncio.wait_for(asyncio.open_connection(u.hostname, 443, ssl=x,
                                                                      server_hostname=u.hostname), 30)
                w.write(("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (u.path, u.hostname)).encode())
                if b" 200" in await asyncio.wait_for(r.readline(), 30):
                    held.append((r, w))
            except (OSError, asyncio.TimeoutError):
                pass

    await asyncio.gather(*(one() for _ in range(n)))
    print("held %d" % len(held), flush=True)
    await asyncio.sleep(3600)


if sys.argv[1] == "hold":
    asyncio.run(hold(sys.argv[2], int(sys.argv[3])))
else:
    run()
