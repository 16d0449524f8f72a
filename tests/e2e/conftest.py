# SPDX-License-Identifier: Apache-2.0
"""The end-to-end tests run weir inside the lab, with real clients.

    python3 -m pytest tests/e2e            starts itself anew inside the lab
    WEIR=build-asan/bin/weir python3 -m pytest tests/e2e
    python3 -m pytest --backend qemu tests/e2e      in machines instead of namespaces

WEIR: the program (default build/bin/weir). WEIR_E2E_BYTES: size of the big
transfers (default 1 GiB). WEIR_E2E_SLACK: factor on every time limit.
"""

import glob
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
LAB = os.path.join(TOP, "tests", "lab")
sys.path.insert(0, LAB)

import h2lab

WEIR = os.path.abspath(os.environ.get("WEIR", os.path.join(TOP, "build", "bin", "weir")))
SLACK = float(os.environ.get("WEIR_E2E_SLACK", "1"))
# A machine without KVM takes seconds to boot, and what runs in it is some five times slower.
MACHINE_SLACK = 4


def sanitized():
    """Is this the sanitizer build? Its runtime keeps copies of what it saw, the environment too."""
    with open(WEIR, "rb") as f:
        return b"__asan_init" in f.read()


def pytest_addoption(parser):
    parser.addoption("--weir-user", help="an ordinary user who runs weir (the lab is root's)")
    parser.addoption("--backend", choices=("netns", "qemu"), default="netns",
                     help="what sandboxes are: namespaces (netns), or machines (qemu)")
    parser.addoption("--part", metavar="I/N", help="only the I-th of N parts of about the same size")


def pytest_cmdline_main(config):
    """Outside the lab: become the same pytest inside it."""
    if os.environ.get("LAB") and not config.option.basetemp:
        # Not /tmp: one test looks there for what others keep in their files.
        config.option.basetemp = os.path.join(os.environ["LAB_TMP"], "pytest")
    if os.environ.get("LAB") or config.option.collectonly or config.option.help:
        return
    config.pluginmanager.getplugin("capturemanager").stop_global_capturing()
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    os.execv(python, [python, os.path.join(LAB, "lab.py"), "run", "--", python, "-B", "-m", "pytest",
                      "-p", "no:cacheprovider", "--basetemp=/media/lab/tmp/pytest",
                      *config.invocation_params.args])


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "user: is also run by an ordinary user")
    config.addinivalue_line("markers", "netns(why): about namespaces alone, not run with --backend qemu")
    config.addinivalue_line("markers", "machine: is also run with --backend qemu in CI")
    if config.option.backend == "qemu":
        if config.option.weir_user:
            raise pytest.UsageError("--weir-user: with --backend netns only; the machine's image is this user's")
        global SLACK  # before the tests' modules, which import it, are there
        SLACK *= MACHINE_SLACK


def pytest_collection_modifyitems(config, items):
    if config.option.backend == "qemu":
        config.hook.pytest_deselected(items=[i for i in items if i.get_closest_marker("netns")])
        items[:] = [i for i in items if not i.get_closest_marker("netns")]
    take_part(config, items)


def take_part(config, items):
    """Whole files go to the part that has least so far, large ones first."""
    if not config.option.part:
        return
    part, parts = map(int, config.option.part.split("/"))
    sizes = {}
    for item in items:
        sizes[item.path] = sizes.get(item.path, 0) + 1
    loads, mine = [0] * parts, set()
    for path in sorted(sizes, key=lambda p: (-sizes[p], p)):
        least = loads.index(min(loads))
        loads[least] += sizes[path]
        if least == part - 1:
            mine.add(path)
    config.hook.pytest_deselected(items=[i for i in items if i.path not in mine])
    items[:] = [i for i in items if i.path in mine]


