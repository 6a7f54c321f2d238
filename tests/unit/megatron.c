/* SPDX-License-Identifier: MIT */
/* The Megatron .idx parser. */
#include <errno.h>

#include "base/clock.h"
#include "ktap.h"

#include "bytes.h"
#include "tests/nthfail.h"

#define FORMAT (&slc_format_megatron)

struct idx_spec {
	uint8_t dtype;
	uint64_t nseq;
	const int32_t *lengths;
	const int64_t *pointers;
	uint64_t ndoc;
	const int64_t *documents;
	bool modes;
};

static const int32_t lengths[] = { 3, 2, 4, 1, 0, 5 };
static const int64_t pointers[] = { 0, 6, 10, 18, 20, 20 };
static const int64_t documents[] = { 0, 2, 3, 6 };
static const struct idx_spec golden = { 8, 6, lengths, pointers,
					4, documents, false };
#define BIN_BYTES 30
#define AT_LENGTHS 34
#define AT_POINTERS (34 + 4 * 6)
#define AT_DOCUMENTS (34 + 12 * 6)

static struct bytes make(const struct idx_spec *s)
{
	struct bytes b = { 0 };

	put(&b, "MMIDIDX\0\0", 9);
	put_le(&b, 1, 8);
	put_le(&b, s->dtype, 1);
	put_le(&b, s->nseq, 8);
	put_le(&b, s->ndoc, 8);
	for (uint64_t i = 0; i < s->nseq; i++)
		put_le(&b, (uint32_t)s->lengths[i], 4);
	for (uint64_t i = 0; i < s->nseq; i++)
		put_le(&b, (uint64_t)s->pointers[i], 8);
	for (uint64_t i = 0; i < s->ndoc; i++)
		put_le(&b, (uint64_t)s->documents[i], 8);
	for (uint64_t i = 0; s->modes && i < s->nseq; i++)
		put_le(&b, i & 1, 1);
	return b;
}

static void expect_span(const struct slc_table *t, uint64_t i, uint64_t off,
			uint64_t len)
{
	uint64_t o, l;

	slc_table_span(t, i, &o, &l);
	EXPECT_EQ(o, off);
	EXPECT_EQ(l, len);
}

static void expect_bad(const struct bytes *b, uint64_t bin, uint64_t off,
		       const char *what)
{
	struct parsed r = parse_bytes(FORMAT, b->p, b->len, bin);

	EXPECT_EQ(r.err, -EBADMSG);
	EXPECT_EQ(r.diag.off, off);
	EXPECT_HAS(r.diag.what, what);
	EXPECT_EQ(r.t.n, 0);
	EXPECT_NULL(r.t.words);
	parsed_free(&r);
}

TEST(golden_index_gives_every_sequence)
{
	struct bytes b = make(&golden);
	struct parsed r = parse_bytes(FORMAT, b.p, b.len, BIN_BYTES);

	ASSERT_EQ(r.err, 0);
	ASSERT_EQ(r.t.n, 6);
	EXPECT_STREQ(r.t.dtype, "u16");
	EXPECT_NULL(r.t.starts);
	for (uint64_t i = 0; i < 6; i++)
		expect_span(&r.t, i, (uint64_t)pointers[i],
			    (uint64_t)lengths[i] * 2);
	parsed_free(&r);
	bytes_free(&b);
}

TEST(every_dtype_has_its_name_and_size)
{
	static const struct {
		const char *name;
		uint64_t bytes;
	} want[] = { { "", 0 },	   { "u8", 1 },	 { "i8", 1 },
		     { "i16", 2 }, { "i32", 4 }, { "i64", 8 },
		     { "f64", 8 }, { "f32", 4 }, { "u16", 2 } };

	for (uint8_t d = 1; d <= 8; d++) {
		int64_t ptr[2] = { 0, (int64_t)(3 * want[d].bytes) };
		struct idx_spec s = { d, 2, lengths, ptr, 1, documents, false };
		const int64_t docs[2] = { 0, 2 };
		struct bytes b;
		struct parsed r;

		s.ndoc = 2;
		s.documents = docs;
		b = make(&s);
		r = parse_bytes(FORMAT, b.p, b.len, 5 * want[d].bytes);
		ASSERT_EQ(r.err, 0);
		EXPECT_STREQ(r.t.dtype, want[d].name);
		EXPECT_STREQ(FORMAT->dtype_name(d), want[d].name);
		expect_span(&r.t, 1, 3 * want[d].bytes, 2 * want[d].bytes);
		parsed_free(&r);
		bytes_free(&b);
	}
	EXPECT_STREQ(FORMAT->dtype_name(0), "");
	EXPECT_STREQ(FORMAT->dtype_name(9), "");
}

