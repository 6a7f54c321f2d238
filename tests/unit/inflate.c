/* SPDX-License-Identifier: MIT */
/* gzip and zstd as a state machine and as a source. */
#include <errno.h>

#include "ktap.h"

#include "compress.h"
#include "tests/nthfail.h"

FIXTURE(codec) { struct slc_inflate *inf; };
FIXTURE_VARIANT(codec) { uint32_t codec; };
FIXTURE_VARIANT_ADD(codec, gzip) { .codec = SLC_CODEC_GZIP };
FIXTURE_VARIANT_ADD(codec, zstd) { .codec = SLC_CODEC_ZSTD };
FIXTURE_SETUP(codec)
{
	ASSERT_EQ(slc_inflate_open(variant->codec, &self->inf), 0);
}
FIXTURE_TEARDOWN(codec)
{
	slc_inflate_close(self->inf);
}

/* Text that compresses, with noise that does not. */
static struct bytes make_plain(size_t n)
{
	struct bytes b = { 0 };
	uint32_t x = 1;

	for (size_t i = 0; i < n; i++) {
		uint8_t c;

		x = x * 1664525 + 1013904223;
		c = i % 512 < 300 ? (uint8_t)("abcdefgh"[i & 7]) :
				    (uint8_t)(x >> 24);
		put(&b, &c, 1);
	}
	return b;
}

/*
 * Inflates in steps of in_max and out_max bytes: 0 or the error. What comes
 * out goes to `out`; a stream that stands still is reported as -ELOOP.
 */
static int inflate_in_steps(struct slc_inflate *inf, const struct bytes *in,
			    size_t in_max, size_t out_max, struct bytes *out)
{
	uint8_t *room = malloc(out_max);
	size_t at = 0;
	int err = 0;

	while (!err) {
		/* Of exactly that size, for the sanitizer. */
		size_t n = in->len - at < in_max ? in->len - at : in_max;
		uint8_t *piece = malloc(n ? n : 1);
		size_t took = n, made = out_max;

		if (n)
			memcpy(piece, in->p + at, n);
		err = slc_inflate_step(inf, piece, &took, room, &made);
		free(piece);
		if (err)
			break;
		put(out, room, made);
		at += took;
		if (!took && !made && n)
			err = -ELOOP;
		if (!n && !made) {
			err = slc_inflate_finish(inf);
			break;
		}
	}
	free(room);
	return err;
}

TEST_F(codec, any_cut_of_input_and_output_gives_the_same_bytes)
{
	static const size_t steps[] = { 1, 2, 3, 7, 100, 1000, 1 << 20 };
	struct bytes plain = make_plain(5000), packed = { 0 };

	put_codec(&packed, variant->codec, plain.p, plain.len);
	for (size_t i = 0; i < 7; i++)
		for (size_t o = 0; o < 7; o++) {
			struct bytes out = { 0 };

			ASSERT_EQ(slc_inflate_reset(self->inf), 0);
			ASSERT_EQ(inflate_in_steps(self->inf, &packed, steps[i],
						   steps[o], &out), 0);
			ASSERT_EQ(out.len, plain.len);
			EXPECT_EQ(memcmp(out.p, plain.p, out.len), 0);
			bytes_free(&out);
		}
	bytes_free(&plain);
	bytes_free(&packed);
}

TEST_F(codec, streams_laid_end_to_end_are_one)
{
	struct bytes packed = { 0 }, out = { 0 };

	put_codec(&packed, variant->codec, "first ", 6);
	put_codec(&packed, variant->codec, "", 0);
	put_codec(&packed, variant->codec, "second", 6);
	for (size_t step = 1; step < 100; step += 9) {
		slc_inflate_reset(self->inf);
		out.len = 0;
		ASSERT_EQ(inflate_in_steps(self->inf, &packed, step, 5, &out), 0);
		ASSERT_EQ(out.len, 12);
		EXPECT_EQ(memcmp(out.p, "first second", 12), 0);
	}
	bytes_free(&packed);
	bytes_free(&out);
}

