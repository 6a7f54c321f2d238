// SPDX-License-Identifier: MIT
/* safetensors: the format, its attacks, and the reference's own vectors. */
#include "parse.h"

#include <jansson.h>
#include <sys/resource.h>

#define F (&slc_format_safetensors)

/* A file of this header and `data` bytes behind it. */
static void file(struct blob *b, const char *header, uint64_t data)
{
	b->len = 0;
	blob_le(b, strlen(header), 8);
	blob_put(b, header, strlen(header));
	blob_fill(b, 0xab, data);
}

#define GOLDEN                                                             \
	"{\"__metadata__\":{\"format\":\"pt\",\"n\\u00e9\":\"\\ud83d\\ude00\"}," \
	"\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]}," \
	"\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"    \
	"\"z\":{\"dtype\":\"U8\",\"shape\":[2,0],\"data_offsets\":[16,16]}}   "

static void golden(struct blob *b)
{
	file(b, GOLDEN, 16);
}

/* One header is refused; `at` points into it. */
static void refused(const char *header, uint64_t data, const char *at,
		    const char *what)
{
	const char *hit = strstr(header, at);
	struct blob b = { 0 };

	ASSERT_NOT_NULL(hit);
	file(&b, header, data);
	expect_refused(F, b.at, b.len, 8 + (uint64_t)(hit - header), what);
	blob_free(&b);
}

static void accepted(const char *header, uint64_t data, uint64_t n)
{
	struct blob b = { 0 };
	struct parsed p;

	file(&b, header, data);
	parse_bytes(F, b.at, b.len, &p);
	EXPECT_EQ(p.err, 0);
	EXPECT_STREQ(p.diag.what, "");
	if (!p.err) {
		EXPECT_EQ(p.t.n, n);
		check_sane(&p, b.len);
	}
	parsed_fini(&p);
	blob_free(&b);
}

/* A tensor "t" with these fields. */
#define T(dtype, shape, offsets)                                  \
	"{\"t\":{\"dtype\":" dtype ",\"shape\":" shape            \
	",\"data_offsets\":" offsets "}}"
#define OK_FIELDS "\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]"

TEST(tensors_come_by_offset_with_name_dtype_and_shape)
{
	uint64_t data = 8 + strlen(GOLDEN), off, len;
	const struct slc_tensor *t;
	struct blob b = { 0 };
	struct parsed p;

	golden(&b);
	parse_bytes(F, b.at, b.len, &p);
	ASSERT_EQ(p.err, 0);
	ASSERT_EQ(p.t.n, 3);
	EXPECT_EQ(p.t.kind, SLC_TABLE_TENSORS);
	EXPECT_TRUE(p.t.format == F);
	t = p.t.tensors;
	EXPECT_STREQ(p.t.names + t[0].name, "a");
	EXPECT_STREQ(p.t.names + t[1].name, "b");
	EXPECT_STREQ(p.t.names + t[2].name, "z");
	EXPECT_STREQ(F->dtype_name(t[0].dtype), "F32");
	EXPECT_STREQ(F->dtype_name(t[1].dtype), "BF16");
	EXPECT_EQ(t[0].ndim, 0);
	EXPECT_EQ(t[1].ndim, 2);
	EXPECT_EQ(p.t.dims[t[1].shape], 2);
	EXPECT_EQ(p.t.dims[t[1].shape + 1], 3);
	EXPECT_EQ(p.t.dims[t[2].shape + 1], 0);
	slc_table_span(&p.t, 1, &off, &len);
	EXPECT_EQ(off, data + 4);
	EXPECT_EQ(len, 12);
	slc_table_span(&p.t, 2, &off, &len);
	EXPECT_EQ(off, data + 16);
	EXPECT_EQ(len, 0);
	parsed_fini(&p);
	blob_free(&b);
}

