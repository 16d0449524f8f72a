# SPDX-License-Identifier: Apache-2.0
"""weir-vmm with bare-metal guests of a few hundred bytes (tests/guests): on any /dev/kvm.

How a machine ends, what a guest finds on an empty bus, an entropy device used well and badly,
a console that nobody reads; what each thread can still do; who dies with whom.
Stock kernels are in test_vmm_nested.py: a /dev/kvm that runs these guests may still run no Linux.
"""
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from conftest import SLACK, WEIR

VMM = os.path.join(os.path.dirname(WEIR), "weir-vmm")
GUESTS = os.path.join(os.path.dirname(os.path.dirname(WEIR)), "tests", "guests")



def sanitized():
    with open(VMM, "rb") as f:
        return b"__asan_init" in f.read()


NEEDS_KVM = pytest.mark.skipif(not os.path.exists("/dev/kvm"),
                               reason="there is no /dev/kvm: no guest of ours can run here")
pytestmark = [NEEDS_KVM, pytest.mark.netns("boots machines of its own")]


def start(guest, words="", *options, memory=64, cpus=1, console=None, **more):
    kernel = os.open(os.path.join(GUESTS, guest), os.O_RDONLY)
    log_in, log_out = os.pipe()
    fds = [kernel, log_out, *more.pop("fds", [])]
    if console is not None:
        fds.append(console)
        options += ("--console-fd", str(console))
    try:
        p = subprocess.Popen(
            [VMM, "--memory", str(memory), "--cpus", str(cpus), "--kernel-fd", str(kernel),
             "--log-fd", str(log_out), "--cmdline", words, *options],
            pass_fds=fds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    finally:
        os.close(kernel)
        os.close(log_out)
    p.log_in = log_in
    return p


def end(p, seconds=20):
    try:
        out, err = p.communicate(timeout=seconds * SLACK)
    except subprocess.TimeoutExpired:
        p.kill()
        raise
    with open(p.log_in, encoding="utf-8") as log:
        lines = log.read()
    p.report = json.loads(lines) if lines else None
    p.out, p.err = out.decode(), err.decode()
    return p


def run(guest, words="", *options, seconds=20, **more):
    """A guest to its end, its console in .console."""
    there, here = socket.socketpair()
    with there, here:
        p = start(guest, words, *options, console=there.fileno(), **more)
        there.close()
        console = b""
        here.settimeout(seconds * SLACK)
        while piece := here.recv(65536):
            console += piece
        p.console = console.decode()
        return end(p, seconds)


def test_power_off_after_a_look_around():
    """PVH start info, memory map, tables and command line are where the guest is told they are."""
    p = run("hello", "first=1 last=2")
    assert (p.returncode, p.err) == (0, "")
    assert p.console.startswith("cmdline console=ttyS0 quiet ")
    assert p.console.endswith(" first=1 last=2\n")
    assert p.report["end"] == "power-off" and p.report["unknown"] == 0


def test_an_initramfs_is_handed_over(tmp_path):
    path = tmp_path / "initrd"
    path.write_bytes(b"\x78\x56\x34\x12" + bytes(100))
    with open(path, "rb") as f:
        p = run("hello", "x", "--initrd-fd", str(f.fileno()), fds=[f.fileno()])
    assert p.returncode == 0
    assert "initrd 00000068 12345678 " in p.console


@pytest.mark.parametrize("how, status, name, why", [
    ("r", 2, "reset", ""),
    ("k", 2, "reset", ""),
    ("w", 3, "crash", "kernel panic"),
    ("t", 3, "crash", "triple fault"),
])
def test_ends_are_told_apart(how, status, name, why):
    p = run("end", "how=" + how)
    assert p.returncode == status
    assert p.report["end"] == name
    assert why in p.report["why"]
    assert why in p.err


@pytest.mark.parametrize("cpus", [1, 2, 8])
def test_processors(cpus):
    assert run("hello", "x", cpus=cpus).returncode == 0


@pytest.mark.parametrize("memory", [16, 3328, 3329, 6000])
def test_memory_sizes(memory):
    """Up to the gap, one MiB beyond it, far beyond it."""
    assert run("hello", "x", memory=memory).returncode == 0


def test_an_empty_bus_reads_as_ones():
    """Every port and much of the address space, in all widths: nothing happens."""
    p = run("wild", "x", seconds=60)
    assert (p.returncode, p.console) == (0, "wild ok\n")
    assert p.report["unknown"] > 10000


def test_entropy():
    p = run("rng", "x")
    assert (p.returncode, p.console) == (0, "rng ok\n")


def test_broken_rules_cost_the_device_only():
    p = run("hostile", "x")
    assert (p.returncode, p.console) == (0, "hostile ok\n")


def test_a_console_nobody_reads_does_not_stop_the_guest():
    """Its bytes are kept up to a limit and then dropped and counted; the end is still told."""
    r, w = os.pipe()
    os.set_blocking(w, False)
    try:
        while True:
            os.write(w, bytes(4096))
    except BlockingIOError:
        os.set_blocking(w, True)
    p = start("flood", "x", console=w)
    os.close(w)
    end(p, 30)
    os.close(r)
    assert p.returncode == 0
    assert p.report["console_dropped"] >= 20000 - 16384


def test_a_console_in_a_file(tmp_path):
    with open(tmp_path / "console", "wb") as f:
        p = end(start("flood", "x", console=f.fileno()))
    assert p.returncode == 0
    assert (tmp_path / "console").read_bytes() == b"x" * 20000


@pytest.mark.parametrize("words, text", [
    (["--cpus", "9"], "--cpus 9"),
    (["--initrd-fd", "999"], "no such descriptor"),
])
def test_errors_of_the_command_line(words, text):
    p = subprocess.run([VMM, "--memory", "64", "--kernel-fd", "0", *words], capture_output=True,
                       stdin=subprocess.DEVNULL, timeout=20 * SLACK)
    assert p.returncode == 4
    assert text in p.stderr.decode()


def test_not_a_kernel(tmp_path):
    (tmp_path / "k").write_text("#!/bin/sh\n")
    p = end(start(str(tmp_path / "k"), "x"))
    assert p.returncode == 4
    assert "neither an ELF file" in p.err


# ---- isolation ------------------------------------------------------------------------------

THREADS = ["waiter", "devices", "cpu"]
NOBODY_MAY = ["open-file", "open-root", "open-proc", "open-kvm", "make-file", "make-folder", "mount", "remount",
              "become-root", "host-name", "more-files", "core-file", "more-memory", "many-files",
              "connect", "abstract-socket",
              "raw-socket", "exec", "kill-all", "trace", "socket", "fork", "executable-memory",
              "make-executable", "memory-file", "read-process", "uring", "bpf", "namespace",
              "other-ioctl", "run-other", "wait-events", "dumpable"]
# What the device thread lives on, and no other may.
ONLY_DEVICES = ["registers", "read", "write-elsewhere", "send"]


def probe(what):
    return end(start("end", "how=l", "--probe", what))


def test_what_a_process_has_left():
    """Before any list of system calls: alone, nobody, without rights, files, network, others."""
    p = probe("process")
    assert p.returncode == 0
    facts = dict(line.split(": ", 1) for line in p.err.splitlines() if ": " in line)
    assert facts["capabilities"] == "0"
    assert facts["no-new-privs"] == "1"
    assert facts["dumpable"] == "0"
    assert facts["uid"] != "0"
    assert facts["descriptors"] == "6", "0 to 2, the kernel, the log, KVM"
    assert "POSSIBLE" not in p.err
    if "makes no namespaces" in p.err:
        return
    assert (facts["pid"], facts["parent"]) == ("1", "0")
    assert facts["bounding"] == "0"
    assert facts["many-files"] == "Too many open files"
    if not sanitized():
        assert facts["large-map"] == "Cannot allocate memory"
    assert facts["interfaces"] in ("0", "1"), "lo at most"
    assert facts["open-file"] == "No such file or directory"
    assert facts["kill-all"] == "No such process"


@pytest.mark.parametrize("layer, output", [(False, False), (True, False), (True, True)])
def test_no_file_grows(tmp_path, layer, output):
    """Disks stay as long as they are; a file that takes the console's output has a bound of its own."""
    disk, over, said = (open(tmp_path / name, "w+b") for name in ("disk", "layer", "said"))
    with disk, over, said:
        disk.truncate(3 << 20)
        words = "%d:cow=%d" % (disk.fileno(), over.fileno()) if layer else str(disk.fileno())
        p = start("end", "how=l", "--disk-fd", words, fds=[disk.fileno(), over.fileno()],
                  console=said.fileno() if output else None)
        try:
            machine = wait_for(lambda: children(p.pid))[0]

            def bound():
                with open("/proc/%d/limits" % machine, encoding="ascii") as f:
                    soft, hard = next(x for x in f if x.startswith("Max file size")).split()[3:5]
                return soft == hard and soft.isdigit() and int(soft)
            largest = wait_for(bound)
            longest = max(os.fstat(f.fileno()).st_size for f in (disk, over))
            assert longest > 3 << 20 if layer else longest == 3 << 20
            assert largest == (64 << 20 if output else longest)
        finally:
            p.kill()
            end(p)


@pytest.mark.skipif(sanitized(), reason="the sanitizers' runtime needs some of these calls")
@pytest.mark.parametrize("thread", THREADS)
def test_what_a_thread_may_not_call(thread):
    """Each of these ends the process, with a line that names the call."""
    running = [(name, start("end", "how=l", "--probe", f"{thread}:{name}"))
               for name in NOBODY_MAY + ([] if thread == "devices" else ONLY_DEVICES)]
    for name, p in running:
        end(p)
        assert p.returncode == 4, (name, p.err)
        assert "is not allowed in this thread" in p.err, name


@pytest.mark.skipif(sanitized(), reason="the sanitizers' runtime needs some of these calls")
def test_the_attempts_are_real():
    """What the device thread needs is let through: the attempts above do make their calls."""
    for name in ONLY_DEVICES:
        assert probe(f"devices:{name}").returncode == 0, name
    assert probe("cpu:no-such-attempt").returncode == 5


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(c) for c in f.read().split()]


