#!/bin/sh
# SPDX-License-Identifier: MIT
# sluice stream from outside: the list, the JSON, stopping and going on.
. "$(dirname "$0")/../ktap.sh"

raw() { # bytes
	head -c "$1" /dev/urandom >"$tmp/a.bin"
}

stream() {
	run "$SLUICE" stream "$tmp/a.bin" --format raw --no-limit-probe "$@"
}

field() { # name, from the JSON in a file
	sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' "$2"
}

test_list_has_key_bytes_and_sum_of_each_sample_in_order() {
	printf '123456789abcdefghi' >"$tmp/a.bin"
	stream --record 9 --list
	want_rc 0
	printf '0\t9\te3069283\n' >"$tmp/want"
	head -n 1 "$tmp/out" >"$tmp/first"
	want_same "$tmp/want" "$tmp/first"
	[ "$(wc -l <"$tmp/out")" = 2 ] || die "not two lines"
	want_out "$(printf '^1\t9\t[0-9a-f]{8}$')"
}

test_json_has_the_names_that_were_promised() {
	raw 400000
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 4000 --json
	want_rc 0
	for name in bytes samples seconds bytes_per_second limit_bytes_per_second \
		fraction_of_limit crc_errors max_pinned_bytes resume routes; do
		want_out "\"$name\":"
	done
	want_out '"bytes":400000,"samples":100,'
	want_out '"routes":\[\{"route":"[a-z-]+","bytes":[0-9]+,"reason":"'
	[ "$(wc -l <"$tmp/out")" = 1 ] || die "not one line"
	[ "$(field max_pinned_bytes "$tmp/out")" -le 268435456 ] || die "more pinned than allowed"
	[ "$(field max_pinned_bytes "$tmp/out")" -ge 1048576 ] || die "less pinned than the queue's own"
	[ "$(field limit_bytes_per_second "$tmp/out" | cut -d. -f1)" != null ] || die "no limit"
}

test_fraction_of_limit_is_the_rate_over_the_limit() {
	raw 4000000
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 4000 --json
	want_rc 0
	awk -v f="$(field fraction_of_limit "$tmp/out")" -v r="$(field bytes_per_second "$tmp/out")" \
		-v l="$(field limit_bytes_per_second "$tmp/out")" \
		'BEGIN { d = f - r / l; exit !(f > 0 && d < 1e-4 && d > -1e-4) }' || die "not the rate over the limit"
}

test_a_batch_that_is_not_full_is_dropped_when_asked() {
	raw 40000
	stream --record 4000 --batch 4 --drop-last --list
	want_rc 0
	[ "$(wc -l <"$tmp/out")" = 8 ] || die "not eight lines"
}

test_buffered_goes_through_the_page_cache_and_says_so() {
	raw 40000
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 4000 --buffered --json
	want_rc 0
	want_out '"route":"(uring|sync)-buffered","bytes":40000,"reason":"[^"]'
}

test_strict_refuses_a_fallback() {
	raw 40000
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 4000 --buffered --strict --list
	want_rc 1
	want_err 'strict'
}

test_json_beside_a_list_goes_to_stderr() {
	raw 40000
	stream --record 4000 --list --json
	want_rc 0
	[ "$(wc -l <"$tmp/out")" = 10 ] || die "not ten lines"
	want_err '^\{"bytes":40000,'
}

test_a_table_for_people_names_rate_limit_checksums_and_route() {
	raw 4000000
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 4000
	want_rc 0
	want_out '^1,000 samples, 3.8'
	for word in rate limit checksums pinned route; do
		want_out "^  $word "
	done
	want_out 'unverified: no manifest'
}

