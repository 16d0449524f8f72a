# SPDX-License-Identifier: Apache-2.0
"""policy.schema.json at work, on the documents that the loader is tried on too; exit 77: a module is missing."""
import json
import re
import sys

try:
    import jsonschema
    import tomllib
    import yaml
except ImportError:
    sys.exit(77)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


schema = json.loads(read("policy/policy.schema.json"))
cls = jsonschema.Draft202012Validator
cls.check_schema(schema)
policy = cls({**schema, "oneOf": [{"$ref": "#/$defs/policy"}]})

cases = json.loads(read("tests/unit/policy/schema_cases.json"))
for case in cases["valid"]:
    for e in policy.iter_errors(case):
        sys.exit("refused: %s: %s" % (json.dumps(case), e.message))
for case in cases["invalid"]:
    if policy.is_valid(case):
        sys.exit("taken: %s" % json.dumps(case))

# One model, whatever it is spelt in: the same documents, and they fit.
blocks = re.search(r"## Spellings\n(.*?)\nA scalar", read("policy/README.md"), re.S).group(1)
shown = [re.sub(r"^    ", "", b, flags=re.M) for b in re.findall(r"(?:^    .*\n)+", blocks, re.M)]
if len(shown) != 3:
    sys.exit("policy/README.md: %d spellings found" % len(shown))
spelt = [json.loads(shown[0]), yaml.safe_load(shown[1]), tomllib.loads(shown[2])]
if spelt[0] != spelt[1] or spelt[0] != spelt[2]:
    sys.exit("policy/README.md: the spellings differ: %s" % spelt)
corpus = "fuzz/corpus/policy_"
both = [yaml.safe_load(read(corpus + "yaml/all")), tomllib.loads(read(corpus + "toml/all"))]
if both[0] != both[1]:
    sys.exit("%s{yaml,toml}/all differ" % corpus)
for document in spelt + both:
    for e in policy.iter_errors(document):
        sys.exit("refused: %s: %s" % (json.dumps(document), e.message))
