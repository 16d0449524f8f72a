# SPDX-License-Identifier: Apache-2.0
"""The lab's HTTP servers: a small HTTP/1.1 engine that records what arrives, byte for byte.

The engine is lenient on purpose (it logs the head as it came), so that a test
can see exactly what a proxy let through. Hosts:

    api      checks the bearer token, answers with all it received
    files    /bytes/N down, any upload digested
    slow     drips; broken: resets, half bodies, contradictory framing
    git      git http-backend; deb: static files; all others: a page and a log line
"""

import base64
import hashlib
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

import dns.message

import data
import dnsd
import plain
import world

HEAD_MAX = 262144
KEEP = 1 << 20  # bytes of a body that go to the log


class Gone(Exception):
    """The peer closed or sent what cannot be read."""


class Request:
    def __init__(self, head):
        lines = head.split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) < 3:
            raise Gone("request line")
        self.method, self.target, self.version = parts[0], " ".join(parts[1:-1]), parts[-1]
        self.headers = []
        for line in lines[1:]:
            if line:
                k, _, v = line.partition(":")
                self.headers.append((k.strip(), v.strip()))
        self.path, _, self.query = self.target.partition("?")
        if "://" in self.path:
            self.path = "/" + self.path.split("://", 1)[1].partition("/")[2]
        self.args = dict(urllib.parse.parse_qsl(self.query))

    def get(self, name, default=""):
        for k, v in self.headers:
            if k.lower() == name:
                return v
        return default


class Conn:
    """One accepted connection, TLS done."""

    def __init__(self, s, site, tls, sni, peer, local):
        self.s, self.site, self.tls, self.sni = s, site, tls, sni
        self.peer, self.local = peer, local
        self.buf = bytearray()
        self.close = False

    def fill(self):
        b = self.s.recv(262144)
        if not b:
            raise Gone("eof")
        self.buf += b

    def head(self):
        while True:
            while self.buf[:2] == b"\r\n":
                del self.buf[:2]
            i = self.buf.find(b"\r\n\r\n")
            if i >= 0:
                text = bytes(self.buf[:i]).decode("latin-1")
                del self.buf[:i + 4]
                return text
            if len(self.buf) > HEAD_MAX:
                raise Gone("head too long")
            self.fill()

    def take(self, n):
        """Up to n bytes, at least one."""
        if not self.buf:
            self.fill()
        b = bytes(self.buf[:n])
        del self.buf[:n]
        return b

    def line(self):
        while True:
            i = self.buf.find(b"\r\n")
            if i >= 0:
                b = bytes(self.buf[:i])
                del self.buf[:i + 2]
                return b
            self.fill()

    def body(self, req):
        """The pieces of a request's body."""
        if req.get("expect").lower() == "100-continue":
            self.s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in req.get("transfer-encoding").lower():
            while True:
                left = int(self.line().split(b";")[0], 16)
                if left == 0:
                    while self.line():
                        pass
                    return
                while left:
                    b = self.take(left)
                    left -= len(b)
                    yield b
                self.line()
        else:
            left = int(req.get("content-length") or 0)
            while left:
                b = self.take(left)
                left -= len(b)
                yield b

    def send_head(self, status, headers):
        text = "HTTP/1.1 %d %s\r\n" % (status, "OK" if status < 300 else "No")
        for k, v in headers:
            text += "%s: %s\r\n" % (k, v)
        if self.close:
            text += "Connection: close\r\n"
        self.s.sendall((text + "\r\n").encode("latin-1"))

    def answer(self, req, status, body, ctype="text/plain", headers=()):
        if isinstance(body, str):
            body = body.encode()
        self.send_head(status, [("Content-Type", ctype), ("Content-Length", len(body)),
                                ("Server", self.site.name), *headers])
        if req.method != "HEAD" and body:
            self.s.sendall(body)

    def chunk(self, b):
        self.s.sendall(b"%x\r\n%s\r\n" % (len(b), b))