TEST(every_dtype_of_the_reference_is_known_with_its_bits)
{
	static const struct {
		const char *name;
		unsigned int bits;
	} all[] = {
		{ "BOOL", 8 }, { "F4", 4 }, { "F6_E2M3", 6 }, { "F6_E3M2", 6 },
		{ "U8", 8 }, { "I8", 8 }, { "F8_E5M2", 8 }, { "F8_E4M3", 8 },
		{ "F8_E8M0", 8 }, { "F8_E4M3FNUZ", 8 }, { "F8_E5M2FNUZ", 8 },
		{ "I16", 16 }, { "U16", 16 }, { "F16", 16 }, { "BF16", 16 },
		{ "I32", 32 }, { "U32", 32 }, { "F32", 32 }, { "C64", 64 },
		{ "F64", 64 }, { "I64", 64 }, { "U64", 64 },
	};
	char h[200];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(h, sizeof(h), T("\"%s\"", "[2,4]", "[0,%u]"),
			 all[i].name, all[i].bits);
		accepted(h, all[i].bits, 1);
		snprintf(h, sizeof(h), T("\"%s\"", "[2,4]", "[0,%u]"),
			 all[i].name, all[i].bits + 1);
		refused(h, all[i].bits + 1, "\"data_offsets\"", "need");
		if (all[i].bits % 8 == 0)
			continue;
		snprintf(h, sizeof(h), T("\"%s\"", "[1]", "[0,1]"),
			 all[i].name);
		refused(h, 1, "\"shape\"", "does not end on a byte");
	}
}

TEST(what_the_reference_tolerates_is_accepted)
{
	accepted("{}", 0, 0);
	accepted("  \t\r\n{}   ", 0, 0);
	accepted("{\"__metadata__\":{}}", 0, 0);
	accepted("{\"__metadata__\":null}", 0, 0);
	accepted("{\"\":{" OK_FIELDS "}}", 1, 1);
	accepted("{\"t\":{\"more\":{\"a\":[1,{}]},\"data_offsets\":[0,1],\"x\":null,"
		 "\"shape\":[1],\"dtype\":\"U8\"}}", 1, 1);
	accepted("{\"__metadata__\":{\"a\":\"\\u0000\"},\"t\":{" OK_FIELDS "}}",
		 1, 1);
	/* Several empty tensors at one place, in the order of the header. */
	accepted("{\"c\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
		 "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
		 "\"a\":{" OK_FIELDS "}}", 1, 3);
	/* A zero before what would overflow. */
	accepted(T("\"F32\"", "[0,18446744073709551615,9]", "[0,0]"), 0, 1);
}

TEST(headers_of_the_wrong_shape_are_refused_at_the_token)
{
	refused("[]", 0, "[", "the header is an array, not an object");
	refused("{\"t\":[]}", 0, "[]", "is an array, not an object");
	refused("{\"t\":null}", 0, "null", "is null, not an object");
	refused("{\"t\":{}}", 0, "\"t\"", "has no dtype");
	refused("{\"t\":{\"dtype\":\"U8\"}}", 0, "\"t\"", "has no shape");
	refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[]}}", 0, "\"t\"",
		"has no data_offsets");
	refused(T("7", "[]", "[0,1]"), 1, "7", "dtype is a number");
	refused(T("\"U9\"", "[]", "[0,1]"), 1, "\"U9\"", "unknown dtype \"U9\"");
	refused(T("\"u8\"", "[]", "[0,1]"), 1, "\"u8\"", "unknown dtype");
	refused(T("\"U8\\u0000\"", "[]", "[0,1]"), 1, "\"U8", "unknown dtype");
	refused(T("\"U8\"", "{}", "[0,1]"), 1, "{},", "shape is an object");
	refused(T("\"U8\"", "[\"1\"]", "[0,1]"), 1, "\"1\"", "shape is a string");
	refused(T("\"U8\"", "[-1]", "[0,1]"), 1, "-1", "-1 in shape is not");
	refused(T("\"U8\"", "[1.0]", "[0,1]"), 1, "1.0", "1.0 in shape is not");
	refused(T("\"U8\"", "[1]", "[0]"), 1, "\"data_offsets\"", "are 1 numbers");
	refused(T("\"U8\"", "[1]", "[0,1,2]"), 1, "2]", "more than 2 numbers");
	refused(T("\"U8\"", "[1]", "[0,99999999999999999999]"), 1, "9999",
		"is not an integer");
	refused("{\"__metadata__\":[]}", 0, "[]", "__metadata__ is an array");
	refused("{\"__metadata__\":{\"a\":1}}", 0, "1", "is a number, not a string");
	refused("{} x", 0, "x", "where the end should be");
	refused("{\"t\":{" OK_FIELDS ",}}", 1, "}}", "where a key should be");
}

