# SPDX-License-Identifier: Apache-2.0
"""What stands between client and origin in tls.py: weir in two ways, others' proxies, and nothing.

    client's namespace ── weir's tap, or a veth pair ── proxy ── origin (nginx, 93.184.216.34:443)

The client asks for the origin in all cases alike. What arrives from the veth pair for port 443 is turned to the
proxy's own port, so every proxy speaks TLS to both sides: P-256 keys, TLS 1.3, the origin verified, one thread.
"""

import contextlib
import json
import os
import select
import subprocess
import sys

from procs import comm, family, wait_for

OUT, WEIR = os.environ["OUT"], os.environ["WEIR"]
HERE = os.path.dirname(os.path.abspath(__file__))
ORIGIN, HOST, PORT = "93.184.216.34", "origin.example.com", 8443
PINNED = os.cpu_count() > 1
LIMIT = 180  # seconds for what a client is asked once: one that hangs costs its row, not the run


def sh(*argv, check=True, **kw):
    return subprocess.run(argv, check=check, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


def on_cpu(n, *argv):
    return ["taskset", "-c", str(n), *argv] if PINNED else list(argv)


def write(name, text):
    path = os.path.join(OUT, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o644)
    return path


def listening(port):
    return str(port) in sh("ss", "-Hltn", "sport = :%d" % port).stdout


def end(p):
    """It was told to; a while later it is made to."""
    try:
        p.wait(10)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()


class Inside:
    """A process in the client's place that runs the clients."""

    def __init__(self, *prefix, env=None):
        self.log = open(OUT + "/inside.log", "a")
        self.p = subprocess.Popen([*prefix, *on_cpu(0, sys.executable, "-B", HERE + "/tls_inside.py", "run")],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env)
        if not self.p.stdout.readline():
            raise RuntimeError("the client's side did not start: " + open(OUT + "/inside.log").read()[-2000:])

    def send(self, line):
        """A line, and the one that answers it."""
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        if not select.select([self.p.stdout], [], [], LIMIT + 30)[0]:
            raise TimeoutError("the client's side does not answer")
        return self.p.stdout.readline()

    def ask(self, *argv, **job):
        return json.loads(self.send(json.dumps(dict(job, argv=list(argv), limit=LIMIT))))

    def let_go(self):
        self.send("")

    def stop(self):
        with contextlib.suppress(OSError):
            self.p.stdin.close()
        end(self.p)
        self.log.close()


class Peer:
    label = "direct"
    h2 = True
    part = 1  # of the bytes that others carry, one in so many: slow ones

    def __init__(self):
        self.pids, self.proxy = [], None

    def argv(self):
        return None

    def start(self):
        sh("ip", "netns", "add", "client")
        sh("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", "client")
        sh("ip", "addr", "add", "192.0.2.33/30", "dev", "v0")
        sh("ip", "link", "set", "v0", "up")
        for line in ("link set lo up", "addr add 192.0.2.34/30 dev v1", "link set v1 up",
                     "route add default via 192.0.2.33"):
            sh("ip", "-n", "client", *line.split())
        argv = self.argv()
        if argv:
            self.log = open("%s/%s.log" % (OUT, self.label), "a")
            self.proxy = subprocess.Popen(on_cpu(1, *argv), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
            wait_for(lambda: listening(PORT) or self.proxy.poll() is not None, 60)
            if self.proxy.poll() is not None:
                raise RuntimeError(open("%s/%s.log" % (OUT, self.label)).read()[-2000:])
            sh("nft", "add table ip bench; add chain ip bench in { type nat hook prerouting priority -100; }; "
                      "add rule ip bench in iifname v0 tcp dport 443 redirect to :%d" % PORT)
        self.inside = Inside("ip", "netns", "exec", "client")

    def served(self):
        """After the first reply: all processes are there, workers that began after the socket too."""
        if self.proxy:
            self.pids = family(self.proxy.pid)

    def stop(self):
        if hasattr(self, "inside"):
            self.inside.stop()
        if self.proxy:
            self.proxy.terminate()
            end(self.proxy)
            self.log.close()
            sh("nft", "delete table ip bench", check=False)
        sh("ip", "link", "del", "v0", check=False)
        sh("ip", "netns", "del", "client", check=False)


class Nginx(Peer):
    label = "nginx"

    def argv(self):
        conf = write("nginx-proxy.conf", """
daemon off; worker_processes 1; pid %(o)s/np.pid; error_log stderr; user root;
events { worker_connections 8192; }
http { access_log off; client_body_temp_path %(o)s/np1; proxy_temp_path %(o)s/np2; fastcgi_temp_path %(o)s/np3;
  uwsgi_temp_path %(o)s/np4; scgi_temp_path %(o)s/np5; keepalive_requests 100000000; client_max_body_size 0;
  ssl_certificate %(o)s/front.pem; ssl_certificate_key %(o)s/front.pem; ssl_protocols TLSv1.3;
  upstream origin { server %(a)s:443; keepalive 1100; keepalive_requests 100000000; }
  server { listen 0.0.0.0:%(p)d ssl http2 backlog=4096;
    location / { proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_set_header Host $host; proxy_request_buffering off; proxy_ssl_verify on; proxy_ssl_name %(h)s;
      proxy_ssl_server_name on; proxy_ssl_trusted_certificate %(o)s/ca.pem; proxy_ssl_protocols TLSv1.3; } } }
""" % {"o": OUT, "a": ORIGIN, "h": HOST, "p": PORT})
        return ["nginx", "-c", conf, "-p", OUT]


class Haproxy(Peer):
    label = "haproxy"

    def argv(self):
        conf = write("haproxy.cfg", """
global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  http-reuse always
frontend in
  bind 0.0.0.0:%(p)d ssl crt %(o)s/front.pem alpn h2,http/1.1
  default_backend out
backend out
  server origin %(a)s:443 ssl verify required ca-file %(o)s/ca.pem sni str(%(h)s) verifyhost %(h)s
""" % {"o": OUT, "a": ORIGIN, "h": HOST, "p": PORT})
        return ["haproxy", "-db", "-f", conf]


class Nghttpx(Peer):
    label = "nghttpx"

    def argv(self):
        # Towards the origin HTTP/1.1 whatever the client speaks: as nginx and haproxy do here.
        return ["nghttpx", "--conf=/dev/null", "-f0.0.0.0,%d" % PORT, "-b%s,443;;tls;sni=%s;proto=http/1.1" % (ORIGIN, HOST),
                "--cacert=%s/ca.pem" % OUT, "--workers=1", "--tls-min-proto-version=TLSv1.3", "--no-ocsp", "--backlog=4096",
                "--errorlog-file=%s/nghttpx.err" % OUT, "--backend-connections-per-host=1100", OUT + "/front.key", OUT + "/front.crt"]


class Mitmproxy(Peer):
    label = "mitmproxy"
    part = 4

    def argv(self):
        return ["mitmdump", "-q", "--mode", "reverse:https://%s:443" % HOST, "--listen-port", str(PORT), "--certs",
                "*=%s/front.pem" % OUT, "--set", "ssl_verify_upstream_trusted_ca=%s/ca.pem" % OUT, "--set",
                "stream_large_bodies=64k", "--set", "tls_version_client_min=TLS1_3", "--set", "confdir=%s/mitm" % OUT,
                "--set", "connection_strategy=lazy"]


class Squid(Peer):
    label = "squid"
    h2 = False  # squid has no HTTP/2

    def argv(self):
        for d in ("squid",):
            os.makedirs(OUT + "/" + d, exist_ok=True)
            os.chmod(OUT + "/" + d, 0o777)
        conf = write("squid.conf", """
http_port 127.0.0.1:3128
https_port %(p)d intercept ssl-bump tls-cert=%(o)s/front.pem tls-key=%(o)s/front.pem generate-host-certificates=off
ssl_bump bump all
tls_outgoing_options cafile=%(o)s/ca.pem
acl all_of_it src all
http_access allow all_of_it
cache deny all
access_log none
cache_log %(o)s/squid/cache.log
pid_filename %(o)s/squid/pid
coredump_dir %(o)s/squid
cache_mem 8 MB
workers 1
host_verify_strict off
client_dst_passthru on
server_persistent_connections on
shutdown_lifetime 0 seconds
netdb_filename none
pinger_enable off
max_filedescriptors 16384
sslcrtd_children 1
""" % {"o": OUT, "p": PORT})
        return ["squid", "-N", "-f", conf]


class Weir(Peer):
    label = "weir"
    extra = ()

    def start(self):
        env = dict(os.environ, BENCH_SECRET="s3cr3t-of-the-benchmark-0123456789")
        argv = [WEIR, "run", "--backend", "netns", "--policy", "allow_all", "--tls-intercept", "--upstream-ca",
                OUT + "/ca.pem", "--max-connections", "20000", "--audit", OUT + "/audit", "--dns-record",
                "%s=%s" % (HOST, ORIGIN), *self.extra, "--"]
        self.inside = Inside(*on_cpu(1, *argv), env=env)
        tree = family(self.inside.p.pid)
        there = os.readlink("/proc/%d/ns/pid" % [p for p in tree if comm(p).startswith("python")][0])
        self.pids = [p for p in tree if comm(p).startswith("weir") and os.readlink("/proc/%d/ns/pid" % p) != there]

    def stop(self):
        if hasattr(self, "inside"):
            self.inside.stop()
        if os.path.exists(OUT + "/audit"):
            os.unlink(OUT + "/audit")


class WeirSecrets(Weir):
    label = "weir+secrets"
    extra = ("--secret", "BENCH_SECRET@" + HOST)


PEERS = {c.label: c for c in (Peer, Weir, WeirSecrets, Nginx, Haproxy, Nghttpx, Squid, Mitmproxy)}
