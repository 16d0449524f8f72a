# SPDX-License-Identifier: Apache-2.0
"""Any process killed at any moment: the others end, nothing is left, the record says what happened.

What is drawn and how a case is repeated: kills.py.
"""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import kills
import test_vmm
from conftest import SLACK, sanitized, wait_for
from kills import BOUND, KILL, TERM, all_gone, cases, last_run, names
from test_microvm import LINUX, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.netns("starts each kind of run itself")]

# Until told to end; a request now and then.
LOOP = ["sh", "-c", "while :; do curl -sS -m 2 %s://api.example.com/ >/dev/null; sleep 0.05; done"]
CONTROL = "/run/weir"


@pytest.fixture(scope="module", autouse=True)
def orphans():
    kills.adopt(True)
    yield
    kills.adopt(False)


@pytest.fixture
def world(weir, lab):
    home = weir.path("home")
    os.makedirs(CONTROL, 0o700, exist_ok=True)
    os.mkdir(home)
    return kills.World(home, CONTROL, home)


# ---- one run -------------------------------------------------------------------------------------


class Run:
    """One that was started, to be killed."""

    def __init__(self, weir, world, case, argv, record, env=None):
        self.weir, self.world, self.case, self.record = weir, world, case, record
        self.said = weir.path("said")
        with open(self.said, "wb") as f:
            self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                                      env=weir.environment({**world.env, **(env or {})}))

    def supervisor(self):
        return self.p.pid

    def words(self):
        return kills.read(self.said)

    def people(self):
        return self.world.run()

    def check(self, true, *what):
        if not true:
            events, _ = last_run(self.record)
            pytest.fail("\n".join([repr(self.case), *map(str, what), "status %s" % self.p.returncode,
                                   "said: " + self.words()[-2000:], "record: " + json.dumps(events[-6:])]))

    def end(self):
        """It was hit, or not: now it ends, by itself or when asked to."""
        self.p.send_signal(TERM)

    def clear(self):
        for p in self.world.run():
            p.send(KILL)
        self.p.kill()
        self.p.wait()
        self.world.reap(())


def must_end(hit):
    """Whose death ends a run. pid 1 of a namespace hears nothing but SIGKILL."""
    return any(p.name == "weir-gateway" or (p.name in ("weir-init", "qemu-system-x86") and number == KILL)
               for p, number in hit)


def strike(run, case, at_once=lambda: None):
    """Hits it; returns who was hit when all is over. at_once: done as soon as the supervisor is dead."""
    hit, still = case.strike(run.people())
    asked = False
    begun = names(last_run(run.record)[0], "begin")
    try:
        own = [p for p, _ in hit if p.pid == run.supervisor()]
        # At the start each waits for the next; later nobody waits for one that stands still.
        if still and (still.pid == run.supervisor() or not begun or not must_end(hit) or case.chance(0.7)):
            time.sleep(case.rng.choice((0, 0.05, 0.3)))
            still.send(signal.SIGCONT)
            case.note("it goes on")
        if not own and not must_end(hit):
            wait_for(lambda: not run.people(), 0.25 * case.rng.random() / SLACK)
            asked = bool(run.people())
            if asked:
                case.note("asked to end")
                run.end()
        if any(number == KILL for p, number in hit if p.pid == run.p.pid):
            run.p.wait(BOUND * SLACK)
            at_once()
        run.check(all_gone(run.world), "is left: %r" % run.people())
        run.p.wait(BOUND * SLACK)
    finally:
        run.world.reap((run.p.pid,))
    return hit, asked


def check_status(run, hit, asked, started=143):
    """Each end has its own status; two at once have either's."""
    allowed, own = set(), [n for p, n in hit if p.pid == run.supervisor()]
    for number in own:
        allowed.add(-number)
    if TERM in own or asked:
        allowed |= {-TERM, started, 125}
    for p, number in hit:
        if p.pid == run.supervisor():
            continue
        if p.name.startswith("weir") or p.name.startswith("qemu"):
            allowed |= {125, 137} if p.name == "weir-init" else {125}
        else:
            allowed |= {128 + number, 125}
    run.check(run.p.returncode in allowed or not hit, "status not one of %s" % sorted(allowed))
    return bool(own)


