#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""doh.tsv -> C tables of names, suffixes and prefixes, each sorted; no entry holds another.

usage: gen_doh.py doh.tsv doh_table.h
"""
import ipaddress
import sys


def read(path):
    names, suffixes, nets = set(), set(), {4: set(), 6: set()}
    for number, line in enumerate(open(path, encoding="ascii"), 1):
        if line.startswith("#") or not line.strip():
            continue
        fields = line.rstrip("\n").split("\t")
        if len(fields) != 2 or not fields[1]:
            sys.exit(f"{path}:{number}: not NAME<TAB>SOURCE")
        what = fields[0]
        if "/" in what:
            net = ipaddress.ip_network(what)  # refuses host bits
            if any(net.overlaps(n) for n in nets[net.version]):
                sys.exit(f"{path}:{number}: {net}: in this table already")
            nets[net.version].add(net)
            continue
        if what != what.lower() or what.endswith(".") or " " in what:
            sys.exit(f"{path}:{number}: {what}: not a canonical name")
        into = suffixes if what.startswith(".") else names
        if what.lstrip(".") in into:
            sys.exit(f"{path}:{number}: {what} twice")
        into.add(what.lstrip("."))
    for name in names | suffixes:
        above = name.split(".")[1 if name in suffixes else 0:]
        if any(".".join(above[i:]) in suffixes for i in range(len(above))):
            sys.exit(f"{path}: {name} is below a suffix of this table")
    return names, suffixes, nets


def main(path, out):
    names, suffixes, nets = read(path)
    with open(out, "w", encoding="ascii") as f:
        f.write("/* Made by gen_doh.py from doh.tsv: do not edit. */\n")
        for label, texts in (("names", names), ("suffixes", suffixes)):
            f.write(f"static const char *const doh_{label}[] = {{\n")
            for text in sorted(texts):
                f.write(f'\t"{text}",\n')
            f.write("};\n")
        f.write("static const struct ip_prefix doh_prefixes[] = {\n")
        for version in (4, 6):
            for net in sorted(nets[version]):
                b = ", ".join(f"0x{x:02x}" for x in net.network_address.packed)
                f.write(f"\t{{ {{ {version}, {{ {b} }} }}, {net.prefixlen} }}, /* {net} */\n")
        f.write("};\n")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(sys.argv[1], sys.argv[2])
