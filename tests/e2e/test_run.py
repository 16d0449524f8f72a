# SPDX-License-Identifier: Apache-2.0
"""weir run as a command: exit statuses, what the child sees, terminal and signals."""

import os
import pty
import select
import shlex
import signal
import subprocess
import termios
import time

import pytest
from conftest import SLACK, wait_for

CA_VARIABLES = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
                "GIT_SSL_CAINFO", "PIP_CERT"]


@pytest.mark.user
@pytest.mark.parametrize("script,status", [
    ("exit 0", 0), ("exit 1", 1), ("exit 77", 77), ("exit 255", 255),
    ("kill -TERM $$", 128 + signal.SIGTERM), ("kill -KILL $$", 128 + signal.SIGKILL),
    ("kill -SEGV $$", 128 + signal.SIGSEGV),
])
def test_exit_status_is_the_commands(weir, script, status):
    r = weir.sh(script)
    assert r.rc == status, r


def test_not_found_is_127(weir):
    r = weir.run("no-such-command-anywhere")
    assert r.rc == 127 and "no-such-command-anywhere" in r.err, r


@pytest.mark.user
@pytest.mark.netns("PATH and folders of the host")
def test_folder_of_path_that_may_not_be_searched_is_passed_over(weir):
    closed = weir.path("closed")
    os.mkdir(closed, 0o000)
    env = {"PATH": closed + ":/usr/local/bin:/usr/bin:/bin"}
    r = weir.run("no-such-command-anywhere", env=env)
    assert r.rc == 127 and "not found in any folder of PATH" in r.err, r
    r = weir.run("true", env=env)
    assert r.rc == 0, r


def test_not_executable_is_126(weir):
    r = weir.run(weir.file("script", "#!/bin/sh\n"))
    assert r.rc == 126, r
    r = weir.run("/etc")
    assert r.rc == 126, r


def test_own_failure_is_125(weir):
    r = weir.run("true", policy="/no/such/policy.json")
    assert r.rc == 125 and "/no/such/policy.json" in r.err, r


@pytest.mark.machine
def test_stdin_stdout_stderr_are_separate_and_whole(weir):
    data = os.urandom(300000)
    p = weir.start("sh", "-c", "cat; echo oops >&2", stdin=subprocess.PIPE)
    out, err = p.communicate(data, timeout=30 * SLACK)
    assert out == data
    assert b"oops\n" in err
    assert p.returncode == 0


def test_quiet_when_all_is_well(weir):
    r = weir.sh("echo only this")
    assert r.out == "only this\n", r


def test_files_the_child_sees(weir):
    r = weir.sh("cat /etc/resolv.conf; echo; cat /etc/hosts; echo HOSTNAME $(hostname)")
    assert r.rc == 0, r
    assert "nameserver" in r.out and "93.184.216.53" not in r.out, r
    assert "localhost" in r.out, r


@pytest.mark.netns("a machine has its own of both")
def test_working_directory_and_environment_are_kept(weir):
    r = weir.sh('pwd; echo "$MINE"', env={"MINE": "kept"})
    assert r.out.splitlines() == [os.getcwd(), "kept"], r


@pytest.mark.machine
def test_trust_bundle_holds_system_roots_and_the_sandboxes_own(weir):
    script = "for v in %s; do eval echo $v=\\$$v; done; " % " ".join(CA_VARIABLES)
    script += ("echo BUNDLE $(grep -c BEGIN $SSL_CERT_FILE); "
               "echo SYSTEM $(grep -c BEGIN /etc/ssl/certs/ca-certificates.crt); "
               "tail -n +1 $NODE_EXTRA_CA_CERTS")
    r = weir.sh(script, intercept=True)
    system = 0
    with open("/etc/ssl/certs/ca-certificates.crt", encoding="utf-8") as f:
        system = f.read().count("BEGIN CERTIFICATE")
    got = dict(line.split("=", 1) for line in r.out.splitlines() if "=" in line[:25])
    for v in CA_VARIABLES:
        assert got.get(v), (v, r)
    assert "BUNDLE %d" % (system + 1) in r.out, r
    assert "SYSTEM %d" % (system + 1) in r.out, r
    assert "PRIVATE KEY" not in r.out, r
    with open("/etc/ssl/certs/ca-certificates.crt", encoding="utf-8") as f:
        assert f.read().count("BEGIN CERTIFICATE") == system, "the host's bundle was written"