def wait_for(condition, seconds=10):
    limit = time.monotonic() + seconds * SLACK
    while time.monotonic() < limit:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("not in time")


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True  # before it was opened, or behind that


def looping(**more):
    p = start("end", "how=l", **more)
    monitor = wait_for(lambda: children(p.pid))[0]
    wait_for(lambda: os.listdir(f"/proc/{monitor}/task")[1:])
    return p, monitor


def of_thread(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/status", encoding="ascii") as f:
        return {k: v.split() for k, v in (line.split(":", 1) for line in f)}


def limits(pid):
    """{"Max open files": ("256", "256"), ...}"""
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        return {line[:26].strip(): tuple(line[26:].split()[:2]) for line in f}


def test_what_the_kernel_says_of_each_thread():
    """From outside, of a guest that runs: nobody, no capability, none to be gained, a list of system
    calls on every thread of both processes; limits; namespaces of their own."""
    p, monitor = looping()
    threads = [(pid, tid) for pid in (p.pid, monitor) for tid in os.listdir(f"/proc/{pid}/task")]
    assert len(threads) >= 3, "waiter, devices, one processor; newer kernels add one of KVM's"
    wait_for(lambda: all(of_thread(*t)["Seccomp"] == ["2"] for t in threads))
    for t in threads:
        status = of_thread(*t)
        assert status["NoNewPrivs"] == ["1"], t
        assert "0" not in status["Uid"] + status["Gid"], t
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind][0], 16) == 0, (t, kind)
    for pid in (p.pid, monitor):
        assert limits(pid)["Max open files"] == ("256", "256")
        assert limits(pid)["Max core file size"] == ("0", "0")
        kinds = ["user", "mnt", "net", "ipc", "uts", "cgroup"] + (["pid"] if pid == monitor else [])
        for kind in kinds:
            assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), (pid, kind)
    if not sanitized():
        assert limits(monitor)["Max address space"] == (str((64 + 256) << 20),) * 2
    p.kill()
    end(p)


def test_killing_either_process_ends_both():
    p, monitor = looping()
    p.kill()
    wait_for(lambda: gone(monitor))
    end(p)
    p, monitor = looping()
    os.kill(monitor, signal.SIGKILL)
    end(p)
    assert p.returncode == 4
    assert "killed by signal 9" in p.err


def test_it_dies_with_who_started_it():
    """Whatever that dies of."""
    r, w = os.pipe()
    parent = os.fork()
    if parent == 0:
        p, monitor = looping()
        os.write(w, f"{p.pid} {monitor}\n".encode())
        signal.pause()
    os.close(w)
    with open(r, encoding="ascii") as f:
        pids = [int(x) for x in f.readline().split()]
    assert len(pids) == 2
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    for pid in pids:
        wait_for(lambda: gone(pid))


def test_killed_at_any_moment_nothing_is_left():
    """From the first instruction to a running guest."""
    for i in range(40):
        p = start("end", "how=l")
        time.sleep(i * 0.001)
        kids = children(p.pid) if not gone(p.pid) else []
        p.kill()
        p.communicate()
        os.close(p.log_in)
        for pid in kids:
            wait_for(lambda: gone(pid))
