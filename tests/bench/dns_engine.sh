#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What one query costs the resolver's engine, by number of names; see dns_engine.c.
#
#   sh tests/bench/dns_engine.sh [--check]      BUILD=DIR: where the libraries are, default build
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
build=${BUILD:-$top/build}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
dns=$(find "$build" -name libweir_dns.a) base=$(find "$build" -name libweir_base.a)
[ -n "$dns" ] && [ -n "$base" ] || { echo "no libraries in $build: build first, or set BUILD" >&2; exit 1; }
${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O2 -g -I"$top" -o "$out/dns_engine" "$here/dns_engine.c" \
	"$dns" "$base" $(pkg-config --libs libcares libpsl)
"$out/dns_engine" "$@"
