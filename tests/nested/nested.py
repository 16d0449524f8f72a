#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command on a machine whose /dev/kvm works, on a host that has none.

    nested.py [-f SOURCE[:DEST]]... [-t SECONDS] [-m MIB] [-c CPUS] [-o DIR] [-i] -- COMMAND...

QEMU emulates a processor with AMD's virtualization (TCG, no KVM needed). In it runs Debian's cloud
kernel with kvm-amd and an initramfs of busybox, COMMAND's program and the files that -f names
(default DEST: /w/NAME; programs bring their libraries, folders what is in them). What COMMAND
writes comes out here, its exit status is this program's; 125 and a reason when the machine itself
fails. DIR keeps out.log and console.log. With -i the processor's clock counts its instructions, one
a nanosecond, and waiting takes no time: what something costs is the same on any host.

COMMAND runs as root in /w. In /bin is busybox; `exits COMMAND...` runs a command and
prints what KVM counted meanwhile, as lines "exits NAME NUMBER"; with EXITS=all, also of what kind.

The kernel is downloaded once, as a package (../kernel.sh), into WEIR_NESTED_CACHE (default: the build folder's
nested/). One emulated processor is fastest; the machine has no network.
"""
import argparse
import os
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
MODULES = ["kvm_amd", "tun"]
FAILED = 125

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/w
# A kernel's first root cannot be exchanged (pivot_root), a mount of the same files can.
if [ "$1" != again ]; then
	mount -o bind / /root
	cd /root
	mount --move . /
	exec chroot . /init again
fi
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t tmpfs shm /dev/shm
mount -t tracefs trace /sys/kernel/tracing
for m in $(cat /modules/order); do
	case $m in kvm-amd.ko) insmod /modules/$m nested=0 ;; *) insmod /modules/$m ;; esac
done
ip link set lo up
for n in 1 2 3 4 5 6 7 8 9; do ip addr add 198.51.100.$n/32 dev lo; done
chmod 666 /dev/kvm
stty -F /dev/ttyS1 raw -echo
cd /w
sh /etc/command </dev/null >/dev/ttyS1 2>&1
echo "nested status $?" >/dev/ttyS1
sync
poweroff -f
"""

# What KVM's own trace points count: every exit, and those that reach the program.
EXITS = """#!/bin/sh
t=/sys/kernel/tracing/events/kvm
counted="kvm_exit:exit_reason kvm_userspace_exit:reason kvm_pio:port,rw kvm_mmio:gpa.hex,type"
[ "$EXITS" != all ] || counted="$counted kvm_msr:ecx.hex,write kvm_cpuid:function.hex kvm_apic:reg.hex,rw"
for e in $counted; do
	echo "hist:keys=${e#*:}" >$t/${e%:*}/trigger
done
"$@"
rc=$?
for e in $counted; do
	name=${e%:*}
	awk -v e=$name '/^ *Hits:/ { print "exits", e, $2 }' $t/$name/hist
	[ "$EXITS" != all ] || sed -n "s/^{ \\(.*[^ ]\\) *} hitcount: *\\([0-9]*\\)/kind $name \\2 \\1/p" $t/$name/hist
	echo "!hist:keys=${e#*:}" >$t/$name/trigger
done
exit $rc
"""


def fail(what):
    print(f"nested: {what}", file=sys.stderr)
    sys.exit(FAILED)