TEST(duplicates_are_refused_at_the_second)
{
	refused("{\"t\":{" OK_FIELDS "},\"\\u0074\":{" OK_FIELDS "}}", 1,
		"\"\\u0074\"", "tensor \"t\" comes twice");
	refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1], \"dtype\":\"U8\"}}", 1,
		"\"dtype\":\"U8\"}", "dtype of \"t\" comes twice");
	refused("{\"t\":{\"shape\":[1],\"shape\":[2]}}", 1, "\"shape\":[2]",
		"shape of \"t\" comes twice");
	refused("{\"t\":{\"data_offsets\":[0,1],\"data_offsets\":[0,2]}}", 1,
		"\"data_offsets\":[0,2]", "data_offsets of \"t\" comes twice");
	refused("{\"__metadata__\":{}, \"__metadata__\":{} }", 0,
		"\"__metadata__\":{} ", "__metadata__ comes twice");
	refused("{\"__metadata__\":{\"k\":\"1\",\"l\":\"2\",\"\\u006b\":\"3\"}}", 0,
		"\"\\u006b\"", "__metadata__ key \"k\" comes twice");
	accepted("{\"__metadata__\":{\"t\":\"1\"},\"t\":{" OK_FIELDS "}}", 1, 1);
	accepted("{\"__metadata__\":{\"a\":\"\",\"a\\u0000\":\"\"}}", 0, 0);
}

TEST(names_with_nul_or_without_utf8_are_refused)
{
	refused("{\"a\\u0000b\":{" OK_FIELDS "}}", 1, "\"a\\u0000b\"",
		"a NUL in the name \"a\"");
	refused("{\"a\xff\":{" OK_FIELDS "}}", 1, "\xff", "0xff is not UTF-8");
	refused("{\"a\xc0\x80\":{" OK_FIELDS "}}", 1, "\xc0", "not UTF-8");
	refused("{\"a\\udc00\":{" OK_FIELDS "}}", 1, "\\udc00", "surrogate");
	accepted("{\"\xc3\xa9\\ud83d\\ude00\":{" OK_FIELDS "}}", 1, 1);
}

TEST(spans_that_overlap_or_leave_holes_are_refused)
{
#define AB(a, b)                                                          \
	"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "},"  \
	"\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\" :" b "}}"
	accepted(AB("[0,4]", "[4,8]"), 8, 2);
	accepted(AB("[4,8]", "[0,4]"), 8, 2);
	refused(AB("[0,4]", "[3,7]"), 8, "\"data_offsets\" :", "overlap");
	refused(AB("[0,4]", "[0,4]"), 4, "\"data_offsets\" :", "overlap");
	refused(AB("[0,4]", "[5,9]"), 9, "\"data_offsets\" :", "hole");
	refused(AB("[1,5]", "[5,9]"), 9, "\"data_offsets\":[1,5]", "hole");
	refused(AB("[0,4]", "[4,3]"), 8, "\"data_offsets\" :",
		"the end is before the begin");
	refused(T("\"U8\"", "[]", "[0,18446744073709551615]"), 1,
		"\"data_offsets\"", "has 18446744073709551615 bytes");
}

TEST(shapes_that_overflow_are_refused)
{
	struct blob b = { 0 };

	refused(T("\"U8\"", "[2,9223372036854775808]", "[0,0]"), 0, "\"shape\"",
		"more than 2^64 bits");
	refused(T("\"U64\"", "[1,576460752303423488]", "[0,0]"), 0,
		"\"shape\"", "more than 2^64 bits");
	refused(T("\"U8\"", "[9223372036854775808,2,0]", "[0,0]"), 0,
		"\"shape\"", "more than 2^64 bits");
	/* The largest that fits in 64 bits of bits: only the file is too short. */
	file(&b, T("\"U8\"", "[2305843009213693951]",
		   "[0,2305843009213693951]"), 1);
	expect_refused(F, b.at, b.len, b.len,
		       "2305843009213693950 bytes short");
	blob_free(&b);
}

