# SPDX-License-Identifier: Apache-2.0
"""weir-image, the process that reads kernels, archives and folders: what it can no longer do, what comes
of answers by one that was taken over, how it ends; and images of every kind booted."""

import ctypes
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import tarfile

import pytest

from conftest import SLACK, WEIR, sanitized, wait_for
from test_microvm import ROOT, cache, machines, run, vm, words  # pylint: disable=unused-import

pytestmark = pytest.mark.netns("boots machines of its own")
IMAGE = os.path.join(os.path.dirname(WEIR), "weir-image")


def landlock():
    """The kernel's version of it, which tells what it covers beside files."""
    return ctypes.CDLL(None).syscall(444, None, 0, 1)


def image(*argv, store, **kw):
    return subprocess.run([IMAGE, "--store", store, *argv], capture_output=True, text=True,
                          timeout=60 * SLACK, check=False, **kw)


# ---- what it can no longer do ----

@pytest.mark.parametrize("argv", [["boot", "--agent", IMAGE], ["root"], ["root", "--rootfs", "/usr/share"],
                                  ["root", "--image", "/etc/hostname"]])
def test_files_out_of_reach(argv, tmp_path):
    """Before the list of system calls: Landlock and missing capabilities alone."""
    bait = "/tmp/weir-image-probe-bait"
    with open(bait, "w", encoding="ascii"):
        p = image(*argv, "--probe", "files", store=str(tmp_path / "store"))
    os.unlink(bait)
    assert p.returncode == 0 and not p.stderr, p
    seen = dict(line.split(": ", 1) for line in p.stdout.splitlines())
    # CAP_DAC_READ_SEARCH alone, and that where a folder is read.
    as_root = os.geteuid() == 0 and "--rootfs" in argv
    assert seen.pop("capabilities") == ("4" if as_root else "0")
    assert seen.pop("no-new-privs") == "1" and seen.pop("dumpable") == "0"
    assert len(seen) == 14
    # The list of system calls is alone with these where the kernel's Landlock is older.
    for name, since in (("connect", 4), ("kill", 6)):
        if landlock() < since:
            seen.pop(name)
    assert "POSSIBLE" not in seen.values(), seen
    for name in ("passwd", "home", "root", "device", "make-file", "make-folder", "remove", "execute"):
        assert seen[name] == "Permission denied", (name, seen)


CALLS = ["socket", "local-socket", "fork", "execute", "executable-memory", "memory-file", "read-process", "uring",
         "namespace", "identity", "mount", "kill", "trace"]
# The sanitizers' runtime may ask and limit itself.
CALLS += [] if sanitized() else ["dumpable", "more-files"]


@pytest.mark.parametrize("name", CALLS)
def test_calls_end_it(name, tmp_path):
    if name == "executable-memory" and sanitized():
        pytest.skip("the sanitizer maps memory as it likes")
    p = image("root", "--probe", name, store=str(tmp_path / "store"))
    assert p.returncode == 2 and "is not allowed in this process" in p.stderr, p


def test_stores_are_apart(tmp_path):
    """The reader of an archive can write to no kernel's folder, and the other way round."""
    store = tmp_path / "store"
    for argv, writable in ((["root", "--image", "/etc/hostname"], "archive"), (["root"], "root")):
        trace = ["strace", "-f", "-o", "/dev/stdout", "-e", "trace=landlock_add_rule,openat"]
        if not shutil.which("strace"):
            pytest.skip("no strace")
        p = subprocess.run([*trace, IMAGE, "--store", str(store), *argv, "--probe", "files"], capture_output=True,
                           text=True, timeout=60 * SLACK, check=False)
        opened = {line.split('"')[1] for line in p.stdout.splitlines() if "O_PATH" in line and '"' in line}
        ours = {os.path.basename(x) for x in opened if x.startswith(str(store))}
        assert ours == {writable, "lock", "tmp"}, (ours, p.stdout[-3000:])


