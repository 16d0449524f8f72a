# SPDX-License-Identifier: Apache-2.0
"""The body of net.sh: runs inside namespaces of its own, as their root."""

import argparse
import collections
import contextlib
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

from procs import comm, cpu_s, family, private_kib, read, wait_for

OUT, WEIR, CC = os.environ["OUT"], os.environ["WEIR"], os.environ.get("BENCH_CC", "")
SERVER = "93.184.216.34"
TXQ = "20000"  # frames a tap can hold; the kernel's 1000 lose a single stream's burst
GIB = 2 ** 30


def sh(*argv, check=True, **kw):
    return subprocess.run(argv, check=check, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


def spawn(*argv, **kw):
    log = open(os.path.join(OUT, os.path.basename(argv[0]) + ".log"), "a")
    return subprocess.Popen(argv, stdout=kw.pop("stdout", log), stderr=log, **kw)


def lines(text):
    return dict(re.findall(r"(\w+)=([0-9.]+)", text))


# ---- processes, as the kernel counts them ---------------------------------------------------------


def rss_kib(pids):
    return sum(int(x) for p in pids for x in re.findall(r"^VmRSS:\s+(\d+)", read("/proc/%d/status" % p), re.M))


def fds(pids):
    return sum(len(glob.glob("/proc/%d/fd/*" % p)) for p in pids)


# ---- peers ----------------------------------------------------------------------------------------


class Peer:
    """Something that carries a client's traffic to the host's servers. run() is inside."""
    label = ""
    server = SERVER

    def __init__(self):
        self.pids = []  # of the processes that do the work

    def start(self):
        pass

    def stop(self):
        pass

    def inside(self, *argv):
        return list(argv)

    def run(self, *argv, timeout=60):
        return subprocess.run(self.inside(*argv), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              timeout=timeout).stdout


class Loopback(Peer):
    label = "loopback"


class Client(Peer):
    """A network namespace of its own."""

    def start(self):
        sh("ip", "netns", "add", "client")
        self.ns = "/run/netns/client"
        sh(*self.inside("ip", "link", "set", "lo", "up"))

    def inside(self, *argv):
        return ["nsenter", "--net=" + self.ns, *argv]

    def tune(self, dev):
        sh(*self.inside("ip", "link", "set", dev, "txqueuelen", TXQ))

    def routed(self):
        return "default" in sh(*self.inside("ip", "-4", "route"), check=False).stdout

    def stop(self):
        sh("ip", "netns", "del", "client")


class Veth(Client):
    label = "veth"

    def start(self):
        super().start()
        sh("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", "client")
        sh("ip", "addr", "add", "192.0.2.33/30", "dev", "v0")
        sh("ip", "link", "set", "v0", "up")
        sh(*self.inside("ip", "addr", "add", "192.0.2.34/30", "dev", "v1"))
        sh(*self.inside("ip", "link", "set", "v1", "up"))
        sh(*self.inside("ip", "route", "add", "default", "via", "192.0.2.33"))

    def stop(self):
        sh("ip", "link", "del", "v0", check=False)
        super().stop()


class Relay(Client):
    label = "relay"

    def start(self):
        super().start()
        self.p = spawn(OUT + "/relay", self.ns, "192.0.2.1")
        self.pids = [self.p.pid]
        wait_for(lambda: sh(*self.inside("ip", "link", "show", "eth0"), check=False).returncode == 0)
        sh(*self.inside("ip", "addr", "add", "192.0.2.2/24", "dev", "eth0"))
        sh(*self.inside("ip", "link", "set", "eth0", "up", "txqueuelen", TXQ))
        sh(*self.inside("ip", "route", "add", "default", "via", "192.0.2.1"))

    def stop(self):
        self.p.kill()
        self.p.wait()
        super().stop()


class Pasta(Client):
    def __init__(self, mtu):
        super().__init__()
        self.mtu, self.label = mtu, "pasta%d" % mtu

    def start(self):
        super().start()
        self.p = spawn("pasta", "-f", "-q", "--config-net", "--mtu", str(self.mtu), "-t", "none", "-u", "none",
                       "-T", "none", "-U", "none", "--netns", self.ns)
        self.pids = [self.p.pid]
        wait_for(self.routed)
        self.tune("up0")

    def stop(self):
        self.p.terminate()
        self.p.wait()
        super().stop()


class Slirp(Client):
    def __init__(self, mtu):
        super().__init__()
        self.mtu, self.label = mtu, "slirp%d" % mtu

    def start(self):
        super().start()
        self.p = spawn("slirp4netns", "--configure", "--mtu=%d" % self.mtu, "--disable-dns", "--netns-type=path",
                       self.ns, "tap0")
        self.pids = [self.p.pid]
        wait_for(self.routed)
        self.tune("tap0")

    def stop(self):
        self.p.terminate()
        self.p.wait()
        super().stop()


class Weir(Client):
    def __init__(self, mtu, *options):
        super().__init__()
        self.mtu, self.label, self.options = mtu, "weir" if mtu == 1500 else "weir%d" % mtu, options

    def argv(self, *command):
        mtu = ["--mtu", str(self.mtu)] if self.mtu != 1500 else []
        return [WEIR, "run", "--backend", "netns", "--policy", "allow_all", "--max-connections", "20000",
                "--audit", OUT + "/audit", *mtu, *self.options, "--", *command]

    def start(self):
        # What the sandbox says proves that its network is there.
        self.p = spawn(*self.argv("sh", "-c", "echo up; exec sleep infinity"), stdout=subprocess.PIPE, text=True)
        if self.p.stdout.readline() != "up\n":
            raise RuntimeError("weir did not start: " + read(OUT + "/weir.log"))
        wait_for(lambda: any(comm(p) == "sleep" for p in family(self.p.pid)))
        tree = family(self.p.pid)
        self.ns = "/proc/%d/ns/net" % [p for p in tree if comm(p) == "sleep"][0]
        there = os.readlink(self.ns)
        self.pids = [p for p in tree if comm(p).startswith("weir") and os.readlink("/proc/%d/ns/net" % p) != there]

    def stop(self):
        self.p.terminate()
        self.p.wait()
        with contextlib.suppress(OSError):
            os.unlink(OUT + "/audit")


PEERS = {
    "loopback": Loopback, "veth": Veth, "relay": Relay,
    "weir": lambda: Weir(1500), "weir65520": lambda: Weir(65520),
    "pasta1500": lambda: Pasta(1500), "pasta65520": lambda: Pasta(65520),
    "slirp1500": lambda: Slirp(1500), "slirp65520": lambda: Slirp(65520),
}
ONLY_TCP = ("relay",)

# ---- measuring ------------------------------------------------------------------------------------


class Figures:
    def __init__(self):
        self.all = collections.defaultdict(list)

    def add(self, peer, test, value):
        self.all[test, peer].append(float(value))

    def median(self, test, peer):
        v = self.all.get((test, peer))
        return statistics.median(v) if v else None

    def ratio(self, test, a, b):
        """Of each run's pair: within one run the peers met the same machine."""
        v = [x / y for x, y in zip(self.all.get((test, a), []), self.all.get((test, b), [])) if y]
        return v


F = Figures()


@contextlib.contextmanager
def cpu_of(peer):
    box, before = {}, cpu_s(peer.pids)
    yield box
    box["s"] = cpu_s(peer.pids) - before


def iperf(peer, seconds, *options):
    with cpu_of(peer) as cpu:
        text = peer.run("iperf3", "-c", peer.server, "-p", "5201", "-t", str(seconds), *(["-C", CC] if CC else []), "-J",
                        *options)
    try:
        end = json.loads(text)["end"]
        return end["sum_received"]["bits_per_second"] / 1e9, end["sum_received"]["bytes"], end["sum_sent"].get(
            "retransmits", 0), cpu["s"]
    except (ValueError, KeyError):
        return None


def bulk(peer, o):
    for name, options in (("up 1", ()), ("down 1", ("-R",)), ("up 8", ("-P", "8")), ("down 8", ("-P", "8", "-R"))):
        got = iperf(peer, o.seconds, *options)
        if not got or not got[1]:
            continue
        rate, size, again, cpu = got
        F.add(peer.label, "bulk %s Gbit/s" % name, rate)
        F.add(peer.label, "bulk %s retransmissions" % name, again)
        if peer.pids:
            F.add(peer.label, "bulk %s CPU s/GB" % name, cpu / (size / 1e9))


def udp_rate(peer, o, way, size, run, title):
    with cpu_of(peer) as cpu:
        got = lines(peer.run(OUT + "/udp", way, peer.server, "5401", str(o.seconds), str(size), str(run)))
    if float(got.get("arrived", 0)) == 0:
        return
    F.add(peer.label, title + " Mpps", float(got["pps"]) / 1e6)
    if peer.pids:
        F.add(peer.label, title + " CPU us", cpu["s"] / float(got["arrived"]) * 1e6)


def udp(peer, o):
    if peer.label in ONLY_TCP:
        return
    for way in "up", "down":
        for size in 64, 1400:
            udp_rate(peer, o, way, size, 1, "udp %s %d" % (way, size))


def uso(peer, o):
    if peer.label in ONLY_TCP:
        return
    for way in "up", "down":
        udp_rate(peer, o, way, 1400, 40, "uso %s 1400" % way)


def timed(peer, o, title, program, mode, port, *more):
    with cpu_of(peer) as cpu:
        got = lines(peer.run(OUT + "/" + program, mode, peer.server, port, str(o.seconds), *more))
    if not got:
        return
    F.add(peer.label, title + " per second", got["rate"])
    F.add(peer.label, title + " p50 us", got["p50"])
    F.add(peer.label, title + " p99 us", got["p99"])
    if peer.pids:
        F.add(peer.label, title + " CPU us", cpu["s"] / (float(got["rate"]) * o.seconds) * 1e6)


def connect(peer, o):
    timed(peer, o, "connect 16", "bench", "crr", "5400", "16")


def keep(peer, o):
    timed(peer, o, "keep 64", "bench", "keep", "5400", "64")


def rr(peer, o):
    timed(peer, o, "rr tcp", "bench", "rr", "5400")
    if peer.label not in ONLY_TCP:
        timed(peer, o, "rr udp", "udp", "rr", "5401")


def idle(peer, o):
    if peer.label in ONLY_TCP:
        return
    for n in [0] + o.idle:
        if n:  # what the transfers before left in its heap is not the idle connections'
            peer.stop()
            peer.start()
        holder = subprocess.Popen(peer.inside(OUT + "/bench", "idle", peer.server, "5400", "0", str(n)),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        timer = None
        try:
            timer = threading.Timer(60, holder.kill)
            timer.start()
            held = int(lines(holder.stdout.readline()).get("idle", 0))
            timer.cancel()
            if held < n:
                print("%s: only %d of %d idle connections" % (peer.label, held, n), file=sys.stderr)
                continue
            time.sleep(5)  # empty buffers are given back after some seconds
            title = "idle %d" % n
            if peer.pids:
                F.add(peer.label, title + " private KiB", private_kib(peer.pids))
                F.add(peer.label, title + " descriptors", fds(peer.pids))
                with cpu_of(peer) as cpu:
                    time.sleep(2)
                F.add(peer.label, title + " CPU %", cpu["s"] / 2 * 100)
            timed(peer, o, title + " rr", "bench", "rr", "5400")
            got = iperf(peer, o.seconds)
            if got:
                F.add(peer.label, title + " up Gbit/s", got[0])
                if peer.pids:
                    F.add(peer.label, title + " up CPU s/GB", got[3] / (got[1] / 1e9))
        finally:
            if timer:
                timer.cancel()
            holder.stdin.close()
            holder.wait()


def forward(peer, o):
    """The other way round: a port of the host's loopback forwarded to a server inside."""
    inbound = {"weir": lambda: Weir(1500, "--publish", "7001:7001"), "pasta65520": None}.get(peer.label, False)
    if inbound is False:
        return
    if inbound:
        p = inbound()
        p.start()
    else:
        p = Pasta(65520)
        Client.start(p)
        p.p = spawn("pasta", "-f", "-q", "--config-net", "-t", "7001", "-u", "none", "-T", "none", "-U", "none",
                    "--netns", p.ns)
        p.pids = [p.p.pid]
        wait_for(p.routed)
    server = subprocess.Popen(p.inside("iperf3", "-s", "-p", "7001"), stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        for name, options in (("in", ()), ("out", ("-R",))):
            with cpu_of(p) as cpu:
                text = sh("iperf3", "-c", "127.0.0.1", "-p", "7001", "-t", str(o.seconds), "-J", *options,
                          check=False).stdout
            try:
                got = json.loads(text)["end"]["sum_received"]
            except (ValueError, KeyError):
                continue
            if got["bytes"]:
                F.add(peer.label, "forward %s Gbit/s" % name, got["bits_per_second"] / 1e9)
                F.add(peer.label, "forward %s CPU s/GB" % name, cpu["s"] / (got["bytes"] / 1e9))
    finally:
        server.kill()
        server.wait()
        p.stop()


def rest(peer, o):
    if peer.label != "weir":
        return
    running, begin = [], time.monotonic()
    try:
        for i in range(o.rest):
            p = subprocess.Popen([WEIR, "run", "--backend", "netns", "--policy", "public_only", "--name", "rest%d" % i,
                                  "--audit", OUT + "/rest.%d" % i, "--", "sh", "-c", "echo up; exec sleep infinity"],
                                 stdout=subprocess.PIPE, text=True)
            running.append(p)
        for p in running:
            if p.stdout.readline() != "up\n":
                raise RuntimeError("a sandbox did not start")
        took = time.monotonic() - begin
        time.sleep(2)
        pids = [x for p in running for x in family(p.pid) if comm(x) in ("weir-gateway", "weir-tlsproxy")]
        everyone = [x for p in running for x in family(p.pid) if comm(x).startswith("weir")]
        F.add("weir", "rest started per second", o.rest / took)
        F.add("weir", "rest private KiB of gateway and tlsproxy", private_kib(pids) / o.rest)
        F.add("weir", "rest private KiB of all processes", private_kib(everyone) / o.rest)
        before = cpu_s(everyone)
        time.sleep(5)
        F.add("weir", "rest CPU % of all", (cpu_s(everyone) - before) / 5 * 100)
    finally:
        for p in running:
            p.terminate()
        for p in running:
            p.wait()


SECTIONS = {"bulk": bulk, "udp": udp, "uso": uso, "connect": connect, "keep": keep, "rr": rr, "idle": idle,
            "forward": forward, "rest": rest}

# ---- the host -------------------------------------------------------------------------------------


def host():
    os.chdir(OUT)
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "bench", "/run")
    os.mkdir("/run/netns")
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "addr", "add", SERVER + "/32", "dev", "lo")
    # An interface with a default route: peers copy its settings. Nobody is at the other end.
    sh("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    sh("ip", "addr", "add", "192.0.2.10/28", "dev", "up0")
    sh("ip", "link", "set", "up0", "up")
    sh("ip", "link", "set", "up1", "up")
    sh("ip", "route", "add", "default", "via", "192.0.2.1")
    for key, value in (("net/ipv4/ip_forward", "1"), ("net/ipv4/tcp_congestion_control", CC),
                       ("net/core/somaxconn", "8192")):
        with contextlib.suppress(OSError), open("/proc/sys/" + key, "w") as f:
            f.write(value)
    with open("resolv.conf", "w") as f:
        f.write("nameserver 192.0.2.1\n")
    sh("mount", "--bind", "resolv.conf", os.path.realpath("/etc/resolv.conf"), check=False)
    spawn(OUT + "/bench", "serve", SERVER, "5400")
    spawn(OUT + "/udp", "sink", SERVER, "5401")
    spawn("iperf3", "-s", "-B", SERVER, "-p", "5201")
    time.sleep(0.5)


# ---- what came out --------------------------------------------------------------------------------


def show(value):
    return "-" if value is None else "%.2f" % value if value < 100 else "%.0f" % value


def table(peers):
    rows = [["median of the runs"] + peers]
    for test in dict.fromkeys(t for t, _ in F.all):
        rows.append([test] + [show(F.median(test, p)) for p in peers])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        print("  ".join([r[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(r[1:], widths[1:])]))


def ratios(peers):
    print()
    for mine, theirs in (("weir", [p for p in peers if p in ("veth", "relay", "pasta1500", "slirp1500")]),
                         ("weir65520", [p for p in peers if p in ("pasta65520", "slirp65520")])):
        for test in dict.fromkeys(t for t, p in F.all if p == mine):
            said = ["%s %.2fx (%.2f-%.2f)" % (p, statistics.median(v), min(v), max(v)) for p in theirs
                    for v in [F.ratio(test, mine, p)] if v]
            if said:
                print("%s: %s against %s" % (test, mine, ", ".join(said)))


def gates():
    """What netstack is to reach; None: not measured in this run."""
    m = F.median

    def most(test, limit, peer="weir"):
        v = m(test, peer)
        return (test, peer, v, "<= %g" % limit, v is not None and v <= limit)

    def least(test, limit, peer="weir"):
        v = m(test, peer)
        return (test, peer, v, ">= %g" % limit, v is not None and v >= limit)

    def against(test, peer, other, limit, better="more"):
        v = F.ratio(test, peer, other)
        v = statistics.median(v) if v else None
        ok = v is not None and (v >= limit if better == "more" else v <= limit)
        return (test, "%s/%s" % (peer, other), v, "%s %g" % (">=" if better == "more" else "<=", limit), ok)

    out = []
    for way in "up 1", "down 1":
        out.append(most("bulk %s CPU s/GB" % way, 0.35))
        out.append(against("bulk %s Gbit/s" % way, "weir", "relay", 0.7))
    for way in "up 1", "down 1":
        for p in "pasta1500", "slirp1500":
            out.append(against("bulk %s Gbit/s" % way, "weir", p, 10))
    for way in "up 1", "up 8":
        # The other way the sender is the host's own stack, on its loopback.
        out.append(most("bulk %s retransmissions" % way, 0))
    for way in "up 1", "down 1", "up 8", "down 8":
        out.append(against("bulk %s Gbit/s" % way, "weir65520", "pasta65520", 1))
    for way in "up", "down":
        for size in 64, 1400:
            out.append(most("udp %s %d CPU us" % (way, size), 4))
            out.append(least("udp %s %d Mpps" % (way, size), 0.15))
        out.append(most("uso %s 1400 CPU us" % way, 0.6))
        out.append(least("uso %s 1400 Mpps" % way, 2))
    out.append(most("connect 16 CPU us", 90))
    out.append(most("keep 64 CPU us", 15))
    v, w = m("rr tcp p50 us", "weir"), m("rr tcp p50 us", "veth")
    out.append(("rr tcp p50 us", "weir - veth", v - w if v and w else None, "<= 20", bool(v and w and v - w <= 20)))
    out.append(most("forward in CPU s/GB", 0.15))
    out.append(most("idle 0 private KiB", 5 * 1024))
    a, b = m("idle 0 private KiB", "weir"), m("idle 9000 private KiB", "weir")
    out.append(("KiB for each idle connection", "weir", (b - a) / 9000 if a and b else None, "<= 2",
                bool(a and b and (b - a) / 9000 <= 2)))
    a, b = m("idle 0 descriptors", "weir"), m("idle 9000 descriptors", "weir")
    out.append(("descriptors for each idle connection", "weir", (b - a) / 9000 if a and b else None, "<= 1",
                bool(a and b and (b - a) / 9000 <= 1)))
    out.append(most("idle 9000 CPU %", 0.1))
    for what in "rr p50 us", "up CPU s/GB":
        a, b = m("idle 0 " + what, "weir"), m("idle 9000 " + what, "weir")
        out.append(("idle 9000 / idle 0: " + what, "weir", b / a if a and b else None, "<= 1.1",
                    bool(a and b and b / a <= 1.1)))
    out.append(most("rest private KiB of gateway and tlsproxy", 4096))
    return [g for g in out if g[2] is not None]


def main():
    ap = argparse.ArgumentParser(prog="net.sh")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=1)
    ap.add_argument("--sections", default="bulk,udp,uso,connect,keep,rr,idle,forward")
    ap.add_argument("--peers", default=",".join(PEERS))
    ap.add_argument("--check", action="store_true")
    ap.add_argument("--rest", type=int, default=1000)
    ap.add_argument("--idle", default="1000,9000")
    o = ap.parse_args()
    o.idle = [int(x) for x in o.idle.split(",")]
    peers, sections = o.peers.split(","), o.sections.split(",")
    for x, known in [(p, PEERS) for p in peers] + [(s, SECTIONS) for s in sections]:
        if x not in known:
            ap.error("%s: none of %s" % (x, ", ".join(known)))
    host()
    for run in range(o.runs):
        for section in sections:
            for name in peers:
                peer = PEERS[name]()
                peer.label = name
                try:
                    if section not in ("forward", "rest"):
                        peer.start()
                    SECTIONS[section](peer, o)
                except (subprocess.TimeoutExpired, subprocess.CalledProcessError, TimeoutError, OSError, RuntimeError) as e:
                    print("%s, %s: %s" % (name, section, e), file=sys.stderr)
                finally:
                    if section not in ("forward", "rest"):
                        peer.stop()
        print("run %d of %d is over" % (run + 1, o.runs), file=sys.stderr)
    table(peers)
    ratios(peers)
    missed = 0
    print()
    for test, who, value, limit, ok in gates():
        missed += not ok
        print("%-6s %s, %s: %s (%s)" % ("ok" if ok else "MISSED", test, who, show(value), limit))
    print("(CPU is that of the peer's own processes, kernel work in their system calls included; taps hold %s frames;"
          " congestion control %s)" % (TXQ, CC or "the system's"))
    return 1 if o.check and missed else 0


sys.exit(main())
