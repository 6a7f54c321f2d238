/* SPDX-License-Identifier: MIT */
/*
 * unpack.c - compressed shards: two staging buffers take turns, one is read
 * while the other is inflated on the CPU, forward only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "stream/stream.h"

#define SCRATCH 65536u

int slc_unpack_init(struct slc_stream *s, uint64_t at, uint64_t stage_len)
{
	struct slc_unpack *u = &s->unpack;

	u->shard = UINT64_MAX;
	u->file = SLC_FILE_NONE;
	u->stage_len = stage_len;
	u->stage[0].at = at;
	u->stage[1].at = at + stage_len;
	u->scratch = malloc(SCRATCH);
	return u->scratch ? 0 : -ENOMEM;
}

void slc_unpack_fini(struct slc_stream *s)
{
	slc_inflate_close(s->unpack.inf);
	free(s->unpack.scratch);
}

static int fail(struct slc_stream *s, const struct slc_fetch *f, int err,
		const char *what)
{
	const struct slc_shard *sh = &s->ds->shards[f->shard];

	return slc_fault_set(&s->fault, err,
			     "%s: %s at inflated offset %llu, sample %llu",
			     sh->path, what,
			     (unsigned long long)s->unpack.made,
			     (unsigned long long)s->item[f->item &
							 s->item_mask].sample);
}

/* The file of the shard; others are let go of as what flies lands. */
static int get_file(struct slc_stream *s)
{
	struct slc_unpack *u = &s->unpack;
	int err;

	while ((err = slc_files_get(&s->files, u->shard, &u->file)) == -EAGAIN &&
	       s->flying) {
		err = slc_fetch_reap(s, 1);
		if (err < 0)
			return err;
	}
	if (err)
		return slc_fault_set(&s->fault, err == -EAGAIN ? -EMFILE : err,
				     "%s", slc_last_error(s->ctx));
	return 0;
}

/*
 * Asks for the next stretch of the file, if there is one. On failure, which
 * may be -EINTR, the buffer is as it was.
 */
static int ask(struct slc_stream *s, uint32_t i)
{
	struct slc_unpack *u = &s->unpack;
	const struct slc_shard *sh = &s->ds->shards[u->shard];
	bool more = u->asked < sh->size;
	struct slc_stage *b = &u->stage[i];
	struct slc_move mv;
	int err = more ? get_file(s) : 0;

	if (err)
		return err;
	b->off = u->asked;
	b->used = b->len = 0;
	b->err = 0;
	b->state = SLC_FETCH_READY;
	if (!more)
		return 0;
	b->len = sh->size - u->asked < u->stage_len ? sh->size - u->asked :
						      u->stage_len;
	u->asked += b->len;
	b->state = SLC_FETCH_FLYING;
	mv = (struct slc_move){
		.src = slc_at_file(s->files.entry[u->file].file, b->off),
		.dst = slc_at_region(s->region, b->at),
		.len = b->len,
		.flags = SLC_MOVE_SUPERSET,
		.user_data = SLC_STAGED | i,
	};
	slc_fetch_push(s, &mv);
	return slc_fetch_flush(s);
}

void slc_unpack_done(struct slc_stream *s, const struct slc_done *d)
{
	struct slc_unpack *u = &s->unpack;
	struct slc_stage *b = &u->stage[d->user_data & 1];

	s->flying--;
	slc_files_put(&s->files, u->file);
	b->state = SLC_FETCH_READY;
	if (d->result < 0) {
		b->err = (int32_t)d->result;
		b->fail_off = d->fail_off;
		return;
	}
	s->stats.bytes_read += b->len;
	slc_fetch_route(s, d->route, d->reason, b->len);
}

/* Waits until neither buffer is being written. */
static int settle(struct slc_stream *s)
{
	struct slc_unpack *u = &s->unpack;
	int n = 0;

	while (n >= 0 && (u->stage[0].state == SLC_FETCH_FLYING ||
			  u->stage[1].state == SLC_FETCH_FLYING))
		n = slc_fetch_reap(s, 1);
	return n < 0 ? n : 0;
}

/* Begins the shard of f from its first byte. */
static int begin(struct slc_stream *s, const struct slc_fetch *f)
{
	struct slc_unpack *u = &s->unpack;
	uint32_t codec = s->ds->shards[f->shard].codec;
	int err = settle(s);

	if (err)
		return err;
	if (u->inf && u->codec == codec) {
		err = slc_inflate_reset(u->inf);
	} else {
		slc_inflate_close(u->inf);
		u->inf = NULL;
		err = slc_inflate_open(codec, &u->inf);
	}
	if (err)
		return fail(s, f, err, "no memory to inflate");
	u->codec = codec;
	u->asked = u->made = 0;
	u->cur = 0;
	u->shard = f->shard;
	err = ask(s, 0);
	if (!err)
		err = ask(s, 1);
	if (err)
		u->shard = UINT64_MAX; /* it has not begun */
	return err;
}

