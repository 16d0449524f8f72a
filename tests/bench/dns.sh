#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Cached names per second, over UDP and over TCP: weir's resolver from inside a sandbox, and dnsmasq and
# unbound from beside them, each caching what the same upstream said.
#
#   sh tests/bench/dns.sh [RUNS [SECONDS]]      default 3 runs of 3 seconds: about two minutes
#
# The peers take turns within each run. Prints medians, weir's share of each peer's rate with its spread,
# and how many queries were lost, at full rate and at half of the faster peer's rate. --check as the last
# argument: exit 1 when weir answers less than half of what the slower peer does, or loses a query.
# WEIR=PATH names the program.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

if [ -z "${BENCH_INSIDE:-}" ]; then
	. "$top/tests/packages.sh"
	packages_ensure $packages_bench iproute2 util-linux || exit 1
	WEIR=${WEIR:-$top/build/bin/weir}
	[ -x "$WEIR" ] || { echo "no $WEIR: build first, or set WEIR" >&2; exit 1; }
	OUT=$(mktemp -d) || exit 1
	trap 'rm -rf "$OUT"' EXIT
	chmod 755 "$OUT"
	export WEIR OUT BENCH_INSIDE=1
	unshare -nmpf --mount-proc --kill-child sh "$here/dns.sh" "$@"
	exit
fi

check=
for a; do [ "$a" = --check ] && check=1; done
[ "${1:-}" = --check ] && shift
runs=${1:-3}
secs=${2:-3}
names=1000
upstream=5301
cd "$OUT" || exit 1

# ---- the servers ------------------------------------------------------------------------------

ip link set lo up
awk -v n=$names 'BEGIN { for (i = 0; i < n; i++) print "host" i ".bench.example A" }' >queries

dnsmasq --conf-file=/dev/null --no-daemon --user=root --group=root --pid-file= --no-resolv --no-hosts \
	--port=$upstream --listen-address=127.0.0.1 --bind-interfaces --local-ttl=3600 \
	--address=/bench.example/93.184.216.34 2>upstream.log &
dnsmasq --conf-file=/dev/null --no-daemon --user=root --group=root --pid-file= --no-resolv --no-hosts \
	--port=5302 --listen-address=127.0.0.1 --bind-interfaces --cache-size=10000 \
	--server=127.0.0.1#$upstream --dns-forward-max=1000 2>dnsmasq.log &
cat >unbound.conf <<EOF
server:
	interface: 127.0.0.1@5303
	do-daemonize: no
	username: ""
	chroot: ""
	directory: "$OUT"
	pidfile: ""
	use-syslog: no
	logfile: "$OUT/unbound.log"
	num-threads: 1
	module-config: "iterator"
	do-not-query-localhost: no
	incoming-num-tcp: 100
forward-zone:
	name: "."
	forward-addr: 127.0.0.1@$upstream
remote-control:
	control-enable: no
EOF
unbound -d -c unbound.conf &
sleep 1

# ---- the peers: in_PEER OPTIONS... asks that resolver --------------------------------------------

in_dnsmasq() { dnsperf -s 127.0.0.1 -p 5302 "$@"; }
in_unbound() { dnsperf -s 127.0.0.1 -p 5303 "$@"; }
# With the warming up inside, because the cache is the sandbox's.
in_weir() {
	"$WEIR" run --backend netns --policy allow_all --dns-server 127.0.0.1:$upstream \
		--dns-budget off --audit "$OUT/audit.jsonl" -- \
		sh -c 'dnsperf -s 192.0.0.1 -d "$0" -n 2 >/dev/null && exec dnsperf -s 192.0.0.1 "$@"' \
		"$OUT/queries" "$@"
	rc=$?
	rm -f "$OUT/audit.jsonl"
	return $rc
}

rate() { awk '/Queries per second/ { print int($4) }' out; }
lost() { awk '/Queries lost/ { print $3 }' out; }
emit() { echo "$1 $2 $3" >>figures; }

measure() { # measure PEER TRANSPORT
	in_"$1" -d "$OUT/queries" -l "$secs" -m "$2" -c 10 -q 100 -O suppress=timeout >out 2>err ||
		{ echo "$1 over $2 failed:" >&2; cat out err >&2; exit 1; }
	emit "$1" "$2" "$(rate)"
	emit "$1" "$2_lost" "$(lost)"
	echo "  $1 $2: $(rate)/s, $(lost) lost" >&2
}

in_dnsmasq -d queries -n 2 >/dev/null 2>&1
in_unbound -d queries -n 2 >/dev/null 2>&1
run=0
while [ $run -lt "$runs" ]; do
	run=$((run + 1))
	echo "run $run of $runs" >&2
	for transport in udp tcp; do
		for peer in dnsmasq weir unbound; do
			# dnsmasq ends a TCP connection after a hundred queries.
			[ $peer$transport = dnsmasqtcp ] || measure $peer $transport
		done
	done
done

# At half of the faster peer's rate, told to send no faster: nothing may get lost.
for transport in udp tcp; do
	half=$(awk -v t=$transport '$1 != "weir" && $2 == t && $3 > m { m = $3 } END { print int(m / 2) }' figures)
	in_weir -d "$OUT/queries" -l "$secs" -m $transport -c 10 -q 1000 -Q "$half" -O suppress=timeout >out 2>err
	emit weir half_${transport}_asked "$half"
	emit weir half_$transport "$(rate)"
	emit weir half_${transport}_lost "$(lost)"
done

# ---- the table ------------------------------------------------------------------------------------

sort -k1,1 -k2,2 -k3,3n figures | awk -v check="$check" '
	{ k = $1 " " $2; v[k, ++n[k]] = $3; sum[k] += $3 }
	function median(k) { return v[k, int((n[k] + 1) / 2)] }
	function row(t,   p, peers, i) {
		printf "%-4s %9d", t, median("weir " t)
		split("dnsmasq unbound", peers, " ")
		for (i = 1; i <= 2; i++) {
			p = peers[i] " " t
			if (!n[p]) {
				printf "         -                     "
				continue
			}
			printf " %9d  %5.2fx (%.2f-%.2f)", median(p), median("weir " t) / median(p),
				v["weir " t, 1] / v[p, n[p]], v["weir " t, n["weir " t]] / v[p, 1]
			if (!slow || median(p) < slow)
				slow = median(p)
		}
		printf "  %d lost\n", sum["weir " t "_lost"]
		if (median("weir " t) < slow / 2 || sum["weir " t "_lost"])
			bad = 1
		slow = 0
	}
	END {
		print "cached names per second (medians; weir is asked from inside a sandbox)"
		print "          weir   dnsmasq  weir/it           unbound  weir/it"
		row("udp")
		row("tcp")
		split("udp tcp", ts, " ")
		for (i = 1; i <= 2; i++) {
			t = "weir half_" ts[i]
			printf "at half the faster peer'"'"'s rate, %s: asked %d/s, answered %d/s, %d lost\n", ts[i],
				median(t "_asked"), median(t), median(t "_lost")
			if (median(t "_lost"))
				bad = 1
		}
		exit check && bad
	}'
