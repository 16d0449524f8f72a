# SPDX-License-Identifier: Apache-2.0
"""The body of tls.sh: runs inside namespaces of its own, as their root."""

import argparse
import collections
import os
import random
import re
import statistics
import subprocess
import sys
import time

import tls_peers
from procs import cpu_of, private_kib, read, wait_for
from tls_peers import HERE, HOST, ORIGIN, OUT, PEERS, on_cpu, sh, write

U = "https://" + HOST
# weir's share of the peer, at least. Of bulk most is what the kernel and AES cost anybody, and of memory each
# connection's TLS: ten times less than mitmproxy is there only for what a proxy does by itself.
GATES = {
    "down": {"mitmproxy": 1, "squid": 1, "nginx": 0.8},
    "up": {"mitmproxy": 1, "squid": 1, "nginx": 0.8},
    "keep-alive": {"mitmproxy": 10, "squid": 1, "nginx": 0.8},
    "streams": {"mitmproxy": 10, "squid": 1, "nginx": 0.8},
    "new": {"mitmproxy": 10, "squid": 1, "nginx": 0.8},
    "latency": {"mitmproxy": 1, "squid": 1},
    "memory": {"mitmproxy": 1, "squid": 1},
}
SECRETS = 0.7  # of weir's own with secrets on


class Figures:
    def __init__(self):
        self.all = collections.defaultdict(list)
        self.tests = []

    def add(self, peer, test, value, good=1):
        """good: 1 when more is better, -1 when less is."""
        if (test, good) not in self.tests:
            self.tests.append((test, good))
        self.all[test, peer].append(float(value))

    def median(self, test, peer):
        v = self.all.get((test, peer))
        return statistics.median(v) if v else None

    def ratios(self, test, a, b):
        """Of each run's pair: within one run the peers met the same machine."""
        return [x / y for x, y in zip(self.all.get((test, a), []), self.all.get((test, b), [])) if y]


F = Figures()


