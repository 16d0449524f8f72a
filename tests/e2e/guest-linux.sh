#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stock Debian kernel and a small initramfs for test_qemu.py; the kernel's modules and a small
# root file system for test_microvm.py:
#
#   sh tests/e2e/guest-linux.sh DIR     DIR/vmlinuz, DIR/initrd, DIR/modules, DIR/root; nothing to do
#                                       when they are there
#
# The kernel is what ../kernel.sh downloads, into the folder nested beside DIR. In the initramfs:
# busybox, the modules of virtio-net, curl with its libraries, and an init that takes its job from the
# kernel's command line (job=NAME runs /jobs/NAME).
set -eu
dir=$1
[ -e "$dir/vmlinuz" ] && [ -e "$dir/initrd" ] && [ -e "$dir/modules" ] && [ -e "$dir/root" ] && exit 0
for tool in modprobe cpio busybox curl ldd; do
	command -v "$tool" >/dev/null || { echo "guest-linux.sh: $tool is missing" >&2; exit 1; }
done
mkdir -p "$dir"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
root=$(sh "$(dirname "$0")/../kernel.sh" "${WEIR_NESTED_CACHE:-$(dirname "$dir")/nested}")
version=$(ls "$root/lib/modules")

i=$tmp/initrd
mkdir -p "$i/bin" "$i/dev" "$i/proc" "$i/sys" "$i/tmp" "$i/etc" "$i/modules" "$i/jobs"
for m in virtio_pci virtio_net af_packet ipv6; do
	modprobe -d "$root" -S "$version" --show-depends "$m" 2>/dev/null |
		awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r f; do
	name=$(basename "$f")
	case $f in
	*.xz) xz -dc "$f" >"$i/modules/${name%.xz}" ;;
	*.zst) zstd -qdc "$f" >"$i/modules/${name%.zst}" ;;
	*) cp "$f" "$i/modules/$name" ;;
	esac
	name=${name%.xz} && echo "${name%.zst}" >>"$i/modules/order"
done
for program in busybox curl; do
	path=$(command -v $program)
	cp -L "$path" "$i/bin/$program"
	for f in $(ldd "$path" 2>/dev/null | grep -oE '/[^ )]+'); do
		mkdir -p "$i$(dirname "$f")"
		cp -L "$f" "$i$f"
	done
done
# glibc loads these by name; a static busybox has no need of them.
mkdir -p "$i/lib/x86_64-linux-gnu"
for f in /lib/x86_64-linux-gnu/libnss_dns.so.2 /lib/x86_64-linux-gnu/libnss_files.so.2; do
	[ ! -e "$f" ] || cp -L "$f" "$i$f"
done
echo 'hosts: files dns' >"$i/etc/nsswitch.conf"
echo '127.0.0.1 localhost' >"$i/etc/hosts"
echo 'root:x:0:0::/:/bin/sh' >"$i/etc/passwd"
rm -rf "$dir/root" "$dir/modules" "$dir/root.part" "$dir/modules.part"
mkdir "$dir/root.part"
(cd "$i" && tar -cf - bin etc lib* usr 2>/dev/null) | tar -xf - -C "$dir/root.part"
mkdir "$dir/root.part/tmp" "$dir/root.part/root"
for applet in $("$i/bin/busybox" --list); do
	[ -e "$dir/root.part/bin/$applet" ] || ln -s busybox "$dir/root.part/bin/$applet"
done
mv "$dir/root.part" "$dir/root"
cp -a "$root/lib/modules/$version" "$dir/modules.part"
mv "$dir/modules.part" "$dir/modules"
cat >"$i/etc/udhcpc" <<'END'
#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev eth0 scope global
ip addr add "$ip/$mask" dev eth0
[ -z "${mtu:-}" ] || ip link set eth0 mtu "$mtu"
ip route replace default via "$router"
for s in $dns; do echo "nameserver $s"; done >/etc/resolv.conf
echo "lease $ip/$mask via $router dns $dns mtu ${mtu:-none}"
END
cat >"$i/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod "/modules/$m"; done
ip link set lo up
ip link set eth0 up
for word in $(cat /proc/cmdline); do
	case $word in job=*) job=${word#job=} ;; esac
done
stty -F /dev/ttyS1 raw -echo
. "/jobs/$job" </dev/null >/dev/ttyS1 2>&1
echo "job ended" >/dev/ttyS1
poweroff -f
END
cat >"$i/etc/work" <<'END'
# What both jobs do: an address, a name that is allowed, one that is not, bytes both ways.
udhcpc -i eth0 -q -n -f -t 20 -T 1 -s /etc/udhcpc
curl -sS --max-time 60 http://files.example.com/bytes/$1 | sha256sum | sed 's/ .*//; s/^/down /'
curl -sS --max-time 20 http://evil.example.net/ || echo "evil $?"
END
cat >"$i/jobs/all" <<'END'
set -- 3000017; . /etc/work
head -c 3000017 /dev/urandom >/tmp/up
sha256sum </tmp/up | sed 's/ .*//; s/^/sent /'
echo "up $(curl -sS --max-time 60 -T /tmp/up http://files.example.com/up)"
ping -c 1 -W 10 echo.example.com >/dev/null && echo "ping 4"
n=0
# A connection that begins while the address is tentative would come from a link-local one.
while [ $n -lt 100 ] && ! ip -6 addr show dev eth0 scope global | grep inet6 | grep -vq tentative; do
	sleep 0.1
	n=$((n + 1))
done
ip -6 -o addr show dev eth0 scope global | sed 's/ *\\.*//; s/.*inet6 /address /'
curl -sS -6 --max-time 15 http://files6.example.com/bytes/100003 | sha256sum | sed 's/ .*//; s/^/down6 /'
cat /sys/class/net/eth0/device/features | sed 's/^/features /'
END
cat >"$i/jobs/again" <<'END'
set -- 100003; . /etc/work
END
chmod +x "$i/init" "$i/etc/udhcpc"
(cd "$i" && find . -print0 | cpio --null -o -H newc --quiet) | gzip -1 >"$dir/initrd.part"
cp "$root"/boot/vmlinuz-* "$dir/vmlinuz"
mv "$dir/initrd.part" "$dir/initrd"
