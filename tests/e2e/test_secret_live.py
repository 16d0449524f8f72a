# SPDX-License-Identifier: Apache-2.0
"""weir ctl NAME secret ..., files and commands that change: whole, live, and never a value anywhere."""

import array
import json
import os
import signal
import socket
import subprocess
import time

import pytest
from conftest import SLACK, masked, sanitized, wait_for
from test_reload import Live, control_socket
from test_secret_process import kill, readable_through, run_events, scan, tlsproxy
from test_secrets import descendants

OPEN = {"policy": {"default_egress": "allow"}}


def other(n):
    """Another value of the token's length and shape."""
    turn = {c: abc[(i + n) % len(abc)] for abc in ("abcdefghijklmnopqrstuvwxyz", "0123456789",
                                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            for i, c in enumerate(abc)}
    return "".join(turn.get(c, c) for c in os.environ.get("LAB_TOKEN", ""))


OTHER = other(5)

# One request for each line "HOST HEADER-VALUE-TEMPLATE": prints status and what the server got.
CLIENT = """
import http.client, json, os, sys
for line in sys.stdin:
    host, _, value = line.strip().partition(' ')
    try:
        c = http.client.HTTPSConnection(host, timeout=30)
        c.request('GET', '/x', None, {'X-Key': value.format(**os.environ)})
        r = c.getresponse()
        print(r.status, r.read()[:0].decode(), flush=True)
    except OSError as e:
        print(type(e).__name__, flush=True)
"""


class Box(Live):
    """A sandbox that asks what it is told to ask."""

    def __init__(self, weir, lab, name, flags=(), policy=OPEN, **kw):
        self.lab = lab
        super().__init__(weir, "/usr/bin/python3", "-c", CLIENT, name=name, policy=policy,
                         flags=list(flags), stdin=subprocess.PIPE, **kw)

    def ask(self, value, host="api.example.com"):
        """The status, and what arrived in X-Key (None: nothing)."""
        before = len(self.lab.seen("http"))
        self.p.stdin.write(("%s %s\n" % (host, value)).encode())
        self.p.stdin.flush()
        status = self.p.stdout.readline().split()[0].decode()
        new = self.lab.seen("http")[before:]
        got = [line.split(": ", 1)[1].strip() for e in new for line in e["head"].split("\n")
               if line.lower().startswith("x-key:")]
        return status, got[-1] if got else None

    def secret(self, *args, value=None):
        """weir ctl NAME secret ...; a value goes through a pipe."""
        return subprocess.run(
            [*self.weir.prefix, self.weir.program, "ctl", self.name, "secret", *args],
            input=value if value is not None else "", capture_output=True, text=True,
            timeout=60 * SLACK, check=False, env=self.weir.environment(None))

    def secrets(self):
        return {s["secret"]: s for s in json.loads(self.secret("ls", "--json").stdout)["list"]}

    def secret_events(self, event, **want):
        return self.events("secret", event=event, **want)

    def set(self, env, value, *args):
        r = self.secret("set", env, *args, value=value)
        assert r.returncode == 0, r.stderr
        return dict(line.split("=", 1) for line in r.stdout.splitlines() if "=" in line)[env]


TOKEN = ["--secret", "LAB_TOKEN@api.example.com"]


# Parity: S11.
def test_s11_rotate(weir, lab):
    """The same placeholder, another value: for the next request, and the old one nowhere."""
    box = Box(weir, lab, "rotate", TOKEN)
    try:
        assert box.ask("{LAB_TOKEN}") == ("200", lab.token)
        before = box.secrets()["LAB_TOKEN"]["placeholder"]
        assert box.set("LAB_TOKEN", OTHER + "\n") == before
        assert box.ask("{LAB_TOKEN}") == ("200", OTHER)
        s = box.secrets()["LAB_TOKEN"]
        assert s["placeholder"] == before and s["from"] == "ctl" and s["hosts"] == ["api.example.com"]
        assert box.secrets()["LAB_TOKEN"]["uses"] == 2
        # Of another length, too.
        assert box.set("LAB_TOKEN", OTHER + "-and-more") == before
        assert box.ask("{LAB_TOKEN}") == ("200", OTHER + "-and-more")
        box.set("LAB_TOKEN", OTHER)
        # The successor has the value of now.
        kill(box.p)
        assert box.ask("{LAB_TOKEN}") == ("200", OTHER)
        assert "uid" in box.secret_events("rotated")[0], box.events("secret")
    finally:
        box.end()
    with open(box.p.audit_path, "rb") as f:
        record = f.read()
    assert OTHER.encode() not in record and lab.token.encode() not in record


# Parity: S11, lesson-39.
def test_s11_lesson_39_first_secret_of_a_sandbox_that_is_read(weir, lab):
    box = Box(weir, lab, "first", ["--tls-intercept"])
    try:
        assert box.secrets() == {}
        placeholder = box.set("NEW", lab.token, "--hosts", "api.example.com", "--places", "header")
        assert placeholder != lab.token and box.ask(placeholder) == ("200", lab.token)
        assert box.ask(placeholder, "evil.example.net") == ("403", None)
        s = box.secrets()["NEW"]
        assert (s["hosts"], s["at"], s["from"]) == (["api.example.com"], ["header"], "ctl")
    finally:
        box.end()


# Parity: lesson-39.
def test_lesson_39_first_secret_is_refused_where_nothing_would_protect_it(weir, lab):
    box = Box(weir, lab, "unread")
    try:
        r = box.secret("set", "NEW", "--hosts", "api.example.com", value=lab.token)
        assert r.returncode == 1 and "--tls-intercept" in r.stderr, r
        assert box.secrets() == {}
        assert lab.token not in r.stderr
    finally:
        box.end()


# Parity: S11.
def test_s11_other_hosts_and_removal(weir, lab):
    box = Box(weir, lab, "hosts", TOKEN)
    try:
        assert box.ask("{LAB_TOKEN}", "files.example.com") == ("403", None)
        r = box.secret("hosts", "LAB_TOKEN", "files.example.com,.example.net")
        assert r.returncode == 0, r.stderr
        assert box.ask("{LAB_TOKEN}", "files.example.com") == ("200", lab.token)
        assert box.ask("{LAB_TOKEN}", "evil.example.net") == ("200", lab.token)
        assert box.ask("{LAB_TOKEN}") == ("403", None)
        assert box.secrets()["LAB_TOKEN"]["hosts"] == ["files.example.com", ".example.net"]
        kill(box.p)
        assert box.ask("{LAB_TOKEN}", "files.example.com") == ("200", lab.token)
        assert box.ask("{LAB_TOKEN}") == ("403", None)
        assert box.secret("rm", "LAB_TOKEN").returncode == 0
        assert box.secrets() == {}
        assert box.ask("{LAB_TOKEN}", "files.example.com") == ("403", None)
        # The successor knows what was removed before its time.
        kill(box.p)
        assert box.ask("{LAB_TOKEN}", "files.example.com") == ("403", None)
        # Back again, with the placeholder that the sandbox has.
        box.set("LAB_TOKEN", OTHER, "--hosts", "files.example.com")
        assert box.ask("{LAB_TOKEN}", "files.example.com") == ("200", OTHER)
        assert [e["event"] for e in box.events("secret", **{"from": "weir"})] == [
            "hosts", "removed", "set"]
    finally:
        box.end()


# Parity: S11, S02.
@pytest.mark.parametrize("args,value,says", [
    (["set", "NEW", "--hosts", "bad host"], "0123456789abcdef", "bad host"),
    (["set", "NEW", "--hosts", "1.2.3.4"], "0123456789abcdef", "1.2.3.4"),
    (["set", "NEW", "--hosts", "spliced.example.com"], "0123456789abcdef", "bypass"),
    (["set", "NEW", "--hosts", "api.example.com", "--places", "heder"], "0123456789abcdef", "header"),
    (["set", "NEW", "--places", "header"], "0123456789abcdef", "--hosts"),
    (["set", "NEW"], "0123456789abcdef", "no secret"),
    (["set", "PATH", "--hosts", "api.example.com"], "0123456789abcdef", "PATH"),
    (["set", "LAB_TOKEN"], "tiny-12", "8 bytes"),
    (["set", "LAB_TOKEN"], "", "8 bytes"),
    (["set", "LAB_TOKEN"], "x1" * 5000, "4096"),
    (["set", "LAB_TOKEN"], "two\nlines-of-a-value", "line break"),
    (["set", "LAB_TOKEN", "--from", "/nowhere/at/all"], "", "/nowhere/at/all"),
    (["set", "LAB_TOKEN", "--from", "/dev/null"], "", "neither a file nor a pipe"),
    (["set", "LAB_TOKEN", "--from", "/etc"], "", "neither a file nor a pipe"),
    (["hosts", "LAB_TOKEN", ""], "", "empty"),
    (["hosts", "NOPE", "api.example.com"], "", "no secret"),
    (["rm", "NOPE"], "", "no secret"),
    (["rm"], "", "see: weir ctl --help"),
    (["remove", "LAB_TOKEN"], "", "see: weir ctl --help"),
], ids=lambda x: " ".join(x) if isinstance(x, list) else None)
def test_s11_what_is_refused_changes_nothing(box, lab, args, value, says):
    before = box.secrets()
    r = box.secret(*args, value=value)
    assert r.returncode in (1, 2) and says in r.stderr, r
    assert not value or value not in r.stderr + r.stdout
    assert box.secrets() == before
    assert box.ask("{LAB_TOKEN}") == ("200", lab.token)


def test_s11_token_endpoint_is_not_for_live_secrets(box):
    """The gateway dials only the endpoints it started with; so nothing of it is taken."""
    before = box.secrets()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s, open("/dev/null", "rb") as null:
        s.settimeout(20)
        s.connect(control_socket(box.name))
        s.sendmsg([json.dumps({"verb": "secret.change", "change": {"op": "set", "secret": {
            "env": "NEW", "hosts": ["api.example.com"], "token": {
                "url": "https://files.example.com/token", "client_id": "x"}}}}).encode()],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()]))])
        answer = json.loads(s.recv(65536))
    assert not answer["ok"] and "started with" in answer["error"], answer
    assert box.secrets() == before


