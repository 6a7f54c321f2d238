// SPDX-License-Identifier: MIT
/* Raw records: any bytes, as long as they are whole. */
#include "parse.h"

#define F (&slc_format_raw)

TEST(records_stand_back_to_back)
{
	struct parsed p;
	uint64_t off, len;

	parse_record(F, "aaabbbccc", 9, 3, &p);
	ASSERT_EQ(p.err, 0);
	EXPECT_EQ(p.t.kind, SLC_TABLE_FIXED);
	EXPECT_EQ(p.t.n, 3);
	slc_table_span(&p.t, 2, &off, &len);
	EXPECT_EQ(off, 6);
	EXPECT_EQ(len, 3);
	parsed_fini(&p);
	parse_record(F, "", 0, 3, &p);
	EXPECT_EQ(p.err, 0);
	EXPECT_EQ(p.t.n, 0);
	parse_record(F, "aaaa", 4, 4, &p);
	EXPECT_EQ(p.err, 0);
	EXPECT_EQ(p.t.n, 1);
}

TEST(trailing_bytes_are_named)
{
	struct parsed p;

	for (uint64_t record = 2; record <= 20; record++)
		for (uint64_t len = 0; len < 60; len++) {
			char bytes[60] = { 0 }, want[80];

			parse_record(F, bytes, len, record, &p);
			ASSERT_EQ(p.err, len % record ? -EBADMSG : 0);
			if (!p.err) {
				ASSERT_EQ(p.t.n, len / record);
				continue;
			}
			snprintf(want, sizeof(want),
				 "%d trailing bytes after %d records of %d",
				 (int)(len % record), (int)(len / record),
				 (int)record);
			ASSERT_HAS(p.diag.what, want);
			ASSERT_EQ(p.diag.off, len - len % record);
		}
	parse_record(F, "aaa", 3, UINT64_MAX, &p);
	EXPECT_EQ(p.err, -EBADMSG);
}

TEST(a_record_of_no_bytes_is_refused)
{
	struct parsed p;

	parse_record(F, "aaa", 3, 0, &p);
	EXPECT_EQ(p.err, -EBADMSG);
	EXPECT_HAS(p.diag.what, "the size of a record is not known");
}

TEST(a_source_of_unknown_size_is_read_to_its_end)
{
	struct blob b = { 0 };
	struct forward src = { { forward_read, SLC_SIZE_UNKNOWN }, &b, 0, 0,
			       0 };
	struct slc_parse in = { .src = &src.base, .record = 1000 };
	struct parsed p = { 0 };

	blob_fill(&b, 1, 200000);
	EXPECT_EQ(F->parse(&in, &p.t, &p.diag), 0);
	EXPECT_EQ(p.t.n, 200);
	src.read_to = 0;
	src.fail = -EIO;
	src.fail_at = 150000;
	memset(&p, 0, sizeof(p));
	EXPECT_EQ(F->parse(&in, &p.t, &p.diag), -EIO);
	blob_free(&b);
}

TEST_HARNESS_MAIN
