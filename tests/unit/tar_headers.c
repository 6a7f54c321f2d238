/* SPDX-License-Identifier: MIT */
/* The headers of tar: checksums, sizes, names, and the records of pax. */
#include <errno.h>

#include "tar_archive.h"

TEST(a_wrong_checksum_names_its_header)
{
	struct bytes b = golden();

	b.p[512 + 20] ^= 1;
	expect_bad(&b, 512, "the checksum of this header is wrong");
	b.p[20] ^= 1;
	expect_bad(&b, 0, "no tar header");
	bytes_free(&b);
}

TEST(signed_checksums_of_old_tars_are_right_too)
{
	struct bytes b = { 0 };

	put_header(&b, "\xc3\xa9.txt", '0', 0);
	set_sum(last_header(&b), true);
	EXPECT_BRIEF(&b, "\xc3\xa9 txt");
	bytes_free(&b);
}

TEST(v7_headers_have_folders_by_their_slash)
{
	struct bytes b = { 0 };

	put_header(&b, "folder.x/", 0, 512);
	memset(last_header(&b) + 257, 0, 255);
	set_sum(last_header(&b), false);
	put_header(&b, "file.txt", 0, 3);
	memset(last_header(&b) + 257, 0, 255);
	set_sum(last_header(&b), false);
	put_text(&b, "abc");
	pad(&b);
	EXPECT_BRIEF(&b, "file txt");
	bytes_free(&b);
}

static const struct {
	const char *field;
	size_t len;
	int64_t size; /* -1: refused */
} numbers[] = {
	{ "00000000005\0", 12, 5 },
	{ "000000000005", 12, 5 },
	{ "          5 ", 12, 5 },
	{ "5\0ignored...", 12, 5 },
	{ "\0\0\0\0\0\0\0\0\0\0\0", 12, 0 },
	{ "            ", 12, 0 },
	{ "\200\0\0\0\0\0\0\0\0\0\0\5", 12, 5 },
	{ "\200\0\0\0\200\0\0\0\0\0\0\0", 12, -1 },
	{ "\200\1\0\0\0\0\0\0\0\0\0\5", 12, -1 },
	{ "\201\0\0\0\0\0\0\0\0\0\0\5", 12, -1 },
	{ "\377\377\377\377\377\377\377\377\377\377\377\377", 12, -1 },
	{ "0000000000x5", 12, -1 },
	{ "-0000000005", 12, -1 },
	{ "00000000008", 12, -1 },
	{ "1 2", 4, -1 },
};

TEST(sizes_are_octal_or_base_256)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct bytes b = { 0 };

		put_header(&b, "a.b", '0', 0);
		memset(last_header(&b) + 124, 0, 12);
		memcpy(last_header(&b) + 124, numbers[i].field, numbers[i].len);
		set_sum(last_header(&b), false);
		if (numbers[i].size < 0) {
			expect_bad(&b, 124, "size of this member");
		} else {
			struct slc_piece p;
			struct slc_diag diag;
			uint64_t pos = 0;

			put(&b, "12345", (size_t)numbers[i].size);
			pad(&b);
			EXPECT_BRIEF(&b, "a b");
			EXPECT_EQ(FORMAT->member(b.p, b.len, &pos, &p, &diag),
				  1);
			EXPECT_EQ(p.len, numbers[i].size);
		}
		bytes_free(&b);
	}
}

TEST(a_size_past_the_end_is_refused)
{
	struct bytes b = { 0 };

	put_file(&b, "x.y", "1");
	put_header(&b, "a.b", '0', 077777777777);
	expect_bad(&b, 1024, "ends inside the member a.b");
	bytes_free(&b);
	put_header(&b, "a.b", '0', 0);
	memcpy(last_header(&b) + 124, "\200\0\0\0\177\377\377\377\377\377\377\377", 12);
	set_sum(last_header(&b), false);
	expect_bad(&b, 0, "ends inside the member");
	bytes_free(&b);
	put_header(&b, "x", 'x', 1ull << 32);
	expect_bad(&b, 0, "ends past the end of the file");
	bytes_free(&b);
	put_header(&b, "x", 'L', (1 << 20) + 1);
	put_zeros(&b, (1 << 20) + 512);
	expect_bad(&b, 0, "at most 1048576");
	bytes_free(&b);
}

TEST(ustar_prefix_stands_before_the_name)
{
	struct bytes b = { 0 };

	put_header(&b, "c.tar.gz", '0', 0);
	memcpy(last_header(&b) + 345, "a/b", 3);
	set_sum(last_header(&b), false);
	put_header(&b, "c.idx", '0', 0);
	memcpy(last_header(&b) + 345, "a/b", 3);
	set_sum(last_header(&b), false);
	put_header(&b, ".x", '0', 0);
	memcpy(last_header(&b) + 345, "dir", 3);
	set_sum(last_header(&b), false);
	put_header(&b, "__x__.y", '0', 0);
	memcpy(last_header(&b) + 345, "__dir__", 7);
	set_sum(last_header(&b), false);
	/* The same key by another way of writing it. */
	put_pax(&b, 'x', "14 path=dir/.z\n");
	b.p[b.len - 512 + 1] = '5';
	b.len -= 1024;
	put_pax(&b, 'x', "15 path=dir/.z\n");
	put_file(&b, "short.name", "");
	EXPECT_BRIEF(&b, "a/b/c tar.gz idx|dir/ x z");
	bytes_free(&b);
}

