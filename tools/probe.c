/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "numbers.h"

#include "base/ctx.h"
#include "queue/queue.h"

#define SHARDS_MAX 256u /* that are read */
#define DEPTH_MAX 128u
#define DEPTH_MIN 8u /* of the queue; below it pins no less */
#define PAGE 4096u
/* More buffers than this are slower: the limit is to be the best there is. */
#define FLY_BYTES (8u << 20)
#define ENOUGH_BYTES (512ull << 20)
#define ENOUGH_NS 300000000ull

struct run {
	const struct slc_probe *p;
	struct slc_queue *queue;
	struct slc_region *region;
	uint32_t nfiles, depth;
	struct slc_file *file[SHARDS_MAX];
	uint64_t size[SHARDS_MAX];
	uint64_t ends[SHARDS_MAX]; /* chunks up to the end of each file */
	uint64_t at;		   /* the next chunk */
	uint64_t state;		   /* of the random numbers */
	uint64_t slot;		   /* bytes of a buffer */
	uint64_t submitted, done;  /* bytes */
	uint32_t idle[DEPTH_MAX], nidle;
	uint32_t len[DEPTH_MAX];
};

static int open_files(struct run *r)
{
	uint32_t flags = SLC_FILE_READ;
	uint64_t chunks = 0;
	int err;

	if (r->p->buffered)
		flags |= SLC_FILE_BUFFERED;
	for (uint32_t i = 0; r->nfiles < SHARDS_MAX; i++) {
		struct slc_shard_info sh = { .size = sizeof(sh) };

		if (slc_dataset_shard(r->p->ds, i, &sh))
			break;
		if (!sh.bytes)
			continue;
		err = slc_file_open(r->p->ctx, sh.path, flags,
				    &r->file[r->nfiles]);
		if (err == -EMFILE && r->nfiles)
			break;
		if (err)
			return err;
		r->size[r->nfiles] = sh.bytes;
		chunks += sh.bytes / r->p->stride ? sh.bytes / r->p->stride : 1;
		r->ends[r->nfiles] = chunks;
		err = slc_queue_attach_file(r->queue, r->file[r->nfiles]);
		r->nfiles++;
		if (err)
			return err;
	}
	return 0;
}

static int open_queue(struct run *r, uint64_t *room)
{
	const struct slc_probe *p = r->p;
	struct slc_queue_attr qa = { .size = sizeof(qa), .node = p->node,
				     .engine = p->engine, .depth = DEPTH_MAX };

	qa.max_io = p->access < 1u << 20 ? (uint32_t)(r->slot) : 1u << 20;
	while (qa.depth > DEPTH_MIN &&
	       slc_queue_own_bytes(qa.depth) + r->slot > p->memory)
		qa.depth /= 2;
	*room = slc_queue_own_bytes(qa.depth);
	if (*room + r->slot > p->memory)
		return slc_fail(p->ctx, -EINVAL,
				"reads of %llu bytes do not fit in the memory of %llu: give more memory",
				(unsigned long long)p->access,
				(unsigned long long)p->memory);
	*room = p->memory - *room;
	return slc_queue_open(p->ctx, &qa, &r->queue);
}

static int alloc_region(struct run *r, uint64_t room)
{
	const struct slc_probe *p = r->p;
	struct slc_region_attr ra = { .size = sizeof(ra), .node = p->node,
				      .page_size = p->page_size,
				      .name = "probe" };
	uint64_t page = p->page_size ? p->page_size : 2u << 20;

	if (room < page)
		ra.page_size = page = PAGE;
	room = room / page * page;
	r->depth = (uint32_t)(FLY_BYTES / p->access);
	r->depth = r->depth < 4 ? 4 : r->depth;
	r->depth = r->depth > DEPTH_MAX ? DEPTH_MAX : r->depth;
	while (r->depth > 1 && r->depth * r->slot > room)
		r->depth /= 2;
	ra.len = (r->depth * r->slot + page - 1) / page * page;
	return slc_region_alloc(p->ctx, &ra, &r->region);
}