TEST(tensors_that_need_more_than_2_to_the_64_bytes_are_refused)
{
	const uint64_t most = (1ull << 61) - 1;
	struct blob h = { 0 }, b = { 0 };

	for (uint64_t i = 0; i < 8; i++)
		blob_say(&h, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
			 i ? "," : "{", (int)i, most, i * most, (i + 1) * most);
	blob_say(&h, "}");
	blob_fill(&h, 0, 1);
	file(&b, (const char *)h.at, 8);
	expect_refused(F, b.at, b.len, 8, "more than 2^64 bytes");
	blob_free(&h);
	blob_free(&b);
}

TEST_TIMEOUT(keys_of_metadata_are_limited_to_a_million, 60)
{
	struct blob b = { 0 };
	struct parsed p;

	for (int more = 0; more < 2; more++) {
		b.len = 0;
		blob_le(&b, 0, 8);
		blob_say(&b, "{\"__metadata__\":{");
		for (int i = 0; i < 1000000 + more; i++)
			blob_say(&b, "%s\"%d\":\"\"", i ? "," : "", i);
		blob_say(&b, "}}");
		for (int i = 0; i < 8; i++)
			b.at[i] = (uint8_t)((b.len - 8) >> 8 * i);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, more ? -EBADMSG : 0);
		if (p.err)
			EXPECT_HAS(p.diag.what, "more than 1000000 keys");
		parsed_fini(&p);
	}
	blob_free(&b);
}

TEST(a_file_that_does_not_end_with_the_last_tensor_is_refused)
{
	const char *h = T("\"U8\"", "[4]", "[0,4]");
	struct blob b = { 0 };

	file(&b, h, 5);
	expect_refused(F, b.at, b.len, b.len - 1, "1 trailing bytes");
	file(&b, h, 3);
	expect_refused(F, b.at, b.len, b.len, "1 bytes short");
	file(&b, "{}", 1);
	expect_refused(F, b.at, b.len, b.len - 1, "1 trailing bytes");
	blob_free(&b);
}

TEST(header_lengths_are_bounded_before_anything_is_allocated)
{
	struct blob b = { 0 };

	expect_refused(F, "", 0, 0, "ends inside the header length");
	expect_refused(F, "\2\0\0\0\0\0\0", 7, 7, "(7 of 8 bytes)");
	blob_le(&b, 1ull << 63, 8);
	blob_say(&b, "{}");
	expect_refused(F, b.at, b.len, 0, "over the limit of 100000000");
	b.len = 0;
	blob_le(&b, 100000001, 8);
	blob_say(&b, "{}");
	expect_refused(F, b.at, b.len, 0, "over the limit");
	b.len = 0;
	blob_le(&b, 100000000, 8);
	blob_say(&b, "{}");
	expect_refused(F, b.at, b.len, 0, "does not fit in a file of 10");
	b.len = 0;
	blob_le(&b, 3, 8);
	blob_say(&b, "{}");
	expect_refused(F, b.at, b.len, 0, "does not fit");
	b.len = 0;
	blob_le(&b, 1000, 8);
	blob_say(&b, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],");
	expect_refused(F, b.at, b.len, 0, "a header of 1000 bytes");
	b.len = 0;
	blob_le(&b, 0, 8);
	expect_refused(F, b.at, b.len, 8, "ends where a value");
	blob_free(&b);
}

TEST(nesting_and_dimensions_are_limited_to_64)
{
	struct blob b = { 0 };

	for (int n = 61; n <= 64; n++) {
		struct parsed p;

		b.len = 0;
		blob_le(&b, 0, 8);
		blob_say(&b, "{\"t\":{\"x\":");
		for (int i = 0; i < n; i++)
			blob_say(&b, "[");
		for (int i = 0; i < n; i++)
			blob_say(&b, "]");
		blob_say(&b, "," OK_FIELDS "}}");
		b.at[0] = (uint8_t)(b.len - 8);
		b.at[1] = (uint8_t)((b.len - 8) >> 8);
		blob_fill(&b, 0, 1);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, n + 2 > 64 ? -EBADMSG : 0);
		if (p.err)
			EXPECT_HAS(p.diag.what, "deeper than 64");
		parsed_fini(&p);
	}
	for (int n = 63; n <= 65; n++) {
		struct parsed p;

		b.len = 0;
		blob_le(&b, 0, 8);
		blob_say(&b, "{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,1],\"shape\":[1");
		for (int i = 1; i < n; i++)
			blob_say(&b, ",1");
		blob_say(&b, "]}}");
		b.at[0] = (uint8_t)(b.len - 8);
		blob_fill(&b, 0, 1);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, n > 64 ? -EBADMSG : 0);
		if (p.err)
			EXPECT_HAS(p.diag.what, "more than 64 numbers in shape");
		parsed_fini(&p);
	}
	blob_free(&b);
}

