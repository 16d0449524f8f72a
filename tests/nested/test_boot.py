#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weir-vmm boots an unmodified Debian kernel on KVM, in a nested machine: test_boot.py BUILD

PVH and bzImage, one and two processors; power-off, reset and panic are told apart; the way to the
agent's hello costs fewer exits than on QEMU's microvm machine, and no more instructions; and what a
process of the monitor's may still do where there is Landlock. Two nested machines, one of them with a
processor that counts its instructions: what is measured there is the same on any host. (Guests of
several processors wait for each other by the clock, so they are on the other.) With names of boots
behind BUILD (see boot.sh), only these. WEIR_NESTED_GUEST names another package of a kernel to boot, such
as linux-image-amd64.
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

# On a processor that counts, of which one thing runs at a time.
COUNTED = ["probe", "memory", "hello_vmm", "hello_qemu"]
ALL = [*COUNTED, "off_bzimage", "panic_pvh"]
# Only when they are named: reset_pvh, large_pvh, and work_pvh, of eight processors on one.
SECONDS = 540
FIRMWARE = ["/usr/share/qemu/qboot.rom", "/usr/share/qemu/bios-microvm.bin", "/usr/share/qemu/pvh.bin",
            "/usr/share/qemu/linuxboot_dma.bin", "/usr/share/qemu/kvmvapic.bin",
            "/usr/share/seabios/bios-microvm.bin"]


def images(build, tmp):
    """The kernel as ELF and as it came, and an initramfs with the agent and our init."""
    root, version = nested.kernel(os.environ.get("WEIR_NESTED_CACHE", os.path.join(build, "nested")),
                                  os.environ.get("WEIR_NESTED_GUEST", ""))
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
    parts = {}
    with tempfile.TemporaryDirectory() as tmp:
        kernel, bzimage, initrd = images(build, tmp)
        files = [(kernel, "/w/kernel"), (bzimage, "/w/bzimage"), (initrd, "/w/initrd"),
                 (f"{build}/tests/guests/memory", "/w/memory"), (f"{HERE}/boot.sh", "/w/boot.sh"), (f"{build}/bin/weir-vmm", "/w/weir-vmm"),
                 (f"{build}/tests/nested/agent_boot", "/w/agent_boot")]
        if "hello_qemu" in names:
            files += [("/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-x86_64")]
            files += [(f, f) for f in FIRMWARE if os.path.exists(f)]
        for counted in (True, False):
            some = [n for n in names if (n in COUNTED) == counted]
            if some:
                parts.update(boot_some(some, files, counted))
    return parts


def boot_some(names, files, counted):
    status, text = nested.run(["sh", "boot.sh", *names], files, SECONDS, memory=1536, counted=counted)
    print(text, flush=True)
    assert status == 0, f"boot.sh ended with {status}"
    parts = re.split(r"^== (\w+)\n", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2]))


def figures(text):
    """{"hello": ms, "busy": thousands of instructions, ..., "kvm_exit": n, ...}"""
    words = re.findall(r"^(hello) (\d+) (busy) (\d+) (user) (\d+) (guest) (\d+) (system) (\d+)", text, re.M)
    assert words, f"the agent said nothing: {text}"
    found = {words[0][i]: int(words[0][i + 1]) for i in range(0, 10, 2)}
    return {**found, **{k: int(v) for k, v in re.findall(r"^exits (\w+) (\d+)", text, re.M)}}


def report(text):
    return json.loads(re.search(r"^\{.*\}$", text, re.M).group(0))


def check_hello(parts):
    """Of QEMU's: a fifth of the exits, a third of those to the monitor, no more instructions."""
    ours = figures(parts["hello_vmm"])
    assert ours["kvm_userspace_exit"] < 600, ours
    if "hello_qemu" not in parts:
        return
    theirs = figures(parts["hello_qemu"])
    for what in ("kvm_exit", "kvm_userspace_exit", "kvm_pio", "busy", "system", "hello"):
        print(f"{what}: weir-vmm {ours[what]}, QEMU microvm {theirs[what]}")
    assert ours["kvm_exit"] * 5 <= theirs["kvm_exit"]
    assert ours["kvm_userspace_exit"] * 3 <= theirs["kvm_userspace_exit"]
    assert ours["busy"] <= theirs["busy"]
    assert ours["hello"] <= theirs["hello"]


def check_probe(text):
    """Opening the empty root is what Landlock alone forbids."""
    assert "status 0" in text and "POSSIBLE" not in text, text
    assert "open-root: Permission denied" in text, text


def check_memory(text):
    """Where the low memory ends and how much is above 4 GiB, in MiB."""
    told = [tuple(int(n, 16) for n in m) for m in re.findall(r"^memory (\w+) (\w+)", text, re.M)]
    assert told == [(64, 0), (3328, 0), (3328, 2), (3328, 768), (3328, 16672)], text
    assert text.count("status 0") == 5, text


def check_end(text, status, end, cpus, why=""):
    assert f"init: {cpus} cpus, year 20" in text, text
    assert f"status {status}" in text, text
    assert (report(text)["end"], report(text)["why"]) == (end, why)


def main():
    build, names = os.path.abspath(sys.argv[1]), sys.argv[2:] or ALL
    parts = boot(build, names)
    if "probe" in names:
        check_probe(parts["probe"])
    if "memory" in names:
        check_memory(parts["memory"])
    if "hello_vmm" in names:
        check_hello(parts)
    if "off_bzimage" in names:
        check_end(parts["off_bzimage"], 0, "power-off", 2)
    if "reset_pvh" in names:
        check_end(parts["reset_pvh"], 2, "reset", 1)
    if "work_pvh" in names:
        check_end(parts["work_pvh"], 0, "power-off", 8)
        assert "work: 8 threads, 800 turns, no timer early" in parts["work_pvh"], parts["work_pvh"]
    if "large_pvh" in names:
        check_end(parts["large_pvh"], 0, "power-off", 2)
        assert re.search(r"init: \d+ cpus, year 20\d\d, (39|40)\d\d MiB", parts["large_pvh"]), parts
    if "panic_pvh" in names:
        check_end(parts["panic_pvh"], 3, "crash", 1, "kernel panic")
        assert "Attempted to kill init" in parts["panic_pvh"]
    print("passed:", ", ".join(names))


if __name__ == "__main__":
    main()
