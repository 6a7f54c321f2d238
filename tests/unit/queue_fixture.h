/* SPDX-License-Identifier: MIT */
/* queue_fixture.h - a queue of each engine, a file and a region of poison. */
#ifndef SLC_TESTS_QUEUE_FIXTURE_H
#define SLC_TESTS_QUEUE_FIXTURE_H


#include <sluice/queue.h>

#include "ktap.h"

#define FILE_LEN ((3u << 20) + 1234)
#define REGION_LEN (8u << 20)
#define POISON 0xa5

FIXTURE(queue)
{
	struct slc_ctx *ctx;
	struct slc_queue *q;
	struct slc_file *file;
	struct slc_region *region;
	unsigned char *mem, *want;
	char path[200];
	uint32_t align;
};
FIXTURE_VARIANT(queue)
{
	const char *engine;
	uint32_t file_flags;
	uint32_t max_io;
};
FIXTURE_VARIANT_ADD(queue, uring_direct){ .engine = "uring" };
FIXTURE_VARIANT_ADD(queue, uring_direct_16k){ .engine = "uring",
					      .max_io = 16384 };
FIXTURE_VARIANT_ADD(queue, uring_buffered){ .engine = "uring",
					    .file_flags = SLC_FILE_BUFFERED };
FIXTURE_VARIANT_ADD(queue, sync_direct){ .engine = "sync" };
FIXTURE_VARIANT_ADD(queue, sync_buffered){ .engine = "sync",
					   .file_flags = SLC_FILE_BUFFERED };

static inline void make_file(char *path, size_t size, const void *bytes,
			     size_t len)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	snprintf(path, size, "%s/sluice-queue-XXXXXX", dir ? dir : "/tmp");
	fd = mkstemp(path);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, bytes, len), (ssize_t)len);
	ASSERT_EQ(fsync(fd), 0);
	close(fd);
}

static inline void open_queue(struct ktap_fixture_queue *self,
			      const struct ktap_variant_queue *variant)
{
	struct slc_queue_attr qa = { .size = sizeof(qa),
				     .engine = variant->engine,
				     .max_io = variant->max_io,
				     .depth = 32,
				     .moves = 64,
				     .node = SLC_NODE_CALLER };
	struct slc_region_attr ra = { .size = sizeof(ra),
				      .len = REGION_LEN,
				      .page_size = 4096,
				      .node = SLC_NODE_CALLER };
	int err;

	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	err = slc_queue_open(self->ctx, &qa, &self->q);
	if (err)
		SKIP("%s", slc_last_error(self->ctx));
	ASSERT_EQ(slc_region_alloc(self->ctx, &ra, &self->region), 0);
	self->mem = slc_region_addr(self->region);
	memset(self->mem, POISON, REGION_LEN);
}

FIXTURE_SETUP(queue)
{
	struct slc_file_info info = { .size = sizeof(info) };
	uint32_t x = 12345;

	open_queue(self, variant);
	self->want = malloc(FILE_LEN);
	ASSERT_NOT_NULL(self->want);
	for (size_t i = 0; i < FILE_LEN; i++) {
		x = x * 1664525u + 1013904223u;
		self->want[i] = (unsigned char)(x >> 24);
	}
	make_file(self->path, sizeof(self->path), self->want, FILE_LEN);
	ASSERT_EQ(slc_file_open(self->ctx, self->path,
				SLC_FILE_READ | variant->file_flags,
				&self->file),
		  0);
	ASSERT_EQ(slc_file_query(self->file, &info), 0);
	self->align = info.dio_off_align;
	if (!(variant->file_flags & SLC_FILE_BUFFERED) && !self->align)
		printf("# %s\n", info.reason);
}

FIXTURE_TEARDOWN(queue)
{
	slc_queue_close(self->q);
	slc_file_put(self->file);
	slc_region_put(self->region);
	slc_ctx_close(self->ctx);
	unlink(self->path);
	free(self->want);
}

static inline struct slc_done move(struct ktap_fixture_queue *self,
				   const struct slc_move *mv)
{
	struct slc_done done = { 0 };

	ASSERT_EQ(slc_queue_submit(self->q, mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &done, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(done.user_data, mv->user_data);
	return done;
}

static inline bool all(const unsigned char *p, unsigned char value, size_t n)
{
	return !n || (*p == value && !memcmp(p, p + 1, n - 1));
}

/*
 * Checks [dst, dst + len) against the file at src, that `slack` bytes around
 * may be anything, and that all the rest is poison. Poisons it again.
 */
static inline void check_landing(struct ktap_fixture_queue *self, uint64_t src,
				 uint64_t dst, uint64_t len, uint64_t slack)
{
	uint64_t lo = dst > slack ? dst - slack : 0;
	uint64_t hi = dst + len + slack;

	if (hi > REGION_LEN)
		hi = REGION_LEN;
	ASSERT_EQ(memcmp(self->mem + dst, self->want + src, len), 0);
	ASSERT_TRUE(all(self->mem, POISON, lo));
	ASSERT_TRUE(all(self->mem + hi, POISON, REGION_LEN - hi));
	memset(self->mem + lo, POISON, hi - lo);
}

#endif
