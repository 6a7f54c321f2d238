/* SPDX-License-Identifier: MIT */
/* fetch.c - fetches take slots, fly, and give their slots back. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "stream/stream.h"

void slc_fetch_route(struct slc_stream *s, uint32_t route, const char *reason,
		     uint64_t bytes)
{
	struct slc_stream_stats *st = &s->stats;
	const uint32_t max = sizeof(st->routes) / sizeof(st->routes[0]);
	uint32_t i;

	for (i = 0; i < st->nroutes; i++) {
		struct slc_route_stat *r = &st->routes[i];

		if (r->route == route &&
		    (r->reason == reason || !strcmp(r->reason, reason)))
			break;
	}
	/* More kinds than room: the last entry holds them all together. */
	if (i == max) {
		i = max - 1;
		st->routes[i].route = SLC_ROUTE_NONE;
		st->routes[i].reason = "other routes and reasons together";
	}
	if (i == st->nroutes) {
		st->routes[i].route = route;
		st->routes[i].reason = reason;
		st->nroutes++;
	}
	st->routes[i].bytes += bytes;
}

/* Undoes slc_plan_build(): what is behind f will not be read. */
static void abandon(struct slc_stream *s, struct slc_fetch *f)
{
	s->item_tail -= f->nitems;
	f->state = SLC_FETCH_FREE;
	s->built = false;
}

/*
 * At least half of what may fly does. Then a full `hot` waits for its oldest:
 * more in flight, over more pages, would make the drive slower, not faster.
 * Otherwise the consumer lags or has views lent, or one read is late.
 */
static bool drive_is_busy(const struct slc_stream *s)
{
	return s->hot.size && s->flying >= 2 &&
	       (s->flying * 2 >= s->depth || s->fly_bytes * 2 >= s->fly_max);
}

/*
 * A slot for f: as far into a page as the bytes are in the file, and whole
 * pages, so that O_DIRECT can read the pages around them in place.
 */
static bool take_slot(struct slc_stream *s, struct slc_fetch *f)
{
	bool direct = f->file != SLC_FILE_NONE &&
		      s->files.entry[f->file].direct;
	uint64_t lead = direct ? f->off % SLC_SLOT_ALIGN : 0, len, off;
	uint64_t align = direct ? SLC_SLOT_ALIGN : 64;

	if (!f->len) {
		f->data = s->ring.base;
		return true;
	}
	if (!slc_align_up(lead + f->len, align, &len))
		return false;
	f->hot = slc_ring_take(&s->hot, len, align, &off, &f->span);
	if (!f->hot &&
	    (drive_is_busy(s) ||
	     !slc_ring_take(&s->ring, len, align, &off, &f->span)))
		return false;
	f->data = off + lead;
	return true;
}

static void launch(struct slc_stream *s, struct slc_fetch *f)
{
	const struct slc_open_file *e = &s->files.entry[f->file];
	struct slc_move mv = {
		.src = slc_at_file(e->file, f->off),
		.dst = slc_at_region(s->region, f->data),
		.len = f->len,
		.flags = SLC_MOVE_SUPERSET,
		.user_data = s->tail,
	};

	if (s->attr.flags & SLC_STREAM_STRICT)
		mv.flags |= SLC_MOVE_STRICT;
	f->state = SLC_FETCH_FLYING;
	s->fly_bytes += f->len;
	slc_fetch_push(s, &mv);
}

/* 1: placed; 0: not now; or the error of its file, with the sentence. */
static int place(struct slc_stream *s, struct slc_fetch *f)
{
	bool codec = s->ds->shards[f->shard].codec;
	int err;

	if (f->len && !codec && f->file == SLC_FILE_NONE) {
		err = slc_files_get(&s->files, f->shard, &f->file);
		if (err == -EAGAIN && s->flying)
			return 0;
		if (err)
			return err;
	}
	if (!take_slot(s, f)) {
		/* The file may be wanted elsewhere until there is room. */
		if (f->file != SLC_FILE_NONE)
			slc_files_put(&s->files, f->file);
		f->file = SLC_FILE_NONE;
		return 0;
	}
	if (!f->len)
		f->state = SLC_FETCH_READY;
	else if (codec)
		f->state = SLC_FETCH_UNPACKING;
	else
		launch(s, f);
	s->tail++;
	s->built = false;
	return 1;
}