def check_record(run, hit, own):
    events, whole = last_run(run.record)
    run.check(whole or own, "the record's last line is cut off")
    if not events:
        # What a machine is made of is made before there is a record.
        run.check(own or run.p.returncode < 0 or not hit or {p.name for p, _ in hit} == {"weir-image"} or
                  "weir-image was killed" in run.words(), "no record")
        return
    shown = run.weir.call("audit", run.record)
    run.check(shown.returncode == 0 or (own and not whole), shown.stdout[-1000:], shown.stderr)
    if run.p.returncode < 0:
        return
    why = names(events, "failed")
    # What helpers say last may stand behind a failure, never behind an end.
    run.check(why or (events[-1]["kind"], events[-1].get("event")) == ("run", "end"), "no end")
    run.check(run.p.returncode != 125 or why, "the record does not say why")
    who = {p.name for p, n in hit if p.pid != run.supervisor()}
    if len(hit) == 1 and why and who & {"weir-gateway", "weir-tlsproxy"}:
        # A secret's command has the name of who started it until it is executed.
        run.check(any(n[5:] in why[0] for n in who) or "its command failed" in why[0],
                  "the record names somebody else")
    if len(hit) == 1 and who == {"weir-tlsproxy"} and names(events, "begin"):
        run.check(names(events, "tlsproxy_died"), "the death of the tlsproxy is not on the record")


def check_left(run, killed, but=()):
    """What a supervisor that was killed could not remove, the next command does."""
    if killed:
        run.weir.call("ps")
    left = {}

    def nothing():
        left.clear()
        left.update(run.world.left(but))
        return not left
    run.check(wait_for(nothing, 3), "is left: %s" % left)
    run.check("Sanitizer" not in run.words() and "runtime error" not in run.words(), "a sanitizer's word")


def one(run, case, started=143, but=(), last="curl", at_once=lambda: None):
    """A moment, a blow, and what must be true of what comes after."""
    try:
        case.moment(run.world, run.p, run.record, last=last)
        hit, asked = strike(run, case, at_once)
        own = check_status(run, hit, asked, started)
        check_record(run, hit, own)
        check_left(run, run.p.returncode < 0, but)
    finally:
        run.clear()


# ---- commands in namespaces -----------------------------------------------------------------------

TLS = ["--secret", "LAB_TOKEN@api.example.com"]
COMMAND = ["--secret-command", "CMD_TOKEN=sleep 0.02; echo 0123456789abcdef@api.example.com"]


# Parity: V09.
@pytest.mark.parametrize("kind, flags", [("plain", []), ("tls", ["--tls-intercept"]), ("secret", TLS),
                                         ("secrets", TLS + COMMAND)])
def test_command(weir, world, kind, flags):
    flags = ["--name", "kills", "--publish", "127.0.0.1:7999:80", *flags]
    share = {"plain": 0.3, "tls": 0.2, "secret": 0.4, "secrets": 0.1}[kind]
    loop = [LOOP[0], LOOP[1], LOOP[2] % ("http" if kind == "plain" else "https")]
    for case in cases(kind, share):
        record = weir.path("audit.jsonl")
        run = Run(weir, world, case, weir.argv(loop, flags=flags, audit=record), record)

        def again():
            """With the same name and the same port."""
            other = weir.path("audit.jsonl")
            r = Run(weir, world, case, weir.argv(["true"], flags=flags, audit=other), other)
            r.check(r.p.wait(20 * SLACK) == 0 and names(last_run(other)[0], "end"), "the next run")

        at_once = case.chance(0.3)
        one(run, case, at_once=again if at_once else lambda: None)
        if case.chance(0.2):
            again()
            check_left(run, False)


# ---- in the background -------------------------------------------------------------------------------


class Detached(Run):
    """Its starter is ours; the run is an orphan, and so ours as well."""

    name = "kills-bg"
    pid = None

    def supervisor(self):
        if self.pid is None:
            # Not a helper that has no name of its own yet: the first that is not the starter.
            ours = [p for p in self.world.run() if p.name == "weir" and p.pid != self.p.pid]
            self.pid = ours[0].pid if ours else None
        return self.pid

    def end(self):
        p = self.weir.call("rm", "--force", self.name)
        if p.returncode:
            self.case.note("not there for weir rm: %s", p.stderr.strip())
            for q in self.world.run():
                q.send(TERM)


# Parity: V09.
def test_detached(weir, world):
    for case in cases("detached", 0.3):
        record = weir.path("audit.jsonl")
        argv = weir.argv([LOOP[0], LOOP[1], LOOP[2] % "https"], flags=["--detach", "--name", Detached.name, *(
            TLS if case.chance(0.5) else [])], audit=record)
        run = Detached(weir, world, case, argv, record)
        try:
            case.moment(world, run.p, record)
            first = run.supervisor()
            hit, asked = strike(run, case)
            own = first is not None and any(p.pid == first for p, _ in hit)
            starter = any(p.pid == run.p.pid for p, _ in hit)
            if not starter:
                run.check(run.p.returncode in (0, 125) or (asked and run.p.returncode == -TERM), "the starter's status")
            events, whole = last_run(record)
            run.check(whole or own or starter, "the record's last line is cut off")
            # Its log and, when it ended by itself, its status: until weir rm.
            files = sorted(f for f in os.listdir(CONTROL) if Detached.name in f and not f.endswith(".sock"))
            over = {o["name"]: o for o in json.loads(weir.call("ps", "--all", "--json").stdout)}
            told = not starter and run.p.returncode == 125
            run.check((Detached.name in over) == bool(files) and not (told and files), files, over)
            if files and not own and names(events, "begin") and not starter:
                run.check(over[Detached.name]["status"] is not None, over)
            if files:
                run.check(weir.call("rm", Detached.name).returncode == 0, "weir rm")
            check_left(run, True)
        finally:
            run.clear()
        if case.chance(0.3):
            p = subprocess.run(weir.argv(["true"], flags=["--detach", "--name", Detached.name], audit=record),
                               capture_output=True, text=True, timeout=20 * SLACK, check=False,
                               stdin=subprocess.DEVNULL)
            run.check(p.returncode == 0, p)
            run.check(all_gone(world) and weir.call("rm", Detached.name).returncode == 0, "weir rm")


