// SPDX-License-Identifier: MIT
/* The queue: every byte where it belongs, none where it does not. */
#include <errno.h>
#include <fcntl.h>

#include "base/clock.h"
#include "queue_fixture.h"

TEST_F(queue, one_aligned_move_lands_whole_and_says_its_route)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 4096),
			       .dst = slc_at_region(self->region, 8192),
			       .len = 1u << 20,
			       .flags = SLC_MOVE_CRC,
			       .user_data = 77 };
	bool uring = !strcmp(variant->engine, "uring");
	struct slc_done d = move(self, &mv);

	ASSERT_EQ(d.result, 1 << 20);
	EXPECT_EQ(d.crc, slc_crc32c(0, self->want + 4096, 1 << 20));
	if (self->align)
		EXPECT_EQ(d.route, uring ? SLC_ROUTE_URING_DIRECT :
					   SLC_ROUTE_SYNC_DIRECT);
	else
		EXPECT_EQ(d.route, uring ? SLC_ROUTE_URING_BUFFERED :
					   SLC_ROUTE_SYNC_BUFFERED);
	if (uring && self->align)
		EXPECT_STREQ(d.reason, "");
	if (!self->align)
		EXPECT_HAS(d.reason, "page cache by wish");
	if (!uring)
		EXPECT_HAS(d.reason, "engine sync asked for by");
	check_landing(self, 4096, 8192, 1 << 20, 0);
}

static void sweep(struct ktap_fixture_queue *self, uint32_t flags)
{
	static const uint64_t near[] = { 0, 1, 7, 511, 512, 513, 4095, 4096,
					 4097 };
	static const uint64_t lens[] = { 1, 2, 511, 512, 513, 1024, 1535, 4096,
					 4097, 12288, 20000, 70001, 300000 };
	size_t s, d, l;

	for (s = 0; s < 9; s++)
		for (d = 0; d < 9; d++)
			for (l = 0; l < 13; l++) {
				struct slc_move mv = {
					.src = slc_at_file(self->file, near[s]),
					.dst = slc_at_region(self->region,
							     4096 + near[d]),
					.len = lens[l],
					.flags = flags | SLC_MOVE_CRC,
					.user_data = l,
				};
				struct slc_done done = move(self, &mv);

				ASSERT_EQ(done.result, (int64_t)lens[l]);
				ASSERT_EQ(done.crc,
					  slc_crc32c(0, self->want + near[s],
						     lens[l]));
				ASSERT_EQ(memcmp(self->mem + 4096 + near[d],
						 self->want + near[s], lens[l]),
					  0);
				if (flags & SLC_MOVE_SUPERSET) {
					memset(self->mem, POISON, 400000);
					continue;
				}
				ASSERT_TRUE(all(self->mem, POISON,
						4096 + near[d]));
				ASSERT_TRUE(all(self->mem + 4096 + near[d] +
							lens[l],
						POISON, 8192));
				memset(self->mem, POISON,
				       4096 + near[d] + lens[l]);
			}
}

TEST_F(queue, every_alignment_lands_exactly_and_touches_nothing_else)
{
	sweep(self, 0);
}

TEST_F(queue, every_alignment_lands_exactly_with_superset)
{
	sweep(self, SLC_MOVE_SUPERSET);
}


TEST_F(queue, a_superset_read_is_in_place)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 1000),
			       .dst = slc_at_region(self->region, 4096 + 1000),
			       .len = 100001,
			       .flags = SLC_MOVE_SUPERSET };
	struct slc_done d = move(self, &mv);

	ASSERT_EQ(d.result, 100001);
	EXPECT_NE(d.route, SLC_ROUTE_BOUNCE);
	if (self->align && !strcmp(variant->engine, "uring"))
		EXPECT_STREQ(d.reason, "");
	check_landing(self, 1000, 5096, 100001, 4096);
}

