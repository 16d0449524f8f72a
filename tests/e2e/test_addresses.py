# SPDX-License-Identifier: Apache-2.0
"""The sandbox's addresses: pools, the host's routes, names of the host, and how a machine on a
link is told them by the clients that machines have."""

import json
import os
import re
import shutil
import subprocess

import pytest

from conftest import SLACK
from listener import Listener
from test_gateway import gateway  # noqa: F401  pylint: disable=unused-import

HOST = {"policy": {"default_egress": "deny", "rules": [
    {"id": "host", "action": "allow", "destination_kind": "group", "destination": "host"}]}}
SHOW = "ip -j addr show eth0; cat /etc/resolv.conf; cat /etc/hosts"


def addresses(out):
    shown = json.loads(out.splitlines()[0])[0]
    return shown, sorted(a["local"] for a in shown["addr_info"] if a["scope"] == "global")


def with_routes(weir, routes, *args):
    """weir in a network of its own that has these routes."""
    if weir.prefix or os.geteuid() != 0:
        pytest.skip("routes are root's")
    script = "ip link set lo up; " + "".join("ip %s route add %s dev lo; " % (
        "-6" if ":" in r else "", r) for r in routes) + "exec \"$@\""
    return subprocess.run(["unshare", "-n", "sh", "-c", script, "sh", weir.program, *args],
                          capture_output=True, text=True, timeout=60 * SLACK, check=False)


# Parity: n20, n21.
@pytest.mark.machine
def test_n20_n21_pools_mtu_and_mac(weir):
    r = weir.sh(SHOW, flags=["--ipv4-pool", "10.66.0.0/16", "--ipv6-pool", "fd66::/48", "--mtu", "9000",
                             "--mac", "02:00:00:00:00:0a"])
    shown, got = addresses(r.out)
    assert shown["mtu"] == 9000 and shown["address"] == "02:00:00:00:00:0a", shown
    assert re.fullmatch(r"10\.66\.\d+\.\d+", got[0]) and got[1].startswith("fd66:"), got
    begin = r.find("run", event="begin")[0]
    assert sorted(begin["guest"]) == got and begin["mtu"] == 9000, begin
    for a in begin["gateway"]:
        assert "nameserver %s\n" % a in r.out, r.out
        assert "%s host.weir.internal host.microsandbox.internal\n" % a in r.out, r.out
    # It is the first line: who reads the record knows the addresses from the start.
    assert r.events[0] == begin


# Parity: n21.
@pytest.mark.parametrize("mtu", [1280, 65520])
def test_n21_traffic_at_the_smallest_and_the_largest_mtu(weir, mtu):
    r = weir.sh("curl -sS http://files.example.com/bytes/3000000 | sha256sum; "
                "ping -q -c 1 -W 5 -s 1200 echo.example.com >/dev/null && echo pong",
                flags=["--mtu", str(mtu)])
    plain = weir.sh("curl -sS http://files.example.com/bytes/3000000 | sha256sum")
    assert r.out == plain.out + "pong\n", (r, plain)


# Parity: n20, lesson-25.
@pytest.mark.netns("calls weir itself, with --backend netns")
def test_lesson_25_the_hosts_routes_are_stayed_away_from(weir):
    run = ["run", "--backend", "netns"]
    p = with_routes(weir, ["192.0.0.0/24", "172.16.0.0/13", "fd77:6569:7200::/56"],
                    *run, "--", "sh", "-c", SHOW)
    _, got = addresses(p.stdout)
    assert got == ["172.24.0.2", "fd77:6569:7200:100::2"], p
    p = with_routes(weir, ["10.66.0.0/24", "fd66::/64"], *run, "--ipv4-pool", "10.66.0.0/16",
                    "--ipv6-pool", "fd66::/48", "--", "sh", "-c", SHOW)
    _, got = addresses(p.stdout)
    assert got[0].startswith("10.66.1.") and got[1].startswith("fd66:0:0:"), p
    for pool, route in (("--ipv4-pool=10.66.0.0/16", "10.0.0.0/8"),
                        ("--ipv6-pool=fd66::/48", "fd66::/32")):
        p = with_routes(weir, [route], *run, pool, "--", "true")
        assert p.returncode == 125 and "the host has a route to %s (lo)" % route in p.stderr, p
    # A VPN's two halves are a default route, and no reason to move.
    p = with_routes(weir, ["0.0.0.0/1", "128.0.0.0/1"], *run, "--", "sh", "-c", SHOW)
    assert "192.0.0.2" in addresses(p.stdout)[1], p


