# SPDX-License-Identifier: Apache-2.0
"""What the tests run inside the sandbox: small network clients that report as JSON.

Standard library only. Copied into the lab's folder, because the sandbox may not
see the place where the sources are.
"""

import errno
import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# A machine without KVM is slower.
PATIENCE = float(os.environ.get("GUEST_PATIENCE", "1"))


def fault(e):
    if isinstance(e, socket.gaierror):
        return "EAI"
    if isinstance(e, (socket.timeout, TimeoutError)) and not e.errno:
        return "timeout"
    return errno.errorcode.get(e.errno, repr(e))


def dial(host, port, timeout=10, family=0):
    """Connect to the first address only: its error is the answer."""
    info = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0]
    s = socket.socket(info[0], info[1])
    s.settimeout(timeout * PATIENCE)
    try:
        s.connect(info[4])
    except OSError:
        s.close()
        raise
    return s


def read_all(s):
    out = b""
    while True:
        b = s.recv(262144)
        if not b:
            return out
        out += b


def cmd_connect(host, port, timeout="10", family="0"):
    t0 = time.monotonic()
    try:
        dial(host, int(port), float(timeout), {"4": socket.AF_INET, "6": socket.AF_INET6}.get(
            family, 0)).close()
        what = "connected"
    except OSError as e:
        what = fault(e)
    return {"result": what, "seconds": time.monotonic() - t0}


def cmd_connects(*targets):
    """Several in one go: HOST/PORT each."""
    return {t: cmd_connect(*t.split("/")) for t in targets}


