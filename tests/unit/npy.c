// SPDX-License-Identifier: MIT
/* .npy: versions 1 to 3, dtypes, shapes, and what is refused. */
#include "parse.h"

#define F (&slc_format_npy)
#define V1 10 /* where the dictionary begins */

/* A header as numpy pads it, and `data` bytes behind it. */
static void file(struct blob *b, unsigned int version, const char *dict,
		 uint64_t data)
{
	uint64_t prefix = version == 1 ? 10 : 12, len = strlen(dict) + 1;

	len += (64 - (prefix + len) % 64) % 64;
	b->len = 0;
	blob_put(b, "\x93NUMPY", 6);
	blob_le(b, version, 1);
	blob_le(b, 0, 1);
	blob_le(b, len, version == 1 ? 2 : 4);
	blob_put(b, dict, strlen(dict));
	blob_fill(b, ' ', len - strlen(dict) - 1);
	blob_put(b, "\n", 1);
	blob_fill(b, 7, data);
}

#define D(descr, shape)                                      \
	"{'descr': " descr ", 'fortran_order': False, 'shape': " shape ", }"

static void accept(const char *dict, uint64_t data, struct parsed *p)
{
	struct blob b = { 0 };

	file(&b, 1, dict, data);
	parse_bytes(F, b.at, b.len, p);
	EXPECT_EQ(p->err, 0);
	EXPECT_STREQ(p->diag.what, "");
	check_sane(p, b.len);
	blob_free(&b);
}

static void refused(const char *dict, uint64_t data, const char *at,
		    const char *what)
{
	const char *hit = strstr(dict, at);
	struct blob b = { 0 };

	ASSERT_NOT_NULL(hit);
	file(&b, 1, dict, data);
	expect_refused(F, b.at, b.len, V1 + (uint64_t)(hit - dict), what);
	blob_free(&b);
}

TEST(rows_are_samples)
{
	uint64_t off, len;
	struct parsed p;

	accept(D("'<f4'", "(2, 3, 5)"), 120, &p);
	ASSERT_EQ(p.err, 0);
	EXPECT_EQ(p.t.kind, SLC_TABLE_FIXED);
	EXPECT_TRUE(p.t.format == F);
	EXPECT_EQ(p.t.n, 2);
	EXPECT_EQ(p.t.unit, 4);
	EXPECT_STREQ(p.t.dtype, "<f4");
	EXPECT_EQ(p.t.ndim, 2);
	EXPECT_EQ(p.t.shape[0], 3);
	EXPECT_EQ(p.t.shape[1], 5);
	EXPECT_FALSE(p.t.fortran);
	slc_table_span(&p.t, 1, &off, &len);
	EXPECT_EQ(off, 128 + 60);
	EXPECT_EQ(len, 60);
	accept(D("'<i8'", "()"), 8, &p);
	EXPECT_EQ(p.t.n, 1);
	EXPECT_EQ(p.t.stride, 8);
	EXPECT_EQ(p.t.ndim, 0);
	accept(D("'|u1'", "(7,)"), 7, &p);
	EXPECT_EQ(p.t.n, 7);
	EXPECT_EQ(p.t.stride, 1);
	accept(D("'<f8'", "(0, 5)"), 0, &p);
	EXPECT_EQ(p.t.n, 0);
	accept(D("'<f8'", "(5, 0)"), 0, &p);
	EXPECT_EQ(p.t.n, 5);
	EXPECT_EQ(p.t.stride, 0);
}

TEST(every_version_is_read_and_no_other)
{
	struct blob b = { 0 };
	struct parsed p;

	for (unsigned int v = 1; v <= 3; v++) {
		file(&b, v, D("'<f4'", "(2,)"), 8);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, 0);
		EXPECT_EQ(p.t.base, b.len - 8);
	}
	for (unsigned int v = 0; v < 256; v++) {
		b.at[6] = (uint8_t)v;
		if (v < 1 || v > 3)
			expect_refused(F, b.at, b.len, 6, "is none of 1.0");
	}
	b.at[6] = 1;
	b.at[7] = 1;
	expect_refused(F, b.at, b.len, 6, "version 1.1 is none of");
	b.at[5] = 'X';
	expect_refused(F, b.at, b.len, 0, "does not begin with");
	file(&b, 3, D("[('\xc3\xa9', '<f4')]", "(1,)"), 4);
	parse_bytes(F, b.at, b.len, &p);
	EXPECT_EQ(p.err, 0);
	b.at[12 + 13] = 0xff;
	expect_refused(F, b.at, b.len, 12 + 13, "not UTF-8");
	blob_free(&b);
}

