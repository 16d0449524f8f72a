#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The demonstration: a scripted agent behind a policy, in a small internet of its own.
#
#   sh demo/run.sh
#
# Builds weir if it is not built, needs no network apart from installing missing Debian packages,
# leaves nothing behind, and exits with an error if anything it shows is not true: first an agent that
# misbehaves behind a policy, then a key that an agent uses and never has, then the way from watching an
# agent to its policy and what to do with one, the network below it, and last the same in a microVM,
# where QEMU and a kernel for it are there, or can be had.
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
# The last part says so where it cannot be shown.
if [ "$(id -u)" -eq 0 ]; then
	packages_try qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod
	sh tests/e2e/guest-linux.sh build/guest-linux >/dev/null 2>&1 || :
fi
lab() { python3 tests/lab/lab.py run -- sh "$@" "$top/build/bin/weir"; }
rc=0
lab demo/steps.sh || rc=1
lab demo/secrets.sh || rc=1
lab demo/workflow.sh || rc=1
lab demo/network.sh || rc=1
lab demo/microvm.sh || rc=1
exit $rc