@pytest.fixture
def box(weir, lab):
    b = Box(weir, lab, "refuses", [*TOKEN, "--tls-bypass", "spliced.example.com"])
    yield b
    b.end()


def test_terminal_is_refused(weir, lab):
    import pty
    box = Box(weir, lab, "terminal", TOKEN)
    outer, inner = pty.openpty()
    try:
        r = subprocess.run([*weir.prefix, weir.program, "ctl", "terminal", "secret", "set", "LAB_TOKEN"],
                           stdin=inner, capture_output=True, text=True, timeout=30, check=False,
                           env=weir.environment(None))
        assert r.returncode == 2 and "pipe" in r.stderr, r
    finally:
        os.close(outer)
        os.close(inner)
        box.end()


def test_only_the_tlsproxy_reads_what_the_client_passes(weir, lab):
    """Neither the client nor the supervisor has it, also while the value is still coming."""
    if sanitized():
        pytest.skip("a sanitizer's runtime keeps its own copies")
    box = Box(weir, lab, "passes", TOKEN)
    try:
        half = len(OTHER) // 2
        out, into = os.pipe()
        p = subprocess.Popen([weir.program, "ctl", "passes", "secret", "set", "LAB_TOKEN"],
                             stdin=out, stdout=subprocess.PIPE, env=weir.environment(None))
        os.close(out)
        subprocess.run(["/usr/bin/python3", "-c", "import os; os.write(%d, bytes(b ^ 0x5A for b in "
                        "bytes.fromhex('%s')))" % (into, masked(OTHER[:half]))], check=True,
                       pass_fds=[into])
        time.sleep(0.5)
        mine = set(descendants(box.p.pid)) | {p.pid}
        assert {int(f.split()[0]) for f in scan(lab, OTHER[:half])} & mine <= {tlsproxy(box.p.pid)}
        assert box.ask("{LAB_TOKEN}") == ("200", lab.token)
        os.write(into, OTHER[half:].encode())
        os.close(into)
        assert p.wait(20 * SLACK) == 0
        assert box.ask("{LAB_TOKEN}") == ("200", OTHER)
        mine = set(descendants(box.p.pid))
        assert {int(f.split()[0]) for f in scan(lab, OTHER)} & mine == {tlsproxy(box.p.pid)}
    finally:
        box.end()


