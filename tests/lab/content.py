# SPDX-License-Identifier: Apache-2.0
"""What git, deb and ssh serve: made at start in the lab's folder."""

import email.utils
import hashlib
import os
import random
import shutil
import subprocess

import world

GIT_FILE = "hello from git\n"


def _run(*argv, **kw):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kw)


def make_git(folder):
    """folder/git/repo.git: one commit with a small and a large file."""
    repo = folder + "/git/repo.git"
    env = {"PATH": os.environ["PATH"], "HOME": folder}
    _run("git", "init", "-q", "--bare", "-b", "main", repo, env=env)
    large = random.Random(7).randbytes(2000000)
    stream = (b"commit refs/heads/main\ncommitter Lab <lab@example.com> 1700000000 +0000\n"
              b"data 6\nfirst\n"
              b"M 100644 inline README\ndata %d\n%s\n"
              b"M 100644 inline large.bin\ndata %d\n%s\n\n"
              % (len(GIT_FILE), GIT_FILE.encode(), len(large), large))
    _run("git", "-C", repo, "fast-import", "--quiet", input=stream, env=env)
    _run("git", "-C", repo, "config", "http.receivepack", "true", env=env)


def make_deb(folder):
    """folder/deb: a flat repository with one package, weir-lab-hello."""
    root, tree = folder + "/deb", folder + "/deb.tree"
    os.makedirs(tree + "/DEBIAN")
    os.makedirs(tree + "/usr/share/weir-lab-hello")
    control = ("Package: weir-lab-hello\nVersion: 1.0\nArchitecture: all\n"
               "Maintainer: Lab <lab@example.com>\nDescription: a package of the lab\n")
    with open(tree + "/DEBIAN/control", "w", encoding="ascii") as f:
        f.write(control)
    with open(tree + "/usr/share/weir-lab-hello/hello", "w", encoding="ascii") as f:
        f.write("hello from apt\n" * 1000)
    os.makedirs(root)
    name = "weir-lab-hello_1.0_all.deb"
    _run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, root + "/" + name)
    shutil.rmtree(tree)
    with open(root + "/" + name, "rb") as f:
        deb = f.read()
    packages = "%sFilename: ./%s\nSize: %d\nSHA256: %s\n\n" % (
        control, name, len(deb), hashlib.sha256(deb).hexdigest())
    with open(root + "/Packages", "w", encoding="ascii") as f:
        f.write(packages)
    with open(root + "/Release", "w", encoding="ascii") as f:
        f.write("Origin: lab\nSuite: lab\nDate: %s\nSHA256:\n %s %d Packages\n" % (
            email.utils.formatdate(usegmt=True),
            hashlib.sha256(packages.encode()).hexdigest(), len(packages)))


def make_ssh(folder, user):
    """Keys and configuration of an sshd for `user`; returns the configuration's path."""
    d = folder + "/ssh"
    os.makedirs(d)
    for key in ("host", "user"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", "%s/%s" % (d, key))
    with open(d + "/host.pub", encoding="ascii") as f:
        host_key = " ".join(f.read().split()[:2])
    with open(d + "/known_hosts", "w", encoding="ascii") as f:
        f.write("ssh.example.com,%s,%s %s\n" % (world.v4("ssh.example.com"),
                                                world.v6("ssh.example.com"), host_key))
    with open(d + "/sshd_config", "w", encoding="ascii") as f:
        for a in world.addresses("ssh.example.com"):
            f.write("ListenAddress %s\n" % (("[%s]" % a) if ":" in a else a))
        f.write("Port 22\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nAllowUsers %s\n"
                "UsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin prohibit-password\n"
                "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\n"
                "PrintMotd no\nPrintLastLog no\n" % (d, d, user))
    return d + "/sshd_config"
