#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`weir run --backend kvm` in a nested machine: test_run.py BUILD

A command in a microVM on weir's own monitor: its input, output and status, what the policy lets
it reach, the record; auto takes KVM. One nested machine, two boots in it.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import nested

SECONDS = 540
# What a machine of weir's can need, of the hundred megabytes there are.
MODULES = ["virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng", "virtio_balloon",
           "overlay", "squashfs", "erofs"]


def some_modules(root, version, to):
    """The folder that --modules names, with what is needed and the indexes of all."""
    folder = f"{root}/lib/modules/{version}"
    for name in os.listdir(folder):
        if name.startswith("modules."):
            os.makedirs(to, exist_ok=True)
            shutil.copy(os.path.join(folder, name), to)
    for path in nested.module_files(root, version, MODULES):
        into = os.path.join(to, os.path.relpath(os.path.realpath(path), os.path.realpath(folder)))
        os.makedirs(os.path.dirname(into), exist_ok=True)
        shutil.copy(path, into)


def run(build):
    root, version = nested.kernel(os.environ.get("WEIR_NESTED_CACHE", os.path.join(build, "nested")))
    with tempfile.TemporaryDirectory() as tmp:
        some_modules(root, version, f"{tmp}/modules")
        files = [(f"{build}/bin/{name}", f"/w/{name}")
                 for name in ("weir", "weir-vmm", "weir-agent", "weir-image")
                 if os.path.exists(f"{build}/bin/{name}")]
        files += [(f"{root}/boot/vmlinuz-{version}", "/w/kernel"), (f"{tmp}/modules", "/w/modules"),
                  (f"{HERE}/run.sh", "/w/run.sh")]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-subj", "/CN=nobody", "-keyout", f"{tmp}/key", "-out", f"{tmp}/ca.pem"],
                       check=True, capture_output=True)
        files.append((f"{tmp}/ca.pem", "/w/ca.pem"))
        status, text = nested.run(["sh", "run.sh"], files, SECONDS, memory=2048)
    print(text)
    assert status == 0, f"run.sh ended with {status}"
    parts = re.split(r"^== (\w+)\n", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def main():
    parts = run(os.path.abspath(sys.argv[1]))
    lines = parts["all"].splitlines()
    for want in ("0", "box", "greeting hello", "typed in", "served by the host", "refused 1", "complaint",
                 "status 7"):
        assert want in lines, (want, lines)
    events = [json.loads(x) for x in parts["record"].splitlines() if x.startswith("{")]
    assert [e for e in events if e.get("event") == "begin" and e["backend"] == "kvm"], events
    assert [e for e in events if e.get("event") == "end" and e["status"] == 7], events
    flows = [e for e in events if e["kind"] == "flow"]
    assert {e["verdict"] for e in flows} == {"allow", "deny"}, flows
    assert "status 127" in parts["notfound"] and "not found in any folder" in parts["notfound"], parts
    assert "QEMU" not in parts["notfound"], parts
    assert parts["left"].strip() == "0", parts["left"]
    print("passed")


if __name__ == "__main__":
    main()
