// SPDX-License-Identifier: MIT
/* GGUF version 3: the format, its bounds, and what is refused. */
#include "parse.h"

#define F (&slc_format_gguf)

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

static void string(struct blob *b, const char *s)
{
	blob_le(b, strlen(s), 8);
	blob_put(b, s, strlen(s));
}

static void head(struct blob *b, uint32_t version, uint64_t tensors,
		 uint64_t pairs)
{
	b->len = 0;
	blob_put(b, "GGUF", 4);
	blob_le(b, version, 4);
	blob_le(b, tensors, 8);
	blob_le(b, pairs, 8);
}

static void pair_u32(struct blob *b, const char *key, uint32_t v)
{
	string(b, key);
	blob_le(b, U32, 4);
	blob_le(b, v, 4);
}

static void tensor(struct blob *b, const char *name, uint32_t ndim,
		   uint64_t d0, uint64_t d1, uint32_t type, uint64_t off)
{
	string(b, name);
	blob_le(b, ndim, 4);
	for (uint32_t i = 0; i < ndim; i++)
		blob_le(b, i == 0 ? d0 : i == 1 ? d1 : 1, 8);
	blob_le(b, type, 4);
	blob_le(b, off, 8);
}

static void pad(struct blob *b, uint64_t align)
{
	while (b->len % align)
		blob_fill(b, 0, 1);
}

/* Two tensors, strings, nested arrays, alignment 64, padded at the end. */
static void golden(struct blob *b, uint64_t *data)
{
	head(b, 3, 2, 4);
	string(b, "general.architecture");
	blob_le(b, STRING, 4);
	string(b, "llama");
	pair_u32(b, "general.alignment", 64);
	string(b, "words");
	blob_le(b, ARRAY, 4);
	blob_le(b, STRING, 4);
	blob_le(b, 2, 8);
	string(b, "a");
	string(b, "bc");
	string(b, "nested");
	blob_le(b, ARRAY, 4);
	blob_le(b, ARRAY, 4);
	blob_le(b, 2, 8);
	blob_le(b, BOOL, 4);
	blob_le(b, 3, 8);
	blob_put(b, "\0\1\1", 3);
	blob_le(b, I16, 4);
	blob_le(b, 1, 8);
	blob_le(b, 7, 2);
	tensor(b, "w", 2, 32, 3, 2, 0);	 /* Q4_0: 54 bytes */
	tensor(b, "norm", 1, 5, 0, 0, 64); /* F32: 20 bytes */
	pad(b, 64);
	*data = b->len;
	blob_fill(b, 1, 54);
	pad(b, 64);
	blob_fill(b, 2, 20);
	pad(b, 64);
}

static void refused(struct blob *b, uint64_t off, const char *what)
{
	expect_refused(F, b->at, b->len, off, what);
}

static void accepted(struct blob *b, uint64_t n)
{
	struct parsed p;

	parse_bytes(F, b->at, b->len, &p);
	EXPECT_EQ(p.err, 0);
	EXPECT_STREQ(p.diag.what, "");
	if (!p.err)
		EXPECT_EQ(p.t.n, n);
	check_sane(&p, b->len);
	parsed_fini(&p);
}

TEST(tensors_come_with_shapes_in_c_order)
{
	struct blob b = { 0 };
	const struct slc_tensor *t;
	struct parsed p;
	uint64_t data;

	golden(&b, &data);
	parse_bytes(F, b.at, b.len, &p);
	ASSERT_EQ(p.err, 0);
	ASSERT_EQ(p.t.n, 2);
	t = p.t.tensors;
	EXPECT_STREQ(p.t.names + t[0].name, "w");
	EXPECT_STREQ(p.t.names + t[1].name, "norm");
	EXPECT_STREQ(F->dtype_name(t[0].dtype), "Q4_0");
	EXPECT_EQ(t[0].off, data);
	EXPECT_EQ(t[0].len, 54);
	EXPECT_EQ(t[1].off, data + 64);
	EXPECT_EQ(t[1].len, 20);
	ASSERT_EQ(t[0].ndim, 2);
	EXPECT_EQ(p.t.dims[t[0].shape], 3);
	EXPECT_EQ(p.t.dims[t[0].shape + 1], 32);
	parsed_fini(&p);
	blob_free(&b);
}

