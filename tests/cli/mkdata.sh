#!/bin/sh
# SPDX-License-Identifier: MIT
# mkdata: the data that the demo, the tests and the benchmarks stand on.
. "$(dirname "$0")/../ktap.sh"

sums() { # folder
	(cd "$1" && find . -type f | sort | xargs cksum)
}

test_a_seed_gives_the_same_bytes_and_another_seed_others() {
	run "$MKDATA" "$tmp/a" --bytes 2M
	want_rc 0
	run "$MKDATA" "$tmp/b" --bytes 2M --seed 1
	want_rc 0
	run "$MKDATA" "$tmp/c" --bytes 2M --seed 2
	want_rc 0
	sums "$tmp/a" >"$tmp/sa"
	sums "$tmp/b" >"$tmp/sb"
	sums "$tmp/c" >"$tmp/sc"
	want_same "$tmp/sa" "$tmp/sb"
	# Every file differs but the indexes of names.
	same=$(comm -12 "$tmp/sa" "$tmp/sc" | grep -vc 'index.json$')
	[ "$same" = 0 ] || die "$same files are the same for another seed"
}

test_sizes_are_about_what_was_asked() {
	run "$MKDATA" "$tmp/d" --bytes 64M
	want_rc 0
	made=$(du -sb "$tmp/d" | cut -f1)
	[ "$made" -gt 58000000 ] && [ "$made" -lt 75000000 ] || die "$made bytes for 64M"
	for f in megatron tar mds safetensors safetensors-sharded npy; do
		run "$MKDATA" "$tmp/$f" --bytes 3M --only $f
		want_rc 0
		made=$(du -sb "$tmp/$f" | cut -f1)
		[ "$made" -gt 2500000 ] && [ "$made" -lt 3700000 ] || die "$f: $made bytes for 3M"
	done
}

test_python_reads_what_it_wrote() {
	command -v python3 >/dev/null || skip "no python3 to read the files"
	for bytes in 1 100K 20M; do
		rm -rf "$tmp/d"
		run "$MKDATA" "$tmp/d" --bytes $bytes
		want_rc 0
		python3 -S - "$tmp/d" <<-'EOF2' || die "not as the formats say, at $bytes"
			import glob, json, os, struct, sys, tarfile
			d = sys.argv[1] + "/"
			def u(fmt, b, at=0):
			    return struct.unpack_from("<" + fmt, b, at)
			for p in glob.glob(d + "webdataset*/*"):
			    t = tarfile.open(p)
			    ms = t.getmembers()
			    assert ms and all(m.isreg() for m in ms), p
			    for m in ms:
			        body = t.extractfile(m).read()
			        if m.name.endswith(".jpg"):
			            assert body[:2] == b"\xff\xd8" and body[-2:] == b"\xff\xd9"
			        elif m.name.endswith(".cls"):
			            assert 0 <= int(body) < 1000
			        else:
			            assert json.loads(body)["bytes"] > 0
			b = open(d + "megatron/corpus.idx", "rb").read()
			assert b[:9] == b"MMIDIDX\0\0" and u("QB", b, 9) == (1, 8)
			S, D = u("QQ", b, 18)
			assert len(b) == 34 + 12 * S + 8 * D
			lens, at = u("%di" % S, b, 34), u("%dq" % S, b, 34 + 4 * S)
			docs = u("%dq" % D, b, 34 + 12 * S)
			assert docs[0] == 0 and docs[-1] == S and list(docs) == sorted(docs)
			want = 0
			for n, o in zip(lens, at):
			    assert n > 0 and o == want
			    want += 2 * n
			assert want == os.path.getsize(d + "megatron/corpus.bin")
			for kind in "mds", "mds-zstd":
			    ix = json.load(open(d + kind + "/index.json"))
			    assert ix["version"] == 2 and ix["shards"]
			    for s in ix["shards"]:
			        f = s["zip_data"] or s["raw_data"]
			        p = d + kind + "/" + f["basename"]
			        assert os.path.getsize(p) == f["bytes"]
			        if s["zip_data"]:
			            continue
			        b = open(p, "rb").read()
			        n = u("I", b)[0]
			        off = u("%dI" % (n + 1), b, 4)
			        assert n == s["samples"] and off[-1] == len(b)
			        c = json.loads(b[4 + 4 * (n + 1):off[0]])
			        assert c["column_names"] == ["image", "label"]
			        for i in range(n):
			            size = u("I", b, off[i])[0]
			            assert off[i + 1] - off[i] == 4 + size + 8
			            assert 0 <= u("q", b, off[i] + 4 + size)[0] < 1000
			ix = json.load(open(d + "safetensors-sharded/model.safetensors.index.json"))
			total, found = 0, {}
			for p in glob.glob(d + "safetensors*/*.safetensors"):
			    b = open(p, "rb").read()
			    n = u("Q", b)[0]
			    h = json.loads(b[8:8 + n])
			    h.pop("__metadata__")
			    end = 0
			    for name, t in sorted(h.items(), key=lambda x: x[1]["data_offsets"]):
			        assert t["data_offsets"][0] == end
			        end = t["data_offsets"][1]
			        if "sharded" in p:
			            total += end - t["data_offsets"][0]
			            found[name] = os.path.basename(p)
			    assert n % 8 == 0 and 8 + n + end == len(b)
			assert ix["metadata"]["total_size"] == total and ix["weight_map"] == found
			b = open(d + "npy/features.npy", "rb").read()
			h = eval(b[10:128], {})
			assert b[:8] == b"\x93NUMPY\1\0" and h["descr"] == "<f4"
			assert len(b) == 128 + 4 * h["shape"][0] * h["shape"][1]
			assert open(d + "gguf/model.gguf", "rb").read(8) == b"GGUF\3\0\0\0"
		EOF2
	done
}

test_the_zstd_shards_inflate_to_what_the_index_says() {
	command -v zstd >/dev/null || skip "no zstd command"
	run "$MKDATA" "$tmp/d" --bytes 1M --only mds-zstd
	want_rc 0
	want=$(sed 's/.*"raw_data": {[^}]*"bytes": \([0-9]*\).*/\1/' "$tmp/d/mds-zstd/index.json")
	got=$(zstd -dc "$tmp/d/mds-zstd/shard.00000.mds.zstd" | wc -c)
	[ "$want" = "$got" ] || die "$got bytes, not $want"
}

test_wrong_arguments_are_said() {
	for args in "" "$tmp/x" "$tmp/x --bytes 0" "$tmp/x --bytes -1" \
		"$tmp/x --bytes 3x" "$tmp/x --bytes 99999999999T" \
		"$tmp/x $tmp/y --bytes 1M" "$tmp/x --nope"; do
		# shellcheck disable=SC2086
		run "$MKDATA" $args
		want_rc 1
		want_err .
	done
	run "$MKDATA" "$tmp/x" --bytes 1M --only tarball
	want_rc 1
	want_err 'is none of megatron tar mds'
	run "$MKDATA" "$tmp/no/folder" --bytes 1M
	want_rc 1
	want_err 'No such file'
}

test_a_write_that_fails_is_an_error() {
	# The limit on file size makes write fail with EFBIG.
	run sh -c 'trap "" XFSZ; ulimit -f 64; exec "$0" "$1" --bytes 10M' "$MKDATA" "$tmp/d"
	want_rc 1
	want_err 'mkdata: .*: File too large'
}

run_tests
