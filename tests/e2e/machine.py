# SPDX-License-Identifier: Apache-2.0
"""The machine that `pytest --backend qemu` gives each test instead of namespaces.

Its root file system is made of this machine's own packages: those the tests run in the sandbox, and
what they depend on. It is made once, as a folder and as an image in a store of the build folder's.
What a test's command names of the lab's files (guest.py, the lab's authority, a script of the
test's) comes along as a volume in the same place, as it is at the start.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess

from conftest import MACHINE_SLACK, TOP

PACKAGES = """bash bind9-dnsutils brotli busybox coreutils curl dash dpkg findutils git grep gzip hostname
    iodine iproute2 iputils-ping iputils-tracepath knot-dnsutils libc-bin libnss3-tools mawk nghttp2-client
    node-ws nodejs openssh-client openssl procps python3 python3-aiohttp python3-botocore python3-cryptography
    python3-dnspython python3-grpcio python3-h2 python3-httpx python3-requests python3-websockets sed tar
    traceroute util-linux wget zstd apt ca-certificates netbase""".split()
# Depended on, but of no use in there: setting up packages, services, other people's languages.
WITHOUT = {"adduser", "debconf", "debconf-2.0", "init-system-helpers", "perl", "perl-base", "systemd", "udev",
           "libmagic-mgc", "tzdata", "javascript-common", "debian-archive-keyring", "gpgv", "publicsuffix"}
# Files without which everything works, and that are most of it.
TRIMMED = re.compile(r"/usr/share/(doc|man|locale|info|lintian|bug|zsh|bash-completion|i18n|perl)/|/usr/lib/[^/]*/gconv/|"
                     r"/usr/include/|/usr/share/nodejs/(npm|typescript)/|/usr/lib/python3/dist-packages/botocore/data/"
                     r"(?!(s3|sts|dynamodb|endpoints|partitions|_retry|sdk-default))|/var/|/\.")
ETC = ("group", "host.conf", "hosts", "gai.conf", "nsswitch.conf", "passwd", "ssl", "ca-certificates.conf",
       "ca-certificates")
# A limit that a command has of its own.
CURL_LIMIT = re.compile(r"(\bcurl\b[^;|&\n]*? -m )(\d+)\b")
LAB_PATH = re.compile(r"/media/lab/[\w./+@%-]*[\w+@%-]")


def query(*args):
    return subprocess.run(["dpkg-query", *args], check=True, capture_output=True, text=True).stdout


def packages():
    """PACKAGES and what they depend on, as far as it is installed: name -> version."""
    installed, provided = {}, {}
    form = "${db:Status-Status}\t${Package}\t${Architecture}\t${Version}\t${Depends}, ${Pre-Depends}\t${Provides}\n"
    for line in query("-W", "-f", form).splitlines():
        status, name, arch, version, depends, provides = line.split("\t")
        if status != "installed":
            continue
        installed[name] = (arch, version, depends)
        for p in re.findall(r"[^ ,()]+(?=[ ,(]|$)", re.sub(r"\([^)]*\)", "", provides)):
            provided.setdefault(p, name)
    found, todo = {}, list(PACKAGES)
    while todo:
        name = provided.get(todo[-1], todo[-1]) if todo[-1] not in installed else todo[-1]
        todo.pop()
        if name in found or name in WITHOUT or name not in installed:
            continue
        arch, version, depends = installed[name]
        found[name] = (arch, version)
        todo += re.findall(r"(?:^|[,|] *)([a-z0-9][a-z0-9.+-]*)", depends)
    return found


class Folder:
    """A root file system that grows by files of the host, each in its place."""

    def __init__(self, top):
        self.top, self.places = top, {}
        for d in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "root", "tmp", "home", "mnt", "media/lab",
                  "var/lib/dpkg", "var/cache", "var/log", "dev", "proc", "sys", "run"):
            os.makedirs(os.path.join(top, d))
        os.chmod(os.path.join(top, "tmp"), 0o1777)
        for d in ("bin", "sbin", "lib", "lib64"):
            os.symlink("usr/" + d, os.path.join(top, d))
        open(os.path.join(top, "var/lib/dpkg/status"), "w", encoding="ascii").close()

    def place(self, path):
        """Where a file of the host really is, and where it goes; the host's /lib may be a link."""
        folder, name = os.path.split(path)
        if folder not in self.places:
            real = os.path.realpath(folder)
            self.places[folder] = (real, self.top + re.sub(r"^/(bin|sbin|lib|lib64)(?=/|$)", r"/usr/\1", real))
            os.makedirs(self.places[folder][1], exist_ok=True)
        real, there = self.places[folder]
        return os.path.join(real, name), os.path.join(there, name)

    def add(self, path):
        path, there = self.place(path)
        if os.path.lexists(there):
            return
        st = os.lstat(path)
        if stat.S_ISDIR(st.st_mode):
            os.makedirs(there, exist_ok=True)
        elif stat.S_ISLNK(st.st_mode):
            target = os.readlink(path)
            os.symlink(target, there)
            target = os.path.join(os.path.dirname(path), target)
            if os.path.lexists(target) and not os.path.isdir(target):
                self.add(target)
        elif stat.S_ISREG(st.st_mode):
            shutil.copy2(path, there)

    def tree(self, top):
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                self.add(os.path.join(folder, name))

    def has(self, path):
        return os.path.exists(self.place(os.path.realpath(path))[1])


