/* SPDX-License-Identifier: MIT */
/* plan.c - from positions to fetches: what is read, in which pieces. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"
#include "stream/stream.h"

int slc_fault_set(struct slc_fault *fault, int err, const char *fmt, ...)
{
	va_list ap;

	if (fault->err)
		return fault->err;
	va_start(ap, fmt);
	vsnprintf(fault->text, sizeof(fault->text), fmt, ap);
	va_end(ap);
	fault->err = err;
	return err;
}

static bool holds(const struct slc_shard *sh, uint64_t g)
{
	return g >= sh->first && g - sh->first < sh->table.n;
}

/* Where the k-th sample of this rank is. */
static void locate(struct slc_stream *s, uint64_t k, struct slc_where *w)
{
	const struct slc_dataset *ds = s->ds;
	uint64_t p = slc_deal_at(&s->deal, k);
	const struct slc_shard *sh;

	if (p >= s->order.n)
		p %= s->order.n; /* SLC_TAIL_PAD: again from the start */
	w->sample = slc_order_at(&s->order, p);
	if (!holds(&ds->shards[s->near], w->sample)) {
		if (s->near + 1 < ds->nshards &&
		    holds(&ds->shards[s->near + 1], w->sample))
			s->near++;
		else
			s->near = slc_dataset_locate(ds, w->sample);
	}
	w->shard = s->near;
	sh = &ds->shards[w->shard];
	slc_table_span(&sh->table, w->sample - sh->first, &w->off, &w->len);
}

/* The next sample not yet planned; false at the end. */
static bool look_ahead(struct slc_stream *s)
{
	if (!s->has_ahead && s->k_plan < s->total) {
		locate(s, s->k_plan, &s->ahead);
		s->has_ahead = true;
	}
	return s->has_ahead;
}

static void add_item(struct slc_stream *s, struct slc_fetch *f, uint64_t off,
		     uint64_t len)
{
	struct slc_item *it = &s->item[s->item_tail++ & s->item_mask];

	it->sample = s->ahead.sample;
	it->len = len;
	it->off = (uint32_t)(len ? off - f->off : 0);
	f->nitems++;
}

static void take_ahead(struct slc_stream *s, struct slc_fetch *f)
{
	const struct slc_where *w = &s->ahead;

	if (w->len) {
		/* Empty samples before the first byte have no place yet. */
		if (!f->len)
			f->off = w->off;
		f->len = w->off + w->len - f->off;
	}
	add_item(s, f, w->off, w->len);
	s->has_ahead = false;
	s->k_plan++;
}

/* The sample ahead can be read in one piece with what f holds. */
static bool joins(const struct slc_stream *s, const struct slc_fetch *f)
{
	const struct slc_where *w = &s->ahead;
	uint64_t end = f->off + f->len;

	if (w->shard != f->shard)
		return false;
	if (!w->len)
		return true;
	if (!f->len)
		return w->len <= s->whole_max;
	/* With the pages around it, so that it stays one I/O. */
	return w->off >= end && w->off - end <= SLC_GAP_MAX &&
	       w->off + w->len + SLC_SLOT_ALIGN - 1 -
			       slc_align_down(f->off, SLC_SLOT_ALIGN) <
		       s->merge_max + SLC_SLOT_ALIGN;
}

static int too_large(struct slc_stream *s)
{
	const struct slc_where *w = &s->ahead;
	const struct slc_shard *sh = &s->ds->shards[w->shard];
	bool parts = s->attr.flags & SLC_STREAM_PARTS;

	slc_fault_set(&s->plan_fault, -EMSGSIZE,
		      "%s: sample %llu has %llu bytes, and %llu at most fit in %llu bytes of memory: %s memory of %llu bytes",
		      sh->path, (unsigned long long)w->sample,
		      (unsigned long long)w->len,
		      (unsigned long long)s->whole_max,
		      (unsigned long long)s->attr.memory,
		      parts ? "a tar sample does not come in parts, give a" :
			      "take it in parts, or give a",
		      (unsigned long long)(2 * w->len + (4u << 20)));
	return 0;
}

/*
 * Parts end where part_len divides the file offset, so that all but the first
 * and the last begin and end with a checksummed extent; those two are widened
 * to their extents, which never makes them longer than part_len.
 */
static int build_part(struct slc_stream *s, struct slc_fetch *f)
{
	const struct slc_where *w = &s->ahead;
	const struct slc_shard *sh = &s->ds->shards[w->shard];
	uint64_t from = w->off + s->part_next, end = w->off + w->len, to;

	if (!(s->attr.flags & SLC_STREAM_PARTS) || sh->table.format->member)
		return too_large(s);
	to = from - from % s->part_len + s->part_len;
	if (to > end)
		to = end;
	f->off = from;
	f->len = to - from;
	f->extents = sh->extent_crc && slc_stream_crc(s) && !sh->codec &&
		     s->part_len % SLC_EXTENT_BYTES == 0;
	if (f->extents) {
		uint64_t stop = to - 1;

		f->off = slc_align_down(from, SLC_EXTENT_BYTES);
		stop = slc_align_down(stop, SLC_EXTENT_BYTES) +
		       SLC_EXTENT_BYTES;
		f->len = (stop < sh->size ? stop : sh->size) - f->off;
	}
	f->part_off = s->part_next;
	f->sample_len = w->len;
	add_item(s, f, from, to - from);
	s->part_next += to - from;
	if (to == end) {
		s->part_next = 0;
		s->has_ahead = false;
		s->k_plan++;
	}
	return 1;
}

int slc_plan_build(struct slc_stream *s)
{
	struct slc_fetch *f = slc_fetch_of(s, s->tail);
	const struct slc_shard *sh;

	if (s->plan_fault.err || s->tail - s->oldest > s->fetch_mask ||
	    s->item_tail - s->item_head > s->item_mask || !look_ahead(s))
		return 0;
	sh = &s->ds->shards[s->ahead.shard];
	/* Inflating takes this thread: not before its samples are wanted. */
	if (sh->codec && s->head != s->tail)
		return 0;
	*f = (struct slc_fetch){
		.item = s->item_tail,
		.k = s->k_plan,
		.shard = s->ahead.shard,
		.file = SLC_FILE_NONE,
		.reason = "",
	};
	if (s->ahead.len > s->whole_max)
		return build_part(s, f);
	do
		take_ahead(s, f);
	while (s->item_tail - s->item_head <= s->item_mask && look_ahead(s) &&
	       joins(s, f));
	return 1;
}
