#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Style rules that no compiler checks. Prints each breach as FILE:LINE: what; ends with a count.
# usage: tests/lint.sh
set -u
cd "$(dirname "$0")/.." || exit 1
checks=0 broken=0
tmp=$(mktemp) || exit 1
trap 'rm -f "$tmp"' EXIT

if git rev-parse --git-dir >/dev/null 2>&1; then
	files() { git ls-files -co --exclude-standard -- "$@"; }
else
	files() { for pattern; do find . -name "$pattern" -not -path './build*' | sed 's|^\./||'; done; }
fi
c_files=$(files '*.c' '*.h' | while read -r f; do [ -f "$f" ] && echo "$f"; done)

# verdict NAME: $tmp holds the breaches.
verdict() {
	checks=$((checks + 1))
	if [ -s "$tmp" ]; then
		broken=$((broken + 1))
		echo "lint: $1:"
		sed 's/^/    /' "$tmp"
	fi
}

grep -nE '\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|v?f?scanf|sscanf|system|popen|alloca|inet_aton|inet_addr|strncpy|mktemp|tmpnam)[[:space:]]*\(' \
	$c_files /dev/null | grep -vE ':[[:space:]]*(\*|/\*|//)' >"$tmp"
verdict 'banned calls (bounded, checked forms exist for each)'

# Text from people and peers goes through base's parsers only. A fixed text in a test is no user's.
grep -nE '\b(inet_pton|getaddrinfo|gethostbyname)[[:space:]]*\(' $c_files /dev/null |
	grep -v '^tests/' | grep -vE ':[[:space:]]*(\*|/\*|//)' >"$tmp"
verdict 'addresses and names are parsed by base/'

# The arrows of the design: a folder sees base and itself; weir sees every public header.
for f in $c_files; do
	dir=${f%%/*}
	case $f in
	tests/unit/*) dir=$(echo "$f" | cut -d/ -f3) ;;
	fuzz/fuzz_*) dir=$(basename "$f" | sed 's/^fuzz_\([a-z0-9]*\)_.*/\1/') ;;
	tests/*) continue ;;
	esac
	grep -nE '^#include "' "$f" | while IFS= read -r line; do
		path=$(echo "$line" | sed 's/.*"\(.*\)".*/\1/')
		to=${path%%/*}
		case $path in
		base/base.h | "$dir"/*) continue ;;
		*/*) ;;
		*) # beside the file itself: tests and fuzzers share helpers
			[ -f "$(dirname "$f")/$path" ] && continue ;;
		esac
		[ "$dir" = weir ] && [ "$path" = "$to/$to.h" ] && continue
		case $f in tests/unit/weir/*) continue ;; esac
		# A helper header of the tests.
		case $path in tests/*) case $f in tests/* | fuzz/*) continue ;; esac ;; esac
		echo "$f:${line%%:*}: includes \"$path\""
	done
done >"$tmp"
verdict 'a folder includes base and itself (weir: public headers)'

for f in $c_files; do
	head -n 1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f:1: no SPDX line"
done >"$tmp"
for f in $(files '*.sh' '*.py' .ci/run); do
	[ -f "$f" ] || continue
	head -n 3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f:1: no SPDX line"
done >>"$tmp"
verdict 'every source names its licence'

for f in $c_files; do
	n=$(wc -l <"$f")
	[ "$n" -gt 1200 ] && echo "$f: $n lines"
done >"$tmp"
verdict 'no source has more than 1200 lines'

for d in base policy netstack dns tlsproxy audit weir fuzz tests tests/lab tests/e2e tests/bench; do
	[ -d "$d" ] && [ ! -f "$d/README.md" ] && echo "$d: no README.md"
done >"$tmp"
verdict 'every folder has a README'

grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $c_files $(files '*.sh' '*.py' CMakeLists.txt) /dev/null |
	grep -v '^tests/lint.sh:' >"$tmp"
verdict 'nothing is left for later'

# A public header is the manual of its folder: each has one, and only one place lists the caps.
for d in base policy netstack dns tlsproxy audit; do
	[ -f "$d/$d.h" ] || echo "$d: no public header $d/$d.h"
done >"$tmp"
verdict 'every folder has its public header'

for f in $(files '*.sh' .ci/run); do
	case $(head -n 1 "$f") in
	*bash*) bash -n "$f" 2>&1 ;;
	*) sh -n "$f" 2>&1 ;;
	esac
done >"$tmp"
verdict 'scripts parse'

if command -v clang-format >/dev/null; then
	clang-format --dry-run -Werror $c_files 2>&1 | grep -E '(error|warning):' >"$tmp"
	verdict 'clang-format'
else
	echo 'lint: clang-format is not installed: formatting not checked'
fi

echo "lint: $((checks - broken)) passed, $broken failed"
[ "$broken" -eq 0 ]
