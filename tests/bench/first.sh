#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# weir, pasta and slirp4netns side by side: TCP throughput both ways, connections per second, latency.
#
#   sh tests/bench/first.sh [RUNS [SECONDS]]      default 3 runs of 2 seconds: about two minutes
#
# All in throw-away namespaces: a "host" with the servers and, for each peer, a client namespace that
# reaches it through that peer only. The peers take turns within each run, so that other work on the
# machine meets them alike. Prints medians, weir's share of each peer's figure with its spread over the
# runs, and what CPU time the peer's own processes took: on a busy machine that is the dependable figure.
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

# CPU time of the peer's processes so far, in clock ticks.
cpu() {
	for p in /proc/[0-9]*; do
		read -r comm <"$p/comm" || continue
		case $peer_name:$comm in
		weir:weir* | pasta:pas[st]* | slirp:slirp4netns*) cat "$p/stat" ;;
		esac
	done 2>/dev/null | sed 's/.*) //' | awk '{ t += $12 + $13 } END { print t + 0 }'
}
# Runs a client behind the peer; its output goes to client.out, the peer's ticks meanwhile to $ticks.
# The client waits at a gate before and after, so that starting and ending the peer do not count.
measured() {
	rm -f gate at_gate
	mkfifo gate at_gate
	in_$peer_name sh -c 'cd "$0" && echo >at_gate && read -r x <gate && "$@" && ok=1
		echo ${ok:+1} >at_gate; read -r x <gate; [ "$ok" ]' "$OUT" "$@" >client.out 2>client.err &
	job=$!
	# Opened both ways: a peer that dies must not leave us waiting for ever.
	exec 3<>at_gate 4<>gate
	ticks=0
	if timeout 20 head -n 1 <&3 >/dev/null; then
		before=$(cpu)
		echo >&4
		timeout $((secs + 20)) head -n 1 <&3 >/dev/null
		ticks=$(($(cpu) - before))
	fi
	echo >&4
	wait $job
	rc=$?
	exec 3<&- 4<&-
	return $rc
}
emit_cpu() { # emit_cpu TEST AMOUNT UNIT: CPU time for each of AMOUNT, in units of that many seconds
	[ "$peer_name" = direct ] || emit "$1_cpu" "$(awk "BEGIN { print $ticks / $tick_hz / ($2) / $3 }")"
}
tick_hz=$(getconf CLK_TCK)
# The receiver's figure counts: what arrived.
bulk() { # bulk TEST IPERF-OPTION...
	test=$1
	shift
	measured iperf3 -c $server -p 5201 -t "$secs" ${cc:+-C "$cc"} -J "$@"
	python3 - "$test" <<'PY' >iperf.out
import json, sys
try:
    e = json.load(open("client.out"))["end"]["sum_received"]
    print(e["bits_per_second"] / 1e9, e["bytes"] / 2**30)
except Exception:
    pass
PY
	[ -s iperf.out ] || return
	read -r rate gib <iperf.out
	emit "$test" "$rate"
	emit_cpu "$test" "$gib" 1
}
client() { # client TEST MODE: rate and median time
	measured "$OUT/bench" "$2" $server 5400 "$secs" || {
		sed "s/^/$peer_name $1: /" client.err >&2
		return
	}
	emit "$1_rate" "$(sed -n 's/.*rate=\([0-9.]*\).*/\1/p' client.out)"
	emit "$1_us" "$(sed -n 's/.*p50=\([0-9.]*\).*/\1/p' client.out)"
	emit_cpu "$1" "$(sed -n 's/.*rate=\([0-9.]*\).*/\1/p' client.out) * $secs" 1e-6
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
        ("rr_rate", "round trips per second"), ("rr_us", "round trip, us"),
        ("up_cpu", "CPU s per GiB up"), ("down_cpu", "CPU s per GiB down"),
        ("crr_cpu", "CPU us per connection"), ("rr_cpu", "CPU us per round trip")]
others = [p for p in peers if p not in ("weir", "direct")]
head = ["median of %d runs" % max(map(len, figures.values()), default=0)] + peers
head += ["weir/" + p for p in others if "weir" in peers]
table = [head]
for test, title in rows:
    m = {p: statistics.median(figures[p, test]) for p in peers if figures[p, test]}
    row = [title] + ["%.2f" % m[p] if p in m and m[p] < 100 else "%.0f" % m[p] if p in m else "-"
                     for p in peers]
    for p in others if "weir" in peers else []:
        # Runs pair up: within one, the peers met the same machine.
        r = [a / b for a, b in zip(figures["weir", test], figures[p, test]) if b]
        row.append("%.2fx (%.2f-%.2f)" % (statistics.median(r), min(r), max(r)) if r else "-")
    table.append(row)
widths = [max(len(r[i]) for r in table) for i in range(len(head))]
for r in table:
    print("  ".join([r[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(r[1:], widths[1:])]))
print("(us and CPU: less is better; CPU is the peer's own processes'. pasta with its default MTU, slirp4netns with 65520; direct: no peer, loopback;"
      " congestion control %s)" % (sys.argv[1] or "the system's"))
PY
