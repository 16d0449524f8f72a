# SPDX-License-Identifier: Apache-2.0
# Sourced by the parts of the demonstration: how they show what they do and check what they claim.

if [ -t 1 ]; then
	esc=$(printf '\033')
	BOLD="$esc[1m" GREEN="$esc[32m" RED="$esc[33m" PLAIN="$esc[0m" color=always
else
	BOLD='' GREEN='' RED='' PLAIN='' color=never
fi
export BOLD GREEN RED PLAIN

bad=0
heading() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
# Set in, and long lines folded: here no terminal is behind weir, which would do it.
folded() {
	awk '{
		match($0, /^ */)
		for (indent = ""; length(indent) < RLENGTH + 2; ) indent = indent " "
		rest = $0
		while (length(rest) > 74 && rest !~ /^ *[{]/) {
			for (at = 74; at > 20 && substr(rest, at, 1) != " "; at--) ;
			if (at == 20) break
			print "     " substr(rest, 1, at - 1)
			rest = indent substr(rest, at + 1)
		}
		print "     " rest
	}'
}
# shown COMMAND...: told, run, its output set in; the exit status is the command's.
shown() {
	printf '   $ weir %s\n' "$*"
	"$weir" "$@" >"$DEMO_OUT/shown" 2>&1
	rc=$?
	folded <"$DEMO_OUT/shown"
	return $rc
}
claim() { # claim TEXT COMMAND...
	text=$1
	shift
	if "$@"; then
		printf '   %s+%s %s\n' "$GREEN" "$PLAIN" "$text"
	else
		printf '   %s! NOT TRUE:%s %s\n' "$RED" "$PLAIN" "$text"
		bad=$((bad + 1))
	fi
}
said() { grep -qF -e "$1" "$DEMO_OUT/shown"; }
absent() { ! grep -qF -e "$1" "$2" 2>/dev/null; }
