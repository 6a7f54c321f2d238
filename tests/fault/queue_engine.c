// SPDX-License-Identifier: MIT
/* What a queue makes of an engine that misbehaves. */
#include <errno.h>

#include "fake_engine.h"

TEST_F(engine, short_reads_are_continued_to_the_last_byte)
{
	static const uint32_t cuts[] = { 1, 511, 512, 513, 4095, 4096, 30000 };

	for (int i = 0; i < 7; i++) {
		/* One byte at a time, fewer bytes. */
		uint64_t len = cuts[i] < 100 ? 3000 : 300000;

		script.cut = cuts[i];
		/* A direct read cut inside a block is -EINVAL to the kernel:
		 * what is cut there is the buffered continuation. */
		if (self->direct && cuts[i] % 512)
			continue;
		ASSERT_EQ(move(self, 512, len, 0).result, (int64_t)len);
		ASSERT_TRUE(landed(self, 512, len));
		ASSERT_EQ(move(self, 100, len, 0).result, (int64_t)len);
		ASSERT_TRUE(landed(self, 100, len));
	}
	EXPECT_GT(script.started, 100u);
}

/* The kernel's own answer, cut: as when a device stops inside a block. */
TEST_F(engine, a_direct_read_short_of_a_block_goes_on_by_the_page_cache)
{
	struct slc_done d;

	script.nth = 1;
	script.res = 777;
	d = move(self, 4096, 20000, 0);
	ASSERT_EQ(d.result, 20000);
	/* Bytes that the script claimed were never read: all but those. */
	EXPECT_EQ(memcmp(self->mem + 8192 + 4096 + 777,
			 self->want + 4096 + 777, 20000 - 777),
		  0);
	if (self->direct)
		EXPECT_HAS(d.reason, "stopped short of a block");
}

TEST_F(engine, nothing_before_the_end_is_enodata_with_its_offset)
{
	struct slc_done d;

	script.nth = 3;
	script.res = 0;
	d = move(self, 0, 400000, 0);
	EXPECT_EQ(d.result, -ENODATA);
	EXPECT_EQ(d.fail_off, 131072u);
}

TEST_F(engine, each_error_of_each_io_is_told_with_its_offset)
{
	static const int errs[] = { EIO, ECANCELED, EFAULT, ENOMEM, EPERM,
				    ENODEV, EBADF };

	for (int e = 0; e < 7; e++)
		for (uint32_t n = 1; n <= 7; n++) {
			struct slc_done d;

			script.started = 0;
			script.nth = n;
			script.res = -errs[e];
			d = move(self, 0, 400000, 0);
			ASSERT_EQ(d.result, -errs[e]);
			ASSERT_EQ(d.fail_off, (n - 1) * 65536u);
			script.nth = 0;
			memset(self->mem, POISON, REGION_LEN);
			ASSERT_EQ(move(self, 0, 400000, 0).result, 400000);
			ASSERT_TRUE(landed(self, 0, 400000));
		}
}

TEST_F(engine, of_several_errors_the_lowest_offset_is_told)
{
	struct slc_done d;

	script.shuffle = true;
	script.every = 2;
	script.res = -EIO;
	for (int i = 0; i < 20; i++) {
		script.started = 0;
		d = move(self, 0, 500000, 0);
		ASSERT_EQ(d.result, -EIO);
		ASSERT_EQ(d.fail_off, 65536u);
	}
}

TEST_F(engine, eagain_and_eintr_are_tried_again)
{
	static const int errs[] = { EAGAIN, EINTR };

	for (int e = 0; e < 2; e++)
		for (uint32_t n = 1; n < 6; n++) {
			script.started = 0;
			script.every = n + 1;
			script.res = -errs[e];
			ASSERT_EQ(move(self, 0, 400000, 0).result, 400000);
			ASSERT_TRUE(landed(self, 0, 400000));
		}
}

TEST_F(engine, a_result_larger_than_asked_is_eio)
{
	script.nth = 2;
	script.res = 65537;
	EXPECT_EQ(move(self, 0, 400000, 0).result, -EIO);
	script.started = 0;
	script.res = INT32_MAX;
	EXPECT_EQ(move(self, 0, 400000, 0).result, -EIO);
}

TEST_F(engine, a_direct_einval_turns_to_the_page_cache_with_the_reason)
{
	struct slc_done d;

	if (!self->direct)
		SKIP("no O_DIRECT here");
	script.nth = 2;
	script.res = -EINVAL;
	script.direct_only = true;
	d = move(self, 300, 400000, 0);
	ASSERT_EQ(d.result, 400000);
	EXPECT_HAS(d.reason, "EINVAL");
	EXPECT_TRUE(landed(self, 300, 400000));
	/* And from then on at once. */
	script.nth = 0;
	d = move(self, 0, 400000, 0);
	ASSERT_EQ(d.result, 400000);
	EXPECT_HAS(d.reason, "EINVAL");
	EXPECT_TRUE(d.route == SLC_ROUTE_URING_BUFFERED ||
		    d.route == SLC_ROUTE_SYNC_BUFFERED);
	EXPECT_TRUE(landed(self, 0, 400000));
	d = move(self, 0, 4096, SLC_MOVE_STRICT);
	EXPECT_EQ(d.result, -ENOTSUP);
}

TEST_F(engine, a_direct_einval_on_its_way_is_enotsup_with_strict)
{
	struct slc_done d;

	if (!self->direct)
		SKIP("no O_DIRECT here");
	d = move(self, 0, 4096, SLC_MOVE_STRICT);
	if (d.result == -ENOTSUP)
		SKIP("no best route here: %s", d.reason);
	ASSERT_EQ(d.result, 4096);
	/* It set out as it should: only the disk says no. */
	script.started = 0;
	script.nth = 2;
	script.res = -EINVAL;
	script.direct_only = true;
	d = move(self, 0, 262144, SLC_MOVE_STRICT);
	EXPECT_EQ(d.result, -ENOTSUP);
	EXPECT_HAS(d.reason, "EINVAL");
	EXPECT_GE(script.started, 4u);
}

