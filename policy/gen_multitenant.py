#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""multitenant.tsv -> a C table, sorted by name.

usage: gen_multitenant.py multitenant.tsv multitenant_table.h
"""
import sys


def read(path):
    rows = {}
    for number, line in enumerate(open(path, encoding="ascii"), 1):
        if line.startswith("#") or not line.strip():
            continue
        fields = line.rstrip("\n").split("\t")
        if len(fields) != 3 or fields[1] not in ("suffix", "host") or not fields[2]:
            sys.exit(f"{path}:{number}: not NAME<TAB>suffix|host<TAB>WHAT")
        name = fields[0]
        if name != name.lower() or name.strip(".") != name or '"' in line:
            sys.exit(f"{path}:{number}: {name}: not a canonical name")
        if (name, fields[1]) in rows:
            sys.exit(f"{path}:{number}: {name} twice")
        rows[name, fields[1]] = fields[2]
    return rows


def main(path, out):
    with open(out, "w", encoding="ascii") as f:
        f.write("/* Made by gen_multitenant.py from multitenant.tsv: do not edit. */\n")
        f.write("static const struct shared_name shared_names[] = {\n")
        for (name, kind), what in sorted(read(path).items()):
            f.write(f'\t{{ "{name}", {str(kind == "host").lower()}, "{what}" }},\n')
        f.write("};\n")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(sys.argv[1], sys.argv[2])
