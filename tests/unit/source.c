// SPDX-License-Identifier: MIT
/* Sources, and the sentences about what they hold. */
#include "parse.h"

#include <sys/resource.h>

TEST(memory_is_read_up_to_its_end)
{
	struct slc_source_mem mem;
	char buf[8];

	slc_source_mem_init(&mem, "abcdef", 6);
	EXPECT_EQ(mem.base.read(&mem.base, 0, buf, 8), 6);
	EXPECT_EQ(mem.base.read(&mem.base, 4, buf, 8), 2);
	EXPECT_EQ(buf[1], 'f');
	EXPECT_EQ(mem.base.read(&mem.base, 6, buf, 8), 0);
	EXPECT_EQ(mem.base.read(&mem.base, UINT64_MAX, buf, 8), 0);
	EXPECT_EQ(mem.base.read(&mem.base, 2, buf, 0), 0);
	EXPECT_EQ(mem.base.read(&mem.base, 1, buf, UINT64_MAX), 5);
}

TEST(sentences_are_one_printable_line_that_fits)
{
	struct slc_diag diag;
	char text[400];

	EXPECT_EQ(slc_bad(&diag, 7, "a%cb\x7f\xff%s", '\n', "\x1b[31m"),
		  -EBADMSG);
	EXPECT_STREQ(diag.what, "a?b???[31m");
	EXPECT_EQ(diag.off, 7);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	slc_bad(&diag, 0, "%s", text);
	EXPECT_EQ(strlen(diag.what), sizeof(diag.what) - 1);
}

TEST(exact_says_what_the_file_ends_inside)
{
	struct slc_source_mem mem;
	struct slc_diag diag = { 0 };
	char buf[8];

	slc_source_mem_init(&mem, "abcdef", 6);
	EXPECT_EQ(slc_source_exact(&mem.base, 2, buf, 4, "x", &diag), 0);
	EXPECT_EQ(slc_source_exact(&mem.base, 3, buf, 8, "the head", &diag),
		  -EBADMSG);
	EXPECT_STREQ(diag.what, "the file ends inside the head (3 of 8 bytes)");
	EXPECT_EQ(diag.off, 6);
}

TEST(load_gives_the_bytes_with_a_nul_whether_the_size_is_known_or_not)
{
	struct blob b = { 0 };
	struct slc_diag diag = { 0 };
	uint8_t *out;

	for (uint64_t i = 0; i < 5000000; i++)
		blob_le(&b, i * 31 % 251, 1);
	for (uint64_t len = 0; len < b.len; len = len * 3 + 1) {
		struct forward src = { { forward_read, SLC_SIZE_UNKNOWN }, &b,
				       0, 0, 0 };

		ASSERT_EQ(slc_source_load(&src.base, 5, len, "x", &out, &diag),
			  0);
		ASSERT_EQ(memcmp(out, b.at + 5, len), 0);
		ASSERT_EQ(out[len], 0);
		free(out);
		src = (struct forward){ { forward_read, b.len }, &b, 0, 0, 0 };
		ASSERT_EQ(slc_source_load(&src.base, 5, len, "x", &out, &diag),
			  0);
		ASSERT_EQ(memcmp(out, b.at + 5, len), 0);
		free(out);
	}
	blob_free(&b);
}

/* Past 1 GiB of address space an allocation would fail, and be told so. */
TEST(load_allocates_by_what_came_not_by_what_was_claimed)
{
	struct blob b = { 0 };
	struct forward src = { { forward_read, SLC_SIZE_UNKNOWN }, &b, 0, 0,
			       0 };
	struct slc_diag diag = { 0 };
	struct rlimit old, small;
	uint8_t *out;
	int err;

	if (SANITIZED)
		SKIP("a sanitizer needs its address space");
	blob_fill(&b, 'x', 1000);
	getrlimit(RLIMIT_AS, &old);
	small = old;
	small.rlim_cur = 1ull << 30;
	ASSERT_EQ(setrlimit(RLIMIT_AS, &small), 0);
	err = slc_source_load(&src.base, 0, 1ull << 40, "the header", &out,
			      &diag);
	setrlimit(RLIMIT_AS, &old);
	EXPECT_EQ(err, -EBADMSG);
	EXPECT_HAS(diag.what, "ends inside the header");
	src.base.size = b.len;
	EXPECT_EQ(slc_source_load(&src.base, 0, 1ull << 40, "the header", &out,
				  &diag), -EBADMSG);
	EXPECT_EQ(slc_source_load(&src.base, UINT64_MAX, 1, "the header", &out,
				  &diag), -EBADMSG);
	blob_free(&b);
}

TEST(ends_holds_the_size_between_two_bounds)
{
	static const uint64_t sizes[] = { 200000, SLC_SIZE_UNKNOWN };
	struct blob b = { 0 };
	struct slc_diag diag = { 0 };

	blob_fill(&b, 'x', 200000);
	for (int i = 0; i < 2; i++) {
		struct forward src = { { forward_read, sizes[i] }, &b, 0, 0, 0 };

		EXPECT_EQ(slc_source_ends(&src.base, 10, 200000, 200000, &diag),
			  0);
		src.read_to = 0;
		EXPECT_EQ(slc_source_ends(&src.base, 10, 100, 200001, &diag),
			  0);
		src.read_to = 0;
		EXPECT_EQ(slc_source_ends(&src.base, 0, 200001, 200008, &diag),
			  -EBADMSG);
		EXPECT_HAS(diag.what, "1 bytes short");
		EXPECT_EQ(diag.off, 200000);
		src.read_to = 0;
		EXPECT_EQ(slc_source_ends(&src.base, 0, 0, 199997, &diag),
			  -EBADMSG);
		EXPECT_HAS(diag.what, "3 trailing bytes");
		EXPECT_EQ(diag.off, 199997);
	}
	blob_free(&b);
}

TEST_HARNESS_MAIN