TEST_F(engine, a_direct_read_turned_buffered_on_its_way_is_enotsup_with_strict)
{
	struct slc_done d;

	if (!self->direct)
		SKIP("no O_DIRECT here");
	d = move(self, 0, 4096, SLC_MOVE_STRICT);
	if (d.result == -ENOTSUP)
		SKIP("no best route here: %s", d.reason);
	ASSERT_EQ(d.result, 4096);
	script.started = 0;
	script.nth = 2;
	script.res = 777;
	d = move(self, 0, 262144, SLC_MOVE_STRICT);
	EXPECT_EQ(d.result, -ENOTSUP);
	EXPECT_HAS(d.reason, "stopped short of a block");
}

TEST_F(engine, a_buffered_einval_is_einval)
{
	if (self->direct)
		SKIP("only for the page cache");
	script.nth = 1;
	script.res = -EINVAL;
	EXPECT_EQ(move(self, 0, 4096, 0).result, -EINVAL);
}

TEST_F(engine, any_order_of_completions_is_the_same_bytes)
{
	script.shuffle = true;
	for (int i = 0; i < 30; i++) {
		struct slc_done d = move(self, 77, 900000, SLC_MOVE_CRC);

		ASSERT_EQ(d.result, 900000);
		ASSERT_EQ(d.crc, slc_crc32c(0, self->want + 77, 900000));
		ASSERT_TRUE(landed(self, 77, 900000));
	}
}

TEST_F(engine, a_completion_that_comes_twice_counts_once)
{
	script.twice = true;
	for (int i = 0; i < 20; i++) {
		struct slc_done d = { 0 };

		ASSERT_EQ(move(self, 0, 600000, 0).result, 600000);
		ASSERT_TRUE(landed(self, 0, 600000));
		EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 0), 0);
	}
}

TEST_F(engine, an_engine_that_is_full_is_tried_again)
{
	script.refuse = true;
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(move(self, 0, 600000, 0).result, 600000);
		ASSERT_TRUE(landed(self, 0, 600000));
	}
	EXPECT_GT(script.refused, 20u);
}

TEST_F(engine, neighbouring_runs_are_one_io)
{
	struct slc_run runs[128];
	struct slc_move mv = { .src = slc_at_file(self->file, 4096),
			       .dst = slc_at_region(self->region, 0),
			       .runs = runs,
			       .nruns = 128 };
	struct slc_done d;

	for (uint64_t i = 0; i < 128; i++)
		runs[i] = (struct slc_run){ i * 512, i * 512, 512 };
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, 65536);
	EXPECT_EQ(script.started, 1u);
	EXPECT_EQ(script.largest, 65536u);
}

TEST_F(engine, short_writes_are_continued)
{
	struct slc_move mv = { .src = slc_at_region(self->region, 4096),
			       .dst = slc_at_file(self->file, 8192),
			       .len = 200704 };
	unsigned char *back = malloc(200704);
	struct slc_done d;
	FILE *f;

	ASSERT_NOT_NULL(back);
	for (int i = 0; i < 200704; i++)
		self->mem[4096 + i] = (unsigned char)(i * 7 + i / 256);
	script.cut = 4096;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	ASSERT_EQ(d.result, 200704);
	EXPECT_GE(script.started, 49u);
	f = fopen(self->path, "rb");
	fseek(f, 8192, SEEK_SET);
	ASSERT_EQ(fread(back, 1, 200704, f), 200704u);
	EXPECT_EQ(memcmp(back, self->mem + 4096, 200704), 0);
	fclose(f);
	free(back);
	/* A write of nothing is no progress: an error, not a loop. */
	script.cut = 0;
	script.started = 0;
	script.nth = 1;
	script.res = 0;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, -EIO);
}

TEST_F(engine, an_unaligned_write_waits_for_direct_ones_and_ends_them)
{
	struct slc_move mv[2];
	struct slc_done d[2];

	if (!self->direct)
		SKIP("no O_DIRECT here");
	mv[0] = (struct slc_move){ .src = slc_at_region(self->region, 0),
				   .dst = slc_at_file(self->file, 0),
				   .len = 65536 };
	mv[1] = (struct slc_move){ .src = slc_at_region(self->region, 0),
				   .dst = slc_at_file(self->file, 65536),
				   .len = 100,
				   .user_data = 1 };
	script.hold_disk = true;
	ASSERT_EQ(slc_queue_submit(self->q, mv, 2), 2);
	EXPECT_EQ(slc_queue_poll(self->q, d, 2, 1, 20000000), 0);
	/* Beside it, the page cache and the disk could come to differ. */
	EXPECT_EQ(script.started, 1u);
	pocket[npocket++] =
		(struct slc_landed){ .io = held[--nheld], .res = 65536 };
	script.hold_disk = false;
	ASSERT_EQ(slc_queue_poll(self->q, d, 2, 2, SLC_FOREVER), 2);
	EXPECT_EQ(d[0].result, 65536);
	EXPECT_STREQ(slc_route_name(d[0].route),
		     slc_route_name(slc_engines[strcmp(variant->engine,
						       "uring") != 0]
					    ->direct));
	EXPECT_EQ(d[1].result, 100);
	/* And from then on no write to this file goes around the cache. */
	ASSERT_EQ(slc_queue_submit(self->q, mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d[0].result, 65536);
	EXPECT_HAS(d[0].reason, "an earlier write");
}

TEST_HARNESS_MAIN
