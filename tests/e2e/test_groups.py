# SPDX-License-Identifier: Apache-2.0
"""The groups of addresses, computed a second time from the RFCs and Python's ipaddress.

Nothing here reads weir's own table: the registries are written down anew, the
wrappings are taken apart by other code, and both sides of every boundary, in
every form, are put to the program.
"""

import ipaddress
import json
import random
from concurrent.futures import ThreadPoolExecutor

from conftest import sanitized

ip = ipaddress.ip_address

# What the RFCs set aside, beside what ipaddress knows by itself.
RESERVED = [ipaddress.ip_network(n) for n in """
    0.0.0.0/8 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24
    192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
    ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2620:4f:8000::/48
    3fff::/20 5f00::/16 fec0::/10""".split()]
PRIVATE = [ipaddress.ip_network(n) for n in
           "10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.168.0.0/16 fc00::/7".split()]
# Where clouds hand out a machine's credentials, as their manuals say.
METADATA = [ipaddress.ip_network(n) for n in """
    169.254.169.254 169.254.169.252 169.254.170.2 169.254.170.23 169.254.42.42 169.254.0.23
    168.63.129.16 192.0.0.192 100.100.100.200 100.96.0.96 fd00:ec2::/32 fd20:ce::254
    fd00:c1::a9fe:a9fe fd00:42::42 fd00:a9fe:a9fe::1 fe80::a9fe:a9fe""".split()]
OTHERS = [ipaddress.ip_network(n) for n in
          "127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 ::1/128 fe80::/10 ff00::/8 2000::/3".split()]


def within(a, nets):
    return any(a.version == n.version and a in n for n in nets)


def native(a):
    """The group of an address that wraps no other."""
    if within(a, METADATA):
        return "metadata"
    if a.is_loopback:
        return "loopback"
    if a.is_multicast:
        return "multicast"
    if a.is_link_local:
        return "link_local"
    if within(a, PRIVATE):
        return "private"
    if within(a, RESERVED) or (a.version == 6 and int(a) >> 125 != 1):
        return "reserved"
    return "public"


def inside(a):
    """The IPv4 address in a form of IPv6, or None."""
    n = int(a)
    last = ip(n & 0xffffffff)
    if a.ipv4_mapped:
        return a.ipv4_mapped
    if n >> 32 == 0 and n > 1 or n >> 32 == 0xffff0000 or n >> 32 == 0x64ff9b << 64:
        return last
    return a.sixtofour


def group(a):
    """The group by this second computation."""
    if a.version == 4:
        return native(a)
    if a.teredo:
        server, client = map(native, a.teredo)
        return client if client != "public" or server == "public" else "reserved"
    v4 = inside(a)
    carrier = native(v4) if v4 else native(a)
    if int(a) >> 32 & 0xfdffffff == 0x5efe:  # ISATAP: the address inside, unless it adds nothing
        host_id = native(ip(int(a) & 0xffffffff))
        if host_id != "public" and carrier != "metadata":
            return host_id
    return carrier


def edges(net):
    """The first and the last address of a network, and their neighbours outside."""
    first, last = int(net.network_address), int(net.broadcast_address)
    top = (1 << net.max_prefixlen) - 1
    kind = type(net.network_address)
    return [kind(n) for n in (first - 1, first, last, last + 1) if 0 <= n <= top]


def wrapped(v4):
    """Each form of IPv6 that reaches this address on some network."""
    n = int(v4)
    public = int(ip("2600:1:2:3::"))
    yield from map(ipaddress.IPv6Address, (
        n, 0xffff << 32 | n, 0xffff0000 << 32 | n, 0x64ff9b << 96 | n,
        0x2002 << 112 | n << 80, 0x2002 << 112 | n << 80 | 0x123456789abcdef,
        0x20010000 << 96 | 0x4136e378 << 64 | 0x8000 << 48 | n ^ 0xffffffff,  # Teredo
        0x20010000 << 96 | 0x0a000001 << 64 | n ^ 0xffffffff,  # its server is a private one
        public | 0x5efe << 32 | n, public | 0x2005efe << 32 | n,
        int(ip("fd00::")) | 0x5efe << 32 | n, int(ip("fe80::")) | 0x2005efe << 32 | n,
        # Local NAT64 (RFC 8215) may use any layout of RFC 6052: never public.
        0x64ff9b0001 << 80 | n, 0x64ff9b0001 << 80 | n << 32))


def probes():
    found = set()
    for net in RESERVED + PRIVATE + METADATA + OTHERS:
        found.update(edges(net))
    seeded = random.Random(20)
    found.update(ipaddress.IPv4Address(seeded.getrandbits(32)) for _ in range(300))
    found.update(ipaddress.IPv6Address(seeded.getrandbits(128)) for _ in range(200))
    found.update(ipaddress.IPv6Address(1 << 125 | seeded.getrandbits(125)) for _ in range(100))
    for a in list(found):
        if a.version == 4:
            found.update(wrapped(a))
    return sorted(found, key=lambda a: (a.version, a))


def host(a):
    return "[%s]" % a if a.version == 6 else str(a)


# Parity: d3.5-one-table.
def test_n07_weak_5_every_group_decides_as_computed(weir):
    """n07, weak-5, p1.2-one-group: thousands of probes, each decided by the rule of its group."""
    groups = ["public", "reserved", "multicast", "link_local", "private", "loopback", "metadata",
              "host"]
    policy = weir.file("groups.json", {"policy": {"default_egress": "allow", "rules": [
        {"id": g, "action": "deny", "destination": {"group": g}} for g in groups]}})
    table = probes()
    cases = weir.file("cases", "".join("deny %s:443 rule=%s\n" % (host(a), group(a))
                                       for a in table))
    p = weir.call("policy", "test", policy, cases)
    assert p.returncode == 0, p.stdout[-3000:] + p.stderr
    assert len(table) > 6000 and str(len(table)) in p.stdout, p.stdout[-300:]
    # Every group but the gateway's own occurs, or the table says nothing of it.
    assert {group(a) for a in table} == set(groups) - {"host"}


def test_n07_explain_names_the_group(weir):
    """n07, p1.2-one-group: the same by `policy explain --json`, which names one group, of some of them."""
    table = probes()[::40 if sanitized() else 12]

    def said(a):
        p = weir.call("policy", "explain", "allow_all", "--to", host(a) + ":443", "--json")
        return json.loads(p.stdout)["flow"]["group"]

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(said, table))
    assert len(table) > (100 if sanitized() else 500)
    assert [(str(a), g) for a, g in zip(table, got) if g != group(a)] == []
    p = weir.call("policy", "explain", "allow_all", "--to", "10.0.0.1:53", "--gateway", "--json")
    assert json.loads(p.stdout)["flow"]["group"] == "host", p.stdout


# Parity: p1.2-public.
def test_n07_what_python_calls_not_global_is_not_public():
    """n07: a third opinion. ipaddress lists the registries of its day; none of it is public here."""
    wrong = [a for a in probes() if not a.is_global and group(a) == "public" and
             (a.version == 4 or not (inside(a) or a.teredo))]
    assert not wrong, wrong
