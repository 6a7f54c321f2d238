/* SPDX-License-Identifier: MIT */
/*
 * verify.c - checksums of what was read, and the second try.
 *
 * A sample that did not come, or came wrong, is read once more by pread
 * through the page cache into its own bytes; only then is it an error. Such
 * bytes are a route of their own. What was inflated has no second try, and
 * strict, which wants no other route, gives none.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/open.h"
#include "stream/stream.h"

static int shard_fd(struct slc_ctx *ctx, const struct slc_shard *sh)
{
	struct stat st;
	int fd = slc_open_data(ctx, sh->path, O_RDONLY, false, &st);

	/* Of another kind it is another file, too. */
	if (fd == -EINVAL)
		return -ESTALE;
	if (fd >= 0 && (st.st_dev != sh->dev || st.st_ino != sh->ino)) {
		close(fd);
		return -ESTALE;
	}
	return fd;
}

static bool is_strict(const struct slc_stream *s)
{
	return s->attr.flags & SLC_STREAM_STRICT;
}

/* Why a fetch that failed with `err` is read again. */
static const char *after_error(int err)
{
	return err == -ENODATA ? "read again after: early end of file" :
	       err == -EIO     ? "read again after: I/O error" :
				 "read again after: failed read";
}

/*
 * Reads [off, off + len) of the shard file again because of `why`, which is
 * static. 0, or -errno and *at.
 */