TEST(the_end_may_be_padded_up_to_the_alignment_and_no_further)
{
	struct blob b = { 0 };
	uint64_t data, full;

	golden(&b, &data);
	full = b.len;
	for (b.len = data + 64 + 20; b.len <= full; b.len++)
		accepted(&b, 2);
	b.len = full;
	blob_fill(&b, 0, 1);
	refused(&b, full, "1 trailing bytes");
	b.len = data + 64 + 19;
	refused(&b, b.len, "1 bytes short");
	blob_free(&b);
}

TEST(a_file_of_nothing_is_accepted)
{
	struct blob b = { 0 };

	head(&b, 3, 0, 0);
	accepted(&b, 0);
	pad(&b, 32);
	accepted(&b, 0);
	blob_fill(&b, 0, 1);
	refused(&b, 32, "trailing");
	blob_free(&b);
}

TEST(other_magics_versions_and_byte_orders_are_refused)
{
	static const uint32_t versions[] = { 0, 1, 2, 4, UINT32_MAX };
	struct blob b = { 0 };
	uint64_t data;

	golden(&b, &data);
	b.at[3] = 'f';
	refused(&b, 0, "does not begin with GGUF");
	for (int i = 0; i < 5; i++) {
		head(&b, versions[i], 0, 0);
		refused(&b, 4, "only version 3 is read");
	}
	head(&b, 0x03000000, 0, 0);
	refused(&b, 4, "big-endian");
	expect_refused(F, "", 0, 0, "ends inside the magic");
	blob_free(&b);
}

TEST(counts_are_held_against_the_size_of_the_file)
{
	struct blob b = { 0 };

	head(&b, 3, 1, 0);
	refused(&b, 8, "1 tensors do not fit");
	head(&b, 3, 0, 1);
	refused(&b, 16, "1 key-value pairs do not fit");
	head(&b, 3, UINT64_MAX, 0);
	refused(&b, 8, "do not fit");
	head(&b, 3, UINT64_MAX / 24 + 1, 0);
	refused(&b, 8, "do not fit");
	head(&b, 3, 0, 1ull << 63);
	refused(&b, 16, "9223372036854775808 keys, more than 1000000");
	head(&b, 3, 0, 1000001);
	refused(&b, 16, "1000001 keys, more than 1000000");
	head(&b, 3, 0, 1000000);
	refused(&b, 16, "1000000 key-value pairs do not fit");
	blob_free(&b);
}

TEST(keys_are_bounded_and_come_once)
{
	struct blob b = { 0 };
	uint64_t at;

	head(&b, 3, 0, 1);
	pair_u32(&b, "", 1);
	refused(&b, 24, "an empty key");
	head(&b, 3, 0, 1);
	blob_le(&b, 65536, 8);
	blob_fill(&b, 'k', 65536);
	blob_le(&b, U8, 4);
	blob_fill(&b, 0, 1);
	refused(&b, 24, "a key of 65536 bytes is over the limit of 65535");
	head(&b, 3, 0, 1);
	blob_le(&b, 65535, 8);
	blob_fill(&b, 'k', 65535);
	blob_le(&b, U8, 4);
	blob_fill(&b, 0, 1);
	accepted(&b, 0);
	head(&b, 3, 0, 3);
	pair_u32(&b, "a", 1);
	pair_u32(&b, "b", 1);
	at = 24;
	pair_u32(&b, "a", 1);
	refused(&b, at + 2 * 17, "the key \"a\" comes twice");
	head(&b, 3, 0, 2);
	pair_u32(&b, "general.alignment", 32);
	pair_u32(&b, "general.alignment", 32);
	refused(&b, 24 + 33, "comes twice");
	head(&b, 3, 0, 1);
	pair_u32(&b, "a\xff", 1);
	refused(&b, 32, "not UTF-8");
	blob_free(&b);
}

