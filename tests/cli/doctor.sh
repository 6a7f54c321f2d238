#!/bin/sh
# SPDX-License-Identifier: MIT
# sluice doctor as people and programs read it.
. "$(dirname "$0")/../ktap.sh"

test_the_table_fits_80_columns_but_for_commands_to_copy() {
	run "$SLUICE" doctor "$tmp"
	[ "$rc" -le 1 ] || die "exit $rc"
	want_empty err
	want_out '^(ok|note|warn|fail) +hugepages +'
	want_out '^(ok|note|warn|fail) +odirect +'
	want_out '[0-9]+ ok, [0-9]+ to note, [0-9]+ to mend, [0-9]+ failed$'
	wide=$(grep -v '^ *fix: ' "$tmp/out" | awk 'length($0) > 80 && NF > 4')
	[ -z "$wide" ] || die "too wide: $wide"
}

test_json_has_every_check_with_stable_keys() {
	command -v python3 >/dev/null || skip "no python3 to read the JSON"
	run "$SLUICE" doctor --json "$tmp"
	[ "$rc" -le 1 ] || die "exit $rc"
	python3 -S - "$tmp/out" "$rc" <<-'EOF' || die "the JSON is not as documented"
		import json, sys
		d = json.load(open(sys.argv[1]))
		ids = [c["id"] for c in d["checks"]]
		need = """kernel io_uring io_uring.modes io_uring.buffers memlock
		    filesystem odirect drive.queue drive.node memory hugepages thp
		    numa swap cpus crc32c nofile container module""".split()
		assert sorted(ids) == sorted(need), ids
		for c in d["checks"]:
		    assert set(c) == {"id", "status", "saw", "why", "fix", "value"}, c
		    assert c["status"] in ("ok", "note", "warn", "fail"), c
		    assert c["saw"] and c["why"], c
		    assert c["fix"] is None or c["fix"], c
		    assert c["value"] is None or isinstance(c["value"], int), c
		count = [sum(c["status"] == s for c in d["checks"])
		         for s in ("ok", "note", "warn", "fail")]
		assert count == [d["ok"], d["notes"], d["warnings"], d["failed"]], d
		assert int(sys.argv[2]) == (1 if d["failed"] else 0)
		value = {c["id"]: c["value"] for c in d["checks"]}
		assert value["cpus"] >= 1 and value["crc32c"] > 10**8, value
	EOF
}

test_a_path_that_is_not_there_is_exit_2() {
	run "$SLUICE" doctor "$tmp/absent"
	want_rc 2
	want_empty out
	want_err_lines 1
	want_err "^sluice: $tmp/absent: No such file or directory"
}

test_two_paths_are_exit_2() {
	run "$SLUICE" doctor / /tmp
	want_rc 2
	want_err 'one PATH'
}

test_a_file_is_as_good_as_a_folder_and_is_left_as_it_was() {
	printf 'sixteen bytes...' >"$tmp/data"
	cp -p "$tmp/data" "$tmp/before"
	run "$SLUICE" doctor "$tmp/data"
	[ "$rc" -le 1 ] || die "exit $rc"
	want_same "$tmp/data" "$tmp/before"
	[ "$(ls -A "$tmp" | sort | tr '\n' ' ')" = "before data err out " ] || die "left behind: $(ls -A "$tmp")"
}

test_tmpfs_is_said_to_have_no_drive() {
	[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip "no tmpfs at /dev/shm"
	run "$SLUICE" doctor /dev/shm
	want_out '^note +filesystem +tmpfs'
	want_out 'no block device'
}

test_memlock_of_64_kib_is_told_with_its_fix() {
	[ "$(id -u)" = 0 ] && ! command -v setpriv >/dev/null && skip "root without setpriv"
	if [ "$(id -u)" = 0 ]; then
		run setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock sh -c 'ulimit -l 64 && exec "$0" doctor /' "$SLUICE"
	else
		run sh -c 'ulimit -l 64 && exec "$0" doctor /' "$SLUICE"
	fi
	want_out '^warn +memlock +64 KiB'
	want_out 'fix: .*memlock'
}

test_of_the_module_it_says_what_the_kernel_lets_it_do() {
	run "$SLUICE" doctor --module
	want_rc 0
	want_empty err
	for c in group alloc pin peer ring limits build signing p2pdma; do
		want_out "^(ok|note|warn) +module\.$c +"
	done
	[ -e /dev/sluice ] || want_out 'the module is not loaded'
	run "$SLUICE" doctor --module --json
	want_rc 0
	want_out '"id": "module.p2pdma"'
	! grep -q '"hugepages"' "$tmp/out" || die "more than the module's checks"
}

run_tests
