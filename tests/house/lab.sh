#!/bin/sh
# SPDX-License-Identifier: MIT
# What tests/lab/run makes of a guest: each test is a guest that went wrong.
. "$(dirname "$0")/../ktap.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

# A guest of the suites a and b that printed $tmp/in.
guest() { # how it ended, version
	echo "the console's last line" >"$tmp/end"
	run awk -v suites="a b" -v fate="$1" -v end="$tmp/end" \
		-v version="${2:-7.3}" -f "$root/tests/lab/merge.awk" "$tmp/in"
}

suite() { # name, lines before its end, rc
	printf 'LAB suite %s\nKTAP version 1\n1..2\nok 1 one\nok 2 two\n%sLAB rc %s 240 1\nLAB done %s\n' \
		$1 "$2" "${3:-0}" $1
}

test_two_good_suites_are_one_stream() {
	{ suite a; suite b; echo "LAB end 9"; } >"$tmp/in"
	guest "off"
	want_rc 0
	want_out '^1\.\.10$'
	want_out '^ok 1 a: one$'
	want_out '^ok 6 b: one$'
	want_out '^ok 10 b: the_kernel_has_nothing_to_report$'
	want_out '^# Totals: pass:10 fail:0 .* skip:0 '
}

test_skips_are_counted_and_keep_their_reasons() {
	{ suite a; suite b; echo "LAB end 9"; } | sed 's/^ok .*/& # SKIP no/' >"$tmp/in"
	guest "off"
	want_rc 0
	want_out '^ok 1 a: one # SKIP no$'
	want_out 'skip:4 '
}

test_a_failure_keeps_the_lines_before_it() {
	{
		printf 'LAB suite a\n1..1\n# a.c:1: 1 == 2\nnot ok 1 one\nLAB rc 1 240 1\nLAB done a\n'
		suite b
		echo "LAB end 9"
	} >"$tmp/in"
	guest "off"
	want_rc 1
	[ "$(grep -B 1 '^not ok 1 a: one' "$tmp/out" | head -n 1)" = "# a.c:1: 1 == 2" ] || die "lost"
	want_out '^ok 2 a: it_ran_to_its_end'
}

test_a_crash_in_the_middle_is_told() {
	{
		printf 'LAB suite a\n1..3\nok 1 one\nLAB rc 139 240 1\nLAB done a\n'
		suite b
		echo "LAB end 9"
	} >"$tmp/in"
	guest "off"
	want_rc 1
	want_out '^# killed by signal 11, 1 of 3 tests reported'
	want_out '^not ok 2 a: it_ran_to_its_end'
	want_out '^ok 5 b: one'
}

test_a_suite_over_its_time_is_told() {
	{
		printf 'LAB suite a\n1..1\nLAB rc 143 240 241\nLAB done a\n'
		suite b
		echo "LAB end 9"
	} >"$tmp/in"
	guest "off"
	want_out '^# not done after 240 s, 0 of 1 tests reported'
	want_out '^not ok 1 a: it_ran_to_its_end'
}

test_success_with_a_bad_exit_is_a_failure() {
	{ suite a "" 3; suite b; echo "LAB end 9"; } >"$tmp/in"
	guest "off"
	want_out '^# exit 3'
	want_out '^not ok 3 a: it_ran_to_its_end'
}

test_a_suite_that_says_nothing_fails() {
	printf 'LAB suite a\nLAB rc 0 240 1\nLAB done a\nLAB end 9\n' >"$tmp/in"
	guest "off"
	want_out '^# no plan on its output'
	want_out '^not ok 1 a: it_ran_to_its_end'
}

test_a_warning_in_the_log_fails_its_suite() {
	{
		suite a | sed 's/^LAB done/LAB kernel [ 9.1] WARNING: CPU: 0\n&/'
		suite b
		echo "LAB end 9"
	} >"$tmp/in"
	guest "off"
	want_rc 1
	want_out '^# \[ 9\.1\] WARNING: CPU: 0'
	want_out '^not ok 5 a: the_kernel_has_nothing_to_report'
	want_out '^ok 10 b: the_kernel_has_nothing_to_report'
}

test_a_pin_left_behind_fails_its_suite() {
	{
		suite a | sed 's/^LAB done/LAB left 3 pins\n&/'
		suite b
		echo "LAB end 9"
	} >"$tmp/in"
	guest "off"
	want_out '^# 3 pins'
	want_out '^not ok 4 a: it_left_nothing_behind'
}

test_a_guest_that_dies_shows_its_console() {
	printf 'LAB suite a\n1..2\nok 1 one\n' >"$tmp/in"
	guest "the guest panicked"
	want_rc 1
	want_out "^# the console's last line"
	want_out '^# the guest panicked'
	want_out '^not ok 2 a: the_guest_lived'
	want_out '^not ok 3 b: it_ran_to_its_end'
}

test_a_guest_that_never_came_up_fails() {
	: >"$tmp/in"
	guest "the guest hung: not a word for 180 s"
	want_rc 1
	want_out '^not ok 1 lab: the_guest_lived'
	want_out '^not ok 3 b: it_ran_to_its_end'
}

test_the_debug_kernel_must_be_asked_for_leaks() {
	{ suite a; suite b; echo "LAB end 9"; } >"$tmp/in"
	guest "off" 7.3.4-slclab
	want_out '^not ok 11 lab: kmemleak_has_nothing_to_report'
	{ suite a; suite b; echo "LAB leaks looked"; echo "LAB end 9"; } >"$tmp/in"
	guest "off" 7.3.4-slclab
	want_rc 0
	want_out '^ok 11 lab: kmemleak_has_nothing_to_report'
	{ suite a; suite b; echo "LAB leak unreferenced object 0x1 (size 8):"; echo "LAB leaks looked"
		echo "LAB end 9"; } >"$tmp/in"
	guest "off" 7.3.4-slclab
	want_out '^# unreferenced object'
	want_out '^not ok 11 lab: kmemleak_has_nothing_to_report'
}

run_tests
