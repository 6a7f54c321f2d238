/* SPDX-License-Identifier: MIT */
/* open.c - a stream is made of its parts, and taken apart. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/checked.h"
#include "base/ctx.h"
#include "queue/queue.h"
#include "stream/stream.h"
#include "stream/token.h"

#define MEMORY_DEFAULT (256ull << 20)
#define MEMORY_MIN (128u << 10) /* of the region, beside the queue's own */
#define DEPTH_DEFAULT 128u
#define DEPTH_MAX 4096u
#define FLY_DEFAULT (16ull << 20) /* bytes in flight */
/*
 * Of the part of the window that is used first, and in flight there: two large
 * reads are checked or lent while the rest flies. On the reference machine 1 MiB
 * reads come as fast through 10 MiB as through 8, 5 % slower through 12 or 16 and
 * a third slower through 64; with checksums through 8 a sixth slower.
 */
#define HOT_BYTES (10ull << 20)
#define HOT_FLY (8ull << 20)
#define HOT_MIN (1ull << 20)
#define IO_DEFAULT (1u << 20)
#define MERGE_MAX (4u << 20)
#define ITEMS_MAX (64u << 10)
#define FETCHES_MAX (16u << 10)
#define FILES_MAX 512u
#define HUGE_PAGE (2ull << 20)

static int check_attr(struct slc_ctx *ctx, const struct slc_stream_attr *a)
{
	const uint64_t known = SLC_STREAM_STRICT | SLC_STREAM_NOCRC |
			       SLC_STREAM_PARTS | SLC_STREAM_VERIFY |
			       SLC_STREAM_BUFFERED;
	unsigned long long flags = a->flags;

	if (flags & ~known)
		return slc_fail(ctx, -EINVAL,
				"slc_stream_attr.flags is %#llx: bits %#llx are not known",
				flags, flags & ~known);
	if ((flags & SLC_STREAM_VERIFY) && (flags & SLC_STREAM_NOCRC))
		return slc_fail(ctx, -EINVAL,
				"verifying and no checksums contradict each other: drop SLC_STREAM_VERIFY or SLC_STREAM_NOCRC");
	if (a->shuffle > SLC_SHUFFLE_FULL)
		return slc_fail(ctx, -EINVAL,
				"shuffle %u is not known: 0 none, 1 shard, 2 full",
				a->shuffle);
	if (a->tail > SLC_TAIL_PAD)
		return slc_fail(ctx, -EINVAL,
				"tail %u is not known: 0 uneven, 1 drop, 2 pad",
				a->tail);
	if (a->rank >= a->world)
		return slc_fail(ctx, -EINVAL,
				"rank %u of %u ranks: ranks count from 0 to %u",
				a->rank, a->world, a->world - 1);
	if (a->depth > DEPTH_MAX)
		return slc_fail(ctx, -EINVAL, "depth %u: at most %u",
				a->depth, DEPTH_MAX);
	if (a->max_io % SLC_SLOT_ALIGN)
		return slc_fail(ctx, -EINVAL,
				"max_io %u is not a multiple of %u", a->max_io,
				SLC_SLOT_ALIGN);
	return 0;
}

/* What no stream can do with these shards, in one sentence. */
static int check_shards(const struct slc_dataset *ds,
			const struct slc_stream_attr *a)
{
	for (uint64_t i = 0; i < ds->nshards; i++) {
		const struct slc_shard *sh = &ds->shards[i];

		if (sh->table.fortran)
			return slc_fail(ds->ctx, -EOPNOTSUPP,
					"%s: the array is in Fortran order, so its rows are not contiguous: save it again with numpy.ascontiguousarray()",
					sh->path);
		if (sh->codec && a->shuffle == SLC_SHUFFLE_FULL)
			return slc_fail(ds->ctx, -EOPNOTSUPP,
					"%s is compressed, so its samples cannot be read in any order: use shuffle shard, or decompress it",
					sh->path);
		if (sh->codec && (a->flags & SLC_STREAM_STRICT))
			return slc_fail(ds->ctx, -ENOTSUP,
					"%s is compressed and would be inflated on the CPU, which strict forbids: decompress it",
					sh->path);
	}
	if ((a->flags & SLC_STREAM_VERIFY) && !ds->verified)
		return slc_fail(ds->ctx, -EINVAL,
				"the dataset has no checksums to verify against: run `sluice pack` on it and open the manifest");
	return 0;
}

