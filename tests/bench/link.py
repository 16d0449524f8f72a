# SPDX-License-Identifier: Apache-2.0
"""Links without offload, measured with a kernel at the other end (link.c): Gbps and CPU seconds per
gigabyte of the stack's process alone. usage: link.py PROGRAM [--check] [--kind K] [--mode M] [--runs N] [--seconds S]

Runs inside a network namespace made for it (link.sh)."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
GATES = {"up": (5.0, 1.4), "down": (3.0, 2.0)}


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(pids, port, down, seconds, streams):
    stack, shim = pids
    server = subprocess.Popen(["iperf3", "-s", "-1", "-p", str(port)], stdout=subprocess.DEVNULL)
    time.sleep(0.3)
    command = ["nsenter", "-t", str(shim), "-n", "iperf3", "-c", "198.51.100.1", "-p", str(port), "-J",
               "-t", str(seconds), "-P", str(streams)] + (["-R"] if down else [])
    before = cpu_seconds(stack)
    out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    used = cpu_seconds(stack) - before
    server.wait(timeout=10)
    try:
        end = json.loads(out.stdout)["end"]
    except (ValueError, KeyError):
        sys.exit(f"iperf3 said: {out.stdout[:400]}{out.stderr[:400]}")
    got = end["sum_received"]
    return got["bits_per_second"] / 1e9, used / (got["bytes"] / 1e9), end["sum_sent"].get("retransmits", 0)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--kind", default="stream", choices=["stream", "dgram"])
    p.add_argument("--mode", default="frame,batch,fast")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--streams", type=int, default=1)
    p.add_argument("--check", action="store_true", help="exit 1 when the CPU gates are missed")
    a = p.parse_args()
    port, missed = 5201, []
    print(f"{a.kind}, MTU 1500, {a.streams} stream(s), median [lowest-highest] of {a.runs} runs of {a.seconds} s")
    for mode in a.mode.split(","):
        link = subprocess.Popen([a.program, a.kind, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pids = [int(x) for x in link.stdout.readline().split()]
        for way in ("up", "down"):
            runs = []
            for _ in range(a.runs):
                runs.append(measure(pids, port, way == "down", a.seconds, a.streams))
                port += 1
            text = []
            for i, unit in ((0, "Gbps"), (1, "CPU-s/GB"), (2, "retransmitted")):
                v = [r[i] for r in runs]
                text.append(f"{statistics.median(v):6.2f} [{min(v):.2f}-{max(v):.2f}] {unit}")
            print(f"  {mode:6} {way:5}" + "  ".join(text), flush=True)
            if statistics.median(r[1] for r in runs) > GATES[way][1]:
                missed.append(f"{mode} {way}")
        link.stdin.close()
        link.wait(timeout=10)
    if a.check and missed:
        sys.exit("CPU gate missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