TEST_F(codec, every_truncation_is_an_error_at_the_end)
{
	struct bytes plain = make_plain(600), packed = { 0 };
	size_t whole;

	put_codec(&packed, variant->codec, plain.p, plain.len);
	whole = packed.len;
	for (packed.len = 0; packed.len < whole; packed.len++) {
		struct bytes out = { 0 };

		slc_inflate_reset(self->inf);
		EXPECT_EQ(inflate_in_steps(self->inf, &packed, 50, 64, &out),
			  -EBADMSG);
		EXPECT_HAS(slc_inflate_what(self->inf),
			   slc_codec_name(variant->codec));
		bytes_free(&out);
	}
	bytes_free(&plain);
	bytes_free(&packed);
}

TEST_F(codec, every_bit_flip_is_refused_or_gives_the_same_bytes)
{
	struct bytes plain = make_plain(300), packed = { 0 };
	size_t passed = 0;

	put_codec(&packed, variant->codec, plain.p, plain.len);
	for (size_t bit = 0; bit < 8 * packed.len; bit++) {
		struct bytes out = { 0 };
		int err;

		packed.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		slc_inflate_reset(self->inf);
		err = inflate_in_steps(self->inf, &packed, 4096, 4096, &out);
		packed.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		if (err) {
			EXPECT_EQ(err, -EBADMSG);
		} else {
			passed++;
			EXPECT_EQ(out.len, plain.len);
			EXPECT_EQ(memcmp(out.p, plain.p, plain.len), 0);
		}
		bytes_free(&out);
	}
	/* gzip: mtime, flags and OS bytes; zstd: hardly any. */
	EXPECT_LT(passed, 80);
	bytes_free(&plain);
	bytes_free(&packed);
}

TEST_F(codec, bytes_after_the_end_are_an_error)
{
	static const char *const tails[] = { "x", "PK\3\4", "\1\0\0\0",
					     "\x1f", "\x1f\x8c....",
					     "\x28\xb5\x2f", "garbage garbage" };

	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
		for (size_t step = 1; step < 200; step += 99) {
			struct bytes packed = { 0 }, out = { 0 };

			put_codec(&packed, variant->codec, "hello", 5);
			put_text(&packed, tails[i]);
			slc_inflate_reset(self->inf);
			EXPECT_EQ(inflate_in_steps(self->inf, &packed, step,
						   100, &out), -EBADMSG);
			EXPECT_NE(slc_inflate_what(self->inf)[0], 0);
			bytes_free(&packed);
			bytes_free(&out);
		}
}

TEST_F(codec, an_error_stays_until_reset)
{
	size_t in_len = 10, out_len = 10;
	uint8_t out[10];

	ASSERT_EQ(slc_inflate_step(self->inf, (const uint8_t *)"not packed",
				   &in_len, out, &out_len), -EBADMSG);
	EXPECT_EQ(in_len, 0);
	in_len = 0;
	EXPECT_EQ(slc_inflate_step(self->inf, out, &in_len, out, &out_len),
		  -EBADMSG);
	EXPECT_EQ(slc_inflate_finish(self->inf), -EBADMSG);
	EXPECT_EQ(slc_inflate_reset(self->inf), 0);
	EXPECT_STREQ(slc_inflate_what(self->inf), "");
	EXPECT_EQ(slc_inflate_finish(self->inf), -EBADMSG); /* no stream */
}

