// SPDX-License-Identifier: MIT
/* Streams over files that are cut, replaced, unreadable or gone, their second
 * try, and the descriptors that files take. */
#include <errno.h>
#include <sys/resource.h>

#include "stream_fixture.h"

TEST_F(fault, a_file_cut_under_us_is_enodata_with_sample_and_offset)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;
	uint64_t got;

	a.memory = 4u << 20;
	md_raw(self->file, 4000, 5000, &self->want);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	MD_MUST(!truncate(self->file, 3900 * 5000 + 17));
	slc_stream_release(self->s, &v, 1);
	ASSERT_EQ(drain(self->s, &got), -ENODATA);
	EXPECT_EQ(got, 3899);
	EXPECT_HAS(slc_last_error(NULL), "a.bin");
	EXPECT_HAS(slc_last_error(NULL), "offset 19500017");
	EXPECT_HAS(slc_last_error(NULL), "sample 3900");
}

TEST_F(fault, a_file_that_was_replaced_or_rewritten_is_estale)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;

	md_raw(self->file, 100, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	md_raw(md_path("%s/new", self->dir), 100, 5000, NULL);
	MD_MUST(!rename(md_path("%s/new", self->dir), self->file));
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -ESTALE);
	EXPECT_HAS(slc_last_error(NULL), "a.bin");
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -ESTALE);
}

TEST_F(fault, a_file_written_to_while_it_is_read_is_estale_at_the_latest_at_the_end)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;
	uint64_t got;
	int fd;

	a.memory = 4u << 20;
	md_raw(self->file, 4000, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	slc_stream_release(self->s, &v, 1);
	usleep(20000); /* the clock of the filesystem is coarse */
	fd = open(self->file, O_WRONLY);
	MD_MUST(pwrite(fd, "new", 3, 19000000) == 3);
	close(fd);
	EXPECT_EQ(drain(self->s, &got), -ESTALE);
	EXPECT_HAS(slc_last_error(NULL), "written to while");
}

TEST_F(fault, a_file_that_is_gone_or_a_fifo_is_an_error_at_once)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;
	int n;

	md_raw(self->file, 100, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	MD_MUST(!unlink(self->file));
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -ENOENT);
	EXPECT_HAS(slc_last_error(NULL), "a.bin");
	slc_stream_close(self->s);
	MD_MUST(!mkfifo(self->file, 0666));
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	n = slc_stream_next(self->s, &v, 1);
	EXPECT_TRUE(n == -EINVAL || n == -ESTALE);
	EXPECT_HAS(slc_last_error(NULL), "a.bin");
}

TEST_F(fault, a_file_made_unreadable_is_eacces)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;

	md_raw(self->file, 100, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	MD_MUST(!chmod(self->file, 0));
	if (!geteuid())
		MD_MUST(!seteuid(65534));
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -EACCES);
	EXPECT_HAS(slc_last_error(NULL), "to it and the folders above it");
	if (!getuid())
		MD_MUST(!seteuid(0));
}

/* A retry in place of a sample whose file is gone must not read another's. */
TEST_F(fault, a_second_try_reads_only_the_file_that_was_indexed)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;
	uint64_t got;

	PACKED(2000, 5000);
	flip(self->file, 1999 * 5000);
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	md_raw(md_path("%s/new", self->dir), 2000, 5000, NULL);
	MD_MUST(!rename(md_path("%s/new", self->dir), self->file));
	slc_stream_release(self->s, &v, 1);
	EXPECT_EQ(drain(self->s, &got), -ESTALE);
	EXPECT_EQ(got, 1998);
}

/* Bytes of the routes whose reason has `with` in it. */
static uint64_t routed(const struct slc_stream_stats *st, const char *with)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < st->nroutes; i++)
		if (strstr(st->routes[i].reason, with))
			sum += st->routes[i].bytes;
	return sum;
}

