# SPDX-License-Identifier: Apache-2.0
"""The schemas of policy and configuration at work; exit 77: no jsonschema.

usage: check_schema.py [FILE]: also write what the schema refused to FILE
"""
import json
import re
import sys

try:
    import jsonschema
except ImportError:
    sys.exit(77)


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


config, policy = load("weir/config.schema.json"), load("policy/policy.schema.json")
resolver = jsonschema.RefResolver(config["$id"], config, store={policy["$id"]: policy})
cls = jsonschema.Draft202012Validator
for schema in (config, policy):
    cls.check_schema(schema)
is_config = cls(config, resolver=resolver)
is_policy = cls(policy)


def undescribed(node, top, path=""):
    """Properties without a text, neither of their own nor of what they refer to."""
    if isinstance(node, list):
        for i, v in enumerate(node):
            yield from undescribed(v, top, "%s/%d" % (path, i))
        return
    if not isinstance(node, dict):
        return
    for key, v in node.items():
        if key in ("if", "then", "not", "anyOf", "allOf", "examples"):
            continue  # conditions, not places where a key is told of
        if key == "properties":
            for name, p in v.items():
                ref = p.get("$ref", "")
                there = top["$defs"].get(ref[len("#/$defs/"):], {}) if ref.startswith("#/") else {}
                if not (p.get("description") or there.get("description")):
                    yield path + "/" + name
        yield from undescribed(v, top, path + "/" + key)


for schema in (config, policy, load("audit/schema.json")):
    for where in undescribed(schema, schema):
        sys.exit("%s: no description of %s" % (schema["title"], where))

for example in config["examples"]:
    for e in is_config.iter_errors(example):
        sys.exit("example %s: %s" % (example, e.message))

# What is shown to people fits as well.
for path in ("demo/policy.json",):
    if not is_policy.is_valid(load(path)) or not is_config.is_valid(load(path)):
        sys.exit("%s does not fit the schema" % path)
with open("README.md", encoding="utf-8") as f:
    readme = f.read()
shown = re.findall(r'\{ ?"policy": .*?\n(?=\$|\n)', readme, re.S)
if len(shown) < 2:
    sys.exit("README.md: %d policies found" % len(shown))
for text in shown:
    if not is_policy.is_valid(json.loads(text)):
        sys.exit("README.md: does not fit the schema: " + text)

KEY = {"env": "K", "hosts": ["a.com"]}
BAD = [
    [], None, {"polcy": {}}, {"policy": 5}, {"policy": "publc"}, {"policy": {"ruls": []}},
    {"dns": []}, {"dns": {"server": []}}, {"dns": {"servers": ["localhost"]}},
    {"dns": {"answers": "fake"}}, {"dns": {"timeout_ms": 1}}, {"dns": {"records": {"a.b": []}}},
    {"dns": {"records": {"a.b": "c.d"}}}, {"tls": {"intercept": "yes"}}, {"tls": {"ports": [0]}},
    {"tls": {"ports": [53]}}, {"tls": {"ports": ["443"]}}, {"tls": {"bypass": ["http://a.com"]}},
    {"tls": {"upstream_ca": [""]}}, {"tls": {"ports": "all"}}, {"tls": {"ca": {"cert": "a"}}},
    {"tls": {"ca": "a"}}, {"tls": {"name_constraints": "on"}}, {"tls": {"upstream": [{}]}},
    {"tls": {"upstream": [{"host": "a.com", "pins": ["x"]}]}}, {"tls": {"ca_hours": 0}},
    {"tls": {"upstream": [{"host": "a.com", "certificate": "x"}]}}, {"tls": {"http2": 1}}, {"secrets": {}}, {"secrets": [{}]}, {"secrets": [{"env": "K"}]},
    {"secrets": [{**KEY, "value": "x"}]}, {"secrets": [{**KEY, "env": "1K"}]},
    {"secrets": [{**KEY, "hosts": []}]}, {"secrets": [{**KEY, "hosts": ["*"]}]},
    {"secrets": [{**KEY, "hosts": ["https://a.com"]}]}, {"secrets": [{**KEY, "at": ["cookie"]}]},
    {"secrets": [{**KEY, "at": []}]}, {"secrets": [{**KEY, "from": "hunter2hunter2"}]},
    {"secrets": [{**KEY, "from": {}}]}, {"secrets": [{**KEY, "from": {"env": "A", "fd": 3}}]},
    {"secrets": [{**KEY, "from": {"env": "A", "ttl": 3}}]}, {"secrets": [{**KEY, "from": {"file": "a", "refresh": 3}}]},
    {"secrets": [{**KEY, "from": {"command": "a", "refresh": 0}}]}, {"limits": {"tlsproxy_restarts": -1}},
    {"secrets": [{**KEY, "from": "file:"}]}, {"secrets": [{**KEY, "on_violation": "ignore"}]},
    {"secrets": [{**KEY, "token": {}}]}, {"secrets": [{**KEY, "token": {"url": "http://a.b/c"}}]},
    {"secrets": [{**KEY, "token": {"url": "https://a.b/c", "grant": "password"}}]},
    {"secrets": [{**KEY, "sign": {}}]}, {"secrets": [{**KEY, "sign": "hmac"}]},
    {"secrets": [{**KEY, "sign": {"type": "aws_sigv4"}}]}, {"secrets": [{**KEY, "sign": {"type": "hmac"}}]},
    {"secrets": [{**KEY, "sign": {"type": "hmac", "header": "X S"}}]},
    {"secrets": [{**KEY, "sign": {"type": "hmac", "header": "X", "algorithm": "md5"}}]},
    {"secrets": [{**KEY, "sign": {"type": "aws_sigv4", "access_key_id": "A", "region": "x"}}]},
    {"limits": {"max_connections": 0}}, {"limits": {"max_connection": 5}}, {"publish": [80]},
    {"limits": {"memory": 1000000}}, {"limits": {"memory": "64"}}, {"limits": {"egress": "10mbit"}},
    {"limits": {"egress": {}}}, {"limits": {"egress": {"bandwidth": 10}}},
    {"limits": {"ingress": {"bandwidth": "10mbps"}}}, {"limits": {"egress": {"burst": "64KiB"}}},
    {"limits": {"egress": {"packets": 0}}},
    {"proxy": {"auth": "env:A"}}, {"proxy": {"url": "socks5://a:b@h:1"}}, {"proxy": {"url": "socks6://h:1"}},
    {"proxy": {"url": "http://h"}}, {"proxy": {"url": "http://h:1", "udp": "yes"}},
    {"proxy": {"url": "http://h:1", "auth": "secret"}},
    {"publish": ["80"]}, {"publish": ["80:80/sctp"]}, {"audit": {"path": "x"}}, {"audit": {"file": ""}},
]
for bad in BAD:
    if is_config.is_valid(bad):
        sys.exit("accepted: %s" % json.dumps(bad))

# For the reader, which has to refuse them as well.
if len(sys.argv) > 1:
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump(BAD, f)