static int read_again(struct slc_stream *s, const struct slc_shard *sh,
		      const char *why, uint64_t off, uint8_t *dst,
		      uint64_t len, uint64_t *at)
{
	int fd = shard_fd(s->ctx, sh), err = 0;
	uint64_t want = len;

	s->stats.retries++;
	*at = off;
	if (fd < 0)
		return fd;
	/* From storage if it can be: the page cache may hold the same error. */
	posix_fadvise(fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
	while (len) {
		ssize_t n = pread(fd, dst, len, (off_t)*at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err = n ? -errno : -ENODATA;
			break;
		}
		dst += n;
		*at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	close(fd);
	s->stats.bytes_read += want - len;
	if (want != len)
		slc_fetch_route(s, SLC_ROUTE_SYNC_BUFFERED, why, want - len);
	return err;
}

/* The sentence for bytes that cannot be had. */
static int unreadable(struct slc_stream *s, const struct slc_fetch *f,
		      const struct slc_item *it, int err, uint64_t at)
{
	const char *path = s->ds->shards[f->shard].path;
	unsigned long long sample = it->sample, off = at;

	switch (err) {
	case -ENODATA:
		return slc_fault_set(&s->fault, err,
				     "%s: the file ends at offset %llu, inside sample %llu: it was cut since it was indexed",
				     path, off, sample);
	case -ESTALE:
		return slc_fault_set(&s->fault, err,
				     "%s: sample %llu at offset %llu did not come, and the file is no longer the one that was indexed: open the dataset again",
				     path, sample, off);
	case -ENOTSUP:
		return slc_fault_set(&s->fault, err,
				     "%s: the best route is not to be had (%s), and strict forbids another: sample %llu at offset %llu",
				     path, f->reason, sample, off);
	}
	return slc_fault_set(&s->fault, err,
			     "%s: reading sample %llu at offset %llu failed: %s%s",
			     path, sample, off, strerror(-err),
			     slc_open_fix(-err));
}

/* The same for a fetch that failed: of the sample that it failed in. */
static int failed(struct slc_stream *s, const struct slc_fetch *f)
{
	uint64_t i = f->item + f->given, end = f->item + f->nitems;
	const struct slc_item *it;

	do
		it = &s->item[i & s->item_mask];
	while (f->off + it->off + it->len <= f->fail_off && ++i < end);
	return unreadable(s, f, it, f->err, f->fail_off);
}

static int mismatch(struct slc_stream *s, const struct slc_fetch *f,
		    uint64_t sample, uint64_t off, uint32_t got, uint32_t want)
{
	s->stats.crc_errors++;
	return slc_fault_set(&s->fault, -EBADMSG,
			     "%s: checksum mismatch in sample %llu at offset %llu (got %08x, packed %08x)",
			     s->ds->shards[f->shard].path,
			     (unsigned long long)sample,
			     (unsigned long long)off, got, want);
}

/* Payload and its CRC32C; tar: the contents of the members, in order. */
static int payload_crc(struct slc_stream *s, const struct slc_fetch *f,
		       const struct slc_item *it, const uint8_t *span,
		       struct slc_view *v)
{
	const struct slc_shard *sh = &s->ds->shards[f->shard];
	const struct slc_format *fmt = sh->table.format;
	bool want = slc_stream_crc(s);
	struct slc_piece piece;
	struct slc_diag diag;
	uint64_t pos = 0;
	int n;

	v->payload = it->len;
	v->crc = 0;
	if (!fmt->member) {
		if (want)
			v->crc = slc_crc32c(0, span, it->len);
		return 0;
	}
	v->payload = 0;
	while ((n = fmt->member(span, it->len, &pos, &piece, &diag)) == 1) {
		v->payload += piece.len;
		if (want)
			v->crc = slc_crc32c(v->crc, span + piece.off,
					    piece.len);
	}
	if (n < 0)
		return slc_fault_set(&s->fault, n,
				     "%s: %s: sample %llu at offset %llu: %s: the file changed since it was indexed",
				     sh->path, fmt->name,
				     (unsigned long long)it->sample,
				     (unsigned long long)(f->off + it->off +
							  diag.off),
				     diag.what);
	return 0;
}

/*
 * What pack summed: every stored byte. Names are among them, which the payload
 * of a tar sample leaves out: they pass a second time, now in the cache.
 */
static uint32_t stored_crc(const struct slc_format *fmt,
			   const struct slc_item *it, const uint8_t *span,
			   const struct slc_view *v)
{
	return fmt->member ? slc_crc32c(0, span, it->len) : v->crc;
}

static int again(struct slc_stream *s, const struct slc_fetch *f,
		 const struct slc_item *it, const char *why)
{
	const struct slc_shard *sh = &s->ds->shards[f->shard];
	uint64_t at;
	int err;

	err = read_again(s, sh, why, f->off + it->off,
			 s->bytes + f->data + it->off, it->len, &at);
	return err ? unreadable(s, f, it, err, at) : 0;
}

static int whole(struct slc_stream *s, struct slc_fetch *f,
		 const struct slc_item *it, struct slc_view *v)
{
	const struct slc_shard *sh = &s->ds->shards[f->shard];
	const uint8_t *span = s->bytes + f->data + it->off;
	bool known = sh->sample_crc && slc_stream_crc(s);
	bool tried = f->err, bad;
	uint32_t packed = 0, got = 0;
	int err = 0;

	if (known)
		packed = sh->sample_crc[it->sample - sh->first];
	if (tried)
		err = again(s, f, it, after_error(f->err));
	for (;;) {
		if (err)
			return err;
		err = payload_crc(s, f, it, span, v);
		if (known)
			got = stored_crc(sh->table.format, it, span, v);
		bad = err || got != packed;
		/* Members that make no sense are as wrong as a wrong sum. */
		if (!bad || tried || sh->codec || is_strict(s))
			break;
		tried = true;
		s->fault.err = 0;
		err = again(s, f, it,
			    err ? "read again after: malformed members" :
				  "read again after: checksum mismatch");
	}
	if (err)
		return err;
	if (bad)
		return mismatch(s, f, it->sample, f->off + it->off, got,
				packed);
	if (slc_stream_crc(s))
		v->flags |= SLC_VIEW_CRC;
	if (known) {
		v->flags |= SLC_VIEW_VERIFIED;
		s->stats.bytes_verified += v->payload;
	}
	return 0;
}

/* Of the extent that begins at `off` in the file, in f. */
static uint32_t extent_sum(const struct slc_stream *s,
			   const struct slc_fetch *f, uint64_t off,
			   uint64_t len)
{
	return slc_crc32c(0, s->bytes + f->data + (off - f->off), len);
}

/*
 * Holds every extent of f against the manifest and carries the running sum of
 * the sample over the bytes [from, to) of the file that are this part.
 */
static int part_extents(struct slc_stream *s, struct slc_fetch *f,
			const struct slc_item *it, uint64_t from, uint64_t to)
{
	const struct slc_shard *sh = &s->ds->shards[f->shard];
	uint64_t end = f->off + f->len, off, len, at;

	for (off = f->off; off < end; off += len) {
		uint32_t want = sh->extent_crc[off / SLC_EXTENT_BYTES], got;
		uint64_t lo, hi;

		len = end - off < SLC_EXTENT_BYTES ? end - off :
						     SLC_EXTENT_BYTES;
		got = extent_sum(s, f, off, len);
		if (got != want && !is_strict(s)) {
			int err = read_again(s, sh,
					     "read again after: checksum mismatch",
					     off,
					     s->bytes + f->data + off - f->off,
					     len, &at);

			if (err)
				return unreadable(s, f, it, err, at);
			got = extent_sum(s, f, off, len);
		}
		if (got != want)
			return mismatch(s, f, it->sample, off, got, want);
		lo = off > from ? off : from;
		hi = off + len < to ? off + len : to;
		if (lo == off && hi == off + len)
			s->part_crc = slc_crc32c_combine(s->part_crc, got, len);
		else
			s->part_crc = slc_crc32c(s->part_crc,
						 s->bytes + f->data +
							 (lo - f->off),
						 hi - lo);
	}
	return 0;
}

static int part(struct slc_stream *s, struct slc_fetch *f,
		const struct slc_item *it, struct slc_view *v)
{
	const struct slc_shard *sh = &s->ds->shards[f->shard];
	const uint8_t *bytes = s->bytes + f->data + it->off;
	bool last = f->part_off + it->len == f->sample_len;
	uint64_t from = f->off + it->off, at;
	uint32_t packed;
	int err;

	v->payload = it->len;
	if (f->err) {
		err = read_again(s, sh, after_error(f->err), f->off,
				 s->bytes + f->data, f->len, &at);
		if (err)
			return unreadable(s, f, it, err, at);
	}
	if (!slc_stream_crc(s))
		return 0;
	if (!f->part_off)
		s->part_crc = 0;
	if (f->extents) {
		err = part_extents(s, f, it, from, from + it->len);
		if (err)
			return err;
		v->flags |= SLC_VIEW_VERIFIED;
	} else {
		s->part_crc = slc_crc32c(s->part_crc, bytes, it->len);
	}
	v->crc = s->part_crc;
	v->flags |= SLC_VIEW_CRC;
	if (last && sh->sample_crc) {
		packed = sh->sample_crc[it->sample - sh->first];
		if (v->crc != packed)
			return mismatch(s, f, it->sample,
					from - f->part_off, v->crc, packed);
		v->flags |= SLC_VIEW_VERIFIED;
	}
	if (v->flags & SLC_VIEW_VERIFIED)
		s->stats.bytes_verified += it->len;
	return 0;
}

int slc_verify_item(struct slc_stream *s, struct slc_fetch *f,
		    const struct slc_item *it, struct slc_view *v)
{
	if (f->err && is_strict(s))
		return failed(s, f);
	return f->sample_len ? part(s, f, it, v) : whole(s, f, it, v);
}