def cmd_portscan(host, first, last):
    """Every port of a range once: how many of which result."""
    results = {}
    for port in range(int(first), int(last) + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.settimeout(5)
            e = s.connect_ex((host, port))
        what = errno.errorcode.get(e, "connected")
        results[what] = results.get(what, 0) + 1
    return results


def cmd_udp(host, port, text, timeout="3", count="1"):
    info = socket.getaddrinfo(host, int(port), 0, socket.SOCK_DGRAM)[0]
    s = socket.socket(info[0], info[1])
    s.settimeout(float(timeout) * PATIENCE)
    got, t0 = [], time.monotonic()
    try:
        s.connect(info[4])
        for i in range(int(count)):
            s.send(text.encode() + b"%d" % i)
            got.append(s.recv(65535).decode())
        what = "ok"
    except OSError as e:
        what = fault(e)
    return {"result": what, "got": got, "seconds": time.monotonic() - t0}


def cmd_udpsize(host, port, *sizes):
    """Which datagram sizes come back whole."""
    info = socket.getaddrinfo(host, int(port), 0, socket.SOCK_DGRAM)[0]
    s = socket.socket(info[0], info[1])
    s.settimeout(3 * PATIENCE)
    out = {}
    for n in sizes:
        payload = os.urandom(int(n))
        try:
            s.sendto(payload, info[4])
            out[n] = s.recv(65535) == payload
        except OSError as e:
            out[n] = fault(e)
    return out


def cmd_half(host, port, size, piece="65536", family="0"):
    """Send size bytes, close our side, read the answer to its end."""
    import data
    s = dial(host, int(port), 60, {"4": socket.AF_INET, "6": socket.AF_INET6}.get(family, 0))
    for b in data.blocks(int(size)):
        for i in range(0, len(b), int(piece)):
            s.sendall(b[i:i + int(piece)])
    s.shutdown(socket.SHUT_WR)
    return {"got": read_all(s).decode()}


def cmd_greet(host, port, size):
    """Server speaks first and closes its side; we go on sending."""
    s = dial(host, int(port))
    got = read_all(s).decode()
    sent = 0
    for _ in range(int(size) // 65536):
        s.sendall(b"x" * 65536)
        sent += 65536
    s.shutdown(socket.SHUT_WR)
    return {"got": got, "sent": sent}


def cmd_both(host, port, rounds):
    """Both ends close at the same moment; nothing may hang."""
    t0 = time.monotonic()
    for _ in range(int(rounds)):
        s = dial(host, int(port))
        s.sendall(b"x")
        s.shutdown(socket.SHUT_WR)
        read_all(s)
        s.close()
    return {"rounds": int(rounds), "seconds": time.monotonic() - t0}


def cmd_reset(host, port):
    s = dial(host, int(port))
    s.sendall(b"x")
    try:
        s.recv(1)
        return {"result": "eof"}
    except OSError as e:
        return {"result": fault(e)}


def cmd_slowread(host, port, size):
    """Read slowly with a small buffer; every byte must still come, in order."""
    import data
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    s.settimeout(60)
    s.connect((host, int(port)))
    want, got, left = hashlib.sha256(), hashlib.sha256(), int(size)
    while left:
        b = s.recv(min(left, 65536))
        if not b:
            break
        got.update(b)
        left -= len(b)
        time.sleep(0.001)
    s.close()
    for b in data.blocks(int(size) - left):
        want.update(b)
    return {"left": left, "same": want.digest() == got.digest()}


def cmd_many(host, port, count):
    """Open many connections and keep them; what became of each."""
    out, kept = [], []
    for _ in range(int(count)):
        try:
            s = dial(host, int(port), 3)
            s.sendall(b"x")
            out.append("ok" if s.recv(1) == b"x" else "eof")
            kept.append(s)
        except OSError as e:
            out.append(fault(e))
    return {"results": out}


def cmd_parallel(host, port, count, size):
    """Many echo conversations at once."""
    bad = []

    def one():
        try:
            # Like no protocol: 5 of 65536 random beginnings would be those of a TLS record.
            payload = b"\0" + os.urandom(int(size) - 1)
            s = dial(host, int(port), 60)
            t = threading.Thread(target=lambda: (s.sendall(payload),
                                                 s.shutdown(socket.SHUT_WR)))
            t.start()
            if read_all(s) != payload:
                bad.append("different bytes")
            t.join()
        except OSError as e:
            bad.append(fault(e))

    threads = [threading.Thread(target=one) for _ in range(int(count))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return {"bad": bad}


def cmd_upload(url, size, how="length"):
    """PUT size bytes with Content-Length or chunked; the server's answer."""
    import data
    m = re.match(r"(https?)://([^/:]+)(?::(\d+))?(/.*)", url)
    tls, host, path = m.group(1) == "https", m.group(2), m.group(4)
    s = dial(host, int(m.group(3) or (443 if tls else 80)), 300)
    if tls:
        s = ssl.create_default_context(cafile=os.environ.get("GUEST_CA")).wrap_socket(
            s, server_hostname=host)
    framing = "Content-Length: %s" % size if how == "length" else "Transfer-Encoding: chunked"
    s.sendall(("PUT %s HTTP/1.1\r\nHost: %s\r\n%s\r\nConnection: close\r\n\r\n" % (
        path, host, framing)).encode())
    for b in data.blocks(int(size)):
        if how == "length":
            s.sendall(b)
        else:
            s.sendall(b"%x\r\n" % len(b))
            s.sendall(b)
            s.sendall(b"\r\n")
    if how != "length":
        s.sendall(b"0\r\n\r\n")
    text = b""
    while b"}" not in text:
        b = s.recv(65536)
        if not b:
            break
        text += b
    return json.loads(text[text.index(b"{"):])


def cmd_raw(host, port, sni, pieces, timeout="5", pause="0.03"):
    """Write pieces as they are, each in a segment (and TLS record) of its own; what comes back.

    sni "-": no TLS; "": TLS without a server name. pieces: JSON list of text, or [text, times].
    """
    s = dial(host, int(port), float(timeout))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    out, what = b"", "eof"
    try:
        if sni != "-":
            x = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            x.check_hostname = False
            x.verify_mode = ssl.CERT_NONE
            s = x.wrap_socket(s, server_hostname=sni or None)
        for p in json.loads(pieces):
            p = p if isinstance(p, str) else p[0] * p[1]
            p = os.path.expandvars(p) if "${" in p else p
            s.sendall(p.encode("latin-1"))
            time.sleep(float(pause))
        while True:
            b = s.recv(65536)
            if not b:
                break
            out += b
    except (OSError, ssl.SSLError) as e:
        what = fault(e) if not isinstance(e, ssl.SSLError) else "tls: %s" % e
    return {"end": what, "text": out.decode("latin-1")}


def dot_dial(server, sni, cafile):
    """TLS to port 853; sni "": none, and the certificate has to be for the address."""
    x = ssl.create_default_context(cafile=cafile)
    x.set_alpn_protocols(["dot"])
    s = dial(server, 853, 5)
    if sni:
        return x.wrap_socket(s, server_hostname=sni)
    x.check_hostname = False  # wrap_socket would send the address as server name
    s = x.wrap_socket(s)
    names = s.getpeercert()["subjectAltName"]
    if [ipaddress.ip_address(v) for k, v in names if k == "IP Address"] != [
            ipaddress.ip_address(server)] or len(names) != 1:
        raise ssl.SSLError("certificate is for %r" % (names,))
    return s


def cmd_dot(server, sni, cafile, *names):
    """All questions at once over one connection: the answer to each, as they came."""
    import dns.message
    t0 = time.monotonic()
    try:
        s = dot_dial(server, sni, cafile)
    except ssl.SSLError as e:
        return {"result": "tls: %s" % e, "seconds": time.monotonic() - t0}
    except OSError as e:
        return {"result": fault(e), "seconds": time.monotonic() - t0}
    asked, got, out = {}, {}, b""
    for n in names:
        q = dns.message.make_query(n, "A", use_edns=True)
        while q.id in asked:
            q.id = (q.id + 1) & 0xffff
        asked[q.id] = n
        wire = q.to_wire()
        out += len(wire).to_bytes(2, "big") + wire
    s.sendall(out)
    f = s.makefile("rb")
    while len(got) < len(asked):
        head = f.read(2)
        if len(head) < 2:
            break
        r = dns.message.from_wire(f.read(int.from_bytes(head, "big")))
        got[asked[r.id]] = {
            "rcode": dns.rcode.to_text(r.rcode()), "ede": [o.to_text() for o in r.options],
            "answer": [a.to_text() for rr in r.answer for a in rr]}
    return {"result": "ok", "alpn": s.selected_alpn_protocol(), "got": got,
            "seconds": time.monotonic() - t0}


def cmd_askmany(server, transport, count, window, *names):
    """That many questions, the names in turn, so many under way; what came back, told apart by name.

    Of refusals also the denial ids in their extended errors.
    """
    import dns.message
    wires = [dns.message.make_query(n, "A", use_edns=True).to_wire()[2:] for n in names]
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(10)
    s.connect((server, 53))
    f = s.makefile("rb")
    count, window, sent, got = int(count), int(window), 0, 0
    replies, ids = dict.fromkeys(names, 0), set()
    while got < count:
        while sent < count and sent - got < window:
            wire = sent.to_bytes(2, "big") + wires[sent % len(wires)]
            s.sendall(len(wire).to_bytes(2, "big") + wire if transport == "tcp" else wire)
            sent += 1
        r = f.read(int.from_bytes(f.read(2), "big")) if transport == "tcp" else s.recv(4096)
        replies[names[int.from_bytes(r[:2], "big") % len(names)]] += 1
        ids.update(x.decode() for x in re.findall(rb"[a-z0-9]{8}-g[0-9]+", r))
        got += 1
    return {"replies": replies, "ids": sorted(ids)}


def cmd_dots(server, cafile, count):
    """Open that many and keep them; what became of each; then one more after they are closed."""
    kept, out = [], []
    for _ in range(int(count)):
        try:
            kept.append(dot_dial(server, "", cafile))
            out.append("ok")
        except ssl.SSLError as e:
            out.append("tls: %s" % e)
        except OSError as e:
            out.append(fault(e))
    for s in kept:
        s.close()
    time.sleep(0.5)
    return {"results": out, "after": cmd_dot(server, "", cafile, "api.example.com")}


def cmd_split(host, path, name, how):
    """POST the placeholder in variable `name`, cut in pieces over segments or over chunks."""
    p = os.environ[name]
    if how == "chunks":
        body = "".join("1\r\n%s\r\n" % c for c in p) + "0\r\n\r\n"
        framing = "Transfer-Encoding: chunked"
        pieces = [body]
    else:
        framing = "Content-Length: %d" % len(p)
        pieces = [p[:3], p[3:4], p[4:]]
    head = "POST %s HTTP/1.1\r\nHost: %s\r\n%s\r\nConnection: close\r\n\r\n" % (
        path, host, framing)
    return cmd_raw(host, "443", host, json.dumps([head] + pieces))


def cmd_scan(masked):
    """Look for a value in every readable byte of every process we can see, environments included.

    The value comes with every byte flipped, so that our own arguments do not hold it.
    """
    needle = bytes(b ^ 0x5A for b in bytes.fromhex(masked))
    found, scanned, skipped = [], 0, []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        for part in ("environ", "cmdline"):
            try:
                with open("/proc/%s/%s" % (pid, part), "rb") as f:
                    if needle in f.read():
                        found.append("%s %s" % (pid, part))
            except OSError:
                skipped.append("%s %s" % (pid, part))
        try:
            with open("/proc/%s/maps" % pid, encoding="utf-8") as maps, \
                    open("/proc/%s/mem" % pid, "rb", 0) as mem:
                for line in maps:
                    span, mode = line.split()[:2]
                    if mode[0] != "r" or "[vvar]" in line or "[vsyscall]" in line:
                        continue
                    lo, hi = (int(x, 16) for x in span.split("-"))
                    if hi - lo > 1 << 30:  # a sanitizer's shadow
                        continue
                    try:
                        mem.seek(lo)
                        b = mem.read(hi - lo)
                    except (OSError, ValueError, OverflowError):
                        continue
                    scanned += len(b)
                    if needle in b:
                        found.append("%s %s" % (pid, line.split()[-1]))
        except OSError as e:
            skipped.append("%s mem %s" % (pid, fault(e)))
    return {"found": found, "scanned": scanned, "skipped": skipped}


def cmd_files(masked, *roots):
    """Look for a value in every small readable file below roots."""
    needle = bytes(b ^ 0x5A for b in bytes.fromhex(masked))
    found, n = [], 0
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    if not os.path.isfile(path) or os.path.getsize(path) > 1 << 24:
                        continue
                    with open(path, "rb") as f:
                        n += 1
                        if needle in f.read():
                            found.append(path)
                except OSError:
                    pass
    return {"found": found, "files": n}


def cmd_sockets(*paths):
    """Can we reach these unix sockets, or make sockets of other families?"""
    out = {}
    for p in paths:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect("\0" + p[1:] if p.startswith("@") else p)
            out[p] = "connected"
        except OSError as e:
            out[p] = fault(e)
    for name, family, kind in (("vsock", 40, socket.SOCK_STREAM), ("packet", 17, socket.SOCK_RAW),
                               ("bluetooth", 31, socket.SOCK_RAW), ("netlink", 16, 3)):
        try:
            socket.socket(family, kind, 0).close()
            out[name] = "made"
        except OSError as e:
            out[name] = fault(e)
    return out


def cmd_serve(port, text, proto="tcp"):
    """A service inside the sandbox, for published ports; answers until killed."""
    if proto == "udp":
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("0.0.0.0", int(port)))
        print("ready", flush=True)
        while True:
            b, peer = s.recvfrom(65535)
            s.sendto(text.encode() + b, peer)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", int(port)))
    s.listen(64)
    print("ready", flush=True)
    while True:
        c, _ = s.accept()
        b = c.recv(65536)
        c.sendall(text.encode() + b)
        c.close()


def cmd_watch(host, port):
    """For ever: can the name be asked and dialled, and an address it once had?"""
    known = None
    while True:
        began, result = time.time(), {}
        try:
            s = dial(host, int(port), 5)
            known = known or s.getpeername()
            s.close()
            result["connect"] = "connected"
        except OSError as e:
            result["connect"] = fault(e)
        if known:
            with socket.socket(socket.AF_INET6 if ":" in known[0] else socket.AF_INET) as s:
                s.settimeout(5)
                e = s.connect_ex(known)
            result["known"] = errno.errorcode.get(e, "connected")
        print(json.dumps({"began": began, **result}), flush=True)
        time.sleep(0.1)


def cmd_stream(host, port):
    """Echo small pieces for ever; how it ends."""
    s = dial(host, int(port))
    s.sendall(b"x")
    s.recv(1)
    print(json.dumps({"state": "streaming"}), flush=True)
    try:
        while True:
            s.sendall(b"y" * 100)
            if not s.recv(65536):
                return {"end": "eof"}
            time.sleep(0.01)
    except OSError as e:
        return {"end": fault(e)}


def cmd_beat(kind, host, port):
    """A datagram or a ping from one socket, again and again: is it answered?"""
    info = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)[0]
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1 if kind == "ping" else 0)
    s.settimeout(0.5 * PATIENCE)
    s.connect(info[4] if kind == "udp" else (info[4][0], 0))
    while True:
        began, answered = time.time(), False
        try:
            s.send(b"beat" if kind == "udp" else b"\x08\0\0\0\0\0\0\1beat")
            answered = bool(s.recv(2000))
        except OSError:
            pass
        print(json.dumps({"began": began, "answered": answered}), flush=True)
        time.sleep(0.05)


