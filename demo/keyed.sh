#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the sandbox: does what it is told, a line at a time. What came of a line is left in $DEMO_OUT/said,
# its exit status, last, in $DEMO_OUT/status.
set -u
while IFS= read -r line; do
	sh -c "$line" >"$DEMO_OUT/said" 2>&1 </dev/null
	echo $? >"$DEMO_OUT/status.new"
	mv "$DEMO_OUT/status.new" "$DEMO_OUT/status"
done
