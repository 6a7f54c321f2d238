/* SPDX-License-Identifier: MIT */
#include "format/inflate.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/checked.h"

#define IN_BYTES (128u << 10)
#define SKIP_BYTES (64u << 10)
#define ZSTD_HEADER_MAX 18 /* RFC 8878: 4 + 14 */

struct slc_inflate {
	uint32_t codec;
	int err;	/* sticky */
	bool started;	/* a stream was begun */
	bool between;	/* a stream has just ended, wholly given out */
	bool padding;	/* gzip: zero bytes after the last member */
	bool pending;	/* the codec filled all room and may hold more */
	bool stuck;	/* it waits for room: asking again is no use */
	uint8_t head[ZSTD_HEADER_MAX]; /* the first bytes of a stream */
	size_t nhead, head_at; /* how many, how many of them given on */
	z_stream z;
	ZSTD_DCtx *zstd;
	char what[160];
};

static bool zstd_magic(const uint8_t *p)
{
	uint32_t v = (uint32_t)p[0] | (uint32_t)p[1] << 8 |
		     (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;

	/* A frame, or one of the 16 kinds of skippable frame (RFC 8878). */
	return v == 0xfd2fb528u || (v & 0xfffffff0u) == 0x184d2a50u;
}

uint32_t slc_codec_detect(const uint8_t *head, size_t n)
{
	if (n >= 3 && head[0] == 0x1f && head[1] == 0x8b && head[2] == 8)
		return SLC_CODEC_GZIP;
	if (n >= 4 && zstd_magic(head))
		return SLC_CODEC_ZSTD;
	return SLC_CODEC_NONE;
}

const char *slc_codec_name(uint32_t codec)
{
	return codec == SLC_CODEC_GZIP ? "gzip" :
	       codec == SLC_CODEC_ZSTD ? "zstd" :
					 "";
}

static int open_zstd(struct slc_inflate *inf)
{
	inf->zstd = ZSTD_createDCtx();
	if (!inf->zstd)
		return -ENOMEM;
	if (ZSTD_isError(ZSTD_DCtx_setParameter(inf->zstd, ZSTD_d_windowLogMax,
						SLC_ZSTD_WINDOW_LOG)))
		return -EINVAL;
	return 0;
}

static int open_gzip(struct slc_inflate *inf)
{
	int res;

	/* 16: a gzip header and trailer, nothing else. */
	res = inflateInit2(&inf->z, 15 + 16);
	return res == Z_OK ? 0 : res == Z_MEM_ERROR ? -ENOMEM : -EINVAL;
}

int slc_inflate_open(uint32_t codec, struct slc_inflate **out)
{
	struct slc_inflate *inf;
	int err;

	if (codec != SLC_CODEC_GZIP && codec != SLC_CODEC_ZSTD)
		return -EINVAL;
	inf = calloc(1, sizeof(*inf));
	if (!inf)
		return -ENOMEM;
	inf->codec = codec;
	err = codec == SLC_CODEC_GZIP ? open_gzip(inf) : open_zstd(inf);
	if (err) {
		slc_inflate_close(inf);
		return err;
	}
	*out = inf;
	return 0;
}

void slc_inflate_close(struct slc_inflate *inf)
{
	if (!inf)
		return;
	if (inf->codec == SLC_CODEC_GZIP)
		inflateEnd(&inf->z); /* harmless when init failed */
	ZSTD_freeDCtx(inf->zstd);
	free(inf);
}

int slc_inflate_reset(struct slc_inflate *inf)
{
	inf->err = 0;
	inf->started = inf->between = inf->padding = false;
	inf->pending = inf->stuck = false;
	inf->nhead = inf->head_at = 0;
	inf->what[0] = 0;
	if (inf->codec == SLC_CODEC_GZIP)
		return inflateReset(&inf->z) == Z_OK ? 0 : -EINVAL;
	ZSTD_DCtx_reset(inf->zstd, ZSTD_reset_session_only);
	return 0;
}

const char *slc_inflate_what(const struct slc_inflate *inf)
{
	return inf->what;
}

static int damaged(struct slc_inflate *inf, int err, const char *what)
{
	snprintf(inf->what, sizeof(inf->what), "%s: %s",
		 slc_codec_name(inf->codec), what);
	inf->err = err;
	return err;
}

/* One call of zlib: 0 or an error; *ended when the member is over. */
static int run_gzip(struct slc_inflate *inf, const uint8_t *in, size_t *in_len,
		    uint8_t *out, size_t *out_len, bool *ended)
{
	uInt in_max = *in_len > UINT_MAX ? UINT_MAX : (uInt)*in_len;
	uInt out_max = *out_len > UINT_MAX ? UINT_MAX : (uInt)*out_len;
	int res;

	inf->z.next_in = (Bytef *)(uintptr_t)in;
	inf->z.avail_in = in_max;
	inf->z.next_out = out;
	inf->z.avail_out = out_max;
	res = inflate(&inf->z, Z_NO_FLUSH);
	*in_len = in_max - inf->z.avail_in;
	*out_len = out_max - inf->z.avail_out;
	*ended = res == Z_STREAM_END;
	if (res == Z_OK || res == Z_STREAM_END || res == Z_BUF_ERROR)
		return 0;
	if (res == Z_MEM_ERROR)
		return damaged(inf, -ENOMEM, "no memory");
	return damaged(inf, -EBADMSG,
		       inf->z.msg ? inf->z.msg : "the data is damaged");
}

static int run_zstd(struct slc_inflate *inf, const uint8_t *in, size_t *in_len,
		    uint8_t *out, size_t *out_len, bool *ended)
{
	ZSTD_inBuffer zin = { in, *in_len, 0 };
	ZSTD_outBuffer zout = { out, *out_len, 0 };
	size_t res = ZSTD_decompressStream(inf->zstd, &zout, &zin);

	*in_len = zin.pos;
	*out_len = zout.pos;
	*ended = !res;
	if (!ZSTD_isError(res))
		return 0;
	if (ZSTD_getErrorCode(res) == ZSTD_error_memory_allocation)
		return damaged(inf, -ENOMEM, "no memory");
	return damaged(inf, -EBADMSG, ZSTD_getErrorName(res));
}

/* Runs the codec once, noting the end of a stream. */
static int run(struct slc_inflate *inf, const uint8_t *in, size_t *in_len,
	       uint8_t *out, size_t *out_len)
{
	size_t room = *out_len;
	bool ended;
	int err;

	/* zstd takes many calls without progress for a fault. */
	if (room ? !*in_len && !inf->pending : !*in_len || inf->stuck) {
		*in_len = *out_len = 0;
		return 0;
	}
	if (inf->codec == SLC_CODEC_GZIP)
		err = run_gzip(inf, in, in_len, out, out_len, &ended);
	else
		err = run_zstd(inf, in, in_len, out, out_len, &ended);
	inf->pending = *out_len == room;
	inf->stuck = !room && !*in_len;
	if (!err && ended) {
		inf->pending = false;
		inf->between = true;
		inf->nhead = inf->head_at = 0;
	}
	return err;
}

/* The magic is complete: is it one, and of this codec? */
static int check_head(struct slc_inflate *inf)
{
	bool good = inf->codec == SLC_CODEC_ZSTD ?
			    zstd_magic(inf->head) :
			    inf->head[0] == 0x1f && inf->head[1] == 0x8b;

	if (!good)
		return damaged(inf, -EBADMSG,
			       inf->started ?
				       "bytes after the end of the stream" :
				       "no magic at the start");
	if (inf->started && inf->codec == SLC_CODEC_GZIP &&
	    inflateReset(&inf->z) != Z_OK)
		return damaged(inf, -EBADMSG, "cannot start the next member");
	inf->started = true;
	inf->between = false;
	return 0;
}

/* How long the frame header is that these first 5 bytes begin. */
static size_t zstd_header_len(const uint8_t *p)
{
	static const uint8_t dict[4] = { 0, 1, 2, 4 };
	static const uint8_t content[4] = { 0, 2, 4, 8 };
	bool single = p[4] & 0x20;

	if (!zstd_magic(p))
		return 5; /* to be refused */
	if (p[0] != 0x28)
		return 8; /* skippable: magic and length */
	return 5 + !single + dict[p[4] & 3] + content[p[4] >> 6] +
	       (single && !(p[4] >> 6));
}

static size_t head_want(const struct slc_inflate *inf)
{
	if (inf->codec == SLC_CODEC_GZIP)
		return 2;
	return inf->nhead < 5 ? 5 : zstd_header_len(inf->head);
}

/*
 * At the start of a stream: gathers its first bytes, which may come one by
 * one: for gzip the magic, for zstd the whole frame header. This keeps the old
 * formats that libzstd may know away from it. It also has to see a header in
 * one piece: with a part of it alone it may take the rest of the input for a
 * frame of its own, and what comes out would depend on how the input was cut.
 * Returns how many bytes of input it took, or -errno.
 */
static int64_t take_head(struct slc_inflate *inf, const uint8_t *in, size_t n)
{
	size_t at = 0;

	while (at < n && inf->nhead < head_want(inf)) {
		/* gzip: zeros may fill the last block of a tape. */
		if (inf->codec == SLC_CODEC_GZIP && inf->started &&
		    !inf->nhead && !in[at])
			inf->padding = true;
		else if (inf->padding)
			return damaged(inf, -EBADMSG,
				       "bytes after the zeros at its end");
		else
			inf->head[inf->nhead++] = in[at];
		at++;
	}
	if (inf->nhead == head_want(inf) && check_head(inf))
		return inf->err;
	return (int64_t)at;
}

int slc_inflate_step(struct slc_inflate *inf, const uint8_t *in,
		     size_t *in_len, uint8_t *out, size_t *out_len)
{
	size_t have = *in_len, room = *out_len, took = 0, made = 0;

	*in_len = *out_len = 0;
	if (inf->err)
		return inf->err;
	for (;;) {
		size_t n, m = room - made;
		bool from_head;

		if (!inf->started || inf->between) {
			int64_t got = take_head(inf, in + took, have - took);

			if (got < 0)
				return (int)got;
			took += (size_t)got;
			if (!inf->started || inf->between)
				break; /* all input taken */
		}
		from_head = inf->head_at < inf->nhead;
		n = from_head ? inf->nhead - inf->head_at : have - took;
		if (run(inf, from_head ? inf->head + inf->head_at : in + took,
			&n, out + made, &m))
			return inf->err;
		made += m;
		if (!from_head)
			took += n;
		else if (!inf->between)
			inf->head_at += n;
		if (!n && !m && !inf->between)
			break;
	}
	*in_len = took;
	*out_len = made;
	return 0;
}

int slc_inflate_finish(struct slc_inflate *inf)
{
	if (inf->err)
		return inf->err;
	if (!inf->started || !inf->between || inf->nhead)
		return damaged(inf, -EBADMSG,
			       "the file ends inside the compressed stream");
	return 0;
}

/* Refills the compressed buffer: its count, 0 at the end, or -errno. */
static int64_t refill(struct slc_source_inflate *s)
{
	int64_t got;

	if (s->in_at < s->in_len)
		return (int64_t)(s->in_len - s->in_at);
	got = s->from->read(s->from, s->from_off, s->in, IN_BYTES);
	if (got < 0)
		return got;
	s->in_at = 0;
	s->in_len = (size_t)got;
	s->from_off += (uint64_t)got;
	return got;
}

static int too_much(struct slc_source_inflate *s)
{
	char what[140];

	snprintf(what, sizeof(what),
		 "%llu bytes make more than %llu, so it is a bomb or nearly all zeros: decompress it first",
		 (unsigned long long)s->from->size,
		 (unsigned long long)s->limit);
	return damaged(s->inf, -EBADMSG, what);
}

/* The next inflated bytes: the count, 0 at the end, or -errno. */
static int64_t produce(struct slc_source_inflate *s, uint8_t *buf, uint64_t len)
{
	for (;;) {
		int64_t have = refill(s);
		size_t in_len, out_len = len > SSIZE_MAX ? SSIZE_MAX : len;
		int err;

		if (have < 0)
			return have;
		in_len = (size_t)have;
		err = slc_inflate_step(s->inf, s->in + s->in_at, &in_len, buf,
				       &out_len);
		if (err)
			return err;
		s->in_at += in_len;
		s->made += out_len;
		if (s->made > s->limit)
			return too_much(s);
		if (out_len)
			return (int64_t)out_len;
		if (have)
			continue;
		err = slc_inflate_finish(s->inf);
		if (err)
			return err;
		s->base.size = s->made;
		return 0;
	}
}

static int skip_to(struct slc_source_inflate *s, uint64_t off)
{
	uint8_t *waste;
	int64_t got = 1;

	if (s->made >= off)
		return 0;
	waste = malloc(SKIP_BYTES);
	if (!waste)
		return -ENOMEM;
	while (s->made < off && got > 0) {
		uint64_t n = off - s->made;

		got = produce(s, waste, n < SKIP_BYTES ? n : SKIP_BYTES);
	}
	free(waste);
	return got < 0 ? (int)got : 0;
}

static int64_t inflate_read(struct slc_source *src, uint64_t off, void *buf,
			    uint64_t len)
{
	struct slc_source_inflate *s = (struct slc_source_inflate *)src;
	uint64_t done = 0;
	int64_t got;

	if (s->err)
		return s->err;
	if (off >= s->base.size) /* only once the end was seen */
		return 0;
	if (off < s->made)
		return -ESPIPE;
	s->err = skip_to(s, off);
	if (s->err)
		return s->err;
	while (done < len && s->made < s->base.size) {
		got = produce(s, (uint8_t *)buf + done, len - done);
		if (got < 0) {
			s->err = (int)got;
			return got;
		}
		if (!got)
			break;
		done += (uint64_t)got;
	}
	return (int64_t)done;
}

int slc_source_inflate_init(struct slc_source_inflate *src, uint32_t codec,
			    struct slc_source *from)
{
	int err;

	memset(src, 0, sizeof(*src));
	src->base.read = inflate_read;
	src->base.size = SLC_SIZE_UNKNOWN;
	src->from = from;
	if (!slc_mul(from->size, SLC_INFLATE_RATIO, &src->limit) ||
	    !slc_add(src->limit, SLC_INFLATE_FREE, &src->limit))
		src->limit = UINT64_MAX; /* or the size is not known */
	src->in = malloc(IN_BYTES);
	if (!src->in)
		return -ENOMEM;
	err = slc_inflate_open(codec, &src->inf);
	if (err) {
		free(src->in);
		src->in = NULL;
	}
	return err;
}

void slc_source_inflate_fini(struct slc_source_inflate *src)
{
	slc_inflate_close(src->inf);
	free(src->in);
	memset(src, 0, sizeof(*src));
}