TEST(values_of_every_type_are_passed_over)
{
	static const int bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
	struct blob b = { 0 };

	for (uint32_t kind = 0; kind < 13; kind++) {
		if (kind == STRING || kind == ARRAY)
			continue;
		head(&b, 3, 0, 2);
		string(&b, "k");
		blob_le(&b, kind, 4);
		blob_le(&b, 1, bytes[kind]);
		string(&b, "l");
		blob_le(&b, ARRAY, 4);
		blob_le(&b, kind, 4);
		blob_le(&b, 3, 8);
		for (int i = 0; i < 3; i++)
			blob_le(&b, 1, bytes[kind]);
		accepted(&b, 0);
		b.len--;
		EXPECT_EQ(each_truncation(F, &b), 0);
	}
	blob_free(&b);
}

TEST(values_that_lie_are_refused)
{
	struct blob b = { 0 };

	head(&b, 3, 0, 1);
	string(&b, "k");
	blob_le(&b, 13, 4);
	blob_le(&b, 0, 8);
	refused(&b, 33, "unknown value type 13");
	head(&b, 3, 0, 1);
	string(&b, "k");
	blob_le(&b, BOOL, 4);
	blob_le(&b, 2, 1);
	refused(&b, 37, "a bool of 2");
	head(&b, 3, 0, 1);
	string(&b, "k");
	blob_le(&b, STRING, 4);
	blob_le(&b, UINT64_MAX, 8);
	refused(&b, 45, "do not fit in the file");
	head(&b, 3, 0, 1);
	string(&b, "k");
	blob_le(&b, ARRAY, 4);
	blob_le(&b, U64, 4);
	blob_le(&b, 1ull << 61, 8);
	refused(&b, 37, "values do not fit");
	head(&b, 3, 0, 1);
	string(&b, "k");
	blob_le(&b, ARRAY, 4);
	blob_le(&b, 99, 4);
	blob_le(&b, 0, 8);
	refused(&b, 37, "unknown value type 99");
	blob_free(&b);
}

TEST(arrays_nest_to_64_levels)
{
	struct blob b = { 0 };

	for (int depth = 63; depth <= 65; depth++) {
		head(&b, 3, 0, 1);
		string(&b, "k");
		blob_le(&b, ARRAY, 4);
		for (int i = 1; i < depth; i++) {
			blob_le(&b, ARRAY, 4);
			blob_le(&b, 1, 8);
		}
		blob_le(&b, U8, 4);
		blob_le(&b, 0, 8);
		if (depth <= 64)
			accepted(&b, 0);
		else
			refused(&b, 37 + 64 * 12, "deeper than 64");
	}
	blob_free(&b);
}

TEST(alignment_is_a_multiple_of_8)
{
	static const uint32_t bad[] = { 0, 1, 4, 12, 31, UINT32_MAX };
	struct blob b = { 0 };

	for (int i = 0; i < 6; i++) {
		head(&b, 3, 0, 1);
		pair_u32(&b, "general.alignment", bad[i]);
		refused(&b, 24 + 8 + 17 + 4, "not a multiple of 8");
	}
	head(&b, 3, 0, 1);
	string(&b, "general.alignment");
	blob_le(&b, U64, 4);
	blob_le(&b, 32, 8);
	refused(&b, 24 + 8 + 17, "has the value type 10, not 4");
	head(&b, 3, 1, 1);
	pair_u32(&b, "general.alignment", 24);
	tensor(&b, "t", 1, 3, 0, 24, 0);
	pad(&b, 24);
	blob_fill(&b, 0, 3);
	accepted(&b, 1);
	blob_free(&b);
}

/* One tensor of I8 and these; `at` bytes into its info. */
static void one(struct blob *b, uint32_t ndim, uint64_t d0, uint64_t d1,
		uint32_t type, uint64_t off, uint64_t data)
{
	head(b, 3, 1, 0);
	tensor(b, "t", ndim, d0, d1, type, off);
	pad(b, 32);
	blob_fill(b, 0, data);
}

