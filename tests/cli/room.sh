#!/bin/sh
# SPDX-License-Identifier: MIT
# sluice pack where files may not grow.
. "$(dirname "$0")/../ktap.sh"

test_a_limit_on_file_size_is_exit_1_and_the_old_manifest_is_left() {
	head -c 51200 /dev/zero >"$tmp/a.rec"
	run "$SLUICE" pack "$tmp/a.rec" --format raw --record 512 -o "$tmp/d.slc.json"
	want_rc 0
	head -c 512000 /dev/zero >"$tmp/b.rec"
	run sh -c 'ulimit -f 8; exec "$@"' sh "$SLUICE" pack "$tmp/b.rec" \
		--format raw --record 16 -o "$tmp/d.slc.json"
	want_rc 1
	want_err_lines 1
	want_err 'raise ulimit -f'
	run "$SLUICE" stream "$tmp/d.slc.json" --verify
	want_rc 0
	[ "$(ls -A "$tmp" | grep -c tmp)" = 0 ] || { ls -la "$tmp" && die "something is left"; }
}

run_tests