TEST(modes_are_seen_by_the_size_and_passed_over)
{
	struct idx_spec s = golden;
	struct bytes b;
	struct parsed r;

	s.modes = true;
	b = make(&s);
	r = parse_bytes(FORMAT, b.p, b.len, BIN_BYTES);
	ASSERT_EQ(r.err, 0);
	EXPECT_EQ(r.t.n, 6);
	parsed_free(&r);
	r = parse_bytes(FORMAT, b.p, b.len - 1, BIN_BYTES);
	EXPECT_EQ(r.err, -EBADMSG);
	bytes_free(&b);
}

TEST(an_index_of_no_sequences_is_valid)
{
	struct idx_spec s = { 4, 0, NULL, NULL, 1, documents, false };
	struct bytes b = make(&s);
	struct parsed r = parse_bytes(FORMAT, b.p, b.len, 0);

	EXPECT_EQ(r.err, 0);
	EXPECT_EQ(r.t.n, 0);
	parsed_free(&r);
	bytes_free(&b);
}

TEST(holes_between_sequences_are_kept_exactly)
{
	enum { N = 300 };
	static int32_t len[N];
	static int64_t ptr[N];
	int64_t docs[2] = { 0, N }, at = 5;
	struct idx_spec s = { 1, N, len, ptr, 2, docs, false };
	struct bytes b;
	struct parsed r;

	for (int i = 0; i < N; i++) {
		len[i] = i % 7;
		ptr[i] = at;
		at += len[i] + (i == 130 || i > 250);
	}
	b = make(&s);
	r = parse_bytes(FORMAT, b.p, b.len, (uint64_t)at);
	ASSERT_EQ(r.err, 0);
	ASSERT_NOT_NULL(r.t.starts);
	for (uint64_t i = 0; i < N; i++)
		expect_span(&r.t, i, (uint64_t)ptr[i], (uint64_t)len[i]);
	parsed_free(&r);
	bytes_free(&b);
}

TEST(starts_among_holes_are_exact_up_to_256_tib)
{
	const int64_t last = (1ll << 48) - 1;
	const int32_t len[] = { 1, 1, 1, 9 };
	int64_t ptr[] = { 0, (1ll << 32) + 5, 0x123456789abc, last };
	const int64_t docs[] = { 0, 4 };
	struct idx_spec s = { 1, 4, len, ptr, 2, docs, false };
	struct bytes b = make(&s);
	struct parsed r = parse_bytes(FORMAT, b.p, b.len, UINT64_MAX / 2);

	ASSERT_EQ(r.err, 0);
	for (uint64_t i = 0; i < 4; i++)
		expect_span(&r.t, i, (uint64_t)ptr[i], (uint64_t)len[i]);
	parsed_free(&r);
	bytes_free(&b);
	ptr[3] = last + 1;
	b = make(&s);
	expect_bad(&b, UINT64_MAX / 2, 34 + 16 + 24,
		   "sequence 3 begins past 256 TiB");
	bytes_free(&b);
}

TEST(sequences_of_more_than_4_gib_are_exact)
{
	const int32_t len[] = { INT32_MAX, INT32_MAX, 1 };
	const int64_t ptr[] = { 0, 8ll * INT32_MAX, 16ll * INT32_MAX };
	const int64_t docs[] = { 0, 3 };
	struct idx_spec s = { 5, 3, len, ptr, 2, docs, false };
	struct bytes b = make(&s);
	struct parsed r =
		parse_bytes(FORMAT, b.p, b.len, 16ull * INT32_MAX + 8);

	ASSERT_EQ(r.err, 0);
	expect_span(&r.t, 1, 8ull * INT32_MAX, 8ull * INT32_MAX);
	expect_span(&r.t, 2, 16ull * INT32_MAX, 8);
	parsed_free(&r);
	expect_bad(&b, 16ull * INT32_MAX + 7, 34 + 12 + 16, "sequence 2");
	bytes_free(&b);
}