TEST(tensors_that_lie_are_refused)
{
	struct blob b = { 0 };

	one(&b, 1, 4, 0, 24, 0, 4);
	accepted(&b, 1);
	one(&b, 0, 0, 0, 24, 0, 1);
	accepted(&b, 1);
	one(&b, 4, 4, 2, 24, 0, 8);
	accepted(&b, 1);
	one(&b, 2, 0, 9, 24, 0, 0);
	accepted(&b, 1);
	one(&b, 5, 4, 2, 24, 0, 8);
	refused(&b, 33, "a tensor of 5 dimensions");
	one(&b, 2, 1ull << 32, 1ull << 31, 24, 0, 0);
	refused(&b, 33, "more than 2^63 elements");
	one(&b, 1, UINT64_MAX, 0, 24, 0, 0);
	refused(&b, 33, "more than 2^63 elements");
	one(&b, 1, 1ull << 62, 0, 27, 0, 0);
	refused(&b, 45, "more than 2^64 bytes");
	one(&b, 1, 1ull << 60, 0, 27, 0, 0);
	refused(&b, b.len, "short of what it describes");
	one(&b, 1, 31, 0, 2, 0, 18);
	refused(&b, 45, "rows of 31 elements are not whole blocks of 32 (Q4_0)");
	one(&b, 1, 1, 0, 4, 0, 18);
	refused(&b, 45, "unknown tensor type 4");
	one(&b, 1, 1, 0, 1000000, 0, 18);
	refused(&b, 45, "unknown tensor type 1000000");
	one(&b, 1, 4, 0, 24, 33, 40);
	refused(&b, 49, "offset 33 of \"t\" is not a multiple of the alignment 32");
	one(&b, 1, 4, 0, 24, 32, 36);
	refused(&b, 49, "leaves a hole");
	one(&b, 1, 4, 0, 24, 0xffffffffffffffe0ull, 4);
	refused(&b, 49, "leaves a hole");
	blob_free(&b);
}

TEST(tensor_names_are_bounded_and_come_once)
{
	struct blob b = { 0 };
	char name[80];

	memset(name, 'n', sizeof(name));
	name[64] = 0;
	head(&b, 3, 1, 0);
	tensor(&b, name, 1, 1, 0, 24, 0);
	pad(&b, 32);
	blob_fill(&b, 0, 1);
	accepted(&b, 1);
	name[64] = 'n';
	name[65] = 0;
	head(&b, 3, 1, 0);
	tensor(&b, name, 1, 1, 0, 24, 0);
	refused(&b, 24, "over the limit of 64");
	head(&b, 3, 2, 0);
	tensor(&b, "t", 1, 1, 0, 24, 0);
	tensor(&b, "t", 1, 1, 0, 24, 32);
	pad(&b, 32);
	blob_fill(&b, 0, 33);
	refused(&b, 24 + 33, "tensor \"t\" comes twice");
	head(&b, 3, 1, 0);
	blob_le(&b, 2, 8);
	blob_put(&b, "a", 2);
	blob_fill(&b, 0, 24);
	refused(&b, 32, "a NUL");
	blob_free(&b);
}

TEST(overlaps_are_refused_whatever_the_order)
{
	struct blob b = { 0 };

	for (int swap = 0; swap < 2; swap++) {
		head(&b, 3, 2, 0);
		tensor(&b, "a", 1, 33, 0, 24, swap ? 64 : 0);
		tensor(&b, "b", 1, 33, 0, 24, swap ? 0 : 64);
		pad(&b, 32);
		blob_fill(&b, 0, 64 + 33);
		accepted(&b, 2);
		head(&b, 3, 2, 0);
		tensor(&b, "a", 1, 33, 0, 24, swap ? 32 : 0);
		tensor(&b, "b", 1, 33, 0, 24, swap ? 0 : 32);
		pad(&b, 32);
		blob_fill(&b, 0, 64 + 33);
		refused(&b, 24 + 33 * !swap + 25, "overlaps another");
	}
	blob_free(&b);
}