static bool may_fly(const struct slc_stream *s, const struct slc_fetch *f)
{
	if (s->flying >= s->depth)
		return false;
	return s->flying < 2 || s->fly_bytes + f->len <= s->fly_max;
}

int slc_fetch_pump(struct slc_stream *s)
{
	struct slc_fetch *f;
	int err;

	for (;;) {
		f = slc_fetch_of(s, s->tail);
		if (!s->built)
			s->built = slc_plan_build(s);
		if (!s->built || !may_fly(s, f))
			break;
		err = place(s, f);
		if (!err)
			break;
		if (err < 0) {
			abandon(s, f);
			slc_fault_set(&s->plan_fault, err, "%s",
				      slc_last_error(s->ctx));
			break;
		}
		if (s->batch_len == s->batch_max && slc_fetch_flush(s))
			break;
	}
	return slc_fetch_flush(s);
}

void slc_fetch_push(struct slc_stream *s, const struct slc_move *mv)
{
	s->batch[s->batch_len++] = *mv;
	s->flying++;
}

int slc_fetch_flush(struct slc_stream *s)
{
	int n;

	if (!s->batch_len)
		return 0;
	n = slc_queue_submit(s->queue, s->batch, s->batch_len);
	if (n < 0)
		return slc_fault_set(&s->fault, n, "%s",
				     slc_last_error(s->ctx));
	s->batch_len -= (uint32_t)n;
	if (s->batch_len)
		memmove(s->batch, s->batch + n,
			s->batch_len * sizeof(*s->batch));
	return 0;
}

static void land(struct slc_stream *s, const struct slc_done *d)
{
	struct slc_fetch *f = slc_fetch_of(s, d->user_data);
	uint64_t bytes = f->len;

	s->flying--;
	s->fly_bytes -= f->len;
	f->state = SLC_FETCH_READY;
	if (s->files.entry[f->file].direct)
		bytes = slc_align_down(f->off + f->len + SLC_SLOT_ALIGN - 1,
				       SLC_SLOT_ALIGN) -
			slc_align_down(f->off, SLC_SLOT_ALIGN);
	slc_files_put(&s->files, f->file);
	if (d->result < 0) {
		f->err = (int32_t)d->result;
		f->fail_off = d->fail_off;
		f->reason = d->reason;
		return;
	}
	s->stats.bytes_read += bytes;
	slc_fetch_route(s, d->route, d->reason, f->len);
}

int slc_fetch_reap(struct slc_stream *s, uint32_t min)
{
	uint64_t begin = min ? (uint64_t)slc_now_ns() : 0;
	int n, err;

	err = slc_fetch_flush(s);
	if (err)
		return err;
	n = slc_queue_poll(s->queue, s->done, s->depth, min,
			   min ? SLC_FOREVER : 0);
	if (min)
		s->stats.wait_ns += (uint64_t)slc_now_ns() - begin;
	if (n == -EINTR)
		return n;
	if (n < 0)
		return slc_fault_set(&s->fault, n, "%s",
				     slc_last_error(s->ctx));
	for (int i = 0; i < n; i++) {
		if (s->done[i].user_data & SLC_STAGED)
			slc_unpack_done(s, &s->done[i]);
		else
			land(s, &s->done[i]);
	}
	s->quiet = 0;
	return n;
}

void slc_fetch_reclaim(struct slc_stream *s)
{
	while (s->oldest != s->head) {
		struct slc_fetch *f = slc_fetch_of(s, s->oldest);

		if (f->lent)
			return;
		if (f->span)
			slc_ring_drop(f->hot ? &s->hot : &s->ring, f->span);
		f->state = SLC_FETCH_FREE;
		s->oldest++;
	}
}