def test_sandbox_certificate_is_made_anew_for_each(weir):
    a, b = (weir.sh("cat $NODE_EXTRA_CA_CERTS", intercept=True) for _ in "12")
    assert "BEGIN CERTIFICATE" in a.out and a.out != b.out, a


@pytest.mark.parametrize("number,status", [(signal.SIGTERM, 41), (signal.SIGINT, 42),
                                           (signal.SIGHUP, 43)])
def test_signals_are_passed_on(weir, number, status):
    script = ("trap 'exit 41' TERM; trap 'exit 42' INT; trap 'exit 43' HUP; echo ready; "
              "i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done")
    p = weir.start("sh", "-c", script, start_new_session=True)
    assert p.stdout.readline() == b"ready\n"
    p.send_signal(number)
    assert p.wait(10 * SLACK) == status, p.stderr.read()


def terminal(weir, script, typed=b"", policy=None, until=None):
    """Run on a terminal of its own; returns status and what was shown."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 99))

    def own():
        os.setsid()
        import fcntl
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    p = weir.start("sh", "-c", script, stdin=slave, stdout=slave, stderr=slave, preexec_fn=own)
    os.close(slave)
    shown, end = b"", time.monotonic() + 15 * SLACK
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                b = os.read(master, 4096)
            except OSError:
                break
            shown += b
            if typed and (until or b"ready") in shown:
                os.write(master, typed)
                typed = b""
        elif p.poll() is not None:
            break
    try:
        return p.wait(5 * SLACK), shown.decode()
    finally:
        p.kill()
        os.close(master)


@pytest.mark.machine
def test_terminal_is_a_terminal(weir):
    rc, shown = terminal(weir, "test -t 0 && test -t 1 && test -t 2 && stty size")
    assert rc == 0 and "33 99" in shown, shown


def test_typed_text_arrives(weir):
    rc, shown = terminal(weir, "echo ready; read x; echo got:$x", b"word\n")
    assert rc == 0 and "got:word" in shown, shown


def test_interrupt_key_reaches_the_command(weir):
    rc, shown = terminal(weir, "trap 'echo caught; exit 9' INT; echo ready; sleep 10 & wait",
                         b"\x03")
    assert rc == 9 and "caught" in shown, shown


def test_interrupt_key_ends_a_plain_command(weir):
    rc, shown = terminal(weir, "echo ready; exec sleep 10", b"\x03")
    assert rc == 130, (rc, shown)


def shell(weir, *steps):
    """An interactive bash types weir commands; each step is (text, what must be shown then)."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(PS1="$ ", HISTFILE="", TERM="dumb")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
    shown = b""
    try:
        for text, want in (("", "$ "), *steps):
            if text == "\x1a":
                time.sleep(0.3)  # a child stopped inside vfork() would hold up the script's shell
            os.write(master, text.encode())
            fresh, end = b"", time.monotonic() + 8 * SLACK
            while want.encode() not in fresh.replace(text.strip().encode(), b"", 1):
                ready, _, _ = select.select([master], [], [], 0.1)
                try:
                    fresh += os.read(master, 4096) if ready else b""
                except OSError:
                    pytest.fail("the shell ended; shown: %s" % (shown + fresh).decode())
                assert time.monotonic() < end, ("waiting for", want, (shown + fresh).decode())
            shown += fresh
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(master)
        os.waitpid(pid, 0)


def job(weir, script):
    argv = weir.argv(["sh", "-c", script], audit=weir.path("audit.jsonl"))
    return " ".join(shlex.quote(a) for a in argv)


@pytest.mark.netns("the suspend key is typed into a machine's own terminal")
def test_stopped_and_continued_in_the_foreground(weir):
    shell(weir, (job(weir, "echo rea''dy; read x; echo got:$x; exit 4") + "\n", "ready"),
          ("\x1a", "Stopped"), ("fg\n", "weir"), ("word\n", "got:word"),
          ("echo st=$?\n", "st=4"))


