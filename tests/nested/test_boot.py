#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weir-vmm boots an unmodified Debian kernel on KVM, in a nested machine: test_boot.py BUILD

PVH and bzImage, one and two processors; power-off, reset and panic are told apart; and the way to
the agent's hello costs no more exits than on QEMU's microvm machine, and no more processor time.
One nested machine for all. With names of boots behind BUILD (see boot.sh), only these.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import nested

ALL = ["hello_vmm", "hello_qemu", "off_bzimage", "panic_pvh"]  # reset_pvh only when it is named
SECONDS = 540
FIRMWARE = ["/usr/share/qemu/qboot.rom", "/usr/share/qemu/bios-microvm.bin", "/usr/share/qemu/pvh.bin",
            "/usr/share/qemu/linuxboot_dma.bin", "/usr/share/qemu/kvmvapic.bin",
            "/usr/share/seabios/bios-microvm.bin"]


def images(build, tmp):
    """The kernel as ELF and as it came, and an initramfs with the agent and our init."""
    root, version = nested.kernel(os.environ.get("WEIR_NESTED_CACHE", os.path.join(build, "nested")))
    bzimage = f"{root}/boot/vmlinuz-{version}"
    out = subprocess.run(
        [f"{build}/bin/weir-image", "--store", f"{tmp}/store", "boot", "--agent", f"{build}/bin/weir-agent",
         "--kernel", bzimage, "--modules", f"{root}/lib/modules/{version}"],
        check=True, stdout=subprocess.PIPE).stdout
    made = json.loads(out)
    initrd = os.path.join(tmp, "initrd")
    with open(initrd, "wb") as f, open(made["initrd"], "rb") as theirs:
        f.write(theirs.read())
        f.write(bytes(-f.tell() % 512))
        ours = nested.Archive(f)
        ours.copy(f"{build}/tests/nested/guest_init", "/guest_init")
        ours.folder("dev")
        ours.end()
    return made["kernel"], bzimage, initrd


def boot(build, names):
    """What each boot wrote, by name."""
    with tempfile.TemporaryDirectory() as tmp:
        kernel, bzimage, initrd = images(build, tmp)
        files = [(kernel, "/w/kernel"), (bzimage, "/w/bzimage"), (initrd, "/w/initrd"),
                 (f"{HERE}/boot.sh", "/w/boot.sh"), (f"{build}/bin/weir-vmm", "/w/weir-vmm"),
                 (f"{build}/tests/nested/agent_boot", "/w/agent_boot")]
        if "hello_qemu" in names:
            files += [("/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-x86_64")]
            files += [(f, f) for f in FIRMWARE if os.path.exists(f)]
        status, text = nested.run(["sh", "boot.sh", *names], files, SECONDS, memory=1536)
    print(text)
    parts = re.split(r"^== (\w+)\n", text, flags=re.M)[1:]
    assert status == 0, f"boot.sh ended with {status}"
    return dict(zip(parts[::2], parts[1::2]))


def figures(text):
    """{"hello": ms, "user": ms, "system": ms, "kvm_exit": n, ...}"""
    words = re.findall(r"^(hello) (\d+) (user) (\d+) (system) (\d+)", text, re.M)
    assert words, f"the agent said nothing: {text}"
    found = {words[0][i]: int(words[0][i + 1]) for i in (0, 2, 4)}
    return {**found, **{k: int(v) for k, v in re.findall(r"^exits (\w+) (\d+)", text, re.M)}}


def report(text):
    return json.loads(re.search(r"^\{.*\}$", text, re.M).group(0))


def check_hello(parts):
    ours = figures(parts["hello_vmm"])
    assert ours["kvm_userspace_exit"] < 1500, ours
    if "hello_qemu" not in parts:
        return
    theirs = figures(parts["hello_qemu"])
    for what in ("kvm_exit", "kvm_userspace_exit", "kvm_pio", "hello"):
        print(f"{what}: weir-vmm {ours[what]}, QEMU microvm {theirs[what]}")
    assert ours["kvm_userspace_exit"] <= theirs["kvm_userspace_exit"]
    # Time and timer ticks are the host's mood as well.
    assert ours["kvm_exit"] <= theirs["kvm_exit"] * 1.3
    assert ours["hello"] <= theirs["hello"] * 1.5


def check_end(text, status, end, cpus, why=""):
    assert f"init: {cpus} cpus, year 20" in text, text
    assert f"status {status}" in text, text
    assert (report(text)["end"], report(text)["why"]) == (end, why)


def main():
    build, names = os.path.abspath(sys.argv[1]), sys.argv[2:] or ALL
    parts = boot(build, names)
    if "hello_vmm" in names:
        check_hello(parts)
    if "off_bzimage" in names:
        check_end(parts["off_bzimage"], 0, "power-off", 2)
    if "reset_pvh" in names:
        check_end(parts["reset_pvh"], 2, "reset", 1)
    if "panic_pvh" in names:
        check_end(parts["panic_pvh"], 3, "crash", 1, "kernel panic")
        assert "Attempted to kill init" in parts["panic_pvh"]
    print("passed:", ", ".join(names))


if __name__ == "__main__":
    main()