def start_origin(o):
    folder = OUT + "/www"
    os.mkdir(folder)
    os.mkdir(folder + "/put")
    for d in (folder, folder + "/put"):
        os.chmod(d, 0o777)
    with open(folder + "/small", "w") as f:
        f.write("x" * 1024)
    for part in sorted({c.part for c in PEERS.values()}):
        for name in ("%s/big%d" % (folder, part), "%s/upload%d" % (OUT, part)):
            with open(name, "wb") as f:
                f.truncate((o.megabytes << 20) // part)
    conf = write("origin.conf", """
daemon off; worker_processes 1; pid %(o)s/origin.pid; error_log stderr; user root;
events { worker_connections 8192; }
http { access_log off; client_body_temp_path %(o)s/o1; proxy_temp_path %(o)s/o2; fastcgi_temp_path %(o)s/o3;
  uwsgi_temp_path %(o)s/o4; scgi_temp_path %(o)s/o5; keepalive_requests 100000000; client_max_body_size 0; sendfile on;
  ssl_certificate %(o)s/origin.pem; ssl_certificate_key %(o)s/origin.pem; ssl_protocols TLSv1.2 TLSv1.3;
  server { listen %(a)s:443 ssl http2 backlog=4096; root %(o)s/www;
    location /put/ { dav_methods PUT; } } }
""" % {"o": OUT, "a": ORIGIN})
    p = subprocess.Popen(on_cpu(0, "nginx", "-c", conf, "-p", OUT), stdin=subprocess.DEVNULL,
                         stderr=open(OUT + "/origin.log", "w"))
    wait_for(lambda: tls_peers.listening(443) or p.poll() is not None)
    if p.poll() is not None:
        sys.exit(open(OUT + "/origin.log").read())
    return p


# ---- sections: each asks one peer ------------------------------------------------------------------


def per(peer, name, cpu, amount, unit):
    if peer.pids and amount and cpu > 0:
        F.add(peer.label, "%s CPU %s" % (name, unit), cpu / amount, -1)


AUTH = ("-H", "Authorization: Bearer @TOKEN@")


def bulk(peer, o):
    for way, args in (("down", ("-o", "/dev/null", U + "/big%d" % peer.part)),
                      ("up", ("-T", "%s/upload%d" % (OUT, peer.part), "-o", "/dev/null"))):
        for streams in (1, 8):
            for version in ("--http1.1", "--http2") if peer.h2 and o.bulk_h2 else ("--http1.1",):
                argv = ["curl", "-sS", "-k", version, "-w", "%{http_code} %{size_download} %{size_upload} %{http_version}\n",
                        *AUTH, *args]
                if way == "up":
                    argv.append(U + "/put/file")
                with cpu_of(peer.pids) as cpu:
                    got = peer.inside.ask(*argv, copies=streams)
                size = 0
                for text in got["out"]:
                    m = re.match(r"20[014] (\d+) (\d+) ([\d.]+)", text)
                    size += int(m.group(1 if way == "down" else 2)) if m else 0
                    if m and (m.group(3) == "2") != (version == "--http2"):
                        size = 0
                if size != streams * ((o.megabytes << 20) // peer.part):
                    continue
                name = "%s %d%s" % (way, streams, " h2" if version == "--http2" else "")
                F.add(peer.label, name + " Gbit/s", size * 8e-9 / got["seconds"])
                per(peer, name, cpu["s"], size / 1e9, "s/GB")


def h2load(peer, *args):
    with cpu_of(peer.pids) as cpu:
        text = peer.inside.ask("timeout", "60", "h2load", *AUTH, *args, U + "/small")["out"][0]
    rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", text)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", text)
    good = re.search(r"(\d+) 2xx", text)
    if not rate or not done or not good or int(good.group(1)) != int(done.group(1)) or not int(done.group(1)):
        return None
    failed = int(done.group(2)) + int(done.group(3))
    return float(rate.group(1)), int(done.group(1)), failed, cpu["s"], text


def requests(peer, o):
    for name, args in (("keep-alive h1", ("--h1", "-c", "64")), ("keep-alive h2", ("-c", "64", "-m", "1")),
                       ("streams h2", ("-c", "8", "-m", "32"))):
        if "h2" in name and not peer.h2:
            continue
        # A number, so that the connections' own cost is shared out alike.
        got = h2load(peer, "-n", str((5000 if peer.part == 1 else 1000) * o.seconds), *args)
        if not got or "h2" in name and "Application protocol: h2" not in got[4]:
            continue
        F.add(peer.label, name + " requests/s", got[0])
        per(peer, name, got[3], got[1] / 1e6, "us/request")
        if got[2]:
            print("%s: %s: %d requests failed" % (peer.label, name, got[2]), file=sys.stderr)


def connections(peer, o):
    connections_h1(peer, o)
    if peer.h2:
        connections_h2(peer, o)


def connections_h1(peer, o):
    """A connection for each request, 64 at a time; the client comes back with tickets."""
    with cpu_of(peer.pids) as cpu:
        text = peer.inside.ask("wrk", "-t1", "-c64", "-d%ds" % o.seconds, "--timeout", "30s", "-H", "Connection: close", *AUTH,
                               U + "/small")["out"][0]
    rate = re.search(r"Requests/sec: +([\d.]+)", text)
    number = re.search(r"(\d+) requests in", text)
    if not rate or not number or "Non-2xx" in text or not int(number.group(1)):
        return
    F.add(peer.label, "new connections h1 requests/s", float(rate.group(1)))
    per(peer, "new connections h1", cpu["s"], int(number.group(1)) / 1e6, "us/request")


def connections_h2(peer, o):
    """The same in HTTP/2, by one client after another that each opens 64: none comes back with a ticket."""
    with cpu_of(peer.pids) as cpu:
        got = peer.inside.ask("timeout", "60", "h2load", "-n", "64", "-c", "64", "-m", "1", *AUTH, U + "/small", seconds=o.seconds)
    if not all("64 2xx" in text and "Application protocol: h2" in text for text in got["out"]):
        return
    number = 64 * len(got["out"])
    F.add(peer.label, "new connections h2 requests/s", number / got["seconds"])
    per(peer, "new connections h2", cpu["s"], number / 1e6, "us/request")


def latency(peer, o):
    """Paced, far below what anybody can do: what one request waits."""
    path = "/tmp/weir-bench-h2load.log"
    peer.inside.ask("rm", "-f", path)
    if not h2load(peer, "--h1", "-c", "4", "--rps", "25", "-D", str(2 * o.seconds), "--log-file", path):
        return
    text = peer.inside.ask("cat", path)["out"][0]
    times = sorted(int(x.split("\t")[2]) for x in text.splitlines() if len(x.split("\t")) >= 3)
    if times:
        F.add(peer.label, "latency p50 us", times[len(times) // 2], -1)
        F.add(peer.label, "latency p99 us", times[min(len(times) - 1, len(times) * 99 // 100)], -1)
    peer.inside.ask("rm", "-f", path)


def memory(peer, o):
    if not peer.pids:
        return
    before = private_kib(peer.pids)
    text = peer.inside.ask(sys.executable, "-B", HERE + "/tls_inside.py", "hold", U + "/small", str(o.connections),
                           hold=True)["out"][0]
    time.sleep(0.5)
    after = private_kib(peer.pids)
    peer.inside.let_go()
    held = int(re.findall(r"\d+", text)[0]) if text else 0
    if held == o.connections:
        F.add(peer.label, "memory at rest MiB", before / 1024, -1)
        F.add(peer.label, "memory at %d connections MiB" % held, after / 1024, -1)
    else:
        print("%s: only %d of %d connections held" % (peer.label, held, o.connections), file=sys.stderr)


SECTIONS = {"bulk": bulk, "requests": requests, "connections": connections, "latency": latency, "memory": memory}


# ---- the whole ------------------------------------------------------------------------------------------


def one_peer(name, sections, o):
    peer = PEERS[name]()
    try:
        peer.start()
        peer.inside.ask("curl", "-sS", "-k", "-o", "/dev/null", U + "/small")
        peer.served()
        for s in sections:
            SECTIONS[s](peer, o)
    except (RuntimeError, TimeoutError, OSError, ValueError, subprocess.SubprocessError) as e:
        print("%s left out: %s" % (name, e), file=sys.stderr)
    finally:
        peer.stop()


def number(v):
    return "-" if v is None else "%.0f" % v if v >= 100 else "%.2f" % v


def share(test, good, a, b):
    """How much better a is than b, as a factor, for both kinds of figures."""
    r = F.ratios(test, a, b)
    return statistics.median(r) ** good if r and statistics.median(r) > 0 else None


def report(names):
    print("\n| figure | %s |" % " | ".join(names))
    print("|---|%s" % ("---|" * len(names)))
    for test, _ in F.tests:
        print("| %s | %s |" % (test, " | ".join(number(F.median(test, n)) for n in names)))
    if "weir" not in names:
        return
    others = [n for n in names if n != "weir"]
    print("\nweir beside each: a factor above 1 says that weir is better\n")
    print("| figure | %s |" % " | ".join(others))
    print("|---|%s" % ("---|" * len(others)))
    for test, good in F.tests:
        print("| %s | %s |" % (test, " | ".join(number(share(test, good, "weir", n)) for n in others)))


def conditions(o, began):
    """Figures mean something beside those of the same run; how much else went on, the load says."""
    model = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    print("\n%s, %d processors (%s), Linux %s; %d runs of %d s and %d MB, peers in turn and in another order each time."
          % (time.strftime("%Y-%m-%d", time.gmtime()), os.cpu_count(), model.group(1) if model else "?",
             os.uname().release, o.runs, o.seconds, o.megabytes))
    print("Load %s before and %s after. CPU: user and system time of the peer's processes, for each unit of work. "
          "Medians; the factors are medians of each run's own." % (began, load()))


def load():
    return read("/proc/loadavg").split()[0]


def out_of_reach(test, good, rival, least):
    """A rate that nobody comes to, the client without any proxy neither: more is not asked for."""
    seen = [F.median(test, n) or 0 for n in PEERS if not n.startswith("weir")]
    return good > 0 and F.median(test, "direct") is not None and F.median(test, rival) * least > max(seen)


def check():
    missed = 0
    for test, good in F.tests:
        if "rest" in test:
            continue
        gates = GATES[test.split()[0]].items()
        for a, b, least in [("weir", n, x) for n, x in gates] + [("weir+secrets", "weir", SECRETS)]:
            v = share(test, good, a, b)
            if v is None or v >= least:
                continue
            if a == "weir" and out_of_reach(test, good, b, least):
                print("not asked for: %s: %.2f of %s is more than anybody does here" % (test, least, b))
            else:
                print("gate missed: %s: %s is %.2f of %s, and has to be %.2f" % (test, a, v, b, least))
                missed += 1
    return missed


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--seconds", type=int, default=2)
    p.add_argument("--megabytes", type=int, default=64)
    p.add_argument("--connections", type=int, default=1000)
    p.add_argument("--sections", default=",".join(SECTIONS))
    p.add_argument("--peers", default=",".join(PEERS))
    p.add_argument("--bulk-h2", action="store_true")
    p.add_argument("--check", action="store_true")
    o = p.parse_args()
    names, sections = o.peers.split(","), o.sections.split(",")
    for n in names + sections:
        if n not in PEERS and n not in SECTIONS:
            p.error("no such peer or section: " + n)
    began = load()
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "addr", "add", ORIGIN + "/32", "dev", "lo")
    sh("mount", "-t", "tmpfs", "none", "/run")
    os.mkdir("/run/netns")
    sh("mount", "--bind", write("hosts", "127.0.0.1 localhost\n%s %s\n" % (ORIGIN, HOST)), "/etc/hosts")
    origin = start_origin(o)
    try:
        for run in range(o.runs):
            # In turn, and each run in another order, so that none always comes after the same: what the machine
            # does besides meets all alike, and a processor that has just rested is slower at first.
            for n in random.Random(run).sample(names, len(names)):
                # What is held hardly differs from run to run.
                one_peer(n, [s for s in sections if s != "memory" or run == 0], o)
    finally:
        origin.terminate()
        origin.wait()
    conditions(o, began)
    report(names)
    return 1 if o.check and check() else 0


sys.exit(main())
