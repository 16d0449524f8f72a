#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the lab: the same policy and key, the command in a microVM. Needs QEMU and a kernel with its
# modules; says so when they are not there.
# usage: demo/run.sh (which starts this)
set -u
here=$(cd "$(dirname "$0")" && pwd)
weir=$1
linux=$here/../build/guest-linux
DEMO_OUT=$LAB_TMP/demo-microvm
mkdir -p "$DEMO_OUT"
. "$here/show.sh"

heading 'A machine of its own'
if ! command -v qemu-system-x86_64 >/dev/null || [ ! -e "$linux/root" ]; then
	echo '     Not shown: it needs QEMU and a kernel (sh tests/e2e/guest-linux.sh build/guest-linux).'
	echo '     All of the above ran in namespaces.'
	exit 0
fi
record=$DEMO_OUT/audit.jsonl
cat <<'EOF'
     weir run --backend qemu --kernel vmlinuz --modules modules --rootfs root --policy policy.json \
              --secret LAB_TOKEN@api.example.com -- sh -c 'uname -r; curl ...'
EOF
cat >"$DEMO_OUT/job" <<'EOF'
echo "kernel $(uname -r)"
echo "token $LAB_TOKEN"
curl -sS --max-time 60 -H "Authorization: Bearer $LAB_TOKEN" https://api.example.com/v1/me
echo
curl -sS --max-time 20 http://evil.example.net/
echo "evil $?"
exit 7
EOF
"$weir" run --backend qemu --kernel "$linux/vmlinuz" --modules "$linux/modules" --rootfs "$linux/root" \
	--memory 256MiB --policy "$here/policy.json" --secret LAB_TOKEN@api.example.com \
	--upstream-ca "$LAB_CA" --audit "$record" -- sh -c "$(cat "$DEMO_OUT/job")" >"$DEMO_OUT/out" 2>"$DEMO_OUT/err"
status=$?
sed 's/^/     /' "$DEMO_OUT/out"

says() { grep -q "$1" "$DEMO_OUT/out"; }
heading 'Checked'
claim "the command's status is weir's" [ "$status" = 7 ]
claim "it ran on a kernel of its own" says '^kernel .*-cloud-amd64$'
claim 'the API got the real key' says '"authorized": true'
claim 'the machine held a placeholder' absent "$LAB_TOKEN" "$DEMO_OUT/out"
claim 'a name that the policy does not know was refused' says '^evil 6$'
claim 'the record says what isolated it' grep -q '"backend":"qemu"' "$record"
heading 'The part of the microVM'
[ "$bad" -eq 0 ] && echo '   All of it is true.' || echo "   $bad claims are not true."
[ "$bad" -eq 0 ]