TEST_F(codec, a_caller_without_room_or_input_is_no_fault)
{
	struct bytes packed = { 0 };
	size_t at = 0, got = 0;
	uint8_t out[9];

	put_codec(&packed, variant->codec, "12345678", 8);
	while (at < packed.len) {
		for (int i = 0; i < 100; i++) { /* no room */
			size_t in_len = at < 20 ? 0 : 1, out_len = 0;

			ASSERT_EQ(slc_inflate_step(self->inf, packed.p + at,
						   &in_len, out, &out_len), 0);
			ASSERT_EQ(out_len, 0);
			at += in_len;
			if (at == packed.len)
				break;
		}
		for (int i = 0; i < 101 && at < packed.len; i++) {
			/* no input, and one byte in the end */
			size_t in_len = i == 100, out_len = sizeof(out) - got;

			ASSERT_EQ(slc_inflate_step(self->inf, packed.p + at,
						   &in_len, out + got,
						   &out_len), 0);
			at += in_len;
			got += out_len;
		}
	}
	EXPECT_EQ(got, 8);
	EXPECT_EQ(slc_inflate_finish(self->inf), 0);
	EXPECT_EQ(memcmp(out, "12345678", 8), 0);
	bytes_free(&packed);
}

TEST_F(codec, a_caller_with_all_input_and_no_room_is_no_fault)
{
	struct bytes packed = { 0 };
	uint8_t out[8];
	size_t at = 0;

	put_codec(&packed, variant->codec, "12345678", 8);
	for (int i = 0; i < 200; i++) {
		size_t in_len = packed.len - at, out_len = i == 100 ? 8 : 0;

		ASSERT_EQ(slc_inflate_step(self->inf, packed.p + at, &in_len,
					   out, &out_len), 0);
		at += in_len;
	}
	EXPECT_EQ(at, packed.len);
	EXPECT_EQ(slc_inflate_finish(self->inf), 0);
	EXPECT_EQ(memcmp(out, "12345678", 8), 0);
	bytes_free(&packed);
}

TEST_F(codec, a_bomb_gives_no_more_than_is_asked)
{
	const size_t n = 64 << 20;
	struct bytes packed = { 0 };
	uint8_t *zeros = calloc(1, n), out[100];
	size_t in_len, out_len = sizeof(out);

	put_codec(&packed, variant->codec, zeros, n);
	free(zeros);
	EXPECT_LT(packed.len, n / 500);
	in_len = packed.len;
	ASSERT_EQ(slc_inflate_step(self->inf, packed.p, &in_len, out, &out_len),
		  0);
	EXPECT_EQ(out_len, 100);
	bytes_free(&packed);
}

TEST_F(codec, detection_goes_by_magic)
{
	struct bytes packed = { 0 };

	put_codec(&packed, variant->codec, "x", 1);
	EXPECT_EQ(slc_codec_detect(packed.p, packed.len), variant->codec);
	for (size_t n = 0; n < 3; n++)
		EXPECT_EQ(slc_codec_detect(packed.p, n), SLC_CODEC_NONE);
	EXPECT_EQ(slc_codec_detect((const uint8_t *)"BZh91AY", 7),
		  SLC_CODEC_NONE);
	bytes_free(&packed);
}

TEST_F(codec, a_source_reads_forward_and_learns_its_size)
{
	struct bytes plain = make_plain(300000), packed = { 0 };
	struct slc_source_inflate src;
	struct slc_source_mem mem;
	uint8_t buf[1000];

	put_codec(&packed, variant->codec, plain.p, plain.len);
	slc_source_mem_init(&mem, packed.p, packed.len);
	ASSERT_EQ(slc_source_inflate_init(&src, variant->codec, &mem.base), 0);
	EXPECT_EQ(src.base.size, SLC_SIZE_UNKNOWN);
	ASSERT_EQ(src.base.read(&src.base, 0, buf, 10), 10);
	ASSERT_EQ(src.base.read(&src.base, 200001, buf, 1000), 1000);
	EXPECT_EQ(memcmp(buf, plain.p + 200001, 1000), 0);
	EXPECT_EQ(src.base.read(&src.base, 5, buf, 1), -ESPIPE);
	EXPECT_EQ(src.base.read(&src.base, 299999, buf, 1000), 1);
	EXPECT_EQ(src.base.size, 300000);
	EXPECT_EQ(src.base.read(&src.base, 300000, buf, 1), 0);
	EXPECT_EQ(src.base.read(&src.base, UINT64_MAX - 1, buf, 1), 0);
	slc_source_inflate_fini(&src);
	/* Past the end at once: the size is known then, too. */
	ASSERT_EQ(slc_source_inflate_init(&src, variant->codec, &mem.base), 0);
	EXPECT_EQ(src.base.read(&src.base, 1ull << 40, buf, 1), 0);
	EXPECT_EQ(src.base.size, 300000);
	slc_source_inflate_fini(&src);
	bytes_free(&plain);
	bytes_free(&packed);
}

