// SPDX-License-Identifier: MIT
/*
 * What a queue makes of an engine that misbehaves. The list of engines is this
 * file's own (see userspace/queue/engines.c): each engine is the real one with
 * a script between it and the queue, so I/Os are really cut short, refused,
 * held back and shuffled.
 */
#include <sluice/queue.h>

#include "base/clock.h"
#include "queue/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include "ktap.h"

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
static void release_held(void)
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

static struct slc_done move(struct ktap_fixture_engine *self, uint64_t off,
			    uint64_t len, uint32_t flags)
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

static bool landed(struct ktap_fixture_engine *self, uint64_t off, uint64_t len)
{
	bool good = !memcmp(self->mem + 8192 + off, self->want + off, len);

	for (uint64_t i = 0; i < REGION_LEN; i++)
		if ((i < 8192 + off || i >= 8192 + off + len) &&
		    self->mem[i] != POISON)
			good = false;
	memset(self->mem, POISON, REGION_LEN);
	return good;
}

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

static double cpu_s(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

TEST_F(engine, eagain_for_ever_ends_by_the_deadline_without_a_hot_loop)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 100000,
			       .deadline_ns = slc_now_ns() + 500000000 };
	double cpu = cpu_s();
	struct slc_done d;

	script.every = 1;
	script.res = -EAGAIN;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, -ETIMEDOUT);
	EXPECT_LT(slc_now_ns(), mv.deadline_ns + 1000000000);
	EXPECT_LT(script.started, 100u);
	EXPECT_LT(cpu_s() - cpu, 0.2);
}

TEST_F(engine, eagain_for_ever_without_a_deadline_ends_too)
{
	int64_t begin = slc_now_ns();
	struct slc_done d;

	script.every = 1;
	script.res = -EAGAIN;
	d = move(self, 0, 4096, 0);
	EXPECT_EQ(d.result, -EAGAIN);
	EXPECT_LT(slc_now_ns() - begin, 15000000000);
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

TEST_F(engine, a_hanging_io_ends_by_its_deadline_once)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 1000000,
			       .user_data = 9 };
	struct slc_done d;
	int64_t late;

	script.hold = true;
	mv.deadline_ns = slc_now_ns() + 50000000;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	late = slc_now_ns() - mv.deadline_ns;
	EXPECT_EQ(d.result, -ETIMEDOUT);
	EXPECT_GE(late, 0);
	EXPECT_LT(late, 500000000);
	EXPECT_GT(script.cancels, 0u);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 0), 0);
	script.hold = false;
	EXPECT_EQ(move(self, 0, 4096, 0).result, 4096);
}

TEST_F(engine, what_cannot_be_cancelled_is_waited_for)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 60000,
			       .user_data = 9 };
	struct slc_done d;

	/* By deadline: no completion as long as the disk has the buffer. */
	script.hold_disk = true;
	mv.deadline_ns = slc_now_ns() + 20000000;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 100000000), 0);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, -ETIMEDOUT);
	/* By cancel: its true result, as it did end well. */
	script.hold_disk = true;
	mv.deadline_ns = 0;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 0, 0), 0);
	EXPECT_EQ(slc_queue_cancel(self->q, 9), 1);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 100000000), 0);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, 60000);
	EXPECT_EQ(memcmp(self->mem, self->want, 60000), 0);
}

TEST_F(engine, cancel_of_a_hanging_move_is_ecanceled_once)
{
	struct slc_move mv[3];
	struct slc_done d[4];

	for (int i = 0; i < 3; i++)
		mv[i] = (struct slc_move){
			.src = slc_at_file(self->file, 0),
			.dst = slc_at_region(self->region, 0),
			.len = 1000000,
			.user_data = (uint64_t)i,
		};
	script.hold = true;
	ASSERT_EQ(slc_queue_submit(self->q, mv, 3), 3);
	EXPECT_EQ(slc_queue_cancel(self->q, 0), 1);
	/* The first leaves, and the others get on. */
	ASSERT_EQ(slc_queue_poll(self->q, d, 4, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d[0].result, -ECANCELED);
	EXPECT_EQ(d[0].user_data, 0u);
	/* Not yet started at all: ends at once. */
	EXPECT_EQ(slc_queue_cancel(self->q, 2), 1);
	ASSERT_EQ(slc_queue_poll(self->q, d, 4, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d[0].user_data, 2u);
	EXPECT_EQ(d[0].result, -ECANCELED);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, d, 4, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d[0].result, 1000000);
	EXPECT_EQ(memcmp(self->mem, self->want, 1000000), 0);
}

TEST_F(engine, a_failed_move_ends_only_when_all_of_it_has_landed)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 500000 };
	struct slc_done d;

	script.hold_disk = true;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(nheld, 8u);
	/* One of them fails, seven are still out. */
	nheld--;
	pocket[npocket++] =
		(struct slc_landed){ .io = held[nheld], .res = -EIO };
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 50000000), 0);
	EXPECT_EQ(nheld, 7u);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, -EIO);
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

TEST_F(engine, closing_gives_hanging_ios_their_end)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 1000000 };

	script.hold = true;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	slc_queue_close(self->q);
	self->q = NULL;
	EXPECT_EQ(nheld, 0u);
}

static void on_alarm(int sig)
{
	(void)sig;
}

TEST_F(engine, a_signal_while_waiting_is_eintr)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 4096 };
	struct sigaction sa = { .sa_handler = on_alarm };
	/* Again and again: on a busy machine the first may come too early. */
	struct itimerval it = { .it_value.tv_usec = 50000,
				.it_interval.tv_usec = 50000 };
	struct itimerval off = { .it_value.tv_usec = 0 };
	struct slc_done d;

	/* Waiting for the next try, with nothing in the engine. */
	script.every = 1;
	script.res = -EAGAIN;
	sigaction(SIGALRM, &sa, NULL);
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	setitimer(ITIMER_REAL, &it, NULL);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), -EINTR);
	setitimer(ITIMER_REAL, &off, NULL);
	script.every = 0;
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, 4096);
}

TEST_HARNESS_MAIN
