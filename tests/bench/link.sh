#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Links without offload (stream and datagram sockets), in namespaces of their own. usage: link.sh [link.py's options]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${BUILD:-$root/build}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cc -O2 -g -std=gnu17 -D_GNU_SOURCE -I"$root" -o "$out/link" "$here/link.c" \
	"$build"/netstack/libweir_netstack.a "$build"/base/libweir_base.a
unshare -r -n sh -c 'ip link set lo up; exec python3 -B "$@"' sh "$here/link.py" "$out/link" "$@"
