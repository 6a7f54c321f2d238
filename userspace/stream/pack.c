/* SPDX-License-Identifier: MIT */
/*
 * pack.c - checksums of every extent and every sample in one read.
 *
 * Extents are summed as they come, samples by walking over them where they
 * landed: two passes of CRC32C over bytes that are in the cache, at 32 GB/s
 * each. To combine the sums of pieces instead costs more than it saves, since
 * a combination takes about as long as the CRC of 16 KiB.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"
#include "stream/feed.h"
#include "stream/manifest.h"

/* A tape runs forward; its last pieces are kept for a short way back. */
#define KEPT SLC_FEED_KEEP

struct piece {
	uint64_t off, len;
	const uint8_t *ptr;
};

struct tape {
	struct slc_source base; /* the same bytes, copied: for parsers */
	/* 1 and the next piece, 0 at the end, -errno. */
	int (*more)(struct tape *t, struct piece *out);
	struct packing *p;
	struct piece kept[KEPT]; /* piece k is kept[k % KEPT] */
	uint64_t pieces;
	uint64_t end;		 /* of the last piece */
};

struct packing {
	struct slc_dataset *ds;
	const struct slc_pack_attr *attr;
	struct slc_feed *feed;
	struct slc_packed *packed; /* nshards */
	/* The shard at work. */
	const struct slc_shard *sh;
	struct slc_packed *out;
	struct tape raw;      /* the file */
	struct tape inflated; /* with a codec */
	struct slc_source_inflate inflate;
	uint8_t *room;	      /* KEPT extents of inflated bytes */
};

/* ---- tapes ---- */

/*
 * Points at the bytes at `off`: 1 and how many there are in one piece, 0 at
 * the end of the tape, -errno.
 */
static int look(struct tape *t, uint64_t off, const uint8_t **ptr,
		uint64_t *len)
{
	struct piece *piece;
	int res;

	while (off >= t->end) {
		piece = &t->kept[t->pieces % KEPT];
		res = t->more(t, piece);
		if (res <= 0)
			return res;
		t->pieces++;
		t->end = piece->off + piece->len;
	}
	for (uint64_t k = t->pieces; k && k + KEPT > t->pieces; k--) {
		piece = &t->kept[(k - 1) % KEPT];
		if (off < piece->off)
			continue;
		*ptr = piece->ptr + (off - piece->off);
		*len = piece->len - (off - piece->off);
		return 1;
	}
	return slc_fail(t->p->ds->ctx, -ESPIPE,
			"%s: samples lie too far back in the file to be read in one pass (offset %" PRIu64
			" after %" PRIu64 ")",
			t->p->sh->path, off, t->end);
}

static int64_t tape_read(struct slc_source *src, uint64_t off, void *buf,
			 uint64_t len)
{
	struct tape *t = (struct tape *)src;
	uint64_t done = 0;

	while (done < len) {
		const uint8_t *ptr;
		uint64_t n;
		int res = look(t, off + done, &ptr, &n);

		if (res < 0)
			return res;
		if (!res)
			break;
		if (n > len - done)
			n = len - done;
		memcpy((uint8_t *)buf + done, ptr, n);
		done += n;
	}
	return (int64_t)done;
}

static void tape_init(struct tape *t, struct packing *p, uint64_t size,
		      int (*more)(struct tape *t, struct piece *out))
{
	memset(t, 0, sizeof(*t));
	t->base.read = tape_read;
	t->base.size = size;
	t->more = more;
	t->p = p;
}

static int more_raw(struct tape *t, struct piece *out)
{
	struct packing *p = t->p;
	struct slc_extent e;
	int res;

	if (t->end == p->sh->size)
		return 0;
	res = slc_feed_next(p->feed, &e);
	if (res <= 0)
		return res;
	p->out->extent_crc[e.off / SLC_EXTENT_BYTES] =
		slc_crc32c(0, e.ptr, e.len);
	out->off = e.off;
	out->len = e.len;
	out->ptr = e.ptr;
	return 1;
}

static int more_inflated(struct tape *t, struct piece *out)
{
	struct packing *p = t->p;
	struct slc_source *src = &p->inflate.base;
	uint8_t *to = p->room + (t->pieces % KEPT) * SLC_EXTENT_BYTES;
	struct slc_diag diag = { .off = t->end };
	int64_t got = src->read(src, t->end, to, SLC_EXTENT_BYTES);

	if (got == -EBADMSG) {
		slc_bad(&diag, t->end, "%s", slc_inflate_what(p->inflate.inf));
		return slc_fail_parse(p->ds->ctx, -EBADMSG, p->sh->path,
				      p->sh->table.format->name, &diag);
	}
	/* Anything else was said by the raw tape below. */
	if (got <= 0)
		return (int)got;
	out->off = t->end;
	out->len = (uint64_t)got;
	out->ptr = to;
	return 1;
}

/* ---- samples ---- */

static int crc_span(struct tape *t, uint64_t off, uint64_t len, uint32_t *crc)
{
	while (len) {
		const uint8_t *ptr;
		uint64_t n;
		int res = look(t, off, &ptr, &n);

		if (res < 0)
			return res;
		if (!res)
			return slc_fail(t->p->ds->ctx, -ESTALE,
					"%s ends at %" PRIu64
					", inside a sample: it changed while it was packed",
					t->p->sh->path, t->end);
		if (n > len)
			n = len;
		*crc = slc_crc32c(*crc, ptr, n);
		off += n;
		len -= n;
	}
	return 0;
}

static int crc_samples(struct tape *t)
{
	const struct slc_table *table = &t->p->sh->table;
	int err = 0;

	for (uint64_t i = 0; i < table->n && !err; i++) {
		uint64_t off, len;

		slc_table_span(table, i, &off, &len);
		err = crc_span(t, off, len, &t->p->out->sample_crc[i]);
	}
	return err;
}

