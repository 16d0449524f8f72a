# SPDX-License-Identifier: Apache-2.0
"""Limits: rates, caps for each kind of flow, floods beside good traffic, counters that are exact.

WEIR_E2E_FLOWS: how many short flows a flood has (default 6000; 100000 is the number to try by hand).
"""

import json
import os
import subprocess
import time

import pytest
from conftest import SLACK, sanitized, wait_for

import world
from test_reload import OPEN, guest, live  # noqa: F401

FLOWS = int(os.environ.get("WEIR_E2E_FLOWS", "6000"))
ALL = {"policy": {"default_egress": "allow"}}
ECHO = "93.184.216.7"
SILENT = "93.184.216.%d" % world.SILENT
FILES = "http://files.example.com/bytes/%d"


def rule(limit, **more):
    return {"policy": {"default_egress": "deny", "rules": [
        {"id": "slow", "action": "allow", "destination": "files.example.com", "limit": limit, **more},
        {"id": "rest", "action": "allow", "destination": ".example.com"}]}}


def end_of(r):
    return r.find("run", event="end")[0]


# ---- rates

# Parity: N26, p2.7, lesson-28.
def test_rate_into_the_sandbox(weir):
    size, rate = 1500000, 8000000 / 8
    r = weir.guest("transfer", FILES % size, 2, flags=["--rate", "ingress=8mbit"])
    for t in r.json["transfers"]:
        assert t["bytes"] == size, r
    slowest = max(t["seconds"] for t in r.json["transfers"])
    # Never faster than the rate and its burst; not much slower (a slow machine aside).
    assert slowest >= (2 * size - 40000) / rate * 0.98, r
    assert slowest <= 2 * size / rate * 1.1 + 1 * SLACK, r
    # Both had their share.
    assert min(t["seconds"] for t in r.json["transfers"]) > slowest * 0.8, r
    assert end_of(r)["delayed_rate"] > 0 and end_of(r)["dropped_rate"] == 0, r


def test_rate_out_of_the_sandbox(weir):
    r = weir.guest("parallel", "echo.example.com", 7, 3, 500000,
                   flags=["--rate", "egress=8mbit,burst=64KiB"])
    assert r.json["bad"] == [] and 1.4 <= r.seconds <= 4 * SLACK, r
    assert end_of(r)["tcp_bytes_up"] == end_of(r)["tcp_bytes_down"] == 1500000, r


def test_rate_leaves_names_and_handshakes_alone(weir):
    # The transfers take some ten seconds; what needs a few packets does not wait for them.
    r = weir.sh("for i in 1 2 3 4; do curl -so /dev/null %s & done; sleep .3; "
                "curl -so /dev/null -w '%%{http_code} %%{time_total}' http://api.example.com/; "
                "kill %%1 %%2 %%3 %%4" % (FILES % 5000000), flags=["--rate", "ingress=8mbit"])
    status, seconds = r.out.split()
    assert status == "200" and float(seconds) < 1 * SLACK, r


def test_packets_of_udp_are_dropped_and_counted(weir):
    r = weir.guest("paced", "echo.example.com", 7, 500, 100, flags=["--rate", "egress=packets=100"])
    got, dropped = r.json["got"], end_of(r)["dropped_rate"]
    assert got + dropped == 500, r
    assert 32 <= got <= 32 + 100 * r.json["seconds"] + 1, r


# Parity: p9.4-32.
@pytest.mark.machine
def test_rate_of_one_rule(weir):
    r = weir.sh("curl -so /dev/null -w '%%{time_total} ' %s; curl -so /dev/null -w '%%{time_total}' "
                "http://api.example.com/; head -c 1000000 /dev/zero | curl -so /dev/null -T - "
                "-w ' %%{time_total}' http://api.example.com/up" % (FILES % 1000000),
                policy=rule({"bandwidth": "8mbit"}))
    slow, fast, upload = map(float, r.out.split())
    assert slow >= 0.93 and fast < 0.5 * SLACK and upload < 0.9 * SLACK, r


def test_connections_of_one_rule(weir):
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"id": "few", "action": "allow", "destination": "echo.example.com",
         "limit": {"connections": 3}}]}}
    r = weir.guest("many", "echo.example.com", 7, 5, policy=policy)
    assert r.json["results"] == ["ok"] * 3 + ["ECONNREFUSED"] * 2, r
    denied = r.find("flow", verdict="deny")
    assert len(denied) == 2, r
    assert all(e["detail"] == "the rule's limit of connections is reached" for e in denied), r


