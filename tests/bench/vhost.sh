#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Instructions of our own per byte of TCP payload, over a vhost-user link beside a tap: what goes on
# inside the loop, counted by callgrind, so that it is nearly the same on every run and every machine.
# The kernel's part (a tap copies, buffers in guest memory are written by recvmsg at once) shows in the
# CPU time of the same loop, which depends on the machine and on what else it does.
#
#   sh tests/bench/vhost.sh [--check] [MIB]      default 32: about half a minute
#
# --check: exit 1 when vhost-user needs more than the tap in either direction.
# BUILD=DIR names a build folder (default build/), which must have been built.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
build=${BUILD:-$top/build}
check=0
if [ "${1:-}" = --check ]; then
	check=1
	shift
fi
mib=${1:-32}

. "$top/tests/packages.sh"
packages_ensure $packages_build valgrind
[ -f "$build/netstack/libweir_netstack.a" ] || { echo "no $build/netstack/libweir_netstack.a: build first, or set BUILD" >&2; exit 1; }
OUT=$(mktemp -d)
trap 'rm -rf "$OUT"' EXIT
gcc -std=gnu17 -O2 -D_GNU_SOURCE -I"$top" -I"$top/tests/unit/netstack" -o "$OUT/vhost" "$here/vhost.c" \
	"$build/netstack/libweir_netstack.a" "$build/base/libweir_base.a" -lcmocka

# The handshake and the rest of the start are taken off by a second, shorter run.
count() {
	valgrind --tool=callgrind --toggle-collect=loop_step --callgrind-out-file=/dev/null \
		"$OUT/vhost" "$1" "$2" "$3" 2>"$OUT/err" >"$OUT/bytes" || { cat "$OUT/err" >&2; exit 1; }
	awk '/Collected/ { print $4 }' "$OUT/err"
}

echo "instructions per KiB of payload, kernel not counted; CPU time, kernel counted ($mib MiB)"
bad=0
for way in up down; do
	for link in tap vhost; do
		few=$(count $link $way 1)
		bytes=$(cut -d' ' -f1 "$OUT/bytes")
		many=$(count $link $way "$mib")
		eval "$link=$(awk -v a="$few" -v b="$many" -v m="$bytes" -v n="$(cut -d' ' -f1 "$OUT/bytes")" \
			'BEGIN { printf "%.0f", (b - a) * 1024 / (n - m) }')"
		eval "${link}_ns=$("$OUT/vhost" $link $way $((mib * 8)) | awk '{ printf "%.0f", $2 * 1024 / $1 }')"
	done
	echo "$way: tap $tap, vhost-user $vhost; CPU time in ns: tap $tap_ns, vhost-user $vhost_ns"
	[ "$vhost" -le "$tap" ] || bad=1
done
[ $check -eq 0 ] || [ $bad -eq 0 ]
