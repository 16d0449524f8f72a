#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# weir, pasta and slirp4netns on the same tap set-up, beside a veth pair, loopback and the least relay
# that can carry TCP (relay.c): everything the network path is judged by, as medians and ratios.
#
#   sh tests/bench/net.sh [--runs N] [--seconds S] [--sections LIST] [--peers LIST] [--check]
#
#   --sections  bulk,udp,uso,connect,keep,rr,idle,forward,rest   (default: all but rest)
#   --peers     loopback,veth,relay,weir,weir65520,pasta1500,pasta65520,slirp1500,slirp65520
#   --check     exit 1 when a gate is missed (the gates: tests/bench/README.md)
#   --rest N    how many sandboxes at rest are started in section rest (default 1000)
#   --idle LIST how many idle connections (default 1000,9000)
#
# About 10 minutes with --runs 3 --seconds 1. All packets stay in namespaces made for the run. WEIR=PATH names
# the program. On a busy machine the CPU figures are the dependable ones, then the ratios within a run.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
. "$top/tests/packages.sh"
packages_ensure $packages_bench gcc libc6-dev iproute2 util-linux python3 || exit 1
WEIR=${WEIR:-$top/build/bin/weir}
[ -x "$WEIR" ] || { echo "no $WEIR: build first, or set WEIR" >&2; exit 1; }
OUT=$(mktemp -d) || exit 1
trap 'rm -rf "$OUT"' EXIT
chmod 755 "$OUT"
for f in bench udp relay; do
	gcc -O2 -o "$OUT/$f" "$here/$f.c" || exit 1
done
# One that does not pace: pacing over a tap measures timers. Allowed here, chosen in the namespaces.
cc=$(tr ' ' '\n' </proc/sys/net/ipv4/tcp_allowed_congestion_control | grep -xE 'cubic|reno' | sort | head -n 1)
ulimit -n "$(ulimit -Hn)"
export WEIR OUT BENCH_CC="$cc"
# A user namespace also for root: pasta will not serve the real one.
unshare -Urnmpf --mount-proc --kill-child python3 -B "$here/net.py" "$@"
