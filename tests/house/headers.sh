#!/bin/sh
# SPDX-License-Identifier: MIT
# tests/headers finds what breaks the public headers: each test breaks a copy.
. "$(dirname "$0")/../ktap.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
so=$(dirname "$SLUICE")/libsluice.so.0

copy() {
	mkdir -p "$tmp/tree/tests"
	cp -r "$root/include" "$root/userspace" "$root/tools" "$root/sluice.map" "$tmp/tree"
	cp "$root/tests/headers" "$tmp/tree/tests"
}

test_a_declared_function_that_is_nowhere_is_found() {
	copy
	sed -i 's/^const char \*slc_version(void);/&\nint slc_ghost(void);/' "$tmp/tree/include/sluice/sluice.h"
	run "$tmp/tree/tests/headers" "$so"
	want_rc 1
	want_out '^slc_ghost: declared in include/sluice/ but not in sluice.map'
	want_out '^slc_ghost: declared in include/sluice/ but not exported'
}

test_an_exported_function_that_is_not_declared_is_found() {
	copy
	sed -i '/^const char \*slc_version(void);/d' "$tmp/tree/include/sluice/sluice.h"
	run "$tmp/tree/tests/headers" "$so"
	want_rc 1
	want_out '^slc_version: in sluice.map but not declared'
	want_out '^slc_version: exported by libsluice.so.0 but not declared'
}

test_a_header_that_does_not_stand_alone_is_found() {
	copy
	sed -i '/#include <sluice\/sluice.h>/d' "$tmp/tree/include/sluice/region.h"
	run "$tmp/tree/tests/headers" "$so"
	want_rc 1
	want_out '^sluice/region.h: does not compile alone'
}

run_tests
