/* SPDX-License-Identifier: MIT */
#include "stream/feed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/ctx.h"
#include "base/open.h"

#define FLIGHT 16u
/* Extents in flight, landed or kept: one slot of the region each. */
#define SLOTS (FLIGHT + SLC_FEED_KEEP)
#define TICK_NS 100000000

struct slot {
	uint64_t shard, off, len;
	struct slc_file *file; /* one reference, while flying or landed */
	bool landed, last;     /* last: of its shard */
};

struct slc_feed {
	struct slc_dataset *ds;
	struct slc_region *region;
	struct slc_queue *q;
	int (*tick)(void *user, uint64_t bytes);
	void *user;
	int64_t ticked_ns;
	uint64_t bytes; /* handed out */
	/* Extents are numbered over all shards; extent e has slot e % SLOTS.
	 * Those from next - KEEP are the caller's, those from next are ours. */
	uint64_t issued, next, flying;
	struct slot slots[SLOTS];
	/* Where the next extent to issue is. */
	uint64_t shard, off;
	struct slc_file *file;
};

static int open_queue(struct slc_feed *feed)
{
	struct slc_region_attr region = {
		.size = sizeof(region),
		.len = (uint64_t)SLOTS * SLC_EXTENT_BYTES,
		.node = SLC_NODE_CALLER,
		.name = "sluice-pack",
	};
	struct slc_queue_attr queue = {
		.size = sizeof(queue),
		.depth = 2 * FLIGHT,
		.moves = FLIGHT,
		.max_io = SLC_EXTENT_BYTES,
		.node = SLC_NODE_CALLER,
	};
	int err;

	err = slc_region_alloc(feed->ds->ctx, &region, &feed->region);
	if (err)
		return err;
	err = slc_queue_open(feed->ds->ctx, &queue, &feed->q);
	if (err)
		return err;
	slc_queue_attach_region(feed->q, feed->region);
	return 0;
}

int slc_feed_open(struct slc_dataset *ds,
		  int (*tick)(void *user, uint64_t bytes), void *user,
		  struct slc_feed **out)
{
	struct slc_feed *feed = calloc(1, sizeof(*feed));
	int err;

	if (!feed)
		return slc_fail(ds->ctx, -ENOMEM, "no memory to read shards");
	feed->ds = slc_dataset_get(ds);
	feed->tick = tick;
	feed->user = user;
	err = open_queue(feed);
	if (err) {
		slc_feed_close(feed);
		return err;
	}
	*out = feed;
	return 0;
}

void slc_feed_close(struct slc_feed *feed)
{
	if (!feed)
		return;
	/* First, so that no buffer is written to and no file is read. */
	if (feed->q)
		slc_queue_close(feed->q);
	for (unsigned int i = 0; i < SLOTS; i++)
		slc_file_put(feed->slots[i].file);
	slc_file_put(feed->file);
	slc_region_put(feed->region);
	slc_dataset_put(feed->ds);
	free(feed);
}

/* ---- issue ---- */

/* On to the next byte that there is: 1, or 0 after the last shard. */
static int seek(struct slc_feed *feed)
{
	while (feed->shard < feed->ds->nshards) {
		const struct slc_shard *sh = &feed->ds->shards[feed->shard];

		if (feed->off < sh->size && feed->file)
			return 1;
		if (feed->off < sh->size) {
			int err = slc_shard_open(feed->ds, feed->shard, 0,
						 &feed->file);

			return err ? err : 1;
		}
		slc_file_put(feed->file);
		feed->file = NULL;
		feed->shard++;
		feed->off = 0;
	}
	return 0;
}