@pytest.mark.netns("calls weir itself, with --backend netns")
def test_ranges_of_names_and_the_hosts_routes(weir):
    run = ["run", "--backend", "netns"]
    # Only a network that the policy would let it speak with is worth a word.
    for policy, flags, warned in (("allow_all", [], True), ("none", [], False),
                                  ("allow_all", ["--dns-pool", "10.99.0.0/16"], False),
                                  ("allow_all", ["--dns-answers", "real"], False)):
        p = with_routes(weir, ["198.18.7.0/24"], *run, "--policy", policy, *flags, "--", "true")
        assert p.returncode == 0 and ("198.18.7.0/24 (lo)" in p.stderr) == warned, (policy, p)
    r = weir.sh("getent ahostsv4 api.example.com | head -1; curl -sS http://files.example.com/bytes/10 "
                "| wc -c", flags=["--dns-pool", "10.99.0.0/16"])
    assert r.out.startswith("10.99.0.") and r.out.endswith("\n10\n"), r


def test_doctor_tells_the_addresses(weir):
    p = with_routes(weir, ["192.0.0.0/24", "198.18.0.0/24"], "doctor")
    assert re.search(r"IPv4 of a sandbox +172\.16\.0\.2, of 172\.16\.0\.0/30: the host has a route "
                     r"to 192\.0\.0\.0/24 \(lo\)", p.stdout), p.stdout
    assert re.search(r"IPv6 of a sandbox +fd77:6569:7200::2\n", p.stdout), p.stdout
    assert re.search(r"absent +addresses of names .*198\.18\.0\.0/24 \(lo\)", p.stdout), p.stdout


# Parity: lesson-26.
def test_lesson_26_slots_are_used_again_and_kept_apart(weir):
    flags = ["--ipv4-pool", "10.67.0.0/24", "--ipv6-pool", "fd67::/48"]
    held = [weir.start("sh", "-c", SHOW + "; read x", flags=flags, stdin=subprocess.PIPE, text=True)
            for _ in range(3)]
    first = [addresses(p.stdout.readline())[1] for p in held]
    assert len({a for pair in first for a in pair}) == 6, first
    for p in held:
        p.communicate("\n", timeout=30 * SLACK)
    again = addresses(weir.sh(SHOW, flags=flags).out)[1]
    assert again in first, (again, first)


# Parity: n19.
@pytest.mark.netns("calls weir itself, with --backend netns")
def test_n19_both_families_whatever_the_host_has(weir):
    """A host without IPv6 gives a sandbox that has it: names work, and so do either's addresses."""
    r = weir.sh("ip -6 -j addr show dev eth0 scope global; ip -6 route show default; "
                "for f in 4 6; do curl -sS -$f http://files.example.com/bytes/10 | wc -c; done")
    assert '"inet6"' in r.out and "default via" in r.out and r.out.endswith("\n10\n10\n"), r
    # No network at all: told at once, in either family.
    p = with_routes(weir, [], "run", "--backend", "netns", "--policy", "allow_all", "--", "sh", "-c",
                    "for a in 93.184.216.34 '[2606:2800::1]'; do curl -sS -g -m 20 http://$a/; echo $?; done")
    assert p.stdout == "7\n7\n", p