static bool packed_codec(const struct slc_dataset *ds)
{
	for (uint64_t i = 0; i < ds->nshards; i++)
		if (ds->shards[i].codec)
			return true;
	return false;
}

/* A field of 0 is one that nobody set. */
static uint32_t said(const struct slc_stream_attr *a)
{
	return (a->shuffle ? SLC_SAID_SHUFFLE : 0) |
	       (a->tail ? SLC_SAID_TAIL : 0) | (a->seed ? SLC_SAID_SEED : 0) |
	       (a->epoch ? SLC_SAID_EPOCH : 0);
}

/* Takes order and place from the token. */
static int resume(struct slc_stream *s, struct slc_token *t)
{
	struct slc_stream_attr *a = &s->attr;
	char why[300];
	int err = slc_token_read(a->resume, t, why, sizeof(why));

	if (err)
		return slc_fail(s->ctx, err, "%s", why);
	if (t->fingerprint != s->ds->fingerprint || t->n != s->ds->nsamples)
		return slc_fail(s->ctx, -EINVAL,
				"the resume token is of another dataset (%llu samples, fingerprint %016llx; this one has %llu, %016llx): open that one, or start without the token",
				(unsigned long long)t->n,
				(unsigned long long)t->fingerprint,
				(unsigned long long)s->ds->nsamples,
				(unsigned long long)s->ds->fingerprint);
	err = slc_token_agree(t, a, said(a), why, sizeof(why));
	if (err)
		return slc_fail(s->ctx, err, "%s", why);
	a->shuffle = t->shuffle;
	a->tail = t->tail;
	a->seed = t->seed;
	a->epoch = t->epoch;
	if (!a->batch)
		a->batch = t->batch;
	return 0;
}

static int init_order(struct slc_stream *s)
{
	struct slc_dataset *ds = s->ds;
	uint64_t *counts = calloc(ds->nshards + 1, sizeof(*counts));
	int err;

	if (!counts)
		return slc_fail(s->ctx, -ENOMEM, "no memory for the order");
	for (uint64_t i = 0; i < ds->nshards; i++)
		counts[i] = ds->shards[i].table.n;
	err = slc_order_init(&s->order, s->attr.shuffle, s->attr.seed,
			     s->attr.epoch, counts, ds->nshards);
	free(counts);
	if (err)
		return slc_fail(s->ctx, err, err == -ENOMEM ?
				"no memory for the order of the shards" :
				"the dataset has too many samples to order");
	return 0;
}

static int init_deal(struct slc_stream *s, const struct slc_token *t)
{
	struct slc_stream_attr *a = &s->attr;
	struct slc_deal *d = &s->deal;

	if (!a->batch)
		a->batch = 1;
	d->n = s->order.n;
	d->base = a->resume ? t->base : 0;
	d->rank = a->rank;
	d->world = a->world;
	d->batch = a->batch;
	if (a->resume && t->world == a->world && t->batch == a->batch)
		/* Perhaps within a batch: the end is where it was. */
		d->end = t->end;
	else if (slc_deal_init(d, a->tail))
		return slc_fail(s->ctx, -EINVAL,
				"world %u and batch %u are too large together",
				a->world, a->batch);
	s->total = slc_deal_count(d);
	s->stats.samples_total = s->total;
	return 0;
}