TEST_F(codec, a_damaged_source_is_an_error_each_time)
{
	struct bytes plain = make_plain(300000), packed = { 0 };
	struct slc_source_inflate src;
	struct slc_source_mem mem;
	struct source_broken broken;
	uint8_t buf[1000];

	put_codec(&packed, variant->codec, plain.p, plain.len);
	slc_source_mem_init(&mem, packed.p, packed.len - 1);
	ASSERT_EQ(slc_source_inflate_init(&src, variant->codec, &mem.base), 0);
	EXPECT_EQ(src.base.read(&src.base, 0, buf, 1000), 1000);
	EXPECT_EQ(src.base.read(&src.base, 299999, buf, 1000), -EBADMSG);
	EXPECT_EQ(src.base.read(&src.base, 299999, buf, 1000), -EBADMSG);
	EXPECT_HAS(slc_inflate_what(src.inf), "ends inside");
	slc_source_inflate_fini(&src);
	source_broken_init(&broken, &packed, 100, -EIO);
	ASSERT_EQ(slc_source_inflate_init(&src, variant->codec, &broken.base),
		  0);
	EXPECT_EQ(src.base.read(&src.base, 0, buf, 1000), -EIO);
	slc_source_inflate_fini(&src);
	bytes_free(&plain);
	bytes_free(&packed);
}

TEST_F(codec, every_failed_allocation_is_enomem)
{
	struct bytes packed = { 0 };
	struct slc_source_inflate src;
	struct slc_source_mem mem;
	uint8_t c;
	int64_t got;
	uint64_t n;

	put_codec(&packed, variant->codec, "abcdef", 6);
	slc_source_mem_init(&mem, packed.p, packed.len);
	for (n = 1;; n++) {
		nthfail_arm(n);
		got = slc_source_inflate_init(&src, variant->codec, &mem.base);
		if (!got) {
			got = src.base.read(&src.base, 5, &c, 1);
			slc_source_inflate_fini(&src);
		}
		if (!nthfail_disarm())
			break;
		ASSERT_EQ(got, -ENOMEM);
	}
	EXPECT_EQ(got, 1);
	EXPECT_EQ(c, 'f');
	EXPECT_EQ(n, 4);
	bytes_free(&packed);
}

TEST(zeros_after_gzip_are_padding_but_nothing_comes_after_them)
{
	struct bytes packed = { 0 }, out = { 0 };
	struct slc_inflate *inf;

	ASSERT_EQ(slc_inflate_open(SLC_CODEC_GZIP, &inf), 0);
	put_gzip(&packed, "tape", 4);
	put_zeros(&packed, 1000);
	EXPECT_EQ(inflate_in_steps(inf, &packed, 7, 7, &out), 0);
	EXPECT_EQ(out.len, 4);
	put_gzip(&packed, "more", 4);
	slc_inflate_reset(inf);
	EXPECT_EQ(inflate_in_steps(inf, &packed, 7, 7, &out), -EBADMSG);
	EXPECT_HAS(slc_inflate_what(inf), "after the zeros");
	slc_inflate_close(inf);
	bytes_free(&packed);
	bytes_free(&out);
}

