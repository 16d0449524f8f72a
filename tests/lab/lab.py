#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The small internet, as one command:

    python3 tests/lab/lab.py run -- COMMAND...
    python3 tests/lab/lab.py shell

COMMAND runs in fresh network, mount and pid namespaces (and a user namespace
for an ordinary user), with public addresses on its loopback device, a DNS
server, web servers with a private CA, ssh, git, apt, echo and throughput
services, and some that must never be reached. See README.md for the map.

Everything lives in the pid namespace: when COMMAND ends, or this process is
killed in whatever way, the kernel takes the rest down. Nothing is written to
the machine's own disk. The exit status is COMMAND's (128+N for signal N), 120
when the lab itself failed.
"""

import ctypes
import json
import os
import pwd
import secrets
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

try:
    import cryptography  # noqa: F401
    import dns.message  # noqa: F401
except ImportError:
    # A python3 of one's own may stand before Debian's, which has the modules.
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)
    sys.exit("lab: python3-cryptography and python3-dnspython are missing: "
             "apt-get install -y python3-cryptography python3-dnspython")

import world

LAB_FAILED = 120
DIR = "/media/lab"

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x10000000, 0x20000000, 0x40000000)
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    pass


def call(what, rc):
    if rc != 0:
        e = ctypes.get_errno()
        raise LabError("%s: %s" % (what, os.strerror(e)))


def unshare(flags):
    call("new namespaces", libc.unshare(flags))


def mount(source, target, fstype, flags=0, options=None):
    call("mount on %s" % target, libc.mount(
        source.encode(), target.encode(), fstype.encode() if fstype else None,
        ctypes.c_ulong(flags), options.encode() if options else None))


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def map_user(inside_uid, inside_gid, uid, gid):
    """A user namespace with one user in it."""
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", "%d %d 1" % (inside_uid, uid))
    write("/proc/self/gid_map", "%d %d 1" % (inside_gid, gid))


# ---- the place -----------------------------------------------------------------


def make_place(in_userns):
    """Mounts: a /proc of our own, empty /run, the lab's folder, its resolver, a usable tun."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except LabError:
        pass  # inside some containers; the outer /proc still shows us
    mount("lab", "/run", "tmpfs", MS_NOSUID, "mode=755")
    mount("lab", "/media", "tmpfs", MS_NOSUID, "mode=755")
    for d in ("", "/pki", "/tmp"):
        os.mkdir(DIR + d)
    os.chmod(DIR + "/tmp", 0o1777)
    os.mkdir("/run/sshd", 0o755)

    resolver = DIR + "/resolv.conf"
    write(resolver, "nameserver %s\nnameserver %s\n" % (world.DNS4, world.DNS6))
    target = os.path.realpath("/etc/resolv.conf")
    if not os.path.exists(target) and target.startswith("/run/"):
        os.makedirs(os.path.dirname(target))
        write(target, "")
    mount(resolver, target, None, MS_BIND)

    if not in_userns:
        # A node anybody may open, whatever the machine's own says.
        if not os.path.isdir("/dev/net"):
            os.mkdir("/dev/net")
        mount("lab", "/dev/net", "tmpfs", MS_NOSUID, "mode=755")
        os.mknod("/dev/net/tun", 0o20666, os.makedev(10, 200))
        os.chmod("/dev/net/tun", 0o666)


def make_network():
    lines = ["link set lo up"]
    for a in world.all_addresses():
        lines.append("addr add %s dev lo%s" % (a, " nodad" if ":" in a else ""))
    lines.append("route add unreachable %s%d/32" % (world.V4, world.UNREACHABLE))
    lines.append("-6 route add unreachable %s%d/128" % (world.V6, world.UNREACHABLE))
    # "ip -batch" takes no per-line family option.
    for family, flag in ((False, []), (True, ["-6"])):
        text = "".join(l.replace("-6 ", "") + "\n" for l in lines
                       if l.startswith("-6 ") == family)
        p = subprocess.run(["ip", *flag, "-batch", "-"], input=text.encode(),
                           stderr=subprocess.PIPE, check=False)
        if p.returncode:
            raise LabError("ip: " + p.stderr.decode().strip())
    rules = "table inet lab { chain in { type filter hook input priority 0; " \
            "ip daddr %s%d drop; }; }" % (world.V4, world.SILENT)
    p = subprocess.run(["nft", "-f", "-"], input=rules.encode(), stderr=subprocess.PIPE,
                       check=False)
    if p.returncode:
        raise LabError("nft: " + p.stderr.decode().strip())
    write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    gid_max = 0 if in_user_namespace() else 2147483647
    write("/proc/sys/net/ipv4/ping_group_range", "0 %d" % gid_max)