def fill(folder, found):
    for path in query("-L", *("%s:%s" % (n, a) if a != "all" else n for n, (a, _) in found.items())).splitlines():
        if path.startswith("/") and path != "/." and os.path.lexists(path) and not TRIMMED.search(path):
            folder.add(path)
    for name in ETC:
        folder.add("/etc/" + name)
        folder.tree("/etc/" + name)
    # What packages' scripts made: links by /etc/alternatives, and compiled Python, which a machine
    # without KVM would compile anew at each start.
    for place in ("/usr/bin", "/usr/sbin"):
        for name in os.listdir(place):
            path = os.path.join(place, name)
            if os.path.islink(path) and "/alternatives/" in os.readlink(path) and folder.has(path):
                folder.add(path)
    for top in ("/usr/lib/python3", *(d for d in map("/usr/lib/".__add__, os.listdir("/usr/lib")) if "/python3." in d)):
        for place, _, files in os.walk(top):
            if place.endswith("/__pycache__") and not TRIMMED.search(place):
                for name in files:
                    if folder.has(os.path.join(os.path.dirname(place), name.split(".")[0] + ".py")):
                        folder.add(os.path.join(place, name))


def make_folder(path):
    """The root file system at PATH, made again when packages changed."""
    found = packages()
    with open(__file__, "rb") as f:
        key = hashlib.sha256(f.read() + json.dumps(found, sort_keys=True).encode()).hexdigest()
    stamp = path + ".key"
    try:
        with open(stamp, encoding="ascii") as f:
            if f.read() == key and os.path.isdir(path):
                return
    except OSError:
        pass
    for old in (path, path + ".part"):
        shutil.rmtree(old, ignore_errors=True)
    os.makedirs(path + ".part")
    fill(Folder(path + ".part"), found)
    os.rename(path + ".part", path)
    with open(stamp, "w", encoding="ascii") as f:
        f.write(key)


class Machine:
    """Flags that give a run a machine; one for all tests of a session."""

    def __init__(self, program):
        build = os.path.join(TOP, "build")
        linux = os.path.join(build, "guest-linux")
        for what, how in ((shutil.which("qemu-system-x86_64"), "sh tests/packages.sh"),
                          (os.path.exists(linux + "/modules"), "sh tests/e2e/guest-linux.sh build/guest-linux")):
            if not what:
                raise RuntimeError("--backend qemu needs what this makes: " + how)
        self.cache = os.path.join(build, "machine-store")
        folder = os.path.join(build, "machine-root")
        os.makedirs(self.cache, exist_ok=True)
        with open(folder + ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            make_folder(folder)
            # The image itself, so that a run need not look through the folder for what changed.
            image, env = os.path.join(os.path.dirname(program), "weir-image"), dict(os.environ, XDG_CACHE_HOME=self.cache)
            p = subprocess.run([image, "root", "--rootfs", folder], capture_output=True, text=True, env=env)
            subprocess.run([image, "prune", "--keep", "4GiB"], capture_output=True, check=False, env=env)
        if p.returncode:
            raise RuntimeError("the machine's root file system: " + p.stderr)
        self.flags = ["--kernel", linux + "/vmlinuz", "--modules", linux + "/modules",
                      "--rootfs", json.loads(p.stdout)["path"], "--memory", "384MiB"]

    @staticmethod
    def patient(command):
        """The command, with curl's limits as many times as long as a machine is slower."""
        return [CURL_LIMIT.sub(lambda m: m[1] + str(int(m[2]) * MACHINE_SLACK), word) for word in command]

    def for_command(self, weir, command, env):
        """The flags of one run: of the test's environment and files, what its command names."""
        text = "\0".join(command)
        flags = [*self.flags, "--env", "GUEST_PATIENCE=%d" % MACHINE_SLACK]
        # LAB_TOKEN's value is what secrets are made of: inside it is a placeholder or nothing.
        lab = {k: v for k, v in os.environ.items() if k.startswith("LAB_") and k != "LAB_TOKEN"}
        for name, value in {**lab, **(env or {})}.items():
            if name.startswith("GUEST_") or re.search(r"\b%s\b" % re.escape(name), text):
                flags += ["--env", "%s=%s" % (name, value)]
                text += "\0" + value
        named = sorted(set(LAB_PATH.findall(text)))
        if named:
            flags += ["--volume", self.volume(weir, named) + ":/media/lab"]
        return flags

    @staticmethod
    def volume(weir, named):
        top = weir.path("volume")
        os.makedirs(top + weir.tmp[len("/media/lab"):])
        named = [*named, *(os.path.join(weir.lab.tmp, "data.py") for n in named if n == weir.lab.guest)]
        for path in named:
            # A key of the test's is nobody else's, in namespaces weir covers it.
            if path.startswith(weir.tmp + "/") and os.path.exists(path) and not os.stat(path).st_mode & 0o044:
                continue
            there = top + path[len("/media/lab"):]
            os.makedirs(os.path.dirname(there), exist_ok=True)
            if os.path.isdir(path) and path != weir.tmp:
                shutil.copytree(path, there, symlinks=True, dirs_exist_ok=True)
            elif os.path.isfile(path):
                shutil.copy2(path, there)
        return top