class Result:
    """How one `weir run` went."""

    def __init__(self, rc, out, err, seconds, audit):
        self.rc, self.out, self.err, self.seconds = rc, out, err, seconds
        self.audit_path = audit
        # In the sanitizer build every complaint is a failure, whatever the test was about.
        assert "Sanitizer" not in err and "runtime error:" not in err, repr(self)

    @property
    def json(self):
        """What guest.py reported."""
        lines = [x for x in self.out.splitlines() if x.startswith(("{", "["))]
        assert lines, "no report: %r" % self
        return json.loads(lines[-1])

    @property
    def events(self):
        if not os.path.exists(self.audit_path):
            return []
        with open(self.audit_path, encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def find(self, kind, **want):
        """Events of one kind whose members have these values."""
        return [e for e in self.events if e.get("kind") == kind and
                all(e.get(k) == v for k, v in want.items())]

    @property
    def record(self):
        with open(self.audit_path, "rb") as f:
            return f.read()

    def __repr__(self):
        events = [{k: v for k, v in e.items() if k not in ("_schema", "prev", "hash", "run")}
                  for e in self.events[-12:]]
        return "rc %d after %.2f s\nout: %s\nerr: %s\nrecord: %s" % (
            self.rc, self.seconds, self.out[-3000:], self.err[-3000:],
            "\n  ".join(json.dumps(e) for e in events))


# Names below example.com and nothing else; evil.example.net is outside.
EXAMPLE = {"policy": {"default_egress": "deny", "rules": [
    {"id": "example", "action": "allow", "destination": ".example.com"}]}}


class Weir:
    def __init__(self, tmp, lab, user, machine=None):
        self.tmp, self.lab, self.n = tmp, lab, 0
        self.program, self.prefix = WEIR, []
        self.inside, self.backend = machine, "qemu" if machine else "netns"
        if user:
            # The sources may lie where that user cannot go.
            self.program = os.path.join(lab.tmp, "weir")
            if not os.path.exists(self.program):
                shutil.copy(WEIR, self.program)
            who = pwd.getpwnam(user)
            os.chown(tmp, who.pw_uid, who.pw_gid)
            self.prefix = ["setpriv", "--reuid=%d" % who.pw_uid, "--regid=%d" % who.pw_gid,
                           "--clear-groups", "env", "HOME=" + tmp]

    def path(self, name):
        self.n += 1
        return os.path.join(self.tmp, "%d-%s" % (self.n, name))

    def file(self, name, content):
        p = self.path(name)
        with open(p, "w", encoding="utf-8") as f:
            f.write(content if isinstance(content, str) else json.dumps(content, indent=1))
        return p

    def argv(self, command, policy=EXAMPLE, flags=(), audit=None, intercept=None, env=None):
        argv = [*self.prefix, self.program, "run", "--backend", self.backend]
        if isinstance(policy, dict):
            argv += ["--policy", self.file("policy.json", policy)]
        elif policy:
            argv += ["--policy", policy]
        if intercept:
            argv += ["--tls-intercept"]
        # The lab's servers have certificates of the lab's CA.
        argv += ["--upstream-ca", os.environ["LAB_CA"], "--audit", audit]
        if self.inside:
            argv += self.inside.for_command(self, command, env)
            command = self.inside.patient(command)
        return argv + list(flags) + ["--"] + list(command)

    def environment(self, env):
        e = {k: v for k, v in os.environ.items()
             if not k.startswith(("PYTEST", "CURL_", "SSL_CERT", "REQUESTS_"))}
        e.update(env or {})
        return e

    def run(self, *command, policy=EXAMPLE, flags=(), intercept=None, stdin=None, env=None,
            timeout=60):
        """Run a command in a sandbox to its end."""
        audit = self.path("audit.jsonl")
        argv = self.argv(command, policy, flags, audit, intercept, env)
        t0 = time.monotonic()
        try:
            p = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout * SLACK,
                               env=self.environment(env), check=False,
                               stdin=subprocess.DEVNULL if stdin is None else None)
        except subprocess.TimeoutExpired as e:
            pytest.fail("still running after %d s: %s\n%s" % (
                timeout * SLACK, argv, (e.stderr or b"").decode("utf-8", "replace")[-3000:]))
        r = Result(p.returncode, p.stdout.decode("utf-8", "replace"),
                   p.stderr.decode("utf-8", "replace"), time.monotonic() - t0, audit)
        print(repr(r))  # shown when the test fails; pytest cuts an assertion's own text
        return r

    def sh(self, script, **kw):
        return self.run("sh", "-c", script, **kw)

    def guest(self, *args, **kw):
        """Run one of guest.py's clients; .json is its report."""
        return self.run("/usr/bin/python3", "-B", self.lab.guest, *map(str, args), **kw)

    def start(self, *command, policy=EXAMPLE, flags=(), intercept=None, env=None, audit=None,
              **kw):
        """Start one and hand out the process; .audit_path is its record."""
        audit = audit or self.path("audit.jsonl")
        kw = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
              "stderr": subprocess.PIPE, **kw}
        p = subprocess.Popen(self.argv(command, policy, flags, audit, intercept, env),
                             env=self.environment(env), **kw)
        p.audit_path = audit
        return p

    def call(self, *args, timeout=20, stdin=None):
        """Any other weir command."""
        return subprocess.run([self.program, *args], capture_output=True, text=True, input=stdin,
                              timeout=timeout * SLACK, check=False)

    def call_as(self, *args, timeout=20, **kw):
        """The same as the user who runs the sandboxes."""
        return subprocess.run([*self.prefix, self.program, *args], capture_output=True, text=True,
                              timeout=timeout * SLACK, check=False, env=self.environment(None),
                              stdin=subprocess.DEVNULL, **kw)