static int set_up(struct run *r, uint64_t *pinned)
{
	struct slc_region_info ri = { .size = sizeof(ri) };
	struct slc_queue_info qi = { .size = sizeof(qi) };
	uint64_t room;
	int err;

	/* The pages around an unaligned read are read with it. */
	r->slot = (r->p->access + PAGE - 1) / PAGE * PAGE;
	if (r->p->access % PAGE)
		r->slot += PAGE;
	err = open_queue(r, &room);
	if (!err)
		err = alloc_region(r, room);
	if (!err)
		err = slc_queue_query(r->queue, &qi);
	if (!err)
		err = slc_region_query(r->region, &ri);
	if (err)
		return err;
	if (ri.pin_kind != SLC_PIN_NONE)
		qi.own_bytes += ri.len;
	if (qi.own_bytes > *pinned)
		*pinned = qi.own_bytes;
	err = slc_queue_attach_region(r->queue, r->region);
	return err ? err : open_files(r);
}

static void tear_down(struct run *r)
{
	if (r->queue)
		slc_queue_close(r->queue);
	for (uint32_t i = 0; i < r->nfiles; i++)
		slc_file_put(r->file[i]);
	slc_region_put(r->region);
	free(r);
}

static void aim(struct run *r, uint32_t slot, struct slc_move *mv)
{
	uint64_t chunks = r->ends[r->nfiles - 1], off, len;
	uint64_t c = r->p->random ? slc_random64(&r->state) : r->at++;
	uint32_t lo = 0, hi = r->nfiles - 1;

	c %= chunks;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (r->ends[mid] > c)
			hi = mid;
		else
			lo = mid + 1;
	}
	off = (c - (lo ? r->ends[lo - 1] : 0)) * r->p->stride / PAGE * PAGE;
	len = r->size[lo] - off;
	len = len < r->p->access ? len : r->p->access;
	r->len[slot] = (uint32_t)len;
	*mv = (struct slc_move){
		.src = slc_at_file(r->file[lo], off),
		.dst = slc_at_region(r->region, slot * r->slot),
		.len = len,
		.flags = SLC_MOVE_SUPERSET,
		.user_data = slot,
	};
}

static int submit(struct run *r)
{
	struct slc_move mv[DEPTH_MAX];
	uint32_t n = r->nidle;
	int took;

	for (uint32_t i = 0; i < n; i++)
		aim(r, r->idle[--r->nidle], &mv[i]);
	took = n ? slc_queue_submit(r->queue, mv, n) : 0;
	if (took < 0)
		return took;
	/* What did not fit is aimed anew next time. */
	for (uint32_t i = 0; i < n; i++) {
		if (i >= (uint32_t)took)
			r->idle[r->nidle++] = (uint32_t)mv[i].user_data;
		else
			r->submitted += r->len[mv[i].user_data];
	}
	return 0;
}

static int reap(struct run *r)
{
	uint32_t flying = r->depth - r->nidle;
	struct slc_done done[DEPTH_MAX];
	int n;

	n = slc_queue_poll(r->queue, done, DEPTH_MAX,
			   flying / 4 ? flying / 4 : 1, SLC_FOREVER);
	if (n == -EINTR)
		return 0;
	for (int i = 0; i < n; i++) {
		if (done[i].result < 0)
			return (int)done[i].result;
		r->done += r->len[done[i].user_data];
		r->idle[r->nidle++] = (uint32_t)done[i].user_data;
	}
	return n < 0 ? n : 0;
}

static int measure(struct run *r, double *rate)
{
	uint64_t begin = (uint64_t)slc_now_ns(), ns = 0;
	bool enough = false;
	int err = 0;

	for (uint32_t i = 0; i < r->depth; i++)
		r->idle[r->nidle++] = i;
	while (!err && (!enough || r->nidle < r->depth)) {
		if (!enough)
			err = submit(r);
		if (!err && r->nidle < r->depth)
			err = reap(r);
		ns = (uint64_t)slc_now_ns() - begin;
		enough = ns >= ENOUGH_NS || r->submitted >= ENOUGH_BYTES ||
			 *r->p->stop;
	}
	*rate = ns ? (double)r->done * 1e9 / (double)ns : 0;
	return err;
}

int slc_probe_run(const struct slc_probe *p, unsigned int begin, double *rate,
		  uint64_t *pinned)
{
	struct run *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->p = p;
	r->state = begin;
	err = set_up(r, pinned);
	*rate = 0;
	if (!err && r->nfiles) {
		r->at = r->ends[r->nfiles - 1] / 16 * begin;
		err = measure(r, rate);
	}
	tear_down(r);
	return err;
}
