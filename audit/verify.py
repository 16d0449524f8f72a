#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is a record whole? verify.py FILE - without any part of weir."""
import hashlib, json, sys
run, prev = None, ""
for number, line in enumerate(open(sys.argv[1], encoding="ascii", newline="\n"), 1):
    e = json.loads(line)
    if e["run"] != run:
        run, prev, seq = e["run"], "0" * 64, 0
    bare = line.rstrip("\n").removesuffix(',"hash":"%s"}' % e["hash"]) + "}"
    seq, good = seq + 1, hashlib.sha256(bare.encode()).hexdigest()
    if (e["hash"], e["prev"], e["seq"]) != (good, prev, seq):
        sys.exit("line %d does not hold" % number)
    prev = e["hash"]
print("intact")
