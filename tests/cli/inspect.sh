#!/bin/sh
# SPDX-License-Identifier: MIT
# sluice inspect: rows, JSON, refusals.
. "$(dirname "$0")/../ktap.sh"

# A safetensors file of two tensors: u8 [2,3] and f32 [1].
tensors() {
	python3 -c '
import json, struct, sys
h = json.dumps({"a": {"dtype": "U8", "shape": [2, 3], "data_offsets": [0, 6]},
    "b\tc": {"dtype": "F32", "shape": [1], "data_offsets": [6, 10]}}).encode()
sys.stdout.buffer.write(struct.pack("<Q", len(h)) + h + bytes(10))' >"$1"
}

needs_python() {
	command -v python3 >/dev/null || skip "no python3"
}

test_rows_are_apart_by_tabs_and_controls_are_escaped() {
	needs_python
	tensors "$tmp/x.safetensors"
	run "$SLUICE" inspect "$tmp/x.safetensors"
	want_rc 0
	want_empty err
	[ "$(sed -n 3p "$tmp/out" | cut -f 1,2,3,5)" = "a	U8	[2,3]	6" ] || { show && die "row of a"; }
	[ "$(sed -n 4p "$tmp/out" | cut -f 1,2,3,5)" = 'b\x09c	F32	[1]	4' ] || { show && die "row of b"; }
}

test_json_is_one_object_a_file_with_exact_keys() {
	needs_python
	tensors "$tmp/x.safetensors"
	run "$SLUICE" inspect "$tmp/x.safetensors" "$tmp/x.safetensors" --json
	want_rc 0
	python3 - "$tmp/out" <<-'END' || { show && die "not the JSON that was promised"; }
		import json, sys
		lines = open(sys.argv[1]).read().splitlines()
		assert len(lines) == 2
		o = json.loads(lines[0])
		assert o["format"] == "safetensors" and o["samples"] == 2 and o["codec"] == ""
		assert [e["key"] for e in o["entries"]] == ["a", "b\tc"]
		assert o["entries"][0]["shape"] == [2, 3] and o["entries"][1]["bytes"] == 4
		assert o["entries"][1]["offset"] == o["entries"][0]["offset"] + 6
	END
}

test_limit_cuts_rows_not_the_count() {
	needs_python
	tensors "$tmp/x.safetensors"
	run "$SLUICE" inspect "$tmp/x.safetensors" --limit 1
	want_rc 0
	want_out '2 tensors'
	[ "$(wc -l <"$tmp/out")" = 3 ] || { show && die "not one row"; }
}

test_malformed_input_is_exit_2_with_one_line_and_nothing_on_stdout() {
	needs_python
	tensors "$tmp/x.safetensors"
	printf '\223NUMPY\011\000\004\000junk' >"$tmp/bad.npy"
	# The good file comes first, and still nothing is printed.
	run "$SLUICE" inspect "$tmp/x.safetensors" "$tmp/bad.npy"
	want_rc 2
	want_empty out
	want_err_lines 1
	want_err "^sluice: $tmp/bad.npy: npy: offset 6: "
}

test_a_lone_megatron_index_tells_what_is_wrong_with_it_first() {
	printf 'MMIDIDY\000\000' >"$tmp/x.idx"
	run "$SLUICE" inspect "$tmp/x.idx"
	want_rc 2
	want_err "^sluice: $tmp/x.idx: megatron: offset 0: "
}

test_unknown_files_and_missing_files_are_exit_2() {
	echo hello >"$tmp/notes"
	run "$SLUICE" inspect "$tmp/notes"
	want_rc 2
	want_err 'say --format'
	run "$SLUICE" inspect "$tmp/none"
	want_rc 2
	want_err 'No such file'
	run "$SLUICE" inspect
	want_rc 2
}

test_shared_samples_that_are_invalid_are_refused_in_the_one_form() {
	[ -d "$SLC_SHARED/samples" ] || skip "no $SLC_SHARED/samples"
	find "$SLC_SHARED/samples" -name 'invalid*' -type f >"$tmp/names"
	[ -s "$tmp/names" ] || die "no invalid samples"
	while read -r f; do
		run "$SLUICE" inspect "$f"
		want_rc 2
		want_empty out
		want_err_lines 1
		want_err "^sluice: $f: [a-z]*: offset [0-9]*: "
	done <"$tmp/names"
}

test_shared_samples_that_are_valid_are_listed() {
	[ -d "$SLC_SHARED/samples" ] || skip "no $SLC_SHARED/samples"
	find "$SLC_SHARED/samples" -name 'valid*' -type f ! -name '*.json' >"$tmp/names"
	find "$SLC_SHARED/samples/safetensors-real" -name '*.safetensors' >>"$tmp/names"
	while read -r f; do
		run "$SLUICE" inspect "$f" --json
		want_rc 0
		want_empty err
	done <"$tmp/names"
}

test_a_row_that_cannot_be_read_any_more_is_exit_1() {
	echo hello >"$tmp/a.x"
	tar -C "$tmp" --format=ustar -cf "$tmp/t.tar" a.x
	mkfifo "$tmp/fifo"
	# Inspect of two files: the second is cut when the first is being printed.
	for i in $(seq 1 3000); do echo "$i" >"$tmp/$i.y"; done
	(cd "$tmp" && tar --format=ustar -cf long.tar ./*.y) || die "tar failed"
	"$SLUICE" inspect "$tmp/long.tar" "$tmp/t.tar" >"$tmp/fifo" 2>"$tmp/err" &
	pid=$!
	exec 3<"$tmp/fifo"
	head -c 1 <&3 >/dev/null
	truncate -s 0 "$tmp/t.tar"
	cat <&3 >"$tmp/out"
	rc=0
	wait $pid || rc=$?
	ran="inspect of a file that is cut"
	want_rc 1
	want_err 't.tar'
}

test_a_full_stdout_is_an_error() {
	needs_python
	[ -e /dev/full ] || skip "no /dev/full"
	tensors "$tmp/x.safetensors"
	run sh -c '"$1" inspect "$2" >/dev/full' sh "$SLUICE" "$tmp/x.safetensors"
	want_rc 1
	want_err 'standard output'
}

run_tests