TEST(long_names_and_pax_paths_name_the_next_member)
{
	struct bytes b = { 0 };

	put_long(&b, 'K', "some/link/target");
	put_long(&b, 'L', "gnu.one");
	put_file(&b, "x", "");
	put_pax(&b, 'x', "30 mtime=1350244992.023960108\n16 path=pax.two\n");
	put_file(&b, "x", "");
	put_pax(&b, 'x', "18 path=pax.three\n");
	put_long(&b, 'L', "gnu.three"); /* what comes first counts */
	put_file(&b, "x", "");
	put_file(&b, "plain.four", "");
	put_pax(&b, 'x', "16 path=old.six\n17 path=pax.five\n");
	put_file(&b, "x", "");
	put_pax(&b, 'X', "15 path=sun.os\n");
	put_file(&b, "x", "");
	EXPECT_BRIEF(&b, "gnu one|pax two three|plain four|pax five|sun os");
	bytes_free(&b);
}

TEST(a_pax_size_counts_and_not_the_one_of_the_header)
{
	struct bytes b = { 0 };

	put_pax(&b, 'x', "12 size=600\n");
	put_header(&b, "a.b", '0', 0);
	put_zeros(&b, 1024);
	put_file(&b, "a.c", "1");
	EXPECT_BRIEF(&b, "a b c");
	bytes_free(&b);
	put_pax(&b, 'x', "12 size=600\n");
	put_header(&b, "a.b", '5', 0); /* a folder has no content */
	put_file(&b, "a.c", "1");
	EXPECT_BRIEF(&b, "a c");
	bytes_free(&b);
}

static const struct {
	const char *records, *what;
	char type;
	uint64_t off;
} bad_pax[] = {
	{ "12 size=6x0\n", "not a number", 'x', 512 },
	{ "11 size=-1\n", "not a number", 'x', 512 },
	{ "9 size=\n\n", "not a number", 'x', 512 },
	{ "28 size=9223372036854775808\n", "not a number", 'x', 512 },
	{ "29 size=18446744073709551617\n", "not a number", 'x', 512 },
	{ "8 path=\n", "empty", 'x', 512 },
	{ "13 path=a.b\n", "not LENGTH", 'x', 512 },
	{ "11 path=a.b\n", "not LENGTH", 'x', 512 },
	{ "0 path=a.b\n", "not LENGTH", 'x', 512 },
	{ "99999999999999999999 path=a\n", "not LENGTH", 'x', 512 },
	{ "path=a.b\n", "not LENGTH", 'x', 512 },
	{ "12path=a.b\n", "not LENGTH", 'x', 512 },
	{ "4 =\n", "not LENGTH", 'x', 512 },
	{ "5 ab\n", "not LENGTH", 'x', 512 },
	{ "7 k=ok\n22 GNU.sparse.major=1\n", "sparse", 'x', 519 },
	{ "24 GNU.sparse.size=1000\n", "sparse", 'g', 512 },
	{ "12 path=a.b\n", "global", 'g', 512 },
	{ "10 size=5\n", "global", 'g', 512 },
};

TEST(bad_pax_records_are_refused_where_they_stand)
{
	for (size_t i = 0; i < sizeof(bad_pax) / sizeof(bad_pax[0]); i++) {
		struct bytes b = { 0 };

		put_pax(&b, bad_pax[i].type, bad_pax[i].records);
		put_file(&b, "a.b", "");
		expect_bad(&b, bad_pax[i].off, bad_pax[i].what);
		bytes_free(&b);
	}
}

TEST(global_headers_of_git_are_passed_over)
{
	struct bytes b = { 0 };

	put_pax(&b, 'g', "52 comment=0123456789012345678901234567890123456789\n");
	put_file(&b, "a.b", "");
	EXPECT_BRIEF(&b, "a b");
	bytes_free(&b);
}

TEST(sparse_members_are_refused)
{
	struct bytes b = { 0 };

	put_header(&b, "a.b", 'S', 0);
	expect_bad(&b, 0, "sparse");
	bytes_free(&b);
}

TEST(extended_headers_lie_across_the_windows_of_the_reader)
{
	struct bytes b = { 0 };
	struct parsed r;
	char records[2000];

	for (int i = 0; i < 400; i++) {
		snprintf(records, sizeof(records), "1500 path=%0*d.x\n", 1487,
			 i);
		put_pax(&b, 'x', records);
		put_file(&b, "short", "1");
	}
	r = parse_bytes(FORMAT, b.p, b.len, 0);
	EXPECT_EQ(r.err, 0);
	EXPECT_STREQ(r.diag.what, "");
	EXPECT_EQ(r.t.n, 400);
	parsed_free(&r);
	bytes_free(&b);
}

TEST(magic_needs_a_right_checksum)
{
	struct bytes b = golden();

	EXPECT_TRUE(FORMAT->magic(b.p, 512));
	EXPECT_FALSE(FORMAT->magic(b.p, 511));
	b.p[0] ^= 1;
	EXPECT_FALSE(FORMAT->magic(b.p, 512));
	bytes_free(&b);
}

TEST_HARNESS_MAIN