class Read:
    """A body read to its end: its digest, its size, and its beginning."""

    def __init__(self, pieces):
        h, self.size, kept = hashlib.sha256(), 0, bytearray()
        for b in pieces:
            h.update(b)
            self.size += len(b)
            if len(kept) < KEEP:
                kept += b[:KEEP - len(kept)]
        self.sha256, self.kept = h.hexdigest(), bytes(kept)


# ---- sites -------------------------------------------------------------------


def default_site(c, req, body):
    c.answer(req, 200, "%s here\n" % c.site.name)


def token_places(req, body, token):
    """In which of the five places the real token stood."""
    out = []
    for k, v in req.headers:
        if k.lower() == "authorization" and v.lower().startswith("basic "):
            try:
                if token in base64.b64decode(v[6:]).decode("latin-1"):
                    out.append("basic")
            except ValueError:
                pass
        elif token in v:
            out.append("header")
    if token in req.path:
        out.append("path")
    if token in req.query:
        out.append("query")
    if token.encode() in body.kept:
        out.append("body")
    return out


def api_site(c, req, body):
    token = c.site.token
    if req.path.startswith("/status/"):
        return c.answer(req, int(req.path.split("/")[2]), "as you asked\n")
    if req.path == "/redirect":
        return c.answer(req, 302, "", headers=[("Location", req.args.get("to", "/echo"))])
    if req.path == "/chunked":
        c.send_head(200, [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")])
        for i in range(5):
            c.chunk(b"part%d\n" % i)
            time.sleep(0.02)
        return c.s.sendall(b"0\r\n\r\n")
    if req.path == "/until-close":
        c.close = True
        c.send_head(200, [("Content-Type", "text/plain")])
        return c.s.sendall(b"x" * 100000)
    if req.path == "/leak":  # a server that hands the caller's secret back, in pieces
        c.send_head(200, [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked"),
                          ("X-Leak", token)])
        for piece in (token[:5], token[5:9], token[9:], " " +
                      base64.b64encode(token.encode()).decode()):
            c.chunk(piece.encode())
            time.sleep(0.01)
        return c.s.sendall(b"0\r\n\r\n")
    if req.get("upgrade").lower() == "websocket":  # says once what it was given, then goes
        key = req.get("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        text = req.get("authorization").encode()[:125]
        c.close = True
        return c.s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                           b"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
                           b"\x81%c%s" % (accept.encode(), len(text), text))
    places = token_places(req, body, token)
    authorized = req.get("authorization") == "Bearer " + token
    if req.path == "/private" and not authorized:
        return c.answer(req, 401, json.dumps({"authorized": False}) + "\n", "application/json",
                        [("WWW-Authenticate", "Bearer")])
    text = json.dumps({
        "authorized": authorized, "token_in": places, "method": req.method,
        "target": req.target, "version": req.version, "headers": req.headers, "tls": c.tls,
        "sni": c.sni, "client": c.peer, "server": c.local,
        "body": {"size": body.size, "sha256": body.sha256,
                 "first": body.kept[:1024].decode("latin-1")}})
    c.answer(req, 200, text + "\n", "application/json")


def files_site(c, req, body):
    if req.path.startswith("/bytes/") and req.method in ("GET", "HEAD"):
        size = int(req.path.split("/")[2])
        chunked = "chunked" in req.args
        c.send_head(200, [("Content-Type", "application/octet-stream"),
                          ("Transfer-Encoding", "chunked") if chunked
                          else ("Content-Length", size)])
        if req.method == "GET":
            for b in data.blocks(size):
                c.chunk(bytes(b)) if chunked else c.s.sendall(b)
            if chunked:
                c.s.sendall(b"0\r\n\r\n")
        return
    c.answer(req, 200, json.dumps({"size": body.size, "sha256": body.sha256}) + "\n",
             "application/json")


def slow_site(c, req, body):
    n, ms = int(req.args.get("n", 10)), int(req.args.get("ms", 50))
    if req.path == "/delay":
        time.sleep(ms / 1000)
        return c.answer(req, 200, "late\n")
    if req.path == "/head":
        for b in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslow\n":
            c.s.sendall(bytes([b]))
            time.sleep(0.005)
        return
    c.send_head(200, [("Content-Type", "text/plain"), ("Content-Length", n)])
    for _ in range(n):
        c.s.sendall(b".")
        time.sleep(ms / 1000)


BROKEN = {
    "/midbody": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nten bytes.",
    "/midchunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nten bytes.",
    "/badchunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
    "/garbage": b"\x00\x01\x02 this is not HTTP\r\n\r\n",
    "/empty": b"",
    "/twolengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "/both": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
             b"5\r\nhello\r\n0\r\n\r\n",
    "/hugehead": b"HTTP/1.1 200 OK\r\nX-Big: " + b"b" * 2000000 + b"\r\n\r\n",
    "/split": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
              b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
}


def broken_site(c, req, body):
    c.close = True
    if req.path in BROKEN:
        return c.s.sendall(BROKEN[req.path])
    if req.path == "/reset":
        c.s.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
        c.reset = True
        return
    c.answer(req, 200, "fine for once\n")


def git_site(c, req, body):
    env = {
        "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": c.site.root, "GIT_HTTP_EXPORT_ALL": "1",
        "REQUEST_METHOD": req.method, "PATH_INFO": urllib.parse.unquote(req.path),
        "QUERY_STRING": req.query, "CONTENT_TYPE": req.get("content-type"),
        "CONTENT_LENGTH": str(body.size), "HTTP_CONTENT_ENCODING": req.get("content-encoding"),
        "GIT_PROTOCOL": req.get("git-protocol"), "REMOTE_ADDR": c.peer, "REMOTE_USER": "lab",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    out = subprocess.run(["git", "http-backend"], input=body.kept, env=env,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    head, _, content = out.partition(b"\r\n\r\n")
    status, headers = 200, []
    for line in head.decode("latin-1").split("\r\n"):
        k, _, v = line.partition(": ")
        if k.lower() == "status":
            status = int(v.split()[0])
        elif k:
            headers.append((k, v))
    c.send_head(status, headers + [("Content-Length", len(content))])
    c.s.sendall(content)


def static_site(c, req, body):
    path = os.path.normpath(c.site.root + urllib.parse.unquote(req.path))
    if not path.startswith(c.site.root) or not os.path.isfile(path):
        return c.answer(req, 404, "no such file\n")
    with open(path, "rb") as f:
        c.answer(req, 200, f.read(), "application/octet-stream")


def doh_site(c, req, body):
    """A resolver over HTTPS: /dns-query, /resolve (JSON), and /hidden, which says nothing of it."""
    server = dnsd.Server(c.site.log)
    if req.path == "/resolve" or req.args.get("name"):
        wire = dns.message.make_query(req.args["name"], req.args.get("type", "A")).to_wire()
        r = dns.message.from_wire(server.reply(wire, "doh", c.local, c.peer))
        data = [a.to_text() for rr in r.answer for a in rr]
        return c.answer(req, 200, json.dumps({"Status": r.rcode(), "Answer": data}),
                        "application/json")
    if req.path == "/alt-svc":
        return c.answer(req, 200, "elsewhere\n", headers=[
            ("Alt-Svc", 'h3=":443"; ma=86400, h2="other.example.com:443"'),
            ("alt-svc", 'h3-29=":443"'), ("Alt-Svc", "clear")])
    if req.path not in ("/dns-query", "/hidden"):
        return c.answer(req, 404, "not here\n")
    if req.method == "GET":
        text = req.args.get("dns", "")
        wire = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    else:
        wire = body.kept
    out = server.reply(wire, "doh", c.local, c.peer)
    return c.answer(req, 200 if out else 400, out or b"", "application/dns-message")


SITES = {
    "api.example.com": api_site,
    "v4only.example.com": api_site,
    "v6only.example.com": api_site,
    "files.example.com": files_site,
    "slow.example.com": slow_site,
    "broken.example.com": broken_site,
    "git.example.com": git_site,
    "deb.example.com": static_site,
    "doh.example.com": doh_site,
}
# The last ones are h2lab.py's, and those of servers that a test starts.
NOT_WEB = {"echo.example.com", "ssh.example.com", "closed.example.com", "ns.example.com",
           "h2.example.com", "h2only.example.com", "h1only.example.com", "h2ws.example.com",
           "cert.example.com", "staple.example.com", "raw.example.com"}


class Site:
    def __init__(self, name, log, token, folder):
        self.name, self.log, self.token = name, log, token
        self.handler = SITES.get(name, default_site)
        self.root = folder + ("/git" if name.startswith("git.") else "/deb")


# ---- engine ------------------------------------------------------------------


def converse(c):
    """Requests of one connection until somebody has had enough."""
    while not c.close:
        head = c.head()
        req = Request(head)
        if "close" in req.get("connection").lower() or req.version == "HTTP/1.0":
            c.close = True
        entry = dict(server=c.site.name, tls=c.tls, sni=c.sni, client=c.peer, local=c.local,
                     head=head)
        try:
            body = Read(c.body(req))
        except (Gone, OSError, ValueError) as e:
            c.site.log("http", broken=repr(e), **entry)
            raise Gone("body") from e
        c.site.log("http", body_size=body.size, body_sha256=body.sha256,
                   body=body.kept[:65536].decode("latin-1"), **entry)
        c.site.handler(c, req, body)


def one(s, peer, site, context):
    sni = []
    c = None
    try:
        s.settimeout(120)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        local = s.getsockname()[0]
        site.log("tcp", server=site.name, port=s.getsockname()[1], client=peer[0], local=local)
        if context:
            raw, s = s, context.wrap_socket(s, server_side=True, do_handshake_on_connect=False)
            s.weir_sni = sni
            s.do_handshake()
        c = Conn(s, site, context is not None, sni[0] if sni else None, peer[0], local)
        c.reset = False
        converse(c)
        if context and site.handler is not broken_site:
            s.settimeout(1)
            s.unwrap()  # close_notify: the end is the end, and not a cut
    except (Gone, OSError, ValueError) as e:
        if isinstance(e, ssl.SSLError):
            site.log("tls", server=site.name, client=peer[0], error=str(e),
                     sni=sni[0] if sni else None)
    finally:
        try:
            if c and c.reset:
                plain.abort(s)
            else:
                s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()


def accept(listener, site, context):
    while True:
        s, peer = listener.accept()
        threading.Thread(target=one, args=(s, peer, site, context), daemon=True).start()


def tls_context(pem):
    x = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    x.load_cert_chain(pem)
    x.set_alpn_protocols(["http/1.1"])

    def heard(s, name, _):
        s.weir_sni.append(name)

    x.sni_callback = heard
    return x


def start(log, hosts, token, folder):
    """Serve these hosts on 80 and 443 of all their addresses."""
    for host in hosts:
        site = Site(host, log, token, folder)
        context = tls_context("%s/pki/%s.pem" % (folder, host))
        for addr in world.addresses(host):
            for port, ctx in ((80, None), (443, context)):
                threading.Thread(target=accept, args=(plain.listen(addr, port), site, ctx),
                                 daemon=True).start()


def start_forbidden(log, token, folder):
    """Servers that nothing behind a default policy may reach: their log must stay empty."""
    for name, addrs in (("metadata", (world.METADATA4, world.METADATA6)),
                        ("private", (world.PRIVATE4, world.PRIVATE6)),
                        ("loopback", ("127.0.0.1", "::1"))):
        site = Site(name, log, token, folder)
        for addr in addrs:
            threading.Thread(target=accept, args=(plain.listen(addr, 80), site, None),
                             daemon=True).start()


def web_hosts():
    return [h for h in world.HOSTS if h not in NOT_WEB]
