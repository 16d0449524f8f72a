# SPDX-License-Identifier: Apache-2.0
"""/etc/resolv.conf in every way it changes, while names are asked."""

import json
import os
import shutil
import socket
import struct
import threading
import time

import pytest
from conftest import SLACK, wait_for
from test_reload import Live, guest

# The command must not share /etc with the rest of the machine, and the test must be able to change it.
OWN_ETC = 'mount --bind "$0" /etc && exec "$@"'


class Server:
    """Has an address for every name, and counts who comes."""

    def __init__(self, address):
        self.n, self.address = 0, address
        self.s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                               socket.SOCK_DGRAM)
        self.s.bind((address, 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                self.one(*self.s.recvfrom(4096))
            except OSError:
                return

    def one(self, msg, peer):
        self.n += 1
        at = 12
        while msg[at]:
            at += 1 + msg[at]
        qtype = struct.unpack(">H", msg[at + 1:at + 3])[0]
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x5d\xb8\xd8\x22" if qtype == 1 else b""
        self.s.sendto(msg[:2] + b"\x81\x80\0\1" + struct.pack(">HHH", bool(answer), 0, 0) +
                      msg[12:at + 5] + answer, peer)


class Etc:
    """A copy of /etc, where resolv.conf is ours."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree("/etc", folder, symlinks=True, ignore_dangling_symlinks=True,
                        ignore=shutil.ignore_patterns("resolv.conf"))
        self.conf = os.path.join(folder, "resolv.conf")

    def write(self, text, to="resolv.conf"):
        with open(os.path.join(self.folder, to), "w", encoding="utf-8") as f:
            f.write(text)

    def rename(self, text):
        self.write(text, "resolv.conf.new")
        os.rename(self.conf + ".new", self.conf)

    def link(self, target):
        os.symlink(target, self.conf + ".new")
        os.rename(self.conf + ".new", self.conf)


@pytest.fixture
def servers():
    all_of_them = [Server("127.0.9.%d" % i) for i in (1, 2, 3)]
    yield all_of_them
    for s in all_of_them:
        s.s.close()


@pytest.fixture
def etc(weir):
    return Etc(weir.path("etc"))


def nameserver(*servers):
    return "".join("nameserver %s\n" % getattr(s, "address", s) for s in servers)


@pytest.mark.slow
def test_every_way_it_changes(weir, lab, etc, servers):
    a, b, c = servers
    etc.write(nameserver(a))
    weir.prefix, before = ["unshare", "-m", "sh", "-c", OWN_ETC, etc.folder], weir.prefix
    live = Live.__new__(Live)
    live.weir, live.name = weir, "resolvers"
    live.p = weir.start(*guest(lab, "asks", "names.example.com"), flags=["--name", live.name, "--dns-budget", "off"])
    weir.prefix = before
    lines, mended = live.lines(), [0, 0]  # between these there was no file

    def told():
        return [e["servers"] for e in live.events("run", event="resolvers")]

    def change(what, server, news=True, there=True):
        """After it the server is asked and nobody else, and names are answered."""
        known, began = len(told()), time.time()
        what()
        changed = time.time() + 0.3 * SLACK
        if news:
            assert wait_for(lambda: len(told()) == known + 1), told()
            assert told()[-1][0].startswith(server.address + ":"), told()
        else:
            time.sleep(0.6)
        assert len(told()) == known + news, told()
        if not there:
            mended[0] = mended[0] or began
        mended[1] = changed
        if not there:
            return
        t0, count = time.time(), [s.n for s in servers]
        seen = [json.loads(next(lines))]
        while sum(x["began"] > max(t0, changed) for x in seen) < 3:
            seen.append(json.loads(next(lines)))
        # In the moment between the host's new file and the sandbox's upon it a name may fail.
        wrong = [x for x in seen if x["result"] != "ok" or x["seconds"] > 2 * SLACK]
        assert all(0 < mended[0] < x["began"] < mended[1] or began - 0.2 < x["began"] < changed
                   for x in wrong), wrong
        mended[:] = [0, 0]
        assert len(told()) == known + news, told()
        asked = [s for s, n in zip(servers, count) if s.n > n]
        assert server in asked, [s.address for s in asked]
        # To another only what was under way.
        assert [s.address for s, n in zip(servers, count) if s is not server and s.n > n + 2] == []

    try:
        assert json.loads(next(lines))["result"] == "ok"
        change(lambda: etc.rename(nameserver(b)), b)
        change(lambda: etc.write(nameserver(c)), c)
        # The same in other words is no news.
        change(lambda: etc.write("; again\n" + nameserver(c) + "options edns0\n"), c, news=False)
        etc.write(nameserver(a), "one.conf")
        etc.write(nameserver(b), "two.conf")
        change(lambda: etc.link("one.conf"), a)
        change(lambda: etc.link("two.conf"), b)
        change(lambda: etc.write(nameserver(c), "two.conf"), c)
        # A dangling link, nothing at all, half a file, garbage: the last good ones stay. Where there
        # is no file on the host, the sandbox's can lie over none: its programs know no server.
        change(lambda: etc.link("nowhere.conf"), c, news=False, there=False)
        change(lambda: os.unlink(etc.conf), c, news=False, there=False)
        change(lambda: etc.write("nameserver"), c, news=False)
        with open(etc.conf, "wb") as f:
            f.write(os.urandom(70000))
        change(lambda: None, c, news=False)
        change(lambda: etc.rename("nameserver fe80::1%lo\nnameserver 300.1.1.1\n"
                                  "nameserver127.0.9.1\nnameservers 127.0.9.1\n"), c, news=False)
        change(lambda: etc.rename("nameserver fe80::1%lo\n" + nameserver(a)), a)
        assert told()[-1] == ["127.0.9.1:53"], told()
        change(lambda: os.unlink(etc.conf), a, news=False, there=False)
        change(lambda: etc.write(nameserver(b)), b)
        # As systemd-resolved has it: the sandbox's own is made where the link leads.
        change(lambda: etc.link("/run/nobody/resolv.conf"), b, news=False)
        # Fifty: the first eight.
        change(lambda: etc.rename(nameserver(a, *("127.0.8.%d" % i for i in range(1, 50)))), a)
        assert len(told()[-1]) == 8, told()
        # A folder in its place, and back.
        os.unlink(etc.conf)
        change(lambda: os.mkdir(etc.conf), a, news=False, there=False)
        os.rmdir(etc.conf)
        change(lambda: etc.write(nameserver(c)), c)
        # Written again and again: the end of it counts.
        known, mended[0] = len(told()), time.time()
        for i in range(300):
            etc.rename(nameserver(servers[i % 2]))
            time.sleep(0.002)
        etc.rename(nameserver(b))
        assert wait_for(lambda: told()[-1] == ["127.0.9.2:53"]), told()
        time.sleep(0.5)
        change(lambda: None, b, news=False)
        assert len(told()) - known < 20, "each writing was news: %d" % (len(told()) - known)
    finally:
        live.end()
    assert live.p.returncode in (0, 143), live.p.returncode


def replace(path, text):
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(path + ".new", path)


@pytest.mark.netns("covers over the host's files")
def test_the_sandboxs_files_stay_when_the_host_replaces_its_own(weir, etc):
    """A rename takes away what was mounted there in every other namespace; it is laid again."""
    bundle = os.path.join(etc.folder, "ssl/certs/ca-certificates.crt")
    etc.write(nameserver("127.0.9.9"))
    weir.prefix, before = ["unshare", "-m", "sh", "-c", OWN_ETC, etc.folder], weir.prefix
    p = weir.start("sh", "-c", "while sleep 0.05; do cmp -s /etc/hosts /run/weir/hosts && "
                   "cmp -s /etc/resolv.conf /run/weir/resolv.conf && "
                   "cmp -s /etc/ssl/certs/ca-certificates.crt /run/weir/ca-bundle.pem && "
                   "echo ours || echo theirs; done", intercept=True)
    weir.prefix = before
    try:
        assert p.stdout.readline() == b"ours\n"
        for i in range(20):
            replace(os.path.join(etc.folder, "hosts"), "127.0.0.1 localhost\n# %d\n" % i)
            replace(bundle, "# %d\n" % i)
            etc.rename(nameserver("127.0.9.%d" % i))
            time.sleep(0.02)
        time.sleep(0.2)
        replace(os.path.join(etc.folder, "last"), "")
        seen = [p.stdout.readline() for _ in range(40)]
        assert seen[-10:] == [b"ours\n"] * 10, seen
    finally:
        p.terminate()
        p.communicate(timeout=20 * SLACK)
