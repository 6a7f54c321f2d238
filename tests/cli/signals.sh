#!/bin/sh
# SPDX-License-Identifier: MIT
# What a signal does: a stream tells where it was, and what is ignored stays so.
. "$(dirname "$0")/../ktap.sh"

# A stream that takes long enough: a read a sample, one at a time.
slow() { # words before the command
	head -c 40000000 /dev/urandom >"$tmp/a.bin"
	rm -f "$tmp/list"
	SLC_ENGINE=sync "$@" "$SLUICE" stream "$tmp/a.bin" --format raw --record 512 --shuffle full \
		--depth 1 --memory 4M --no-limit-probe --list >"$tmp/list" 2>"$tmp/err" &
	pid=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ -s "$tmp/list" ] && break
		sleep 0.1
	done
}

ends() { # signal, the exit status
	kill -"$1" $pid
	wait $pid
	rc=$?
	[ $rc = "$2" ] || { cat "$tmp/err" && die "exit $rc after SIG$1, not $2"; }
}

test_a_stream_that_is_stopped_tells_where_it_was() {
	for sig in HUP TERM; do
		slow env
		ends $sig 1
		grep -q 'resume with --resume slc1\.' "$tmp/err" || { cat "$tmp/err" && die "no token after SIG$sig"; }
	done
}

test_what_is_ignored_stays_ignored() {
	trap '' HUP # as nohup does; children inherit it
	slow env
	kill -HUP $pid
	ends TERM 1
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
