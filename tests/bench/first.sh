#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# weir, pasta and slirp4netns side by side: TCP throughput both ways, connections per second, latency.
#
#   sh tests/bench/first.sh [RUNS [SECONDS]]      default 3 runs of 2 seconds: about two minutes
#
# All in throw-away namespaces: a "host" with the servers and, for each peer, a client namespace that
# reaches it through that peer only. The peers take turns within each run, so that other work on the
# machine meets them alike. Prints medians, and weir's share of each peer's figure.
# PEERS="weir pasta slirp" chooses; WEIR=PATH names the program.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

if [ -z "${BENCH_INSIDE:-}" ]; then
	. "$top/tests/packages.sh"
	packages_ensure $packages_bench gcc libc6-dev iproute2 util-linux python3 || exit 1
	WEIR=${WEIR:-$top/build/bin/weir}
	[ -x "$WEIR" ] || { echo "no $WEIR: build first, or set WEIR" >&2; exit 1; }
	OUT=$(mktemp -d) || exit 1
	trap 'rm -rf "$OUT"' EXIT
	chmod 755 "$OUT"
	gcc -O2 -o "$OUT/bench" "$here/bench.c" || exit 1
	export WEIR OUT BENCH_INSIDE=1
	# A user namespace also for root: pasta will not serve the real one.
	unshare -Urnmpf --mount-proc --kill-child sh "$here/first.sh" "$@"
	exit
fi

runs=${1:-3}
secs=${2:-2}
peers=${PEERS:-direct weir pasta slirp}
server=93.184.216.34
NS=$OUT/client
cd "$OUT" || exit 1

# ---- the host ---------------------------------------------------------------------------------

mount --make-rprivate /
mount -t tmpfs bench /run
mkdir /run/netns
ip link set lo up
ip addr add $server/32 dev lo
# An interface with a default route: peers copy its settings. Nobody is at the other end.
ip link add up0 type veth peer name up1
ip addr add 192.0.2.10/24 dev up0
ip link set up0 up
ip link set up1 up
ip route add default via 192.0.2.1
printf 'nameserver 192.0.2.1\n' >resolv.conf
mount --bind resolv.conf "$(readlink -f /etc/resolv.conf)" 2>/dev/null
# The same congestion control for all, and one that does not pace: pacing on a tap measures timers.
cc=$(tr ' ' '\n' </proc/sys/net/ipv4/tcp_allowed_congestion_control | grep -xE 'cubic|reno' | sort | head -n 1)
./bench serve $server 5400 &
iperf3 -s -D -B $server -p 5201 >/dev/null

# ---- the peers: in_PEER COMMAND... runs a client behind it ---------------------------------------

start_direct() { :; }
in_direct() { "$@"; }
stop_direct() { :; }

start_weir() { :; }
in_weir() {
	"$WEIR" run --backend netns --policy allow_all --audit "$OUT/audit.$$" -- "$@"
	rc=$?
	rm -f "$OUT/audit.$$"
	return $rc
}
stop_weir() { :; }

start_pasta() {
	ip netns add client
	ip netns exec client ip link set lo up
	pasta -f -q --config-net -t none -u none -T none -U none --netns /run/netns/client 2>pasta.log &
	peer=$!
	wait_for_route
}
in_pasta() { ip netns exec client "$@"; }
stop_pasta() { stop_peer; }

start_slirp() {
	ip netns add client
	ip netns exec client ip link set lo up
	slirp4netns --configure --mtu=65520 --disable-dns --netns-type=path /run/netns/client tap0 \
		>slirp.log 2>&1 &
	peer=$!
	wait_for_route
}
in_slirp() { ip netns exec client "$@"; }
stop_slirp() { stop_peer; }

wait_for_route() {
	i=0
	while [ $i -lt 50 ] && ! ip -n client route | grep -q default; do
		sleep 0.1
		i=$((i + 1))
	done
	sleep 0.2
}
stop_peer() {
	kill "$peer"
	wait "$peer" 2>/dev/null
	ip netns del client
}

# ---- measuring ----------------------------------------------------------------------------------

emit() { echo "$peer_name $1 $2" >>figures; }
# The receiver's figure counts: what arrived.
bulk() { # bulk TEST IPERF-OPTION...
	test=$1
	shift
	in_$peer_name iperf3 -c $server -p 5201 -t "$secs" ${cc:+-C "$cc"} -J "$@" >iperf.json 2>iperf.err
	python3 - "$test" <<'PY' >iperf.out
import json, sys
try:
    e = json.load(open("iperf.json"))["end"]
    print(e["sum_received"]["bits_per_second"] / 1e9)
except Exception:
    pass
PY
	[ -s iperf.out ] && emit "$test" "$(cat iperf.out)"
}
client() { # client TEST MODE: rate and median time
	in_$peer_name "$OUT/bench" "$2" $server 5400 "$secs" >client.out 2>client.err || {
		sed "s/^/$peer_name $1: /" client.err >&2
		return
	}
	emit "$1_rate" "$(sed -n 's/.*rate=\([0-9.]*\).*/\1/p' client.out)"
	emit "$1_us" "$(sed -n 's/.*p50=\([0-9.]*\).*/\1/p' client.out)"
}

: >figures
run=0
while [ $run -lt "$runs" ]; do
	for peer_name in $peers; do
		start_$peer_name
		bulk up
		bulk down -R
		bulk up4 -P 4
		client rr rr
		client crr crr
		stop_$peer_name
	done
	run=$((run + 1))
done

python3 - "$cc" $peers <<'PY'
import collections, statistics, sys

peers = sys.argv[2:]
figures = collections.defaultdict(list)
for line in open("figures"):
    peer, test, value = line.split()
    figures[peer, test].append(float(value))
rows = [("up", "throughput up, Gbit/s"), ("up4", "up, 4 connections, Gbit/s"),
        ("down", "throughput down, Gbit/s"),
        ("crr_rate", "connections per second"), ("crr_us", "one connection, us"),
        ("rr_rate", "round trips per second"), ("rr_us", "round trip, us")]
others = [p for p in peers if p not in ("weir", "direct")]
head = ["median of %d runs" % max(map(len, figures.values()), default=0)] + peers
head += ["weir/" + p for p in others if "weir" in peers]
table = [head]
for test, title in rows:
    m = {p: statistics.median(figures[p, test]) for p in peers if figures[p, test]}
    row = [title] + ["%.2f" % m[p] if p in m and m[p] < 100 else "%.0f" % m[p] if p in m else "-"
                     for p in peers]
    if "weir" in peers:
        row += ["%.2fx" % (m["weir"] / m[p]) if p in m and "weir" in m and m[p] else "-"
                for p in others]
    table.append(row)
widths = [max(len(r[i]) for r in table) for i in range(len(head))]
for r in table:
    print("  ".join([r[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(r[1:], widths[1:])]))
print("(us: less is better. pasta with its default MTU, slirp4netns with 65520; direct: no peer, loopback;"
      " congestion control %s)" % (sys.argv[1] or "the system's"))
PY
