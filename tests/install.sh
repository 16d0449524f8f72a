#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs a build somewhere else and uses each library from there, as its pkg-config file says.
#   tests/install.sh BUILD        (a ctest of every build without sanitizers)
set -eu
build=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cmake --install "$build" --prefix "$dir/usr" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$dir" -name weir-base.pc)")
export PKG_CONFIG_PATH
cd "$dir"
use() { # use LIBRARY EXPRESSION: its header alone, and one of its functions
	printf '#include "%s/%s.h"\nint main(void) { return %s; }\n' "$1" "$1" "$2" >use.c
	# shellcheck disable=SC2046 # flags are words
	${CC:-cc} -std=gnu17 -Wall -Wextra -Werror use.c -o use $(pkg-config --cflags --libs "weir-$1")
	./use
	echo "weir-$1: used from $dir"
}
use base '!str_eq("a", "a")'
use policy '(policy_free(NULL), 0)'
use netstack '(netstack_free(NULL), 0)'
use dns '(dns_free(NULL), 0)'
use tlsproxy '(tlsproxy_free(NULL), 0)'
use audit '(audit_log_close(NULL), 0)'
use image '(image_store_free(NULL), 0)'
"$dir/usr/bin/weir" version
for schema in config.schema.json policy.schema.json audit/schema.json; do
	[ -s "$dir/usr/share/weir/$schema" ] || { echo "$schema is not installed" >&2; exit 1; }
done
