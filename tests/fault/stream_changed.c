// SPDX-License-Identifier: MIT
/* WRAP: slc_queue_poll */
/* Streams whose files change under them, and a queue that never completes. */
#include <errno.h>
#include <sys/resource.h>

#include "stream_fixture.h"

static bool mute;

int __real_slc_queue_poll(struct slc_queue *q, struct slc_done *done,
			  uint32_t max, uint32_t min, int64_t timeout_ns);
int __wrap_slc_queue_poll(struct slc_queue *q, struct slc_done *done,
			  uint32_t max, uint32_t min, int64_t timeout_ns);

int __wrap_slc_queue_poll(struct slc_queue *q, struct slc_done *done,
			  uint32_t max, uint32_t min, int64_t timeout_ns)
{
	return mute ? 0 : __real_slc_queue_poll(q, done, max, min, timeout_ns);
}

static void write_new(const char *path, off_t at)
{
	int fd = open(path, O_WRONLY);

	usleep(20000); /* the clock of the filesystem is coarse */
	MD_MUST(fd >= 0 && pwrite(fd, "new", 3, at) == 3);
	close(fd);
}

/* A stream of self->file in order; its first view is given back. */
#define BEGIN(path, record)                                                    \
	do {                                                                   \
		struct slc_stream_attr a_ = attr_of(0, 0);                     \
		struct slc_view v_;                                            \
		a_.memory = 4u << 20;                                          \
		ASSERT_EQ(open_ds(self->ctx, path, record, &self->ds), 0);     \
		ASSERT_EQ(slc_stream_open(self->ds, &a_, &self->s), 0);        \
		ASSERT_EQ(slc_stream_next(self->s, &v_, 1), 1);                \
		slc_stream_release(self->s, &v_, 1);                           \
		usleep(20000);                                                 \
	} while (0)

TEST_F(fault, small_parts_are_held_against_the_sum_of_the_sample)
{
	const char *path = md_path("%s/big.safetensors", self->dir);
	struct slc_stream_attr a = attr_of(0, SLC_STREAM_PARTS);
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_view v;
	uint64_t at = 0;
	int n;

	md_safetensors(path, 1, 5u << 20, "t", NULL);
	ASSERT_EQ(open_ds(self->ctx, path, 0, &self->ds), 0);
	ASSERT_EQ(slc_dataset_pack(self->ds, self->manifest, NULL), 0);
	slc_dataset_put(self->ds);
	flip(path, 3u << 20);
	a.memory = 1u << 20;
	a.depth = 8;
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	while ((n = slc_stream_next(self->s, &v, 1)) == 1) {
		EXPECT_LT(v.len, 1u << 20);
		EXPECT_EQ(v.flags & SLC_VIEW_LAST, 0);
		at += v.len;
		slc_stream_release(self->s, &v, 1);
	}
	EXPECT_EQ(n, -EBADMSG);
	EXPECT_GT(at, 3u << 20);
	EXPECT_HAS(slc_last_error(NULL), "checksum mismatch in sample 0");
	ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
	EXPECT_EQ(st.crc_errors, 1);
}

TEST_F(fault, a_file_written_to_before_its_first_read_is_estale)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;

	md_raw(self->file, 100, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	write_new(self->file, 1000);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -ESTALE);
	EXPECT_HAS(slc_last_error(NULL), "a.bin");
	EXPECT_HAS(slc_last_error(NULL), "its time of change");
}

TEST_F(fault, a_write_to_a_file_that_is_closed_in_mid_stream_is_estale)
{
	const struct rlimit few = { 24, 24 };
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;
	uint64_t got;

	for (int i = 0; i < 100; i++)
		md_raw(md_path("%s/f%03d.bin", self->dir, i), 50, 3000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->dir, 3000, &self->ds), 0);
	MD_MUST(!setrlimit(RLIMIT_NOFILE, &few));
	a.memory = 1u << 20;
	a.depth = 2; /* f000 is still open after the first view */
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	slc_stream_release(self->s, &v, 1);
	write_new(md_path("%s/f000.bin", self->dir), 1000);
	EXPECT_EQ(drain(self->s, &got), -ESTALE);
	EXPECT_LT(got, 4999);
	EXPECT_HAS(slc_last_error(NULL), "f000.bin");
}

TEST_F(fault, a_write_that_restores_the_time_of_change_is_estale)
{
	uint64_t got;

	md_raw(self->file, 4000, 5000, NULL);
	BEGIN(self->file, 5000);
	flip(self->file, 19000000);
	EXPECT_EQ(drain(self->s, &got), -ESTALE);
	EXPECT_HAS(slc_last_error(NULL), "a.bin");
}

TEST_F(fault, a_new_mode_is_told_from_a_write_by_checksums_only)
{
	uint64_t got;

	PACKED(4000, 5000);
	BEGIN(self->file, 5000);
	MD_MUST(!chmod(self->file, 0640));
	EXPECT_EQ(drain(self->s, &got), -ESTALE);
	EXPECT_HAS(slc_last_error(NULL), "or its mode, owner, links or name");
	slc_stream_close(self->s);
	slc_dataset_put(self->ds);
	self->s = NULL;
	BEGIN(self->manifest, 0);
	MD_MUST(!chmod(self->file, 0600));
	EXPECT_EQ(drain(self->s, &got), 0);
	EXPECT_EQ(got, 3999);
}

TEST_F(fault, a_queue_that_never_completes_is_an_error_and_no_hang)
{
	struct slc_stream_attr a = attr_of(0, 0);
	struct slc_view v;

	md_raw(self->file, 100, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	mute = true;
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -EIO);
	EXPECT_HAS(slc_last_error(NULL), "the queue accepts no more reads");
	mute = false;
}

TEST_HARNESS_MAIN
