# SPDX-License-Identifier: Apache-2.0
"""Starts the HTTP/2 origin (h2/server.js) in the lab, once somebody asks for it.

    import h2lab
    reason = h2lab.missing()           why it cannot be had here, or ""
    server = h2lab.Server(folder, log) until server.stop()

It needs node; its WebSocket endpoints Debian's node-ws (server.websocket tells), zstd the zstd program.
"""

import json
import os
import select
import shutil
import subprocess

import data
import world

HERE = os.path.dirname(os.path.abspath(__file__))
DEBIAN_MODULES = "/usr/share/nodejs"

# host -> what it chooses of the protocols offered, and whether WebSocket over h2 is offered.
HOSTS = {
    "h2.example.com": ("both", False),
    "h2only.example.com": ("h2", False),
    "h1only.example.com": ("h1", False),
    "h2ws.example.com": ("both", True),
}


def missing():
    if not shutil.which("node"):
        return "nodejs is not installed"
    major = subprocess.run(["node", "-p", "process.versions.node"], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True, check=False).stdout.split(".")[0]
    return "" if major.isdigit() and int(major) >= 18 else "nodejs is older than 18"


def node_path():
    """Where node finds Debian's modules, whoever made the node."""
    return os.pathsep.join(x for x in (os.environ.get("NODE_PATH"), DEBIAN_MODULES) if x)


class Server:
    def __init__(self, folder, log):
        pki = os.path.join(os.environ["LAB_DIR"], "pki")
        self.static = os.path.join(folder, "h2static")
        os.makedirs(self.static, exist_ok=True)
        self.websocket = os.path.isdir(DEBIAN_MODULES + "/ws")
        self.zstd = bool(shutil.which("zstd"))
        block = os.path.join(folder, "block.bin")
        with open(block, "wb") as f:
            for b in data.blocks(data.BLOCK):
                f.write(b)
        config = os.path.join(folder, "h2.json")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({"log": log, "block": block, "static": self.static,
                       "git": os.environ["LAB_DIR"] + "/git",
                       "listen": [{"server": h, "addresses": world.addresses(h), "alpn": alpn,
                                   "connect": connect, "pem": "%s/%s.pem" % (pki, h)}
                                  for h, (alpn, connect) in HOSTS.items()]}, f)
        self.process = subprocess.Popen(
            ["node", os.path.join(HERE, "h2", "server.js"), config], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=dict(os.environ, NODE_PATH=node_path()))
        if not select.select([self.process.stdout], [], [], 60)[0] or \
                self.process.stdout.readline() != b"ready\n":
            self.stop()
            raise RuntimeError("the HTTP/2 origin did not start")

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