# ---- links --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stream", "dgram", "tap"])
def test_gateway(weir, world, kind):
    folder = weir.path("link")
    os.mkdir(folder)
    world.folders += (folder,)
    link = "tap:killtap0" if kind == "tap" else "%s:%s/sock" % (kind, folder)
    out = {folder + "/ca.pem", folder + "/env"}

    def argv(record):
        return [weir.program, "gateway", "--link", link, "--name", "kills-gw", "--audit", record, "--ca-out",
                folder + "/ca.pem", "--env-out", folder + "/env", *TLS]

    for case in cases("gateway " + kind, 0.15):
        record = weir.path("audit.jsonl")
        run = Run(weir, world, case, argv(record), record)
        # A name that nobody listens behind is the next gateway's to free.
        one(run, case, 0, out | {folder + "/sock"}, "weir-gateway")
        again = Run(weir, world, case, argv(record), record)
        again.check(wait_for(lambda: again.p.poll() is not None or "weir: ready" in again.words(), 20),
                    "the next one")
        again.end()
        again.check(again.p.wait(20 * SLACK) == 0, "the next one")
        check_left(again, False, out)


# ---- machines -----------------------------------------------------------------------------------------


# Parity: V09.
@pytest.mark.skipif(sanitized(), reason="an instrumented agent is no static program, and so no pid 1 of a machine")
def test_machine(weir, world, tmp_path_factory):
    if not shutil.which("qemu-system-x86_64"):
        pytest.fail("qemu-system-x86_64 is missing: sh tests/packages.sh")
    if not os.path.exists(ROOT):
        pytest.fail("the machine's kernel is missing: sh tests/e2e/guest-linux.sh build/guest-linux")
    cache = str(tmp_path_factory.mktemp("cache"))
    env = {"XDG_CACHE_HOME": cache}
    weir.backend = "qemu"
    flags = ["--kernel", LINUX + "/vmlinuz", "--modules", LINUX + "/modules", "--rootfs", ROOT, "--memory",
             "256MiB", "--name", "kills-vm"]
    # The first fills the store, unless it is killed as well: then the next one does.
    for case in cases("machine", 0.12):
        record = weir.path("audit.jsonl")
        run = Run(weir, world, case, weir.argv(["sleep", "1000"], flags=flags, audit=record), record, env)
        try:
            case.moment(world, run.p, record, 3.0, "qemu-system-x86")
            hit, asked = strike(run, case)
            own = check_status(run, hit, asked)
            check_record(run, hit, own)
            check_left(run, run.p.returncode < 0)
        finally:
            run.clear()
    r = weir.run("true", flags=flags, env=env, timeout=90)
    assert r.rc == 0, r
    left = kills.listing(cache + "/weir/tmp")
    assert not left, left


# ---- weir-vmm by itself ---------------------------------------------------------------------------------


@test_vmm.NEEDS_KVM
def test_monitor(weir, world):
    """Who started it, its first process, the one with the guest."""
    for case in cases("monitor", 0.3):
        kernel = os.open(os.path.join(test_vmm.GUESTS, "end"), os.O_RDONLY)
        run = Run.__new__(Run)
        run.weir, run.world, run.case, run.record, run.said = weir, world, case, "", weir.path("said")
        with open(run.said, "wb") as f:
            run.p = subprocess.Popen(
                ["sh", "-c", '"$@" & wait $!', "sh", test_vmm.VMM, "--memory", "64", "--kernel-fd", str(kernel),
                 "--cmdline", "how=l"], pass_fds=[kernel], stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        os.close(kernel)
        try:
            case.moment(world, run.p, "", 0.1, "weir-vmm")
            hit, still = case.strike(run.people())
            if still:
                still.send(signal.SIGCONT)
            # The guest never ends by itself.
            if not any(n == KILL for _, n in hit):
                run.p.kill()
            run.check(all_gone(world), "is left: %r" % world.run())
            check_left(run, False)
        finally:
            run.clear()