TEST(simple_dtypes_have_their_size)
{
	static const struct {
		const char *descr;
		uint64_t bytes;
	} all[] = {
		{ "<f4", 4 }, { ">i8", 8 }, { "|u1", 1 }, { "|b1", 1 },
		{ "<c8", 8 }, { "<U10", 40 }, { "S5", 5 }, { "|S5", 5 },
		{ "<f2", 2 }, { "=f8", 8 }, { "<f16", 16 }, { "<c32", 32 },
		{ "|V7", 7 }, { "<M8[ns]", 8 }, { "<m8[25s]", 8 },
		{ "<M8", 8 }, { "|i1", 1 }, { ">u4", 4 }, { "i2", 2 },
		{ "|a3", 3 },
	};
	char dict[200];
	struct parsed p;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(dict, sizeof(dict), D("'%s'", "(2,)"), all[i].descr);
		accept(dict, 2 * all[i].bytes, &p);
		EXPECT_EQ(p.t.stride, all[i].bytes);
		EXPECT_STREQ(p.t.dtype, all[i].descr);
	}
}

TEST(dtypes_that_are_none_are_refused)
{
	static const char *const bad[] = {
		"", "<", "f", "<f3", "<i3", "<u16", "<c4", "<b2", "f4x", "<f4 ",
		"<x4", "<U", "<f99999999999999999999", "<V2147483648",
		"<U536870912", "<M4[ns]", "<M8[", "<M8[]", "<M8x", "<<f4",
		"?", "d", "<f-4", "<M8[0123456789abc]",
	};
	char dict[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(dict, sizeof(dict), D("'%s'", "(0,)"), bad[i]);
		refused(dict, 0, strstr(dict, ": '") + 2, "unknown dtype");
	}
}

TEST(pickled_objects_are_refused_wherever_they_hide)
{
	refused(D("'|O'", "(1,)"), 4, "'|O'", "pickled Python objects");
	refused(D("'O'", "(1,)"), 4, "'O'", "pickled");
	refused(D("'|O8'", "(1,)"), 8, "'|O8'", "pickled");
	refused(D("[('a', '<f4'), ('b', '|O')]", "(1,)"), 8, "'|O'", "pickled");
	refused(D("[('a', [('b', '|O')])]", "(1,)"), 8, "'|O'", "pickled");
	refused(D("('|O', (2,))", "(1,)"), 8, "'|O'", "pickled");
}

TEST(structured_dtypes_are_opaque_items_of_their_size)
{
	struct parsed p;

	accept(D("[('a', '<i4'), ('b', '|S3', (2,)), ('', '|V2')]", "(2,)"),
	       24, &p);
	EXPECT_EQ(p.t.stride, 12);
	EXPECT_STREQ(p.t.dtype, "|V12");
	accept(D("[(('title', 'n'), '<f8'), ('s', [('x', '<f4', 3)])]", "(1,)"),
	       20, &p);
	EXPECT_EQ(p.t.stride, 20);
	accept(D("('<i2', (2, 2))", "(3,)"), 24, &p);
	EXPECT_EQ(p.t.stride, 8);
	accept(D("[]", "(3,)"), 0, &p);
	EXPECT_EQ(p.t.stride, 0);
	accept(D("[('it\\'s', \"<f4\")]", "(1,)"), 4, &p);
	refused(D("[('a', '<f4') ('b', '<f4')]", "(1,)"), 8, "('b'",
		"where ',' or ']'");
	refused(D("[('a')]", "(1,)"), 8, ")]", "where ','");
	refused(D("['a']", "(1,)"), 8, "'a'", "where a field");
	refused(D("[(('t' 'n'), '<f8')]", "(1,)"), 8, "'n'", "where ','");
	refused(D("[(('t', 'n', 'm'), '<f8')]", "(1,)"), 8, ", 'm'",
		"where ')'");
	refused(D("[('a', '<f8', 2 3)]", "(1,)"), 8, "3)]", "where ')'");
	refused(D("('<f8' (2,))", "(1,)"), 8, "(2,)", "where ','");
	refused(D("('<f8', (2,) 3)", "(1,)"), 8, "3)", "where ')'");
	refused(D("7", "(1,)"), 8, "7", "where a string");
	refused(D("[('a', '<f4', (9999999999,))]", "(1,)"), 8, "('a'",
		"2^31 bytes");
	refused(D("[('a', '|V2147483647'), ('b', '|V2')]", "(0,)"), 8, "('b'",
		"2^31 bytes");
}

