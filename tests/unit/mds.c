/* SPDX-License-Identifier: MIT */
/* MosaicML .mds shards. */
#include <errno.h>

#include "ktap.h"

#include "compress.h"
#include "tests/nthfail.h"

#define FORMAT (&slc_format_mds)

#define CONFIG(encodings, names, sizes)                                   \
	"{\"column_encodings\": " encodings ", \"column_names\": " names  \
	", \"column_sizes\": " sizes ", \"compression\": null, "          \
	"\"format\": \"mds\", \"hashes\": [], \"size_limit\": 67108864, " \
	"\"version\": 2}"

static const char usual[] =
	CONFIG("[\"int\", \"str\", \"ndarray:float32:2,2\"]",
	       "[\"i\", \"s\", \"x\"]", "[8, null, 16]");
#define LEAST 28 /* bytes of a sample with these columns */

/* A shard of samples of LEAST to LEAST + 4 bytes. */
static struct bytes make(const char *config, uint32_t n)
{
	struct bytes b = { 0 };
	uint64_t at = 4 + 4 * ((uint64_t)n + 1) + strlen(config);

	put_le(&b, n, 4);
	put_le(&b, at, 4);
	for (uint32_t i = 0; i < n; i++) {
		at += LEAST + i % 5;
		put_le(&b, at, 4);
	}
	put_text(&b, config);
	put_zeros(&b, at - b.len);
	return b;
}

static void expect_bad(const struct bytes *b, uint64_t off, const char *what)
{
	struct parsed r = parse_bytes(FORMAT, b->p, b->len, 0);

	EXPECT_EQ(r.err, -EBADMSG);
	EXPECT_EQ(r.diag.off, off);
	EXPECT_HAS(r.diag.what, what);
	EXPECT_NULL(r.t.words);
	parsed_free(&r);
}

TEST(golden_shard_gives_every_sample)
{
	struct bytes b = make(usual, 5);
	struct parsed r = parse_bytes(FORMAT, b.p, b.len, 0);
	uint64_t off, len, at = 4 + 4 * 6 + strlen(usual);

	ASSERT_EQ(r.err, 0);
	ASSERT_EQ(r.t.n, 5);
	for (uint64_t i = 0; i < 5; i++) {
		slc_table_span(&r.t, i, &off, &len);
		EXPECT_EQ(off, at);
		EXPECT_EQ(len, LEAST + i);
		at += len;
	}
	parsed_free(&r);
	bytes_free(&b);
}

TEST(a_shard_without_samples_is_valid)
{
	struct bytes b = make(usual, 0);
	struct parsed r = parse_bytes(FORMAT, b.p, b.len, 0);

	EXPECT_EQ(r.err, 0);
	EXPECT_EQ(r.t.n, 0);
	parsed_free(&r);
	bytes_free(&b);
}

TEST(bad_offsets_are_named)
{
	struct bytes b = make(usual, 5);
	uint32_t first = (uint32_t)(4 + 4 * 6 + strlen(usual));
	const struct {
		uint64_t at, value, off;
		const char *what;
	} c[] = {
		{ 0, UINT32_MAX, 0, "4294967295 samples need" },
		{ 4, 28, 4, "inside the offsets" },
		{ 4, 0, 4, "inside the offsets" },
		{ 4, UINT32_MAX, 4, "the config ends at" },
		{ 4, first - 1, first - 1, "not JSON" },
		{ 8, first, 8, "sample 0 is empty" },
		{ 8, first - 1, 8, "ends before it begins" },
		{ 8, first + LEAST - 1, 4, "its columns need 28" },
		{ 12, UINT32_MAX, 12, "sample 1 ends at" },
		{ 24, b.len - 1, 24, "the samples end at" },
	};

	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		struct bytes x = { 0 };

		put(&x, b.p, b.len);
		set_le(&x, c[i].at, c[i].value, 4);
		expect_bad(&x, c[i].off, c[i].what);
		bytes_free(&x);
	}
	put_zeros(&b, 1);
	expect_bad(&b, 24, "the samples end at");
	bytes_free(&b);
}

#define ONE(encoding, size) CONFIG("[" encoding "]", "[\"a\"]", "[" size "]")

