# SPDX-License-Identifier: Apache-2.0
"""A machine without a monitor: a network namespace behind a link of `weir gateway`.

    python3 linkguest.py LINK [--hold] -- COMMAND...

LINK is what the other end of weir's link is: stream:PATH (connects), listen:PATH
(waits for weir to connect), dgram:OWN,PEER, fd:N (a connected socket), or
tap:NAME (the gateway's own tap, which somebody moves into this namespace).
COMMAND then runs with eth0 as its network and weir as its resolver, in user,
network and mount namespaces of its own; its exit status is ours. --hold: the
link stays until standard input ends, whatever COMMAND does.

For sockets eth0 is a tap without offloads; this process carries its frames
over, as a VMM does.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
# Those of the gateway, as it said: "GUEST4 GATEWAY4 GUEST6 GATEWAY6"; "-": the machine is to ask.
NET = os.environ.get("LINKGUEST_NET", "192.0.0.2 192.0.0.1 fd77:6569:7200::2 fd77:6569:7200::1").split()


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def unshare():
    """Again, in namespaces of our own."""
    os.environ["LINKGUEST"] = "1"
    os.execvp("unshare", ["unshare", "-Urnm", "--propagation", "private", sys.executable, "-B",
                          *sys.argv])


def make_tap():
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", b"eth0", IFF_TAP | IFF_NO_PI))
    return fd


def wait_for_tap(name):
    """Somebody gives it to us; its name may change with that."""
    print("pid %d" % os.getpid(), flush=True)
    while not os.path.exists("/proc/self/net/dev") or name + ":" not in open("/proc/self/net/dev").read():
        time.sleep(0.02)
    ip("link", "set", name, "name", "eth0")


def set_up():
    ip("link", "set", "lo", "up")
    ip("link", "set", "eth0", "address", "02:77:65:69:72:02", "mtu", "1500", "up")
    resolver = "/tmp/linkguest-resolv.%d" % os.getpid()
    with open(resolver, "w", encoding="ascii") as f:
        if NET != ["-"]:
            f.write("nameserver %s\nnameserver %s\n" % (NET[1], NET[3]))
    if NET != ["-"]:
        guest4, gateway4, guest6, gateway6 = NET
        ip("addr", "add", guest4 + "/29", "dev", "eth0")
        ip("addr", "add", guest6 + "/64", "dev", "eth0", "nodad")
        ip("route", "add", "default", "via", gateway4, "mtu", "1500")
        ip("-6", "route", "add", "default", "via", gateway6)
    subprocess.run(["mount", "--bind", resolver, os.path.realpath("/etc/resolv.conf")], check=True)
    os.unlink(resolver)


def connect(link):
    """A connected socket, and whether it keeps the bounds of frames."""
    kind, _, where = link.partition(":")
    if kind == "fd":
        s = socket.socket(fileno=int(where))
        return s, s.type != socket.SOCK_STREAM
    if kind == "dgram":
        own, peer = where.split(",")
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if os.path.exists(own):
            os.unlink(own)
        s.bind(own)
        s.connect(peer)
        return s, True
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if kind == "listen":
        if os.path.exists(where):
            os.unlink(where)
        s.bind(where)
        s.listen(1)
        return s.accept()[0], False
    s.connect(where)
    return s, False


def read_exactly(s, n):
    b = b""
    while len(b) < n:
        more = s.recv(n - len(b), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        b += more
    return b


def to_machine(s, bounds, tap):
    try:
        while True:
            os.write(tap, s.recv(65536) if bounds else
                     read_exactly(s, struct.unpack("!I", read_exactly(s, 4))[0]))
    except (EOFError, OSError):
        pass  # weir is gone; the command finds out


def from_machine(s, bounds, tap):
    try:
        while True:
            frame = os.read(tap, 65536)
            s.sendall(frame if bounds else struct.pack("!I", len(frame)) + frame)
    except OSError:
        pass


def main():
    link, rest = sys.argv[1], sys.argv[2:]
    hold = rest[0] == "--hold"
    command = rest[rest.index("--") + 1:]
    if "LINKGUEST" not in os.environ:
        unshare()
    if link.startswith("tap:"):
        wait_for_tap(link[4:])
        set_up()
    else:
        tap = make_tap()
        set_up()
        s, bounds = connect(link)
        for carry in (to_machine, from_machine):
            threading.Thread(target=carry, args=(s, bounds, tap), daemon=True).start()
    status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
    sys.stdout.flush()
    if hold:
        sys.stdin.read()
    os._exit(status if status >= 0 else 128 - status)


main()