class Lab:
    """What the lab's servers saw."""

    def __init__(self):
        self.token = os.environ["LAB_TOKEN"]
        self.ca = os.environ["LAB_CA"]
        self.log = os.environ["LAB_LOG"]
        self.tmp = os.environ["LAB_TMP"]
        self.guest = os.path.join(self.tmp, "guest.py")
        for f in (os.path.join(HERE, "guest.py"), os.path.join(LAB, "data.py")):
            shutil.copy(f, self.tmp)
        self.mark = 0

    def seen(self, kind=None, **want):
        """Log entries since the test began."""
        with open(self.log, "rb") as f:
            f.seek(self.mark)
            entries = [json.loads(line) for line in f]
        return [e for e in entries if (kind is None or e["kind"] == kind) and
                all(e.get(k) == v for k, v in want.items())]

    def seen_text(self):
        with open(self.log, "rb") as f:
            f.seek(self.mark)
            return f.read().decode()

    def asked(self, part=""):
        """Names the DNS server was asked for."""
        return [e["name"] for e in self.seen("dns") if part in e.get("name", "").lower()]


@pytest.fixture(scope="session")
def lab_session():
    return Lab()


@pytest.fixture(scope="session")
def h2_session(lab_session):
    """The HTTP/2 origin, for the tests that ask for it; see ../lab/README.md."""
    why = h2lab.missing()
    if why:
        pytest.skip(why)
    server = h2lab.Server(lab_session.tmp, lab_session.log)
    yield server
    server.stop()


@pytest.fixture
def h2(h2_session, lab):
    """.seen(...): the requests that h2.example.com and its like saw since the test began; .static:
    a folder that they serve below /static/; .websocket, .zstd: whether they can."""
    h2_session.seen = lambda kind="h2", **want: lab.seen(kind, **want)
    return h2_session


@pytest.fixture
def lab(lab_session):
    lab_session.mark = os.path.getsize(lab_session.log)
    return lab_session


class Schema:
    """audit/schema.json, tried on each form of line that any test's record has."""

    def __init__(self):
        self.seen = set()
        try:
            import jsonschema
        except ImportError:
            self.check = None
            return
        with open(os.path.join(TOP, "audit", "schema.json"), encoding="utf-8") as f:
            self.check = jsonschema.Draft202012Validator(json.load(f))

    @staticmethod
    def as_written(line):
        """Some tests change lines afterwards: those are not weir's."""
        own = line.rfind(b',"hash":"')
        return own > 0 and line[own:] == b',"hash":"%s"}' % hashlib.sha256(
            line[:own] + b"}").hexdigest().encode()

    def try_record(self, path):
        with open(path, "rb") as f:
            lines = [x for x in f.read().split(b"\n") if self.as_written(x)]
        for e in map(json.loads, lines):
            form = (tuple(e), *(e.get(k) for k in ("kind", "event", "verdict", "result", "outcome",
                                                   "transport", "observed", "name_from", "place")))
            if form in self.seen:
                continue
            self.seen.add(form)
            for bad in self.check.iter_errors(e):
                pytest.fail("audit/schema.json: %s in %s" % (bad.message, json.dumps(e)))


@pytest.fixture(scope="session")
def schema():
    return Schema()


@pytest.fixture(scope="session")
def machine(request):
    """None for namespaces."""
    if request.config.option.backend == "netns":
        return None
    from machine import Machine
    machine = Machine(WEIR)
    os.environ["XDG_CACHE_HOME"] = machine.cache  # also for tests that start weir by a shell
    return machine


@pytest.fixture
def weir(tmp_path, lab, request, schema, machine):
    os.chmod(tmp_path, 0o1777)
    for p in (tmp_path.parent, tmp_path.parent.parent):
        os.chmod(p, 0o755)
    yield Weir(str(tmp_path), lab, request.config.getoption("--weir-user"), machine)
    if schema.check:
        for record in glob.glob(os.path.join(str(tmp_path), "*-audit.jsonl")):
            schema.try_record(record)


def masked(value):
    return bytes(b ^ 0x5A for b in value.encode()).hex()


def wait_for(what, seconds=5):
    """Poll until what() is true; its last value."""
    end = time.monotonic() + seconds * SLACK
    while True:
        v = what()
        if v or time.monotonic() > end:
            return v
        time.sleep(0.02)