/* One change of the golden file, and what is said about it. */
static const struct change {
	uint64_t at, value;
	uint32_t n;
	uint64_t off;
	const char *what;
} changes[] = {
	{ 0, 'm', 1, 0, "no MMIDIDX magic" },
	{ 8, 1, 1, 0, "no MMIDIDX magic" },
	{ 9, 2, 8, 9, "version 2" },
	{ 9, 1ull << 56, 8, 9, "version" },
	{ 17, 0, 1, 17, "dtype code 0" },
	{ 17, 9, 1, 17, "dtype code 9" },
	{ 17, 255, 1, 17, "dtype code 255" },
	{ 18, 5, 8, 34 + 12 * 5 + 8 * 4, "the file has" },
	{ 18, 7, 8, 138, "the file has" },
	{ 18, 1ull << 63, 8, 18, "do not fit in any file" },
	{ 18, UINT64_MAX / 12, 8, 18, "do not fit in any file" },
	{ 18, UINT64_MAX, 8, 18, "do not fit in any file" },
	{ 26, 1ull << 61, 8, 18, "do not fit in any file" },
	{ 26, 3, 8, 130, "the file has" },
	{ AT_LENGTHS + 8, 0xffffffff, 4, AT_LENGTHS + 8, "length -1" },
	{ AT_LENGTHS + 20, 0x80000000, 4, AT_LENGTHS + 20, "length -2147483648" },
	{ AT_LENGTHS + 20, 6, 4, AT_POINTERS + 40, "of a .bin of 30 bytes" },
	{ AT_LENGTHS + 4, 3, 4, AT_POINTERS + 16, "before the one before" },
	{ AT_POINTERS + 8, 5, 8, AT_POINTERS + 8, "before the one before" },
	{ AT_POINTERS + 8, UINT64_MAX, 8, AT_POINTERS + 8, "negative pointer" },
	{ AT_POINTERS + 40, 21, 8, AT_POINTERS + 40, "of a .bin of 30" },
	{ AT_POINTERS + 40, 1ull << 62, 8, AT_POINTERS + 40, "of a .bin" },
	{ AT_DOCUMENTS, 1, 8, AT_DOCUMENTS, "not 0" },
	{ AT_DOCUMENTS + 8, 4, 8, AT_DOCUMENTS + 16, "is 3, after 4" },
	{ AT_DOCUMENTS + 8, UINT64_MAX, 8, AT_DOCUMENTS + 8, "is -1" },
	{ AT_DOCUMENTS + 24, 5, 8, AT_DOCUMENTS + 24, "sequence 5 of 6" },
	{ AT_DOCUMENTS + 24, 7, 8, AT_DOCUMENTS + 24, "there are 6" },
};

TEST(every_check_names_its_offset)
{
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		const struct change *c = &changes[i];
		struct bytes b = make(&golden);

		set_le(&b, c->at, c->value, c->n);
		expect_bad(&b, BIN_BYTES, c->off, c->what);
		bytes_free(&b);
	}
}

TEST(no_documents_at_all_is_refused)
{
	struct idx_spec s = { 4, 0, NULL, NULL, 0, NULL, false };
	struct bytes b = make(&s);

	expect_bad(&b, 0, 26, "document count is 0");
	bytes_free(&b);
}

TEST(trailing_bytes_are_refused)
{
	struct bytes b = make(&golden);

	put_zeros(&b, 1);
	expect_bad(&b, BIN_BYTES, 138, "the file has 139 bytes");
	put_zeros(&b, 6); /* as many as sequences would be modes: 6; this is 7 */
	expect_bad(&b, BIN_BYTES, 138, "the file has 145 bytes");
	bytes_free(&b);
}

TEST(every_truncation_is_refused)
{
	struct bytes b = make(&golden);

	for (size_t n = 0; n < b.len; n++) {
		struct parsed r = parse_bytes(FORMAT, b.p, n, BIN_BYTES);

		EXPECT_EQ(r.err, -EBADMSG);
		EXPECT_LE(r.diag.off, n);
		EXPECT_NE(r.diag.what[0], 0);
		parsed_free(&r);
	}
	bytes_free(&b);
}

TEST(every_bit_flip_is_refused_or_stays_inside)
{
	struct bytes b = make(&golden);
	int refused = 0;

	for (size_t bit = 0; bit < 8 * b.len; bit++) {
		struct parsed r;

		b.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		r = parse_bytes(FORMAT, b.p, b.len, BIN_BYTES);
		b.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		if (r.err) {
			EXPECT_EQ(r.err, -EBADMSG);
			refused++;
		} else {
			EXPECT_TRUE(spans_are_inside(&r.t, BIN_BYTES));
		}
		parsed_free(&r);
	}
	/* Only dtypes, shorter lengths and document borders may pass. */
	EXPECT_GT(refused, (int)(8 * b.len) * 9 / 10);
	bytes_free(&b);
}

TEST(every_failed_allocation_is_enomem)
{
	const int64_t ptr[] = { 0, 7 };
	const int64_t docs[] = { 0, 2 };
	struct idx_spec s = { 8, 2, lengths, ptr, 2, docs, false };
	struct bytes b = make(&s); /* with a hole: all arrays */
	struct slc_source_mem src;
	struct slc_parse in = { &src.base, BIN_BYTES, 0 };
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
	EXPECT_EQ(n, 5);
	slc_table_fini(&t);
	bytes_free(&b);
}

