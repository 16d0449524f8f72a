# SPDX-License-Identifier: Apache-2.0
"""The README's examples, run as they are printed: what is shown is what comes."""

import json
import os
import re
import subprocess

import pytest

from conftest import SLACK, TOP

pytestmark = pytest.mark.netns("calls weir itself, with --backend netns")

with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
    README = f.read()
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.S | re.M)
# What no two runs have in common: ids, times, keys and what stands for them.
CHANGES = re.compile(r"[a-z0-9]{8}-[gt][0-9]+|[0-9]+\.[0-9]{3}s?|\b[a-z0-9-]{4}[a-z0-9]{40}\b")
OPTIONS = [x.split("   #")[0].split(" #")[0].strip() for x in re.findall(r"^    (--[a-z].*)", README, re.M)]
SECRETS = [json.loads('{' + x + '}') for x in re.findall(r'^    ("secrets": \[.*?\] *)\n\n', README, re.S | re.M)]
AGENT = """
echo "my key is $API_KEY"
for path in v1/me admin; do
	curl -sS -H "Authorization: Bearer $API_KEY" https://api.example.com/$path
	echo
done
curl -sS https://evil.example.net/
"""


def steps(block):
    """Pairs of a command and the lines that are shown after it."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command = re.match(r".*\n(> .*\n)*", part)[0]
        yield (command.replace("\n> ", "\n").strip(),
               [x for x in part[len(re.match(r".*\n(> .*\n)*", part)[0]):].split("\n") if x.strip() not in ("", "...")])


def plain(line):
    """Without what changes; of the record's lines neither numbers nor the width of columns."""
    if re.match(r" +[0-9]+\.[0-9]{3} ", line):
        line = re.sub(r"\b[0-9]+(\.[0-9]+)?k?\b", "", CHANGES.sub("", line))
    return " ".join(CHANGES.sub("", line).split())


def came(line, lines):
    """Is a line that is shown, its dots standing for anything, among those that came?"""
    pattern = ".*".join(re.escape(x.strip()) for x in plain(line).split("..."))
    return any(re.fullmatch(pattern, plain(x)) for x in lines)


def write(weir, name, content):
    path = os.path.join(weir.tmp, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture(name="shell")
def fixture_shell(weir, lab):
    """Runs a command as a user of the README would: weir in PATH, the lab's servers trusted."""
    wrapper = os.path.join(weir.tmp, "bin", "weir")
    os.mkdir(os.path.dirname(wrapper))
    with open(wrapper, "w", encoding="utf-8") as w:
        w.write('#!/bin/sh\n[ "$1" != run ] || { shift; set -- run --upstream-ca "$LAB_CA" "$@"; }\n'
                'exec %s "$@"\n' % weir.program)
    os.chmod(wrapper, 0o755)
    env = {**os.environ, "PATH": os.path.dirname(wrapper) + ":" + os.environ["PATH"],
           "XDG_STATE_HOME": os.path.join(weir.tmp, "state")}

    def run(command, **more):
        return subprocess.run(["sh", "-c", command.replace("lab-5b0e443a2267f2980f061c04886b296c819a57eb", lab.token)],
                              cwd=weir.tmp, env={**env, **more}, capture_output=True, text=True, check=False,
                              timeout=60 * SLACK)
    return run


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.split("\n")[0][2:24])
def test_examples_are_as_shown(weir, shell, block):
    # A block that begins with showing a policy has it, and its agent; the others write their own files.
    first, shown = next(steps(block))
    if first == "cat agent.json":
        write(weir, "agent.json", json.loads("\n".join(shown)))
        write(weir, "agent.sh", AGENT)
    exported = {}
    for command, shown in steps(block):
        if command == "cat agent.json":
            continue
        if command.startswith("export "):
            exported.update([command[len("export "):].split("=")])
            continue
        # Where TLS is not read, curl has to trust the lab's servers itself.
        trust = {} if "API_KEY" in command or "agent.sh" in command else {"CURL_CA_BUNDLE": os.environ["LAB_CA"]}
        values = {k: os.environ["LAB_TOKEN"] if v.startswith("lab-") else v for k, v in exported.items()}
        p = shell(command, **trust, **values)
        lines = (p.stdout + p.stderr).splitlines()
        for line in shown:
            assert came(line, lines), (command, line, p)


@pytest.fixture(name="files")
def fixture_files(weir):
    """The files that options and configurations of the README name."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=weir.tmp, check=True, capture_output=True)
    for name in ("ca", "agent"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
                "-subj", "/CN=" + name, "-keyout", name + ".key", "-out", name + ".pem",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign" if name == "ca" else "keyUsage=digitalSignature")
    with open(os.environ["LAB_CA"], encoding="utf-8") as f:
        write(weir, "corp.pem", f.read())
    for name in ("api", "aws.id", "aws.key", "hook.key", "client.secret"):
        os.chmod(write(weir, name, "AKIA" + os.urandom(20).hex()), 0o600)


@pytest.mark.parametrize("options", OPTIONS)
def test_options_are_taken(weir, shell, files, options):
    """Each example of an option starts a sandbox, alone."""
    options = options.replace("/run/keys", weir.tmp)
    if options.startswith(("--tls", "--no-http2", "--upstream")):
        options += " --tls-intercept"
    if "constraints policy" in options:
        options += " --net-rule allow@api.example.com --no-net"
    p = shell("weir run --backend netns %s -- true" % options, API_KEY="0123456789abcdefghij")
    assert p.returncode == 0, (options, p)
    assert not re.search("error|warning", p.stderr) or "no-verify" in options or "plain-http" in options, p


@pytest.mark.parametrize("config", SECRETS, ids=lambda c: c["secrets"][0]["env"])
def test_secrets_of_files_are_taken(weir, shell, files, config):
    write(weir, "c.json", config)
    p = shell("weir run --backend netns --config c.json -- true", API_KEY="0123456789abcdefghij")
    assert p.returncode == 0, p


@pytest.mark.parametrize("line", [x.strip() for x in re.findall(r"^    (weir [a-z].*)", README, re.M)])
def test_commands_exist(weir, line):
    """Each command of the lists is one that its help names."""
    words = line.split()[1:3]
    p = weir.call("help", words[0])
    assert p.returncode == 0 and " ".join(words[:1 if words[0] != "policy" else 2]) in p.stdout, p
    for option in re.findall(r"--[a-z-]+", line):
        sub = weir.call(*words[:2 if words[0] == "policy" else 1], "--help")
        assert option in sub.stdout, (option, line)