TEST(every_truncation_is_refused)
{
	struct blob b = { 0 };

	golden(&b);
	EXPECT_EQ(each_truncation(F, &b), 0);
	blob_free(&b);
}

TEST(every_bit_flip_is_refused_or_stays_within_the_file)
{
	struct blob b = { 0 };

	golden(&b);
	each_bit_flip(F, &b, b.len);
	/* Of the length, none but one that moves into the padding. */
	EXPECT_EQ(each_bit_flip(F, &b, 8), 0);
	blob_free(&b);
}

TEST(every_failed_allocation_is_said)
{
	struct blob b = { 0 };

	golden(&b);
	each_allocation(F, &b);
	blob_free(&b);
}

TEST(a_source_that_only_goes_forward_gives_the_same)
{
	struct blob b = { 0 };

	golden(&b);
	each_length_forward(F, &b);
	blob_free(&b);
}

TEST(a_failed_read_is_that_error)
{
	struct blob b = { 0 };

	golden(&b);
	each_read_failing(F, &b, 8 + strlen(GOLDEN));
	blob_free(&b);
}

/* `n` tensors of one byte each, or all aliasing [0, 1); names of 9 digits. */
static void many(struct blob *b, uint64_t n, bool alias)
{
	b->len = 0;
	blob_le(b, 0, 8);
	blob_say(b, "{");
	for (uint64_t i = 0; i < n; i++)
		blob_say(b, "%s\"n%09" PRIu64 "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
			 i ? "," : "", i * 7919 % n, alias ? 0 : i,
			 alias ? 1 : i + 1);
	blob_say(b, "}");
	for (int i = 0; i < 8; i++)
		b->at[i] = (uint8_t)((b->len - 8) >> 8 * i);
	blob_fill(b, 0, alias ? 1 : n);
}

TEST_TIMEOUT(a_million_tensors_take_under_2_s_and_500_MiB, 120)
{
	struct slc_source_mem mem;
	struct slc_parse in = { .src = &mem.base };
	struct rusage before, after;
	struct slc_table t = { 0 };
	struct slc_diag diag = { 0 };
	struct blob b = { 0 };
	double start, took;

	many(&b, 1000000, false);
	slc_source_mem_init(&mem, b.at, b.len);
	getrusage(RUSAGE_SELF, &before);
	start = cpu_now();
	ASSERT_EQ(F->parse(&in, &t, &diag), 0);
	took = cpu_now() - start;
	getrusage(RUSAGE_SELF, &after);
	ASSERT_EQ(t.n, 1000000);
	printf("# %.3f s, %ld MiB over the file, table %llu MiB\n", took,
	       (after.ru_maxrss - before.ru_maxrss) >> 10,
	       (unsigned long long)t.mem_bytes >> 20);
#if !SANITIZED
	EXPECT_LT(took, 2.0);
	EXPECT_LT((after.ru_maxrss - before.ru_maxrss) >> 10, 500);
#endif
	slc_table_fini(&t);
	blob_free(&b);
}

TEST_TIMEOUT(aliasing_tensors_by_the_hundred_thousand_are_refused_at_once, 60)
{
	struct blob b = { 0 };
	struct parsed p;
	double start;

	many(&b, 100000, true);
	start = cpu_now();
	parse_bytes(F, b.at, b.len, &p);
	EXPECT_EQ(p.err, -EBADMSG);
	EXPECT_HAS(p.diag.what, "overlap");
	EXPECT_LT(cpu_now() - start, 5.0);
	blob_free(&b);
}

