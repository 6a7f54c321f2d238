#!/bin/sh
# SPDX-License-Identifier: MIT
# The command as a whole: help, usage errors, exit codes.
. "$(dirname "$0")/../ktap.sh"

commands() {
	"$SLUICE" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\( [a-z]*\)\{0,1\}\)  .*/\1/p'
}

test_help_names_commands_examples_exit_codes_and_environment() {
	run "$SLUICE" --help
	want_rc 0
	want_empty err
	for word in '^Commands:' '^Examples:' '^Exit codes:' '^Environment:' SLC_ENGINE NO_COLOR; do
		want_out "$word"
	done
	[ "$(commands | wc -l)" -ge 1 ] || die "no command is listed"
	commands | while read -r c; do
		grep -qE "^  sluice $c" "$tmp/out" || die "no example of $c"
	done || exit 1
	[ "$(awk '{ if (length($0) > 80) print }' "$tmp/out")" = "" ] || die "a line is wider than 80"
}

test_version_is_that_of_the_library() {
	run "$SLUICE" --version
	want_rc 0
	want_out '^sluice [0-9]+\.[0-9]+\.[0-9]+$'
}

test_each_command_has_help_on_stdout() {
	commands >"$tmp/commands"
	while read -r c; do
		run "$SLUICE" $c --help
		want_rc 0
		want_empty err
		want_out "sluice $c"
	done <"$tmp/commands"
}

test_an_unknown_option_is_exit_2_with_the_command_named() {
	commands >"$tmp/commands"
	while read -r c; do
		run "$SLUICE" $c --no-such-option
		want_rc 2
		want_empty out
		want_err "sluice( $c)?: .*no-such-option"
	done <"$tmp/commands"
}

test_no_command_is_exit_2() {
	run "$SLUICE"
	want_rc 2
	want_err_lines 1
	want_err '^sluice: no command'
}

test_an_unknown_command_gets_the_nearest_name() {
	for pair in doctr:doctor docotr:doctor DOCTOR:doctor; do
		run "$SLUICE" "${pair%%:*}"
		want_rc 2
		want_err_lines 1
		want_err "^sluice: no command \"${pair%%:*}\": did you mean \"sluice ${pair#*:}\"\\?"
	done
	run "$SLUICE" quux
	want_rc 2
	want_err_lines 1
	want_err 'sluice --help'
}

test_a_group_without_its_second_word_lists_them() {
	commands | grep -q '^bench ' || skip "no bench command is built"
	run "$SLUICE" bench
	want_rc 2
	want_err_lines 1
	want_err 'bench .*(storage|pin)'
	run "$SLUICE" bench --help
	want_rc 0
	want_out 'usage: sluice bench'
	want_out '^  pin +times pinned memory'
	want_out '^  sluice bench storage'
	run "$SLUICE" bench pim
	want_rc 2
	want_err 'did you mean "sluice bench pin"'
}

test_control_bytes_never_reach_the_terminal() {
	run "$SLUICE" "$(printf 'a\033[31mb\nc')"
	want_rc 2
	want_err_lines 1
	want_err 'no command "a\?\[31mb\?c"'
}

test_a_reader_that_leaves_early_is_no_message() {
	needs_mkdata
	"$MKDATA" "$tmp/data" --bytes 4M --only npy >/dev/null || die "mkdata failed"
	SLC_ENGINE=sync "$SLUICE" stream "$tmp/data/npy" --list 2>"$tmp/err" | sed 1q >"$tmp/out"
	[ -s "$tmp/out" ] || die "no first line"
	! grep -v 'stepping down\|sync' "$tmp/err" || die "it complained"
}

test_a_full_disk_under_the_list_is_one_line() {
	[ -c /dev/full ] || skip "no /dev/full"
	needs_mkdata
	"$MKDATA" "$tmp/data" --bytes 4M --only npy >/dev/null || die "mkdata failed"
	rc=0
	"$SLUICE" stream "$tmp/data/npy" --list >/dev/full 2>"$tmp/err" || rc=$?
	[ $rc = 1 ] || die "exit $rc, not 1"
	[ "$(grep -vc 'stepping down' "$tmp/err")" = 1 ] || die "$(cat "$tmp/err")"
	grep -q 'cannot write the list: No space' "$tmp/err" || die "$(cat "$tmp/err")"
}

test_a_full_disk_under_stdout_is_an_error() {
	[ -c /dev/full ] || skip "no /dev/full"
	rc=0
	"$SLUICE" --help >/dev/full 2>"$tmp/err" || rc=$?
	[ $rc = 1 ] || die "exit $rc, not 1"
	grep -q 'cannot write to standard output' "$tmp/err" || die "no word about it"
}

run_tests