test_a_limit_and_its_token_give_the_rest_on_other_ranks() {
	raw 100000
	stream --record 100 --shuffle full --seed 5 --list
	sort "$tmp/out" >"$tmp/want"
	stream --record 100 --shuffle full --seed 5 --limit 301 --list --json
	want_rc 0
	cp "$tmp/out" "$tmp/got"
	token=$(field resume "$tmp/err")
	for rank in 0 1 2; do
		stream --record 100 --resume "$token" --rank $rank --world 3 --list
		want_rc 0
		cat "$tmp/out" >>"$tmp/got"
	done
	sort "$tmp/got" >"$tmp/all"
	want_same "$tmp/want" "$tmp/all"
}

test_options_that_contradict_the_token_are_exit_2_and_equal_ones_are_fine() {
	raw 10000
	stream --record 100 --shuffle full --seed 5 --epoch 3 --drop-last --limit 10 --json
	token=$(field resume "$tmp/out")
	stream --record 100 --resume "$token" --list
	want_rc 0
	cp "$tmp/out" "$tmp/want"
	stream --record 100 --resume "$token" --shuffle full --seed 5 --epoch 3 --drop-last --list
	want_rc 0
	want_same "$tmp/want" "$tmp/out"
	while read -r option held asked; do
		stream --record 100 --resume "$token" $option --list
		want_rc 2
		want_empty out
		want_err "resume token holds $held and $asked was asked for"
	done <<-END
		--shuffle=none shuffle.full none
		--shuffle=shard shuffle.full shard
		--seed=0 seed.5 0
		--seed=6 seed.5 6
		--epoch=0 epoch.3 0
		--epoch=4 epoch.3 4
		--pad tail.drop pad
	END
}

test_the_same_seed_is_the_same_order_and_another_epoch_is_not() {
	raw 50000
	stream --record 100 --shuffle full --seed 5 --list
	cp "$tmp/out" "$tmp/one"
	stream --record 100 --shuffle full --seed 5 --list --memory 4M --depth 3
	want_same "$tmp/one" "$tmp/out"
	stream --record 100 --shuffle full --seed 5 --epoch 1 --list
	! cmp -s "$tmp/one" "$tmp/out" || die "epoch 1 is epoch 0"
}

test_wrong_words_are_exit_2_and_print_nothing() {
	raw 1000
	for words in '--record 0' '--record 7' '--record 10 --rank 1' '--record 10 --shuffle sideways' \
		'--record 10 --memory 1K' '--record 10 --verify' '--record 10 --resume slc1.abc' \
		'--record 10 --pad --drop-last' '--record 10 --engine steam' '--record 10 --list --no-crc' \
		'--record 10 --page-size 5000' '--record 10 --world 5000000000'; do
		stream $words
		want_rc 2
		want_empty out
	done
	run "$SLUICE" stream
	want_rc 2
	run "$SLUICE" stream "$tmp/none"
	want_rc 2
	want_err_lines 1
}

test_a_flipped_byte_is_exit_1_and_names_the_sample() {
	raw 100000
	run "$SLUICE" pack "$tmp/a.bin" --format raw --record 1000 -o "$tmp/a.slc.json"
	want_rc 0
	touch -r "$tmp/a.bin" "$tmp/stamp"
	printf '\377\000\377\000' | dd of="$tmp/a.bin" bs=1 seek=42500 conv=notrunc 2>/dev/null
	touch -r "$tmp/stamp" "$tmp/a.bin"
	run "$SLUICE" stream "$tmp/a.slc.json" --list --json
	want_rc 1
	want_err 'a.bin: checksum mismatch in sample 42 at offset 42000'
	want_err '"crc_errors":1'
	[ "$(wc -l <"$tmp/out")" = 42 ] || die "not the 42 good samples"
}