def quiet(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


# ---- the kernel ------------------------------------------------------------------------------

def kernel(cache, package=""):
    """The unpacked package of the newest kernel, a cloud kernel unless another is named: its folder and version."""
    p = subprocess.run(["sh", os.path.join(TOP, "tests", "kernel.sh"), cache, *package.split()],
                       stdout=subprocess.PIPE, text=True)
    if p.returncode:
        fail("no kernel to run")
    root = p.stdout.strip()
    return root, os.listdir(os.path.join(root, "lib", "modules"))[0]


def module_files(root, version, names):
    """Paths in the order in which they can be inserted, each once."""
    seen = []
    for name in names:
        out = quiet("modprobe", "-d", root, "-S", version, "--show-depends", name)
        for line in out.splitlines():
            words = line.split()
            if words[0] == "insmod" and words[1] not in seen:
                seen.append(words[1])
    return seen


def plain_module(path):
    """A module's bytes and name without compression."""
    for ending, tool in ((".xz", "xz"), (".zst", "zstd")):
        if path.endswith(ending):
            data = subprocess.run([tool, "-qdc", path], check=True, capture_output=True).stdout
            return os.path.basename(path)[:-len(ending)], data
    with open(path, "rb") as f:
        return os.path.basename(path), f.read()


# ---- the initramfs -----------------------------------------------------------------------------

class Archive:
    """A newc cpio: what the kernel unpacks into its first root."""

    def __init__(self, out):
        self.out, self.made, self.ino = out, {""}, 1

    def entry(self, path, mode, data=b""):
        name = path.encode() + b"\0"
        self.ino += 1
        fields = [self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + name
        self.out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    def folder(self, path):
        if path not in self.made:
            self.folder(os.path.dirname(path))
            self.made.add(path)
            self.entry(path, stat.S_IFDIR | 0o755)

    def file(self, path, data, mode=0o644):
        path = path.lstrip("/")
        if path in self.made:
            return
        self.folder(os.path.dirname(path))
        self.made.add(path)
        self.entry(path, stat.S_IFREG | mode, data)

    def copy(self, source, path):
        """A file with the libraries that it needs, or a folder."""
        if os.path.isdir(source):
            self.folder(path.strip("/"))
            for name in sorted(os.listdir(source)):
                self.copy(os.path.join(source, name), f"{path}/{name}")
            return
        with open(source, "rb") as f:
            data = f.read()
        self.file(path, data, 0o755 if os.access(source, os.X_OK) else 0o644)
        if data[:4] == b"\x7fELF":
            for library in libraries(source):
                self.copy(library, library)

    def end(self):
        self.entry("TRAILER!!!", 0)


def libraries(program):
    p = subprocess.run(["ldd", program], capture_output=True, text=True)
    return [w for line in p.stdout.splitlines() for w in line.split() if w.startswith("/")] \
        if p.returncode == 0 else []


def quote(word):
    return "'" + word.replace("'", "'\\''") + "'"


def write_initramfs(path, root, version, files, command):
    busybox = shutil.which("busybox") or fail("busybox is missing: apt-get install busybox")
    with open(path, "wb") as out:
        a = Archive(out)
        for folder in ("dev", "proc", "sys", "tmp", "run", "root", "w", "etc"):
            a.folder(folder)
        a.file("/init", INIT.encode(), 0o755)
        a.copy(busybox, "/bin/busybox")
        a.file("/bin/exits", EXITS.encode(), 0o755)
        a.file("/etc/passwd", b"root:x:0:0::/w:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        a.file("/etc/group", b"root:x:0:\n")
        a.file("/etc/hosts", b"127.0.0.1 localhost\n")
        order = []
        for module in module_files(root, version, MODULES):
            name, data = plain_module(module)
            order.append(name)
            a.file(f"/modules/{name}", data)
        a.file("/modules/order", ("\n".join(order) + "\n").encode())
        for source, dest in files:
            a.copy(source, dest)
        a.file("/etc/command", ("exec " + " ".join(map(quote, command)) + "\n").encode())
        a.end()


# ---- the machine -------------------------------------------------------------------------------

def find_program(word, files):
    """COMMAND's program comes along when it is a file here, and goes where its name says."""
    path = shutil.which(word)
    if os.sep not in word or not path:
        return word
    files.append((path, f"/w/{os.path.basename(word)}"))
    return f"/w/{os.path.basename(word)}"


def run(command, files=(), seconds=120, memory=1024, cpus=1, out=None, cache=None, counted=False):
    """The exit status and everything that was written."""
    processor = ["-accel", "tcg,thread=multi"]
    if counted:
        processor = ["-accel", "tcg,thread=single", "-icount", "shift=0,align=off,sleep=off"]
    cache = cache or os.environ.get("WEIR_NESTED_CACHE", os.path.join(TOP, "build", "nested"))
    root, version = kernel(cache)
    files = list(files)
    command = [find_program(command[0], files), *command[1:]]
    with tempfile.TemporaryDirectory() as tmp:
        initrd = os.path.join(tmp, "initrd")
        write_initramfs(initrd, root, version, files, command)
        folder = out or tmp
        os.makedirs(folder, exist_ok=True)
        log, console = os.path.join(folder, "out.log"), os.path.join(folder, "console.log")
        p = subprocess.run(
            ["timeout", "-k", "5", str(seconds), "qemu-system-x86_64", *processor,
             "-cpu", "max", "-M", "q35", "-smp", str(cpus), "-m", str(memory), "-nodefaults",
             "-nographic", "-no-reboot", "-kernel", f"{root}/boot/vmlinuz-{version}",
             "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
             "-serial", f"file:{console}", "-serial", f"file:{log}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        text, told = read(log), read(console)
    written, found, status = text.rpartition("nested status ")
    if not found:
        why = f"not in {seconds} seconds" if p.returncode in (124, 137) else "it died"
        print(text, end="")
        print(f"{told[-2000:]}\n{p.stderr[-500:]}", file=sys.stderr)
        fail(f"the machine did not end well: {why}")
    return int(status), written


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-f", action="append", default=[], metavar="SOURCE[:DEST]")
    parser.add_argument("-t", type=int, default=120, metavar="SECONDS")
    parser.add_argument("-m", type=int, default=1024, metavar="MIB")
    parser.add_argument("-c", type=int, default=1, metavar="CPUS")
    parser.add_argument("-o", metavar="DIR")
    parser.add_argument("-i", action="store_true")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    files = []
    for word in args.f:
        source, _, dest = word.partition(":")
        files.append((source, dest or f"/w/{os.path.basename(source)}"))
    status, text = run(args.command, files, args.t, args.m, args.c, args.o, counted=args.i)
    print(text, end="")
    return status


if __name__ == "__main__":
    sys.exit(main())