def test_another_policy_puts_live_flows_into_its_limits(weir, live):
    s = live(*guest(weir.lab, "stream", "echo.example.com", 7), policy=OPEN)
    assert json.loads(next(s.lines())) == {"state": "streaming"}

    def delayed():
        return json.loads(s.ctl("status", "--json").stdout)["network"]["delayed_rate"]

    def idle():
        before = delayed()
        time.sleep(0.3)
        return delayed() == before

    def rate():
        """Bytes a second out of it."""
        def sent():
            return json.loads(s.ctl("status", "--json").stdout)["network"]["tcp_bytes_up"]
        before, t0 = sent(), time.monotonic()
        time.sleep(0.5)
        return (sent() - before) / (time.monotonic() - t0)

    assert delayed() == 0
    fast = rate()
    policy = {"policy": {"default_egress": "deny", "rules": [
        {"action": "allow", "destination": ".example.com",
         "limit": {"packets": 5, "connections": 1}}]}}
    assert s.set(policy).returncode == 0
    assert wait_for(lambda: delayed() > 2, 15)
    # Five packets a second, and what the bucket held at first.
    assert wait_for(lambda: rate() < fast / 2, 15), fast
    assert s.set(OPEN).returncode == 0
    assert wait_for(idle, 10)
    assert wait_for(lambda: rate() > fast / 2, 15), fast
    assert not s.events("flow_end"), s.events("flow_end")


def test_rate_changes_while_it_runs(weir, live):
    s = live(*guest(weir.lab, "stream", "echo.example.com", 7), policy=OPEN)
    assert json.loads(next(s.lines())) == {"state": "streaming"}
    p = s.ctl("rate", "egress=8kbit,burst=2KiB")
    assert p.returncode == 0, p

    def delayed():
        return json.loads(s.ctl("status", "--json").stdout)["network"]["delayed_rate"]

    assert wait_for(delayed, 10)
    assert s.ctl("rate", "egress=none").returncode == 0
    assert wait_for(lambda: (lambda a: (time.sleep(0.3), delayed() == a)[1])(delayed()), 10)
    assert [e["detail"] for e in s.events("run", event="rate")] == ["egress=8kbit,burst=2KiB",
                                                                    "egress=none"]
    for bad, why in (("egress=5", "needs a unit"), ("up=5mbit", "write egress|ingress")):
        p = s.ctl("rate", bad)
        assert p.returncode == 2 and why in p.stderr, p


# ---- caps

# Parity: N25, lesson-23.
def test_udp_and_ping_flows_have_caps_of_their_own(weir):
    many = ("import socket,time\nk=[]\nfor i in range(12):\n s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
            " s.settimeout(1)\n s.connect(('%s',7))\n k.append(s)\n try:\n  s.send(b'x'); print(s.recv(9).decode(),end='')\n"
            " except OSError: print('-',end='')\n" % ECHO)
    r = weir.run("/usr/bin/python3", "-c", many, policy=ALL, flags=["--max-udp-flows", "5"])
    # Those that are idle give way, those that are in use do not.
    assert r.out.startswith("xxxxx") and len(r.out) == 12, r
    r = weir.sh("ping -c1 -W2 93.184.216.7 >/dev/null && echo pinged", policy=ALL,
                flags=["--max-udp-flows", "1", "--max-icmp-flows", "1"])
    assert r.out == "pinged\n", r


# Parity: p9.4-26.
def test_memory_budget_refuses_and_nothing_dies(weir):
    # 8 MiB set aside what 256 connections may need.
    r = weir.guest("many", ECHO, 7, 300, policy=ALL,
                   flags=["--memory-budget", "8MiB", "--max-connections", "1000"])
    results = r.json["results"]
    assert results[:250] == ["ok"] * 250 and results[-40:] == ["ECONNREFUSED"] * 40, r
    details = {e.get("detail") for e in r.find("flow", verdict="deny")}
    assert details == {"the memory budget is used up"}, details
    assert end_of(r)["refused_memory"] == results.count("ECONNREFUSED"), r


def test_big_transfers_under_a_small_budget(weir):
    r = weir.guest("parallel", ECHO, 7, 24, 1000000, policy=ALL, flags=["--memory-budget", "8MiB"])
    assert r.json["bad"] == [], r


# ---- floods