def in_user_namespace():
    with open("/proc/self/uid_map", encoding="ascii") as f:
        return f.read().split()[2] != "4294967295"


# ---- the servers ---------------------------------------------------------------


class Log:
    """One JSON object per line, from several processes: a single append each."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __call__(self, kind, **fields):
        fields["kind"] = kind
        fields["time"] = time.time()
        os.write(self.fd, (json.dumps(fields) + "\n").encode())


def spawn(start, ready):
    """Run start() in a child that serves until the lab ends; `ready` gets one byte."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()  # ^C is for the command
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        start()
        os.write(ready, b"+")
        threading.Event().wait()
    except BaseException as e:
        sys.stderr.write("lab: a server did not start: %r\n" % e)
    os._exit(1)


def start_sshd(config, uid, gid, in_userns):
    """sshd as root, or, for an ordinary user, as that user and without privilege separation."""
    def enter():
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if in_userns:
            libc.unshare(CLONE_NEWUSER)
            map_user(uid, gid, 0, 0)

    with open(DIR + "/ssh/log", "wb") as out:
        subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", config], stdin=subprocess.DEVNULL,
                         stdout=out, stderr=out, preexec_fn=enter)


def start_servers(uid, gid, in_userns):
    import content
    import dnsd
    import httpd
    import pki
    import plain

    log = Log(DIR + "/events.jsonl")
    token = "lab-" + secrets.token_hex(20)
    pki.make_all(DIR + "/pki")
    rd, wr = os.pipe()
    os.set_inheritable(wr, False)
    bulk = {"files.example.com"}

    def small():
        dnsd.start(log)
        httpd.start(log, [h for h in httpd.web_hosts() if h not in bulk], token, DIR)
        httpd.start_forbidden(log, token, DIR)

    def large():
        plain.start(log)
        httpd.start(log, bulk, token, DIR)

    pids = [spawn(small, wr), spawn(large, wr)]
    os.close(wr)
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    start_sshd(content.make_ssh(DIR, user), uid, gid, in_userns)
    content.make_git(DIR)
    content.make_deb(DIR)
    for _ in pids:
        if os.read(rd, 1) != b"+":
            raise LabError("a server did not start")
    os.close(rd)
    return {
        "LAB": "1", "LAB_DIR": DIR, "LAB_CA": DIR + "/pki/ca.pem", "LAB_TOKEN": token,
        "LAB_LOG": DIR + "/events.jsonl", "LAB_DNS": world.DNS4, "LAB_TMP": DIR + "/tmp",
        "LAB_SSH_KEY": DIR + "/ssh/user", "LAB_SSH_USER": user,
        "LAB_SSH_KNOWN_HOSTS": DIR + "/ssh/known_hosts",
    }


# ---- processes -----------------------------------------------------------------


def init(argv, uid, gid, in_userns):
    """The first process of the pid namespace: sets up, runs the command, reaps."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        make_place(in_userns)
        make_network()
        env = dict(os.environ, **start_servers(uid, gid, in_userns))
    except (LabError, OSError, subprocess.CalledProcessError) as e:
        detail = getattr(e, "stderr", None)
        sys.stderr.write("lab: %s%s\n" % (e, ": " + detail.decode() if detail else ""))
        return LAB_FAILED
    for v in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        env.pop(v, None)
        env.pop(v.upper(), None)

    command = os.fork()
    if command == 0:
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_DFL)
        try:
            os.execvpe(argv[0], argv, env)
        except OSError as e:
            sys.stderr.write("lab: %s: %s\n" % (argv[0], e.strerror))
            os._exit(126 if isinstance(e, PermissionError) else 127)
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda n, _: os.kill(command, n))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def run(argv):
    """Run argv in a lab; returns its exit status."""
    uid, gid = os.getuid(), os.getgid()
    in_userns = uid != 0 or in_user_namespace()
    try:
        unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | (CLONE_NEWUSER if uid else 0))
        if uid:
            map_user(0, 0, uid, gid)
    except (LabError, OSError) as e:
        sys.stderr.write("lab: %s; this needs root, or user namespaces for ordinary users\n" % e)
        return LAB_FAILED
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            code = init(argv, uid, gid, in_userns)
        except BaseException as e:
            sys.stderr.write("lab: %r\n" % e)
            code = LAB_FAILED
        os._exit(code)
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda n, _: os.kill(child, n))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main():
    args = sys.argv[1:]
    if args[:1] == ["shell"] and len(args) == 1:
        return run([os.environ.get("SHELL", "/bin/sh")])
    if args[:1] == ["run"] and len(args) > 1:
        argv = args[2:] if args[1] == "--" else args[1:]
        if argv:
            return run(argv)
    sys.stderr.write(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
