// SPDX-License-Identifier: MIT
/* The places of a queue: files and regions come, are shared, and go. */
#include <errno.h>
#include <pthread.h>

#include "queue_fixture.h"

TEST_F(queue, detach_is_busy_while_a_move_uses_it)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 1 << 20 };
	struct slc_done d;

	EXPECT_EQ(slc_queue_detach_file(self->q, self->file), -ENOENT);
	EXPECT_EQ(slc_queue_detach_region(self->q, self->region), -ENOENT);
	EXPECT_EQ(slc_queue_attach_file(self->q, self->file), 0);
	EXPECT_EQ(slc_queue_attach_region(self->q, self->region), 0);
	EXPECT_EQ(slc_queue_detach_file(self->q, self->file), 0);
	EXPECT_EQ(slc_queue_detach_region(self->q, self->region), 0);
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	EXPECT_EQ(slc_queue_detach_file(self->q, self->file), -EBUSY);
	EXPECT_EQ(slc_queue_detach_region(self->q, self->region), -EBUSY);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, 1 << 20);
	EXPECT_EQ(slc_queue_detach_file(self->q, self->file), 0);
	EXPECT_EQ(slc_queue_detach_region(self->q, self->region), 0);
	ASSERT_EQ(move(self, &mv).result, 1 << 20);
}

TEST_F(queue, places_may_be_put_right_after_submit)
{
	struct slc_region_attr ra = { .size = sizeof(ra),
				      .len = 1 << 20,
				      .page_size = 4096,
				      .node = SLC_NODE_CALLER };
	struct slc_region *region;
	struct slc_file *file;
	struct slc_done d;

	for (int i = 0; i < 50; i++) {
		struct slc_move mv = { .len = 500000, .flags = SLC_MOVE_CRC };

		ASSERT_EQ(slc_region_alloc(self->ctx, &ra, &region), 0);
		ASSERT_EQ(slc_file_open(self->ctx, self->path,
					SLC_FILE_READ | variant->file_flags,
					&file),
			  0);
		mv.src = slc_at_file(file, 3);
		mv.dst = slc_at_region(region, 3);
		ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
		slc_file_put(file);
		ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
		ASSERT_EQ(d.result, 500000);
		ASSERT_EQ(d.crc, slc_crc32c(0, self->want + 3, 500000));
		ASSERT_EQ(slc_queue_detach_region(self->q, region), 0);
		slc_region_put(region);
	}
}

TEST_F(queue, closing_with_flights_waits_for_them)
{
	struct slc_move mv[40];

	for (int i = 0; i < 40; i++)
		mv[i] = (struct slc_move){
			.src = slc_at_file(self->file, 0),
			.dst = slc_at_region(self->region, 0),
			.len = 2 << 20,
		};
	ASSERT_EQ(slc_queue_submit(self->q, mv, 40), 40);
	slc_queue_poll(self->q, NULL, 0, 0, 0);
	slc_queue_close(self->q);
	self->q = NULL;
	memset(self->mem, POISON, REGION_LEN);
	usleep(20000);
	EXPECT_TRUE(all(self->mem, POISON, REGION_LEN));
}

TEST_F(queue, files_far_beyond_the_table_still_work)
{
	static struct slc_file *files[300];
	struct slc_done d;

	for (int i = 0; i < 300; i++) {
		/* Two descriptors each. */
		if (slc_file_open(self->ctx, self->path, SLC_FILE_READ,
				  &files[i]))
			break;
		struct slc_move mv = { .src = slc_at_file(files[i], 4096),
				       .dst = slc_at_region(self->region, 0),
				       .len = 4096 };
		d = move(self, &mv);
		ASSERT_EQ(d.result, 4096);
		ASSERT_EQ(memcmp(self->mem, self->want + 4096, 4096), 0);
		memset(self->mem, POISON, 4096);
	}
	for (int i = 0; i < 300; i++)
		slc_file_put(files[i]);
}

TEST_F(queue, a_region_beyond_a_gib_is_registered_in_pieces)
{
	struct slc_region_attr ra = { .size = sizeof(ra),
				      .len = (1ull << 30) + (2u << 20),
				      .flags = SLC_REGION_NOPIN,
				      .node = SLC_NODE_CALLER };
	struct slc_region *big;
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .len = 1u << 20,
			       .flags = SLC_MOVE_CRC };
	static const uint64_t around[] = { 1u << 20, 1u << 19, 4096, 0 };

	if (strcmp(variant->engine, "uring") || variant->max_io)
		SKIP("only for the engine that registers");
	if (slc_region_alloc(self->ctx, &ra, &big))
		SKIP("%s", slc_last_error(self->ctx));
	for (int i = 0; i < 4; i++) {
		struct slc_done d;

		/* Before, across and behind the cut. */
		mv.dst = slc_at_region(big, (1ull << 30) - around[i]);
		d = move(self, &mv);
		ASSERT_EQ(d.result, 1 << 20);
		EXPECT_EQ(d.crc, slc_crc32c(0, self->want, 1 << 20));
		if (self->align)
			EXPECT_STREQ(d.reason, "");
	}
	EXPECT_EQ(slc_queue_detach_region(self->q, big), 0);
	slc_region_put(big);
}

struct worker {
	struct ktap_fixture_queue *self;
	const struct ktap_variant_queue *variant;
	int index, failed;
};

/* A queue of its own; the file and the region are everybody's. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct ktap_fixture_queue *self = w->self;
	struct slc_queue_attr qa = { .size = sizeof(qa),
				     .engine = w->variant->engine,
				     .depth = 4,
				     .node = SLC_NODE_CALLER };
	struct slc_queue *q;
	struct slc_done d;

	w->failed = 1;
	if (slc_queue_open(self->ctx, &qa, &q))
		return NULL;
	for (int i = 0; i < 20; i++) {
		uint64_t at = (uint64_t)(w->index * 20 + i) * 16384;
		struct slc_move mv = { .src = slc_at_file(self->file, at),
				       .dst = slc_at_region(self->region, at),
				       .len = 16384,
				       .flags = SLC_MOVE_CRC };

		if (slc_queue_submit(q, &mv, 1) != 1 ||
		    slc_queue_poll(q, &d, 1, 1, SLC_FOREVER) != 1 ||
		    d.result != 16384 ||
		    d.crc != slc_crc32c(0, self->want + at, 16384))
			goto out;
	}
	w->failed = 0;
out:
	slc_queue_close(q);
	return NULL;
}

TEST_F(queue, threads_with_a_queue_each_share_file_and_region)
{
	struct worker w[4];
	pthread_t t[4];

	for (int i = 0; i < 4; i++) {
		w[i] = (struct worker){ self, variant, i, 0 };
		ASSERT_EQ(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(w[i].failed, 0);
	}
	EXPECT_EQ(memcmp(self->mem, self->want, 80 * 16384), 0);
}

TEST_HARNESS_MAIN
