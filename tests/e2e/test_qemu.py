# SPDX-License-Identifier: Apache-2.0
"""QEMU, with a stock Debian kernel in it, behind each link of `weir gateway`: the command lines
that README.md tells. Without KVM a machine takes some five seconds to boot."""

import os
import shutil
import subprocess

import pytest

import data
from conftest import SLACK, TOP, sanitized, wait_for
from test_gateway import gateway, root_only  # noqa: F401

KERNEL = os.path.join(TOP, "build", "guest-linux")
BIG, SMALL, SMALL6 = 3000017, 100003, 100003

pytestmark = [pytest.mark.slow, pytest.mark.netns("weir gateway: boots machines of its own")]
# A boot and its job; a machine that hangs is not waited for much longer.
PATIENCE = 60 + 15 * SLACK

# QEMU 7.2 without KVM crashes when a vhost-user device has MSI-X vectors.
NO_MSIX = ",vectors=0"
VHOST_MEMORY = ["-object", "memory-backend-memfd,id=mem,size=256M,share=on"]


class Machine:
    """A boot, a job, its report."""

    def __init__(self, weir, job, netdev, *more, device=""):
        self.out, self.console = weir.path("out.log"), weir.path("console.log")
        memory = ",memory-backend=mem" if VHOST_MEMORY[1] in more else ""
        # It ends with us, however we end.
        self.p = subprocess.Popen([
            "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-M", "q35" + memory, "-m", "256",
            "-nodefaults", "-nographic", "-no-reboot", "-kernel", KERNEL + "/vmlinuz",
            "-initrd", KERNEL + "/initrd", "-append",
            "console=ttyS0 quiet panic=-1 mitigations=off job=" + job,
            "-serial", "file:" + self.console, "-serial", "file:" + self.out, *more,
            "-netdev", netdev, "-device",
            "virtio-net-pci,netdev=n,mac=02:77:65:69:72:02,romfile=" + device],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def text(self, path):
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def report(self):
        try:
            said = self.p.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            self.p.kill()
            said = self.p.communicate()[0]
        out = self.text(self.out)
        assert "job ended" in out, (said, out, self.text(self.console)[-2000:])
        return out

    def stop(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.communicate()


@pytest.fixture
def boot(weir):
    # Not a skip: what these tests are for would go unseen. In the lab there is no network to get it.
    if not shutil.which("qemu-system-x86_64"):
        pytest.fail("qemu-system-x86_64 is missing: sh tests/packages.sh")
    if not os.path.exists(KERNEL + "/vmlinuz") or not os.path.exists(KERNEL + "/initrd"):
        pytest.fail("the machine's kernel is missing: sh tests/e2e/guest-linux.sh build/guest-linux")
    started = []

    def start(*args, **kw):
        started.append(Machine(weir, *args, **kw))
        return started[-1]

    yield start
    for m in started:
        m.stop()


def lines(out, word):
    return [x[len(word) + 1:] for x in out.splitlines() if x.startswith(word + " ")]


def check_refusal(g, out):
    assert "Could not resolve host: evil.example.net" in out and "evil 6" in out, out
    assert g.events("dns", verdict="deny", name="evil.example.net")


def check_all(g, out, features):
    """The job "all": DHCP, both directions with their digests, ping, IPv6 by advertisements."""
    assert lines(out, "lease")[0].startswith("192.0.0.2/29 via 192.0.0.1 dns 192.0.0.1"), out
    assert lines(out, "down") == [data.sha256(BIG)], out
    assert '"sha256": "%s"' % lines(out, "sent")[0] in lines(out, "up")[0], out
    assert lines(out, "ping") == ["4"], out
    assert "fd77:6569:7200" in " ".join(lines(out, "address")), out
    assert lines(out, "down6") == [data.sha256(SMALL6)], out
    check_refusal(g, out)
    # VIRTIO_NET_F_GUEST_CSUM 1, _GUEST_TSO4 7, _HOST_TSO4 11, _MRG_RXBUF 15: bit 0 is the first.
    bits = lines(out, "features")[0]
    for bit in (0, 1, 7, 8, 11, 12):
        assert bits[bit] == ("1" if features else "0"), (bit, bits)
    assert bits[32] == "1", bits  # VIRTIO_F_VERSION_1


def check_again(g, out):
    assert lines(out, "down") == [data.sha256(SMALL)], out
    check_refusal(g, out)


def end(g):
    rc, _, err = g.end()
    assert rc == 0 and not err, err
    begun = {e["id"] for e in g.events("flow", verdict="allow")}
    assert begun and begun == {e["id"] for e in g.events("flow_end")}


def test_stream(weir, gateway, boot):  # noqa: F811
    path = weir.path("link.sock")
    g = gateway("stream:" + path)
    netdev = "stream,id=n,server=off,addr.type=unix,addr.path=" + path
    check_all(g, boot("all", netdev).report(), False)
    # QEMU starts anew; weir stays.
    assert wait_for(lambda: len(g.events("run", event="link_down")) == 1)
    check_again(g, boot("again", netdev).report())
    end(g)


# The sanitizer build has seen each driver by then.
ONCE = pytest.mark.skipif(sanitized(), reason="once is enough, with the normal build")


@ONCE
def test_stream_qemu_listens(weir, gateway, boot):  # noqa: F811
    path = weir.path("machine.sock")
    m = boot("again", "stream,id=n,server=on,addr.type=unix,addr.path=" + path)
    assert wait_for(lambda: os.path.exists(path), 20)
    g = gateway("stream:%s,connect" % path)
    check_again(g, m.report())
    rc, _, err = g.end(None)
    assert rc == 0 and "the machine has closed it" in err, err


def test_vhost_user(weir, gateway, boot):  # noqa: F811
    path = weir.path("link.sock")
    g = gateway("vhost-user:" + path)
    more = [*VHOST_MEMORY, "-chardev", "socket,id=c,path=" + path]
    check_all(g, boot("all", "vhost-user,id=n,chardev=c", *more, device=NO_MSIX).report(), True)
    assert wait_for(lambda: g.events("run", event="link_down"))
    check_again(g, boot("again", "vhost-user,id=n,chardev=c", *more, device=NO_MSIX).report())
    end(g)


@ONCE
def test_dgram(weir, gateway, boot):  # noqa: F811
    ours, theirs = weir.path("weir.sock"), weir.path("machine.sock")
    g = gateway("dgram:%s,peer=%s" % (ours, theirs))
    m = boot("all", "dgram,id=n,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s" % (
        theirs, ours))
    check_all(g, m.report(), False)
    end(g)


@ONCE
def test_tap(weir, gateway, boot):  # noqa: F811
    """QEMU's tap and weir's on a bridge: Firecracker and Cloud Hypervisor open theirs the same way."""
    root_only(weir)
    subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True)
    subprocess.run(["sysctl", "-qw", "net.ipv6.conf.br0.disable_ipv6=1", "net.ipv4.conf.br0.rp_filter=1"],
                   check=True)
    for words in ("link set br0 up",
                  "tuntap add vm0 mode tap vnet_hdr", "tuntap add weir0 mode tap vnet_hdr",
                  "link set vm0 txqueuelen 20000 master br0 up", "link set weir0 master br0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    try:
        g = gateway("tap:weir0")
        m = boot("all", "tap,id=n,ifname=vm0,script=no,downscript=no,vnet_hdr=on")
        check_all(g, m.report(), True)
        end(g)
    finally:
        for device in ("br0", "vm0", "weir0"):
            subprocess.run(["ip", "link", "del", device], check=True)
