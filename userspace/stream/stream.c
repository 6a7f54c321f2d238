/* SPDX-License-Identifier: MIT */
/* stream.c - delivery: views are lent in order and taken back in any. */
#include <errno.h>
#include <string.h>

#include "base/ctx.h"
#include "stream/stream.h"
#include "stream/token.h"

/* At most so many completions, or bytes, are waited for at once. */
#define WAIT_MAX 64u
#define WAIT_BYTES (512u << 10)

static int raise_fault(struct slc_stream *s)
{
	return slc_fail(s->ctx, s->fault.err, "%s", s->fault.text);
}

static void fill_view(const struct slc_stream *s, const struct slc_fetch *f,
		      const struct slc_item *it, struct slc_view *v)
{
	uint64_t k = f->k + f->given;

	*v = (struct slc_view){
		.sample = it->sample,
		.position = slc_deal_at(&s->deal, k),
		.ptr = s->bytes + f->data + it->off,
		.len = it->len,
		.region = s->region,
		.region_off = f->data + it->off,
		.part_off = f->part_off,
		.sample_len = it->len,
		.flags = SLC_VIEW_LAST,
		.cookie = s->head,
	};
	if (f->sample_len) {
		v->sample_len = f->sample_len;
		v->flags = SLC_VIEW_PARTIAL;
		if (f->part_off + it->len == f->sample_len)
			v->flags |= SLC_VIEW_LAST;
	}
}

/* Lends one item of f; the fault is set when it is not what it should be. */
static int lend(struct slc_stream *s, struct slc_fetch *f, struct slc_view *v)
{
	const struct slc_item *it = &s->item[s->item_head & s->item_mask];
	int err;

	fill_view(s, f, it, v);
	err = slc_verify_item(s, f, it, v);
	if (err)
		return err;
	s->stats.bytes += v->payload;
	if (v->flags & SLC_VIEW_LAST) {
		s->stats.samples++;
		s->k_done++;
	}
	s->item_head++;
	f->given++;
	f->lent++;
	s->lent++;
	return 0;
}

/*
 * What is ready from the head on, up to max: how many. When something fails
 * after the first view, the fault waits for the next call.
 */
static int deliver(struct slc_stream *s, struct slc_view *views, uint32_t max)
{
	uint32_t n = 0;
	int err = 0;

	while (n < max && s->head != s->tail && !err) {
		struct slc_fetch *f = slc_fetch_of(s, s->head);

		if (f->state == SLC_FETCH_UNPACKING && !n)
			err = slc_unpack_run(s, f);
		if (f->state != SLC_FETCH_READY)
			break;
		while (n < max && f->given < f->nitems) {
			err = lend(s, f, &views[n]);
			if (err)
				break;
			n++;
		}
		if (f->given == f->nitems) {
			s->head++;
			s->quiet++;
		}
	}
	return n ? (int)n : err;
}

/* Nothing flies and nothing is ready: what the consumer can do about it. */
static int stuck(struct slc_stream *s)
{
	if (s->plan_fault.err && s->head == s->tail) {
		s->fault = s->plan_fault;
		return raise_fault(s);
	}
	if (s->lent)
		return slc_fail(s->ctx, -ENOBUFS,
				"%llu views are lent and leave no room for the next sample: release the oldest",
				(unsigned long long)s->lent);
	slc_fault_set(&s->fault, -EIO, "the queue accepts no more reads");
	return raise_fault(s);
}

/*
 * So many that a system call is worth it, and that the rest keeps flying: of
 * small reads a quarter, of large ones the next.
 */
static uint32_t wait_for(const struct slc_stream *s)
{
	uint64_t min = s->flying / 4, most;

	if (min > WAIT_MAX)
		min = WAIT_MAX;
	if (s->fly_bytes) {
		most = (uint64_t)WAIT_BYTES * s->flying / s->fly_bytes;
		if (min > most)
			min = most;
	}
	return min ? (uint32_t)min : 1;
}

/*
 * Bytes that checksums vouch for may be from before or after a write; without
 * them a file that was written to while we read it may have given a mixture.
 * chmod, link and rename move ctime as a write does that restores mtime.
 */
static bool mixed(struct slc_stream *s, bool end)
{
	if (s->ds->verified && slc_stream_crc(s))
		return false;
	if (end)
		slc_files_look(&s->files);
	if (s->files.changed == UINT64_MAX)
		return false;
	slc_fault_set(&s->fault, -ESTALE,
		      "%s: the file was written to while it was streamed, or its mode, owner, links or name changed since the dataset was opened: what came of it may be old and new bytes mixed: open it again, or sluice pack it so that checksums decide",
		      s->ds->shards[s->files.changed].path);
	return true;
}

static int the_end(struct slc_stream *s)
{
	if (mixed(s, true))
		return raise_fault(s);
	s->ended = true;
	return 0;
}

static int next(struct slc_stream *s, struct slc_view *views, uint32_t max)
{
	bool idle = false;
	int n;

	for (;;) {
		if (s->fault.err)
			return raise_fault(s);
		if (s->flying && s->quiet * 4 >= s->flying) {
			n = slc_fetch_reap(s, 0);
			if (n < 0 && n != -EINTR)
				return raise_fault(s);
		}
		if (slc_fetch_pump(s) || mixed(s, false))
			return raise_fault(s);
		n = deliver(s, views, max);
		if (n > 0)
			return n;
		if (n < 0)
			return n == -EINTR ? n : raise_fault(s);
		if (s->k_done == s->total)
			return the_end(s);
		if (!s->flying || idle)
			return stuck(s);
		n = slc_fetch_reap(s, wait_for(s));
		if (n == -EINTR)
			return n;
		if (n < 0)
			return raise_fault(s);
		/* No completion though moves are out: once is forgiven. */
		idle = !n;
	}
}