/* Asked before anything is pinned: more than `memory` never is. */
static int check_memory(const struct slc_stream *s, uint32_t depth)
{
	uint64_t memory = s->attr.memory, own = slc_queue_own_bytes(depth);

	if (memory >= own + MEMORY_MIN)
		return 0;
	return slc_fail(s->ctx, -EINVAL,
			"memory of %llu bytes is too little: the queue pins %llu at depth %u, and the window needs %u: give at least %llu%s",
			(unsigned long long)memory, (unsigned long long)own,
			depth, MEMORY_MIN,
			(unsigned long long)(own + MEMORY_MIN),
			own > slc_queue_own_bytes(1) ? ", or a smaller depth" :
						       "");
}

static int open_queue(struct slc_stream *s)
{
	const struct slc_stream_attr *a = &s->attr;
	struct slc_queue_info info = { .size = sizeof(info) };
	uint64_t io = a->max_io ? a->max_io : IO_DEFAULT;
	struct slc_queue_attr qa = {
		.size = sizeof(qa),
		.depth = a->depth ? a->depth : DEPTH_DEFAULT,
		.node = a->node,
		.engine = a->engine,
	};
	int err = check_memory(s, qa.depth);

	if (err)
		return err;
	if (io > a->memory / 8)
		io = slc_align_down(a->memory / 8, SLC_SLOT_ALIGN);
	if (io < SLC_SLOT_ALIGN)
		io = SLC_SLOT_ALIGN;
	qa.max_io = (uint32_t)io;
	qa.moves = qa.depth + 2; /* and two staging reads */
	err = slc_queue_open(s->ctx, &qa, &s->queue);
	if (!err)
		err = slc_queue_query(s->queue, &info);
	if (err)
		return err;
	s->depth = qa.depth;
	s->merge_max = io;
	s->stats.max_pinned_bytes = info.own_bytes;
	return 0;
}

/* More memory than all samples with their slots take would never be used. */
static uint64_t useful(const struct slc_stream *s)
{
	const struct slc_dataset *ds = s->ds;
	uint64_t bytes = 0, slots;

	for (uint64_t i = 0; i < ds->nshards; i++)
		if (!slc_add(bytes, ds->shards[i].inflated, &bytes))
			return UINT64_MAX;
	slots = ds->nsamples < ITEMS_MAX ? ds->nsamples : ITEMS_MAX;
	if (!slc_mul(bytes, 2, &bytes) ||
	    !slc_add(bytes, slots * 2 * SLC_SLOT_ALIGN + 2 * HUGE_PAGE, &bytes))
		return UINT64_MAX;
	return bytes;
}

/* What the region came out as, for the stats. */
static int note_memory(struct slc_stream *s)
{
	struct slc_stream_stats *st = &s->stats;
	struct slc_region_info *m = &s->memory;
	int err;

	m->size = sizeof(*m);
	err = slc_region_query(s->region, m);
	if (err)
		return err;
	st->window_bytes = slc_region_len(s->region);
	st->page_size = m->page_size;
	st->page_kind = m->page_kind;
	st->pin_kind = m->pin_kind;
	st->memory_reason = m->reason;
	if (m->pin_kind != SLC_PIN_NONE)
		st->max_pinned_bytes += st->window_bytes;
	else if (s->attr.flags & SLC_STREAM_STRICT)
		return slc_fail(s->ctx, -EPERM,
				"the window is not pinned, and strict wants it to be: %s",
				m->reason);
	return 0;
}