class Greeter(Listener):
    """A server on this machine's loopback, one family only."""

    def __init__(self, family):
        super().__init__(("::1" if family == 6 else "127.0.0.1", 0))
        self.port = self.address[1]

    def one(self, c):
        c.sendall(b"hello\n")


# Parity: n22, n29, lesson-25, lesson-27.
@pytest.mark.parametrize("family", [4, 6])
def test_n22_lesson_27_the_host_by_name_when_the_policy_says_so(weir, family):
    g = Greeter(family)
    script = ("exec 2>&1; for h in host.weir.internal host.microsandbox.internal 10.68.0.1 fd68::1; do "
              "python3 -c 'import socket,sys; print(socket.create_connection((sys.argv[1], %d), 5)"
              ".recv(9))' $h || echo no; done" % g.port).replace("python3", "/usr/bin/python3")
    flags = ["--ipv4-pool", "10.68.0.0/30", "--ipv6-pool", "fd68::/64"]
    r = weir.sh(script, policy=HOST, flags=flags)
    assert r.out == "b'hello\\n'\n" * 4, r
    rules = {e["rule"] for e in r.find("flow", verdict="allow")}
    assert rules == {"host"}, r
    r = weir.sh(script, policy="public_only", flags=flags)
    assert r.out.count("no\n") == 4 and not r.find("flow", verdict="allow"), r
    g.close()


def test_n22_names_of_the_network_itself(weir, lab):
    r = weir.sh("for n in host.weir.internal host.microsandbox.internal sandbox.weir.internal; do "
                "dig +short $n A $n AAAA; done; dig +short host.weir.internal TXT; "
                "dig -x 10.69.0.1 +short; dig -x fd69::2 +short; dig -x 10.69.0.3 | grep -o NXDOMAIN; "
                "dig +noall +answer host.weir.internal | awk '{print $2}'", policy="none",
                flags=["--ipv4-pool", "10.69.0.0/30", "--ipv6-pool", "fd69::/64"])
    assert r.out.split() == ["10.69.0.1", "fd69::1"] * 2 + ["10.69.0.2", "fd69::2",
                            "host.weir.internal.", "host.microsandbox.internal.",
                            "sandbox.weir.internal.", "NXDOMAIN", "60"], r
    assert not lab.asked(), lab.asked()
    for e in r.find("dns"):
        assert e["verdict"] == "allow" and "rule" not in e, e


def test_a_replay_knows_the_runs_gateway(weir):
    g = Greeter(4)
    r = weir.sh("curl -sS -m 5 http://10.70.0.1:%d/ || :" % g.port, policy=HOST,
                flags=["--ipv4-pool", "10.70.0.0/30"])
    g.close()
    assert r.find("flow", verdict="allow", dst="10.70.0.1"), r
    p = weir.call("policy", "replay", weir.file("p.json", HOST), r.audit_path)
    assert p.returncode == 0, p
    p = weir.call("policy", "suggest", r.audit_path)
    assert '"host"' in p.stdout and "10.70.0.1" not in p.stdout, p


# ---- machines that ask ---------------------------------------------------------------------

WAIT6 = ("for i in $(seq 200); do ip -6 addr show dev eth0 scope global | grep -q inet6 && "
         "! ip -6 addr show dev eth0 | grep -q tentative && break; sleep .1; done; ")
UDHCPC = """#!/bin/sh
echo "$1 $ip/$mask $router $dns $mtu $hostname $domain"
case $1 in bound|renew)
	ip addr replace $ip/$mask dev $interface; ip route replace default via $router
	echo "nameserver $dns" >/etc/resolv.conf
esac
"""
DHCLIENT = """#!/bin/sh
echo "$reason $new_ip_address $new_routers $new_domain_name_servers $new_interface_mtu\
 $new_ip6_address $new_dhcp6_name_servers"
"""