int slc_stream_next(struct slc_stream *s, struct slc_view *views, uint32_t max)
{
	int saved = errno, n;

	if (!max || max > INT32_MAX)
		return slc_fail(s->ctx, -EINVAL, "%u views were asked for",
				max);
	n = next(s, views, max);
	if (n == -EINTR)
		slc_fail(s->ctx, n, "a signal came while waiting for storage");
	errno = saved;
	return n;
}

void slc_stream_release(struct slc_stream *s, const struct slc_view *views,
			uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t at = views[i].cookie;
		struct slc_fetch *f;

		/* One that was given back already may be past the oldest. */
		if (at < s->oldest || at > s->head)
			continue;
		f = slc_fetch_of(s, at);
		if (!f->lent)
			continue;
		f->lent--;
		s->lent--;
		if (at == s->oldest && !f->lent)
			slc_fetch_reclaim(s);
	}
}

/* The piece after *pos of a tar view, as slc_format.member says. */
static int piece_of(struct slc_stream *s, const struct slc_view *v,
		    uint64_t *pos, struct slc_piece *piece)
{
	const struct slc_dataset *ds = s->ds;
	const struct slc_shard *sh;
	struct slc_diag diag;
	int n;

	sh = &ds->shards[slc_dataset_locate(ds, v->sample)];
	n = sh->table.format->member(v->ptr, v->len, pos, piece, &diag);
	if (n < 0)
		return slc_fail(s->ctx, n, "%s: sample %llu: %s", sh->path,
				(unsigned long long)v->sample, diag.what);
	return n;
}

static bool has_members(const struct slc_stream *s, uint64_t sample)
{
	uint64_t shard = slc_dataset_locate(s->ds, sample);

	return s->ds->shards[shard].table.format->member;
}

int slc_stream_key(struct slc_stream *s, const struct slc_view *v, char *buf,
		   size_t n)
{
	const struct slc_shard *sh;
	struct slc_piece piece;
	uint64_t pos = 0;
	int got;

	if (v->sample >= s->ds->nsamples || !n)
		return slc_fail(s->ctx, -EINVAL,
				"no view of this stream, or no room for a key");
	if (!has_members(s, v->sample)) {
		sh = &s->ds->shards[slc_dataset_locate(s->ds, v->sample)];
		return slc_shard_key(sh, v->sample - sh->first, buf, n);
	}
	got = piece_of(s, v, &pos, &piece);
	if (got < 0)
		return got;
	buf[0] = '\0';
	return got ? (int)slc_piece_key(&piece, buf, n) : 0;
}

int slc_stream_members(struct slc_stream *s, const struct slc_view *v,
		       struct slc_member *members, uint32_t max)
{
	struct slc_piece piece;
	uint32_t count = 0;
	uint64_t pos = 0;
	int n;

	if (v->sample >= s->ds->nsamples || (v->flags & SLC_VIEW_PARTIAL))
		return slc_fail(s->ctx, -EINVAL,
				"members are of a whole view of this stream");
	if (!has_members(s, v->sample)) {
		if (max)
			members[0] = (struct slc_member){ .name = "",
							  .ptr = v->ptr,
							  .len = v->len };
		return 1;
	}
	while ((n = piece_of(s, v, &pos, &piece)) == 1) {
		if (count < max)
			members[count] = (struct slc_member){
				.name = piece.name,
				.name_len = piece.name_len,
				.ptr = (const uint8_t *)v->ptr + piece.off,
				.len = piece.len,
			};
		count++;
	}
	return n < 0 ? n : (int)count;
}

/*
 * Where ranks that stand where this one does have got to. One with a sample
 * less than others cannot tell by its count whether they have taken their
 * last; that it was told the end says so: all had their chance at that step.
 */
static uint64_t token_base(const struct slc_stream *s)
{
	return s->ended ? s->deal.end : slc_deal_after(&s->deal, s->k_done);
}

int slc_stream_token(struct slc_stream *s, char *buf, size_t n)
{
	struct slc_token t = {
		.fingerprint = s->ds->fingerprint,
		.shuffle = (uint8_t)s->attr.shuffle,
		.tail = (uint8_t)s->attr.tail,
		.seed = s->attr.seed,
		.epoch = s->attr.epoch,
		.n = s->order.n,
		.base = token_base(s),
		.end = s->deal.end,
		.world = s->deal.world,
		.batch = s->deal.batch,
	};

	if (n < SLC_TOKEN_MAX)
		return slc_fail(s->ctx, -ENOSPC,
				"a resume token needs %d bytes of room",
				SLC_TOKEN_MAX);
	return slc_token_write(&t, buf, n);
}

int slc_stream_stats(const struct slc_stream *s, struct slc_stream_stats *out)
{
	struct slc_stream_stats st = s->stats;
	size_t size = out->size;

	if (size < sizeof(size))
		return slc_fail(s->ctx, -EINVAL,
				"slc_stream_stats.size is %zu: set it to sizeof(struct slc_stream_stats)",
				size);
	st.size = size;
	if (size > sizeof(st)) {
		memset((char *)out + sizeof(st), 0, size - sizeof(st));
		size = sizeof(st);
	}
	memcpy(out, &st, size);
	return 0;
}
