#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Cached names per second, over UDP and over TCP: weir's resolver from inside a sandbox, and dnsmasq and
# unbound from beside them, each caching what the same upstream said.
#
#   sh tests/bench/dns.sh [--check] [RUNS [SECONDS]]      default 3 runs of 3 seconds: a minute and a half
#
# The peers take turns within each run, and weir is compared with what a peer did in the same run, so that
# other work on the machine meets all of them. Prints medians, weir's share of each peer's rate (median,
# lowest and highest of the runs) and lost queries, at full rate (100 under way) and at half of the faster
# peer's rate, sent evenly whether or not answers come. weir keeps its record meanwhile, and
# after each measurement every query must be in it. --check: exit 1 when weir answers less than half of
# what the faster peer does, loses a query, answers less than what is asked of it at the half rate (by more
# than 10 %), or has another number of queries on the record. WEIR=PATH names the program.
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
runs=
secs=
for a; do
	case $a in
	--check) check=1 ;;
	'' | *[!0-9]* | 0*) echo "usage: sh tests/bench/dns.sh [--check] [RUNS [SECONDS]]" >&2; exit 2 ;;
	*) if [ -z "$runs" ]; then runs=$a; else secs=$a; fi ;;
	esac
done
runs=${runs:-3}
secs=${secs:-3}
names=1000
upstream=5301
cd "$OUT" || exit 1

# ---- the servers ------------------------------------------------------------------------------

# Each a session of its own, as daemons are and weir's gateway is: with one that it shares, a busy scheduler
# lets client and server take turns in one slice, and what is measured is that.
ip link set lo up
awk -v n=$names 'BEGIN { for (i = 0; i < n; i++) print "host" i ".bench.example A" }' >queries

setsid dnsmasq --conf-file=/dev/null --no-daemon --user=root --group=root --pid-file= --no-resolv --no-hosts \
	--port=$upstream --listen-address=127.0.0.1 --bind-interfaces --local-ttl=3600 \
	--address=/bench.example/93.184.216.34 2>upstream.log &
setsid dnsmasq --conf-file=/dev/null --no-daemon --user=root --group=root --pid-file= --no-resolv --no-hosts \
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
setsid unbound -d -c unbound.conf &
for port in $upstream 5302 5303; do
	tries=0
	until dnsperf -s 127.0.0.1 -p $port -d queries -n 1 -t 1 2>/dev/null | grep -q 'Queries lost: *0 '; do
		tries=$((tries + 1))
		[ $tries -lt 20 ] || { echo "no answer from the server on port $port:" >&2; cat ./*.log >&2; exit 1; }
		sleep 0.5
	done
done

# ---- the peers: in_PEER OPTIONS... asks that resolver --------------------------------------------

in_dnsmasq() { dnsperf -s 127.0.0.1 -p 5302 "$@"; }
in_unbound() { dnsperf -s 127.0.0.1 -p 5303 "$@"; }
# With the warming up inside, because the cache is the sandbox's; twice, so that its names are known.
warm=2
in_weir() {
	"$WEIR" run --backend netns --policy allow_all --dns-server 127.0.0.1:$upstream \
		--dns-budget off --audit "$OUT/audit.jsonl" -- \
		sh -c 'dnsperf -s 192.0.0.1 -d "$0" -n '$warm' >/dev/null && exec dnsperf -s 192.0.0.1 "$@"' \
		"$OUT/queries" "$@"
	rc=$?
	"$WEIR" audit --rules --json "$OUT/audit.jsonl" >recorded || rc=1
	rm -f "$OUT/audit.jsonl"
	return $rc
}

# What the record has of the last measurement, less what it was asked: 0.
unrecorded() {
	sent=$(awk '/Queries sent/ { print $3 }' out)
	in_record=$(sed 's/.*"queries":{"allow":\([0-9]*\).*/\1/' recorded)
	echo $((in_record - names * warm - sent))
}
rate() { awk '/Queries per second/ { print int($4) }' out; }
lost() { awk '/Queries lost/ { print $3 }' out; }
emit() { echo "$1 $2 $3" >>figures; } # emit PEER WHAT FIGURE, one each run

