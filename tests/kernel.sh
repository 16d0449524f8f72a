#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stock Debian kernel, unpacked and not installed:
#
#   sh tests/kernel.sh CACHE [PACKAGE]
#
# prints the folder, below CACHE, with boot/ and lib/modules/ of the newest kernel that PACKAGE
# (default linux-image-cloud-amd64, 26 MB) depends on. apt-get downloads it the first time; afterwards
# what is there is taken, and nothing asked.
set -eu
cache=$1 wanted=${2:-linux-image-cloud-amd64}
fail() {
	echo "kernel.sh: $*" >&2
	exit 1
}
for tool in apt-get dpkg-deb depmod flock; do
	command -v "$tool" >/dev/null || fail "$tool is missing"
done
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
exec 9>"$cache/lock"
flock 9
ready=$cache/$wanted.ready
if [ -e "$ready" ] && [ -d "$cache/$(cat "$ready")/root" ]; then
	echo "$cache/$(cat "$ready")/root"
	exit 0
fi

newest() { apt-cache depends "$wanted" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }'; }
# Five minutes at most, whatever the mirror does.
apt() { timeout -k 5 300 apt-get -qq -o Acquire::http::Timeout=30 -o Acquire::Retries=2 "$@" >&2; }
pkg=$(newest)
if [ -z "$pkg" ] && [ "$(id -u)" -eq 0 ]; then
	apt update || :
	pkg=$(newest)
fi
[ -n "$pkg" ] || fail "no package of a kernel is known ($wanted): as root, apt-get update"
rm -rf "${cache:?}/$pkg"
mkdir "$cache/$pkg"
cd "$cache/$pkg"
apt -o APT::Sandbox::User=root download "$pkg" ||
	fail "$pkg cannot be downloaded: is a Debian mirror reachable? What is known may be old: apt-get update"
dpkg-deb -x ./*.deb root
rm ./*.deb
[ -d root/lib/modules ] || ln -s usr/lib root/lib
depmod -b root "$(ls root/lib/modules)"
echo "$pkg" >"$ready"
echo "$cache/$pkg/root"