/* From ggml's gguf-py: elements and bytes of a block of each type. */
TEST(every_tensor_type_has_the_size_that_ggml_gives_it)
{
	static const struct {
		uint32_t type, elements, bytes;
		const char *name;
	} all[] = {
		{ 0, 1, 4, "F32" }, { 1, 1, 2, "F16" }, { 2, 32, 18, "Q4_0" },
		{ 3, 32, 20, "Q4_1" }, { 6, 32, 22, "Q5_0" },
		{ 7, 32, 24, "Q5_1" }, { 8, 32, 34, "Q8_0" },
		{ 9, 32, 36, "Q8_1" }, { 10, 256, 84, "Q2_K" },
		{ 11, 256, 110, "Q3_K" }, { 12, 256, 144, "Q4_K" },
		{ 13, 256, 176, "Q5_K" }, { 14, 256, 210, "Q6_K" },
		{ 15, 256, 292, "Q8_K" }, { 16, 256, 66, "IQ2_XXS" },
		{ 17, 256, 74, "IQ2_XS" }, { 18, 256, 98, "IQ3_XXS" },
		{ 19, 256, 50, "IQ1_S" }, { 20, 32, 18, "IQ4_NL" },
		{ 21, 256, 110, "IQ3_S" }, { 22, 256, 82, "IQ2_S" },
		{ 23, 256, 136, "IQ4_XS" }, { 24, 1, 1, "I8" },
		{ 25, 1, 2, "I16" }, { 26, 1, 4, "I32" }, { 27, 1, 8, "I64" },
		{ 28, 1, 8, "F64" }, { 29, 256, 56, "IQ1_M" },
		{ 30, 1, 2, "BF16" }, { 34, 256, 54, "TQ1_0" },
		{ 35, 256, 66, "TQ2_0" }, { 39, 32, 17, "MXFP4" },
		{ 40, 64, 36, "NVFP4" }, { 41, 128, 18, "Q1_0" },
	};
	struct blob b = { 0 };
	uint32_t known = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		one(&b, 2, all[i].elements, 3, all[i].type, 0,
		    all[i].bytes * 3);
		accepted(&b, 1);
		one(&b, 2, all[i].elements, 3, all[i].type, 0,
		    all[i].bytes * 3 - 1);
		refused(&b, b.len, "1 bytes short");
		EXPECT_STREQ(F->dtype_name(all[i].type), all[i].name);
	}
	for (uint32_t type = 0; type < 1000; type++)
		known += F->dtype_name(type)[0] != '?';
	EXPECT_EQ(known, sizeof(all) / sizeof(all[0]));
	blob_free(&b);
}

TEST(every_truncation_is_refused)
{
	struct blob b = { 0 };
	uint64_t data;

	golden(&b, &data);
	/* All but those that cut only the padding at the end. */
	EXPECT_EQ(each_truncation(F, &b), 64 - 20);
	blob_free(&b);
}

TEST(every_bit_flip_is_refused_or_stays_within_the_file)
{
	struct blob b = { 0 };
	uint64_t data;

	golden(&b, &data);
	each_bit_flip(F, &b, b.len);
	/* Of magic, version and counts, none. */
	EXPECT_EQ(each_bit_flip(F, &b, 24), 0);
	blob_free(&b);
}

TEST(every_failed_allocation_is_said)
{
	struct blob b = { 0 };
	uint64_t data;

	golden(&b, &data);
	each_allocation(F, &b);
	blob_free(&b);
}

TEST(a_source_that_only_goes_forward_gives_the_same)
{
	struct blob b = { 0 };
	uint64_t data;

	golden(&b, &data);
	each_length_forward(F, &b);
	blob_free(&b);
}

TEST(a_failed_read_is_that_error)
{
	struct blob b = { 0 };
	uint64_t data;

	golden(&b, &data);
	each_read_failing(F, &b, data);
	blob_free(&b);
}

