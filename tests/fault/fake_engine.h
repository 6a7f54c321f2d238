/* SPDX-License-Identifier: MIT */
/*
 * fake_engine.h - a queue over engines that misbehave. The list of engines is
 * this file's own (see userspace/queue/engines.c): each engine is the real one
 * with a script between it and the queue, so I/Os are really cut short,
 * refused, held back and shuffled.
 */
#ifndef SLC_TESTS_FAKE_ENGINE_H
#define SLC_TESTS_FAKE_ENGINE_H

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <sluice/queue.h>

#include "ktap.h"
#include "queue/engine.h"

#define FILE_LEN ((1u << 20) + 777)
#define REGION_LEN (2u << 20)
#define POISON 0xa5
#define MAX_HELD 4096

/* ---- the script ---- */

static struct {
	uint32_t nth;	  /* I/O that `res` goes to, from 1; 0: none */
	uint32_t every;	  /* or each I/O whose number this divides */
	int32_t res;	  /* instead of carrying it out */
	bool direct_only; /* only O_DIRECT ones */
	uint32_t cut;	  /* no I/O carries more than this; 0: no limit */
	bool hold;	  /* I/Os never end, unless cancelled */
	bool hold_disk;	  /* not even then: until released */
	bool shuffle;	  /* I/Os end in any order */
	bool refuse;	  /* start() says it is full, every other time */
	bool twice;	  /* each completion comes two times */
	uint32_t started, ended, cancels, refused;
	uint32_t largest;
} script;

static struct slc_landed pocket[MAX_HELD];
static uint32_t npocket;
static struct {
	struct slc_io *io;
	uint32_t len; /* before it was cut */
} uncut[MAX_HELD];
static uint32_t nuncut;
static struct slc_io *held[MAX_HELD];
static uint32_t nheld;

static const struct slc_engine_ops *real_of(const char *name);
static const struct slc_engine_ops *real;

static int fake_open(uint32_t depth, uint64_t flags, void **state,
		     struct slc_engine_caps *caps, char *why, size_t size)
{
	memset(&script, 0, sizeof(script));
	npocket = nheld = nuncut = 0;
	return real->open(depth, flags, state, caps, why, size);
}

static int uring_open(uint32_t depth, uint64_t flags, void **state,
		      struct slc_engine_caps *caps, char *why, size_t size)
{
	real = real_of("uring");
	return fake_open(depth, flags, state, caps, why, size);
}

static int sync_open(uint32_t depth, uint64_t flags, void **state,
		     struct slc_engine_caps *caps, char *why, size_t size)
{
	real = real_of("sync");
	return fake_open(depth, flags, state, caps, why, size);
}

static void fake_close(void *state)
{
	real->close(state);
}

static int fake_start(void *state, struct slc_io *io)
{
	uint32_t len = io->len, n;
	int err;

	if (script.refuse && !(script.refused++ & 1))
		return -EAGAIN;
	n = ++script.started;
	if (len - io->have > script.largest)
		script.largest = len - io->have;
	if (script.hold || script.hold_disk) {
		held[nheld++] = io;
		return 0;
	}
	if ((n == script.nth || (script.every && n % script.every == 0)) &&
	    (io->direct || !script.direct_only)) {
		pocket[npocket++] =
			(struct slc_landed){ .io = io, .res = script.res };
		return 0;
	}
	/* The real engine sees a shorter request, so it is truly short. */
	if (script.cut && len - io->have > script.cut) {
		uncut[nuncut].io = io;
		uncut[nuncut++].len = len;
		io->len = io->have + script.cut;
	}
	err = real->start(state, io);
	ASSERT_EQ(err, 0);
	return err;
}

static void restore(struct slc_io *io)
{
	for (uint32_t i = 0; i < nuncut; i++)
		if (uncut[i].io == io) {
			io->len = uncut[i].len;
			uncut[i--] = uncut[--nuncut];
		}
}

static void mix(struct slc_landed *l, uint32_t n)
{
	while (n > 1) {
		uint32_t j = (uint32_t)rand() % n--;
		struct slc_landed t = l[j];

		l[j] = l[n];
		l[n] = t;
	}
}

static int fake_wait(void *state, struct slc_landed *out, uint32_t max,
		     uint32_t min, int64_t timeout_ns)
{
	uint32_t n = 0;
	int ret;

	while (npocket && n < max)
		out[n++] = pocket[--npocket];
	if (nheld && !n) {
		struct timespec ts = { .tv_nsec = 1000000 };

		nanosleep(&ts, NULL);
		return 0;
	}
	if (script.shuffle && !n)
		min = max; /* as many as there are, for the sake of disorder */
	ret = real->wait(state, out + n, max - n, n ? 0 : min, timeout_ns);
	for (int i = 0; i < ret; i++)
		restore(out[n++].io);
	if (script.shuffle)
		mix(out, n);
	if (script.twice && n && 2 * n <= max) {
		memcpy(out + n, out, n * sizeof(*out));
		n *= 2;
	}
	script.ended += n;
	return n ? (int)n : ret;
}

static void fake_cancel(void *state, struct slc_io *io)
{
	script.cancels++;
	for (uint32_t i = 0; i < nheld; i++)
		if (held[i] == io && !script.hold_disk) {
			held[i] = held[--nheld];
			pocket[npocket++] = (struct slc_landed){
				.io = io, .res = -ECANCELED
			};
			return;
		}
	real->cancel(state, io);
}