def asking(gateway, weir, command, flags=()):
    sock = weir.path("s.sock")
    g = gateway("stream:" + sock, flags=["--ipv4-pool", "10.71.0.0/16", "--ipv6-pool", "fd71::/48",
                                         *flags])
    begin = g.events("run", event="begin")[0]
    rc, out, err = g.run("stream:" + sock, "sh", "-c", command, asks=True)
    assert rc == 0, (out, err)
    return begin, out, err


# Parity: n19.
def test_a_machine_asks_by_dhcp_and_makes_its_own_ipv6_address(weir, gateway):
    if not shutil.which("busybox"):
        pytest.skip("no busybox")
    udhcpc = weir.file("udhcpc.sh", UDHCPC)
    os.chmod(udhcpc, 0o755)
    begin, out, _ = asking(gateway, weir, WAIT6 + """
        busybox udhcpc -i eth0 -n -q -f -s %s 2>/dev/null
        ip -j addr show eth0; ip -6 -j route show default
        curl -sS -4 --max-time 20 http://files.example.com/bytes/100000 | wc -c
        curl -sS -6 --max-time 20 http://files.example.com/bytes/100000 | wc -c
        ping -c 1 -W 5 echo.example.com >/dev/null && echo pong""" % udhcpc, flags=["--mtu", "1400"])
    bound = [x for x in out.splitlines() if x.startswith("bound ")][0].split()
    assert bound[1].startswith(begin["guest"][0] + "/") and bound[2:5] == [
        begin["gateway"][0], begin["gateway"][0], "1400"], bound
    shown = [json.loads(x)[0] for x in out.splitlines() if x.startswith("[")]
    six = [a["local"] for a in shown[0]["addr_info"]
           if a["family"] == "inet6" and a["scope"] == "global"]
    assert six and six[0] != begin["guest"][1] and six[0].startswith("fd71:"), shown
    assert shown[1]["gateway"].startswith("fe80:") and shown[1]["protocol"] == "ra", shown
    assert out.endswith("100000\n100000\npong\n"), out


def test_a_machine_asks_by_isc_dhclient(weir, gateway):
    if not shutil.which("dhclient"):
        pytest.skip("no dhclient")
    sf = weir.file("dhclient.sh", DHCLIENT)
    os.chmod(sf, 0o755)
    begin, out, _ = asking(gateway, weir, WAIT6 + """
        mount -t tmpfs t /mnt
        dhclient -4 -1 -sf %s -lf /mnt/l4 -pf /mnt/p4 eth0 2>/dev/null
        dhclient -6 -1 -sf %s -lf /mnt/l6 -pf /mnt/p6 eth0 2>/dev/null
        dhclient -6 -S -1 -sf %s -lf /mnt/s6 -pf /mnt/sp6 eth0 2>/dev/null
        kill $(cat /mnt/p*) $(cat /mnt/sp6) 2>/dev/null; :""" % (sf, sf, sf))
    four, six = begin["guest"]
    gw4, gw6 = begin["gateway"]
    assert "BOUND %s %s %s 1500" % (four, gw4, gw4) in out, out
    assert re.search(r"^BOUND6 .*%s %s$" % (six, gw6), out, re.M), out
    assert re.search(r"^RENEW6 +%s$" % gw6, out, re.M), out


def test_a_machine_may_be_told_nothing(weir, gateway):
    begin, out, _ = asking(gateway, weir, """sleep 1; ip -6 -j addr show dev eth0 scope global
        busybox udhcpc -i eth0 -n -q -f -t 2 -T 1 -s /bin/true >/dev/null 2>&1; echo $?""",
                           flags=["--no-dhcp"])
    assert begin and "fd71" not in out and out.endswith("1\n"), out


def test_taps_of_one_namespace_have_addresses_of_their_own(weir, gateway):
    if weir.prefix or os.geteuid() != 0:
        pytest.skip("taps are root's")
    two = [gateway("tap:weira%d" % i).events("run", event="begin")[0] for i in range(2)]
    for k in ("guest", "gateway"):
        assert not set(two[0][k]) & set(two[1][k]), two