@pytest.mark.netns("the suspend key is typed into a machine's own terminal")
def test_stopped_job_in_the_background_leaves_the_terminal_to_the_shell(weir):
    shell(weir, (job(weir, "echo rea''dy; sleep 1; echo fin''ished") + "\n", "ready"),
          ("\x1a", "Stopped"), ("bg\n", "finished"), ("sleep 0.3; echo $((40+2))\n", "42"),
          ("echo $((40+3))\n", "43"))


@pytest.mark.netns("for a command in a machine weir reads ahead")
def test_background_job_that_reads_the_terminal_waits_for_fg(weir):
    shell(weir, (job(weir, "read x; echo got:$x") + " &\n", "$ "),
          ("sleep 1; jobs\n", "Stopped"), ("fg\n", "weir"), ("word\n", "got:word"))


@pytest.mark.netns("for a command in a machine weir reads ahead")
def test_pager_behind_it_keeps_the_terminal(weir):
    reader = "sh -c 'cat; read x < /dev/tty; echo pager:$x'"
    shell(weir, (job(weir, "echo rea''dy") + " | " + reader + "\n", "ready"),
          ("word\n", "pager:word"))


def test_asking_for_the_terminal_in_a_pipeline(weir):
    shell(weir, (job(weir, "echo rea''dy; read x; echo got:$x") + " | cat\n", "ready"),
          ("word\n", "got:word"))


@pytest.mark.netns("what stops in a machine is continued in there")
def test_stopping_where_no_shell_watches_goes_on(weir):
    rc, shown = terminal(weir, "kill -STOP $$; echo went on")
    assert rc == 0 and "went on" in shown, shown


def test_orphans_end_with_the_command(weir):
    mark = "4711%d" % os.getpid()
    r = weir.sh("setsid sleep %s & setsid nohup sleep %s >/dev/null 2>&1 & exit 5" % (mark, mark))
    assert r.rc == 5, r
    assert r.seconds < 10 * SLACK, r
    assert wait_for(lambda: subprocess.run(["pgrep", "-f", "sleep " + mark],
                                           stdout=subprocess.DEVNULL, check=False).returncode == 1)


def test_two_at_once_do_not_meet(weir):
    a = weir.start("sh", "-c", "hostname; ip -o addr; sleep 1", flags=["--name", "one"])
    b = weir.start("sh", "-c", "hostname; ip -o addr; sleep 1", flags=["--name", "two"])
    assert a.wait(20 * SLACK) == 0 and b.wait(20 * SLACK) == 0, (a.stderr.read(), b.stderr.read())


def test_doctor(weir):
    p = weir.call("doctor")
    assert "netns" in p.stdout and p.returncode in (0, 1), p


@pytest.mark.parametrize("way,told", [
    ("echo 0 > /proc/sys/user/max_user_namespaces; exec", "max_user_namespaces"),
    ("mount -t tmpfs none /proc/sys/fs; exec unshare -Ur", "/proc"),
])
@pytest.mark.netns("what namespaces need")
def test_doctor_and_run_agree_on_what_is_missing(weir, way, told):
    """In a machine that lacks something, made of namespaces of our own."""
    weir.prefix = ["unshare", "-Urmpf", "--mount-proc", "sh", "-c", way + ' "$@"', "sh"]
    r = weir.run("true")
    assert r.rc == 125 and told in r.err and len(r.err.splitlines()) == 1, r
    d = subprocess.run([*weir.prefix, weir.program, "doctor"], capture_output=True, text=True,
                       timeout=20 * SLACK, check=False)
    missing = [line for line in d.stdout.splitlines() if "MISSING" in line]
    assert d.returncode == 1 and len(missing) == 1 and told in missing[0], d


def test_help_and_version(weir):
    assert weir.call("run", "--help").returncode == 0
    assert "--policy" in weir.call("run", "--help").stdout
    assert weir.call("--help").returncode == 0
    assert weir.call("--version").returncode == 0
