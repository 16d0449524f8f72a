#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches the npm packages that some end-to-end tests use as clients; without them those are skipped.
# usage: sh tests/npm.sh [DIR]      (default build/npm; the tests look there, or where WEIR_NPM says)
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$top/build/npm}
command -v npm >/dev/null || { echo "npm is not installed: apt-get install -y --no-install-recommends npm" >&2; exit 1; }
[ -d "$dir/node_modules/@grpc/grpc-js" ] && [ -d "$dir/node_modules/undici" ] && exit 0
mkdir -p "$dir" && cd "$dir" || exit 1
# A registry that cannot be reached is not waited for: other clients ask the same of weir.
npm install --fetch-retries 1 --fetch-retry-mintimeout 2000 --fetch-timeout 60000 --silent --no-audit --no-fund --ignore-scripts @grpc/grpc-js@1.12.6 undici@6.21.1
