#!/bin/sh
# SPDX-License-Identifier: MIT
# What a signal does: a stream tells where it was, and what is ignored stays so.
. "$(dirname "$0")/../ktap.sh"

# A stream in the middle of its list: nobody reads on before the signal is sent.
halfway() { # words before the command
	[ -e "$tmp/a.bin" ] || head -c 40000000 /dev/urandom >"$tmp/a.bin"
	rm -f "$tmp/list" && mkfifo "$tmp/list"
	"$@" "$SLUICE" stream "$tmp/a.bin" --format raw --record 512 --no-limit-probe --list \
		>"$tmp/list" 2>"$tmp/err" &
	pid=$!
	exec 3<"$tmp/list"
	read -r _ <&3
}

ends() { # the exit status
	cat <&3 >"$tmp/rest"
	exec 3<&-
	wait $pid
	rc=$?
	[ $rc = "$1" ] || { cat "$tmp/err" && die "exit $rc, not $1"; }
}

test_a_stream_that_is_stopped_tells_where_it_was() {
	for sig in HUP TERM; do
		halfway env --default-signal=HUP,TERM
		kill -$sig $pid
		ends 1
		grep -q 'resume with --resume slc1\.' "$tmp/err" || { cat "$tmp/err" && die "no token after SIG$sig"; }
	done
}

test_a_stream_goes_on_after_what_is_ignored() {
	trap '' HUP INT TERM # as nohup and shells do; children inherit it
	for sig in HUP INT TERM; do
		halfway
		kill -$sig $pid
		ends 0
		[ "$(wc -l <"$tmp/rest")" = 78124 ] || die "the list ends early after SIG$sig"
	done
}

test_a_pack_goes_on_after_what_is_ignored() {
	trap '' HUP
	head -c 61440000 /dev/urandom >"$tmp/b.bin"
	"$SLUICE" pack "$tmp/b.bin" --format raw --record 512 -o "$tmp/b.slc.json" >"$tmp/out" 2>&1 &
	pid=$!
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
		kill -HUP $pid 2>/dev/null || break
		sleep 0.01
	done
	wait $pid || { cat "$tmp/out" && die "a pack under nohup ended at SIGHUP"; }
	[ -e "$tmp/b.slc.json" ] || die "no manifest"
}

run_tests
