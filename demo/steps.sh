#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the lab: runs the agent behind the policy, shows the record, and checks every claim made.
# usage: demo/run.sh (which starts this)
set -u
here=$(cd "$(dirname "$0")" && pwd)
weir=$1
DEMO_OUT=$LAB_TMP/demo
export DEMO_OUT
mkdir -p "$DEMO_OUT"
. "$here/show.sh"
cp "$here/agent.sh" "$here/policy.json" "$LAB_TMP/"
record=$LAB_TMP/audit.jsonl

heading 'The policy'
sed 's/^/     /' "$here/policy.json"
heading 'The command'
cat <<'EOF'
     weir run --backend netns --policy policy.json \
              --secret LAB_TOKEN@api.example.com -- sh agent.sh
EOF

cd "$LAB_TMP" || exit 1
"$weir" run --backend netns --policy policy.json --secret LAB_TOKEN@api.example.com \
	--upstream-ca "$LAB_CA" --audit "$record" -- sh agent.sh
status=$?

heading 'The record: weir audit'
"$weir" audit "$record" --color "$color"
audit=$?

# ---- and now: was it all true? ------------------------------------------------------------

got() { cat "$DEMO_OUT/$1" 2>/dev/null; }
seen_by() { # entries of the lab's servers about HOST, of one kind
	grep -F "\"server\": \"$1\"" "$LAB_LOG" | grep -F "\"kind\": \"$2\""
}
not_seen() { ! seen_by "$1" "$2" >/dev/null; }
refused() { [ "$(got "$1")" -ne 0 ]; }
tunnel_denied() { [ -s "$DEMO_OUT/tunnel" ] && ! grep -vq NXDOMAIN "$DEMO_OUT/tunnel"; }
recorded() { grep -F "\"kind\":\"$1\"" "$record" | grep -qF "$2"; }
nothing_arrived() { # a request's head may go before its body is read; nothing of a key may
	! seen_by files.example.com http | grep -qvF '"broken":' &&
		! seen_by files.example.com http | grep -qF -e "$LAB_TOKEN" -e "$(got placeholder)"
}
denials_explained() {
	ids=$(grep -o '"denial":"[^"]*"' "$record" | cut -d'"' -f4 | sort -u)
	[ -n "$ids" ] || return 1
	for id in $ids; do
		"$weir" why "$id" --audit "$record" >"$DEMO_OUT/why" 2>&1 || return 1
	done
}

heading 'Checked'
claim 'the agent ran to its end and the record is intact' [ "$status$audit" = 00 ]
claim 'the API got the real key' [ "$(got authorized)" = true ]
claim 'the agent held a placeholder of the same length, not the key' \
	[ "$(got placeholder | wc -c)" -eq "$(printf '%s\n' "$LAB_TOKEN" | wc -c)" ]
claim "the key is not in the agent's environment" absent "$LAB_TOKEN" "$DEMO_OUT/env"
claim 'the key is not in the record' absent "$LAB_TOKEN" "$record"
claim 'the other path was answered 403, with a reason' [ "$(got path)" = 403 ]
claim 'the denied name was NXDOMAIN with an extended error' grep -q 'EDE: 15' "$DEMO_OUT/dig"
claim 'the denied host was not reached' not_seen evil.example.net tcp
claim 'metadata was refused' refused metadata_status
claim 'within a second' [ "$(got metadata_ms)" -lt 1000 ]
claim 'metadata was not reached' not_seen metadata tcp
claim 'the key in the wrong place was answered 403' [ "$(got exfil)" = 403 ]
claim 'neither the key nor the placeholder arrived there' nothing_arrived
claim 'and is on the record as a violation' recorded secret '"event":"violation"'
claim 'every tunnel query was NXDOMAIN' tunnel_denied
claim 'no label of the tunnel reached a DNS server' absent evil.example.net "$LAB_LOG"
claim 'weir why explains every denial' denials_explained

why=$(grep -F '"event":"violation"' "$record" | grep -o '"denial":"[^"]*"' | cut -d'"' -f4 | head -n 1)
if [ -n "$why" ]; then
	printf '\n%sOne refusal explained: weir why %s%s\n' "$BOLD" "$why" "$PLAIN"
	"$weir" why "$why" --audit "$record" --color "$color"
fi
echo
[ "$bad" -eq 0 ] && echo 'All of it is true.' || echo "$bad claims are not true."
[ "$bad" -eq 0 ]
