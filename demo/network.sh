#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the lab: the network itself. Somebody else's machine behind a link of weir's, routers behind
# weir, a port from outside, a rate, and counters that are exact.
# usage: demo/run.sh (which starts this)
set -u
here=$(cd "$(dirname "$0")" && pwd)
weir=$1
DEMO_OUT=$LAB_TMP/demo
export DEMO_OUT
mkdir -p "$DEMO_OUT/www"
. "$here/show.sh"
cd "$LAB_TMP" || exit 1
cp "$here/machine.sh" "$here/mirror.py" .
cp "$here/../tests/e2e/linkguest.py" machine.py
printf '{ "policy": { "rules": [ { "action": "allow", "destination": "files.example.com" } ] } }\n' >files.json
children=
trap 'kill $children 2>/dev/null' EXIT

until_true() { # until_true COMMAND...: ten seconds for it
	for try in $(seq 100); do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}
member() { python3 -c 'import json, sys
v = json.load(sys.stdin)
for k in sys.argv[1:]: v = v[int(k) if isinstance(v, list) else k]
print(v)' "$@"; }

heading '1. The network of a machine that somebody else runs'
printf '   $ weir gateway --link stream:vm.sock --policy files.json &\n'
"$weir" gateway --link "stream:$LAB_TMP/vm.sock" --policy files.json --audit machine.jsonl \
	>"$DEMO_OUT/ready" 2>&1 &
gateway=$!
children=$gateway
until_true grep -q 'weir: ready' "$DEMO_OUT/ready"
sed 's/^/     /' "$DEMO_OUT/ready"
printf '   the machine: a network namespace behind that socket, which knows nothing but its network card\n'
LINKGUEST_NET=- timeout 60 python3 -B machine.py "stream:$LAB_TMP/vm.sock" -- sh machine.sh \
	>"$DEMO_OUT/machine" 2>&1
sed 's/^/     /' "$DEMO_OUT/machine"
kill "$gateway"
wait "$gateway"
status=$?
claim 'it asked by DHCP, and got the address that the record names' \
	grep -qF "lease $(head -n 1 machine.jsonl | member guest 0)/" "$DEMO_OUT/machine"
claim 'it fetched what the policy allows' grep -qx '200000 bytes' "$DEMO_OUT/machine"
denied_and_recorded() {
	grep -qF 'Could not resolve host: evil.example.net' "$DEMO_OUT/machine" &&
		grep -F '"verdict":"deny"' machine.jsonl | grep -qF evil.example.net
}
claim 'and not what it denies, which is on the record' denied_and_recorded
machine_recorded() { grep -qF '"event":"link_up"' machine.jsonl && grep -qF '"event":"link_down"' machine.jsonl; }
claim 'so is when the machine came and went' machine_recorded
claim 'told to end, weir ended well' [ "$status" -eq 0 ]

heading '2. What is behind weir: routers, and what servers see of us'
# weir --- first router --- second router --- server. A router is a namespace that forwards.
space() { # in $space
	unshare -n sleep 120 &
	space=$!
	children="$children $space"
	until_true in_a_space_of_its_own "$space"
	inside "$space" ip link set lo up
}
in_a_space_of_its_own() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
inside() {
	of=$1
	shift
	nsenter -t "$of" -n "$@"
}
cable() { # cable N FROM TO: 45.20.N.1 and 45.20.N.2; FROM is a process, or here
	ip link add "a$1" type veth peer name "b$1"
	ip link set "b$1" netns "$3"
	[ "$2" = here ] || ip link set "a$1" netns "$2"
	if [ "$2" = here ]; then ip addr add "45.20.$1.1/24" dev "a$1"; else
		inside "$2" ip addr add "45.20.$1.1/24" dev "a$1"
	fi
	if [ "$2" = here ]; then ip link set "a$1" up; else inside "$2" ip link set "a$1" up; fi
	inside "$3" ip addr add "45.20.$1.2/24" dev "b$1"
	inside "$3" ip link set "b$1" up
}
space; first=$space
space; second=$space
space; server=$space
cable 1 here "$first"
cable 2 "$first" "$second"
cable 3 "$second" "$server"
inside "$server" ip addr add 45.20.3.3/24 dev b3
inside "$first" sysctl -qw net.ipv4.ip_forward=1
inside "$second" sysctl -qw net.ipv4.ip_forward=1
ip route add 45.20.0.0/16 via 45.20.1.2
inside "$first" ip route add 45.20.3.0/24 via 45.20.2.2
inside "$second" ip route add 45.20.1.0/24 via 45.20.2.1
inside "$server" ip route add default via 45.20.3.1
inside "$server" python3 -B mirror.py serve 45.20.3.2 45.20.3.3 >"$DEMO_OUT/mirror" &
children="$children $!"
until_true grep -q ready "$DEMO_OUT/mirror"

printf '   $ weir run --backend netns --policy public_only -- traceroute -n -q 1 45.20.3.2\n'
"$weir" run --backend netns --policy public_only --audit path.jsonl -- \
	traceroute -n -q 1 -N 1 -w 3 -m 6 45.20.3.2 >"$DEMO_OUT/shown" 2>&1
folded <"$DEMO_OUT/shown"
hop() { grep -q "^ *$1  *$2 " "$DEMO_OUT/shown"; }
all_hops() { hop 2 45.20.1.2 && hop 3 45.20.2.2 && hop 4 45.20.3.2; }
claim 'behind the gateway both routers and the server, in their order' all_hops
printf '   $ weir run --backend netns --policy public_only -- python3 mirror.py ask 45.20.3.2 45.20.3.3\n'
"$weir" run --backend netns --policy public_only --audit mirror.jsonl -- \
	python3 -B mirror.py ask 45.20.3.2 45.20.3.3 >"$DEMO_OUT/shown" 2>&1
folded <"$DEMO_OUT/shown"
one_port() {
	[ "$(grep -c 'sees us as' "$DEMO_OUT/shown")" -eq 2 ] &&
		[ "$(sed 's/.*sees us as //' "$DEMO_OUT/shown" | sort -u | wc -l)" -eq 1 ]
}
claim 'both servers see one address and port, as calls through STUN need it' one_port

heading '3. A port from outside, opened while the sandbox runs'
echo 'served from inside the sandbox' >"$DEMO_OUT/www/index.html"
printf '   $ weir run --backend netns --name web --policy web.json -- busybox httpd -f -p 8000 -h www &\n'
cat >web.json <<'END'
{ "policy": { "default_ingress": "allow", "rules": [
    { "action": "allow", "destination": "files.example.com" } ] } }
END
"$weir" run --backend netns --name web --policy web.json --audit web.jsonl -- sh -c '
	busybox httpd -f -p 8000 -h "$DEMO_OUT/www" &
	echo up >"$DEMO_OUT/web-up"
	# What the interface counts, for step 5.
	while [ ! -e "$DEMO_OUT/web-end" ]; do
		sed -n "s/^ *eth0: *//p" /proc/net/dev | { read -r rb rp x x x x x x tb tp x
			echo "$tp $tb $rp $rb" >"$DEMO_OUT/eth0.new"; }
		mv "$DEMO_OUT/eth0.new" "$DEMO_OUT/eth0"
		[ ! -e "$DEMO_OUT/fetch" ] || { rm "$DEMO_OUT/fetch"
			curl -so /dev/null -w "%{size_download} %{time_total}" "http://files.example.com/bytes/1500000" \
				>"$DEMO_OUT/fetched.new"
			mv "$DEMO_OUT/fetched.new" "$DEMO_OUT/fetched"; }
		sleep 0.1
	done
	kill $!' >"$DEMO_OUT/web" 2>&1 &
web=$!
children="$children $web"
until_true [ -e "$DEMO_OUT/web-up" ]
shown ctl web publish 0:8000
port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$DEMO_OUT/shown" | head -n 1)
page() { curl -sS -m 5 "http://127.0.0.1:${port:-0}/" >"$DEMO_OUT/page" 2>&1; }
served() { page && grep -q 'inside the sandbox' "$DEMO_OUT/page"; }
printf '   $ curl http://127.0.0.1:%s/\n' "${port:-?}"
until_true served
claim "the page comes: $(cat "$DEMO_OUT/page")" served
shown ctl web unpublish "${port:-0}"
claim 'and no longer, once the port is taken back' [ "$(page; echo $?)" = 7 ]

heading '4. A rate, set while it runs'
fetch() { # bytes and seconds of a download inside, in $fetched
	rm -f "$DEMO_OUT/fetched"
	: >"$DEMO_OUT/fetch"
	until_true [ -e "$DEMO_OUT/fetched" ]
	fetched=$(cat "$DEMO_OUT/fetched")
	echo "$fetched" | awk '{ printf "     1500000 bytes in %.2f s\n", $2 }'
}
fetch
free=$fetched
shown ctl web rate ingress=8mbit
fetch
claim 'a megabyte a second, and no more' awk "BEGIN {
	split(\"$free\", a); split(\"$fetched\", b)
	exit !(a[1] == 1500000 && b[1] == 1500000 && b[2] > 1.35 && b[2] > a[2]) }"

heading '5. What was counted'
exact() { # the interface told the same before and after weir was asked, so it is one moment
	before=$(cat "$DEMO_OUT/eth0")
	sleep 0.25
	counted=$("$weir" ctl web metrics | awk '
		/^weir_link_frames_up_total/ { a = $2 } /^weir_link_bytes_up_total/ { b = $2 }
		/^weir_link_frames_down_total/ { c = $2 } /^weir_link_bytes_down_total/ { d = $2 }
		END { print a, b, c, d }')
	sleep 0.25
	[ "$before" = "$(cat "$DEMO_OUT/eth0")" ] && [ "$before" = "$counted" ]
}
until_true exact
rc=$?
printf '     frames and bytes out, in:  the sandbox'\''s eth0  %s\n' "$before"
printf '                                weir ctl metrics    %s\n' "$counted"
claim 'weir counts what the interface counts, to the byte' [ "$rc" -eq 0 ]
: >"$DEMO_OUT/web-end"
wait "$web"

heading 'The part of the network'
[ "$bad" -eq 0 ] && echo '   All of it is true.' || echo "   $bad claims are not true."
[ "$bad" -eq 0 ]