static const struct {
	const char *config, *what; /* NULL: accepted */
} configs[] = {
	{ ONE("\"bytes\"", "null"), NULL },
	{ ONE("\"bytes\"", "0"), NULL }, /* 0 says variable, too */
	{ ONE("\"jpeg:90\"", "null"), NULL },
	{ ONE("\"ndarray\"", "null"), NULL },
	{ ONE("\"ndarray:\"", "null"), NULL },
	{ ONE("\"ndarray:uint8\"", "null"), NULL },
	{ ONE("\"ndarray:uint8:3,9\"", "27"), NULL },
	{ ONE("\"float16\"", "2"), NULL },
	{ ONE("\"pkl\"", "null"), "column a holds pickles" },
	{ ONE("\"pkl:x\"", "null"), "pickles" },
	{ ONE("\"list[pkl]\"", "null"), "pickles" },
	{ ONE("\"ndarray:complex64\"", "null"), "no encoding" },
	{ ONE("\"ndarray:int\"", "null"), "no encoding" },
	{ ONE("\"ndarray:uint8:\"", "8"), "no encoding" },
	{ ONE("\"ndarray:uint8:3,\"", "8"), "no encoding" },
	{ ONE("\"ndarray:uint8:0\"", "8"), "no encoding" },
	{ ONE("\"ndarray:uint8:-1\"", "8"), "no encoding" },
	{ ONE("\"ndarray:uint8:4294967296,4294967296\"", "8"), "no encoding" },
	{ ONE("\"ndarray:uint8:3,9\"", "28"), "takes 27 bytes, not 28" },
	{ ONE("\"int\"", "4"), "takes 8 bytes, not 4" },
	{ ONE("\"str\"", "-1"), "neither null nor a count" },
	{ ONE("\"str\"", "1.5"), "neither null nor a count" },
	{ ONE("\"str\"", "\"8\""), "neither null nor a count" },
	{ ONE("\"bytes\"", "9223372036854775807"), "columns need" },
	{ ONE("\"bytes\"", "99999999999999999999"), "not JSON" },
	{ ONE("7", "null"), "not text" },
	{ CONFIG("[]", "[]", "[]"), "not lists of one length" },
	{ CONFIG("[\"str\"]", "[\"a\", \"b\"]", "[null]"), "one length" },
	{ CONFIG("[\"str\"]", "[\"a\"]", "null"), "one length" },
	{ CONFIG("[\"str\", \"str\"]", "[\"a\", \"a\"]", "[null, null]"),
	  "two columns are named a" },
	{ "[]", "not a JSON object" },
	{ "{}", "no version" },
	{ "{\"version\": 3}", "version 3" },
	{ "{\"version\": \"2\"}", "no version" },
	{ "{\"version\": 2}", "format is missing" },
	{ "{\"version\": 2, \"format\": \"csv\"}", "format csv" },
	{ "{\"version\": 2, \"version\": 2}", "duplicate" },
	{ "{\"version\": 2, \"a\": \"\\u0000\"}", "not JSON" },
	{ "{\"version\": 2, \"a\": \"\xff\"}", "not JSON" },
	{ "{\"version\": 2} x", "not JSON" },
	{ "{\"version\": 2", "not JSON" },
};

TEST(configs_are_taken_or_refused_with_the_reason)
{
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		struct bytes b = make(configs[i].config, 1);
		struct parsed r = parse_bytes(FORMAT, b.p, b.len, 0);

		EXPECT_EQ(r.err, configs[i].what ? -EBADMSG : 0);
		if (configs[i].what)
			EXPECT_HAS(r.diag.what, configs[i].what);
		parsed_free(&r);
		bytes_free(&b);
	}
}

TEST(deep_and_large_configs_are_refused)
{
	size_t n = 2 << 20;
	char *deep = malloc(n + 1);
	struct bytes b;

	memset(deep, '[', 1000);
	deep[1000] = 0;
	b = make(deep, 1);
	expect_bad(&b, 12 + 64, "deeper than 64");
	bytes_free(&b);
	memset(deep, ' ', n);
	deep[n] = 0;
	b = make(deep, 1);
	expect_bad(&b, 12, "at most 1048576 are taken");
	bytes_free(&b);
	free(deep);
}

TEST(every_truncation_is_refused)
{
	struct bytes b = make(usual, 5);

	for (size_t n = 0; n < b.len; n++) {
		struct parsed r = parse_bytes(FORMAT, b.p, n, 0);

		EXPECT_EQ(r.err, -EBADMSG);
		EXPECT_NE(r.diag.what[0], 0);
		parsed_free(&r);
		if (n % 10)
			continue;
		for (uint32_t c = SLC_CODEC_GZIP; c <= SLC_CODEC_ZSTD; c++) {
			r = parse_inflated(FORMAT, c, b.p, n);
			EXPECT_EQ(r.err, -EBADMSG);
			parsed_free(&r);
		}
	}
	bytes_free(&b);
}

TEST(every_bit_flip_is_refused_or_stays_inside)
{
	struct bytes b = make(usual, 5);
	size_t end = 28 + strlen(usual);

	for (size_t bit = 0; bit < 8 * end; bit++) {
		struct parsed r;

		b.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		r = parse_bytes(FORMAT, b.p, b.len, 0);
		b.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		if (r.err) {
			EXPECT_EQ(r.err, -EBADMSG);
		} else {
			EXPECT_EQ(r.t.n, 5);
			EXPECT_TRUE(spans_are_inside(&r.t, b.len));
		}
		parsed_free(&r);
	}
	bytes_free(&b);
}

