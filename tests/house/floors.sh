#!/bin/sh
# SPDX-License-Identifier: MIT
# tests/floors finds what climbs: each test breaks a copy of the tree.
. "$(dirname "$0")/../ktap.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

# Adds an include line to a file of a copy and says what floors answers.
climb() { # file include
	mkdir "$tmp/tree"
	(cd "$root" && cp -r include userspace tools "$tmp/tree")
	mkdir -p "$(dirname "$tmp/tree/$1")"
	printf '#include %s\n' "$2" >>"$tmp/tree/$1"
	run "$root/tests/floors" "$tmp/tree"
}

test_this_tree_holds() {
	run "$root/tests/floors"
	want_rc 0
}

test_format_may_not_include_stream() {
	climb userspace/format/table.c '"stream/dataset.h"'
	want_rc 1
	want_out '^userspace/format/table.c:[0-9]+: userspace/format/ may not include userspace/stream/'
}

test_base_may_not_include_mem_even_when_new() {
	climb userspace/base/extra.h '"mem/extra.h"'
	want_rc 1
	mkdir -p "$tmp/tree/userspace/mem"
	: >"$tmp/tree/userspace/mem/extra.h"
	run "$root/tests/floors" "$tmp/tree"
	want_rc 1
	want_out 'userspace/base/ may not include userspace/mem/'
}

test_queue_may_not_include_format() {
	climb userspace/queue/extra.c '"format/format.h"'
	want_rc 1
	want_out 'userspace/queue/ may not include userspace/format/'
}

test_a_public_header_may_not_include_an_internal_one() {
	climb include/sluice/region.h '"base/ctx.h"'
	want_rc 1
	want_out 'include/sluice/ may not include userspace/base/'
}

test_the_library_may_not_include_the_command() {
	climb userspace/base/ctx.c '"tools/units.h"'
	want_rc 1
	want_out 'userspace/base/ may not include tools/'
}

test_the_scheduler_needs_nothing_of_the_byte_path() {
	climb scheduler/place.c '"base/ctx.h"'
	want_rc 1
	want_out 'scheduler/ may not include userspace/base/'
}

test_a_path_that_climbs_with_dots_is_refused() {
	climb userspace/mem/extra.c '"../base/ctx.h"'
	want_rc 1
	want_out 'climbs with \.\.'
}

test_a_new_room_needs_a_floor() {
	climb userspace/attic/attic.c '<stdio.h>'
	want_rc 1
	want_out 'no floor is known for userspace/attic/'
}

test_an_empty_tree_does_not_pass() {
	mkdir "$tmp/none"
	run "$root/tests/floors" "$tmp/none"
	want_rc 1
}

run_tests
