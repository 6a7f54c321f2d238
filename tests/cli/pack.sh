#!/bin/sh
# SPDX-License-Identifier: MIT
# sluice pack: what it writes, and what it leaves when it does not.
. "$(dirname "$0")/../ktap.sh"

records() { # file count
	head -c $(($2 * 512)) /dev/urandom >"$1"
}

test_pack_writes_a_manifest_and_one_checksum_file() {
	records "$tmp/a.rec" 100
	run "$SLUICE" pack "$tmp/a.rec" --format raw --record 512 -o "$tmp/d.slc.json"
	want_rc 0
	want_calm
	want_out '100 samples in 1 file,'
	[ "$(ls "$tmp" | grep -c 'd\.slc\.[0-9a-f]*\.idx')" = 1 ] || { ls -la "$tmp" && die "no index"; }
	run "$SLUICE" inspect "$tmp/d.slc.json"
	want_rc 0
	want_out '100 samples'
}

test_pack_without_output_or_path_is_exit_2() {
	run "$SLUICE" pack "$tmp"
	want_rc 2
	want_err '-o NAME'
	run "$SLUICE" pack -o "$tmp/x.json"
	want_rc 2
}

test_a_file_that_is_no_manifest_is_not_overwritten() {
	records "$tmp/a.rec" 10
	cp "$tmp/a.rec" "$tmp/b.rec"
	run "$SLUICE" pack "$tmp/a.rec" --format raw --record 512 -o "$tmp/a.rec"
	want_rc 2
	want_err 'is not a manifest'
	cmp "$tmp/a.rec" "$tmp/b.rec" || die "the data was overwritten"
}

test_malformed_input_is_exit_2_and_nothing_is_written() {
	printf '\223NUMPY\011\000\004\000junk' >"$tmp/bad.npy"
	run "$SLUICE" pack "$tmp/bad.npy" -o "$tmp/d.slc.json"
	want_rc 2
	want_err_lines 1
	want_err "^sluice: $tmp/bad.npy: npy: offset 6: "
	[ ! -e "$tmp/d.slc.json" ] || die "a manifest is there"
}

test_packing_a_manifest_packs_its_files_again() {
	records "$tmp/a.rec" 100
	run "$SLUICE" pack "$tmp/a.rec" --format raw --record 512 -o "$tmp/d.slc.json"
	want_rc 0
	records "$tmp/a.rec" 50
	run "$SLUICE" inspect "$tmp/d.slc.json"
	want_rc 2
	want_err 'run sluice pack again'
	run "$SLUICE" pack "$tmp/d.slc.json" -o "$tmp/d.slc.json"
	want_rc 0
	want_out '50 samples'
	run "$SLUICE" inspect "$tmp/d.slc.json"
	want_rc 0
	[ "$(ls "$tmp" | grep -c 'd\.slc\.[0-9a-f]*\.idx')" = 1 ] || die "an old index is left"
}

test_a_folder_that_holds_its_own_manifest_is_packed_again_as_it_was() {
	mkdir "$tmp/d"
	head -c 1000 /dev/urandom >"$tmp/d/a.dat"
	for i in 1 2; do
		run "$SLUICE" pack "$tmp/d" --format raw --record 1 -o "$tmp/d/x.slc.json"
		want_rc 0
		want_out '1,000 samples in 1 file,'
	done
	run "$SLUICE" stream "$tmp/d/x.slc.json" --verify --list
	want_rc 0
	# Its index is no Megatron index either.
	run "$SLUICE" pack "$tmp/d" --format megatron -o "$tmp/d/x.slc.json"
	want_rc 2
	want_err "$tmp/d holds no file of a format"
}

test_an_output_without_a_name_is_exit_2() {
	records "$tmp/a.rec" 10
	cd "$tmp" || die "no $tmp"
	run "$SLUICE" pack a.rec --format raw --record 512 -o -
	want_rc 2
	want_err 'index file beside it.* name a file'
	run "$SLUICE" pack a.rec --format raw --record 512 -o ''
	want_rc 2
	want_err 'empty name .*say -o NAME'
	[ "$(find . ! -name out ! -name err -type f | wc -l)" = 1 ] || { ls -la && die "something was written"; }
}

test_two_packs_to_one_output_leave_a_whole_manifest() {
	head -c 3000 /dev/zero >"$tmp/one.bin"
	head -c 5000 /dev/zero >"$tmp/two.bin"
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		"$SLUICE" pack "$tmp/one.bin" --format raw --record 100 -o "$tmp/race.slc.json" >/dev/null 2>&1 &
		"$SLUICE" pack "$tmp/two.bin" --format raw --record 100 -o "$tmp/race.slc.json" >/dev/null 2>&1 &
		wait
		"$SLUICE" stream "$tmp/race.slc.json" --verify --list >"$tmp/out" 2>"$tmp/err" ||
			die "round $i: $(cat "$tmp/err")"
	done
}

test_ctrl_c_is_exit_1_and_nothing_is_left() {
	# A sparse file takes long enough to be read.
	truncate -s 40G "$tmp/big.rec" || skip "no sparse files here"
	# What a shell without job control starts behind & ignores SIGINT.
	env --default-signal=INT "$SLUICE" pack "$tmp/big.rec" --format raw --record 1M \
		-o "$tmp/d.slc.json" >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	sleep 0.5
	kill -INT $pid 2>/dev/null || skip "40 GiB were read in half a second"
	rc=0
	wait $pid || rc=$?
	ran="pack"
	want_rc 1
	want_err 'stopped: nothing was written'
	[ "$(ls -A "$tmp" | wc -l)" = 3 ] || { ls -la "$tmp" && die "something is left"; }
}

run_tests