TEST(dtypes_nest_to_32_levels)
{
	for (int depth = 32; depth <= 33; depth++) {
		char dict[1000], *p = dict;
		struct blob b = { 0 };
		struct parsed parsed;

		p += sprintf(p, "{'descr': ");
		for (int i = 0; i < depth; i++)
			p += sprintf(p, "[('a', ");
		p += sprintf(p, "'<f4'");
		for (int i = 0; i < depth; i++)
			p += sprintf(p, ")]");
		sprintf(p, ", 'fortran_order': False, 'shape': (1,)}");
		file(&b, 1, dict, 4);
		parse_bytes(F, b.at, b.len, &parsed);
		EXPECT_EQ(parsed.err, depth > 32 ? -EBADMSG : 0);
		if (parsed.err)
			EXPECT_HAS(parsed.diag.what, "deeper than 32");
		blob_free(&b);
	}
}

TEST(the_dictionary_may_be_written_in_any_order_once)
{
	struct parsed p;

	accept("{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<f4\"}", 8,
	       &p);
	accept(" {  'shape' : ( 2 , 3 ) , 'descr' : '<f4' , 'fortran_order' : False }",
	       24, &p);
	accept(D("'<f4'", "(2L, 3L)"), 24, &p);
	refused("{'descr': '<f4', 'shape': (2,), }", 8, "}", "no 'fortran_order'");
	refused("{'descr': '<f4', 'fortran_order': False}", 8, "}", "no 'shape'");
	refused("{}", 0, "}", "no 'descr'");
	refused("{'descr': '<f4', 'descr' : '<f4'}", 0, "'descr' ",
		"'descr' comes twice");
	refused("{'descr': '<f4', 'extra': 1}", 0, "'extra'",
		"unknown key 'extra'");
	refused("('descr',)", 0, "(", "where '{'");
	refused("{descr: 1}", 0, "descr", "where a string");
	refused("{'descr' '<f4'}", 0, "'<f4'", "where ':'");
	refused("{'descr': '<f4' 'shape': ()}", 0, "'shape'", "where ',' or '}'");
	refused("{'descr': '<f4', 'fortran_order': false}", 0, "false",
		"where True or False");
	refused("{'descr': '<f4', 'fortran_order': 0}", 0, "0", "where True");
	refused("{'descr': __import__('os')}", 0, "__import__", "where a string");
	refused(D("'<f4'", "(2,)") " x", 8, "x", "where the end");
	refused("{'descr': '<f4", 8, "'<f4", "a string in the header has no end");
}

TEST(shapes_are_tuples_of_what_fits)
{
	char dict[1000], *q = dict;
	struct parsed p;

	refused(D("'<f4'", "(2)"), 8, ")", "needs a comma");
	refused(D("'<f4'", "[2]"), 8, "[2]", "where a tuple");
	refused(D("'<f4'", "2"), 8, "2", "where a tuple");
	refused(D("'<f4'", "(-2,)"), 8, "-2", "where a dimension");
	refused(D("'<f4'", "(2.0,)"), 8, ".0", "where ',' or ')'");
	refused(D("'<f4'", "(,)"), 8, ",)", "where a dimension");
	refused(D("'<f4'", "(2,,3)"), 8, ",3", "where a dimension");
	refused(D("'<f4'", "(9223372036854775808,)"), 8, "9223",
		"2^63 or more");
	refused(D("'<f4'", "(4294967296, 4294967296)"), 8, "(4294",
		"more than 2^63 bytes");
	refused(D("'<f8'", "(1152921504606846976,)"), 8, "(1152",
		"more than 2^63 bytes");
	refused(D("'<f8'", "(2, 9223372036854775807)"), 8, "(2",
		"more than 2^63 bytes");
	refused(D("'<f8'", "(1000000, 0)"), 0, "(1000000",
		"1000000 rows of no bytes");
	for (int n = 64; n <= 65; n++) {
		struct blob b = { 0 };

		q = dict;
		q += sprintf(q, "{'descr': '|u1', 'fortran_order': False, 'shape': (");
		for (int i = 0; i < n; i++)
			q += sprintf(q, "1,");
		sprintf(q, ")}");
		file(&b, 1, dict, 1);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, n > 64 ? -EBADMSG : 0);
		if (p.err)
			EXPECT_HAS(p.diag.what, "more than 64 dimensions");
		blob_free(&b);
	}
}

TEST(fortran_order_is_told_when_it_matters)
{
	static const struct {
		const char *shape;
		uint64_t bytes;
		bool fortran;
	} all[] = {
		{ "()", 1, false }, { "(6,)", 6, false }, { "(6, 1)", 6, false },
		{ "(1, 6)", 6, false }, { "(1, 6, 1)", 6, false },
		{ "(2, 3)", 6, true }, { "(1, 2, 3)", 6, true },
		{ "(0, 3, 4)", 0, false },
	};
	char dict[200];
	struct parsed p;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(dict, sizeof(dict), "{'descr': '|u1', 'fortran_order': True, 'shape': %s, }",
			 all[i].shape);
		accept(dict, all[i].bytes, &p);
		EXPECT_EQ(p.t.fortran, all[i].fortran);
	}
}