TEST(an_error_of_the_source_is_handed_on)
{
	static const uint64_t from[] = { 20, AT_LENGTHS, AT_POINTERS,
					 AT_DOCUMENTS };
	struct bytes b = make(&golden);
	struct source_broken src;
	struct slc_parse in = { &src.base, BIN_BYTES, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;

	for (size_t i = 0; i < 4; i++) {
		source_broken_init(&src, &b, from[i], -EIO);
		EXPECT_EQ(FORMAT->parse(&in, &t, &diag), -EIO);
		EXPECT_HAS(diag.what, "Input/output error");
	}
	bytes_free(&b);
}

TEST(a_compressed_index_is_refused)
{
	struct bytes b = make(&golden);
	struct source_broken src;
	struct slc_parse in = { &src.base, BIN_BYTES, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;

	source_broken_init(&src, &b, b.len, -EIO);
	src.base.size = SLC_SIZE_UNKNOWN;
	EXPECT_EQ(FORMAT->parse(&in, &t, &diag), -EBADMSG);
	EXPECT_HAS(diag.what, "compressed");
	bytes_free(&b);
}

TEST(magic_knows_its_own)
{
	struct bytes b = make(&golden);

	EXPECT_TRUE(FORMAT->magic(b.p, b.len));
	EXPECT_FALSE(FORMAT->magic(b.p, 8));
	EXPECT_TRUE(slc_format_detect("x.idx", b.p, b.len) == FORMAT);
	EXPECT_TRUE(slc_format_detect("x", b.p, b.len) == FORMAT);
	bytes_free(&b);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED 1
#endif
#endif

TEST(ten_million_sequences_open_in_a_second)
{
	const uint64_t n = 10000000;
	struct bytes b = { 0 };
	struct slc_source_mem src;
	struct slc_parse in = { &src.base, n * 2 * 64, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;
	double begin, took, best = 1e9;

	b.room = b.len = 34 + 12 * n + 16;
	b.p = malloc(b.room);
	ASSERT_NOT_NULL(b.p);
	b.len = 0;
	put(&b, "MMIDIDX\0\0", 9);
	put_le(&b, 1, 8);
	put_le(&b, 8, 1);
	put_le(&b, n, 8);
	put_le(&b, 2, 8);
	for (uint64_t i = 0; i < n; i++)
		put(&b, &(uint32_t){ 64 }, 4);
	for (uint64_t i = 0; i < n; i++)
		put(&b, &(uint64_t){ i * 128 }, 8);
	put_le(&b, 0, 8);
	put_le(&b, n, 8);
	slc_source_mem_init(&src, b.p, b.len);
	for (int round = 0; round < 3; round++) {
		slc_table_fini(&t);
		begin = slc_now_s();
		ASSERT_EQ(FORMAT->parse(&in, &t, &diag), 0);
		took = slc_now_s() - begin;
		if (best > took)
			best = took;
	}
	printf("# 10 million sequences: %.3f s, %.1f bytes each\n", best,
	       (double)t.mem_bytes / (double)n);
	EXPECT_LT(t.mem_bytes, 16 * n);
	expect_span(&t, n - 1, (n - 1) * 128, 128);
#ifndef INSTRUMENTED
	EXPECT_LT(best, 1.0);
#endif
	slc_table_fini(&t);
	bytes_free(&b);
}

static const struct {
	const char *name;
	uint64_t n, off; /* off of the refusal when n is 0 */
	const char *dtype;
} samples[] = {
	{ "valid_i32", 4, 0, "i32" },	     { "valid_u16", 4, 0, "u16" },
	{ "valid_i32_multimodal", 4, 0, "i32" }, { "invalid_dtype0", 0, 17, "" },
	{ "invalid_magic", 0, 0, "" },	     { "invalid_truncated", 0, 113, "" },
	{ "invalid_version2", 0, 9, "" },
};

TEST(sample_files_are_as_their_names_say)
{
	const char *dir = shared_dir();

	if (!dir)
		SKIP("no sample files: SLC_SHARED is not set");
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct bytes idx = { 0 }, bin = { 0 };
		struct parsed r;
		char path[4096];

		snprintf(path, sizeof(path), "%s/samples/megatron/%s.idx", dir,
			 samples[i].name);
		ASSERT_TRUE(bytes_load(&idx, path));
		snprintf(path, sizeof(path), "%s/samples/megatron/%s.bin", dir,
			 samples[i].name);
		if (!bytes_load(&bin, path))
			ASSERT_EQ(samples[i].n, 0);
		r = parse_bytes(FORMAT, idx.p, idx.len, bin.len);
		EXPECT_EQ(r.err, samples[i].n ? 0 : -EBADMSG);
		EXPECT_EQ(r.t.n, samples[i].n);
		if (r.err)
			EXPECT_EQ(r.diag.off, samples[i].off);
		else
			EXPECT_STREQ(r.t.dtype, samples[i].dtype);
		parsed_free(&r);
		bytes_free(&idx);
		bytes_free(&bin);
	}
}

TEST_HARNESS_MAIN
