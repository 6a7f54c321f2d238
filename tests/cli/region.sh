#!/bin/sh
# SPDX-License-Identifier: MIT
# sluice region: named regions of the kernel module, and what it says without.
. "$(dirname "$0")/../ktap.sh"

region=ktap-$$

needs_module() {
	[ -e /dev/sluice ] || skip "no /dev/sluice: the module is not loaded (tests/lab runs this in a guest)"
	[ -w /dev/sluice ] || skip "/dev/sluice: this user may not open it"
	trap '"$SLUICE" region remove "$region" 2>/dev/null' EXIT
}

needs_python() {
	command -v python3 >/dev/null || skip "no python3 to read the JSON"
}

test_without_the_module_each_command_is_one_line_with_the_remedy_and_exit_1() {
	[ ! -e /dev/sluice ] || skip "the module is loaded"
	for c in "list" "list --json" "create $region 2M" "show $region" "remove $region" "grant $region --mode 660"; do
		run "$SLUICE" region $c
		want_rc 1
		want_empty out
		want_err_lines 1
		want_err '^sluice: /dev/sluice: the module is not loaded \(sudo modprobe sluice; not built yet: make module, then sudo insmod build/sluice.ko\)$'
	done
}

test_help_of_each_says_what_its_exit_codes_mean() {
	for c in list create show remove grant; do
		run "$SLUICE" region $c --help
		want_rc 0
		want_empty err
		want_out "^Usage: sluice region $c"
		want_out 'Exit codes: 0'
		[ "$(wc -L <"$tmp/out")" -le 80 ] || { show && die "wider than 80 columns"; }
	done
	run "$SLUICE" region
	want_rc 2
	want_err 'list \| create \| show \| remove \| grant$'
}

test_what_is_typed_wrong_is_exit_2_and_asks_no_module() {
	while read -r words; do
		args=${words%%:*}
		run "$SLUICE" region $args
		want_rc 2
		want_empty out
		want_err "${words#*:}"
		want_err "^sluice region ${args%% *}: "
	done <<-'EOF2'
		create:a NAME and a SIZE
		create weights:a NAME and a SIZE
		create weights 8X:8X: not a size
		create weights 0:0: not a size
		create weights 8G more:one NAME and one SIZE
		create a/b 8G:a name has 1 to 63 of
		create weights 8G --mode 888:not octal
		create weights 8G --mode 1777:not octal
		create weights 8G --node -1:not a node
		create weights 8G --run x:not a size
		show:which one
		show a b:one NAME
		remove:which one
		grant weights:to whom
		grant weights --user no-such-user-here:no such user
		grant weights --group no-such-group-here:no such group
	EOF2
}

test_a_region_is_made_listed_shown_granted_and_removed() {
	needs_module
	run "$SLUICE" region create "$region" 3M --mode 640
	want_rc 0
	want_empty err
	want_out "^$region: 4 MiB on node [0-9]+, .* in runs of 2 MiB or longer$"
	run "$SLUICE" region list
	want_out "^$region +[0-9]+ +alloc +4 MiB +[0-9]+ +640 +.* nobody"
	run "$SLUICE" region show "$region"
	want_out "^$region: 4 MiB, alloc, id [0-9]+$"
	want_out '^owner .* mode 640$'
	want_out '^used by  nobody$'
	want_out '^ *[0-9]+  (2 MiB or longer|shorter) +[0-9]+ '
	run "$SLUICE" region grant "$region" --mode 600
	want_rc 0
	run "$SLUICE" region show "$region"
	want_out '^owner .* mode 600$'
	run "$SLUICE" region create "$region" 2M
	want_rc 2
	want_err "^sluice: region $region: the name is taken"
	run "$SLUICE" region remove "$region"
	want_rc 0
	run "$SLUICE" region show "$region"
	want_rc 2
	want_err "^sluice: region $region: no region of that name"
}

test_json_has_the_documented_keys() {
	needs_module
	needs_python
	"$SLUICE" region create "$region" 2M >/dev/null || die "not made"
	run "$SLUICE" region list --json
	want_rc 0
	run sh -c '"$0" region list --json >"$1/list" && "$0" region show "$2" --json >"$1/show"' "$SLUICE" "$tmp" "$region"
	want_rc 0
	python3 -S - "$tmp/list" "$tmp/show" "$region" <<-'EOF2' || die "the JSON is not as documented"
		import json, sys
		keys = set("""name id kind bytes bytes_2m runs node uid gid mode pid comm
		    revoked dmabufs mappings devices ring_slots""".split())
		all = json.load(open(sys.argv[1]))["regions"]
		mine = [r for r in all if r["name"] == sys.argv[3]]
		assert len(mine) == 1 and set(mine[0]) == keys, mine
		assert mine[0]["bytes"] == 2 << 20 and mine[0]["mode"] == "600", mine
		one = json.load(open(sys.argv[2]))
		assert set(one) == keys | {"lies"}, one
		assert sum(r["bytes"] for r in one["lies"]) == 2 << 20, one
	EOF2
}

test_more_than_the_machine_has_is_exit_1_in_words() {
	needs_module
	run "$SLUICE" region create "$region" 100T
	want_rc 1
	want_err_lines 1
	want_err "^sluice: region $region: "
}

run_tests