/* The buffer with the next compressed bytes; one that is used up is refilled. */
static int next_input(struct slc_stream *s, const struct slc_fetch *f,
		      struct slc_stage **out)
{
	struct slc_unpack *u = &s->unpack;
	struct slc_stage *b = &u->stage[u->cur];
	int n;

	if (b->state == SLC_FETCH_READY && b->len && b->used == b->len &&
	    !b->err) {
		n = ask(s, u->cur);
		if (n)
			return n;
		u->cur ^= 1;
		b = &u->stage[u->cur];
	}
	while (b->state == SLC_FETCH_FLYING) {
		n = slc_fetch_reap(s, 1);
		if (n < 0)
			return n;
	}
	if (b->err)
		return fail(s, f, b->err,
			    b->err == -ENODATA ?
				    "the compressed file ended early (it was truncated since it was indexed)" :
				    strerror(-b->err));
	*out = b;
	return 0;
}

/* Inflates up to *len bytes to out; *len is how many came, 0 at the end. */
static int step(struct slc_stream *s, const struct slc_fetch *f, uint8_t *out,
		uint64_t *len)
{
	struct slc_unpack *u = &s->unpack;
	uint64_t want = *len;
	int err;

	for (;;) {
		struct slc_stage *b = NULL;
		size_t in, made = want;

		err = next_input(s, f, &b);
		if (err)
			return err;
		in = b->len - b->used;
		err = slc_inflate_step(u->inf, s->bytes + b->at + b->used, &in,
				       out, &made);
		if (err)
			return fail(s, f, err, slc_inflate_what(u->inf));
		b->used += in;
		u->made += made;
		*len = made;
		if (made || (!in && !b->len))
			return 0;
	}
}

/* The inflated bytes before f that belong to others or to nobody. */
static int skip_to(struct slc_stream *s, const struct slc_fetch *f)
{
	struct slc_unpack *u = &s->unpack;

	while (u->made < f->off) {
		uint64_t len = f->off - u->made;
		int err;

		len = len < SCRATCH ? len : SCRATCH;
		err = step(s, f, u->scratch, &len);
		if (err)
			return err;
		if (!len)
			return fail(s, f, -ENODATA, "the inflated shard ended");
	}
	return 0;
}

/* Behind the last sample: the checksums of the codec come at its very end. */
static int finish(struct slc_stream *s, const struct slc_fetch *f)
{
	struct slc_unpack *u = &s->unpack;
	uint64_t len;
	int err;

	do {
		len = SCRATCH;
		err = step(s, f, u->scratch, &len);
		if (!err && u->made > s->ds->shards[f->shard].inflated)
			err = fail(s, f, -EBADMSG,
				   "more bytes than when it was indexed");
	} while (!err && len);
	if (err)
		return err;
	if (slc_inflate_finish(u->inf))
		return fail(s, f, -EBADMSG, slc_inflate_what(u->inf));
	return 0;
}

static bool holds_last(const struct slc_stream *s, const struct slc_fetch *f)
{
	const struct slc_shard *sh = &s->ds->shards[f->shard];
	uint64_t i = f->item + f->nitems - 1;

	return s->item[i & s->item_mask].sample - sh->first + 1 ==
		       sh->table.n &&
	       (!f->sample_len || f->part_off + f->len == f->sample_len);
}

int slc_unpack_run(struct slc_stream *s, struct slc_fetch *f)
{
	struct slc_unpack *u = &s->unpack;
	bool zstd = s->ds->shards[f->shard].codec == SLC_CODEC_ZSTD;
	int err;

	if (u->shard != f->shard || u->made > f->off + f->filled) {
		u->shard = UINT64_MAX;
		err = begin(s, f);
		if (err)
			return err;
	}
	err = skip_to(s, f);
	while (!err && f->filled < f->len) {
		uint64_t len = f->len - f->filled;

		err = step(s, f, s->bytes + f->data + f->filled, &len);
		if (!err && !len)
			err = fail(s, f, -ENODATA, "the inflated shard ended");
		if (!err)
			f->filled += len;
	}
	if (!err && holds_last(s, f))
		err = finish(s, f);
	if (err)
		return err;
	f->state = SLC_FETCH_READY;
	slc_fetch_route(s, SLC_ROUTE_BOUNCE,
			zstd ? "a zstd shard is inflated on the CPU" :
			       "a gzip shard is inflated on the CPU",
			f->len);
	return 0;
}
