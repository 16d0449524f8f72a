# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed: their processes, a moment of their life, what is done then, and what may be
left of one on the machine (nothing).

Each case draws from its own seed, so that one is repeated alone:

    WEIR_KILLS=2000     how many cases of namespaces (default 80, 40 with sanitizers); others are fractions of it
    WEIR_KILLS_SEED=N   the seed that a failure named; the cases are then the same
    WEIR_KILLS_ONLY=N   only the N-th case of each kind
"""

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import time

from conftest import SLACK, sanitized, wait_for

COUNT = int(os.environ.get("WEIR_KILLS") or (40 if sanitized() else 80))
SEED = int(os.environ.get("WEIR_KILLS_SEED") or random.SystemRandom().randrange(1 << 32))
ONLY = os.environ.get("WEIR_KILLS_ONLY")

# A helper's last words take 5 s at most, then it is killed.
BOUND = 8
KILL, TERM, STOP = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP
PR_SET_CHILD_SUBREAPER = 36


def adopt(on):
    """Orphans below us become our children: what a dead run left is then found by descent alone."""
    assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0


# ---- processes ------------------------------------------------------------------------------


class Process:
    def __init__(self, pid):
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
            head, _, rest = f.read().rpartition(")")
        fields = rest.split()
        self.pid, self.name = pid, head.partition("(")[2]
        self.state, self.parent, self.start = fields[0], int(fields[1]), fields[19]

    def key(self):
        return self.pid, self.start

    def send(self, number):
        """False: it is not there any more."""
        try:
            now = Process(self.pid)
            if now.start != self.start or now.state == "Z":
                return False
            os.kill(self.pid, number)
        except (OSError, ValueError):
            return False
        return True

    def __repr__(self):
        return "%s %d %s" % (self.name, self.pid, self.state)


def processes():
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            out.append(Process(int(pid)))
    return out


def below(root):
    """Its descendants, those first that were there first."""
    everybody = processes()
    known, more = {root}, True
    while more:
        new = {p.pid for p in everybody if p.parent in known} - known
        known |= new
        more = bool(new)
    return sorted((p for p in everybody if p.pid in known and p.pid != root), key=lambda p: int(p.start))


# ---- what a run could leave ------------------------------------------------------------------

KINDS = ("net", "mnt", "pid", "user", "ipc", "uts", "cgroup")


def namespaces():
    out = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in KINDS:
            with contextlib.suppress(OSError):
                out.add(os.readlink("/proc/%s/ns/%s" % (pid, kind)))
    return out


def listing(folder):
    return {os.path.join(d, name) for d, _, files in os.walk(folder) for name in files}


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def unix_names():
    """Sockets with a name, in a folder or without."""
    return {line.split()[7] for line in read("/proc/net/unix").splitlines()[1:] if len(line.split()) > 7}


class World:
    """The machine before a run, beside its processes."""

    def __init__(self, home, *folders):
        self.folders = folders
        self.env = {"HOME": home, "TMPDIR": home, "XDG_RUNTIME_DIR": home, "XDG_STATE_HOME": home}
        self.mine = {p.key() for p in below(os.getpid())}
        self.before = self.look()

    def look(self):
        return {"namespaces": namespaces(), "mounts": set(read("/proc/self/mountinfo").splitlines()),
                "interfaces": {name for _, name in socket.if_nameindex()}, "sockets": unix_names(),
                "files": set().union(*map(listing, self.folders))}

    def run(self):
        """Processes of the run: all that have come below us. The dead are reaped."""
        out = []
        for p in below(os.getpid()):
            if p.key() in self.mine:
                continue
            if p.state != "Z":
                out.append(p)
        return out

    def left(self, but=()):
        """What was not there before."""
        # One whose other threads take longer could not be reaped when it died.
        self.reap(())
        now = self.look()
        new = {what: {x for x in now[what] - self.before[what] if x not in but} for what in now}
        return {what: sorted(x) for what, x in new.items() if x}

    def reap(self, but):
        """Orphans that became ours and are dead; but: Popen objects wait for their own."""
        for p in below(os.getpid()):
            if p.parent == os.getpid() and p.state == "Z" and p.pid not in but and p.key() not in self.mine:
                with contextlib.suppress(OSError):
                    os.waitpid(p.pid, os.WNOHANG)


# ---- a case ------------------------------------------------------------------------------------


class Case:
    """Draws what happens. Its text says how to have it again."""

    def __init__(self, kind, number):
        self.kind, self.number = kind, number
        self.rng = random.Random("%d %s %d" % (SEED, kind, number))
        self.done = []

    def __repr__(self):
        return "WEIR_KILLS_SEED=%d WEIR_KILLS_ONLY=%d (%s): %s" % (SEED, self.number, self.kind,
                                                                "; ".join(self.done))

    def note(self, fmt, *args):
        self.done.append(fmt % args)

    def chance(self, p):
        return self.rng.random() < p

    def moment(self, world, root, record, longest=0.5, last="curl"):
        """From the first instruction to a while after the full start, most often during it. longest: until
        it has started; last: the process that comes last."""
        t0 = time.monotonic()
        how = self.rng.choice(("time", "time", "process", "name", "record"))
        little = self.rng.choice((0, 0, 0.002, 0.02)) * self.rng.random()
        if how == "time":
            time.sleep(self.rng.uniform(0, longest * self.rng.choice((0.01, 0.05, 0.15, 0.4, 1))))
            self.note("after %.1f ms", (time.monotonic() - t0) * 1000)
            return
        n = self.rng.randint(1, 5)
        name = self.rng.choice(("weir-gateway", "weir-tlsproxy", last))

        def seen():
            if root.poll() is not None:
                return True
            if how == "process":
                return len(world.run()) > n
            if how == "name":
                return any(p.name == name for p in world.run())
            return os.path.exists(record) and '"event":"begin"' in read(record)

        end = t0 + longest * SLACK
        while not seen() and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(little)
        self.note("%s %s and %.1f ms, after %.1f ms", how,
                  {"process": n, "name": name}.get(how, "begin"), little * 1000,
                  (time.monotonic() - t0) * 1000)

    def strike(self, people):
        """Who was hit with what, and who stands still since."""
        hit, still = [], None
        act = self.rng.choice(("kill",) * 6 + ("two", "term", "stop", "stop"))
        some = self.rng.sample(people, min(len(people), 2 if act in ("two", "stop") else 1))
        if act == "stop" and len(some) == 2:
            still = some.pop(0)
            if not still.send(STOP):
                still = None
            else:
                self.note("%r stopped", still)
                time.sleep(self.rng.choice((0, 0.01)))
        for p in some:
            number = TERM if act == "term" else KILL
            there = p.send(number)
            self.note("%s %r%s", signal.Signals(number).name, p, "" if there else ", which had ended")
            if there:
                hit.append((p, number))
        return hit, still


def cases(kind, share):
    count = max(1, round(COUNT * share))
    for n in range(count):
        if ONLY is None or int(ONLY) == n:
            yield Case(kind, n)


# ---- the record ---------------------------------------------------------------------------------


def last_run(path):
    """The events of the record's last run, and whether its last line is whole."""
    if not os.path.exists(path):
        return [], True
    lines = read(path).splitlines(True)
    whole = not lines or lines[-1].endswith("\n")
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return [e for e in events if e["run"] == events[-1]["run"]], whole


def names(events, event):
    return [e.get("detail", "") for e in events if e["kind"] == "run" and e.get("event") == event]


def all_gone(world, seconds=BOUND):
    return wait_for(lambda: not world.run(), seconds)