TEST_F(queue, another_phase_goes_by_bounce_and_says_so)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 1000),
			       .dst = slc_at_region(self->region, 4096),
			       .len = 1000001,
			       .flags = SLC_MOVE_SUPERSET };
	struct slc_done d = move(self, &mv);

	ASSERT_EQ(d.result, 1000001);
	if (self->align) {
		EXPECT_EQ(d.route, SLC_ROUTE_BOUNCE);
		EXPECT_HAS(d.reason, "differ modulo");
	}
	check_landing(self, 1000, 4096, 1000001, 0);
}

/* A permutation of blocks, each its own run; the last one is odd. */
static uint32_t scatter(struct slc_run *runs, uint32_t n, uint64_t len)
{
	for (uint32_t i = 0; i < n; i++)
		runs[i] = (struct slc_run){ (uint64_t)(i * 7919u % n) * len,
					    2 * i * len, len };
	return n;
}

TEST_F(queue, ten_thousand_scattered_runs_are_one_completion)
{
	uint32_t n = 999;
	struct slc_run *runs = calloc(10007, sizeof(*runs));
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .runs = runs,
			       .nruns = n,
			       .flags = SLC_MOVE_CRC | SLC_MOVE_SUPERSET };
	struct slc_done d;
	uint32_t crc = 0;

	ASSERT_NOT_NULL(runs);
	scatter(runs, n, 512);
	d = move(self, &mv);
	ASSERT_EQ(d.result, (int64_t)n * 512);
	for (uint32_t i = 0; i < n; i++) {
		crc = slc_crc32c(crc, self->want + runs[i].src_off, 512);
		ASSERT_EQ(memcmp(self->mem + runs[i].dst_off,
				 self->want + runs[i].src_off, 512),
			  0);
		ASSERT_TRUE(all(self->mem + runs[i].dst_off + 512, POISON, 512));
	}
	EXPECT_EQ(d.crc, crc);
	/* And runs that no alignment fits. */
	memset(self->mem, POISON, REGION_LEN);
	mv.nruns = scatter(runs, 10007, 301);
	d = move(self, &mv);
	ASSERT_EQ(d.result, 10007 * 301);
	for (uint32_t i = 0; i < 10007; i++)
		ASSERT_EQ(memcmp(self->mem + runs[i].dst_off,
				 self->want + runs[i].src_off, 301),
			  0);
	free(runs);
}

TEST_F(queue, packed_unaligned_runs_do_not_overwrite_each_other)
{
	struct slc_run runs[200];
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 4096),
			       .runs = runs,
			       .nruns = 200,
			       .flags = SLC_MOVE_SUPERSET };
	uint64_t at = 0;

	for (int i = 0; i < 200; i++) {
		uint64_t len = 100 + (uint64_t)i * 13;

		/* The same phase, other blocks: a superset would be in place
		 * and would run over the neighbours. */
		runs[i] = (struct slc_run){ ((uint64_t)i * 8192 + at % 4096),
					    at, len };
		at += len;
	}
	for (int round = 0; round < 5; round++) {
		ASSERT_EQ(move(self, &mv).result, (int64_t)at);
		for (int i = 0; i < 200; i++)
			ASSERT_EQ(memcmp(self->mem + 4096 + runs[i].dst_off,
					 self->want + runs[i].src_off,
					 runs[i].len),
				  0);
		memset(self->mem, POISON, 4096 + at);
	}
}

