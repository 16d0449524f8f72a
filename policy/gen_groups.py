#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""groups.tsv -> a C table: where each run of addresses of one group starts.

usage: gen_groups.py groups.tsv groups_table.h
Longest prefix wins; neighbours of one group are merged. The runs cover each
family from its first address to its last.
"""
import ipaddress
import sys

GROUPS = {"metadata", "loopback", "private", "link_local", "multicast", "reserved", "public"}


def read(path):
    nets = {4: {}, 6: {}}
    for number, line in enumerate(open(path, encoding="ascii"), 1):
        if line.startswith("#") or not line.strip():
            continue
        fields = line.rstrip("\n").split("\t")
        if len(fields) != 3 or fields[1] not in GROUPS or not fields[2]:
            sys.exit(f"{path}:{number}: not PREFIX<TAB>GROUP<TAB>SOURCE")
        net = ipaddress.ip_network(fields[0])  # refuses host bits
        if net in nets[net.version]:
            sys.exit(f"{path}:{number}: {net} twice")
        nets[net.version][net] = fields[1]
    for version, all_net in ((4, "0.0.0.0/0"), (6, "::/0")):
        if ipaddress.ip_network(all_net) not in nets[version]:
            sys.exit(f"{path}: {all_net} is missing")
    return nets


def runs(nets, bits):
    """Shorter prefixes first, so that a longer one paints over them."""
    cuts = {0}
    for net in nets:
        first = int(net.network_address)
        cuts.update((first, first + net.num_addresses))
    cuts.discard(1 << bits)
    found = []
    for start in sorted(cuts):
        holders = [n for n in nets
                   if int(n.network_address) <= start < int(n.network_address) + n.num_addresses]
        group = nets[max(holders, key=lambda n: n.prefixlen)]
        if not found or found[-1][1] != group:
            found.append((start, group))
    return found


def main():
    source, target = sys.argv[1:]
    nets = read(source)
    out = ["/* Made by gen_groups.py from groups.tsv: change that one. */"]
    out.append("static const struct group_run4 group_runs4[] = {")
    for start, group in runs(nets[4], 32):
        out.append(f"\t{{ 0x{start:08x}, POLICY_GROUP_{group.upper()} }},"
                   f" /* {ipaddress.IPv4Address(start)} */")
    out.append("};")
    out.append("static const struct group_run6 group_runs6[] = {")
    for start, group in runs(nets[6], 128):
        out.append(f"\t{{ 0x{start >> 64:016x}, 0x{start & (1 << 64) - 1:016x},"
                   f" POLICY_GROUP_{group.upper()} }}, /* {ipaddress.IPv6Address(start)} */")
    out.append("};")
    with open(target, "w", encoding="ascii") as f:
        f.write("\n".join(out) + "\n")


main()