# A tar sample does not come in parts, so that one is too large for the window.
test_a_sample_too_large_in_mid_list_is_exit_1_behind_the_good_ones() {
	head -c 100 /dev/urandom >"$tmp/a.x"
	head -c 9000000 /dev/urandom >"$tmp/b.x"
	tar -C "$tmp" --format=ustar -cf "$tmp/t.tar" a.x b.x
	run "$SLUICE" stream "$tmp/t.tar" --memory 8M --list
	want_rc 1
	want_out "^a	100	"
	[ "$(wc -l <"$tmp/out")" = 1 ] || die "not the one good sample"
	want_err_lines 1
	want_err 't.tar: sample 1 has .* bytes.*give a memory of '
	# By the phase, not by the place: the first one is no other case.
	tar -C "$tmp" --format=ustar -cf "$tmp/t.tar" b.x a.x
	run "$SLUICE" stream "$tmp/t.tar" --memory 8M --list
	want_rc 1
	want_empty out
}

test_what_this_dataset_cannot_do_is_exit_2() {
	head -c 100 /dev/urandom >"$tmp/a.x"
	tar -C "$tmp" --format=ustar -czf "$tmp/t.tar.gz" a.x
	run "$SLUICE" stream "$tmp/t.tar.gz" --shuffle full --list
	want_rc 2
	want_empty out
	want_err 'use shuffle shard'
}

# Reading is slow enough to be stopped: one small read at a time.
test_ctrl_c_prints_a_token_that_goes_on_and_leaves_no_child() {
	raw 50000000
	for sig in INT TERM; do
		# What a shell without job control starts behind & ignores SIGINT.
		SLC_ENGINE=sync env --default-signal=INT "$SLUICE" stream "$tmp/a.bin" --format raw --record 500 --shuffle full \
			--no-limit-probe --depth 1 --memory 4M --list >"$tmp/out" 2>"$tmp/err" &
		pid=$!
		sleep 0.3
		kill -$sig $pid
		rc=0
		wait $pid || rc=$?
		ran="kill -$sig"
		want_rc 1
		want_err '^sluice: stopped; resume with --resume slc1\.[0-9a-f.]+$'
		cut -f 1 "$tmp/out" >"$tmp/keys"
		n=$(wc -l <"$tmp/keys")
		[ "$n" -gt 0 ] && [ "$n" -lt 100000 ] || die "$n samples before the stop"
		stream --record 500 --list --resume "$(sed -n 's/.*--resume //p' "$tmp/err")"
		want_rc 0
		cut -f 1 "$tmp/out" >>"$tmp/keys"
		[ "$(sort -n "$tmp/keys" | uniq | wc -l)" = 100000 ] || die "some are missing"
		[ "$(wc -l <"$tmp/keys")" = 100000 ] || die "some came twice"
	done
}

test_a_reader_that_leaves_is_no_endless_run() {
	raw 20000000
	rc=0
	timeout 20 "$SLUICE" stream "$tmp/a.bin" --format raw --record 10 --list 2>"$tmp/err" | head -n 1 >"$tmp/out" || rc=$?
	ran="head"
	want_rc 0
	want_out '^0	10	'
}

# Runs a command; $most is the most that the kernel ever saw it pin, in bytes.
watch_pins() {
	ran=$*
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	most=0
	looks=0
	while :; do
		locked=
		huge=0
		while read -r name value _; do
			case $name in
			VmLck:) locked=$value ;;
			HugetlbPages:) huge=$value ;;
			esac
		done 2>/dev/null <"/proc/$pid/status" || break
		[ -n "$locked" ] || break # it has ended
		looks=$((looks + 1))
		[ $((locked + huge)) -le $most ] || most=$((locked + huge))
	done
	rc=0
	wait $pid || rc=$?
	most=$((most * 1024))
	echo "$looks looks, at most $most: $ran"
}

