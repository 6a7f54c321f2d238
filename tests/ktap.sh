# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# ktap.sh - what ktap.h is for C: a script sources it, defines functions named
# test_A_SENTENCE, and ends with run_tests. KTAP on stdout, exit 0, 1 or 4.
#
# Each test runs in a shell and a folder ($tmp) of its own. run COMMAND...
# leaves the exit code in $rc and the outputs in $tmp/out and $tmp/err.

SLUICE=${SLUICE:-$PWD/build/sluice}
MKDATA=${MKDATA:-$PWD/build/mkdata}
SLC_SHARED=${SLC_SHARED:-$PWD/../shared}

die() {
	echo "$*"
	exit 1
}

skip() {
	echo "$*" >"$tmp/skip"
	exit 4
}

run() {
	rc=0
	timeout -k 5 60 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || rc=$?
	ran=$*
}

show() {
	echo "after: $ran"
	echo "exit $rc; stdout:"
	head -c 2000 "$tmp/out"
	echo "stderr:"
	head -c 2000 "$tmp/err"
}

want_rc() {
	[ "$rc" = "$1" ] || { show && die "exit $rc, not $1"; }
}

want_out() { # a grep -E pattern
	grep -qE -e "$1" "$tmp/out" || { show && die "no /$1/ in stdout"; }
}

want_err() {
	grep -qE -e "$1" "$tmp/err" || { show && die "no /$1/ in stderr"; }
}

want_err_lines() {
	[ "$(wc -l <"$tmp/err")" = "$1" ] || { show && die "stderr is not $1 line(s)"; }
}

want_empty() { # out or err
	[ ! -s "$tmp/$1" ] || { show && die "something on std$1"; }
}

# Nothing on stderr but what this machine refused and what was done instead.
want_calm() {
	! grep -v 'stepping down' "$tmp/err" >/dev/null || { show && die "something on stderr"; }
}

want_same() { # file file
	cmp -s "$1" "$2" || { diff "$1" "$2" | head -n 10 && die "$1 and $2 differ"; }
}

needs_mkdata() {
	[ -x "$MKDATA" ] || skip "no $MKDATA: make data"
}

run_tests() {
	names=$(sed -n 's/^test_\([A-Za-z0-9_]*\)() *{.*/\1/p' "$0")
	set -- $names
	echo "KTAP version 1"
	echo "1..$#"
	top=$(mktemp -d)
	trap 'rm -rf "$top"' EXIT
	trap 'exit 130' INT TERM
	n=0
	bad=0
	good=0
	for name in "$@"; do
		n=$((n + 1))
		tmp=$top/$n
		mkdir "$tmp"
		("test_$name") >"$top/said" 2>&1
		case $? in
		0)
			good=1
			echo "ok $n $name"
			;;
		4)
			echo "ok $n $name # SKIP $(cat "$tmp/skip" 2>/dev/null)"
			;;
		*)
			bad=1
			sed 's/^/# /' "$top/said"
			echo "not ok $n $name"
			;;
		esac
		chmod -R u+rwX "$tmp" 2>/dev/null
		rm -rf "$tmp"
	done
	[ $bad = 0 ] || exit 1
	[ $good = 1 ] || exit 4
	exit 0
}
