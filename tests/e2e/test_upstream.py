# SPDX-License-Identifier: Apache-2.0
"""Upstream proxies: SOCKS 4 and 5, HTTP CONNECT; good ones, strict ones, broken ones."""

import base64
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

import world
from conftest import wait_for
from listener import Listener
from test_reload import OPEN

PASSWORD = "s3cret-of-the-proxy"


class Proxy(Listener):
    """One that does as it is told; .asked is what it was asked for."""

    def __init__(self, kind, auth=None, host="127.0.0.1", answer=None, delay=0, glue=b"", drip=False):
        self.kind, self.auth, self.answer, self.delay = kind, auth, answer, delay
        self.glue, self.drip, self.asked, self.errors = glue, drip, [], []
        super().__init__((host, 0))
        self.at = "%s:%d" % self.address

    def url(self, scheme=None, user=""):
        return "%s://%s%s" % (scheme or self.kind, user + "@" if user else "", self.at)

    def one(self, c):
        try:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            getattr(self, "do_" + self.kind)(c)
        except (OSError, ValueError, IndexError) as e:
            self.errors.append(e)

    def say(self, c, b):
        time.sleep(self.delay)
        for part in ([b[i:i + 1] for i in range(len(b))] if self.drip else [b]):
            c.sendall(part)

    @staticmethod
    def exactly(c, n):
        b = c.recv(n, socket.MSG_WAITALL)
        if len(b) != n:
            raise OSError("the client left")
        return b

    def until(self, c, end):
        b = b""
        while not b.endswith(end):
            b += self.exactly(c, 1)
        return b

    def splice(self, c, target, ok):
        """target (host, port); ok is said glued to the first bytes of the target when there are some."""
        self.asked.append(target)
        try:
            u = socket.create_connection(target, 10)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "unreachable"
        first = u.recv(1000) if self.glue == "target" else self.glue
        self.say(c, ok + first)

        def pump(a, b):
            try:
                while x := a.recv(65536):
                    b.sendall(x)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        t = threading.Thread(target=pump, args=(c, u), daemon=True)
        t.start()
        pump(u, c)
        t.join()
        u.close()
        return None

    def do_socks5(self, c):
        v, n = self.exactly(c, 2)
        methods = self.exactly(c, n)
        assert v == 5
        if self.auth:
            if 2 not in methods:
                self.say(c, b"\5\xff")
                return
            self.say(c, b"\5\2")
            self.exactly(c, 1)
            user = self.exactly(c, self.exactly(c, 1)[0])
            password = self.exactly(c, self.exactly(c, 1)[0])
            good = (user + b":" + password).decode() == self.auth
            self.say(c, b"\1\0" if good else b"\1\1")
            if not good:
                return
        else:
            self.say(c, b"\5\0")
        _, cmd, _, kind = self.exactly(c, 4)
        assert cmd == 1
        if kind == 3:
            host = self.exactly(c, self.exactly(c, 1)[0]).decode()
        else:
            host = socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6,
                                    self.exactly(c, 4 if kind == 1 else 16))
        port = struct.unpack("!H", self.exactly(c, 2))[0]
        if self.answer is not None:
            self.asked.append((host, port))
            self.say(c, self.answer)
            return
        failed = self.splice(c, (host, port), b"\5\0\0\1\0\0\0\0\0\0")
        if failed:
            self.say(c, b"\5" + (b"\5" if failed == "refused" else b"\4") + b"\0\1\0\0\0\0\0\0")

    def do_socks4(self, c):
        v, cmd, port, ip = struct.unpack("!BBH4s", self.exactly(c, 8))
        user = self.until(c, b"\0")[:-1].decode()
        assert (v, cmd) == (4, 1)
        host = socket.inet_ntoa(ip)
        if ip[:3] == b"\0\0\0":
            host = self.until(c, b"\0")[:-1].decode()
        if self.auth and user != self.auth:
            self.say(c, b"\0\x5d\0\0\0\0\0\0")
            return
        if self.splice(c, (host, port), b"\0\x5a\0\0\0\0\0\0"):
            self.say(c, b"\0\x5b\0\0\0\0\0\0")

    def do_http(self, c):
        head = self.until(c, b"\r\n\r\n").decode().split("\r\n")
        host, _, port = head[0].split()[1].rpartition(":")
        if self.auth and "Proxy-Authorization: Basic " + \
                base64.b64encode(self.auth.encode()).decode() not in head:
            self.say(c, b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
            return
        if self.answer is not None:
            self.asked.append((host, int(port)))
            self.say(c, self.answer)
            return
        failed = self.splice(c, (host.strip("[]"), int(port)),
                             b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
        if failed:
            self.say(c, b"HTTP/1.1 502 no\r\n\r\n")


@pytest.fixture
def proxy():
    all_of_them = []

    def start(*args, **kw):
        all_of_them.append(Proxy(*args, **kw))
        return all_of_them[-1]
    yield start
    for p in all_of_them:
        p.close()


def fetch(weir, p, url="http://api.example.com/x", flags=(), **kw):
    return weir.run("curl", "-sS", "-m", "20", "--noproxy", "*", url,
                    flags=["--proxy", p if isinstance(p, str) else p.url(), *flags],
                    **{"policy": OPEN, **kw})


# Parity: n27, lesson-29.
@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h", "http"])
def test_each_kind(weir, lab, proxy, scheme):
    p = proxy(scheme.rstrip("ah"))
    r = fetch(weir, p.url(scheme))
    assert r.rc == 0 and "api.example.com" in r.out, r
    want = "api.example.com" if scheme[-1] in "ah" else world.v4("api.example.com")
    assert p.asked[0] == (want, 80), p.asked
    up = r.find("flow", verdict="allow", port=80)[0]["upstream"]
    assert up == "%s:80" % world.v4("api.example.com"), r


@pytest.mark.machine
def test_ipv6_and_names_over_http(weir, proxy):
    p = proxy("http")
    r = fetch(weir, p, "http://v6only.example.com/x")
    assert r.rc == 0 and ":" in p.asked[0][0], (p.asked, r)
    r = fetch(weir, p, "http://v6only.example.com/x", flags=["--proxy-names"])
    assert r.rc == 0 and p.asked[-1] == ("v6only.example.com", 80), (p.asked, r)


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_intercepted_tls_goes_through_it(weir, lab, proxy, kind):
    p = proxy(kind)
    r = fetch(weir, p, "https://api.example.com/v1", intercept=True,
              flags=["--secret", "LAB_TOKEN@api.example.com"])
    assert r.rc == 0 and p.asked, r
    assert r.find("http", verdict="allow"), r


# Parity: n27.
@pytest.mark.parametrize("kind,user", [("socks5", ""), ("socks5", "me"), ("http", ""), ("http", "me")])
def test_credentials(weir, proxy, kind, user):
    p = proxy(kind, auth="me:" + PASSWORD)
    value = PASSWORD if user else "me:" + PASSWORD
    url = p.url(user=user)
    path = weir.file("proxy.auth", value + "\n")
    os.chmod(path, 0o600)
    r = fetch(weir, url, flags=["--proxy-auth", "env:PROXY_AUTH"], env={"PROXY_AUTH": value})
    assert r.rc == 0, r
    assert PASSWORD.encode() not in r.record
    r = weir.sh("curl -sS --noproxy '*' http://api.example.com/x; env; cat %s" % path, policy=OPEN,
                flags=["--proxy", url, "--proxy-auth", "file:" + path], env={"PROXY_AUTH": value + "?"})
    assert PASSWORD not in r.out.replace(value + "?", ""), "the sandbox can read it: %r" % r
    assert "api.example.com" in r.out, r
    # Wrong, and none.
    r = fetch(weir, url, flags=["--proxy-auth", "env:PROXY_AUTH"], env={"PROXY_AUTH": "me:wrong"})
    assert r.rc == 7, r
    fails = r.find("flow", verdict="fail")
    assert fails and "does not accept user and password" in fails[0]["detail"], r
    if not user:
        r = fetch(weir, url)
        assert r.rc == 7 and "asks for a user" in r.find("flow", verdict="fail")[0]["detail"], r


def test_socks4_user(weir, proxy):
    p = proxy("socks4", auth="me")
    assert fetch(weir, p.url(user="me")).rc == 0
    r = fetch(weir, p)
    assert r.rc == 7 and "user id" in r.find("flow", verdict="fail")[0]["detail"], r


# Lesson 30's kin: bytes that came with the answer are the target's.
@pytest.mark.parametrize("kind", ["socks4", "socks5", "http"])
def test_no_byte_behind_the_answer_is_lost(weir, lab, proxy, kind):
    p = proxy(kind, glue="target")
    r = weir.run("bash", "-c", "exec 3<>/dev/tcp/ssh.example.com/22 && head -n1 <&3",
                 policy=OPEN, flags=["--proxy", p.url()])
    assert r.rc == 0 and r.out.startswith("SSH-2.0"), r


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_a_slow_one_that_speaks_in_single_bytes(weir, proxy, kind):
    p = proxy(kind, delay=0.3, drip=True)
    assert fetch(weir, p).rc == 0


def test_what_it_says_of_the_target_is_told(weir, proxy):
    """Refused is a reset, unreachable is unreachable."""
    p = proxy("socks5")
    r = weir.guest("connect", "closed.example.com", 80, policy=OPEN, flags=["--proxy", p.url()])
    assert r.json["result"] == "ECONNREFUSED", r
    assert r.find("flow", verdict="fail", detail="the upstream proxy: connection refused"), r
    for answer, want, detail in (
            (b"\5\2\0\1\0\0\0\0\0\0", "ECONNREFUSED", "rules refuse"),
            (b"\5\3\0\1\0\0\0\0\0\0", "ENETUNREACH", "network unreachable"),
            (b"\5\4\0\1\0\0\0\0\0\0", "EHOSTUNREACH", "host unreachable")):
        p = proxy("socks5", answer=answer)
        r = weir.guest("connect", "api.example.com", 80, 10, 4, policy=OPEN, flags=["--proxy", p.url()])
        assert r.json["result"] == want, (answer, r)
        assert detail in r.find("flow", verdict="fail")[0]["detail"], r
    p = proxy("http", answer=b"HTTP/1.1 403 Forbidden\r\n\r\n")
    r = weir.guest("connect", "api.example.com", 80, 10, 4, policy=OPEN, flags=["--proxy", p.url()])
    assert r.json["result"] == "ECONNREFUSED", r


@pytest.mark.parametrize("kind,answer", [
    ("socks5", b""), ("socks5", b"\5"), ("socks5", b"HTTP/1.1 200 OK\r\n\r\n"), ("socks5", b"\5\0\0\7\0\0"),
    ("http", b""), ("http", b"\5\0"), ("http", b"HTTP/1.1 200"), ("http", b"HTTP/1.1 200 OK\r\nA: b"),
    ("http", b"HTTP/1.1 200 OK\r\n" + b"a" * 100000)])
def test_garbage_opens_nothing(weir, lab, proxy, kind, answer):
    p = proxy(kind, answer=answer)
    r = weir.guest("connect", "api.example.com", 80, 10, 4, policy=OPEN, flags=["--proxy", p.url()])
    assert r.json["result"] == "EHOSTUNREACH", r
    assert "upstream proxy" in r.find("flow", verdict="fail")[0]["detail"], r


def test_one_that_is_not_there(weir):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        r = weir.guest("connect", "api.example.com", 80, policy=OPEN,
                       flags=["--proxy", "http://127.0.0.1:%d" % s.getsockname()[1]])
    assert r.json["result"] == "EHOSTUNREACH", r
    assert "cannot be reached" in r.find("flow", verdict="fail")[0]["detail"], r


# Parity: lesson-29.
def test_the_policy_judges_the_true_target(weir, lab, proxy):
    p = proxy("socks5")
    shut = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": "api.example.com"}]}}
    for url in (p.url(), p.url("socks5h")):
        r = fetch(weir, url, "http://evil.example.net/", policy=shut)
        assert r.rc == 6, r
        r = weir.guest("connect", world.v4("evil.example.net"), 80, policy=shut, flags=["--proxy", url])
        assert r.json["result"] == "ECONNREFUSED", r
        r = fetch(weir, url, "http://rebind.example.net/", policy="public_only")
        assert r.rc, r
    assert not p.asked, p.asked


# Parity: lesson-29.
def test_the_proxy_itself_is_not_the_sandboxs(weir, lab, proxy):
    """Whoever could talk to it would have it dial anything."""
    host = world.v4("files.example.com")
    p = proxy("socks5", host=host)
    port = int(p.at.rpartition(":")[2])
    r = weir.guest("connect", host, port, policy="allow_all", flags=["--proxy", p.url()])
    assert r.json["result"] == "ECONNREFUSED", r
    assert r.find("flow", verdict="deny", detail="the upstream proxy is not the sandbox's to use"), r
    r = weir.guest("connect", "files.example.com", port, policy="allow_all", flags=["--proxy", p.url("socks5h")])
    assert r.json["result"] == "ECONNREFUSED", r
    # Nor as what the sandbox calls its host.
    q = proxy("http")
    port = int(q.at.rpartition(":")[2])
    r = weir.run("bash", "-c", "exec 3<>/dev/tcp/192.0.0.1/%d" % port, policy="allow_all",
                 flags=["--proxy", q.url()])
    assert r.rc and not q.asked and not p.asked, (r, q.asked, p.asked)


def test_udp_and_ping_do_not_go_around_it_unasked(weir, lab, proxy):
    p = proxy("socks5")
    r = weir.guest("udp", "echo.example.com", world.ECHO, "x", policy=OPEN, flags=["--proxy", p.url()])
    assert r.json["result"] != "ok", r
    assert "only TCP" in r.find("flow", verdict="deny")[0]["detail"], r
    r = weir.run("ping", "-c1", "-W2", "echo.example.com", policy=OPEN, flags=["--proxy", p.url()])
    assert r.rc == 1, r
    for flags in (["--proxy-udp", "direct"], ["--proxy-bypass", ".example.com"],
                  ["--proxy-bypass", "93.184.216.0/24", "--proxy-bypass", "2606:2800:220:1::/64"]):
        r = weir.guest("udp", "echo.example.com", world.ECHO, "x", policy=OPEN,
                       flags=["--proxy", p.url(), *flags])
        assert r.json["result"] == "ok", (flags, r)
    assert not p.asked


@pytest.mark.parametrize("around", ["api.example.com", "*.example.com", "93.184.216.10,2606:2800:220:1::10"])
def test_around_it(weir, proxy, around):
    p = proxy("socks5")
    flags = [x for a in around.split(",") for x in ("--proxy-bypass", a)]
    r = fetch(weir, p, flags=flags)
    assert r.rc == 0 and not p.asked, (p.asked, r)
    r = fetch(weir, p, "http://evil.example.net/", flags=flags, policy="public_only")
    assert r.rc == 0 and p.asked, r


def test_config_file(weir, proxy):
    p = proxy("http", auth="me:" + PASSWORD)
    path = weir.file("weir.json", {"policy": OPEN["policy"], "proxy": {
        "url": p.url(user="me"), "auth": "env:PROXY_PASSWORD", "bypass": ["10.0.0.0/8"], "names": True,
        "udp": "deny"}})
    r = weir.run("curl", "-sS", "--noproxy", "*", "http://api.example.com/x", policy=None,
                 flags=["--config", path], env={"PROXY_PASSWORD": PASSWORD})
    assert r.rc == 0 and p.asked == [("api.example.com", 80)], r


@pytest.mark.parametrize("flags,say", [
    (["--proxy", "socks5://me:secret@1.2.3.4:1080"], "--proxy-auth"),
    (["--proxy", "socks5://1.2.3.4"], "port is missing"),
    (["--proxy", "ftp://1.2.3.4:1"], "socks5://"),
    (["--proxy", "socks5://me@1.2.3.4:1080"], "needs a password"),
    (["--proxy", "socks4://1.2.3.4:1080", "--proxy-auth", "env:PATH"], "SOCKS 4"),
    (["--proxy", "http://1.2.3.4:1", "--proxy-auth", "me:secret"], "env:VAR"),
    (["--proxy", "http://1.2.3.4:1", "--proxy-auth", "env:NOT_THERE"], "NOT_THERE"),
    (["--proxy", "http://1.2.3.4:1", "--proxy-auth", "file:/nowhere"], "/nowhere"),
    (["--proxy", "http://1.2.3.4:1", "--proxy-auth", "env:EMPTY"], "USER:PASSWORD"),
    (["--proxy", "http://no-such-host.invalid:1"], "no-such-host.invalid"),
    (["--proxy", "http://1.2.3.4:1", "--proxy-bypass", "10.0.0.1/8"], "10.0.0.1/8"),
    (["--proxy", "http://1.2.3.4:1", "--proxy-udp", "yes"], "direct"),
    (["--proxy-bypass", "10.0.0.0/8"], "add --proxy"), (["--proxy-names"], "add --proxy"),
])
def test_bad_configuration(weir, flags, say):
    r = weir.run("echo", "ran", flags=flags, env={"EMPTY": ""})
    assert r.rc == 125 and say in r.err and "ran" not in r.out and "secret" not in r.err, r


@pytest.mark.skipif(not shutil.which("microsocks"), reason="no microsocks")
def test_microsocks(weir):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    d = subprocess.Popen(["microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "me", "-P", PASSWORD],
                         stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        r = fetch(weir, "socks5://me@127.0.0.1:%d" % port, flags=["--proxy-auth", "env:P"], env={"P": PASSWORD})
        assert r.rc == 0, r
        r = weir.guest("connect", "closed.example.com", 80, policy=OPEN, env={"P": PASSWORD},
                       flags=["--proxy", "socks5://me@127.0.0.1:%d" % port, "--proxy-auth", "env:P"])
        assert r.json["result"] == "ECONNREFUSED", r
    finally:
        d.terminate()
        d.wait()


def test_many_at_once(weir, lab, proxy):
    p = proxy("socks5")
    r = weir.guest("parallel", "echo.example.com", world.ECHO, 50, 100000, policy=OPEN,
                   flags=["--proxy", p.url()])
    assert r.rc == 0 and r.json["bad"] == [] and len(p.asked) >= 50, r