TEST_F(queue, many_moves_each_complete_once)
{
	struct slc_done done[64];
	uint32_t seen[2000] = { 0 }, sent = 0, got = 0;

	while (got < 2000) {
		int n;

		while (sent < 2000) {
			struct slc_move mv = {
				.src = slc_at_file(self->file, sent * 1111),
				.dst = slc_at_region(self->region, sent * 4096),
				.len = 700,
				.user_data = sent,
			};

			n = slc_queue_submit(self->q, &mv, 1);
			ASSERT_GE(n, 0);
			if (!n)
				break;
			sent++;
		}
		ASSERT_LE(sent - got, 64u);
		n = slc_queue_poll(self->q, done, 64, 7, SLC_FOREVER);
		ASSERT_GE(n, sent - got < 7 ? 1 : 7);
		for (int i = 0; i < n; i++) {
			ASSERT_EQ(done[i].result, 700);
			ASSERT_LT(done[i].user_data, 2000u);
			seen[done[i].user_data]++;
		}
		got += (uint32_t)n;
	}
	for (uint32_t i = 0; i < 2000; i++) {
		ASSERT_EQ(seen[i], 1u);
		ASSERT_EQ(memcmp(self->mem + i * 4096, self->want + i * 1111,
				 700),
			  0);
		ASSERT_TRUE(all(self->mem + i * 4096 + 700, POISON,
				4096 - 700));
	}
	EXPECT_EQ(slc_queue_poll(self->q, done, 64, 1, SLC_FOREVER), 0);
}

TEST_F(queue, a_read_to_the_last_byte_is_whole_and_one_more_is_enodata)
{
	static const uint64_t starts[] = { 0, FILE_LEN - 1, FILE_LEN - 511,
					   FILE_LEN - 1234, FILE_LEN - 70000,
					   FILE_LEN - (2u << 20) };

	for (int i = 0; i < 6; i++)
		for (uint32_t flags = 0; flags <= SLC_MOVE_SUPERSET;
		     flags += SLC_MOVE_SUPERSET) {
			uint64_t at = starts[i], len = FILE_LEN - at;
			struct slc_move mv = {
				.src = slc_at_file(self->file, at),
				.dst = slc_at_region(self->region,
						     4096 + at % 4096),
				.len = len,
				.flags = flags,
			};
			struct slc_done d = move(self, &mv);

			ASSERT_EQ(d.result, (int64_t)len);
			check_landing(self, at, 4096 + at % 4096, len,
				      flags ? 4096 : 0);
			mv.len++;
			d = move(self, &mv);
			ASSERT_EQ(d.result, -ENODATA);
			ASSERT_EQ(d.fail_off, (uint64_t)FILE_LEN);
			EXPECT_HAS(slc_last_error(self->ctx), self->path);
			memset(self->mem, POISON, REGION_LEN);
		}
}

TEST_F(queue, a_file_truncated_under_us_says_where_it_ends)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = FILE_LEN };
	static const uint64_t ends[] = { 2000001, 1 << 20, 512 * 7 + 1, 1, 0 };

	for (int i = 0; i < 5; i++) {
		struct slc_done d;

		ASSERT_EQ(truncate(self->path, (off_t)ends[i]), 0);
		d = move(self, &mv);
		ASSERT_EQ(d.result, -ENODATA);
		ASSERT_EQ(d.fail_off, ends[i]);
		/* Far beyond the end, too. */
		mv.src.off = 2900000;
		mv.len = 100;
		d = move(self, &mv);
		ASSERT_EQ(d.result, -ENODATA);
		ASSERT_EQ(d.fail_off, ends[i]);
		mv.src.off = 0;
		mv.len = FILE_LEN;
	}
}

TEST_F(queue, moves_without_bytes_complete_with_nothing)
{
	struct slc_run runs[2] = { { 5, 5, 0 }, { 7, 9, 0 } };
	struct slc_move mv = { .src = slc_at_file(self->file, 5),
			       .dst = slc_at_region(self->region, 5),
			       .user_data = 3,
			       .flags = SLC_MOVE_CRC };
	struct slc_done d = move(self, &mv);

	EXPECT_EQ(d.result, 0);
	EXPECT_EQ(d.crc, 0u);
	EXPECT_EQ(d.route, SLC_ROUTE_NONE);
	mv.runs = runs;
	mv.nruns = 2;
	EXPECT_EQ(move(self, &mv).result, 0);
	EXPECT_TRUE(all(self->mem, POISON, REGION_LEN));
}