TEST_TIMEOUT(names_alike_by_the_hundred_thousand_stay_fast, 60)
{
	/* Long common prefixes, all metadata keys, one duplicate at the end. */
	struct blob b = { 0 };
	struct parsed p;
	double start;

	blob_le(&b, 0, 8);
	blob_say(&b, "{\"__metadata__\":{");
	for (int i = 0; i < 200000; i++)
		blob_say(&b, "%s\"%0100d\":\"\"", i ? "," : "",
			 i == 199999 ? 5 : i);
	blob_say(&b, "}}");
	for (int i = 0; i < 8; i++)
		b.at[i] = (uint8_t)((b.len - 8) >> 8 * i);
	start = cpu_now();
	parse_bytes(F, b.at, b.len, &p);
	EXPECT_EQ(p.err, -EBADMSG);
	EXPECT_HAS(p.diag.what, "comes twice");
	EXPECT_EQ(p.diag.off, b.len - 2 - 102 - 3);
	EXPECT_LT(cpu_now() - start, 5.0);
	blob_free(&b);
}

TEST(the_magic_knows_a_header_and_not_others)
{
	struct blob b = { 0 };

	golden(&b);
	EXPECT_TRUE(F->magic(b.at, b.len));
	EXPECT_FALSE(F->magic(b.at, 9));
	b.at[8] = '[';
	EXPECT_FALSE(F->magic(b.at, b.len));
	EXPECT_FALSE(F->magic((const uint8_t *)"GGUF\3\0\0\0\0\0\0\0", 12));
	blob_free(&b);
}

/* What our sentence must say for each error of the reference. */
static const char *sentence_for(const char *expect)
{
	static const char *const pairs[][2] = {
		{ "HeaderTooSmall", "ends inside the header length" },
		{ "HeaderTooLarge", "over the limit" },
		{ "InvalidHeaderLength", "does not fit" },
		{ "InvalidHeader", "not UTF-8" },
		{ "InvalidHeaderDeserialization", "JSON text" },
		{ "InvalidOffset", "data_offsets" },
		{ "ValidationOverflow", "more than 2^64 bits" },
		{ "MisalignedSlice", "does not end on a byte" },
		{ "TensorInvalidInfo", "its dtype and shape need" },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (!strcmp(expect, pairs[i][0]))
			return pairs[i][1];
	return NULL;
}

TEST(the_vectors_of_the_reference_end_as_its_manifest_says)
{
	const char *folder = samples("safetensors");
	struct blob b = { 0 };
	json_t *list, *item;
	size_t i;

	load(&b, folder, "manifest.json");
	list = json_loadb((const char *)b.at, b.len, 0, NULL);
	ASSERT_EQ(json_array_size(list), 22);
	json_array_foreach(list, i, item) {
		const char *name = json_string_value(json_object_get(item, "file"));
		const char *expect = json_string_value(json_object_get(item, "expect"));
		struct parsed p;

		b.len = 0;
		load(&b, folder, name);
		EXPECT_EQ(b.len, json_integer_value(json_object_get(item, "size")));
		parse_bytes(F, b.at, b.len, &p);
		if (p.err != (strcmp(expect, "ok") ? -EBADMSG : 0))
			printf("# %s\n", name);
		EXPECT_EQ(p.err, strcmp(expect, "ok") ? -EBADMSG : 0);
		if (!strcmp(expect, "MetadataIncompleteBuffer"))
			EXPECT_TRUE(strstr(p.diag.what, "trailing") ||
				    strstr(p.diag.what, "short"));
		else if (p.err)
			EXPECT_HAS(p.diag.what, sentence_for(expect));
		parsed_fini(&p);
	}
	json_decref(list);
	blob_free(&b);
}

TEST(real_files_are_accepted)
{
	static const char *const names[] = { "a.safetensors", "b.safetensors",
					     "test_empty.safetensors" };
	const char *folder = samples("safetensors-real");
	struct blob b = { 0 };

	for (int i = 0; i < 3; i++) {
		struct parsed p;

		b.len = 0;
		load(&b, folder, names[i]);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, 0);
		EXPECT_EQ(p.t.n, i < 2 ? 1 : 0);
		if (i < 2) {
			EXPECT_EQ(p.t.tensors[0].off, 104);
			EXPECT_EQ(p.t.tensors[0].len, 256);
		}
		parsed_fini(&p);
	}
	blob_free(&b);
}

TEST_HARNESS_MAIN
