#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The demonstration: a scripted agent behind a policy, in a small internet of its own.
#
#   sh demo/run.sh
#
# Builds weir if it is not built, needs no network apart from installing missing Debian packages,
# leaves nothing behind, and exits with an error if anything it shows is not true.
set -eu
cd "$(dirname "$0")/.."
top=$(pwd)
. tests/packages.sh

packages_ensure $packages_build $packages_lab $packages_demo
if [ ! -f build/build.ninja ]; then
	cmake -S . -B build -G Ninja >/dev/null
fi
log=$(mktemp)
if ! cmake --build build >"$log" 2>&1; then
	cat "$log" >&2
	rm -f "$log"
	exit 1
fi
rm -f "$log"
exec python3 tests/lab/lab.py run -- sh demo/steps.sh "$top/build/bin/weir"