TEST_F(fault, a_second_try_is_a_route_with_its_bytes_and_reason)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_view v;
	uint64_t got;

	/* One read brings all: wrong in memory, then right in the file. */
	PACKED(100, 5000);
	flip(self->file, 50 * 5000 + 7);
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	flip(self->file, 50 * 5000 + 7);
	slc_stream_release(self->s, &v, 1);
	EXPECT_EQ(drain(self->s, &got), 0);
	EXPECT_EQ(got, 99);
	ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
	EXPECT_EQ(st.retries, 1);
	EXPECT_EQ(st.crc_errors, 0);
	EXPECT_EQ(routed(&st, "read again after: checksum mismatch"), 5000);
	EXPECT_EQ(routed(&st, ""), 505000);
	EXPECT_GE(st.bytes_read, 505000);
}

TEST_F(fault, what_is_read_again_before_a_cut_is_a_route_too)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_view v;
	uint64_t got;

	a.memory = 4u << 20;
	md_raw(self->file, 4000, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	MD_MUST(!truncate(self->file, 3900 * 5000 + 17));
	slc_stream_release(self->s, &v, 1);
	EXPECT_EQ(drain(self->s, &got), -ENODATA);
	ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
	EXPECT_GT(st.retries, 1);
	EXPECT_EQ(routed(&st, "read again after: early end"),
		  (st.retries - 1) * 5000 + 17);
	EXPECT_GE(routed(&st, ""), st.bytes);
}

TEST_F(fault, strict_gives_no_second_try)
{
	struct slc_stream_attr a = attr_of(0, SLC_STREAM_STRICT);
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_view v;
	uint64_t got;
	int n;

	PACKED(100, 5000);
	flip(self->file, 50 * 5000 + 7);
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	n = slc_stream_next(self->s, &v, 1);
	if (n == -ENOTSUP)
		SKIP("%s", slc_last_error(NULL));
	ASSERT_EQ(n, 1);
	flip(self->file, 50 * 5000 + 7);
	slc_stream_release(self->s, &v, 1);
	EXPECT_EQ(drain(self->s, &got), -EBADMSG);
	EXPECT_EQ(got, 49);
	EXPECT_HAS(slc_last_error(NULL), "sample 50 at offset 250000");
	ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
	EXPECT_EQ(st.retries, 0);
	EXPECT_EQ(routed(&st, "read again"), 0);
	slc_stream_close(self->s);
	slc_dataset_put(self->ds);
	self->s = NULL;

	a.memory = 4u << 20;
	md_raw(self->file, 4000, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	MD_MUST(!truncate(self->file, 3900 * 5000 + 17));
	slc_stream_release(self->s, &v, 1);
	EXPECT_EQ(drain(self->s, &got), -ENODATA);
	EXPECT_LT(got, 3900);
	EXPECT_HAS(slc_last_error(NULL),
		   "ends at offset 19500017, inside sample 3900");
	ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
	EXPECT_EQ(st.retries, 0);
}

TEST_F(fault, many_files_need_few_descriptors)
{
	const struct rlimit few = { 24, 24 };
	struct slc_stream_attr a;
	uint64_t got;

	for (int i = 0; i < 100; i++)
		md_raw(md_path("%s/f%03d.bin", self->dir, i), 50, 3000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->dir, 3000, &self->ds), 0);
	MD_MUST(!setrlimit(RLIMIT_NOFILE, &few));
	for (uint32_t sh = 0; sh <= 2; sh++) {
		a = attr_of(sh, 0);
		ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
		EXPECT_EQ(drain(self->s, &got), 0);
		EXPECT_EQ(got, 5000);
		slc_stream_close(self->s);
		self->s = NULL;
	}
}

TEST_F(fault, descriptors_taken_by_others_close_our_least_used)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_NONE, 0);
	const struct rlimit some = { 1000, 1000 };
	struct slc_view v;
	uint64_t got;

	a.memory = 4u << 20; /* a few files ahead, not all of them */
	for (int i = 0; i < 100; i++)
		md_raw(md_path("%s/f%03d.bin", self->dir, i), 50, 3000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->dir, 3000, &self->ds), 0);
	MD_MUST(!setrlimit(RLIMIT_NOFILE, &some));
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	slc_stream_release(self->s, &v, 1);
	while (open("/dev/null", O_RDONLY) >= 0)
		;
	ASSERT_EQ(errno, EMFILE);
	EXPECT_EQ(drain(self->s, &got), 0);
	EXPECT_EQ(got, 4999);
}

TEST_HARNESS_MAIN