static int alloc_region(struct slc_stream *s)
{
	struct slc_stream_attr *a = &s->attr;
	struct slc_region_attr ra = {
		.size = sizeof(ra),
		.page_size = a->page_size,
		.node = a->node,
		.name = "stream",
	};
	uint64_t own = slc_queue_own_bytes(s->depth), len;
	uint64_t page = a->page_size;
	int err;

	len = a->memory - own;
	if (len > useful(s))
		len = useful(s);
	if (!page)
		page = len >= HUGE_PAGE ? HUGE_PAGE : SLC_SLOT_ALIGN;
	/* Of a size that no page has: the region says which there are. */
	ra.len = page & (page - 1) ? len : slc_align_down(len, page);
	if (!ra.len)
		return slc_fail(s->ctx, -EINVAL,
				"memory of %llu bytes holds no page of %llu bytes beside the %llu that the queue pins: give more memory",
				(unsigned long long)a->memory,
				(unsigned long long)page,
				(unsigned long long)own);
	if (!a->page_size && ra.len < HUGE_PAGE)
		ra.page_size = SLC_SLOT_ALIGN;
	/* Pages that nobody asked for by size may be the next best ones. */
	if ((a->flags & SLC_STREAM_STRICT) && a->page_size)
		ra.flags |= SLC_REGION_STRICT;
	err = slc_region_alloc(s->ctx, &ra, &s->region);
	if (err)
		return err;
	err = note_memory(s);
	if (err)
		return err;
	if (s->stats.window_bytes + own > a->memory)
		return slc_fail(s->ctx, -EINVAL,
				"the region came out as %llu bytes, more than the memory of %llu allows",
				(unsigned long long)slc_region_len(s->region),
				(unsigned long long)a->memory);
	s->bytes = slc_region_addr(s->region);
	return slc_queue_attach_region(s->queue, s->region);
}

/*
 * The part of the window that is used first: up to HOT_BYTES, and of small
 * samples in any order no more than twice what flies, so that it stays in the
 * cache nearest to the core.
 */
static uint64_t hot_bytes(const struct slc_stream *s, uint64_t len)
{
	const struct slc_dataset *ds = s->ds;
	uint64_t hot = HOT_BYTES, mean;

	if (len / 8 < HOT_BYTES)
		return 0;
	if (s->attr.shuffle == SLC_SHUFFLE_FULL && ds->nsamples) {
		mean = ds->bytes / ds->nsamples + SLC_SLOT_ALIGN;
		if (mean < HOT_BYTES / 2 / s->depth)
			hot = slc_align_down(2 * s->depth * mean,
					     SLC_SLOT_ALIGN);
	}
	return hot > HOT_MIN ? hot : HOT_MIN;
}

/* Divides the region: staging for compressed shards, the rest is the ring. */
static int divide(struct slc_stream *s)
{
	uint64_t len = slc_region_len(s->region), stage = 0, half, hot;

	s->unpack.file = SLC_FILE_NONE;
	if (packed_codec(s->ds)) {
		stage = slc_align_down(len / 8, SLC_SLOT_ALIGN);
		stage = stage < IO_DEFAULT ? stage : IO_DEFAULT;
		if (slc_unpack_init(s, 0, stage))
			return slc_fail(s->ctx, -ENOMEM,
					"no memory to inflate shards");
	}
	hot = hot_bytes(s, len);
	slc_ring_init(&s->hot, 2 * stage, hot);
	slc_ring_init(&s->ring, 2 * stage + hot, len - 2 * stage - hot);
	/* Up to half the memory, and with the pages around it in the ring. */
	half = s->ring.size - 2 * SLC_SLOT_ALIGN;
	s->whole_max = s->attr.memory / 2 < half ? s->attr.memory / 2 : half;
	s->part_len = slc_align_down(s->ring.size / 8, SLC_EXTENT_BYTES);
	/* Whole extents can be verified: rather three large parts than none. */
	if (!s->part_len && s->ring.size >= 3 * SLC_EXTENT_BYTES + SLC_SLOT_ALIGN)
		s->part_len = SLC_EXTENT_BYTES;
	if (!s->part_len)
		s->part_len = slc_align_down(s->ring.size / 8, SLC_SLOT_ALIGN);
	if (s->part_len > 32 * (uint64_t)SLC_EXTENT_BYTES)
		s->part_len = 32 * (uint64_t)SLC_EXTENT_BYTES;
	if (s->merge_max > MERGE_MAX)
		s->merge_max = MERGE_MAX;
	if (s->merge_max > s->ring.size / 8)
		s->merge_max = s->ring.size / 8;
	s->fly_max = s->attr.depth ? s->attr.depth * s->merge_max :
		     hot ? HOT_FLY : FLY_DEFAULT;
	if (s->fly_max > s->ring.size / 2)
		s->fly_max = s->ring.size / 2;
	return 0;
}

