#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the lab: the life of a key that the agent never has. HTTP/2, what the API and the agent get, a key
# that strays, another value, and a tlsproxy that dies.
# usage: demo/run.sh (which starts this)
set -u
here=$(cd "$(dirname "$0")" && pwd)
weir=$1
DEMO_OUT=$LAB_TMP/demo
export DEMO_OUT
mkdir -p "$DEMO_OUT"
. "$here/show.sh"
cd "$LAB_TMP" || exit 1
cp "$here/keyed.sh" .
children=
trap 'exec 8>&- 9>&-; kill $children 2>/dev/null; wait' EXIT

until_true() { # until_true COMMAND...: twenty seconds for it
	for try in $(seq 200); do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}

# An API that speaks HTTP/2; it ends with its standard input.
mkfifo api-in agent-in
PYTHONPATH="$here/../tests/lab" python3 -B -c 'import os, sys, h2lab
server = h2lab.Server(os.environ["LAB_TMP"], os.environ["LAB_LOG"])
print("ready", flush=True)
sys.stdin.read()
server.stop()' <api-in >"$DEMO_OUT/api" 2>&1 &
children=$!
exec 8>api-in
until_true grep -q ready "$DEMO_OUT/api"

cat >keyed.json <<'END'
{ "policy": { "rules": [
    { "id": "api", "action": "allow", "destination": "h2.example.com", "ports": [443] },
    { "id": "files", "action": "allow", "destination": "files.example.com", "ports": [443] } ] } }
END
old=$LAB_TOKEN
new=lab-$(od -An -v -tx1 -N20 /dev/urandom | tr -d ' \n')
record=$LAB_TMP/keyed.jsonl

# tell LINE: what the agent shall do; returns its exit status. agent LINE: the same, shown.
tell() {
	rm -f "$DEMO_OUT/status"
	printf '%s\n' "$1" >&9
	until_true [ -f "$DEMO_OUT/status" ] && return "$(cat "$DEMO_OUT/status")"
	return 99
}
agent() {
	printf '   agent$ %s\n' "$1"
	tell "$1"
	rc=$?
	[ "${2:-}" = quiet ] || cut -c1-300 "$DEMO_OUT/said" | sed 's/","/",\
 "/g' | folded
	return $rc
}
# The last request that the API saw: a field of it.
api_saw() {
	grep -F '"kind":"h2"' "$LAB_LOG" | tail -n 1 | python3 -c 'import json, sys
e = json.load(sys.stdin)
print(e["proto"] if sys.argv[1] == "proto" else " ".join(v for k, v in e["headers"] if k == sys.argv[1]))' "$1"
}
agent_got() { grep -qF -e "$1" "$DEMO_OUT/said"; }
ended() { ! kill -0 "$1" 2>/dev/null; }

heading '1. An agent with a key that is none'
cat <<'END'
   $ weir run --backend netns --name keyed --policy keyed.json \
              --secret LAB_TOKEN:header,body@h2.example.com -- sh keyed.sh
END
"$weir" run --backend netns --name keyed --policy keyed.json --secret LAB_TOKEN:header,body@h2.example.com \
	--upstream-ca "$LAB_CA" --audit "$record" -- sh keyed.sh <agent-in >"$DEMO_OUT/run" 2>&1 &
run=$!
children="$children $run"
exec 9>agent-in
agent 'echo $LAB_TOKEN'
placeholder=$(cat "$DEMO_OUT/said")
claim 'it looks like a key, and is not the key' \
	[ "${#placeholder}" -eq "${#old}" -a "$placeholder" != "$old" ]