TEST_F(queue, region_to_region_is_a_memcpy)
{
	struct slc_run runs[2] = { { 0, 100, 1000 }, { 5000, 1100, 24 } };
	struct slc_move mv = { .src = slc_at_region(self->region, 1 << 20),
			       .dst = slc_at_region(self->region, 4096),
			       .runs = runs,
			       .nruns = 2,
			       .flags = SLC_MOVE_CRC | SLC_MOVE_STRICT };
	struct slc_done d;
	uint32_t crc;

	memcpy(self->mem + (1 << 20), self->want, 8192);
	d = move(self, &mv);
	ASSERT_EQ(d.result, 1024);
	EXPECT_EQ(d.route, SLC_ROUTE_MEMCPY);
	EXPECT_STREQ(d.reason, "");
	crc = slc_crc32c(slc_crc32c(0, self->want, 1000), self->want + 5000, 24);
	EXPECT_EQ(d.crc, crc);
	EXPECT_EQ(memcmp(self->mem + 4196, self->want, 1000), 0);
	EXPECT_EQ(memcmp(self->mem + 5196, self->want + 5000, 24), 0);
	EXPECT_TRUE(all(self->mem, POISON, 4196));
	EXPECT_TRUE(all(self->mem + 5220, POISON, 100000));
}

TEST_F(queue, strict_refuses_any_other_route_with_its_reason)
{
	bool best = self->align && !strcmp(variant->engine, "uring");
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 8192,
			       .flags = SLC_MOVE_STRICT };
	struct slc_done d = move(self, &mv);

	if (best) {
		EXPECT_EQ(d.result, 8192);
	} else {
		EXPECT_EQ(d.result, -ENOTSUP);
		EXPECT_TRUE(d.reason[0]);
	}
	mv.src.off = 1;
	d = move(self, &mv);
	EXPECT_EQ(d.result, -ENOTSUP);
	EXPECT_TRUE(d.reason[0]);
	if (best)
		EXPECT_HAS(d.reason, "O_DIRECT");
}

TEST_F(queue, wrong_moves_are_refused_and_touch_nothing)
{
	struct slc_run over = { UINT64_MAX, 0, 16 };
	struct slc_move good = { .src = slc_at_file(self->file, 0),
				 .dst = slc_at_region(self->region, 0),
				 .len = 4096 };
	struct slc_move bad[10];
	struct slc_done done[2];

	for (int i = 0; i < 10; i++)
		bad[i] = good;
	bad[0].dst.off = REGION_LEN - 4095;
	bad[1].dst.off = UINT64_MAX - 10;
	bad[2].src.off = INT64_MAX;
	bad[3].len = UINT64_MAX;
	bad[4].flags = 1u << 30;
	bad[5].src.kind = 9;
	bad[6].dst = good.src;
	bad[7].nruns = 1;
	bad[8].src.off = 1;
	bad[8].nruns = 1;
	bad[8].runs = &over;
	bad[9].src = good.dst; /* to a file that is not open for writing */
	bad[9].dst = good.src;
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(slc_queue_submit(self->q, &bad[i], 1), -EINVAL);
		EXPECT_TRUE(slc_last_error(self->ctx)[0]);
	}
	bad[0] = good;
	EXPECT_EQ(slc_queue_submit(self->q, bad, 3), 1);
	EXPECT_EQ(slc_queue_poll(self->q, done, 2, 2, SLC_FOREVER), 1);
	EXPECT_EQ(done[0].result, 4096);
	EXPECT_EQ(slc_queue_poll(self->q, done, 2, 2, SLC_FOREVER), 0);
	check_landing(self, 0, 0, 4096, 0);
}

