#!/bin/sh
# SPDX-License-Identifier: MIT
# What a tired person types: each mistake is exit 2, nothing on stdout, one
# sentence that says what to do. argp adds where the help is.
. "$(dirname "$0")/../ktap.sh"

mistake() { # pattern, words...
	pattern=$1
	shift
	run "$SLUICE" "$@"
	want_rc 2
	want_empty out
	want_err "^sluice[a-z ]*: .*$pattern"
	[ "$(grep -vc "^Try \|^information\.$" "$tmp/err")" = 1 ] || { show && die "not one sentence"; }
}

records() {
	head -c 4000 /dev/urandom >"$tmp/a.dat"
}

test_a_wrong_format_is_told_with_the_right_ones() {
	records
	for c in stream inspect "pack -o $tmp/x.slc.json"; do
		mistake 'format "rwa" is not known: safetensors, .* raw$' $c "$tmp/a.dat" --format rwa
		mistake 'say format raw, or no record size' $c "$tmp/a.dat" --record 100
		mistake 'needs the bytes of a record: --record SIZE' $c "$tmp/a.dat" --format raw
		mistake 'not known by name or by its first bytes: say --format' $c "$tmp/a.dat"
		mistake 'trailing bytes after 571 records of 7' $c "$tmp/a.dat" --format raw --record 7
		mistake '(a record has bytes|not a size)' $c "$tmp/a.dat" --format raw --record 0
	done
	[ ! -e "$tmp/x.slc.json" ] || die "a manifest was written"
}

test_what_is_not_there_is_named() {
	mkdir "$tmp/empty"
	echo hello >"$tmp/empty/readme"
	for c in stream inspect "pack -o $tmp/x.slc.json"; do
		mistake "cannot open $tmp/none.tar: No such file" $c "$tmp/none.tar"
		mistake "$tmp/empty holds no file of a format that sluice knows" $c "$tmp/empty"
		mistake 'which ' $c
	done
	mistake "$tmp/none: No such file" doctor "$tmp/none"
}

test_a_manifest_whose_file_is_gone_says_so() {
	records
	run "$SLUICE" pack "$tmp/a.dat" --format raw --record 100 -o "$tmp/a.slc.json"
	want_rc 0
	rm "$tmp/a.dat"
	mistake 'a.dat: No such file .*the manifest lists it: bring it back, or run sluice pack again' \
		stream "$tmp/a.slc.json" --list
	mistake 'a.dat: No such file .*the manifest lists it' inspect "$tmp/a.slc.json"
}

test_a_file_that_this_user_may_not_read_is_told_with_the_user() {
	records
	chmod 0 "$tmp/a.dat"
	user=$(id -u)
	set -- "$SLUICE"
	if [ "$user" = 0 ]; then
		command -v setpriv >/dev/null || skip "no setpriv to leave root with"
		user=65534
		set -- setpriv --reuid=$user --regid=$user --clear-groups "$SLUICE"
		chmod a+rx "$top" "$tmp"
		"$@" --version >/dev/null 2>&1 || skip "nobody else may run $SLUICE"
	fi
	run "$@" stream "$tmp/a.dat" --format raw --record 100 --list
	want_rc 2
	want_empty out
	want_err_lines 1
	want_err "a.dat: Permission denied: give user $user access to it"
}

test_numbers_out_of_range_say_the_range() {
	records
	set -- stream "$tmp/a.dat" --format raw --record 100 --list
	mistake 'rank 3 of 2 ranks: ranks count from 0 to 1' "$@" --rank 3 --world 2
	mistake 'rank 2 of 2 ranks' "$@" --rank 2 --world 2
	mistake 'not a number from 1 to' "$@" --world 0
	mistake 'not a number from 1 to' "$@" --batch 0
	mistake 'not a number from 1 to 4096' "$@" --depth 0
	mistake 'not a number from 0 to' "$@" --epoch -1
	mistake 'give at least [0-9]+' "$@" --memory 1
	mistake 'a stream needs memory' "$@" --memory 0
	mistake 'not a size' "$@" --memory 1X
	mistake 'page size 3145728: use 4096' "$@" --page-size 3M
	mistake 'node 999 has no memory|no NUMA nodes' "$@" --node 999
	mistake 'none, shard or full' "$@" --shuffle ful
	mistake 'uring or sync' "$@" --engine steam
}

test_options_that_need_or_forbid_another_say_which() {
	records
	set -- stream "$tmp/a.dat" --format raw --record 100
	mistake 'run .sluice pack. on it' "$@" --verify
	mistake 'no-crc has none' "$@" --list --no-crc
	mistake 'contradict each other' "$@" --pad --drop-last
	mistake 'contradict each other' "$@" --verify --no-crc
	mistake 'to\? -o NAME' pack "$tmp/a.dat"
}

test_a_token_that_is_cut_or_of_other_data_says_so() {
	records
	set -- stream "$tmp/a.dat" --format raw
	run "$SLUICE" "$@" --record 100 --json --limit 3 --no-limit-probe
	want_rc 0
	token=$(sed -n 's/.*"resume":"\([^"]*\)".*/\1/p' "$tmp/out")
	mistake 'it was cut or changed, copy all of it' "$@" --record 100 --resume "${token%????}"
	mistake 'is of another dataset .*open that one, or start without' "$@" --record 200 --resume "$token"
	mistake 'not one of sluice' "$@" --record 100 --resume latest
}

test_json_and_list_go_together() {
	records
	run "$SLUICE" stream "$tmp/a.dat" --format raw --record 100 --json --list
	want_rc 0
	[ "$(wc -l <"$tmp/out")" = 40 ] || die "not forty lines"
	want_err '^\{"bytes":4000,'
}

run_tests