/* What no sample needed: headers, holes, the end of a stream. */
static int to_end(struct tape *t)
{
	const uint8_t *ptr;
	uint64_t n;
	int res;

	do
		res = look(t, t->end, &ptr, &n);
	while (res > 0);
	return res;
}

/* ---- shards ---- */

static int crc_idx(struct slc_dataset *ds, const struct slc_shard *sh,
		   struct slc_packed *out)
{
	struct slc_source_file idx;
	uint8_t *buf;
	int64_t got;
	int err;

	err = slc_source_file_open(ds->ctx, sh->idx, &idx);
	if (err)
		return err;
	buf = malloc(SLC_EXTENT_BYTES);
	if (!buf)
		err = slc_fail(ds->ctx, -ENOMEM, "no memory to read %s",
			       sh->idx);
	while (!err && out->idx_bytes < idx.base.size) {
		got = idx.base.read(&idx.base, out->idx_bytes, buf,
				    SLC_EXTENT_BYTES);
		if (got <= 0) {
			err = slc_fail(ds->ctx, got ? (int)got : -ESTALE,
				       "cannot read %s: %s", sh->idx,
				       got ? strerror((int)-got) :
					     "it got shorter");
			break;
		}
		out->idx_crc = slc_crc32c(out->idx_crc, buf, (uint64_t)got);
		out->idx_bytes += (uint64_t)got;
	}
	free(buf);
	slc_source_file_close(&idx);
	return err;
}

static int pack_inflated(struct packing *p)
{
	int err;

	if (!p->room)
		p->room = malloc((size_t)KEPT * SLC_EXTENT_BYTES);
	if (!p->room)
		return slc_fail(p->ds->ctx, -ENOMEM, "no memory to inflate %s",
				p->sh->path);
	err = slc_source_inflate_init(&p->inflate, p->sh->codec, &p->raw.base);
	if (err)
		return slc_fail(p->ds->ctx, err, "no memory to inflate %s",
				p->sh->path);
	tape_init(&p->inflated, p, p->sh->inflated, more_inflated);
	err = crc_samples(&p->inflated);
	if (!err)
		err = to_end(&p->inflated);
	slc_source_inflate_fini(&p->inflate);
	return err;
}

static int pack_shard(struct packing *p)
{
	uint64_t n = slc_extents(p->sh->size);
	int err;

	if (n > UINT32_MAX)
		return slc_fail(p->ds->ctx, -EFBIG,
				"%s is larger than 4 PiB", p->sh->path);
	p->out->nextents = (uint32_t)n;
	p->out->extent_crc = calloc(n ? n : 1, sizeof(uint32_t));
	p->out->sample_crc = calloc(p->sh->table.n ? p->sh->table.n : 1,
				    sizeof(uint32_t));
	if (!p->out->extent_crc || !p->out->sample_crc)
		return slc_fail(p->ds->ctx, -ENOMEM,
				"no memory for the checksums of %s",
				p->sh->path);
	tape_init(&p->raw, p, p->sh->size, more_raw);
	err = p->sh->codec ? pack_inflated(p) : crc_samples(&p->raw);
	if (!err)
		err = to_end(&p->raw);
	return err;
}

static int tick(void *user, uint64_t bytes)
{
	struct packing *p = user;

	return p->attr->progress(p->attr->user, bytes, p->ds->bytes);
}

static int pack_all(struct packing *p)
{
	int err = slc_feed_open(p->ds, p->attr->progress ? tick : NULL, p,
				&p->feed);

	for (uint64_t i = 0; i < p->ds->nshards && !err; i++) {
		p->sh = &p->ds->shards[i];
		p->out = &p->packed[i];
		err = pack_shard(p);
	}
	slc_feed_close(p->feed);
	free(p->room);
	/* The feed is gone: until then it may hold every descriptor. */
	for (uint64_t i = 0; i < p->ds->nshards && !err; i++)
		if (p->ds->shards[i].idx)
			err = crc_idx(p->ds, &p->ds->shards[i], &p->packed[i]);
	return err;
}

int slc_dataset_pack(struct slc_dataset *ds, const char *path,
		     const struct slc_pack_attr *attr)
{
	struct slc_pack_attr a;
	struct packing p = { .ds = ds, .attr = &a };
	int err;

	err = slc_attr_copy(ds->ctx, &a, sizeof(a), attr, "slc_pack_attr");
	if (err)
		return err;
	if (a.flags)
		return slc_fail(ds->ctx, -EINVAL,
				"slc_pack_attr.flags is %#" PRIx64
				": no flag is known", a.flags);
	/* Before hours of reading, not after. */
	err = slc_manifest_may_write(ds->ctx, path);
	for (uint64_t i = 0; i < ds->nshards && !err; i++)
		if (ds->shards[i].table.fortran)
			err = slc_fail(ds->ctx, -EINVAL,
				       "%s is in Fortran order, so its rows are not contiguous: save it in C order (numpy.ascontiguousarray)",
				       ds->shards[i].path);
	if (err)
		return err;
	p.packed = calloc(ds->nshards ? ds->nshards : 1, sizeof(*p.packed));
	if (!p.packed)
		return slc_fail(ds->ctx, -ENOMEM, "no memory for a manifest");
	err = pack_all(&p);
	if (!err)
		err = slc_manifest_write(ds, p.packed, path);
	for (uint64_t i = 0; i < ds->nshards; i++) {
		free(p.packed[i].extent_crc);
		free(p.packed[i].sample_crc);
	}
	free(p.packed);
	return err;
}
