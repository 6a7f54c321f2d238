#!/bin/sh
# SPDX-License-Identifier: MIT
# What a user of the library gets: make install into a folder, pkg-config, and
# the example built and run against nothing but that.
. "$(dirname "$0")/../ktap.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(dirname "$SLUICE")
CC=${CC:-gcc}

install_into() { # folder
	run make -s -C "$root" install DESTDIR="$1" PREFIX=/usr CC="$CC" BUILD="$build"
	want_rc 0
	PKG_CONFIG_LIBDIR=$1/usr/lib/pkgconfig
	PKG_CONFIG_SYSROOT_DIR=$1
	export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
}

build_example() { # output, pkg-config arguments...
	o=$1
	shift
	cp "$root/tests/examples/stream.c" "$tmp/example.c"
	run $CC -Wall -Wextra -Werror "$tmp/example.c" -o "$o" $(pkg-config "$@" sluice)
	want_rc 0
}

test_the_example_is_under_120_lines() {
	[ "$(wc -l <"$root/tests/examples/stream.c")" -lt 120 ] || die "too long"
}

test_pkg_config_and_the_command_agree_on_the_version() {
	install_into "$tmp/d"
	run "$tmp/d/usr/bin/sluice" --version
	want_out "^sluice $(pkg-config --modversion sluice)\$"
}

test_libraries_are_linked_by_their_soname() {
	install_into "$tmp/d"
	for l in libsluice.so libsluice.so.0; do
		[ -L "$tmp/d/usr/lib/$l" ] || die "$l is no link"
	done
	[ -e "$tmp/d/usr/lib/libsluice.so" ] || die "libsluice.so leads nowhere"
	build_example "$tmp/example" --cflags --libs
	run readelf -d "$tmp/example"
	want_out 'NEEDED.*\[libsluice\.so\.0\]'
}

test_the_example_streams_what_the_command_lists() {
	needs_mkdata
	"$MKDATA" "$tmp/data" --bytes 6M >/dev/null || die "mkdata failed"
	install_into "$tmp/d"
	build_example "$tmp/example" --cflags --libs
	for f in megatron webdataset mds safetensors npy; do
		run "$SLUICE" stream "$tmp/data/$f" --shuffle full --seed 9 --list
		want_rc 0
		cut -f 2,3 "$tmp/out" >"$tmp/want"
		run env LD_LIBRARY_PATH="$tmp/d/usr/lib" "$tmp/example" -s 9 "$tmp/data/$f"
		want_rc 0
		cut -f 2,3 "$tmp/out" >"$tmp/got"
		[ -s "$tmp/got" ] || die "nothing came out for $f"
		want_same "$tmp/want" "$tmp/got"
		want_err 'bytes by uring-|bytes by sync-'
	done
	run env LD_LIBRARY_PATH="$tmp/d/usr/lib" "$tmp/example" "$tmp/absent"
	want_rc 1
	want_err 'stream: .*absent'
}

test_the_static_library_is_enough() {
	install_into "$tmp/d"
	cp "$root/tests/examples/stream.c" "$tmp/example.c"
	unset PKG_CONFIG_SYSROOT_DIR
	libs=$(pkg-config --static --libs sluice | sed "s,-L/usr/lib ,,; s,-lsluice,$tmp/d/usr/lib/libsluice.a,")
	run $CC "$tmp/example.c" -I"$tmp/d/usr/include" -o "$tmp/example" $libs
	want_rc 0
	run "$tmp/example"
	want_rc 2
}

test_uninstall_leaves_nothing() {
	install_into "$tmp/d"
	run make -s -C "$root" uninstall DESTDIR="$tmp/d" PREFIX=/usr CC="$CC" BUILD="$build"
	want_rc 0
	left=$(find "$tmp/d" ! -type d)
	[ -z "$left" ] || die "left: $left"
}

run_tests