static uint64_t power_up(uint64_t v, uint64_t min, uint64_t max)
{
	uint64_t p = min;

	while (p < v && p < max)
		p *= 2;
	return p;
}

static int alloc_rings(struct slc_stream *s)
{
	uint64_t fetches = power_up(s->ring.size / 512, 64, FETCHES_MAX);
	uint64_t items = power_up(s->total, 64, ITEMS_MAX);

	s->fetch = calloc(fetches, sizeof(*s->fetch));
	s->item = calloc(items, sizeof(*s->item));
	s->batch_max = s->depth + 2;
	s->batch = calloc(s->batch_max, sizeof(*s->batch));
	s->done = calloc(s->batch_max, sizeof(*s->done));
	if (!s->fetch || !s->item || !s->batch || !s->done)
		return slc_fail(s->ctx, -ENOMEM,
				"no memory for the descriptors of the window");
	s->fetch_mask = fetches - 1;
	s->item_mask = items - 1;
	return 0;
}

static int open_files(struct slc_stream *s)
{
	uint32_t flags = SLC_FILE_READ, cap = FILES_MAX;
	struct rlimit lim;

	if (s->attr.flags & SLC_STREAM_BUFFERED)
		flags |= SLC_FILE_BUFFERED;
	/* A file has two descriptors; half of them all are for others. */
	if (!getrlimit(RLIMIT_NOFILE, &lim) && lim.rlim_cur / 4 < cap)
		cap = (uint32_t)(lim.rlim_cur / 4);
	if (slc_files_init(&s->files, s->ds, s->queue, flags, cap))
		return slc_fail(s->ctx, -ENOMEM,
				"no memory for the table of open files");
	return 0;
}

static int build(struct slc_stream *s)
{
	struct slc_token token = { 0 };
	int err;

	if (s->attr.resume) {
		err = resume(s, &token);
		if (err)
			return err;
	}
	err = check_shards(s->ds, &s->attr);
	if (!err)
		err = init_order(s);
	if (!err)
		err = init_deal(s, &token);
	if (!err)
		err = open_queue(s);
	if (!err)
		err = alloc_region(s);
	if (!err)
		err = divide(s);
	if (!err)
		err = alloc_rings(s);
	if (!err)
		err = open_files(s);
	s->attr.resume = NULL; /* the caller's, for the call only */
	s->attr.engine = NULL;
	return err;
}

int slc_stream_open(struct slc_dataset *ds, const struct slc_stream_attr *attr,
		    struct slc_stream **out)
{
	int saved = errno, err;
	struct slc_stream *s;

	err = slc_need(NULL, "slc_stream_open", "ds", ds);
	if (!err)
		err = slc_need(ds->ctx, "slc_stream_open", "out", out);
	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return slc_fail(ds->ctx, -ENOMEM, "no memory for a stream");
	s->ds = slc_dataset_get(ds);
	s->ctx = ds->ctx;
	err = slc_attr_copy(s->ctx, &s->attr, sizeof(s->attr), attr,
			    "slc_stream_attr");
	if (!s->attr.world)
		s->attr.world = 1;
	if (!s->attr.memory)
		s->attr.memory = MEMORY_DEFAULT;
	if (!err)
		err = check_attr(s->ctx, &s->attr);
	if (!err)
		err = build(s);
	if (err)
		slc_stream_close(s);
	else
		*out = s;
	errno = saved;
	return err;
}

/* Also of a stream that is half open: everything in it may be absent. */
void slc_stream_close(struct slc_stream *s)
{
	int saved = errno;

	if (!s)
		return;
	/* First: from here on nothing writes into the region. */
	if (s->queue)
		slc_queue_close(s->queue);
	s->files.queue = NULL;
	slc_files_fini(&s->files);
	slc_unpack_fini(s);
	slc_region_put(s->region);
	slc_order_fini(&s->order);
	free(s->fetch);
	free(s->item);
	free(s->batch);
	free(s->done);
	slc_dataset_put(s->ds);
	free(s);
	errno = saved;
}
