#!/bin/sh
# SPDX-License-Identifier: MIT
# tools/demo: the first thing that a stranger sees. It runs in a tree of its
# own, where nothing is installed or built.
. "$(dirname "$0")/../ktap.sh"
demo=$(cd "$(dirname "$0")/../.." && pwd)/tools/demo

tree() {
	mkdir -p "$tmp/tree/tools" "$tmp/tree/build"
	cp "$demo" "$tmp/tree/tools"
	printf '#!/bin/sh\n' >"$tmp/tree/tools/deps"
	chmod +x "$tmp/tree/tools/deps"
	printf 'all data:\n' >"$tmp/tree/Makefile"
}

real() {
	tree
	ln -s "$SLUICE" "$tmp/tree/build/sluice"
}

# A sluice whose stream prints $tmp/json, and $tmp/said on stderr.
told() {
	tree
	cat >"$tmp/tree/build/sluice" <<-END
		#!/bin/sh
		[ "\$1" = pack ] && exit
		cat "$tmp/json"
		[ ! -e "$tmp/said" ] || sed "s/SIZE/\$(basename "\$2" | cut -c 1)000/" "$tmp/said" >&2
	END
	chmod +x "$tmp/tree/build/sluice"
}

narrow() {
	wide=$(awk 'length($0) > 80' "$tmp/out")
	[ -z "$wide" ] || { show && die "wider than 80 columns: $wide"; }
}

test_a_row_has_size_rate_limit_and_route() {
	real
	head -c 4096000 /dev/urandom >"$tmp/a.bin"
	mkdir "$tmp/data"
	python3 -c '
import struct, sys
def npy(path, rows):
    h = "{\"descr\": \"<u4\", \"fortran_order\": False, \"shape\": (%d, 512), }" % rows
    h += " " * (117 - len(h)) + "\n"
    open(path, "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", 118) + h.encode() + bytes(rows * 2048))
npy(sys.argv[1] + "/full.npy", 1000)
npy(sys.argv[1] + "/empty.npy", 0)' "$tmp/data" || skip "no python3 to make the data"
	run "$tmp/tree/tools/demo" "$tmp/data/full.npy" "$tmp/data/empty.npy"
	want_rc 0
	want_empty err
	narrow
	want_out '^dataset +MiB +samples +KiB/sample +GB/s +limit +of limit +route, and why$'
	want_out '^full.npy +2\.0 +1000 +2\.0 +[0-9.]+ +[0-9.]+ +[0-9]+ % +[a-z]+-[a-z]+$'
	want_out '^empty.npy +0\.0 +0 +- +- +- +- +-$'
	want_out 'build/sluice doctor'
}

test_each_kind_of_note_is_told_once_with_the_largest_number() {
	told
	echo '{"bytes":1048576,"samples":1,"bytes_per_second":1e9,"limit_bytes_per_second":2e9,"fraction_of_limit":0.5,"routes":[{"route":"uring-direct","bytes":1048576,"reason":""}]}' >"$tmp/json"
	cat >"$tmp/said" <<-END
		sluice: region: no 2 MiB hugetlb pages (SIZE wanted, 0 free): stepping down to transparent huge pages
		sluice: another thing altogether
	END
	for i in a b c; do : >"$tmp/$i"; done
	run "$tmp/tree/tools/demo" "$tmp/a" "$tmp/b" "$tmp/c"
	want_rc 0
	narrow
	[ "$(grep -c 'hugetlb pages' "$tmp/out")" = 1 ] || { show && die "not once"; }
	want_out '\(3000 wanted'
	[ "$(grep -c 'another thing' "$tmp/out")" = 1 ] || { show && die "not once"; }
}

test_many_routes_have_a_line_each_that_fits_the_terminal() {
	told
	why="this is a reason of many words that could not possibly fit into the columns that are left beside the others, and goes on"
	echo '{"bytes":3145728,"samples":3,"bytes_per_second":1e9,"limit_bytes_per_second":null,"fraction_of_limit":null,"routes":[{"route":"bounce","bytes":1048576,"reason":"'"$why"'"},{"route":"uring-buffered","bytes":2097152,"reason":"no O_DIRECT on tmpfs"},{"route":"sync-direct","bytes":0,"reason":"unused"}]}' >"$tmp/json"
	: >"$tmp/a-dataset-with-a-name-that-is-long"
	run "$tmp/tree/tools/demo" "$tmp/a-dataset-with-a-name-that-is-long"
	want_rc 0
	narrow
	want_out '^a-dataset-with +3\.0 +3 +1024\.0 +1\.00 +- +- +uring-buffered$'
	want_out '^  no O_DIRECT on tmpfs$'
	want_out '^  1\.0 MiB by bounce: this is a reason'
	want_out '^  .*and goes on$'
	! grep -q unused "$tmp/out" || die "a route that no byte took"
}

test_what_fails_is_told_with_the_sentence_of_the_command() {
	real
	echo hello >"$tmp/notes.txt"
	run "$tmp/tree/tools/demo" "$tmp/notes.txt"
	want_rc 1
	want_err '^sluice: .*notes.txt'
	want_err '^demo: pack of .*notes.txt failed'
	run "$tmp/tree/tools/demo" "$tmp/none"
	want_rc 2
	want_err 'none: no such file or folder'
	run "$tmp/tree/tools/demo" --sideways
	want_rc 2
	run "$tmp/tree/tools/demo" --help
	want_rc 0
	want_out 'usage: tools/demo'
}

run_tests