call='curl -sS --http2 -H "Authorization: Bearer $LAB_TOKEN" https://h2.example.com/echo'
agent "$call" quiet
claim 'the call went well' [ $? -eq 0 ]
printf '     the API received, by %s:   authorization: %s\n' "$(api_saw proto)" "$(api_saw authorization)"
printf '     the agent got back:        "%s"\n' "$(grep -o 'Bearer [^"]*' "$DEMO_OUT/said" | head -n 1)"
claim 'HTTP/2 from end to end' [ "$(api_saw proto)" = h2 ]
claim 'the API got the key' [ "$(api_saw authorization)" = "Bearer $old" ]
scrubbed() { agent_got "Bearer $placeholder" && ! agent_got "$old"; }
claim 'and told it to the agent, who sees its placeholder again' scrubbed
agent 'curl -sS --http2 --compressed -d "key=$LAB_TOKEN" https://h2.example.com/coded/br'
squeezed() { agent_got "key=$placeholder" && ! agent_got "$old"; }
claim 'the same inside a compressed reply' squeezed

heading '2. The same key, elsewhere'
agent 'curl -sS --http2 -w "%{http_code}\n" -H "X-Note: $LAB_TOKEN" https://files.example.com/upload'
claim 'refused, and the answer says why' agent_got 403
"$weir" audit "$record" 2>/dev/null | grep -A 1 '^ *[0-9.]* leak ' | tee "$DEMO_OUT/line"
claim 'and the record has it' grep -qF files.example.com "$DEMO_OUT/line"
strayed() { grep -F '"server": "files.example.com"' "$LAB_LOG" | grep -qF -e "$placeholder" -e "$old"; }
nothing_strayed() { ! strayed; }
claim 'neither key nor placeholder arrived there' nothing_strayed

heading '3. Another value, while the agent runs'
printf '   $ new-key | weir ctl keyed secret set LAB_TOKEN\n'
printf %s "$new" | "$weir" ctl keyed secret set LAB_TOKEN >"$DEMO_OUT/shown" 2>&1
claim 'taken' [ $? -eq 0 ]
agent "$call" quiet
printf '     the API received:           authorization: %s\n' "$(api_saw authorization)"
claim 'the next request has the new value' [ "$(api_saw authorization)" = "Bearer $new" ]
claim 'the placeholder is the one it was' agent_got "Bearer $placeholder"

heading '4. The process that holds the key is killed, with a reply on its way'
tlsproxy() { # in $pid
	for dir in /proc/[0-9]*; do
		[ "$(cat "$dir/comm" 2>/dev/null)" = weir-tlsproxy ] || continue
		pid=${dir#/proc/}
		for up in 1 2 3; do
			[ "$pid" = "$run" ] && { pid=${dir#/proc/}; return 0; }
			pid=$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f2)
		done
	done
	return 1
}
tell '(curl -sSN --http2 -m 20 "https://h2.example.com/sse?n=500&ms=50"; echo $? >"$DEMO_OUT/cut") >"$DEMO_OUT/sse" 2>&1 &'
until_true [ -s "$DEMO_OUT/sse" ]
tlsproxy && kill -KILL "$pid"
printf '   $ kill -KILL %s    # weir-tlsproxy\n' "$pid"
until_true [ -s "$DEMO_OUT/cut" ]
tail -n 1 "$DEMO_OUT/sse" | cut -c1-76 | sed 's/^/     /'
claim 'the reply ended as an error, not as if it were complete' [ "$(cat "$DEMO_OUT/cut")" -ne 0 ]
agent "$call" quiet
claim 'its successor serves the next request' [ $? -eq 0 ]
claim 'with the value of now' [ "$(api_saw authorization)" = "Bearer $new" ]
exec 9>&-
wait "$run"
claim 'the run ended well' [ $? -eq 0 ]
"$weir" audit "$record" 2>/dev/null >"$DEMO_OUT/table"
grep -E 'tlsproxy_(died|started)' "$DEMO_OUT/table" | cut -c1-100 | sed 's/^/   record:/'
both() { grep -q tlsproxy_died "$record" && grep -q tlsproxy_started "$record" && grep -q '^record intact' "$DEMO_OUT/table"; }
claim 'both are on the record, which is intact' both
valueless() { absent "$old" "$record" && absent "$new" "$record" && absent "$old" "$DEMO_OUT/run"; }
claim 'which holds neither value' valueless

heading 'The part of the key'
[ "$bad" -eq 0 ] && echo '   All of it is true.' || echo "   $bad claims are not true."
[ "$bad" -eq 0 ]