/* More than the parser's window of 64 KiB, so values straddle its edge. */
TEST(headers_larger_than_the_window_are_read)
{
	struct blob b = { 0 };
	char word[32];

	for (int shift = 0; shift < 16; shift++) {
		head(&b, 3, 1, 3);
		string(&b, "shift");
		blob_le(&b, STRING, 4);
		blob_le(&b, (uint64_t)shift, 8);
		blob_fill(&b, 's', (uint64_t)shift);
		string(&b, "words");
		blob_le(&b, ARRAY, 4);
		blob_le(&b, STRING, 4);
		blob_le(&b, 20000, 8);
		for (int i = 0; i < 20000; i++) {
			snprintf(word, sizeof(word), "word %d", i);
			string(&b, word);
		}
		string(&b, "flags");
		blob_le(&b, ARRAY, 4);
		blob_le(&b, BOOL, 4);
		blob_le(&b, 200000, 8);
		blob_fill(&b, 1, 200000);
		tensor(&b, "t", 1, 4, 0, 24, 0);
		pad(&b, 32);
		blob_fill(&b, 0, 4);
		accepted(&b, 1);
	}
	blob_free(&b);
}

TEST_TIMEOUT(a_million_tensors_take_linear_time, 120)
{
	struct blob b = { 0 };
	struct parsed p;
	char name[32];
	double start;

	head(&b, 3, 1000000, 0);
	for (uint64_t i = 0; i < 1000000; i++) {
		snprintf(name, sizeof(name), "t%" PRIu64, i * 7919 % 1000000);
		tensor(&b, name, 1, 4, 0, 24, i * 32);
	}
	pad(&b, 32);
	blob_fill(&b, 0, 32 * 1000000ull);
	start = cpu_now();
	parse_bytes(F, b.at, b.len, &p);
	EXPECT_EQ(p.err, 0);
	EXPECT_EQ(p.t.n, 1000000);
	printf("# %.3f s\n", cpu_now() - start);
#if !SANITIZED
	EXPECT_LT(cpu_now() - start, 2.0);
#endif
	parsed_fini(&p);
	blob_free(&b);
}

TEST(empty_tensors_may_share_a_place_in_the_order_of_the_file)
{
	struct blob b = { 0 };
	struct parsed p;

	head(&b, 3, 3, 0);
	tensor(&b, "z", 1, 0, 0, 24, 0);
	tensor(&b, "y", 1, 0, 0, 24, 0);
	tensor(&b, "a", 1, 4, 0, 24, 0);
	pad(&b, 32);
	blob_fill(&b, 0, 4);
	parse_bytes(F, b.at, b.len, &p);
	ASSERT_EQ(p.err, 0);
	EXPECT_STREQ(p.t.names + p.t.tensors[0].name, "z");
	EXPECT_STREQ(p.t.names + p.t.tensors[1].name, "y");
	EXPECT_STREQ(p.t.names + p.t.tensors[2].name, "a");
	parsed_fini(&p);
	blob_free(&b);
}

TEST(tensors_that_end_past_2_to_the_64_are_refused)
{
	struct blob b = { 0 };

	head(&b, 3, 2, 0);
	tensor(&b, "a", 1, 1ull << 60, 0, 27, 0);
	tensor(&b, "b", 1, 1ull << 60, 0, 27, 1ull << 63);
	refused(&b, 24 + 33 + 25, "\"b\" ends past 2^64 bytes");
	blob_free(&b);
}

TEST(the_magic_is_four_letters)
{
	EXPECT_TRUE(F->magic((const uint8_t *)"GGUF\3\0\0\0", 8));
	EXPECT_FALSE(F->magic((const uint8_t *)"GGUF\3\0\0", 7));
	EXPECT_FALSE(F->magic((const uint8_t *)"GGUX\3\0\0\0", 8));
}

TEST(the_samples_end_as_their_names_say)
{
	const char *folder = samples("gguf");
	struct blob b = { 0 };

	load(&b, folder, "valid_v3.gguf");
	accepted(&b, 2);
	b.len = 0;
	load(&b, folder, "invalid_magic.gguf");
	refused(&b, 0, "does not begin with GGUF");
	b.len = 0;
	load(&b, folder, "invalid_unaligned_offset.gguf");
	refused(&b, 182, "not a multiple of the alignment");
	blob_free(&b);
}

TEST_HARNESS_MAIN