TEST(the_file_ends_with_the_last_item)
{
	struct blob b = { 0 };

	file(&b, 1, D("'<f4'", "(2,)"), 9);
	expect_refused(F, b.at, b.len, b.len - 1, "1 trailing bytes");
	file(&b, 1, D("'<f4'", "(2,)"), 7);
	expect_refused(F, b.at, b.len, b.len, "1 bytes short");
	blob_free(&b);
}

TEST(headers_over_10000_bytes_are_refused)
{
	struct blob b = { 0 };
	struct parsed p;

	for (uint64_t len = 10000; len <= 10001; len++) {
		const char *dict = D("'<f4'", "(1,)");

		b.len = 0;
		blob_put(&b, "\x93NUMPY\2\0", 8);
		blob_le(&b, len, 4);
		blob_put(&b, dict, strlen(dict));
		blob_fill(&b, ' ', len - strlen(dict));
		blob_fill(&b, 0, 4);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, len > 10000 ? -EBADMSG : 0);
	}
	expect_refused(F, b.at, b.len, 8, "a header of 10001 bytes is over");
	b.len = 8;
	blob_le(&b, UINT32_MAX, 4);
	expect_refused(F, b.at, b.len, 8, "over the limit of 10000");
	b.len = 8;
	blob_le(&b, 9000, 4);
	expect_refused(F, b.at, b.len, 12, "ends inside the header");
	blob_free(&b);
}

TEST(every_truncation_is_refused)
{
	struct blob b = { 0 };

	for (unsigned int v = 1; v <= 3; v++) {
		file(&b, v, D("[('a', '<f4'), ('b', '<u2', (2,))]", "(2, 1)"), 16);
		EXPECT_EQ(each_truncation(F, &b), 0);
	}
	blob_free(&b);
}

TEST(every_bit_flip_is_refused_or_stays_within_the_file)
{
	struct blob b = { 0 };

	for (unsigned int v = 1; v <= 3; v++) {
		file(&b, v, D("'<f4'", "(2, 3)"), 24);
		each_bit_flip(F, &b, b.len);
		/* Of the magic and the minor version, none. */
		EXPECT_EQ(each_bit_flip(F, &b, 6), 0);
	}
	blob_free(&b);
}

TEST(every_failed_allocation_is_said)
{
	struct blob b = { 0 };

	file(&b, 1, D("'<f4'", "(2, 3)"), 24);
	each_allocation(F, &b);
	blob_free(&b);
}

TEST(a_source_that_only_goes_forward_gives_the_same)
{
	struct blob b = { 0 };

	file(&b, 2, D("'<f4'", "(2, 3)"), 24);
	each_length_forward(F, &b);
	blob_free(&b);
}

TEST(a_failed_read_is_that_error)
{
	struct blob b = { 0 };

	file(&b, 2, D("'<f4'", "(2, 3)"), 24);
	each_read_failing(F, &b, b.len - 24);
	blob_free(&b);
}

TEST(the_magic_is_six_bytes)
{
	EXPECT_TRUE(F->magic((const uint8_t *)"\x93NUMPY", 6));
	EXPECT_FALSE(F->magic((const uint8_t *)"\x93NUMPY", 5));
	EXPECT_FALSE(F->magic((const uint8_t *)"\x93NUMPX", 6));
}

TEST(the_samples_end_as_their_names_say)
{
	static const struct {
		const char *name;
		uint64_t n, row;
		bool fortran;
		const char *bad;
	} all[] = {
		{ "f2_be.npy", 3, 2, false, NULL },
		{ "f4_2x3.npy", 2, 12, false, NULL },
		{ "f4_2x3_fortran.npy", 2, 12, true, NULL },
		{ "f8_empty.npy", 0, 40, false, NULL },
		{ "i8_scalar.npy", 1, 8, false, NULL },
		{ "u1_v3.npy", 4, 1, false, NULL },
		{ "invalid_magic.npy", 0, 0, false, "does not begin" },
		{ "invalid_version9.npy", 0, 0, false, "version 9.0" },
		{ "object_pickle.npy", 0, 0, false, "pickled" },
	};
	const char *folder = samples("npy");
	struct blob b = { 0 };
	struct parsed p;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		b.len = 0;
		load(&b, folder, all[i].name);
		parse_bytes(F, b.at, b.len, &p);
		EXPECT_EQ(p.err, all[i].bad ? -EBADMSG : 0);
		if (all[i].bad) {
			EXPECT_HAS(p.diag.what, all[i].bad);
			continue;
		}
		EXPECT_EQ(p.t.n, all[i].n);
		EXPECT_EQ(p.t.stride, all[i].row);
		EXPECT_EQ(p.t.fortran, all[i].fortran);
	}
	blob_free(&b);
}

TEST_HARNESS_MAIN
