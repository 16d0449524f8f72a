# SPDX-License-Identifier: Apache-2.0
"""Processes as the kernel counts them: families, CPU seconds, memory. Shared by the benchmarks' Python parts."""

import contextlib
import glob
import re
import time


def wait_for(what, seconds=15):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("a peer did not come up")
        time.sleep(0.02)


def read(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


def family(pid):
    """pid and all below it."""
    todo, out = [pid], []
    while todo:
        p = todo.pop()
        out.append(p)
        for t in glob.glob("/proc/%d/task/*/children" % p):
            todo += map(int, read(t).split())
    return out


def cpu_s(pids):
    """CPU seconds of these processes' threads, those of the kernel in their system calls with them."""
    return sum(int((read(t) or "0").split()[0]) for p in pids for t in glob.glob("/proc/%d/task/*/schedstat" % p)) / 1e9


@contextlib.contextmanager
def cpu_of(pids):
    box, before = {}, cpu_s(pids)
    yield box
    # Of one that ended meanwhile nothing is known.
    box["s"] = cpu_s(pids) - before if all(read("/proc/%d/stat" % p) for p in pids) else 0


def private_kib(pids):
    total = 0
    for p in pids:
        for x in re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", read("/proc/%d/smaps_rollup" % p), re.M):
            total += int(x)
    return total


def comm(pid):
    return read("/proc/%d/comm" % pid).strip()
