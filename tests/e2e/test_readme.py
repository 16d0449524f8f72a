# SPDX-License-Identifier: Apache-2.0
"""The README's examples, run as they are printed: what is shown is what comes."""

import os
import re
import subprocess

import pytest

from conftest import SLACK, TOP

with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
    README = f.read()
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.S | re.M)
# A block that begins with a policy needs it and its agent; the other one writes its own files.
WORKFLOW = [b for b in BLOCKS if "weir policy suggest" in b]
# What no two runs have in common.
CHANGES = re.compile(r"[a-z0-9]{8}-[gt][0-9]+|[0-9]+\.[0-9]{3}s?")


def steps(block):
    """Pairs of a command and the lines that are shown after it."""
    parts = re.split(r"^\$ ", block, flags=re.M)[1:]
    return [(p.split("\n")[0], [x for x in p.split("\n")[1:] if x.strip() not in ("", "...")])
            for p in parts]


def test_workflow_is_as_shown(weir):
    assert len(WORKFLOW) == 1, "README.md: the workflow is gone"
    for name in ("weir",):
        wrapper = os.path.join(weir.tmp, "bin", name)
        os.mkdir(os.path.dirname(wrapper))
        with open(wrapper, "w", encoding="utf-8") as w:
            w.write('#!/bin/sh\nexec %s "$@"\n' % weir.program)
        os.chmod(wrapper, 0o755)
    # curl has to trust the lab's servers.
    env = {**os.environ, "PATH": os.path.join(weir.tmp, "bin") + ":" + os.environ["PATH"],
           "CURL_CA_BUNDLE": os.environ["LAB_CA"]}
    for command, shown in steps(WORKFLOW[0]):
        p = subprocess.run(["sh", "-c", command], cwd=weir.tmp, env=env, capture_output=True, text=True,
                           check=False, timeout=30 * SLACK)
        came = [CHANGES.sub("", x) for x in (p.stdout + p.stderr).splitlines()]
        for line in shown:
            assert CHANGES.sub("", line) in came, (command, line, p)


@pytest.mark.parametrize("line", [x.strip() for x in re.findall(r"^    (weir [a-z].*)", README, re.M)])
def test_commands_exist(weir, line):
    """Each command of the lists is one that its help names."""
    words = line.split()[1:3]
    p = weir.call("help", words[0])
    assert p.returncode == 0 and " ".join(words[:1 if words[0] != "policy" else 2]) in p.stdout, p
    for option in re.findall(r"--[a-z-]+", line):
        sub = weir.call(*words[:2 if words[0] == "policy" else 1], "--help")
        assert option in sub.stdout, (option, line)