def without_landlock():
    """In a child: its three system calls are not there, as in a kernel that was built without."""
    class Filter(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    code = b"".join(struct.pack("HBBI", *x) for x in (
        (0x20, 0, 0, 0),                # the number
        (0x35, 0, 2, 444), (0x25, 1, 0, 446),
        (0x06, 0, 0, 0x00050000 | 38),  # ENOSYS
        (0x06, 0, 0, 0x7fff0000)))
    keep = ctypes.create_string_buffer(code)
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(Filter(len(code) // 8, ctypes.addressof(keep))), 0, 0) == 0


def test_without_landlock(tmp_path):
    """An archive, which anybody may have made, is not read; else it is said, and all the rest holds."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(b"never looked at")
    p = image("root", "--image", str(archive), store=str(tmp_path / "store"), preexec_fn=without_landlock)
    assert p.returncode == 1 and not p.stdout, p
    assert p.stderr.count("\n") == 1 and "has no Landlock" in p.stderr and "--rootfs" in p.stderr, p
    p = image("root", store=str(tmp_path / "store"), preexec_fn=without_landlock)
    assert p.returncode == 0 and json.loads(p.stdout)["fs"] == "ext4", p
    assert p.stderr.startswith("weir-image: this kernel has no Landlock: "), p
    p = image("root", "--probe", "files", store=str(tmp_path / "store"), preexec_fn=without_landlock)
    os.unlink("/tmp/weir-image-probe")  # it could make these
    os.rmdir("/tmp/weir-image-probe-folder")
    assert "capabilities: 0\n" in p.stdout and "passwd: POSSIBLE" in p.stdout, p
    p = image("root", "--probe", "socket", store=str(tmp_path / "store"), preexec_fn=without_landlock)
    assert p.returncode == 2, p


# ---- one that was taken over ----

FAKE = """#!/usr/bin/python3
import json, os, signal, sys, time
store = sys.argv[sys.argv.index("--store") + 1]
open(os.environ.get("X") or %(seen)r, "w").write(json.dumps([sys.argv, dict(os.environ), os.getpid()]))
config = {"env": [], "entrypoint": [], "cmd": [], "working_dir": "", "user": "", "stop_signal": ""}
answer = {"path": store + "/root/good.ext4", "fs": "ext4", "size": 4096, "reused": True, "notes": [], "config": config}
%(does)s
print(json.dumps(answer))
"""


@pytest.fixture
def fake(weir, tmp_path, monkeypatch):
    """A copy of weir beside a weir-image of ours: call it with what that one does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("weir", "weir-agent"):
        shutil.copy(os.path.join(os.path.dirname(WEIR), name), tmp_path)
    seen = str(tmp_path / "seen")

    def start(does, *flags):
        path = tmp_path / "weir-image"
        path.write_text(FAKE % {"seen": seen, "does": does}, encoding="utf-8")
        path.chmod(0o755)
        argv = [str(tmp_path / "weir"), "run", "--backend", "qemu", *flags, "--", "true"]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                env={**os.environ, "API_KEY": "not to be known"}, start_new_session=True)

    start.seen = seen
    start.store = str(tmp_path / "cache" / "weir")
    return start


KEEP = 'open(store + "/root/good.ext4", "w").write("x" * 4096); os.chmod(store + "/root/good.ext4", 0o444)\n'


@pytest.mark.parametrize("does,says", [
    ('answer["path"] = "/etc/passwd"', "root/passwd: No such file"),
    ('answer["path"] = store + "/root/.."', "no name of the store's"),
    ('answer["path"] = store + "/root/x\\n"', "no name of the store's"),
    ('os.symlink("/etc/passwd", store + "/root/good.ext4")', "good.ext4: Too many levels"),
    ('os.mkfifo(store + "/root/good.ext4", 0o400)', "not as the store makes its files"),
    (KEEP + 'os.link(store + "/root/good.ext4", store + "/root/second")', "not as the store makes its files"),
    (KEEP + 'os.chmod(store + "/root/good.ext4", 0o644)', "not as the store makes its files"),
    (KEEP + 'answer["fs"] = "ntfs"', 'a proper "fs"'),
    (KEEP + 'answer["fs"] = 5', 'a proper "fs"'),
    (KEEP + 'config["env"] = ["A=1", "no name"]', 'a proper "env"'),
    (KEEP + 'config["env"] = ["=x"]', 'a proper "env"'),
    (KEEP + 'config["env"] = ["A B=x"]', 'a proper "env"'),
    (KEEP + 'config["env"] = "A=1"', 'a proper "env"'),
    (KEEP + 'config["env"] = [1]', 'a proper "env"'),
    (KEEP + 'config["cmd"] = ["x"] * 5000', 'a proper "cmd"'),
    (KEEP + 'config["cmd"] = ["x" * 200000]', 'a proper "cmd"'),
    (KEEP + 'config["cmd"] = ["x\\0y"]', "no JSON object"),
    (KEEP + 'config["working_dir"] = "tmp"', 'a proper "working_dir"'),
    (KEEP + 'config["user"] = "a\\nb"', 'a proper "user"'),
    (KEEP + 'answer["notes"] = ["x"] * 17', 'a proper "notes"'),
    (KEEP + 'answer["config"] = []', 'a proper "working_dir"'),
    ('answer = [1]', "no JSON object"),
    ('print("x")', "no JSON object"),
    ('print("[" * 100000); sys.exit(0)', "no JSON object"),
    ('[print("x" * (1 << 20)) for i in range(40)]', "answered with more than"),
    ('print("weir-image: \\x1b[2Jbad\\nworse \\u00fc", file=sys.stderr); sys.exit(1)', "worse \u00fc"),
    ('print("weir-image: \\x1b[2Jbad", file=sys.stderr); sys.exit(1)', "?[2Jbad"),
    ('sys.stderr.write("x" * 100000); sys.exit(1)', "xxx"),
    ('sys.exit(3)', "did not say why"),
    ('os.kill(os.getpid(), 9)', "was killed by signal 9"),
], ids=str)
def test_hostile_answers(fake, does, says):
    p = fake(does)
    err = p.communicate(timeout=30 * SLACK)[1].decode()
    assert p.returncode == 125 and says in err, err
    assert "\x1b" not in err and len(err) < 4000, err


def test_nothing_of_ours_goes_along(fake):
    """Neither environment nor descriptors; notes of its are shown as harmless text."""
    p = fake(KEEP + 'answer["notes"] = ["left \\x1b]0;out", " ".join(sorted(os.listdir("/proc/self/fd")))]\n'
             'answer["config"] = 1')
    err = p.communicate(timeout=30 * SLACK)[1].decode()
    with open(fake.seen, encoding="utf-8") as f:
        _, env, _ = json.load(f)
    assert not {k for k in env if not k.startswith(("LC_", "PYTHON"))}, env
    assert p.returncode == 125, err


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_while_it_reads(fake, sig):
    p = fake("time.sleep(1000)")
    assert wait_for(lambda: os.path.exists(fake.seen) and os.path.getsize(fake.seen)), p
    with open(fake.seen, encoding="utf-8") as f:
        _, _, pid = json.load(f)
    os.kill(p.pid, sig)
    p.communicate(timeout=10 * SLACK)
    assert p.returncode == -sig
    assert wait_for(lambda: not os.path.exists("/proc/%d" % pid))
    assert os.listdir(fake.store + "/tmp") == []


# ---- images of every kind ----

def sha(b):
    return hashlib.sha256(b).hexdigest()


def archive(path, kind, config):
    """All of ROOT as one layer: what docker save writes, or an OCI layout."""
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=tarfile.PAX_FORMAT) as t:
        t.add(ROOT, arcname=".")
        i = tarfile.TarInfo("gr\u00fc\u00dfe")
        i.size = 2
        t.addfile(i, io.BytesIO(b"hi"))
    layer = b.getvalue()
    conf = json.dumps({"architecture": "amd64", "os": "linux", "config": config,
                       "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(layer)]}}).encode()

    def ref(blob, kind):
        return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + sha(blob), "size": len(blob)}

    with tarfile.open(path, "w") as t:
        def put(name, blob):
            i = tarfile.TarInfo(name)
            i.size = len(blob)
            t.addfile(i, io.BytesIO(blob))

        if kind == "docker":
            put("1/layer.tar", layer)
            put(sha(conf) + ".json", conf)
            put("manifest.json", json.dumps([{"Config": sha(conf) + ".json", "RepoTags": ["lab:1"],
                                              "Layers": ["1/layer.tar"]}]).encode())
        else:
            m = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                            "config": ref(conf, "config.v1+json"), "layers": [ref(layer, "layer.v1.tar")]}).encode()
            put("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            put("index.json", json.dumps({"schemaVersion": 2, "manifests": [ref(m, "manifest.v1+json")]}).encode())
            for blob in (m, conf, layer):
                put("blobs/sha256/" + sha(blob), blob)
    return path


def machine(vm, *root):
    at = vm.machine.index("--rootfs")
    return [*vm.machine[:at], *root, *vm.machine[at + 2:]]


# Parity: V26.
@pytest.mark.slow
def test_entrypoint_and_cmd(vm):
    """As Docker's users expect: what runs with no command, with one, and with another entrypoint."""
    config = {"Entrypoint": ["sh", "-c", 'echo "args $0 $*"; echo "made $MADE"; echo "where $(pwd)"; cat /gr*'],
              "Cmd": ["one", "two"], "Env": ["MADE=by the image"], "WorkingDir": "/tmp"}
    oci, docker = (archive(vm.path(k + ".tar"), k, config) for k in ("oci", "docker"))
    vm.machine = machine(vm, "--image", oci)
    r = run(vm)
    assert words(r.out, "args") == ["one two"] and words(r.out, "made") == ["by the image"], r
    assert words(r.out, "where") == ["/tmp"] and r.out.endswith("hi") and r.rc == 0, r
    assert r.find("run", event="begin")[0]["command"] == "sh", r
    vm.machine = [docker if x == oci else x for x in vm.machine]
    r = run(vm, "mine")
    assert words(r.out, "args") == ["mine "], r
    r = run(vm, "-c", "echo second $#; exit 5", flags=["--entrypoint", "/bin/sh"])
    assert r.out == "second 0\n" and r.rc == 5, r


def test_no_command_anywhere(vm):
    empty = archive(vm.path("empty.tar"), "docker", {})
    r = run(vm)
    assert r.rc in (2, 125) and "there is no command to run" in r.err, r
    vm.machine = machine(vm, "--image", empty)
    r = run(vm)
    assert r.rc == 125 and "neither Entrypoint nor Cmd" in r.err, r


@pytest.mark.slow
@pytest.mark.parametrize("fs,make", [("squashfs", ["mksquashfs", ROOT, "OUT", "-quiet", "-no-progress", "-noappend"]),
                                     ("erofs", ["mkfs.erofs", "--quiet", "OUT", ROOT])])
def test_file_systems_that_are_read_only(vm, fs, make):
    """As a root, with the machine's own files over it; and once more as a volume."""
    out = vm.path(fs)
    subprocess.run([out if x == "OUT" else x for x in make], check=True, capture_output=True)
    subprocess.run(["truncate", "-s", "%4096", out], check=True)
    with open(out, "rb") as f:
        before = sha(f.read())
    vm.machine = machine(vm, "--rootfs", out)
    r = run(vm, "sh", "-c", 'echo x >/written && echo "wrote $(cat /written)"; grep " /v " /proc/mounts; ls /v/bin/sh',
            flags=["--volume", out + ":/v:ro"])
    assert words(r.out, "wrote") == ["x"] and fs in r.out and "/v/bin/sh" in r.out and r.rc == 0, r
    with open(out, "rb") as f:
        assert sha(f.read()) == before
    if fs == "squashfs":
        r = run(vm, "true", flags=["--volume", out + ":/v"])
        assert r.rc == 125 and 'is squashfs, which is read-only: add ":ro"' in r.err, r


# ---- QEMU as root ----

@pytest.mark.slow
def test_qemu_is_nobody(vm):
    """Started by root, it is not root, in its namespace neither; without rights and groups."""
    if os.geteuid() != 0:
        pytest.skip("root's case")
    p = vm.start("sh", "-c", "echo up; sleep 1000", flags=[*vm.machine, "--name", "nobody"])
    try:
        assert p.stdout.readline() == b"up\n", p.communicate()
        with open("/proc/%d/status" % machines("nobody")[0], encoding="ascii") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}, status
        assert not status["Groups"].split(), status
        assert {status[c].strip("0") for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}, status
        assert status["NoNewPrivs"] == "1", status
    finally:
        p.terminate()
        p.communicate(timeout=30 * SLACK)