def gateway_of(p):
    """The gateway's process id, of a `weir run` that is p."""
    out = subprocess.run(["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True, check=True).stdout
    rows = [x.split(None, 2) for x in out.splitlines()[1:]]
    return next((int(pid) for pid, ppid, comm in rows
                 if int(ppid) == p.pid and comm.startswith("weir-gateway")), None)


def resident(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("VmRSS"))


def survived(j):
    assert j["faults"] == [], j
    assert j["steps"] >= 4 and j["fresh"] >= 2, j
    assert j["slowest"] < 2.5 * SLACK, j


# Parity: lesson-18.
@pytest.mark.parametrize("kind, target, count", [
    ("halfopen", SILENT, 3000), ("scan", "93.184.220.0", 3000), ("scan", "10.3.0.0", 3000)])
def test_floods_leave_good_traffic_alive(weir, kind, target, count):
    policy = {"policy": {"default_egress": "allow", "rules": [
        {"action": "deny", "destination": "10.0.0.0/8"}]}}
    r = weir.guest("flood", kind, ECHO, 7, count, target, policy=policy,
                   flags=["--max-connections", "200"])
    survived(r.json)
    end = end_of(r)
    assert end["refused_limit"] == 0, end
    if kind == "halfopen":
        assert end["half_open_evicted"] > 0, end
    # A line for each would be 700 bytes each; those of a second are counted together.
    fails = [e for e in r.events if e["kind"] == "flow" and e["verdict"] != "allow"]
    assert len(fails) <= 260 * (2 + r.json["seconds"]), len(fails)
    if target == "10.3.0.0":
        assert sum(e.get("count", 1) for e in fails) == r.json["flood"], len(fails)


# Parity: p9.4-22.
@pytest.mark.parametrize("kind", ["short", "udp"])
def test_many_short_flows(weir, live, kind):
    s = live(*guest(weir.lab, "flood", "short", ECHO, 7, 300, ECHO), policy=ALL)
    s.end()
    p = weir.start(*guest(weir.lab, "hold", "flood", kind, ECHO, 7, FLOWS, ECHO), policy=ALL)
    line = p.stdout.readline()
    assert line == b"warm\n", line
    pid = gateway_of(p)
    before = resident(pid)
    j = json.loads(p.stdout.readline())
    survived(j)
    assert j["flood"] >= FLOWS * 0.999, j
    # What the flood needed is given back: flows end (UDP when idle), then pools and malloc's lists shrink.
    # A sanitizer keeps what was freed for a while.
    if kind == "short" and not sanitized():
        wait_for(lambda: resident(pid) < before + 4000, 15)
        assert resident(pid) < before + 4000, (before, resident(pid))
    p.terminate()
    p.communicate(timeout=20 * SLACK)


# ---- counters

# Parity: N34, p2.9.
def test_counters_are_what_the_interface_and_the_sockets_counted(weir, live):
    size = 3000000
    s = live(*guest(weir.lab, "counted", "echo4.example.com", 7, size), policy=OPEN,
             stdin=subprocess.PIPE)
    assert json.loads(s.p.stdout.readline()) == {"up": size, "down": size}

    def both():
        s.p.stdin.write(b"\n")
        s.p.stdin.flush()
        eth0 = json.loads(s.p.stdout.readline())
        return eth0, json.loads(s.ctl("status", "--json").stdout)["network"]

    def same():
        eth0, net = both()
        return (eth0["tx_packets"], eth0["tx_bytes"], eth0["rx_packets"], eth0["rx_bytes"]) == \
               (net["link_frames_up"], net["link_bytes_up"],
                net["link_frames_down"], net["link_bytes_down"])

    # Between the two questions a frame may pass (neighbour discovery); then they agree the next time.
    assert wait_for(same, 10), both()
    eth0, net = both()
    assert eth0["tx_dropped"] == eth0["rx_dropped"] == 0, eth0
    assert net["tcp_bytes_up"] == net["tcp_bytes_down"] == size, net
    datagrams = 1 + 100 + 1400 + 9000
    ends = {e["id"]: e for e in s.events("flow_end")}
    flows = {e["id"]: e for e in s.events("flow", verdict="allow")}
    asked = net["udp_bytes_up"] - datagrams
    # Names were asked by UDP as well; what the server of the echo saw is exact.
    assert asked >= 0 and net["icmp_bytes_up"] == net["icmp_bytes_down"] == 3 * 56, net
    assert net["icmp_packets_up"] == net["icmp_packets_down"] == 3, net
    tcp = [i for i, e in flows.items() if e["proto"] == "tcp"]
    assert [(ends[i]["bytes_up"], ends[i]["bytes_down"]) for i in tcp] == [(size, size)], ends
    seen = [e for e in weir.lab.seen("tcp") if e.get("bytes") is not None]
    assert not seen or seen[-1]["bytes"] == size, seen
    m = s.ctl("metrics")
    assert m.returncode == 0 and "weir_tcp_bytes_up_total{run=" in m.stdout, m
    assert 'weir_tcp_now{' in m.stdout and "# TYPE weir_tcp_now gauge" in m.stdout, m
    s.end()
    with open(s.p.audit_path, encoding="utf-8") as f:
        end = json.loads(f.readlines()[-1])
    assert end["tcp_bytes_up"] == size and end["icmp_packets_up"] == 3, end
    by_flow = sum(e["bytes_up"] for e in s.events("flow_end"))
    assert by_flow <= end["tcp_bytes_up"] + end["udp_bytes_up"] + end["icmp_bytes_up"], end