TEST(zstd_skippable_frames_are_passed_over)
{
	struct bytes packed = { 0 }, out = { 0 };
	struct slc_inflate *inf;

	ASSERT_EQ(slc_inflate_open(SLC_CODEC_ZSTD, &inf), 0);
	put_le(&packed, 0x184d2a5f, 4);
	put_le(&packed, 5, 4);
	put(&packed, "notes", 5);
	put_codec(&packed, SLC_CODEC_ZSTD, "body", 4);
	put_le(&packed, 0x184d2a50, 4);
	put_le(&packed, 0, 4);
	for (size_t step = 1; step < 100; step++) {
		slc_inflate_reset(inf);
		out.len = 0;
		ASSERT_EQ(inflate_in_steps(inf, &packed, step, 3, &out), 0);
		ASSERT_EQ(out.len, 4);
	}
	packed.len--; /* inside the last frame's header */
	slc_inflate_reset(inf);
	EXPECT_EQ(inflate_in_steps(inf, &packed, 100, 100, &out), -EBADMSG);
	slc_inflate_close(inf);
	bytes_free(&packed);
	bytes_free(&out);
}

TEST(zstd_windows_past_the_bound_are_refused)
{
	struct bytes plain = make_plain(100), packed = { 0 }, out = { 0 };
	struct slc_inflate *inf;

	ASSERT_EQ(slc_inflate_open(SLC_CODEC_ZSTD, &inf), 0);
	put_zstd_window(&packed, plain.p, plain.len, SLC_ZSTD_WINDOW_LOG);
	EXPECT_EQ(inflate_in_steps(inf, &packed, 100, 100, &out), 0);
	packed.len = 0;
	put_zstd_window(&packed, plain.p, plain.len, SLC_ZSTD_WINDOW_LOG + 1);
	slc_inflate_reset(inf);
	EXPECT_EQ(inflate_in_steps(inf, &packed, 100, 100, &out), -EBADMSG);
	EXPECT_HAS(slc_inflate_what(inf), "zstd");
	slc_inflate_close(inf);
	bytes_free(&plain);
	bytes_free(&packed);
	bytes_free(&out);
}

TEST(old_zstd_formats_are_refused)
{
	/* v0.5 to v0.7: libzstd may still read them, we do not. */
	for (uint8_t v = 0x25; v <= 0x27; v++) {
		uint8_t in[16] = { v, 0xb5, 0x2f, 0xfd }, out[16];
		size_t in_len = sizeof(in), out_len = sizeof(out);
		struct slc_inflate *inf;

		ASSERT_EQ(slc_inflate_open(SLC_CODEC_ZSTD, &inf), 0);
		EXPECT_EQ(slc_inflate_step(inf, in, &in_len, out, &out_len),
			  -EBADMSG);
		EXPECT_HAS(slc_inflate_what(inf), "no magic");
		slc_inflate_close(inf);
	}
}

TEST(a_zstd_header_in_two_pieces_is_judged_as_in_one)
{
	/* Behind its magic it looks like an empty skippable frame. */
	uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x52, 0x2a, 0x4d,
			    0x18, 0,	0,    0,    0 };
	struct bytes packed = { 0 }, out = { 0 };
	struct slc_inflate *inf;

	put(&packed, frame, sizeof(frame));
	ASSERT_EQ(slc_inflate_open(SLC_CODEC_ZSTD, &inf), 0);
	for (size_t step = 1; step <= 14; step++) {
		slc_inflate_reset(inf);
		EXPECT_EQ(inflate_in_steps(inf, &packed, step, 9000, &out),
			  -EBADMSG);
	}
	slc_inflate_close(inf);
	bytes_free(&packed);
	bytes_free(&out);
}

TEST(only_known_codecs_open)
{
	struct slc_inflate *inf = NULL;

	EXPECT_EQ(slc_inflate_open(SLC_CODEC_NONE, &inf), -EINVAL);
	EXPECT_EQ(slc_inflate_open(99, &inf), -EINVAL);
	EXPECT_NULL(inf);
	slc_inflate_close(NULL);
	EXPECT_STREQ(slc_codec_name(SLC_CODEC_NONE), "");
}

TEST_HARNESS_MAIN
