#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# weir as a TLS proxy beside others, all between the same client and the same origin: mitmproxy and squid, which
# intercept as weir does, and nginx, haproxy and nghttpx, which only end TLS on one side and begin it on the other.
#
#   sh tests/bench/tls.sh [--runs N] [--seconds S] [--sections LIST] [--peers LIST] [--check]
#
#   --sections  bulk,requests,connections,latency,memory
#   --peers     direct,weir,weir+secrets,nginx,haproxy,nghttpx,squid,mitmproxy
#   --megabytes N, --connections N, --bulk-h2      how much of each
#   --check     exit 1 when a gate is missed (the gates: tests/bench/README.md)
#
# As root. All packets stay in namespaces made for the run. WEIR=PATH names the program. On a busy machine the CPU
# figures are the dependable ones, then the ratios within a run. Short: --runs 1 --seconds 1 --megabytes 8 --connections 50
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
. "$top/tests/packages.sh"
packages_ensure $packages_bench_tls || exit 1
WEIR=${WEIR:-$top/build/bin/weir}
[ -x "$WEIR" ] || { echo "no $WEIR: build first, or set WEIR" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || { echo "squid and the namespaces need root" >&2; exit 1; }
OUT=$(mktemp -d) || exit 1
trap 'rm -rf "$OUT"' EXIT
chmod 755 "$OUT"
# One CA, and P-256 keys for the origin and for what the proxies show.
make_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>/dev/null; }
make_leaf() {
	make_key "$OUT/$1.key" &&
		openssl req -new -key "$OUT/$1.key" -subj "/CN=origin.example.com" -out "$OUT/$1.csr" &&
		openssl x509 -req -in "$OUT/$1.csr" -CA "$OUT/ca.pem" -CAkey "$OUT/ca.key" -CAcreateserial -days 2 \
			-extfile "$OUT/ext" -out "$OUT/$1.crt" 2>/dev/null &&
		cat "$OUT/$1.key" "$OUT/$1.crt" >"$OUT/$1.pem"
}
echo "subjectAltName=DNS:origin.example.com" >"$OUT/ext"
make_key "$OUT/ca.key" && openssl req -x509 -new -key "$OUT/ca.key" -subj "/CN=bench CA" -days 2 -out "$OUT/ca.pem" &&
	make_leaf origin && make_leaf front || exit 1
chmod 644 "$OUT"/*
ulimit -n "$(ulimit -Hn)"
export WEIR OUT
# However this script ends, so does the first process of the namespace, and with it all that it began.
setpriv --pdeathsig KILL unshare -nmpf --mount-proc --kill-child /usr/bin/python3 -B "$here/tls.py" "$@" &
run=$!
trap 'kill -KILL $run; exit 130' INT TERM HUP
wait $run
