#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything: lint, unit tests, end-to-end tests and fuzzers, in a normal and in a sanitizer build.
#
#   sh tests/run.sh          all of it; under 30 minutes on 2 cores from scratch
#   sh tests/run.sh quick    lint, unit and end-to-end tests of the normal build, small transfers
#
# The last line is "N passed, N failed"; the exit status is 0 only when nothing failed.
# Logs: build/test-logs/.
set -u
cd "$(dirname "$0")/.." || exit 1
top=$(pwd)
mode=${1:-all}
case $mode in
all | quick) ;;
*)
	sed -n '3,9s/^# \{0,1\}//p' "$0"
	exit 2
	;;
esac
. tests/packages.sh

passed=0 failed=0
logs=$top/build/test-logs
mkdir -p "$logs"
began=$(date +%s)

say() { printf '%4ds  %s\n' $(($(date +%s) - began)) "$*"; }
# tally NAME PASSED FAILED LOG
tally() {
	passed=$((passed + $2)) failed=$((failed + $3))
	say "$1: $2 passed, $3 failed"
	[ "$3" -eq 0 ] || [ ! -f "$4" ] || { tail -n 60 "$4" | sed 's/^/    | /'; echo "    log: $4"; }
}
finish() {
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
	exit
}

# ---- what is needed -----------------------------------------------------------------------

if ! packages_ensure $packages_build $packages_lab $packages_test; then
	failed=1
	finish
fi
packages_try $packages_clients

# ---- building -----------------------------------------------------------------------------

# build DIR CC [CMAKE OPTION...]
build() {
	dir=$1 cc=$2
	shift 2
	log=$logs/$dir.build
	say "building $dir with $cc"
	case $cc in clang*) cxx=clang++ ;; *) cxx=c++ ;; esac
	if { [ -f "$dir/build.ninja" ] || CC=$cc CXX=$cxx cmake -S . -B "$dir" -G Ninja "$@"; } >"$log" 2>&1 &&
		nice -n 5 cmake --build "$dir" >>"$log" 2>&1; then
		passed=$((passed + 1))
		return 0
	fi
	tally "build $dir" 0 1 "$log"
	return 1
}

# unit_begin BUILD: in the background, as $unit_job.
unit_begin() {
	(cd "$1" && exec ctest --output-on-failure -j 2) >"$logs/$1.unit" 2>&1 &
	unit_job=$!
}

# sanitizer_spoke LOG: what it found once is there, whether or not it shows again. Of leaks that is not
# known: whatever a test ends for, it leaves some.
sanitizer_spoke() { grep -qE 'ERROR: AddressSanitizer|runtime error:' "$1"; }

# unit_end BUILD, with the environment of its run. A handful of failures gets a second chance, as in e2e_end
# and for the same reason.
unit_end() {
	log=$logs/$1.unit
	line=$(grep -E 'tests passed, .* tests failed out of' "$log")
	total=$(echo "$line" | sed 's/.*out of //')
	bad=$(echo "$line" | sed 's/.*passed, \([0-9]*\) tests failed.*/\1/')
	if [ "${bad:-0}" -gt 0 ] && [ "$bad" -le 4 ] && ! sanitizer_spoke "$log"; then
		failures=$(sed -n 's/^[[:space:]]*[0-9][0-9]* - \(.*\) (.*)$/\1/p' "$log")
		if (cd "$1" && ctest --rerun-failed --output-on-failure) >"$log.again" 2>&1; then
			echo "$failures" | sed "s/^/    passed alone, after failing beside other work: /"
			bad=0
		else
			log=$log.again
		fi
	fi
	tally "unit tests in $1" $((${total:-0} - ${bad:-0})) "${bad:-1}" "$log"
}

# e2e_begin NAME BUILD [PYTEST OPTION...]: in the background, as $e2e_job; most of it is waiting.
e2e_begin() {
	dir=$2 log=$logs/$(echo "$1" | tr " " -).e2e
	shift 2
	e2e_pytest 2400 "$dir" "$@" tests/e2e >"$log" 2>&1 &
	e2e_job=$!
}

# e2e_pytest SECONDS BUILD ARGUMENT...
e2e_pytest() {
	limit=$1 dir=$2
	shift 2
	timeout -k 10 "$limit" env WEIR="$top/$dir/bin/weir" /usr/bin/python3 -B -m pytest -q \
		-p no:cacheprovider --tb=short "$@"
}