failed() {
	echo "$1 over $2 failed:" >&2
	cat out err >&2
	exit 1
}

measure() { # measure PEER TRANSPORT
	in_"$1" -d "$OUT/queries" -l "$secs" -m "$2" -c 10 -q 100 -O suppress=timeout >out 2>err &&
		[ -n "$(rate)" ] || failed "$1" "$2"
	emit "$1" "$2" "$(rate)"
	emit "$1" "$2_lost" "$(lost)"
	[ "$1" != weir ] || emit weir unrecorded "$(unrecorded)"
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
	half=$(awk -v t=$transport '$1 != "weir" && $2 == t { n[$1]++; sum[$1] += $3 }
		END { for (p in n) if (sum[p] / n[p] > m) m = sum[p] / n[p]; print int(m / 2) }' figures)
	in_weir -d "$OUT/queries" -l "$secs" -m $transport -c 10 -q 1000 -Q "$half" -O suppress=timeout >out 2>err &&
		[ -n "$(rate)" ] || failed weir $transport
	emit half $transport "$(rate)"
	emit half ${transport}_asked "$half"
	emit half ${transport}_lost "$(lost)"
	emit weir unrecorded "$(unrecorded)"
done

# ---- the table ------------------------------------------------------------------------------------

awk -v check="$check" '
	{ k = $1 " " $2; v[k, ++n[k]] = $3; sum[k] += $3 }
	function sorted(k, to,   i, j, t) {
		for (i = 1; i <= n[k]; i++) {
			t = to == "" ? v[k, i] : v["weir " to, i] / v[k, i]
			for (j = i - 1; j > 0 && s[j] > t; j--)
				s[j + 1] = s[j]
			s[j + 1] = t
		}
		return n[k] % 2 ? s[(n[k] + 1) / 2] : (s[n[k] / 2] + s[n[k] / 2 + 1]) / 2
	}
	function fail(why) {
		print "not met: " why
		bad = 1
	}
	function peer(p, t,   share) {
		if (!n[p " " t]) {
			printf "%-4s %-8s %8s\n", t, p, "-"
			return
		}
		share = sorted(p " " t, t)
		printf "%-4s %-8s %8d  %5d lost   weir/it %.2fx (%.2f-%.2f)\n", t, p, sorted(p " " t, ""),
			sum[p " " t "_lost"], share, low(p " " t, t), high(p " " t, t)
		if (!least || share < least)
			least = share
	}
	function low(k, t) { sorted(k, t); return s[1] }
	function high(k, t) { sorted(k, t); return s[n[k]] }
	END {
		print "cached names per second (medians; weir is asked from inside a sandbox, its record on)"
		split("udp tcp", ts, " ")
		for (i = 1; i <= 2; i++) {
			t = ts[i]
			least = 0
			printf "%-4s %-8s %8d  %5d lost\n", t, "weir", sorted("weir " t, ""), sum["weir " t "_lost"]
			peer("dnsmasq", t)
			peer("unbound", t)
			if (least < 0.5)
				fail("half of the faster peer over " t)
			if (sum["weir " t "_lost"])
				fail("no query lost over " t)
		}
		for (i = 1; i <= 2; i++) {
			t = ts[i]
			printf "at half the faster peer'"'"'s rate, %s: asked %d/s, answered %d/s, %d lost\n", t,
				v["half " t "_asked", 1], v["half " t, 1], v["half " t "_lost", 1]
			if (v["half " t "_lost", 1])
				fail("no query lost at half the rate over " t)
			if (v["half " t, 1] < 0.9 * v["half " t "_asked", 1])
				fail("what was asked at half the rate over " t)
		}
		for (i = 1; i <= n["weir unrecorded"]; i++)
			if (v["weir unrecorded", i] != 0)
				fail("the record is off by " v["weir unrecorded", i] " queries in measurement " i)
		if (!bad)
			print "every query is on the record"
		exit check && bad
	}' figures
