#!/bin/sh
# SPDX-License-Identifier: MIT
# sluice bench pin as people and programs read it.
. "$(dirname "$0")/../ktap.sh"

test_the_table_has_three_ways_and_both_ratios() {
	run "$SLUICE" bench pin --size 32M --runs 2
	want_rc 0
	want_empty err
	want_out '^32 MiB, median of 2 runs'
	want_out 'sluice region.* [0-9.]+ +[0-9.]+ +[0-9.]+$'
	want_out 'MADV_POPULATE_WRITE by hand, [0-9]+ thread'
	want_out '4 KiB mmap \+ memset .*1 thread'
	want_out '[0-9.]+ of the populate by hand, [0-9.]+ times memset'
	want_out 'pages: .*pinned by [a-z]+: '
}

test_json_has_stable_names_and_figures_that_agree() {
	command -v python3 >/dev/null || skip "no python3 to read the JSON"
	run "$SLUICE" bench pin --size 48M --page-size 4K --runs 3 --json
	want_rc 0
	want_empty err
	python3 -S - "$tmp/out" <<-'EOF' || die "the JSON is not as documented"
		import json, sys
		d = json.load(open(sys.argv[1]))
		assert d["bytes"] == 48 << 20 and d["runs"] == 3, d
		assert d["page_kind"] == "small" and d["page_size"] == 4096, d
		assert d["threads"] >= 1, d
		for way in d, d["region"], d["parallel_populate"], d["memset_mlock"]:
		    rate = way["bytes_per_second"]
		    assert abs(d["bytes"] / way["seconds"] / rate - 1) < 0.001, way
		r = d["region"]["seconds_each"]
		for other, name in (("parallel_populate",
		                     "fraction_of_parallel_populate"),
		                    ("memset_mlock", "ratio_to_memset_mlock")):
		    o = d[other]["seconds_each"]
		    assert len(r) == len(o) == 3
		    want = sorted(b / a for a, b in zip(r, o))[1]
		    assert abs(want / d[name] - 1) < 0.001, (want, d[name])
		part = d["bytes_per_second"] / d["limit_bytes_per_second"]
		assert abs(part / d["fraction_of_limit"] - 1) < 0.001, d
		# 4 KiB pages cost a fault each beside the zeroing.
		assert 0 < part < 1.2, d
		if d["pin_kind"] == "mlock":
		    assert d["reason"] == "", d
		    assert d["bytes_pinned"] == d["bytes"] or \
		        d["on_node_fraction"] is None, d
		else:
		    assert "RLIMIT_MEMLOCK" in d["reason"], d
		assert d["on_node_fraction"] is None or 0 <= d["on_node_fraction"] <= 1
	EOF
}

test_wrong_arguments_are_exit_2_and_print_no_figures() {
	for args in "--size 0" "--size -1" "--size 1X" "--page-size 3M" \
		"--node x" "--node 1023" "--threads 0" "--runs 0" "--runs 1e3" \
		"more" "--nope"; do
		# shellcheck disable=SC2086
		run "$SLUICE" bench pin --size 8M $args
		want_rc 2
		want_empty out
		want_err .
	done
}

test_more_memory_than_there_is_fails_with_a_sentence() {
	run "$SLUICE" bench pin --size 512T
	want_rc 1
	want_empty out
	want_err_lines 1
	want_err '^sluice: .* MiB asked, but .* leaves [0-9]+ MiB'
}

test_threads_are_those_asked_for() {
	run "$SLUICE" bench pin --size 64M --runs 1 --threads 3
	want_rc 0
	want_out 'by hand, 3 threads'
	want_out ', 3 threads; pinned'
}

run_tests