# e2e_end NAME STATUS BUILD [PYTEST OPTION...], with the environment of its run
#
# The runs share two processors with each other and with whatever else the machine does, and tests of
# time fail there that are right. So a handful of failures gets a second chance, alone and with more
# patience: what fails again has failed, and what needed the chance is named. Errors of fixtures, a run
# that crashed or was out of time, what a sanitizer found, and more than a handful get none.
e2e_end() {
	name=$1 rc=$2 dir=$3 log=$logs/$(echo "$1" | tr " " -).e2e
	shift 3
	good=$(tail -n 1 "$log" | sed -n 's/.*[^0-9]\{0,1\}\b\([0-9][0-9]*\) passed.*/\1/p')
	bad=$(tail -n 1 "$log" | grep -oE '[0-9]+ (failed|error)' | awk '{n += $1} END {print n + 0}')
	[ "$rc" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
	[ -z "$good" ] && [ "$bad" -eq 0 ] && bad=1
	grep -E '^(FAILED|ERROR) ' "$log" | cut -c1-160 | sed 's/^/    /'
	failures=$(sed -n 's/^FAILED \(.*\)$/\1/p' "$log" | sed 's/ - .*//')
	if [ "$bad" -gt 0 ] && [ "$bad" -le 4 ] && [ "$(echo "$failures" | wc -l)" -eq "$bad" ] &&
		[ -n "$failures" ] && ! sanitizer_spoke "$log"; then
		# One name a line, some with spaces and brackets.
		if echo "$failures" | (
			while IFS= read -r test; do set -- "$@" "$test"; done
			WEIR_E2E_SLACK=6 e2e_pytest 600 "$dir" "$@"
		) >"$log.again" 2>&1; then
			echo "$failures" | sed "s/^/    passed alone, after failing beside other work: /"
			good=$((${good:-0} + bad)) bad=0
		else
			tail -n 30 "$log.again" | sed 's/^/    again | /'
		fi
	fi
	tally "end to end: $name" "${good:-0}" "$bad" "$log"
}

# fuzz TARGET: a few seconds, the seeds first, all of them however long that takes.
fuzz() {
	name=$(basename "$1")
	corpus=fuzz/corpus/${name#fuzz_}
	scratch=$(mktemp -d)
	[ -d "$corpus" ] || corpus=
	"$1" -max_total_time=4 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$logs/" "$scratch" $corpus >"$logs/$name" 2>&1 ||
		touch "$logs/fuzz-failed-$name"
	rm -rf "$scratch"
}

# fuzz_each FILE...: two at a time; $fuzzed is how many.
fuzz_each() {
	fuzzed=0 other=''
	for f in "$@"; do
		[ -x "$f" ] && [ -f "$f" ] || continue
		fuzzed=$((fuzzed + 1))
		fuzz "$f" &
		if [ -n "$other" ]; then
			wait "$other"
		fi
		other=$!
	done
	[ -z "$other" ] || wait "$other"
}

# weir makes a tap device inside its own network namespace: the node must be open to the user.
can_run() { [ "$(id -u)" -eq 0 ] || { [ -r /dev/net/tun ] && [ -w /dev/net/tun ]; }; }

# ---- the steps ----------------------------------------------------------------------------

# Both processors are to be busy at any time, and what waits for time to pass, or measures it, is not to wait
# for them. So what is long begins first, the end-to-end tests as soon as there is what they run; they wait
# much of their time, which the rest fills. Builds make room for whatever else there is (nice).

UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export UBSAN_OPTIONS
# Leaks cannot be looked for in a process that may not trace itself (seccomp), as most of weir's.
asan_unit=detect_leaks=1:detect_stack_use_after_return=1 asan_e2e=detect_leaks=0

if can_run; then
	# For the end-to-end tests, which come last.
	sh tests/npm.sh >"$logs/npm" 2>&1 &
	npm_job=$!
fi
build build gcc || finish
unit_begin build
sh tests/lint.sh >"$logs/lint" 2>&1
tally lint "$(sed -n 's/^lint: \([0-9]*\) passed.*/\1/p' "$logs/lint")" \
	"$(sed -n 's/^lint:.* \([0-9]*\) failed$/\1/p' "$logs/lint")" "$logs/lint"
[ "$mode" = all ] && build build-asan clang -DWEIR_SANITIZE=address,undefined && asan=yes
wait "$unit_job"
unit_end build

# Parts of each end-to-end run. Big transfers are as long as shows a mistake: what is read and written anew
# with each buffer and each window does not differ in the second gigabyte.
parts="1 2" parts_asan="1 2 3" bytes=268435456 bytes_asan=33554432
# With sanitizers without those tests that are slow for what is around weir (machines, large clients, key
# making), or that ask others than weir; what they ask of weir, others ask as well. See README.md.
left_out="--ignore=tests/e2e/test_qemu.py --ignore=tests/e2e/test_clients_tls.py --ignore=tests/e2e/test_certificates.py"
left_out="$left_out --ignore=tests/e2e/test_h2_origin.py"
# An instrumented agent is no static program, and so no pid 1 of a machine.
left_out="$left_out --ignore=tests/e2e/test_microvm.py --ignore=tests/e2e/test_microvm_exec.py"
in_machines="--backend=qemu -m machine"
by_user="-m user --weir-user nobody"
sanitizers='' normal='' machines='' user=''
if can_run; then
	# For machines: a kernel that is downloaded once.
	if ! sh tests/e2e/guest-linux.sh "$top/build/guest-linux" >"$logs/guest-linux" 2>&1; then
		tally "kernel for machines" 0 1 "$logs/guest-linux"
	fi
	wait "$npm_job" || say "npm packages cannot be fetched: $logs/npm"
	# Side by side: each has a lab of its own, and most of it is waiting.
	if [ "${asan:-}" = yes ]; then
		for part in $parts_asan; do
			ASAN_OPTIONS=$asan_e2e WEIR_E2E_BYTES=$bytes_asan WEIR_E2E_SLACK=6 \
				e2e_begin "sanitizers $part" build-asan "--part=$part/3" $left_out
			sanitizers="$sanitizers $part:$e2e_job"
		done
	fi
	slack=3
	[ "$mode" = all ] || slack=1 bytes=67108864
	for part in $parts; do
		WEIR_E2E_SLACK=$slack WEIR_E2E_BYTES=$bytes e2e_begin "normal $part" build "--part=$part/2"
		normal="$normal $part:$e2e_job"
	done
	# A few tests of each part once more, in machines.
	WEIR_E2E_SLACK=3 e2e_begin "in machines" build $in_machines
	machines=$e2e_job
else
	say "end to end: skipped, $(id -un) may not open /dev/net/tun (as root: chmod 666 /dev/net/tun)"
fi

if [ "${asan:-}" = yes ]; then
	ASAN_OPTIONS=$asan_unit unit_begin build-asan
	wait "$unit_job"
	say "unit tests in build-asan are through"
fi

if [ "$mode" = all ] && build build-fuzz clang -DWEIR_FUZZ=ON -DWEIR_SANITIZE=address,undefined \
	-DWEIR_TESTS=OFF; then
	fuzzers=yes
fi
if [ -n "$normal" ]; then
	ended=''
	for job in $normal; do
		wait "${job#*:}"
		ended="$ended ${job%:*}:$?"
	done
	normal=$ended
	wait "$machines"
	machines=$?
	say "end to end: normal is through"
	if [ "$(id -u)" -eq 0 ]; then
		e2e_begin "by an ordinary user" build $by_user
		user=$e2e_job
	fi
fi

if [ "${fuzzers:-}" = yes ]; then
	ASAN_OPTIONS=detect_leaks=1
	export ASAN_OPTIONS
	# A target that failed leaves its name.
	rm -f "$logs"/fuzz-failed-*
	fuzz_each build-fuzz/fuzz/fuzz_*
	bad=$(find "$logs" -name 'fuzz-failed-*' | wc -l)
	for f in "$logs"/fuzz-failed-*; do
		[ -e "$f" ] || continue
		log=$logs/${f##*/fuzz-failed-}
		tail -n 30 "$log" | sed 's/^/    | /'
		echo "    log: $log"
	done
	tally "fuzz targets" $((fuzzed - bad)) "$bad" /dev/null
fi
if [ -n "$user" ]; then
	wait "$user"
	user=$?
fi

# What is left over from the runs side by side has the machine to itself now.
ended=''
for job in $sanitizers; do
	wait "${job#*:}"
	ended="$ended ${job%:*}:$?"
done
[ "${asan:-}" != yes ] || ASAN_OPTIONS=$asan_unit unit_end build-asan
for job in $ended; do
	ASAN_OPTIONS=$asan_e2e WEIR_E2E_BYTES=$bytes_asan e2e_end "sanitizers ${job%:*}" "${job#*:}" build-asan
done
for job in $normal; do
	WEIR_E2E_BYTES=$bytes e2e_end "normal ${job%:*}" "${job#*:}" build
done
[ -z "$machines" ] || e2e_end "in machines" "$machines" build $in_machines
[ -z "$user" ] || e2e_end "by an ordinary user" "$user" build $by_user
finish