test_the_kernel_never_sees_more_pinned_than_allowed_and_json_says_how_much() {
	raw 60000000
	while read -r memory words; do
		watch_pins "$SLUICE" stream "$tmp/a.bin" --format raw --json --memory "$memory" $words
		want_rc 0
		[ $looks -ge 20 ] || die "only $looks looks"
		pinned=$(field max_pinned_bytes "$tmp/out")
		allowed=$(($(echo "$memory" | sed 's/K/*1024/; s/M/*1048576/')))
		[ "$most" -le $allowed ] || die "$most pinned of $allowed allowed"
		[ "$most" = "$pinned" ] || die "$most pinned, $pinned told"
		[ "$(field limit_bytes_per_second "$tmp/out")" != null ] || die "no limit"
	done <<-END
		64M --record 1000
		5M --record 300000 --shuffle full
		3M --record 5000 --shuffle full
		2300K --record 60000
		1M --record 2000 --depth 1
		300K --record 2000 --depth 8
		5M --record 300000 --shuffle full --page-size 4K
	END
	# The probe's own when that is more: of little data little is pinned.
	raw 4000
	watch_pins "$SLUICE" stream "$tmp/a.bin" --format raw --json --record 4000
	want_rc 0
	[ "$most" = "$(field max_pinned_bytes "$tmp/out")" ] || die "$most pinned, $(field max_pinned_bytes "$tmp/out") told"
}

test_too_little_memory_is_exit_2_with_what_is_enough() {
	raw 60000
	for words in "--memory 1" "--memory 2M" "--memory 200K --depth 8"; do
		run "$SLUICE" stream "$tmp/a.bin" --format raw --record 100 $words
		want_rc 2
		want_empty out
		want_err_lines 1
		want_err 'give at least [0-9]+'
	done
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 100 --memory 2M
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 100 \
		--memory "$(sed -n 's/.*at least \([0-9]*\).*/\1/p' "$tmp/err")"
	want_rc 0
}

test_what_the_machine_does_not_pin_is_not_told_as_pinned() {
	raw 4000000
	# Root may pin whatever the limit says: as somebody else.
	set --
	if [ "$(id -u)" = 0 ]; then
		command -v setpriv >/dev/null || skip "no setpriv to leave root with"
		set -- setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all
		chmod -R a+rX "$top"
		"$@" test -x "$SLUICE" || skip "nobody else may run $SLUICE"
	fi
	watch_pins sh -c 'ulimit -l 0; exec "$@"' sh "$@" "$SLUICE" stream "$tmp/a.bin" --format raw \
		--record 1000 --page-size 4K --depth 8 --json --no-limit-probe
	want_rc 0
	[ "$most" = "$(field max_pinned_bytes "$tmp/out")" ] || { show && die "$most pinned"; }
	[ "$most" = 0 ] || die "$most pinned with a limit of 0"
}

test_less_memory_is_kept_to() {
	raw 30000000
	stream --record 5000000 --memory 4M --json
	want_rc 0
	want_out '"bytes":30000000,"samples":6,'
	[ "$(field max_pinned_bytes "$tmp/out")" -le 4194304 ] || die "more than 4 MiB"
}

test_of_compressed_shards_the_stored_bytes_count_towards_the_limit() {
	command -v python3 >/dev/null || skip "no python3"
	mkdir "$tmp/t"
	for i in 1 2 3 4 5 6 7 8; do yes | head -c 1000000 >"$tmp/t/$i.txt"; done
	tar -C "$tmp/t" -czf "$tmp/z.tar.gz" .
	run "$SLUICE" stream "$tmp/z.tar.gz" --json
	want_rc 0
	want_out '"limit_counts":"bytes_read"'
	python3 - "$tmp/out" <<-'EOF' || die "the fraction is not that of the stored bytes"
		import json, sys
		d = json.load(open(sys.argv[1]))
		assert d["bytes"] == 8000000 and d["bytes_read"] < 100000, d
		want = d["bytes_read"] / d["seconds"] / d["limit_bytes_per_second"]
		assert abs(d["fraction_of_limit"] / want - 1) < 0.01, d
	EOF
	raw 400000
	run "$SLUICE" stream "$tmp/a.bin" --format raw --record 4000 --json
	want_out '"limit_counts":"bytes"'
	run "$SLUICE" stream --help
	want_out 'limit_counts says'
	run "$SLUICE" stream "$tmp/z.tar.gz"
	want_rc 0
	want_out 'limit .*stored bytes'
}

run_tests