/* The disk gives back what it held, with its true result. */
static inline void release_held(void)
{
	while (nheld) {
		struct slc_io *io = held[--nheld];

		pocket[npocket++] = (struct slc_landed){
			.io = io,
			.res = (int32_t)pread(io->fd, io->addr, io->len,
					      (off_t)io->off),
		};
	}
	script.hold = script.hold_disk = false;
}

static int fake_set_file(void *state, uint32_t slot, int fd)
{
	return slc_uring_ops.set_file(state, slot, fd);
}

static int fake_set_buffer(void *state, uint32_t slot, void *addr, uint64_t len)
{
	return slc_uring_ops.set_buffer(state, slot, addr, len);
}

static const struct slc_engine_ops fake_uring = {
	.name = "uring",
	.direct = SLC_ROUTE_URING_DIRECT,
	.buffered = SLC_ROUTE_URING_BUFFERED,
	.open = uring_open,
	.close = fake_close,
	.start = fake_start,
	.wait = fake_wait,
	.cancel = fake_cancel,
	.set_file = fake_set_file,
	.set_buffer = fake_set_buffer,
};
static const struct slc_engine_ops fake_sync = {
	.name = "sync",
	.direct = SLC_ROUTE_SYNC_DIRECT,
	.buffered = SLC_ROUTE_SYNC_BUFFERED,
	.open = sync_open,
	.close = fake_close,
	.start = fake_start,
	.wait = fake_wait,
	.cancel = fake_cancel,
};
const struct slc_engine_ops *const slc_engines[] = { &fake_uring, &fake_sync,
						     NULL };

static const struct slc_engine_ops *real_of(const char *name)
{
	return strcmp(name, "uring") ? &slc_sync_ops : &slc_uring_ops;
}

/* ---- the fixture ---- */

FIXTURE(engine)
{
	struct slc_ctx *ctx;
	struct slc_queue *q;
	struct slc_file *file;
	struct slc_region *region;
	unsigned char *mem, *want;
	char path[200];
	bool direct;
};
FIXTURE_VARIANT(engine)
{
	const char *engine;
	uint32_t flags;
};
FIXTURE_VARIANT_ADD(engine, uring_direct){ .engine = "uring" };
FIXTURE_VARIANT_ADD(engine, uring_buffered){ .engine = "uring",
					     .flags = SLC_FILE_BUFFERED };
FIXTURE_VARIANT_ADD(engine, sync_direct){ .engine = "sync" };
FIXTURE_VARIANT_ADD(engine, sync_buffered){ .engine = "sync",
					    .flags = SLC_FILE_BUFFERED };

FIXTURE_SETUP(engine)
{
	struct slc_queue_attr qa = { .size = sizeof(qa),
				     .engine = variant->engine,
				     .max_io = 65536,
				     .depth = 8,
				     .node = SLC_NODE_CALLER };
	struct slc_region_attr ra = { .size = sizeof(ra),
				      .len = REGION_LEN,
				      .page_size = 4096,
				      .node = SLC_NODE_CALLER };
	struct slc_file_info info = { .size = sizeof(info) };
	const char *dir = getenv("TMPDIR");
	int fd;

	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	if (slc_queue_open(self->ctx, &qa, &self->q))
		SKIP("%s", slc_last_error(self->ctx));
	ASSERT_EQ(slc_region_alloc(self->ctx, &ra, &self->region), 0);
	self->mem = slc_region_addr(self->region);
	memset(self->mem, POISON, REGION_LEN);
	self->want = malloc(FILE_LEN);
	ASSERT_NOT_NULL(self->want);
	for (uint32_t i = 0; i < FILE_LEN; i++)
		self->want[i] = (unsigned char)((i * 2654435761u) >> 23);
	snprintf(self->path, sizeof(self->path), "%s/sluice-engine-XXXXXX",
		 dir ? dir : "/tmp");
	fd = mkstemp(self->path);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, self->want, FILE_LEN), (ssize_t)FILE_LEN);
	fsync(fd);
	close(fd);
	ASSERT_EQ(slc_file_open(self->ctx, self->path,
				SLC_FILE_READ | SLC_FILE_WRITE | variant->flags,
				&self->file),
		  0);
	ASSERT_EQ(slc_file_query(self->file, &info), 0);
	self->direct = info.dio_off_align;
	printf("# O_DIRECT: %s\n", self->direct ? "yes" : info.reason);
}

FIXTURE_TEARDOWN(engine)
{
	slc_queue_close(self->q);
	slc_file_put(self->file);
	slc_region_put(self->region);
	slc_ctx_close(self->ctx);
	unlink(self->path);
	free(self->want);
}

static inline struct slc_done move(struct ktap_fixture_engine *self,
				   uint64_t off, uint64_t len, uint32_t flags)
{
	struct slc_move mv = { .src = slc_at_file(self->file, off),
			       .dst = slc_at_region(self->region, 8192 + off),
			       .len = len,
			       .flags = flags,
			       .user_data = 42 };
	struct slc_done done = { 0 };

	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &done, 1, 1, 20000000000), 1);
	EXPECT_EQ(done.user_data, 42u);
	return done;
}

static inline bool landed(struct ktap_fixture_engine *self, uint64_t off,
			  uint64_t len)
{
	bool good = !memcmp(self->mem + 8192 + off, self->want + off, len);

	for (uint64_t i = 0; i < REGION_LEN; i++)
		if ((i < 8192 + off || i >= 8192 + off + len) &&
		    self->mem[i] != POISON)
			good = false;
	memset(self->mem, POISON, REGION_LEN);
	return good;
}

#endif