# ---- files ---------------------------------------------------------------------------------


def written(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def in_place(folder, text):
    written(folder + "/token", text)


def renamed(folder, text):
    written(folder + "/.new", text)
    os.rename(folder + "/.new", folder + "/token")


def swapped(folder, text):
    """As a Kubernetes volume does: token -> ..data/token, ..data -> ..1, another ..data renamed over it."""
    n = sum(name.startswith("..1") for name in os.listdir(folder))
    os.mkdir("%s/..1%d" % (folder, n))
    written("%s/..1%d/token" % (folder, n), text)
    os.symlink("..1%d" % n, folder + "/..new")
    os.rename(folder + "/..new", folder + "/..data")
    if not os.path.lexists(folder + "/token"):
        os.symlink("..data/token", folder + "/token")


def eventually(box, want, **kw):
    return wait_for(lambda: box.ask("{KEY}", **kw) == ("200", want), 10)


# Parity: S10.
@pytest.mark.parametrize("change", [in_place, renamed, swapped])
def test_s10_file_is_read_again(weir, lab, change):
    folder = os.path.join(weir.tmp, "mounted")
    os.mkdir(folder)
    change(folder, lab.token)
    box = Box(weir, lab, "file", ["--secret-file", "KEY=%s/token@api.example.com" % folder])
    try:
        assert box.ask("{KEY}") == ("200", lab.token)
        for i in range(3):
            change(folder, other(i + 1) + "\n")
            assert eventually(box, other(i + 1)), box.events("secret")[-3:]
        assert len(box.secret_events("refreshed")) == 3
        # A bad one leaves what was there, and is told.
        change(folder, "bad\n")
        assert wait_for(lambda: box.secret_events("refresh_failed"))
        assert box.ask("{KEY}") == ("200", other(3))
        change(folder, lab.token)
        assert eventually(box, lab.token)
        # Nothing is told that is nothing.
        n = len(box.events("secret", **{"from": "weir"}))
        change(folder, lab.token)
        time.sleep(1)
        assert len(box.events("secret", **{"from": "weir"})) == n
    finally:
        box.end()
    with open(box.p.audit_path, "rb") as f:
        assert OTHER.encode() not in f.read()


def test_file_changes_while_the_tlsproxy_is_down(weir, lab):
    path = weir.file("token", lab.token)
    box = Box(weir, lab, "down", ["--secret-file", "KEY=%s@api.example.com" % path])
    try:
        assert box.ask("{KEY}") == ("200", lab.token)
        for i in range(3):
            os.kill(tlsproxy(box.p.pid), signal.SIGKILL)
            written(path, other(i + 1))
            assert eventually(box, other(i + 1))
            assert wait_for(lambda n=i: len(run_events(box.p, "tlsproxy_started")) > n)
    finally:
        box.end()


@pytest.mark.netns("covers over the host's files")
def test_sandbox_does_not_see_the_file_that_took_the_place(weir, lab):
    path = weir.file("token", lab.token)
    p = weir.start("sh", "-c", "while read x; do cat %s; echo .; done" % path,
                   flags=["--secret-file", "KEY=%s@api.example.com" % path], stdin=subprocess.PIPE)
    try:
        def read():
            p.stdin.write(b"\n")
            p.stdin.flush()
            return p.stdout.readline()
        assert read() == b".\n"
        written(path + ".new", OTHER + "\n")
        os.rename(path + ".new", path)
        time.sleep(0.5 * SLACK)
        assert read() == b".\n"
    finally:
        p.communicate(timeout=20 * SLACK)


# Parity: S10, S12.
def test_s10_s12_descriptor_and_command_on_the_command_line(weir, lab):
    path = weir.file("token", lab.token)
    with open(path, "rb") as f:
        # The lab's user may not be ours: the descriptor is all that is needed.
        p = weir.start("/usr/bin/python3", "-c", CLIENT, policy=OPEN, pass_fds=[f.fileno()],
                       stdin=subprocess.PIPE, env={"LAB_TOKEN": "", "SOURCE": lab.token}, flags=[
                           "--secret-fd", "BY_FD=%d@api.example.com" % f.fileno(),
                           "--secret-command", "BY_CMD=cat %s@api.example.com" % path])
        p.stdin.write(b"api.example.com {BY_FD}\napi.example.com {BY_CMD}\n")
        p.stdin.flush()
        assert [p.stdout.readline().split()[0] for _ in "12"] == [b"200", b"200"]
        assert sum("X-Key: " + lab.token in e["head"] for e in lab.seen("http")) == 2
        os.unlink(path)
        for pid in descendants(p.pid):
            assert readable_through(pid, lab.token.encode()) == [], pid
        p.communicate(timeout=20 * SLACK)


# ---- commands ------------------------------------------------------------------------------


def command_config(weir, command, **kw):
    return ["--config", weir.file("c.json", {"policy": OPEN["policy"], "secrets": [
        {"env": "KEY", "from": {"command": command, **kw}, "hosts": ["api.example.com"]}]})]


# Parity: S10.
def test_s10_command_is_run_again(weir, lab):
    path = weir.file("n", lab.token)
    box = Box(weir, lab, "command", command_config(weir, "cat " + path, refresh=1), policy=None)
    try:
        assert box.ask("{KEY}") == ("200", lab.token)
        written(path, OTHER)
        assert eventually(box, OTHER)
        os.unlink(path)
        assert wait_for(lambda: box.secret_events("refresh_failed"), 10)
        assert "status 1" in box.secret_events("refresh_failed")[0]["detail"]
        assert box.ask("{KEY}") == ("200", OTHER)
        written(path, lab.token)
        assert eventually(box, lab.token)
        kill(box.p)
        written(path, OTHER)
        assert eventually(box, OTHER)
    finally:
        box.end()


# Parity: lesson-40.
def test_lesson_40_a_value_that_expired_is_refused(weir, lab):
    path = weir.file("n", lab.token)
    box = Box(weir, lab, "expires", command_config(weir, "cat " + path, refresh=1, ttl=3), policy=None)
    try:
        assert box.ask("{KEY}") == ("200", lab.token)
        os.unlink(path)
        assert wait_for(lambda: box.secret_events("expired"), 15)
        assert box.ask("{KEY}") == ("403", None)
        assert box.secrets()["KEY"]["expired"]
        assert [e["detail"] for e in box.secret_events("violation")] == ["no valid value"]
        kill(box.p)
        assert box.ask("{KEY}") == ("403", None)
        written(path, OTHER)
        assert eventually(box, OTHER)
    finally:
        box.end()


def token_command(weir, path, life):
    """What cloud tools print; each time it is run it writes a line into a file beside."""
    count = weir.file("count", "")
    return count, command_config(
        weir, "echo run >> %s; t=$(cat %s) || exit 3; printf "
        "'{\"access_token\": \"%%s\", \"expires_in\": %d, \"token_type\": \"Bearer\"}\\n' \"$t\"" % (
            count, path, life), output="token")


def lines(path):
    with open(path, encoding="ascii") as f:
        return len(f.readlines())


# Parity: S10, p9.3-18.
def test_p9_3_18_token_of_a_command_is_kept_while_it_is_good(weir, lab):
    count, flags = token_command(weir, weir.file("n", lab.token), 3600)
    box = Box(weir, lab, "cached", flags, policy=None)
    try:
        for _ in range(5):
            assert box.ask("Bearer {KEY}") == ("200", "Bearer " + lab.token)
        time.sleep(2)
        assert lines(count) == 1
        assert box.secrets()["KEY"]["life_s"] == 3600
        # The successor has it from the vault.
        kill(box.p)
        assert box.ask("{KEY}") == ("200", lab.token) and lines(count) == 1
    finally:
        box.end()


# Parity: S10, lesson-40, p9.3-18.
def test_p9_3_18_token_of_a_command_is_renewed_before_it_ends(weir, lab):
    """Its own word says when; one that ended without another is put in no longer."""
    path = weir.file("n", lab.token)
    count, flags = token_command(weir, path, 3)
    box = Box(weir, lab, "renewed", flags, policy=None)
    try:
        assert box.ask("{KEY}") == ("200", lab.token)
        written(path, OTHER)
        assert eventually(box, OTHER) and lines(count) > 1
        assert not box.secret_events("expired")
        os.unlink(path)
        assert wait_for(lambda: box.secret_events("expired"), 15)
        assert "status 3" in box.secret_events("refresh_failed")[0]["detail"]
        assert box.ask("{KEY}") == ("403", None)
        written(path, lab.token)
        assert eventually(box, lab.token)
    finally:
        box.end()
    with open(box.p.audit_path, "rb") as f:
        record = f.read()
    assert OTHER.encode() not in record and lab.token.encode() not in record


@pytest.mark.parametrize("output,says", [
    ('{"access_token": 5}', "not a text"), ('{"access_token": "abcdefgh", "expires_in": -1}', "lifetime"),
    ('{"access_token": "abcdefgh", "token_type": "mac"}', "bearer"), ('{"token": ', "not a JSON object")])
def test_p9_3_18_command_without_a_token(weir, output, says):
    r = weir.sh("true", flags=command_config(weir, "echo '%s'" % output, output="token"), policy=None)
    assert r.rc == 125 and says in r.err and "abcdefgh" not in r.err, r


# ---- names ----------------------------------------------------------------------------------


def in_a_name(box, placeholder):
    """The violations that a question for a name with it in makes."""
    before = len(box.secret_events("violation", place="name"))
    assert box.ask("x", placeholder.replace("_", "-") + ".leak.example.org") == ("gaierror", None)
    wait_for(lambda: len(box.secret_events("violation", place="name")) > before, 2)
    return {e["secret"] for e in box.secret_events("violation", place="name")[before:]}


# Parity: S07, S11.
def test_s07_s11_names_are_looked_through_for_placeholders_of_now(weir, lab):
    """One that is added live, and one whose secret is gone; beside one too long for any name."""
    long = weir.file("long", "".join("%03d" % n for n in range(500)))
    box = Box(weir, lab, "names", ["--tls-intercept", "--secret-file", "LONG=%s@api.example.com" % long])
    try:
        assert in_a_name(box, "a" * 20) == set()
        placeholder = box.set("NEW", "0123456789abcdefghij", "--hosts", "api.example.com")
        assert in_a_name(box, placeholder) == {"NEW"}
        assert box.secret("rm", "NEW").returncode == 0
        assert in_a_name(box, placeholder) == {"NEW"}
        kill(box.p)
        assert in_a_name(box, placeholder) == {"NEW"}
        other_one = box.set("SECOND", "0123456789abcdefghij", "--hosts", "api.example.com")
        assert in_a_name(box, other_one) == {"SECOND"}
    finally:
        box.end()


def test_uses_are_counted_by_successors(weir, lab):
    box = Box(weir, lab, "uses", ["--config", weir.file("u.json", {"policy": OPEN["policy"], "secrets": [
        {"env": "LAB_TOKEN", "hosts": ["api.example.com"], "max_uses": 3}]})], policy=None)
    try:
        for _ in range(3):
            assert box.ask("{LAB_TOKEN}") == ("200", lab.token)
            kill(box.p)
        assert box.ask("{LAB_TOKEN}") == ("403", None)
    finally:
        box.end()


HAMMER = """
import http.client, os, threading, time
end = time.time() + 6
def work():
    while time.time() < end:
        try:
            c = http.client.HTTPSConnection('api.example.com', timeout=20)
            c.request('GET', '/x', None, {'X-Key': os.environ['LAB_TOKEN']})
            c.getresponse().read()
        except Exception:
            time.sleep(0.02)
threads = [threading.Thread(target=work) for _ in range(8)]
print('ready', flush=True)
for t in threads: t.start()
for t in threads: t.join()
print('over', flush=True)
"""


def test_s13_uses_are_not_raced_for_across_successors(weir, lab):
    """Eight clients at once, and the process that counts is killed meanwhile: never one too many."""
    box = Live(weir, "/usr/bin/python3", "-c", HAMMER, name="race", flags=["--config", weir.file("r.json", {
        "policy": OPEN["policy"], "limits": {"tlsproxy_restarts": 100}, "secrets": [
            {"env": "LAB_TOKEN", "hosts": ["api.example.com"], "max_uses": 12, "at": ["header"]}]})])
    try:
        assert box.p.stdout.readline() == b"ready\n"
        for _ in range(4):
            time.sleep(0.2)
            kill(box.p)
        assert box.p.stdout.readline() == b"over\n"
        got = [e for e in lab.seen("http") if lab.token in e["head"]]
        # One that was counted and cut off may be missing, none may be too many.
        assert 4 <= len(got) <= 12, len(got)
    finally:
        box.end()


def test_changes_under_traffic_are_whole(weir, lab):
    """Each request has one of the values there ever were; killing the process in between changes nothing."""
    box = Box(weir, lab, "traffic", [*TOKEN, "--config", weir.file("l.json", {
        "limits": {"tlsproxy_restarts": 100}})])
    try:
        now = lab.token
        for i in range(20):
            now = other(i + 1)
            box.set("LAB_TOKEN", now)
            assert box.ask("{LAB_TOKEN}") == ("200", now)
            if i % 5 == 4:
                kill(box.p)
                assert box.ask("{LAB_TOKEN}") == ("200", now)
        assert json.loads(box.secret("ls", "--json").stdout)["secrets"] == 21
    finally:
        box.end()