/* 1 one more is under way, 0 nothing to issue now, -errno. */
static int issue(struct slc_feed *feed)
{
	uint64_t kept = feed->next < SLC_FEED_KEEP ? feed->next : SLC_FEED_KEEP;
	struct slot *slot = &feed->slots[feed->issued % SLOTS];
	struct slc_move mv = { .flags = SLC_MOVE_SUPERSET };
	const struct slc_shard *sh;
	int res;

	if (feed->flying == FLIGHT ||
	    feed->issued == feed->next - kept + SLOTS)
		return 0;
	res = seek(feed);
	/* Handing out what is under way closes files: then again. */
	if ((res == -EMFILE || res == -ENFILE) && feed->next != feed->issued)
		return 0;
	if (res <= 0)
		return res;
	sh = &feed->ds->shards[feed->shard];
	mv.len = sh->size - feed->off;
	if (mv.len > SLC_EXTENT_BYTES)
		mv.len = SLC_EXTENT_BYTES;
	mv.src = slc_at_file(feed->file, feed->off);
	mv.dst = slc_at_region(feed->region, (feed->issued % SLOTS) *
						     SLC_EXTENT_BYTES);
	mv.user_data = feed->issued;
	res = slc_queue_submit(feed->q, &mv, 1);
	if (res <= 0)
		return res;
	slot->shard = feed->shard;
	slot->off = feed->off;
	slot->len = mv.len;
	slot->landed = false;
	slot->last = feed->off + mv.len == sh->size;
	slot->file = slc_file_get(feed->file);
	feed->off += mv.len;
	feed->issued++;
	feed->flying++;
	return 1;
}

/* ---- land ---- */

static int land(struct slc_feed *feed, const struct slc_done *done)
{
	struct slot *slot = &feed->slots[done->user_data % SLOTS];
	const char *path = feed->ds->shards[slot->shard].path;

	feed->flying--;
	if (done->result < 0)
		return slc_fail(feed->ds->ctx, (int)done->result,
				"cannot read %s at offset %" PRIu64 ": %s",
				path, done->fail_off,
				done->result == -ENODATA ?
					"the file got shorter" :
					strerror((int)-done->result));
	if ((uint64_t)done->result != slot->len)
		return slc_fail(feed->ds->ctx, -EIO,
				"%s: %" PRId64 " of %" PRIu64
				" bytes came at offset %" PRIu64,
				path, done->result, slot->len, slot->off);
	slot->landed = true;
	return 0;
}

static int tick(struct slc_feed *feed)
{
	int64_t now = slc_now_ns();

	if (!feed->tick || now - feed->ticked_ns < TICK_NS)
		return 0;
	feed->ticked_ns = now;
	if (feed->tick(feed->user, feed->bytes))
		return slc_fail(feed->ds->ctx, -ECANCELED, "stopped by wish");
	return 0;
}

/* What was read is one file only if it is the same one at its end. */
static int still_same(struct slc_feed *feed, const struct slc_shard *sh)
{
	struct stat st;
	int err = slc_stat_regular(feed->ds->ctx, sh->path, &st);

	if (err)
		return err;
	if (st.st_dev != sh->dev || st.st_ino != sh->ino ||
	    (uint64_t)st.st_size != sh->size ||
	    slc_stat_mtime_ns(&st) != sh->mtime_ns)
		return slc_fail(feed->ds->ctx, -ESTALE,
				"%s changed while it was read: pack it when it is complete",
				sh->path);
	return 0;
}

static int hand_out(struct slc_feed *feed, struct slc_extent *out)
{
	struct slot *slot = &feed->slots[feed->next % SLOTS];
	int err = 0;

	if (slot->last) {
		err = still_same(feed, &feed->ds->shards[slot->shard]);
		/* Else ten thousand shards would stay open in the queue. */
		slc_queue_detach_file(feed->q, slot->file);
	}
	slc_file_put(slot->file);
	slot->file = NULL;
	if (err)
		return err;
	out->shard = slot->shard;
	out->off = slot->off;
	out->len = slot->len;
	out->ptr = (const uint8_t *)slc_region_addr(feed->region) +
		   (feed->next % SLOTS) * SLC_EXTENT_BYTES;
	feed->next++;
	feed->bytes += slot->len;
	return 1;
}

int slc_feed_next(struct slc_feed *feed, struct slc_extent *out)
{
	struct slc_done done[FLIGHT];
	int n, err;

	for (;;) {
		err = tick(feed);
		if (err)
			return err;
		while ((n = issue(feed)) > 0)
			;
		if (n < 0)
			return n;
		if (feed->next == feed->issued)
			return 0;
		if (feed->slots[feed->next % SLOTS].landed)
			return hand_out(feed, out);
		n = slc_queue_poll(feed->q, done, FLIGHT, 1, TICK_NS);
		/* A signal may be the caller's wish to stop: ask at once. */
		if (n == -EINTR)
			feed->ticked_ns = 0;
		else if (n < 0)
			return n;
		for (int i = 0; i < n && !err; i++)
			err = land(feed, &done[i]);
		if (err)
			return err;
	}
}