TEST(compressed_shards_give_the_same_table)
{
	struct bytes b = make(usual, 300000); /* more than one chunk */
	struct parsed want = parse_bytes(FORMAT, b.p, b.len, 0);

	ASSERT_EQ(want.err, 0);
	for (uint32_t c = SLC_CODEC_GZIP; c <= SLC_CODEC_ZSTD; c++) {
		struct parsed r = parse_inflated(FORMAT, c, b.p, b.len);

		ASSERT_EQ(r.err, 0);
		ASSERT_EQ(r.t.n, want.t.n);
		EXPECT_EQ(memcmp(r.t.words, want.t.words, 4 * 300001), 0);
		parsed_free(&r);
		r = parse_inflated(FORMAT, c, b.p, 4 + 4 * 200001);
		EXPECT_EQ(r.err, -EBADMSG);
		EXPECT_HAS(r.diag.what, "ends inside the sample offsets");
		parsed_free(&r);
	}
	parsed_free(&want);
	bytes_free(&b);
}

TEST(compressed_shards_end_with_their_last_sample)
{
	for (uint32_t c = SLC_CODEC_GZIP; c <= SLC_CODEC_ZSTD; c++) {
		struct bytes b = make(usual, 300);
		struct parsed r;

		put_zeros(&b, 1);
		r = parse_inflated(FORMAT, c, b.p, b.len);
		EXPECT_EQ(r.err, -EBADMSG);
		EXPECT_HAS(r.diag.what, "after the last sample");
		parsed_free(&r);
		b.len -= 2;
		r = parse_inflated(FORMAT, c, b.p, b.len);
		EXPECT_EQ(r.err, -EBADMSG);
		EXPECT_HAS(r.diag.what, "the samples end at");
		parsed_free(&r);
		set_le(&b, 0, (1u << 26) + 1, 4);
		r = parse_inflated(FORMAT, c, b.p, b.len);
		EXPECT_HAS(r.diag.what, "at most 67108864");
		parsed_free(&r);
		bytes_free(&b);
	}
}

TEST(every_failed_allocation_is_enomem)
{
	struct bytes b = make(usual, 5);
	struct slc_source_mem src;
	struct slc_parse in = { &src.base, 0, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;
	uint64_t n;
	int err;

	slc_source_mem_init(&src, b.p, b.len);
	for (n = 1;; n++) {
		memset(&t, 0, sizeof(t));
		nthfail_arm(n);
		err = FORMAT->parse(&in, &t, &diag);
		if (!nthfail_disarm())
			break;
		ASSERT_EQ(err, -ENOMEM);
	}
	EXPECT_EQ(err, 0);
	EXPECT_EQ(n, 3);
	slc_table_fini(&t);
	bytes_free(&b);
}

TEST(an_error_of_the_source_is_handed_on)
{
	struct bytes b = make(usual, 5);
	static const uint64_t from[] = { 0, 4, 28 };
	struct source_broken src;
	struct slc_parse in = { &src.base, 0, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;

	for (size_t i = 0; i < 3; i++) {
		source_broken_init(&src, &b, from[i], -EIO);
		EXPECT_EQ(FORMAT->parse(&in, &t, &diag), -EIO);
		EXPECT_HAS(diag.what, "Input/output error");
	}
	/* The samples themselves are not read. */
	source_broken_init(&src, &b, 28 + strlen(usual), -EIO);
	EXPECT_EQ(FORMAT->parse(&in, &t, &diag), 0);
	slc_table_fini(&t);
	bytes_free(&b);
}

TEST(sample_files_are_as_their_names_say)
{
	const char *dir = shared_dir();
	struct bytes b = { 0 };
	struct parsed r;
	char path[4096];
	uint64_t off, len;

	if (!dir)
		SKIP("no sample files: SLC_SHARED is not set");
	snprintf(path, sizeof(path), "%s/samples/mds/shard.00000.mds", dir);
	ASSERT_TRUE(bytes_load(&b, path));
	EXPECT_TRUE(slc_format_detect(path, b.p, b.len) == FORMAT);
	r = parse_bytes(FORMAT, b.p, b.len, 0);
	EXPECT_EQ(r.err, 0);
	ASSERT_EQ(r.t.n, 5);
	slc_table_span(&r.t, 4, &off, &len);
	EXPECT_EQ(off, 493);
	EXPECT_EQ(len, 56);
	parsed_free(&r);
	b.len = 0;
	snprintf(path, sizeof(path), "%s/samples/mds/invalid_truncated.mds",
		 dir);
	ASSERT_TRUE(bytes_load(&b, path));
	expect_bad(&b, 4, "the config ends at 269, past the end of the file");
	bytes_free(&b);
}

TEST_HARNESS_MAIN
