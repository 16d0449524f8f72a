# SPDX-License-Identifier: Apache-2.0
"""check_schema.py SCHEMA RECORD: every line against the schema; exit 77: no jsonschema."""
import json
import sys

try:
    import jsonschema
except ImportError:
    sys.exit(77)

schema = json.load(open(sys.argv[1], encoding="utf-8"))
cls = jsonschema.Draft202012Validator
cls.check_schema(schema)
check = cls(schema)
kinds = set()
for n, line in enumerate(open(sys.argv[2], encoding="ascii"), 1):
    event = json.loads(line)
    kinds.add(event["kind"])
    for e in check.iter_errors(event):
        sys.exit("line %d: %s at %s" % (n, e.message, list(e.absolute_path)))
missing = set(schema["properties"]["kind"]["enum"]) - kinds
if missing:
    sys.exit("no line of kind %s" % ", ".join(sorted(missing)))
# A schema that takes everything would prove nothing.
for change in ({"kind": "flw"}, {"seq": 0}, {"time": "now"}, {"verdict": "maybe"}, {"hash": "0"},
               {"from": "guest"}, {"_schema": "weir.audit/v2"}):
    if check.is_valid({**event, **change}):
        sys.exit("accepted: %s" % change)