TEST_F(queue, a_cancelled_move_ends_once_and_leaves_its_buffer)
{
	struct slc_done done[64];
	struct slc_move mv[40];
	int n;

	for (int i = 0; i < 40; i++)
		mv[i] = (struct slc_move){
			.src = slc_at_file(self->file, 0),
			.dst = slc_at_region(self->region, 0),
			.len = 2 << 20,
			.user_data = (uint64_t)i & 1,
		};
	ASSERT_EQ(slc_queue_submit(self->q, mv, 40), 40);
	ASSERT_EQ(slc_queue_cancel(self->q, 1), 20);
	EXPECT_EQ(slc_queue_cancel(self->q, 99), 0);
	for (int got = 0; got < 40; got += n) {
		n = slc_queue_poll(self->q, done, 64, 1, SLC_FOREVER);
		ASSERT_GE(n, 1);
		for (int i = 0; i < n; i++)
			if (done[i].user_data)
				EXPECT_TRUE(done[i].result == -ECANCELED ||
					    done[i].result == 2 << 20);
			else
				EXPECT_EQ(done[i].result, 2 << 20);
	}
	EXPECT_EQ(slc_queue_poll(self->q, done, 64, 1, SLC_FOREVER), 0);
}

TEST_F(queue, a_deadline_that_has_passed_is_etimedout)
{
	struct slc_move mv[40];
	struct slc_done done[64];
	int late = 0, n;

	for (int i = 0; i < 40; i++)
		mv[i] = (struct slc_move){
			.src = slc_at_file(self->file, 0),
			.dst = slc_at_region(self->region, 0),
			.len = 1 << 20,
			.user_data = (uint64_t)i & 1,
			.deadline_ns = i & 1 ? 1 : slc_now_ns() + 60000000000,
		};
	ASSERT_EQ(slc_queue_submit(self->q, mv, 40), 40);
	for (int got = 0; got < 40; got += n) {
		n = slc_queue_poll(self->q, done, 64, 1, SLC_FOREVER);
		ASSERT_GE(n, 1);
		for (int i = 0; i < n; i++) {
			EXPECT_EQ(done[i].result, done[i].user_data ?
							  -ETIMEDOUT :
							  1 << 20);
			late += done[i].result == -ETIMEDOUT;
		}
	}
	EXPECT_EQ(late, 20);
}

TEST_F(queue, poll_with_no_timeout_only_looks_and_gets_on)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = FILE_LEN };
	struct slc_done d;
	int n = 0, looks = 0;

	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	while (!n && looks++ < 100000) {
		n = slc_queue_poll(self->q, &d, 1, 1, 0);
		if (!n)
			usleep(100);
	}
	ASSERT_EQ(n, 1);
	EXPECT_EQ(d.result, FILE_LEN);
	check_landing(self, 0, 0, FILE_LEN, 0);
}

TEST_F(queue, writes_of_every_alignment_are_read_back)
{
	static const uint64_t offs[] = { 0, 4096, 1, 511, 512, 4097 };
	static const uint64_t lens[] = { 1, 512, 4096, 4097, 8192, 70000,
					 1 << 20 };
	struct slc_file *out;
	char path[220];

	memcpy(self->mem, self->want, FILE_LEN);
	for (int o = 0; o < 6; o++)
		for (int l = 0; l < 7; l++)
			for (int m = 0; m < 2; m++) {
				struct slc_move mv = {
					.src = slc_at_region(self->region,
							     m ? 4097 : 8192),
					.len = lens[l],
				};
				unsigned char *back = malloc(offs[o] + lens[l]);
				struct slc_done d;
				int fd;

				snprintf(path, sizeof(path), "%s.out",
					 self->path);
				unlink(path);
				ASSERT_NOT_NULL(back);
				ASSERT_EQ(slc_file_open(
						  self->ctx, path,
						  SLC_FILE_WRITE |
							  SLC_FILE_CREATE |
							  variant->file_flags,
						  &out),
					  0);
				mv.dst = slc_at_file(out, offs[o]);
				d = move(self, &mv);
				ASSERT_EQ(d.result, (int64_t)lens[l]);
				fd = open(path, O_RDONLY);
				ASSERT_EQ(read(fd, back, offs[o] + lens[l] + 1),
					  (ssize_t)(offs[o] + lens[l]));
				ASSERT_TRUE(all(back, 0, offs[o]));
				ASSERT_EQ(memcmp(back + offs[o],
						 self->want + (m ? 4097 : 8192),
						 lens[l]),
					  0);
				if (self->align && !m && offs[o] % 4096 == 0 &&
				    lens[l] % 4096 == 0)
					EXPECT_TRUE(
						d.route ==
							SLC_ROUTE_URING_DIRECT ||
						d.route ==
							SLC_ROUTE_SYNC_DIRECT);
				else
					EXPECT_HAS(d.reason, "page cache");
				close(fd);
				free(back);
				slc_file_put(out);
			}
	unlink(path);
}