def cmd_mirror(port):
    """A server inside that echoes for as long as its peer likes."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", int(port)))
    s.listen(8)
    print("ready", flush=True)
    while True:
        c, _ = s.accept()

        def one(c=c):
            try:
                while b := c.recv(65536):
                    c.sendall(b)
            except OSError:
                pass

        threading.Thread(target=one, daemon=True).start()


def cmd_requests(host, port):
    """GET and POST on one connection, again and again."""
    import http.client
    kind = http.client.HTTPSConnection if port == "443" else http.client.HTTPConnection
    c = kind(host, int(port), timeout=5)
    while True:
        began, status = time.time(), {}
        for method in ("GET", "POST"):
            c.request(method, "/x", body=b"a=b" if method == "POST" else None)
            r = c.getresponse()
            r.read()
            status[method] = r.status
        print(json.dumps({"began": began, "status": status}), flush=True)
        time.sleep(0.05)


def cmd_asks(suffix):
    """A name that nobody asked before, for ever: is it answered?"""
    n = 0
    while True:
        n += 1
        began, t0, result = time.time(), time.monotonic(), "ok"
        try:
            socket.getaddrinfo("n%d.%s" % (n, suffix), 80, socket.AF_INET, socket.SOCK_STREAM)
        except OSError as e:
            result = fault(e)
        print(json.dumps({"began": began, "result": result,
                          "seconds": time.monotonic() - t0}), flush=True)
        time.sleep(0.1)


def cmd_late(host, port, wait):
    """Connects, says nothing for a while, then asks for something."""
    s = dial(host, int(port))
    print(json.dumps({"state": "silent"}), flush=True)
    time.sleep(float(wait))
    try:
        if port == "443":
            s = ssl.create_default_context().wrap_socket(s, server_hostname=host)
        s.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
        return {"end": s.recv(12).decode() or "eof"}
    except OSError as e:
        return {"end": fault(e)}


def cmd_gaps(echo_host, echo_port, web_host):
    """One byte echoed, one request on a kept connection, for ever: the longest wait of each."""
    import http.client

    def measure(kind, once):
        while True:
            began, worst = time.time(), 0
            while time.time() - began < 0.1:
                t = time.monotonic()
                once()
                worst = max(worst, time.monotonic() - t)
                time.sleep(0.002)
            print(json.dumps({"kind": kind, "began": began, "ended": time.time(),
                              "worst": worst}) + "\n", end="", flush=True)

    s = dial(echo_host, int(echo_port))
    web = http.client.HTTPSConnection(web_host, 443, timeout=20)

    def echo():
        s.sendall(b"x")
        if not s.recv(1):
            raise ConnectionResetError

    def request():
        web.request("GET", "/x")
        web.getresponse().read()

    threading.Thread(target=measure, args=("web", request), daemon=True).start()
    measure("echo", echo)


def cmd_hammer(host, port, threads):
    """Connect and echo in many threads until told to stop.

    Each report has when connections were made and when bytes came back: pairs of
    the time before and after the call.
    """
    import signal
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    infos = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_STREAM)
    out = []

    def one():
        made, echoed = [], []
        out.append({"made": made, "echoed": echoed})
        while not stop.is_set():
            with socket.socket() as s:
                s.settimeout(2)
                t = time.time()
                if s.connect_ex(infos[0][4]):
                    continue
                made.append((t, time.time()))
                try:
                    for _ in range(200):
                        t = time.time()
                        s.sendall(b"x")
                        if not s.recv(1) or stop.is_set():
                            break
                        echoed.append((t, time.time()))
                        time.sleep(0.001)
                except OSError:
                    pass

    all_of_them = [threading.Thread(target=one) for _ in range(int(threads))]
    for t in all_of_them:
        t.start()
    print("hammering", flush=True)
    for t in all_of_them:
        t.join()
    for x in out[:-1]:
        print(json.dumps(x), flush=True)
    return out[-1]



# ---- floods, and what becomes of good traffic meanwhile

class Good:
    """One echo connection that stays, and new ones: how long each step took, what failed."""

    def __init__(self, host, port):
        self.stop, self.faults, self.slowest, self.steps, self.fresh = False, [], 0.0, 0, 0
        self.at = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_STREAM)[0][4]
        self.kept = socket.create_connection(self.at, 10)
        self.kept.settimeout(10)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def step(self, what):
        t = time.monotonic()
        try:
            what()
            self.steps += 1
        except OSError as e:
            self.faults.append(fault(e))
        self.slowest = max(self.slowest, time.monotonic() - t)

    def echo(self):
        self.kept.sendall(b"x")
        if self.kept.recv(1) != b"x":
            raise ConnectionResetError(errno.ECONNRESET, "eof")

    def new(self):
        with socket.create_connection(self.at, 10) as s:
            s.sendall(b"y")
            if s.recv(1) == b"y":
                self.fresh += 1

    def run(self):
        while not self.stop:
            self.step(self.echo)
            self.step(self.new)
            time.sleep(0.02)

    def end(self):
        self.stop = True
        self.thread.join()
        return {"faults": self.faults, "slowest": self.slowest, "steps": self.steps,
                "fresh": self.fresh}


def flood_syn(targets):
    """Begins a connection to each and waits for none; the sockets stay open, as many as may."""
    kept, began = [], 0
    for addr in targets:
        s = socket.socket()
        s.setblocking(False)
        try:
            s.connect(addr)
        except BlockingIOError:
            began += 1
        except OSError:
            pass
        kept.append(s)
        if len(kept) >= 800:
            kept.pop(0).close()
    return began


def flood_short(addr, count):
    """Connections that are opened and closed at once, every other one by a reset."""
    made = 0
    for i in range(count):
        with socket.socket() as s:
            if i % 8:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.settimeout(10)
            made += s.connect_ex(addr) == 0
    return made


def flood_udp(addr, count):
    """A question and an answer from a socket of its own."""
    answered = 0
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            s.connect(addr)
            try:
                s.send(b"q")
                answered += s.recv(10) == b"q"
            except OSError:
                pass
    return answered


def cmd_flood(kind, host, port, count, target):
    """A flood of one kind at target (an address, or the first of many) beside good traffic."""
    good, n, t0 = Good(host, port), int(count), time.monotonic()
    try:
        if kind == "halfopen":
            out = flood_syn((target, 1000 + i % 60000) for i in range(n))
        elif kind == "scan":
            first = int.from_bytes(socket.inet_aton(target), "big")
            out = flood_syn((socket.inet_ntoa((first + i // 4).to_bytes(4, "big")), 20 + i % 4)
                            for i in range(n))
        elif kind == "short":
            out = flood_short((target, int(port)), n)
        else:
            out = flood_udp((target, int(port)), n)
    finally:
        report = good.end()
    return {"flood": out, "seconds": time.monotonic() - t0, **report}


def cmd_hold(*command):
    """Says that it is there, waits a moment, does what is told and stays."""
    print("warm", flush=True)
    time.sleep(1)
    print(json.dumps(globals()["cmd_" + command[0]](*command[1:])), flush=True)
    time.sleep(600)


def cmd_paced(host, port, count, size):
    """Datagrams sent as fast as may be; which came back."""
    info = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)[0]
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(info[4])
    s.settimeout(1)
    t0, got = time.monotonic(), 0
    for _ in range(int(count)):
        s.send(b"d" * int(size))
    try:
        while True:
            got += len(s.recv(65535)) == int(size)
    except OSError:
        pass
    return {"got": got, "seconds": time.monotonic() - t0}


def cmd_transfer(url, count):
    """Several downloads of one URL side by side: seconds and bytes of each."""
    import urllib.request
    out = []

    def one():
        t = time.monotonic()
        with urllib.request.urlopen(url, timeout=60) as r:
            n = len(r.read())
        out.append({"seconds": time.monotonic() - t, "bytes": n})

    threads = [threading.Thread(target=one) for _ in range(int(count))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return {"transfers": out}


def cmd_counted(host, port, size):
    """TCP, UDP and ping conversations of known size; what the interface counted; then stays."""
    s = dial(host, int(port), 20, socket.AF_INET)
    at = s.getpeername()
    payload = os.urandom(int(size))
    t = threading.Thread(target=lambda: (s.sendall(payload), s.shutdown(socket.SHUT_WR)))
    t.start()
    back = len(read_all(s))
    t.join()
    s.close()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.settimeout(5)
    u.connect(at)
    for n in (1, 100, 1400, 9000):
        u.send(b"u" * n)
        u.recv(65535)
    p = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)
    p.settimeout(5)
    p.connect((at[0], 0))
    for i in range(3):
        p.send(b"\x08\0\0\0\0\0\0" + bytes([i]) + b"p" * 56)
        p.recv(2000)
    print(json.dumps({"up": len(payload), "down": back}), flush=True)

    def counters():
        """Of this network namespace; what /sys shows may be another's."""
        with open("/proc/net/dev", encoding="ascii") as f:
            v = next(x for x in f if x.strip().startswith("eth0:")).split(":")[1].split()
        names = {"rx_bytes": 0, "rx_packets": 1, "rx_dropped": 3,
                 "tx_bytes": 8, "tx_packets": 9, "tx_dropped": 11}
        return {k: int(v[i]) for k, i in names.items()}

    for _ in sys.stdin:
        print(json.dumps(counters()), flush=True)


if __name__ == "__main__":
    print(json.dumps(globals()["cmd_" + sys.argv[1]](*sys.argv[2:])))