TEST_F(queue, aligned_and_unaligned_writes_to_one_file_agree)
{
	struct slc_move mv[48];
	struct slc_done done[64];
	unsigned char *back = malloc(48 * 65536);
	struct slc_file *out;
	char path[220];
	uint64_t at;
	int fd;

	ASSERT_NOT_NULL(back);
	snprintf(path, sizeof(path), "%s.out", self->path);
	memcpy(self->mem, self->want, FILE_LEN);
	for (int round = 0; round < 5; round++) {
		unlink(path);
		ASSERT_EQ(slc_file_open(self->ctx, path,
					SLC_FILE_WRITE | SLC_FILE_CREATE |
						SLC_FILE_READ |
						variant->file_flags,
					&out),
			  0);
		at = 0;
		for (int i = 0; i < 48; i++) {
			/* After 40 aligned ones, pieces that share blocks. */
			uint64_t len = i < 40 ? 65536 : 1000;

			mv[i] = (struct slc_move){
				.src = slc_at_region(self->region, at),
				.dst = slc_at_file(out, at),
				.len = len,
			};
			at += len;
		}
		ASSERT_EQ(slc_queue_submit(self->q, mv, 48), 48);
		ASSERT_EQ(slc_queue_poll(self->q, done, 64, 48, SLC_FOREVER),
			  48);
		for (int i = 0; i < 48; i++)
			ASSERT_GT(done[i].result, 0);
		fd = open(path, O_RDONLY);
		ASSERT_EQ(read(fd, back, 48 * 65536), (ssize_t)at);
		ASSERT_EQ(memcmp(back, self->want, at), 0);
		close(fd);
		slc_file_put(out);
	}
	unlink(path);
	free(back);
}

static void by_flags(struct ktap_fixture_queue *self,
		     const struct ktap_variant_queue *variant, uint64_t flags)
{
	struct slc_queue_attr qa = { .size = sizeof(qa),
				     .engine = variant->engine,
				     .flags = flags,
				     .depth = 8,
				     .max_io = 65536,
				     .node = SLC_NODE_CALLER };
	struct slc_done d;

	slc_queue_close(self->q);
	self->q = NULL;
	if (slc_queue_open(self->ctx, &qa, &self->q))
		SKIP("%s", slc_last_error(self->ctx));
	for (int i = 0; i < 3; i++) {
		struct slc_move mv = { .src = slc_at_file(self->file, 100),
				       .dst = slc_at_region(self->region, 5),
				       .len = 700000,
				       .deadline_ns = i ? INT64_MAX : 0 };

		d = move(self, &mv);
		ASSERT_EQ(d.result, 700000);
		if (i == 2)
			printf("# %s: %s\n", slc_route_name(d.route), d.reason);
		check_landing(self, 100, 5, 700000, 0);
	}
}

TEST_F(queue, a_kernel_thread_that_submits_gives_the_same_bytes)
{
	by_flags(self, variant, SLC_QUEUE_SQPOLL);
}

TEST_F(queue, a_polled_device_or_its_refusal_gives_the_same_bytes)
{
	by_flags(self, variant, SLC_QUEUE_IOPOLL);
}

TEST_HARNESS_MAIN
